//! Orders whose units lie in several regions are planned, sent and shown region by region.

use region_core_order::OriginNews;
use shared::api::order::{NewLabel, NewShipment};
use shared::api::origin::Origin;
use shared::{RegionName, ShardId, SlotMap};

use super::parcels::{keeper, parcel};
use super::*;

fn region(name: &str) -> RegionName {
    name.parse().unwrap()
}

/// A shop in `eu` of a store that has a region `us`, too, with so many mugs of which some lie there.
async fn shop_of_two(mugs: u64, there: i64) -> Shop {
    let shard = test_support::one_shard().await.all().next().unwrap().clone();
    let regions = [(shard.id(), region("eu")), (ShardId::try_from(2).unwrap(), region("us"))];
    let map = SlotMap::even(1, regions.into()).unwrap();
    let shop = shop_over(Shards::new(region("eu"), [shard], map), Peers::none());
    shop.receive(&[("MUG", mugs)]).await;
    let lent = sqlx::query("INSERT INTO origins (sku, region, units) VALUES ('MUG', 'us', $1)").bind(there);
    lent.execute(&mut *shop.shard.read().await.unwrap()).await.unwrap();
    shop
}

fn from(name: &str, units: i64) -> NewShipment {
    NewShipment { from: Some(region(name)), ..parcel(Some(units)) }
}

impl Shop {
    /// Lets whatever was paid be assigned.
    async fn plan(&self) {
        let news: Arc<dyn Consumer> = Arc::new(OriginNews::new(self.shards.clone()));
        let runner = Runner::new(self.shards.clone(), Wakes::new([self.shard.id()]), vec![news], Settings::default());
        runner.settle().await.unwrap();
    }

    /// Region, units that lie there, and those of them that are still to be sent.
    async fn lies(&self, order: OrderId) -> Vec<(String, u32, u32)> {
        let sum = |items: &[OrderItem]| items.iter().map(|item| item.quantity.units()).sum();
        let origins = self.orders.origins(order).await.unwrap().items;
        origins.iter().map(|Origin { region, items, left }| (region.to_string(), sum(items), sum(left))).collect()
    }

    /// The orders of which something is to be sent from there.
    async fn to_send(&self, from: &str) -> Vec<OrderId> {
        let query = DeskQuery { from: Some(region(from)), ..DeskQuery::default() };
        let mut found: Vec<_> =
            self.orders.desk(&query).await.unwrap().items.iter().map(|order| order.order_id).collect();
        found.sort_unstable();
        found
    }
}

fn told(lies: &[(String, u32, u32)]) -> Vec<(&str, u32, u32)> {
    lies.iter().map(|(region, units, left)| (region.as_str(), *units, *left)).collect()
}

#[tokio::test]
async fn an_order_of_two_regions_is_planned_once_and_sent_as_a_parcel_from_each() {
    let shop = shop_of_two(3, 2).await;
    let ada = shop.shopper(1).await;
    let order = shop.paid(ada, "k", 3).await;
    assert!(shop.lies(order).await.is_empty(), "nothing is planned yet");
    shop.plan().await;
    shop.plan().await;
    assert_eq!(told(&shop.lies(order).await), [("eu", 1, 1), ("us", 2, 2)]);
    assert_eq!(shop.count("SELECT count(*) FROM inbox WHERE consumer = 'order.origins'").await, 1);
    assert_eq!((shop.to_send("eu").await, shop.to_send("us").await), (vec![order], vec![order]));
    assert!(shop.to_send("ap").await.is_empty());

    shop.orders.ship(order, key("us"), keeper(), from("us", 2)).await.unwrap();
    assert_eq!(told(&shop.lies(order).await), [("eu", 1, 1), ("us", 2, 0)]);
    assert_eq!((shop.to_send("eu").await, shop.to_send("us").await), (vec![order], vec![]));
    shop.orders.ship(order, key("rest"), keeper(), parcel(None)).await.unwrap();
    assert!(shop.to_send("eu").await.is_empty());

    let seen = shop.orders.find(ada.user_id, order).await.unwrap();
    let from: Vec<_> = seen.shipments.iter().map(|parcel| parcel.from.as_ref().map(RegionName::as_str)).collect();
    assert_eq!(from, [Some("us"), None]);
    let timeline = shop.orders.timeline(ada.user_id, false, order).await.unwrap().items;
    let sent: Vec<_> = timeline.into_iter().filter(|entry| entry.what == Happening::Sent).collect();
    assert_eq!(sent[0].detail.as_deref(), Some("Royal Mail, RM1, from us"));
    for number in 0..2 {
        shop.deliver(order, number).await;
    }
    assert_eq!(shop.orders.find(ada.user_id, order).await.unwrap().status, OrderStatus::Delivered);
}

#[tokio::test]
async fn an_order_that_is_called_off_leaves_its_units_to_others() {
    let shop = shop_of_two(2, 2).await;
    let (ada, bob) = (shop.shopper(1).await, shop.shopper(2).await);
    let order = shop.paid(ada, "k", 2).await;
    shop.plan().await;
    shop.orders.cancel(ada.user_id, order).await.unwrap();
    assert!(shop.lies(order).await.is_empty() && shop.to_send("us").await.is_empty());
    assert_eq!(shop.count("SELECT assigned::bigint FROM origins").await, 0);
    let other = shop.paid(bob, "k", 1).await;
    shop.plan().await;
    assert_eq!(told(&shop.lies(other).await), [("us", 1, 1)]);
}

