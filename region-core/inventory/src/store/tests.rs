use region_core_store::Shard;
use region_core_store::test_support::one_shard;
use shared::id::{Slot, USER_EPOCH_MS};
use shared::{OrderId, Sku};
use sqlx::Row;

use super::*;

fn sku(text: &str) -> Sku {
    text.parse().unwrap()
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

/// An order that holds units, as its admission would have written it.
async fn holding(shard: &Shard, number: u8, name: &str, units: i64) -> OrderId {
    let order = OrderId::mint(USER_EPOCH_MS, Slot::new(1).unwrap(), [number; 8]);
    let hold = "WITH taken AS (UPDATE allotments SET free = free - $3, reserved = reserved + $3 WHERE sku = $2)
        INSERT INTO reservations (order_id, sku, units) VALUES ($1, $2, $3)";
    let mut conn = shard.read().await.unwrap();
    sqlx::query(hold).bind(order.as_uuid()).bind(name).bind(units).execute(&mut *conn).await.unwrap();
    order
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
async fn what_is_free_is_told_of_skus_that_the_shard_has() {
    let shard = shard_with(&[("HEART", 5), ("MUG", 1)]).await;
    let (heart, mug, none) = (sku("HEART"), sku("MUG"), sku("NONE"));
    let free = lock_free(&mut shard.read().await.unwrap(), &[&heart, &mug, &none]).await.unwrap();
    assert_eq!(free, [(heart, 5), (mug, 1)].into());
}

#[tokio::test]
async fn claimed_units_are_sold_and_released_units_are_free_again_once() {
    let shard = shard_with(&[("MUG", 10)]).await;
    let (paid, unpaid) = (holding(&shard, 1, "MUG", 3).await, holding(&shard, 2, "MUG", 4).await);
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
