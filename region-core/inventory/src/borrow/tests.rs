//! Borrowing between real shards, over a wire that can lose, double and hold back messages.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Mutex;
use std::sync::atomic::{AtomicU32, Ordering};

use futures::FutureExt;
use futures::future::{BoxFuture, join_all};
use region_core_store::Shard;
use region_core_store::test_support::shard_database;
use shared::{Quantity, RegionName, SlotMap};
use shared_clock::Entropy;

use super::*;
use crate::store::{Receipt, receive};
use crate::transfer::message::{Ack, CountsRequest, Given, Grant, Reply, ShardCounts, Standings, Status};

/// Longer than any machine takes: what is waited for comes.
const PATIENT: Duration = Duration::from_secs(60);
/// For what never comes.
const BRIEF: Duration = Duration::from_millis(100);

/// What becomes of a message.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Fate {
    Arrives,
    Lost,
    AnswerLost,
    Doubled,
}

/// Leads to the desks of all regions.
#[derive(Default)]
struct Wire {
    desks: Mutex<BTreeMap<RegionName, Desk>>,
    fate: Mutex<Option<Box<dyn FnMut() -> Fate + Send>>>,
    /// Regions that take every message and never answer.
    silent: Mutex<BTreeSet<RegionName>>,
}

impl Wire {
    fn fate(&self) -> Fate {
        self.fate.lock().unwrap().as_mut().map_or(Fate::Arrives, |fate| fate())
    }

    fn treat(&self, fate: impl FnMut() -> Fate + Send + 'static) {
        *self.fate.lock().unwrap() = Some(Box::new(fate));
    }

    fn mend(&self) {
        *self.fate.lock().unwrap() = None;
    }

    fn desk_of(&self, shard: ShardId) -> Result<Desk, Problem> {
        let desks = self.desks.lock().unwrap();
        desks.values().find(|desk| desk.shard(shard).is_ok()).cloned().ok_or_else(lost)
    }

    async fn hear(&self, region: &RegionName) {
        if self.silent.lock().unwrap().contains(region) {
            std::future::pending().await
        }
    }

    async fn carry<T, F: Future<Output = Result<T, Problem>>>(&self, call: impl Fn() -> F) -> Result<T, Problem> {
        match self.fate() {
            Fate::Arrives => call().await,
            Fate::Lost => Err(lost()),
            Fate::AnswerLost => {
                call().await?;
                Err(lost())
            }
            Fate::Doubled => {
                call().await?;
                call().await
            }
        }
    }
}

fn lost() -> Problem {
    Problem::new(ProblemKind::Timeout)
}

impl Donors for Wire {
    fn grant(&self, message: Grant) -> BoxFuture<'_, Result<Reply<Vec<Given>>, Problem>> {
        async move {
            let desk = self.desk_of(message.donor)?;
            self.hear(desk.shards().region()).await;
            self.carry(|| async { Ok(desk.grant(message.clone()).await?) }).await
        }
        .boxed()
    }

    fn ack(&self, message: Ack) -> BoxFuture<'_, Result<Reply<()>, Problem>> {
        async move {
            let desk = self.desk_of(message.donor)?;
            self.hear(desk.shards().region()).await;
            self.carry(|| async { Ok(desk.ack(message.clone()).await?) }).await
        }
        .boxed()
    }

    fn status(&self, message: Status) -> BoxFuture<'_, Result<Reply<Standings>, Problem>> {
        async move {
            let desk = self.desk_of(message.borrower)?;
            self.hear(desk.shards().region()).await;
            self.carry(|| async { Ok(desk.status(message.clone()).await?) }).await
        }
        .boxed()
    }

    fn counts<'a>(
        &'a self,
        region: &'a RegionName,
        request: CountsRequest,
    ) -> BoxFuture<'a, Result<Vec<ShardCounts>, Problem>> {
        async move {
            let desk = self.desks.lock().unwrap().get(region).cloned().ok_or_else(lost)?;
            self.hear(region).await;
            self.carry(|| async { Ok(desk.counts(request.clone()).await?) }).await
        }
        .boxed()
    }
}

struct World {
    wire: Arc<Wire>,
    shards: Vec<Shard>,
    regions: BTreeMap<RegionName, Borrowing>,
    orders: AtomicU32,
}

fn id(number: i16) -> ShardId {
    ShardId::try_from(number).unwrap()
}

fn mug() -> Sku {
    "MUG".parse().unwrap()
}

