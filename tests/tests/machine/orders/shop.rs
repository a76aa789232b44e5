//! One region's orders over one real shard.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use region_core_cart::{Carts, Offer, Prices};
use region_core_events::contract::{Payload, PaymentAuthorized, PaymentCaptured, PaymentFailed};
use region_core_events::{Consumer, NewEvent, Runner, Settings, Wakes, append};
use region_core_inventory::{Borrowing, Receipt, receive};
use region_core_order::rules::{DeliveryWish, PriceError, Priced, PricedOrder, price};
use region_core_order::{Caller, OrderError, Orders, Parts, PaymentNews, Placed, PriceList};
use region_core_store::redis::Redis;
use region_core_store::{Shard, Shards, test_support};
use region_core_web::Peers;
use shared::api::order::{Address, OrderItem, PlaceOrder};
use shared::id::{Slot, USER_EPOCH_MS};
use shared::{Currency, EventId, Money, OrderId, PaymentId, Quantity, Sku, SlotMap, UserId};
use shared_clock::{Clock, Entropy};
use sqlx::{AssertSqlSafe, PgPool};
use tokio_util::sync::CancellationToken;

use super::reference::{Basket, GOODS, HOLD_MINUTES, News, Place, SHOPPERS, Stock, units_of};

/// Every SKU at its price.
struct List;

fn price_of(sku: &Sku) -> Option<Money> {
    let (_, minor) = GOODS.iter().find(|(name, _)| *name == sku.as_str())?;
    Money::new(*minor, Currency::GBP).ok()
}

impl PriceList for List {
    fn price(&self, items: &BTreeMap<Sku, Quantity>, _: DeliveryWish<'_>) -> Result<PricedOrder, PriceError> {
        let find = |sku: &Sku| Some(Priced { title: sku.as_str().into(), unit_price: price_of(sku)? });
        price(items, Currency::GBP, 1, find)
    }
}

impl Prices for List {
    fn currency(&self) -> Currency {
        Currency::GBP
    }

    fn find_offer(&self, sku: &Sku) -> Option<Offer> {
        let unit_price = price_of(sku)?;
        Some(Offer { title: sku.as_str().into(), slug: sku.as_str().into(), variant: "".into(), unit_price })
    }
}

/// The region's core over a database that stays when the core is started anew.
pub(crate) struct Shop {
    url: String,
    pool: PgPool,
    shards: Shards,
    orders: Orders,
    /// Accepted orders, by the reference's numbers.
    pub(crate) accepted: Vec<OrderId>,
}

impl Shop {
    /// A shop with its shoppers and its first supply.
    pub(crate) async fn open() -> Self {
        let database = test_support::shard_database().await;
        let (pool, shards, orders) = start(&database.url).await;
        let shop = Self { url: database.url, pool, shards, orders, accepted: Vec::new() };
        for shopper in 0..SHOPPERS {
            let new = sqlx::query("INSERT INTO users (user_id) VALUES ($1)").bind(user(shopper).as_i64());
            new.execute(&shop.pool).await.unwrap();
        }
        shop
    }

    fn shard(&self) -> &Shard {
        self.shards.all().next().unwrap()
    }

    /// Books `units` of a SKU under that reference.
    pub(crate) async fn receive(&self, reference: &str, sku: usize, units: i64) {
        let receipt = Receipt { reference: reference.to_owned(), sku: sku_of(sku), units: units.unsigned_abs() };
        receive(&mut self.shard().read().await.unwrap(), &[receipt]).await.unwrap();
    }

    pub(crate) async fn receive_again(&self, receipt: u8, sku: usize) {
        self.receive(&format!("receipt-{receipt}"), sku, units_of(receipt)).await;
    }

    /// Sends the same request so many times at once.
    pub(crate) async fn place(&self, place: Place, copies: u8) -> Vec<Result<Placed, OrderError>> {
        let (caller, key) =
            (Caller { user_id: user(place.shopper), epoch: 0 }, format!("key-{}", place.key).parse().unwrap());
        let requests = (0..copies).map(|_| self.orders.place(caller, &key, body(place.basket), None));
        futures::future::join_all(requests).await
    }

    /// Says on the bus what payment would say, and lets the orders hear all of it.
    pub(crate) async fn hear(&self, news: &[(usize, News)]) {
        let said: Vec<NewEvent> = news.iter().map(|(number, news)| event(self.accepted[*number], *news)).collect();
        append(&mut self.shard().read().await.unwrap(), &said).await.unwrap();
        let consumer: Arc<dyn Consumer> = Arc::new(PaymentNews::new(self.orders.clone()));
        let wakes = Wakes::new([self.shard().id()]);
        Runner::new(self.shards.clone(), wakes, vec![consumer], Settings::default()).settle().await.unwrap();
    }

    /// Lets the sweeper look once: it is told to stop while it looks, and finishes what it has begun.
    pub(crate) async fn sweep(&self) {
        let stop = CancellationToken::new();
        let sweeping = region_core_order::sweep(self.orders.clone(), stop.clone());
        tokio::join!(biased; sweeping, async { stop.cancel() });
    }

