//! The steps of the protocol, each one local transaction of one shard. The answer, if any, goes back to who asked.

use super::protocol::{Bug, Model};
use super::state::{In, Message, Mode, Out, OutState, Shard, Standing, State, Transfer};

impl Model {
    /// What a message does where it arrives.
    pub(crate) fn deliver(&self, state: &mut State, message: Message) -> Option<Message> {
        match message {
            Message::Grant { transfer, mode, low, term } => {
                self.remember_standby(state, transfer.donor);
                Some(self.grant(state.shard(transfer.donor), transfer, mode, low, term))
            }
            Message::Granted { transfer, units } => self.credit(state.shard(transfer.borrower), transfer, units),
            Message::StaleTerm { transfer, term } => refresh_term(state.shard(transfer.borrower), transfer, term),
            Message::Ack { transfer, low, term } => Some(acknowledge(state.shard(transfer.donor), transfer, low, term)),
            Message::Acked { transfer } => settle(state.shard(transfer.borrower), transfer),
            Message::Status { transfer } => Some(self.status(state.shard(transfer.borrower), transfer)),
            Message::Standings { transfer, standing, low } => {
                close(state.shard(transfer.donor), transfer, standing, low)
            }
            Message::Closed { transfer } => Some(settle_cancelled(state.shard(transfer.borrower), transfer)),
            Message::Low { transfer, low } => {
                state.shard(transfer.donor).hear_low(transfer.borrower, low);
                None
            }
        }
    }

    /// The donor debits first, once for each transfer; a repeat gets the same answer.
    pub(crate) fn grant(&self, donor: &mut Shard, transfer: Transfer, mode: Mode, low: u8, term: u8) -> Message {
        if term != donor.term {
            return Message::StaleTerm { transfer, term: donor.term };
        }
        donor.hear_low(transfer.borrower, low);
        if transfer.seq < donor.low_of(transfer.borrower) {
            return Message::Granted { transfer, units: 0 };
        }
        let units = match donor.outgoing.get(&transfer) {
            Some(out) if self.bug != Some(Bug::NoDonorKey) => {
                if out.state == OutState::Cancelled {
                    0
                } else {
                    out.units
                }
            }
            _ => debit(donor, transfer, if mode == Mode::Settle { 0 } else { self.scope.want }),
        };
        Message::Granted { transfer, units }
    }

    /// The borrower credits only while the transfer is pending. A refusal is settled at once: its donor has nothing to learn.
    fn credit(&self, borrower: &mut Shard, transfer: Transfer, units: u8) -> Option<Message> {
        let half = borrower.incoming.get(&transfer).copied();
        if half == Some(In::Pending) || self.bug == Some(Bug::NoCreditCheck) {
            borrower.incoming.insert(transfer, In::Done { settled: units == 0 });
            borrower.free += units;
        }
        ack_message(borrower, transfer)
    }

    /// What is pending or unknown is cancelled for good before it is called cancelled.
    fn status(&self, borrower: &mut Shard, transfer: Transfer) -> Message {
        let standing = match borrower.incoming.get(&transfer) {
            Some(In::Done { .. }) => Standing::Done,
            Some(In::Cancelled { .. }) => Standing::Cancelled,
            None if transfer.seq < borrower.low() => Standing::Settled,
            Some(In::Pending) | None => {
                borrower.incoming.insert(transfer, In::Cancelled { settled: false });
                Standing::Cancelled
            }
        };
        if self.bug == Some(Bug::TombstoneDroppedEarly) && standing == Standing::Cancelled {
            borrower.incoming.remove(&transfer);
        }
        Message::Standings { transfer, standing, low: borrower.low() }
    }

    /// Where replication lags, the standby is what the shard was before this commit.
    fn remember_standby(&self, state: &mut State, number: u8) {
        if self.bug == Some(Bug::AsyncStandby) {
            let before = state.at(number).clone();
            state.standbys.insert(number, before);
        }
    }
}

/// A refusal is written too, closed at once, so that a late duplicate cannot debit.
fn debit(donor: &mut Shard, transfer: Transfer, want: u8) -> u8 {
    let units = want.min(donor.free);
    let state = if units == 0 { OutState::Acked } else { OutState::Sent };
    donor.free -= units;
    donor.outgoing.insert(transfer, Out { units, state });
    units
}

fn refresh_term(borrower: &mut Shard, transfer: Transfer, term: u8) -> Option<Message> {
    let known = borrower.term_of(transfer.donor);
    borrower.terms.insert(transfer.donor, known.max(term));
    None
}

/// The ACK of a transfer that is credited and not settled.
pub(crate) fn ack_message(borrower: &Shard, transfer: Transfer) -> Option<Message> {
    let credited = borrower.incoming.get(&transfer) == Some(&In::Done { settled: false });
    let (low, term) = (borrower.low(), borrower.term_of(transfer.donor));
    credited.then_some(Message::Ack { transfer, low, term })
}

fn acknowledge(donor: &mut Shard, transfer: Transfer, low: u8, term: u8) -> Message {
    if term != donor.term {
        return Message::StaleTerm { transfer, term: donor.term };
    }
    donor.hear_low(transfer.borrower, low);
    set_if_sent(donor, transfer, OutState::Acked);
    Message::Acked { transfer }
}

fn settle(borrower: &mut Shard, transfer: Transfer) -> Option<Message> {
    if let Some(In::Done { settled }) = borrower.incoming.get_mut(&transfer) {
        *settled = true;
    }
    None
}

/// The donor takes back only what the borrower has cancelled, and only once.
fn close(donor: &mut Shard, transfer: Transfer, standing: Standing, low: u8) -> Option<Message> {
    donor.hear_low(transfer.borrower, low);
    match standing {
        Standing::Done => {
            set_if_sent(donor, transfer, OutState::Acked);
        }
        Standing::Cancelled => cancel(donor, transfer),
        // It was closed here before it was settled there.
        Standing::Settled => {}
    }
    let back = donor.outgoing.get(&transfer).is_some_and(|out| out.state == OutState::Cancelled);
    back.then_some(Message::Closed { transfer })
}

/// `sent` → `cancelled`, and the units are free again.
pub(crate) fn cancel(donor: &mut Shard, transfer: Transfer) {
    if let Some(units) = set_if_sent(donor, transfer, OutState::Cancelled) {
        donor.free += units;
    }
}

/// The compare-and-set of the donor's half; the units it moved, if it was still sent.
fn set_if_sent(donor: &mut Shard, transfer: Transfer, to: OutState) -> Option<u8> {
    let out = donor.outgoing.get_mut(&transfer).filter(|out| out.state == OutState::Sent)?;
    out.state = to;
    Some(out.units)
}

/// The donor has its units back: the tombstone has done its work.
fn settle_cancelled(borrower: &mut Shard, transfer: Transfer) -> Message {
    if let Some(In::Cancelled { settled }) = borrower.incoming.get_mut(&transfer) {
        *settled = true;
    }
    Message::Low { transfer, low: borrower.low() }
}
