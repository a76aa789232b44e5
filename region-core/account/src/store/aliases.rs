//! Guests whose owner signed in to an older account. Kept in both shards: either can tell whose order it is.

use region_core_store::StoreError;
use shared::{Slot, UserId};
use sqlx::PgConnection;

use super::users;

/// Notes in the guest's shard, which decides, that `guest` is `user`. `false`, and nothing is written, for one who is no mere
/// guest or is somebody else already. Repeatable.
pub(crate) async fn claim(conn: &mut PgConnection, user: UserId, guest: UserId) -> Result<bool, StoreError> {
    users::lock(conn, guest).await?;
    Ok(users::is_pure_guest(conn, guest).await? && record(conn, user, guest).await? == user.as_i64())
}

/// Notes in the user's shard what the guest's has decided. Repeatable.
pub(crate) async fn copy(conn: &mut PgConnection, user: UserId, guest: UserId) -> Result<(), StoreError> {
    let owner = record(conn, user, guest).await?;
    if owner == user.as_i64() { Ok(()) } else { Err(StoreError::corrupt("user_aliases.user_id", owner)) }
}

/// Whose the guest is once this is written: the first to claim it stays.
async fn record(conn: &mut PgConnection, user: UserId, guest: UserId) -> Result<i64, StoreError> {
    let owner = sqlx::query_scalar!(
        "INSERT INTO user_aliases (user_id, guest_id) VALUES ($1, $2)
         ON CONFLICT (guest_id) DO UPDATE SET user_id = user_aliases.user_id RETURNING user_id",
        user.as_i64(),
        guest.as_i64(),
    );
    Ok(owner.fetch_one(conn).await?)
}

/// Whether an alias of this guest has a place in that slot: it lives with its user and with its guest.
pub(crate) fn belongs_in(slot: Slot, user: UserId, guest: UserId) -> bool {
    slot == user.slot() || slot == guest.slot()
}
