//! HTTP to a payment provider.

use std::time::Duration;

use region_core_outbound::http::{Bounds, Http, Unanswered};

pub use region_core_outbound::http::Deadlines;

use crate::provider::ProviderError;

/// Longest answer read: an order at PayPal shows all of its refunds.
const ANSWER_BYTES: usize = 256 * 1024;
/// Idle connections kept: as many as the exchanges of some shards at once, or they are opened and closed all the time.
const IDLE_CONNECTIONS: usize = 256;

/// How long a provider may take, if nothing else is said.
pub(crate) const DEADLINES: Deadlines = Deadlines { connect: Duration::from_secs(2), total: Duration::from_secs(5) };

/// A client for one provider.
///
/// # Errors
/// If TLS cannot be set up.
pub(crate) fn client(deadlines: Deadlines) -> Result<Http, rustls::Error> {
    Http::new(Bounds { deadlines, answer_bytes: ANSWER_BYTES, idle_connections: IDLE_CONNECTIONS })
}

/// All requests of one call, in the time that one call has: leases are reckoned in calls.
pub(crate) async fn within<T>(
    total: Duration,
    call: impl Future<Output = Result<T, ProviderError>>,
) -> Result<T, ProviderError> {
    let late = |_| ProviderError::Unknown(format!("not done within {} ms", total.as_millis()));
    tokio::time::timeout(total, call).await.map_err(late)?
}

impl From<Unanswered> for ProviderError {
    fn from(unanswered: Unanswered) -> Self {
        match unanswered {
            Unanswered::NotSent(_) => Self::Refused(unanswered.to_string()),
            Unanswered::Unknown(cause) => Self::Unknown(cause),
        }
    }
}
