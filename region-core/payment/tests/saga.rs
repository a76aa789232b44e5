//! The payment saga against a real Postgres and a real sandbox over HTTP: whatever fails, what the sandbox's own log says
//! moved is what confirmed orders say. Each promise is kept whatever carries the events: Postgres, the brokers that librdkafka
//! simulates, or tansu where it is installed; where it is not those tests are counted as skipped, which is why this program
//! brings its own harness.
#![expect(clippy::unwrap_used, reason = "a test that cannot go on fails")]

use std::net::SocketAddr;
use std::path::Path;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use futures::FutureExt as _;
use futures::future::BoxFuture;
use libtest_mimic::{Arguments, Trial};
use region_core_events::contract::{
    OrderCancelled, OrderClaimed, OrderCreated, Payload, PaymentAuthorized, PaymentCaptured, PaymentFailed,
    PaymentRefunded, PaymentVoided, RefundIssued,
};
use region_core_events::{AfterCommit, Consumer, Event, HandleError, NewEvent, Runner, Wakes, append};
use region_core_kafka::{Bus, Options};
use region_core_payment::{ConfirmError, Deadlines, Payments, Sandbox, Settings};
use region_core_payment_sandbox as provider;
use region_core_store::{Shard, Shards, test_support};
use serde_json::{Value, json};
use shared::id::Slot;
use shared::{Currency, EventId, Money, OrderId, ShardId, UserId};
use shared_clock::{Clock, Entropy};
use sqlx::PgConnection;
use tokio::runtime::Runtime;
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;
use xtask_broker::{Brokers, Kind};

const MS: u64 = 1_800_000_000_000;
/// How long our side waits for the sandbox.
const DEADLINE: Duration = Duration::from_millis(250);
/// Where the shop's pages are.
const SHOP: &str = "https://shop.example";
/// How late `tok_late` is: later than that.
const LATE: Duration = Duration::from_millis(600);

/// A sandbox on a runtime of its own, so that it can be cut off in the middle of anything.
struct Bank {
    runtime: Option<Runtime>,
    address: SocketAddr,
    folder: tempfile::TempDir,
    client: reqwest::Client,
}

impl Bank {
    fn open() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let (runtime, address) = Self::start(folder.path(), "127.0.0.1:0".parse().unwrap());
        Self { runtime: Some(runtime), address, folder, client: reqwest::Client::new() }
    }

    fn start(folder: &Path, listen: SocketAddr) -> (Runtime, SocketAddr) {
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
        let options = provider::Options {
            listen,
            data_dir: folder.to_owned(),
            late: LATE,
            silence: Duration::from_secs(60),
            max_payments: 10_000,
        };
        let (opened, ready) = std::sync::mpsc::channel();
        runtime.spawn(async move {
            // After a cut the old log is free once the old clerk has noticed.
            let sandbox = loop {
                match provider::Sandbox::open(&options, Clock::system(), Entropy::system()).await {
                    Ok(sandbox) => break sandbox,
                    Err(error) => tracing::debug!(%error, "not yet"),
                }
                tokio::task::yield_now().await;
            };
            opened.send(sandbox.address()).unwrap();
            sandbox.run(CancellationToken::new()).await
        });
        let address = ready.recv().unwrap();
        (runtime, address)
    }

    /// Cuts it off in the middle of whatever it does; only its log remains.
    fn cut_off(&mut self) {
        self.runtime.take().unwrap().shutdown_background();
    }

    /// Starts it again at the same address.
    fn restart(&mut self) {
        let (runtime, _) = Self::start(self.folder.path(), self.address);
        self.runtime = Some(runtime);
    }

    async fn faults(&self, faults: Value) {
        let answer = self.client.post(format!("http://{}/control", self.address)).json(&faults).send().await.unwrap();
        assert!(answer.status().is_success());
    }

    /// Has it forget its idempotency keys again and again, for as long as this is waited for.
    fn forgetting(&self) -> impl Future<Output = ()> + use<> {
        let (client, forget) = (self.client.clone(), format!("http://{}/control/forget-keys", self.address));
        async move {
            let mut ticks = tokio::time::interval(Duration::from_millis(10));
            loop {
                ticks.tick().await;
                assert!(client.post(&forget).send().await.unwrap().status().is_success());
            }
        }
    }

    /// (captures, refunds) of the bank's own log, and minor units of each.
    async fn moved(&self) -> [(usize, i64); 2] {
        let answer = self.client.get(format!("http://{}/v1/log", self.address)).send().await.unwrap();
        let log: Value = serde_json::from_slice(&answer.bytes().await.unwrap()).unwrap();
        let of = |kind: &str| {
            let amounts = log["movements"].as_array().unwrap().iter().filter(|movement| movement["kind"] == kind);
            let amounts: Vec<_> = amounts.map(|movement| movement["amount"]["minor"].as_i64().unwrap()).collect();
            (amounts.len(), amounts.iter().sum())
        };
        [of("capture"), of("refund")]
    }
}

