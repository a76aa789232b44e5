//! Moving a slot from one shard to another while shoppers write.
//!
//! A move is planned at a new epoch `e`, one at a time for each slot: the next one may be planned once the last is finished or aborted.
//! 1. *import*: the target's row becomes importing(e), unless it is at `e` or above already.
//! 2. *bulk copy*: the source's rows are read and written into the target while it is importing(e); the source goes on selling.
//! 3. *freeze*: the source's row goes from owner to frozen(e), under a lock that waits for the writes under way.
//! 4. *delta*: the source's rows are read again and written into the target, which becomes copied(e).
//! 5. *own*: the target becomes owner(e); its allotments take over the units that the slot's orders hold.
//! 6. *flip*: the map says so, if it does not know a higher epoch.
//! 7. *retire*: the source goes from frozen(e) to moved(e) and redirects; its allotments let the held units go.
//!
//! *Abort*, before 5: **first** the target is *fenced*, moved(e), so that nothing of this move can happen there; **then** the source is
//! *thawed*: it owns the slot at `e + 1`, also if it was not frozen yet, so that nobody can freeze it for this move afterwards. If the
//! fence finds that the target owns the slot, the move goes on.
//!
//! Two coordinators may carry out the same move, or one of them an older move, each from whatever it remembers. A shopper's write
//! locks the row of the shard it came to, and is accepted by an owner alone.
//!
//! A shard that died and was promoted is not here: its rows are those of its last commit (`transfer` has the fence for that).

mod state;
mod steps;

use stateright::Property;

use crate::explore::{fails, holds};
use state::{Coordinator, Move, Row, ShardNo, State, Step};

/// Ways to get it wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Bug {
    /// A frozen slot takes writes.
    WriteDuringFreeze,
    /// The freeze does not wait for writes under way.
    FreezeWithoutWaiting,
    /// A shard takes whatever an old map sends it.
    NoEpochCheck,
    /// Copied rows are written whatever the target's row says.
    UnguardedCopy,
    /// An abort thaws the source before it fences the target.
    ThawBeforeFence,
    /// An abort leaves a source alone that was not frozen yet.
    ThawOnlyTheFrozen,
}

/// The protocol in a scope, perhaps got wrong.
#[derive(Clone, Debug)]
struct Model {
    writes: u8,
    moves: u8,
    bug: Option<Bug>,
}

/// What may happen next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Action {
    /// A shopper's write comes to a shard, is let in by the slot's row and holds its share lock.
    BeginWrite(ShardNo),
    /// It commits and is acknowledged.
    CommitWrite(ShardNo),
    /// An operator plans a move to the other shard.
    Plan,
    /// A coordinator takes up the planned move from its beginning.
    TakeUp(usize),
    Step(usize),
    /// A coordinator decides to give its move up.
    Abort(usize),
}

impl Model {
    fn good() -> Self {
        Self { writes: 2, moves: 2, bug: None }
    }

    fn with(bug: Bug) -> Self {
        Self { bug: Some(bug), ..Self::good() }
    }

    fn lets_in(&self, state: &State, number: ShardNo) -> bool {
        match state.shards[number].row {
            Row::Owner => true,
            Row::Frozen if self.bug == Some(Bug::WriteDuringFreeze) => true,
            // Shard 0 is in the oldest map, shard 1 only in the present one.
            _ => self.bug == Some(Bug::NoEpochCheck) && (number == 0 || state.map.1 == number),
        }
    }

    /// Epochs rise by two, which leaves one for the thaw.
    fn next_move(&self, state: &State) -> Option<Move> {
        let epoch = state.planned.map_or(2, |last| last.epoch + 2);
        let from = state.shards.iter().position(|shard| shard.row == Row::Owner)?;
        (state.finished && epoch <= 2 * self.moves).then_some(Move { from, to: 1 - from, epoch })
    }

    fn coordinate(&self, state: &mut State, number: usize) {
        if let Some(coordinator) = state.coordinators[number] {
            let next = self.step(state, coordinator);
            state.coordinators[number] = next.map(|step| Coordinator { step, ..coordinator });
        }
    }

    fn may_abort(coordinator: Coordinator) -> bool {
        !matches!(coordinator.step, Step::Flip | Step::Retire | Step::Fence | Step::Thaw | Step::Finish)
    }

    /// The writes under way end, and a new coordinator carries an unfinished move out.
    fn drain(&self, state: &mut State) {
        for number in 0..state.shards.len() {
            commit(state, number);
        }
        let unfinished = state.planned.filter(|_| !state.finished);
        let mut coordinator = unfinished.map(|of| Coordinator { of, step: Step::Import });
        while let Some(now) = coordinator {
            coordinator = self.step(state, now).map(|step| Coordinator { step, ..now });
        }
    }
}

fn commit(state: &mut State, number: ShardNo) {
    if let Some(write) = state.shards[number].writing.take() {
        state.shards[number].commit(write);
        state.acked |= 1 << write;
    }
}

impl stateright::Model for Model {
    type State = State;
    type Action = Action;

    fn init_states(&self) -> Vec<State> {
        vec![State::new()]
    }

