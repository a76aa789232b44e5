//! A shard with orders that are paid at a fake of Stripe, the bus, the driver, and the webhook's route over HTTP.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use futures::FutureExt as _;
use futures::future::BoxFuture;
use region_core_events::contract::{
    OrderCancelled, OrderClaimed, OrderCreated, Payload, PaymentAuthorized, PaymentCaptured, PaymentChallengeRequired,
    PaymentFailed, PaymentRefunded, PaymentVoided,
};
use region_core_events::{AfterCommit, Consumer, Event, HandleError, NewEvent, Runner, Wakes, append};
use region_core_payment::{Payments, Settings, Stripe, router};
use region_core_store::{Shards, test_support};
use shared::id::Slot;
use shared::{EventId, OrderId, Problem, ShardId, UserId};
use shared_clock::{Clock, Entropy};
use sqlx::PgConnection;
use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use crate::fake::pounds;

const MS: u64 = 1_800_000_000_000;
const SETTLES_WITHIN: Duration = Duration::from_secs(120);

/// The order service, as far as payment can tell: it claims what is authorized, if it is to.
struct Clerk {
    claims: bool,
    entropy: Entropy,
    changed: watch::Sender<()>,
}

impl Consumer for Clerk {
    fn name(&self) -> &'static str {
        "order"
    }

    fn kinds(&self) -> &'static [&'static str] {
        &[
            PaymentAuthorized::KIND,
            PaymentCaptured::KIND,
            PaymentChallengeRequired::KIND,
            PaymentFailed::KIND,
            PaymentVoided::KIND,
            PaymentRefunded::KIND,
        ]
    }

    fn handle<'a>(
        &'a self,
        _shard: ShardId,
        conn: &'a mut PgConnection,
        events: &'a [Event],
    ) -> BoxFuture<'a, Result<AfterCommit, HandleError>> {
        Box::pin(async move {
            for event in events.iter().filter(|event| self.claims && event.is::<PaymentAuthorized>()) {
                let id = EventId::mint(MS, self.entropy.bytes());
                let claimed = OrderClaimed { order_id: event.aggregate_id };
                append(conn, &[NewEvent::new(id, 2, &claimed)]).await?;
            }
            let changed = self.changed.clone();
            Ok(AfterCommit::run(move || {
                changed.send_replace(());
            }))
        })
    }
}

/// Open until it is dropped.
pub(crate) struct Shop {
    pub(crate) shards: Shards,
    pub(crate) payments: Payments<Stripe>,
    wakes: Wakes,
    entropy: Entropy,
    changes: watch::Receiver<()>,
    shutdown: CancellationToken,
    /// Where Stripe is to send its events.
    pub(crate) webhook: String,
}

impl Drop for Shop {
    fn drop(&mut self) {
        self.shutdown.cancel();
    }
}

impl Shop {
    pub(crate) async fn open(stripe: Stripe, claims: bool) -> Self {
        Self::open_at(stripe, claims, None).await
    }

    /// Of a shop whose pages are there.
    pub(crate) async fn open_at(stripe: Stripe, claims: bool, pages: Option<&str>) -> Self {
        let shards = test_support::one_shard().await;
        let (wakes, entropy) = (Wakes::new(shards.all().map(region_core_store::Shard::id)), Entropy::system());
        let settings = Settings {
            poll: Duration::from_millis(50),
            first_pause: Duration::from_millis(20),
            longest_pause: Duration::from_secs(1),
            look: Duration::from_millis(50),
            // Longer than the fakes may take; nobody dies here.
            lease: Duration::from_secs(100),
            ..Settings::default()
        };
        let payments = Payments::new(shards.clone(), wakes.clone(), Arc::new(stripe), Clock::system(), entropy.clone());
        let payments = payments.bounded_by(settings).returning_to(pages.map(str::to_owned));
        let (changed, changes) = watch::channel(());
        let clerk = Clerk { claims, entropy: entropy.clone(), changed };
        let consumers: Vec<Arc<dyn Consumer>> = vec![Arc::new(payments.news()), Arc::new(clerk)];
        let settings = region_core_events::Settings { poll: Duration::from_millis(50), ..Default::default() };
        let shutdown = CancellationToken::new();
        tokio::spawn(Runner::new(shards.clone(), wakes.clone(), consumers, settings).run(shutdown.clone()));
        tokio::spawn(payments.clone().drive(shutdown.clone()));
        let webhook = format!("http://{}/v1/webhooks/stripe", serve(payments.clone(), shutdown.clone()).await);
        Self { shards, payments, wakes, entropy, changes, shutdown, webhook }
    }

