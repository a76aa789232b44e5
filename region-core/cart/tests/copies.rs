//! Promises of the cart's copies, with a real Redis in front of a real Postgres.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::sync::Arc;

use region_core_cart::{Carts, Offer, Prices};
use region_core_store::redis::Redis;
use region_core_store::test_support;
use shared::api::cart::{CartChange, CartOperation};
use shared::id::USER_EPOCH_MS;
use shared::{Currency, Money, OperationId, Quantity, Sku, Slot, UserId};
use shared_clock::Entropy;
use sqlx::PgConnection;

struct Shop;

impl Prices for Shop {
    fn currency(&self) -> Currency {
        Currency::GBP
    }

    fn find_offer(&self, _: &Sku) -> Option<Offer> {
        let unit_price = Money::new(250, Currency::GBP).unwrap();
        Some(Offer { title: "A mug".into(), slug: "a-mug".into(), variant: "".into(), unit_price })
    }
}

/// A user with two mugs at version 1, and the connection to change the truth behind the copy's back.
async fn two_mugs() -> (Carts, UserId, sqlx::pool::PoolConnection<sqlx::Postgres>) {
    let url = std::env::var("MERIDIAN_TEST_REDIS_URL").expect("run the tests with `cargo xtask test`");
    let redis = Redis::connect(&url).unwrap();
    while !redis.is_up().await {
        tokio::task::yield_now().await;
    }
    let shards = test_support::one_shard().await;
    // A user of this test alone: Redis is shared by all.
    let dice = Entropy::system();
    let ms = USER_EPOCH_MS + u64::from(u32::from_le_bytes(dice.bytes()));
    let user = UserId::mint(ms, Slot::new(77).unwrap(), u16::from_le_bytes(dice.bytes())).unwrap();
    let mut conn = shards.here(user.slot()).unwrap().read().await.unwrap();
    sqlx::query!("INSERT INTO users (user_id) VALUES ($1)", user.as_i64()).execute(&mut *conn).await.unwrap();
    let carts = Carts::new(shards, redis, Arc::new(Shop));
    let change = CartChange::Add { sku: "MUG".parse().unwrap(), quantity: Quantity::new(2).unwrap() };
    let operation_id = OperationId::mint(ms, dice.bytes());
    carts.apply(user, &CartOperation { operation_id, change, expected_version: None }).await.unwrap();
    (carts, user, conn)
}

/// As another core would, whose copy never reached this Redis.
async fn change_the_truth(conn: &mut PgConnection) {
    sqlx::query!("UPDATE cart_lines SET quantity = 7").execute(&mut *conn).await.unwrap();
    sqlx::query!("UPDATE carts SET version = 2").execute(conn).await.unwrap();
}

#[tokio::test]
async fn a_copy_answers_until_a_newer_version_is_demanded() {
    let (carts, user, mut conn) = two_mugs().await;
    change_the_truth(&mut conn).await;
    let copy = carts.view(user, 1).await.unwrap();
    assert_eq!((copy.version, copy.units), (1, 2), "the copy was not used");
    let truth = carts.view(user, 2).await.unwrap();
    assert_eq!((truth.version, truth.units), (2, 7));
    assert_eq!(carts.view(user, 0).await.unwrap().units, 7, "the newer copy was not kept");
}

#[tokio::test]
async fn a_demand_beyond_the_truth_gets_the_truth() {
    let (carts, user, _conn) = two_mugs().await;
    assert_eq!(carts.view(user, 99).await.unwrap().version, 1);
}

#[tokio::test]
async fn what_an_order_took_is_forgotten_at_once() {
    let (carts, user, mut conn) = two_mugs().await;
    change_the_truth(&mut conn).await;
    carts.invalidate(user).await;
    assert_eq!(carts.view(user, 0).await.unwrap().units, 7);
}
