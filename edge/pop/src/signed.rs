//! The uplink: `/v1` for Workers, who sign every request. The signature makes the client's address believable, and
//! nothing else; the user's token goes on to the core as it came.

use std::net::IpAddr;
use std::sync::Arc;

use axum::Router;
use axum::body::Body;
use axum::extract::{Request, State};
use axum::response::{IntoResponse, Response};
use http::HeaderMap;
use shared::uplink::{self, CLIENT_ADDRESS, SIGNATURE, Signed, TIMESTAMP, UplinkError};
use shared::{Problem, ProblemKind};
use shared_clock::Clock;

use crate::bodies::Bodies;
use crate::keys::Keys;
use crate::limits::Limiter;
use crate::stock::Stock;
use crate::upstream::Upstream;
use crate::{guard, headers};

/// What the uplink needs.
#[derive(Clone)]
pub struct UplinkState {
    /// The way to the cores.
    pub upstream: Upstream,
    /// Counts that need no core.
    pub stock: Stock,
    /// What Workers sign with.
    pub keys: Arc<Keys>,
    /// Limits by the signed client address.
    pub limiter: Limiter,
    /// Room for bodies.
    pub bodies: Bodies,
    /// For the signature's window.
    pub clock: Clock,
}

/// Routes of the uplink: everything below `/v1`, and nothing else.
pub fn router(state: UplinkState) -> Router {
    Router::new()
        .route("/v1/{*rest}", axum::routing::any(pass))
        .fallback(|| async { Problem::not_found() })
        .with_state(state)
}

async fn pass(State(state): State<UplinkState>, request: Request) -> Result<Response, Problem> {
    let (mut parts, body) = request.into_parts();
    // First what needs no body: the bytes of who has no live key, or had one once, need not be read.
    let claim = Claim::read(&parts.headers).map_err(refuse)?;
    let now = state.clock.unix_seconds();
    state.keys.with(|keys| uplink::check(keys, &claim.signature, claim.timestamp, now)).map_err(refuse)?;
    let body = state.bodies.read(body).await?;
    let signed = Signed {
        method: parts.method.as_str(),
        path_and_query: parts.uri.path_and_query().map_or("/", |path| path.as_str()),
        body: &body.bytes,
        timestamp: claim.timestamp,
        client_address: claim.client,
    };
    // Read again: a key may have been retired, and the window have passed, while the body came in.
    let now = state.clock.unix_seconds();
    state.keys.with(|keys| uplink::verify(keys, &claim.signature, &signed, now)).map_err(refuse)?;
    // What a Worker fetches for everybody's cache it asks for nobody: the signature vouches for that, and the cache bounds it.
    if !claim.client.is_unspecified() {
        state.limiter.take(claim.client).map_err(guard::slow_down)?;
    }
    headers::drop_claims(&mut parts.headers);
    let request = Request::from_parts(parts, body.bytes.clone());
    if let Some(answer) = state.stock.answer(&request) {
        return Ok(answer.map(Body::from));
    }
    let answer = state.upstream.send(request, claim.client).await.map_err(|error| {
        tracing::warn!(%error, "a core did not answer");
        error.problem()
    })?;
    let (mut head, body) = answer.into_parts();
    headers::drop_hop(&mut head.headers);
    head.version = http::Version::default();
    Ok((head.status, head.headers, body).into_response())
}

/// What a Worker says about a request, not believed yet.
struct Claim {
    timestamp: u64,
    client: IpAddr,
    signature: String,
}

impl Claim {
    fn read(headers: &HeaderMap) -> Result<Self, UplinkError> {
        let text = |name: &'static str| {
            let mut values = headers.get_all(name).iter();
            match (values.next().and_then(|value| value.to_str().ok()), values.next()) {
                (Some(value), None) => Ok(value),
                _ => Err(UplinkError::Header(name)),
            }
        };
        Ok(Self {
            timestamp: text(TIMESTAMP)?.parse().map_err(|_| UplinkError::Header(TIMESTAMP))?,
            client: text(CLIENT_ADDRESS)?.parse().map_err(|_| UplinkError::Header(CLIENT_ADDRESS))?,
            signature: text(SIGNATURE)?.to_owned(),
        })
    }
}

fn refuse(error: UplinkError) -> Problem {
    tracing::info!(%error, "an uplink request was refused");
    metrics::counter!("pop_uplink_refused_total").increment(1);
    // Never 401: that is about the shopper's token, and would end a session that nobody has looked at.
    Problem::new(ProblemKind::UplinkRefused).detail(error)
}
