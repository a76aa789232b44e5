//! Stock levels for display: free units over all shards of all regions, as of a moment ago, and what changed in them.
//!
//! Whoever has committed a change of *free* says which SKUs it touched ([`StockLevels::changed`]); that is all that it costs
//! him. Ten times a second the SKUs named so are read from their shard with one statement and noted on a board, from where
//! they go to Redis (`copy`), so that the region's other cores hear of them, and to whoever asks what has changed: points of
//! presence for the whole store, cores of other regions for this one. Scans, at most one a second and the rarer the longer
//! they take, find what nobody said, such as an import.
//!
//! Deliberately absent: any decision. A count is old when it is read; only the order itself decides.

mod board;
mod copy;
mod follow;
mod store;

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use axum::Router;
use moka::sync::Cache;
use region_core_store::redis::Redis;
use region_core_store::{Shards, StoreError};
use region_core_web::Peers;
use shared::api::catalog::StockLevel;
use shared::api::stock::{StockChanges, StockCount, StockCursor};
use shared::{RegionName, ShardId, Sku};
use shared_clock::Entropy;

use crate::store::free_units;
use board::Board;
use copy::Copy;

pub(crate) use follow::INTERNAL;

/// Routes that cores of other regions call.
pub fn internal_router(levels: StockLevels) -> Router {
    crate::routes::internal(levels)
}

/// This region among the sources of the whole store's board.
const HERE: usize = 0;

/// What levels are made of.
#[derive(Clone, Debug)]
pub struct Parts {
    /// This region's shards.
    pub shards: Shards,
    /// The region's Redis.
    pub redis: Redis,
    /// The way to other regions' cores.
    pub peers: Peers,
    /// The other regions.
    pub others: Vec<RegionName>,
    /// For the boards' names.
    pub entropy: Entropy,
}

/// What the region's shards have free, and others as far as they have said. Clones share it.
#[derive(Clone, Debug)]
pub struct StockLevels(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    shards: Shards,
    peers: Peers,
    others: Vec<RegionName>,
    copy: Copy,
    /// SKUs that changed and were not read since, by shard.
    changed: BTreeMap<ShardId, Mutex<HashSet<Sku>>>,
    counts: Mutex<Counts>,
    /// What was asked for before any board had it.
    recent: Cache<Sku, u64>,
}

#[derive(Debug)]
struct Counts {
    /// This region: a source for each shard, by number.
    region: Board,
    /// The whole store: this region, then the others.
    store: Board,
    /// What Redis has, as far as this process knows.
    published: HashMap<Sku, u64>,
    /// What Redis should be told.
    unpublished: HashSet<Sku>,
    /// Shards and other regions that were not asked even once since this process began: their units are missing in the sums.
    unread: BTreeSet<usize>,
    unheard: BTreeSet<usize>,
}

