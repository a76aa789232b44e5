//! Answers that are lost, and news that come when all is over.

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex};

use axum::Router;
use axum::body::Bytes;
use axum::extract::State;
use axum::http::{HeaderMap, Method, StatusCode, Uri};
use hmac::{Hmac, Mac};
use region_core_payment::provider::{Provider, ProviderStatus};
use serde_json::{Value, json};
use sha2::Sha256;
use shared_clock::Clock;
use tokio::net::TcpListener;

use crate::fake::{Fake, WEBHOOK_SECRET, World, authorized};
use crate::shop::Shop;

/// Between us and Stripe: does what it is told, and loses the first answer to each thing that was to be done.
#[derive(Clone)]
struct Lossy {
    world: World,
    lost: Arc<Mutex<BTreeSet<String>>>,
    client: reqwest::Client,
}

impl Lossy {
    /// In front of `world`; where it is.
    async fn before(world: &World) -> (Self, String) {
        let lossy = Self { world: world.clone(), lost: Arc::default(), client: reqwest::Client::new() };
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let origin = format!("http://{}", listener.local_addr().unwrap());
        let routes = Router::new().fallback(pass).with_state(lossy.clone());
        tokio::spawn(async move { axum::serve(listener, routes).await });
        (lossy, origin)
    }
}

async fn pass(
    State(lossy): State<Lossy>,
    method: Method,
    uri: Uri,
    mut headers: HeaderMap,
    body: Bytes,
) -> (StatusCode, Bytes) {
    headers.remove("host");
    headers.remove("content-length");
    let request = lossy.client.request(method.clone(), format!("{}{uri}", lossy.world.base)).headers(headers);
    let answer = request.body(body).send().await.unwrap();
    let (status, said) = (answer.status(), answer.bytes().await.unwrap());
    if method == Method::POST && lossy.lost.lock().unwrap().insert(uri.path().to_owned()) {
        return (StatusCode::BAD_GATEWAY, Bytes::from_static(b"lost"));
    }
    (status, said)
}

pub(crate) async fn every_answer_lost_once(fake: Arc<Fake>) {
    let world = fake.world().await;
    let card = world.card("tok_visa").await;
    let (lossy, base) = Lossy::before(&world).await;
    let mut shop = Shop::open(World::stripe_at(&base), true).await;
    let order = shop.order(&card).await;
    shop.until(order, "captured").await;
    let reference = shop.reference(order).await;
    let lost = lossy.lost.lock().unwrap().clone();
    let intent = format!("/v1/payment_intents/{reference}");
    let expected = ["/v1/payment_intents".to_owned(), format!("{intent}/capture"), format!("{intent}/confirm")];
    assert_eq!(lost, expected.into(), "each was done once with nobody to hear of it");
    assert_eq!(world.charged().await, (1, 1250));
    let known = world.get("/v1/payment_intents").await;
    assert_eq!(known["data"].as_array().unwrap().len(), 1, "an unknown create was made twice");
    shop.cancel(order).await;
    shop.until(order, "refunded").await;
    assert_eq!(shop.row("captured_minor, refunded_minor", order).await, Some((1250_i64, 1250_i64)));
    let refunds = world.get("/v1/refunds").await;
    assert_eq!(refunds["data"].as_array().unwrap().len(), 1, "an unknown refund was made twice");
}

/// An event as Stripe would send it at that time.
async fn send(shop: &Shop, event: &Value, secret: &str, at: u64) -> u16 {
    let body = event.to_string();
    let mut mac = Hmac::<Sha256>::new_from_slice(secret.as_bytes()).unwrap();
    mac.update(format!("{at}.{body}").as_bytes());
    let signature = format!("t={at},v1={}", hex::encode(mac.finalize().into_bytes()));
    let request = reqwest::Client::new().post(&shop.webhook).header("stripe-signature", signature);
    request.header("content-type", "application/json").body(body).send().await.unwrap().status().as_u16()
}

async fn event_of(world: &World, kind: &str, reference: &str) -> Value {
    let list = world.get("/v1/events?limit=100").await;
    let of = |event: &&Value| event["type"] == kind && event["data"]["object"]["id"] == reference;
    list["data"].as_array().unwrap().iter().find(of).unwrap_or_else(|| panic!("no {kind} of {reference}")).clone()
}

pub(crate) async fn a_success_after_it_was_over(fake: Arc<Fake>) {
    let world = fake.world().await;
    let (stripe, card) = (world.stripe(), world.card("tok_visa").await);
    let mut shop = Shop::open(world.stripe(), false).await;
    let order = shop.order(&card).await;
    shop.until(order, "authorized").await;
    let reference = shop.reference(order).await;
    // We are told that it was over; then somebody captures it all the same.
    let mut conn = shop.shards.all().next().unwrap().read().await.unwrap();
    sqlx::query("UPDATE payments SET state = 'voided'").execute(&mut *conn).await.unwrap();
    drop(conn);
    assert_eq!(stripe.capture(&reference, "by hand").await.unwrap().status, ProviderStatus::Captured);
    let event = event_of(&world, "payment_intent.succeeded", &reference).await;
    let now = Clock::system().unix_seconds();
    for _ in 0..3 {
        assert_eq!(send(&shop, &event, WEBHOOK_SECRET, now).await, 200);
    }
    shop.until(order, "refunded").await;
    assert_eq!(shop.row("captured_minor, refunded_minor", order).await, Some((1250_i64, 1250_i64)));
    assert_eq!(stripe.get(&reference).await.unwrap().refunded_minor, 1250);
    let refunds = world.get("/v1/refunds").await;
    assert_eq!(refunds["data"].as_array().unwrap().len(), 1);
}

pub(crate) async fn notices_not_to_be_taken(fake: Arc<Fake>) {
    let world = fake.world().await;
    let card = world.card("tok_visa").await;
    let mut shop = Shop::open(world.stripe(), false).await;
    let order = shop.order(&card).await;
    shop.until(order, "authorized").await;
    let reference = shop.reference(order).await;
    let event = event_of(&world, "payment_intent.amount_capturable_updated", &reference).await;
    let now = Clock::system().unix_seconds();
    assert_eq!(send(&shop, &event, "whsec_of_somebody", now).await, 400, "forged");
    assert_eq!(send(&shop, &event, WEBHOOK_SECRET, now - 301).await, 400, "old");
    assert_eq!(send(&shop, &json!({ "id": "evt_1" }), WEBHOOK_SECRET, now).await, 400, "unreadable");
    // A payment that this store does not know, yet.
    let elsewhere = authorized(&world.stripe(), &world.card("tok_visa").await).await;
    let strange = event_of(&world, "payment_intent.amount_capturable_updated", &elsewhere.reference).await;
    for _ in 0..2 {
        assert_eq!(send(&shop, &strange, WEBHOOK_SECRET, now).await, 404, "it is to be sent again");
    }
    assert_eq!(shop.row("state", order).await, Some(("authorized".to_owned(),)));
    for _ in 0..2 {
        assert_eq!(send(&shop, &event, WEBHOOK_SECRET, now).await, 200);
    }
    assert_eq!(shop.row("state", order).await, Some(("authorized".to_owned(),)), "what we know already");
}
