//! The account's SQL, by noun. Each function runs inside the caller's transaction; writes expect that the caller has
//! checked the slot.

pub(crate) mod aliases;
pub(crate) mod credentials;
pub(crate) mod logins;
pub(crate) mod sessions;
pub(crate) mod users;

use region_core_store::StoreError;
use shared::Slot;

/// A reader sees a slot that is here, frozen or not; one that left or has not arrived is elsewhere.
fn readable(state: &str, slot: Slot) -> Result<(), StoreError> {
    match state {
        "owner" | "frozen" => Ok(()),
        "importing" | "moved" => Err(StoreError::WrongShard(slot)),
        other => Err(StoreError::corrupt("slots.state", other)),
    }
}
