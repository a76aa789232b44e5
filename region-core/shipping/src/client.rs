//! HTTP to a carrier.

use std::time::Duration;

use region_core_outbound::http::{Bounds, Http, Unanswered};
use region_core_outbound::resolver::Resolver;
use region_core_outbound::target::Guard;

pub use region_core_outbound::http::Deadlines;

use crate::carrier::CarrierError;

/// Idle connections kept.
const IDLE_CONNECTIONS: usize = 16;

/// How long a carrier may take, if nothing else is said: brokers ask carriers in turn, and are slow.
pub(crate) const DEADLINES: Deadlines = Deadlines { connect: Duration::from_secs(3), total: Duration::from_secs(20) };

/// A client for one carrier, whose answers have at most so many bytes.
///
/// # Errors
/// If TLS cannot be set up.
pub(crate) fn client(deadlines: Deadlines, answer_bytes: usize) -> Result<Http, rustls::Error> {
    Http::new(Bounds { deadlines, answer_bytes, idle_connections: IDLE_CONNECTIONS })
}

/// A client for what a carrier's answers name, which leads to what the guard allows and nowhere else.
///
/// # Errors
/// If TLS cannot be set up.
pub(crate) fn guarded(
    guard: Guard,
    deadlines: Deadlines,
    answer_bytes: usize,
) -> Result<Http<Resolver>, rustls::Error> {
    Http::guarded(guard, Bounds { deadlines, answer_bytes, idle_connections: 0 })
}

impl From<Unanswered> for CarrierError {
    fn from(unanswered: Unanswered) -> Self {
        match unanswered {
            Unanswered::NotSent(_) => Self::Refused(unanswered.to_string()),
            Unanswered::Unknown(cause) => Self::Unknown(cause),
        }
    }
}