impl Drop for Bank {
    fn drop(&mut self) {
        if let Some(runtime) = self.runtime.take() {
            runtime.shutdown_background();
        }
    }
}

/// The order service, as far as payment can tell: claims, confirms and cancels by compare-and-set.
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
            PaymentFailed::KIND,
            PaymentVoided::KIND,
            PaymentRefunded::KIND,
            RefundIssued::KIND,
            "PaymentChallengeRequired",
        ]
    }

    fn handle<'a>(
        &'a self,
        _shard: ShardId,
        conn: &'a mut PgConnection,
        events: &'a [Event],
    ) -> BoxFuture<'a, Result<AfterCommit, HandleError>> {
        Box::pin(async move {
            for event in events {
                self.follow(conn, event).await?;
            }
            let changed = self.changed.clone();
            Ok(AfterCommit::run(move || {
                changed.send_replace(());
            }))
        })
    }
}

impl Clerk {
    async fn follow(&self, conn: &mut PgConnection, event: &Event) -> Result<(), HandleError> {
        let order_id = event.aggregate_id;
        let id = EventId::mint(MS, self.entropy.bytes());
        if event.is::<PaymentAuthorized>() {
            if set(conn, order_id, "claimed_at = shard_now()", "claimed_at IS NULL").await? {
                append(conn, &[NewEvent::new(id, 2, &OrderClaimed { order_id })]).await?;
            }
        } else if event.is::<PaymentCaptured>() {
            set(conn, order_id, "status = 'CONFIRMED'", "claimed_at IS NOT NULL").await?;
        } else if event.is::<PaymentFailed>() {
            cancel(conn, order_id, id).await?;
        } else {
            set(conn, order_id, "payment = payment", "true").await?;
        }
        Ok(())
    }
}

/// Changes an order that is still PENDING; tells whether it was.
async fn set(conn: &mut PgConnection, order: OrderId, change: &str, condition: &str) -> Result<bool, sqlx::Error> {
    let sql = format!(
        "UPDATE orders SET {change}, version = version + 1 WHERE order_id = $1 AND status = 'PENDING' AND {condition}"
    );
    let done = sqlx::query(sqlx::AssertSqlSafe(sql)).bind(order.as_uuid()).execute(conn).await?;
    Ok(done.rows_affected() == 1)
}

async fn cancel(conn: &mut PgConnection, order_id: OrderId, id: EventId) -> Result<(), HandleError> {
    if set(conn, order_id, "status = 'CANCELLED', cancel_reason = 'test'", "true").await? {
        let cancelled = OrderCancelled { order_id, reason: "test".to_owned() };
        append(conn, &[NewEvent::new(id, 3, &cancelled)]).await?;
    }
    Ok(())
}