/// Shards 1, 2, … of these regions with that many mugs.
async fn world(places: &[(&str, u64)]) -> World {
    let mut shards = Vec::new();
    let mut map = BTreeMap::new();
    for (number, (region, mugs)) in (1..).zip(places) {
        let shard = Shard::from_pool(id(number), shard_database().await.pool);
        let receipt = Receipt { reference: "first".into(), sku: mug(), units: *mugs };
        receive(&mut shard.read().await.unwrap(), &[receipt]).await.unwrap();
        map.insert(shard.id(), region.parse::<RegionName>().unwrap());
        shards.push(shard);
    }
    let wire = Arc::new(Wire::default());
    let mut regions = BTreeMap::new();
    for region in map.values() {
        let own = shards.iter().filter(|shard| map[&shard.id()] == *region).cloned();
        let here = Shards::new(region.clone(), own, SlotMap::even(1, map.clone()).unwrap());
        let donors = Arc::clone(&wire);
        let mut borrowing = Borrowing::with_donors(here, Arc::new(|_, _| {}), |desk| {
            donors.desks.lock().unwrap().insert(region.clone(), desk);
            donors as Arc<dyn Donors>
        });
        borrowing.patience = Patience { near: PATIENT, across: PATIENT };
        regions.insert(region.clone(), borrowing);
    }
    World { wire, shards, regions, orders: AtomicU32::new(0) }
}

impl World {
    fn of(&self, shard: i16) -> &Borrowing {
        self.regions.values().find(|borrowing| borrowing.shards.all().any(|own| own.id() == id(shard))).unwrap()
    }

    fn shard(&self, shard: i16) -> &Shard {
        self.shards.iter().find(|own| own.id() == id(shard)).unwrap()
    }

    fn mint(&self) -> Claimant {
        Claimant(u128::from(self.orders.fetch_add(1, Ordering::Relaxed)).to_be_bytes())
    }

    async fn cover(&self, shard: i16, units: i64, patience: Duration) -> Result<Covered, NotCovered> {
        let wanted = [Held { sku: mug(), quantity: Quantity::new(units).unwrap() }];
        let short = [Shortfall { sku: mug(), wanted: units.unsigned_abs(), free: self.free(shard).await }];
        self.of(shard).cover(id(shard), self.mint(), &wanted, &short, Instant::now() + patience).await
    }

    /// As a shopper does: tries, and waits for units as long as there is hope. True if he got them.
    async fn buy(&self, shard: i16, units: i64, patience: Duration) -> Result<(), NotCovered> {
        let (order, until) = (self.mint(), Instant::now() + patience);
        let wanted = [Held { sku: mug(), quantity: Quantity::new(units).unwrap() }];
        let mut ticket = None;
        loop {
            if self.take(shard, units, ticket.is_some()).await {
                self.of(shard).sold(id(shard), &mug(), units.unsigned_abs());
                return Ok(());
            }
            let short = [Shortfall { sku: mug(), wanted: units.unsigned_abs(), free: self.free(shard).await }];
            ticket = Some(self.of(shard).cover(id(shard), order, &wanted, &short, until).await?);
        }
    }

    /// Sells if enough is free after what waiting orders want; one of those counts only what is free.
    async fn take(&self, shard: i16, units: i64, comes_first: bool) -> bool {
        let parked = if comes_first { 0 } else { self.of(shard).parked(id(shard), &mug()).cast_signed() };
        let sold = self.shard(shard).turn().write("test.sell", async move |conn| {
            let sell = "UPDATE allotments SET free = free - $1, sold = sold + $1 WHERE free >= $1 + $2";
            Ok::<_, region_core_store::StoreError>(sqlx::query(sell).bind(units).bind(parked).execute(conn).await?)
        });
        sold.await.unwrap().rows_affected() == 1
    }

    async fn number(&self, shard: i16, query: &'static str) -> u64 {
        let mut conn = self.shard(shard).read().await.unwrap();
        sqlx::query_scalar::<_, i64>(query).fetch_one(&mut *conn).await.unwrap().unsigned_abs()
    }

    async fn free(&self, shard: i16) -> u64 {
        self.number(shard, "SELECT coalesce(sum(free), 0)::bigint FROM allotments").await
    }

    async fn everywhere(&self, query: &'static str) -> u64 {
        let mut sum = 0;
        for shard in &self.shards {
            sum += self.number(shard.id().number(), query).await;
        }
        sum
    }

    async fn total(&self) -> u64 {
        let here = self.everywhere("SELECT coalesce(sum(free + reserved + sold), 0)::bigint FROM allotments").await;
        here + self.in_flight().await
    }

