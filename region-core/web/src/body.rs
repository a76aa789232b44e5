//! JSON in and out.

use axum::extract::{FromRequest, OptionalFromRequest, Request};
use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use http::header::CONTENT_TYPE;
use http::{HeaderMap, StatusCode};
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::error::Category;
use shared::{Problem, ProblemKind};

/// A JSON body.
///
/// In: 415 unless `application/json`, 413 beyond the body limit, 400 for broken UTF-8 or JSON, 422 with the `field`'s
/// path for a shape that is not `T`. Out: the value, as `application/json`.
#[derive(Clone, Copy, Debug)]
pub struct Json<T>(
    /// The value.
    pub T,
);

impl<T: DeserializeOwned, S: Send + Sync> FromRequest<S> for Json<T> {
    type Rejection = Problem;

    async fn from_request(request: Request, state: &S) -> Result<Self, Problem> {
        expect_json(request.headers())?;
        let bytes = Bytes::from_request(request, state).await.map_err(|rejection| unread(rejection.status()))?;
        parse(&bytes).map(Self)
    }
}

/// `None` without a `Content-Type`: for routes that do something without being told more.
impl<T: DeserializeOwned, S: Send + Sync> OptionalFromRequest<S> for Json<T> {
    type Rejection = Problem;

    async fn from_request(request: Request, state: &S) -> Result<Option<Self>, Problem> {
        if !request.headers().contains_key(CONTENT_TYPE) {
            return Ok(None);
        }
        <Self as FromRequest<S>>::from_request(request, state).await.map(Some)
    }
}

impl<T: Serialize> IntoResponse for Json<T> {
    fn into_response(self) -> Response {
        axum::Json(self.0).into_response()
    }
}

fn expect_json(headers: &HeaderMap) -> Result<(), Problem> {
    let essence = |value: &str| value.split(';').next().unwrap_or_default().trim().to_ascii_lowercase();
    let given = headers.get(CONTENT_TYPE).and_then(|value| value.to_str().ok()).map(essence);
    match given.as_deref() {
        Some("application/json") => Ok(()),
        Some(_) | None => Err(Problem::new(ProblemKind::UnsupportedMediaType)),
    }
}

/// The body did not arrive: too long, or the peer went away.
fn unread(status: StatusCode) -> Problem {
    if status == StatusCode::PAYLOAD_TOO_LARGE {
        Problem::new(ProblemKind::BodyTooLarge).with("limit_bytes", shared::api::MAX_BODY_BYTES)
    } else {
        Problem::new(ProblemKind::Malformed).detail("the body ended early")
    }
}

/// Reads `T` from a whole body.
pub(crate) fn parse<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, Problem> {
    let malformed = |detail: String| Problem::new(ProblemKind::Malformed).detail(detail);
    let text = std::str::from_utf8(bytes)
        .map_err(|error| malformed(format!("the body is not UTF-8 from byte {}", error.valid_up_to())))?;
    let mut reader = serde_json::Deserializer::from_str(text);
    let value = serde_path_to_error::deserialize(&mut reader).map_err(|error| match error.inner().classify() {
        Category::Data => shape_problem(&error.path().to_string(), error.inner()),
        Category::Syntax | Category::Eof | Category::Io => malformed(error.inner().to_string()),
    })?;
    reader.end().map_err(|error| malformed(error.to_string()))?;
    Ok(value)
}

/// 422 for a value at `path` that does not fit its type. Serde names an absent member only in its message.
pub(crate) fn shape_problem(path: &str, error: &impl ToString) -> Problem {
    let message = error.to_string();
    let absent = message.strip_prefix("missing field `").and_then(|rest| rest.split('`').next());
    let field = match (path, absent) {
        (".", Some(name)) => name.to_owned(),
        (path, Some(name)) => format!("{path}.{name}"),
        (path, None) => path.to_owned(),
    };
    Problem::invalid(&field, message)
}

#[cfg(test)]
mod tests {
    use shared::api::cart::CartOperation;
    use shared::api::order::PlaceOrder;

    use super::*;

    fn refusal(body: &[u8]) -> (u16, Option<String>) {
        let problem = parse::<CartOperation>(body).unwrap_err();
        let field = problem.members.get("field").and_then(|field| field.as_str()).map(str::to_owned);
        (problem.status, field)
    }

    #[test]
    fn what_is_not_json_is_malformed() {
        for body in [&b"{"[..], b"", b"nope", b"\xff\xfe", b"{\"a"] {
            assert_eq!(refusal(body).0, 400, "{body:?}");
        }
        let whole =
            br#"{"operation_id":"01890a5d-ac96-774b-bcce-b302099a8057","change":{"kind":"remove","sku":"A"}} x"#;
        assert_eq!(refusal(whole).0, 400);
    }

    #[test]
    fn a_wrong_shape_names_the_field() {
        let id = r#""operation_id":"01890a5d-ac96-774b-bcce-b302099a8057""#;
        let body = |rest: &str| format!("{{{id},{rest}}}").into_bytes();
        let field = |rest: &str| refusal(&body(rest));
        assert_eq!(field(r#""expected_version":-1"#), (422, Some("expected_version".into())));
        assert_eq!(field(r#""colour":1"#), (422, Some("colour".into())));
        assert_eq!(field(r#""expected_version":1"#), (422, Some("change".into())));
        assert_eq!(refusal(b"{\"operation_id\":\"x\"}"), (422, Some("operation_id".into())));
    }

    #[test]
    fn a_field_deep_inside_is_named_by_its_path() {
        let problem = parse::<PlaceOrder>(br#"{"items":[{"sku":"A","quantity":0}]}"#).unwrap_err();
        assert_eq!((problem.status, &problem.members["field"]), (422, &"items[0].quantity".into()));
    }
}
