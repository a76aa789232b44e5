//! Orders that wait for units: a lane for each SKU of a shard, first in, first out.
//!
//! An order that is told to come again, and has come again before, keeps its place while it is away: else what is fetched for
//! an order of many SKUs would be carried off again, some at a time, before the last of it arrives. One that was never seen to
//! come again keeps nothing from anybody.
//!
//! What a lane knows (units free, units left everywhere) is a hint for those who wait in it; the shard decides. One lock, held
//! for moments; a shard without lanes costs one atomic read. [`lane`] is what one queue knows and decides, [`yard`] all
//! queues of a shard and the orders in them, [`place`] what others hold of it.

mod lane;
mod place;
#[cfg(test)]
mod tests;
mod yard;

use std::collections::HashMap;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use shared::{ShardId, Sku};
use tokio::time::Instant;

use self::lane::Lane;
use self::yard::Yard;
use super::Claimant;
use crate::rules::{Held, Shortfall};
use crate::transfer::rules::Waiting;

pub(crate) use self::place::{Gathering, Place};

/// Every lane of this region's shards. Clones share them.
#[derive(Clone, Debug, Default)]
pub(crate) struct Lanes(Arc<Inner>);

#[derive(Debug, Default)]
struct Inner {
    /// Lanes that there are, so that nobody takes the lock for nothing.
    count: AtomicUsize,
    yards: Mutex<HashMap<ShardId, Yard>>,
}

/// How it looks for a waiting order.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Outlook {
    /// Its units are here, after those of the orders before it.
    Covered,
    /// All shards together have fewer than it wants of some SKU.
    SoldOut,
    /// Not yet.
    Waiting,
}

/// Why an order may not wait.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum NoPlace {
    /// All shards together have just been seen to have fewer than it wants.
    SoldOut,
    /// As many wait as may.
    Full,
}

impl Lanes {
    fn yards(&self) -> MutexGuard<'_, HashMap<ShardId, Yard>> {
        self.0.yards.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn are_empty(&self) -> bool {
        self.0.count.load(Ordering::Relaxed) == 0
    }

    fn count(&self, yards: &HashMap<ShardId, Yard>) {
        self.0.count.store(yards.values().map(|yard| yard.lanes().len()).sum(), Ordering::Relaxed);
    }

    /// Runs `work` on the lanes of a shard that has any.
    fn in_yard<T>(&self, shard: ShardId, work: impl FnOnce(&mut Yard) -> T) -> Option<T> {
        if self.are_empty() {
            return None;
        }
        self.yards().get_mut(&shard).map(work)
    }

    /// Runs `work` on a lane that exists.
    fn with<T>(&self, shard: ShardId, sku: &Sku, work: impl FnOnce(&mut Lane) -> T) -> Option<T> {
        self.in_yard(shard, |yard| yard.lane(sku).map(work)).flatten()
    }

    /// Changes a lane that exists and wakes those whom it concerns.
    fn change(&self, shard: ShardId, sku: &Sku, change: impl FnOnce(&mut Lane)) {
        self.in_yard(shard, |yard| yard.change(sku, change));
    }

    /// Puts an order that was found short at the end of its lanes. One that waits already keeps its place.
    pub(crate) fn park(
        &self,
        shard: ShardId,
        order: Claimant,
        wanted: &[Held],
        short: &[Shortfall],
    ) -> Result<Place, NoPlace> {
        let (now, mut yards) = (Instant::now(), self.yards());
        let changed = yards.entry(shard).or_default().park(order, wanted, short, now)?;
        self.count(&yards);
        Ok(Place { lanes: self.clone(), shard, order, changed, comes_again: false })
    }

    fn leave(&self, shard: ShardId, order: Claimant, comes_again: bool) {
        let (now, mut yards) = (Instant::now(), self.yards());
        if let Some(yard) = yards.get_mut(&shard) {
            yard.leave(order, comes_again, now);
        }
        self.count(&yards);
    }

    /// Gives up the place that is kept for an order which has gone to come again, if there is one.
    pub(crate) fn give_up(&self, shard: ShardId, order: Claimant) {
        if self.in_yard(shard, |yard| yard.give_up(order, Instant::now())).unwrap_or(false) {
            self.count(&self.yards());
        }
    }

