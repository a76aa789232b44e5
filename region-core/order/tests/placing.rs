//! Promises about placing orders, kept by a real Postgres.
#![expect(clippy::unwrap_used, reason = "a test that cannot go on fails")]

#[path = "placing/delivery.rs"]
mod delivery;
#[path = "placing/follow.rs"]
mod follow;
#[path = "placing/handover.rs"]
mod handover;
#[path = "placing/labels.rs"]
mod labels;
#[path = "placing/origins.rs"]
mod origins;
#[path = "placing/parcels.rs"]
mod parcels;
#[path = "placing/repairs.rs"]
mod repairs;
#[path = "placing/returns.rs"]
mod returns;

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::time::Duration;

use region_core_cart::{Carts, Offer, Prices};
use region_core_events::contract::{
    Assessment, Decision, OrderCancelled, OrderClaimed, OrderConfirmed, OrderCreated, Payload, PaymentAuthorized,
    PaymentCaptured, PaymentFailed,
};
use region_core_events::{Consumer, NewEvent, Runner, Settings, Wakes, append};
use region_core_inventory::{Borrowing, NotCovered, Receipt, receive};
use region_core_order::rules::{DeliveryWish, DoorKey, PriceError, Priced, PricedOrder, price};
use region_core_order::{Caller, Judging, OrderError, Orders, Parts, PaymentNews, PriceList};
use region_core_store::redis::Redis;
use region_core_store::{Shard, Shards, StoreError, test_support};
use region_core_web::Peers;
use shared::api::cart::{CartChange, CartOperation};
use shared::api::desk::{DeskQuery, Happening};
use shared::api::order::{Address, OrderItem, OrderStatus, PlaceOrder};
use shared::id::{Slot, USER_EPOCH_MS};
use shared::{Currency, EventId, IdempotencyKey, Money, OperationId, OrderId, PaymentId, Quantity, Sku, UserId};
use shared_clock::{Clock, Entropy};
use sqlx::Row;
use tokio::task::JoinSet;

/// A fixed price list: MUG at £2.50, HEART at £1.00; delivery is free, but to France (see `delivery.rs`).
struct List(HashMap<Sku, i64>);

impl List {
    fn find(&self, sku: &Sku) -> Option<Money> {
        self.0.get(sku).map(|minor| Money::new(*minor, Currency::GBP).unwrap())
    }
}

impl PriceList for List {
    fn price(&self, items: &BTreeMap<Sku, Quantity>, wish: DeliveryWish<'_>) -> Result<PricedOrder, PriceError> {
        let offer = |sku: &Sku| Some(Priced { title: sku.as_str().into(), unit_price: self.find(sku)? });
        delivery::deliver(price(items, Currency::GBP, 7, offer)?, wish)
    }
}

impl Prices for List {
    fn currency(&self) -> Currency {
        Currency::GBP
    }

    fn find_offer(&self, sku: &Sku) -> Option<Offer> {
        let unit_price = self.find(sku)?;
        Some(Offer { title: sku.as_str().into(), slug: "x".into(), variant: "".into(), unit_price })
    }
}

struct Shop {
    orders: Orders,
    carts: Carts,
    shards: Shards,
    shard: Shard,
}

fn sku(text: &str) -> Sku {
    text.parse().unwrap()
}

fn key(text: &str) -> IdempotencyKey {
    text.parse().unwrap()
}

async fn shop(stock: &[(&str, u64)]) -> Shop {
    let shop = shop_over(test_support::one_shard().await, Peers::none());
    shop.receive(stock).await;
    shop
}

/// One process' orders: over these shards, with a writer of its own.
fn shop_over(shards: Shards, peers: Peers) -> Shop {
    let shard = shards.all().next().unwrap().clone();
    let list = Arc::new(List([(sku("MUG"), 250), (sku("HEART"), 100)].into()));
    let carts = Carts::new(shards.clone(), Redis::absent(), Arc::clone(&list) as Arc<dyn Prices>);
    let orders = Orders::new(Parts {
        shards: shards.clone(),
        carts: carts.clone(),
        prices: list,
        borrowing: Borrowing::new(shards.clone(), peers.clone(), Arc::new(|_, _| {})),
        peers,
        told: Arc::new(|_, _| {}),
        wakes: Wakes::new([shard.id()]),
        clock: Clock::system(),
        entropy: Entropy::system(),
        hold: time::Duration::minutes(15),
        review: Some(Judging { patience: time::Duration::hours(48), doors: DoorKey::new("k".repeat(32).into()) }),
        labels: true,
    });
    Shop { orders, carts, shards, shard }
}

impl Shop {
    async fn receive(&self, stock: &[(&str, u64)]) {
        let receipts: Vec<Receipt> = stock
            .iter()
            .map(|(name, units)| Receipt { reference: (*name).to_owned(), sku: sku(name), units: *units })
            .collect();
        receive(&mut self.shard.read().await.unwrap(), &receipts).await.unwrap();
    }

    async fn shopper(&self, number: u16) -> Caller {
        let user = UserId::mint(USER_EPOCH_MS + 1, Slot::new(number).unwrap(), 1).unwrap();
        let mut conn = self.shard.read().await.unwrap();
        sqlx::query("INSERT INTO users (user_id) VALUES ($1)").bind(user.as_i64()).execute(&mut *conn).await.unwrap();
        Caller { user_id: user, epoch: 0 }
    }

    async fn count(&self, sql: &'static str) -> i64 {
        sqlx::query(sql).fetch_one(&mut *self.shard.read().await.unwrap()).await.unwrap().get(0)
    }

