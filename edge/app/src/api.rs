//! `/v1` at the edge: the cores' API, passed on with the caller's bearer token and nothing else of his.
//!
//! Public documents come from the cache. Everything else goes to a core with the few headers it needs; cookies are never
//! passed on in either direction, so the API cannot be driven by a browser's ambient authority.

use axum::body::{Body, to_bytes};
use axum::extract::{Request, State};
use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use http::header::{self, CACHE_CONTROL, CONTENT_TYPE, HeaderMap, HeaderName, HeaderValue, IF_NONE_MATCH};
use http::request::Parts;
use http::{Method, Uri};
use shared::api::MAX_BODY_BYTES;
use shared::{Problem, ProblemKind};

use crate::app::App;
use crate::platform::{ClientAddress, Platform};
use crate::route::PublicRoute;
use crate::{core, hit_response};

/// Request headers that reach a core.
const FORWARDED: [HeaderName; 15] = [
    header::AUTHORIZATION,
    header::CONTENT_TYPE,
    header::ACCEPT,
    header::IF_NONE_MATCH,
    HeaderName::from_static(shared::idempotency::IDEMPOTENCY_KEY),
    HeaderName::from_static("prefer"),
    // Of payment providers' and carriers' events: they sign the body, which is passed on byte for byte.
    HeaderName::from_static("stripe-signature"),
    HeaderName::from_static("paypal-auth-algo"),
    HeaderName::from_static("paypal-cert-url"),
    HeaderName::from_static("paypal-transmission-id"),
    HeaderName::from_static("paypal-transmission-sig"),
    HeaderName::from_static("paypal-transmission-time"),
    HeaderName::from_static("x-hmac-signature"),
    HeaderName::from_static("traceparent"),
    HeaderName::from_static("tracestate"),
];

/// Headers of a core's answer that reach the caller.
const RETURNED: [HeaderName; 9] = [
    header::CONTENT_TYPE,
    header::ETAG,
    header::RETRY_AFTER,
    header::LOCATION,
    header::ALLOW,
    header::WWW_AUTHENTICATE,
    HeaderName::from_static(shared::idempotency::IDEMPOTENCY_REPLAYED),
    HeaderName::from_static("preference-applied"),
    HeaderName::from_static("traceparent"),
];

/// Any request below `/v1`.
pub(crate) async fn any<P: Platform>(State(app): State<App<P>>, request: Request) -> Response {
    let (parts, body) = request.into_parts();
    if for_hosts_alone(&parts) {
        return Problem::not_found().into_response();
    }
    let result = match cacheable(&parts) {
        Some(route) => cached(&app, &parts, &route).await,
        None => pass(&app, parts, body).await,
    };
    result.unwrap_or_else(IntoResponse::into_response)
}

/// Whether this is a list that cores make for points of presence: long, and of no use to anybody else.
fn for_hosts_alone(parts: &Parts) -> bool {
    let asked = parts.method == Method::GET || parts.method == Method::HEAD;
    asked && parts.uri.path() == "/v1/stock/changes"
}

fn cacheable(parts: &Parts) -> Option<PublicRoute> {
    let asked = parts.method == Method::GET || parts.method == Method::HEAD;
    asked.then(|| PublicRoute::parse(parts.uri.path(), parts.uri.query().unwrap_or_default())).flatten()
}

async fn cached<P: Platform>(app: &App<P>, parts: &Parts, route: &PublicRoute) -> Result<Response, Problem> {
    let if_none_match = parts.headers.get(IF_NONE_MATCH).and_then(|value| value.to_str().ok());
    let served = app.public(route).await?;
    Ok(hit_response(served.hit(app.platform.cache_name(), app.platform.now_ms(), if_none_match)))
}

async fn pass<P: Platform>(app: &App<P>, parts: Parts, body: Body) -> Result<Response, Problem> {
    let body = to_bytes(body, MAX_BODY_BYTES).await.map_err(|_| Problem::new(ProblemKind::BodyTooLarge))?;
    if !body.is_empty() && !is_json(&parts.headers) {
        return Err(Problem::new(ProblemKind::UnsupportedMediaType));
    }
    let client = parts.extensions.get::<ClientAddress>().copied().unwrap_or_default().0;
    let request = forwarded(&parts, body)?;
    let response = app.platform.upstream(request, client).await.map_err(core::unreachable)?;
    let (answer, body) = response.into_parts();
    let mut headers = pick(&answer.headers, &RETURNED);
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    Ok((answer.status, headers, body).into_response())
}

fn forwarded(parts: &Parts, body: Bytes) -> Result<http::Request<Bytes>, Problem> {
    let uri: Uri = path_and_query(&parts.uri).parse().map_err(|_| Problem::new(ProblemKind::Malformed))?;
    let mut request = http::Request::new(body);
    *request.method_mut() = parts.method.clone();
    *request.uri_mut() = uri;
    *request.headers_mut() = pick(&parts.headers, &FORWARDED);
    Ok(request)
}

fn path_and_query(uri: &Uri) -> &str {
    uri.path_and_query().map_or("/", http::uri::PathAndQuery::as_str)
}

/// Those headers, each at most once: a second copy could be read differently behind us.
fn pick(headers: &HeaderMap, names: &[HeaderName]) -> HeaderMap {
    names.iter().filter_map(|name| Some((name.clone(), headers.get(name)?.clone()))).collect()
}

fn is_json(headers: &HeaderMap) -> bool {
    let value = headers.get(CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or_default();
    value.split(';').next().is_some_and(|essence| essence.trim().eq_ignore_ascii_case("application/json"))
}
