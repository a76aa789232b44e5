//! A host with its time in hand and a small core behind it, for tests and for looking at pages. Not a model of the cores:
//! it answers every `/v1` route in the right shape, signs real tokens, and can be switched off.

#![allow(dead_code, missing_docs, unreachable_pub, clippy::unwrap_used, reason = "each user takes a part of it")]

#[path = "fake/accounts.rs"]
mod accounts;
#[path = "fake/catalog.rs"]
mod catalog;
#[path = "fake/webhooks.rs"]
mod webhooks;

use std::collections::HashMap;
use std::convert::Infallible;
use std::future::Future;
use std::net::IpAddr;
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};

use axum::body::Body;
use bytes::Bytes;
use edge_app::{NoPlace, Page, Platform, UpstreamError};
use futures_util::{Stream, StreamExt};
use http::{Request, Response, StatusCode};
use ring::signature::{ED25519, Ed25519KeyPair, UnparsedPublicKey};
use serde_json::{Value, json};
use shared::api::account::{Channels, MailPreferences};
use shared::api::cart::{Cart, CartChange, CartLine, CartOperation};
use shared::api::catalog::{Product, SearchQuery, StockLevel, Variant};
use shared::api::desk::{
    DeadLetter, DeadLetterPage, DeskOrder, DeskPage, DeskQuery, GivenAgain, Happening, Notification, NotificationList,
    NotificationState, ReplayLetters, SkipLetter, Timeline, TimelineEntry,
};
use shared::api::order::{
    CancelOrder, ChosenDelivery, DeliveryDays, DeliveryOption, Inspection, Label, LabelAsked, LabelState, Labels,
    LineItem, NewLabel, NewReturn, NewShipment, NextAction, Order, OrderItem, OrderPage, OrderStatus, OrderSummary,
    PaymentMethod, PaymentStatus, PlaceOrder, PushSubscription, Quote, QuoteRequest, Return, ReturnedItem, Shipment,
    WriteOff,
};
use shared::api::origin::{Origin, Origins};
use shared::api::refund::{NewRefund, Refund, RefundStatus, Refunds};
use shared::api::webhook::{Endpoint, EndpointState};
use shared::idempotency::IDEMPOTENCY_KEY;
use shared::{
    CartId, Currency, EventId, Money, OrderId, Problem, ProblemKind, Quantity, RefundId, ReturnId, ShipmentId, Sku,
    UserId,
};
use time::OffsetDateTime;

pub use catalog::demo_products;

type Job = Pin<Box<dyn Future<Output = ()> + Send>>;

/// The start of the fake's time: 2030-01-01, Unix milliseconds.
pub const START_MS: u64 = 1_893_456_000_000;

#[derive(Clone)]
pub struct Fake(Arc<Inner>);

pub struct Inner {
    name: String,
    pub now_ms: AtomicU64,
    pub down: AtomicBool,
    /// What comes back instead of a core's answer, if anything: a status and a body.
    pub instead: Mutex<Option<(u16, Vec<u8>)>>,
    /// The end of the paths whose answers to writes are lost after the core acted.
    pub deaf_to: Mutex<Option<&'static str>>,
    pub mem: Mutex<HashMap<String, Arc<Page>>>,
    pub kv: Mutex<HashMap<String, (Bytes, u32)>>,
    pub jobs: Mutex<Vec<Job>>,
    /// Whether the core holds its answers. Time flies then.
    pub holds: AtomicBool,
    /// Why the host has no place for answers that go on, if it has none.
    pub no_place: Mutex<Option<NoPlace>>,
    pub calls: Mutex<Vec<Request<Bytes>>>,
    /// Counts that the host keeps itself, if it does.
    pub counts: Mutex<Option<HashMap<Sku, u64>>>,
    random: AtomicU64,
    pub core: Mutex<Core>,
}

impl Fake {
    pub fn new(products: Vec<Product>) -> Self {
        Self(Arc::new(Inner {
            name: "fake".to_owned(),
            now_ms: AtomicU64::new(START_MS),
            down: AtomicBool::new(false),
            instead: Mutex::default(),
            deaf_to: Mutex::default(),
            mem: Mutex::default(),
            kv: Mutex::default(),
            jobs: Mutex::default(),
            holds: AtomicBool::new(false),
            no_place: Mutex::default(),
            calls: Mutex::default(),
            counts: Mutex::default(),
            random: AtomicU64::new(1),
            core: Mutex::new(Core::new(products)),
        }))
    }

    pub fn inner(&self) -> &Inner {
        &self.0
    }

    pub fn turn_clock(&self, ms: u64) {
        self.0.now_ms.fetch_add(ms, Ordering::SeqCst);
    }

    pub fn switch_cores(&self, on: bool) {
        self.0.down.store(!on, Ordering::SeqCst);
    }

    /// From now on, everybody gets this instead of a core's answer.
    pub fn answer_instead(&self, instead: Option<(u16, Vec<u8>)>) {
        *self.0.instead.lock().unwrap() = instead;
    }

    /// From now on, the core acts on writes there and nobody hears its answers.
    pub fn lose_answers(&self, path: Option<&'static str>) {
        *self.0.deaf_to.lock().unwrap() = path;
    }

    pub fn forget_memory(&self) {
        self.0.mem.lock().unwrap().clear();
    }

    /// Has every webhook endpoint disabled.
    pub fn disable_endpoints(&self) {
        for endpoint in &mut self.0.core.lock().unwrap().endpoints {
            endpoint.state = EndpointState::Disabled;
            endpoint.disabled_reason = Some("every attempt has failed since <then>".to_owned());
        }
    }