    /// free, reserved, sold.
    async fn stock(&self, name: &str) -> (i64, i64, i64) {
        let mut conn = self.shard.read().await.unwrap();
        let row = sqlx::query("SELECT free, reserved, sold FROM allotments WHERE sku = $1").bind(name);
        let row = row.fetch_one(&mut *conn).await.unwrap();
        (row.get(0), row.get(1), row.get(2))
    }

    async fn place(
        &self,
        caller: Caller,
        key_text: &str,
        body: PlaceOrder,
    ) -> Result<region_core_order::Placed, OrderError> {
        self.orders.place(caller, &key(key_text), body, None).await
    }

    /// Says on the bus what payment would say, and lets the orders hear it.
    async fn hear<P: Payload>(&self, payload: P) {
        let event = NewEvent::new(EventId::mint(1, Entropy::system().bytes()), 1, &payload);
        append(&mut self.shard.read().await.unwrap(), &[event]).await.unwrap();
        let news: Arc<dyn Consumer> = Arc::new(PaymentNews::new(self.orders.clone()));
        let runner = Runner::new(self.shards.clone(), Wakes::new([self.shard.id()]), vec![news], Settings::default());
        runner.settle().await.unwrap();
    }

    /// What orders said, and at which version.
    async fn said(&self) -> Vec<(String, i64)> {
        let sql =
            "SELECT kind, aggregate_version FROM outbox WHERE topic = 'order_events' ORDER BY transaction_id, sequence";
        let rows = sqlx::query(sql).fetch_all(&mut *self.shard.read().await.unwrap()).await.unwrap();
        rows.iter().map(|row| (row.get(0), row.get(1))).collect()
    }

    /// Has the sweeper at work until it has come to that order.
    async fn sweep_until_cancelled(&self, caller: Caller, order: OrderId) {
        let stop = tokio_util::sync::CancellationToken::new();
        let sweep = tokio::spawn(region_core_order::sweep(self.orders.clone(), stop.clone()));
        while self.orders.find(caller.user_id, order).await.unwrap().status == OrderStatus::Pending {
            tokio::task::yield_now().await;
        }
        stop.cancel();
        sweep.await.unwrap();
    }
}

fn wanting(items: &[(&str, i64)], total: i64) -> PlaceOrder {
    PlaceOrder {
        items: items
            .iter()
            .map(|(name, units)| OrderItem { sku: sku(name), quantity: Quantity::new(*units).unwrap() })
            .collect(),
        shipping_address: Address {
            name: "Ada Lovelace".into(),
            line1: "12 St James's Square".into(),
            line2: None,
            city: "London".into(),
            region: None,
            postal_code: Some("SW1Y 4JH".into()),
            country: "GB".into(),
        },
        payment_token: "tok_success".into(),
        expected_total: Money::new(total, Currency::GBP).unwrap(),
        cart_version: None,
        email: None,
        delivery_option: None,
        phone: None,
        user_id: None,
    }
}

fn payment(order: OrderId) -> PaymentId {
    PaymentId::mint(1_800_000_000_000, order.slot(), [1; 8])
}

#[tokio::test]
async fn an_order_stands_with_its_lines_its_units_and_its_event() {
    let shop = shop(&[("MUG", 10), ("HEART", 10)]).await;
    let ada = shop.shopper(1).await;
    let placed = shop.place(ada, "k1", wanting(&[("MUG", 2), ("HEART", 1), ("mug", 1)], 850)).await.unwrap();
    assert!(!placed.replayed);
    assert_eq!(
        (placed.order.status, placed.order.total.minor(), placed.order.lines.len()),
        (OrderStatus::Pending, 850, 2)
    );
    assert_eq!(shop.orders.find(ada.user_id, placed.order.order_id).await.unwrap(), placed.order);
    assert_eq!((shop.stock("MUG").await, shop.stock("HEART").await), ((7, 3, 0), (9, 1, 0)));
    assert_eq!(shop.said().await, [(OrderCreated::KIND.to_owned(), 1)]);
}

#[tokio::test]
async fn fifty_repeats_at_once_are_one_order_and_one_answer() {
    let shop = Arc::new(shop(&[("MUG", 100)]).await);
    let ada = shop.shopper(1).await;
    let mut tasks = JoinSet::new();
    for _ in 0..50 {
        let shop = Arc::clone(&shop);
        tasks.spawn(async move { shop.place(ada, "same", wanting(&[("MUG", 1)], 250)).await.unwrap() });
    }
    let answers = tasks.join_all().await;
    let first = &answers[0].order;
    assert!(answers.iter().all(|answer| answer.order.order_id == first.order_id && answer.order.lines == first.lines));
    assert_eq!(answers.iter().filter(|answer| !answer.replayed).count(), 1);
    assert_eq!((shop.count("SELECT count(*) FROM orders").await, shop.stock("MUG").await), (1, (99, 1, 0)));
    assert_eq!(shop.count("SELECT count(*) FROM outbox").await, 1);
}

#[tokio::test]
async fn the_last_unit_goes_to_exactly_one_of_two() {
    let shop = shop(&[("MUG", 1)]).await;
    let (ada, bob) = (shop.shopper(1).await, shop.shopper(2).await);
    let (first, second) = tokio::join!(
        shop.place(ada, "a", wanting(&[("MUG", 1)], 250)),
        shop.place(bob, "b", wanting(&[("MUG", 1)], 250)),
    );
    let refused = [&first, &second].into_iter().filter(|result| matches!(result, Err(OrderError::SoldOut(_)))).count();
    assert_eq!((refused, [first.is_ok(), second.is_ok()].iter().filter(|won| **won).count()), (1, 1));
    assert_eq!((shop.stock("MUG").await, shop.count("SELECT count(*) FROM orders").await), ((0, 1, 0), 1));
    assert_eq!(shop.count("SELECT count(*) FROM idempotency_records").await, 1, "a refusal left a trace");
}

