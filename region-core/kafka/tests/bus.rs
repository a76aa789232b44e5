//! What the bus on Kafka promises, on librdkafka's own brokers in this process and a real Postgres.
#![expect(clippy::unwrap_used, reason = "a test that cannot go on fails")]

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use futures::future::BoxFuture;
use rdkafka::ClientConfig;
use rdkafka::message::{Header, OwnedHeaders};
use rdkafka::mocking::MockCluster;
use rdkafka::producer::{DefaultProducerContext, FutureProducer, FutureRecord};
use region_core_events::contract::{OrderClaimed, Payload};
use region_core_events::{AfterCommit, Consumer, Event, HandleError, NewEvent, Settings, Topic, Wakes, append};
use region_core_kafka::{Bus, Options};
use region_core_store::{Shard, Shards, test_support};
use shared::id::Slot;
use shared::{EventId, OrderId, ShardId, SlotMap};
use shared_clock::Entropy;
use sqlx::PgConnection;
use sqlx::postgres::PgPoolOptions;
use tokio::sync::mpsc;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

const MS: u64 = 1_800_000_000_000;
/// How long a promise may take to be kept.
const DEADLINE: Duration = Duration::from_secs(90);

/// Writes each event it hears into a table.
struct Scribe(mpsc::UnboundedSender<()>);

impl Consumer for Scribe {
    fn name(&self) -> &'static str {
        "scribe"
    }

    fn kinds(&self) -> &'static [&'static str] {
        &[OrderClaimed::KIND]
    }

    fn handle<'a>(
        &'a self,
        _shard: ShardId,
        conn: &'a mut PgConnection,
        events: &'a [Event],
    ) -> BoxFuture<'a, Result<AfterCommit, HandleError>> {
        Box::pin(async move {
            for event in events {
                sqlx::query("INSERT INTO effects (order_id, version) VALUES ($1, $2)")
                    .bind(event.aggregate_id.as_uuid())
                    .bind(event.aggregate_version)
                    .execute(&mut *conn)
                    .await?;
            }
            let committed = self.0.clone();
            Ok(AfterCommit::run(move || {
                let _ = committed.send(());
            }))
        })
    }
}

/// One shard with a table of effects, and brokers.
struct Bench {
    shards: Shards,
    wakes: Wakes,
    entropy: Entropy,
    brokers: MockCluster<'static, DefaultProducerContext>,
    committed: mpsc::UnboundedSender<()>,
    commits: mpsc::UnboundedReceiver<()>,
    shutdown: CancellationToken,
}

impl Bench {
    async fn new() -> Self {
        let shards = test_support::one_shard().await;
        let brokers = MockCluster::new(3).unwrap();
        for topic in Topic::ALL {
            brokers.create_topic(topic.name(), 4, 3).unwrap();
        }
        let (committed, commits) = mpsc::unbounded_channel();
        let wakes = Wakes::new(shards.all().map(Shard::id));
        let (entropy, shutdown) = (Entropy::seeded(1), CancellationToken::new());
        let bench = Self { shards, wakes, entropy, brokers, committed, commits, shutdown };
        let table = "CREATE TABLE effects (place bigint GENERATED ALWAYS AS IDENTITY, order_id uuid, version bigint)";
        sqlx::query(table).execute(&mut *bench.shard().read().await.unwrap()).await.unwrap();
        bench
    }

    fn shard(&self) -> &Shard {
        self.shards.all().next().unwrap()
    }

    /// A process with the whole bus, that never reads the outbox where the brokers should have brought it.
    fn start(&self) -> JoinHandle<()> {
        let mut options = Options::new(vec![self.brokers.bootstrap_servers()], self.entropy.bytes());
        options.settings = Settings { grace: Duration::from_secs(3600), batch: 50, ..Settings::default() };
        let scribe = Arc::new(Scribe(self.committed.clone()));
        let bus = Bus::new(self.shards.clone(), self.wakes.clone(), vec![scribe], options);
        tokio::spawn(bus.run(self.shutdown.clone()))
    }

    fn orders(&self, count: usize) -> Vec<OrderId> {
        let slot = self.slot_of(self.shard().id());
        (0..count).map(|_| OrderId::mint(MS, slot, self.entropy.bytes())).collect()
    }

    fn slot_of(&self, shard: ShardId) -> Slot {
        Slot::all().find(|slot| self.shards.map().shard_of(*slot) == shard).unwrap()
    }

    async fn say(&self, orders: &[OrderId], version: i64) {
        let event = |order_id: &OrderId| {
            NewEvent::new(EventId::mint(MS, self.entropy.bytes()), version, &OrderClaimed { order_id: *order_id })
        };
        let mut conn = self.shard().read().await.unwrap();
        append(&mut conn, &orders.iter().map(event).collect::<Vec<_>>()).await.unwrap();
        self.wakes.of(self.shard().id()).notify();
    }

    /// Whoever can reach the brokers says that this order was claimed, which our shard knows nothing of, and some nonsense.
    async fn forge(&self, order: OrderId) {
        let forger: FutureProducer =
            ClientConfig::new().set("bootstrap.servers", self.brokers.bootstrap_servers()).create().unwrap();
        let event = EventId::mint(MS, self.entropy.bytes()).to_string();
        let header = |key, value| Header { key, value: Some(value) };
        let headers =
            OwnedHeaders::new().insert(header("ce_id", event.as_str())).insert(header("ce_type", "OrderClaimed"));
        let key = order.to_string();
        let claimed = FutureRecord::to("order_events").key(&key).payload("{}").headers(headers);
        forger.send(claimed, DEADLINE).await.unwrap();
        forger.send(FutureRecord::to("order_events").key(&key).payload("nonsense"), DEADLINE).await.unwrap();
    }

