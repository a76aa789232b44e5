//! A shard's writer: takes what arrived while the last commit was in flight and writes it in one transaction.
//!
//! It knows commands by [`Kind`] only. The common way is one round trip: the kind decides from the counts it remembers and
//! sends one statement, which re-checks and commits. When memory does not suffice, or the database disagrees, it reads again
//! under locks and decides on that. A batch that the database refuses is taken apart, so that a bad command fails alone.
//!
//! Deliberately absent: any artificial wait for more to arrive, and any belief that this is the only writer.

mod memory;
mod queue;

use std::sync::Arc;
use std::time::Duration;

use futures::future::BoxFuture;
use region_core_store::{Seat, Shard, StoreError, failpoint};
use sqlx::{Connection, PgConnection};
use tokio::sync::{mpsc, oneshot};
use tokio::time::Instant;

pub use memory::Memory;
use queue::{Batch, Waiting};

/// Commands that may wait; one more is told to come again.
const QUEUE: usize = 2_048;
/// Longest time that a command waits and works.
const DEADLINE: Duration = Duration::from_secs(5);
/// Longest time that one transaction may take before its connection is given up.
const LONGEST_WORK: Duration = Duration::from_secs(12);
/// How often a batch is read and decided anew because the database disagreed with what was just read under locks, which
/// takes another writer each time.
const CAREFUL_ATTEMPTS: u32 = 3;

/// What a writer writes.
pub trait Kind: Send + Sync + 'static {
    /// One command; kept whole, for it may be tried more than once.
    type Command: Send + Sync + 'static;
    /// What its sender is told, whether it was taken or refused.
    type Answer: Send + 'static;

    /// Names its transactions in metrics.
    const NAME: &'static str;

    /// What the command adds to a batch, in rows.
    fn weight(command: &Self::Command) -> usize;

    /// Whether `memory` holds enough to decide that all of `batch` is taken. If not, the database is asked.
    fn suffices(&self, batch: &[Self::Command], memory: &Memory) -> bool;

    /// Reads into `memory`, without any lock, what it does not hold of `batch` at all. Whether there was such.
    fn recall<'a>(
        &'a self,
        conn: &'a mut PgConnection,
        batch: &'a [Self::Command],
        memory: &'a mut Memory,
    ) -> BoxFuture<'a, Result<bool, StoreError>>;

    /// Takes all of `batch`, which `memory` suffices for, with a single statement that re-checks; notes in `memory` what it
    /// took, or forgets what proved wrong. `None`, with nothing written, if the statement found otherwise.
    fn quick<'a>(
        &'a self,
        conn: &'a mut PgConnection,
        batch: &'a [Self::Command],
        memory: &'a mut Memory,
    ) -> BoxFuture<'a, Result<Option<Vec<Self::Answer>>, StoreError>>;

    /// Reads what `batch` needs under locks, notes it in `memory`, decides and writes, inside a transaction. `None`, and
    /// nothing is committed, if another writer came in between.
    fn careful<'a>(
        &'a self,
        conn: &'a mut PgConnection,
        batch: &'a [Self::Command],
        memory: &'a mut Memory,
    ) -> BoxFuture<'a, Result<Option<Vec<Self::Answer>>, StoreError>>;

    /// Told after each commit, before the senders are.
    fn committed(&self, shard: &Shard, batch: &[Self::Command], answers: &[Self::Answer]);
}

/// Why a command has no answer.
#[derive(Clone, Debug, thiserror::Error)]
pub enum WriterError {
    /// As many commands wait as may.
    #[error("the shard's writer has too much to do")]
    Full,
    /// Its time ran out. If its batch was formed already, whether it was written is unknown.
    #[error("the shard's writer did not answer in time")]
    Late,
    /// The shard failed; whether it was written is unknown if the commit's answer was lost.
    #[error("the shard's writer failed")]
    Failed(#[source] Arc<StoreError>),
    /// The process is stopping.
    #[error("the shard's writer has stopped")]
    Stopped,
}

/// Sends commands to one shard's writer. Cheap to clone; the writer ends with its last sender.
pub struct Writer<K: Kind>(mpsc::Sender<Waiting<K>>);

impl<K: Kind> Clone for Writer<K> {
    fn clone(&self) -> Self {
        Self(self.0.clone())
    }
}

impl<K: Kind> std::fmt::Debug for Writer<K> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Writer").field("kind", &K::NAME).finish_non_exhaustive()
    }
}

