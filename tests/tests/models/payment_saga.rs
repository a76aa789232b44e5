//! Paying for an order.
//!
//! 1. *create*: the provider takes note of the payment; nothing moves. Its reference is committed in our shard: only now may money move.
//! 2. *authorize*: the amount is kept ready, or the bank declines.
//! 3. *claim*: one compare-and-set on the order, PENDING and in time; its units are sold and it cannot expire any more. The sweeper's
//!    compare-and-set takes the others: whoever comes second changes nothing.
//! 4. *capture*: only on a claim, under one key for ever, asked for until the answer is definite.
//! 5. *confirm*: PENDING and claimed becomes CONFIRMED. Or the authorization is gone: the order is CANCELLED, its units free again.
//!
//! A worker that leases a payment counts an attempt; the answer to an attempt is taken only while the payment still waits for that one. After
//! the first attempt a worker reads the payment by its reference before it asks again. A cancelled order's payment is voided; if it turns out to
//! be captured after all (a hosted page that captures by itself, a race), it is refunded.
//!
//! What a payment becomes is decided by the product's own rules, `region_core_payment::rules`. The provider here may take any call late or
//! repeatedly, decline, let an authorization lapse, and capture by itself until it is voided. A provider that *forgets* voids sends notices of its
//! captures; `rules::told` is what they come to.
//!
//! Deliberately absent: the challenge (it only delays) and partial refunds (there are none).

mod state;
mod steps;

use region_core_payment::rules;
use stateright::Property;

use crate::explore::{fails, holds};
use state::{Asked, Book, Event, Message, OrderStatus, Row, Standing, State, Units};

/// Ways to get it wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Bug {
    /// Each attempt has an idempotency key of its own.
    NewKeyPerRetry,
    /// A cancelled order's payment is forgotten.
    CancelWithoutVoid,
    /// A notice of a capture confirms the order whatever has become of it.
    NoticeConfirms,
}

/// The protocol with a provider, perhaps got wrong.
#[derive(Clone, Debug, Default)]
struct Model {
    bug: Option<Bug>,
    /// The provider says "voided", and captures nevertheless when an older capture reaches it.
    forgets_voids: bool,
    /// A capture that the provider tells of after the payment was over is refunded.
    refunds_late: bool,
}

/// What may happen next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Action {
    /// The shard's clock passes `expires_at`.
    PassTime,
    /// The sweeper looks.
    Expire,
    Hear(Event),
    /// A worker leases the payment and asks.
    Lease,
    Deliver(Message),
    /// The bank says no to an authorization.
    Decline(Message),
    /// The provider lets the authorization go by itself.
    Lapse,
    /// The shopper pays on the provider's page.
    CaptureItself,
    /// The provider's notice of a capture arrives.
    HearNotice,
}

impl Model {
    fn with(bug: Bug) -> Self {
        Self { bug: Some(bug), ..Self::default() }
    }

    /// Whether the provider tells of its captures.
    fn sends_notices(&self) -> bool {
        self.refunds_late || self.bug == Some(Bug::NoticeConfirms)
    }

    /// Messages are never removed; but an answer to an attempt that is over is dropped by whoever gets it, and a call that changes nothing
    /// at the provider never will again (its book moves one way). Leaving them out makes no behaviour impossible.
    fn drop_the_inert(&self, state: &mut State) {
        let (row, book) = (state.row, state.book.clone());
        state.network.retain(|message| match *message {
            Message::Call(asked) => is_current(row, asked) || self.changes(&book, asked),
            Message::Read(asked) | Message::ReadAnswer(asked, _) | Message::CallAnswer(asked, _) => {
                is_current(row, asked)
            }
        });
    }

    fn changes(&self, book: &Book, asked: Asked) -> bool {
        let mut after = book.clone();
        self.serve(&mut after, asked, false);
        after != *book
    }

    /// The bus delivers, workers work and the provider answers at once, until nothing changes any more.
    fn drain(&self, state: &mut State) {
        loop {
            let before = progress(state);
            for event in state.said.clone() {
                self.hear(state, event);
            }
            steps::expire(state);
            if self.sends_notices() && state.book.standing == Some(Standing::Captured) {
                self.hear_notice(state);
            }
            self.exchange(state);
            if progress(state) == before {
                return;
            }
        }
    }

    /// One exchange from its lease to its commit.
    fn exchange(&self, state: &mut State) {
        if let Some(kept) = &mut state.row {
            kept.attempts = kept.attempts.min(1); // the third is like the second
        }
        let mut next = Self::lease(state);
        while let Some(message) = next {
            next = self.deliver(state, message, false);
        }
    }
}

/// All that may go on without an attempt being counted.
fn progress(state: &State) -> impl PartialEq + use<> {
    let kept = state.row.map(|kept| kept.state);
    (state.order, state.claimed, kept, state.said.clone(), state.book.clone())
}

fn is_current(row: Option<Row>, asked: Asked) -> bool {
    row.is_some_and(|kept| kept.asked() == asked)
}

impl stateright::Model for Model {
    type State = State;
    type Action = Action;

    fn init_states(&self) -> Vec<State> {
        vec![State::new()]
    }

