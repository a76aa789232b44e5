//! Promises of the cart against a real Postgres.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::sync::Arc;
use std::time::Duration;

use futures_util::future::join_all;
use region_core_cart::{CartError, Carts, Item, Offer, Prices, TakeError, WantedCart, cart_id_of, check};
use region_core_store::redis::Redis;
use region_core_store::{Shards, StoreError, test_support};
use shared::api::cart::{Cart, CartChange, CartOperation};
use shared::id::USER_EPOCH_MS;
use shared::{Currency, Money, OperationId, Quantity, Sku, Slot, UserId};
use shared_clock::Entropy;
use sqlx::PgConnection;

/// Everything but `GONE` costs £2.50.
struct Shop;

impl Prices for Shop {
    fn currency(&self) -> Currency {
        Currency::GBP
    }

    fn find_offer(&self, sku: &Sku) -> Option<Offer> {
        let unit_price = Money::new(250, Currency::GBP).unwrap();
        let offer = Offer { title: "A mug".into(), slug: "a-mug".into(), variant: "".into(), unit_price };
        (sku.as_str() != "GONE").then_some(offer)
    }
}

struct Bench {
    shards: Shards,
    carts: Carts,
    user: UserId,
    dice: Entropy,
}

async fn bench() -> Bench {
    let shards = test_support::one_shard().await;
    let carts = Carts::new(shards.clone(), Redis::absent(), Arc::new(Shop));
    let user = user(1);
    add_user(&shards, user).await;
    Bench { shards, carts, user, dice: Entropy::seeded(3) }
}

fn user(random: u16) -> UserId {
    UserId::mint(USER_EPOCH_MS + 1, Slot::new(77).unwrap(), random).unwrap()
}

async fn add_user(shards: &Shards, user: UserId) {
    let mut conn = shards.here(user.slot()).unwrap().read().await.unwrap();
    sqlx::query!("INSERT INTO users (user_id) VALUES ($1)", user.as_i64()).execute(&mut *conn).await.unwrap();
}

fn item(sku: &str, units: i64) -> Item {
    Item { sku: sku.parse().unwrap(), quantity: Quantity::new(units).unwrap() }
}

fn add(sku: &str, units: i64) -> CartChange {
    let Item { sku, quantity } = item(sku, units);
    CartChange::Add { sku, quantity }
}

fn held(cart: &Cart) -> Vec<(String, u32)> {
    cart.lines.iter().map(|line| (line.sku.to_string(), line.quantity.units())).collect()
}

impl Bench {
    fn operation(&self, change: CartChange) -> CartOperation {
        CartOperation {
            operation_id: OperationId::mint(USER_EPOCH_MS, self.dice.bytes()),
            change,
            expected_version: None,
        }
    }

    async fn apply(&self, change: CartChange) -> Result<Cart, CartError> {
        self.carts.apply(self.user, &self.operation(change)).await
    }

    /// Takes the cart as an order does: the check, then the statement that every order's goes through.
    async fn take(&self, version: u64, items: &[Item]) -> Result<u64, TakeError> {
        let (user, items) = (self.user, items.to_vec());
        let shard = self.shards.here(user.slot()).unwrap();
        let take = async move |conn: &mut PgConnection| {
            let wanted = [WantedCart { user_id: user, version, items: items.clone() }];
            if let Some(version) = check(conn, &wanted).await?[0] {
                return Err(TakeError::Changed { version });
            }
            let taken = take_carts(conn, user, version, &items).await;
            assert!(taken, "what was just checked could not be taken");
            Ok::<_, TakeError>(())
        };
        shard.write("test.take", take).await?;
        self.carts.invalidate(user).await;
        Ok(version + 1)
    }
}

/// The statement by itself: it checks all over again.
async fn take_carts(conn: &mut PgConnection, user: UserId, version: u64, items: &[Item]) -> bool {
    let skus: Vec<String> = items.iter().map(|item| item.sku.as_str().to_owned()).collect();
    let quantities: Vec<i32> = items.iter().map(|item| item.quantity.units().cast_signed()).collect();
    sqlx::query_scalar("SELECT take_carts($1, $2, $3, $4, $5)")
        .bind(vec![user.as_i64()])
        .bind(vec![version.cast_signed()])
        .bind(vec![user.as_i64(); items.len()])
        .bind(skus)
        .bind(quantities)
        .fetch_one(conn)
        .await
        .unwrap()
}

