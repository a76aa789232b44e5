//! Promises of a shard's writer, kept over a real Postgres.
#![expect(clippy::unwrap_used, reason = "a test that cannot go on fails")]

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use futures::FutureExt;
use futures::future::{BoxFuture, join_all};
use region_core_inventory::{Kind, Memory, Writer, WriterError};
use region_core_store::{Shard, StoreError, test_support};
use sqlx::{PgConnection, Row};
use tokio::sync::{Notify, Semaphore};
use tokio::task::JoinHandle;

/// Books entries of the ledger: a small kind with a rule that the database keeps (no entry of zero units).
struct Book {
    /// Told by each batch that comes to the gate.
    arrived: Notify,
    /// Passed by each batch: how tests hold the writer in the middle.
    gate: Semaphore,
    /// Whether memory is said to suffice.
    quick: bool,
    quick_batches: AtomicUsize,
    careful_batches: AtomicUsize,
    committed: AtomicUsize,
}

impl Book {
    fn new(quick: bool, open: usize) -> Arc<Self> {
        Arc::new(Self {
            arrived: Notify::new(),
            gate: Semaphore::new(open),
            quick,
            quick_batches: AtomicUsize::new(0),
            careful_batches: AtomicUsize::new(0),
            committed: AtomicUsize::new(0),
        })
    }

    async fn write(&self, conn: &mut PgConnection, batch: &[Entry]) -> Result<Option<Vec<i64>>, StoreError> {
        self.arrived.notify_one();
        self.gate.acquire().await.unwrap().forget();
        let references: Vec<String> = batch.iter().map(|entry| entry.reference.clone()).collect();
        let units: Vec<i64> = batch.iter().map(|entry| entry.units).collect();
        let booked = "INSERT INTO ledger (ref, sku, kind, units)
            SELECT ref, 'MUG', 'supply', units FROM unnest($1::text[], $2::bigint[]) AS entry (ref, units)";
        sqlx::query(booked).bind(references).bind(&units).execute(conn).await?;
        Ok(Some(units))
    }
}

#[derive(Clone)]
struct Entry {
    reference: String,
    units: i64,
}

impl Kind for Book {
    type Command = Entry;
    type Answer = i64;

    const NAME: &'static str = "test.book";

    fn weight(_: &Entry) -> usize {
        1
    }

    fn suffices(&self, _: &[Entry], _: &Memory) -> bool {
        self.quick
    }

    fn recall<'a>(
        &'a self,
        _: &'a mut PgConnection,
        _: &'a [Entry],
        _: &'a mut Memory,
    ) -> BoxFuture<'a, Result<bool, StoreError>> {
        async { Ok(false) }.boxed()
    }

    fn quick<'a>(
        &'a self,
        conn: &'a mut PgConnection,
        batch: &'a [Entry],
        _: &'a mut Memory,
    ) -> BoxFuture<'a, Result<Option<Vec<i64>>, StoreError>> {
        self.quick_batches.fetch_add(1, Ordering::Relaxed);
        self.write(conn, batch).boxed()
    }

    fn careful<'a>(
        &'a self,
        conn: &'a mut PgConnection,
        batch: &'a [Entry],
        _: &'a mut Memory,
    ) -> BoxFuture<'a, Result<Option<Vec<i64>>, StoreError>> {
        self.careful_batches.fetch_add(1, Ordering::Relaxed);
        self.write(conn, batch).boxed()
    }

    fn committed(&self, _: &Shard, batch: &[Entry], _: &[i64]) {
        self.committed.fetch_add(batch.len(), Ordering::Relaxed);
    }
}

fn entry(number: i64) -> Entry {
    Entry { reference: format!("entry {number}"), units: number }
}

async fn shard() -> Shard {
    test_support::one_shard().await.all().next().unwrap().clone()
}

async fn booked(shard: &Shard) -> Vec<i64> {
    let mut conn = shard.read().await.unwrap();
    let rows = sqlx::query("SELECT units FROM ledger ORDER BY units").fetch_all(&mut *conn).await.unwrap();
    rows.iter().map(|row| row.get(0)).collect()
}

/// Submits entry 1 and leaves the writer in the middle of its batch, until the gate is opened.
async fn held_at_its_first_batch(writer: &Writer<Book>, book: &Book) -> JoinHandle<i64> {
    let writer = writer.clone();
    let first = tokio::spawn(async move { writer.submit(entry(1)).await.unwrap() });
    book.arrived.notified().await;
    first
}

/// More permits than any test has batches.
const MANY: usize = 1_000;

