//! Stock across regions, over the routers that cores serve: what one region asks of another goes through JSON and back.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use axum::Router;
use axum::body::{Body, Bytes, to_bytes};
use futures::FutureExt;
use futures::future::BoxFuture;
use http::{Request, Response};
use region_core_inventory::{Borrowing, Claimant, Held, Ledger, Receipt, Shortfall, receive};
use region_core_store::test_support::shard_database;
use region_core_store::{Shard, Shards};
use region_core_web::{AddressSource, Front, PeerTransport, Peers, Verifier};
use ring::signature::{Ed25519KeyPair, KeyPair};
use serde_json::{Value, json};
use shared::id::{Slot, USER_EPOCH_MS};
use shared::token::{AUDIENCE, Claims, ISSUER, KeyId, KeySet, PublicKey, Role, finish, signing_input};
use shared::{Problem, Quantity, RegionName, SessionId, ShardId, Sku, SlotMap, UserId};
use shared_clock::{Clock, Entropy};
use sqlx::Row;
use tokio::time::Instant;
use tower::ServiceExt;

const NOW_MS: u64 = 1_800_000_000_000;

/// Leads to the routers of the other regions.
#[derive(Clone, Default)]
struct Wire(Arc<Mutex<BTreeMap<RegionName, Router>>>);

impl PeerTransport for Wire {
    fn send<'a>(
        &'a self,
        region: &'a RegionName,
        request: Request<Bytes>,
        _: Duration,
    ) -> BoxFuture<'a, Result<Response<Bytes>, Problem>> {
        let router = self.0.lock().unwrap()[region].clone();
        async move {
            let (parts, body) = router.oneshot(request.map(Body::from)).await.unwrap().into_parts();
            Ok(Response::from_parts(parts, to_bytes(body, usize::MAX).await.unwrap()))
        }
        .boxed()
    }
}

struct Region {
    shards: Shards,
    borrowing: Borrowing,
    public: Router,
}

fn id(number: i16) -> ShardId {
    number.try_into().unwrap()
}

fn mug() -> Sku {
    "MUG".parse().unwrap()
}

fn pair() -> Ed25519KeyPair {
    Ed25519KeyPair::from_seed_unchecked(&[7; 32]).unwrap()
}

/// Shard 1 of `eu` and shard 2 of `us`, with that many mugs.
async fn two_regions(mugs: [u64; 2]) -> BTreeMap<&'static str, Region> {
    let names = [("eu", id(1)), ("us", id(2))];
    let map = SlotMap::even(1, names.map(|(name, shard)| (shard, name.parse().unwrap())).into()).unwrap();
    let (wire, mut regions) = (Wire::default(), BTreeMap::new());
    for ((name, shard), mugs) in names.into_iter().zip(mugs) {
        let shard = Shard::from_pool(shard, shard_database().await.pool);
        let receipt = Receipt { reference: "first".into(), sku: mug(), units: mugs };
        receive(&mut shard.read().await.unwrap(), &[receipt]).await.unwrap();
        let shards = Shards::new(name.parse().unwrap(), [shard], map.clone());
        let borrowing = Borrowing::new(shards.clone(), Peers::new(wire.clone()), Arc::new(|_, _| {}));
        let ledger = Ledger::new(shards.clone(), Peers::new(wire.clone()), Arc::new(|_, _| {}));
        let internal = borrowing.internal_router().merge(ledger.internal_router());
        wire.0.lock().unwrap().insert(name.parse().unwrap(), internal);
        regions.insert(name, Region { shards, borrowing, public: front(ledger.router()) });
    }
    regions
}

fn front(routes: Router) -> Router {
    let public: [u8; 32] = pair().public_key().as_ref().try_into().unwrap();
    let keys = KeySet { keys: vec![PublicKey::new(KeyId("k1".into()), &public)] };
    let verifier = Verifier::new(keys, Clock::turned(NOW_MS));
    Front { verifier, entropy: Entropy::seeded(1), addresses: AddressSource::Listener }.wrap(routes)
}

