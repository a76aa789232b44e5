//! What this process offers the storefront: memory, the way to the cores, signatures, the clock and random bytes.

use std::future::Future;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use axum::body::Body;
use bytes::Bytes;
use edge_app::{NoPlace, Page, Platform, UpstreamError};
use futures_util::Stream;
use http::{Request, Response};
use moka::Expiry;
use moka::sync::Cache;
use shared::api::catalog::StockLevel;
use shared::{Sku, UserId};
use shared_clock::{Clock, Entropy};
use shared_link::LinkError;
use shared_signature::Signatures;
use tokio::sync::Semaphore;

use crate::stock::Stock;
use crate::streams::Streams;
use crate::upstream::Upstream;

/// Deferred jobs at once; more are dropped, as the app allows.
const MAX_DEFERRED: usize = 256;

/// The storefront's host. Clones share it.
#[derive(Clone)]
pub struct Host(Arc<Inner>);

struct Inner {
    name: String,
    pages: Cache<String, Arc<Page>>,
    upstream: Upstream,
    stock: Stock,
    signatures: Signatures,
    clock: Clock,
    entropy: Entropy,
    deferred: Arc<Semaphore>,
    streams: Streams,
}

/// Drops a page once nobody may be shown it.
struct UntilStale;

impl Expiry<String, Arc<Page>> for UntilStale {
    fn expire_after_create(&self, _: &String, page: &Arc<Page>, _: Instant) -> Option<Duration> {
        Some(Duration::from_millis(page.stale_until_ms.saturating_sub(page.stored_at_ms)))
    }

    fn expire_after_update(
        &self,
        key: &String,
        page: &Arc<Page>,
        at: Instant,
        _: Option<Duration>,
    ) -> Option<Duration> {
        self.expire_after_create(key, page, at)
    }
}

impl Host {
    /// A host called `name` that keeps up to `memory_bytes` of pages.
    #[must_use]
    pub fn new(
        name: String,
        memory_bytes: u64,
        upstream: Upstream,
        stock: Stock,
        streams: Streams,
        clock: Clock,
        entropy: Entropy,
    ) -> Self {
        let weigh =
            |key: &String, page: &Arc<Page>| page.weight().saturating_add(u32::try_from(key.len()).unwrap_or(u32::MAX));
        let pages = Cache::builder().max_capacity(memory_bytes).weigher(weigh).expire_after(UntilStale).build();
        let deferred = Arc::new(Semaphore::new(MAX_DEFERRED));
        let signatures = Signatures::default();
        Self(Arc::new(Inner { name, pages, upstream, stock, signatures, clock, entropy, deferred, streams }))
    }
}

/// What a log may hold of a path: its first two parts. What follows may be a name or a token.
fn place(path: &str) -> &str {
    path.match_indices('/').nth(2).map_or(path, |(end, _)| &path[..end])
}

impl Platform for Host {
    fn cache_name(&self) -> &str {
        &self.0.name
    }

    fn mem_get(&self, key: &str) -> Option<Arc<Page>> {
        self.0.pages.get(key)
    }

    fn mem_put(&self, key: String, page: Arc<Page>) {
        self.0.pages.insert(key, page);
    }

    /// Memory is the only tier here; a second copy of it would only cost.
    async fn kv_get(&self, _: &str) -> Option<Bytes> {
        None
    }

    async fn kv_put(&self, _: String, _: Bytes, _: u32) {}

    async fn upstream(&self, request: Request<Bytes>, client: IpAddr) -> Result<Response<Bytes>, UpstreamError> {
        let asked = place(request.uri().path()).to_owned();
        self.0.upstream.send(request, client).await.map_err(|error| {
            tracing::warn!(path = asked, %error, "a core did not answer");
            match error {
                LinkError::Overloaded { .. } | LinkError::Unreachable { .. } | LinkError::Unauthenticated { .. } => {
                    UpstreamError::Unavailable
                }
                LinkError::Lost { .. } | LinkError::Deadline => UpstreamError::Timeout,
                LinkError::BadAnswer { .. } | LinkError::TooLarge => UpstreamError::Malformed,
            }
        })
    }

    fn stock(&self, skus: &[Sku]) -> Option<Vec<StockLevel>> {
        self.0.stock.levels(skus)
    }

    async fn verify_ed25519(&self, key: &[u8; 32], message: &[u8], signature: &[u8; 64]) -> bool {
        self.0.signatures.verify(key, message, signature)
    }

    fn defer(&self, job: impl Future<Output = ()> + Send + 'static) {
        match Arc::clone(&self.0.deferred).try_acquire_owned() {
            Ok(permit) => drop(tokio::spawn(async move {
                job.await;
                drop(permit);
            })),
            Err(_) => metrics::counter!("pop_deferred_dropped_total").increment(1),
        }
    }

    fn stream(&self, reader: UserId, events: impl Stream<Item = Bytes> + Send + 'static) -> Result<Body, NoPlace> {
        self.0.streams.open(reader, events)
    }

    fn now_ms(&self) -> u64 {
        self.0.clock.unix_ms()
    }

    fn fill_random(&self, bytes: &mut [u8]) {
        for chunk in bytes.chunks_mut(32) {
            chunk.copy_from_slice(&self.0.entropy.bytes::<32>()[..chunk.len()]);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_log_holds_what_was_asked_for_and_no_name_or_token_in_it() {
        for (path, held) in [
            ("/v1/mail-preferences/a-token-that-never-ends", "/v1/mail-preferences"),
            ("/v1/orders/01a6d4a7-0000-7001-8000-000000000001/timeline", "/v1/orders"),
            ("/v1/orders", "/v1/orders"),
            ("/", "/"),
            ("", ""),
        ] {
            assert_eq!(place(path), held);
        }
    }
}
