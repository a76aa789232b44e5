//! Shoppers are served where they live, and know nothing of it.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use shared::api::account::Tokens;
use shared::api::order::OrderStatus;
use shared::{RegionName, SlotMap};
use shared_link::{Pool, PoolOptions, Tls, TlsFiles};
use tests::shopper::email;
use tests::{Client, Shopper, goods};

use crate::store::{books, pop, sites, worker};

/// A connection to a region's cores with a certificate of this store.
pub(crate) async fn pool(region: &str, name: &str) -> Pool {
    let tls = &sites().tls;
    let file = |name: String| tls.join(name);
    let files = TlsFiles {
        ca: file("ca.pem".to_owned()),
        certificate: file(format!("{name}.pem")),
        key: file(format!("{name}.key")),
    };
    let region: RegionName = region.parse().unwrap();
    let tls: Arc<Tls> = Tls::load(files).unwrap();
    let pool = Pool::new(region.clone(), &sites().quic(region.as_str()), tls, PoolOptions::default()).unwrap();
    let connected = tokio::time::timeout(Duration::from_secs(10), pool.connected()).await;
    connected.unwrap_or_else(|_| panic!("{name} did not reach a core of {region}"));
    pool
}

/// A guest whom the cores of `us` have met first, as a PoP near them would send him.
pub(crate) async fn guest_of_us(origin: &str) -> Shopper {
    let request = http::Request::post("https://core/v1/guests")
        .header("content-type", "application/json")
        .body(Bytes::from_static(b"{}"))
        .unwrap();
    let answer = pool("us", "pop.pop-1").await.send(request, Duration::from_secs(5)).await.unwrap();
    assert_eq!(answer.status(), 201);
    let tokens: Tokens = serde_json::from_slice(answer.body()).unwrap();
    Shopper { client: Client::new(origin), tokens }
}

#[tokio::test]
async fn a_shopper_of_the_other_region_buys_through_this_pop_and_this_worker() {
    for origin in [pop(), worker()] {
        let (shopper, sku) = (guest_of_us(origin).await, goods::plenty());
        let map: SlotMap = shopper.get("/v1/slot-map").await.expect(200).json();
        assert_eq!(map.region_of(shopper.tokens.user_id.slot()).as_str(), "us");
        let cart = shopper.add(&sku, 2).await;
        assert_eq!(cart.units, 2);
        let order = shopper.buys(&[(&sku, 2)], "tok_success").await;
        assert_eq!(order.status, OrderStatus::Confirmed);
        assert_eq!(map.region_of(order.order_id.slot()).as_str(), "us", "the order's id says where it lives");
        books().money_matches(shopper.tokens.user_id).await;
    }
}

#[tokio::test]
async fn accounts_and_guests_of_different_regions_become_one() {
    // Several, so that the directory's rows lie in both regions too.
    for _ in 0..3 {
        let (sku, email) = (goods::plenty(), email());
        let mut home = guest_of_us(pop()).await;
        home.sign_up(&email).await;
        let before = home.add(&sku, 1).await;
        let mut away = Shopper::guest(pop()).await;
        let order = away.buys(&[(&sku, 1)], "tok_success").await;
        away.add(&sku, 4).await;
        away.sign_in(&email).await;
        assert_eq!(away.tokens.user_id, home.tokens.user_id);
        assert_eq!(away.cart(before.version + 1).await.units, 5);
        assert_eq!(away.order(order.order_id).await.status, OrderStatus::Confirmed, "an order in the other region");
    }
}

#[tokio::test]
async fn sessions_are_refreshed_and_ended_in_their_own_region() {
    let shopper = guest_of_us(pop()).await;
    let fresh: Tokens = shopper.refresh(&shopper.tokens.refresh_token).await.expect(200).json();
    let token = serde_json::json!({ "refresh_token": fresh.refresh_token });
    tests::shopper::post(&shopper.client, "/v1/sessions/end", None, &token).await.expect(204);
    shopper.refresh(&fresh.refresh_token).await.expect(401);
}
