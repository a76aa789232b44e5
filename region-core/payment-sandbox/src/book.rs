//! All payments in memory, made from the log's records alone: what is not in the log never happened.

use std::collections::HashMap;

use serde::{Deserialize, Serialize};
use shared::Money;

use crate::rules::{self, Fact, Operation, Payment, Refusal, State, Token};

/// A line of the log.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Record {
    /// From 1 without gaps.
    pub sequence: u64,
    /// Unix milliseconds.
    pub at_ms: u64,
    /// The payment.
    pub reference: String,
    /// What happened to it.
    #[serde(flatten)]
    pub fact: Fact,
    /// The request's key, if it had one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub key: Option<Key>,
}

/// An `Idempotency-Key` and what it was sent with.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Key {
    /// As sent.
    pub key: String,
    /// The request in one line.
    pub request: String,
}

/// Money that moved: what an audit compares with.
#[derive(Clone, PartialEq, Eq, Debug, Serialize)]
pub struct Movement {
    /// The record that says so; pages follow it.
    pub sequence: u64,
    /// Unix milliseconds.
    pub at_ms: u64,
    /// Which way.
    pub kind: MovementKind,
    /// Our name for the payment.
    pub reference: String,
    /// The merchant's name for it.
    pub merchant_reference: String,
    /// How much.
    pub amount: Money,
}

/// Which way money moved.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum MovementKind {
    /// To the merchant.
    Capture,
    /// Back.
    Refund,
}

/// What an operation came to.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Outcome {
    /// The payment after it; as it was then, for a repeated key.
    pub payment: Payment,
    /// What is to be written before anyone hears of it, unless nothing changed.
    pub(crate) record: Option<Record>,
}

/// Every payment, key and movement.
#[derive(Debug, Default)]
pub struct Book {
    payments: HashMap<String, Payment>,
    by_merchant_reference: HashMap<String, String>,
    keys: HashMap<String, UsedKey>,
    movements: Vec<Movement>,
    last_sequence: u64,
    max_payments: usize,
}

/// What a key was used for, and the answer it got.
#[derive(Debug)]
struct UsedKey {
    request: String,
    reference: String,
    state: State,
}

/// Names and time for what is about to happen; drawn outside so that the book repeats.
#[derive(Clone, Debug)]
pub struct Stamp {
    /// Unix milliseconds.
    pub at_ms: u64,
    /// A name nobody had before.
    pub fresh: String,
}

impl Book {
    /// An empty book that takes so many payments.
    #[must_use]
    pub fn new(max_payments: usize) -> Self {
        Self { max_payments, ..Self::default() }
    }

    /// A new payment under the merchant's reference, or the one that it already names.
    ///
    /// # Errors
    /// [`Refusal`], without effect.
    pub fn create(
        &mut self,
        merchant_reference: &str,
        amount: Money,
        (token, return_url): (Token, Option<&str>),
        key: Option<Key>,
        stamp: &Stamp,
    ) -> Result<Outcome, Refusal> {
        if let Some(answered) = self.answered(key.as_ref())? {
            return Ok(answered);
        }
        if let Some(known) = self.find(merchant_reference) {
            let same = known.amount == amount && known.token == token;
            return if same { Ok(unchanged(known)) } else { Err(Refusal::ReferenceReused) };
        }
        if amount.minor() <= 0 {
            return Err(Refusal::Amount);
        }
        if self.payments.len() >= self.max_payments {
            return Err(Refusal::Full);
        }
        let merchant_reference = merchant_reference.to_owned();
        let (amount_minor, currency) = (amount.minor(), amount.currency());
        let return_url = return_url.filter(|_| token == Token::Hosted).map(ToOwned::to_owned);
        let fact = Fact::Created { merchant_reference, amount_minor, currency, token, return_url };
        self.record(format!("pay_{}", stamp.fresh), fact, key, stamp)
    }

    /// Carries out an operation on a payment.
    ///
    /// # Errors
    /// [`Refusal`], without effect.
    pub fn act(
        &mut self,
        reference: &str,
        operation: &Operation,
        key: Option<Key>,
        stamp: &Stamp,
    ) -> Result<Outcome, Refusal> {
        if let Some(answered) = self.answered(key.as_ref())? {
            return Ok(answered);
        }
        let payment = self.payments.get(reference).ok_or(Refusal::Unknown)?;
        match rules::decide(payment, operation, &format!("chl_{}", stamp.fresh))? {
            None => Ok(unchanged(payment)),
            Some(fact) => self.record(reference.to_owned(), fact, key, stamp),
        }
    }

