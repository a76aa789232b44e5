//! Problem details (RFC 9457): one list of every problem that Meridian answers with.

use std::borrow::Cow;

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

/// Media type of a problem (RFC 9457 section 3).
pub const PROBLEM_JSON: &str = "application/problem+json";

macro_rules! problems {
    ($($(#[doc = $about:literal])* $name:ident = $slug:literal, $status:literal, $title:literal;)*) => {
        /// A kind of problem: its stable `type`, its `title` and its status.
        #[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
        pub enum ProblemKind {
            $($(#[doc = $about])* $name,)*
        }

        impl ProblemKind {
            /// Every kind, for documentation and tests.
            pub const ALL: &'static [Self] = &[$(Self::$name,)*];

            /// The `type` URI reference.
            #[must_use]
            pub const fn uri(self) -> &'static str {
                match self { $(Self::$name => concat!("/problems/", $slug),)* }
            }

            /// The title, the same for all of its kind.
            #[must_use]
            pub const fn title(self) -> &'static str {
                match self { $(Self::$name => $title,)* }
            }

            /// What it means and which members it has, in a sentence or two.
            #[must_use]
            pub const fn about(self) -> &'static str {
                match self { $(Self::$name => concat!($($about),*).trim_ascii(),)* }
            }

            /// The HTTP status.
            #[must_use]
            pub const fn status(self) -> u16 {
                match self { $(Self::$name => $status,)* }
            }
        }
    };
}

problems! {
    /// The request could not be read at all: syntax, encoding, a header out of shape.
    Malformed = "malformed", 400, "The request could not be read";
    /// A route that needs `Idempotency-Key` was called without one, or with one out of shape.
    IdempotencyKeyRequired = "idempotency-key-required", 400, "An Idempotency-Key is required";
    /// No token, or one that does not verify.
    NotSignedIn = "not-signed-in", 401, "Sign in first";
    /// E-mail and password do not belong together.
    WrongCredentials = "wrong-credentials", 401, "E-mail or password is wrong";
    /// The caller may not do this.
    Forbidden = "forbidden", 403, "Not allowed";
    /// Absent, or not the caller's.
    NotFound = "not-found", 404, "Not found";
    /// The method does not exist on this resource.
    MethodNotAllowed = "method-not-allowed", 405, "Method not allowed";
    /// Fewer units are left than were asked for, on every shard of every region; `items` names SKU, wanted and available.
    SoldOut = "sold-out", 409, "Not enough stock";
    /// Units are on their way between shards, or a shard that may have some did not answer; the same request, under the
    /// same key, may succeed after `Retry-After`.
    StockInTransit = "stock-in-transit", 409, "Stock is on its way";
    /// The cart is not at the version the request named.
    CartChanged = "cart-changed", 409, "The cart changed";
    /// The total is not the one the shopper saw; `quote` carries the new one.
    QuoteChanged = "quote-changed", 409, "The total changed";
    /// The e-mail already belongs to an account.
    EmailTaken = "email-taken", 409, "This e-mail has an account";
    /// The order is not in a state that allows this.
    OrderState = "order-state", 409, "The order's state does not allow this";
    /// The body is longer than the route takes.
    BodyTooLarge = "body-too-large", 413, "The body is too large";
    /// The body is not `application/json`.
    UnsupportedMediaType = "unsupported-media-type", 415, "Send application/json";
    /// This process does not own the user's slot; the gateway retries with the newer map.
    WrongShard = "wrong-shard", 421, "Another shard owns this user";
    /// Readable, but a field breaks a rule; `field` names it.
    Invalid = "invalid", 422, "A field is not acceptable";
    /// A SKU in the request is not for sale.
    UnknownSku = "unknown-sku", 422, "No such SKU";
    /// The same key came with a different request.
    IdempotencyKeyReused = "idempotency-key-reused", 422, "This Idempotency-Key belongs to another request";
    /// Too many requests; `Retry-After` says when.
    SlowDown = "slow-down", 429, "Too many requests";
    /// A header is longer than is taken.
    HeadersTooLarge = "headers-too-large", 431, "The headers are too large";
    /// A fault of ours; it is logged under the request's trace.
    Internal = "internal", 500, "Something went wrong here";
    /// A core answered out of shape.
    BadGateway = "bad-gateway", 502, "A server behind this one failed";
    /// A point of presence does not accept the Worker's signature: its key, its clock or its bytes. Says nothing about the
    /// shopper's session, which nobody has looked at.
    UplinkRefused = "uplink-refused", 502, "The point of presence refused the Worker's signature";
    /// Not now; `Retry-After` says when.
    Unavailable = "unavailable", 503, "Try again shortly";
    /// The deadline passed; with a key the same request can be repeated safely.
    Timeout = "timeout", 504, "No answer in time";
}

impl ProblemKind {
    /// Whether waiting helps: the answer names a time after which the same request may succeed.
    #[must_use]
    pub const fn passes(self) -> bool {
        matches!(self, Self::StockInTransit) || matches!(self.status(), 429 | 503)
    }
}

/// A problem document.
///
/// ```
/// use shared::{Problem, ProblemKind};
/// let problem = Problem::new(ProblemKind::SoldOut).detail("MUG: 2 wanted, 1 free").with("sku", "MUG");
/// assert_eq!(problem.status, 409);
/// ```
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema), schema(description = "A problem document (RFC 9457)."))]
pub struct Problem {
    /// URI reference that names the kind.
    #[serde(rename = "type")]
    pub kind: Cow<'static, str>,
    /// The same for all of its kind.
    pub title: Cow<'static, str>,
    /// The HTTP status.
    pub status: u16,
    /// What happened this time, for a person.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub detail: Option<String>,
    /// Members that a client can act on.
    #[serde(flatten)] // boxed: problems travel in every `Result`
    #[cfg_attr(feature = "openapi", schema(value_type = Object))]
    pub members: Box<Map<String, Value>>,
    /// Seconds for a `Retry-After` header.
    #[serde(skip)]
    pub retry_after_seconds: Option<u32>,
}

