//! W3C trace context (level 1): the thread that ties a request to its logs, its events and the calls it causes.

use std::convert::Infallible;
use std::fmt;
use std::str::FromStr;

use axum::extract::FromRequestParts;
use http::HeaderMap;
use http::request::Parts;
use shared_clock::Entropy;

/// Header that carries it.
pub(crate) const TRACEPARENT: &str = "traceparent";

tokio::task_local! {
    static CURRENT: TraceParent;
}

/// A trace, and this process's span in it. Displays as `00-{trace}-{span}-{flags}`.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct TraceParent {
    trace: [u8; 16],
    span: [u8; 8],
    flags: u8,
}

/// Not a `traceparent` of version 00.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
#[error("this is not a traceparent of version 00")]
pub struct NotATraceParent;

impl TraceParent {
    /// The start of a new trace, sampled.
    #[must_use]
    pub fn mint(entropy: &Entropy) -> Self {
        Self { trace: entropy.bytes(), span: entropy.bytes(), flags: 1 }
    }

    /// A span of ours in the trace that the request's header names, or in a new one.
    #[must_use]
    pub(crate) fn continued(headers: &HeaderMap, entropy: &Entropy) -> Self {
        let given = headers.get(TRACEPARENT).and_then(|value| value.to_str().ok()?.parse::<Self>().ok());
        given.map_or_else(|| Self::mint(entropy), |parent| Self { span: entropy.bytes(), ..parent })
    }

    /// The trace that the running request belongs to, inside a handler.
    #[must_use]
    pub fn current() -> Option<Self> {
        CURRENT.try_with(|current| *current).ok()
    }

    /// Runs `work` as part of this trace.
    pub async fn scope<F: Future>(self, work: F) -> F::Output {
        CURRENT.scope(self, work).await
    }

    /// The trace's id, 32 hexadecimal digits.
    #[must_use]
    pub fn trace_id(&self) -> String {
        hex::encode(self.trace)
    }
}

impl fmt::Display for TraceParent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "00-{}-{}-{:02x}", hex::encode(self.trace), hex::encode(self.span), self.flags)
    }
}

impl FromStr for TraceParent {
    type Err = NotATraceParent;

    fn from_str(text: &str) -> Result<Self, NotATraceParent> {
        let lower_hex = |part: &str| part.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'));
        let parts: Vec<_> = text.split('-').collect();
        let ["00", trace, span, flags] = parts[..] else { return Err(NotATraceParent) };
        if ![trace, span, flags].into_iter().all(lower_hex) {
            return Err(NotATraceParent);
        }
        let (mut parsed, mut flag) = (Self { trace: [0; 16], span: [0; 8], flags: 0 }, [0]);
        let read = hex::decode_to_slice(trace, &mut parsed.trace)
            .and_then(|()| hex::decode_to_slice(span, &mut parsed.span))
            .and_then(|()| hex::decode_to_slice(flags, &mut flag));
        parsed.flags = flag[0];
        let names_nothing = parsed.trace == [0; 16] || parsed.span == [0; 8];
        if read.is_err() || names_nothing { Err(NotATraceParent) } else { Ok(parsed) }
    }
}

impl<S: Send + Sync> FromRequestParts<S> for TraceParent {
    type Rejection = Infallible;

    /// [`crate::Front::wrap`] puts one on every request; a router without it gets a fresh one.
    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Infallible> {
        Ok(parts.extensions.get().copied().unwrap_or_else(|| Self::continued(&parts.headers, &Entropy::system())))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const GIVEN: &str = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";

    #[test]
    fn a_given_trace_is_continued_under_a_span_of_ours() {
        let headers = HeaderMap::from_iter([(http::HeaderName::from_static(TRACEPARENT), GIVEN.parse().unwrap())]);
        let ours = TraceParent::continued(&headers, &Entropy::seeded(1));
        assert_eq!(ours.trace_id(), "4bf92f3577b34da6a3ce929d0e0e4736");
        assert!(!ours.to_string().contains("00f067aa0ba902b7"));
    }

    #[test]
    fn a_trace_that_is_not_one_is_replaced() {
        for bad in ["", "00-0-0-0", "01-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01", &GIVEN.to_uppercase()] {
            assert_eq!(bad.parse::<TraceParent>(), Err(NotATraceParent), "{bad:?}");
        }
        let nothing = "00-00000000000000000000000000000000-00f067aa0ba902b7-01";
        assert_eq!(nothing.parse::<TraceParent>(), Err(NotATraceParent));
    }

    proptest! {
        #[test]
        fn it_survives_the_wire(seed: u64) {
            let minted = TraceParent::mint(&Entropy::seeded(seed));
            prop_assert_eq!(minted.to_string().parse::<TraceParent>(), Ok(minted));
        }
    }
}
