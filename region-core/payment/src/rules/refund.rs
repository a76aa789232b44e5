//! Parts of a captured payment that go back: what may be asked for, and what an answer makes of it. No I/O.
//!
//! What is asked for is set aside on the payment first, so that however many are asked for at once, no more goes back than was
//! captured; it moves, or is free to be asked for again, when the provider's answer is definite.

use shared::{Money, OrderId, PaymentId, RefundId};

use super::{Payment, Said, State, going_back};
use crate::provider::{ProviderRefund, RefundStanding};

/// Most refunds of one order, whatever became of them.
pub const MOST_REFUNDS: usize = 50;
/// Longest reason, in characters.
const MAX_REASON_LENGTH: usize = 200;

/// A part of a payment that the provider is to be asked for.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Refund {
    /// The provider knows it by this.
    pub refund_id: RefundId,
    /// Of which payment.
    pub payment_id: PaymentId,
    /// The provider's name for that.
    pub reference: String,
    /// Of which order.
    pub order_id: OrderId,
    /// How much.
    pub amount: Money,
    /// Why, as the shopper reads it.
    pub reason: String,
    /// Leases taken.
    pub attempts: i32,
}

impl Refund {
    /// The key of its effect: the same for ever, so that no repeat has a second effect.
    #[must_use]
    pub fn key(&self) -> String {
        format!("{}:refund", self.refund_id)
    }
}

/// Why nothing is set aside.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum AskError {
    /// The money is not ours, or goes back already.
    #[error("the payment is {}", .0.name())]
    NotCaptured(State),
    /// Not a positive amount in the payment's currency.
    #[error("a positive amount of {}", .0.currency())]
    Amount(Money),
    /// More than is left.
    #[error("{left} of it can still be given back")]
    TooMuch {
        /// What was captured and has neither gone back nor been asked for.
        left: Money,
    },
}

/// What the provider made of it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Answer {
    /// How it stands there.
    Shown(ProviderRefund),
    /// Refused for good, without effect.
    Refused(String),
    /// Nobody knows whether it happened.
    Unknown(String),
}

/// What follows from an answer.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Outcome {
    /// The money moved back.
    Through,
    /// It will not, because of this.
    Refused(String),
    /// Nobody knows yet, because of this: it is asked about again.
    Again(String),
}

/// Minor units of the payment that can still be asked for.
#[must_use]
pub fn left_minor(payment: &Payment) -> i64 {
    match payment.state {
        State::Captured => payment.captured_minor - payment.refunded_minor - payment.refunding_minor,
        State::ToCreate
        | State::ToAuthorize
        | State::ChallengeRequired
        | State::ToConfirm
        | State::Authorized
        | State::ToCapture
        | State::Declined
        | State::ToVoid
        | State::Voided
        | State::ToRefund
        | State::Refunded
        | State::Abandoned => 0,
    }
}

/// A reason that a shopper may read.
///
/// # Errors
/// What is wrong with it.
pub fn checked_reason(reason: &str) -> Result<String, &'static str> {
    let reason = reason.trim();
    if !(1..=MAX_REASON_LENGTH).contains(&reason.chars().count()) {
        return Err("1 to 200 characters");
    }
    if reason.chars().any(char::is_control) {
        return Err("control characters are not allowed");
    }
    if shared::text::holds_card_number(reason) { Err("card numbers do not belong here") } else { Ok(reason.to_owned()) }
}

/// The payment with `amount` set aside.
///
/// # Errors
/// [`AskError`].
pub fn ask(payment: &Payment, amount: Money) -> Result<Payment, AskError> {
    if amount.currency() != payment.amount.currency() || amount.minor() <= 0 {
        return Err(AskError::Amount(payment.amount));
    }
    if payment.state != State::Captured {
        return Err(AskError::NotCaptured(payment.state));
    }
    let left = left_minor(payment);
    if amount.minor() > left {
        // A part of an amount that is within its bounds.
        let left = Money::new(left, amount.currency()).unwrap_or(payment.amount);
        return Err(AskError::TooMuch { left });
    }
    Ok(Payment { refunding_minor: payment.refunding_minor + amount.minor(), ..payment.clone() })
}

/// What follows from the provider's answer about the refund.
#[must_use]
pub fn outcome(refund: &Refund, answer: &Answer) -> Outcome {
    match answer {
        Answer::Unknown(cause) => Outcome::Again(cause.clone()),
        Answer::Refused(cause) => Outcome::Refused(cause.clone()),
        Answer::Shown(shown) if shown.amount != refund.amount => {
            Outcome::Again(format!("the provider speaks of another refund: {shown:?}"))
        }
        Answer::Shown(shown) => match &shown.standing {
            RefundStanding::Done => Outcome::Through,
            RefundStanding::Pending => Outcome::Again("the provider has it under way".to_owned()),
            RefundStanding::Failed(cause) => Outcome::Refused(cause.clone()),
        },
    }
}