#[tokio::test]
async fn a_key_belongs_to_one_request_and_survives_a_price_change() {
    let shop = shop(&[("MUG", 10)]).await;
    let ada = shop.shopper(1).await;
    let first = shop.place(ada, "k", wanting(&[("MUG", 1)], 250)).await.unwrap();
    let other = shop.place(ada, "k", wanting(&[("MUG", 2)], 500)).await.unwrap_err();
    assert!(matches!(other, OrderError::KeyReused), "{other}");
    // At another total the same key is another request; a price that moved since refuses only new keys.
    let stale = shop.place(ada, "new", wanting(&[("MUG", 1)], 240)).await.unwrap_err();
    assert!(matches!(&stale, OrderError::QuoteChanged(quote) if quote.total.minor() == 250), "{stale}");
    let again = shop.place(ada, "k", wanting(&[("MUG", 1)], 250)).await.unwrap();
    assert!(again.replayed && again.order.order_id == first.order.order_id);
}

#[tokio::test]
async fn a_refused_order_writes_nothing() {
    let shop = shop(&[("MUG", 1)]).await;
    let ada = shop.shopper(1).await;
    let stranger = Caller { user_id: UserId::from_i64(5 << 10).unwrap(), epoch: 0 };
    for (caller, body) in [
        (ada, wanting(&[("NOPE", 1)], 100)),
        (ada, wanting(&[("MUG", 1)], 1)),
        (ada, wanting(&[("MUG", 2)], 500)),
        (ada, PlaceOrder { cart_version: Some(3), ..wanting(&[("MUG", 1)], 250) }),
        (stranger, wanting(&[("MUG", 1)], 250)),
    ] {
        shop.place(caller, "k", body).await.unwrap_err();
    }
    for sql in
        ["SELECT count(*) FROM orders", "SELECT count(*) FROM outbox", "SELECT count(*) FROM idempotency_records"]
    {
        assert_eq!(shop.count(sql).await, 0, "{sql}");
    }
    assert_eq!(shop.stock("MUG").await, (1, 0, 0));
}

#[tokio::test]
async fn who_was_refused_and_asks_again_needs_no_connection_of_the_pool() {
    let shop = shop(&[("MUG", 10)]).await;
    let ada = shop.shopper(1).await;
    let order = || PlaceOrder { cart_version: Some(3), ..wanting(&[("MUG", 1)], 250) };
    shop.place(ada, "k", order()).await.unwrap_err();
    let mut all = Vec::new();
    while let Ok(conn) = tokio::time::timeout(Duration::from_millis(200), shop.shard.read()).await {
        all.push(conn.unwrap());
    }
    let again = shop.place(ada, "k", order()).await.unwrap_err();
    assert!(matches!(again, OrderError::CartChanged(_)), "{again} with {} connections taken", all.len());
}

#[tokio::test]
async fn a_cart_is_ordered_once_and_only_as_it_was_seen() {
    let shop = shop(&[("MUG", 10)]).await;
    let ada = shop.shopper(1).await;
    let add = CartOperation {
        operation_id: OperationId::mint(1, [1; 10]),
        change: CartChange::Add { sku: sku("MUG"), quantity: Quantity::new(2).unwrap() },
        expected_version: None,
    };
    let cart = shop.carts.apply(ada.user_id, &add).await.unwrap();
    let order = |version| PlaceOrder { cart_version: Some(version), ..wanting(&[("MUG", 2)], 500) };
    let stale = shop.place(ada, "a", order(cart.version - 1)).await.unwrap_err();
    assert!(matches!(stale, OrderError::CartChanged(_)), "{stale}");
    shop.place(ada, "b", order(cart.version)).await.unwrap();
    let emptied = shop.carts.view(ada.user_id, 0).await.unwrap();
    assert!(emptied.lines.is_empty() && emptied.version > cart.version);
    let twice = shop.place(ada, "c", order(cart.version)).await.unwrap_err();
    assert!(matches!(twice, OrderError::CartChanged(_)), "{twice}");
    assert_eq!(shop.stock("MUG").await, (8, 2, 0));
}

#[tokio::test]
async fn a_revoked_session_and_a_frozen_slot_place_nothing() {
    let shop = shop(&[("MUG", 10)]).await;
    let ada = shop.shopper(1).await;
    let mut conn = shop.shard.read().await.unwrap();
    sqlx::query("UPDATE users SET revocation_epoch = 1").execute(&mut *conn).await.unwrap();
    let ended = shop.place(ada, "a", wanting(&[("MUG", 1)], 250)).await.unwrap_err();
    assert!(matches!(ended, OrderError::SessionEnded), "{ended}");
    let renewed = Caller { epoch: 1, ..ada };
    for (state, wrong) in [("frozen", false), ("moved", true)] {
        sqlx::query("UPDATE slots SET state = $1 WHERE slot = 1").bind(state).execute(&mut *conn).await.unwrap();
        let error = shop.place(renewed, "b", wanting(&[("MUG", 1)], 250)).await.unwrap_err();
        let typed = if wrong {
            matches!(error, OrderError::Store(StoreError::WrongShard(_)))
        } else {
            matches!(error, OrderError::Store(StoreError::Frozen(_)))
        };
        assert!(typed, "{state}: {error}");
    }
    assert_eq!(shop.count("SELECT count(*) FROM orders").await, 0);
}