/// Whether the statement would take the cart; it is rolled back.
async fn takable(bench: &Bench, version: u64, items: &[Item]) -> bool {
    let shard = bench.shards.here(bench.user.slot()).unwrap();
    let mut conn = shard.read().await.unwrap();
    let mut transaction = sqlx::Connection::begin(&mut *conn).await.unwrap();
    take_carts(&mut transaction, bench.user, version, items).await
}

#[tokio::test]
async fn an_empty_cart_has_the_id_it_will_keep() {
    let bench = bench().await;
    let empty = bench.carts.view(bench.user, 0).await.unwrap();
    assert_eq!((empty.cart_id, empty.version, empty.lines.len()), (cart_id_of(bench.user), 0, 0));
    let filled = bench.apply(add("MUG", 2)).await.unwrap();
    assert_eq!((filled.cart_id, filled.version, filled.total.minor()), (empty.cart_id, 1, 500));
    assert_eq!(bench.carts.view(bench.user, 0).await.unwrap(), filled);
}

#[tokio::test]
async fn fifty_parallel_repeats_of_one_operation_add_once() {
    let bench = bench().await;
    let operation = bench.operation(add("MUG", 3));
    let answers = join_all((0..50).map(|_| bench.carts.apply(bench.user, &operation))).await;
    assert!(answers.into_iter().all(|answer| answer.unwrap().units == 3));
    let cart = bench.carts.view(bench.user, 1).await.unwrap();
    assert_eq!((cart.version, held(&cart)), (1, vec![("MUG".into(), 3)]));
}

#[tokio::test]
async fn two_devices_merge() {
    let bench = bench().await;
    let phone = (0..20).map(|_| bench.operation(add("MUG", 1)));
    let desk = (0..20).map(|_| bench.operation(add("PEN", 2)));
    let operations: Vec<_> = phone.chain(desk).collect();
    for answer in join_all(operations.iter().map(|operation| bench.carts.apply(bench.user, operation))).await {
        answer.unwrap();
    }
    let cart = bench.carts.view(bench.user, 40).await.unwrap();
    let mut lines = held(&cart);
    lines.sort();
    assert_eq!((cart.version, lines), (40, vec![("MUG".into(), 20), ("PEN".into(), 40)]));
}

#[tokio::test]
async fn a_refused_operation_leaves_no_trace() {
    let bench = bench().await;
    bench.apply(add("MUG", 99_999)).await.unwrap();
    let stale = CartOperation { expected_version: Some(0), ..bench.operation(add("MUG", 1)) };
    assert!(matches!(bench.carts.apply(bench.user, &stale).await, Err(CartError::Changed { version: 1 })));
    let current = CartOperation { expected_version: Some(1), ..stale };
    assert_eq!(bench.carts.apply(bench.user, &current).await.unwrap().units, 100_000, "its id was burnt");
    assert!(matches!(bench.apply(add("MUG", 1)).await, Err(CartError::Refused(_))));
    assert!(matches!(bench.apply(add("GONE", 1)).await, Err(CartError::UnknownSku(_))));
    assert_eq!(bench.carts.view(bench.user, 0).await.unwrap().version, 2);
}

#[tokio::test]
async fn lines_are_set_and_removed_and_keep_their_order() {
    let bench = bench().await;
    for change in [add("B", 1), add("A", 1), add("C", 1)] {
        bench.apply(change).await.unwrap();
    }
    let Item { sku, quantity } = item("B", 9);
    bench.apply(CartChange::Set { sku, quantity }).await.unwrap();
    let cart = bench.apply(CartChange::Remove { sku: "A".parse().unwrap() }).await.unwrap();
    assert_eq!(held(&cart), [("B".into(), 9), ("C".into(), 1)]);
    assert_eq!(bench.carts.view(bench.user, 0).await.unwrap(), cart);
}

#[tokio::test]
async fn an_order_takes_exactly_what_the_shopper_saw() {
    let bench = bench().await;
    bench.apply(add("MUG", 2)).await.unwrap();
    for (version, items) in [(0, [item("MUG", 2)]), (1, [item("MUG", 1)]), (1, [item("PEN", 2)])] {
        assert!(matches!(bench.take(version, &items).await, Err(TakeError::Changed { version: 1 })));
        assert!(!takable(&bench, version, &items).await, "the statement took what the check refused");
    }
    assert_eq!(bench.take(1, &[item("MUG", 2)]).await.unwrap(), 2);
    let cart = bench.carts.view(bench.user, 2).await.unwrap();
    assert_eq!((cart.version, cart.lines.len()), (2, 0));
    assert!(bench.take(1, &[item("MUG", 2)]).await.is_err(), "one cart was ordered twice");
}

