//! The fence of every write: does this shard own the slot, now?

use shared::Slot;
use sqlx::PgConnection;

use crate::error::StoreError;
use crate::planted::{Bug, planted};

/// Locks the slot's row FOR SHARE and checks that this shard owns it. Call it first in every write: a move's freeze takes
/// the row FOR UPDATE and so waits for the writes under way, and later writes see the new state.
///
/// # Errors
/// [`StoreError::WrongShard`] or [`StoreError::Frozen`].
pub async fn own_slot(conn: &mut PgConnection, slot: Slot) -> Result<(), StoreError> {
    if planted(Bug::NoEpochCheck) {
        return Ok(());
    }
    let state = sqlx::query_scalar!("SELECT state FROM slots WHERE slot = $1 FOR SHARE", i16::from(slot))
        .fetch_optional(conn)
        .await?;
    match state.as_deref() {
        Some("owner") => Ok(()),
        Some("frozen") => Err(StoreError::Frozen(slot)),
        Some("importing" | "moved") | None => Err(StoreError::WrongShard(slot)),
        Some(other) => Err(StoreError::corrupt("slots.state", other)),
    }
}