#[tokio::test]
async fn other_peoples_orders_do_not_exist_and_a_guests_orders_stay_reachable() {
    let shop = shop(&[("MUG", 10)]).await;
    let (guest, ada, eve) = (shop.shopper(1).await, shop.shopper(2).await, shop.shopper(3).await);
    let order = shop.place(guest, "k", wanting(&[("MUG", 1)], 250)).await.unwrap().order.order_id;
    assert!(matches!(shop.orders.find(ada.user_id, order).await, Err(OrderError::NotFound)));
    let mut conn = shop.shard.read().await.unwrap();
    let alias = sqlx::query("INSERT INTO user_aliases (user_id, guest_id) VALUES ($1, $2)");
    alias.bind(ada.user_id.as_i64()).bind(guest.user_id.as_i64()).execute(&mut *conn).await.unwrap();
    assert_eq!(shop.orders.find(ada.user_id, order).await.unwrap().order_id, order);
    assert_eq!(shop.orders.list(ada.user_id, None, 10).await.unwrap().items.len(), 1);
    assert!(matches!(shop.orders.find(eve.user_id, order).await, Err(OrderError::NotFound)));
}

#[tokio::test]
async fn pages_of_orders_follow_each_other_without_gap_or_repeat() {
    let shop = shop(&[("MUG", 10)]).await;
    let ada = shop.shopper(1).await;
    for number in 0..5 {
        shop.place(ada, &format!("k{number}"), wanting(&[("MUG", 1)], 250)).await.unwrap();
    }
    let (mut seen, mut cursor) = (Vec::new(), None);
    loop {
        let page = shop.orders.list(ada.user_id, cursor, 2).await.unwrap();
        seen.extend(page.items.iter().map(|order| order.order_id));
        cursor = page.next_cursor;
        if cursor.is_none() {
            break;
        }
    }
    assert!(seen.len() == 5 && seen.windows(2).all(|pair| pair[0] > pair[1]), "{seen:?}");
}

#[tokio::test]
async fn a_paid_order_is_claimed_then_confirmed_and_its_units_are_sold() {
    let shop = shop(&[("MUG", 10)]).await;
    let order = shop.place(shop.shopper(1).await, "k", wanting(&[("MUG", 2)], 500)).await.unwrap().order;
    let (order_id, payment_id) = (order.order_id, payment(order.order_id));
    // Heard too early it has no effect: nothing is confirmed that was not claimed.
    shop.hear(PaymentCaptured { order_id, payment_id, amount: order.total }).await;
    for _ in 0..2 {
        shop.hear(PaymentAuthorized { order_id, payment_id, assessment: None }).await;
    }
    assert_eq!(shop.stock("MUG").await, (8, 0, 2));
    for _ in 0..2 {
        shop.hear(PaymentCaptured { order_id, payment_id, amount: order.total }).await;
    }
    assert_eq!(shop.orders.find(order.user_id, order_id).await.unwrap().status, OrderStatus::Confirmed);
    let said: Vec<String> = shop.said().await.into_iter().map(|(kind, _)| kind).collect();
    assert_eq!(said, [OrderCreated::KIND, OrderClaimed::KIND, OrderConfirmed::KIND]);
    assert_eq!(shop.said().await.iter().map(|(_, version)| *version).collect::<Vec<_>>(), [1, 2, 3]);
}

#[tokio::test]
async fn a_declined_order_is_cancelled_and_its_units_are_free_again() {
    let shop = shop(&[("MUG", 10)]).await;
    let order = shop.place(shop.shopper(1).await, "k", wanting(&[("MUG", 2)], 500)).await.unwrap().order;
    let (order_id, payment_id) = (order.order_id, payment(order.order_id));
    for _ in 0..2 {
        shop.hear(PaymentFailed { order_id, payment_id, reason: "insufficient funds".into() }).await;
    }
    let now = shop.orders.find(order.user_id, order_id).await.unwrap();
    assert_eq!((now.status, now.cancel_reason.as_deref()), (OrderStatus::Cancelled, Some("insufficient funds")));
    assert_eq!(shop.stock("MUG").await, (10, 0, 0));
    shop.hear(PaymentAuthorized { order_id, payment_id, assessment: None }).await;
    assert_eq!(shop.stock("MUG").await, (10, 0, 0), "a cancelled order took units");
}

fn judged(decision: Decision) -> Option<Assessment> {
    Some(Assessment { score: 70, reasons: vec!["disposable_mail".into(), "card_of_another_country".into()], decision })
}

#[tokio::test]
async fn an_order_that_something_speaks_against_waits_and_goes_on_once_it_is_released() {
    let shop = shop(&[("MUG", 10)]).await;
    let (ada, keeper) = (shop.shopper(1).await, shop.shopper(2).await);
    let order = shop.place(ada, "k", wanting(&[("MUG", 2)], 500)).await.unwrap().order;
    let (order_id, payment_id) = (order.order_id, payment(order.order_id));
    for _ in 0..2 {
        shop.hear(PaymentAuthorized { order_id, payment_id, assessment: judged(Decision::Review) }).await;
    }
    assert_eq!(shop.stock("MUG").await, (8, 2, 0), "its units are kept");
    let now = shop.orders.find(ada.user_id, order_id).await.unwrap();
    assert_eq!(now.status, OrderStatus::Pending);
    let kept: bool = sqlx::query_scalar("SELECT expires_at > shard_now() + interval '47 hours' FROM orders")
        .fetch_one(&mut *shop.shard.read().await.unwrap())
        .await
        .unwrap();
    assert!(kept, "it does not expire while it waits");
    let waiting = DeskQuery { held: true, ..DeskQuery::default() };
    let held = async || shop.orders.desk(&waiting).await.unwrap().items;
    assert_eq!(held().await.iter().map(|order| order.order_id).collect::<Vec<_>>(), [order_id]);

    for _ in 0..2 {
        shop.orders.release(order_id, keeper.user_id).await.unwrap();
    }
    assert_eq!(shop.stock("MUG").await, (8, 0, 2));
    assert!(held().await.is_empty());
    shop.hear(PaymentCaptured { order_id, payment_id, amount: order.total }).await;
    assert_eq!(shop.orders.find(ada.user_id, order_id).await.unwrap().status, OrderStatus::Confirmed);
    assert_eq!(shop.said().await.iter().map(|(_, version)| *version).collect::<Vec<_>>(), [1, 2, 3]);
}