    /// Units that orders wait for, but for those that are passed over.
    pub(crate) fn parked(&self, shard: ShardId, sku: &Sku) -> u64 {
        self.with(shard, sku, |lane| lane.parked()).unwrap_or(0)
    }

    /// The same, and how many of them are for orders that `free` units can serve and that nothing else keeps waiting.
    pub(crate) fn waiting(&self, shard: ShardId, sku: &Sku, free: u64) -> Waiting {
        self.in_yard(shard, |yard| yard.waiting(sku, free)).unwrap_or_default()
    }

    /// Notes how many units are free in the shard.
    pub(crate) fn observe(&self, shard: ShardId, sku: &Sku, free: u64) {
        self.change(shard, sku, |lane| lane.set_free(free));
    }

    /// Notes units that were sold.
    pub(crate) fn sold(&self, shard: ShardId, sku: &Sku, units: u64) {
        self.with(shard, sku, |lane| lane.sold(units));
    }

    /// Notes that what is known of the SKU is no longer so: units have come back.
    pub(crate) fn forget(&self, shard: ShardId, sku: &Sku) {
        self.change(shard, sku, Lane::forget);
    }

    /// Notes what is free here and what all shards together have left, if that could be told.
    pub(crate) fn judge(&self, shard: ShardId, sku: &Sku, free: u64, left: Option<u64>) {
        self.change(shard, sku, |lane| lane.judge(free, left, Instant::now()));
    }

    /// Takes up those of these SKUs that nobody gathers for and somebody waits for. None if there are none, or as many gather
    /// as may: then one of those takes them up after its round.
    pub(crate) fn take_up(&self, shard: ShardId, skus: &[Sku]) -> Option<Gathering> {
        let skus = self.in_yard(shard, |yard| yard.take_up(skus, Instant::now())).filter(|skus| !skus.is_empty())?;
        Some(Gathering { lanes: self.clone(), shard, skus, over: false })
    }

    /// Takes up what else somebody waits for and nobody gathers, so that those who have `taken` gather at most so many; ends
    /// their gathering if there is nothing at all.
    fn take_up_more(&self, shard: ShardId, taken: &[Sku], most: usize) -> Vec<Sku> {
        // Not `in_yard`: that there are no lanes left does not end a gathering.
        let mut yards = self.yards();
        yards.get_mut(&shard).map(|yard| yard.take_up_more(taken.len(), most, Instant::now())).unwrap_or_default()
    }

    fn put_down(&self, shard: ShardId, skus: &[Sku]) {
        if let Some(yard) = self.yards().get_mut(&shard) {
            yard.put_down(skus);
        }
    }

    /// Units to be had from elsewhere for those who wait: as many as are missing, as far as there may be any.
    pub(crate) fn missing(&self, shard: ShardId, sku: &Sku) -> u64 {
        self.with(shard, sku, |lane| lane.missing(Instant::now())).unwrap_or(0)
    }

    /// Whether it is known how much is left everywhere.
    pub(crate) fn is_judged(&self, shard: ShardId, sku: &Sku) -> bool {
        self.with(shard, sku, |lane| lane.is_judged(Instant::now())).unwrap_or(false)
    }

    /// Whether units are missing for those who wait, or for those who have given up since somebody gathers.
    pub(crate) fn is_short(&self, shard: ShardId, sku: &Sku) -> bool {
        self.with(shard, sku, |lane| lane.is_short(Instant::now())).unwrap_or(false)
    }

    /// Whether an order waits that is neither covered nor hopeless.
    pub(crate) fn somebody_waits(&self, shard: ShardId, sku: &Sku) -> bool {
        self.with(shard, sku, |lane| lane.somebody_waits(Instant::now())).unwrap_or(false)
    }

    /// Removes places that were kept in vain, and lanes in which nobody waits and of which nothing is known.
    pub(crate) fn sweep(&self) {
        if self.are_empty() {
            return;
        }
        let (now, mut yards) = (Instant::now(), self.yards());
        yards.values_mut().for_each(|yard| yard.sweep(now));
        self.count(&yards);
    }

    #[cfg(test)]
    pub(crate) fn somebody_gathers(&self) -> bool {
        self.yards().values().any(|yard| yard.lanes().any(Lane::is_taken_up))
    }
}
