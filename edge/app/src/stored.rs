//! Pages at rest: how long they live, how they leave, and how the slower tier keeps them.

use std::sync::Arc;

use bytes::{BufMut, Bytes, BytesMut};
use http::header::{AGE, CACHE_CONTROL, CONTENT_TYPE, ETAG};
use http::{HeaderName, HeaderValue};
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use shared::api::catalog::SearchQuery;

use crate::Hit;
use crate::cache_status::{self, CACHE_STATUS, Source};
use crate::platform::Page;
use crate::route::{DocumentRoute, PAGE_SIZE, PageRoute, PublicRoute};
use crate::secure;

/// Names the things that a purge drops.
pub(crate) const CACHE_TAG: HeaderName = HeaderName::from_static("cache-tag");
/// How long a stale page is served while a newer one is fetched, in milliseconds.
const REVALIDATE_MS: u64 = 5 * 60 * 1000;
/// How long a page is kept for the case that no core can be reached, in milliseconds.
const KEEP_MS: u64 = 24 * 60 * 60 * 1000;
/// How long something that is not there stays so, in milliseconds.
const ABSENT_MS: u64 = 5 * 1000;
/// How long a page made of old data is served, in milliseconds.
const DATED_MS: u64 = 5 * 1000;

/// How long an answer lives.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Life {
    /// Milliseconds that it is served as it is.
    pub fresh_ms: u64,
    /// Milliseconds after that in which it may still be served.
    pub stale_ms: u64,
    /// Whether the slower tier keeps it.
    pub kv: bool,
}

impl Life {
    /// Not kept at all.
    pub(crate) const NONE: Self = Self { fresh_ms: 0, stale_ms: 0, kv: false };

    /// The life of a route's answer. The slower tier keeps only what the catalog itself gives names to: anybody could fill
    /// it with searches, prices and cursors of his own making.
    pub(crate) fn of(route: &PublicRoute) -> Self {
        let usual = Self { fresh_ms: 30_000, stale_ms: KEEP_MS, kv: true };
        match route {
            PublicRoute::Document(DocumentRoute::Stock(_)) => Self { fresh_ms: 500, stale_ms: 10_000, kv: false },
            PublicRoute::Document(DocumentRoute::Keys) => Self { fresh_ms: 300_000, ..usual },
            PublicRoute::Document(DocumentRoute::Search(query)) | PublicRoute::Page(PageRoute::Search(query)) => {
                Self { kv: query.category.is_none() && is_plain(query), ..usual }
            }
            // A category that does not exist is never made, let alone kept.
            PublicRoute::Page(PageRoute::Category(query)) => Self { kv: is_plain(query), ..usual },
            PublicRoute::Document(DocumentRoute::Products { category, limit, cursor }) => {
                Self { kv: category.is_none() && limit.is_none() && cursor.is_none(), ..usual }
            }
            PublicRoute::Document(DocumentRoute::Categories | DocumentRoute::Product(_) | DocumentRoute::Api)
            | PublicRoute::Page(PageRoute::Home | PageRoute::Product(_) | PageRoute::About) => usual,
        }
    }

    /// The `Cache-Control` that goes with it.
    pub(crate) fn cache_control(self) -> HeaderValue {
        let (fresh, swr, sie) = (self.fresh_ms / 1000, REVALIDATE_MS / 1000, self.stale_ms / 1000);
        let value = if fresh == 0 {
            "no-store".to_owned()
        } else {
            format!("public, max-age={fresh}, stale-while-revalidate={swr}, stale-if-error={sie}")
        };
        HeaderValue::try_from(value).unwrap_or(HeaderValue::from_static("no-store"))
    }

    /// This life for something that is not there: short, and gone at once afterwards.
    pub(crate) fn absent(self) -> Self {
        Self { fresh_ms: self.fresh_ms.min(ABSENT_MS), stale_ms: 0, kv: false }
    }

    /// This life for a page that was made of old data.
    pub(crate) fn dated(self) -> Self {
        Self { fresh_ms: self.fresh_ms.min(DATED_MS), kv: false, ..self }
    }
}

/// Whether a list is one of the few that our pages link to: in some order, some page of it, nothing typed.
fn is_plain(query: &SearchQuery) -> bool {
    query.q.is_empty() && query.price_min.is_none() && query.price_max.is_none() && query.limit == PAGE_SIZE
}

