//! What stands before every route: trace, metrics, limits, and a problem for whatever a route did not answer itself.

use std::panic::AssertUnwindSafe;

use axum::Router;
use axum::extract::{DefaultBodyLimit, MatchedPath, Request, State};
use axum::middleware::{self, Next};
use axum::response::{IntoResponse, Response};
use futures_util::FutureExt;
use http::header::CACHE_CONTROL;
use http::{HeaderValue, StatusCode};
use shared::api::MAX_BODY_BYTES;
use shared::{Problem, ProblemKind};
use shared_clock::Entropy;
use tokio::time::Instant;
use tracing::Instrument;

use crate::{ClientAddress, TraceParent, Verifier};

/// Where a listener learns the client's address from.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum AddressSource {
    /// The header [`crate::CLIENT_ADDRESS`]: only for a listener whose peers have proved that they are ours.
    Gateway,
    /// The [`ClientAddress`] that the listener itself put into the request's extensions, if it did.
    Listener,
}

/// What the server lays over a listener's routes.
#[derive(Clone, Debug)]
pub struct Front {
    /// Who checks bearer tokens.
    pub verifier: Verifier,
    /// Where span ids come from.
    pub entropy: Entropy,
    /// Whom to believe about addresses.
    pub addresses: AddressSource,
}

impl Front {
    /// The finished routes: each request gets a span, a trace, metrics and a verifier; what no route answers, a panic
    /// included, is a problem; bodies end at 256 KiB; answers that do not say otherwise are `no-store`.
    pub fn wrap(self, router: Router) -> Router {
        router
            .fallback(async || Problem::not_found())
            .method_not_allowed_fallback(async || Problem::new(ProblemKind::MethodNotAllowed))
            .layer(DefaultBodyLimit::max(MAX_BODY_BYTES))
            .layer(middleware::from_fn_with_state(self, observe))
    }
}

async fn observe(State(front): State<Front>, mut request: Request, next: Next) -> Response {
    let started = Instant::now();
    let trace = TraceParent::continued(request.headers(), &front.entropy);
    let route = request.extensions().get::<MatchedPath>().map_or("none", MatchedPath::as_str).to_owned();
    let method = method_label(request.method());
    let span = tracing::info_span!(
        "http.request",
        http.method = method,
        http.route = route,
        trace.id = trace.trace_id(),
        http.status = tracing::field::Empty
    );
    introduce(&front, trace, &mut request);
    let work = AssertUnwindSafe(trace.scope(next.run(request))).catch_unwind();
    let mut response = work.instrument(span.clone()).await.unwrap_or_else(|_| after_panic(&span));
    span.record("http.status", response.status().as_u16());
    response.headers_mut().entry(CACHE_CONTROL).or_insert(HeaderValue::from_static("no-store"));
    count(method, route, response.status(), started);
    response
}

/// Tells the handlers what the channel proves about the request.
fn introduce(front: &Front, trace: TraceParent, request: &mut Request) {
    if front.addresses == AddressSource::Gateway {
        request.extensions_mut().remove::<ClientAddress>();
        if let Some(address) = ClientAddress::from_gateway(request.headers()) {
            request.extensions_mut().insert(address);
        }
    }
    request.extensions_mut().insert(trace);
    request.extensions_mut().insert(front.verifier.clone());
}

/// The panic hook has logged the message; here it is tied to the request.
fn after_panic(span: &tracing::Span) -> Response {
    span.in_scope(|| tracing::error!("a handler panicked"));
    Problem::new(ProblemKind::Internal).into_response()
}

/// A label of bounded variety: a client may invent methods.
fn method_label(method: &http::Method) -> &'static str {
    match method.as_str() {
        "GET" => "GET",
        "HEAD" => "HEAD",
        "POST" => "POST",
        "PUT" => "PUT",
        "PATCH" => "PATCH",
        "DELETE" => "DELETE",
        _ => "other",
    }
}

fn count(method: &'static str, route: String, status: StatusCode, started: Instant) {
    let status = status.as_u16().to_string();
    metrics::histogram!("http_request_seconds", "method" => method, "route" => route.clone())
        .record(started.elapsed().as_secs_f64());
    metrics::counter!("http_requests_total", "method" => method, "route" => route, "status" => status).increment(1);
}
