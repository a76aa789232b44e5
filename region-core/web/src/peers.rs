//! Calls to other cores, of other regions and of this one, over whatever transport the server brings.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures_util::future::BoxFuture;
use http::header::{CONTENT_TYPE, RETRY_AFTER};
use http::{Method, Request, Response};
use serde::Serialize;
use serde::de::DeserializeOwned;
use shared::idempotency::IDEMPOTENCY_KEY;
use shared::problem::PROBLEM_JSON;
use shared::{Problem, ProblemKind, RegionName};

use crate::trace::{TRACEPARENT, TraceParent};

/// How long a call may take, retries inside the transport included.
pub const PEER_DEADLINE: Duration = Duration::from_secs(5);

/// Carries a request to some core of a region.
pub trait PeerTransport: Send + Sync + 'static {
    /// The region's answer, whatever its status.
    ///
    /// # Errors
    /// A problem of this side: 503 when the region cannot be reached, 504 when the deadline passed.
    fn send<'a>(
        &'a self,
        region: &'a RegionName,
        request: Request<Bytes>,
        deadline: Duration,
    ) -> BoxFuture<'a, Result<Response<Bytes>, Problem>>;

    /// The answer of one core of this process's own region, whatever its status. A transport that knows none leads nowhere.
    ///
    /// # Errors
    /// As of [`PeerTransport::send`], of that one core.
    fn send_to<'a>(
        &'a self,
        core: &'a str,
        request: Request<Bytes>,
        deadline: Duration,
    ) -> BoxFuture<'a, Result<Response<Bytes>, Problem>> {
        let _ = (request, deadline);
        let problem = Problem::new(ProblemKind::Unavailable).detail(format!("no way to core {core} is configured"));
        Box::pin(std::future::ready(Err(problem)))
    }
}

/// Why a call to one core has no answer to go by.
#[derive(Clone, Debug, thiserror::Error)]
pub enum CoreCallError {
    /// The core refused.
    #[error("the core refused: {0}")]
    Refused(Problem),
    /// Nothing that can be used came back in time; whether the core acted on the call is unknown.
    #[error("the core did not answer: {0}")]
    NoAnswer(Problem),
}

/// For a store of one region: every other region is unreachable.
#[derive(Clone, Copy, Debug)]
pub struct NoPeers;

impl PeerTransport for NoPeers {
    fn send<'a>(
        &'a self,
        region: &'a RegionName,
        _: Request<Bytes>,
        _: Duration,
    ) -> BoxFuture<'a, Result<Response<Bytes>, Problem>> {
        Box::pin(
            async move { Err(Problem::new(ProblemKind::Unavailable).detail(format!("no way to region {region}"))) },
        )
    }
}

/// The other cores, as services call them: of other regions by region, of this one by name. Clones share the transport.
#[derive(Clone)]
pub struct Peers(Arc<dyn PeerTransport>);

impl std::fmt::Debug for Peers {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Peers")
    }
}

/// Leads nowhere.
struct Alone;

impl PeerTransport for Alone {
    fn send<'a>(
        &'a self,
        region: &'a RegionName,
        _: Request<Bytes>,
        _: Duration,
    ) -> BoxFuture<'a, Result<Response<Bytes>, Problem>> {
        let problem = Problem::new(ProblemKind::Unavailable).detail(format!("no way to region {region} is configured"));
        Box::pin(std::future::ready(Err(problem)))
    }
}

impl Peers {
    /// Peers behind that transport.
    #[must_use]
    pub fn new(transport: impl PeerTransport) -> Self {
        Self(Arc::new(transport))
    }

    /// No other region: every call says so.
    #[must_use]
    pub fn none() -> Self {
        Self::new(Alone)
    }

    /// Calls an `/internal` route that does nothing twice, and reads its answer. An empty answer reads as `()`.
    ///
    /// The request carries an `Idempotency-Key`: it tells the transport that delivering it a second time is harmless.
    ///
    /// # Errors
    /// The peer's problem as it sent it, a problem of the transport, or 502 when the answer is out of shape.
    pub async fn call<Req: Serialize + ?Sized, Res: DeserializeOwned>(
        &self,
        region: &RegionName,
        method: Method,
        path: &str,
        body: &Req,
    ) -> Result<Res, Problem> {
        let request = request(method, path, body)?;
        let response = self.0.send(region, request, PEER_DEADLINE).await?;
        if !response.status().is_success() {
            return Err(refusal(&response));
        }
        read(&response, path)
    }

    /// Posts to an `/internal` route, which does nothing twice, of one core of this region, and reads its answer.
    ///
    /// # Errors
    /// [`CoreCallError`].
    pub async fn call_core<Req: Serialize + ?Sized, Res: DeserializeOwned>(
        &self,
        core: &str,
        path: &str,
        body: &Req,
        deadline: Duration,
    ) -> Result<Res, CoreCallError> {
        let request = request(Method::POST, path, body).map_err(CoreCallError::NoAnswer)?;
        let response = self.0.send_to(core, request, deadline).await.map_err(CoreCallError::NoAnswer)?;
        if !response.status().is_success() {
            return Err(CoreCallError::Refused(refusal(&response)));
        }
        read(&response, path).map_err(CoreCallError::NoAnswer)
    }
}

fn read<Res: DeserializeOwned>(response: &Response<Bytes>, path: &str) -> Result<Res, Problem> {
    let body: &[u8] = if response.body().is_empty() { b"null" } else { response.body() };
    serde_json::from_slice(body).map_err(|error| {
        tracing::error!(http.path = path, %error, "a core answered out of shape");
        Problem::new(ProblemKind::BadGateway)
    })
}

fn request<Req: Serialize + ?Sized>(method: Method, path: &str, body: &Req) -> Result<Request<Bytes>, Problem> {
    let internal = |error: &dyn std::fmt::Display| {
        tracing::error!(http.path = path, %error, "a call to a peer could not be written");
        Problem::new(ProblemKind::Internal)
    };
    let body = serde_json::to_vec(body).map_err(|error| internal(&error))?;
    let mut request = Request::builder()
        .method(method)
        .uri(path)
        .header(CONTENT_TYPE, "application/json")
        .header(IDEMPOTENCY_KEY, "repeatable");
    if let Some(trace) = TraceParent::current() {
        request = request.header(TRACEPARENT, trace.to_string());
    }
    request.body(Bytes::from(body)).map_err(|error| internal(&error))
}

/// What the peer refused with, `Retry-After` included; 502 if it did not say so in a problem.
fn refusal(response: &Response<Bytes>) -> Problem {
    let header = |name| response.headers().get(name).and_then(|value| value.to_str().ok());
    let typed = header(CONTENT_TYPE).is_some_and(|media| media.starts_with(PROBLEM_JSON));
    let sent = if typed { serde_json::from_slice::<Problem>(response.body()).ok() } else { None };
    let retry = header(RETRY_AFTER).and_then(|seconds| seconds.parse().ok());
    let out_of_shape =
        || Problem::new(ProblemKind::BadGateway).detail(format!("a core answered {}", response.status()));
    sent.map_or_else(out_of_shape, |problem| Problem { retry_after_seconds: retry, ..problem })
}