    /// Has everybody's orders lie in these regions.
    pub fn lay(&self, origins: Vec<Origin>) {
        self.0.core.lock().unwrap().origins = origins;
    }

    /// Sends that many units of everybody's orders, and has them arrive.
    pub fn send_parcels(&self, units: i64, arrived: bool) {
        let mut core = self.0.core.lock().unwrap();
        for (_, order) in core.users.iter_mut().flat_map(|user| &mut user.orders) {
            let item = OrderItem { sku: order.lines[0].sku.clone(), quantity: Quantity::new(units).unwrap() };
            order.shipments.push(Shipment {
                shipment_id: ShipmentId::mint(1, order.order_id.slot(), [1; 8]),
                carrier: "Royal <Mail>".to_owned(),
                tracking_code: Some("RM1".to_owned()),
                tracking_url: Some("https://track.example/?code=RM1&a=\"".to_owned()),
                items: vec![item],
                from: None,
                sent_at: order.created_at,
                delivered_at: arrived.then_some(order.created_at),
            });
            order.status = OrderStatus::Shipped;
            order.version += 1;
        }
    }

    /// Tells of everybody's orders by a mail that came back.
    pub fn tell(&self) {
        let mut core = self.0.core.lock().unwrap();
        let orders: Vec<_> = core.users.iter().flat_map(|user| &user.orders).map(|(_, order)| order.order_id).collect();
        for (number, order) in orders.into_iter().enumerate() {
            let told = Notification {
                notification_id: EventId::mint(1, [u8::try_from(number).unwrap(); 10]),
                channel: "mail".to_owned(),
                template: "order_confirmed".to_owned(),
                recipient: "ada@example.org".to_owned(),
                state: NotificationState::Bounced,
                attempts: 1,
                error: Some("5.1.1 no <such> user".to_owned()),
                copy_of: None,
                created_at: OffsetDateTime::UNIX_EPOCH,
                sent_at: None,
            };
            core.told.push((order, told));
        }
    }

    /// Gives up an event of everybody's orders, and the one behind it.
    pub fn give_up(&self) {
        let mut core = self.0.core.lock().unwrap();
        let orders: Vec<_> = core.users.iter().flat_map(|user| &user.orders).map(|(_, order)| order.order_id).collect();
        for (number, order_id) in orders.into_iter().enumerate() {
            let letter = |parked: bool| DeadLetter {
                shard: 1_i16.try_into().unwrap(),
                consumer: "notification".to_owned(),
                event_id: EventId::mint(1 + u64::from(parked), [u8::try_from(number).unwrap(); 10]),
                kind: (!parked).then(|| "OrderConfirmed".to_owned()),
                order_id,
                attempts: if parked { 0 } else { 5 },
                parked,
                cause: "no <such> order".to_owned(),
                died_at: OffsetDateTime::UNIX_EPOCH,
            };
            core.letters.extend([letter(false), letter(true)]);
        }
    }

    /// Paths of the calls so far, oldest first; the list starts anew.
    pub fn take_calls(&self) -> Vec<String> {
        let calls = std::mem::take(&mut *self.0.calls.lock().unwrap());
        calls.into_iter().map(|call| format!("{} {}", call.method(), call.uri())).collect()
    }

    /// The core's answer: another than the one that is known, at once or after the wait that is asked for.
    fn held(&self, request: &Request<Bytes>) -> Response<Bytes> {
        let answer = || self.0.core.lock().unwrap().answer(request, self.now_ms());
        let known = |answer: &Response<Bytes>| {
            let tag = serde_json::from_slice(answer.body()).map(|order: Order| order.state_tag()).ok();
            tag.is_some_and(|tag| request.headers().get("if-none-match").is_some_and(|known| *known == *tag))
        };
        let now = answer();
        if !known(&now) {
            return now;
        }
        let same = Response::builder().status(304);
        if !self.0.holds.load(Ordering::SeqCst) {
            return same.body(Bytes::new()).unwrap();
        }
        assert_eq!(request.headers()["prefer"], "wait=10");
        self.turn_clock(10_000);
        let later = answer();
        if known(&later) { same.header("preference-applied", "wait=10").body(Bytes::new()).unwrap() } else { later }
    }

    pub async fn run_deferred(&self) {
        loop {
            let jobs = std::mem::take(&mut *self.0.jobs.lock().unwrap());
            if jobs.is_empty() {
                return;
            }
            for job in jobs {
                job.await;
            }
        }
    }
}

impl Platform for Fake {
    fn cache_name(&self) -> &str {
        &self.0.name
    }

    fn mem_get(&self, key: &str) -> Option<Arc<Page>> {
        self.0.mem.lock().unwrap().get(key).cloned()
    }

    fn mem_put(&self, key: String, page: Arc<Page>) {
        self.0.mem.lock().unwrap().insert(key, page);
    }

    async fn kv_get(&self, key: &str) -> Option<Bytes> {
        self.0.kv.lock().unwrap().get(key).map(|(value, _)| value.clone())
    }

    async fn kv_put(&self, key: String, value: Bytes, ttl_seconds: u32) {
        self.0.kv.lock().unwrap().insert(key, (value, ttl_seconds));
    }

    async fn upstream(&self, request: Request<Bytes>, _client: IpAddr) -> Result<Response<Bytes>, UpstreamError> {
        self.0.calls.lock().unwrap().push(request.clone());
        if self.0.down.load(Ordering::SeqCst) {
            return Err(UpstreamError::Unavailable);
        }
        if let Some((status, body)) = self.0.instead.lock().unwrap().clone() {
            return Ok(Response::builder().status(status).body(Bytes::from(body)).unwrap());
        }
        let answer = self.held(&request);
        let deaf = self.0.deaf_to.lock().unwrap().is_some_and(|path| request.uri().path().ends_with(path));
        if deaf && request.method() != http::Method::GET {
            return Err(UpstreamError::Timeout);
        }
        Ok(answer)
    }

