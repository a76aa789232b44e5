//! A shard's turn: one connection on which everything that changes an allotment is written, in the order of asking.
//!
//! Writers that take turns never wait for each other's row locks, and what arrives meanwhile is one batch. It is a matter of
//! speed alone: every process has its own turn, and each statement re-checks in the database what it was decided on.
//!
//! Of the processes of a region one is [`Preferred`]: the one whose turn's connection holds the shard's lock. Standing for it
//! is a work of its own ([`Turn::stand`]); who waits for his turn never waits for that.

use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;
use shared::ShardId;
use sqlx::postgres::PgConnectOptions;
use sqlx::{Connection, PgConnection};
use tokio::sync::{Mutex, MutexGuard, Notify};
use tokio::time::Instant;
use tokio::time::error::Elapsed;

use crate::error::{HasStoreError, StoreError};
use crate::preferred::{self, Preferred};
use crate::transaction::{self, Attempts};

/// Longest wait for a turn, and for a new connection in it, before the caller is told to try again.
const LONGEST_WAIT: Duration = Duration::from_secs(4);
/// A connection that lay idle for so long is tried before it is used, for as long at most.
const IDLE: Duration = Duration::from_secs(1);
/// Longest time that one transaction may take. The server's own bounds end it sooner, unless the server itself stands still.
const LONGEST_WORK: Duration = Duration::from_secs(12);
/// How often a process stands for the preferred writer, and the one that is looks whether it still is.
const STAND_EVERY: Duration = Duration::from_secs(1);
/// Shortest pause between two such looks, whatever happens.
const STAND_SOONEST: Duration = Duration::from_millis(100);

/// Statements in the turn are few, short and set-based, over arrays of keys: always a loop over the array with an index, never
/// a plan of its own for each batch or a scan while a table is small. So rows are also locked in the order of the array.
const PLANS: [(&str, &str); 5] = [
    ("plan_cache_mode", "force_generic_plan"),
    ("enable_seqscan", "off"),
    ("enable_hashjoin", "off"),
    ("enable_mergejoin", "off"),
    ("jit", "off"),
];

/// Where writers of one shard queue up. Cheap to clone.
#[derive(Clone)]
pub struct Turn(Arc<Inner>);

struct Inner {
    shard: ShardId,
    options: PgConnectOptions,
    /// Absent until first used, and after a failure or a caller who went away in the middle.
    connection: Mutex<Option<Kept>>,
    /// [`Preferred::Here`] only while the connection, in its place or in use, holds the lock.
    preferred: ArcSwap<Preferred>,
    /// Told when what is believed of that has become doubtful.
    doubt: Notify,
}

/// A connection between two uses.
struct Kept {
    conn: PgConnection,
    since: Instant,
}

impl std::fmt::Debug for Turn {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Turn").field("shard", &self.0.shard).finish_non_exhaustive()
    }
}

impl Turn {
    pub(crate) fn new(shard: ShardId, options: PgConnectOptions) -> Self {
        let (connection, preferred, doubt) = (Mutex::new(None), ArcSwap::default(), Notify::new());
        Self(Arc::new(Inner { shard, options: options.options(PLANS), connection, preferred, doubt }))
    }

    /// Who writes the shard by preference, as last seen: a hint. Unknown where nobody stands for it.
    #[must_use]
    pub fn preferred(&self) -> Arc<Preferred> {
        self.0.preferred.load_full()
    }

    /// Has [`Turn::stand`] look again soon: whoever is preferred did not answer as such.
    pub fn doubt(&self) {
        self.0.doubt.notify_one();
    }

    /// Stands for the shard's preferred writer until dropped, under the name that the region's other processes know this one
    /// by: at once, then about every second, and soon after the connection was lost or [`Turn::doubt`] was called.
    pub async fn stand(&self, me: &str) {
        loop {
            if let Err(error) = self.stand_once(me).await {
                tracing::debug!(shard.id = %self.0.shard, %error, "standing for the preferred writer failed");
            }
            tokio::time::sleep(STAND_SOONEST).await;
            // Whether told or not.
            let _ = tokio::time::timeout(STAND_EVERY - STAND_SOONEST, self.0.doubt.notified()).await;
        }
    }

    /// Takes the turn and stands for the preferred writer, or looks whether it still is this process. Tells who is.
    ///
    /// # Errors
    /// When the turn does not come in time, the shard fails, or the connection proves lost; the next call makes a new one.
    pub async fn stand_once(&self, me: &str) -> Result<Arc<Preferred>, StoreError> {
        let mut seat = self.take().await?;
        let mut conn = seat.connection().await?;
        let ended = tokio::time::timeout(LONGEST_WAIT, async {
            match *self.preferred() {
                // The lock is held as long as the connection is.
                Preferred::Here => conn.ping().await.map(|()| Preferred::Here).map_err(StoreError::from),
                Preferred::Unknown | Preferred::Elsewhere(_) => preferred::stand(&mut conn, me).await,
            }
        });
        let ended = ended.await;
        let preferred = seat.keep(conn, ended).await?;
        self.0.believe(preferred);
        Ok(self.preferred())
    }

