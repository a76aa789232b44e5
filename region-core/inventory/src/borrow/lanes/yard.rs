//! The lanes of one shard, and the orders in them: an order waits in a lane for each of its SKUs, and goes from all at once.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use shared::Sku;
use tokio::sync::Notify;
use tokio::time::Instant;

use super::lane::Lane;
use super::{Claimant, NoPlace, Outlook};
use crate::rules::{Held, Shortfall};
use crate::transfer::rules::Waiting;

/// Orders that wait in one shard at most.
pub(super) const MOST_PARKED: usize = 1_024;
/// Orders that are looked at, at most, when it is counted how many could be served: the others give way.
const MOST_SERVED: usize = 64;
/// How long it is remembered that an order was told to come again, and its place kept if it has done so before: longer than it
/// was told to stay away.
pub(super) const KEPT: Duration = Duration::from_secs(3);

/// Who gather for one shard at once, at most: while the round of one waits for a donor that is slow, another's need not.
pub(super) const MOST_GATHERERS: usize = 4;

#[derive(Debug, Default)]
pub(super) struct Yard {
    lanes: HashMap<Sku, Lane>,
    orders: HashMap<Claimant, Parked>,
    /// Orders that were told to come again and whose place was not kept, and when.
    told: HashMap<Claimant, Instant>,
    /// How many gather.
    gatherers: usize,
}

#[derive(Debug)]
struct Parked {
    needs: Vec<(Sku, u64)>,
    changed: Arc<Notify>,
    /// Tickets for it: one that is here more than once keeps its place until all of them are taken back.
    holders: u32,
    /// Whether it came again after it was told to.
    came_again: bool,
    /// While it is away: until when its place is kept.
    kept_until: Option<Instant>,
}

impl Yard {
    /// Puts an order that was found short at the end of its lanes, or gives it one more ticket for the place that it has.
    /// What is given is told of every change.
    pub(super) fn park(
        &mut self,
        order: Claimant,
        wanted: &[Held],
        short: &[Shortfall],
        now: Instant,
    ) -> Result<Arc<Notify>, NoPlace> {
        let again = self.orders.get(&order).is_some_and(|parked| parked.holders > 0);
        if !self.orders.contains_key(&order) {
            self.admit(wanted, now)?;
        }
        for short in short {
            let lane = self.lanes.entry(short.sku.clone()).or_default();
            if again {
                lane.contradict(short.free);
            } else {
                lane.introduce(short.free, now);
            }
        }
        Ok(self.enqueue(order, wanted, now))
    }

    fn admit(&self, wanted: &[Held], now: Instant) -> Result<(), NoPlace> {
        let hopeless = |held: &Held| {
            let lane = self.lanes.get(&held.sku);
            lane.is_some_and(|lane| lane.is_hopeless(u64::from(held.quantity.units()), now))
        };
        if wanted.iter().any(hopeless) {
            return Err(NoPlace::SoldOut);
        }
        if self.orders.len() < MOST_PARKED { Ok(()) } else { Err(NoPlace::Full) }
    }

    fn enqueue(&mut self, order: Claimant, wanted: &[Held], now: Instant) -> Arc<Notify> {
        if let Some(parked) = self.orders.get_mut(&order) {
            (parked.holders, parked.kept_until) = (parked.holders + 1, None);
            return Arc::clone(&parked.changed);
        }
        let needs: Vec<_> = wanted.iter().map(|held| (held.sku.clone(), u64::from(held.quantity.units()))).collect();
        for (sku, units) in &needs {
            self.lanes.entry(sku.clone()).or_default().join(order, *units);
        }
        let (changed, came_again) =
            (Arc::new(Notify::new()), self.told.remove(&order).is_some_and(|told| recent(told, now)));
        let parked = Parked { needs, changed: Arc::clone(&changed), holders: 1, came_again, kept_until: None };
        self.orders.insert(order, parked);
        changed
    }

    /// Takes a ticket back. With the last one the order goes from its lanes; but if it has been told to come again, and has
    /// come again before, its place is kept for a while.
    pub(super) fn leave(&mut self, order: Claimant, comes_again: bool, now: Instant) {
        let Some(parked) = self.orders.get_mut(&order) else { return };
        parked.holders = parked.holders.saturating_sub(1);
        if parked.holders > 0 {
            return;
        }
        if comes_again && parked.came_again {
            parked.kept_until = Some(now + KEPT);
            return;
        }
        if comes_again && self.told.len() < MOST_PARKED {
            self.told.insert(order, now);
        }
        self.remove(order, now);
    }