impl<K: Kind> Writer<K> {
    /// Starts the shard's writer of this kind, a task of its own.
    #[must_use]
    pub fn start(shard: Shard, kind: Arc<K>) -> Self {
        let (sender, receiver) = mpsc::channel(QUEUE);
        tokio::spawn(Work { shard, kind, memory: Memory::default() }.run(receiver));
        Self(sender)
    }

    /// Has the command written, and tells how it was answered. A sender who goes away before its batch is formed is left
    /// out of it.
    ///
    /// # Errors
    /// [`WriterError`].
    pub async fn submit(&self, command: K::Command) -> Result<K::Answer, WriterError> {
        self.submit_by(command, Instant::now() + DEADLINE).await
    }

    /// The same, for a sender who waits no longer than `until`, nor 5 s: from then on the command is in no new batch.
    ///
    /// # Errors
    /// [`WriterError`].
    pub async fn submit_by(&self, command: K::Command, until: Instant) -> Result<K::Answer, WriterError> {
        let until = until.min(Instant::now() + DEADLINE);
        let (answer, answered) = oneshot::channel();
        let waiting = Waiting { command, until, answer };
        self.0.try_send(waiting).map_err(|error| match error {
            mpsc::error::TrySendError::Full(_) => WriterError::Full,
            mpsc::error::TrySendError::Closed(_) => WriterError::Stopped,
        })?;
        // Whoever gives up before his batch is formed is left out of it.
        let answer = tokio::time::timeout_at(until, answered).await.map_err(|_| WriterError::Late)?;
        answer.map_err(|_| WriterError::Stopped)?
    }
}

/// The task behind the senders.
struct Work<K: Kind> {
    shard: Shard,
    kind: Arc<K>,
    memory: Memory,
}

type Answers<K> = Vec<oneshot::Sender<Result<<K as Kind>::Answer, WriterError>>>;

impl<K: Kind> Work<K> {
    async fn run(mut self, mut queue: mpsc::Receiver<Waiting<K>>) {
        let turn = self.shard.turn().clone();
        while let Some(first) = queue.recv().await {
            match turn.take().await {
                Ok(mut seat) => {
                    let Batch { commands, answers } = queue::gather(first, &mut queue);
                    if !commands.is_empty() {
                        metrics::histogram!("writer_batch_size", "kind" => K::NAME).record(as_f64(commands.len()));
                        self.settle(&mut seat, &commands, answers).await;
                    }
                }
                Err(error) => fail(vec![first.answer], error),
            }
        }
    }

    async fn settle(&mut self, seat: &mut Seat<'_>, commands: &[K::Command], answers: Answers<K>) {
        match self.write(seat, commands).await {
            Ok(written) => tell(answers, written),
            // One command brought the others down with it: each by itself.
            Err(error) if commands.len() > 1 && error.blames_the_statement() => {
                tracing::warn!(%error, shard.id = %self.shard.id(), "a batch failed and is taken apart");
                metrics::counter!("writer_batches_taken_apart_total", "kind" => K::NAME).increment(1);
                for (command, answer) in commands.chunks(1).zip(answers) {
                    match self.write_carefully(seat, command).await {
                        Ok(written) => tell(vec![answer], written),
                        Err(error) => fail(vec![answer], error),
                    }
                }
            }
            Err(error) => fail(answers, error),
        }
    }

    /// Quick if memory suffices, else careful. When a connection was lost the outcome is unknown: the careful attempt after
    /// it finds by its keys what the first one wrote.
    async fn write(&mut self, seat: &mut Seat<'_>, commands: &[K::Command]) -> Result<Vec<K::Answer>, StoreError> {
        match self.write_quickly(seat, commands).await {
            Ok(Some(answers)) => Ok(answers),
            Ok(None) => self.write_carefully(seat, commands).await,
            Err(error) if error.blames_the_statement() => Err(error),
            Err(error) => {
                tracing::warn!(%error, shard.id = %self.shard.id(), "the writer starts anew");
                self.write_carefully(seat, commands).await
            }
        }
    }