    /// The payment of that reference of ours.
    #[must_use]
    pub fn get(&self, reference: &str) -> Option<&Payment> {
        self.payments.get(reference)
    }

    /// The payment of that reference of the merchant's.
    #[must_use]
    pub fn find(&self, merchant_reference: &str) -> Option<&Payment> {
        self.payments.get(self.by_merchant_reference.get(merchant_reference)?)
    }

    /// Movements after that sequence, oldest first, at most `limit`.
    #[must_use]
    pub fn movements(&self, after: u64, limit: usize) -> &[Movement] {
        let start = self.movements.partition_point(|movement| movement.sequence <= after);
        &self.movements[start..self.movements.len().min(start + limit)]
    }

    /// Takes every key for a new one from now on. The log still has them: a book that is replayed knows them again.
    pub fn forget_keys(&mut self) {
        self.keys.clear();
    }

    /// Payments and movements held.
    #[must_use]
    pub fn counts(&self) -> (usize, usize) {
        (self.payments.len(), self.movements.len())
    }

    /// Takes a record of the log.
    ///
    /// # Errors
    /// Says what is wrong if the record cannot follow those before it.
    pub fn replay(&mut self, record: &Record) -> Result<(), String> {
        if record.sequence != self.last_sequence + 1 {
            return Err(format!("record {} follows record {}", record.sequence, self.last_sequence));
        }
        self.last_sequence = record.sequence;
        if let Fact::Created { merchant_reference, amount_minor, currency, token, return_url } = &record.fact {
            let amount = Money::new(*amount_minor, *currency).map_err(|error| error.to_string())?;
            let (reference, merchant_reference) = (record.reference.clone(), merchant_reference.clone());
            let (token, return_url, state) = (*token, return_url.clone(), State::new());
            self.insert(Payment { reference, merchant_reference, amount, token, return_url, state });
        }
        let payment = self.payments.get_mut(&record.reference).ok_or("a record of an unknown payment")?;
        payment.state = rules::apply(&payment.state, &record.fact, payment.amount);
        if let Some(movement) = movement(payment, record) {
            self.movements.push(movement);
        }
        if let Some(Key { key, request }) = record.key.clone() {
            let used = UsedKey { request, reference: record.reference.clone(), state: payment.state.clone() };
            self.keys.insert(key, used);
        }
        Ok(())
    }

    fn insert(&mut self, payment: Payment) {
        self.by_merchant_reference.insert(payment.merchant_reference.clone(), payment.reference.clone());
        self.payments.insert(payment.reference.clone(), payment);
    }

    /// The first answer to this key, if it was used.
    fn answered(&self, key: Option<&Key>) -> Result<Option<Outcome>, Refusal> {
        let Some((key, used)) = key.and_then(|key| Some((key, self.keys.get(&key.key)?))) else {
            return Ok(None);
        };
        if key.request != used.request {
            return Err(Refusal::KeyReused);
        }
        let mut payment = self.payments.get(&used.reference).ok_or(Refusal::Unknown)?.clone();
        payment.state = used.state.clone();
        Ok(Some(Outcome { payment, record: None }))
    }

    fn record(&mut self, reference: String, fact: Fact, key: Option<Key>, stamp: &Stamp) -> Result<Outcome, Refusal> {
        let record = Record { sequence: self.last_sequence + 1, at_ms: stamp.at_ms, reference, fact, key };
        // The same way in as at the next start, so that both books are equal.
        self.replay(&record).map_err(|_| Refusal::Unknown)?;
        let payment = self.payments.get(&record.reference).ok_or(Refusal::Unknown)?.clone();
        Ok(Outcome { payment, record: Some(record) })
    }
}

fn unchanged(payment: &Payment) -> Outcome {
    Outcome { payment: payment.clone(), record: None }
}