/// The payments of one process.
fn payments(shards: &Shards, wakes: &Wakes, bank: &Bank, entropy: &Entropy) -> Payments {
    let deadlines = Deadlines { connect: DEADLINE, total: DEADLINE };
    let sandbox = Arc::new(Sandbox::within(&format!("http://{}", bank.address), deadlines).unwrap());
    let settings = Settings {
        // Few, so that payments wait in line for them.
        concurrency: 4,
        poll: Duration::from_millis(20),
        lease: Duration::from_secs(2),
        first_pause: Duration::from_millis(20),
        longest_pause: Duration::from_millis(200),
        look: Duration::from_millis(50),
    };
    let payments = Payments::new(shards.clone(), wakes.clone(), sandbox, Clock::system(), entropy.clone());
    payments.bounded_by(settings).returning_to(Some(SHOP.to_owned()))
}

/// What carries the events.
#[derive(Clone)]
enum Home {
    Postgres,
    Kafka(Kind),
}

/// A region with one shard, a bank, and everything in between running.
struct Shop {
    shards: Shards,
    wakes: Wakes,
    /// Those of Kafka, if it carries the events.
    brokers: Option<Brokers>,
    bank: Bank,
    payments: Payments,
    entropy: Entropy,
    changes: watch::Receiver<()>,
    shutdown: CancellationToken,
    tasks: Vec<JoinHandle<()>>,
}

impl Shop {
    /// Open, with as many processes that drive payments.
    async fn open(processes: usize, home: Home) -> Self {
        let shards = test_support::one_shard().await;
        let brokers = match home {
            Home::Postgres => None,
            Home::Kafka(kind) => Some(Brokers::start(&kind).await.unwrap()),
        };
        let wakes = Wakes::new(shards.all().map(Shard::id));
        let (bank, entropy) = (Bank::open(), Entropy::seeded(7));
        let payments = payments(&shards, &wakes, &bank, &entropy);
        let (changed, changes) = watch::channel(());
        let (shutdown, tasks) = (CancellationToken::new(), vec![]);
        let mut shop = Self { shards, wakes, brokers, bank, payments, entropy, changes, shutdown, tasks };
        for _ in 0..processes {
            shop.start_process(changed.clone());
        }
        shop
    }

    fn start_process(&mut self, changed: watch::Sender<()>) {
        let clerk = Arc::new(Clerk { entropy: self.entropy.clone(), changed });
        let payments = payments(&self.shards, &self.wakes, &self.bank, &self.entropy);
        let consumers: Vec<Arc<dyn Consumer>> = vec![Arc::new(payments.news()), clerk];
        let settings = region_core_events::Settings { poll: Duration::from_millis(20), ..Default::default() };
        let (shards, wakes, shutdown) = (self.shards.clone(), self.wakes.clone(), self.shutdown.clone());
        self.tasks.push(match &self.brokers {
            None => tokio::spawn(Runner::new(shards, wakes, consumers, settings).run(shutdown)),
            Some(brokers) => {
                let mut options = Options::new(brokers.addresses(), self.entropy.bytes());
                // What the brokers should bring is never read from the outbox.
                options.settings.grace = Duration::from_secs(3600);
                tokio::spawn(Bus::new(shards, wakes, consumers, options).run(shutdown))
            }
        });
        self.tasks.push(tokio::spawn(payments.drive(self.shutdown.clone())));
    }

    fn shard(&self) -> &Shard {
        self.shards.all().next().unwrap()
    }

