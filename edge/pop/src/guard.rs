//! The guard that every request passes before a route sees it: framing, who asks, how often, how much, how long.

use std::net::{IpAddr, Ipv4Addr};
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::extract::{Request, State};
use axum::middleware::{self, Next};
use axum::response::{IntoResponse, Response};
use edge_app::ClientAddress;
use http::header::TRANSFER_ENCODING;
use http::{HeaderMap, HeaderValue, Method};
use shared::{Problem, ProblemKind};
use shared_clock::Entropy;
use tokio::time::Instant;
use tower_http::catch_panic::CatchPanicLayer;

use crate::bodies::Bodies;
use crate::connection::Remote;
use crate::limits::{Limiter, Network};
use crate::{headers, rules};

/// Time for a whole request: its body, the longest hold of an answer, and the answer's head.
const REQUEST: Duration = Duration::from_secs(50);

/// What guards a listener.
#[derive(Clone)]
pub struct Guard {
    /// Its name in metrics.
    pub listener: &'static str,
    /// On the listener that is for anyone. Elsewhere nobody is believed or limited here.
    pub anyone: Option<Anyone>,
    /// For traces.
    pub entropy: Entropy,
}

/// What a listener for anyone needs. What its requests claim is dropped.
#[derive(Clone)]
pub struct Anyone {
    /// The PoP's name in `Cache-Status`.
    pub cache_name: String,
    /// Limits by the client's address.
    pub limiter: Limiter,
    /// Who ends TLS in front of us: they alone say for whom they speak.
    pub terminators: Vec<Network>,
    /// Room for bodies.
    pub bodies: Bodies,
}

/// `router` behind `guard`.
pub fn guarded(router: Router, guard: Guard) -> Router {
    let panicked = CatchPanicLayer::custom(|_: Box<dyn std::any::Any + Send>| {
        tracing::error!("a handler panicked");
        Problem::new(ProblemKind::Internal).into_response()
    });
    router.layer(panicked).layer(middleware::from_fn_with_state(guard, pass))
}

/// A limit's refusal.
pub(crate) fn slow_down(seconds: u32) -> Problem {
    metrics::counter!("pop_limited_total").increment(1);
    Problem::new(ProblemKind::SlowDown).retry_after(seconds)
}

async fn pass(State(guard): State<Guard>, request: Request, next: Next) -> Response {
    let began = Instant::now();
    let mut response = match tokio::time::timeout(REQUEST, answer(&guard, request, next)).await {
        Ok(answer) => answer.into_response(),
        Err(_) => Problem::new(ProblemKind::Timeout).into_response(),
    };
    if let Some(anyone) = &guard.anyone {
        anyone.say_how(&mut response);
    }
    let status = response.status().as_str().to_owned();
    metrics::counter!("pop_requests_total", "listener" => guard.listener, "status" => status).increment(1);
    metrics::histogram!("pop_request_seconds", "listener" => guard.listener).record(began.elapsed());
    response
}

async fn answer(guard: &Guard, mut request: Request, next: Next) -> Result<Response, Problem> {
    check(&request)?;
    headers::ensure_trace(request.headers_mut(), &guard.entropy);
    let Some(anyone) = &guard.anyone else { return Ok(next.run(request).await) };
    anyone.admit(&mut request)?;
    let (parts, body) = request.into_parts();
    let body = anyone.bodies.read(body).await?;
    let request = Request::from_parts(parts, Body::from(body.bytes.clone()));
    // The body keeps its room until it is answered.
    let response = next.run(request).await;
    drop(body);
    Ok(response)
}

fn check(request: &Request) -> Result<(), Problem> {
    if matches!(*request.method(), Method::CONNECT | Method::TRACE) {
        return Err(Problem::new(ProblemKind::MethodNotAllowed));
    }
    if !is_framed_plainly(request.headers()) {
        return Err(Problem::new(ProblemKind::Malformed).detail("the only transfer coding is chunked"));
    }
    Ok(())
}

impl Anyone {
    /// Every answer to a shopper says how it was made (RFC 9211), one that the app never saw as well.
    fn say_how(&self, response: &mut Response) {
        if let http::header::Entry::Vacant(absent) = response.headers_mut().entry("cache-status")
            && let Ok(refused) = HeaderValue::try_from(format!("{}; detail=refused", self.cache_name))
        {
            absent.insert(refused);
        }
    }

    fn admit(&self, request: &mut Request) -> Result<(), Problem> {
        let socket = request.extensions().get::<Remote>().map(|Remote(address)| address.ip().to_canonical());
        let client = self.client(socket.unwrap_or(IpAddr::V4(Ipv4Addr::UNSPECIFIED)), request.headers());
        self.limiter.take(client).map_err(slow_down)?;
        headers::drop_claims(request.headers_mut());
        request.extensions_mut().insert(ClientAddress(client));
        Ok(())
    }

    /// The shopper's address: the socket's, or what a terminator there says of it.
    fn client(&self, socket: IpAddr, headers: &HeaderMap) -> IpAddr {
        let is_terminator = self.terminators.iter().any(|network| network.contains(socket));
        is_terminator.then(|| rules::forwarded_for(headers)).flatten().unwrap_or(socket)
    }
}

/// Whether nobody behind us could read the body's end differently (RFC 9112 section 6.1).
fn is_framed_plainly(headers: &HeaderMap) -> bool {
    let mut codings = headers.get_all(TRANSFER_ENCODING).iter();
    codings.next().is_none_or(|coding| coding.as_bytes().eq_ignore_ascii_case(b"chunked")) && codings.next().is_none()
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;

    use super::*;

    #[test]
    fn the_only_transfer_coding_is_chunked_said_once() {
        let plain = |codings: &[&'static str]| {
            is_framed_plainly(
                &codings.iter().map(|coding| (TRANSFER_ENCODING, HeaderValue::from_static(coding))).collect(),
            )
        };
        assert!(is_framed_plainly(&HeaderMap::new()));
        assert!(plain(&["chunked"]));
        for odd in [&["gzip, chunked"][..], &["identity"], &["chunked", "chunked"], &["xchunked"], &[""]] {
            let mut headers = HeaderMap::new();
            odd.iter().for_each(|coding| {
                headers.append(TRANSFER_ENCODING, HeaderValue::from_static(coding));
            });
            assert!(!is_framed_plainly(&headers), "{odd:?} was taken");
        }
    }
}
