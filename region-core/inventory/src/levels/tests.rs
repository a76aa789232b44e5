//! Promises about counts, over real shards and a real Redis.

use std::time::Duration;

use axum::body::{Body, to_bytes};
use bytes::Bytes;
use futures::future::BoxFuture;
use http::{Request, Response};
use region_core_store::test_support::{TestDatabase, shard_database};
use region_core_store::{PoolLimits, Shard};
use region_core_web::{NoPeers, PeerTransport};
use shared::{Problem, SlotMap};
use sqlx::PgPool;
use tower::ServiceExt as _;

use super::*;

fn sku(name: &str) -> Sku {
    name.parse().unwrap()
}

fn region() -> RegionName {
    // Of this test alone: Redis is shared by all.
    format!("t{}", u32::from_le_bytes(Entropy::system().bytes())).parse().unwrap()
}

/// Two shards of a region.
struct World {
    shards: Shards,
    databases: [TestDatabase; 2],
}

impl World {
    async fn new() -> Self {
        let databases = [shard_database().await, shard_database().await];
        let region = region();
        let id = |at: usize| ShardId::try_from(i16::try_from(at + 1).unwrap()).unwrap();
        let map = SlotMap::even(1, [(id(0), region.clone()), (id(1), region.clone())].into()).unwrap();
        let shard = |(at, database): (usize, &TestDatabase)| {
            Shard::new(id(at), &database.url.clone().into(), PoolLimits::default()).unwrap()
        };
        let shards = Shards::new(region, databases.iter().enumerate().map(shard), map);
        Self { shards, databases }
    }

    fn pool(&self, shard: usize) -> &PgPool {
        &self.databases[shard].pool
    }

    /// Makes `free` what that shard has, as another process might.
    async fn set(&self, shard: usize, name: &str, free: i64) {
        sqlx::query!(
            "INSERT INTO allotments (sku, free) VALUES ($1, $2) ON CONFLICT (sku) DO UPDATE SET free = excluded.free",
            name,
            free
        )
        .execute(self.pool(shard))
        .await
        .unwrap();
    }

    fn core(&self, redis: &Redis) -> Core {
        let levels = StockLevels::new(Parts {
            shards: self.shards.clone(),
            redis: redis.clone(),
            peers: Peers::new(NoPeers),
            others: Vec::new(),
            entropy: Entropy::system(),
        });
        Core { levels, heard: 0 }
    }

    fn copy(&self, redis: &Redis) -> Copy {
        Copy::of(redis.clone(), self.shards.region())
    }
}

/// A core's counts, a round at a time.
struct Core {
    levels: StockLevels,
    heard: u64,
}

impl Core {
    fn shards(&self) -> Vec<Shard> {
        self.levels.0.shards.all().cloned().collect()
    }

    async fn scan(&self) {
        for (source, shard) in self.shards().iter().enumerate() {
            self.levels.scan(source, shard).await.unwrap();
        }
    }

    async fn round(&mut self) {
        for (source, shard) in self.shards().iter().enumerate() {
            self.levels.read_changed(source, shard).await.unwrap();
        }
        self.levels.publish().await;
        self.heard = self.levels.hear(self.heard).await;
    }

    fn says(&self, shard: usize, name: &str) {
        self.levels.changed(self.shards()[shard].id(), &[sku(name)]);
    }

    fn count(&self, name: &str) -> Option<u64> {
        lock(&self.levels.0.counts).store.sum(&sku(name))
    }

    fn len(&self) -> usize {
        lock(&self.levels.0.counts).store.len()
    }
}

async fn redis() -> Redis {
    let url = std::env::var("MERIDIAN_TEST_REDIS_URL").expect("run the tests with `cargo xtask test`");
    let redis = Redis::connect(&url).unwrap();
    while !redis.is_up().await {
        tokio::task::yield_now().await;
    }
    redis
}