    /// Places an order of 12.50 that is paid with `token`.
    async fn order(&self, token: &str) -> OrderId {
        let slot = Slot::new(9).unwrap();
        let user_id = UserId::mint(MS, slot, 1).unwrap();
        let order_id = OrderId::mint(MS, slot, self.entropy.bytes());
        let mut conn = self.shard().read().await.unwrap();
        let mut transaction = sqlx::Connection::begin(&mut *conn).await.unwrap();
        sqlx::query("INSERT INTO users (user_id) VALUES ($1) ON CONFLICT DO NOTHING")
            .bind(user_id.as_i64())
            .execute(&mut *transaction)
            .await
            .unwrap();
        sqlx::query(
            "INSERT INTO orders (order_id, user_id, payment_token, currency, subtotal_minor, shipping_minor, total_minor,
                                 catalog_version, shipping_address, expires_at)
             VALUES ($1, $2, $3, 'GBP', 1250, 0, 1250, 1, '{}', shard_now() + interval '15 minutes')",
        )
        .bind(order_id.as_uuid())
        .bind(user_id.as_i64())
        .bind(token)
        .execute(&mut *transaction)
        .await
        .unwrap();
        let created = OrderCreated {
            order_id,
            user_id,
            total: Money::new(1250, Currency::GBP).unwrap(),
            payment_token: token.to_owned(),
            expires_at: Clock::turned(MS).now(),
            facts: None,
        };
        let id = EventId::mint(MS, self.entropy.bytes());
        append(&mut transaction, &[NewEvent::new(id, 1, &created)]).await.unwrap();
        transaction.commit().await.unwrap();
        self.wakes.of(self.shard().id()).notify();
        order_id
    }

    async fn orders(&self, token: &str, count: usize) -> Vec<OrderId> {
        let mut orders = Vec::new();
        for _ in 0..count {
            orders.push(self.order(token).await);
        }
        orders
    }

    /// What the sweeper says of an order whose time ran out; an order that is claimed cannot.
    async fn expire(&self, order: OrderId) {
        let mut conn = self.shard().read().await.unwrap();
        let mut transaction = sqlx::Connection::begin(&mut *conn).await.unwrap();
        cancel(&mut transaction, order, EventId::mint(MS, self.entropy.bytes())).await.unwrap();
        transaction.commit().await.unwrap();
        self.wakes.of(self.shard().id()).notify();
    }

    async fn state(&self, order: OrderId) -> Option<String> {
        self.text("SELECT state FROM payments WHERE order_id = $1", order).await
    }

    async fn status(&self, order: OrderId) -> Option<String> {
        self.text("SELECT status FROM orders WHERE order_id = $1", order).await
    }

    async fn text(&self, sql: &'static str, order: OrderId) -> Option<String> {
        let mut conn = self.shard().read().await.unwrap();
        sqlx::query_scalar(sql).bind(order.as_uuid()).fetch_optional(&mut *conn).await.unwrap()
    }

    /// Until every order's payment is in one of these states and its order is decided (or waits for the shopper).
    async fn until(&mut self, orders: &[OrderId], states: &[&str]) {
        let deadline = tokio::time::Instant::now() + Duration::from_secs(60);
        loop {
            let mut waiting = Vec::new();
            for order in orders {
                let (state, status) = (self.state(*order).await, self.status(*order).await);
                let settled = states.iter().any(|wanted| state.as_deref() == Some(wanted));
                let heard = status.as_deref() != Some("PENDING") || state.as_deref() == Some("challenge_required");
                if !(settled && heard) {
                    waiting.push((state, status));
                }
            }
            if waiting.is_empty() {
                return;
            }
            // Every change of a payment that ends its wait says something, and the clerk hears it.
            let heard = tokio::time::timeout_at(deadline, self.changes.changed()).await;
            assert!(heard.is_ok(), "still waiting: {waiting:?}");
        }
    }

    /// Counts and sums of confirmed and of cancelled orders must be what the bank says it moved.
    async fn audit(&self, confirmed: usize, refunded: usize) {
        let mut conn = self.shard().read().await.unwrap();
        let ours: (i64, i64, i64) = sqlx::query_as(
            "SELECT count(*) FILTER (WHERE status = 'CONFIRMED'), coalesce(sum(captured_minor), 0)::bigint,
                    coalesce(sum(refunded_minor), 0)::bigint
             FROM orders JOIN payments USING (order_id)",
        )
        .fetch_one(&mut *conn)
        .await
        .unwrap();
        let [captures, refunds] = self.bank.moved().await;
        let minor = |count: usize| i64::try_from(count).unwrap() * 1250;
        assert_eq!(captures, (confirmed + refunded, minor(confirmed + refunded)), "the bank's captures");
        assert_eq!(refunds, (refunded, minor(refunded)), "the bank's refunds");
        assert_eq!(ours, (i64::try_from(confirmed).unwrap(), captures.1, refunds.1), "ours");
        let letters: i64 =
            sqlx::query_scalar("SELECT (SELECT count(*) FROM dead_letters) + (SELECT count(*) FROM event_retries)")
                .fetch_one(&mut *conn)
                .await
                .unwrap();
        assert_eq!(letters, 0, "an event was given up");
        let gaps: i64 = sqlx::query_scalar(
            "SELECT count(*) FROM (SELECT count(*) AS said, max(aggregate_version) AS last FROM outbox
             WHERE topic = 'payment_events' GROUP BY aggregate_id) AS told WHERE said <> last",
        )
        .fetch_one(&mut *conn)
        .await
        .unwrap();
        assert_eq!(gaps, 0, "a payment's events have gaps or doubles");
    }

    async fn close(mut self) {
        self.shutdown.cancel();
        for task in self.tasks.drain(..) {
            task.await.unwrap();
        }
    }
}

