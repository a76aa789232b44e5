//! Payments on Stripe's own page, against a small simulator of Checkout Sessions: neither fake has them. It keeps what it was sent,
//! idempotency keys too, and answers in the shapes of Stripe's published specification; Stripe itself it is not.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use axum::body::Bytes;
use axum::extract::State;
use axum::http::{HeaderMap, Method, StatusCode, Uri};
use axum::{Json, Router};
use region_core_payment::provider::{NewRefund, Provider as _, ProviderError, ProviderStatus};
use serde_json::{Value, json};
use shared::RefundId;
use shared::id::Slot;
use tokio::net::TcpListener;

use crate::fake::{World, pounds};
use crate::shop::Shop;

/// Where the shop's pages are.
const SHOP: &str = "https://shop.example";
/// The way to pay that leads to Stripe's page.
const TOKEN: &str = "stripe_checkout";

type Form = BTreeMap<String, String>;

#[derive(Default)]
struct Book {
    sessions: BTreeMap<String, Session>,
    /// What each key was sent with, and its answer.
    keys: BTreeMap<String, (String, StatusCode, Value)>,
    /// Whether the shopper pays at the very moment at which his Session is to be expired.
    hasty: bool,
}

struct Session {
    form: Form,
    status: &'static str,
    /// Its PaymentIntent: status, what moved, and what moved back.
    intent: Option<(&'static str, i64, i64)>,
}

/// Stripe, as far as Checkout goes.
#[derive(Clone, Default)]
struct Checkout(Arc<Mutex<Book>>);

impl Checkout {
    async fn start() -> (Self, String) {
        let checkout = Self::default();
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let origin = format!("http://{}", listener.local_addr().unwrap());
        let routes = Router::new().fallback(asked).with_state(checkout.clone());
        tokio::spawn(async move { axum::serve(listener, routes).await });
        (checkout, origin)
    }

    fn book<T>(&self, work: impl FnOnce(&mut Book) -> T) -> T {
        work(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// The shopper pays on the page. Whether he still could.
    fn pay(&self, session: &str) -> bool {
        self.book(|book| book.sessions.get_mut(session).unwrap().pay())
    }

    /// Status of the only Session, and its PaymentIntent.
    fn only(&self) -> (&'static str, Option<(&'static str, i64, i64)>) {
        self.book(|book| {
            assert_eq!(book.sessions.len(), 1);
            let session = book.sessions.values().next().unwrap();
            (session.status, session.intent)
        })
    }
}

impl Session {
    fn pay(&mut self) -> bool {
        let open = self.status == "open";
        if open {
            (self.status, self.intent) = ("complete", Some(("requires_capture", 0, 0)));
        }
        open
    }

    fn amount(&self) -> i64 {
        self.form["line_items[0][price_data][unit_amount]"].parse().unwrap()
    }

    fn intent(&self, id: &str) -> Value {
        let Some((status, received, refunded)) = self.intent else { return Value::Null };
        let charge = json!({ "id": "ch_1", "object": "charge", "amount_refunded": refunded });
        json!({
            "id": id.replace("cs_", "pi_"), "object": "payment_intent", "amount": self.amount(), "amount_received": received,
            "capture_method": self.form["payment_intent_data[capture_method]"], "currency": "gbp", "status": status,
            "metadata": {}, "last_payment_error": null, "next_action": null, "latest_charge": charge,
        })
    }