    fn stock(&self, skus: &[Sku]) -> Option<Vec<StockLevel>> {
        let counts = self.0.counts.lock().unwrap();
        let level =
            |sku: &Sku| Some(StockLevel { sku: sku.clone(), units: *counts.as_ref()?.get(sku)?, approximate: true });
        skus.iter().map(level).collect()
    }

    async fn verify_ed25519(&self, key: &[u8; 32], message: &[u8], signature: &[u8; 64]) -> bool {
        UnparsedPublicKey::new(&ED25519, key).verify(message, signature).is_ok()
    }

    fn defer(&self, job: impl Future<Output = ()> + Send + 'static) {
        self.0.jobs.lock().unwrap().push(Box::pin(job));
    }

    fn stream(&self, _: UserId, events: impl Stream<Item = Bytes> + Send + 'static) -> Result<Body, NoPlace> {
        match *self.0.no_place.lock().unwrap() {
            Some(why) => Err(why),
            None => Ok(Body::from_stream(events.map(Ok::<_, Infallible>))),
        }
    }

    fn now_ms(&self) -> u64 {
        self.0.now_ms.load(Ordering::SeqCst)
    }

    fn fill_random(&self, bytes: &mut [u8]) {
        for byte in bytes {
            let next = self.0.random.fetch_add(1, Ordering::SeqCst).wrapping_mul(0x9e37_79b9_7f4a_7c15);
            *byte = next.to_be_bytes()[0];
        }
    }
}

/// What browsers subscribe under.
pub const PUSH_KEY: &str = "BEl62iUYgUivxIkv69yViEuiBIa-Ib9-SkvMeAtA3LFgDzkrxZJjSgSnfckjBJuBkr3qBUYIHBQFLXYp5Nksh8U";

/// The core: carts, orders and sessions in memory.
pub struct Core {
    pub products: Vec<Product>,
    pub stock: HashMap<Sku, u64>,
    /// What express delivery costs, if delivery costs anything: standard then costs 395, from £50 on nothing; Japan has none.
    pub express_minor: Option<i64>,
    /// What shoppers were told, newest first.
    pub told: Vec<(OrderId, Notification)>,
    /// What the bus gave up.
    pub letters: Vec<DeadLetter>,
    /// Whether the one reader of mails wants to be told of parcels.
    pub parcels: bool,
    /// The browser that is told of an order.
    pub pushed_to: Option<PushSubscription>,
    users: Vec<UserState>,
    accounts: HashMap<String, (usize, String, Option<String>)>,
    refresh: HashMap<String, usize>,
    labels: Vec<Label>,
    origins: Vec<Origin>,
    endpoints: Vec<Endpoint>,
    next: u64,
    /// With their orders and keys.
    refunds: Vec<(OrderId, String, Refund)>,
    key: Ed25519KeyPair,
    /// Seconds that an access token lasts.
    pub token_seconds: u64,
}

struct UserState {
    id: UserId,
    guest: bool,
    /// Whoever signs up as `keeper@…` keeps the store.
    keeper: bool,
    lines: Vec<(Sku, u32)>,
    version: u64,
    orders: Vec<(String, Order)>,
    /// What each key ordered, so that another body under it is refused.
    asked: HashMap<String, Bytes>,
}

type Answer = Result<(StatusCode, Value), Problem>;

impl Core {
    fn new(products: Vec<Product>) -> Self {
        let stock = products.iter().flat_map(|product| &product.variants).enumerate();
        let stock = stock.map(|(at, variant)| (variant.sku.clone(), (at as u64 * 7) % 60)).collect();
        Self {
            products,
            stock,
            express_minor: None,
            told: Vec::new(),
            letters: Vec::new(),
            parcels: true,
            pushed_to: None,
            labels: Vec::new(),
            origins: Vec::new(),
            users: Vec::new(),
            accounts: HashMap::new(),
            refresh: HashMap::new(),
            endpoints: Vec::new(),
            next: 1,
            refunds: Vec::new(),
            key: Ed25519KeyPair::from_seed_unchecked(&[7; 32]).unwrap(),
            token_seconds: 600,
        }
    }

    fn answer(&mut self, request: &Request<Bytes>, now_ms: u64) -> Response<Bytes> {
        let made = self.route(request, now_ms);
        let public = request.uri().path().starts_with("/v1/products")
            || matches!(request.uri().path(), "/v1/categories" | "/v1/search");
        let (status, body, kind) = match made {
            Ok((status, body)) => (status, body.to_string().into_bytes(), "application/json"),
            Err(problem) => {
                (StatusCode::from_u16(problem.status).unwrap(), problem.to_json(), "application/problem+json")
            }
        };
        let control = if public { "public, max-age=30" } else { "no-store" };
        let mut response =
            Response::builder().status(status).header("content-type", kind).header("cache-control", control);
        if public && status == 200 {
            response = response.header("cache-tag", "catalog");
        }
        response.body(if status == 204 { Bytes::new() } else { Bytes::from(body) }).unwrap()
    }

