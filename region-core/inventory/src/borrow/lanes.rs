//! Orders that wait for units: a lane for each SKU of a shard, first in, first out.
//!
//! What a lane knows (units free, units left everywhere) is a hint for those who wait in it; the shard decides. One lock, held
//! for moments; a shard without lanes costs one atomic read.

use std::collections::{HashMap, HashSet, VecDeque};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use shared::{OrderId, ShardId, Sku};
use tokio::sync::Notify;
use tokio::time::Instant;

use crate::rules::{Held, Shortfall};
use crate::transfer::rules::Waiting;

/// Orders that wait in one shard at most.
const MOST_PARKED: usize = 1_024;
/// Orders that are looked at, at most, when it is counted how many could be served: the others give way.
const MOST_SERVED: usize = 64;
/// How long it is believed how much is left everywhere.
const BELIEVED: Duration = Duration::from_millis(250);

/// Every lane of this region's shards. Clones share them.
#[derive(Clone, Debug, Default)]
pub(crate) struct Lanes(Arc<Inner>);

#[derive(Debug, Default)]
struct Inner {
    /// Lanes that there are, so that nobody takes the lock for nothing.
    count: AtomicUsize,
    yards: Mutex<HashMap<ShardId, Yard>>,
}

/// The lanes of one shard, and the orders in them.
#[derive(Debug, Default)]
struct Yard {
    lanes: HashMap<Sku, Lane>,
    orders: HashMap<OrderId, Parked>,
}

#[derive(Debug, Default)]
struct Lane {
    queue: VecDeque<(OrderId, u64)>,
    /// Units that all in the queue wait for.
    units: u64,
    /// Free units in this shard, as last heard.
    free: Option<u64>,
    verdict: Option<Verdict>,
    /// Whether somebody is gathering units for it.
    gathering: bool,
    /// Those who gave up while somebody was.
    gone: Vec<Gone>,
    /// Orders that what is free cannot serve, and for which nothing came and nothing could be told: those behind them are
    /// served meanwhile. They keep their place, and come first again as soon as more is free.
    passed: HashSet<OrderId>,
    /// What was free at the end of the last round that could tell nothing.
    untold: Option<u64>,
}

/// An order that gave up waiting. What is fetched for it is fetched all the same: it or another will come again for it.
#[derive(Clone, Copy, Debug)]
struct Gone {
    order: OrderId,
    units: u64,
    /// Whether a round has ended since; the next one was all its own.
    seen: bool,
}

/// What all shards together had at one instant.
#[derive(Clone, Copy, Debug)]
struct Verdict {
    left: u64,
    elsewhere: u64,
    at: Instant,
}

#[derive(Debug)]
struct Parked {
    needs: Vec<(Sku, u64)>,
    changed: Arc<Notify>,
    /// Tickets for it: one that comes again keeps its place until it has gone for good.
    holders: u32,
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

/// Lanes that one gathers for, and nobody else meanwhile; given up when dropped.
#[derive(Debug)]
pub(crate) struct Gathering {
    lanes: Lanes,
    shard: ShardId,
    skus: Vec<Sku>,
}

/// A place in the lanes; given up when dropped.
#[derive(Debug)]
pub(crate) struct Place {
    lanes: Lanes,
    shard: ShardId,
    order: OrderId,
    changed: Arc<Notify>,
}

impl Lanes {
    fn yards(&self) -> MutexGuard<'_, HashMap<ShardId, Yard>> {
        self.0.yards.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn are_empty(&self) -> bool {
        self.0.count.load(Ordering::Relaxed) == 0
    }

    /// Runs `work` on a lane that exists.
    fn with<T>(
        &self,
        shard: ShardId,
        sku: &Sku,
        work: impl FnOnce(&mut Lane, &mut HashMap<OrderId, Parked>) -> T,
    ) -> Option<T> {
        if self.are_empty() {
            return None;
        }
        let mut yards = self.yards();
        let Yard { lanes, orders } = yards.get_mut(&shard)?;
        lanes.get_mut(sku).map(|lane| work(lane, orders))
    }

