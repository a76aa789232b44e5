//! A shard with orders, paid at the payment sandbox or beside it at the simulator of PayPal; the bus, the drivers, and the
//! webhooks' route over HTTP.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use futures::FutureExt as _;
use futures::future::BoxFuture;
use region_core_events::contract::{
    OrderCancelled, OrderClaimed, OrderCreated, Payload, PaymentAuthorized, PaymentCaptured, PaymentChallengeRequired,
    PaymentFailed, PaymentRefunded, PaymentVoided, RefundIssued,
};
use region_core_events::{AfterCommit, Consumer, Event, HandleError, NewEvent, Runner, Wakes, append};
use region_core_payment::{AnyProvider, Payments, Sandbox, Settings, router};
use region_core_payment_sandbox as bank;
use region_core_store::{Shard, Shards, test_support};
use shared::api::refund::NewRefund;
use shared::id::Slot;
use shared::{EventId, OrderId, Problem, ShardId, UserId};
use shared_clock::{Clock, Entropy};
use sqlx::PgConnection;
use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use crate::adapter::paypal;
use crate::simulator::{Simulator, pounds};

const MS: u64 = 1_800_000_000_000;
const SETTLES_WITHIN: Duration = Duration::from_secs(120);

/// The order service, as far as payment can tell: it claims what is authorized.
struct Clerk {
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
            RefundIssued::KIND,
        ]
    }

    fn handle<'a>(
        &'a self,
        _shard: ShardId,
        conn: &'a mut PgConnection,
        events: &'a [Event],
    ) -> BoxFuture<'a, Result<AfterCommit, HandleError>> {
        Box::pin(async move {
            for event in events.iter().filter(|event| event.is::<PaymentAuthorized>()) {
                let id = EventId::mint(MS, self.entropy.bytes());
                append(conn, &[NewEvent::new(id, 2, &OrderClaimed { order_id: event.aggregate_id })]).await?;
            }
            let changed = self.changed.clone();
            Ok(AfterCommit::run(move || {
                changed.send_replace(());
            }))
        })
    }
}

/// Open until it is dropped or closed.
pub(crate) struct Shop {
    pub(crate) shards: Shards,
    pub(crate) payments: Payments<AnyProvider>,
    wakes: Wakes,
    entropy: Entropy,
    changes: watch::Receiver<()>,
    shutdown: CancellationToken,
    tasks: Vec<JoinHandle<()>>,
    bank: (SocketAddr, Arc<tempfile::TempDir>),
    client: reqwest::Client,
    webhook: String,
}

impl Drop for Shop {
    fn drop(&mut self) {
        self.shutdown.cancel();
    }
}

/// The payment sandbox, in this process.
async fn open_bank() -> (SocketAddr, Arc<tempfile::TempDir>) {
    let folder = tempfile::tempdir().unwrap();
    let options = bank::Options {
        listen: "127.0.0.1:0".parse().unwrap(),
        data_dir: folder.path().to_owned(),
        late: Duration::from_millis(10),
        silence: Duration::from_secs(60),
        max_payments: 1_000,
    };
    let sandbox = bank::Sandbox::open(&options, Clock::system(), Entropy::system()).await.unwrap();
    let address = sandbox.address();
    tokio::spawn(sandbox.run(CancellationToken::new()));
    (address, Arc::new(folder))
}

impl Shop {
    pub(crate) async fn open(simulator: &Simulator) -> Self {
        Self::open_on(test_support::one_shard().await, open_bank().await, Some(simulator)).await
    }

    /// The same shop after its configuration has forgotten PayPal.
    pub(crate) async fn without_paypal(mut self) -> Self {
        self.shutdown.cancel();
        for task in self.tasks.drain(..) {
            task.await.unwrap();
        }
        Self::open_on(self.shards.clone(), self.bank.clone(), None).await
    }

