//! What becomes of a payment: its state, what it hears from orders and from the provider, and what follows. No I/O.
//!
//! Money moves only on a provider's reference that is already committed: no state but `to_create` lacks one.

pub mod refund;

use std::time::Duration;

use region_core_events::contract::OrderFacts;
use shared::{Money, OrderId, PaymentId, RefundId};

use crate::notice::News;
use crate::provider::{ProviderPayment, ProviderStatus};

/// Attempts to void what the shopper had agreed to before nothing can be under way any more that keeps the amount ready: with the
/// usual pauses they take longer than the longest exchange.
const ATTEMPTS_BEFORE_APPROVED_IS_OVER: i32 = 8;

macro_rules! states {
    ($($(#[$doc:meta])* $name:ident = $text:literal;)*) => {
        /// Where a payment stands; `To…` says what is to be done next.
        #[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
        pub enum State {
            $($(#[$doc])* $name,)*
        }

        impl State {
            /// Every state.
            pub const ALL: &'static [Self] = &[$(Self::$name,)*];

            /// How the database keeps it.
            #[must_use]
            pub const fn name(self) -> &'static str {
                match self { $(Self::$name => $text,)* }
            }

            /// The state of that name.
            #[must_use]
            pub fn parse(name: &str) -> Option<Self> {
                Self::ALL.iter().copied().find(|state| state.name() == name)
            }
        }
    };
}

states! {
    /// The provider is to be told of it; nothing moves.
    ToCreate = "to_create";
    /// The provider is to keep the amount ready.
    ToAuthorize = "to_authorize";
    /// The shopper is to answer the provider.
    ChallengeRequired = "challenge_required";
    /// The shopper says that he answered.
    ToConfirm = "to_confirm";
    /// The amount is kept ready; the order decides.
    Authorized = "authorized";
    /// The order is claimed: the money is to move.
    ToCapture = "to_capture";
    /// The money is ours.
    Captured = "captured";
    /// There will be no money.
    Declined = "declined";
    /// The order was cancelled: the amount is to be let go.
    ToVoid = "to_void";
    /// It was let go.
    Voided = "voided";
    /// The order was cancelled, yet the money moved: it is to move back.
    ToRefund = "to_refund";
    /// It moved back.
    Refunded = "refunded";
    /// The order was cancelled before the provider knew of it.
    Abandoned = "abandoned";
}

/// A payment as our shard keeps it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Payment {
    /// The provider knows it by this.
    pub payment_id: PaymentId,
    /// What it pays for.
    pub order_id: OrderId,
    /// Who it is at: the provider's name.
    pub provider: String,
    /// The provider's name for it, once committed here.
    pub provider_reference: Option<String>,
    /// The provider's question to the shopper.
    pub challenge_id: Option<String>,
    /// The provider's page on which the shopper is to answer, while he is to.
    pub next_action: Option<String>,
    /// Names a way to pay.
    pub payment_token: String,
    /// What is to be paid.
    pub amount: Money,
    /// Minor units that moved to us.
    pub captured_minor: i64,
    /// Minor units that moved back.
    pub refunded_minor: i64,
    /// Minor units set aside for refunds that the provider is asked for.
    pub refunding_minor: i64,
    /// Where it stands.
    pub state: State,
    /// Leases taken for this state; one more where the payment is to be read before anything is asked.
    pub attempts: i32,
    /// Events said about it.
    pub version: i64,
    /// What went wrong last.
    pub last_error: Option<String>,
    /// What its order is judged by, where orders are judged.
    pub facts: Option<Box<OrderFacts>>,
}

/// What the provider is asked for.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Call {
    /// Take note of it.
    Create,
    /// Keep the amount ready.
    Authorize {
        /// How many times the shopper had to be asked before.
        asked: i64,
    },
    /// See whether the shopper has answered on the provider's own page.
    Look,
    /// Hear the shopper's answer.
    Confirm {
        /// The question.
        challenge_id: String,
    },
    /// Move the money.
    Capture,
    /// Let it go.
    Void,
    /// Move it back.
    Refund {
        /// How much, in minor units.
        amount_minor: i64,
    },
}

impl Call {
    /// One word, for keys and metrics; never changes.
    #[must_use]
    pub const fn verb(&self) -> &'static str {
        match self {
            Self::Create => "create",
            Self::Authorize { .. } => "authorize",
            Self::Look => "look",
            Self::Confirm { .. } => "confirm",
            Self::Capture => "capture",
            Self::Void => "void",
            Self::Refund { .. } => "refund",
        }
    }

    /// The key of this effect on this payment: the same for ever, so that no repeat has a second effect. What the provider kept
    /// under the key of an authorization, that the shopper was to be asked first, must not answer the one after he was.
    ///
    /// The rest of a payment of which parts went back is another effect than all of it: under one key a provider would answer
    /// for the other amount, or refuse for ever. Both at once do not fit into what was captured.
    #[must_use]
    pub fn key(&self, payment: &Payment) -> String {
        let Payment { payment_id, captured_minor, .. } = payment;
        match self {
            Self::Authorize { asked } if *asked > 0 => format!("{payment_id}:authorize:{asked}"),
            Self::Refund { amount_minor } if amount_minor != captured_minor => {
                format!("{payment_id}:{}:{amount_minor}", self.verb())
            }
            Self::Create
            | Self::Authorize { .. }
            | Self::Look
            | Self::Confirm { .. }
            | Self::Capture
            | Self::Void
            | Self::Refund { .. } => format!("{payment_id}:{}", self.verb()),
        }
    }
}

