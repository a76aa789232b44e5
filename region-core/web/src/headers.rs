//! Headers that routes ask for.

use axum::extract::FromRequestParts;
use http::header::IF_NONE_MATCH;
use http::request::Parts;
use shared::idempotency::{IDEMPOTENCY_KEY, IdempotencyKey};
use shared::{Problem, ProblemKind};
use utoipa::IntoParams;
use utoipa::openapi::path::{Parameter, ParameterBuilder, ParameterIn};
use utoipa::openapi::{ObjectBuilder, Required, Type};

/// The request's `Idempotency-Key`; 400 without exactly one well-formed key.
#[derive(Clone, Debug)]
pub struct IdempotencyKeyHeader(
    /// The key.
    pub IdempotencyKey,
);

impl IntoParams for IdempotencyKeyHeader {
    fn into_params(_: impl Fn() -> Option<ParameterIn>) -> Vec<Parameter> {
        let text = ObjectBuilder::new().schema_type(Type::String).min_length(Some(1)).max_length(Some(255));
        let about = "Names the request: a repeat under the same key makes nothing more, and is answered with what was made, \
                     as it is now.";
        vec![header(IDEMPOTENCY_KEY, about).required(Required::True).schema(Some(text)).build()]
    }
}

/// The header that says how long the caller would wait (RFC 7240 section 4.3).
pub const PREFER: &str = "prefer";
/// The header that says that the wait was heeded (RFC 7240 section 3).
pub const PREFERENCE_APPLIED: &str = "preference-applied";

/// How long the caller would wait for an answer (RFC 7240 section 4.3), in the API's document.
#[derive(Clone, Copy, Debug)]
pub struct Prefer;

impl IntoParams for Prefer {
    fn into_params(_: impl Fn() -> Option<ParameterIn>) -> Vec<Parameter> {
        let about = "`wait=N`: hold the answer, for N seconds at most and for 10 at most (RFC 7240).";
        vec![header(PREFER, about).build()]
    }
}

/// What the caller has already (RFC 9110 section 13.1.2), in the API's document.
#[derive(Clone, Copy, Debug)]
pub struct IfNoneMatch;

impl IntoParams for IfNoneMatch {
    fn into_params(_: impl Fn() -> Option<ParameterIn>) -> Vec<Parameter> {
        vec![header(IF_NONE_MATCH.as_str(), "The `etag` of what is there already: 304 if nothing has changed.").build()]
    }
}

fn header(name: &str, about: &str) -> ParameterBuilder {
    let text = ObjectBuilder::new().schema_type(Type::String);
    let header = ParameterBuilder::new().name(name).parameter_in(ParameterIn::Header);
    header.required(Required::False).description(Some(about)).schema(Some(text))
}

impl<S: Send + Sync> FromRequestParts<S> for IdempotencyKeyHeader {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Problem> {
        let refuse =
            |detail: &str| Problem::new(ProblemKind::IdempotencyKeyRequired).detail(detail).field(IDEMPOTENCY_KEY);
        let mut values = parts.headers.get_all(IDEMPOTENCY_KEY).iter();
        let (Some(value), None) = (values.next(), values.next()) else {
            return Err(refuse("send exactly one Idempotency-Key"));
        };
        let key = value.to_str().ok().and_then(|text| text.parse().ok());
        key.map(Self)
            .ok_or_else(|| refuse("an Idempotency-Key is 1 to 255 visible ASCII characters, and no card number"))
    }
}
