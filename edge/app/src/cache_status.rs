//! `Cache-Status` (RFC 9211): how each answer was made.

use http::{HeaderName, HeaderValue};

/// The header's name.
pub(crate) const CACHE_STATUS: HeaderName = HeaderName::from_static("cache-status");

/// Where an answer came from.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Source {
    /// This process's memory.
    Memory,
    /// The tier that outlives the process.
    Kv,
    /// A core, just now.
    Core {
        /// Whether an older answer was held.
        stale: bool,
        /// The status that the page has.
        status: u16,
    },
    /// An older answer, because no core could be reached.
    StaleIfError,
}

/// The header's value; `ttl_seconds` is negative once the answer is stale.
pub(crate) fn value(cache: &str, source: Source, ttl_seconds: i64) -> HeaderValue {
    text(match source {
        Source::Memory => format!("{cache}; hit; ttl={ttl_seconds}; detail=memory"),
        Source::Kv => format!("{cache}; hit; ttl={ttl_seconds}; detail=kv"),
        Source::StaleIfError => format!("{cache}; hit; ttl={ttl_seconds}; detail=stale-if-error"),
        Source::Core { stale, status } => {
            let why = if stale { "stale" } else { "miss" };
            format!("{cache}; fwd={why}; fwd-status={status}; stored; ttl={ttl_seconds}")
        }
    })
}

/// For answers that no cache was asked about: personal pages, writes, errors.
pub(crate) fn bypass(cache: &str, safe_method: bool) -> HeaderValue {
    text(format!("{cache}; fwd={}", if safe_method { "bypass" } else { "method" }))
}

fn text(value: String) -> HeaderValue {
    // A host's name that is no header text would be a bug of the host; the answer still goes out.
    HeaderValue::try_from(value).unwrap_or(HeaderValue::from_static("meridian; fwd=bypass"))
}
