//! The cart's routes as a PoP sees them.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::sync::Arc;

use axum::Router;
use axum::body::{Body, to_bytes};
use http::Request;
use region_core_cart::{Carts, Offer, Prices, router};
use region_core_store::redis::Redis;
use region_core_store::test_support;
use region_core_web::{AddressSource, Front, Verifier};
use ring::signature::{Ed25519KeyPair, KeyPair};
use serde_json::{Value, json};
use shared::id::USER_EPOCH_MS;
use shared::token::{AUDIENCE, Claims, ISSUER, KeyId, KeySet, PublicKey, Role, finish, signing_input};
use shared::{Currency, Money, SessionId, Sku, Slot, UserId};
use shared_clock::{Clock, Entropy};
use tower::ServiceExt;

const NOW: u64 = 1_800_000_000;
const OPERATION: &str = "01890a5d-ac96-774b-bcce-b302099a8057";

/// Sells mugs alone.
struct Mugs;

impl Prices for Mugs {
    fn currency(&self) -> Currency {
        Currency::GBP
    }

    fn find_offer(&self, sku: &Sku) -> Option<Offer> {
        let unit_price = Money::new(250, Currency::GBP).unwrap();
        let offer = Offer { title: "A mug".into(), slug: "a-mug".into(), variant: "Blue".into(), unit_price };
        (sku.as_str() == "MUG").then_some(offer)
    }
}

fn user() -> UserId {
    UserId::mint(USER_EPOCH_MS + 1, Slot::new(77).unwrap(), 1).unwrap()
}

fn pair() -> Ed25519KeyPair {
    Ed25519KeyPair::from_seed_unchecked(&[7; 32]).unwrap()
}

fn token() -> String {
    let claims = Claims {
        iss: ISSUER.into(),
        aud: AUDIENCE.into(),
        sub: user(),
        sid: SessionId::mint(USER_EPOCH_MS, user().slot(), [1; 8]),
        roles: vec![Role::Guest],
        epoch: 0,
        iat: NOW,
        nbf: NOW,
        exp: NOW + 600,
    };
    let input = signing_input(&KeyId("k".into()), &claims);
    finish(&input, &pair().sign(input.as_bytes()).as_ref().try_into().unwrap())
}

async fn routes() -> Router {
    let shards = test_support::one_shard().await;
    let mut conn = shards.here(user().slot()).unwrap().read().await.unwrap();
    sqlx::query!("INSERT INTO users (user_id) VALUES ($1)", user().as_i64()).execute(&mut *conn).await.unwrap();
    let public = pair().public_key().as_ref().try_into().unwrap();
    let keys = KeySet { keys: vec![PublicKey::new(KeyId("k".into()), &public)] };
    let verifier = Verifier::new(keys, Clock::turned(NOW * 1_000));
    let front = Front { verifier, entropy: Entropy::seeded(1), addresses: AddressSource::Gateway };
    front.wrap(router(Carts::new(shards, Redis::absent(), Arc::new(Mugs))))
}

async fn send(routes: &Router, method: &str, path: &str, body: Value) -> (u16, Value) {
    let request = Request::builder().method(method).uri(path).header("content-type", "application/json");
    let request = request.header("authorization", format!("Bearer {}", token()));
    let response = routes.clone().oneshot(request.body(Body::from(body.to_string())).unwrap()).await.unwrap();
    let status = response.status().as_u16();
    (status, serde_json::from_slice(&to_bytes(response.into_body(), 1 << 20).await.unwrap()).unwrap())
}

fn operation(kind: &str, sku: &str, quantity: &Value) -> Value {
    json!({"operation_id": OPERATION, "change": {"kind": kind, "sku": sku, "quantity": quantity}})
}

#[tokio::test]
async fn a_line_is_shown_with_its_name_and_todays_price() {
    let routes = routes().await;
    let (status, cart) = send(&routes, "POST", "/v1/cart/operations", operation("add", "mug", &json!(2))).await;
    let money = |minor: i64| json!({"minor": minor, "currency": "GBP"});
    let line = json!({
        "sku": "MUG", "quantity": 2, "title": "A mug", "slug": "a-mug", "variant": "Blue",
        "unit_price": money(250), "line_total": money(500),
    });
    assert_eq!((status, &cart["lines"]), (200, &json!([line])));
    assert_eq!((&cart["version"], &cart["total"]), (&json!(1), &money(500)));
    assert_eq!(send(&routes, "GET", "/v1/cart?min_version=1", json!({})).await, (200, cart));
}

#[tokio::test]
async fn bad_input_is_refused_by_field_and_changes_nothing() {
    let routes = routes().await;
    let refuse = async |body: Value| {
        let (status, problem) = send(&routes, "POST", "/v1/cart/operations", body).await;
        (status, problem["type"].as_str().unwrap().to_owned(), problem["field"].as_str().unwrap_or_default().to_owned())
    };
    for quantity in [json!(0), json!(-1), json!(100_001), json!(1.5), json!("2"), json!(9_223_372_036_854_775_807_u64)]
    {
        let (status, kind, field) = refuse(operation("add", "MUG", &quantity)).await;
        assert_eq!((status, kind.as_str()), (422, "/problems/invalid"), "{quantity}");
        assert!(field.starts_with("change"), "{quantity}: {field}");
    }
    let unknown = refuse(operation("add", "PEN", &json!(1))).await;
    assert_eq!(unknown, (422, "/problems/unknown-sku".into(), "change.sku".into()));
    let mut stale = operation("add", "MUG", &json!(1));
    stale["expected_version"] = json!(3);
    assert_eq!(refuse(stale).await.1, "/problems/cart-changed");
    assert_eq!(send(&routes, "GET", "/v1/cart", json!({})).await.1["version"], 0);
    let (status, problem) = send(&routes, "GET", "/v1/cart?min_version=-1", json!({})).await;
    assert_eq!((status, &problem["field"]), (422, &json!("min_version")));
}

#[tokio::test]
async fn a_cart_is_its_owners_alone() {
    let routes = routes().await;
    for (method, path) in [("GET", "/v1/cart"), ("POST", "/v1/cart/operations")] {
        let request = Request::builder().method(method).uri(path).body(Body::empty()).unwrap();
        assert_eq!(routes.clone().oneshot(request).await.unwrap().status().as_u16(), 401, "{path}");
    }
}