    fn route(&mut self, request: &Request<Bytes>, now_ms: u64) -> Answer {
        let path = request.uri().path().strip_prefix("/v1/").ok_or(Problem::not_found())?;
        let query = request.uri().query().unwrap_or_default();
        let parts: Vec<&str> = path.split('/').collect();
        match (request.method().as_str(), parts.as_slice()) {
            ("GET", ["keys"]) => ok(&self.keys()),
            ("GET", ["categories"]) => ok(&self.categories()),
            ("GET", ["products", slug]) => {
                ok(self.products.iter().find(|product| product.slug == *slug).ok_or(Problem::not_found())?)
            }
            ("GET", ["search"]) => {
                let asked: SearchQuery = serde_urlencoded::from_str(query).map_err(|e| Problem::invalid("q", e))?;
                if asked.limit == 0 || asked.page == 0 {
                    Err(Problem::invalid("limit", "0"))
                } else {
                    ok(&self.search(&asked))
                }
            }
            ("GET", ["stock"]) => ok(&self.levels(query)),
            ("POST", ["guests"]) => {
                let at = self.new_user(now_ms);
                Ok((StatusCode::CREATED, self.tokens(at, now_ms)))
            }
            ("POST", ["accounts"]) => self.sign_up(request, now_ms),
            ("POST", ["sessions"]) => self.sign_in(request, now_ms),
            ("POST", ["sessions", "refresh"]) => {
                let at = self.spend(request)?;
                Ok((StatusCode::OK, self.tokens(at, now_ms)))
            }
            ("POST", ["sessions", "end"]) => {
                self.spend(request)?;
                Ok((StatusCode::NO_CONTENT, Value::Null))
            }
            ("GET", ["account"]) => self.account(request, now_ms),
            ("GET" | "POST", ["account", "mail-preferences"]) => {
                let at = self.user(request, now_ms)?;
                if self.users[at].guest {
                    return Err(Problem::not_found());
                }
                if request.method() == http::Method::POST {
                    self.parcels = read::<MailPreferences>(request)?.parcels;
                }
                ok(&MailPreferences { parcels: self.parcels })
            }
            ("GET", ["channels"]) => ok(&Channels { texts: true, push_key: Some(PUSH_KEY.to_owned()) }),
            ("POST", ["orders", id, "push-subscriptions"]) => {
                self.any_order(request, now_ms, id)?;
                self.pushed_to = Some(read(request)?);
                Ok((StatusCode::NO_CONTENT, Value::Null))
            }
            ("DELETE", ["orders", id, "push-subscriptions"]) => {
                self.any_order(request, now_ms, id)?;
                self.pushed_to = None;
                Ok((StatusCode::NO_CONTENT, Value::Null))
            }
            ("GET" | "POST", ["mail-preferences", token]) => {
                if *token != "good-token" {
                    return Err(Problem::not_found());
                }
                if request.method() == http::Method::POST {
                    self.parcels = read::<MailPreferences>(request)?.parcels;
                }
                ok(&MailPreferences { parcels: self.parcels })
            }
            ("GET", ["cart"]) => {
                let at = self.user(request, now_ms)?;
                ok(&self.cart(at))
            }
            ("POST", ["cart", "operations"]) => self.operate(request, now_ms),
            ("POST", ["quotes"]) => {
                let asked: QuoteRequest = read(request)?;
                let items: Vec<_> = asked.items.iter().map(|item| (item.sku.clone(), item.quantity)).collect();
                ok(&self.delivered("country", self.quote(&items)?, asked.country, asked.delivery_option)?)
            }
            ("POST", ["orders"]) => self.place(request, now_ms),
            ("GET", ["orders"]) => self.orders(request, now_ms),
            ("GET", ["orders", id]) => {
                let at = self.user(request, now_ms)?;
                self.settle(at, now_ms);
                ok(&self.any_order(request, now_ms, id)?.clone())
            }
            ("GET", ["desk", "orders"]) => {
                self.keeper(request, now_ms)?;
                self.desk(query)
            }
            ("GET", ["orders", id, "timeline"]) => {
                let order = self.any_order(request, now_ms, id)?;
                let placed = TimelineEntry { at: order.created_at, what: Happening::Placed, detail: None, actor: None };
                ok(&Timeline { items: vec![placed], held: false })
            }
            ("GET", ["orders", id, "notifications"]) => {
                self.keeper(request, now_ms)?;
                let order = self.any_order(request, now_ms, id)?.order_id;
                let about = self.told.iter().filter(|(of, _)| *of == order).map(|(_, told)| told.clone());
                ok(&NotificationList { items: about.collect() })
            }
            ("POST", ["orders", id, "notifications", of, "resend"]) => {
                self.keeper(request, now_ms)?;
                let (order, number) = (self.any_order(request, now_ms, id)?.order_id, self.number());
                let first = self.told.iter().find(|(_, told)| told.notification_id.to_string() == *of);
                let first = first.ok_or(Problem::not_found())?.1.clone();
                let known = self.told.iter().any(|(_, told)| told.copy_of == Some(first.notification_id));
                if known {
                    return Err(Problem::new(ProblemKind::OrderState).detail("it is still to be sent"));
                }
                let copy = Notification {
                    notification_id: EventId::mint(now_ms, [u8::try_from(number).unwrap(); 10]),
                    state: NotificationState::ToSend,
                    copy_of: Some(first.notification_id),
                    error: None,
                    ..first
                };
                self.told.insert(0, (order, copy.clone()));
                Ok((StatusCode::CREATED, serde_json::to_value(copy).unwrap()))
            }
            ("GET", ["desk", "dead-letters"]) => {
                self.keeper(request, now_ms)?;
                ok(&DeadLetterPage {
                    items: self.letters.clone(),
                    more: true,
                    missing: vec!["us".parse().unwrap(), "jp".parse().unwrap()],
                })
            }
            ("POST", ["orders", id, "dead-letters", "replay"]) => {
                self.keeper(request, now_ms)?;
                let asked: ReplayLetters = read(request)?;
                let own = |letter: &DeadLetter| letter.order_id.to_string() == *id && letter.consumer == asked.consumer;
                let events = self.letters.extract_if(.., |letter| own(letter)).count() as u64;
                ok(&GivenAgain { events })
            }
            ("POST", ["orders", id, "dead-letters", event, "skip"]) => {
                self.keeper(request, now_ms)?;
                let asked: SkipLetter = read(request)?;
                if asked.reason.trim().is_empty() {
                    return Err(Problem::invalid("reason", "1 to 200 characters"));
                }
                let known = |letter: &DeadLetter| letter.event_id.to_string() == *event && !letter.parked;
                if !self.letters.iter().any(known) {
                    return Err(Problem::new(ProblemKind::OrderState).detail("that event was not given up"));
                }
                self.letters.retain(|letter| letter.order_id.to_string() != *id);
                ok(&GivenAgain { events: 1 })
            }
            ("GET", ["orders", id, "origins"]) => {
                self.keeper(request, now_ms)?;
                self.any_order(request, now_ms, id)?;
                ok(&Origins { items: self.origins.clone() })
            }
            ("GET", ["orders", id, "labels"]) => {
                self.keeper(request, now_ms)?;
                self.any_order(request, now_ms, id)?;
                ok(&Labels { offered: true, items: self.labels.clone() })
            }
            ("GET", ["orders", _, "shipments", _, "label"]) => {
                self.keeper(request, now_ms)?;
                ok(&"%PDF-1.4 of a label")
            }
            ("POST", ["orders", id, "shipments", shipment, "void"]) => {
                self.keeper(request, now_ms)?;
                self.any_order(request, now_ms, id)?;
                match self.labels.iter_mut().find(|label| label.shipment_id.to_string() == *shipment) {
                    // What is asked for once more, the carrier has refused.
                    Some(label) if label.state == LabelState::ToVoid => {
                        label.problem = Some("Refund not possible".to_owned());
                    }
                    Some(label) if label.service == "Letter" => label.state = LabelState::ToVoid,
                    _ => self.labels.retain(|label| label.shipment_id.to_string() != *shipment),
                }
                ok(&serde_json::json!({ "shipment_id": shipment }))
            }
            ("POST", ["orders", id, "shipments", shipment, "write-off"]) => {
                self.keeper(request, now_ms)?;
                let created_at = self.any_order(request, now_ms, id)?.created_at;
                let WriteOff { reason } = read(request)?;
                if reason.is_empty() {
                    return Err(Problem::invalid("reason", "1 to 200 characters"));
                }
                for label in self.labels.iter_mut().filter(|label| label.shipment_id.to_string() == *shipment) {
                    (label.state, label.strayed_at) = (LabelState::WrittenOff, Some(created_at));
                }
                ok(&serde_json::json!({ "shipment_id": shipment }))
            }
            ("POST", ["orders", id, "shipments"]) => {
                self.keeper(request, now_ms)?;
                let asked: NewShipment = read(request)?;
                if let Some(NewLabel { service, weight_grams }) = asked.label {
                    let number = self.number();
                    let order = self.any_order(request, now_ms, id)?;
                    let shipment_id = ShipmentId::mint(now_ms, order.order_id.slot(), number.to_be_bytes());
                    let created_at = order.created_at;
                    self.labels.push(Label {
                        shipment_id,
                        state: LabelState::Bought,
                        service,
                        weight_grams,
                        items: asked.items.unwrap(),
                        carrier: Some("SandboxPost".to_owned()),
                        tracking_code: Some("SB1GB".to_owned()),
                        tracking_url: None,
                        cost: Some(Money::new(320, Currency::GBP).unwrap()),
                        way: Some("pre_transit".to_owned()),
                        problem: None,
                        strayed_at: None,
                        created_at,
                    });
                    return ok(&LabelAsked { shipment_id });
                }
                if asked.carrier.is_empty() {
                    return Err(Problem::invalid("carrier", "1 to 60 characters"));
                }
                let number = self.number();
                let order = self.any_order(request, now_ms, id)?;
                let shipment = Shipment {
                    shipment_id: ShipmentId::mint(now_ms, order.order_id.slot(), number.to_be_bytes()),
                    carrier: asked.carrier,
                    tracking_code: asked.tracking_code,
                    tracking_url: asked.tracking_url,
                    items: asked.items.unwrap(),
                    from: asked.from,
                    sent_at: order.created_at,
                    delivered_at: None,
                };
                order.shipments.push(shipment.clone());
                order.status = OrderStatus::Shipped;
                order.version += 1;
                ok(&shipment)
            }
            ("POST", ["orders", id, "shipments", shipment, "delivered"]) => {
                self.keeper(request, now_ms)?;
                let order = self.any_order(request, now_ms, id)?;
                let created_at = order.created_at;
                let parcel = order.shipments.iter_mut().find(|parcel| parcel.shipment_id.to_string() == *shipment);
                parcel.ok_or(Problem::not_found())?.delivered_at = Some(created_at);
                order.status = OrderStatus::Delivered;
                ok(&order.clone())
            }
            ("GET", ["orders", id, "refunds"]) => {
                self.keeper(request, now_ms)?;
                let order = self.any_order(request, now_ms, id)?.clone();
                ok(&self.refunds_of(&order))
            }
            ("POST", ["orders", id, "refunds"]) => {
                self.keeper(request, now_ms)?;
                let NewRefund { amount, reason } = read(request)?;
                let order = self.any_order(request, now_ms, id)?.clone();
                let (key, left) = (request.headers()[IDEMPOTENCY_KEY].to_str().unwrap(), self.refunds_of(&order).left);
                if let Some((.., known)) = self.refunds.iter().find(|(_, own, _)| own == key) {
                    return ok(known);
                }
                if amount.minor() > left.minor() {
                    return Err(Problem::new(ProblemKind::OrderState).detail(format!("{left} can still be given back")));
                }
                let refund_id = RefundId::mint(now_ms, order.order_id.slot(), self.number().to_be_bytes());
                let (status, created_at) = (RefundStatus::Refunded, order.created_at);
                let refund = Refund { refund_id, amount, reason, status, last_error: None, created_at };
                self.refunds.push((order.order_id, key.to_owned(), refund.clone()));
                ok(&refund)
            }
            ("POST", ["orders", id, "returns"]) => {
                self.keeper(request, now_ms)?;
                let NewReturn { items, reason } = read(request)?;
                let number = self.number();
                let order = self.any_order(request, now_ms, id)?;
                let item = |item: OrderItem| ReturnedItem { sku: item.sku, quantity: item.quantity, restocked: None };
                let back = Return {
                    return_id: ReturnId::mint(now_ms, order.order_id.slot(), number.to_be_bytes()),
                    reason,
                    items: items.into_iter().map(item).collect(),
                    registered_at: order.created_at,
                    inspected_at: None,
                };
                order.returns.push(back.clone());
                ok(&back)
            }
            ("POST", ["orders", id, "returns", back, "inspection"]) => {
                self.keeper(request, now_ms)?;
                let Inspection { restock } = read(request)?;
                let order = self.any_order(request, now_ms, id)?;
                let created_at = order.created_at;
                let back = order.returns.iter_mut().find(|own| own.return_id.to_string() == *back);
                let back = back.ok_or(Problem::not_found())?;
                back.inspected_at = Some(created_at);
                for item in &mut back.items {
                    let again = restock.iter().find(|again| again.sku == item.sku);
                    item.restocked = Some(again.map_or(0, |again| again.quantity.units()));
                }
                ok(&back.clone())
            }
            ("POST", ["orders", id, "payment", "confirm"]) => {
                let at = self.user(request, now_ms)?;
                let order = self.users[at].orders.iter_mut().find(|(_, order)| order.order_id.to_string() == *id);
                let order = &mut order.ok_or(Problem::not_found())?.1;
                if order.payment != PaymentStatus::ChallengeRequired {
                    return Err(ProblemKind::OrderState.into());
                }
                order.status = OrderStatus::Confirmed;
                // On a page of the bank's he has answered by then.
                order.payment = PaymentStatus::Captured;
                order.next_action = None;
                order.version += 1;
                ok(&order.clone())
            }
            ("POST", ["orders", id, "cancel"]) => {
                let asked: CancelOrder = read(request)?;
                let order = self.any_order(request, now_ms, id)?;
                match order.status {
                    OrderStatus::Pending | OrderStatus::Confirmed => {
                        order.status = OrderStatus::Cancelled;
                        order.cancel_reason = Some(asked.reason.unwrap_or("you cancelled this order".to_owned()));
                        order.version += 1;
                    }
                    OrderStatus::Shipped | OrderStatus::Delivered => return Err(ProblemKind::OrderState.into()),
                    OrderStatus::Cancelled => {}
                }
                ok(&order.clone())
            }
            (_, ["webhook-endpoints", rest @ ..]) => {
                self.keeper(request, now_ms)?;
                self.webhooks(request, now_ms, rest)
            }
            _ => Err(Problem::not_found()),
        }
    }