    async fn write_quickly(
        &mut self,
        seat: &mut Seat<'_>,
        commands: &[K::Command],
    ) -> Result<Option<Vec<K::Answer>>, StoreError> {
        if !self.kind.suffices(commands, &self.memory) && !self.recalled(seat, commands).await? {
            return Ok(None);
        }
        let mut conn = seat.connection().await?;
        let work = quick(&*self.kind, &mut conn, commands, &mut self.memory);
        let ended = tokio::time::timeout(LONGEST_WORK, work).await;
        let outcome = seat.keep(conn, ended).await;
        self.conclude(commands, outcome)
    }

    /// Whether memory suffices now that what it lacked was read.
    async fn recalled(&mut self, seat: &mut Seat<'_>, commands: &[K::Command]) -> Result<bool, StoreError> {
        let mut conn = seat.connection().await?;
        let ended = tokio::time::timeout(LONGEST_WORK, self.kind.recall(&mut conn, commands, &mut self.memory)).await;
        let read = seat.keep(conn, ended).await?;
        Ok(read && self.kind.suffices(commands, &self.memory))
    }

    /// Reads, decides and writes in one transaction; anew, a few times, when another writer came in between.
    async fn write_carefully(
        &mut self,
        seat: &mut Seat<'_>,
        commands: &[K::Command],
    ) -> Result<Vec<K::Answer>, StoreError> {
        let mut attempts = 1;
        loop {
            let mut conn = seat.connection().await?;
            let work = careful(&*self.kind, &mut conn, commands, &mut self.memory);
            let ended = tokio::time::timeout(LONGEST_WORK, work).await;
            let outcome = seat.keep(conn, ended).await;
            match self.conclude(commands, outcome) {
                Ok(Some(answers)) => return Ok(answers),
                Ok(None) if attempts >= CAREFUL_ATTEMPTS => return Err(contended()),
                Err(error) if attempts >= CAREFUL_ATTEMPTS || !error.is_transient() => return Err(error),
                Ok(None) | Err(_) => attempts += 1,
            }
        }
    }

    fn conclude(
        &mut self,
        commands: &[K::Command],
        outcome: Result<Option<Vec<K::Answer>>, StoreError>,
    ) -> Result<Option<Vec<K::Answer>>, StoreError> {
        match &outcome {
            Ok(Some(answers)) => self.kind.committed(&self.shard, commands, answers),
            Ok(None) => {}
            // What was written of it is unknown.
            Err(_) => self.memory.forget(),
        }
        outcome
    }
}

/// The statement commits by itself.
async fn quick<K: Kind>(
    kind: &K,
    conn: &mut PgConnection,
    commands: &[K::Command],
    memory: &mut Memory,
) -> Result<Option<Vec<K::Answer>>, StoreError> {
    failpoint("writer.statement.before").await?;
    let answers = kind.quick(conn, commands, memory).await?;
    failpoint("writer.statement.after").await?;
    Ok(answers)
}

async fn careful<K: Kind>(
    kind: &K,
    conn: &mut PgConnection,
    commands: &[K::Command],
    memory: &mut Memory,
) -> Result<Option<Vec<K::Answer>>, StoreError> {
    let mut transaction = conn.begin().await?;
    match kind.careful(&mut transaction, commands, memory).await {
        Ok(Some(answers)) => {
            failpoint("writer.commit.before").await?;
            transaction.commit().await?;
            failpoint("writer.commit.after").await?;
            Ok(Some(answers))
        }
        other => {
            transaction.rollback().await?;
            other
        }
    }
}

fn tell<A>(answers: Vec<oneshot::Sender<Result<A, WriterError>>>, written: Vec<A>) {
    // A sender who has gone away asks again under his key.
    answers.into_iter().zip(written).for_each(|(to, answer)| drop(to.send(Ok(answer))));
}

fn fail<A>(answers: Vec<oneshot::Sender<Result<A, WriterError>>>, error: StoreError) {
    let error = Arc::new(error);
    answers.into_iter().for_each(|to| drop(to.send(Err(WriterError::Failed(Arc::clone(&error))))));
}

/// Another writer was faster again and again.
fn contended() -> StoreError {
    StoreError::Sql(sqlx::Error::PoolTimedOut)
}

fn as_f64(count: usize) -> f64 {
    u32::try_from(count).map_or(f64::MAX, f64::from)
}