    /// Units that were sent and not credited. What is credited and not yet acknowledged counts where it is.
    async fn in_flight(&self) -> u64 {
        let mut units = 0;
        for donor in &self.shards {
            let sent = "SELECT borrower, seq, units FROM transfers_out WHERE state = 'sent'";
            let mut conn = donor.read().await.unwrap();
            let sent: Vec<(i16, i64, i64)> = sqlx::query_as(sent).fetch_all(&mut *conn).await.unwrap();
            for (borrower, seq, sent) in sent {
                let done = "SELECT count(*) FROM transfers_in WHERE seq = $1 AND donor = $2 AND state = 'done'";
                let mut conn = self.shard(borrower).read().await.unwrap();
                let done = sqlx::query_scalar::<_, i64>(done).bind(seq).bind(donor.id().number());
                units += if done.fetch_one(&mut *conn).await.unwrap() == 0 { sent.unsigned_abs() } else { 0 };
            }
        }
        units
    }

    async fn sold(&self) -> u64 {
        self.everywhere("SELECT coalesce(sum(sold), 0)::bigint FROM allotments").await
    }

    /// Makes everything that is open an hour old.
    async fn age(&self) {
        for shard in &self.shards {
            for older in [
                "UPDATE transfers_in SET created_at = created_at - interval '1 hour', settled_at = settled_at - interval '1 hour'",
                "UPDATE transfers_out SET created_at = created_at - interval '1 hour'",
            ] {
                sqlx::query(older).execute(&mut *shard.read().await.unwrap()).await.unwrap();
            }
        }
    }

    /// One round of recovery for every shard.
    async fn recover(&self) {
        self.age().await;
        for shard in &self.shards {
            self.of(shard.id().number()).recover(shard).await.unwrap();
        }
    }
}

#[tokio::test]
async fn an_order_that_falls_short_gets_units_of_another_shard() {
    let world = world(&[("eu", 0), ("eu", 100)]).await;
    let covered = world.cover(1, 3, PATIENT).await.unwrap();
    assert!(world.free(1).await >= 3);
    assert!(world.free(2).await >= 50, "while there is plenty a donor keeps half");
    assert_eq!((world.total().await, world.of(1).parked(id(1), &mug())), (100, 3));
    drop(covered);
    assert_eq!(world.of(1).parked(id(1), &mug()), 0);
}

#[tokio::test]
async fn near_the_end_the_last_units_are_gathered_from_all_regions() {
    let world = world(&[("eu", 1), ("eu", 1), ("us", 1), ("us", 1)]).await;
    let _covered = world.cover(1, 4, PATIENT).await.unwrap();
    assert_eq!((world.free(1).await, world.total().await), (4, 4));
}

#[tokio::test]
async fn sold_out_is_said_once_every_shard_has_answered() {
    let world = world(&[("eu", 1), ("eu", 1), ("us", 1)]).await;
    assert_eq!(world.cover(1, 4, PATIENT).await.unwrap_err(), NotCovered::SoldOut);
    // What was gathered for it can be sold to others.
    assert!(world.buy(1, 3, PATIENT).await.is_ok());
}

#[tokio::test]
async fn a_shard_that_is_the_only_one_says_sold_out_at_once() {
    let world = world(&[("eu", 1)]).await;
    assert_eq!(world.cover(1, 2, Duration::ZERO).await.unwrap_err(), NotCovered::SoldOut);
    assert!(world.buy(1, 1, Duration::ZERO).await.is_ok());
}

#[tokio::test]
async fn while_a_region_does_not_answer_stock_is_in_transit_and_never_sold_out() {
    let world = world(&[("eu", 1), ("eu", 0), ("us", 9)]).await;
    world.wire.desks.lock().unwrap().remove(&"us".parse::<RegionName>().unwrap());
    let error = world.cover(1, 2, BRIEF).await.unwrap_err();
    assert_eq!(error, NotCovered::InTransit { retry_after_seconds: 1 });
    // What is here is sold regardless.
    assert!(world.buy(1, 1, BRIEF).await.is_ok());
}