    async fn open_on(shards: Shards, bank: (SocketAddr, Arc<tempfile::TempDir>), beside: Option<&Simulator>) -> Self {
        let (wakes, entropy) = (Wakes::new(shards.all().map(Shard::id)), Entropy::system());
        let settings = Settings {
            poll: Duration::from_millis(50),
            first_pause: Duration::from_millis(20),
            longest_pause: Duration::from_secs(1),
            // Longer than anything here takes; nobody dies here.
            lease: Duration::from_secs(100),
            // Nobody looks by himself: whoever comes back, or an event, has it looked at.
            look: Duration::from_secs(3600),
            ..Settings::default()
        };
        let main = AnyProvider::Sandbox(Sandbox::new(&format!("http://{}", bank.0)).unwrap());
        let payments = Payments::new(shards.clone(), wakes.clone(), Arc::new(main), Clock::system(), entropy.clone())
            .returning_to(Some("https://shop.example".to_owned()))
            .bounded_by(settings);
        let payments = match beside {
            Some(simulator) => payments.beside(Arc::new(AnyProvider::PayPal(paypal(simulator)))),
            None => payments,
        };
        let (changed, changes) = watch::channel(());
        let clerk = Clerk { entropy: entropy.clone(), changed };
        let consumers: Vec<Arc<dyn Consumer>> = vec![Arc::new(payments.news()), Arc::new(clerk)];
        let settings = region_core_events::Settings { poll: Duration::from_millis(50), ..Default::default() };
        let shutdown = CancellationToken::new();
        let runner = Runner::new(shards.clone(), wakes.clone(), consumers, settings).run(shutdown.clone());
        let tasks = vec![tokio::spawn(runner), tokio::spawn(payments.clone().drive(shutdown.clone()))];
        let webhook = format!("http://{}/v1/webhooks/paypal", serve(payments.clone(), shutdown.clone()).await);
        let client = reqwest::Client::new();
        Self { shards, payments, wakes, entropy, changes, shutdown, tasks, bank, client, webhook }
    }

    async fn conn(&self) -> sqlx::pool::PoolConnection<sqlx::Postgres> {
        self.shards.all().next().unwrap().read().await.unwrap()
    }

