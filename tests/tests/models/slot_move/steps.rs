//! The coordinator's steps: each is one compare-and-set on one row, so that a coordinator that was given up for dead and its
//! successor may both go on.

use super::state::{Coordinator, Move, Orders, Row, Shard, State, Step};
use super::{Bug, Model};

impl Model {
    /// Does the coordinator's step; its next one, or nothing when it is done. The state is left as it was by a step whose
    /// row says otherwise, and by one that waits.
    pub(crate) fn step(&self, state: &mut State, Coordinator { of, step }: Coordinator) -> Option<Step> {
        let Move { from, to, epoch } = of;
        match step {
            Step::Import => Some(import(&mut state.shards[to], epoch)),
            Step::ReadBulk => Some(Step::WriteBulk(state.shards[from].orders)),
            Step::WriteBulk(orders) => Some(self.write_bulk(&mut state.shards[to], epoch, orders)),
            Step::Freeze => Some(self.freeze(&mut state.shards[from], epoch)),
            Step::ReadDelta => Some(read_delta(&state.shards[from], epoch)),
            Step::WriteDelta(orders) => Some(self.write_delta(&mut state.shards[to], epoch, orders)),
            Step::Own => Some(own(&mut state.shards[to], epoch)),
            Step::Flip => Some(flip(state, of)),
            Step::Retire => Some(retire(&mut state.shards[from], epoch)),
            Step::Fence => Some(self.fence(&mut state.shards[to], epoch)),
            Step::Thaw => Some(self.thaw(&mut state.shards[from], epoch)),
            Step::Finish => finish(state, of),
        }
    }

    /// The first step of giving a move up.
    pub(crate) fn abort(&self) -> Step {
        if self.bug == Some(Bug::ThawBeforeFence) { Step::Thaw } else { Step::Fence }
    }

    /// Only a target that is importing under this epoch takes rows.
    fn write_bulk(&self, target: &mut Shard, epoch: u8, orders: Orders) -> Step {
        if target.is(Row::Importing, epoch) || self.bug == Some(Bug::UnguardedCopy) {
            target.orders = orders;
        }
        Step::Freeze
    }

    /// Waits for the writes under way: they hold the row's share lock.
    fn freeze(&self, source: &mut Shard, epoch: u8) -> Step {
        if source.row == Row::Owner && source.epoch < epoch {
            if source.writing.is_some() && self.bug != Some(Bug::FreezeWithoutWaiting) {
                return Step::Freeze;
            }
            source.becomes(Row::Frozen, epoch);
        }
        Step::ReadDelta
    }

    fn write_delta(&self, target: &mut Shard, epoch: u8, orders: Orders) -> Step {
        if target.is(Row::Importing, epoch) {
            target.orders = orders;
            target.becomes(Row::Copied, epoch);
        } else if self.bug == Some(Bug::UnguardedCopy) {
            target.orders = orders;
        }
        Step::Own
    }

    /// The target can no longer own the slot under this epoch; if it does already, the move goes on instead.
    fn fence(&self, target: &mut Shard, epoch: u8) -> Step {
        let owns = target.row == Row::Owner || target.row == Row::Frozen;
        if owns && target.epoch >= epoch {
            return Step::Flip;
        }
        if target.epoch <= epoch {
            target.becomes(Row::Moved, epoch);
            target.orders = 0;
        }
        if self.bug == Some(Bug::ThawBeforeFence) { Step::Finish } else { Step::Thaw }
    }

    /// The source owns the slot again, under an epoch at which nobody can freeze it for this move any more.
    fn thaw(&self, source: &mut Shard, epoch: u8) -> Step {
        let ours = source.is(Row::Frozen, epoch) || (source.row == Row::Owner && source.epoch < epoch);
        let leaves_it = self.bug == Some(Bug::ThawOnlyTheFrozen) && source.row == Row::Owner;
        if ours && !leaves_it {
            source.becomes(Row::Owner, epoch + 1);
        }
        if self.bug == Some(Bug::ThawBeforeFence) { Step::Fence } else { Step::Finish }
    }
}

fn import(target: &mut Shard, epoch: u8) -> Step {
    if target.row == Row::Moved && target.epoch < epoch {
        target.becomes(Row::Importing, epoch);
        target.orders = 0;
    }
    Step::ReadBulk
}

fn read_delta(source: &Shard, epoch: u8) -> Step {
    if source.is(Row::Frozen, epoch) { Step::WriteDelta(source.orders) } else { Step::Own }
}

/// The units of the slot's orders are the target's from here on.
fn own(target: &mut Shard, epoch: u8) -> Step {
    if target.is(Row::Copied, epoch) {
        target.becomes(Row::Owner, epoch);
        target.reserved += target.orders.count_ones().cast_signed();
    }
    if target.is(Row::Owner, epoch) { Step::Flip } else { Step::Fence }
}

fn flip(state: &mut State, of: Move) -> Step {
    if state.map.0 < of.epoch {
        state.map = (of.epoch, of.to);
    }
    Step::Retire
}

/// The source redirects, and its allotment no longer counts the slot's units.
fn retire(source: &mut Shard, epoch: u8) -> Step {
    if source.is(Row::Frozen, epoch) {
        source.becomes(Row::Moved, epoch);
        source.reserved -= source.orders.count_ones().cast_signed();
        source.orders = 0;
    }
    Step::Finish
}

fn finish(state: &mut State, of: Move) -> Option<Step> {
    if state.planned == Some(of) {
        state.finished = true;
    }
    None
}
