//! Promises of the front that every core's routes stand behind, over real routers.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use axum::Router;
use axum::body::{Body, to_bytes};
use axum::routing::{get, post};
use futures_util::FutureExt as _;
use http::{Request, Response, StatusCode};
use region_core_web::{
    AddressSource, ClientAddress, Front, IdempotencyKeyHeader, Json, NoPeers, Path, Peers, SignedIn, TraceParent,
    Verifier,
};
use ring::signature::{Ed25519KeyPair, KeyPair};
use serde_json::{Value, json};
use shared::api::cart::CartOperation;
use shared::id::USER_EPOCH_MS;
use shared::token::{AUDIENCE, Claims, ISSUER, KeyId, KeySet, PublicKey, Role, TokenError, finish, signing_input};
use shared::{OrderId, Problem, SessionId, Slot, UserId};
use shared_clock::{Clock, Entropy};
use tower::ServiceExt;

const NOW_MS: u64 = 1_800_000_000_000;

fn pair(seed: u8) -> Ed25519KeyPair {
    Ed25519KeyPair::from_seed_unchecked(&[seed; 32]).unwrap()
}

fn token(seed: u8, roles: Vec<Role>) -> String {
    let slot = Slot::new(7).unwrap();
    let now = NOW_MS / 1000;
    let claims = Claims {
        iss: ISSUER.into(),
        aud: AUDIENCE.into(),
        sub: UserId::mint(USER_EPOCH_MS, slot, 1).unwrap(),
        sid: SessionId::mint(USER_EPOCH_MS, slot, [1; 8]),
        roles,
        epoch: 0,
        iat: now,
        nbf: now,
        exp: now + 600,
    };
    let input = signing_input(&KeyId("k1".into()), &claims);
    finish(&input, &pair(seed).sign(input.as_bytes()).as_ref().try_into().unwrap())
}

fn published() -> KeySet {
    let public: [u8; 32] = pair(1).public_key().as_ref().try_into().unwrap();
    KeySet { keys: vec![PublicKey::new(KeyId("k1".into()), &public)] }
}

fn verifier(keys: KeySet) -> Verifier {
    Verifier::new(keys, Clock::turned(NOW_MS))
}

fn routes(addresses: AddressSource) -> Router {
    routes_of(verifier(published()), addresses)
}

fn routes_of(verifier: Verifier, addresses: AddressSource) -> Router {
    let router = Router::new()
        .route("/who", get(async |user: SignedIn| user.user_id().to_string()))
        .route("/maybe", get(async |user: Option<SignedIn>| user.is_some().to_string()))
        .route("/orders/{order_id}", get(async |Path(id): Path<OrderId>| id.to_string()))
        .route("/operations", post(async |Json(operation): Json<CartOperation>| Json(operation)))
        .route("/keyed", post(async |IdempotencyKeyHeader(key): IdempotencyKeyHeader| key.to_string()))
        .route("/address", get(async |ClientAddress(address): ClientAddress| address.to_string()))
        .route("/trace", get(async |trace: TraceParent| (trace == TraceParent::current().unwrap()).to_string()))
        .route("/panic", get(panics))
        .route("/cached", get(async || ([("cache-control", "public, max-age=60")], "catalog")));
    Front { verifier, entropy: Entropy::seeded(1), addresses }.wrap(router)
}

async fn panics() -> &'static str {
    panic!("a planted panic")
}

async fn ask(request: Request<Body>) -> Response<Body> {
    routes(AddressSource::Gateway).oneshot(request).await.unwrap()
}

fn request(method: &str, path: &str) -> http::request::Builder {
    Request::builder().method(method).uri(path)
}

async fn get_with(path: &str, headers: &[(&str, &str)]) -> Response<Body> {
    let builder = headers.iter().fold(request("GET", path), |builder, (name, value)| builder.header(*name, *value));
    ask(builder.body(Body::empty()).unwrap()).await
}

async fn text(response: Response<Body>) -> String {
    String::from_utf8(to_bytes(response.into_body(), 1 << 20).await.unwrap().to_vec()).unwrap()
}

async fn problem(response: Response<Body>) -> Value {
    assert_eq!(response.headers()["content-type"], "application/problem+json");
    assert_eq!(response.headers()["cache-control"], "no-store");
    let status = response.status().as_u16();
    let document: Value = serde_json::from_str(&text(response).await).unwrap();
    assert_eq!(document["status"], status);
    document
}

#[tokio::test]
async fn a_key_that_was_published_a_moment_ago_is_looked_for_before_its_token_is_refused() {
    let verifier = verifier(KeySet { keys: vec![] });
    let router = routes_of(verifier.clone(), AddressSource::Gateway);
    let publishing = async {
        // The first look began before the key was published.
        for keys in [KeySet { keys: vec![] }, published()] {
            verifier.missed_a_key().await;
            verifier.replace(keys);
        }
    };
    let bearer = format!("Bearer {}", token(1, vec![Role::Customer]));
    let request = request("GET", "/who").header("authorization", bearer).body(Body::empty()).unwrap();
    let (response, ()) = tokio::join!(router.oneshot(request), publishing);
    assert_eq!(response.unwrap().status(), StatusCode::OK);
}

