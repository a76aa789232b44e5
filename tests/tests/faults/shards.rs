//! A shard's Postgres that is killed.

use std::time::Duration;

use shared::ProblemKind;
use shared::api::order::OrderStatus;
use tests::shopper::key;
use tests::{Books, Options, Shopper, Store, goods, until};

use crate::support::place_until_known;

#[tokio::test]
async fn a_killed_shard_stops_its_own_shoppers_alone_and_forgets_nothing() {
    let mut store = Store::start("shard-killed", &Options { regions: &[("eu", &[1, 2])], ..Options::SMALL }).await;
    let (origin, books, sku) = (store.sites.addresses.shop.clone(), Books::of(&store.sites), goods::plenty());
    let (here, there) = (Shopper::guest_in(&origin, 1).await, Shopper::guest_in(&origin, 2).await);
    let before = here.buys(&[(&sku, 1)], "tok_success").await;
    let cart = here.add(&sku, 4).await;
    let order = here.order_of(&[(&sku, 1)], "tok_success").await;
    store.system.part_mut("shard-1").unwrap().kill().await.unwrap();

    let key = key();
    let refused = async || Some(here.place(&key, &order).await).filter(|answer| answer.status == 503);
    let refused = until("the shard's shoppers are told to come back", Duration::from_secs(10), refused).await;
    assert!(refused.problem().is(ProblemKind::Unavailable), "{}", refused.text());
    assert_eq!(there.buys(&[(&sku, 1)], "tok_success").await.status, OrderStatus::Confirmed, "others buy as ever");
    there.add(&sku, 1).await;

    store.system.part_mut("shard-1").unwrap().restart().await.unwrap();
    let id = place_until_known(&here, &key, &order).await;
    assert_eq!(here.decided(id).await.status, OrderStatus::Confirmed);
    assert_eq!(here.order(before.order_id).await.status, OrderStatus::Confirmed, "what was answered for is there");
    assert_eq!(here.cart(cart.version).await, cart);
    assert_eq!(books.money_matches(here.tokens.user_id).await.len(), 2);
    books.conserve_units().await;
    store.system.stop().await.unwrap();
}
