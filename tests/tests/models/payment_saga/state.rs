//! The order's row, the payment's row, the provider's book, and what is said between them.

use std::cmp::Ordering;
use std::collections::BTreeSet;

use region_core_payment::provider::{ProviderPayment, ProviderStatus};
use region_core_payment::rules::{self, Answer, Call};
use shared::{Currency, Money, OrderId, PaymentId, Slot};

/// Where the order stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum OrderStatus {
    Pending,
    Confirmed,
    Cancelled,
}

/// Where the order's units are.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Units {
    Held,
    Sold,
    Free,
}

/// Events of both services that decide something. Each stays on the bus for ever and may be heard again.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) enum Event {
    OrderCreated,
    PaymentAuthorized,
    OrderClaimed,
    PaymentCaptured,
    PaymentFailed,
    OrderCancelled,
}

/// The payment's row.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Row {
    pub(crate) state: rules::State,
    pub(crate) attempts: u8,
    pub(crate) has_reference: bool,
    pub(crate) captured: bool,
    pub(crate) refunded: bool,
}

/// The state and the attempt that an exchange with the provider was leased for: an answer to any other is dropped.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Asked {
    pub(crate) state: rules::State,
    pub(crate) attempt: u8,
}

impl Ord for Asked {
    fn cmp(&self, other: &Self) -> Ordering {
        (self.state as u8, self.attempt).cmp(&(other.state as u8, other.attempt))
    }
}

impl PartialOrd for Asked {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

/// How the payment stands at the provider.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) enum Standing {
    Created,
    Authorized,
    Declined,
    Captured,
    Voided,
    Refunded,
}

/// What is on its way between the driver and the provider, for ever.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) enum Message {
    Read(Asked),
    ReadAnswer(Asked, Option<Standing>),
    Call(Asked),
    CallAnswer(Asked, Standing),
}

/// The provider's book.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub(crate) struct Book {
    pub(crate) standing: Option<Standing>,
    /// The keys under which we had it captured.
    pub(crate) captures: BTreeSet<u8>,
    /// Captured by the provider itself: its hosted page was used.
    pub(crate) captured_itself: bool,
    pub(crate) refunded: bool,
}

/// Everything, about one order.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct State {
    pub(crate) order: OrderStatus,
    pub(crate) claimed: bool,
    pub(crate) units: Units,
    /// The shard's clock has passed `expires_at`.
    pub(crate) expired: bool,
    pub(crate) row: Option<Row>,
    pub(crate) said: BTreeSet<Event>,
    pub(crate) network: BTreeSet<Message>,
    pub(crate) book: Book,
}

impl State {
    /// An order was accepted.
    pub(crate) fn new() -> Self {
        Self {
            order: OrderStatus::Pending,
            claimed: false,
            units: Units::Held,
            expired: false,
            row: None,
            said: [Event::OrderCreated].into(),
            network: BTreeSet::new(),
            book: Book::default(),
        }
    }
}

impl Book {
    /// Captures that did not move back; all or nothing is refunded.
    pub(crate) fn live_captures(&self) -> usize {
        (self.captures.len() + usize::from(self.captured_itself)).saturating_sub(usize::from(self.refunded))
    }
}

impl Row {
    pub(crate) fn new() -> Self {
        let state = rules::State::ToCreate;
        Self { state, attempts: 0, has_reference: false, captured: false, refunded: false }
    }

    pub(crate) fn asked(self) -> Asked {
        Asked { state: self.state, attempt: self.attempts }
    }

    pub(crate) fn call(self) -> Option<Call> {
        payment(self).call()
    }
}

/// The provider's name for the payment.
pub(crate) const REFERENCE: &str = "pay_1";

fn amount() -> Money {
    Money::new(100, Currency::GBP).unwrap()
}

fn payment_id() -> PaymentId {
    PaymentId::mint(1_800_000_000_000, Slot::new(7).unwrap(), [1; 8])
}

/// The row as the product's rules take it.
pub(crate) fn payment(row: Row) -> rules::Payment {
    let moved = |yes: bool| if yes { amount().minor() } else { 0 };
    rules::Payment {
        payment_id: payment_id(),
        order_id: OrderId::mint(1_800_000_000_000, Slot::new(7).unwrap(), [2; 8]),
        provider: "bank".to_owned(),
        provider_reference: row.has_reference.then(|| REFERENCE.to_owned()),
        challenge_id: None,
        next_action: None,
        payment_token: "tok".to_owned(),
        amount: amount(),
        captured_minor: moved(row.captured),
        refunded_minor: moved(row.refunded),
        refunding_minor: 0,
        state: row.state,
        attempts: i32::from(row.attempts),
        version: 0,
        last_error: None,
        facts: None,
    }
}

/// The row that the product's rules give back.
pub(crate) fn row(payment: &rules::Payment) -> Row {
    Row {
        state: payment.state,
        attempts: u8::try_from(payment.attempts).unwrap(),
        has_reference: payment.provider_reference.is_some(),
        captured: payment.captured_minor == amount().minor(),
        refunded: payment.refunded_minor == amount().minor(),
    }
}

/// The provider's answer as the product's rules take it.
pub(crate) fn shown(standing: Standing) -> Answer {
    let status = match standing {
        Standing::Created => ProviderStatus::Created,
        Standing::Authorized => ProviderStatus::Authorized,
        Standing::Declined => ProviderStatus::Declined,
        Standing::Captured => ProviderStatus::Captured,
        Standing::Voided => ProviderStatus::Voided,
        Standing::Refunded => ProviderStatus::Refunded,
    };
    let moved = |yes: bool| if yes { amount().minor() } else { 0 };
    Answer::Shown(ProviderPayment {
        reference: REFERENCE.to_owned(),
        merchant_reference: payment_id().to_string(),
        amount: amount(),
        status,
        challenge_id: None,
        next_action: None,
        decline_reason: None,
        captured_minor: moved(matches!(standing, Standing::Captured | Standing::Refunded)),
        refunded_minor: moved(standing == Standing::Refunded),
        card: None,
    })
}