    /// Puts an order that was found short at the end of its lanes. One that waits already keeps its place.
    pub(crate) fn park(
        &self,
        shard: ShardId,
        order: OrderId,
        wanted: &[Held],
        short: &[Shortfall],
    ) -> Result<Place, NoPlace> {
        let (now, mut yards) = (Instant::now(), self.yards());
        let yard = yards.entry(shard).or_default();
        let again = yard.orders.contains_key(&order);
        if !again {
            yard.admit(wanted, now)?;
        }
        for short in short {
            let lane = yard.lanes.entry(short.sku.clone()).or_default();
            if again {
                // It was told what is free for those who come first: what was believed here has proved wrong.
                lane.verdict = None;
                lane.set_free(short.free);
            } else if lane.free.is_none() || (lane.queue.is_empty() && lane.fresh(now).is_none()) {
                // A newcomer was told what is free beside those who wait already.
                lane.free = Some(short.free.saturating_add(lane.parked()));
            }
        }
        let changed = yard.enqueue(order, wanted);
        self.count(&yards);
        Ok(Place { lanes: self.clone(), shard, order, changed })
    }

    fn count(&self, yards: &HashMap<ShardId, Yard>) {
        self.0.count.store(yards.values().map(|yard| yard.lanes.len()).sum(), Ordering::Relaxed);
    }

    /// Units that orders wait for, but for those that are passed over.
    pub(crate) fn parked(&self, shard: ShardId, sku: &Sku) -> u64 {
        self.with(shard, sku, |lane, _| lane.parked()).unwrap_or(0)
    }

    /// The same, and how many of them are for orders that `free` units can serve and that nothing else keeps waiting.
    pub(crate) fn waiting(&self, shard: ShardId, sku: &Sku, free: u64) -> Waiting {
        if self.are_empty() {
            return Waiting::default();
        }
        let yards = self.yards();
        let Some((yard, lane)) = yards.get(&shard).and_then(|yard| Some((yard, yard.lanes.get(sku)?))) else {
            return Waiting::default();
        };
        let reached = lane.reached(free).take(MOST_SERVED);
        let served = reached.filter(|(order, _)| yard.lacks_nothing_but(*order, sku)).map(|(_, units)| units).sum();
        Waiting { units: lane.units, served }
    }

    /// Notes how many units are free in the shard.
    pub(crate) fn observe(&self, shard: ShardId, sku: &Sku, free: u64) {
        self.with(shard, sku, |lane, orders| {
            lane.set_free(free);
            lane.wake(orders);
        });
    }

    /// Notes units that were sold.
    pub(crate) fn sold(&self, shard: ShardId, sku: &Sku, units: u64) {
        self.with(shard, sku, |lane, _| lane.free = lane.free.map(|free| free.saturating_sub(units)));
    }

    /// Notes that what is known of the SKU is no longer so: units have come back.
    pub(crate) fn forget(&self, shard: ShardId, sku: &Sku) {
        self.with(shard, sku, |lane, orders| {
            (lane.free, lane.verdict, lane.untold) = (None, None, None);
            lane.passed.clear();
            lane.wake(orders);
        });
    }

    /// Notes what is free here and what all shards together have left, if that could be told.
    pub(crate) fn judge(&self, shard: ShardId, sku: &Sku, free: u64, left: Option<u64>) {
        self.with(shard, sku, |lane, orders| {
            lane.set_free(free);
            if left.is_none() {
                lane.pass_over(free);
            }
            let at = Instant::now();
            lane.verdict = left.map(|left| Verdict { left, elsewhere: left.saturating_sub(free), at });
            lane.wake(orders);
        });
    }

    /// Takes up those of these SKUs that nobody gathers for and somebody waits for.
    pub(crate) fn take_up(&self, shard: ShardId, skus: &[Sku]) -> Gathering {
        let now = Instant::now();
        let takes = |sku: &&Sku| {
            let idle = self.with(shard, sku, |lane, _| {
                let takes = !lane.gathering && lane.somebody_waits(now);
                lane.gathering |= takes;
                takes
            });
            idle.unwrap_or(false)
        };
        let skus = skus.iter().filter(takes).cloned().collect();
        Gathering { lanes: self.clone(), shard, skus }
    }

    /// Units to be had from elsewhere for those who wait: as many as are missing, as far as there may be any.
    pub(crate) fn missing(&self, shard: ShardId, sku: &Sku) -> u64 {
        self.with(shard, sku, |lane, _| lane.missing(Instant::now())).unwrap_or(0)
    }

