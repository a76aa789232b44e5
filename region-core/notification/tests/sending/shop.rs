//! A region with one shard whose orders are told about.

use std::collections::HashMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use futures::FutureExt;
use futures::future::BoxFuture;
use region_core_events::contract::{
    OrderCancelled, OrderConfirmed, Payload, PaymentRefunded, ShipmentDelivered, ShipmentSent,
};
use region_core_events::{AfterCommit, Consumer, Event, HandleError, NewEvent, Runner, Wakes, append};
use region_core_notification::rules::Patience;
use region_core_notification::{
    Copied, CopyError, LinkKeys, Notifications, OrderBook, Preferences, Push, Services, Settings, Shop as Identity,
    Sms, Smtp, Ways, push_keys,
};
use region_core_outbound::target::Guard;
use region_core_store::{Shard, Shards, StoreError, test_support};
use region_core_web::Peers;
use secrecy::SecretString;
use shared::api::order::{Address, Order, OrderStatus, PaymentStatus};
use shared::id::Slot;
use shared::{
    Currency, EmailAddress, EventId, Money, OrderId, PaymentId, PhoneNumber, Problem, ShardId, ShipmentId, UserId,
};
use shared_clock::{Clock, Entropy};
use sqlx::PgConnection;
use tokio_util::sync::CancellationToken;

const MS: u64 = 1_800_000_000_000;
/// No attempt of these tests takes longer.
const LIMIT: Duration = Duration::from_secs(60);

/// The order service, as far as notification can tell.
#[derive(Default)]
struct Orders(Mutex<HashMap<OrderId, Order>>);

impl OrderBook for Orders {
    fn addresses<'a>(
        &'a self,
        _: &'a mut PgConnection,
        orders: &'a [OrderId],
    ) -> BoxFuture<'a, Result<HashMap<OrderId, EmailAddress>, StoreError>> {
        let known = self.0.lock().unwrap();
        let address = |order: &OrderId| Some((*order, known.get(order)?.email.clone()?));
        std::future::ready(Ok(orders.iter().filter_map(address).collect())).boxed()
    }

    fn phones<'a>(
        &'a self,
        _: &'a mut PgConnection,
        orders: &'a [OrderId],
    ) -> BoxFuture<'a, Result<HashMap<OrderId, PhoneNumber>, StoreError>> {
        let known = self.0.lock().unwrap();
        let phone = |order: &OrderId| Some((*order, known.get(order)?.phone.clone()?));
        std::future::ready(Ok(orders.iter().filter_map(phone).collect())).boxed()
    }

    fn find(&self, order: OrderId) -> BoxFuture<'_, Result<Option<Order>, StoreError>> {
        std::future::ready(Ok(self.0.lock().unwrap().get(&order).cloned())).boxed()
    }

    fn check_owner(&self, user: UserId, order: OrderId) -> BoxFuture<'_, Result<(), Problem>> {
        let known = self.0.lock().unwrap().get(&order).is_some_and(|order| order.user_id == user);
        std::future::ready(known.then_some(()).ok_or_else(Problem::not_found)).boxed()
    }

    fn note_copy<'a>(
        &'a self,
        conn: &'a mut PgConnection,
        order: OrderId,
        by: UserId,
        what: &'a str,
    ) -> BoxFuture<'a, Result<(), StoreError>> {
        let note = "INSERT INTO notes (order_id, actor, what) VALUES ($1, $2, $3)";
        let note = sqlx::query(note).bind(order.as_uuid()).bind(by.as_i64()).bind(what.to_owned());
        async move { Ok(note.execute(conn).await.map(|_| ())?) }.boxed()
    }
}

/// Keeps every event that it is given, to be given again.
#[derive(Default)]
struct Scribe(Mutex<Vec<Event>>);

impl Consumer for Scribe {
    fn name(&self) -> &'static str {
        "scribe"
    }

    fn kinds(&self) -> &'static [&'static str] {
        &[OrderConfirmed::KIND, OrderCancelled::KIND, PaymentRefunded::KIND]
    }

    fn handle<'a>(
        &'a self,
        _: ShardId,
        _: &'a mut PgConnection,
        events: &'a [Event],
    ) -> BoxFuture<'a, Result<AfterCommit, HandleError>> {
        self.0.lock().unwrap().extend_from_slice(events);
        std::future::ready(Ok(AfterCommit::default())).boxed()
    }
}

pub(crate) struct Shop {
    shards: Shards,
    wakes: Wakes,
    orders: Arc<Orders>,
    entropy: Entropy,
    notifications: Notifications,
    preferences: Preferences,
}

impl Shop {
    /// One that sends through the server at `url` and waits milliseconds where it usually waits minutes.
    pub(crate) async fn open(url: &str, authority: Option<&[u8]>) -> Self {
        Self::over(test_support::one_shard().await, Peers::none(), url, authority).await
    }

