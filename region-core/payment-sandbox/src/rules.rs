//! What the provider decides: an operation on a payment, and the fact that follows from it. No I/O, no clock.

use serde::{Deserialize, Serialize, Serializer};
use shared::{Currency, Money};

/// Where a payment stands.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Status {
    /// Known; nothing was asked of the bank.
    Created,
    /// The bank wants to hear from the cardholder.
    ChallengeRequired,
    /// The cardholder agreed on our page; the merchant may have the amount kept ready.
    Approved,
    /// The bank keeps the amount ready.
    Authorized,
    /// The bank said no.
    Declined,
    /// The money moved.
    Captured,
    /// Given up before the money moved.
    Voided,
    /// All of it moved back.
    Refunded,
}

/// A way to pay, chosen by name: what the bank will do.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub enum Token {
    /// Authorizes at once.
    #[serde(rename = "tok_success")]
    Success,
    /// Authorizes at once. Its card is always the same one, issued in the United States; of other cards nothing is told.
    #[serde(rename = "tok_foreign")]
    Foreign,
    /// Declines.
    #[serde(rename = "tok_decline")]
    Decline,
    /// Asks the cardholder first.
    #[serde(rename = "tok_challenge")]
    Challenge,
    /// Asks the cardholder on our own page, which leads back to the merchant's `return_url`.
    #[serde(rename = "tok_hosted")]
    Hosted,
    /// Authorizes at once, but the first answer is never heard.
    #[serde(rename = "tok_timeout")]
    Timeout,
    /// Authorizes some seconds later, and answers then.
    #[serde(rename = "tok_late")]
    Late,
}

/// What a merchant is told of the card.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize)]
struct Card {
    fingerprint: &'static str,
    country: &'static str,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde hands over a reference")]
fn card<S: Serializer>(token: &Token, serializer: S) -> Result<S::Ok, S::Error> {
    let card = (*token == Token::Foreign).then_some(Card { fingerprint: "crd_foreign", country: "US" });
    card.serialize(serializer)
}

/// What can change about a payment.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct State {
    /// Where it stands.
    pub status: Status,
    /// The bank's question, once it was asked.
    pub challenge_id: Option<String>,
    /// Why the bank said no.
    pub decline_reason: Option<String>,
    /// Moved to the merchant, in minor units.
    pub captured_minor: i64,
    /// Moved back, in minor units.
    pub refunded_minor: i64,
    /// What of it the merchant has named.
    pub refunds: Vec<Refund>,
}

/// Money that moved back under a name of the merchant's.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Refund {
    /// The merchant's name for it.
    pub refund_reference: String,
    /// In minor units.
    pub amount_minor: i64,
}

/// A payment as the merchant sees it.
#[derive(Clone, PartialEq, Eq, Debug, Serialize)]
pub struct Payment {
    /// Our name for it, `pay_…`.
    pub reference: String,
    /// The merchant's name for it.
    pub merchant_reference: String,
    /// What it is about.
    pub amount: Money,
    #[serde(rename = "card", serialize_with = "card")]
    pub(crate) token: Token,
    /// Where our page leads the cardholder back to.
    #[serde(skip)]
    pub(crate) return_url: Option<String>,
    /// What can change about it.
    #[serde(flatten)]
    pub state: State,
}

/// What a merchant asks for.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Operation {
    /// Ask the bank.
    Authorize,
    /// The cardholder answered the bank's question, rightly or not.
    Challenge {
        /// The question.
        challenge_id: String,
        /// Whether the answer was right.
        passed: bool,
    },
    /// The cardholder answered on our page: he agreed, or will not pay.
    Answer {
        /// Whether he agreed.
        agreed: bool,
    },
    /// Move the money.
    Capture,
    /// Give up before the money moves.
    Void,
    /// Move some of it back.
    Refund {
        /// How much, in minor units.
        amount_minor: i64,
        /// The merchant's name for it: under one name it moves once.
        refund_reference: Option<String>,
    },
}