    /// Whether it is known how much is left everywhere.
    pub(crate) fn is_judged(&self, shard: ShardId, sku: &Sku) -> bool {
        self.with(shard, sku, |lane, _| lane.fresh(Instant::now()).is_some()).unwrap_or(false)
    }

    /// Whether units are missing for those who wait, or for those who have given up since somebody gathers.
    pub(crate) fn is_short(&self, shard: ShardId, sku: &Sku) -> bool {
        self.with(shard, sku, |lane, _| lane.is_short(Instant::now())).unwrap_or(false)
    }

    /// Whether an order waits that is neither covered nor hopeless.
    pub(crate) fn somebody_waits(&self, shard: ShardId, sku: &Sku) -> bool {
        self.with(shard, sku, |lane, _| lane.somebody_waits(Instant::now())).unwrap_or(false)
    }

    /// Removes lanes in which nobody waits and of which nothing is known.
    pub(crate) fn sweep(&self) {
        if self.are_empty() {
            return;
        }
        let (now, mut yards) = (Instant::now(), self.yards());
        for yard in yards.values_mut() {
            yard.lanes.retain(|_, lane| !lane.queue.is_empty() || lane.gathering || lane.fresh(now).is_some());
        }
        self.count(&yards);
    }

    #[cfg(test)]
    pub(crate) fn somebody_gathers(&self) -> bool {
        self.yards().values().any(|yard| yard.lanes.values().any(|lane| lane.gathering))
    }

    fn leave(&self, shard: ShardId, order: OrderId) {
        let (now, mut yards) = (Instant::now(), self.yards());
        if let Some(yard) = yards.get_mut(&shard) {
            yard.leave(order, now);
        }
        self.count(&yards);
    }
}

impl Yard {
    fn admit(&self, wanted: &[Held], now: Instant) -> Result<(), NoPlace> {
        let hopeless = |held: &Held| {
            let verdict = self.lanes.get(&held.sku).and_then(|lane| lane.fresh(now));
            verdict.is_some_and(|verdict| verdict.left < u64::from(held.quantity.units()))
        };
        if wanted.iter().any(hopeless) {
            return Err(NoPlace::SoldOut);
        }
        if self.orders.len() < MOST_PARKED { Ok(()) } else { Err(NoPlace::Full) }
    }

    fn enqueue(&mut self, order: OrderId, wanted: &[Held]) -> Arc<Notify> {
        if let Some(parked) = self.orders.get_mut(&order) {
            parked.holders += 1;
            return Arc::clone(&parked.changed);
        }
        let needs: Vec<_> = wanted.iter().map(|held| (held.sku.clone(), u64::from(held.quantity.units()))).collect();
        for (sku, units) in &needs {
            let lane = self.lanes.entry(sku.clone()).or_default();
            lane.gone.retain(|gone| gone.order != order);
            lane.queue.push_back((order, *units));
            lane.units += units;
        }
        let changed = Arc::new(Notify::new());
        self.orders.insert(order, Parked { needs, changed: Arc::clone(&changed), holders: 1 });
        changed
    }

    fn leave(&mut self, order: OrderId, now: Instant) {
        let Some(parked) = self.orders.get_mut(&order) else { return };
        parked.holders -= 1;
        if parked.holders > 0 {
            return;
        }
        let Some(Parked { needs, .. }) = self.orders.remove(&order) else { return };
        for (sku, units) in needs {
            let Some(lane) = self.lanes.get_mut(&sku) else { continue };
            if lane.gathering && lane.outlook(order, units, now) == Outlook::Waiting {
                lane.gone.push(Gone { order, units, seen: false });
            }
            lane.queue.retain(|(waiting, _)| *waiting != order);
            lane.passed.remove(&order);
            lane.readmit();
            lane.units -= units;
            lane.wake(&self.orders);
            if lane.queue.is_empty() && !lane.gathering && lane.fresh(now).is_none() {
                self.lanes.remove(&sku);
            }
        }
    }

    /// Whether the order's units of every other SKU are here.
    fn lacks_nothing_but(&self, order: OrderId, sku: &Sku) -> bool {
        let here = |other: &Sku| other == sku || self.lanes.get(other).is_some_and(|lane| lane.covers(order));
        self.orders.get(&order).is_some_and(|parked| parked.needs.iter().all(|(other, _)| here(other)))
    }