/// A page with a life; `Cache-Control`, the entity tag and the security headers are added where they are missing.
pub(crate) fn page(
    status: u16,
    mut headers: Vec<(HeaderName, HeaderValue)>,
    body: Bytes,
    tags: Vec<String>,
    life: Life,
    now_ms: u64,
) -> Page {
    let missing = |name: &HeaderName, headers: &[(HeaderName, HeaderValue)]| headers.iter().all(|(own, _)| own != name);
    if missing(&CACHE_CONTROL, &headers) {
        headers.push((CACHE_CONTROL, life.cache_control()));
    }
    if missing(&ETAG, &headers)
        && let Ok(tag) = HeaderValue::try_from(entity_tag(&body))
    {
        headers.push((ETAG, tag));
    }
    if !tags.is_empty()
        && missing(&CACHE_TAG, &headers)
        && let Ok(value) = HeaderValue::try_from(tags.join(","))
    {
        headers.push((CACHE_TAG, value));
    }
    headers.extend(secure::HEADERS);
    let fresh_until_ms = now_ms + life.fresh_ms;
    Page {
        status,
        headers,
        body,
        stored_at_ms: now_ms,
        fresh_until_ms,
        stale_until_ms: fresh_until_ms + life.stale_ms,
        tags,
    }
}

/// A strong entity tag (RFC 9110 section 8.8.3) of these bytes.
pub(crate) fn entity_tag(body: &[u8]) -> String {
    let digest = Sha256::digest(body);
    let hex: String = digest[..12].iter().map(|byte| format!("{byte:02x}")).collect();
    format!("\"{hex}\"")
}

/// A page on its way out, and how it was found.
#[derive(Clone, Debug)]
pub(crate) struct Served {
    /// The page.
    pub page: Arc<Page>,
    /// Where it came from.
    pub source: Source,
}

impl Served {
    /// Whether the page may be served as it is.
    pub(crate) fn is_fresh(page: &Page, now_ms: u64) -> bool {
        now_ms < page.fresh_until_ms
    }

    /// Whether it may be served while a newer one is fetched.
    pub(crate) fn may_revalidate(page: &Page, now_ms: u64) -> bool {
        now_ms < page.stale_until_ms && now_ms < page.fresh_until_ms + REVALIDATE_MS
    }

    /// The whole answer: 304 if the client has these very bytes.
    pub(crate) fn hit(self, cache: &str, now_ms: u64, if_none_match: Option<&str>) -> Hit {
        let Self { page, source } = self;
        let same = page.status == 200 && if_none_match.is_some_and(|sent| names(sent, page.header(&ETAG)));
        let mut headers = Vec::with_capacity(page.headers.len() + 2);
        headers.extend(page.headers.iter().filter(|(name, _)| !same || name != CONTENT_TYPE).cloned());
        headers.push((AGE, HeaderValue::from(now_ms.saturating_sub(page.stored_at_ms) / 1000)));
        headers.push((CACHE_STATUS, cache_status::value(cache, source, ttl_seconds(&page, now_ms))));
        Hit { status: if same { 304 } else { page.status }, page, headers }
    }
}

/// Whole seconds until the page is stale; negative once it is.
fn ttl_seconds(page: &Page, now_ms: u64) -> i64 {
    let signed = |ms: u64| i64::try_from(ms).unwrap_or(i64::MAX);
    signed(page.fresh_until_ms).saturating_sub(signed(now_ms)).div_euclid(1000)
}

/// Whether `If-None-Match` names the tag; weak comparison (RFC 9110 section 13.1.2).
fn names(sent: &str, tag: Option<&str>) -> bool {
    let strong = |text: &str| text.trim().trim_start_matches("W/").to_owned();
    tag.is_some_and(|tag| sent.split(',').any(|one| one.trim() == "*" || strong(one) == strong(tag)))
}

/// What stands before the body in the slower tier.
#[derive(Serialize, Deserialize)]
struct Head {
    key: String,
    status: u16,
    headers: Vec<(String, String)>,
    stored_at_ms: u64,
    fresh_until_ms: u64,
    stale_until_ms: u64,
    tags: Vec<String>,
}

/// The name of a page in the slower tier: short whatever the key, and another for each build of the pages.
pub(crate) fn kv_key(key: &str) -> String {
    let digest = Sha256::digest(key.as_bytes());
    let hex: String = digest.iter().map(|byte| format!("{byte:02x}")).collect();
    format!("page:{}:{hex}", env!("EDGE_APP_BUILD"))
}