/// What is said about a payment.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Said {
    /// The amount is kept ready.
    Authorized,
    /// The shopper must answer.
    ChallengeRequired(String),
    /// There will be no money, because of this.
    Failed(String),
    /// The money is ours.
    Captured,
    /// It was let go.
    Voided,
    /// What was left of it moved back: so many minor units.
    Refunded(i64),
    /// A part of it moved back.
    PartRefunded {
        /// Which.
        refund_id: RefundId,
        /// How much.
        amount: Money,
        /// Why, as the shopper reads it.
        reason: String,
    },
}

/// What the provider made of a call.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Answer {
    /// How the payment stands there.
    Shown(ProviderPayment),
    /// Refused for good, without effect.
    Refused(String),
    /// Nobody knows whether it happened.
    Unknown(String),
}

/// What follows from an answer.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Settled {
    /// The payment from now on.
    pub payment: Payment,
    /// What is to be said about it.
    pub said: Option<Said>,
    /// False if the same call is to be made again later.
    pub progress: bool,
}

impl Payment {
    /// A payment that the provider does not know yet.
    #[must_use]
    pub fn new(provider: &str, payment_id: PaymentId, order_id: OrderId, amount: Money, payment_token: String) -> Self {
        Self {
            payment_id,
            order_id,
            provider: provider.to_owned(),
            provider_reference: None,
            challenge_id: None,
            next_action: None,
            payment_token,
            amount,
            captured_minor: 0,
            refunded_minor: 0,
            refunding_minor: 0,
            state: State::ToCreate,
            attempts: 0,
            version: 0,
            last_error: None,
            facts: None,
        }
    }

    /// The call that this state waits for, if it waits for the provider.
    #[must_use]
    pub fn call(&self) -> Option<Call> {
        match self.state {
            State::ToCreate => Some(Call::Create),
            // Until the amount is kept ready, nothing is said of a payment but that its shopper is asked.
            State::ToAuthorize => Some(Call::Authorize { asked: self.version }),
            State::ChallengeRequired => self.next_action.as_ref().map(|_| Call::Look),
            State::ToConfirm => Some(Call::Confirm { challenge_id: self.challenge_id.clone().unwrap_or_default() }),
            State::ToCapture => Some(Call::Capture),
            State::ToVoid => Some(Call::Void),
            // Whether the parts that are asked for go back is not known yet; the rest was asked for as one of them.
            State::ToRefund if self.refunding_minor > 0 => None,
            State::ToRefund => Some(Call::Refund { amount_minor: self.captured_minor - self.refunded_minor }),
            State::Authorized
            | State::Captured
            | State::Declined
            | State::Voided
            | State::Refunded
            | State::Abandoned => None,
        }
    }