    /// The same over these shards, with that way to other regions.
    pub(crate) async fn over(shards: Shards, peers: Peers, url: &str, authority: Option<&[u8]>) -> Self {
        Self::telling_by(shards, peers, url, authority, None, None).await
    }

    /// One that texts as well.
    pub(crate) async fn texting(url: &str, sms: Sms) -> Self {
        Self::telling_by(test_support::one_shard().await, Peers::none(), url, None, Some(sms), None).await
    }

    /// One that tells browsers as well.
    pub(crate) async fn pushing(url: &str) -> Self {
        let (shards, guard) = (test_support::one_shard().await, Guard { loopback: true });
        let private_key = push_keys().unwrap().0;
        let services = Services::new(&[], guard).unwrap();
        let push = Push::new(&private_key, "mailto:shop@shop.example", services, shards.clone(), Clock::turned(MS));
        Self::telling_by(shards, Peers::none(), url, None, None, Some(push.unwrap())).await
    }

    async fn telling_by(
        shards: Shards,
        peers: Peers,
        url: &str,
        authority: Option<&[u8]>,
        sms: Option<Sms>,
        push: Option<Push>,
    ) -> Self {
        let notes = "CREATE TABLE notes (order_id uuid NOT NULL, actor bigint NOT NULL, what text NOT NULL)";
        let shard = shards.all().next().unwrap();
        sqlx::query(notes).execute(&mut *shard.read().await.unwrap()).await.unwrap();
        let wakes = Wakes::new(shards.all().map(Shard::id));
        let orders = Arc::new(Orders::default());
        let mail = Smtp::new(&SecretString::from(url), "shop.example", authority).unwrap();
        let shop = Identity::new("Meridian", "https://shop.example", "Meridian Café <orders@shop.example>").unwrap();
        let patience = Patience {
            first_pause: Duration::from_millis(5),
            longest_pause: Duration::from_millis(20),
            most_attempts: 4,
        };
        let settings = Settings {
            concurrency: 4,
            poll: Duration::from_millis(10),
            patience,
            rest: Duration::from_millis(1),
            ..Settings::default()
        };
        let book = Arc::clone(&orders) as Arc<dyn OrderBook>;
        let keys = LinkKeys::new(vec![SecretString::from("k".repeat(32))]).unwrap();
        let preferences = Preferences::new(shards.clone(), peers, keys);
        let (clock, entropy) = (Clock::turned(MS), Entropy::seeded(8));
        let notifications = Notifications::new(
            shards.clone(),
            book,
            shop,
            Ways { mail, sms, push },
            preferences.clone(),
            clock,
            entropy,
        )
        .bounded_by(settings);
        Self { shards, wakes, orders, entropy: Entropy::seeded(7), notifications, preferences }
    }

    pub(crate) fn shard(&self) -> &Shard {
        self.shards.all().next().unwrap()
    }

    /// An order whose shopper can be reached at `email`, if at all.
    pub(crate) fn order(&self, email: Option<&str>) -> OrderId {
        self.order_by(1, email)
    }

    /// Who orders, by number.
    pub(crate) fn shopper(number: u16) -> UserId {
        UserId::mint(MS, Slot::new(9).unwrap(), number).unwrap()
    }

    /// The same by another shopper.
    pub(crate) fn order_by(&self, shopper: u16, email: Option<&str>) -> OrderId {
        let slot = Slot::new(9).unwrap();
        let total = Money::new(1250, Currency::GBP).unwrap();
        let order = Order {
            order_id: OrderId::mint(MS, slot, self.entropy.bytes()),
            user_id: Self::shopper(shopper),
            status: OrderStatus::Confirmed,
            cancel_reason: None,
            payment: PaymentStatus::Captured,
            next_action: None,
            lines: Vec::new(),
            subtotal: total,
            shipping: Money::zero(Currency::GBP),
            total,
            shipping_address: Address {
                name: "Ada Lovelace".to_owned(),
                line1: "12 St James's Square".to_owned(),
                line2: None,
                city: "London".to_owned(),
                region: None,
                postal_code: None,
                country: "GB".to_owned(),
            },
            email: email.map(|email| email.parse().unwrap()),
            delivery: None,
            phone: None,
            shipments: Vec::new(),
            returns: Vec::new(),
            version: 3,
            created_at: Clock::turned(MS).now(),
            expires_at: Clock::turned(MS).now(),
        };
        let order_id = order.order_id;
        self.orders.0.lock().unwrap().insert(order_id, order);
        order_id
    }

    /// Where that order's shopper is texted.
    pub(crate) fn is_texted(&self, order: OrderId, phone: &str) {
        self.orders.0.lock().unwrap().get_mut(&order).unwrap().phone = Some(phone.parse().unwrap());
    }

    /// Says on the bus what became of an order.
    pub(crate) async fn said(&self, payload: &impl Payload) -> EventId {
        let id = EventId::mint(MS, self.entropy.bytes());
        let mut conn = self.shard().read().await.unwrap();
        append(&mut conn, &[NewEvent::new(id, 1, payload)]).await.unwrap();
        self.wakes.of(self.shard().id()).notify();
        id
    }

