//! A simulator of PayPal's Orders v2, Payments v2, OAuth and webhook verification, with the page on which shoppers agree.
//!
//! It is our own reading of PayPal's published OpenAPI files and guides (`paypal/paypal-rest-api-specifications`), stricter
//! where they leave room: unknown fields, sloppy amounts and missing headers are refused. It was never compared with PayPal.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, MutexGuard};

use axum::Router;
use axum::body::Bytes;
use axum::extract::State;
use axum::http::{HeaderMap, HeaderValue, Method, StatusCode, Uri};
use axum::response::{IntoResponse as _, Response};
use serde_json::{Value, json};
use shared::{Currency, Money};
use shared_clock::Entropy;
use tokio::net::TcpListener;

pub(crate) const CLIENT: (&str, &str) = ("AZDxjDScFpQtjWTOUtWKbyN", "EOjEJigcsRhdOgD7secret");
pub(crate) const WEBHOOK_ID: &str = "8PT597110X687430LKGECATA";
/// What PayPal takes; see its list of currency codes.
const CURRENCIES: [&str; 6] = ["EUR", "GBP", "HUF", "JPY", "TWD", "USD"];
const WHOLE: [&str; 3] = ["HUF", "JPY", "TWD"];

/// What goes wrong with the next request whose path holds a word.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Fault {
    /// Nothing happens, and this is the answer.
    Before(u16),
    /// It happens, and nobody is told.
    Lost,
    /// It happens, and the answer never comes.
    Silent,
    /// It happens, nobody is told, and from then on nobody is answered until [`Simulator::come_back`].
    LostAndAway,
}

/// How the shopper answers on the page.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Click {
    Agree,
    /// He agrees, with a card that his bank refuses.
    AgreeWithBadCard,
    /// He agrees; what is captured stays pending until [`Simulator::clear`].
    AgreeWithSlowBank,
    /// He agrees; when the money is to move his account has none, and what is kept ready stays.
    AgreeWithEmptyAccount,
    /// He agrees; his bank declines the capture, which is shown then, and what is kept ready stays.
    AgreeWithStrictBank,
    /// He goes back to the shop.
    Cancel,
}

