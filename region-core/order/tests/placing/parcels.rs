//! Promises about parcels: units leave once, and an order either leaves or is called off.

use region_core_order::{Parcel, Sent};
use shared::ShipmentId;
use shared::api::order::{NewShipment, Order, Shipment};

use super::*;

/// Who keeps the store.
pub(super) fn keeper() -> UserId {
    UserId::mint(USER_EPOCH_MS + 1, Slot::new(77).unwrap(), 1).unwrap()
}

pub(super) fn parcel(units: Option<i64>) -> NewShipment {
    let item = |units| OrderItem { sku: sku("MUG"), quantity: Quantity::new(units).unwrap() };
    NewShipment {
        items: units.map(|units| vec![item(units)]),
        carrier: "Royal Mail".into(),
        tracking_code: Some("RM1".into()),
        tracking_url: None,
        label: None,
        from: None,
    }
}

/// The parcel that has left.
fn left(sent: &Sent) -> &Shipment {
    match &sent.parcel {
        Parcel::Left(shipment) => shipment,
        Parcel::Labelled(shipment) => panic!("{shipment} has not left"),
    }
}

impl Shop {
    /// A paid order of that many mugs.
    pub(super) async fn paid(&self, caller: Caller, key_text: &str, units: i64) -> OrderId {
        let order = self.place(caller, key_text, wanting(&[("MUG", units)], units * 250)).await.unwrap().order.order_id;
        self.hear(PaymentAuthorized { order_id: order, payment_id: payment(order), assessment: None }).await;
        let amount = Money::new(units * 250, Currency::GBP).unwrap();
        self.hear(PaymentCaptured { order_id: order, payment_id: payment(order), amount }).await;
        order
    }

    pub(super) async fn deliver(&self, order: OrderId, parcel: usize) -> Order {
        let shipments = self.orders.find_any(order).await.unwrap().unwrap().shipments;
        self.orders.deliver(order, shipments[parcel].shipment_id, Some(keeper())).await.unwrap()
    }

    /// Everything said about an order from its first parcel on.
    async fn said_of_parcels(&self) -> Vec<(String, i64)> {
        let sql = "SELECT kind, aggregate_version FROM outbox
                   WHERE topic = 'shipping_events' OR kind IN ('OrderShipped', 'OrderDelivered')
                   ORDER BY transaction_id, sequence";
        let rows = sqlx::query(sql).fetch_all(&mut *self.shard.read().await.unwrap()).await.unwrap();
        rows.iter().map(|row| (row.get(0), row.get(1))).collect()
    }
}

#[tokio::test]
async fn an_order_is_shipped_with_its_first_parcel_and_delivered_with_its_last() {
    let shop = shop(&[("MUG", 10)]).await;
    let ada = shop.shopper(1).await;
    let order = shop.paid(ada, "k", 3).await;
    shop.orders.ship(order, key("first"), keeper(), parcel(Some(1))).await.unwrap();
    assert_eq!(shop.deliver(order, 0).await.status, OrderStatus::Shipped, "two mugs have not left");
    shop.orders.ship(order, key("rest"), keeper(), parcel(None)).await.unwrap();
    let seen = shop.orders.find(ada.user_id, order).await.unwrap();
    let held: Vec<u32> = seen.shipments.iter().map(|parcel| parcel.items[0].quantity.units()).collect();
    assert_eq!((seen.status, held), (OrderStatus::Shipped, vec![1, 2]));
    assert_eq!(shop.deliver(order, 1).await.status, OrderStatus::Delivered);
    assert_eq!(shop.deliver(order, 1).await.version, 5, "a repeat changes nothing");
    let said = shop.said_of_parcels().await;
    let said: Vec<_> = said.iter().map(|(kind, version)| (kind.as_str(), *version)).collect();
    let parcels = [("ShipmentSent", 1), ("OrderShipped", 4), ("ShipmentDelivered", 2), ("ShipmentSent", 3)];
    assert_eq!(said, [parcels.as_slice(), &[("ShipmentDelivered", 4), ("OrderDelivered", 5)]].concat());
    assert_eq!(shop.stock("MUG").await, (7, 0, 3), "what has left was sold before");
}

#[tokio::test]
async fn parcels_asked_for_at_once_never_hold_more_than_was_ordered() {
    let shop = Arc::new(shop(&[("MUG", 10)]).await);
    let ada = shop.shopper(1).await;
    let order = shop.paid(ada, "k", 3).await;
    let mut tasks = JoinSet::new();
    for number in 0..12 {
        let shop = Arc::clone(&shop);
        tasks
            .spawn(async move { shop.orders.ship(order, key(&format!("p{number}")), keeper(), parcel(Some(1))).await });
    }
    let answers = tasks.join_all().await;
    assert_eq!(answers.iter().filter(|answer| answer.is_ok()).count(), 3);
    assert!(
        answers.iter().filter_map(|answer| answer.as_ref().err()).all(|error| matches!(error, OrderError::Parcel(_)))
    );
    assert_eq!(shop.count("SELECT sum(units)::bigint FROM shipment_lines").await, 3);
    // And if the code forgot, the database would not.
    let more = sqlx::query("UPDATE sent_units SET sent = sent + 1");
    let refused = more.execute(&mut *shop.shard.read().await.unwrap()).await.unwrap_err();
    assert_eq!(refused.as_database_error().unwrap().constraint(), Some("sent_units_at_most_ordered"));
}

