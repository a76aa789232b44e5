//! What the shards keep and what is on its way between them.

use std::collections::{BTreeMap, BTreeSet};

/// A shard's place in the scope.
pub(crate) type ShardNo = u8;

/// Names a transfer: the borrower's counter makes `seq` unique for him.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct Transfer {
    pub(crate) borrower: ShardNo,
    pub(crate) seq: u8,
    pub(crate) donor: ShardNo,
}

/// Where the borrower's half stands. It is settled once the donor's half is known to be closed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum In {
    Pending,
    Done {
        settled: bool,
    },
    /// The tombstone: a grant that comes now is never credited.
    Cancelled {
        settled: bool,
    },
}

impl In {
    pub(crate) fn is_settled(self) -> bool {
        match self {
            Self::Pending => false,
            Self::Done { settled } | Self::Cancelled { settled } => settled,
        }
    }
}

/// Where the donor's half stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum OutState {
    Sent,
    Acked,
    Cancelled,
}

/// The donor's half. Nothing granted is a row too, so that a late duplicate cannot debit.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Out {
    pub(crate) units: u8,
    pub(crate) state: OutState,
}

impl Out {
    pub(crate) fn is_closed(self) -> bool {
        self.state != OutState::Sent
    }
}

/// How a donor is asked: for units, or only for what it gave already.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) enum Mode {
    Exact,
    Settle,
}

/// What the borrower answers about a transfer that the donor still counts as sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) enum Standing {
    Done,
    Cancelled,
    Settled,
}

/// What is on its way, for ever.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) enum Message {
    /// Borrower → donor, with the borrower's low-water mark and the donor's term as the borrower knows it.
    Grant { transfer: Transfer, mode: Mode, low: u8, term: u8 },
    /// Donor → borrower. A refusal and "settled, 0" are both `units: 0`.
    Granted { transfer: Transfer, units: u8 },
    /// Donor → borrower: the message named an older term; nothing was done.
    StaleTerm { transfer: Transfer, term: u8 },
    /// Borrower → donor: credited.
    Ack { transfer: Transfer, low: u8, term: u8 },
    /// Donor → borrower: no longer sent.
    Acked { transfer: Transfer },
    /// Donor → borrower: what became of it?
    Status { transfer: Transfer },
    /// Borrower → donor.
    Standings { transfer: Transfer, standing: Standing, low: u8 },
    /// Donor → borrower: it is cancelled here too, the units are back.
    Closed { transfer: Transfer },
    /// Borrower → donor: what may be forgotten.
    Low { transfer: Transfer, low: u8 },
}

/// One shard's rows about one SKU. Reserved and claimed units are one number with the sold ones: none of them is free.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Shard {
    pub(crate) term: u8,
    pub(crate) free: u8,
    pub(crate) sold: u8,
    /// The borrower's counter row.
    pub(crate) next_seq: u8,
    /// `transfers_in`.
    pub(crate) incoming: BTreeMap<Transfer, In>,
    /// `transfers_out`.
    pub(crate) outgoing: BTreeMap<Transfer, Out>,
    /// `transfer_lows`, by borrower: everything below is settled.
    pub(crate) lows: BTreeMap<ShardNo, u8>,
    /// The terms of the other shards, as last heard (memory only).
    pub(crate) terms: BTreeMap<ShardNo, u8>,
}

impl Shard {
    pub(crate) fn new(free: u8) -> Self {
        let (incoming, outgoing) = (BTreeMap::new(), BTreeMap::new());
        let (lows, terms) = (BTreeMap::new(), BTreeMap::new());
        Self { term: 1, free, sold: 0, next_seq: 1, incoming, outgoing, lows, terms }
    }

    /// The least seq that is not settled.
    pub(crate) fn low(&self) -> u8 {
        let open = self.incoming.iter().filter(|(_, half)| !half.is_settled());
        open.map(|(transfer, _)| transfer.seq).min().unwrap_or(self.next_seq)
    }

    /// The highest low-water mark heard from `borrower`.
    pub(crate) fn low_of(&self, borrower: ShardNo) -> u8 {
        self.lows.get(&borrower).copied().unwrap_or(1)
    }

    pub(crate) fn hear_low(&mut self, borrower: ShardNo, low: u8) {
        if low > self.low_of(borrower) {
            self.lows.insert(borrower, low);
        }
    }

    pub(crate) fn term_of(&self, donor: ShardNo) -> u8 {
        self.terms.get(&donor).copied().unwrap_or(1)
    }
}

/// All shards and the network.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct State {
    pub(crate) shards: Vec<Shard>,
    pub(crate) network: BTreeSet<Message>,
    /// Each shard's standby as the last commit found it: what is promoted where replication is asynchronous.
    pub(crate) standbys: BTreeMap<ShardNo, Shard>,
    /// Demoted primaries that are still up.
    pub(crate) zombies: BTreeMap<ShardNo, Shard>,
}

impl State {
    pub(crate) fn shard(&mut self, number: ShardNo) -> &mut Shard {
        &mut self.shards[usize::from(number)]
    }

    pub(crate) fn at(&self, number: ShardNo) -> &Shard {
        &self.shards[usize::from(number)]
    }

    /// Units that have left their donor and are not at their borrower yet.
    pub(crate) fn in_flight(&self) -> u8 {
        let sent = self.shards.iter().flat_map(|donor| &donor.outgoing);
        sent.filter(|(transfer, out)| out.state == OutState::Sent && !self.has_arrived(**transfer))
            .map(|(_, out)| out.units)
            .sum()
    }

    /// Whether the borrower has credited it, or forgotten it because it is settled.
    fn has_arrived(&self, transfer: Transfer) -> bool {
        let borrower = self.at(transfer.borrower);
        match borrower.incoming.get(&transfer) {
            Some(In::Done { .. }) => true,
            Some(In::Pending | In::Cancelled { .. }) => false,
            None => transfer.seq < borrower.low(),
        }
    }

    pub(crate) fn on_shelves(&self) -> u8 {
        self.shards.iter().map(|shard| shard.free + shard.sold).sum()
    }

    pub(crate) fn sold(&self) -> u8 {
        self.shards.iter().map(|shard| shard.sold).sum()
    }

    /// No half of a transfer is open anywhere.
    pub(crate) fn is_quiet(&self) -> bool {
        let quiet = |shard: &Shard| {
            shard.incoming.values().all(|half| half.is_settled()) && shard.outgoing.values().all(|out| out.is_closed())
        };
        self.shards.iter().all(quiet)
    }
}
