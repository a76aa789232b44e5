//! The storefront and the API gateway: one axum router that runs unchanged at a native point of presence and in a
//! Cloudflare Worker.
//!
//! It renders pages, keeps sessions in cookies, caches the public catalog and passes `/v1` on. It holds no truth and never
//! decides about money or stock. Deliberately absent: listeners, TLS, rate limits and anything else of a host; those
//! implement [`Platform`].

pub mod platform;

pub use platform::{ClientAddress, Page, Platform, UpstreamError};

use std::sync::Arc;

use http::{HeaderName, HeaderValue};

/// An answer from memory, made without a router.
#[derive(Clone, Debug)]
pub struct Hit {
    /// HTTP status: the page's own, or 304.
    pub status: u16,
    /// What is sent unless the status is 304.
    pub page: Arc<Page>,
    /// All headers of the answer, in order.
    pub headers: Vec<(HeaderName, HeaderValue)>,
}

/// Answers a public page from memory, byte for byte as [`router`] would; `None` sends the request to the router.
///
/// `path` and `query` are as on the wire (`query` without `?`, empty if there is none). `header` is asked for few names.
pub fn fast<P: Platform>(
    _platform: &P,
    _method: &str,
    _path: &str,
    _query: &str,
    _header: impl Fn(&HeaderName) -> Option<String>,
) -> Option<Hit> {
    None
}

/// The whole storefront. Hosts put a [`ClientAddress`] into each request's extensions.
pub fn router<P: Platform>(platform: P) -> axum::Router {
    axum::Router::new().with_state(platform)
}
