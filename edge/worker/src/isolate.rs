//! What an isolate offers the app.

use std::cell::RefCell;
use std::collections::HashMap;
use std::convert::Infallible;
use std::future::Future;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use axum::body::Body;
use bytes::Bytes;
use edge_app::{LONGEST_STREAM, MOST_STREAMS_OF_ONE, NoPlace, Page, Platform, UpstreamError};
use futures_util::{Stream, StreamExt};
use http::{Request, Response, StatusCode};
use mini_moka_wasm::sync::Cache;
use shared::UserId;
use shared::uplink::{Signed, UplinkKey};
use worker::Env;
use worker::js_sys::{Array, Date, Uint8Array};
use worker::kv::KvStore;
use worker::send::SendFuture;
use worker::wasm_bindgen::{JsCast, JsValue};
use worker::wasm_bindgen_futures::{JsFuture, future_to_promise};
use worker::web_sys::{self, AbortSignal, Headers, RequestInit, RequestRedirect};

use crate::places::{Places, Refused};
use crate::{adapter, js, rules};

/// Bytes of pages kept in memory; an isolate has 128 MB for everything.
const MEMORY_BYTES: u64 = 32 << 20;
/// Longest that a page stays in memory.
const MEMORY_LIFE: Duration = Duration::from_secs(24 * 3600);
/// Longest answer of a point of presence, in bytes.
const MAX_ANSWER_BYTES: usize = 4 << 20;
/// Milliseconds that a point of presence has to answer.
const DEADLINE_MS: u32 = 15_000;
/// Answers that go on at once; each costs a request to the point of presence now and then.
const MAX_STREAMS: usize = 100;
/// Keys kept ready for WebCrypto.
const MAX_KEYS: usize = 32;

thread_local! {
    /// `CryptoKey`s by their 32 bytes: importing costs as much as verifying.
    static KEYS: RefCell<HashMap<[u8; 32], JsValue>> = RefCell::default();
}

/// The app's host in an isolate. Clones share it.
#[derive(Clone)]
pub(crate) struct Isolate(Arc<Inner>);

struct Inner {
    pages: Cache<String, Arc<Page>>,
    /// Absent when no namespace is bound: then there is one tier less.
    kv: Option<KvStore>,
    /// Origin of the point of presence's uplink listener, without a slash at its end.
    pop: String,
    key: UplinkKey,
    streams: Places,
}

impl Isolate {
    /// The host, from the Worker's variables, secrets and bindings.
    pub(crate) fn new(env: &Env) -> Option<Self> {
        let pop = env.var("POP_URL").ok()?.to_string().trim_end_matches('/').to_owned();
        let key = UplinkKey::parse(env.secret("UPLINK_KEY").ok()?.to_string().trim()).ok()?;
        let weigh =
            |key: &String, page: &Arc<Page>| page.weight().saturating_add(u32::try_from(key.len()).unwrap_or(0));
        let pages = Cache::builder().weigher(weigh).max_capacity(MEMORY_BYTES).time_to_live(MEMORY_LIFE).build();
        let usable = pop.starts_with("https://") || pop.starts_with("http://");
        usable.then(|| {
            Self(Arc::new(Inner {
                pages,
                kv: env.kv("PAGES").ok(),
                pop,
                key,
                streams: Places::new(MAX_STREAMS, MOST_STREAMS_OF_ONE),
            }))
        })
    }

    fn outward(&self, request: &Request<Bytes>, client: IpAddr) -> Result<web_sys::Request, JsValue> {
        let target = request.uri().path_and_query().map_or("/", http::uri::PathAndQuery::as_str);
        let signed = Signed {
            method: request.method().as_str(),
            path_and_query: target,
            body: request.body(),
            timestamp: self.now_ms() / 1000,
            client_address: client,
        };
        let headers = Headers::new()?;
        for (name, value) in request.headers() {
            headers.append(name.as_str(), value.to_str().unwrap_or_default())?;
        }
        for (name, value) in rules::signature(&self.0.key, &signed) {
            headers.set(name, &value)?;
        }
        let init = RequestInit::new();
        init.set_method(signed.method);
        init.set_headers(&headers);
        init.set_redirect(RequestRedirect::Manual);
        init.set_signal(Some(&AbortSignal::timeout_with_u32(DEADLINE_MS)));
        if !signed.body.is_empty() {
            init.set_body(&Uint8Array::from(signed.body));
        }
        web_sys::Request::new_with_str_and_init(&format!("{}{target}", self.0.pop), &init)
    }

