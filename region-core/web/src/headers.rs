//! Headers that routes ask for.

use axum::extract::FromRequestParts;
use http::request::Parts;
use shared::idempotency::{IDEMPOTENCY_KEY, IdempotencyKey};
use shared::{Problem, ProblemKind};

/// The request's `Idempotency-Key`; 400 without exactly one well-formed key.
#[derive(Clone, Debug)]
pub struct IdempotencyKeyHeader(
    /// The key.
    pub IdempotencyKey,
);

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