    fn number(&mut self) -> u64 {
        self.next += 1;
        self.next
    }

    fn find_variant(&self, sku: &Sku) -> Option<(&Product, &Variant)> {
        let all = self.products.iter().flat_map(|product| product.variants.iter().map(move |one| (product, one)));
        all.into_iter().find(|(_, variant)| variant.sku == *sku)
    }

    fn cart(&self, at: usize) -> Cart {
        let user = &self.users[at];
        let lines: Vec<CartLine> = user.lines.iter().map(|(sku, units)| self.cart_line(sku, *units)).collect();
        let totals = lines.iter().filter_map(|line| line.line_total);
        Cart {
            cart_id: CartId::mint(user.id.minted_at_ms(), user.id.slot(), [1; 8]),
            version: user.version,
            units: user.lines.iter().map(|(_, units)| u64::from(*units)).sum(),
            total: Money::sum(Currency::GBP, totals).unwrap(),
            lines,
        }
    }

    fn cart_line(&self, sku: &Sku, units: u32) -> CartLine {
        let found = self.find_variant(sku);
        let price = found.map(|(_, variant)| variant.price);
        CartLine {
            sku: sku.clone(),
            quantity: Quantity::new(i64::from(units)).unwrap(),
            title: found.map_or_else(|| sku.to_string(), |(product, _)| product.title.clone()),
            slug: found.map(|(product, _)| product.slug.clone()),
            variant: found.map(|(_, variant)| variant.option_values.join(" / ")).unwrap_or_default(),
            unit_price: price,
            line_total: price.map(|price| price.checked_mul(units).unwrap()),
        }
    }

