//! Redis, which holds copies only.

use std::time::Duration;

use shared::api::order::OrderStatus;
use tests::{Books, Options, Shopper, Store, Visitor, goods};
use tokio::time::Instant;

/// A cart and an order may be slower without Redis, not hang.
const BOUND: Duration = Duration::from_secs(5);

/// Shops a little; every write is there at once.
async fn shops(shopper: &Shopper, visitor: &Visitor) {
    let (sku, begun) = (goods::plenty(), Instant::now());
    let before = shopper.cart(0).await;
    let cart = shopper.add(&sku, 2).await;
    assert_eq!(cart.units, before.units + 2);
    assert_eq!(shopper.cart(cart.version).await, cart);
    visitor.add(&sku).await;
    assert!(begun.elapsed() < BOUND, "the carts took {:?}", begun.elapsed());
    let order = shopper.buys(&[(&sku, 1)], "tok_success").await;
    assert_eq!(order.status, OrderStatus::Confirmed);
}

#[tokio::test]
async fn redis_that_hangs_dies_and_returns_empty_loses_no_cart_and_no_order() {
    let mut store = Store::start("redis-gone", &Options::SMALL).await;
    let origin = store.sites.addresses.shop.clone();
    let (shopper, visitor) = (Shopper::guest(&origin).await, Visitor::new(&origin));
    shops(&shopper, &visitor).await;
    store.system.redis.process().pause();
    shops(&shopper, &visitor).await;
    store.system.redis.process().resume();
    shops(&shopper, &visitor).await;
    store.system.redis.kill().await.unwrap();
    shops(&shopper, &visitor).await;
    store.system.redis.restart().await.unwrap();
    shops(&shopper, &visitor).await;

    assert_eq!(shopper.cart(0).await.units, 10, "every addition of five rounds");
    assert_eq!(visitor.open("/cart").await.expect(200).texts("[data-units]"), ["5"]);
    let books = Books::of(&store.sites);
    assert_eq!(books.money_matches(shopper.tokens.user_id).await.len(), 5);
    books.conserve_units().await;
    store.system.stop().await.unwrap();
}