#[derive(Default)]
struct World {
    made: u64,
    token: String,
    tokens_issued: u32,
    orders: BTreeMap<String, Order>,
    /// By their `PayPal-Request-Id`: what was asked, and where to find what it led to.
    done: BTreeMap<String, (String, Value)>,
    invoices: BTreeSet<String>,
    faults: Vec<(&'static str, Fault)>,
    /// Every answer to a POST under a key is lost once.
    losing: bool,
    away: bool,
    /// Refunds stay pending until [`Simulator::fail_refunds`].
    slow_refunds: bool,
    lost: BTreeSet<String>,
    effects: Vec<&'static str>,
    sent: BTreeMap<String, String>,
    verdicts: u32,
}

struct Order {
    unit: Value,
    status: &'static str,
    click: Option<Click>,
    authorization: Option<(String, &'static str)>,
    capture: Option<Value>,
    refunds: Vec<Value>,
    back: String,
}

#[derive(Clone)]
pub(crate) struct Simulator {
    pub(crate) base: String,
    world: Arc<Mutex<World>>,
    client: reqwest::Client,
}

type Refusal = (u16, Value);
type Done = Result<(u16, Value), Refusal>;

fn refusal(status: u16, name: &str, issue: &str) -> Refusal {
    let details = json!([{ "issue": issue, "description": "In words." }]);
    (status, json!({ "name": name, "message": "In words.", "debug_id": "90957fca61718", "details": details }))
}

fn unprocessable(issue: &str) -> Refusal {
    refusal(422, "UNPROCESSABLE_ENTITY", issue)
}

fn malformed(issue: &str) -> Refusal {
    refusal(400, "INVALID_REQUEST", issue)
}

fn missing() -> Refusal {
    refusal(404, "RESOURCE_NOT_FOUND", "INVALID_RESOURCE_ID")
}

/// An object with exactly these fields.
fn object<'a, const N: usize>(value: &'a Value, fields: [&str; N]) -> Result<[&'a Value; N], Refusal> {
    let object = value.as_object().ok_or_else(|| malformed("MALFORMED_REQUEST_JSON"))?;
    if object.keys().any(|key| !fields.contains(&key.as_str())) {
        return Err(malformed("NOT_SUPPORTED"));
    }
    let mut found = [&Value::Null; N];
    for (place, field) in found.iter_mut().zip(fields) {
        *place = object.get(field).ok_or_else(|| malformed("MISSING_REQUIRED_PARAMETER"))?;
    }
    Ok(found)
}

fn text(value: &Value, longest: usize) -> Result<&str, Refusal> {
    let text = value.as_str().filter(|text| (1..=longest).contains(&text.len()));
    text.ok_or_else(|| malformed("INVALID_STRING_LENGTH"))
}

/// A name of ours for something.
fn name(value: &Value) -> Result<&str, Refusal> {
    let name = text(value, 127)?;
    let plain = name.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_.,".contains(&byte));
    if plain { Ok(name) } else { Err(malformed("INVALID_PARAMETER_SYNTAX")) }
}

fn amount(value: &Value) -> Result<Money, Refusal> {
    let [code, value] = object(value, ["currency_code", "value"])?;
    let (code, value) = (text(code, 3)?, text(value, 32)?);
    if !CURRENCIES.contains(&code) {
        return Err(unprocessable("CURRENCY_NOT_SUPPORTED"));
    }
    let decimals = value.split_once('.').map_or(0, |(_, decimals)| decimals.len());
    if decimals != if WHOLE.contains(&code) { 0 } else { 2 } {
        return Err(unprocessable("DECIMAL_PRECISION"));
    }
    let money =
        Money::parse_decimal(value, code.parse().unwrap()).map_err(|_| malformed("INVALID_PARAMETER_SYNTAX"))?;
    if money.minor() > 0 { Ok(money) } else { Err(unprocessable("CANNOT_BE_ZERO_OR_NEGATIVE")) }
}

impl Order {
    fn shown(&self, base: &str, id: &str) -> Value {
        let mut unit = self.unit.clone();
        let authorizations: Vec<_> = self
            .authorization
            .iter()
            .map(|(id, status)| json!({ "id": id, "status": status, "amount": self.unit["amount"] }))
            .collect();
        if !authorizations.is_empty() {
            let captures: Vec<_> = self.capture.iter().cloned().collect();
            let payments = json!({ "authorizations": authorizations, "captures": captures, "refunds": self.refunds });
            unit["payments"] = payments;
        }
        let page = json!({ "href": format!("{base}/checkoutnow?token={id}"), "rel": "payer-action", "method": "GET" });
        let own = json!({ "href": format!("{base}/v2/checkout/orders/{id}"), "rel": "self", "method": "GET" });
        let links = if self.status == "PAYER_ACTION_REQUIRED" { vec![own, page] } else { vec![own] };
        json!({
            "id": id, "intent": "AUTHORIZE", "status": self.status, "purchase_units": [unit], "links": links,
            "payment_source": { "paypal": { "account_id": "QYR5Z8XDVJNXQ", "address": { "country_code": "GB" } } },
        })
    }

    fn captured(&self) -> i64 {
        let capture = self.capture.as_ref().filter(|capture| capture["status"] != "DECLINED");
        capture.map_or(0, |capture| amount(&capture["amount"]).unwrap().minor())
    }

    fn refunded(&self) -> i64 {
        let refunds = self.refunds.iter().filter(|refund| refund["status"] != "FAILED");
        refunds.map(|refund| amount(&refund["amount"]).unwrap().minor()).sum()
    }
}

impl World {
    fn id(&mut self, kind: &str) -> String {
        self.made += 1;
        format!("{kind}{:015}", self.made)
    }

    fn create(&mut self, base: &str, body: &Value) -> Done {
        let [intent, units, source] = object(body, ["intent", "purchase_units", "payment_source"])?;
        let [unit] = units.as_array().map(Vec::as_slice).unwrap_or_default() else {
            return Err(malformed("INVALID_ARRAY_LENGTH"));
        };
        let [reference, custom, invoice, money] = object(unit, ["reference_id", "custom_id", "invoice_id", "amount"])?;
        text(reference, 256)?;
        name(custom)?;
        name(invoice)?;
        amount(money)?;
        let [paypal] = object(source, ["paypal"])?;
        let [context] = object(paypal, ["experience_context"])?;
        let fields = ["return_url", "cancel_url", "user_action", "shipping_preference"];
        let [back, cancel, action, shipping] = object(context, fields)?;
        let asked = (intent.as_str(), action.as_str(), shipping.as_str());
        if asked != (Some("AUTHORIZE"), Some("PAY_NOW"), Some("NO_SHIPPING")) {
            return Err(malformed("INVALID_PARAMETER_VALUE"));
        }
        for url in [back, cancel] {
            if !text(url, 2048)?.starts_with("http") {
                return Err(malformed("INVALID_PARAMETER_SYNTAX"));
            }
        }
        let (id, back) = (self.id("5O"), text(back, 2048)?.to_owned());
        let order = Order {
            unit: unit.clone(),
            status: "PAYER_ACTION_REQUIRED",
            click: None,
            authorization: None,
            capture: None,
            refunds: Vec::new(),
            back,
        };
        let shown = order.shown(base, &id);
        self.orders.insert(id, order);
        Ok((201, shown))
    }