#[tokio::test]
async fn what_was_said_to_have_changed_is_read_again_and_nothing_else() {
    let world = World::new().await;
    for name in ["MUG", "CUP"] {
        world.set(0, name, 3).await;
        world.set(1, name, 4).await;
    }
    let mut core = world.core(&Redis::absent());
    core.scan().await;
    assert_eq!((core.count("MUG"), core.count("CUP")), (Some(7), Some(7)));
    world.set(1, "MUG", 0).await;
    world.set(1, "CUP", 0).await;
    core.says(1, "MUG");
    core.round().await;
    assert_eq!((core.count("MUG"), core.count("CUP")), (Some(3), Some(7)));
    core.scan().await;
    assert_eq!(core.count("CUP"), Some(3), "a scan finds what nobody said");
}

#[tokio::test]
async fn a_scan_reads_a_shard_to_its_end() {
    let world = World::new().await;
    sqlx::query!("INSERT INTO allotments (sku, free) SELECT 'S' || n, n FROM generate_series(0, 2499) AS n")
        .execute(world.pool(0))
        .await
        .unwrap();
    let core = world.core(&Redis::absent());
    core.scan().await;
    assert_eq!(core.len(), 2_500);
    assert_eq!((core.count("S0"), core.count("S1000"), core.count("S2499")), (Some(0), Some(1_000), Some(2_499)));
}

#[tokio::test]
async fn a_shard_that_does_not_answer_keeps_its_last_counts_and_is_asked_again() {
    let world = World::new().await;
    world.set(0, "MUG", 3).await;
    world.set(1, "MUG", 4).await;
    let core = world.core(&Redis::absent());
    core.scan().await;
    let (gone, other) = (&core.shards()[0], &core.shards()[1]);
    sqlx::query!("ALTER TABLE allotments RENAME TO hidden").execute(world.pool(0)).await.unwrap();
    world.set(1, "MUG", 1).await;
    core.says(0, "MUG");
    core.says(1, "MUG");
    assert!(core.levels.read_changed(0, gone).await.is_err());
    core.levels.read_changed(1, other).await.unwrap();
    assert_eq!(core.count("MUG"), Some(4));
    sqlx::query!("ALTER TABLE hidden RENAME TO allotments").execute(world.pool(0)).await.unwrap();
    world.set(0, "MUG", 2).await;
    core.levels.read_changed(0, gone).await.unwrap();
    assert_eq!(core.count("MUG"), Some(3), "what was said is not forgotten");
}

#[tokio::test]
async fn a_sku_on_no_board_is_read_when_it_is_asked_for_and_an_invented_one_leaves_nothing_behind() {
    let world = World::new().await;
    world.set(0, "MUG", 3).await;
    world.set(1, "MUG", 4).await;
    let core = world.core(&Redis::absent());
    let levels = core.levels.of(&[sku("MUG"), sku("NO-SUCH-THING")]).await.unwrap();
    assert_eq!(levels.iter().map(|level| level.units).collect::<Vec<_>>(), [7, 0]);
    assert!(levels.iter().all(|level| level.approximate));
    assert_eq!((core.count("MUG"), core.count("NO-SUCH-THING")), (Some(7), None));
}

#[tokio::test]
async fn cores_of_a_region_hear_of_each_others_changes() {
    let (world, redis) = (World::new().await, redis().await);
    world.set(0, "MUG", 3).await;
    let (mut one, mut other) = (world.core(&redis), world.core(&redis));
    one.scan().await;
    other.scan().await;
    one.round().await;
    other.round().await;
    world.set(0, "MUG", 2).await;
    one.says(0, "MUG");
    one.round().await;
    // It hears, and then it reads.
    other.round().await;
    other.round().await;
    assert_eq!((one.count("MUG"), other.count("MUG")), (Some(2), Some(2)));
    let told = world.copy(&redis).hear(0).await.unwrap();
    assert_eq!(told.counts, [(sku("MUG"), Some(2))]);
}

#[tokio::test]
async fn an_old_count_that_comes_late_is_corrected_by_whoever_hears_it() {
    let (world, redis) = (World::new().await, redis().await);
    world.set(0, "MUG", 3).await;
    let mut core = world.core(&redis);
    core.scan().await;
    core.round().await;
    assert!(world.copy(&redis).publish(&[(sku("MUG"), 99)]).await);
    core.round().await;
    core.round().await;
    assert_eq!(world.copy(&redis).hear(0).await.unwrap().counts, [(sku("MUG"), Some(3))]);
    let before = world.copy(&redis).hear(0).await.unwrap().version;
    core.round().await;
    core.round().await;
    assert_eq!(world.copy(&redis).hear(0).await.unwrap().version, before, "what agrees is not written again");
}