#[tokio::test(start_paused = true)]
async fn a_token_of_a_key_that_nobody_published_is_refused_soon_and_a_crowd_of_them_at_once() {
    let (verifier, token) = (verifier(KeySet { keys: vec![] }), token(1, vec![Role::Customer]));
    let mut waiting: Vec<_> = (0..64).map(|_| Box::pin(verifier.verify_or_look(&token))).collect();
    for waits in &mut waiting {
        assert!(waits.as_mut().now_or_never().is_none());
    }
    let one_more = verifier.verify_or_look(&token).now_or_never();
    assert!(matches!(one_more, Some(Err(TokenError::UnknownKey))), "{one_more:?}");
    for waits in waiting {
        assert!(matches!(waits.await, Err(TokenError::UnknownKey)));
    }
}

#[tokio::test]
async fn only_a_token_of_ours_says_who_is_asking() {
    let good = format!("Bearer {}", token(1, vec![Role::Customer]));
    assert_eq!(get_with("/who", &[("authorization", &good)]).await.status(), StatusCode::OK);
    let forged = format!("Bearer {}", token(2, vec![Role::Operator]));
    let basic = "Basic YTpi";
    for headers in [
        &[][..],
        &[("authorization", forged.as_str())],
        &[("authorization", basic)],
        &[("authorization", good.as_str()), ("authorization", good.as_str())],
        &[("x-user-id", "1"), ("meridian-user", "1")],
    ] {
        let response = get_with("/who", headers).await;
        assert_eq!(response.headers()["www-authenticate"], "Bearer");
        assert_eq!(problem(response).await["type"], "/problems/not-signed-in", "{headers:?}");
    }
}

#[tokio::test]
async fn a_caller_who_may_stay_unknown_may_not_lie() {
    assert_eq!(text(get_with("/maybe", &[]).await).await, "false");
    let forged = format!("Bearer {}", token(2, vec![Role::Customer]));
    assert_eq!(get_with("/maybe", &[("authorization", &forged)]).await.status(), StatusCode::UNAUTHORIZED);
}

#[tokio::test]
async fn what_no_route_answers_is_a_problem() {
    assert_eq!(problem(get_with("/nowhere", &[]).await).await["type"], "/problems/not-found");
    assert_eq!(problem(get_with("/operations", &[]).await).await["type"], "/problems/method-not-allowed");
    assert_eq!(problem(get_with("/panic", &[]).await).await["type"], "/problems/internal");
    let absent = problem(get_with("/orders/17", &[]).await).await;
    assert_eq!((absent["status"].clone(), absent["type"].clone()), (json!(404), json!("/problems/not-found")));
}

#[tokio::test]
async fn a_body_is_json_and_short() {
    let send = async |media: &str, body: Vec<u8>| {
        problem(ask(request("POST", "/operations").header("content-type", media).body(body.into()).unwrap()).await)
            .await
    };
    assert_eq!(send("text/plain", b"{}".to_vec()).await["status"], 415);
    assert_eq!(send("application/json", vec![b' '; 256 * 1024 + 1]).await["status"], 413);
    assert_eq!(send("application/json; charset=utf-8", b"{".to_vec()).await["status"], 400);
    let wrong = send("application/json", br#"{"operation_id":"x"}"#.to_vec()).await;
    assert_eq!((wrong["status"].clone(), wrong["field"].clone()), (json!(422), json!("operation_id")));
}

#[tokio::test]
async fn a_keyed_route_takes_exactly_one_key() {
    let send = async |keys: &[&str]| {
        let builder =
            keys.iter().fold(request("POST", "/keyed"), |builder, key| builder.header("idempotency-key", *key));
        ask(builder.body(Body::empty()).unwrap()).await
    };
    assert_eq!(text(send(&["order-1"]).await).await, "order-1");
    for keys in [&[][..], &["a", "a"], &["a b"], &[&"x".repeat(256)]] {
        assert_eq!(problem(send(keys).await).await["type"], "/problems/idempotency-key-required", "{keys:?}");
    }
}

#[tokio::test]
async fn a_clients_address_is_believed_only_from_a_gateway() {
    let headers = [("meridian-client-address", "203.0.113.9")];
    assert_eq!(text(get_with("/address", &headers).await).await, "203.0.113.9");
    let plain = request("GET", "/address").header(headers[0].0, headers[0].1).body(Body::empty()).unwrap();
    assert_eq!(text(routes(AddressSource::Listener).oneshot(plain).await.unwrap()).await, "0.0.0.0");
}

#[tokio::test]
async fn a_handler_runs_inside_its_trace() {
    assert_eq!(text(get_with("/trace", &[]).await).await, "true");
}

#[tokio::test]
async fn only_an_answer_that_says_so_may_be_stored() {
    assert_eq!(get_with("/cached", &[]).await.headers()["cache-control"], "public, max-age=60");
    assert_eq!(get_with("/trace", &[]).await.headers()["cache-control"], "no-store");
}

#[tokio::test]
async fn a_store_of_one_region_says_that_others_are_out_of_reach() {
    let region = "us".parse().unwrap();
    let answer: Result<(), Problem> = Peers::new(NoPeers).call(&region, http::Method::POST, "/internal/x", &()).await;
    assert_eq!(answer.unwrap_err().status, 503);
}