    fn moved_to(&self, state: State) -> Self {
        Self { state, attempts: 0, last_error: None, next_action: None, ..self.clone() }
    }
}

/// The order was claimed for this payment: its money may move. `None` if that changes nothing.
#[must_use]
pub fn claimed(payment: &Payment) -> Option<Payment> {
    (payment.state == State::Authorized).then(|| payment.moved_to(State::ToCapture))
}

/// The shopper says that he answered the provider. `None` if nothing was asked. Who came back from the provider's own page proves
/// nothing by that, and may go there again: it is read how he answered.
#[must_use]
pub fn confirmed(payment: &Payment) -> Option<Payment> {
    let read = || Payment { attempts: 0, ..payment.clone() };
    let asked = payment.state == State::ChallengeRequired;
    asked.then(|| if payment.next_action.is_some() { read() } else { payment.moved_to(State::ToConfirm) })
}

/// The order was cancelled: whatever was paid or is kept ready goes back. `None` if that changes nothing.
#[must_use]
pub fn cancelled(payment: &Payment) -> Option<(Payment, Option<Said>)> {
    match payment.state {
        // A create under way moves nothing; its payment stays empty at the provider.
        State::ToCreate => Some((payment.moved_to(State::Abandoned), Some(Said::Voided))),
        State::ToAuthorize | State::ChallengeRequired | State::ToConfirm | State::Authorized | State::ToCapture => {
            Some((payment.moved_to(State::ToVoid), None))
        }
        State::Captured => Some(going_back(&payment.moved_to(State::ToRefund))),
        State::Declined | State::ToVoid | State::Voided | State::ToRefund | State::Refunded | State::Abandoned => None,
    }
}

/// A payment that is to go back, which it has if its parts have.
fn going_back(payment: &Payment) -> (Payment, Option<Said>) {
    if payment.state == State::ToRefund && payment.refunded_minor == payment.captured_minor {
        return (payment.moved_to(State::Refunded), Some(Said::Refunded(0)));
    }
    (payment.clone(), None)
}

/// What follows from a provider's notice.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Told {
    /// Nothing that we do not know or shall not learn.
    Known,
    /// It is of another payment than the one whose reference we committed.
    Stranger,
    /// The call that the payment waits for is due now; it reads before it asks.
    Due,
    /// This is to be kept, and asked about now.
    Look(Box<Payment>),
}

/// The provider tells of the payment that it calls `reference`. What it tells is not believed; it is read.
///
/// A payment that was over counts as one to void: whatever is kept ready there is let go, and a success that came too late is
/// found by reading and goes back.
#[must_use]
pub fn told(payment: &Payment, reference: &str, news: News) -> Told {
    if payment.provider_reference.as_deref().is_some_and(|known| known != reference) {
        return Told::Stranger;
    }
    match payment.state {
        State::ToCreate
        | State::ToAuthorize
        | State::ToConfirm
        | State::ToCapture
        | State::ToVoid
        | State::ToRefund => Told::Due,
        State::ChallengeRequired if payment.next_action.is_some() => Told::Due,
        State::ChallengeRequired => Told::Look(Box::new(payment.moved_to(State::ToConfirm))),
        // Claims and cancellations ask, and then find what there is.
        State::Authorized | State::Captured | State::Refunded => Told::Known,
        State::Declined | State::Voided | State::Abandoned => match news {
            News::Money => Told::Look(Box::new(reopened(payment, reference))),
            News::Over => Told::Known,
        },
    }
}

/// An attempt counts as made already: it may have been, and an answer that the provider has kept under the key of the void
/// would hide what came after it. So the payment is read first.
fn reopened(payment: &Payment, reference: &str) -> Payment {
    let provider_reference = Some(reference.to_owned());
    Payment { provider_reference, attempts: 1, ..payment.moved_to(State::ToVoid) }
}