    /// Places an order of 12.50 that is paid with `card`.
    pub(crate) async fn order(&self, card: &str) -> OrderId {
        let slot = Slot::new(9).unwrap();
        let user_id = UserId::mint(MS, slot, 1).unwrap();
        let order_id = OrderId::mint(MS, slot, self.entropy.bytes());
        let shard = self.shards.all().next().unwrap();
        let mut conn = shard.read().await.unwrap();
        sqlx::query("INSERT INTO users (user_id) VALUES ($1) ON CONFLICT DO NOTHING")
            .bind(user_id.as_i64())
            .execute(&mut *conn)
            .await
            .unwrap();
        let order = "INSERT INTO orders (order_id, user_id, payment_token, currency, subtotal_minor, shipping_minor,
                                         total_minor, catalog_version, shipping_address, expires_at)
                     VALUES ($1, $2, $3, 'GBP', 1250, 0, 1250, 1, '{}', shard_now() + interval '15 minutes')";
        let placed = sqlx::query(order).bind(order_id.as_uuid()).bind(user_id.as_i64()).bind(card);
        placed.execute(&mut *conn).await.unwrap();
        let (total, payment_token) = (pounds(1250), card.to_owned());
        let created =
            OrderCreated { order_id, user_id, total, payment_token, expires_at: Clock::turned(MS).now(), facts: None };
        self.say(&mut conn, 1, &created).await;
        order_id
    }

    pub(crate) async fn cancel(&self, order_id: OrderId) {
        let mut conn = self.shards.all().next().unwrap().read().await.unwrap();
        self.say(&mut conn, 3, &OrderCancelled { order_id, reason: "test".to_owned() }).await;
    }

    async fn say<P: Payload>(&self, conn: &mut PgConnection, version: i64, payload: &P) {
        let id = EventId::mint(MS, self.entropy.bytes());
        append(conn, &[NewEvent::new(id, version, payload)]).await.unwrap();
        self.wakes.of(self.shards.all().next().unwrap().id()).notify();
    }

    /// Until the order's payment is in that state; each step there says something.
    pub(crate) async fn until(&mut self, order: OrderId, state: &str) {
        let deadline = tokio::time::Instant::now() + SETTLES_WITHIN;
        loop {
            let now: Option<(String, Option<String>)> = self.row("state, last_error", order).await;
            if now.as_ref().is_some_and(|(known, _)| known == state) {
                return;
            }
            let heard = tokio::time::timeout_at(deadline, self.changes.changed()).await;
            assert!(heard.is_ok(), "{now:?} instead of {state}");
        }
    }

    /// The columns of the order's payment.
    pub(crate) async fn row<T>(&self, columns: &str, order: OrderId) -> Option<T>
    where
        T: for<'r> sqlx::FromRow<'r, sqlx::postgres::PgRow> + Send + Unpin,
    {
        let mut conn = self.shards.all().next().unwrap().read().await.unwrap();
        let sql = format!("SELECT {columns} FROM payments WHERE order_id = $1");
        let row = sqlx::query_as(sqlx::AssertSqlSafe(sql)).bind(order.as_uuid());
        row.fetch_optional(&mut *conn).await.unwrap()
    }

    pub(crate) async fn reference(&self, order: OrderId) -> String {
        self.row::<(String,)>("provider_reference", order).await.unwrap().0
    }
}

/// The routes of payment as a core has them, without the shoppers'.
async fn serve(payments: Payments<Stripe>, shutdown: CancellationToken) -> SocketAddr {
    let nobody = Arc::new(|_, _| std::future::ready(Err(Problem::not_found())).boxed());
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let served = axum::serve(listener, router(payments, nobody)).with_graceful_shutdown(shutdown.cancelled_owned());
    tokio::spawn(async move { served.await });
    address
}
