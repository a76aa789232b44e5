//! What may happen, and what comes of it.

use super::state::{In, Message, Mode, Out, OutState, Shard, ShardNo, State, Transfer};
use super::steps;

/// Ways to get it wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Bug {
    /// GRANTED is credited whatever has become of the transfer.
    NoCreditCheck,
    /// The donor takes a sent half back because it waited long enough.
    RecreditOnTimeout,
    /// The donor debits for every GRANT it gets.
    NoDonorKey,
    /// The donor forgets closed halves whatever the low-water mark.
    ForgetAboveLow,
    /// A standby that lacks the last commit is promoted.
    AsyncStandby,
    /// A repeated GRANT is answered by a mere read, without locking `shard_meta`.
    NoTermCheck,
    /// The borrower forgets a tombstone before the donor has its units back.
    TombstoneDroppedEarly,
}

/// What is explored.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Scope {
    /// Free units of each shard at first.
    pub(crate) free: &'static [u8],
    /// The donors of each shard's transfers, one after the other.
    pub(crate) donors: &'static [&'static [ShardNo]],
    /// Units that a transfer asks for.
    pub(crate) want: u8,
    /// Shards that may be promoted, once.
    pub(crate) promoted: &'static [ShardNo],
}

/// The protocol in a scope, perhaps got wrong.
#[derive(Clone, Debug)]
pub(crate) struct Model {
    pub(crate) scope: Scope,
    pub(crate) bug: Option<Bug>,
}

/// What may happen next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Action {
    /// A unit is bought.
    Sell(ShardNo),
    /// A transfer is begun and its first GRANT sent.
    Begin(ShardNo),
    /// Recovery: the borrower asks again about a pending half, or says again that it is credited.
    Resend(Transfer),
    /// Recovery: the donor asks about a sent half.
    AskStatus(Transfer),
    /// The donor forgets a closed half.
    ForgetOut(Transfer),
    /// The borrower forgets a settled half.
    ForgetIn(Transfer),
    Deliver(Message),
    /// The standby takes over. The old primary may have begun to commit one more GRANT, which nobody confirmed.
    Promote(ShardNo, Option<Message>),
    /// A GRANT reaches the demoted primary.
    DeliverToZombie(Message),
    /// Only as a bug.
    TakeBack(Transfer),
}

impl Model {
    pub(crate) fn good(scope: Scope) -> Self {
        Self { scope, bug: None }
    }

    pub(crate) fn with(bug: Bug, scope: Scope) -> Self {
        Self { scope, bug: Some(bug) }
    }

    pub(crate) fn total(&self) -> u8 {
        self.scope.free.iter().sum()
    }

    /// Nothing has happened yet.
    pub(crate) fn first(&self) -> State {
        let shards = self.scope.free.iter().map(|free| Shard::new(*free)).collect();
        State { shards, network: [].into(), standbys: [].into(), zombies: [].into() }
    }

    /// What may happen in that state.
    pub(crate) fn possible(&self, state: &State, actions: &mut Vec<Action>) {
        for (number, shard) in (0..).zip(&state.shards) {
            self.local_actions(state, number, shard, actions);
            self.failures(state, number, actions);
        }
        actions.extend(state.network.iter().copied().map(Action::Deliver));
        let grants = state.network.iter().filter(|message| matches!(message, Message::Grant { .. }));
        if !state.zombies.is_empty() {
            actions.extend(grants.copied().map(Action::DeliverToZombie));
        }
    }

    fn local_actions(&self, state: &State, number: ShardNo, shard: &Shard, actions: &mut Vec<Action>) {
        if shard.free > 0 {
            actions.push(Action::Sell(number));
        }
        if self.next_transfer(state, number).is_some() {
            actions.push(Action::Begin(number));
        }
        for (transfer, half) in &shard.incoming {
            if !half.is_settled() {
                actions.push(Action::Resend(*transfer));
            } else if transfer.seq < shard.low() {
                actions.push(Action::ForgetIn(*transfer));
            }
        }
        for (transfer, out) in &shard.outgoing {
            if !out.is_closed() {
                actions.push(Action::AskStatus(*transfer));
            } else if self.may_forget(shard, *transfer) {
                actions.push(Action::ForgetOut(*transfer));
            }
            if self.bug == Some(Bug::RecreditOnTimeout) {
                actions.push(Action::TakeBack(*transfer));
            }
        }
    }

    fn failures(&self, state: &State, number: ShardNo, actions: &mut Vec<Action>) {
        if !self.scope.promoted.contains(&number) || state.zombies.contains_key(&number) {
            return;
        }
        actions.push(Action::Promote(number, None));
        let to_it = |message: &&Message| matches!(message, Message::Grant { transfer, .. } if transfer.donor == number);
        actions.extend(state.network.iter().filter(to_it).map(|lost| Action::Promote(number, Some(*lost))));
    }

