//! How a transaction is run, and when it is run again.

use sqlx::{Connection, PgConnection};
use tokio::time::Instant;

use crate::error::{HasStoreError, StoreError};
use crate::failpoint::failpoint;

/// How often a transaction is run before a transient failure is believed.
const MAX_ATTEMPTS: u32 = 5;

/// The attempts at one transaction.
pub(crate) struct Attempts {
    name: &'static str,
    started: Instant,
    made: u32,
}

impl Attempts {
    pub(crate) fn new(name: &'static str) -> Self {
        Self { name, started: Instant::now(), made: 0 }
    }

    /// Whether to run it again, after an attempt that ended so. The last answer, a no, is what the metrics count.
    pub(crate) fn again<T, E: HasStoreError>(&mut self, outcome: &Result<T, E>) -> bool {
        self.made += 1;
        let transient = matches!(outcome, Err(error) if error.store_error().is_some_and(StoreError::is_transient));
        let again = transient && self.made < MAX_ATTEMPTS;
        if again {
            metrics::counter!("store_transaction_retries_total", "transaction" => self.name).increment(1);
        } else {
            let result = if outcome.is_ok() { "committed" } else { "rolled_back" };
            metrics::histogram!("store_transaction_seconds", "transaction" => self.name, "result" => result)
                .record(self.started.elapsed().as_secs_f64());
        }
        again
    }
}

/// Runs `work` in one transaction on `conn` and commits it, or rolls back.
pub(crate) async fn run<T, E, F>(conn: &mut PgConnection, work: &F) -> Result<T, E>
where
    E: HasStoreError,
    F: AsyncFn(&mut PgConnection) -> Result<T, E>,
{
    let mut transaction = conn.begin().await.map_err(StoreError::from)?;
    match work(&mut transaction).await {
        Ok(value) => {
            failpoint("store.commit.before").await?;
            transaction.commit().await.map_err(StoreError::from)?;
            failpoint("store.commit.after").await?;
            Ok(value)
        }
        Err(error) => {
            // The connection is clean then; a failure here closes it, which rolls back as well.
            if let Err(rollback) = transaction.rollback().await {
                tracing::debug!(error = %rollback, "a rollback failed");
            }
            Err(error)
        }
    }
}