    /// Waits for the turn; first come, first served.
    ///
    /// # Errors
    /// When it does not come in time: the shard is slow or stands still.
    pub async fn take(&self) -> Result<Seat<'_>, StoreError> {
        let guard = tokio::time::timeout(LONGEST_WAIT, self.0.connection.lock()).await.map_err(|_| timed_out())?;
        Ok(Seat { turn: &self.0, guard })
    }

    /// Runs `work` as [`crate::Shard::write`] does, in the turn: one transaction, run again after a serialization failure or
    /// a deadlock. A caller who is dropped in the middle loses the connection and so the transaction.
    ///
    /// # Errors
    /// Whatever `work` or the commit says; nothing was written then, unless the commit's own answer was lost.
    pub async fn write<T, E, F>(&self, name: &'static str, work: F) -> Result<T, E>
    where
        E: HasStoreError,
        F: AsyncFn(&mut PgConnection) -> Result<T, E>,
    {
        self.take().await?.write(name, work).await
    }
}

impl Inner {
    fn believe(&self, now: Preferred) {
        if **self.preferred.load() != now {
            now.announce(self.shard);
            self.preferred.store(Arc::new(now));
        }
    }

    /// The connection is gone, and the lock with it if it was held. Another process' lock is untouched by that.
    fn lost(&self) {
        if **self.preferred.load() == Preferred::Here {
            self.believe(Preferred::Unknown);
            self.doubt.notify_one();
        }
    }
}

/// The turn while it is one's own. Given up when dropped.
pub struct Seat<'a> {
    turn: &'a Inner,
    guard: MutexGuard<'a, Option<Kept>>,
}

impl std::fmt::Debug for Seat<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Seat").field("shard", &self.turn.shard).finish_non_exhaustive()
    }
}

impl Seat<'_> {
    /// As [`Turn::write`].
    ///
    /// # Errors
    /// As [`Turn::write`].
    pub async fn write<T, E, F>(&mut self, name: &'static str, work: F) -> Result<T, E>
    where
        E: HasStoreError,
        F: AsyncFn(&mut PgConnection) -> Result<T, E>,
    {
        let mut attempts = Attempts::new(name);
        loop {
            let mut conn = self.connection().await?;
            let ended = tokio::time::timeout(LONGEST_WORK, transaction::run(&mut conn, &work)).await;
            let outcome = self.keep(conn, ended).await;
            if !attempts.again(&outcome) {
                return outcome;
            }
        }
    }

    /// The connection, taken out of its place. Give it back with [`Seat::keep`]: whoever is dropped before that has closed it,
    /// and so rolled back the transaction under way; a statement that commits by itself may still commit.
    ///
    /// # Errors
    /// When no connection is to be had in time.
    pub async fn connection(&mut self) -> Result<PgConnection, StoreError> {
        if let Some(Kept { mut conn, since }) = self.guard.take() {
            // One that lay idle may have died with its server; under load the next use tells.
            let fresh = since.elapsed() < IDLE;
            if fresh || matches!(tokio::time::timeout(IDLE, conn.ping()).await, Ok(Ok(()))) {
                return Ok(conn);
            }
        }
        // There was none, or it went with a caller who was dropped, or it has just proved dead.
        self.turn.lost();
        let connecting = tokio::time::timeout(LONGEST_WAIT, PgConnection::connect_with(&self.turn.options));
        Ok(connecting.await.map_err(|_| timed_out())??)
    }

    /// Puts the connection back if it is sound after what `ended` so; hands on how it ended.
    ///
    /// # Errors
    /// That of `ended`; the time that ran out counts as one of the store.
    pub async fn keep<T, E: HasStoreError>(
        &mut self,
        mut conn: PgConnection,
        ended: Result<Result<T, E>, Elapsed>,
    ) -> Result<T, E> {
        let outcome = ended.unwrap_or_else(|_| Err(timed_out().into()));
        let sound = match &outcome {
            Ok(_) => true,
            // A refusal of ours, or the server's: one round trip tells whether it still listens.
            Err(error) if !error.store_error().is_some_and(is_lost) => {
                matches!(tokio::time::timeout(LONGEST_WAIT, conn.ping()).await, Ok(Ok(())))
            }
            Err(_) => false,
        };
        if sound {
            *self.guard = Some(Kept { conn, since: Instant::now() });
        } else {
            self.turn.lost();
        }
        outcome
    }
}

fn timed_out() -> StoreError {
    StoreError::Sql(sqlx::Error::PoolTimedOut)
}

/// Whether the connection is of no more use.
fn is_lost(error: &StoreError) -> bool {
    matches!(
        error,
        StoreError::Sql(
            sqlx::Error::Io(_) | sqlx::Error::Protocol(_) | sqlx::Error::Tls(_) | sqlx::Error::PoolTimedOut
        )
    )
}
