//! The control schema of the catalog server: the slot map, and the public halves of the keys that sign access tokens.
//!
//! Every process keeps copies of both; losing this database stops moves and new keys, never sales. Deliberately absent:
//! moving slots, private keys (they never leave their region's machine), and the truth about a slot, which is the row in
//! the shard that owns it.

mod store;

pub use store::{ControlError, list_keys, load_slot_map, publish_first_slot_map, publish_key, retire_key};