    fn actions(&self, state: &State, actions: &mut Vec<Action>) {
        for (number, shard) in state.shards.iter().enumerate() {
            if shard.writing.is_some() {
                actions.push(Action::CommitWrite(number));
            } else if state.writes < self.writes && self.lets_in(state, number) {
                actions.push(Action::BeginWrite(number));
            }
        }
        if self.next_move(state).is_some() {
            actions.push(Action::Plan);
        }
        for (number, coordinator) in state.coordinators.iter().enumerate() {
            match coordinator {
                Some(coordinator) if Self::may_abort(*coordinator) => {
                    actions.extend([Action::Step(number), Action::Abort(number)]);
                }
                Some(_) => actions.push(Action::Step(number)),
                None if !state.finished => actions.push(Action::TakeUp(number)),
                None => {}
            }
        }
    }

    fn next_state(&self, last: &State, action: Action) -> Option<State> {
        let mut state = last.clone();
        match action {
            Action::BeginWrite(number) => {
                state.shards[number].writing = Some(state.writes);
                state.writes += 1;
            }
            Action::CommitWrite(number) => commit(&mut state, number),
            Action::Plan => {
                state.planned = self.next_move(last);
                state.finished = false;
            }
            Action::TakeUp(number) => {
                state.coordinators[number] = state.planned.map(|of| Coordinator { of, step: Step::Import });
            }
            Action::Step(number) => self.coordinate(&mut state, number),
            Action::Abort(number) => {
                if let Some(coordinator) = &mut state.coordinators[number] {
                    coordinator.step = self.abort();
                }
            }
        }
        (state != *last).then_some(state)
    }

    fn properties(&self) -> Vec<Property<Self>> {
        let mut properties = vec![
            Property::always(ONE_OWNER, |_: &Self, state: &State| state.owners() <= 1),
            Property::always(NOTHING_LOST, |_: &Self, state: &State| {
                state.authority().is_some_and(|shard| shard.orders & state.acked == state.acked)
            }),
            Property::always(UNITS_FOLLOW, |_: &Self, state: &State| {
                state.shards.iter().all(|shard| shard.reserved == answered_for(shard))
            }),
            Property::always(SETTLES, |model: &Self, state: &State| {
                let mut drained = state.clone();
                model.drain(&mut drained);
                is_settled(&drained)
            }),
        ];
        if self.bug.is_none() {
            properties.extend(examples());
        }
        properties
    }
}

const ONE_OWNER: &str = "at most one shard owns the slot";
const NOTHING_LOST: &str = "who answers for the slot has every acknowledged write";
const UNITS_FOLLOW: &str = "held units are counted where their orders are";
const SETTLES: &str = "a new coordinator brings every move to its end";

fn answered_for(shard: &state::Shard) -> i32 {
    if matches!(shard.row, Row::Owner | Row::Frozen) { shard.orders.count_ones().cast_signed() } else { 0 }
}

/// One owner with everything, which the map names; nothing half done.
fn is_settled(state: &State) -> bool {
    let [first, second] = &state.shards;
    let at_rest = matches!((first.row, second.row), (Row::Owner, Row::Moved) | (Row::Moved, Row::Owner));
    let named = &state.shards[state.map.1];
    at_rest && named.row == Row::Owner && named.orders == state.acked
}

fn examples() -> [Property<Model>; 4] {
    [
        Property::sometimes("some slot moves with a write before and one after", |_: &Model, state: &State| {
            state.map == (2, 1) && state.finished && state.acked == 0b11 && state.shards[1].row == Row::Owner
        }),
        Property::sometimes("some move is aborted and the source sells on", |_: &Model, state: &State| {
            state.finished && state.shards[0].is(Row::Owner, 3) && state.acked == 0b11
        }),
        Property::sometimes("some slot moves back", |_: &Model, state: &State| {
            state.finished && state.map == (4, 0) && state.shards[0].is(Row::Owner, 4)
        }),
        Property::sometimes("some coordinator outlives its move and the next", |_: &Model, state: &State| {
            state.finished
                && state.planned.is_some_and(|last| last.epoch == 4)
                && state.coordinators.iter().flatten().any(|old| old.of.epoch == 2)
        }),
    ]
}

#[test]
fn a_slot_moves_under_two_coordinators_without_a_write_lost() {
    holds(Model::good(), 5_000);
}

#[test]
fn writing_during_the_freeze_loses_writes() {
    fails(Model::with(Bug::WriteDuringFreeze), NOTHING_LOST);
}

#[test]
fn freezing_without_waiting_loses_writes() {
    fails(Model::with(Bug::FreezeWithoutWaiting), NOTHING_LOST);
}

#[test]
fn believing_an_old_map_loses_writes() {
    fails(Model::with(Bug::NoEpochCheck), NOTHING_LOST);
}

#[test]
fn copying_into_a_target_that_owns_already_loses_writes() {
    fails(Model::with(Bug::UnguardedCopy), NOTHING_LOST);
}

#[test]
fn thawing_before_fencing_makes_two_owners() {
    fails(Model::with(Bug::ThawBeforeFence), ONE_OWNER);
}

#[test]
fn leaving_an_unfrozen_source_alone_at_an_abort_can_freeze_it_for_ever() {
    fails(Model::with(Bug::ThawOnlyTheFrozen), SETTLES);
}