/// A poisoned lock only means that a thread died elsewhere: whatever stands here is read again.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl StockLevels {
    /// Levels of a region. Nothing is followed until [`StockLevels::follow`] runs.
    #[must_use]
    pub fn new(parts: Parts) -> Self {
        let Parts { shards, redis, peers, others, entropy } = parts;
        let board = |sources| Board::new(u64::from_le_bytes(entropy.bytes()), sources);
        let changed: BTreeMap<_, _> = shards.all().map(|shard| (shard.id(), Mutex::default())).collect();
        let counts = Counts {
            region: board(changed.len()),
            store: board(others.len() + 1),
            published: HashMap::new(),
            unpublished: HashSet::new(),
            unread: (0..changed.len()).collect(),
            unheard: (0..others.len()).collect(),
        };
        let copy = Copy::of(redis, shards.region());
        let recent = Cache::builder().max_capacity(100_000).time_to_live(Duration::from_millis(500)).build();
        let counts = Mutex::new(counts);
        Self(Arc::new(Inner { shards, peers, others, copy, changed, counts, recent }))
    }

    /// Says that free units of these SKUs changed in that shard. Call it after the commit; it costs a look-up for each SKU,
    /// and nothing is awaited.
    pub fn changed<'a>(&self, shard: ShardId, skus: impl IntoIterator<Item = &'a Sku>) {
        let Some(changed) = self.0.changed.get(&shard) else { return };
        let mut changed = lock(changed);
        for sku in skus {
            if !changed.contains(sku) {
                changed.insert(sku.clone());
            }
        }
    }

    /// Free units of each SKU, in the order asked for. A SKU that no shard has ever had counts as none.
    ///
    /// # Errors
    /// When a SKU is on no board yet and a shard does not answer.
    pub async fn of(&self, skus: &[Sku]) -> Result<Vec<StockLevel>, StoreError> {
        let unknown: Vec<String> = {
            let counts = lock(&self.0.counts);
            let is_unknown = |sku: &&Sku| counts.region.sum(sku).is_none() && !self.0.recent.contains_key(*sku);
            skus.iter().filter(is_unknown).map(|sku| sku.as_str().to_owned()).collect()
        };
        self.look_up(&unknown).await?;
        let counts = lock(&self.0.counts);
        let level = |sku: &Sku| {
            let here = counts.region.sum(sku).or_else(|| self.0.recent.get(sku)).unwrap_or(0);
            let units = here.saturating_add(counts.store.elsewhere(HERE, sku));
            StockLevel { sku: sku.clone(), units, approximate: true }
        };
        Ok(skus.iter().map(level).collect())
    }

    /// Reads SKUs that nobody has spoken of yet. What no shard has is remembered for a moment only: anybody could fill the
    /// boards with names of his own making.
    async fn look_up(&self, skus: &[String]) -> Result<(), StoreError> {
        if skus.is_empty() {
            return Ok(());
        }
        let mut sums: HashMap<Sku, u64> = skus.iter().filter_map(|sku| Some((sku.parse().ok()?, 0))).collect();
        for (source, shard) in self.0.shards.all().enumerate() {
            let free = free_units(&mut *shard.read().await?, skus).await?;
            free.iter().for_each(|(sku, units)| *sums.entry(sku.clone()).or_default() += units);
            self.note(source, &free);
        }
        sums.into_iter().for_each(|(sku, units)| self.0.recent.insert(sku, units));
        Ok(())
    }

    /// Notes what one of this region's shards has.
    fn note(&self, source: usize, free: &[(Sku, u64)]) {
        let mut counts = lock(&self.0.counts);
        for (sku, units) in free {
            counts.note(source, sku, *units);
        }
    }

    /// What changed in the whole store after a reader's cursors; `limit` SKUs at most. Nothing yet while the sums of a process
    /// that has just begun lack what nobody was asked for: whoever keeps a copy shall not see everything sold out.
    #[must_use]
    pub fn changes(&self, since: &[StockCursor], limit: usize) -> Option<StockChanges> {
        let counts = lock(&self.0.counts);
        (counts.unread.is_empty() && counts.unheard.is_empty()).then(|| counts.store.since(since, limit))
    }

    /// As [`StockLevels::changes`], of this region alone.
    #[must_use]
    pub fn changes_here(&self, since: &[StockCursor], limit: usize) -> Option<StockChanges> {
        let counts = lock(&self.0.counts);
        counts.unread.is_empty().then(|| counts.region.since(since, limit))
    }

    /// Notes what another region has said.
    fn note_elsewhere(&self, source: usize, counts: &[StockCount]) {
        let mut known = lock(&self.0.counts);
        for StockCount { sku, units } in counts {
            known.store.set(source, sku, *units);
        }
    }
}

impl Counts {
    fn note(&mut self, source: usize, sku: &Sku, units: u64) {
        if let Some(sum) = self.region.set(source, sku, units) {
            self.store.set(HERE, sku, sum);
        }
        if self.region.sum(sku) != self.published.get(sku).copied() {
            self.unpublished.insert(sku.clone());
        }
    }
}

#[cfg(test)]
mod tests;