/// A promise, whatever carries the events.
type Promise = (&'static str, fn(Home) -> BoxFuture<'static, ()>);

macro_rules! promises {
    ($($promise:ident,)*) => {
        pub(crate) fn promises() -> Vec<Promise> {
            vec![$((stringify!($promise), |home| $promise(home).boxed())),*]
        }
    };
}

#[path = "saga/hanging.rs"]
mod hanging;
#[path = "saga/hosted.rs"]
mod hosted;
#[path = "saga/refunds.rs"]
mod refunds;

promises! {
    a_paid_order_is_captured_once,
    a_declined_order_ends_and_nothing_moves,
    a_challenge_waits_for_the_shopper_and_not_for_ever,
    an_answer_that_never_comes_and_one_that_comes_late_are_one_charge_each,
    a_cancelled_order_costs_nothing_even_if_the_bank_answers_late,
    money_that_moved_for_a_cancelled_order_moves_back_once,
    lost_answers_errors_and_two_processes_change_nothing_about_the_sum,
    a_bank_that_forgets_its_keys_while_answers_are_lost_moves_money_once_each_way,
    a_bank_that_is_cut_off_midway_and_comes_back_is_asked_again_and_charges_once,
    every_event_told_twice_changes_nothing,
    a_worker_that_dies_after_the_call_leaves_it_to_the_next_one,
}

fn main() -> ExitCode {
    let tansu = Kind::tansu();
    if tansu.is_none() {
        println!(
            "skipped: {} is not set, for tansu is not installed (`cargo xtask tools --tansu` does)",
            xtask_broker::TANSU
        );
    }
    let homes = [
        ("postgres", Some(Home::Postgres)),
        ("simulated", Some(Home::Kafka(Kind::Simulated(1)))),
        ("tansu", tansu.map(Home::Kafka)),
    ];
    let promises = [promises(), refunds::promises(), hosted::promises()].concat();
    let on = |(name, home): &(&str, Option<Home>)| {
        promises.iter().map(|promise| trial(name, home.clone(), *promise)).collect::<Vec<_>>()
    };
    // Nothing is said there.
    let silent = hanging::promises().into_iter().map(|promise| trial("postgres", Some(Home::Postgres), promise));
    libtest_mimic::run(&Arguments::from_args(), homes.iter().flat_map(on).chain(silent).collect()).exit_code()
}

/// A test, counted as skipped if there is nothing of that kind to carry the events.
fn trial(on: &str, home: Option<Home>, (name, promise): Promise) -> Trial {
    let missing = home.is_none();
    let run = move || {
        let home = home.ok_or("the broker is not installed")?;
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build()?;
        runtime.block_on(promise(home));
        Ok(())
    };
    Trial::test(format!("{on}::{name}"), run).with_ignored_flag(missing)
}

