//! A payment provider that dies in the middle of payments, and one that answers badly.

use futures::future::join_all;
use serde_json::json;
use tests::client::try_send;
use tests::shopper::key;
use tests::{Books, Bus, Client, Options, Shopper, Store, goods};

use crate::support::{Buyer, place_until_known};

const BUYERS: usize = 4;
const ORDERS: usize = 4;

async fn order_much(origin: &str, sku: &shared::Sku) -> Vec<Buyer> {
    join_all((0..BUYERS).map(async |_| {
        let shopper = Shopper::guest(origin).await;
        let order = shopper.order_of(&[(sku, 1)], "tok_success").await;
        let mut acknowledged = Vec::new();
        for _ in 0..ORDERS {
            let key = key();
            acknowledged.push((key.clone(), place_until_known(&shopper, &key, &order).await));
        }
        Buyer { shopper, acknowledged }
    }))
    .await
}

async fn misbehave(store: &Store, faults: serde_json::Value) {
    let control = Client::new(&store.sites.addresses.sandbox).request(http::Method::POST, "/control").json(&faults);
    try_send(control).await.unwrap().expect(204);
}

#[tokio::test]
async fn money_moves_once_for_each_paid_order_though_the_provider_fails_and_dies() {
    Box::pin(money_moves_once("provider-dies", &Options::SMALL)).await;
}

#[tokio::test]
async fn money_moves_once_for_each_paid_order_on_kafka_though_the_provider_fails_and_dies() {
    let options = Options { bus: Bus::Kafka, ..Options::SMALL };
    Box::pin(money_moves_once("provider-dies-on-kafka", &options)).await;
}

async fn money_moves_once(name: &str, options: &Options) {
    let mut store = Store::start(name, options).await;
    let (origin, books, sku) = (store.sites.addresses.shop.clone(), Books::of(&store.sites), goods::plenty());
    misbehave(&store, json!({ "seed": 7, "drop_answer": 0.1, "fail_before": 0.15, "fail_after": 0.15 })).await;
    let mut buyers = order_much(&origin, &sku).await;
    // Between two payments or within one: what it has answered for stands in its log.
    store.system.sandbox.kill().await.unwrap();
    buyers.extend(order_much(&origin, &sku).await);
    store.system.sandbox.restart().await.unwrap();

    for buyer in &buyers {
        buyer.got_what_was_acknowledged(&books).await;
    }
    let units = books.units(&sku).await;
    let confirmed: usize = count_confirmed(&books, &buyers).await;
    assert_eq!((units.reserved, units.sold), (0, i64::try_from(confirmed).unwrap()));
    books.conserve_units().await;
    store.system.stop().await.unwrap();
}

async fn count_confirmed(books: &Books, buyers: &[Buyer]) -> usize {
    let mut confirmed = 0;
    for buyer in buyers {
        let orders = books.orders_of(buyer.shopper.tokens.user_id).await;
        confirmed += orders.iter().filter(|order| order.status == "CONFIRMED").count();
    }
    confirmed
}