/// A page as one value: the length of its head (four bytes, big-endian), the head as JSON, the body.
pub(crate) fn encode(key: &str, page: &Page) -> Option<Bytes> {
    let text = |(name, value): &(HeaderName, HeaderValue)| Some((name.to_string(), value.to_str().ok()?.to_owned()));
    let head = serde_json::to_vec(&Head {
        key: key.to_owned(),
        status: page.status,
        headers: page.headers.iter().map(text).collect::<Option<_>>()?,
        stored_at_ms: page.stored_at_ms,
        fresh_until_ms: page.fresh_until_ms,
        stale_until_ms: page.stale_until_ms,
        tags: page.tags.clone(),
    })
    .ok()?;
    let mut out = BytesMut::with_capacity(4 + head.len() + page.body.len());
    out.put_u32(u32::try_from(head.len()).ok()?);
    out.put_slice(&head);
    out.put_slice(&page.body);
    Some(out.freeze())
}

/// The page in that value, if it is the page of that key.
pub(crate) fn decode(key: &str, value: &Bytes) -> Option<Page> {
    let length = u32::from_be_bytes(value.get(..4)?.try_into().ok()?);
    let end = 4_usize.checked_add(usize::try_from(length).ok()?)?;
    let head: Head = serde_json::from_slice(value.get(4..end)?).ok()?;
    let header = |(name, value): (String, String)| Some((name.parse().ok()?, value.parse().ok()?));
    (head.key == key).then_some(())?;
    Some(Page {
        status: head.status,
        headers: head.headers.into_iter().map(header).collect::<Option<_>>()?,
        body: value.slice(end..),
        stored_at_ms: head.stored_at_ms,
        fresh_until_ms: head.fresh_until_ms,
        stale_until_ms: head.stale_until_ms,
        tags: head.tags,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn red() -> Page {
        let life = Life { fresh_ms: 30_000, stale_ms: 60_000, kv: true };
        let headers = vec![(CONTENT_TYPE, HeaderValue::from_static("text/html; charset=utf-8"))];
        page(200, headers, Bytes::from_static(b"<p>red</p>"), vec!["product:red".to_owned()], life, 1_000)
    }

    #[test]
    fn a_page_survives_the_slower_tier_and_no_other_key_gets_it() {
        let value = encode("/p/red", &red()).unwrap();
        assert_eq!(decode("/p/red", &value), Some(red()));
        assert_eq!(decode("/p/blue", &value), None);
        for cut in [0, 3, 4, 20] {
            assert_eq!(decode("/p/red", &value.slice(..cut)), None, "{cut} bytes");
        }
    }

    #[test]
    fn whoever_has_the_bytes_gets_304_without_a_type() {
        let served = Served { page: Arc::new(red()), source: Source::Memory };
        let tag = served.page.header(&ETAG).unwrap().to_owned();
        let hit = served.clone().hit("pop-1", 11_500, Some(&format!("\"other\", W/{tag}")));
        assert_eq!(hit.status, 304);
        assert!(hit.headers.iter().all(|(name, _)| name != CONTENT_TYPE));
        assert!(hit.headers.contains(&(AGE, HeaderValue::from_static("10"))));
        let status = HeaderValue::from_static("pop-1; hit; ttl=19; detail=memory");
        assert!(hit.headers.contains(&(CACHE_STATUS, status)), "{:?}", hit.headers);
        assert_eq!(served.hit("pop-1", 11_500, Some("\"other\"")).status, 200);
    }

    #[test]
    fn nobody_fills_the_slower_tier_with_inventions() {
        let kept = |address: &str| {
            let (path, query) = address.split_once('?').unwrap_or((address, ""));
            Life::of(&PublicRoute::parse(path, query).unwrap()).kv
        };
        for address in [
            "/",
            "/about",
            "/p/red",
            "/c/mugs",
            "/c/mugs?order=price-ascending&page=2&q=ignored",
            "/search",
            "/search?page=3",
            "/v1/categories",
            "/v1/keys",
            "/v1/openapi.json",
            "/v1/products",
            "/v1/products/red",
            "/v1/search",
        ] {
            assert!(kept(address), "{address}");
        }
        for address in [
            "/search?q=x",
            "/search?price_min=1",
            "/search?price_max=99999",
            "/search?category=invented",
            "/c/mugs?price_min=1",
            "/c/mugs?price_max=1",
            "/v1/search?q=x",
            "/v1/search?price_max=1",
            "/v1/search?category=invented",
            "/v1/search?limit=7",
            "/v1/products?category=invented",
            "/v1/products?cursor=invented",
            "/v1/products?limit=7",
            "/v1/stock?sku=X",
        ] {
            assert!(!kept(address), "{address}");
        }
    }

    #[test]
    fn stale_has_two_ends() {
        let page = red();
        assert!(Served::is_fresh(&page, 30_999) && !Served::is_fresh(&page, 31_000));
        assert!(Served::may_revalidate(&page, 90_999) && !Served::may_revalidate(&page, 91_000));
    }
}
