//! What can go wrong between a service and its shard.

use shared::{Problem, ProblemKind, Slot};

/// A statement, a transaction or a connection failed, or the shard is the wrong one.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// Postgres or the way to it failed. After a failed commit the outcome is unknown: only a repeat under the same key
    /// can tell.
    #[error("the database failed")]
    Sql(#[from] sqlx::Error),
    /// No shard of this region owns the slot.
    #[error("slot {0} is owned elsewhere")]
    WrongShard(Slot),
    /// The slot is being moved and takes no write for a moment.
    #[error("slot {0} is frozen while it moves")]
    Frozen(Slot),
    /// A statement touched another number of rows than the rule says.
    #[error("{what}: {expected} rows expected, {actual} touched")]
    Rows {
        /// What was touched.
        what: &'static str,
        /// As many as the rule says.
        expected: u64,
        /// As many as there were.
        actual: u64,
    },
    /// A row holds what no code of ours writes.
    #[error("{what} holds {value:?}")]
    Corrupt {
        /// Table and column.
        what: &'static str,
        /// What stands there.
        value: String,
    },
}

impl StoreError {
    /// A row holds what no code of ours writes.
    pub fn corrupt(what: &'static str, value: impl ToString) -> Self {
        Self::Corrupt { what, value: value.to_string() }
    }

    /// The name of the constraint that refused the statement, if one did.
    #[must_use]
    pub fn constraint(&self) -> Option<&str> {
        match self {
            Self::Sql(sqlx::Error::Database(error)) => error.constraint(),
            _ => None,
        }
    }

    /// Whether what was asked is to blame rather than the moment: the statement broke a rule of the database, or a row holds
    /// what it should not.
    #[must_use]
    pub fn blames_the_statement(&self) -> bool {
        match self {
            Self::Sql(error) => statement_was_at_fault(error),
            Self::Rows { .. } | Self::Corrupt { .. } => true,
            Self::WrongShard(_) | Self::Frozen(_) => false,
        }
    }

    /// Whether the same transaction may succeed if run again: serialization failure (40001) or deadlock (40P01).
    #[must_use]
    pub fn is_transient(&self) -> bool {
        matches!(self, Self::Sql(sqlx::Error::Database(error)) if matches!(error.code().as_deref(), Some("40001" | "40P01")))
    }
}

/// Classes of SQLSTATE (`PostgreSQL`, appendix A): 22 data exception, 23 integrity constraint, 42 syntax or access rule,
/// P0 raised by a function. Everything else passes: connections, locks, timeouts, serialization.
fn statement_was_at_fault(error: &sqlx::Error) -> bool {
    match error {
        sqlx::Error::Database(error) => {
            error.code().is_some_and(|code| ["22", "23", "42", "P0"].iter().any(|class| code.starts_with(class)))
        }
        sqlx::Error::ColumnDecode { .. } | sqlx::Error::Decode(_) | sqlx::Error::RowNotFound => true,
        _ => false, // the list of the driver's errors grows; what is not known to be the statement's fault is waited out
    }
}

impl From<StoreError> for Problem {
    /// Says only what a client can act on; the chain is logged here, once.
    fn from(error: StoreError) -> Self {
        match error {
            StoreError::WrongShard(slot) => Self::new(ProblemKind::WrongShard).with("slot", slot.number()),
            StoreError::Frozen(_) => {
                Self::new(ProblemKind::Unavailable).detail("this account is being moved").retry_after(1)
            }
            StoreError::Sql(source) => {
                tracing::error!(error = %source, "a shard did not answer as it should");
                Self::new(ProblemKind::Unavailable)
            }
            StoreError::Rows { .. } | StoreError::Corrupt { .. } => {
                tracing::error!(%error, "a rule of the store was broken");
                Self::new(ProblemKind::Internal)
            }
        }
    }
}

/// An operation's error that may carry a [`StoreError`], so that the transaction helper can see what to retry.
pub trait HasStoreError: From<StoreError> {
    /// The store's error inside, if that is what it is.
    fn store_error(&self) -> Option<&StoreError>;
}

impl HasStoreError for StoreError {
    fn store_error(&self) -> Option<&StoreError> {
        Some(self)
    }
}

/// Fails unless a statement touched as many rows as the rule says.
///
/// # Errors
/// [`StoreError::Rows`].
pub fn expect_rows(what: &'static str, actual: u64, expected: u64) -> Result<(), StoreError> {
    if actual == expected { Ok(()) } else { Err(StoreError::Rows { what, expected, actual }) }
}