/// The payment once the refund is through, and what is said about it.
#[must_use]
pub fn through(payment: &Payment, refund: &Refund) -> (Payment, Vec<Said>) {
    let moved = Payment { refunded_minor: payment.refunded_minor + refund.amount.minor(), ..let_go(payment, refund) };
    let Refund { refund_id, amount, ref reason, .. } = *refund;
    let mut said = vec![Said::PartRefunded { refund_id, amount, reason: reason.clone() }];
    // The order may have been cancelled meanwhile.
    let (payment, all) = going_back(&moved);
    said.extend(all);
    (payment, said)
}

/// Why the rest of a cancelled order's money goes back, as the shopper reads it.
pub const REST: &str = "the rest, for the order was cancelled";

/// A cancelled order's payment with all of its rest set aside, and how much that is: while parts are under way the rest is
/// asked for as one more of them, under a name of its own.
///
/// Nobody knows yet which of those parts have moved, so the sums that the provider shows could not tell whether the rest has; a
/// name can. All that is set aside together is what was captured, so whatever becomes of each, the others fit. `None` if no part
/// is under way: then the payment goes back as it is.
#[must_use]
pub fn rest(payment: &Payment) -> Option<(Payment, Money)> {
    let minor = payment.captured_minor - payment.refunded_minor - payment.refunding_minor;
    if payment.state != State::ToRefund || payment.refunding_minor == 0 || minor <= 0 {
        return None;
    }
    let amount = Money::new(minor, payment.amount.currency()).ok()?;
    Some((Payment { refunding_minor: payment.refunding_minor + minor, ..payment.clone() }, amount))
}