/// What follows from the provider's answer to the call that `payment` waited for.
#[must_use]
pub fn settle(payment: &Payment, answer: &Answer) -> Settled {
    match answer {
        Answer::Unknown(cause) => again(payment, cause),
        Answer::Refused(cause) if payment.state == State::ToCreate => fail(payment, cause),
        Answer::Refused(cause) => again(payment, cause),
        Answer::Shown(shown) => match mismatch(payment, shown) {
            Some(cause) => again(payment, &cause),
            None => settle_shown(payment, shown),
        },
    }
}

fn settle_shown(payment: &Payment, shown: &ProviderPayment) -> Settled {
    let payment = &Payment {
        provider_reference: Some(shown.reference.clone()),
        challenge_id: shown.challenge_id.clone(),
        ..payment.clone()
    };
    match payment.state {
        State::ToCreate | State::ToAuthorize | State::ChallengeRequired | State::ToConfirm => {
            settle_authorizing(payment, shown)
        }
        State::ToCapture => settle_capturing(payment, shown),
        State::ToVoid => settle_voiding(payment, shown),
        State::ToRefund => settle_refunding(payment, shown),
        State::Authorized | State::Captured | State::Declined | State::Voided | State::Refunded | State::Abandoned => {
            Settled { payment: payment.clone(), said: None, progress: true }
        }
    }
}

fn settle_authorizing(payment: &Payment, shown: &ProviderPayment) -> Settled {
    match shown.status {
        ProviderStatus::Created if payment.state == State::ToCreate => to(payment, State::ToAuthorize, None),
        ProviderStatus::Created => again(payment, "not authorized yet"),
        ProviderStatus::ChallengeRequired => settle_asking(payment, shown),
        ProviderStatus::Approved if payment.state == State::ToAuthorize => again(payment, "not authorized yet"),
        ProviderStatus::Approved => to(payment, State::ToAuthorize, None),
        ProviderStatus::Authorized => to(payment, State::Authorized, Some(Said::Authorized)),
        ProviderStatus::Declined => fail(payment, shown.decline_reason.as_deref().unwrap_or("declined")),
        ProviderStatus::Voided => fail(payment, "voided at the provider"),
        // Nobody asked for the money and the order is not claimed: it goes back, and the order ends.
        ProviderStatus::Captured => {
            let said = Some(Said::Failed("captured without being asked".to_owned()));
            to(&with_capture(payment), State::ToRefund, said)
        }
        ProviderStatus::Refunded => {
            let said = Some(Said::Failed("captured without being asked, and refunded".to_owned()));
            to(&with_refund(payment), State::Refunded, said)
        }
    }
}

/// The shopper is to answer. Where his page leads to another address, that is told as the question was.
fn settle_asking(payment: &Payment, shown: &ProviderPayment) -> Settled {
    if payment.state == State::ToConfirm && shown.next_action.is_none() {
        return again(payment, "not confirmed yet");
    }
    if payment.state == State::ChallengeRequired && payment.next_action == shown.next_action {
        return again(payment, "not answered yet");
    }
    let challenge = shown.challenge_id.clone().unwrap_or_default();
    let asked = to(payment, State::ChallengeRequired, Some(Said::ChallengeRequired(challenge)));
    Settled { payment: Payment { next_action: shown.next_action.clone(), ..asked.payment }, ..asked }
}

fn settle_capturing(payment: &Payment, shown: &ProviderPayment) -> Settled {
    match shown.status {
        ProviderStatus::Captured => to(&with_capture(payment), State::Captured, Some(Said::Captured)),
        ProviderStatus::Authorized => again(payment, "not captured yet"),
        ProviderStatus::Refunded => {
            to(&with_refund(payment), State::Refunded, Some(Said::Failed("refunded".to_owned())))
        }
        ProviderStatus::Voided | ProviderStatus::Declined => fail(payment, "the authorization is gone"),
        ProviderStatus::Created | ProviderStatus::ChallengeRequired | ProviderStatus::Approved => {
            fail(payment, "there was no authorization")
        }
    }
}