#[tokio::test]
async fn an_order_that_was_called_off_before_anybody_looked_is_assigned_nothing() {
    let shop = shop_of_two(2, 2).await;
    let ada = shop.shopper(1).await;
    let order = shop.paid(ada, "k", 2).await;
    shop.orders.cancel(ada.user_id, order).await.unwrap();
    shop.plan().await;
    assert_eq!(shop.count("SELECT count(*) FROM order_origins").await, 0);
}

#[tokio::test]
async fn what_lies_here_is_for_those_that_come_first() {
    let shop = shop_of_two(3, 2).await;
    let (ada, bob) = (shop.shopper(1).await, shop.shopper(2).await);
    let (first, second) = (shop.paid(ada, "k", 1).await, shop.paid(bob, "k", 2).await);
    shop.plan().await;
    assert!(shop.lies(first).await.is_empty(), "all of it lies here");
    assert_eq!(told(&shop.lies(second).await), [("us", 2, 2)]);
    assert_eq!((shop.to_send("eu").await, shop.to_send("us").await), (vec![first], vec![second]));
}

#[tokio::test]
async fn a_parcel_leaves_from_a_region_of_the_store_and_under_a_label_from_here() {
    let shop = shop_of_two(3, 2).await;
    let ada = shop.shopper(1).await;
    let order = shop.paid(ada, "k", 3).await;
    shop.plan().await;
    let nowhere = shop.orders.ship(order, key("a"), keeper(), from("moon", 1)).await.unwrap_err();
    assert!(matches!(&nowhere, OrderError::Invalid(field) if field.field == "from"), "{nowhere}");
    let label = Some(NewLabel { service: "Tracked".into(), weight_grams: 500 });
    let labelled =
        |name| NewShipment { carrier: String::new(), tracking_code: None, label: label.clone(), ..from(name, 1) };
    let abroad = shop.orders.ship(order, key("a"), keeper(), labelled("us")).await.unwrap_err();
    assert!(matches!(&abroad, OrderError::Invalid(field) if field.field == "from"), "{abroad}");
    assert_eq!(shop.count("SELECT count(*) FROM parcel_origins").await, 0);
    shop.orders.ship(order, key("a"), keeper(), labelled("eu")).await.unwrap();
    assert_eq!(told(&shop.lies(order).await), [("eu", 1, 0), ("us", 2, 2)]);
    let again = shop.orders.ship(order, key("a"), keeper(), labelled("eu")).await.unwrap();
    assert!(again.replayed);
    let other = shop.orders.ship(order, key("a"), keeper(), from("us", 1)).await.unwrap_err();
    assert!(matches!(other, OrderError::KeyReused), "{other}");
}

#[tokio::test]
async fn a_store_that_gets_another_region_has_its_orders_assigned_from_then_on() {
    let shard = test_support::one_shard().await.all().next().unwrap().clone();
    let map = SlotMap::even(1, [(shard.id(), region("eu"))].into()).unwrap();
    let shop = shop_over(Shards::new(region("eu"), [shard], map), Peers::none());
    shop.receive(&[("MUG", 3)]).await;
    let (ada, bob) = (shop.shopper(1).await, shop.shopper(2).await);
    let news = OriginNews::new(shop.shards.clone());
    shop.paid(ada, "k", 1).await;
    shop.plan().await;
    assert_eq!(shop.count("SELECT count(*) FROM inbox WHERE consumer = 'order.origins'").await, 0);
    assert!(!news.heeds() && !news.changes_stock(), "where all lies in one place, nobody's turn is taken");

    let regions = [(shop.shard.id(), region("eu")), (ShardId::try_from(2).unwrap(), region("us"))];
    shop.shards.adopt(SlotMap::even(2, regions.into()).unwrap());
    sqlx::query("INSERT INTO origins (sku, region, units) VALUES ('MUG', 'us', 2)")
        .execute(&mut *shop.shard.read().await.unwrap())
        .await
        .unwrap();
    assert!(news.heeds() && news.changes_stock(), "it locks allotments, so it takes turns");
    let order = shop.paid(bob, "k", 2).await;
    shop.plan().await;
    assert_eq!(told(&shop.lies(order).await), [("us", 2, 2)]);
}

#[tokio::test]
async fn what_is_to_be_sent_from_here_is_sought_among_the_orders_of_ninety_days() {
    let shop = shop_of_two(3, 0).await;
    let ada = shop.shopper(1).await;
    let order = shop.paid(ada, "k", 1).await;
    let years_ago = "INSERT INTO orders (order_id, user_id, status, claimed_at, payment_token, currency, subtotal_minor, shipping_minor,
            total_minor, catalog_version, shipping_address, expires_at)
        SELECT '01800000-0000-7001-8000-000000000001', user_id, status, claimed_at, payment_token, currency, subtotal_minor,
            shipping_minor, total_minor, catalog_version, shipping_address, expires_at FROM orders;
        INSERT INTO line_items (order_id, sku, title, quantity, unit_price_minor)
        SELECT '01800000-0000-7001-8000-000000000001', sku, title, quantity, unit_price_minor FROM line_items";
    sqlx::raw_sql(years_ago).execute(&mut *shop.shard.read().await.unwrap()).await.unwrap();
    assert_eq!(shop.to_send("eu").await, [order]);
}
