//! Redis, as a cache that may be away at any time: short deadlines, a breaker, and no error that anyone must handle.
//!
//! Nothing is decided from it. What it does not answer in time is read from the shard instead.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use fred::prelude::{Builder, Client, ClientLike, Config, Expiration, KeysInterface, LuaInterface, ReconnectPolicy};
use tokio::time::Instant;

/// Longest wait for one command.
const COMMAND_TIMEOUT: Duration = Duration::from_millis(50);
/// Failures in a row that open the breaker.
const BREAKER_FAILURES: u64 = 3;
/// How long an open breaker answers for Redis.
const BREAKER_PAUSE_MS: u64 = 1_000;

/// A connection to Redis that fails soft. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Redis(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    /// Absent in a process that runs without Redis.
    client: Option<Client>,
    started: Instant,
    failures: AtomicU64,
    /// Milliseconds after `started` until which nothing is asked.
    open_until_ms: AtomicU64,
}

impl Redis {
    /// Connects in the background and keeps trying; commands before that count as failures.
    ///
    /// # Errors
    /// When `url` is not a Redis URL.
    pub fn connect(url: &str) -> Result<Self, fred::error::Error> {
        let client = Builder::from_config(Config::from_url(url)?)
            .with_connection_config(|config| {
                config.connection_timeout = Duration::from_secs(2);
                config.internal_command_timeout = Duration::from_secs(2);
                config.tcp.nodelay = Some(true);
            })
            .with_performance_config(|config| config.default_command_timeout = COMMAND_TIMEOUT)
            .set_policy(ReconnectPolicy::new_exponential(0, 100, 5_000, 2))
            .build()?;
        let _connection = client.connect();
        Ok(Self::new(Some(client)))
    }

    /// No Redis at all: every read misses and every write is dropped.
    #[must_use]
    pub fn absent() -> Self {
        Self::new(None)
    }

    fn new(client: Option<Client>) -> Self {
        let inner =
            Inner { client, started: Instant::now(), failures: AtomicU64::new(0), open_until_ms: AtomicU64::new(0) };
        Self(Arc::new(inner))
    }

    /// Whether Redis answers now.
    pub async fn is_up(&self) -> bool {
        match &self.0.client {
            Some(client) => client.ping::<String>(None).await.is_ok(),
            None => false,
        }
    }

    /// The value under `key`, or nothing: absent, too slow and unreachable look the same.
    pub async fn get(&self, key: &str) -> Option<Vec<u8>> {
        let client = self.usable()?;
        self.judge("get", client.get::<Option<Vec<u8>>, _>(key).await).flatten()
    }

    /// Keeps `value` under `key` for `ttl`, if Redis is there.
    pub async fn set(&self, key: &str, value: Vec<u8>, ttl: Duration) {
        let expire = Expiration::PX(i64::try_from(ttl.as_millis()).unwrap_or(i64::MAX));
        if let Some(client) = self.usable() {
            self.judge("set", client.set::<(), _, _>(key, value.as_slice(), Some(expire), None, false).await);
        }
    }

    /// Forgets `key`, if Redis is there. Values must therefore also carry their version.
    pub async fn delete(&self, key: &str) {
        if let Some(client) = self.usable() {
            self.judge("delete", client.del::<(), _>(key).await);
        }
    }

    /// Runs a script there, which nothing comes between, and gives the list that it answers. `command` names it in metrics.
    pub async fn run(
        &self,
        command: &'static str,
        script: &'static str,
        keys: Vec<String>,
        arguments: Vec<String>,
    ) -> Option<Vec<String>> {
        let client = self.usable()?;
        self.judge(command, client.eval::<Vec<String>, _, _, _>(script, keys, arguments).await)
    }

    fn now_ms(&self) -> u64 {
        u64::try_from(self.0.started.elapsed().as_millis()).unwrap_or(u64::MAX)
    }

    /// The client, unless the breaker is open.
    fn usable(&self) -> Option<&Client> {
        let closed = self.now_ms() >= self.0.open_until_ms.load(Ordering::Relaxed);
        self.0.client.as_ref().filter(|_| closed)
    }

    fn judge<T>(&self, command: &'static str, outcome: Result<T, fred::error::Error>) -> Option<T> {
        match outcome {
            Ok(value) => {
                self.0.failures.store(0, Ordering::Relaxed);
                Some(value)
            }
            Err(error) => {
                metrics::counter!("redis_failures_total", "command" => command).increment(1);
                if self.0.failures.fetch_add(1, Ordering::Relaxed) + 1 >= BREAKER_FAILURES {
                    self.0.open_until_ms.store(self.now_ms() + BREAKER_PAUSE_MS, Ordering::Relaxed);
                    tracing::debug!(%error, "redis is left alone for a second");
                }
                None
            }
        }
    }
}
