//! Where a region's truth is reached: shards (pools, the one transaction helper, slot ownership), migrations, Redis.
//!
//! SQL that belongs to a service lives in that service's `store`; here is only what every write shares. There is no
//! routing between regions here either: a slot that another region owns is answered [`StoreError::WrongShard`], and the
//! gateway asks again with the newer map.

mod error;
mod failpoint;
pub mod migrate;
mod planted;
mod preferred;
pub mod redis;
mod shard;
mod shards;
mod slot;
#[cfg(feature = "test-support")]
pub mod test_support;
mod transaction;
mod turn;

pub use error::{HasStoreError, StoreError, expect_rows};
pub use failpoint::{FAILPOINTS, failpoint};
pub use planted::{ArmError, Bug, PLANTED_BUG, arm, planted};
pub use preferred::Preferred;
pub use shard::{PoolLimits, Shard};
pub use shards::Shards;
pub use slot::own_slot;
pub use turn::{Seat, Turn};