    fn authorize(&mut self, base: &str, id: &str, body: &Value) -> Done {
        object(body, [])?;
        let new = self.id("0A");
        let order = self.orders.get_mut(id).ok_or_else(missing)?;
        match (order.status, order.click) {
            (_, _) if order.authorization.is_some() => return Err(unprocessable("ORDER_ALREADY_AUTHORIZED")),
            ("APPROVED", Some(Click::AgreeWithBadCard)) => return Err(unprocessable("INSTRUMENT_DECLINED")),
            ("APPROVED", _) => {}
            _ => return Err(unprocessable("ORDER_NOT_APPROVED")),
        }
        order.authorization = Some((new, "CREATED"));
        order.status = "COMPLETED";
        self.effects.push("authorize");
        Ok((201, order.shown(base, id)))
    }

    fn of_authorization(&mut self, authorization: &str) -> Result<&mut Order, Refusal> {
        let known = |order: &&mut Order| order.authorization.as_ref().is_some_and(|(id, _)| id == authorization);
        self.orders.values_mut().find(known).ok_or_else(missing)
    }

    fn capture(&mut self, authorization: &str, body: &Value) -> Done {
        let [money, last] = object(body, ["amount", "final_capture"])?;
        let new = self.id("2G");
        let order = self.of_authorization(authorization)?;
        if amount(money)? != amount(&order.unit["amount"])? || last != &json!(true) {
            return Err(unprocessable("MAX_CAPTURE_AMOUNT_EXCEEDED"));
        }
        let (slow, strict) =
            (order.click == Some(Click::AgreeWithSlowBank), order.click == Some(Click::AgreeWithStrictBank));
        match &mut order.authorization {
            Some((_, "CREATED")) if order.click == Some(Click::AgreeWithEmptyAccount) => {
                return Err(unprocessable("PAYER_CANNOT_PAY"));
            }
            Some((_, "CREATED")) if strict => {}
            Some((_, status @ "CREATED")) => *status = "CAPTURED",
            Some((_, "VOIDED")) => return Err(unprocessable("AUTHORIZATION_VOIDED")),
            _ => return Err(unprocessable("AUTHORIZATION_ALREADY_CAPTURED")),
        }
        let status = match (slow, strict) {
            (true, _) => "PENDING",
            (_, true) => "DECLINED",
            _ => "COMPLETED",
        };
        let custom = &order.unit["custom_id"];
        let capture =
            json!({ "id": new, "status": status, "amount": money, "custom_id": custom, "final_capture": true });
        order.capture = Some(capture.clone());
        self.effects.push("capture");
        Ok((201, capture))
    }

    fn void(&mut self, authorization: &str, body: &Value) -> Done {
        object(body, [])?;
        let order = self.of_authorization(authorization)?;
        match &mut order.authorization {
            Some((_, status @ "CREATED")) => *status = "VOIDED",
            Some((_, "VOIDED")) => return Err(unprocessable("PREVIOUSLY_VOIDED")),
            _ => return Err(unprocessable("PREVIOUSLY_CAPTURED")),
        }
        self.effects.push("void");
        Ok((200, json!({ "id": authorization, "status": "VOIDED" })))
    }