#[tokio::test]
async fn an_order_that_waited_too_long_is_not_released() {
    let shop = shop(&[("MUG", 10)]).await;
    let (ada, keeper) = (shop.shopper(1).await, shop.shopper(2).await);
    let order_id = shop.place(ada, "k", wanting(&[("MUG", 1)], 250)).await.unwrap().order.order_id;
    shop.hear(PaymentAuthorized { order_id, payment_id: payment(order_id), assessment: judged(Decision::Review) })
        .await;
    let mut conn = shop.shard.read().await.unwrap();
    sqlx::query("UPDATE orders SET expires_at = shard_now()").execute(&mut *conn).await.unwrap();
    let late = shop.orders.release(order_id, keeper.user_id).await;
    assert!(matches!(late, Err(OrderError::NotHeld(OrderStatus::Pending))), "{late:?}");
    let undecided: i64 = sqlx::query_scalar("SELECT count(*) FROM order_reviews WHERE decision IS NULL")
        .fetch_one(&mut *conn)
        .await
        .unwrap();
    assert_eq!(undecided, 1, "a release that failed leaves no trace");
}

#[tokio::test]
async fn an_order_is_found_by_its_end_for_ninety_days_and_by_its_number_for_ever() {
    let shop = shop(&[]).await;
    let (ada, now_ms) = (shop.shopper(1).await, Clock::system().unix_ms());
    for (days, byte, found) in [(89_u64, 1, true), (91, 2, false)] {
        let order = OrderId::mint(now_ms - days * 24 * 3_600 * 1_000, ada.user_id.slot(), [byte; 8]);
        let insert = "INSERT INTO orders (order_id, user_id, payment_token, currency, subtotal_minor, shipping_minor,
                                          total_minor, catalog_version, shipping_address, expires_at)
                      VALUES ($1, $2, 'tok', 'GBP', 250, 0, 250, 1, '{}', shard_now())";
        let insert = sqlx::query(insert).bind(order.as_uuid()).bind(ada.user_id.as_i64());
        insert.execute(&mut *shop.shard.read().await.unwrap()).await.unwrap();
        let find = async |text: &str| {
            let query = DeskQuery { find: Some(text.to_owned()), ..DeskQuery::default() };
            shop.orders.desk(&query).await.unwrap().items.len()
        };
        let number = order.to_string();
        assert_eq!(find(&number[number.len() - 8..]).await, usize::from(found), "{days} days");
        assert_eq!(find(&number).await, 1, "{days} days");
    }
}

#[tokio::test]
async fn an_order_that_ends_while_it_waits_says_who_ended_it() {
    let shop = shop(&[("MUG", 10)]).await;
    let (ada, keeper) = (shop.shopper(1).await, shop.shopper(2).await);
    let place = async |key: &str| {
        let order_id = shop.place(ada, key, wanting(&[("MUG", 1)], 250)).await.unwrap().order.order_id;
        let (payment_id, assessment) = (payment(order_id), judged(Decision::Review));
        shop.hear(PaymentAuthorized { order_id, payment_id, assessment }).await;
        order_id
    };
    let (refused, withdrawn, declined) = (place("a").await, place("b").await, place("c").await);
    shop.orders.cancel_any(refused, keeper.user_id, "too many").await.unwrap();
    shop.orders.cancel(ada.user_id, withdrawn).await.unwrap();
    shop.hear(PaymentFailed { order_id: declined, payment_id: payment(declined), reason: "gone".into() }).await;
    let (swept, seen) = (place("d").await, place("e").await);
    let mut conn = shop.shard.read().await.unwrap();
    sqlx::query("UPDATE orders SET expires_at = shard_now() WHERE status = 'PENDING'")
        .execute(&mut *conn)
        .await
        .unwrap();
    shop.hear(PaymentAuthorized { order_id: seen, payment_id: payment(seen), assessment: None }).await;
    shop.sweep_until_cancelled(ada, swept).await;

    for (order, decision, by, reason, told) in [
        (refused, "refused", Some(keeper.user_id.as_i64()), "too many", "waited for a decision and was refused"),
        (withdrawn, "withdrawn", None, "you cancelled this order", "withdrawn by its shopper"),
        (declined, "lapsed", None, "gone", "ended before anybody decided"),
        (swept, "lapsed", None, "we could not accept this order", "ended before anybody decided"),
        (seen, "lapsed", None, "we could not accept this order", "ended before anybody decided"),
    ] {
        let sql = "SELECT decision, decided_by FROM order_reviews WHERE order_id = $1 AND decided_at IS NOT NULL";
        let kept: (String, Option<i64>) =
            sqlx::query_as(sql).bind(order.as_uuid()).fetch_one(&mut *conn).await.unwrap();
        assert_eq!((kept.0.as_str(), kept.1), (decision, by));
        let now = shop.orders.find(ada.user_id, order).await.unwrap();
        assert_eq!((now.status, now.cancel_reason.as_deref()), (OrderStatus::Cancelled, Some(reason)));
        let events = "SELECT payload ->> 'reason' FROM outbox WHERE kind = 'OrderCancelled' AND aggregate_id = $1";
        let said: Vec<String> = sqlx::query_scalar(events).bind(order.as_uuid()).fetch_all(&mut *conn).await.unwrap();
        assert_eq!(said, [reason]);
        let timeline = shop.orders.timeline(keeper.user_id, true, order).await.unwrap();
        let reviewed = timeline.items.iter().find(|entry| entry.what == Happening::Reviewed).unwrap();
        assert!(reviewed.detail.as_deref().unwrap().starts_with(told), "{reviewed:?}");
    }
    assert_eq!(shop.stock("MUG").await, (10, 0, 0));
}