fn movement(payment: &Payment, record: &Record) -> Option<Movement> {
    let (kind, minor) = match record.fact {
        Fact::Captured => (MovementKind::Capture, payment.amount.minor()),
        Fact::Refunded { amount_minor, .. } => (MovementKind::Refund, amount_minor),
        Fact::Created { .. }
        | Fact::Authorized
        | Fact::Challenged { .. }
        | Fact::Approved
        | Fact::Declined { .. }
        | Fact::Voided => {
            return None;
        }
    };
    Some(Movement {
        sequence: record.sequence,
        at_ms: record.at_ms,
        kind,
        reference: payment.reference.clone(),
        merchant_reference: payment.merchant_reference.clone(),
        amount: Money::new(minor, payment.amount.currency()).ok()?,
    })
}

#[cfg(test)]
mod tests {
    use shared::Currency;

    use super::*;

    fn stamp(name: &str) -> Stamp {
        Stamp { at_ms: 1, fresh: name.to_owned() }
    }

    fn key(key: &str, request: &str) -> Option<Key> {
        Some(Key { key: key.to_owned(), request: request.to_owned() })
    }

    fn gbp(minor: i64) -> Money {
        Money::new(minor, Currency::GBP).unwrap()
    }

    #[test]
    fn a_merchant_reference_names_one_payment() {
        let mut book = Book::new(2);
        let first = book.create("a", gbp(5), (Token::Success, None), None, &stamp("1")).unwrap();
        let again = book.create("a", gbp(5), (Token::Success, None), None, &stamp("2")).unwrap();
        assert_eq!((first.payment, again.record), (again.payment, None));
        assert_eq!(book.create("a", gbp(6), (Token::Success, None), None, &stamp("3")), Err(Refusal::ReferenceReused));
        book.create("b", gbp(5), (Token::Success, None), None, &stamp("4")).unwrap();
        assert_eq!(book.create("c", gbp(5), (Token::Success, None), None, &stamp("5")), Err(Refusal::Full));
    }

    #[test]
    fn a_key_keeps_its_first_answer_and_refuses_another_request() {
        let mut book = Book::new(9);
        book.create("a", gbp(5), (Token::Success, None), None, &stamp("1")).unwrap();
        let authorized = book.act("pay_1", &Operation::Authorize, key("k", "authorize"), &stamp("2")).unwrap();
        book.act("pay_1", &Operation::Capture, None, &stamp("3")).unwrap();
        let again = book.act("pay_1", &Operation::Authorize, key("k", "authorize"), &stamp("4")).unwrap();
        assert_eq!(again.payment, authorized.payment, "not the answer of then");
        let other = book.act("pay_1", &Operation::Capture, key("k", "capture"), &stamp("5"));
        assert_eq!(other, Err(Refusal::KeyReused));
    }

    #[test]
    fn a_replayed_book_is_the_same_book() {
        let mut book = Book::new(9);
        let mut records = Vec::new();
        let mut keep = |outcome: Result<Outcome, Refusal>| records.extend(outcome.unwrap().record);
        let back = Some("https://shop.example/back");
        keep(book.create("h", gbp(5), (Token::Hosted, back), None, &stamp("0")));
        keep(book.create("a", gbp(5), (Token::Challenge, None), key("c", "create"), &stamp("1")));
        keep(book.act("pay_1", &Operation::Authorize, None, &stamp("2")));
        let passed = Operation::Challenge { challenge_id: "chl_2".to_owned(), passed: true };
        keep(book.act("pay_1", &passed, None, &stamp("3")));
        keep(book.act("pay_1", &Operation::Capture, None, &stamp("4")));
        let refund = |name: Option<&str>| Operation::Refund { amount_minor: 2, refund_reference: name.map(Into::into) };
        keep(book.act("pay_1", &refund(None), key("r", "refund"), &stamp("5")));
        keep(book.act("pay_1", &refund(Some("rma 1")), key("s", "refund"), &stamp("6")));
        let mut replayed = Book::new(9);
        for record in &records {
            let line = serde_json::to_string(record).unwrap();
            replayed.replay(&serde_json::from_str(&line).unwrap()).unwrap();
        }
        assert_eq!(replayed.find("h").unwrap().return_url.as_deref(), back);
        assert_eq!(format!("{:?}", replayed.find("a")), format!("{:?}", book.find("a")));
        assert_eq!(replayed.movements(0, 9), book.movements(0, 9));
        assert!(replayed.replay(&records[0]).is_err(), "a record out of order was taken");
    }
}
