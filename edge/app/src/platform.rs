//! What a host must offer: caches, a way to the cores, a signature check, time and randomness.
//!
//! Two hosts implement it for real, `edge-worker` (Cloudflare) and `edge-pop` (native), and the tests a third. Nothing in
//! it belongs to one request, so a platform and its router are built once and serve for the life of the host.
//! Deliberately absent: sessions, limits and everything else that decides; that is the app's or the host's own.

use std::future::Future;
use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;
use std::time::Duration;

use axum::body::Body;
use bytes::Bytes;
use futures_util::Stream;
use http::{HeaderName, HeaderValue, Request, Response};
use shared::api::catalog::StockLevel;
use shared::{Sku, UserId};

/// Finished bytes of a public answer, with its times. Never anything that was made for one user.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Page {
    /// HTTP status.
    pub status: u16,
    /// Headers as sent, without `age` and `cache-status`, which are made for each answer.
    pub headers: Vec<(HeaderName, HeaderValue)>,
    /// The body; not compressed.
    pub body: Bytes,
    /// When it was made, Unix milliseconds.
    pub stored_at_ms: u64,
    /// Until when it is served as it is, Unix milliseconds.
    pub fresh_until_ms: u64,
    /// Until when it is served while a newer one is fetched, or while the cores cannot be reached; Unix milliseconds.
    pub stale_until_ms: u64,
    /// Cache tags, such as `product:red-mug`: a purge of one of them drops the page.
    pub tags: Vec<String>,
}

impl Page {
    /// Bytes it takes up, for a cache that is bounded by weight.
    #[must_use]
    pub fn weight(&self) -> u32 {
        let headers: usize = self.headers.iter().map(|(name, value)| name.as_str().len() + value.len() + 64).sum();
        let tags: usize = self.tags.iter().map(|tag| tag.len() + 24).sum();
        u32::try_from(self.body.len() + headers + tags + 128).unwrap_or(u32::MAX)
    }

    /// The value of a header that is text.
    #[must_use]
    pub fn header(&self, name: &HeaderName) -> Option<&str> {
        self.headers.iter().find(|(own, _)| own == name).and_then(|(_, value)| value.to_str().ok())
    }
}

/// The shopper's address, as the host saw it. Hosts put it into the request's extensions.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct ClientAddress(pub IpAddr);

impl Default for ClientAddress {
    /// The unspecified address: a host that cannot tell.
    fn default() -> Self {
        Self(IpAddr::V4(Ipv4Addr::UNSPECIFIED))
    }
}

/// Why no core answered. An answer of a core with any status is not an error.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum UpstreamError {
    /// No core could be reached, or all of them are busy: none has acted.
    #[error("no core can be reached")]
    Unavailable,
    /// No answer before the deadline, or the connection was lost before one came; a write may have happened.
    #[error("no answer in time")]
    Timeout,
    /// What came back was not an answer, or longer than is taken.
    #[error("the answer could not be read")]
    Malformed,
}

/// Longest that an answer goes on ([`Platform::stream`]). Its reader then asks anew, and may be somewhere else by then.
pub const LONGEST_STREAM: Duration = Duration::from_secs(5 * 60);

/// Most such answers of one reader at a time, at each host: one for each page of his that he sees, and some.
pub const MOST_STREAMS_OF_ONE: usize = 6;

/// Why an answer does not go on.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum NoPlace {
    /// The host has as many as it takes.
    Full,
    /// This reader has [`MOST_STREAMS_OF_ONE`].
    ReaderHasMost,
}

/// A host.
pub trait Platform: Clone + Send + Sync + 'static {
    /// Whether one request may await another's upstream call. Not in Workers, where I/O belongs to its request.
    const SHARES_FLIGHTS: bool = true;

    /// What this cache calls itself in `Cache-Status` (RFC 9211): a token such as `pop-1`.
    fn cache_name(&self) -> &str;

    /// A page from this process's memory, whatever its age.
    fn mem_get(&self, key: &str) -> Option<Arc<Page>>;

    /// Keeps a page in memory; the host may drop it whenever it likes, and should after `stale_until_ms`.
    fn mem_put(&self, key: String, page: Arc<Page>);

    /// A value from the slower tier that outlives the process (KV, disk). Failures are misses.
    fn kv_get(&self, key: &str) -> impl Future<Output = Option<Bytes>> + Send;

    /// Keeps a value there for `ttl_seconds` (at least 60). Failures are nobody's problem.
    fn kv_put(&self, key: String, value: Bytes, ttl_seconds: u32) -> impl Future<Output = ()> + Send;

    /// Sends a request to the right core and reads the whole answer.
    ///
    /// The URI is a path below `/v1` with its query; headers are the app's own and no user's cookie. The host adds what
    /// its link needs (signature, trace), keeps a deadline, and bounds the answer's length.
    fn upstream(
        &self,
        request: Request<Bytes>,
        client: IpAddr,
    ) -> impl Future<Output = Result<Response<Bytes>, UpstreamError>> + Send;

    /// Free units of these SKUs, in this order, if this host keeps counts of its own and they are recent. Without them the
    /// cores are asked.
    fn stock(&self, skus: &[Sku]) -> Option<Vec<StockLevel>> {
        let _ = skus;
        None
    }

    /// Whether `signature` is `key`'s Ed25519 signature of `message` (RFC 8032).
    fn verify_ed25519(&self, key: &[u8; 32], message: &[u8], signature: &[u8; 64])
    -> impl Future<Output = bool> + Send;

    /// Runs a job after the answer, if there is room; it may be dropped.
    fn defer(&self, job: impl Future<Output = ()> + Send + 'static);

    /// A body that goes on while its reader is there: the events, each sent as it comes. It ends when the host stops, and at
    /// the latest soon after [`LONGEST_STREAM`], which the app keeps to.
    ///
    /// # Errors
    /// [`NoPlace`] when there are as many of them as there may be, or as many of this reader's.
    fn stream(&self, reader: UserId, events: impl Stream<Item = Bytes> + Send + 'static) -> Result<Body, NoPlace>;

    /// The time, Unix milliseconds.
    fn now_ms(&self) -> u64;

    /// Fills `bytes` from a cryptographically secure source.
    fn fill_random(&self, bytes: &mut [u8]);
}