#[tokio::test]
async fn an_order_that_too_much_speaks_against_is_refused_and_its_reasons_are_kept() {
    let shop = shop(&[("MUG", 10)]).await;
    let (ada, keeper) = (shop.shopper(1).await, shop.shopper(2).await);
    let order_id = shop.place(ada, "k", wanting(&[("MUG", 2)], 500)).await.unwrap().order.order_id;
    for _ in 0..2 {
        let assessment = judged(Decision::Refuse);
        shop.hear(PaymentAuthorized { order_id, payment_id: payment(order_id), assessment }).await;
    }
    let now = shop.orders.find(ada.user_id, order_id).await.unwrap();
    assert_eq!(
        (now.status, now.cancel_reason.as_deref()),
        (OrderStatus::Cancelled, Some("we could not accept this order"))
    );
    assert_eq!(shop.stock("MUG").await, (10, 0, 0));
    let told = shop.orders.timeline(keeper.user_id, true, order_id).await.unwrap();
    let reviewed = told.items.iter().find(|entry| entry.what == Happening::Reviewed).unwrap();
    assert!(reviewed.detail.as_deref().unwrap().starts_with("refused by the rules: disposable mail"), "{reviewed:?}");
    assert!(!told.held && shop.orders.release(order_id, keeper.user_id).await.is_err());
}

#[tokio::test]
async fn an_order_out_of_time_is_cancelled_by_whoever_sees_it_first() {
    let shop = shop(&[("MUG", 10)]).await;
    let (ada, bob) = (shop.shopper(1).await, shop.shopper(2).await);
    let seen = shop.place(ada, "a", wanting(&[("MUG", 1)], 250)).await.unwrap().order;
    let swept = shop.place(bob, "b", wanting(&[("MUG", 1)], 250)).await.unwrap().order;
    let mut conn = shop.shard.read().await.unwrap();
    sqlx::query("UPDATE orders SET expires_at = shard_now()").execute(&mut *conn).await.unwrap();
    shop.hear(PaymentAuthorized { order_id: seen.order_id, payment_id: payment(seen.order_id), assessment: None })
        .await;
    assert_eq!(shop.orders.find(ada.user_id, seen.order_id).await.unwrap().status, OrderStatus::Cancelled);
    shop.sweep_until_cancelled(bob, swept.order_id).await;
    assert_eq!(shop.stock("MUG").await, (10, 0, 0));
    let cancelled = shop.said().await.into_iter().filter(|(kind, _)| kind == OrderCancelled::KIND).count();
    assert_eq!(cancelled, 2);
}

#[tokio::test]
async fn a_shopper_cancels_his_order_until_it_has_left_and_once() {
    let shop = shop(&[("MUG", 10)]).await;
    let (ada, eve) = (shop.shopper(1).await, shop.shopper(2).await);
    let held = shop.place(ada, "held", wanting(&[("MUG", 1)], 250)).await.unwrap().order;
    let claimed = shop.place(ada, "claimed", wanting(&[("MUG", 1)], 250)).await.unwrap().order;
    let paid = shop.place(ada, "paid", wanting(&[("MUG", 1)], 250)).await.unwrap().order;
    let left = shop.place(ada, "left", wanting(&[("MUG", 1)], 250)).await.unwrap().order;
    for order in [&claimed, &paid, &left] {
        let (order_id, payment_id) = (order.order_id, payment(order.order_id));
        shop.hear(PaymentAuthorized { order_id, payment_id, assessment: None }).await;
        if order != &claimed {
            shop.hear(PaymentCaptured { order_id, payment_id, amount: order.total }).await;
        }
    }
    let mut conn = shop.shard.read().await.unwrap();
    let leaves = sqlx::query("UPDATE orders SET status = 'SHIPPED' WHERE order_id = $1").bind(left.order_id.as_uuid());
    leaves.execute(&mut *conn).await.unwrap();
    assert_eq!(shop.stock("MUG").await, (6, 1, 3));

    for order in [&held, &claimed, &paid] {
        let stranger = shop.orders.cancel(eve.user_id, order.order_id).await;
        assert!(matches!(stranger, Err(OrderError::NotFound)), "{stranger:?}");
        let ends = futures::future::join_all((0..5).map(|_| shop.orders.cancel(ada.user_id, order.order_id))).await;
        let ends: Vec<_> = ends.into_iter().map(|end| end.unwrap()).collect();
        assert!(ends.iter().all(|end| end.status == OrderStatus::Cancelled && end == &ends[0]), "{ends:?}");
        assert!(ends[0].cancel_reason.is_some());
    }
    let refused = shop.orders.cancel(ada.user_id, left.order_id).await;
    assert!(matches!(refused, Err(OrderError::Left(OrderStatus::Shipped))), "{refused:?}");
    assert_eq!(shop.stock("MUG").await, (9, 0, 1));
    let cancelled = shop.said().await.into_iter().filter(|(kind, _)| kind == OrderCancelled::KIND).count();
    assert_eq!(cancelled, 3);

    // The money of the claimed one comes too late.
    let (order_id, payment_id) = (claimed.order_id, payment(claimed.order_id));
    shop.hear(PaymentCaptured { order_id, payment_id, amount: claimed.total }).await;
    assert_eq!(shop.orders.find(ada.user_id, order_id).await.unwrap().status, OrderStatus::Cancelled);
    assert_eq!(shop.stock("MUG").await, (9, 0, 1));
}