fn token(role: Role) -> String {
    let (slot, now) = (Slot::new(7).unwrap(), NOW_MS / 1000);
    let claims = Claims {
        iss: ISSUER.into(),
        aud: AUDIENCE.into(),
        sub: UserId::mint(USER_EPOCH_MS, slot, 1).unwrap(),
        sid: SessionId::mint(USER_EPOCH_MS, slot, [1; 8]),
        roles: vec![role],
        epoch: 0,
        iat: now,
        nbf: now,
        exp: now + 600,
    };
    let input = signing_input(&KeyId("k1".into()), &claims);
    finish(&input, &pair().sign(input.as_bytes()).as_ref().try_into().unwrap())
}

async fn send(router: &Router, role: Option<Role>, method: &str, path: &str, body: Value) -> (u16, Value) {
    let mut request = Request::builder().method(method).uri(path).header("content-type", "application/json");
    if let Some(role) = role {
        request = request.header("authorization", format!("Bearer {}", token(role)));
    }
    let response = router.clone().oneshot(request.body(Body::from(body.to_string())).unwrap()).await.unwrap();
    let status = response.status().as_u16();
    let bytes = to_bytes(response.into_body(), usize::MAX).await.unwrap();
    (status, serde_json::from_slice(&bytes).unwrap())
}

async fn free(region: &Region) -> i64 {
    let shard = region.shards.all().next().unwrap();
    let query = "SELECT coalesce(sum(free), 0)::bigint FROM allotments";
    sqlx::query(query).fetch_one(&mut *shard.read().await.unwrap()).await.unwrap().get(0)
}

/// Has an order of so many mugs covered, as a shopper does who is told that units are on their way: on a slow machine they come too
/// late for him.
async fn cover(region: &Region, order: u8, mugs: i64) {
    let shard = region.shards.all().next().unwrap().id();
    let wanted = [Held { sku: mug(), quantity: Quantity::new(mugs).unwrap() }];
    let mut attempts = 0;
    while free(region).await < mugs {
        let free = free(region).await.unsigned_abs();
        let short = [Shortfall { sku: mug(), wanted: mugs.unsigned_abs(), free }];
        let until = Instant::now() + Duration::from_secs(5);
        drop(region.borrowing.cover(shard, Claimant([order; 16]), &wanted, &short, until).await);
        attempts += 1;
        assert!(attempts < 50, "no units came");
    }
}

/// Units of a region that lie in another.
async fn lying(region: &Region, there: &str) -> i64 {
    let shard = region.shards.all().next().unwrap();
    let query =
        sqlx::query("SELECT coalesce(sum(units), 0)::bigint FROM origins WHERE region = $1").bind(there.to_owned());
    query.fetch_one(&mut *shard.read().await.unwrap()).await.unwrap().get(0)
}

#[tokio::test]
async fn an_order_is_covered_by_units_of_another_region() {
    let regions = two_regions([1, 9]).await;
    cover(&regions["eu"], 1, 4).await;
    assert_eq!(free(&regions["eu"]).await + free(&regions["us"]).await, 10);
}

#[tokio::test]
async fn regions_tell_each_other_where_the_units_lie_that_they_lend() {
    let regions = two_regions([1, 9]).await;
    cover(&regions["eu"], 1, 4).await;
    assert_eq!(lying(&regions["eu"], "us").await, free(&regions["eu"]).await - 1);
    cover(&regions["us"], 2, 10).await;
    // Those that lie there have come home, and the one that does not is said to lie here.
    assert_eq!((lying(&regions["eu"], "us").await, lying(&regions["us"], "eu").await), (0, 1));
    assert_eq!(lying(&regions["us"], "us").await, 0);
}

#[tokio::test]
async fn an_entry_is_booked_where_its_shard_stands_whichever_region_is_asked() {
    let regions = two_regions([0, 0]).await;
    let entry = json!({"ref": "delivery 1", "sku": "mug", "kind": "supply", "units": 12, "shard": 2});
    let enter = |region: &'static str| {
        let (router, entry) = (regions[region].public.clone(), entry.clone());
        async move { send(&router, Some(Role::Operator), "POST", "/v1/stock/entries", entry).await }
    };
    assert_eq!(enter("eu").await, (201, json!({"shard": 2, "new": true})));
    assert_eq!(enter("us").await, (200, json!({"shard": 2, "new": false})));
    assert_eq!((free(&regions["eu"]).await, free(&regions["us"]).await), (0, 12));
    let (status, listed) =
        send(&regions["eu"].public, Some(Role::Merchant), "GET", "/v1/stock/entries?sku=MUG", Value::Null).await;
    assert_eq!((status, listed["items"].as_array().unwrap().len()), (200, 1));
    let line = &listed["items"][0];
    assert_eq!((&line["ref"], &line["units"], &line["shard"]), (&json!("delivery 1"), &json!(12), &json!(2)));
}