/// What happened to a payment: a line of the log.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(tag = "fact", rename_all = "snake_case")]
pub enum Fact {
    /// It came to be.
    Created {
        /// The merchant's name for it.
        merchant_reference: String,
        /// In minor units.
        amount_minor: i64,
        /// ISO 4217.
        currency: Currency,
        /// How it is paid.
        token: Token,
        /// Where our page leads back to, if the payment has one.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        return_url: Option<String>,
    },
    /// The bank keeps the amount ready.
    Authorized,
    /// The bank asked.
    Challenged {
        /// Its question.
        challenge_id: String,
    },
    /// The cardholder agreed on our page.
    Approved,
    /// The bank said no, or the cardholder.
    Declined {
        /// Why.
        reason: String,
    },
    /// The money moved, all of it.
    Captured,
    /// It was given up.
    Voided,
    /// So much moved back.
    Refunded {
        /// In minor units.
        amount_minor: i64,
        /// The merchant's name for it.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        refund_reference: Option<String>,
    },
}

/// Why an operation is refused; it has no effect then.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum Refusal {
    /// No such payment.
    #[error("no such payment")]
    Unknown,
    /// Not in this state.
    #[error("the payment is {0:?}")]
    State(Status),
    /// The challenge is not this payment's.
    #[error("no such challenge")]
    UnknownChallenge,
    /// More than is left of what was captured.
    #[error("{asked} asked back, {left} left of what was captured")]
    TooMuch {
        /// In minor units.
        asked: i64,
        /// In minor units.
        left: i64,
    },
    /// The amount is not positive.
    #[error("the amount must be positive")]
    Amount,
    /// The merchant's reference names another payment.
    #[error("this reference was used for a payment with other parameters")]
    ReferenceReused,
    /// The key belongs to another request.
    #[error("this Idempotency-Key was used for another request")]
    KeyReused,
    /// The book is full.
    #[error("the sandbox holds as many payments as it may")]
    Full,
}

impl State {
    /// A payment about which nothing was asked yet.
    #[must_use]
    pub const fn new() -> Self {
        Self {
            status: Status::Created,
            challenge_id: None,
            decline_reason: None,
            captured_minor: 0,
            refunded_minor: 0,
            refunds: Vec::new(),
        }
    }
}

impl Default for State {
    fn default() -> Self {
        Self::new()
    }
}

/// What follows from `operation`; `None` if it was done before and changes nothing. `new_challenge` names a question if
/// the bank has one.
///
/// # Errors
/// [`Refusal`], without effect.
pub fn decide(payment: &Payment, operation: &Operation, new_challenge: &str) -> Result<Option<Fact>, Refusal> {
    let status = payment.state.status;
    match (operation, status) {
        (Operation::Authorize, Status::Created) => Ok(Some(ask_the_bank(payment.token, new_challenge))),
        (Operation::Authorize, Status::Approved) => Ok(Some(Fact::Authorized)),
        (Operation::Answer { agreed }, Status::ChallengeRequired) if payment.token == Token::Hosted => {
            let declined = || Fact::Declined { reason: "the cardholder will not pay".to_owned() };
            Ok(Some(if *agreed { Fact::Approved } else { declined() }))
        }
        (Operation::Answer { agreed: true }, Status::Approved | Status::Authorized | Status::Captured)
        | (Operation::Answer { agreed: false }, Status::Declined)
            if payment.token == Token::Hosted =>
        {
            Ok(None)
        }
        // On our page he is asked, and not through the merchant.
        (Operation::Challenge { .. }, Status::ChallengeRequired) if payment.token == Token::Hosted => {
            Err(Refusal::UnknownChallenge)
        }
        (
            Operation::Authorize,
            Status::ChallengeRequired | Status::Authorized | Status::Declined | Status::Captured | Status::Refunded,
        ) => Ok(None),
        (Operation::Challenge { challenge_id, passed }, Status::ChallengeRequired) => {
            if payment.state.challenge_id.as_ref() != Some(challenge_id) {
                return Err(Refusal::UnknownChallenge);
            }
            let declined = || Fact::Declined { reason: "the challenge was not passed".to_owned() };
            Ok(Some(if *passed { Fact::Authorized } else { declined() }))
        }
        (Operation::Challenge { challenge_id, .. }, Status::Authorized | Status::Declined | Status::Captured)
            if payment.state.challenge_id.as_ref() == Some(challenge_id) =>
        {
            Ok(None)
        }
        (Operation::Capture, Status::Authorized) => Ok(Some(Fact::Captured)),
        (Operation::Capture, Status::Captured | Status::Refunded) => Ok(None),
        (Operation::Void, Status::Created | Status::ChallengeRequired | Status::Approved | Status::Authorized) => {
            Ok(Some(Fact::Voided))
        }
        (Operation::Void, Status::Voided) => Ok(None),
        (Operation::Refund { amount_minor, refund_reference }, Status::Captured | Status::Refunded) => {
            refund(payment, *amount_minor, refund_reference.as_deref())
        }
        (
            Operation::Authorize
            | Operation::Challenge { .. }
            | Operation::Answer { .. }
            | Operation::Capture
            | Operation::Void
            | Operation::Refund { .. },
            status,
        ) => Err(Refusal::State(status)),
    }
}