    /// Does what may happen; what is said then.
    pub(crate) fn perform(&self, state: &mut State, action: Action) -> Option<Message> {
        let said = match action {
            Action::Sell(number) => {
                let shard = state.shard(number);
                (shard.free, shard.sold) = (shard.free - 1, shard.sold + 1);
                None
            }
            Action::Begin(borrower) => self.begin(state, borrower),
            Action::Resend(transfer) => {
                let half = *state.at(transfer.borrower).incoming.get(&transfer)?;
                recovery_of(state, transfer, half)
            }
            Action::AskStatus(transfer) => Some(Message::Status { transfer }),
            Action::ForgetOut(transfer) => {
                state.shard(transfer.donor).outgoing.remove(&transfer);
                None
            }
            Action::ForgetIn(transfer) => {
                state.shard(transfer.borrower).incoming.remove(&transfer);
                None
            }
            Action::Deliver(message) => self.deliver(state, message),
            Action::Promote(number, lost) => {
                self.promote(state, number, lost);
                None
            }
            Action::DeliverToZombie(message) => self.ask_zombie(state, message),
            Action::TakeBack(transfer) => {
                steps::cancel(state.shard(transfer.donor), transfer);
                None
            }
        };
        state.network.extend(said);
        said
    }

    fn grant_message(state: &State, transfer: Transfer, mode: Mode) -> Message {
        let borrower = state.at(transfer.borrower);
        Message::Grant { transfer, mode, low: borrower.low(), term: borrower.term_of(transfer.donor) }
    }

    fn next_transfer(&self, state: &State, borrower: ShardNo) -> Option<Transfer> {
        let seq = state.at(borrower).next_seq;
        let donor = *self.scope.donors[usize::from(borrower)].get(usize::from(seq) - 1)?;
        Some(Transfer { borrower, seq, donor })
    }

    fn begin(&self, state: &mut State, borrower: ShardNo) -> Option<Message> {
        let transfer = self.next_transfer(state, borrower)?;
        let shard = state.shard(borrower);
        shard.next_seq += 1;
        shard.incoming.insert(transfer, In::Pending);
        Some(Self::grant_message(state, transfer, Mode::Exact))
    }

    fn may_forget(&self, shard: &Shard, transfer: Transfer) -> bool {
        self.bug == Some(Bug::ForgetAboveLow) || transfer.seq < shard.low_of(transfer.borrower)
    }

    fn promote(&self, state: &mut State, number: ShardNo, lost: Option<Message>) {
        let mut old = state.at(number).clone();
        let heir = state.standbys.remove(&number).unwrap_or_else(|| old.clone());
        *state.shard(number) = Shard { term: old.term + 1, ..heir };
        if let Some(Message::Grant { transfer, mode, low, term }) = lost {
            self.grant(&mut old, transfer, mode, low, term);
        }
        state.zombies.insert(number, old);
    }

    /// The demoted primary finds its own row. To answer it must commit, and nobody confirms its commits.
    fn ask_zombie(&self, state: &State, message: Message) -> Option<Message> {
        let Message::Grant { transfer, .. } = message else { return None };
        let out = state.zombies.get(&transfer.donor)?.outgoing.get(&transfer)?;
        (self.bug == Some(Bug::NoTermCheck)).then_some(Message::Granted { transfer, units: out.units })
    }

    /// Every shard does its recovery over a network that works, twice: whatever is open must then be closed.
    pub(crate) fn drain(&self, state: &mut State) {
        for _ in 0..2 {
            let incoming: Vec<_> = state.shards.iter().flat_map(|shard| shard.incoming.clone()).collect();
            for (transfer, half) in incoming {
                self.converse(state, recovery_of(state, transfer, half));
            }
            let outgoing: Vec<_> = state.shards.iter().flat_map(|shard| shard.outgoing.clone()).collect();
            for (transfer, out) in outgoing {
                self.converse(state, question_about(transfer, out));
            }
        }
    }

    fn converse(&self, state: &mut State, first: Option<Message>) {
        let mut next = first;
        while let Some(message) = next {
            next = self.deliver(state, message);
        }
    }
}

/// What the borrower says again about a half that is not settled.
fn recovery_of(state: &State, transfer: Transfer, half: In) -> Option<Message> {
    match half {
        In::Pending => Some(Model::grant_message(state, transfer, Mode::Settle)),
        In::Done { .. } => steps::ack_message(state.at(transfer.borrower), transfer),
        In::Cancelled { .. } => None,
    }
}

/// What the donor asks about a half that is sent, and says about one that is cancelled.
fn question_about(transfer: Transfer, out: Out) -> Option<Message> {
    match out.state {
        OutState::Sent => Some(Message::Status { transfer }),
        OutState::Cancelled => Some(Message::Closed { transfer }),
        OutState::Acked => None,
    }
}