    /// Places an order of 12.50 that is paid with `token`.
    pub(crate) async fn order(&self, token: &str) -> OrderId {
        let slot = Slot::new(9).unwrap();
        let user_id = UserId::mint(MS, slot, 1).unwrap();
        let order_id = OrderId::mint(MS, slot, self.entropy.bytes());
        let mut conn = self.conn().await;
        sqlx::query("INSERT INTO users (user_id) VALUES ($1) ON CONFLICT DO NOTHING")
            .bind(user_id.as_i64())
            .execute(&mut *conn)
            .await
            .unwrap();
        let order = "INSERT INTO orders (order_id, user_id, payment_token, currency, subtotal_minor, shipping_minor,
                                         total_minor, catalog_version, shipping_address, expires_at)
                     VALUES ($1, $2, $3, 'GBP', 1250, 0, 1250, 1, '{}', shard_now() + interval '15 minutes')";
        let placed = sqlx::query(order).bind(order_id.as_uuid()).bind(user_id.as_i64()).bind(token);
        placed.execute(&mut *conn).await.unwrap();
        let (total, payment_token) = (pounds(1250), token.to_owned());
        let created =
            OrderCreated { order_id, user_id, total, payment_token, expires_at: Clock::turned(MS).now(), facts: None };
        self.say(1, &created).await;
        order_id
    }

    /// An order at PayPal whose shopper is to answer; the page.
    pub(crate) async fn asked(&mut self) -> (OrderId, String) {
        let order = self.order("paypal").await;
        self.until(order, "challenge_required").await;
        (order, self.row::<(String,)>("next_action_url", order).await.0)
    }

    pub(crate) async fn cancel(&self, order_id: OrderId) {
        self.say(3, &OrderCancelled { order_id, reason: "test".to_owned() }).await;
    }

    pub(crate) async fn give_back(&self, order: OrderId, minor: i64) {
        let (key, by) =
            (format!("part-{minor}-of-{order}").parse().unwrap(), UserId::mint(MS, Slot::new(7).unwrap(), 1).unwrap());
        let body = NewRefund { amount: pounds(minor), reason: "a crack".to_owned() };
        self.payments.give_back(order, key, by, body).await.unwrap();
    }

    async fn say<P: Payload>(&self, version: i64, payload: &P) {
        let id = EventId::mint(MS, self.entropy.bytes());
        append(&mut *self.conn().await, &[NewEvent::new(id, version, payload)]).await.unwrap();
        self.wakes.of(self.shards.all().next().unwrap().id()).notify();
    }

    /// Until the order's payment is in that state; each step there says something, or the database is asked now and then.
    pub(crate) async fn until(&mut self, order: OrderId, state: &str) {
        self.until_row(order, "state, last_error", |(now, _): &(String, Option<String>)| now == state).await;
    }

    /// Until the last answer about the order's payment was of that kind.
    pub(crate) async fn until_looked_at(&mut self, order: OrderId, error: &str) {
        let there = |(last,): &(Option<String>,)| last.as_ref().is_some_and(|last| last.contains(error));
        self.until_row(order, "last_error", there).await;
    }

    /// Until so many minor units went back.
    pub(crate) async fn until_refunded(&mut self, order: OrderId, minor: i64) {
        self.until_row(order, "refunded_minor", |(now,): &(i64,)| *now == minor).await;
    }

    async fn until_row<T>(&mut self, order: OrderId, columns: &str, there: impl Fn(&T) -> bool)
    where
        T: for<'r> sqlx::FromRow<'r, sqlx::postgres::PgRow> + Send + Unpin + std::fmt::Debug,
    {
        let deadline = tokio::time::Instant::now() + SETTLES_WITHIN;
        loop {
            let now = self.find::<T>(columns, order).await;
            if now.as_ref().is_some_and(&there) {
                return;
            }
            assert!(tokio::time::Instant::now() < deadline, "still {now:?}");
            let _ = tokio::time::timeout(Duration::from_millis(50), self.changes.changed()).await;
        }
    }

    /// The columns of the order's payment.
    pub(crate) async fn row<T>(&self, columns: &str, order: OrderId) -> T
    where
        T: for<'r> sqlx::FromRow<'r, sqlx::postgres::PgRow> + Send + Unpin,
    {
        self.find(columns, order).await.unwrap()
    }

    async fn find<T>(&self, columns: &str, order: OrderId) -> Option<T>
    where
        T: for<'r> sqlx::FromRow<'r, sqlx::postgres::PgRow> + Send + Unpin,
    {
        let sql = format!("SELECT {columns} FROM payments WHERE order_id = $1");
        let row = sqlx::query_as(sqlx::AssertSqlSafe(sql)).bind(order.as_uuid());
        row.fetch_optional(&mut *self.conn().await).await.unwrap()
    }

    pub(crate) async fn reference(&self, order: OrderId) -> String {
        self.row::<(String,)>("provider_reference", order).await.0
    }

    /// Posts an event; the status of the answer.
    pub(crate) async fn post(&self, (headers, body): (http::HeaderMap, String)) -> u16 {
        let sent = self.client.post(&self.webhook).headers(headers).body(body).send().await.unwrap();
        sent.status().as_u16()
    }
}

/// The routes of payment as a core has them, without the shoppers'.
async fn serve(payments: Payments<AnyProvider>, shutdown: CancellationToken) -> SocketAddr {
    let nobody = Arc::new(|_, _| std::future::ready(Err(Problem::not_found())).boxed());
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let served = axum::serve(listener, router(payments, nobody)).with_graceful_shutdown(shutdown.cancelled_owned());
    tokio::spawn(async move { served.await });
    address
}