    /// Gives up the place that is kept for an order while it is away. Tells whether there was one.
    pub(super) fn give_up(&mut self, order: Claimant, now: Instant) -> bool {
        let kept = self.orders.get(&order).is_some_and(|parked| parked.kept_until.is_some());
        if kept {
            self.remove(order, now);
        }
        kept
    }

    /// Gives up the places that were kept long enough.
    fn end_kept(&mut self, now: Instant) {
        let over = |parked: &Parked| parked.kept_until.is_some_and(|until| until <= now);
        let over: Vec<Claimant> =
            self.orders.iter().filter(|(_, parked)| over(parked)).map(|(order, _)| *order).collect();
        over.into_iter().for_each(|order| self.remove(order, now));
    }

    fn remove(&mut self, order: Claimant, now: Instant) {
        let Some(Parked { needs, .. }) = self.orders.remove(&order) else { return };
        for (sku, units) in needs {
            self.change(&sku, |lane| lane.leave(order, units, now));
            if self.lanes.get(&sku).is_some_and(|lane| lane.is_idle(now)) {
                self.lanes.remove(&sku);
            }
        }
    }

    /// Changes a lane, if there is one, and wakes those whose outlook may be another one now.
    pub(super) fn change(&mut self, sku: &Sku, change: impl FnOnce(&mut Lane)) {
        let Some(lane) = self.lanes.get_mut(sku) else { return };
        change(lane);
        lane.affected().filter_map(|order| self.orders.get(&order)).for_each(|parked| parked.changed.notify_one());
    }

    pub(super) fn lane(&mut self, sku: &Sku) -> Option<&mut Lane> {
        self.lanes.get_mut(sku)
    }

    /// Takes up those of these lanes that nobody gathers for and somebody waits in: none if as many gather as may.
    pub(super) fn take_up(&mut self, skus: &[Sku], now: Instant) -> Vec<Sku> {
        if self.gatherers >= MOST_GATHERERS {
            return Vec::new();
        }
        let mut takes = |sku: &Sku| self.lanes.get_mut(sku).is_some_and(|lane| lane.take_up(now));
        let taken: Vec<Sku> = skus.iter().filter(|sku| takes(sku)).cloned().collect();
        self.gatherers += usize::from(!taken.is_empty());
        taken
    }

    /// Takes up other such lanes for somebody who gathers for so many already, `most` together at most. With none at all he
    /// no longer counts, from the same moment on: whoever comes later finds room.
    pub(super) fn take_up_more(&mut self, taken: usize, most: usize, now: Instant) -> Vec<Sku> {
        let room = most.saturating_sub(taken);
        let waiting = self.lanes.iter_mut().filter_map(|(sku, lane)| lane.take_up(now).then(|| sku.clone()));
        let more: Vec<Sku> = waiting.take(room).collect();
        if taken + more.len() == 0 {
            self.gatherers = self.gatherers.saturating_sub(1);
        }
        more
    }

    /// Somebody gathers no more, though something may be missing.
    pub(super) fn put_down(&mut self, skus: &[Sku]) {
        self.gatherers = self.gatherers.saturating_sub(1);
        for sku in skus {
            self.lanes.get_mut(sku).into_iter().for_each(Lane::put_down);
        }
    }

    pub(super) fn lanes(&self) -> impl ExactSizeIterator<Item = &Lane> {
        self.lanes.values()
    }

    /// Removes places that were kept in vain, and lanes in which nobody waits and of which nothing is known.
    pub(super) fn sweep(&mut self, now: Instant) {
        self.end_kept(now);
        self.told.retain(|_, told| recent(*told, now));
        self.lanes.retain(|_, lane| !lane.is_idle(now));
    }

    pub(super) fn waiting(&self, sku: &Sku, free: u64) -> Waiting {
        let Some(lane) = self.lanes.get(sku) else { return Waiting::default() };
        let reached = lane.reached(free).take(MOST_SERVED);
        let served = reached.filter(|(order, _)| self.lacks_nothing_but(*order, sku)).map(|(_, units)| units).sum();
        Waiting { units: lane.units(), served }
    }

    /// Whether the order's units of every other SKU are here.
    fn lacks_nothing_but(&self, order: Claimant, sku: &Sku) -> bool {
        let here = |other: &Sku| other == sku || self.lanes.get(other).is_some_and(|lane| lane.covers(order));
        self.orders.get(&order).is_some_and(|parked| parked.needs.iter().all(|(other, _)| here(other)))
    }

    /// How it looks for an order over all of its SKUs.
    pub(super) fn outlook(&self, order: Claimant, now: Instant) -> Outlook {
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

/// Whether an order that was told then to come again may still be expected.
fn recent(told: Instant, now: Instant) -> bool {
    now.saturating_duration_since(told) < KEPT
}
