//! One shard: its pool, its turn, and the one helper that runs transactions.

use std::time::Duration;

use secrecy::{ExposeSecret, SecretString};
use shared::ShardId;
use sqlx::postgres::{PgConnectOptions, PgPoolOptions};
use sqlx::{PgConnection, PgPool, Postgres, pool::PoolConnection};

use crate::error::{HasStoreError, StoreError};
use crate::transaction::{self, Attempts};
use crate::turn::Turn;

/// How many connections a process holds to one shard, and how long it waits.
#[derive(Clone, Copy, Debug)]
pub struct PoolLimits {
    /// Connections that are open before they are needed: each costs both sides milliseconds of computing to make, which a rush
    /// cannot spare.
    pub min_connections: u32,
    /// Most connections.
    pub max_connections: u32,
    /// Longest wait for one before the caller is told to try again.
    pub acquire_timeout: Duration,
}

impl Default for PoolLimits {
    fn default() -> Self {
        Self { min_connections: 0, max_connections: 16, acquire_timeout: Duration::from_secs(2) }
    }
}

/// How a shard's connections are set.
pub(crate) const SESSION: [(&str, &str); 6] = [
    // Bounds on the server's side too: a lost client must not hold a lock for long.
    ("statement_timeout", "10s"),
    ("lock_timeout", "5s"),
    ("idle_in_transaction_session_timeout", "10s"),
    // Every statement has its index. A table that looked small when it was last counted, or never was, may be a queue
    // of thousands by now; and no statement here is long enough to be compiled.
    ("enable_seqscan", "off"),
    ("jit", "off"),
    // Planned once, and not anew for each batch: statements are written so that the plan for any values is the one for each. What
    // may be absent has a bound that stands for it (`< coalesce($1, …)`), and a number of rows that decides is named in the text.
    ("plan_cache_mode", "force_generic_plan"),
];

/// A Postgres server that owns some slots. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Shard {
    id: ShardId,
    pool: PgPool,
    turn: Turn,
}

impl Shard {
    /// A shard behind `url`. Connects at first use, so that a core starts while a shard is down.
    ///
    /// # Errors
    /// When `url` is not a Postgres URL.
    pub fn new(id: ShardId, url: &SecretString, limits: PoolLimits) -> Result<Self, StoreError> {
        let options: PgConnectOptions = url.expose_secret().parse()?;
        let options = options.application_name("meridian").options(SESSION);
        let pool = PgPoolOptions::new()
            .min_connections(limits.min_connections)
            .max_connections(limits.max_connections)
            .acquire_timeout(limits.acquire_timeout)
            .test_before_acquire(false)
            .connect_lazy_with(options);
        Ok(Self::from_pool(id, pool))
    }

    /// A shard over a pool that exists.
    #[must_use]
    pub fn from_pool(id: ShardId, pool: PgPool) -> Self {
        let turn = Turn::new(id, pool.connect_options().as_ref().clone());
        Self { id, pool, turn }
    }

    /// Where everything that changes an allotment is written, in the order of asking.
    #[must_use]
    pub fn turn(&self) -> &Turn {
        &self.turn
    }

    /// The shard's number.
    #[must_use]
    pub fn id(&self) -> ShardId {
        self.id
    }

    /// Connections open now.
    #[must_use]
    pub fn connections(&self) -> u32 {
        self.pool.size()
    }

    /// Connections open and unused now.
    #[must_use]
    pub fn idle_connections(&self) -> usize {
        self.pool.num_idle()
    }

    /// A connection for reading.
    ///
    /// # Errors
    /// When none is to be had in time.
    pub async fn read(&self) -> Result<PoolConnection<Postgres>, StoreError> {
        Ok(self.pool.acquire().await?)
    }

    /// Runs `work` in one transaction and commits it; runs it again, a few times, after a serialization failure or a
    /// deadlock. `work` must do nothing but talk to this connection: it may run more than once. Let it own what it
    /// captures (`async move`): borrowed captures keep the future from being `Send`.
    ///
    /// # Errors
    /// Whatever `work` or the commit says; nothing was written then, unless the commit's own answer was lost.
    pub async fn write<T, E, F>(&self, name: &'static str, work: F) -> Result<T, E>
    where
        E: HasStoreError,
        F: AsyncFn(&mut PgConnection) -> Result<T, E>,
    {
        let mut attempts = Attempts::new(name);
        loop {
            let outcome = self.attempt(&work).await;
            if !attempts.again(&outcome) {
                return outcome;
            }
        }
    }

    async fn attempt<T, E, F>(&self, work: &F) -> Result<T, E>
    where
        E: HasStoreError,
        F: AsyncFn(&mut PgConnection) -> Result<T, E>,
    {
        let mut conn = self.pool.acquire().await.map_err(StoreError::from)?;
        transaction::run(&mut conn, work).await
    }
}
