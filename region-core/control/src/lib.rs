//! The control schema of the catalog server: the slot map, the public halves of the keys that sign access tokens, and where
//! merchants' systems are told of events.
//!
//! Every process keeps copies of all of it; losing this database stops moves, new keys and changes of endpoints, never sales.
//! Deliberately absent: moving slots, private keys (they never leave their region's machine), and the truth about a slot,
//! which is the row in the shard that owns it.

mod store;
pub mod webhooks;

pub use store::{ControlError, list_keys, load_slot_map, publish_first_slot_map, publish_key, retire_key};