#[tokio::test]
async fn a_parcel_asked_for_again_under_its_key_is_the_same_parcel() {
    let shop = Arc::new(shop(&[("MUG", 10)]).await);
    let ada = shop.shopper(1).await;
    let order = shop.paid(ada, "k", 5).await;
    let mut tasks = JoinSet::new();
    for _ in 0..20 {
        let shop = Arc::clone(&shop);
        tasks.spawn(async move { shop.orders.ship(order, key("same"), keeper(), parcel(Some(1))).await.unwrap() });
    }
    let answers = tasks.join_all().await;
    assert!(answers.iter().all(|answer| left(answer) == left(&answers[0])));
    assert_eq!(answers.iter().filter(|answer| !answer.replayed).count(), 1);
    let other = shop.orders.ship(order, key("same"), keeper(), parcel(Some(2))).await.unwrap_err();
    assert!(matches!(other, OrderError::KeyReused), "{other}");
    assert_eq!(shop.count("SELECT count(*) FROM shipments").await, 1);
}

#[tokio::test]
async fn an_order_leaves_or_is_called_off_and_never_both() {
    let shop = Arc::new(shop(&[("MUG", 50)]).await);
    let (mut left, mut called_off) = (0, 0);
    for number in 1..=10 {
        let shopper = shop.shopper(number).await;
        let order = shop.paid(shopper, "k", 1).await;
        let cancelling = shop.orders.cancel(shopper.user_id, order);
        let (sent, cancelled) =
            tokio::join!(shop.orders.ship(order, key("parcel"), keeper(), parcel(None)), cancelling);
        match (sent, cancelled) {
            (Ok(_), Err(OrderError::Left(OrderStatus::Shipped))) => left += 1,
            (Err(OrderError::NotPaid(OrderStatus::Cancelled)), Ok(_)) => called_off += 1,
            both => panic!("{both:?}"),
        }
    }
    assert_eq!((left + called_off, shop.stock("MUG").await), (10, (50 - left, 0, left)));
    assert_eq!(shop.count("SELECT count(*) FROM shipments").await, left);
}

#[tokio::test]
async fn only_what_was_paid_and_ordered_is_sent() {
    let shop = shop(&[("MUG", 10)]).await;
    let ada = shop.shopper(1).await;
    let pending = shop.place(ada, "k", wanting(&[("MUG", 1)], 250)).await.unwrap().order.order_id;
    let refused = shop.orders.ship(pending, key("a"), keeper(), parcel(None)).await.unwrap_err();
    assert!(matches!(refused, OrderError::NotPaid(OrderStatus::Pending)), "{refused}");
    let order = shop.paid(ada, "paid", 1).await;
    let heart = vec![OrderItem { sku: sku("HEART"), quantity: Quantity::new(1).unwrap() }];
    let refused = shop
        .orders
        .ship(order, key("a"), keeper(), NewShipment { items: Some(heart), ..parcel(None) })
        .await
        .unwrap_err();
    assert!(matches!(refused, OrderError::Parcel(_)), "{refused}");
    let nobodys = OrderId::mint(1_800_000_000_000, order.slot(), [9; 8]);
    for unknown in [
        shop.orders.ship(nobodys, key("a"), keeper(), parcel(None)).await.err(),
        shop.orders.deliver(order, ShipmentId::mint(1, order.slot(), [9; 8]), Some(keeper())).await.err(),
    ] {
        assert!(matches!(unknown, Some(OrderError::NotFound)), "{unknown:?}");
    }
    assert_eq!(shop.count("SELECT count(*) FROM shipments").await, 0);
}

#[tokio::test]
async fn who_keeps_the_store_cancels_with_a_reason_that_the_shopper_reads() {
    let shop = shop(&[("MUG", 10)]).await;
    let ada = shop.shopper(1).await;
    let order = shop.paid(ada, "k", 2).await;
    let silent = shop.orders.cancel_any(order, keeper(), "  ").await.unwrap_err();
    assert!(matches!(silent, OrderError::Invalid(_)), "{silent}");
    shop.orders.cancel_any(order, keeper(), "the last of them is cracked").await.unwrap();
    let seen = shop.orders.find(ada.user_id, order).await.unwrap();
    assert_eq!(
        (seen.status, seen.cancel_reason.as_deref()),
        (OrderStatus::Cancelled, Some("the last of them is cracked"))
    );
    assert_eq!(shop.stock("MUG").await, (10, 0, 0));
}