#[tokio::test]
async fn what_arrives_while_a_commit_is_in_flight_is_one_batch() {
    let (shard, book) = (shard().await, Book::new(true, 0));
    let writer = Writer::start(shard.clone(), Arc::clone(&book));
    let first = held_at_its_first_batch(&writer, &book).await;
    let rest = join_all((2..=50).map(|number| writer.submit(entry(number))));
    // Polled once, all of them wait in the queue before the first batch may go on.
    let mut rest = Box::pin(rest);
    assert!(rest.as_mut().now_or_never().is_none());
    book.gate.add_permits(MANY);
    assert_eq!(first.await.unwrap(), 1);
    let answers: Vec<i64> = rest.await.into_iter().map(Result::unwrap).collect();
    assert_eq!(answers, (2..=50).collect::<Vec<_>>(), "everybody hears about his own command");
    assert_eq!(book.quick_batches.load(Ordering::Relaxed), 2);
    assert_eq!(booked(&shard).await, (1..=50).collect::<Vec<_>>());
    assert_eq!(book.committed.load(Ordering::Relaxed), 50);
}

#[tokio::test]
async fn a_bad_command_fails_alone() {
    for quick in [true, false] {
        let (shard, book) = (shard().await, Book::new(quick, 0));
        let writer = Writer::start(shard.clone(), Arc::clone(&book));
        let mut all = Box::pin(join_all((0..20).map(|number| writer.submit(entry(number)))));
        assert!(all.as_mut().now_or_never().is_none());
        book.gate.add_permits(MANY);
        let answers = all.await;
        assert!(matches!(&answers[0], Err(WriterError::Failed(error)) if error.blames_the_statement()), "{answers:?}");
        assert!(
            answers[1..].iter().zip(1..).all(|(answer, number)| answer.as_ref().is_ok_and(|units| *units == number))
        );
        assert_eq!(booked(&shard).await, (1..20).collect::<Vec<_>>());
    }
}

#[tokio::test]
async fn memory_that_does_not_suffice_is_not_decided_on() {
    let (shard, book) = (shard().await, Book::new(false, MANY));
    let writer = Writer::start(shard, Arc::clone(&book));
    writer.submit(entry(1)).await.unwrap();
    assert_eq!(book.quick_batches.load(Ordering::Relaxed), 0);
    assert_eq!(book.careful_batches.load(Ordering::Relaxed), 1);
}

#[tokio::test]
async fn a_sender_who_went_away_is_left_out_of_the_batch() {
    let (shard, book) = (shard().await, Book::new(true, 0));
    let writer = Writer::start(shard.clone(), Arc::clone(&book));
    let first = held_at_its_first_batch(&writer, &book).await;
    {
        let mut impatient = Box::pin(writer.submit(entry(2)));
        assert!(impatient.as_mut().now_or_never().is_none());
    }
    book.gate.add_permits(MANY);
    first.await.unwrap();
    writer.submit(entry(3)).await.unwrap();
    assert_eq!(booked(&shard).await, [1, 3]);
}

#[tokio::test]
async fn a_full_queue_says_so_at_once() {
    let (shard, book) = (shard().await, Book::new(true, 0));
    let writer = Writer::start(shard, Arc::clone(&book));
    let mut waiting = Vec::new();
    let full = loop {
        let number = i64::try_from(waiting.len()).unwrap() + 1;
        let mut submission = Box::pin(writer.submit(entry(number)));
        match submission.as_mut().now_or_never() {
            None => waiting.push(submission),
            Some(answer) => break answer,
        }
        assert!(waiting.len() < 10_000, "the queue has no bound");
    };
    assert!(matches!(full, Err(WriterError::Full)), "{full:?}");
    book.gate.add_permits(MANY);
    assert!(join_all(waiting).await.iter().all(Result::is_ok), "those who were taken in are served");
}

#[tokio::test]
async fn a_lost_connection_is_replaced_and_the_batch_is_tried_again() {
    let (shard, book) = (shard().await, Book::new(true, 0));
    let writer = Writer::start(shard.clone(), Arc::clone(&book));
    let first = held_at_its_first_batch(&writer, &book).await;
    let others = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity
        WHERE datname = current_database() AND pid <> pg_backend_pid()";
    sqlx::query(others).execute(&mut *shard.read().await.unwrap()).await.unwrap();
    book.gate.add_permits(MANY);
    assert_eq!(first.await.unwrap(), 1);
    assert_eq!((booked(&shard).await, book.careful_batches.load(Ordering::Relaxed)), (vec![1], 1));
}
