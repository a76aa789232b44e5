//! The lane of one SKU: who waits, what was heard, and how it looks for each. Pure: the instant is handed in, and whoever
//! is to be woken is only named.

use std::collections::{HashSet, VecDeque};
use std::time::Duration;

use tokio::time::Instant;

use super::{Claimant, Outlook};

/// How long it is believed how much is left everywhere.
pub(super) const BELIEVED: Duration = Duration::from_millis(250);

#[derive(Debug, Default)]
pub(super) struct Lane {
    queue: VecDeque<(Claimant, u64)>,
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
    passed: HashSet<Claimant>,
    /// What was free at the end of the last round that could tell nothing.
    untold: Option<u64>,
}

/// An order that gave up waiting. What is fetched for it is fetched all the same: it or another will come again for it.
#[derive(Clone, Copy, Debug)]
struct Gone {
    order: Claimant,
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

/// Who comes and goes.
impl Lane {
    /// An order comes to the end of the queue.
    pub(super) fn join(&mut self, order: Claimant, units: u64) {
        self.gone.retain(|gone| gone.order != order);
        self.queue.push_back((order, units));
        self.units += units;
    }

    /// An order that has joined goes.
    pub(super) fn leave(&mut self, order: Claimant, units: u64, now: Instant) {
        if self.gathering && self.outlook(order, units, now) == Outlook::Waiting {
            self.gone.push(Gone { order, units, seen: false });
        }
        self.queue.retain(|(waiting, _)| *waiting != order);
        self.passed.remove(&order);
        self.readmit();
        self.units -= units;
    }

    /// Whether nobody waits in it, nobody gathers for it, and it is not known how much is left.
    pub(super) fn is_idle(&self, now: Instant) -> bool {
        self.queue.is_empty() && !self.gathering && self.fresh(now).is_none()
    }

    /// Units that all wait for.
    pub(super) const fn units(&self) -> u64 {
        self.units
    }

    /// Units that those wait for who are not passed over.
    pub(super) fn parked(&self) -> u64 {
        let passed = self.queue.iter().filter(|(order, _)| self.passed.contains(order));
        self.units - passed.map(|(_, units)| units).sum::<u64>()
    }

    /// Orders from the front with their units, as far as `free` reaches.
    pub(super) fn reached(&self, free: u64) -> impl Iterator<Item = (Claimant, u64)> {
        let mut left = free;
        let in_turn = self.queue.iter().copied().filter(|(order, _)| !self.passed.contains(order));
        in_turn.map_while(move |(order, units)| {
            left = left.checked_sub(units)?;
            Some((order, units))
        })
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
}

/// What is heard.
impl Lane {
    /// So many units are free in the shard.
    pub(super) fn set_free(&mut self, free: u64) {
        if self.free.is_none_or(|before| free > before) {
            self.passed.clear();
        }
        self.free = Some(free);
    }

    /// An order that waited fell short again: it was told what is free for those who come first, so what was believed here
    /// has proved wrong.
    pub(super) fn contradict(&mut self, free: u64) {
        self.verdict = None;
        self.set_free(free);
    }

    /// A newcomer fell short: it was told what is free beside those who wait already.
    pub(super) fn introduce(&mut self, free: u64, now: Instant) {
        if self.free.is_none() || (self.queue.is_empty() && self.fresh(now).is_none()) {
            self.free = Some(free.saturating_add(self.parked()));
        }
    }

    /// So many units were sold.
    pub(super) fn sold(&mut self, units: u64) {
        self.free = self.free.map(|free| free.saturating_sub(units));
    }

    /// What is known is no longer so.
    pub(super) fn forget(&mut self) {
        (self.free, self.verdict, self.untold) = (None, None, None);
        self.passed.clear();
    }

    /// A round has ended: what is free here, and what all shards together have left, if that could be told.
    pub(super) fn judge(&mut self, free: u64, left: Option<u64>, now: Instant) {
        self.set_free(free);
        if left.is_none() {
            self.pass_over(free);
        }
        self.verdict = left.map(|left| Verdict { left, elsewhere: left.saturating_sub(free), at: now });
    }

    fn fresh(&self, now: Instant) -> Option<Verdict> {
        self.verdict.filter(|verdict| now.saturating_duration_since(verdict.at) < BELIEVED)
    }
}

/// How it looks.
impl Lane {
    pub(super) fn outlook(&self, order: Claimant, units: u64, now: Instant) -> Outlook {
        if self.covers(order) {
            Outlook::Covered
        } else if self.is_hopeless(units, now) {
            Outlook::SoldOut
        } else {
            Outlook::Waiting
        }
    }

    /// A lane of which nothing was heard had enough for whoever came into it.
    pub(super) fn covers(&self, order: Claimant) -> bool {
        self.free.is_none_or(|free| self.reached(free).any(|(reached, _)| reached == order))
    }

    /// Whether all shards together have just been seen to have fewer units.
    pub(super) fn is_hopeless(&self, units: u64, now: Instant) -> bool {
        self.fresh(now).is_some_and(|verdict| verdict.left < units)
    }

    /// Whether it is known how much is left everywhere.
    pub(super) fn is_judged(&self, now: Instant) -> bool {
        self.fresh(now).is_some()
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

    /// Units to be had from elsewhere: as many as are missing, as far as there may be any.
    pub(super) fn missing(&self, now: Instant) -> u64 {
        let Some(free) = self.free else { return 0 };
        let elsewhere = self.fresh(now).map_or(u64::MAX, |verdict| verdict.elsewhere);
        self.to_be_had(now).saturating_sub(free).min(elsewhere)
    }

    /// Whether units are missing for those who wait, or for those who have given up since somebody gathers.
    pub(super) fn is_short(&self, now: Instant) -> bool {
        self.free.is_some_and(|free| self.to_be_had(now) > free)
    }

    /// Whether an order waits that is neither covered nor hopeless.
    pub(super) fn somebody_waits(&self, now: Instant) -> bool {
        self.free.is_some_and(|free| self.hoped_for(now) > free)
    }

    /// Those whose outlook may be another one after a change.
    pub(super) fn affected(&self) -> impl Iterator<Item = Claimant> {
        let reached = self.reached(self.free.unwrap_or(u64::MAX)).map(|(order, _)| order);
        let left = self.verdict.map_or(u64::MAX, |verdict| verdict.left);
        let hopeless = self.queue.iter().filter(move |(_, units)| *units > left).map(|(order, _)| *order);
        reached.chain(hopeless)
    }
}

/// Who gathers for it.
impl Lane {
    /// Takes it up, unless somebody gathers for it or nobody waits.
    pub(super) fn take_up(&mut self, now: Instant) -> bool {
        let takes = !self.gathering && self.somebody_waits(now);
        self.gathering |= takes;
        takes
    }

    /// A round has ended: tells whether there is one more, which there is for those who gave up in the last one.
    pub(super) fn goes_on(&mut self, now: Instant) -> bool {
        self.gone.retain(|gone| !gone.seen);
        self.gone.iter_mut().for_each(|gone| gone.seen = true);
        self.gathering = self.is_short(now);
        if !self.gathering {
            self.gone.clear();
        }
        self.gathering
    }

    /// Nobody gathers for it any more.
    pub(super) fn put_down(&mut self) {
        self.gathering = false;
        self.gone.clear();
    }

    #[cfg(test)]
    pub(super) const fn is_taken_up(&self) -> bool {
        self.gathering
    }
}
