//! Why a request over the link has no answer.

use shared::{Problem, ProblemKind};

/// Why [`crate::Pool::send`] has no answer to give.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum LinkError {
    /// As many requests are under way as the pool allows. Nothing was sent.
    #[error("{limit} requests to the region are under way already")]
    Overloaded {
        /// The pool's bound.
        limit: usize,
    },
    /// No core of the region can be reached. Nothing was sent.
    #[error("no core of region {region} can be reached: {reason}")]
    Unreachable {
        /// The region.
        region: String,
        /// What the last attempt met.
        reason: String,
    },
    /// A certificate was not accepted, theirs by us or ours by them. Nothing was sent.
    #[error("certificates were not accepted between here and region {region}: {reason}")]
    Unauthenticated {
        /// The region.
        region: String,
        /// What TLS said.
        reason: String,
    },
    /// The connection broke with the request under way; the core may or may not have acted on it.
    #[error("the connection was lost with the request under way: {reason}")]
    Lost {
        /// What broke it.
        reason: String,
    },
    /// The deadline passed; the core may or may not have acted on the request.
    #[error("no answer before the deadline")]
    Deadline,
    /// The core's answer is malformed or longer than the pool takes.
    #[error("the core's answer cannot be used: {reason}")]
    BadAnswer {
        /// What is wrong with it.
        reason: String,
    },
    /// The request's head or body is longer than the pool sends. Nothing was sent.
    #[error("the request is larger than the link takes")]
    TooLarge,
}

impl LinkError {
    /// What a client is told. Internals stay in the log.
    #[must_use]
    pub fn problem(&self) -> Problem {
        match self {
            Self::Overloaded { .. } | Self::Unreachable { .. } => ProblemKind::Unavailable.into(),
            // It takes an operator to mend, so clients need not hurry.
            Self::Unauthenticated { .. } => Problem::new(ProblemKind::Unavailable).retry_after(30),
            // Both say that nobody knows what became of a write; 503 would say that nothing did.
            Self::Lost { .. } | Self::Deadline => ProblemKind::Timeout.into(),
            Self::BadAnswer { .. } => ProblemKind::BadGateway.into(),
            Self::TooLarge => ProblemKind::BodyTooLarge.into(),
        }
    }

    /// A short name for metrics.
    #[must_use]
    pub fn label(&self) -> &'static str {
        match self {
            Self::Overloaded { .. } => "overloaded",
            Self::Unreachable { .. } => "unreachable",
            Self::Unauthenticated { .. } => "unauthenticated",
            Self::Lost { .. } => "lost",
            Self::Deadline => "deadline",
            Self::BadAnswer { .. } => "bad_answer",
            Self::TooLarge => "too_large",
        }
    }
}

impl From<LinkError> for Problem {
    fn from(error: LinkError) -> Self {
        error.problem()
    }
}

impl axum::response::IntoResponse for LinkError {
    fn into_response(self) -> axum::response::Response {
        self.problem().into_response()
    }
}
