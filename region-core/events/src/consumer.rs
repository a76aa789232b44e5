//! Those who hear events.

use std::time::Duration;

use futures::future::BoxFuture;
use region_core_store::{HasStoreError, StoreError};
use shared::ShardId;
use sqlx::PgConnection;

use crate::Event;

/// A service's ear. Effects, inbox and cursor are one commit, so each event takes effect once per consumer.
pub trait Consumer: Send + Sync + 'static {
    /// Names its cursor and inbox; never changes.
    fn name(&self) -> &'static str;

    /// The kinds it hears ([`crate::contract::Payload::KIND`]).
    fn kinds(&self) -> &'static [&'static str];

    /// Brings about what follows from `events` of this shard, in the transaction that `conn` is in, and tells what is to be
    /// done once that is committed. Events of one order come in the order in which they happened, if their writers keep to
    /// what [`crate::append`] requires; a batch that fails is given again, whole or event by event.
    ///
    /// # Errors
    /// [`HandleError::Rejected`] counts against the event, and so does a statement that was itself at fault; whatever
    /// else the database reports is waited out.
    fn handle<'a>(
        &'a self,
        shard: ShardId,
        conn: &'a mut PgConnection,
        events: &'a [Event],
    ) -> BoxFuture<'a, Result<AfterCommit, HandleError>>;

    /// Whether its effects change allotments: then each batch is written in the shard's turn ([`region_core_store::Turn`]).
    fn changes_stock(&self) -> bool {
        false
    }

    /// Whether it does anything about events now. While it does not, its cursor moves past them and nothing is entered into
    /// its inbox: they are over for it. Where another bus brings them, which keeps no cursor, all are entered.
    fn heeds(&self) -> bool {
        true
    }

    /// The least time between two looks at the bus that find less than a full batch. Whoever is in no hurry costs the shard
    /// little: what comes meanwhile is one batch.
    fn rest(&self) -> Duration {
        Duration::ZERO
    }
}

/// What is to be done once the effects of a batch stand: a worker is woken, work that was leased is handed over. Dropped
/// without being done when they are undone, or when nobody knows. Never the place for an effect: a crash forgets it.
#[derive(Default)]
pub struct AfterCommit(Option<Box<dyn FnOnce() + Send>>);

impl AfterCommit {
    /// Does `work`, which must be quick.
    #[must_use]
    pub fn run(work: impl FnOnce() + Send + 'static) -> Self {
        Self(Some(Box::new(work)))
    }

    pub(crate) fn go(self) {
        if let Some(work) = self.0 {
            work();
        }
    }
}

impl std::fmt::Debug for AfterCommit {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("AfterCommit").field(&self.0.is_some()).finish()
    }
}

/// Why a batch was not handled.
#[derive(Debug, thiserror::Error)]
pub enum HandleError {
    /// This event cannot be handled; the cause goes to the dead letters with it.
    #[error("{0}")]
    Rejected(String),
    /// The shard refused or went away.
    #[error(transparent)]
    Store(#[from] StoreError),
}

impl From<sqlx::Error> for HandleError {
    fn from(error: sqlx::Error) -> Self {
        Self::Store(error.into())
    }
}

impl HasStoreError for HandleError {
    fn store_error(&self) -> Option<&StoreError> {
        match self {
            Self::Rejected(_) => None,
            Self::Store(error) => Some(error),
        }
    }
}

impl HandleError {
    /// Whether the event is to blame rather than the moment.
    #[must_use]
    pub fn blames_the_event(&self) -> bool {
        match self {
            Self::Rejected(_) => true,
            Self::Store(error) => error.blames_the_statement(),
        }
    }

    /// The whole chain in one line, for a person.
    #[must_use]
    pub fn cause(&self) -> String {
        match self {
            Self::Rejected(cause) => cause.clone(),
            Self::Store(StoreError::Sql(error)) => error.to_string(),
            Self::Store(error) => error.to_string(),
        }
    }
}
