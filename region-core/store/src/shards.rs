//! The shards of one region, and the map that says whose is which slot.

use std::collections::BTreeMap;
use std::sync::Arc;

use arc_swap::ArcSwap;
use shared::{RegionName, ShardId, Slot, SlotMap};

use crate::error::StoreError;
use crate::shard::Shard;

/// Every shard of this region, reached by slot. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Shards(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    region: RegionName,
    shards: BTreeMap<ShardId, Shard>,
    map: ArcSwap<SlotMap>,
}

impl Shards {
    /// The shards of `region`, under that map.
    #[must_use]
    pub fn new(region: RegionName, shards: impl IntoIterator<Item = Shard>, map: SlotMap) -> Self {
        let shards = shards.into_iter().map(|shard| (shard.id(), shard)).collect();
        Self(Arc::new(Inner { region, shards, map: ArcSwap::from_pointee(map) }))
    }

    /// This region.
    #[must_use]
    pub fn region(&self) -> &RegionName {
        &self.0.region
    }

    /// The map as last heard: a hint, for the shard's own row is the truth.
    #[must_use]
    pub fn map(&self) -> Arc<SlotMap> {
        self.0.map.load_full()
    }

    /// Takes a newer map; an older one is ignored.
    pub fn adopt(&self, newer: SlotMap) {
        let newer = Arc::new(newer);
        self.0.map.rcu(|known| if newer.epoch() > known.epoch() { Arc::clone(&newer) } else { Arc::clone(known) });
    }

    /// The shard of this region that owns `slot`.
    ///
    /// # Errors
    /// [`StoreError::WrongShard`] when another region owns it.
    pub fn here(&self, slot: Slot) -> Result<&Shard, StoreError> {
        let owner = self.0.map.load().shard_of(slot);
        self.0.shards.get(&owner).ok_or(StoreError::WrongShard(slot))
    }

    /// Every shard of this region, by number.
    pub fn all(&self) -> impl Iterator<Item = &Shard> {
        self.0.shards.values()
    }
}