    /// Until a relay has had so many events in its hands, acknowledged or not.
    async fn until_relaying(&self, events: i64) {
        let taken = async {
            let mut conn = self.shard().read().await.unwrap();
            let count = "SELECT count(*) FROM relayed_events";
            while sqlx::query_scalar::<_, i64>(count).fetch_one(&mut *conn).await.unwrap() < events {
                tokio::task::yield_now().await;
            }
        };
        tokio::time::timeout(DEADLINE, taken).await.unwrap();
    }

    /// Waits until each of these orders has told of all these versions; each must have done so once and in order.
    async fn until_heard(&mut self, orders: &[OrderId], versions: i64) {
        let all = orders.len() * usize::try_from(versions).unwrap();
        let deadline = tokio::time::Instant::now() + DEADLINE;
        let mut effects = self.effects().await;
        while effects.len() < all {
            let heard = tokio::time::timeout_at(deadline, self.commits.recv()).await;
            assert!(heard.is_ok(), "{} of {all} came", effects.len());
            effects = self.effects().await;
        }
        assert_eq!(effects.len(), all, "an event took effect twice");
        let mut last = HashMap::new();
        for (order, version) in effects {
            let before = last.insert(order, version).unwrap_or(0);
            assert_eq!(version, before + 1, "{order} went from {before} to {version}");
        }
    }

    async fn effects(&self) -> Vec<(uuid::Uuid, i64)> {
        let mut conn = self.shard().read().await.unwrap();
        sqlx::query_as("SELECT order_id, version FROM effects ORDER BY place").fetch_all(&mut *conn).await.unwrap()
    }

    async fn stop(self, processes: impl IntoIterator<Item = JoinHandle<()>>) {
        self.shutdown.cancel();
        for process in processes {
            process.await.unwrap();
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_processes_share_the_work_and_keep_each_orders_events_in_order() {
    let mut bench = Bench::new().await;
    let orders = bench.orders(40);
    let processes = [bench.start(), bench.start()];
    for version in 1..=25 {
        bench.say(&orders, version).await;
    }
    bench.until_heard(&orders, 25).await;
    bench.stop(processes).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_relay_that_dies_in_the_middle_of_a_batch_leaves_it_to_another() {
    let mut bench = Bench::new().await;
    let orders = bench.orders(10);
    bench.brokers.broker_down(-1).unwrap();
    for version in 1..=10 {
        bench.say(&orders, version).await;
    }
    let dying = bench.start();
    bench.until_relaying(1).await;
    dying.abort();
    assert!(dying.await.unwrap_err().is_cancelled());
    bench.brokers.broker_up(-1).unwrap();
    let mut conn = bench.shard().read().await.unwrap();
    sqlx::query("UPDATE relay_leases SET leased_until = shard_now()").execute(&mut *conn).await.unwrap();
    drop(conn);
    let heir = bench.start();
    bench.until_heard(&orders, 10).await;
    bench.stop([heir]).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn brokers_that_were_away_bring_everything_once_they_are_back() {
    let mut bench = Bench::new().await;
    let orders = bench.orders(10);
    let process = bench.start();
    bench.say(&orders, 1).await;
    bench.until_heard(&orders, 1).await;
    bench.brokers.broker_down(-1).unwrap();
    for version in 2..=10 {
        bench.say(&orders, version).await;
    }
    bench.until_relaying(11).await;
    bench.brokers.broker_up(-1).unwrap();
    bench.until_heard(&orders, 10).await;
    bench.stop([process]).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_process_that_dies_in_the_middle_of_its_work_leaves_it_to_another() {
    let mut bench = Bench::new().await;
    let orders = bench.orders(20);
    let (dying, heir) = (bench.start(), bench.start());
    for version in 1..=10 {
        bench.say(&orders, version).await;
    }
    bench.commits.recv().await.unwrap();
    dying.abort();
    assert!(dying.await.unwrap_err().is_cancelled());
    for version in 11..=20 {
        bench.say(&orders, version).await;
    }
    bench.until_heard(&orders, 20).await;
    bench.stop([heir]).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn whoever_writes_to_a_topic_makes_nothing_true() {
    let mut bench = Bench::new().await;
    let orders = bench.orders(5);
    for order in &orders {
        bench.forge(*order).await;
    }
    let process = bench.start();
    // Behind the forged ones, for they have the same keys.
    bench.say(&orders, 1).await;
    bench.until_heard(&orders, 1).await;
    bench.stop([process]).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_shard_that_is_away_does_not_keep_the_others_from_hearing() {
    let mut bench = Bench::new().await;
    let (region, away) = (bench.shards.region().clone(), ShardId::try_from(2).unwrap());
    let nowhere = PgPoolOptions::new().acquire_timeout(Duration::from_millis(200));
    let nowhere = Shard::from_pool(away, nowhere.connect_lazy("postgres://nobody@127.0.0.1:1/nothing").unwrap());
    let map = SlotMap::even(1, [(bench.shard().id(), region.clone()), (away, region.clone())].into()).unwrap();
    bench.shards = Shards::new(region, [bench.shard().clone(), nowhere], map);
    let (orders, lost) = (bench.orders(5), OrderId::mint(MS, bench.slot_of(away), bench.entropy.bytes()));
    let process = bench.start();
    for version in 1..=5 {
        bench.forge(lost).await;
        bench.say(&orders, version).await;
    }
    bench.until_heard(&orders, 5).await;
    bench.stop([process]).await;
}
