use region_core_store::test_support::one_shard;
use region_core_store::{HasStoreError, Shard, StoreError};
use shared::id::{Slot, USER_EPOCH_MS};
use shared::{OrderId, Quantity, Sku};
use sqlx::Row;
use tokio::task::JoinSet;

use super::*;

impl HasStoreError for ReserveError {
    fn store_error(&self) -> Option<&StoreError> {
        match self {
            Self::Short(_) => None,
            Self::Store(error) => Some(error),
        }
    }
}

fn sku(text: &str) -> Sku {
    text.parse().unwrap()
}

fn held(units: &[(&str, i64)]) -> Vec<Held> {
    units.iter().map(|(name, units)| Held { sku: sku(name), quantity: Quantity::new(*units).unwrap() }).collect()
}

async fn shard_with(stock: &[(&str, u64)]) -> Shard {
    let shard = one_shard().await.all().next().unwrap().clone();
    let receipts: Vec<Receipt> = stock
        .iter()
        .map(|(name, units)| Receipt { reference: format!("first {name}"), sku: sku(name), units: *units })
        .collect();
    receive(&mut shard.read().await.unwrap(), &receipts).await.unwrap();
    shard
}

/// A bare order row, for reservations refer to one.
async fn order(shard: &Shard, number: u8) -> OrderId {
    let slot = Slot::new(1).unwrap();
    let order = OrderId::mint(USER_EPOCH_MS, slot, [number; 8]);
    let mut conn = shard.read().await.unwrap();
    sqlx::query("INSERT INTO users (user_id) VALUES (1) ON CONFLICT DO NOTHING").execute(&mut *conn).await.unwrap();
    sqlx::query(
        "INSERT INTO orders (order_id, user_id, payment_token, currency, subtotal_minor, shipping_minor, total_minor,
         catalog_version, shipping_address, expires_at) VALUES ($1, 1, 't', 'GBP', 0, 0, 0, 1, '{}', shard_now())",
    )
    .bind(order.as_uuid())
    .execute(&mut *conn)
    .await
    .unwrap();
    order
}

async fn try_reserve(shard: &Shard, order: OrderId, wanted: Vec<Held>) -> Result<(), ReserveError> {
    shard.write("test.reserve", async move |conn| reserve(conn, order, &wanted).await).await
}

/// free, reserved, sold.
async fn counts(shard: &Shard, name: &str) -> (i64, i64, i64) {
    let row = sqlx::query("SELECT free, reserved, sold FROM allotments WHERE sku = $1")
        .bind(name)
        .fetch_one(&mut *shard.read().await.unwrap())
        .await
        .unwrap();
    (row.get(0), row.get(1), row.get(2))
}

#[tokio::test]
async fn a_receipt_counts_once_however_often_it_comes() {
    let shard = shard_with(&[("MUG", 5)]).await;
    let again = [Receipt { reference: "first MUG".into(), sku: sku("MUG"), units: 5 }];
    assert_eq!(receive(&mut shard.read().await.unwrap(), &again).await.unwrap(), 0);
    assert_eq!(counts(&shard, "MUG").await, (5, 0, 0));
}

#[tokio::test]
async fn an_order_gets_all_its_units_or_none_and_is_told_what_is_short() {
    let shard = shard_with(&[("HEART", 5), ("MUG", 1)]).await;
    let order = order(&shard, 1).await;
    let error = try_reserve(&shard, order, held(&[("HEART", 2), ("MUG", 2), ("NONE", 1)])).await.unwrap_err();
    let ReserveError::Short(short) = error else { panic!("{error}") };
    assert_eq!(
        short.iter().map(ToString::to_string).collect::<Vec<_>>(),
        ["MUG: 2 wanted, 1 free", "NONE: 1 wanted, 0 free"]
    );
    assert_eq!(counts(&shard, "HEART").await, (5, 0, 0));
    try_reserve(&shard, order, held(&[("HEART", 2), ("MUG", 1)])).await.unwrap();
    assert_eq!((counts(&shard, "HEART").await, counts(&shard, "MUG").await), ((3, 2, 0), (0, 1, 0)));
}

#[tokio::test]
async fn a_hundred_orders_for_twenty_units_sell_twenty() {
    let shard = shard_with(&[("A", 20), ("B", 1_000)]).await;
    let mut tasks = JoinSet::new();
    for number in 0..100 {
        let (shard, order) = (shard.clone(), order(&shard, number).await);
        // Half of them name the SKUs the other way round: locks are taken in SKU order all the same.
        let wanted = if number % 2 == 0 { held(&[("A", 1), ("B", 1)]) } else { held(&[("B", 1), ("A", 1)]) };
        tasks.spawn(async move { try_reserve(&shard, order, wanted).await });
    }
    let results = tasks.join_all().await;
    let sold = results.iter().filter(|result| result.is_ok()).count();
    assert!(results.iter().all(|result| matches!(result, Ok(()) | Err(ReserveError::Short(_)))), "{results:?}");
    assert_eq!((sold, counts(&shard, "A").await, counts(&shard, "B").await), (20, (0, 20, 0), (980, 20, 0)));
}

#[tokio::test]
async fn claimed_units_are_sold_and_released_units_are_free_again_once() {
    let shard = shard_with(&[("MUG", 10)]).await;
    let (paid, unpaid) = (order(&shard, 1).await, order(&shard, 2).await);
    try_reserve(&shard, paid, held(&[("MUG", 3)])).await.unwrap();
    try_reserve(&shard, unpaid, held(&[("MUG", 4)])).await.unwrap();
    let mut conn = shard.read().await.unwrap();
    for _ in 0..2 {
        claim(&mut conn, &[paid]).await.unwrap();
        release(&mut conn, &[unpaid]).await.unwrap();
    }
    assert_eq!(counts(&shard, "MUG").await, (7, 0, 3));
    for _ in 0..2 {
        release(&mut conn, &[paid, unpaid]).await.unwrap();
    }
    assert_eq!(counts(&shard, "MUG").await, (10, 0, 0));
}
