//! The one thread that keeps the book: takes what is waiting, decides it, flushes the log once, then answers all of it.

use std::path::Path;

use region_core_sandbox::journal::{Journal, JournalError};
use shared::Money;
use shared_clock::{Clock, Entropy};
use tokio::sync::{mpsc, oneshot};

use crate::book::{Book, Key, Movement, Outcome, Record, Stamp};
use crate::rules::{Operation, Payment, Refusal, Token};

/// The log's name in its folder.
const LOG: &str = "payments.log";
/// Requests that may wait; more are told to come back.
const QUEUE: usize = 1_024;
/// Requests answered by one flush.
const BATCH: usize = 256;

/// The clerk is overloaded or gone: nothing is known about the request.
#[derive(Debug, thiserror::Error)]
#[error("the sandbox cannot take this request now")]
pub struct Busy;

/// A question or an order, and where its answer goes.
enum Request {
    Create(NewPayment, oneshot::Sender<Result<Outcome, Refusal>>),
    Act(Act, oneshot::Sender<Result<Outcome, Refusal>>),
    Get(String, oneshot::Sender<Option<Payment>>),
    Find(String, oneshot::Sender<Option<Payment>>),
    Movements(u64, usize, oneshot::Sender<Vec<Movement>>),
    Counts(oneshot::Sender<(usize, usize)>),
    ForgetKeys(oneshot::Sender<()>),
}

/// A payment to create.
#[derive(Clone, Debug)]
pub struct NewPayment {
    /// The merchant's name for it.
    pub merchant_reference: String,
    /// What it is about.
    pub amount: Money,
    /// How it is paid.
    pub token: Token,
    /// Where our page leads back to, if it is paid there.
    pub return_url: Option<String>,
    /// The request's key.
    pub key: Option<Key>,
}

/// An operation on a payment.
#[derive(Clone, Debug)]
pub struct Act {
    /// Our name for the payment.
    pub reference: String,
    /// What is to be done.
    pub operation: Operation,
    /// The request's key.
    pub key: Option<Key>,
}

/// How handlers reach the clerk. The thread ends when the last of these is dropped.
#[derive(Clone, Debug)]
pub struct Clerk(mpsc::Sender<Request>);

impl Clerk {
    /// Replays the log in `folder` and starts the thread. What it returns ends with the thread: with an error if the log
    /// could not be written, for then nothing may be answered any more.
    ///
    /// # Errors
    /// [`JournalError`].
    pub fn start(
        folder: &Path,
        max_payments: usize,
        clock: Clock,
        entropy: Entropy,
    ) -> Result<(Self, oneshot::Receiver<Result<(), JournalError>>), JournalError> {
        let mut book = Book::new(max_payments);
        let journal = Journal::open(folder, LOG, |record: Record| book.replay(&record))?;
        let (sender, receiver) = mpsc::channel(QUEUE);
        let (ended, end) = oneshot::channel();
        let mut desk = Desk { book, journal, clock, entropy };
        std::thread::spawn(move || {
            let _ = ended.send(desk.work(receiver));
        });
        Ok((Self(sender), end))
    }

    /// A new payment, or the one that its reference already names.
    ///
    /// # Errors
    /// [`Busy`]; inside, [`Refusal`].
    pub async fn create(&self, new: NewPayment) -> Result<Result<Outcome, Refusal>, Busy> {
        self.ask(|answer| Request::Create(new, answer)).await
    }

    /// Carries out an operation.
    ///
    /// # Errors
    /// [`Busy`]; inside, [`Refusal`].
    pub async fn act(&self, act: Act) -> Result<Result<Outcome, Refusal>, Busy> {
        self.ask(|answer| Request::Act(act, answer)).await
    }

    /// The payment of that reference of ours.
    ///
    /// # Errors
    /// [`Busy`].
    pub async fn get(&self, reference: String) -> Result<Option<Payment>, Busy> {
        self.ask(|answer| Request::Get(reference, answer)).await
    }

    /// The payment of that reference of the merchant's.
    ///
    /// # Errors
    /// [`Busy`].
    pub async fn find(&self, merchant_reference: String) -> Result<Option<Payment>, Busy> {
        self.ask(|answer| Request::Find(merchant_reference, answer)).await
    }

    /// Movements after that sequence.
    ///
    /// # Errors
    /// [`Busy`].
    pub async fn movements(&self, after: u64, limit: usize) -> Result<Vec<Movement>, Busy> {
        self.ask(|answer| Request::Movements(after, limit, answer)).await
    }

    /// Payments and movements held.
    ///
    /// # Errors
    /// [`Busy`].
    pub async fn counts(&self) -> Result<(usize, usize), Busy> {
        self.ask(Request::Counts).await
    }

    /// Forgets every idempotency key.
    ///
    /// # Errors
    /// [`Busy`].
    pub async fn forget_keys(&self) -> Result<(), Busy> {
        self.ask(Request::ForgetKeys).await
    }

    async fn ask<T>(&self, request: impl FnOnce(oneshot::Sender<T>) -> Request) -> Result<T, Busy> {
        let (sender, answer) = oneshot::channel();
        self.0.try_send(request(sender)).map_err(|_| Busy)?;
        answer.await.map_err(|_| Busy)
    }
}

/// An answer that is held back until its record is on disk.
type Answer = Box<dyn FnOnce()>;

struct Desk {
    book: Book,
    journal: Journal,
    clock: Clock,
    entropy: Entropy,
}

impl Desk {
    fn work(&mut self, mut requests: mpsc::Receiver<Request>) -> Result<(), JournalError> {
        let mut batch = Vec::with_capacity(BATCH);
        while requests.blocking_recv_many(&mut batch, BATCH) > 0 {
            let mut records = Vec::new();
            let answers: Vec<Answer> = batch.drain(..).map(|request| self.decide(request, &mut records)).collect();
            if !records.is_empty() {
                self.journal.append(&records)?;
            }
            answers.into_iter().for_each(|answer| answer());
        }
        Ok(())
    }

    fn decide(&mut self, request: Request, records: &mut Vec<Record>) -> Answer {
        match request {
            Request::Create(NewPayment { merchant_reference, amount, token, return_url, key }, answer) => {
                let stamp = self.stamp();
                let outcome =
                    self.book.create(&merchant_reference, amount, (token, return_url.as_deref()), key, &stamp);
                records.extend(outcome.as_ref().ok().and_then(|outcome| outcome.record.clone()));
                later(answer, outcome)
            }
            Request::Act(Act { reference, operation, key }, answer) => {
                let stamp = self.stamp();
                let outcome = self.book.act(&reference, &operation, key, &stamp);
                records.extend(outcome.as_ref().ok().and_then(|outcome| outcome.record.clone()));
                later(answer, outcome)
            }
            Request::Get(reference, answer) => later(answer, self.book.get(&reference).cloned()),
            Request::Find(reference, answer) => later(answer, self.book.find(&reference).cloned()),
            Request::Movements(after, limit, answer) => later(answer, self.book.movements(after, limit).to_vec()),
            Request::Counts(answer) => later(answer, self.book.counts()),
            Request::ForgetKeys(answer) => {
                self.book.forget_keys();
                later(answer, ())
            }
        }
    }

    fn stamp(&self) -> Stamp {
        Stamp { at_ms: self.clock.unix_ms(), fresh: hex::encode(self.entropy.bytes::<12>()) }
    }
}

/// Nobody may be waiting any more; the effect stands all the same.
fn later<T: 'static>(answer: oneshot::Sender<T>, value: T) -> Answer {
    Box::new(move || {
        let _ = answer.send(value);
    })
}
