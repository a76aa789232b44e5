//! How an answer that is the same for everyone is sent: what may keep it, for how long, and under which tags.

use axum::response::{IntoResponse, Response};
use http::header::{CACHE_CONTROL, CONTENT_TYPE, ETAG, IF_NONE_MATCH};
use http::{HeaderMap, HeaderName, HeaderValue, StatusCode};
use serde::Serialize;
use shared::Problem;

/// Names an answer's parts, so that an edge can purge by them.
const CACHE_TAG: HeaderName = HeaderName::from_static("cache-tag");

/// Seconds that an edge may answer without asking again, may go on while it asks, and may go on while the core is away.
const CACHING: HeaderValue =
    HeaderValue::from_static("public, max-age=30, stale-while-revalidate=60, stale-if-error=86400");

/// A JSON answer that anyone may keep, or 304 if the client has it. `etag` is quoted; `cache_tags` has commas between.
///
/// # Errors
/// 500 when a tag cannot stand in a header or the body cannot be written: a mistake of ours.
pub fn cacheable<T: Serialize>(
    request: &HeaderMap,
    etag: &str,
    cache_tags: &str,
    body: impl FnOnce() -> T,
) -> Result<Response, Problem> {
    let internal = |_| Problem::new(shared::ProblemKind::Internal);
    let mut response = if has(request, etag) {
        StatusCode::NOT_MODIFIED.into_response()
    } else {
        let json = serde_json::to_vec(&body()).map_err(|_| Problem::new(shared::ProblemKind::Internal))?;
        ([(CONTENT_TYPE, HeaderValue::from_static("application/json"))], json).into_response()
    };
    let headers = response.headers_mut();
    headers.insert(CACHE_CONTROL, CACHING);
    headers.insert(ETAG, HeaderValue::from_str(etag).map_err(internal)?);
    headers.insert(CACHE_TAG, HeaderValue::from_str(cache_tags).map_err(internal)?);
    Ok(response)
}

/// Whether `If-None-Match` names the tag; weak comparison (RFC 9110 section 13.1.2).
fn has(request: &HeaderMap, etag: &str) -> bool {
    let named = |value: &HeaderValue| {
        let mut tags = value.to_str().unwrap_or("").split(',').map(str::trim);
        tags.any(|tag| tag == "*" || tag.strip_prefix("W/").unwrap_or(tag) == etag)
    };
    request.get_all(IF_NONE_MATCH).iter().any(named)
}