    /// Turns the shard's clock to so many minutes from now, and starts the core anew.
    pub(crate) async fn turn_clock(&mut self, minutes: u32) {
        let name: String = sqlx::query_scalar("SELECT current_database()").fetch_one(&self.pool).await.unwrap();
        // A number, and a name that the test support made of letters, digits and underscores.
        let turn = format!("ALTER DATABASE {name} SET meridian.clock_offset = '{minutes} minutes'");
        sqlx::raw_sql(AssertSqlSafe(turn)).execute(&self.pool).await.unwrap();
        self.pool.close().await;
        (self.pool, self.shards, self.orders) = start(&self.url).await;
    }

    /// Units of a SKU as the shard has them.
    pub(crate) async fn stock(&self, sku: usize) -> Stock {
        let row = sqlx::query_as("SELECT free, reserved, sold FROM allotments WHERE sku = $1").bind(GOODS[sku].0);
        let (free, reserved, sold) = row.fetch_one(&self.pool).await.unwrap();
        Stock { free, reserved, sold }
    }

    /// Status, whether claimed, and version of every order.
    pub(crate) async fn orders(&self) -> HashMap<OrderId, (String, bool, i64)> {
        let sql = "SELECT order_id, status, claimed_at IS NOT NULL, version FROM orders";
        let rows: Vec<(uuid::Uuid, String, bool, i64)> = sqlx::query_as(sql).fetch_all(&self.pool).await.unwrap();
        rows.into_iter()
            .map(|(id, status, claimed, version)| (OrderId::from_uuid(id), (status, claimed, version)))
            .collect()
    }

    pub(crate) async fn count(&self, sql: &'static str) -> i64 {
        sqlx::query_scalar(sql).fetch_one(&self.pool).await.unwrap()
    }
}

async fn start(url: &str) -> (PgPool, Shards, Orders) {
    let pool = PgPool::connect(url).await.unwrap();
    let (region, id) = ("eu".parse().unwrap(), shared::ShardId::try_from(1).unwrap());
    let map = SlotMap::even(1, [(id, "eu".parse().unwrap())].into()).unwrap();
    let shards = Shards::new(region, [Shard::from_pool(id, pool.clone())], map);
    let carts = Carts::new(shards.clone(), Redis::absent(), Arc::new(List));
    let orders = Orders::new(Parts {
        shards: shards.clone(),
        carts,
        prices: Arc::new(List),
        borrowing: Borrowing::new(shards.clone(), Peers::none(), Arc::new(|_, _| {})),
        peers: Peers::none(),
        told: Arc::new(|_, _| {}),
        wakes: Wakes::new([id]),
        clock: Clock::system(),
        entropy: Entropy::system(),
        hold: time::Duration::minutes(i64::from(HOLD_MINUTES)),
        review: None,
        labels: false,
    });
    (pool, shards, orders)
}

fn user(shopper: u8) -> UserId {
    UserId::mint(USER_EPOCH_MS + 1, Slot::new(u16::from(shopper)).unwrap(), 1).unwrap()
}

fn sku_of(sku: usize) -> Sku {
    GOODS[sku].0.parse().unwrap()
}

fn body(basket: Basket) -> PlaceOrder {
    let lines = || GOODS.iter().zip(basket).filter(|(_, units)| *units > 0);
    let total = lines().map(|((_, minor), units)| minor * i64::from(units)).sum();
    let item = |((name, _), units): (&(&str, i64), u8)| OrderItem {
        sku: name.parse().unwrap(),
        quantity: Quantity::new(i64::from(units)).unwrap(),
    };
    PlaceOrder {
        items: lines().map(item).collect(),
        shipping_address: address(),
        payment_token: "tok_success".into(),
        expected_total: Money::new(total, Currency::GBP).unwrap(),
        cart_version: None,
        email: None,
        delivery_option: None,
        phone: None,
        user_id: None,
    }
}

fn address() -> Address {
    Address {
        name: "Ada Lovelace".into(),
        line1: "12 St James's Square".into(),
        line2: None,
        city: "London".into(),
        region: None,
        postal_code: Some("SW1Y 4JH".into()),
        country: "GB".into(),
    }
}

fn event(order_id: OrderId, news: News) -> NewEvent {
    let payment_id = PaymentId::mint(1_800_000_000_000, order_id.slot(), [1; 8]);
    match news {
        News::Authorized => say(&PaymentAuthorized { order_id, payment_id, assessment: None }),
        News::Captured => {
            let amount = Money::new(100, Currency::GBP).unwrap();
            say(&PaymentCaptured { order_id, payment_id, amount })
        }
        News::Failed => say(&PaymentFailed { order_id, payment_id, reason: "declined".into() }),
    }
}

fn say<P: Payload>(payload: &P) -> NewEvent {
    NewEvent::new(EventId::mint(1, Entropy::system().bytes()), 1, payload)
}