#[tokio::test]
async fn a_slot_that_is_moving_cancels_nothing() {
    let shop = shop(&[("MUG", 10)]).await;
    let ada = shop.shopper(1).await;
    let order = shop.place(ada, "k", wanting(&[("MUG", 1)], 250)).await.unwrap().order.order_id;
    let mut conn = shop.shard.read().await.unwrap();
    sqlx::query("UPDATE slots SET state = 'frozen' WHERE slot = 1").execute(&mut *conn).await.unwrap();
    let frozen = shop.orders.cancel(ada.user_id, order).await;
    assert!(matches!(frozen, Err(OrderError::Store(StoreError::Frozen(_)))), "{frozen:?}");
    assert_eq!(shop.stock("MUG").await, (9, 1, 0));
}

#[tokio::test]
async fn one_who_waits_is_answered_when_the_order_ends_and_not_later() {
    let shop = Arc::new(shop(&[("MUG", 10)]).await);
    let ada = shop.shopper(1).await;
    let order = shop.place(ada, "k", wanting(&[("MUG", 1)], 250)).await.unwrap().order;
    let waiting = tokio::spawn({
        let (orders, order) = (shop.orders.clone(), order.clone());
        async move { orders.wait_for_end(&order, std::time::Duration::from_secs(30)).await }
    });
    let (order_id, payment_id) = (order.order_id, payment(order.order_id));
    shop.hear(PaymentFailed { order_id, payment_id, reason: "insufficient funds".into() }).await;
    assert_eq!(waiting.await.unwrap().unwrap().status, OrderStatus::Cancelled);
    let pending = shop.place(ada, "l", wanting(&[("MUG", 1)], 250)).await.unwrap().order;
    let asked = shop.orders.wait_for_end(&pending, std::time::Duration::from_millis(20)).await;
    assert_eq!(asked.unwrap().status, OrderStatus::Pending);
}

#[tokio::test]
async fn an_orders_lines_are_read_once_and_where_it_stands_each_time() {
    let shop = shop(&[("MUG", 10)]).await;
    let (ada, bob) = (shop.shopper(1).await, shop.shopper(2).await);
    let placed = shop.place(ada, "k", wanting(&[("MUG", 1)], 250)).await.unwrap().order;
    let order_id = placed.order_id;
    assert_eq!(shop.orders.find(ada.user_id, order_id).await.unwrap(), placed);
    // Nothing ever does so: it shows who was asked.
    let change = sqlx::query("UPDATE line_items SET title = 'changed'");
    change.execute(&mut *shop.shard.read().await.unwrap()).await.unwrap();
    shop.hear(PaymentFailed { order_id, payment_id: payment(order_id), reason: "no".into() }).await;
    let seen = shop.orders.find(ada.user_id, order_id).await.unwrap();
    assert_eq!((seen.status, seen.lines), (OrderStatus::Cancelled, placed.lines));
    assert!(matches!(shop.orders.find(bob.user_id, order_id).await, Err(OrderError::NotFound)), "what is kept is his");
}

#[tokio::test]
async fn news_of_many_orders_and_checkouts_of_the_same_goods_never_wait_in_a_ring() {
    let shop = Arc::new(shop(&[("MUG", 1_000), ("HEART", 1_000)]).await);
    let mut said = Vec::new();
    for number in 0..40 {
        // Claims and cancels take turns, each of another SKU: units move in both directions within one batch.
        let (name, price) = if number % 2 == 0 { ("MUG", 250) } else { ("HEART", 100) };
        let shopper = shop.shopper(100 + number).await;
        let order_id = shop.place(shopper, "k", wanting(&[(name, 1)], price)).await.unwrap().order.order_id;
        let (payment_id, event_id) = (payment(order_id), EventId::mint(1, Entropy::system().bytes()));
        said.push(if number % 2 == 0 {
            NewEvent::new(event_id, 1, &PaymentAuthorized { order_id, payment_id, assessment: None })
        } else {
            NewEvent::new(event_id, 1, &PaymentFailed { order_id, payment_id, reason: "no".into() })
        });
    }
    append(&mut shop.shard.read().await.unwrap(), &said).await.unwrap();
    let mut checkouts = JoinSet::new();
    for number in 0..40 {
        let (shop, shopper) = (Arc::clone(&shop), shop.shopper(500 + number).await);
        checkouts.spawn(async move {
            shop.place(shopper, "k", wanting(&[("MUG", 1), ("HEART", 1)], 350))
                .await
                .map(|placed| placed.order.order_id)
        });
    }
    let news: Arc<dyn Consumer> = Arc::new(PaymentNews::new(shop.orders.clone()));
    let runner = Runner::new(shop.shards.clone(), Wakes::new([shop.shard.id()]), vec![news], Settings::default());
    runner.settle().await.unwrap();
    let placed = checkouts.join_all().await;
    assert!(placed.iter().all(Result::is_ok), "{placed:?}");
    assert_eq!((shop.stock("MUG").await, shop.stock("HEART").await), ((940, 40, 20), (960, 40, 0)));
    let deadlocks = "SELECT deadlocks FROM pg_stat_database WHERE datname = current_database()";
    assert_eq!(shop.count(deadlocks).await, 0);
}