    fn actions(&self, state: &State, actions: &mut Vec<Action>) {
        actions.extend([Action::PassTime, Action::Expire, Action::Lease]);
        actions.extend(state.said.iter().copied().map(Action::Hear));
        actions.extend(state.network.iter().copied().map(Action::Deliver));
        let authorizing =
            |message: &&Message| matches!(message, Message::Call(asked) if asked.state == rules::State::ToAuthorize);
        actions.extend(state.network.iter().filter(authorizing).copied().map(Action::Decline));
        let open = matches!(state.book.standing, Some(Standing::Created | Standing::Authorized));
        if open && state.row.is_some_and(|kept| kept.has_reference) {
            actions.push(Action::CaptureItself);
        }
        if state.book.standing == Some(Standing::Authorized) {
            actions.push(Action::Lapse);
        }
        if self.sends_notices() && state.book.standing == Some(Standing::Captured) {
            actions.push(Action::HearNotice);
        }
    }

    fn next_state(&self, last: &State, action: Action) -> Option<State> {
        let mut state = last.clone();
        let sent = match action {
            Action::PassTime => {
                state.expired = true;
                None
            }
            Action::Expire => {
                steps::expire(&mut state);
                None
            }
            Action::Hear(event) => {
                self.hear(&mut state, event);
                None
            }
            Action::Lease => Self::lease(&mut state),
            Action::Deliver(message) => self.deliver(&mut state, message, false),
            Action::Decline(message) => self.deliver(&mut state, message, true),
            Action::Lapse => {
                state.book.standing = Some(Standing::Voided);
                None
            }
            Action::CaptureItself => {
                state.book.standing = Some(Standing::Captured);
                state.book.captured_itself = true;
                None
            }
            Action::HearNotice => {
                self.hear_notice(&mut state);
                None
            }
        };
        state.network.extend(sent);
        self.drop_the_inert(&mut state);
        (state != *last).then_some(state)
    }

    fn properties(&self) -> Vec<Property<Self>> {
        let mut properties = vec![
            Property::always(ONE_CAPTURE, |_: &Self, state: &State| state.book.live_captures() <= 1),
            Property::always(CLAIMED_FIRST, |_: &Self, state: &State| state.book.captures.is_empty() || state.claimed),
            Property::always(REFERENCE_FIRST, |_: &Self, state: &State| {
                matches!(state.book.standing, None | Some(Standing::Created))
                    || state.row.is_some_and(|kept| kept.has_reference)
            }),
            Property::always(CONFIRMED_IS_PAID, |_: &Self, state: &State| {
                state.order != OrderStatus::Confirmed || (state.book.live_captures() == 1 && state.units == Units::Sold)
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

const ONE_CAPTURE: &str = "at most one capture is live";
const CLAIMED_FIRST: &str = "we capture only what is claimed";
const REFERENCE_FIRST: &str = "money moves only on a committed reference";
const CONFIRMED_IS_PAID: &str = "a CONFIRMED order is paid once and has its units";
const SETTLES: &str = "every order ends CONFIRMED and paid, or CANCELLED and unpaid";

fn is_settled(state: &State) -> bool {
    let money = (state.order, state.units, state.book.live_captures());
    let waits = state.row.is_none_or(|kept: Row| kept.call().is_some());
    !waits && matches!(money, (OrderStatus::Confirmed, Units::Sold, 1) | (OrderStatus::Cancelled, Units::Free, 0))
}

fn examples() -> [Property<Model>; 5] {
    [
        Property::sometimes("some order is confirmed", |_: &Model, state: &State| {
            state.order == OrderStatus::Confirmed
        }),
        Property::sometimes("some claimed order is cancelled", |_: &Model, state: &State| {
            state.claimed && state.order == OrderStatus::Cancelled
        }),
        Property::sometimes("some capture after a cancellation is refunded", |_: &Model, state: &State| {
            state.order == OrderStatus::Cancelled && state.row.is_some_and(|kept| kept.state == rules::State::Refunded)
        }),
        Property::sometimes("some unknown capture is read back", |_: &Model, state: &State| {
            let asked = Asked { state: rules::State::ToCapture, attempt: 2 };
            state.network.contains(&Message::ReadAnswer(asked, Some(Standing::Captured)))
        }),
        Property::sometimes("some unknown create is abandoned", |_: &Model, state: &State| {
            state.row.is_some_and(|kept| kept.state == rules::State::Abandoned) && state.book.standing.is_some()
        }),
    ]
}

#[test]
fn every_order_ends_paid_and_confirmed_or_unpaid_and_cancelled() {
    holds(Model::default(), 1_000);
}

#[test]
fn a_provider_that_forgets_voids_is_survived_by_refunding_late_captures() {
    holds(Model { forgets_voids: true, refunds_late: true, ..Model::default() }, 1_000);
}

#[test]
fn a_provider_that_forgets_voids_keeps_the_money_where_late_captures_are_not_refunded() {
    fails(Model { forgets_voids: true, ..Model::default() }, SETTLES);
}

#[test]
fn a_new_key_for_each_attempt_captures_twice() {
    fails(Model::with(Bug::NewKeyPerRetry), ONE_CAPTURE);
}

#[test]
fn forgetting_a_cancelled_orders_payment_keeps_its_money() {
    fails(Model::with(Bug::CancelWithoutVoid), SETTLES);
}

#[test]
fn confirming_on_a_notice_whatever_the_state_sells_units_that_are_free_again() {
    fails(Model::with(Bug::NoticeConfirms), CONFIRMED_IS_PAID);
}