    fn operate(&mut self, request: &Request<Bytes>, now_ms: u64) -> Answer {
        let at = self.user(request, now_ms)?;
        let operation: CartOperation = read(request)?;
        let (CartChange::Add { sku, .. } | CartChange::Set { sku, .. } | CartChange::Remove { sku }) =
            &operation.change;
        if self.find_variant(sku).is_none() && !matches!(operation.change, CartChange::Remove { .. }) {
            return Err(ProblemKind::UnknownSku.into());
        }
        let lines = &mut self.users[at].lines;
        let place = lines.iter().position(|(own, _)| own == sku);
        match (operation.change, place) {
            (CartChange::Add { quantity, .. }, Some(place)) => lines[place].1 += quantity.units(),
            (CartChange::Set { quantity, .. }, Some(place)) => lines[place].1 = quantity.units(),
            (CartChange::Add { sku, quantity } | CartChange::Set { sku, quantity }, None) => {
                lines.push((sku, quantity.units()));
            }
            (CartChange::Remove { .. }, Some(place)) => drop(lines.remove(place)),
            (CartChange::Remove { .. }, None) => {}
        }
        self.users[at].version += 1;
        ok(&self.cart(at))
    }

    fn quote(&self, items: &[(Sku, Quantity)]) -> Result<Quote, Problem> {
        let mut lines = Vec::new();
        for (sku, quantity) in items {
            let (product, variant) = self.find_variant(sku).ok_or(Problem::new(ProblemKind::UnknownSku))?;
            lines.push(LineItem {
                sku: sku.clone(),
                title: product.title.clone(),
                quantity: *quantity,
                unit_price: variant.price,
                line_total: variant.price.checked_mul(quantity.units()).unwrap(),
            });
        }
        let subtotal = Money::sum(Currency::GBP, lines.iter().map(|line| line.line_total)).unwrap();
        Ok(Quote {
            lines,
            subtotal,
            shipping: Money::zero(Currency::GBP),
            total: subtotal,
            catalog_version: 1,
            delivery_options: Vec::new(),
            delivery_option: None,
            payment_methods: methods(),
        })
    }