    pub(crate) async fn confirmed(&self, order_id: OrderId) -> EventId {
        self.said(&OrderConfirmed { order_id }).await
    }

    pub(crate) async fn cancelled(&self, order_id: OrderId) -> EventId {
        self.said(&OrderCancelled { order_id, reason: "you cancelled this order".to_owned() }).await
    }

    /// Its parcel has left and arrived.
    pub(crate) async fn shipped(&self, order_id: OrderId) -> [EventId; 2] {
        let shipment_id = ShipmentId::mint(MS, order_id.slot(), self.entropy.bytes());
        let sent = ShipmentSent {
            order_id,
            shipment_id,
            carrier: "Royal Mail".to_owned(),
            tracking_code: None,
            tracking_url: None,
            whole: true,
        };
        [self.said(&sent).await, self.said(&ShipmentDelivered { order_id, shipment_id }).await]
    }

    pub(crate) async fn refunded(&self, order_id: OrderId) -> EventId {
        let payment_id = PaymentId::mint(MS, order_id.slot(), self.entropy.bytes());
        let amount = Money::new(1250, Currency::GBP).unwrap();
        self.said(&PaymentRefunded { order_id, payment_id, amount }).await
    }

    fn runner(&self, consumers: Vec<Arc<dyn Consumer>>) -> Runner {
        Runner::new(self.shards.clone(), self.wakes.clone(), consumers, region_core_events::Settings::default())
    }

    pub(crate) fn notifications(&self) -> &Notifications {
        &self.notifications
    }

    pub(crate) fn preferences(&self) -> &Preferences {
        &self.preferences
    }

    /// Who keeps the store.
    pub(crate) fn keeper() -> UserId {
        UserId::mint(MS, Slot::new(77).unwrap(), 1).unwrap()
    }

    /// Has what `event` told of the order sent once more.
    pub(crate) async fn again(&self, order: OrderId, event: EventId, key: &str) -> Result<Copied, CopyError> {
        self.notifications.send_again(order, event, key.parse().unwrap(), Self::keeper()).await
    }

    /// What is written down about copies: whose order, by whom, of what.
    pub(crate) async fn notes(&self) -> Vec<(OrderId, UserId, String)> {
        let rows: Vec<(uuid::Uuid, i64, String)> = sqlx::query_as("SELECT order_id, actor, what FROM notes")
            .fetch_all(&mut *self.shard().read().await.unwrap())
            .await
            .unwrap();
        let note = |(order, actor, what)| (OrderId::from_uuid(order), UserId::from_i64(actor).unwrap(), what);
        rows.into_iter().map(note).collect()
    }

    /// Has everything that was said written down, once.
    pub(crate) async fn hear(&self) {
        self.runner(vec![Arc::new(self.notifications.news())]).settle().await.unwrap();
    }

    /// Every event that was said, as a consumer is given it.
    pub(crate) async fn events(&self) -> Vec<Event> {
        let scribe = Arc::new(Scribe::default());
        self.runner(vec![Arc::clone(&scribe) as Arc<dyn Consumer>]).settle().await.unwrap();
        scribe.0.lock().unwrap().clone()
    }

    /// Gives events to the consumer past the bus, which would not give them twice.
    pub(crate) async fn give(&self, events: &[Event]) {
        let mut conn = self.shard().read().await.unwrap();
        drop(self.notifications.news().handle(self.shard().id(), &mut conn, events).await.unwrap());
    }

    /// Starts a process that sends; it stops when the token is cancelled.
    pub(crate) fn process(&self) -> (CancellationToken, tokio::task::JoinHandle<()>) {
        let shutdown = CancellationToken::new();
        (shutdown.clone(), tokio::spawn(self.notifications.clone().drive(shutdown)))
    }

    /// Sends until nothing is left to send.
    pub(crate) async fn send(&self) {
        let (shutdown, process) = self.process();
        self.until_settled().await;
        shutdown.cancel();
        process.await.unwrap();
    }

    /// Until nothing is left to send. The driver tells nobody when it has committed: its rows are looked at.
    pub(crate) async fn until_settled(&self) {
        let settled = async {
            while self.states().await.iter().any(|(_, state, ..)| state == "to_send") {
                tokio::task::yield_now().await;
            }
        };
        tokio::time::timeout(LIMIT, settled).await.unwrap();
    }

    /// Recipient, state, attempts and last error of everything that was written down, in order.
    pub(crate) async fn states(&self) -> Vec<(String, String, i32, Option<String>)> {
        let sql = "SELECT recipient, state, attempts, last_error FROM notifications ORDER BY sequence";
        sqlx::query_as(sql).fetch_all(&mut *self.shard().read().await.unwrap()).await.unwrap()
    }
}