    fn refund(&mut self, capture: &str, body: &Value) -> Done {
        let [money, custom, invoice] = object(body, ["amount", "custom_id", "invoice_id"])?;
        let (new, asked, invoice) = (self.id("1J"), amount(money)?, name(invoice)?.to_owned());
        let status = if self.slow_refunds { "PENDING" } else { "COMPLETED" };
        name(custom)?;
        let known = |order: &&mut Order| order.capture.as_ref().is_some_and(|known| known["id"] == capture);
        let order = self.orders.values_mut().find(known).ok_or_else(missing)?;
        let left = order.captured() - order.refunded();
        if asked.minor() > left {
            let issue = if left == 0 { "CAPTURE_FULLY_REFUNDED" } else { "REFUND_AMOUNT_EXCEEDED" };
            return Err(unprocessable(issue));
        }
        if !self.invoices.insert(invoice) {
            return Err(unprocessable("DUPLICATE_INVOICE_ID"));
        }
        let refund = json!({ "id": new, "status": status, "amount": money, "custom_id": custom });
        order.refunds.push(refund.clone());
        let all = order.refunded() == order.captured();
        if let Some(capture) = &mut order.capture {
            capture["status"] = json!(if all { "REFUNDED" } else { "PARTIALLY_REFUNDED" });
        }
        self.effects.push("refund");
        Ok((201, refund))
    }

    /// An effect, once under its key.
    fn once(&mut self, headers: &HeaderMap, asked: String, effect: impl FnOnce(&mut Self) -> Done) -> Done {
        let header = |name: &str| headers.get(name).and_then(|value| value.to_str().ok()).unwrap_or_default();
        let key = header("paypal-request-id").to_owned();
        if !(1..=108).contains(&key.len()) || header("prefer") != "return=representation" {
            return Err(malformed("INVALID_REQUEST_HEADERS"));
        }
        match self.done.get(&key) {
            Some((same, answer)) if *same == asked => return Ok((200, answer.clone())),
            Some(_) => return Err(unprocessable("PAYPAL_REQUEST_ID_REUSED")),
            None => {}
        }
        let (status, answer) = effect(self)?;
        self.done.insert(key, (asked, answer.clone()));
        Ok((status, answer))
    }

    /// Whether it sent that event: to our webhook, with those bytes.
    fn verify(&mut self, raw: &str, body: &Value) -> Done {
        let fields = [
            "auth_algo",
            "cert_url",
            "transmission_id",
            "transmission_sig",
            "transmission_time",
            "webhook_id",
            "webhook_event",
        ];
        let [algo, cert, id, sig, time, webhook, _] = object(body, fields)?;
        for part in [algo, cert, id, sig, time] {
            text(part, 500)?;
        }
        self.verdicts += 1;
        let event = self.sent.get(text(id, 50)?);
        let same = event.is_some_and(|event| raw.contains(&format!("\"webhook_event\":{event}")));
        let own = same && sig == "signed" && webhook == WEBHOOK_ID;
        Ok((200, json!({ "verification_status": if own { "SUCCESS" } else { "FAILURE" } })))
    }

    fn route(&mut self, base: &str, method: &Method, path: &str, headers: &HeaderMap, raw: &str) -> Done {
        let bearer = headers.get("authorization").and_then(|value| value.to_str().ok()).unwrap_or_default();
        if self.token.is_empty() || bearer != format!("Bearer {}", self.token) {
            return Err((401, json!({ "error": "invalid_token", "error_description": "In words." })));
        }
        if headers.get("content-type") != Some(&HeaderValue::from_static("application/json")) {
            return Err(refusal(415, "UNSUPPORTED_MEDIA_TYPE", ""));
        }
        let parts: Vec<_> = path.trim_start_matches('/').split('/').collect();
        if let (&Method::GET, ["v2", "checkout", "orders", id]) = (method, &parts[..]) {
            return Ok((200, self.orders.get(*id).ok_or_else(missing)?.shown(base, id)));
        }
        let body: Value = serde_json::from_str(raw).map_err(|_| malformed("MALFORMED_REQUEST_JSON"))?;
        let asked = format!("{path} {raw}");
        match (method, &parts[..]) {
            (&Method::POST, ["v2", "checkout", "orders"]) => {
                self.once(headers, asked, |world| world.create(base, &body))
            }
            (&Method::POST, ["v2", "checkout", "orders", id, "authorize"]) => {
                self.once(headers, asked, |world| world.authorize(base, id, &body))
            }
            (&Method::POST, ["v2", "payments", "authorizations", id, "capture"]) => {
                self.once(headers, asked, |world| world.capture(id, &body))
            }
            (&Method::POST, ["v2", "payments", "authorizations", id, "void"]) => {
                self.once(headers, asked, |world| world.void(id, &body))
            }
            (&Method::POST, ["v2", "payments", "captures", id, "refund"]) => {
                self.once(headers, asked, |world| world.refund(id, &body))
            }
            (&Method::POST, ["v1", "notifications", "verify-webhook-signature"]) => self.verify(raw, &body),
            _ => Err(missing()),
        }
    }

