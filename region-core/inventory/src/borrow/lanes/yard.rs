//! The lanes of one shard, and the orders in them: an order waits in a lane for each of its SKUs, and goes from all at once.

use std::collections::HashMap;
use std::sync::Arc;

use shared::{OrderId, Sku};
use tokio::sync::Notify;
use tokio::time::Instant;

use super::lane::Lane;
use super::{NoPlace, Outlook};
use crate::rules::{Held, Shortfall};
use crate::transfer::rules::Waiting;

/// Orders that wait in one shard at most.
pub(super) const MOST_PARKED: usize = 1_024;
/// Orders that are looked at, at most, when it is counted how many could be served: the others give way.
const MOST_SERVED: usize = 64;

#[derive(Debug, Default)]
pub(super) struct Yard {
    lanes: HashMap<Sku, Lane>,
    orders: HashMap<OrderId, Parked>,
}

#[derive(Debug)]
struct Parked {
    needs: Vec<(Sku, u64)>,
    changed: Arc<Notify>,
    /// Tickets for it: one that comes again keeps its place until it has gone for good.
    holders: u32,
}

impl Yard {
    /// Puts an order that was found short at the end of its lanes, or gives it one more ticket for the place that it has.
    /// What is given is told of every change.
    pub(super) fn park(
        &mut self,
        order: OrderId,
        wanted: &[Held],
        short: &[Shortfall],
        now: Instant,
    ) -> Result<Arc<Notify>, NoPlace> {
        let again = self.orders.contains_key(&order);
        if !again {
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
        Ok(self.enqueue(order, wanted))
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

    fn enqueue(&mut self, order: OrderId, wanted: &[Held]) -> Arc<Notify> {
        if let Some(parked) = self.orders.get_mut(&order) {
            parked.holders += 1;
            return Arc::clone(&parked.changed);
        }
        let needs: Vec<_> = wanted.iter().map(|held| (held.sku.clone(), u64::from(held.quantity.units()))).collect();
        for (sku, units) in &needs {
            self.lanes.entry(sku.clone()).or_default().join(order, *units);
        }
        let changed = Arc::new(Notify::new());
        self.orders.insert(order, Parked { needs, changed: Arc::clone(&changed), holders: 1 });
        changed
    }

    /// Takes a ticket back; with the last one the order goes from its lanes.
    pub(super) fn leave(&mut self, order: OrderId, now: Instant) {
        let Some(parked) = self.orders.get_mut(&order) else { return };
        parked.holders -= 1;
        if parked.holders > 0 {
            return;
        }
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

    pub(super) fn lanes(&self) -> impl ExactSizeIterator<Item = &Lane> {
        self.lanes.values()
    }

    /// Removes lanes in which nobody waits and of which nothing is known.
    pub(super) fn sweep(&mut self, now: Instant) {
        self.lanes.retain(|_, lane| !lane.is_idle(now));
    }

    pub(super) fn waiting(&self, sku: &Sku, free: u64) -> Waiting {
        let Some(lane) = self.lanes.get(sku) else { return Waiting::default() };
        let reached = lane.reached(free).take(MOST_SERVED);
        let served = reached.filter(|(order, _)| self.lacks_nothing_but(*order, sku)).map(|(_, units)| units).sum();
        Waiting { units: lane.units(), served }
    }

    /// Whether the order's units of every other SKU are here.
    fn lacks_nothing_but(&self, order: OrderId, sku: &Sku) -> bool {
        let here = |other: &Sku| other == sku || self.lanes.get(other).is_some_and(|lane| lane.covers(order));
        self.orders.get(&order).is_some_and(|parked| parked.needs.iter().all(|(other, _)| here(other)))
    }

    /// How it looks for an order over all of its SKUs.
    pub(super) fn outlook(&self, order: OrderId, now: Instant) -> Outlook {
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
