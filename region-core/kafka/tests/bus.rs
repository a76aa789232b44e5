//! What the bus on Kafka promises, on a real Postgres: with the brokers that librdkafka simulates, and with tansu where it is
//! installed. `cargo xtask tools --tansu` installs it and `cargo xtask test` says where it is; elsewhere its tests are counted as
//! skipped, which is why this program brings its own harness.
#![expect(clippy::unwrap_used, reason = "a test that cannot go on fails")]

use std::process::ExitCode;
use std::time::Duration;

use futures::FutureExt as _;
use futures::future::BoxFuture;
use libtest_mimic::{Arguments, Trial};
use rdkafka::ClientConfig;
use rdkafka::message::{Header, OwnedHeaders};
use rdkafka::producer::{FutureProducer, FutureRecord};
use region_core_events::Settings;
use region_core_events::test_support::{self, Fault, MS, Scribe};
use region_core_kafka::{Bus, Options};
use region_core_store::{Shard, Shards};
use shared::{EventId, OrderId, ShardId, SlotMap};
use sqlx::postgres::PgPoolOptions;
use tokio::sync::mpsc;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;
use xtask_broker::{Brokers, Kind};

/// How long a promise may take to be kept.
const DEADLINE: Duration = Duration::from_secs(90);

/// One shard with a table of effects, and brokers.
struct Bench {
    shard: test_support::Bench,
    brokers: Brokers,
    committed: mpsc::UnboundedSender<()>,
    commits: mpsc::UnboundedReceiver<()>,
    shutdown: CancellationToken,
}

impl Bench {
    async fn new(kind: &Kind) -> Self {
        let (shard, brokers) = (test_support::Bench::new().await, Brokers::start(kind).await.unwrap());
        let (committed, commits) = mpsc::unbounded_channel();
        Self { shard, brokers, committed, commits, shutdown: CancellationToken::new() }
    }

    /// A process with the whole bus, that never reads the outbox where the brokers should have brought it.
    fn start(&self) -> JoinHandle<()> {
        self.start_with(Duration::from_secs(3600))
    }

    fn start_with(&self, grace: Duration) -> JoinHandle<()> {
        let mut options = Options::new(self.brokers.addresses(), self.shard.entropy.bytes());
        options.settings = Settings { grace, batch: 50, ..Settings::default() };
        let scribe = Scribe::new(Fault::None, self.committed.clone());
        let bus = Bus::new(self.shard.shards.clone(), self.shard.wakes.clone(), vec![scribe], options);
        tokio::spawn(bus.run(self.shutdown.clone()))
    }

    /// Whoever can reach the brokers says that this order was claimed, which our shard knows nothing of, and some nonsense.
    async fn forge(&self, order: OrderId) {
        let forger: FutureProducer =
            ClientConfig::new().set("bootstrap.servers", self.brokers.addresses().join(",")).create().unwrap();
        let event = EventId::mint(MS, self.shard.entropy.bytes()).to_string();
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
            while self.shard.count("SELECT count(*) FROM relayed_events").await < events {
                tokio::task::yield_now().await;
            }
        };
        tokio::time::timeout(DEADLINE, taken).await.unwrap();
    }

    /// Waits until each of these orders has told of all these versions; each must have done so once and in order.
    async fn until_heard(&mut self, orders: &[OrderId], versions: i64) {
        let all = orders.len() * usize::try_from(versions).unwrap();
        let deadline = tokio::time::Instant::now() + DEADLINE;
        let mut effects = self.shard.effects().await.len();
        while effects < all {
            let heard = tokio::time::timeout_at(deadline, self.commits.recv()).await;
            assert!(heard.is_ok(), "{effects} of {all} came");
            effects = self.shard.effects().await.len();
        }
        self.shard.heard_once_and_in_order(all).await;
    }

    async fn stop(self, processes: impl IntoIterator<Item = JoinHandle<()>>) {
        self.shutdown.cancel();
        for process in processes {
            process.await.unwrap();
        }
    }
}

/// Tansu answers whoever fetches from a topic of before with one without an id, and librdkafka 2.12.1 dies of reading that.
const NOT_ON_TANSU: &str = "what_brokers_lose_that_come_back_with_nothing_is_read_from_the_outbox";

/// A promise of the bus with brokers of that kind.
type Promise = fn(Kind) -> BoxFuture<'static, ()>;

macro_rules! promises {
    ($($promise:ident,)*) => {
        [$((stringify!($promise), (|kind| $promise(kind).boxed()) as Promise)),*]
    };
}

fn main() -> ExitCode {
    let promises = promises![
        two_processes_share_the_work_and_keep_each_orders_events_in_order,
        a_relay_that_dies_in_the_middle_of_a_batch_leaves_it_to_another,
        brokers_that_were_away_bring_everything_once_they_are_back,
        what_brokers_lose_that_come_back_with_nothing_is_read_from_the_outbox,
        a_process_that_dies_in_the_middle_of_its_work_leaves_it_to_another,
        whoever_writes_to_a_topic_makes_nothing_true,
        a_shard_that_is_away_does_not_keep_the_others_from_hearing,
    ];
    let tansu = Kind::tansu();
    if tansu.is_none() {
        println!(
            "skipped: {} is not set, for tansu is not installed (`cargo xtask tools --tansu` does)",
            xtask_broker::TANSU
        );
    }
    let mut trials = Vec::new();
    for (name, promise) in promises {
        trials.push(trial(format!("simulated::{name}"), promise, Some(Kind::Simulated(3))));
        trials.push(trial(format!("tansu::{name}"), promise, tansu.clone().filter(|_| name != NOT_ON_TANSU)));
    }
    libtest_mimic::run(&Arguments::from_args(), trials).exit_code()
}

