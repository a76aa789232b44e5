//! Moving stock between shards.
//!
//! The **borrower** starts. It draws `seq` from its counter row in the transaction that inserts the incoming half, *pending* (begin), and sends
//! GRANT. The **donor** debits what it gives and inserts the outgoing half, *sent*, in one transaction (grant), and repeats its answer for a
//! repeated GRANT; a refusal is written too, *acked* at once. The borrower credits only if its half is still pending (credit), and says ACK; the
//! donor sets *acked* (acknowledge) and says so, upon which the borrower's half is *settled*. Recovery sends the GRANT of what is pending again,
//! but only to settle it: a donor that has not seen it refuses.
//!
//! A donor whose half stays *sent* asks STATUS. The borrower answers *done*; or, if the transfer is pending or unknown, writes *cancelled* in the
//! same transaction and answers so: this tombstone keeps a late answer from being credited, and is settled only when the donor has said CLOSED. Only on
//! "cancelled" does the donor take its units back. No clock decides anything.
//!
//! The borrower's **low-water mark** is its least seq that is not settled; what it says carries it. Below it a GRANT is answered "settled, 0" and a
//! STATUS "settled", and only below it may either side forget its half.
//!
//! A **promotion** raises the donor's term; a GRANT or ACK of another term is answered STALE_TERM and resent. Replication is synchronous, and
//! every step begins by locking `shard_meta`, so that even repeating an answer is a commit: a demoted primary, whose commits nobody
//! confirms, cannot say anything, whatever it may have written alone.

mod protocol;
mod state;
mod steps;

use stateright::Property;

use crate::explore::{fails, holds};
use protocol::{Action, Bug, Model, Scope};
use state::{In, Message, OutState, State, Transfer};

/// Two shards, each of which borrows from the other once.
const BOTH_WAYS: Scope = Scope { free: &[1, 1], donors: &[&[1], &[0]], want: 1, promoted: &[] };
/// One shard that borrows twice from the same donor.
const TWICE: Scope = Scope { free: &[0, 2], donors: &[&[1, 1], &[]], want: 1, promoted: &[] };
/// One shard that borrows from two donors: its low-water mark spans both.
const TWO_DONORS: Scope = Scope { free: &[0, 1, 0], donors: &[&[1, 2], &[], &[]], want: 1, promoted: &[] };
/// One transfer, both of whose shards fail over.
const FAILOVER: Scope = Scope { free: &[0, 2], donors: &[&[1], &[]], want: 2, promoted: &[0, 1] };

impl stateright::Model for Model {
    type State = State;
    type Action = Action;

    fn init_states(&self) -> Vec<State> {
        vec![self.first()]
    }

    fn actions(&self, state: &State, actions: &mut Vec<Action>) {
        self.possible(state, actions);
    }

    fn next_state(&self, last: &State, action: Action) -> Option<State> {
        let mut state = last.clone();
        self.perform(&mut state, action);
        if self.bug.is_none() {
            drop_the_inert(&mut state);
        }
        (state != *last).then_some(state)
    }

    fn properties(&self) -> Vec<Property<Self>> {
        let mut properties = vec![
            Property::always(NO_OVERSELL, |model: &Self, state: &State| state.sold() <= model.total()),
            Property::always(CONSERVED, |model: &Self, state: &State| {
                state.on_shelves() + state.in_flight() == model.total()
            }),
            Property::always(SETTLES, |model: &Self, state: &State| {
                let mut drained = state.clone();
                model.drain(&mut drained);
                drained.is_quiet() && drained.on_shelves() == model.total()
            }),
        ];
        if self.bug.is_none() {
            properties.extend(self.examples());
        }
        properties
    }
}

const NO_OVERSELL: &str = "no more is sold than there was";
const CONSERVED: &str = "free + sold + in flight never changes";
const SETTLES: &str = "a fair drain settles every transfer";

impl Model {
    /// What must be reachable, lest the rest is true of nothing.
    fn examples(&self) -> Vec<Property<Self>> {
        let mut examples = vec![
            Property::sometimes("some borrowed units are sold", |model: &Self, state: &State| {
                state.shards.iter().zip(model.scope.free).any(|(shard, first)| shard.sold > *first)
            }),
            Property::sometimes("some transfer is cancelled after its debit", |_: &Self, state: &State| {
                outs(state).any(|(_, out)| out.state == OutState::Cancelled && out.units > 0)
            }),
            Property::sometimes("some tombstone is forgotten on both sides", |_: &Self, state: &State| {
                state
                    .network
                    .iter()
                    .any(|message| matches!(message, Message::Closed { transfer } if is_forgotten(state, *transfer)))
            }),
        ];
        if self.scope.promoted.is_empty() {
            examples.push(Property::sometimes(
                "some GRANT comes when its halves are forgotten",
                |_: &Self, state: &State| {
                    state.network.iter().any(
                        |message| matches!(message, Message::Grant { transfer, .. } if is_forgotten(state, *transfer)),
                    )
                },
            ));
        }
        if !self.scope.promoted.is_empty() {
            examples
                .push(Property::sometimes("some stale term is refused and refreshed", |_: &Self, state: &State| {
                    state.at(0).term_of(1) > 1 && state.at(0).sold > 0
                }));
        }
        examples
    }
}