    fn shown(&self, id: &str) -> Value {
        let url = (self.status == "open").then(|| format!("https://checkout.stripe.com/c/pay/{id}#fid"));
        json!({
            "id": id, "object": "checkout.session", "mode": "payment", "status": self.status, "url": url,
            "amount_total": self.amount(), "currency": self.form["line_items[0][price_data][currency]"],
            "client_reference_id": self.form["client_reference_id"], "payment_status": "unpaid",
            "metadata": { "payment_id": self.form["metadata[payment_id]"] }, "payment_intent": self.intent(id),
        })
    }
}

async fn asked(
    State(checkout): State<Checkout>,
    method: Method,
    uri: Uri,
    headers: HeaderMap,
    body: Bytes,
) -> (StatusCode, Json<Value>) {
    let path: Vec<&str> = uri.path().trim_start_matches("/v1/").split('/').collect();
    let form: Form = url::form_urlencoded::parse(&body).into_owned().collect();
    let (status, answer) = checkout.book(|book| {
        let key = headers.get("idempotency-key").map(|key| key.to_str().unwrap().to_owned());
        let request = format!("{method} {} {form:?}", uri.path());
        if let Some((sent, status, answer)) = key.as_ref().and_then(|key| book.keys.get(key)) {
            let same = *sent == request;
            return if same { (*status, answer.clone()) } else { refused("idempotency_error", "idempotency_error") };
        }
        let answer = book.answer(&method, &path, &form);
        if let Some(key) = key {
            book.keys.insert(key, (request, answer.0, answer.1.clone()));
        }
        answer
    });
    (status, Json(answer))
}

fn refused(kind: &str, code: &str) -> (StatusCode, Value) {
    (StatusCode::BAD_REQUEST, json!({ "error": { "type": kind, "code": code, "message": "In words." } }))
}

impl Book {
    fn answer(&mut self, method: &Method, path: &[&str], form: &Form) -> (StatusCode, Value) {
        let get = method == Method::GET;
        let odd = || refused("invalid_request_error", "unexpected_state");
        match path {
            ["checkout", "sessions"] => {
                let id = format!("cs_test_{}", self.sessions.len());
                let session = Session { form: form.clone(), status: "open", intent: None };
                let shown = session.shown(&id);
                self.sessions.insert(id, session);
                (StatusCode::OK, shown)
            }
            ["checkout", "sessions", id] if get => (StatusCode::OK, self.sessions[*id].shown(id)),
            ["checkout", "sessions", id, "expire"] => {
                let hasty = std::mem::take(&mut self.hasty);
                let session = self.sessions.get_mut(*id).unwrap();
                if hasty {
                    session.pay();
                }
                if session.status != "open" {
                    return odd();
                }
                session.status = "expired";
                (StatusCode::OK, session.shown(id))
            }
            ["payment_intents", id, what] => {
                let id = id.replace("pi_", "cs_");
                let session = self.sessions.get_mut(&id).unwrap();
                let amount = session.amount();
                session.intent = match (session.intent, *what) {
                    (Some(("requires_capture", 0, 0)), "capture") => Some(("succeeded", amount, 0)),
                    (Some(("requires_capture", 0, 0)), "cancel") => Some(("canceled", 0, 0)),
                    _ => return odd(),
                };
                (StatusCode::OK, session.intent(&id))
            }
            ["refunds"] if !get => {
                let session = self.sessions.get_mut(&form["payment_intent"].replace("pi_", "cs_")).unwrap();
                let asked: i64 = form["amount"].parse().unwrap();
                match session.intent {
                    Some(("succeeded", received, refunded)) if refunded + asked <= received => {
                        session.intent = Some(("succeeded", received, refunded + asked));
                    }
                    _ => return odd(),
                }
                (StatusCode::OK, json!({ "id": "re_1", "amount": asked, "currency": "gbp", "status": "succeeded" }))
            }
            _ => (StatusCode::NOT_FOUND, Value::Null),
        }
    }
}

/// A shop whose order waits for its shopper on Stripe's page, and what it waits at.
async fn waiting(claims: bool) -> (Checkout, Shop, shared::OrderId, String) {
    let (checkout, origin) = Checkout::start().await;
    let mut shop = Shop::open_at(World::stripe_at(&origin), claims, Some(SHOP)).await;
    let order = shop.order(TOKEN).await;
    shop.until(order, "challenge_required").await;
    let session = shop.reference(order).await;
    (checkout, shop, order, session)
}

pub(crate) async fn whoever_pays_on_stripes_page() {
    let (checkout, mut shop, order, session) = waiting(true).await;
    let page: (String,) = shop.row("next_action_url", order).await.unwrap();
    assert_eq!(page.0, format!("https://checkout.stripe.com/c/pay/{session}#fid"));
    let form = checkout.book(|book| book.sessions[&session].form.clone());
    let back = format!("{SHOP}/orders/{order}?notice=back");
    let payment: (uuid::Uuid,) = shop.row("payment_id", order).await.unwrap();
    let sent = ["success_url", "cancel_url", "client_reference_id", "payment_intent_data[capture_method]", "mode"];
    assert_eq!(sent.map(|name| form[name].as_str()), [&*back, &*back, &*payment.0.to_string(), "manual", "payment"]);
    assert!(checkout.pay(&session));
    shop.payments.confirm_challenge(order).await.unwrap();
    shop.until(order, "captured").await;
    assert_eq!(checkout.only(), ("complete", Some(("succeeded", 1250, 0))));
    shop.cancel(order).await;
    shop.until(order, "refunded").await;
    assert_eq!(checkout.only(), ("complete", Some(("succeeded", 1250, 1250))));
}

pub(crate) async fn an_order_that_ends_first() {
    let (checkout, mut shop, order, session) = waiting(true).await;
    shop.cancel(order).await;
    shop.until(order, "voided").await;
    assert_eq!(checkout.only(), ("expired", None));
    assert!(!checkout.pay(&session), "a page that is over takes no money");
}

pub(crate) async fn a_shopper_who_pays_as_his_order_ends() {
    // He pays just as the Session is to be expired; what is kept ready then is let go under a key of its own.
    let (checkout, mut shop, order, _) = waiting(false).await;
    checkout.book(|book| book.hasty = true);
    shop.cancel(order).await;
    shop.until(order, "voided").await;
    assert_eq!(checkout.only(), ("complete", Some(("canceled", 0, 0))));
}

pub(crate) async fn a_shop_without_an_address() {
    let (checkout, origin) = Checkout::start().await;
    let mut shop = Shop::open_at(World::stripe_at(&origin), true, None).await;
    let order = shop.order(TOKEN).await;
    shop.until(order, "declined").await;
    assert!(checkout.book(|book| book.sessions.is_empty()));
    assert!(shop.payments.methods().is_empty(), "what cannot be paid is offered");
}

/// Half of the time of a call goes by until a Session is read, and what is to be done to its PaymentIntent is never answered.
pub(crate) async fn a_stripe_that_takes_its_time() {
    const TOTAL: Duration = Duration::from_secs(1);
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let origin = format!("http://{}", listener.local_addr().unwrap());
    let slow = async |uri: Uri| {
        if !uri.path().starts_with("/v1/checkout/sessions/") {
            std::future::pending::<()>().await;
        }
        tokio::time::sleep(TOTAL / 2).await;
        let form = [("line_items[0][price_data][unit_amount]", "1250"), ("line_items[0][price_data][currency]", "gbp")];
        let named = [
            ("client_reference_id", "ours"),
            ("metadata[payment_id]", "ours"),
            ("payment_intent_data[capture_method]", "manual"),
        ];
        let form = form.into_iter().chain(named).map(|(name, value)| (name.to_owned(), value.to_owned())).collect();
        Json(Session { form, status: "complete", intent: Some(("requires_capture", 0, 0)) }.shown("cs_test_1"))
    };
    tokio::spawn(async move { axum::serve(listener, Router::new().fallback(slow)).await });
    let (stripe, session, amount) = (World::stripe_within(&origin, TOTAL), "cs_test_1", pounds(300));
    let refund_id = RefundId::mint(1_800_000_000_000, Slot::new(9).unwrap(), [1; 8]);
    let calls = tokio::join!(
        stripe.capture(session, "capture"),
        stripe.void(session, "void"),
        stripe.refund(session, amount, "refund"),
        stripe.give_back(session, NewRefund { refund_id, amount }, "part"),
        stripe.find_refund(session, refund_id),
    );
    let errors = [calls.0.err(), calls.1.err(), calls.2.err(), calls.3.err(), calls.4.err()];
    let late = ProviderError::Unknown("not done within 1000 ms".to_owned());
    assert_eq!(errors, std::array::from_fn(|_| Some(late.clone())), "each is ended as a whole");
}

/// Neither fake takes an address to come back to; Stripe's specification does.
pub(crate) async fn a_bank_that_asks_on_its_page() {
    const PAGE: &str = "https://hooks.stripe.com/3d_secure_2/hosted?merchant=acct_1";
    let sent = Arc::new(Mutex::new(Form::new()));
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let origin = format!("http://{}", listener.local_addr().unwrap());
    let asks = async |State(sent): State<Arc<Mutex<Form>>>, body: Bytes| {
        let form: Form = url::form_urlencoded::parse(&body).into_owned().collect();
        let redirect = json!({ "url": PAGE, "return_url": form["return_url"] });
        *sent.lock().unwrap() = form;
        Json(json!({
            "id": "pi_1", "amount": 1250, "currency": "gbp", "status": "requires_action", "metadata": { "payment_id": "ours" },
            "next_action": { "type": "redirect_to_url", "redirect_to_url": redirect }, "latest_charge": null,
        }))
    };
    let confirm = axum::routing::post(asks);
    let routes = Router::new().route("/v1/payment_intents/pi_1/confirm", confirm).with_state(Arc::clone(&sent));
    tokio::spawn(async move { axum::serve(listener, routes).await });
    let back = format!("{SHOP}/orders/1?notice=back");
    let asked = World::stripe_at(&origin).authorize_returning("pi_1", Some(&back), "authorize").await.unwrap();
    assert_eq!((asked.status, asked.next_action.as_deref()), (ProviderStatus::ChallengeRequired, Some(PAGE)));
    let form = sent.lock().unwrap().clone();
    assert_eq!((form["return_url"].as_str(), form["use_stripe_sdk"].as_str()), (back.as_str(), "false"));
}