    fn delivered(
        &self,
        field: &str,
        quote: Quote,
        country: Option<String>,
        wanted: Option<String>,
    ) -> Result<Quote, Problem> {
        let (Some(express), Some(country)) = (self.express_minor, country) else {
            return if wanted.is_some() { Err(Problem::invalid("delivery_option", "not offered")) } else { Ok(quote) };
        };
        if country == "JP" {
            return Err(Problem::invalid(field, "we do not deliver to Japan"));
        }
        let option = |id: &str, minor, from, to| DeliveryOption {
            id: id.to_owned(),
            name: format!("By {id} van"),
            price: Money::new(minor, Currency::GBP).unwrap(),
            days: DeliveryDays { from, to },
            service: Some(id.to_uppercase()),
        };
        let standard = if quote.subtotal.minor() < 5_000 { 395 } else { 0 };
        let mut options = vec![option("standard", standard, 2, 4), option("express", express, 1, 1)];
        options.truncate(if country == "GB" { 2 } else { 1 });
        let id = wanted.unwrap_or_else(|| "standard".to_owned());
        let chosen = options.iter().find(|option| option.id == id);
        let shipping = chosen.ok_or_else(|| Problem::invalid("delivery_option", "not offered"))?.price;
        let total = quote.subtotal.checked_add(shipping).unwrap();
        Ok(Quote { shipping, total, delivery_options: options, delivery_option: Some(id), ..quote })
    }

    fn place(&mut self, request: &Request<Bytes>, now_ms: u64) -> Answer {
        let at = self.user(request, now_ms)?;
        let asked: PlaceOrder = read(request)?;
        let key = request.headers().get("idempotency-key").ok_or(Problem::new(ProblemKind::IdempotencyKeyRequired))?;
        let key = key.to_str().unwrap().to_owned();
        if self.users[at].asked.get(&key).is_some_and(|body| body != request.body()) {
            return Err(ProblemKind::IdempotencyKeyReused.into());
        }
        if let Some((_, order)) = self.users[at].orders.iter().find(|(own, _)| *own == key) {
            return Ok((StatusCode::CREATED, serde_json::to_value(order).unwrap()));
        }
        let items: Vec<_> = asked.items.iter().map(|item| (item.sku.clone(), item.quantity)).collect();
        let to = Some(asked.shipping_address.country.clone());
        let quote =
            self.delivered("shipping_address.country", self.quote(&items)?, to, asked.delivery_option.clone())?;
        if quote.total != asked.expected_total {
            return Err(Problem::new(ProblemKind::QuoteChanged).with("quote", serde_json::to_value(quote).unwrap()));
        }
        if asked.cart_version.is_some_and(|version| version != self.users[at].version) {
            return Err(ProblemKind::CartChanged.into());
        }
        let short: Vec<Value> = items
            .iter()
            .filter(|(sku, quantity)| self.stock.get(sku).copied().unwrap_or(0) < u64::from(quantity.units()))
            .map(|(sku, quantity)| json!({"sku": sku, "wanted": quantity, "available": self.stock.get(sku).copied().unwrap_or(0)}))
            .collect();
        if !short.is_empty() {
            return Err(Problem::new(ProblemKind::SoldOut).with("items", short));
        }
        let order = self.new_order(at, asked, quote, now_ms);
        let answer = serde_json::to_value(&order).unwrap();
        self.users[at].asked.insert(key.clone(), request.body().clone());
        self.users[at].orders.push((key, order));
        self.users[at].lines.clear();
        self.users[at].version += 1;
        Ok((StatusCode::CREATED, answer))
    }