#[tokio::test]
async fn refusals_of_entries_are_typed_wherever_they_are_made() {
    let regions = two_regions([3, 3]).await;
    let refused = async |entry: Value| {
        let (status, problem) =
            send(&regions["eu"].public, Some(Role::Operator), "POST", "/v1/stock/entries", entry).await;
        (status, problem["type"].as_str().unwrap().to_owned())
    };
    for shard in [1, 2] {
        let lost = json!({"ref": "fire", "sku": "MUG", "kind": "shrink", "units": 4, "shard": shard});
        assert_eq!(refused(lost).await, (409, "/problems/sold-out".into()));
        let taken = json!({"ref": "first", "sku": "MUG", "kind": "return", "units": 3, "shard": shard});
        assert_eq!(refused(taken).await, (422, "/problems/idempotency-key-reused".into()));
    }
    let nowhere = json!({"ref": "x", "sku": "MUG", "kind": "supply", "units": 4, "shard": 9});
    assert_eq!(refused(nowhere).await, (422, "/problems/invalid".into()));
    let nothing = json!({"ref": "x", "sku": "MUG", "kind": "supply", "units": 0});
    assert_eq!(refused(nothing).await, (422, "/problems/invalid".into()));
    for (name, sku) in [("4242 4242 4242 4242", "MUG"), ("x", "4242424242424242")] {
        let card = json!({"ref": name, "sku": sku, "kind": "supply", "units": 4});
        assert_eq!(refused(card).await, (422, "/problems/invalid".into()));
    }
    assert_eq!((free(&regions["eu"]).await, free(&regions["us"]).await), (3, 3));
}

#[tokio::test]
async fn only_merchants_and_operators_keep_stock() {
    let regions = two_regions([0, 0]).await;
    let entry = json!({"ref": "delivery 1", "sku": "MUG", "kind": "supply", "units": 1});
    for (role, status) in
        [(None, 401), (Some(Role::Guest), 403), (Some(Role::Customer), 403), (Some(Role::Merchant), 201)]
    {
        let router = &regions["eu"].public;
        assert_eq!(send(router, role, "POST", "/v1/stock/entries", entry.clone()).await.0, status, "{role:?}");
        let listed = send(router, role, "GET", "/v1/stock/entries?sku=MUG", Value::Null).await.0;
        assert_eq!(listed, if status == 201 { 200 } else { status }, "{role:?}");
    }
}

#[tokio::test]
async fn messages_out_of_bounds_are_refused() {
    let regions = two_regions([0, 9]).await;
    let router = regions["us"].borrowing.internal_router();
    let ask = |seq: i64| json!({"seq": seq, "sku": "MUG", "want": 1, "mode": "exact"});
    let grant = |asks: Vec<Value>| json!({"borrower": 1, "donor": 2, "term": 1, "low": 1, "asks": asks});
    let post = async |body: Value| send(&router, None, "POST", "/internal/transfers/grant", body).await.0;
    assert_eq!(post(grant((1..=65).map(ask).collect())).await, 422);
    assert_eq!(post(grant(vec![ask(0)])).await, 422);
    let mut elsewhere = grant(vec![ask(1)]);
    elsewhere["donor"] = json!(1);
    assert_eq!(post(elsewhere).await, 422, "nobody borrows of himself");
    let mut elsewhere = grant(vec![ask(1)]);
    (elsewhere["donor"], elsewhere["borrower"]) = (json!(3), json!(1));
    assert_eq!(post(elsewhere).await, 404);
    let mut stale = grant(vec![ask(1)]);
    stale["term"] = json!(9);
    let (status, answer) = send(&router, None, "POST", "/internal/transfers/grant", stale).await;
    assert_eq!((status, answer), (200, json!({"stale_term": 1})));
    assert_eq!((post(grant(vec![ask(1)])).await, free(&regions["us"]).await), (200, 8));
}