#[tokio::test]
async fn more_than_one_batch_is_heard_whole() {
    let (world, redis) = (World::new().await, redis().await);
    sqlx::query!("INSERT INTO allotments (sku, free) SELECT 'S' || n, n FROM generate_series(1, 1200) AS n")
        .execute(world.pool(0))
        .await
        .unwrap();
    let (mut one, mut other) = (world.core(&redis), world.core(&redis));
    one.scan().await;
    // A slow Redis counts as one that is away for that round.
    let heard = async {
        while other.len() < 1_200 {
            one.round().await;
            other.round().await;
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(Duration::from_secs(20), heard).await.expect("all batches are heard");
}

#[tokio::test]
async fn redis_that_has_forgotten_is_told_everything_again() {
    let (world, redis) = (World::new().await, redis().await);
    for (name, units) in [("MUG", 3), ("CUP", 5)] {
        world.set(0, name, units).await;
    }
    let mut core = world.core(&redis);
    core.scan().await;
    core.round().await;
    let copy = world.copy(&redis);
    for part in ["counts", "order", "version"] {
        redis.delete(&format!("stock:{{{}}}:{part}", world.shards.region())).await;
    }
    assert_eq!(copy.hear(0).await.unwrap().counts, []);
    core.round().await;
    core.round().await;
    assert_eq!(copy.hear(0).await.unwrap().counts.len(), 2);
}

/// The other region, in the same process: its own routes answer.
struct Beside(Router);

impl PeerTransport for Beside {
    fn send<'a>(
        &'a self,
        _: &'a RegionName,
        request: Request<Bytes>,
        _: Duration,
    ) -> BoxFuture<'a, Result<Response<Bytes>, Problem>> {
        Box::pin(async move {
            let answer = self.0.clone().oneshot(request.map(Body::from)).await.unwrap();
            let (head, body) = answer.into_parts();
            Ok(Response::from_parts(head, to_bytes(body, usize::MAX).await.unwrap()))
        })
    }
}

#[tokio::test]
async fn changes_reach_the_other_region_and_the_sums_by_themselves() {
    let (near, far) = (World::new().await, World::new().await);
    near.set(0, "MUG", 3).await;
    far.set(1, "MUG", 40).await;
    let there = far.core(&Redis::absent()).levels;
    let here = StockLevels::new(Parts {
        shards: near.shards.clone(),
        redis: redis().await,
        peers: Peers::new(Beside(internal_router(there.clone()))),
        others: vec![far.shards.region().clone()],
        entropy: Entropy::system(),
    });
    assert!(here.changes(&[], 10).is_none() && here.changes_here(&[], 10).is_none(), "nobody was asked yet");
    let stop = tokio_util::sync::CancellationToken::new();
    let tasks = [&here, &there].map(|levels| tokio::spawn(levels.clone().follow(stop.clone())));
    until_counted(&here, 43).await;
    far.set(1, "MUG", 20).await;
    there.changed(far.shards.all().nth(1).unwrap().id(), &[sku("MUG")]);
    until_counted(&here, 23).await;
    assert_eq!(here.of(&[sku("MUG")]).await.unwrap()[0].units, 23);
    assert_eq!(here.changes_here(&[], 10).unwrap().items[0].units, 3, "what is elsewhere is not said to be here");
    stop.cancel();
    for task in tasks {
        task.await.unwrap();
    }
}

/// Looks until the store has so many mugs.
async fn until_counted(levels: &StockLevels, units: u64) {
    let counted = async {
        let mut looks = tokio::time::interval(Duration::from_millis(10));
        while levels.changes(&[], 10).and_then(|news| news.items.first().map(|count| count.units)) != Some(units) {
            looks.tick().await;
        }
    };
    tokio::time::timeout(Duration::from_secs(20), counted).await.expect("the count arrives");
}