fn ask_the_bank(token: Token, new_challenge: &str) -> Fact {
    match token {
        Token::Success | Token::Foreign | Token::Timeout | Token::Late => Fact::Authorized,
        Token::Decline => Fact::Declined { reason: "the card was declined".to_owned() },
        Token::Challenge | Token::Hosted => Fact::Challenged { challenge_id: new_challenge.to_owned() },
    }
}

fn refund(payment: &Payment, asked: i64, name: Option<&str>) -> Result<Option<Fact>, Refusal> {
    let known = payment.state.refunds.iter().find(|refund| Some(refund.refund_reference.as_str()) == name);
    if let Some(known) = known {
        return if known.amount_minor == asked { Ok(None) } else { Err(Refusal::ReferenceReused) };
    }
    let left = payment.state.captured_minor - payment.state.refunded_minor;
    match asked {
        ..=0 => Err(Refusal::Amount),
        _ if asked > left => Err(Refusal::TooMuch { asked, left }),
        _ => Ok(Some(Fact::Refunded { amount_minor: asked, refund_reference: name.map(ToOwned::to_owned) })),
    }
}

/// The state after `fact`; `amount` is the payment's.
#[must_use]
pub fn apply(state: &State, fact: &Fact, amount: Money) -> State {
    let mut next = state.clone();
    match fact {
        Fact::Created { .. } => {}
        Fact::Authorized => next.status = Status::Authorized,
        Fact::Approved => next.status = Status::Approved,
        Fact::Challenged { challenge_id } => {
            next.status = Status::ChallengeRequired;
            next.challenge_id = Some(challenge_id.clone());
        }
        Fact::Declined { reason } => {
            next.status = Status::Declined;
            next.decline_reason = Some(reason.clone());
        }
        Fact::Captured => {
            next.status = Status::Captured;
            next.captured_minor = amount.minor();
        }
        Fact::Voided => next.status = Status::Voided,
        Fact::Refunded { amount_minor, refund_reference } => {
            next.refunded_minor += amount_minor;
            let named = |name: &String| Refund { refund_reference: name.clone(), amount_minor: *amount_minor };
            next.refunds.extend(refund_reference.as_ref().map(named));
            if next.refunded_minor == next.captured_minor {
                next.status = Status::Refunded;
            }
        }
    }
    next
}

#[cfg(test)]
mod tests {
    use super::*;

    fn payment(token: Token) -> Payment {
        Payment {
            reference: "pay_1".to_owned(),
            merchant_reference: "order".to_owned(),
            amount: Money::new(1000, Currency::GBP).unwrap(),
            token,
            return_url: None,
            state: State::new(),
        }
    }

    fn after(mut payment: Payment, operations: &[Operation]) -> Payment {
        for operation in operations {
            if let Some(fact) = decide(&payment, operation, "chl_1").unwrap() {
                payment.state = apply(&payment.state, &fact, payment.amount);
            }
        }
        payment
    }

    #[test]
    fn capturing_twice_moves_the_money_once() {
        let captured = after(payment(Token::Success), &[Operation::Authorize, Operation::Capture]);
        assert_eq!(captured.state.captured_minor, 1000);
        assert_eq!(decide(&captured, &Operation::Capture, ""), Ok(None));
    }