/// What RFC 9457 section 3.1 calls its members.
const OWN_MEMBERS: [&str; 5] = ["type", "title", "status", "detail", "instance"];

impl Problem {
    /// A problem of that kind. What passes by itself (429, 503, units in transit) starts with a `Retry-After` of one second.
    #[must_use]
    pub fn new(kind: ProblemKind) -> Self {
        Self {
            kind: Cow::Borrowed(kind.uri()),
            title: Cow::Borrowed(kind.title()),
            status: kind.status(),
            detail: None,
            members: Box::default(),
            retry_after_seconds: kind.passes().then_some(1),
        }
    }

    /// Says what happened this time.
    #[must_use]
    pub fn detail(mut self, detail: impl ToString) -> Self {
        self.detail = Some(detail.to_string());
        self
    }

    /// Adds a member that a client can act on, under a name that is not one of the document's own (RFC 9457 section 3.1).
    #[must_use]
    pub fn with(mut self, name: &str, value: impl Into<Value>) -> Self {
        debug_assert!(!OWN_MEMBERS.contains(&name), "{name} is a member of every problem: no parser takes it twice");
        self.members.insert(name.to_owned(), value.into());
        self
    }

    /// Names the offending field, as a JSON path such as `items[0].quantity`.
    #[must_use]
    pub fn field(self, path: &str) -> Self {
        self.with("field", path)
    }

    /// Sets `Retry-After`.
    #[must_use]
    pub fn retry_after(mut self, seconds: u32) -> Self {
        self.retry_after_seconds = Some(seconds);
        self
    }

    /// A field breaks a rule: 422 with its path.
    #[must_use]
    pub fn invalid(field: &str, detail: impl ToString) -> Self {
        Self::new(ProblemKind::Invalid).detail(detail).field(field)
    }

    /// Absent, or not the caller's.
    #[must_use]
    pub fn not_found() -> Self {
        Self::new(ProblemKind::NotFound)
    }

    /// Whether this is a problem of that kind.
    #[must_use]
    pub fn is(&self, kind: ProblemKind) -> bool {
        self.kind == kind.uri()
    }

    /// The document as bytes.
    #[must_use]
    pub fn to_json(&self) -> Vec<u8> {
        // A map of strings and values cannot fail to serialise; an empty body would still carry the status.
        serde_json::to_vec(self).unwrap_or_default()
    }
}

impl From<ProblemKind> for Problem {
    fn from(kind: ProblemKind) -> Self {
        Self::new(kind)
    }
}

impl std::fmt::Display for Problem {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} {}", self.status, self.title)?;
        self.detail.as_ref().map_or(Ok(()), |detail| write!(f, ": {detail}"))
    }
}

impl std::error::Error for Problem {}

#[cfg(feature = "axum")]
impl axum::response::IntoResponse for Problem {
    fn into_response(self) -> axum::response::Response {
        use http::header::{CACHE_CONTROL, CONTENT_TYPE, HeaderValue, RETRY_AFTER};

        let mut response = axum::response::Response::new(axum::body::Body::from(self.to_json()));
        *response.status_mut() =
            http::StatusCode::from_u16(self.status).unwrap_or(http::StatusCode::INTERNAL_SERVER_ERROR);
        let headers = response.headers_mut();
        headers.insert(CONTENT_TYPE, HeaderValue::from_static(PROBLEM_JSON));
        headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
        if let Some(seconds) = self.retry_after_seconds {
            headers.insert(RETRY_AFTER, HeaderValue::from(seconds));
        }
        if self.status == 401 {
            headers.insert(http::header::WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
        }
        response
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    #[test]
    fn every_kind_has_a_type_of_its_own() {
        let types: HashSet<_> = ProblemKind::ALL.iter().map(|kind| kind.uri()).collect();
        assert_eq!(types.len(), ProblemKind::ALL.len());
    }

    #[test]
    fn whatever_passes_says_when_to_come_back_and_nothing_else_does() {
        for kind in ProblemKind::ALL.iter().copied() {
            let passing =
                matches!(kind, ProblemKind::StockInTransit | ProblemKind::SlowDown | ProblemKind::Unavailable);
            assert_eq!(Problem::new(kind).retry_after_seconds.is_some(), passing, "{kind:?}");
        }
        assert_eq!(Problem::new(ProblemKind::StockInTransit).status, 409);
    }

    #[test]
    fn a_problem_survives_the_wire_with_its_members() {
        let problem = Problem::new(ProblemKind::SoldOut).detail("none left").with("sku", "MUG");
        let json: Value = serde_json::from_slice(&problem.to_json()).unwrap();
        assert_eq!(json["type"], "/problems/sold-out");
        assert_eq!(json["sku"], "MUG");
        let back: Problem = serde_json::from_value(json).unwrap();
        assert!(back.is(ProblemKind::SoldOut));
        assert_eq!(back, problem);
    }
}