    fn grant(&mut self, headers: &HeaderMap, raw: &str) -> Done {
        use base64::Engine as _;
        let pair = base64::prelude::BASE64_STANDARD.encode(format!("{}:{}", CLIENT.0, CLIENT.1));
        if headers.get("authorization") != Some(&HeaderValue::from_str(&format!("Basic {pair}")).unwrap()) {
            return Err((401, json!({ "error": "invalid_client", "error_description": "In words." })));
        }
        if raw != "grant_type=client_credentials" {
            return Err((400, json!({ "error": "unsupported_grant_type" })));
        }
        self.tokens_issued += 1;
        self.token = format!("A21AA{}", hex::encode(Entropy::system().bytes::<8>()));
        Ok((200, json!({ "access_token": self.token, "token_type": "Bearer", "expires_in": 32_400 })))
    }

    /// What is to go wrong with a request to that path.
    fn fault(&mut self, method: &Method, path: &str) -> Option<Fault> {
        if self.away {
            return Some(Fault::Before(503));
        }
        if let Some(index) = self.faults.iter().position(|(word, _)| path.contains(word)) {
            return Some(self.faults.remove(index).1);
        }
        let loses = self.losing && method == Method::POST && self.lost.insert(path.to_owned());
        loses.then_some(Fault::Lost)
    }
}

impl Simulator {
    pub(crate) async fn open() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let base = format!("http://{}", listener.local_addr().unwrap());
        let client = reqwest::Client::builder().redirect(reqwest::redirect::Policy::none()).build().unwrap();
        let simulator = Self { base, world: Arc::default(), client };
        let routes = Router::new().fallback(answer).with_state(simulator.clone());
        tokio::spawn(async move { axum::serve(listener, routes).await });
        simulator
    }