    #[test]
    fn refunds_never_exceed_what_was_captured() {
        let refund = |amount_minor| Operation::Refund { amount_minor, refund_reference: None };
        let captured = after(payment(Token::Success), &[Operation::Authorize, Operation::Capture, refund(600)]);
        assert_eq!(decide(&captured, &refund(401), ""), Err(Refusal::TooMuch { asked: 401, left: 400 }));
        assert_eq!(decide(&captured, &refund(0), ""), Err(Refusal::Amount));
        let all = after(captured, &[refund(400)]);
        assert_eq!((all.state.status, all.state.refunded_minor), (Status::Refunded, 1000));
        assert_eq!(decide(&all, &refund(1), ""), Err(Refusal::TooMuch { asked: 1, left: 0 }));
    }

    #[test]
    fn a_refund_under_a_name_moves_once_and_is_shown() {
        let refund = |amount_minor| Operation::Refund { amount_minor, refund_reference: Some("rma 1".to_owned()) };
        let back = after(payment(Token::Success), &[Operation::Authorize, Operation::Capture, refund(600)]);
        assert_eq!(decide(&back, &refund(600), ""), Ok(None));
        assert_eq!(decide(&back, &refund(1), ""), Err(Refusal::ReferenceReused));
        let shown = [Refund { refund_reference: "rma 1".to_owned(), amount_minor: 600 }];
        assert_eq!((back.state.refunded_minor, back.state.refunds.as_slice()), (600, shown.as_slice()));
    }

    #[test]
    fn a_voided_payment_can_neither_be_authorized_nor_captured() {
        let voided = after(payment(Token::Success), &[Operation::Void]);
        for operation in [Operation::Authorize, Operation::Capture] {
            assert_eq!(decide(&voided, &operation, ""), Err(Refusal::State(Status::Voided)));
        }
    }

    #[test]
    fn a_challenge_is_passed_or_not_by_its_own_name() {
        let asked = after(payment(Token::Challenge), &[Operation::Authorize]);
        let answer = |id: &str, passed| Operation::Challenge { challenge_id: id.to_owned(), passed };
        assert_eq!(decide(&asked, &answer("chl_2", true), ""), Err(Refusal::UnknownChallenge));
        assert_eq!(decide(&asked, &Operation::Capture, ""), Err(Refusal::State(Status::ChallengeRequired)));
        assert_eq!(after(asked.clone(), &[answer("chl_1", true)]).state.status, Status::Authorized);
        assert_eq!(after(asked, &[answer("chl_1", false)]).state.status, Status::Declined);
    }

    #[test]
    fn who_agreed_on_our_page_is_authorized_only_when_the_merchant_asks_again() {
        let answer = |agreed| Operation::Answer { agreed };
        let asked = after(payment(Token::Hosted), &[Operation::Authorize]);
        let passed = Operation::Challenge { challenge_id: "chl_1".to_owned(), passed: true };
        assert_eq!(decide(&asked, &passed, ""), Err(Refusal::UnknownChallenge), "the merchant answered for him");
        let agreed = after(asked.clone(), &[answer(true)]);
        assert_eq!(decide(&agreed, &Operation::Capture, ""), Err(Refusal::State(Status::Approved)));
        assert_eq!(decide(&agreed, &answer(false), ""), Err(Refusal::State(Status::Approved)));
        assert_eq!(after(agreed.clone(), &[answer(true), Operation::Authorize]).state.status, Status::Authorized);
        assert_eq!(after(agreed, &[Operation::Void]).state.status, Status::Voided);
        let declined = after(asked.clone(), &[answer(false), answer(false)]);
        assert_eq!(declined.state.status, Status::Declined);
        let voided = after(asked, &[Operation::Void]);
        assert_eq!(decide(&voided, &answer(true), ""), Err(Refusal::State(Status::Voided)));
        let other = after(payment(Token::Challenge), &[Operation::Authorize]);
        assert_eq!(decide(&other, &answer(true), ""), Err(Refusal::State(Status::ChallengeRequired)));
    }

    #[test]
    fn nothing_is_captured_without_an_authorization() {
        for token in [Token::Success, Token::Foreign, Token::Decline, Token::Challenge, Token::Timeout, Token::Late] {
            assert_eq!(decide(&payment(token), &Operation::Capture, ""), Err(Refusal::State(Status::Created)));
        }
    }
}