    fn outlook(&self, order: OrderId, now: Instant) -> Outlook {
        let Some(parked) = self.orders.get(&order) else { return Outlook::Waiting };
        let mut outlook = Outlook::Covered;
        for (sku, units) in &parked.needs {
            match self.lanes.get(sku).map(|lane| lane.outlook(order, *units, now)) {
                Some(Outlook::SoldOut) => return Outlook::SoldOut,
                Some(Outlook::Waiting) | None => outlook = Outlook::Waiting,
                Some(Outlook::Covered) => {}
            }
        }
        outlook
    }
}

impl Lane {
    fn fresh(&self, now: Instant) -> Option<Verdict> {
        self.verdict.filter(|verdict| now.saturating_duration_since(verdict.at) < BELIEVED)
    }

    /// Orders from the front with their units, as far as `free` reaches.
    fn reached(&self, free: u64) -> impl Iterator<Item = (OrderId, u64)> {
        let mut left = free;
        let in_turn = self.queue.iter().copied().filter(|(order, _)| !self.passed.contains(order));
        in_turn.map_while(move |(order, units)| {
            left = left.checked_sub(units)?;
            Some((order, units))
        })
    }

    /// Units that those wait for who are not passed over.
    fn parked(&self) -> u64 {
        let passed = self.queue.iter().filter(|(order, _)| self.passed.contains(order));
        self.units - passed.map(|(_, units)| units).sum::<u64>()
    }

    fn set_free(&mut self, free: u64) {
        if self.free.is_none_or(|before| free > before) {
            self.passed.clear();
        }
        self.free = Some(free);
    }

    /// No longer passes over those whom what is free serves now that somebody has left.
    fn readmit(&mut self) {
        let mut left = self.free.unwrap_or(u64::MAX);
        for (order, units) in &self.queue {
            match left.checked_sub(*units) {
                Some(rest) => {
                    left = rest;
                    self.passed.remove(order);
                }
                None if self.passed.contains(order) => {}
                None => return,
            }
        }
    }

    /// Passes over whom `free` does not serve, if the last round brought nothing either.
    fn pass_over(&mut self, free: u64) {
        let idle = self.untold.replace(free).is_some_and(|before| free <= before);
        let mut left = free;
        for (order, units) in &self.queue {
            match left.checked_sub(*units) {
                Some(rest) => left = rest,
                None if idle => drop(self.passed.insert(*order)),
                None => return,
            }
        }
    }

    /// A lane of which nothing was heard had enough for whoever came into it.
    fn covers(&self, order: OrderId) -> bool {
        self.free.is_none_or(|free| self.reached(free).any(|(reached, _)| reached == order))
    }

    fn outlook(&self, order: OrderId, units: u64, now: Instant) -> Outlook {
        if self.covers(order) {
            Outlook::Covered
        } else if self.fresh(now).is_some_and(|verdict| verdict.left < units) {
            Outlook::SoldOut
        } else {
            Outlook::Waiting
        }
    }

    /// Units of those for whom there is hope.
    fn hoped_for(&self, now: Instant) -> u64 {
        let left = self.fresh(now).map_or(u64::MAX, |verdict| verdict.left);
        self.queue.iter().map(|(_, units)| *units).filter(|units| *units <= left).sum()
    }

    /// The same with those who have given up since somebody gathers.
    fn to_be_had(&self, now: Instant) -> u64 {
        let left = self.fresh(now).map_or(u64::MAX, |verdict| verdict.left);
        let gone = self.gone.iter().map(|gone| gone.units).filter(|units| *units <= left).sum::<u64>();
        self.hoped_for(now).saturating_add(gone)
    }

    fn missing(&self, now: Instant) -> u64 {
        let Some(free) = self.free else { return 0 };
        let elsewhere = self.fresh(now).map_or(u64::MAX, |verdict| verdict.elsewhere);
        self.to_be_had(now).saturating_sub(free).min(elsewhere)
    }

    fn is_short(&self, now: Instant) -> bool {
        self.free.is_some_and(|free| self.to_be_had(now) > free)
    }

