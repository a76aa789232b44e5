//! The app's state and its read path: memory, then the slower tier, then a core; one fetch for many waiters.
//!
//! Only [`PublicRoute`]s pass through here, and whoever makes an answer sees nothing but the route.

use std::collections::HashMap;
use std::future::Future;
use std::net::{IpAddr, Ipv4Addr};
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use bytes::Bytes;
use futures_util::FutureExt;
use futures_util::future::{Shared, WeakShared};
use http::header::{CACHE_CONTROL, CONTENT_TYPE, ETAG, SET_COOKIE};
use http::{HeaderMap, HeaderName, HeaderValue, Response};
use serde::de::DeserializeOwned;
use shared::api::catalog::StockLevels;
use shared::{Problem, ProblemKind};

use crate::cache_status::Source;
use crate::core::{self, Call};
use crate::page;
use crate::platform::{Page, Platform};
use crate::route::{DocumentRoute, PageRoute, PublicRoute};
use crate::stored::{self, CACHE_TAG, Life, Served};

/// Milliseconds before a failed or running refresh is tried again, while an older answer stands in.
const RETRY_MS: u64 = 5_000;
/// Most refreshes remembered at once; beyond it all are forgotten, which costs a few fetches.
const MAX_MARKS: usize = 4_096;

/// When something was done, by key; Unix milliseconds.
type Marks = HashMap<String, u64>;
type Fetch = Pin<Box<dyn Future<Output = Result<Arc<Page>, Problem>> + Send>>;

/// The storefront on a host.
pub(crate) struct App<P: Platform> {
    /// The host.
    pub platform: P,
    memo: Arc<Memo>,
}

/// What requests share besides the caches.
#[derive(Default)]
struct Memo {
    /// Fetches under way, by key.
    flights: Mutex<HashMap<String, WeakShared<Fetch>>>,
    /// When a refresh was last begun or failed.
    tried: Mutex<Marks>,
    /// When a fresh document was last renewed. Apart from `tried`, whose marks a success removes: renewals are asked for by
    /// whoever sends an unknown key's name, and each of them succeeds.
    renewed: Mutex<Marks>,
}

impl<P: Platform> Clone for App<P> {
    fn clone(&self) -> Self {
        Self { platform: self.platform.clone(), memo: Arc::clone(&self.memo) }
    }
}

