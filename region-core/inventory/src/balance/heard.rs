//! What was heard of other shards' counts. Hints for whom to ask, never a reason to refuse.

use std::time::Duration;

use moka::sync::Cache;
use shared::{ShardId, Sku};

/// Counts kept at most.
const CAPACITY: u64 = 200_000;
/// How long a count is worth anything.
const LIFE: Duration = Duration::from_secs(10);

/// Free units by shard and SKU, as last heard. Clones share them.
#[derive(Clone, Debug)]
pub(crate) struct Heard(Cache<(ShardId, Sku), u64>);

impl Default for Heard {
    fn default() -> Self {
        Self(Cache::builder().max_capacity(CAPACITY).time_to_live(LIFE).build())
    }
}

impl Heard {
    /// Notes what a shard said, if it said anything.
    pub(crate) fn note(&self, shard: ShardId, sku: &Sku, free: Option<u64>) {
        if let Some(free) = free {
            self.0.insert((shard, sku.clone()), free);
        }
    }

    /// What it has, as last heard.
    pub(crate) fn of(&self, shard: ShardId, sku: &Sku) -> Option<u64> {
        self.0.get(&(shard, sku.clone()))
    }
}
