//! Asking every shard what it has.

use std::collections::{BTreeMap, HashMap};

use futures::future::join_all;
use shared::{RegionName, ShardId, Sku};

use super::Borrowing;
use crate::transfer::message::{Count, CountsRequest, MAX_SKUS};

/// What every shard of the map said it has, each at an instant of its own.
#[derive(Debug, Default)]
pub(crate) struct Reading(BTreeMap<ShardId, HashMap<Sku, Count>>);

impl Reading {
    /// What a shard has of a SKU, if it answered.
    pub(crate) fn count(&self, shard: ShardId, sku: &Sku) -> Option<&Count> {
        self.0.get(&shard)?.get(sku)
    }

    /// The same of every shard, by number.
    pub(crate) fn of(&self, sku: &Sku) -> impl Iterator<Item = (ShardId, Option<&Count>)> {
        self.0.iter().map(move |(shard, counts)| (*shard, counts.get(sku)))
    }
}

impl Borrowing {
    /// One reading of every shard of the map. Shards that do not answer in time have no counts in it.
    pub(crate) async fn read_everywhere(&self, skus: &[Sku]) -> Reading {
        let (map, mut regions) = (self.shards.map(), BTreeMap::<RegionName, Vec<ShardId>>::new());
        map.shards().for_each(|(shard, region)| regions.entry(region.clone()).or_default().push(shard));
        let questions = regions
            .iter()
            .flat_map(|(region, shards)| skus.chunks(MAX_SKUS).map(move |skus| self.read_region(region, shards, skus)));
        let mut reading: BTreeMap<_, HashMap<_, _>> = map.shards().map(|(shard, _)| (shard, HashMap::new())).collect();
        for (shard, count) in join_all(questions).await.into_iter().flatten() {
            reading.entry(shard).or_default().insert(count.sku.clone(), count);
        }
        Reading(reading)
    }

    async fn read_region(&self, region: &RegionName, shards: &[ShardId], skus: &[Sku]) -> Vec<(ShardId, Count)> {
        let request = CountsRequest { shards: shards.to_vec(), skus: skus.to_vec() };
        let answered = tokio::time::timeout(self.patience.across, self.post.counts(region, request)).await;
        let counts = answered.ok().and_then(Result::ok).unwrap_or_default();
        let counts = counts.into_iter().flat_map(|of| of.counts.into_iter().map(move |count| (of.shard, count)));
        counts.inspect(|(shard, count)| self.heard.note(*shard, &count.sku, Some(count.free))).collect()
    }
}