/// A poisoned lock only means that a thread died elsewhere: these tables are hints.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl<P: Platform> App<P> {
    /// The storefront on that host.
    pub(crate) fn new(platform: P) -> Self {
        Self { platform, memo: Arc::default() }
    }

    /// The answer to a public route; a slightly old one may be served while a newer one is fetched, unless it is of counts,
    /// which would then be as old as the last visit.
    pub(crate) async fn public(&self, route: &PublicRoute) -> Result<Served, Problem> {
        let counts = matches!(route, PublicRoute::Document(DocumentRoute::Stock(_)));
        self.through(route, !counts).await
    }

    /// A document for a page to be made of: as fresh as can be had. Also says whether it is an old one standing in.
    pub(crate) async fn document<T: DeserializeOwned>(&self, route: DocumentRoute) -> Result<(T, bool), Problem> {
        let served = self.through(&PublicRoute::Document(route), false).await?;
        if served.page.status == 404 {
            return Err(Problem::not_found());
        }
        let document = serde_json::from_slice(&served.page.body).map_err(|_| Problem::new(ProblemKind::BadGateway))?;
        Ok((document, served.source == Source::StaleIfError))
    }

    /// Fetches a document again although it is fresh, at most once in five seconds.
    pub(crate) async fn renew(&self, route: DocumentRoute) {
        let route = PublicRoute::Document(route);
        if self.mark(&self.memo.renewed, &route.key()) {
            // A failure leaves what was there.
            let _kept = self.fetch(&route).await;
        }
    }

    async fn through(&self, route: &PublicRoute, use_stale: bool) -> Result<Served, Problem> {
        if let Some(counted) = self.counted(route) {
            return Ok(counted);
        }
        let key = route.key();
        let now_ms = self.platform.now_ms();
        let held = self.held(route, &key).await;
        if let Some(held) = &held {
            if Served::is_fresh(&held.page, now_ms) {
                return Ok(held.clone());
            }
            if use_stale && Served::may_revalidate(&held.page, now_ms) {
                self.refresh_later(route, &key);
                return Ok(held.clone());
            }
        }
        let spare = held.filter(|held| now_ms < held.page.stale_until_ms).map(|held| held.page);
        let stale = spare.is_some();
        if let Some(page) = spare.as_ref().filter(|_| self.failed_just_now(&key)) {
            return Ok(Served { page: Arc::clone(page), source: Source::StaleIfError });
        }
        match self.fetch(route).await {
            Ok(page) => Ok(Served { source: Source::Core { stale, status: page.status }, page }),
            Err(problem) => {
                let spare = spare.filter(|_| core::is_passing(&problem)).ok_or(problem)?;
                self.mark(&self.memo.tried, &key);
                Ok(Served { page: spare, source: Source::StaleIfError })
            }
        }
    }

    /// The answer that the host's own counts give.
    fn counted(&self, route: &PublicRoute) -> Option<Served> {
        let PublicRoute::Document(DocumentRoute::Stock(skus)) = route else { return None };
        let items = self.platform.stock(skus)?;
        let body = Bytes::from(serde_json::to_vec(&StockLevels { items }).ok()?);
        let headers = vec![(CONTENT_TYPE, HeaderValue::from_static("application/json"))];
        let page = stored::page(200, headers, body, Vec::new(), Life::of(route), self.platform.now_ms());
        Some(Served { page: Arc::new(page), source: Source::Memory })
    }

    /// What a tier has, whatever its age.
    async fn held(&self, route: &PublicRoute, key: &str) -> Option<Served> {
        if let Some(page) = self.platform.mem_get(key) {
            return Some(Served { page, source: Source::Memory });
        }
        if !Life::of(route).kv {
            return None;
        }
        let value = self.platform.kv_get(&stored::kv_key(key)).await?;
        let page = Arc::new(stored::decode(key, &value)?);
        self.platform.mem_put(key.to_owned(), Arc::clone(&page));
        Some(Served { page, source: Source::Kv })
    }

    /// Whether memory has a page that may stand in. (What the slower tier had is in memory once it was asked for.)
    fn has_spare(&self, route: &PublicRoute) -> bool {
        let now_ms = self.platform.now_ms();
        self.platform.mem_get(&route.key()).is_some_and(|page| now_ms < page.stale_until_ms)
    }

    /// Fetches after the answer, once for any number of requests.
    fn refresh_later(&self, route: &PublicRoute, key: &str) {
        if self.mark(&self.memo.tried, key) {
            let (app, route) = (self.clone(), route.clone());
            // A failure leaves the old page, which the next request after the mark tries to renew again.
            self.platform.defer(async move { drop(app.fetch(&route).await) });
        }
    }

    /// Notes an attempt; `false` if there was one just now.
    fn mark(&self, marks: &Mutex<Marks>, key: &str) -> bool {
        let now_ms = self.platform.now_ms();
        let mut marks = lock(marks);
        if marks.get(key).is_some_and(|at| now_ms < at.saturating_add(RETRY_MS)) {
            return false;
        }
        if marks.len() >= MAX_MARKS {
            marks.clear();
        }
        marks.insert(key.to_owned(), now_ms);
        true
    }

    fn failed_just_now(&self, key: &str) -> bool {
        let now_ms = self.platform.now_ms();
        lock(&self.memo.tried).get(key).is_some_and(|at| now_ms < at.saturating_add(RETRY_MS))
    }

    /// Makes the answer and stores it, together with everybody who wants the same.
    async fn fetch(&self, route: &PublicRoute) -> Result<Arc<Page>, Problem> {
        if P::SHARES_FLIGHTS { self.flight(route).await } else { self.take_off(route).await }
    }

    /// Boxed, because a page is made of documents that come the same way.
    fn take_off(&self, route: &PublicRoute) -> Fetch {
        let (app, route) = (self.clone(), route.clone());
        async move { app.make_and_store(&route).await }.boxed()
    }

    fn flight(&self, route: &PublicRoute) -> Shared<Fetch> {
        let key = route.key();
        let mut flights = lock(&self.memo.flights);
        if let Some(running) = flights.get(&key).and_then(WeakShared::upgrade).filter(|f| f.peek().is_none()) {
            return running;
        }
        let shared = self.take_off(route).shared();
        flights.retain(|_, flight| flight.upgrade().is_some_and(|f| f.peek().is_none()));
        flights.extend(shared.downgrade().map(|weak| (key, weak)));
        shared
    }

    async fn make_and_store(&self, route: &PublicRoute) -> Result<Arc<Page>, Problem> {
        let made = match route {
            PublicRoute::Document(document) => self.fetch_document(document).await?,
            PublicRoute::Page(page) => self.render_page(page).await?,
        };
        Ok(self.store(route.key(), made))
    }

    fn store(&self, key: String, (page, life): (Page, Life)) -> Arc<Page> {
        let page = Arc::new(page);
        if life == Life::NONE {
            return page;
        }
        lock(&self.memo.tried).remove(&key);
        if life.kv
            && let Some(value) = stored::encode(&key, &page)
        {
            let (platform, name) = (self.platform.clone(), stored::kv_key(&key));
            let seconds = u32::try_from((life.fresh_ms + life.stale_ms) / 1000).unwrap_or(u32::MAX).max(60);
            self.platform.defer(async move { platform.kv_put(name, value, seconds).await });
        }
        self.platform.mem_put(key, Arc::clone(&page));
        page
    }

    async fn fetch_document(&self, route: &DocumentRoute) -> Result<(Page, Life), Problem> {
        let life = Life::of(&PublicRoute::Document(route.clone()));
        // Whoever asked first must not show in what everybody gets.
        let nobody = IpAddr::V4(Ipv4Addr::UNSPECIFIED);
        match Call::get(&route.href()).send(&self.platform, nobody).await {
            Ok(response) => self.keep(route, response, life),
            Err(problem) if problem.status == 404 => {
                let headers = vec![(CONTENT_TYPE, HeaderValue::from_static(shared::problem::PROBLEM_JSON))];
                let body = Bytes::from(problem.to_json());
                let absent = life.absent();
                Ok((stored::page(404, headers, body, Vec::new(), absent, self.platform.now_ms()), absent))
            }
            // Nobody signs in for these: it is our way to the core that was refused, and an older answer may stand in.
            Err(problem) if matches!(problem.status, 401 | 403) => Err(ProblemKind::BadGateway.into()),
            Err(problem) => Err(problem),
        }
    }

    /// A core's answer as a page; one that says it is not for everybody is a fault there and not kept.
    fn keep(&self, route: &DocumentRoute, response: Response<Bytes>, life: Life) -> Result<(Page, Life), Problem> {
        let (parts, body) = response.into_parts();
        if says(&parts.headers, "private") || parts.headers.contains_key(SET_COOKIE) {
            return Err(Problem::new(ProblemKind::BadGateway));
        }
        // Keys and stock say it to browsers; how long an edge keeps them is settled here.
        let ours = matches!(route, DocumentRoute::Keys | DocumentRoute::Stock(_));
        let life = if !ours && says(&parts.headers, "no-store") { Life::NONE } else { life };
        let kept = [CONTENT_TYPE, ETAG, CACHE_TAG];
        let headers = kept.into_iter().filter_map(|name| Some((name.clone(), parts.headers.get(&name)?.clone())));
        let tags = tags_of(parts.headers.get(&CACHE_TAG));
        Ok((stored::page(200, headers.collect(), body, tags, life, self.platform.now_ms()), life))
    }

    async fn render_page(&self, route: &PageRoute) -> Result<(Page, Life), Problem> {
        let life = Life::of(&PublicRoute::Page(route.clone()));
        let html = |name: HeaderName| vec![(name, HeaderValue::from_static("text/html; charset=utf-8"))];
        let made = match page::render(self, route).await {
            Err(problem) if problem.status == 404 => page::absent(self).await?,
            other => other?,
        };
        if made.dated && self.has_spare(&PublicRoute::Page(route.clone())) {
            // An older page as a whole is more honest than a new one of old parts.
            return Err(ProblemKind::Unavailable.into());
        }
        let life = match (made.status, made.dated) {
            (404, _) => life.absent(),
            (_, true) => life.dated(),
            _ => life,
        };
        let headers = html(CONTENT_TYPE);
        Ok((stored::page(made.status, headers, made.html, made.tags, life, self.platform.now_ms()), life))
    }
}

/// Whether `Cache-Control` holds that directive.
fn says(headers: &HeaderMap, directive: &str) -> bool {
    let lines = headers.get_all(CACHE_CONTROL).iter().filter_map(|value| value.to_str().ok());
    let mut directives = lines.flat_map(|line| line.split(',')).filter_map(|one| one.split('=').next());
    directives.any(|one| one.trim().eq_ignore_ascii_case(directive))
}

fn tags_of(value: Option<&HeaderValue>) -> Vec<String> {
    let text = value.and_then(|value| value.to_str().ok()).unwrap_or_default();
    text.split(',').map(|tag| tag.trim().to_owned()).filter(|tag| !tag.is_empty()).take(32).collect()
}