#[tokio::test]
async fn a_silent_region_does_not_keep_those_who_come_again_from_what_the_others_have() {
    let mut world = world(&[("eu", 0), ("us", 100), ("eu", 5)]).await;
    world.wire.silent.lock().unwrap().insert("us".parse().unwrap());
    for borrowing in world.regions.values_mut() {
        borrowing.patience = Patience { near: BRIEF, across: BRIEF };
    }
    // Gives up before anybody could answer.
    assert!(matches!(world.cover(1, 3, Duration::ZERO).await, Err(NotCovered::InTransit { .. })));
    let fetched = async {
        while world.free(1).await < 3 {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(PATIENT, fetched).await.expect("what was under way went on");
    assert!(world.buy(1, 3, BRIEF).await.is_ok());
    assert_eq!(world.total().await, 105);
}

#[tokio::test]
async fn a_delivery_wakes_those_who_wait_for_it() {
    use crate::ledger::{EntryKind, Ledger, StockEntry};

    let world = world(&[("eu", 0), ("us", 0)]).await;
    // Nobody is told that nothing is left.
    world.wire.silent.lock().unwrap().insert("us".parse().unwrap());
    let borrowing = world.of(1);
    let peers = Peers::new(region_core_web::NoPeers);
    let ledger = Ledger::new(borrowing.shards.clone(), peers, borrowing.on_return());
    let deliver = async {
        while borrowing.parked(id(1), &mug()) == 0 {
            tokio::task::yield_now().await;
        }
        let reference = "delivery".to_owned().try_into().unwrap();
        let (kind, units) = (EntryKind::Supply, 3.try_into().unwrap());
        ledger.enter(StockEntry { reference, sku: mug(), kind, units, shard: Some(id(1)) }).await.unwrap()
    };
    let (covered, delivered) = tokio::join!(world.cover(1, 3, PATIENT), deliver);
    assert!(covered.is_ok() && delivered.new);
}

#[tokio::test]
async fn an_answer_that_was_lost_is_fetched_by_recovery() {
    let world = world(&[("eu", 0), ("eu", 10)]).await;
    world.wire.treat(|| Fate::AnswerLost);
    assert!(matches!(world.cover(1, 4, BRIEF).await, Err(NotCovered::InTransit { .. })));
    world.wire.mend();
    until_idle(&world).await;
    until_quiet(&world).await;
    assert_eq!((world.total().await, world.in_flight().await), (10, 0));
    assert!(world.buy(1, 4, PATIENT).await.is_ok());
}

#[tokio::test]
async fn fifty_shoppers_in_three_shards_buy_twenty_units_and_no_more() {
    let world = world(&[("eu", 7), ("eu", 7), ("us", 6)]).await;
    let shoppers = (0..50_i16).map(|number| world.buy(number % 3 + 1, 1, PATIENT));
    let bought = join_all(shoppers).await;
    let sold = bought.iter().filter(|result| result.is_ok()).count();
    assert_eq!((sold, world.sold().await, world.total().await), (20, 20, 20));
    assert!(bought.iter().all(|result| matches!(result, Ok(()) | Err(NotCovered::SoldOut))), "{bought:?}");
    assert_eq!((1..=3).map(|shard| world.of(shard).parked(id(shard), &mug())).sum::<u64>(), 0);
}

#[tokio::test]
async fn two_orders_that_each_need_the_others_units_do_not_wait_for_ever() {
    let world = world(&[("eu", 5), ("us", 5)]).await;
    let bought = join_all([world.buy(1, 10, PATIENT), world.buy(2, 10, PATIENT)]).await;
    assert_eq!(bought.iter().filter(|result| result.is_ok()).count(), 1, "{bought:?}");
    assert_eq!((world.sold().await, world.total().await), (10, 10));
}

#[tokio::test]
async fn two_orders_that_each_hold_what_the_other_lacks_do_not_wait_for_ever() {
    let world = world(&[("eu", 1), ("us", 0)]).await;
    let cup: Sku = "CUP".parse().unwrap();
    let receipt = Receipt { reference: "cups".into(), sku: cup.clone(), units: 1 };
    receive(&mut world.shard(2).read().await.unwrap(), &[receipt]).await.unwrap();
    let one = Quantity::new(1).unwrap();
    let wanted = [Held { sku: mug(), quantity: one }, Held { sku: cup.clone(), quantity: one }];
    let wait = async |shard: i16, lacks: Sku| {
        let short = [Shortfall { sku: lacks, wanted: 1, free: 0 }];
        world.of(shard).cover(id(shard), world.mint(), &wanted, &short, Instant::now() + PATIENT).await
    };
    let (here, there) = (wait(1, cup), wait(2, mug()));
    let (first, _) = futures::future::select(std::pin::pin!(here), std::pin::pin!(there)).await.factor_first();
    assert!(first.is_ok(), "{first:?}");
}

#[tokio::test]
async fn stock_that_equals_demand_is_all_sold_wherever_it_lies() {
    let world = world(&[("eu", 30), ("eu", 0), ("us", 1), ("us", 9)]).await;
    let orders = [(1, 3), (2, 7), (3, 2), (4, 8), (2, 5), (3, 9), (1, 4), (2, 2)];
    let bought = join_all(orders.map(|(shard, units)| world.buy(shard, units, PATIENT))).await;
    assert!(bought.iter().all(Result::is_ok), "{bought:?}");
    assert_eq!((world.sold().await, world.total().await, world.in_flight().await), (40, 40, 0));
}

#[tokio::test]
async fn the_balancer_borrows_before_anybody_has_to_wait() {
    let world = world(&[("eu", 2), ("eu", 500)]).await;
    world.of(1).sold_all(id(1), [(&mug(), 60)]);
    world.of(1).balance(world.shard(1)).await.unwrap();
    assert!(world.free(1).await > 100, "{} free", world.free(1).await);
    let begun = world.number(1, "SELECT count(*) FROM transfers_in").await;
    world.of(1).balance(world.shard(1)).await.unwrap();
    assert_eq!(world.number(1, "SELECT count(*) FROM transfers_in").await, begun, "enough is enough");
    assert_eq!(world.total().await, 502);
}

#[tokio::test]
async fn a_stale_term_is_learnt_and_the_message_sent_again() {
    let world = world(&[("eu", 0), ("eu", 10)]).await;
    sqlx::query("UPDATE shard_meta SET term = 7").execute(&mut *world.shard(2).read().await.unwrap()).await.unwrap();
    assert!(world.buy(1, 2, PATIENT).await.is_ok());
}

#[tokio::test]
async fn recovery_finishes_what_others_sent_while_a_region_is_silent() {
    let world = world(&[("eu", 0), ("us", 10), ("eu", 10)]).await;
    world.wire.treat(|| Fate::AnswerLost);
    assert!(matches!(world.cover(1, 4, BRIEF).await, Err(NotCovered::InTransit { .. })));
    until_idle(&world).await;
    world.wire.mend();
    world.wire.silent.lock().unwrap().insert("us".parse().unwrap());
    assert_eq!(world.free(1).await, 0);
    tokio::time::timeout(PATIENT, world.recover()).await.expect("nobody waits for the silent one");
    assert!(world.free(1).await >= 4);
    assert_eq!(world.total().await, 20);
    world.wire.silent.lock().unwrap().clear();
    until_quiet(&world).await;
    assert_eq!((world.total().await, world.in_flight().await), (20, 0));
}

/// Until nobody fetches units any more: with nobody waiting for them, that is after the round under way.
async fn until_idle(world: &World) {
    while world.regions.values().any(|borrowing| borrowing.lanes.somebody_gathers()) {
        tokio::task::yield_now().await;
    }
}

/// Rounds of recovery until nothing is pending, unacknowledged or in flight.
async fn until_quiet(world: &World) {
    for _ in 0..200 {
        world.recover().await;
        let open = "SELECT count(*) FROM transfers_in WHERE settled_at IS NULL";
        if world.everywhere(open).await + world.in_flight().await == 0 {
            return;
        }
    }
    panic!("transfers remain open");
}

/// Messages are lost, doubled and answered into the void at random; then the wire is mended. Whatever happened, units are
/// conserved, everything settles and both sides forget all of it.
#[tokio::test]
async fn whatever_is_lost_or_doubled_units_are_conserved_and_everything_settles() {
    for seed in 0..4_u64 {
        let world = world(&[("eu", 40), ("eu", 3), ("us", 0), ("us", 17)]).await;
        let dice = Entropy::seeded(seed);
        world.wire.treat(move || match dice.below(6) {
            0 => Fate::Lost,
            1 => Fate::AnswerLost,
            2 => Fate::Doubled,
            _ => Fate::Arrives,
        });
        let shoppers = (0..24_i16).map(|number| world.buy(number % 4 + 1, i64::from(number % 5) + 1, BRIEF));
        let bought = join_all(shoppers).await;
        until_idle(&world).await;
        assert_eq!(world.total().await, 60, "seed {seed}");
        world.recover().await;
        world.wire.mend();
        until_quiet(&world).await;
        let wanted: u64 = (0..24_u64).zip(&bought).filter(|(_, result)| result.is_ok()).map(|(n, _)| n % 5 + 1).sum();
        assert_eq!((world.total().await, world.sold().await), (60, wanted), "seed {seed}");
        for _ in 0..3 {
            world.recover().await;
        }
        let rows = "SELECT (SELECT count(*) FROM transfers_in) + (SELECT count(*) FROM transfers_out)";
        assert_eq!(world.everywhere(rows).await, 0, "seed {seed}: halves were not forgotten");
    }
}