#[tokio::test]
async fn two_hundred_shoppers_on_twenty_units_are_twenty_orders_however_many_processes_serve_them() {
    let shop = shop(&[("MUG", 20)]).await;
    // A writer of its own in the same turn.
    let rival = shop_over(shop.shards.clone(), Peers::none());
    two_hundred_on_twenty([&shop, &rival]).await;
}

/// Two hundred shoppers ask these two in turn for one of twenty mugs.
async fn two_hundred_on_twenty(offices: [&Shop; 2]) {
    let (shop, mut shoppers) = (offices[0], JoinSet::new());
    for number in 0..200_u16 {
        let (caller, orders) = (shop.shopper(number).await, offices[usize::from(number % 2)].orders.clone());
        shoppers.spawn(async move {
            orders.place(caller, &key(&format!("k{number}")), wanting(&[("MUG", 1)], 250), None).await
        });
    }
    let answers = shoppers.join_all().await;
    let refused = |answer: &&Result<_, OrderError>| match answer {
        Err(OrderError::SoldOut(_) | OrderError::NotCovered(NotCovered::InTransit { .. })) => true,
        Err(OrderError::DecidedElsewhere(problem)) => problem.status == 409,
        _ => false,
    };
    assert_eq!(answers.iter().filter(|answer| answer.is_ok()).count(), 20);
    assert_eq!(answers.iter().filter(refused).count(), 180, "{:?}", answers.iter().find(|a| a.is_err() && !refused(a)));
    assert_eq!(shop.stock("MUG").await, (0, 20, 0));
    for (table, rows) in
        [("orders", 20), ("line_items", 20), ("reservations", 20), ("outbox", 20), ("idempotency_records", 20)]
    {
        let count = sqlx::query(sqlx::AssertSqlSafe(format!("SELECT count(*) FROM {table}")));
        let count: i64 = count.fetch_one(&mut *shop.shard.read().await.unwrap()).await.unwrap().get(0);
        assert_eq!(count, rows, "{table}");
    }
}

#[tokio::test]
async fn a_shopper_in_the_same_batch_as_a_refused_one_is_served() {
    let shop = Arc::new(shop(&[("MUG", 5), ("HEART", 100)]).await);
    let mut tasks = JoinSet::new();
    for number in 0..40_u16 {
        let caller = shop.shopper(number).await;
        let revoked = Caller { epoch: 0, ..caller };
        if number % 4 == 1 {
            let sql = "UPDATE users SET revocation_epoch = 1 WHERE user_id = $1";
            let mut conn = shop.shard.read().await.unwrap();
            sqlx::query(sql).bind(caller.user_id.as_i64()).execute(&mut *conn).await.unwrap();
        }
        let shop = Arc::clone(&shop);
        tasks.spawn(async move {
            let body = match number % 4 {
                0 | 1 => wanting(&[("HEART", 1)], 100),
                2 => wanting(&[("HEART", 1), ("MUG", 6)], 1600), // more mugs than there are
                _ => PlaceOrder { cart_version: Some(9), ..wanting(&[("HEART", 1)], 100) }, // another cart
            };
            (number % 4, shop.place(revoked, &format!("k{number}"), body).await)
        });
    }
    for (kind, answer) in tasks.join_all().await {
        match kind {
            0 => assert!(answer.is_ok(), "{answer:?}"),
            1 => assert!(matches!(answer, Err(OrderError::SessionEnded)), "{answer:?}"),
            2 => assert!(matches!(answer, Err(OrderError::SoldOut(_))), "{answer:?}"),
            _ => assert!(matches!(answer, Err(OrderError::CartChanged(_))), "{answer:?}"),
        }
    }
    assert_eq!((shop.stock("HEART").await, shop.stock("MUG").await), ((90, 10, 0), (5, 0, 0)));
}

#[tokio::test]
async fn units_that_came_in_behind_the_writers_back_are_sold() {
    let shop = shop(&[("MUG", 1)]).await;
    let ada = shop.shopper(1).await;
    shop.place(ada, "a", wanting(&[("MUG", 1)], 250)).await.unwrap();
    assert!(matches!(shop.place(ada, "b", wanting(&[("MUG", 1)], 250)).await, Err(OrderError::SoldOut(_))));
    let more = Receipt { reference: "second".into(), sku: sku("MUG"), units: 3 };
    receive(&mut shop.shard.read().await.unwrap(), &[more]).await.unwrap();
    shop.place(ada, "b", wanting(&[("MUG", 3)], 750)).await.unwrap();
    // And units that went away behind its back are not.
    let more = Receipt { reference: "third".into(), sku: sku("MUG"), units: 5 };
    receive(&mut shop.shard.read().await.unwrap(), &[more]).await.unwrap();
    shop.place(ada, "c", wanting(&[("MUG", 1)], 250)).await.unwrap();
    shop.count("WITH gone AS (UPDATE allotments SET free = 0 RETURNING 1) SELECT count(*) FROM gone").await;
    let refused = shop.place(shop.shopper(2).await, "d", wanting(&[("MUG", 1)], 250)).await;
    assert!(matches!(refused, Err(OrderError::SoldOut(_))), "{refused:?}");
}