/// A test, counted as skipped if there are no brokers of its kind.
fn trial(name: String, promise: Promise, kind: Option<Kind>) -> Trial {
    let missing = kind.is_none();
    let run = move || {
        let kind = kind.ok_or("no such broker, or it cannot do that")?;
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build()?;
        runtime.block_on(promise(kind));
        Ok(())
    };
    Trial::test(name, run).with_ignored_flag(missing)
}

async fn two_processes_share_the_work_and_keep_each_orders_events_in_order(kind: Kind) {
    let mut bench = Bench::new(&kind).await;
    let orders = bench.shard.orders(40);
    let processes = [bench.start(), bench.start()];
    for version in 1..=25 {
        bench.shard.say_of_each(&orders, version).await;
    }
    bench.until_heard(&orders, 25).await;
    bench.stop(processes).await;
}

async fn a_relay_that_dies_in_the_middle_of_a_batch_leaves_it_to_another(kind: Kind) {
    let mut bench = Bench::new(&kind).await;
    let orders = bench.shard.orders(10);
    bench.brokers.go_away().await;
    for version in 1..=10 {
        bench.shard.say_of_each(&orders, version).await;
    }
    let dying = bench.start();
    bench.until_relaying(1).await;
    dying.abort();
    assert!(dying.await.unwrap_err().is_cancelled());
    bench.brokers.come_back().await.unwrap();
    let mut conn = bench.shard.shard().read().await.unwrap();
    sqlx::query("UPDATE relay_leases SET leased_until = shard_now()").execute(&mut *conn).await.unwrap();
    drop(conn);
    let heir = bench.start();
    bench.until_heard(&orders, 10).await;
    bench.stop([heir]).await;
}

async fn brokers_that_were_away_bring_everything_once_they_are_back(kind: Kind) {
    let mut bench = Bench::new(&kind).await;
    let orders = bench.shard.orders(10);
    let process = bench.start();
    bench.shard.say_of_each(&orders, 1).await;
    bench.until_heard(&orders, 1).await;
    bench.brokers.go_away().await;
    for version in 2..=10 {
        bench.shard.say_of_each(&orders, version).await;
    }
    bench.until_relaying(11).await;
    bench.brokers.come_back().await.unwrap();
    bench.until_heard(&orders, 10).await;
    bench.stop([process]).await;
}

async fn what_brokers_lose_that_come_back_with_nothing_is_read_from_the_outbox(kind: Kind) {
    let mut bench = Bench::new(&kind).await;
    let orders = bench.shard.orders(10);
    let process = bench.start_with(Duration::from_secs(2));
    bench.shard.say_of_each(&orders, 1).await;
    bench.until_heard(&orders, 1).await;
    bench.brokers.go_away().await;
    for version in 2..=10 {
        bench.shard.say_of_each(&orders, version).await;
    }
    bench.brokers.wipe().await.unwrap();
    bench.until_heard(&orders, 10).await;
    bench.shard.say_of_each(&orders, 11).await;
    bench.until_heard(&orders, 11).await;
    bench.stop([process]).await;
}

async fn a_process_that_dies_in_the_middle_of_its_work_leaves_it_to_another(kind: Kind) {
    let mut bench = Bench::new(&kind).await;
    let orders = bench.shard.orders(20);
    let (dying, heir) = (bench.start(), bench.start());
    for version in 1..=10 {
        bench.shard.say_of_each(&orders, version).await;
    }
    bench.commits.recv().await.unwrap();
    dying.abort();
    assert!(dying.await.unwrap_err().is_cancelled());
    for version in 11..=20 {
        bench.shard.say_of_each(&orders, version).await;
    }
    bench.until_heard(&orders, 20).await;
    bench.stop([heir]).await;
}

async fn whoever_writes_to_a_topic_makes_nothing_true(kind: Kind) {
    let mut bench = Bench::new(&kind).await;
    let orders = bench.shard.orders(5);
    for order in &orders {
        bench.forge(*order).await;
    }
    let process = bench.start();
    // Behind the forged ones, for they have the same keys.
    bench.shard.say_of_each(&orders, 1).await;
    bench.until_heard(&orders, 1).await;
    bench.stop([process]).await;
}

async fn a_shard_that_is_away_does_not_keep_the_others_from_hearing(kind: Kind) {
    let mut bench = Bench::new(&kind).await;
    let (region, away) = (bench.shard.shards.region().clone(), ShardId::try_from(2).unwrap());
    let nowhere = PgPoolOptions::new().acquire_timeout(Duration::from_millis(200));
    let nowhere = Shard::from_pool(away, nowhere.connect_lazy("postgres://nobody@127.0.0.1:1/nothing").unwrap());
    let own = bench.shard.shard().clone();
    let map = SlotMap::even(1, [(own.id(), region.clone()), (away, region.clone())].into()).unwrap();
    bench.shard.shards = Shards::new(region, [own, nowhere], map);
    let (orders, lost) = (bench.shard.orders(5), bench.shard.order_on(away));
    let process = bench.start();
    for version in 1..=5 {
        bench.forge(lost).await;
        bench.shard.say_of_each(&orders, version).await;
    }
    bench.until_heard(&orders, 5).await;
    bench.stop([process]).await;
}