/// The payment with what was set aside for the refund free again.
#[must_use]
pub fn let_go(payment: &Payment, refund: &Refund) -> Payment {
    Payment { refunding_minor: payment.refunding_minor - refund.amount.minor(), ..payment.clone() }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use shared::Currency;
    use shared::id::Slot;

    use super::*;

    const MS: u64 = 1_800_000_000_000;

    fn gbp(minor: i64) -> Money {
        Money::new(minor, Currency::GBP).unwrap()
    }

    fn captured() -> Payment {
        let slot = Slot::new(7).unwrap();
        let new = Payment::new(
            "bank",
            PaymentId::mint(MS, slot, [1; 8]),
            OrderId::mint(MS, slot, [2; 8]),
            gbp(1250),
            "t".into(),
        );
        Payment { state: State::Captured, captured_minor: 1250, ..new }
    }

    fn refund(number: u8, minor: i64) -> Refund {
        let (refund_id, payment) = (RefundId::mint(MS, Slot::new(7).unwrap(), [number; 8]), captured());
        let Payment { payment_id, order_id, .. } = payment;
        let (reference, reason) = ("pay_1".to_owned(), "a crack".to_owned());
        Refund { refund_id, payment_id, reference, order_id, amount: gbp(minor), reason, attempts: 1 }
    }

    #[test]
    fn only_captured_money_in_its_own_currency_is_given_back() {
        assert_eq!(ask(&captured(), gbp(1250)).unwrap().refunding_minor, 1250);
        assert_eq!(ask(&captured(), gbp(1251)), Err(AskError::TooMuch { left: gbp(1250) }));
        let usd = Money::new(1, Currency::USD).unwrap();
        for bad in [gbp(0), gbp(-1), usd] {
            assert_eq!(ask(&captured(), bad), Err(AskError::Amount(gbp(1250))));
        }
        for state in State::ALL.iter().filter(|state| **state != State::Captured) {
            let payment = Payment { state: *state, ..captured() };
            assert_eq!(ask(&payment, gbp(1)), Err(AskError::NotCaptured(*state)));
            assert_eq!(left_minor(&payment), 0);
        }
    }

    #[test]
    fn an_answer_about_another_amount_or_without_an_end_is_asked_for_again() {
        let shown = |minor, standing| Answer::Shown(ProviderRefund { amount: gbp(minor), standing });
        let outcome = |answer| outcome(&refund(1, 300), &answer);
        assert_eq!(outcome(shown(300, RefundStanding::Done)), Outcome::Through);
        assert!(matches!(outcome(shown(301, RefundStanding::Done)), Outcome::Again(_)));
        assert!(matches!(outcome(shown(300, RefundStanding::Pending)), Outcome::Again(_)));
        assert!(matches!(outcome(Answer::Unknown("lost".into())), Outcome::Again(_)));
        let no = || "no".to_owned();
        assert_eq!(outcome(shown(300, RefundStanding::Failed(no()))), Outcome::Refused(no()));
        assert_eq!(outcome(Answer::Refused(no())), Outcome::Refused(no()));
    }

    #[test]
    fn the_last_part_of_a_cancelled_order_s_money_ends_its_payment() {
        let asked = ask(&captured(), gbp(1250)).unwrap();
        let waiting = super::super::cancelled(&asked).unwrap().0;
        let (payment, said) = through(&waiting, &refund(1, 1250));
        assert_eq!((payment.state, said.len(), said.last()), (State::Refunded, 2, Some(&Said::Refunded(0))));
        let (payment, said) = through(&asked, &refund(1, 1250));
        assert_eq!((payment.state, said.len()), (State::Captured, 1), "the order stands");
    }

    #[test]
    fn a_reason_is_short_and_said() {
        assert_eq!(checked_reason(" a crack "), Ok("a crack".to_owned()));
        for bad in [String::new(), "  ".into(), "x".repeat(201), "a\nb".into(), "4111111111111111".into()] {
            assert!(checked_reason(&bad).is_err(), "{bad:?}");
        }
    }

    proptest! {
        #[test]
        fn the_rest_of_a_cancelled_order_s_money_waits_for_no_part_and_all_of_it_goes_back(
            parts in prop::collection::vec((1_i64..1500, any::<bool>()), 0..5),
            ends in prop::collection::vec((any::<prop::sample::Index>(), any::<bool>()), 6),
        ) {
            let (mut payment, mut open) = (captured(), Vec::new());
            for (minor, ended) in parts {
                if let Ok(asked) = ask(&payment, gbp(minor)) {
                    payment = asked;
                    open.push(refund(1, minor));
                }
                if ended && let Some(refund) = open.pop() {
                    payment = through(&payment, &refund).0;
                }
            }
            payment = super::super::cancelled(&payment).unwrap().0;
            let (waiting, told) = (payment.refunding_minor > 0, payment.call());
            if let Some((asked, amount)) = rest(&payment) {
                payment = asked;
                open.push(refund(2, amount.minor()));
            }
            if waiting {
                prop_assert_eq!(payment.refunded_minor + payment.refunding_minor, 1250, "some of it waits");
            } else {
                prop_assert!(told.is_some() || payment.state == State::Refunded);
            }
            prop_assert_eq!(rest(&payment), None, "it is asked for once");
            let mut said = Vec::new();
            for (which, goes_through) in ends {
                if open.is_empty() {
                    break;
                }
                let refund = open.swap_remove(which.index(open.len()));
                prop_assert_eq!(payment.call(), None, "nothing else is asked meanwhile");
                if goes_through {
                    let (after, says) = through(&payment, &refund);
                    payment = after;
                    said.extend(says);
                } else {
                    payment = let_go(&payment, &refund);
                }
            }
            prop_assert_eq!(payment.refunding_minor, 0);
            let left = 1250 - payment.refunded_minor;
            let call = (left > 0).then_some(super::super::Call::Refund { amount_minor: left });
            prop_assert_eq!(payment.call(), call, "what was refused is asked for again");
            prop_assert_eq!(payment.state == State::Refunded, left == 0);
            let ended = said.iter().filter(|said| matches!(said, Said::Refunded(_))).count();
            prop_assert!(ended <= 1 && (ended == 0 || left == 0));
        }

        #[test]
        fn however_refunds_end_no_more_goes_back_than_was_captured(
            steps in prop::collection::vec((1_i64..1500, any::<bool>(), any::<bool>()), 0..20),
        ) {
            let (mut payment, mut open) = (captured(), Vec::new());
            for (minor, end_one, goes_through) in steps {
                if let Ok(asked) = ask(&payment, gbp(minor)) {
                    payment = asked;
                    open.push(refund(1, minor));
                }
                if end_one && let Some(refund) = open.pop() {
                    payment = if goes_through { through(&payment, &refund).0 } else { let_go(&payment, &refund) };
                }
                let set_aside: i64 = open.iter().map(|refund| refund.amount.minor()).sum();
                prop_assert_eq!(payment.refunding_minor, set_aside);
                prop_assert!(payment.refunded_minor >= 0 && payment.refunded_minor + set_aside <= 1250);
                prop_assert_eq!(left_minor(&payment), 1250 - payment.refunded_minor - set_aside);
            }
        }
    }
}