    fn new_order(&mut self, at: usize, asked: PlaceOrder, quote: Quote, now_ms: u64) -> Order {
        let (status, payment) = match asked.payment_token.as_str() {
            "tok_success" => (OrderStatus::Confirmed, PaymentStatus::Captured),
            "tok_decline" => (OrderStatus::Cancelled, PaymentStatus::Declined),
            "tok_challenge" | "tok_hosted" => (OrderStatus::Pending, PaymentStatus::ChallengeRequired),
            _ => (OrderStatus::Pending, PaymentStatus::Processing),
        };
        let number = self.number();
        let user = &self.users[at];
        let created_at = OffsetDateTime::from_unix_timestamp(i64::try_from(now_ms / 1000).unwrap()).unwrap();
        Order {
            order_id: OrderId::mint(now_ms, user.id.slot(), number.to_be_bytes()),
            user_id: user.id,
            status,
            cancel_reason: (status == OrderStatus::Cancelled).then(|| "the payment was declined".to_owned()),
            payment,
            next_action: next_action(&asked.payment_token),
            lines: quote.lines,
            subtotal: quote.subtotal,
            shipping: quote.shipping,
            total: quote.total,
            shipping_address: asked.shipping_address,
            email: asked.email,
            delivery: quote
                .delivery_options
                .into_iter()
                .find(|option| quote.delivery_option.as_ref() == Some(&option.id))
                .map(|DeliveryOption { id, name, days, service, .. }| ChosenDelivery {
                    id,
                    name,
                    days,
                    service,
                    weight_grams: 700,
                }),
            phone: asked.phone,
            shipments: Vec::new(),
            returns: Vec::new(),
            version: 1,
            created_at,
            expires_at: created_at + time::Duration::seconds(900),
        }
    }

    /// Payments under way end ten seconds after they began.
    fn settle(&mut self, at: usize, now_ms: u64) {
        let now = i64::try_from(now_ms / 1000).unwrap();
        for (_, order) in &mut self.users[at].orders {
            let running = order.status == OrderStatus::Pending && order.payment == PaymentStatus::Processing;
            if running && now >= order.created_at.unix_timestamp() + 10 {
                order.status = OrderStatus::Confirmed;
                order.payment = PaymentStatus::Captured;
                order.version += 1;
            }
        }
    }

    /// The caller's order, or anybody's for who keeps the store.
    fn any_order(&mut self, request: &Request<Bytes>, now_ms: u64, id: &str) -> Result<&mut Order, Problem> {
        let at = self.user(request, now_ms)?;
        let keeper = self.users[at].keeper;
        let users = self.users.iter_mut().enumerate().filter(|(own, _)| keeper || *own == at);
        let mut orders = users.flat_map(|(_, user)| &mut user.orders);
        orders.find(|(_, order)| order.order_id.to_string() == id).map(|(_, order)| order).ok_or(Problem::not_found())
    }

    fn refunds_of(&self, order: &Order) -> Refunds {
        let own = self.refunds.iter().filter(|(of, ..)| *of == order.order_id);
        let items: Vec<Refund> = own.map(|(.., refund)| refund.clone()).collect();
        let back: i64 = items.iter().map(|refund| refund.amount.minor()).sum();
        let captured = if order.payment == PaymentStatus::Captured { order.total.minor() } else { 0 };
        Refunds { items, left: Money::new(captured.max(back) - back, order.total.currency()).unwrap() }
    }

    fn keeper(&self, request: &Request<Bytes>, now_ms: u64) -> Result<(), Problem> {
        let at = self.user(request, now_ms)?;
        if self.users[at].keeper { Ok(()) } else { Err(ProblemKind::Forbidden.into()) }
    }

    fn desk(&self, query: &str) -> Answer {
        let asked: DeskQuery = serde_urlencoded::from_str(query).map_err(|error| Problem::invalid("limit", error))?;
        if asked.find.as_ref().is_some_and(|find| !find.contains(['@', '-'])) {
            return Err(Problem::invalid("find", "an order's number or an e-mail address"));
        }
        let item = |order: &Order| DeskOrder {
            order_id: order.order_id,
            status: order.status,
            payment: order.payment,
            total: order.total,
            units: order.lines.iter().map(|line| u64::from(line.quantity.units())).sum(),
            name: order.shipping_address.name.clone(),
            email: order.email.clone(),
            created_at: order.created_at,
            held: false,
        };
        let items = self.users.iter().flat_map(|user| user.orders.iter().map(|(_, order)| item(order)));
        let wanted = |order: &DeskOrder| asked.status.is_none_or(|status| order.status == status);
        ok(&DeskPage { items: items.filter(wanted).collect(), next_cursor: None, missing: vec!["us".parse().unwrap()] })
    }

    fn orders(&self, request: &Request<Bytes>, now_ms: u64) -> Answer {
        let at = self.user(request, now_ms)?;
        let item = |order: &Order| OrderSummary {
            order_id: order.order_id,
            status: order.status,
            total: order.total,
            units: order.lines.iter().map(|line| u64::from(line.quantity.units())).sum(),
            created_at: order.created_at,
        };
        let items = self.users[at].orders.iter().rev().map(|(_, order)| item(order)).collect();
        ok(&OrderPage { items, next_cursor: None })
    }
}

/// The ways to pay.
fn methods() -> Vec<PaymentMethod> {
    let method = |token: &str| {
        let (name, description) = (token.replace("tok_", "The bank: "), "In a moment.".to_owned());
        PaymentMethod { token: token.to_owned(), name, description }
    };
    ["tok_success", "tok_hosted", "tok_challenge", "tok_decline", "tok_timeout"].map(method).into()
}

/// What the shopper is to do where the bank asks him.
fn next_action(token: &str) -> Option<NextAction> {
    match token {
        "tok_challenge" => Some(NextAction::Confirm),
        "tok_hosted" => Some(NextAction::RedirectToUrl { url: "https://bank.example/pay/1?a=1&b=2".to_owned() }),
        _ => None,
    }
}

fn ok(body: &impl serde::Serialize) -> Answer {
    Ok((StatusCode::OK, serde_json::to_value(body).unwrap()))
}

fn read<T: serde::de::DeserializeOwned>(request: &Request<Bytes>) -> Result<T, Problem> {
    serde_json::from_slice(request.body()).map_err(|error| Problem::invalid("body", error))
}