#[tokio::test]
async fn a_cart_is_taken_once_however_many_try() {
    let bench = bench().await;
    bench.apply(add("MUG", 2)).await.unwrap();
    let items = [item("MUG", 2)];
    let tries = join_all((0..10).map(|_| bench.take(1, &items))).await;
    assert_eq!(tries.iter().filter(|taken| taken.is_ok()).count(), 1);
}

#[tokio::test]
async fn a_guests_cart_moves_once_however_often_each_step_is_run() {
    let bench = bench().await;
    let account = user(2);
    add_user(&bench.shards, account).await;
    bench.apply(add("MUG", 2)).await.unwrap();
    bench.carts.apply(account, &bench.operation(add("MUG", 1))).await.unwrap();
    let operation = OperationId::mint(USER_EPOCH_MS, [7; 10]);
    for _ in 0..2 {
        let frozen = bench.carts.freeze(bench.user).await.unwrap();
        assert_eq!((frozen.version, &frozen.items[..]), (1, &[item("MUG", 2)][..]));
        assert!(matches!(bench.apply(add("MUG", 1)).await, Err(CartError::Frozen { version: 1 })));
        bench.carts.merge(account, operation, frozen.items).await.unwrap();
    }
    assert_eq!(held(&bench.carts.view(account, 2).await.unwrap()), [("MUG".into(), 3)]);
    for _ in 0..2 {
        bench.carts.drain(bench.user, 1).await.unwrap();
        assert_eq!(bench.carts.view(bench.user, 2).await.unwrap().version, 2);
    }
    assert_eq!(bench.apply(add("PEN", 1)).await.unwrap().version, 3, "a drained cart stayed frozen");
}

#[tokio::test]
async fn a_frozen_cart_cannot_be_ordered() {
    let bench = bench().await;
    bench.apply(add("MUG", 2)).await.unwrap();
    bench.carts.freeze(bench.user).await.unwrap();
    assert!(bench.take(1, &[item("MUG", 2)]).await.is_err());
}

#[tokio::test]
async fn a_cart_whose_slot_left_is_neither_shown_nor_changed() {
    let bench = bench().await;
    bench.apply(add("MUG", 2)).await.unwrap();
    let mut conn = bench.shards.here(bench.user.slot()).unwrap().read().await.unwrap();
    sqlx::query!("UPDATE slots SET state = 'moved' WHERE slot = 77").execute(&mut *conn).await.unwrap();
    assert!(matches!(bench.carts.view(bench.user, 0).await, Err(StoreError::WrongShard(_))));
    assert!(matches!(bench.apply(add("MUG", 1)).await, Err(CartError::Store(StoreError::WrongShard(_)))));
}

#[tokio::test]
async fn only_operations_that_nobody_repeats_are_forgotten() {
    let bench = bench().await;
    let recent = bench.operation(add("MUG", 1));
    bench.apply(add("PEN", 1)).await.unwrap();
    let mut conn = bench.shards.here(bench.user.slot()).unwrap().read().await.unwrap();
    sqlx::query!("UPDATE cart_operations SET applied_at = applied_at - interval '8 days'")
        .execute(&mut *conn)
        .await
        .unwrap();
    bench.carts.apply(bench.user, &recent).await.unwrap();
    assert_eq!(bench.carts.prune().await.unwrap(), 1);
    assert_eq!(bench.carts.apply(bench.user, &recent).await.unwrap().units, 2, "a repeat was applied again");
}

#[tokio::test]
async fn a_dead_redis_loses_no_cart_and_costs_little_time() {
    let shards = test_support::one_shard().await;
    // Nothing listens on the discard port.
    let redis = Redis::connect("redis://127.0.0.1:9").unwrap();
    let bench = Bench {
        carts: Carts::new(shards.clone(), redis, Arc::new(Shop)),
        shards,
        user: user(1),
        dice: Entropy::seeded(3),
    };
    add_user(&bench.shards, bench.user).await;
    let work = async {
        for _ in 0..20 {
            bench.apply(add("MUG", 1)).await.unwrap();
        }
        bench.carts.view(bench.user, 20).await.unwrap().units
    };
    assert_eq!(tokio::time::timeout(Duration::from_secs(5), work).await.unwrap(), 20);
}