async fn a_paid_order_is_captured_once(home: Home) {
    let mut shop = Shop::open(1, home).await;
    let orders = shop.orders("tok_success", 20).await;
    shop.until(&orders, &["captured"]).await;
    shop.audit(20, 0).await;
    shop.close().await;
}

async fn a_declined_order_ends_and_nothing_moves(home: Home) {
    let mut shop = Shop::open(1, home).await;
    let declined = shop.orders("tok_decline", 3).await;
    let nonsense = shop.orders("tok_nonsense", 2).await;
    shop.until(&[declined, nonsense.clone()].concat(), &["declined"]).await;
    assert_eq!(shop.status(nonsense[0]).await.as_deref(), Some("CANCELLED"));
    shop.audit(0, 0).await;
    shop.close().await;
}

async fn a_challenge_waits_for_the_shopper_and_not_for_ever(home: Home) {
    let mut shop = Shop::open(1, home).await;
    let orders = shop.orders("tok_challenge", 2).await;
    shop.until(&orders, &["challenge_required"]).await;
    for _ in 0..2 {
        shop.payments.confirm_challenge(orders[0]).await.unwrap();
    }
    shop.expire(orders[1]).await;
    shop.until(&orders[..1], &["captured"]).await;
    shop.until(&orders[1..], &["voided"]).await;
    assert!(matches!(shop.payments.confirm_challenge(orders[1]).await, Err(ConfirmError::NotAsked(_))));
    let nobody = OrderId::mint(MS, Slot::new(3).unwrap(), [0; 8]);
    assert!(matches!(shop.payments.confirm_challenge(nobody).await, Err(ConfirmError::NoPayment)));
    shop.audit(1, 0).await;
    shop.close().await;
}

async fn an_answer_that_never_comes_and_one_that_comes_late_are_one_charge_each(home: Home) {
    let mut shop = Shop::open(1, home).await;
    let silent = shop.orders("tok_timeout", 5).await;
    let late = shop.orders("tok_late", 5).await;
    shop.until(&[silent, late].concat(), &["captured"]).await;
    shop.audit(10, 0).await;
    shop.close().await;
}

async fn a_cancelled_order_costs_nothing_even_if_the_bank_answers_late(home: Home) {
    let mut shop = Shop::open(1, home).await;
    let late = shop.orders("tok_late", 5).await;
    let known = shop.order("tok_challenge").await;
    shop.until(&[known], &["challenge_required"]).await;
    for order in &late {
        shop.expire(*order).await;
    }
    shop.until(&late, &["voided", "abandoned"]).await;
    shop.audit(0, 0).await;
    shop.close().await;
}

async fn money_that_moved_for_a_cancelled_order_moves_back_once(home: Home) {
    let mut shop = Shop::open(1, home).await;
    let orders = shop.orders("tok_success", 3).await;
    shop.until(&orders, &["captured"]).await;
    let mut conn = shop.shard().read().await.unwrap();
    sqlx::query("UPDATE orders SET status = 'PENDING'").execute(&mut *conn).await.unwrap();
    drop(conn);
    for order in &orders {
        shop.expire(*order).await;
        shop.expire(*order).await;
    }
    shop.until(&orders, &["refunded"]).await;
    shop.audit(0, 3).await;
    shop.close().await;
}

async fn lost_answers_errors_and_two_processes_change_nothing_about_the_sum(home: Home) {
    let mut shop = Shop::open(2, home).await;
    shop.bank.faults(json!({ "seed": 11, "drop_answer": 0.1, "fail_before": 0.1, "fail_after": 0.1 })).await;
    let paid = shop.orders("tok_success", 60).await;
    let declined = shop.orders("tok_decline", 10).await;
    shop.until(&[paid, declined].concat(), &["captured", "declined"]).await;
    shop.bank.faults(json!({})).await;
    shop.audit(60, 0).await;
    shop.close().await;
}