fn settle_voiding(payment: &Payment, shown: &ProviderPayment) -> Settled {
    match shown.status {
        ProviderStatus::Voided | ProviderStatus::Declined => to(payment, State::Voided, Some(Said::Voided)),
        ProviderStatus::Created | ProviderStatus::ChallengeRequired | ProviderStatus::Authorized => {
            again(payment, "not voided yet")
        }
        // Nothing is kept ready, and nobody but us could have it kept: there is nothing to void. Yet an authorization that was
        // under way when the order ended may still come through, until it cannot any more.
        ProviderStatus::Approved if payment.attempts < ATTEMPTS_BEFORE_APPROVED_IS_OVER => {
            again(payment, "not voided yet")
        }
        ProviderStatus::Approved => to(payment, State::Voided, Some(Said::Voided)),
        ProviderStatus::Captured => to(&with_capture(payment), State::ToRefund, None),
        ProviderStatus::Refunded => to(&with_refund(payment), State::Refunded, Some(Said::Refunded(left(payment)))),
    }
}

fn settle_refunding(payment: &Payment, shown: &ProviderPayment) -> Settled {
    match shown.status {
        ProviderStatus::Refunded => to(&with_refund(payment), State::Refunded, Some(Said::Refunded(left(payment)))),
        ProviderStatus::Captured => again(payment, "not refunded yet"),
        ProviderStatus::Created
        | ProviderStatus::ChallengeRequired
        | ProviderStatus::Approved
        | ProviderStatus::Authorized
        | ProviderStatus::Declined
        | ProviderStatus::Voided => again(payment, "the provider has forgotten the capture"),
    }
}

/// The provider must speak of the same payment, and of all of its amount: anything else is for a person to look at.
fn mismatch(payment: &Payment, shown: &ProviderPayment) -> Option<String> {
    let all_moved = !matches!(shown.status, ProviderStatus::Captured | ProviderStatus::Refunded)
        || shown.captured_minor == payment.amount.minor();
    let same = shown.merchant_reference == payment.payment_id.to_string()
        && shown.amount == payment.amount
        && payment.provider_reference.as_ref().is_none_or(|reference| *reference == shown.reference);
    // Not all of it: it may name the page where anybody can pay, and it names the card.
    let ProviderPayment { reference, merchant_reference, amount, status, captured_minor, .. } = shown;
    (!same || !all_moved).then(|| {
        format!(
            "the provider speaks of another payment: {reference}, for {merchant_reference}, {amount}, {status:?}, {captured_minor} captured"
        )
    })
}

fn with_capture(payment: &Payment) -> Payment {
    Payment { captured_minor: payment.amount.minor(), ..payment.clone() }
}

fn with_refund(payment: &Payment) -> Payment {
    Payment { refunded_minor: payment.amount.minor(), ..with_capture(payment) }
}

/// Minor units that have not moved back.
fn left(payment: &Payment) -> i64 {
    payment.amount.minor() - payment.refunded_minor
}

fn to(payment: &Payment, state: State, said: Option<Said>) -> Settled {
    Settled { payment: payment.moved_to(state), said, progress: true }
}

fn fail(payment: &Payment, cause: &str) -> Settled {
    let payment = Payment { last_error: Some(cause.to_owned()), ..payment.moved_to(State::Declined) };
    Settled { payment, said: Some(Said::Failed(cause.to_owned())), progress: true }
}

fn again(payment: &Payment, cause: &str) -> Settled {
    let payment = Payment { last_error: Some(cause.to_owned()), ..payment.clone() };
    Settled { payment, said: None, progress: false }
}

