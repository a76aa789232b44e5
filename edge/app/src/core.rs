//! Talking to the cores: one call, one typed answer or one problem.

use std::net::IpAddr;

use bytes::Bytes;
use http::header::{ACCEPT, AUTHORIZATION, CONTENT_TYPE, HeaderName, HeaderValue, IF_NONE_MATCH, RETRY_AFTER};
use http::{Method, Request, Response, StatusCode};
use serde::Serialize;
use serde::de::DeserializeOwned;
use shared::idempotency::IDEMPOTENCY_KEY;
use shared::{Problem, ProblemKind};

use crate::platform::{Platform, UpstreamError};

const JSON: HeaderValue = HeaderValue::from_static("application/json");
const PREFER: HeaderName = HeaderName::from_static("prefer");
const PREFERENCE_APPLIED: HeaderName = HeaderName::from_static("preference-applied");

/// What became of a document that its reader knows.
pub(crate) enum Changed<T> {
    /// Nothing.
    Same {
        /// Whether the core waited for a change.
        held: bool,
    },
    /// It is another one now.
    Other(T),
}

/// A request to a core, being built.
pub(crate) struct Call {
    request: http::request::Builder,
    body: Result<Bytes, serde_json::Error>,
}

impl Call {
    /// `GET` of a path below `/v1`, with its query.
    pub(crate) fn get(path: &str) -> Self {
        Self { request: Request::get(path).header(ACCEPT, JSON), body: Ok(Bytes::new()) }
    }

    /// `POST` of a JSON body.
    pub(crate) fn post(path: &str, body: &impl Serialize) -> Self {
        Self::with(Method::POST, path, body)
    }

    /// A JSON body with that method.
    pub(crate) fn with(method: Method, path: &str, body: &impl Serialize) -> Self {
        let request = Request::builder().method(method).uri(path).header(ACCEPT, JSON).header(CONTENT_TYPE, JSON);
        Self { request, body: serde_json::to_vec(body).map(Bytes::from) }
    }

    /// Says who asks, by his own token.
    pub(crate) fn bearer(mut self, token: &str) -> Self {
        self.request = self.request.header(AUTHORIZATION, format!("Bearer {token}"));
        self
    }

    /// Makes the request safe to repeat.
    pub(crate) fn idempotency_key(mut self, key: &str) -> Self {
        self.request = self.request.header(IDEMPOTENCY_KEY, key);
        self
    }

    /// Asks the core to hold its answer for up to `seconds` (RFC 7240 section 4.3).
    pub(crate) fn wait(mut self, seconds: u32) -> Self {
        self.request = self.request.header(PREFER, format!("wait={seconds}"));
        self
    }

    /// Asks for what has another tag than this.
    pub(crate) fn unless(mut self, tag: &str) -> Self {
        self.request = self.request.header(IF_NONE_MATCH, tag);
        self
    }

    /// Sends it and reads a JSON answer.
    pub(crate) async fn json<T: DeserializeOwned>(
        self,
        platform: &impl Platform,
        client: IpAddr,
    ) -> Result<T, Problem> {
        let response = self.send(platform, client).await?;
        serde_json::from_slice(response.body()).map_err(|_| Problem::new(ProblemKind::BadGateway))
    }

    /// Sends it and reads a JSON answer, if there is one with another tag than the one named. Without one it also says
    /// whether the core has held its answer, as it was asked to.
    pub(crate) async fn changed<T: DeserializeOwned>(
        self,
        platform: &impl Platform,
        client: IpAddr,
    ) -> Result<Changed<T>, Problem> {
        let response = self.exchange(platform, client).await?;
        match response.status() {
            StatusCode::NOT_MODIFIED => Ok(Changed::Same { held: response.headers().contains_key(PREFERENCE_APPLIED) }),
            status if status.is_success() => {
                let answer = serde_json::from_slice(response.body());
                answer.map(Changed::Other).map_err(|_| Problem::new(ProblemKind::BadGateway))
            }
            _ => Err(problem_of(&response)),
        }
    }

    /// Sends it; any status but 2xx is a problem.
    pub(crate) async fn send(self, platform: &impl Platform, client: IpAddr) -> Result<Response<Bytes>, Problem> {
        let response = self.exchange(platform, client).await?;
        if response.status().is_success() { Ok(response) } else { Err(problem_of(&response)) }
    }

    async fn exchange(self, platform: &impl Platform, client: IpAddr) -> Result<Response<Bytes>, Problem> {
        let body = self.body.map_err(|_| Problem::new(ProblemKind::Internal))?;
        let request = self.request.body(body).map_err(|_| Problem::new(ProblemKind::Internal))?;
        platform.upstream(request, client).await.map_err(unreachable)
    }
}

/// The problem that a lost link is.
pub(crate) fn unreachable(error: UpstreamError) -> Problem {
    Problem::new(match error {
        UpstreamError::Unavailable => ProblemKind::Unavailable,
        UpstreamError::Timeout => ProblemKind::Timeout,
        UpstreamError::Malformed => ProblemKind::BadGateway,
    })
}

/// The problem in a core's answer. Of one that is out of shape, only a passing or harmless status is believed: a bare 401
/// may be anybody's on the way and says nothing about the shopper's session.
pub(crate) fn problem_of(response: &Response<Bytes>) -> Problem {
    let kind = match response.status().as_u16() {
        404 => ProblemKind::NotFound,
        503 => ProblemKind::Unavailable,
        504 => ProblemKind::Timeout,
        _ => ProblemKind::BadGateway,
    };
    let mut problem = serde_json::from_slice(response.body()).unwrap_or_else(|_| Problem::new(kind));
    let seconds = response.headers().get(RETRY_AFTER).and_then(|value| value.to_str().ok()?.parse().ok());
    problem.retry_after_seconds = seconds.or(problem.retry_after_seconds);
    problem
}

/// Whether the same request may work in a moment, and an older answer may stand in until then.
pub(crate) fn is_passing(problem: &Problem) -> bool {
    problem.status >= 500 || problem.status == 429 || problem.status == 421
}

/// Whether nobody knows if the request had its effect: it must be repeated as it was, key included.
pub(crate) fn is_unknown(problem: &Problem) -> bool {
    matches!(problem.status, 500 | 502 | 504)
}

/// Methods that change nothing.
pub(crate) fn is_safe(method: &Method) -> bool {
    matches!(*method, Method::GET | Method::HEAD | Method::OPTIONS)
}