    fn somebody_waits(&self, now: Instant) -> bool {
        self.free.is_some_and(|free| self.hoped_for(now) > free)
    }

    /// Wakes those whose outlook may be another one now.
    fn wake(&self, orders: &HashMap<OrderId, Parked>) {
        let wake = |order: &OrderId| orders.get(order).into_iter().for_each(|parked| parked.changed.notify_one());
        self.reached(self.free.unwrap_or(u64::MAX)).for_each(|(order, _)| wake(&order));
        if let Some(Verdict { left, .. }) = self.verdict {
            self.queue.iter().filter(|(_, units)| *units > left).for_each(|(order, _)| wake(order));
        }
    }
}

impl Gathering {
    /// What is to be gathered.
    pub(crate) fn skus(&self) -> &[Sku] {
        &self.skus
    }

    /// Gives up those that nobody waits for any more, and nobody has given up since the round before.
    pub(crate) fn narrow(&mut self) {
        let (now, lanes, shard) = (Instant::now(), &self.lanes, self.shard);
        self.skus.retain(|sku| {
            let still = lanes.with(shard, sku, |lane, _| {
                lane.gone.retain(|gone| !gone.seen);
                lane.gone.iter_mut().for_each(|gone| gone.seen = true);
                lane.gathering = lane.is_short(now);
                if !lane.gathering {
                    lane.gone.clear();
                }
                lane.gathering
            });
            still.unwrap_or(false)
        });
    }
}

impl Drop for Gathering {
    fn drop(&mut self) {
        for sku in &self.skus {
            self.lanes.with(self.shard, sku, |lane, _| {
                lane.gathering = false;
                lane.gone.clear();
            });
        }
    }
}

impl Place {
    /// How it looks now.
    pub(crate) fn outlook(&self) -> Outlook {
        let now = Instant::now();
        self.lanes.yards().get(&self.shard).map_or(Outlook::Waiting, |yard| yard.outlook(self.order, now))
    }