/// Messages are never removed. But an answer is taken only by a half that still waits for it, and no half waits twice: answers that
/// nobody will ever take are left out, which makes no behaviour impossible. Questions stay, however late: what becomes of them
/// when a half was forgotten is what the low-water mark is for.
fn drop_the_inert(state: &mut State) {
    let shards = state.shards.clone();
    let half = |transfer: Transfer| shards[usize::from(transfer.borrower)].incoming.get(&transfer).copied();
    let donor = |transfer: Transfer| &shards[usize::from(transfer.donor)];
    let sent = |transfer: Transfer| donor(transfer).outgoing.get(&transfer).is_some_and(|out| !out.is_closed());
    let news = |transfer: Transfer, low: u8| low > donor(transfer).low_of(transfer.borrower);
    let known = |transfer: Transfer| shards[usize::from(transfer.borrower)].term_of(transfer.donor);
    state.network.retain(|message| match *message {
        Message::Grant { .. } | Message::Status { .. } | Message::Closed { .. } => true,
        Message::Granted { transfer, .. } => half(transfer) == Some(In::Pending),
        Message::Acked { transfer } => half(transfer) == Some(In::Done { settled: false }),
        Message::StaleTerm { transfer, term } => term > known(transfer),
        Message::Ack { transfer, low, term } => {
            sent(transfer) || news(transfer, low) || (term < donor(transfer).term && term == known(transfer))
        }
        Message::Standings { transfer, low, .. } => sent(transfer) || news(transfer, low),
        Message::Low { transfer, low } => news(transfer, low),
    });
}

fn outs(state: &State) -> impl Iterator<Item = (&Transfer, &state::Out)> {
    state.shards.iter().flat_map(|shard| &shard.outgoing)
}

fn is_forgotten(state: &State, transfer: Transfer) -> bool {
    let (borrower, donor) = (state.at(transfer.borrower), state.at(transfer.donor));
    !borrower.incoming.contains_key(&transfer) && !donor.outgoing.contains_key(&transfer)
}

#[test]
fn stock_moves_between_two_shards_without_a_unit_lost_or_made() {
    holds(Model::good(BOTH_WAYS), 10_000);
}

#[test]
fn late_messages_about_one_transfer_do_not_touch_the_next() {
    holds(Model::good(TWICE), 10_000);
}

#[test]
fn one_low_water_mark_serves_two_donors() {
    holds(Model::good(TWO_DONORS), 5_000);
}

#[test]
fn a_failover_in_the_midst_of_a_transfer_loses_nothing() {
    holds(Model::good(FAILOVER), 1_000);
}

#[test]
fn crediting_without_looking_sells_too_much() {
    fails(Model::with(Bug::NoCreditCheck, TWICE), NO_OVERSELL);
}

#[test]
fn taking_back_what_was_sent_because_time_passed_sells_too_much() {
    fails(Model::with(Bug::RecreditOnTimeout, TWICE), NO_OVERSELL);
}

#[test]
fn debiting_for_every_grant_loses_units() {
    fails(Model::with(Bug::NoDonorKey, TWICE), CONSERVED);
}

#[test]
fn forgetting_halves_above_the_low_water_mark_breaks_the_count() {
    fails(Model::with(Bug::ForgetAboveLow, TWICE), CONSERVED);
}

#[test]
fn a_standby_that_lags_sells_too_much() {
    fails(Model::with(Bug::AsyncStandby, FAILOVER), NO_OVERSELL);
}

#[test]
fn a_demoted_primary_that_answers_from_its_own_rows_sells_too_much() {
    fails(Model::with(Bug::NoTermCheck, FAILOVER), NO_OVERSELL);
}

#[test]
fn a_tombstone_dropped_before_the_donor_has_its_units_back_loses_them() {
    fails(Model::with(Bug::TombstoneDroppedEarly, TWICE), CONSERVED);
}
