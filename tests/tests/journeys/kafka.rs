//! Stores whose events go over Kafka, with a broker beside them.

use std::time::Duration;

use serde_json::json;
use shared::api::order::{Order, OrderStatus, Shipment};
use shared::{EmailAddress, OrderId};
use tests::shopper::{email, key};
use tests::{Books, Bus, Options, Shopper, Store, goods, until};

use crate::mail::arrived_at;

/// Two cores share the work of the only region.
const STORE: Options = Options {
    regions: &[("eu", &[1, 2])],
    cores: 2,
    worker: false,
    mail: true,
    demo_catalog: false,
    operator: true,
    bus: Bus::Kafka,
};
/// Longer than what a broker lost takes to be read from the outbox, at each step of the saga.
const SOON: Duration = Duration::from_secs(120);

/// An order that was paid.
async fn paid(shopper: &Shopper, address: &EmailAddress) -> Order {
    let mut order = shopper.order_of(&[(&goods::plenty(), 1)], "tok_success").await;
    order.email = Some(address.clone());
    let id = shopper.place(&key(), &order).await.expect(201).json::<Order>().order_id;
    decided(shopper, id).await
}

/// The order, once it was decided that it is confirmed.
async fn decided(shopper: &Shopper, id: OrderId) -> Order {
    let decided = async || Some(shopper.order(id).await).filter(|order| order.status != OrderStatus::Pending);
    let order = until("the order is decided", SOON, decided).await;
    assert_eq!(order.status, OrderStatus::Confirmed);
    order
}

#[tokio::test]
async fn over_kafka_orders_are_paid_sent_and_told_about_once() {
    let store = Store::start("kafka", &STORE).await;
    let sites = &store.sites;
    let (shopper, operator, address) =
        (Shopper::guest(&sites.addresses.shop).await, Shopper::operator(sites).await, email());
    let order = paid(&shopper, &address).await.order_id;
    let parcels = format!("/v1/orders/{order}/shipments");
    let body = json!({ "carrier": "Royal Mail" });
    let parcel: Shipment = operator.post_once(&parcels, &key(), &body).await.expect(201).json();
    assert_eq!(shopper.order(order).await.status, OrderStatus::Shipped);
    operator.post(&format!("{parcels}/{}/delivered", parcel.shipment_id), &json!({})).await.expect(200);
    let told = arrived_at(sites, &address, 3).await;
    let number = order.short();
    for what in [
        format!("Your order {number} is confirmed"),
        format!("Your order {number} is on its way"),
        format!("A parcel of your order {number} has arrived"),
    ] {
        assert_eq!(told.iter().filter(|mail| mail.subject == what).count(), 1, "{what}: {told:?}");
    }
    assert!(sites.counted("events_relayed_total").await > 0.0, "the broker was handed nothing");
    Books::of(sites).money_matches(shopper.tokens.user_id).await;
    store.system.stop().await.unwrap();
}

#[tokio::test]
async fn orders_that_are_placed_while_the_broker_loses_everything_are_paid_once() {
    let options = Options { bus: Bus::SimulatedKafka, mail: false, operator: false, ..STORE };
    let mut store = Store::start("kafka-wiped", &options).await;
    let sites = store.sites.clone();
    let shopper = Shopper::guest(&sites.addresses.shop).await;
    paid(&shopper, &email()).await;
    let broker = store.system.broker.as_mut().unwrap();
    broker.kill().await.unwrap();
    let order = shopper.order_of(&[(&goods::plenty(), 1)], "tok_success").await;
    let waits: Order = shopper.place(&key(), &order).await.expect(201).json();
    broker.restart().await.unwrap();
    decided(&shopper, waits.order_id).await;
    paid(&shopper, &email()).await;
    Books::of(&sites).money_matches(shopper.tokens.user_id).await;
    store.system.stop().await.unwrap();
}
