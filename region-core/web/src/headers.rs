//! Headers that routes ask for.

use axum::extract::FromRequestParts;
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
        let key = ParameterBuilder::new()
            .name(IDEMPOTENCY_KEY)
            .parameter_in(ParameterIn::Header)
            .required(Required::True)
            .description(Some(
                "Names the request: a repeat under the same key changes nothing more, and is answered alike.",
            ))
            .schema(Some(text));
        vec![key.build()]
    }
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
