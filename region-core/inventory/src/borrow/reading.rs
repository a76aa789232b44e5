//! Asking every shard what it has.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use futures::future::join_all;
use shared::{RegionName, ShardId, Sku};

use super::Borrowing;
use crate::transfer::message::{Count, CountsRequest, MAX_SKUS};

/// How long answers are waited for.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Look {
    /// As leaves an order time to be served by those who answer; who does not is asked for units all the same.
    Glance,
    /// As long as an order waits at most.
    Thorough,
}

/// How to look next. A glance that missed somebody is followed by a thorough look, so that slowness alone never keeps anybody
/// from learning that nothing is left; a thorough one by a glance, so that silence never keeps units that others have.
#[derive(Clone, Debug, Default)]
pub(super) struct Eyes(Arc<AtomicBool>);

impl Eyes {
    pub(super) fn look(&self) -> Look {
        if self.0.load(Ordering::Relaxed) { Look::Thorough } else { Look::Glance }
    }

    pub(super) fn saw(&self, look: Look, everybody: bool) {
        self.0.store(look == Look::Glance && !everybody, Ordering::Relaxed);
    }
}

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

    /// Whether every shard has answered.
    pub(crate) fn is_whole(&self, sku: &Sku) -> bool {
        self.0.values().all(|counts| counts.contains_key(sku))
    }
}

impl Borrowing {
    /// One reading of every shard of the map. Shards that do not answer in time have no counts in it.
    pub(crate) async fn read_everywhere(&self, skus: &[Sku], look: Look) -> Reading {
        let (map, mut regions) = (self.shards.map(), BTreeMap::<RegionName, Vec<ShardId>>::new());
        map.shards().for_each(|(shard, region)| regions.entry(region.clone()).or_default().push(shard));
        let questions = regions.iter().flat_map(|(region, shards)| {
            skus.chunks(MAX_SKUS).map(move |skus| {
                let patience = self.patience_with(region, look);
                self.read_region(region, shards, skus, patience)
            })
        });
        let mut reading: BTreeMap<_, HashMap<_, _>> = map.shards().map(|(shard, _)| (shard, HashMap::new())).collect();
        for (shard, count) in join_all(questions).await.into_iter().flatten() {
            reading.entry(shard).or_default().insert(count.sku.clone(), count);
        }
        Reading(reading)
    }

    /// What one shard of this region has, if it answers.
    pub(super) async fn read_shard(&self, shard: ShardId, skus: &[Sku]) -> Vec<Count> {
        let home = self.shards.region();
        let only = [shard];
        let chunks = skus.chunks(MAX_SKUS).map(|skus| self.read_region(home, &only, skus, self.patience.near));
        join_all(chunks).await.into_iter().flatten().map(|(_, count)| count).collect()
    }

    fn patience_with(&self, region: &RegionName, look: Look) -> Duration {
        match look {
            Look::Thorough => self.patience.across,
            Look::Glance if region == self.shards.region() => self.patience.near / 3,
            Look::Glance => self.patience.across * 3 / 8,
        }
    }

    async fn read_region(
        &self,
        region: &RegionName,
        shards: &[ShardId],
        skus: &[Sku],
        patience: Duration,
    ) -> Vec<(ShardId, Count)> {
        let request = CountsRequest { shards: shards.to_vec(), skus: skus.to_vec() };
        let answered = tokio::time::timeout(patience, self.post.counts(region, request)).await;
        let counts = answered.ok().and_then(Result::ok).unwrap_or_default();
        let counts = counts.into_iter().flat_map(|of| of.counts.into_iter().map(move |count| (of.shard, count)));
        counts.inspect(|(shard, count)| self.heard.note(*shard, &count.sku, Some(count.free))).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_glance_that_missed_somebody_is_followed_by_a_thorough_look_and_that_by_a_glance() {
        let eyes = Eyes::default();
        assert_eq!(eyes.look(), Look::Glance);
        eyes.saw(Look::Glance, true);
        assert_eq!(eyes.look(), Look::Glance);
        eyes.saw(Look::Glance, false);
        assert_eq!(eyes.look(), Look::Thorough);
        eyes.saw(Look::Thorough, false);
        assert_eq!(eyes.look(), Look::Glance);
    }
}