    fn world(&self) -> MutexGuard<'_, World> {
        self.world.lock().unwrap()
    }

    /// Has the next request whose path holds the word go wrong.
    pub(crate) fn fail(&self, word: &'static str, fault: Fault) {
        self.world().faults.push((word, fault));
    }

    /// From now on the first answer to each POST is lost.
    pub(crate) fn lose_answers(&self) {
        self.world().losing = true;
    }

    /// Whoever was away answers again.
    pub(crate) fn come_back(&self) {
        self.world().away = false;
    }

    /// From now on refunds are pending.
    pub(crate) fn slow_refunds(&self) {
        self.world().slow_refunds = true;
    }

    /// Every pending refund fails; those to come are through at once.
    pub(crate) fn fail_refunds(&self) {
        let mut world = self.world();
        world.slow_refunds = false;
        for refund in world.orders.values_mut().flat_map(|order| &mut order.refunds) {
            if refund["status"] == "PENDING" {
                refund["status"] = json!("FAILED");
            }
        }
    }

    /// The token ends before its time.
    pub(crate) fn end_token(&self) {
        self.world().token = "another".to_owned();
    }

    pub(crate) fn tokens_issued(&self) -> u32 {
        self.world().tokens_issued
    }

    /// How often it was asked whether it had sent an event.
    pub(crate) fn verdicts(&self) -> u32 {
        self.world().verdicts
    }

    pub(crate) fn orders(&self) -> usize {
        self.world().orders.len()
    }

    /// How often something of the kind happened.
    pub(crate) fn effects(&self, kind: &str) -> usize {
        self.world().effects.iter().filter(|effect| **effect == kind).count()
    }

    /// What was captured, and what went back, in minor units.
    pub(crate) fn moved(&self) -> (i64, i64) {
        let world = self.world();
        let sum = |minor: fn(&Order) -> i64| world.orders.values().map(minor).sum();
        (sum(Order::captured), sum(Order::refunded))
    }

    /// The amount of an order as it was written.
    pub(crate) fn amount(&self, order: &str) -> Value {
        self.world().orders[order].unit["amount"].clone()
    }

    /// The status of what is kept ready for an order.
    pub(crate) fn authorization(&self, order: &str) -> Option<&'static str> {
        self.world().orders[order].authorization.as_ref().map(|(_, status)| *status)
    }

    /// The slow bank has paid.
    pub(crate) fn clear(&self, order: &str) {
        self.world().orders.get_mut(order).unwrap().capture.as_mut().unwrap()["status"] = json!("COMPLETED");
    }

    /// The shopper answers on the page; where he is led then.
    pub(crate) async fn click(&self, page: &str, click: Click) -> String {
        let answer = self.client.get(format!("{page}&answer={click:?}")).send().await.unwrap();
        assert_eq!(answer.status(), 302, "{page}");
        answer.headers()["location"].to_str().unwrap().to_owned()
    }

    fn clicked(&self, uri: &Uri) -> Response {
        let query: BTreeMap<_, _> = uri.query().unwrap().split('&').filter_map(|pair| pair.split_once('=')).collect();
        let mut world = self.world();
        let Some(order) = world.orders.get_mut(query["token"]) else { return StatusCode::NOT_FOUND.into_response() };
        let clicks = [
            Click::Agree,
            Click::AgreeWithBadCard,
            Click::AgreeWithSlowBank,
            Click::AgreeWithEmptyAccount,
            Click::AgreeWithStrictBank,
            Click::Cancel,
        ];
        let click = clicks.into_iter().find(|click| format!("{click:?}") == query["answer"]).unwrap();
        if click != Click::Cancel && order.status == "PAYER_ACTION_REQUIRED" {
            (order.click, order.status) = (Some(click), "APPROVED");
        }
        let back = [("location", format!("{}&token={}", order.back, query["token"]))];
        (StatusCode::FOUND, back).into_response()
    }

    /// An event about an order, as it would be posted.
    pub(crate) fn event(&self, kind: &str, order: &str) -> (HeaderMap, String) {
        let mut world = self.world();
        let (event, transmission) = (world.id("WH-"), world.id("69cd13f0-"));
        let custom = world.orders.get(order).map(|order| order.unit["custom_id"].clone());
        let custom = custom.unwrap_or_else(|| json!("order-17"));
        let resource = if kind.starts_with("CHECKOUT") {
            json!({ "id": order, "purchase_units": [{ "custom_id": custom }] })
        } else {
            json!({ "id": "x", "custom_id": custom, "supplementary_data": { "related_ids": { "order_id": order } } })
        };
        // A float and an escape, which would not survive being read and written.
        let body = format!(r#"{{"id":"{event}", "v":1.0, "n":"\u00e9", "event_type":"{kind}","resource":{resource}}}"#);
        world.sent.insert(transmission.clone(), body.clone());
        let mut headers = HeaderMap::new();
        let all = [
            ("paypal-auth-algo", "SHA256withRSA"),
            ("paypal-cert-url", "https://api.sandbox.paypal.com/v1/notifications/certs/CERT-360caa42"),
            ("paypal-transmission-id", &transmission),
            ("paypal-transmission-sig", "signed"),
            ("paypal-transmission-time", "2030-01-01T12:00:00Z"),
        ];
        for (name, value) in all {
            headers.insert(name, HeaderValue::from_str(value).unwrap());
        }
        (headers, body)
    }
}

async fn answer(
    State(simulator): State<Simulator>,
    method: Method,
    uri: Uri,
    headers: HeaderMap,
    body: Bytes,
) -> Response {
    if uri.path() == "/checkoutnow" {
        return simulator.clicked(&uri);
    }
    let fault = simulator.world().fault(&method, uri.path());
    if let Some(Fault::Before(status)) = fault {
        return (StatusCode::from_u16(status).unwrap(), "{}").into_response();
    }
    let raw = String::from_utf8(body.to_vec()).unwrap();
    let done = match uri.path() {
        "/v1/oauth2/token" => simulator.world().grant(&headers, &raw),
        path => simulator.world().route(&simulator.base, &method, path, &headers, &raw),
    };
    match fault {
        Some(Fault::Lost) => (StatusCode::BAD_GATEWAY, "lost").into_response(),
        Some(Fault::LostAndAway) => {
            simulator.world().away = true;
            (StatusCode::BAD_GATEWAY, "lost").into_response()
        }
        Some(Fault::Silent) => std::future::pending().await,
        Some(Fault::Before(_)) | None => {
            let (status, answer) = done.unwrap_or_else(|refusal| refusal);
            (StatusCode::from_u16(status).unwrap(), answer.to_string()).into_response()
        }
    }
}

pub(crate) fn pounds(minor: i64) -> Money {
    Money::new(minor, Currency::GBP).unwrap()
}