    async fn ask(&self, request: Request<Bytes>, client: IpAddr) -> Result<Response<Bytes>, UpstreamError> {
        let outward = self.outward(&request, client).map_err(|_| UpstreamError::Malformed)?;
        // What failed may have arrived: `fetch` does not tell a connection that never was from one lost under way, so a
        // write's outcome is unknown, as after the deadline.
        let answer = JsFuture::from(js::fetch(&outward)).await.map_err(|_| UpstreamError::Timeout)?;
        let answer: web_sys::Response = answer.dyn_into().map_err(|_| UpstreamError::Malformed)?;
        let body = match answer.body() {
            Some(stream) => adapter::read(&stream, MAX_ANSWER_BYTES).await.map_err(|_| UpstreamError::Malformed)?,
            None => Bytes::new(),
        };
        if rules::refuses_us(answer.status(), &body) {
            worker::console_error!("the point of presence refuses our signature: look at UPLINK_KEY and the clocks");
            return Err(UpstreamError::Unavailable);
        }
        let mut response = Response::new(body);
        *response.status_mut() = StatusCode::from_u16(answer.status()).map_err(|_| UpstreamError::Malformed)?;
        response.headers_mut().extend(adapter::headers_in(&answer.headers()));
        Ok(response)
    }
}

const fn no_place(why: Refused) -> NoPlace {
    match why {
        Refused::Full => NoPlace::Full,
        Refused::ReaderHasMost => NoPlace::ReaderHasMost,
    }
}

async fn crypto_key(bytes: &[u8; 32]) -> Option<JsValue> {
    if let Some(key) = KEYS.with_borrow(|keys| keys.get(bytes).cloned()) {
        return Some(key);
    }
    let usages = Array::of1(&"verify".into());
    let import = js::import_key("raw", &Uint8Array::from(bytes.as_slice()), "Ed25519", false, &usages).ok()?;
    let key = JsFuture::from(import).await.ok()?;
    KEYS.with_borrow_mut(|keys| {
        if keys.len() >= MAX_KEYS {
            keys.clear();
        }
        keys.insert(*bytes, key.clone());
    });
    Some(key)
}

impl Platform for Isolate {
    /// A promise of one request cannot be awaited by another in workerd.
    const SHARES_FLIGHTS: bool = false;

    fn cache_name(&self) -> &str {
        "worker"
    }

    fn mem_get(&self, key: &str) -> Option<Arc<Page>> {
        self.0.pages.get(&key.to_owned())
    }

    fn mem_put(&self, key: String, page: Arc<Page>) {
        self.0.pages.insert(key, page);
    }

    #[worker::send]
    async fn kv_get(&self, key: &str) -> Option<Bytes> {
        self.0.kv.as_ref()?.get(key).bytes().await.ok()?.map(Bytes::from)
    }

    #[worker::send]
    async fn kv_put(&self, key: String, value: Bytes, ttl_seconds: u32) {
        let Some(kv) = &self.0.kv else { return };
        if let Ok(put) = kv.put_bytes(&key, &value) {
            // KV takes one write a second for a key; whoever comes too often has lost nothing.
            drop(put.expiration_ttl(u64::from(ttl_seconds.max(60))).execute().await);
        }
    }

    #[worker::send]
    async fn upstream(&self, request: Request<Bytes>, client: IpAddr) -> Result<Response<Bytes>, UpstreamError> {
        self.ask(request, client).await
    }

    #[worker::send]
    async fn verify_ed25519(&self, key: &[u8; 32], message: &[u8], signature: &[u8; 64]) -> bool {
        let Some(key) = crypto_key(key).await else { return false };
        let (signature, message) = (Uint8Array::from(signature.as_slice()), Uint8Array::from(message));
        let Ok(verdict) = js::verify("Ed25519", &key, &signature, &message) else { return false };
        JsFuture::from(verdict).await.is_ok_and(|verdict| verdict.is_truthy())
    }

    fn defer(&self, job: impl Future<Output = ()> + Send + 'static) {
        let promise = future_to_promise(SendFuture::new(async move {
            job.await;
            Ok(JsValue::UNDEFINED)
        }));
        // Without it the job runs as long as the request does, which mostly is enough.
        drop(js::wait_until(&promise));
    }

    /// The isolate never stops by itself; what its requests still send ends with them.
    fn stream(&self, reader: UserId, events: impl Stream<Item = Bytes> + Send + 'static) -> Result<Body, NoPlace> {
        let now_ms = self.now_ms();
        let longest_ms = u64::try_from(LONGEST_STREAM.as_millis()).unwrap_or(u64::MAX);
        let place = self.0.streams.take(reader, now_ms, now_ms.saturating_add(longest_ms)).map_err(no_place)?;
        Ok(Body::from_stream(events.map(move |event| {
            let _taken_until_the_end = &place;
            Ok::<_, Infallible>(event)
        })))
    }

    fn now_ms(&self) -> u64 {
        #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "whole milliseconds since 1970")]
        let now_ms = Date::now() as u64;
        now_ms
    }

    fn fill_random(&self, bytes: &mut [u8]) {
        // It refuses more than 65,536 bytes at once and nothing else.
        for chunk in bytes.chunks_mut(65_536) {
            drop(js::get_random_values(chunk));
        }
    }
}
