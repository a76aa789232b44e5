//! Why something about webhooks was refused, as problems.

use region_core_control::ControlError;
use region_core_store::{HasStoreError, StoreError};
use shared::{Problem, ProblemKind, RegionName};

/// Why something about webhooks was not done.
#[derive(Debug, thiserror::Error)]
pub enum WebhookError {
    /// A field breaks a rule.
    #[error("{field}: {reason}")]
    Invalid {
        /// Which.
        field: &'static str,
        /// How.
        reason: String,
    },
    /// No such endpoint, or nothing of that event for it.
    #[error("there is no such endpoint or delivery")]
    NotFound,
    /// The key belongs to another request.
    #[error("this key was used for another endpoint")]
    KeyReused,
    /// A region that may have it did not answer.
    #[error("{0} does not answer, and may have it")]
    Silent(RegionName),
    /// The control schema failed.
    #[error(transparent)]
    Control(#[from] ControlError),
    /// A shard failed.
    #[error(transparent)]
    Store(#[from] StoreError),
}

impl WebhookError {
    /// A field breaks a rule.
    pub(crate) fn invalid(field: &'static str, reason: impl ToString) -> Self {
        Self::Invalid { field, reason: reason.to_string() }
    }
}

impl HasStoreError for WebhookError {
    fn store_error(&self) -> Option<&StoreError> {
        match self {
            Self::Store(error) => Some(error),
            Self::Invalid { .. } | Self::NotFound | Self::KeyReused | Self::Silent(_) | Self::Control(_) => None,
        }
    }
}

impl From<WebhookError> for Problem {
    fn from(error: WebhookError) -> Self {
        match error {
            WebhookError::Invalid { field, reason } => Self::invalid(field, reason),
            WebhookError::NotFound => Self::not_found(),
            WebhookError::KeyReused => Self::new(ProblemKind::IdempotencyKeyReused).detail(&error),
            WebhookError::Silent(_) => Self::new(ProblemKind::Unavailable).detail(&error),
            WebhookError::Control(source) => {
                tracing::error!(error = ?source, "the control schema did not answer as it should");
                Self::new(ProblemKind::Unavailable)
            }
            WebhookError::Store(error) => error.into(),
        }
    }
}