/// Pause after that many attempts without progress: doubles from `first` up to `longest`.
#[must_use]
pub fn pause(attempts: i32, first: Duration, longest: Duration) -> Duration {
    let doublings = u32::try_from(attempts.saturating_sub(1)).unwrap_or(0).min(16);
    first.saturating_mul(1 << doublings).min(longest)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use shared::Currency;
    use shared::id::Slot;

    use super::*;

    fn payment(state: State) -> Payment {
        let slot = Slot::new(7).unwrap();
        let captured = matches!(state, State::Captured | State::ToRefund | State::Refunded);
        Payment {
            payment_id: PaymentId::mint(1_800_000_000_000, slot, [1; 8]),
            order_id: OrderId::mint(1_800_000_000_000, slot, [2; 8]),
            provider: "bank".to_owned(),
            provider_reference: (state != State::ToCreate).then(|| "pay_1".to_owned()),
            challenge_id: Some("chl_1".to_owned()),
            next_action: None,
            payment_token: "tok".to_owned(),
            amount: Money::new(1250, Currency::GBP).unwrap(),
            captured_minor: if captured { 1250 } else { 0 },
            refunded_minor: if state == State::Refunded { 1250 } else { 0 },
            refunding_minor: 0,
            state,
            attempts: 1,
            version: 3,
            last_error: None,
            facts: None,
        }
    }

    fn shown(status: ProviderStatus) -> Answer {
        let moved = matches!(status, ProviderStatus::Captured | ProviderStatus::Refunded);
        Answer::Shown(ProviderPayment {
            reference: "pay_1".to_owned(),
            merchant_reference: payment(State::ToCreate).payment_id.to_string(),
            amount: Money::new(1250, Currency::GBP).unwrap(),
            status,
            challenge_id: Some("chl_1".to_owned()),
            next_action: None,
            decline_reason: Some("no".to_owned()),
            captured_minor: if moved { 1250 } else { 0 },
            refunded_minor: if status == ProviderStatus::Refunded { 1250 } else { 0 },
            card: None,
        })
    }

    #[test]
    fn a_reference_is_committed_before_anything_else_is_asked() {
        let created = settle(&payment(State::ToCreate), &shown(ProviderStatus::Created));
        assert_eq!((created.payment.state, created.said), (State::ToAuthorize, None));
        assert_eq!(created.payment.provider_reference.as_deref(), Some("pay_1"));
    }

    #[test]
    fn a_success_after_the_order_was_cancelled_goes_back() {
        let (voiding, _) = cancelled(&payment(State::ToCapture)).unwrap();
        let late = settle(&voiding, &shown(ProviderStatus::Captured)).payment;
        assert_eq!((late.state, late.captured_minor), (State::ToRefund, 1250));
        let back = settle(&late, &shown(ProviderStatus::Refunded));
        assert_eq!((back.payment.refunded_minor, back.said), (1250, Some(Said::Refunded(1250))));
        assert_eq!(cancelled(&payment(State::Captured)).unwrap().0.state, State::ToRefund);
    }

    #[test]
    fn of_a_cancelled_order_what_is_left_goes_back_once_its_parts_are_through() {
        let asked = Payment { refunding_minor: 300, ..payment(State::Captured) };
        let (waiting, said) = cancelled(&asked).unwrap();
        assert_eq!((waiting.state, waiting.call(), said), (State::ToRefund, None, None));
        let through = Payment { refunding_minor: 0, refunded_minor: 300, ..waiting };
        assert_eq!(through.call(), Some(Call::Refund { amount_minor: 950 }));
        let back = settle(&through, &shown(ProviderStatus::Refunded));
        assert_eq!((back.payment.refunded_minor, back.said), (1250, Some(Said::Refunded(950))));
        let all = Payment { refunded_minor: 1250, ..payment(State::Captured) };
        let (over, said) = cancelled(&all).unwrap();
        assert_eq!((over.state, over.call(), said), (State::Refunded, None, Some(Said::Refunded(0))));
    }

    #[test]
    fn a_success_that_is_told_of_after_a_payment_was_over_goes_back() {
        for over in [State::Declined, State::Voided, State::Abandoned] {
            let before = Payment { provider_reference: None, ..payment(over) };
            let Told::Look(looking) = told(&before, "pay_1", News::Money) else { panic!("{over:?}") };
            assert_eq!((looking.state, looking.captured_minor, looking.attempts), (State::ToVoid, 0, 1), "{over:?}");
            let late = settle(&looking, &shown(ProviderStatus::Captured)).payment;
            assert_eq!((late.state, late.captured_minor), (State::ToRefund, 1250), "{over:?}");
            let nothing = settle(&looking, &shown(ProviderStatus::Voided)).payment;
            assert_eq!((nothing.state, nothing.captured_minor), (State::Voided, 0), "{over:?}");
            assert_eq!(told(&before, "pay_1", News::Over), Told::Known, "{over:?}");
        }
    }

    #[test]
    fn a_notice_never_says_what_moved() {
        for (state, news) in State::ALL.iter().flat_map(|state| [(*state, News::Money), (*state, News::Over)]) {
            let before = payment(state);
            match told(&before, "pay_1", news) {
                Told::Look(after) => {
                    let money = |payment: &Payment| (payment.amount, payment.captured_minor, payment.refunded_minor);
                    assert_eq!(money(&after), money(&before), "{state:?}");
                    assert!(after.call().is_some(), "{state:?}: nobody would look");
                }
                Told::Due => assert!(before.call().is_some(), "{state:?}: nobody would look"),
                Told::Known => assert!(before.call().is_none(), "{state:?}"),
                Told::Stranger => panic!("{state:?}"),
            }
        }
    }

    #[test]
    fn a_notice_of_another_reference_changes_nothing() {
        for state in State::ALL.iter().filter(|state| **state != State::ToCreate) {
            assert_eq!(told(&payment(*state), "pay_2", News::Money), Told::Stranger, "{state:?}");
        }
    }

    const PAGE: &str = "https://pay.example/hosted/1";

    /// What the provider shows while its own page waits for the shopper.
    fn asked_there(url: &str) -> Answer {
        let Answer::Shown(shown) = shown(ProviderStatus::ChallengeRequired) else { unreachable!() };
        Answer::Shown(ProviderPayment { next_action: Some(url.to_owned()), ..shown })
    }

    #[test]
    fn a_shopper_who_agreed_on_the_providers_page_is_authorized_under_a_key_of_its_own() {
        let first = payment(State::ToAuthorize);
        let asked = settle(&Payment { version: 0, ..first.clone() }, &asked_there(PAGE));
        assert_eq!((asked.payment.state, asked.payment.next_action.as_deref()), (State::ChallengeRequired, Some(PAGE)));
        assert_eq!(
            (asked.said, asked.payment.call()),
            (Some(Said::ChallengeRequired("chl_1".into())), Some(Call::Look))
        );
        let counted = Payment { version: 1, ..asked.payment };
        let agreed = settle(&counted, &shown(ProviderStatus::Approved));
        assert_eq!((agreed.payment.state, &agreed.payment.next_action, agreed.said), (State::ToAuthorize, &None, None));
        let (before, now) = (Call::Authorize { asked: 0 }, agreed.payment.call().unwrap());
        assert_ne!(now.key(&first), before.key(&first));
        let ready = settle(&agreed.payment, &shown(ProviderStatus::Authorized));
        assert_eq!((ready.payment.state, ready.said), (State::Authorized, Some(Said::Authorized)));
    }

    #[test]
    fn who_comes_back_has_the_payment_read_and_may_go_to_the_page_again() {
        let there = Payment { next_action: Some(PAGE.to_owned()), ..payment(State::ChallengeRequired) };
        let back = confirmed(&there).unwrap();
        assert_eq!((back.state, back.next_action.as_deref(), back.call()), (there.state, Some(PAGE), Some(Call::Look)));
        let again = settle(&back, &asked_there(PAGE));
        assert_eq!((again.payment.next_action.as_deref(), again.said, again.progress), (Some(PAGE), None, false));
        let moved = settle(&back, &asked_there("https://pay.example/hosted/2"));
        assert!(moved.said.is_some() && moved.payment.next_action.as_deref() == Some("https://pay.example/hosted/2"));
        assert_eq!(told(&there, "pay_1", News::Money), Told::Due);
    }

    #[test]
    fn what_a_shopper_agreed_to_too_late_moves_nothing() {
        let there = Payment { next_action: Some(PAGE.to_owned()), ..payment(State::ChallengeRequired) };
        let (voiding, _) = cancelled(&there).unwrap();
        assert_eq!((voiding.state, &voiding.next_action), (State::ToVoid, &None));
        let after = |attempts| settle(&Payment { attempts, ..voiding.clone() }, &shown(ProviderStatus::Approved));
        assert!(!after(1).progress, "an authorization may be under way");
        let over = after(ATTEMPTS_BEFORE_APPROVED_IS_OVER);
        assert_eq!((over.payment.state, over.said), (State::Voided, Some(Said::Voided)));
        // A page that captures by itself: what it took goes back.
        assert_eq!(settle(&there, &shown(ProviderStatus::Captured)).payment.state, State::ToRefund);
        assert_eq!(settle(&voiding, &shown(ProviderStatus::Captured)).payment.state, State::ToRefund);
        assert_eq!(settle(&payment(State::ToCapture), &shown(ProviderStatus::Approved)).payment.state, State::Declined);
    }

    #[test]
    fn no_authorization_is_under_way_any_more_when_what_was_agreed_to_counts_as_let_go() {
        let settings = crate::Settings::default();
        let attempts = 1..ATTEMPTS_BEFORE_APPROVED_IS_OVER;
        let waited: Duration = attempts.map(|tried| pause(tried, settings.first_pause, settings.longest_pause)).sum();
        assert!(waited > settings.lease, "{waited:?}");
    }

    #[test]
    fn a_claim_moves_money_only_on_an_authorization() {
        for state in State::ALL {
            let moved = claimed(&payment(*state)).map(|payment| payment.state);
            assert_eq!(moved, (*state == State::Authorized).then_some(State::ToCapture), "{state:?}");
        }
    }

    #[test]
    fn what_the_provider_says_of_another_payment_changes_nothing() {
        let Answer::Shown(mut other) = shown(ProviderStatus::Captured) else { unreachable!() };
        other.captured_minor = 1249;
        let settled = settle(&payment(State::ToCapture), &Answer::Shown(other));
        assert_eq!((settled.payment.state, settled.progress), (State::ToCapture, false));
    }

    #[test]
    fn the_key_of_an_effect_never_changes() {
        let payment = payment(State::ToRefund);
        let id = payment.payment_id;
        assert_eq!(Call::Capture.key(&payment), format!("{id}:capture"));
        assert_eq!(payment.call().unwrap().key(&payment), format!("{id}:refund"));
        let rest = Payment { refunded_minor: 300, ..payment };
        assert_eq!(rest.call().unwrap().key(&rest), format!("{id}:refund:950"), "another amount is another effect");
    }

    #[test]
    fn pauses_double_up_to_their_bound() {
        let seconds = |attempts| pause(attempts, Duration::from_secs(1), Duration::from_secs(30)).as_secs();
        assert_eq!([1, 2, 3, 5, 6, i32::MAX].map(seconds), [1, 2, 4, 16, 30, 30]);
    }

    fn any_state() -> impl Strategy<Value = State> {
        proptest::sample::select(State::ALL)
    }

    fn any_answer() -> impl Strategy<Value = Answer> {
        prop_oneof![
            proptest::sample::select(ProviderStatus::ALL).prop_map(shown),
            Just(Answer::Refused("no".to_owned())),
            Just(Answer::Unknown("lost".to_owned())),
        ]
    }

    proptest! {
        #[test]
        fn whatever_is_answered_the_tables_rules_hold(state in any_state(), answer in any_answer(), cancel: bool) {
            let before = payment(state);
            let mut after = settle(&before, &answer).payment;
            if cancel && let Some((changed, _)) = cancelled(&after) {
                after = changed;
            }
            let nameless = matches!(after.state, State::ToCreate | State::Declined | State::Abandoned);
            prop_assert!(after.provider_reference.is_some() || nameless, "{after:?}");
            prop_assert!([0, 1250].contains(&after.captured_minor));
            prop_assert!((0..=after.captured_minor).contains(&after.refunded_minor));
            prop_assert!(after.state != State::Captured || after.captured_minor == 1250);
            prop_assert!(after.state != State::Refunded || after.refunded_minor == 1250);
        }

        #[test]
        fn settling_twice_is_settling_once(state in any_state(), answer in any_answer()) {
            let once = settle(&payment(state), &answer);
            if once.progress && once.payment.call().is_none() {
                let twice = settle(&once.payment, &answer);
                prop_assert_eq!((&twice.payment.state, &twice.said), (&once.payment.state, &None));
            }
        }
    }
}