async fn a_bank_that_forgets_its_keys_while_answers_are_lost_moves_money_once_each_way(home: Home) {
    let mut shop = Shop::open(2, home).await;
    shop.bank.faults(json!({ "seed": 5, "drop_answer": 0.05, "fail_after": 0.2 })).await;
    let orders = shop.orders("tok_success", 40).await;
    let forgetting = shop.bank.forgetting();
    tokio::select! { () = shop.until(&orders, &["captured"]) => {}, () = forgetting => {} }
    let mut conn = shop.shard().read().await.unwrap();
    sqlx::query("UPDATE orders SET status = 'PENDING'").execute(&mut *conn).await.unwrap();
    drop(conn);
    for order in &orders {
        shop.expire(*order).await;
    }
    let forgetting = shop.bank.forgetting();
    tokio::select! { () = shop.until(&orders, &["refunded"]) => {}, () = forgetting => {} }
    shop.bank.faults(json!({})).await;
    shop.audit(0, 40).await;
    shop.close().await;
}

async fn a_bank_that_is_cut_off_midway_and_comes_back_is_asked_again_and_charges_once(home: Home) {
    let mut shop = Shop::open(1, home).await;
    let mut orders = Vec::new();
    for _ in 0..4 {
        orders.extend(shop.orders("tok_success", 10).await);
        shop.changes.changed().await.unwrap();
        shop.bank.cut_off();
        orders.extend(shop.orders("tok_success", 5).await);
        shop.bank.restart();
    }
    shop.until(&orders, &["captured"]).await;
    shop.audit(60, 0).await;
    shop.close().await;
}

async fn every_event_told_twice_changes_nothing(home: Home) {
    let mut shop = Shop::open(1, home).await;
    let paid = shop.orders("tok_success", 5).await;
    shop.until(&paid, &["captured"]).await;
    let mut conn = shop.shard().read().await.unwrap();
    let again = "DELETE FROM inbox; UPDATE consumer_cursors
                 SET settled_before = 0, window_before = 0, sequence = 0, window_last = 0";
    sqlx::raw_sql(again).execute(&mut *conn).await.unwrap();
    let after = shop.orders("tok_success", 1).await;
    shop.until(&after, &["captured"]).await;
    let payments: i64 = sqlx::query_scalar("SELECT count(*) FROM payments").fetch_one(&mut *conn).await.unwrap();
    assert_eq!(payments, 6);
    shop.audit(6, 0).await;
    shop.close().await;
}

async fn a_worker_that_dies_after_the_call_leaves_it_to_the_next_one(home: Home) {
    let mut shop = Shop::open(0, home).await;
    let order = shop.order("tok_success").await;
    let settle = async |shop: &Shop| {
        let consumers: Vec<Arc<dyn Consumer>> = vec![Arc::new(shop.payments.news())];
        Runner::new(shop.shards.clone(), shop.wakes.clone(), consumers, Default::default()).settle().await.unwrap()
    };
    assert_eq!(settle(&shop).await, 1);
    // The bank does what it is told and every answer is lost; then the process is gone, results and all.
    shop.bank.faults(json!({ "drop_answer": 1.0 })).await;
    let doomed = tokio::spawn(shop.payments.clone().drive(CancellationToken::new()));
    let mut created = false;
    while !created {
        let lost = format!("http://{}/metrics", shop.bank.address);
        let metrics = shop.bank.client.get(lost).send().await.unwrap().text().await.unwrap();
        created = metrics.contains("sandbox_payments 1");
    }
    doomed.abort();
    assert!(doomed.await.unwrap_err().is_cancelled());
    shop.bank.faults(json!({})).await;
    let (changed, changes) = watch::channel(());
    shop.changes = changes;
    shop.start_process(changed);
    shop.until(&[order], &["captured"]).await;
    shop.audit(1, 0).await;
    let lost = format!("http://{}/metrics", shop.bank.address);
    let metrics = shop.bank.client.get(lost).send().await.unwrap().text().await.unwrap();
    assert!(metrics.contains("sandbox_payments 1\n"), "an unknown create was made twice: {metrics}");
    shop.close().await;
}