    /// Waits for the outlook to change. A change between two calls is not missed.
    pub(crate) async fn changed(&self) {
        self.changed.notified().await;
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.lanes.leave(self.shard, self.order);
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use shared::Quantity;
    use shared::id::{Slot, USER_EPOCH_MS};

    use super::*;

    fn shard() -> ShardId {
        ShardId::try_from(1).unwrap()
    }

    fn mug() -> Sku {
        "MUG".parse().unwrap()
    }

    fn order(number: u8) -> OrderId {
        OrderId::mint(USER_EPOCH_MS, Slot::new(1).unwrap(), [number; 8])
    }

    fn wants(units: i64) -> Vec<Held> {
        vec![Held { sku: mug(), quantity: Quantity::new(units).unwrap() }]
    }

    fn park(lanes: &Lanes, number: u8, units: i64, free: u64) -> Result<Place, NoPlace> {
        let short = [Shortfall { sku: mug(), wanted: units.unsigned_abs(), free }];
        lanes.park(shard(), order(number), &wants(units), &short)
    }

    #[tokio::test]
    async fn orders_are_covered_in_the_order_of_their_coming() {
        let lanes = Lanes::default();
        let (first, second) = (park(&lanes, 1, 3, 0).unwrap(), park(&lanes, 2, 1, 0).unwrap());
        lanes.observe(shard(), &mug(), 2);
        // The second would fit; it comes after the first all the same.
        assert_eq!((first.outlook(), second.outlook()), (Outlook::Waiting, Outlook::Waiting));
        lanes.observe(shard(), &mug(), 3);
        assert_eq!((first.outlook(), second.outlook()), (Outlook::Covered, Outlook::Waiting));
        assert_eq!(lanes.parked(shard(), &mug()), 4);
        drop(first);
        assert_eq!((second.outlook(), lanes.parked(shard(), &mug())), (Outlook::Covered, 1));
    }

    #[tokio::test]
    async fn an_order_that_comes_again_keeps_its_place() {
        let lanes = Lanes::default();
        let (first, second) = (park(&lanes, 1, 2, 0).unwrap(), park(&lanes, 2, 2, 0).unwrap());
        let again = park(&lanes, 1, 2, 0).unwrap();
        drop(first);
        lanes.observe(shard(), &mug(), 2);
        assert_eq!((again.outlook(), second.outlook()), (Outlook::Covered, Outlook::Waiting));
    }

    #[tokio::test(start_paused = true)]
    async fn sold_out_is_believed_for_a_moment_only() {
        let lanes = Lanes::default();
        let (small, large) = (park(&lanes, 1, 2, 0).unwrap(), park(&lanes, 2, 3, 0).unwrap());
        lanes.judge(shard(), &mug(), 0, Some(2));
        assert_eq!((small.outlook(), large.outlook()), (Outlook::Waiting, Outlook::SoldOut));
        assert_eq!(park(&lanes, 3, 3, 0).unwrap_err(), NoPlace::SoldOut);
        tokio::time::advance(BELIEVED).await;
        assert_eq!(large.outlook(), Outlook::Waiting);
        assert!(park(&lanes, 3, 3, 0).is_ok());
    }

    #[tokio::test]
    async fn a_newcomer_who_finds_nothing_left_does_not_hide_what_is_there_for_those_before_him() {
        let lanes = Lanes::default();
        let first = park(&lanes, 1, 3, 0).unwrap();
        lanes.observe(shard(), &mug(), 3);
        // He was told of nothing, for all of it is the first one's.
        let second = park(&lanes, 2, 2, 0).unwrap();
        assert_eq!((first.outlook(), second.outlook()), (Outlook::Covered, Outlook::Waiting));
        assert_eq!(lanes.missing(shard(), &mug()), 2);
        // The first one was: then it is true.
        let _again = park(&lanes, 1, 3, 0).unwrap();
        assert_eq!((first.outlook(), lanes.missing(shard(), &mug())), (Outlook::Waiting, 5));
    }

    #[tokio::test]
    async fn what_is_missing_is_what_nobody_has_yet_and_somebody_may_have() {
        let lanes = Lanes::default();
        let _places = [park(&lanes, 1, 5, 2).unwrap(), park(&lanes, 2, 4, 2).unwrap()];
        assert_eq!(lanes.missing(shard(), &mug()), 7);
        lanes.judge(shard(), &mug(), 2, Some(6));
        assert_eq!(lanes.missing(shard(), &mug()), 4);
        // All of it is here: nothing is to be gathered, although not everybody can be served.
        lanes.judge(shard(), &mug(), 6, Some(6));
        assert_eq!((lanes.missing(shard(), &mug()), lanes.somebody_waits(shard(), &mug())), (0, true));
    }

    #[tokio::test]
    async fn one_gathers_for_a_lane_at_a_time() {
        let lanes = Lanes::default();
        let place = park(&lanes, 1, 5, 2).unwrap();
        let mut gathering = lanes.take_up(shard(), &[mug()]);
        assert_eq!(gathering.skus(), [mug()]);
        assert!(lanes.take_up(shard(), &[mug()]).skus().is_empty());
        gathering.narrow();
        assert_eq!(gathering.skus(), [mug()]);
        drop(gathering);
        let mut gathering = lanes.take_up(shard(), &[mug()]);
        drop(place);
        // What is under way goes on for one round more: whoever gave up comes again.
        gathering.narrow();
        assert_eq!((gathering.skus(), lanes.missing(shard(), &mug())), ([mug()].as_slice(), 3));
        assert!(!lanes.somebody_waits(shard(), &mug()));
        gathering.narrow();
        assert!(gathering.skus().is_empty());
        lanes.sweep();
        assert!(lanes.are_empty());
    }

    #[tokio::test]
    async fn an_order_that_cannot_be_served_does_not_keep_the_others_from_what_is_here() {
        let lanes = Lanes::default();
        let (large, small) = (park(&lanes, 1, 9, 2).unwrap(), park(&lanes, 2, 2, 0).unwrap());
        lanes.judge(shard(), &mug(), 2, None);
        assert_eq!((large.outlook(), small.outlook()), (Outlook::Waiting, Outlook::Waiting));
        // A second round brought nothing either, and nothing could be told.
        lanes.judge(shard(), &mug(), 2, None);
        assert_eq!((large.outlook(), small.outlook()), (Outlook::Waiting, Outlook::Covered));
        assert_eq!((lanes.parked(shard(), &mug()), lanes.missing(shard(), &mug())), (2, 9));
        // It has kept its place: what comes is for it first.
        lanes.observe(shard(), &mug(), 9);
        assert_eq!((large.outlook(), small.outlook()), (Outlook::Covered, Outlook::Waiting));
        assert_eq!(lanes.parked(shard(), &mug()), 11);
    }

    #[tokio::test]
    async fn an_order_that_was_passed_over_is_served_when_those_before_it_leave() {
        let lanes = Lanes::default();
        let (first, second) = (park(&lanes, 1, 3, 5).unwrap(), park(&lanes, 2, 4, 2).unwrap());
        lanes.judge(shard(), &mug(), 5, None);
        lanes.judge(shard(), &mug(), 5, None);
        assert_eq!((first.outlook(), second.outlook()), (Outlook::Covered, Outlook::Waiting));
        drop(first);
        assert_eq!((second.outlook(), lanes.parked(shard(), &mug())), (Outlook::Covered, 4));
    }

    #[tokio::test]
    async fn whoever_gives_up_and_comes_again_is_fetched_for_once() {
        let lanes = Lanes::default();
        let place = park(&lanes, 1, 5, 2).unwrap();
        let gathering = lanes.take_up(shard(), &[mug()]);
        drop(place);
        assert_eq!(lanes.missing(shard(), &mug()), 3);
        let _again = park(&lanes, 1, 5, 2).unwrap();
        assert_eq!(lanes.missing(shard(), &mug()), 3);
        drop(gathering);
        assert_eq!(lanes.missing(shard(), &mug()), 3);
    }

    #[tokio::test]
    async fn an_order_that_waits_for_something_else_gives_way() {
        let (lanes, cup) = (Lanes::default(), "CUP".parse::<Sku>().unwrap());
        let mut both = wants(2);
        both.push(Held { sku: cup.clone(), quantity: Quantity::new(1).unwrap() });
        let short = [Shortfall { sku: cup.clone(), wanted: 1, free: 0 }];
        let _waits = lanes.park(shard(), order(1), &both, &short).unwrap();
        assert_eq!(lanes.waiting(shard(), &mug(), 5), Waiting { units: 2, served: 0 });
        lanes.observe(shard(), &cup, 1);
        assert_eq!(lanes.waiting(shard(), &mug(), 5), Waiting { units: 2, served: 2 });
    }

    #[tokio::test]
    async fn only_so_many_wait() {
        let lanes = Lanes::default();
        let slot = Slot::new(1).unwrap();
        let mint = |number: u64| OrderId::mint(USER_EPOCH_MS, slot, number.to_be_bytes());
        let numbers = 0..u64::try_from(MOST_PARKED).unwrap();
        let places: Vec<_> = numbers.map(|number| lanes.park(shard(), mint(number), &wants(1), &[]).unwrap()).collect();
        assert_eq!(lanes.park(shard(), mint(u64::MAX), &wants(1), &[]).unwrap_err(), NoPlace::Full);
        drop(places);
        assert!(lanes.park(shard(), mint(u64::MAX), &wants(1), &[]).is_ok());
    }

    proptest! {
        /// Whoever is covered could be served together with all others who are, out of what is free.
        #[test]
        fn covered_orders_never_want_more_than_is_free(
            wanted in prop::collection::vec(1..20_i64, 1..30), gone in prop::collection::vec(0..30_usize, 0..10), free in 0..200_u64,
        ) {
            let lanes = Lanes::default();
            let mut places: Vec<_> = (0_u8..)
                .zip(&wanted)
                .map(|(number, units)| (units.unsigned_abs(), Some(park(&lanes, number, *units, 0).unwrap())))
                .collect();
            for index in gone {
                if let Some((_, place)) = places.get_mut(index) { *place = None; }
            }
            lanes.observe(shard(), &mug(), free);
            let staying = || places.iter().filter_map(|(units, place)| place.as_ref().map(|place| (units, place)));
            let covered: u64 = staying().filter(|(_, place)| place.outlook() == Outlook::Covered).map(|(units, _)| units).sum();
            prop_assert!(covered <= free);
            prop_assert_eq!(lanes.parked(shard(), &mug()), staying().map(|(units, _)| units).sum::<u64>());
            prop_assert_eq!(lanes.waiting(shard(), &mug(), free).served, covered);
        }
    }
}
