//! What the bus promises, on a real Postgres.
#![expect(clippy::unwrap_used, reason = "a test that cannot go on fails")]

use std::ops::Deref;
use std::sync::Arc;
use std::time::Duration;

use futures::future::BoxFuture;
use region_core_events::contract::{OrderClaimed, OrderConfirmed, Payload};
use region_core_events::test_support::{self, Fault, MS, Scribe};
use region_core_events::{
    AfterCommit, Consumer, Event, HandleError, Listening, NewEvent, Outgoing, Relay, Runner, Settings, Shipment,
    append, is_skipped, list_dead_letters, replay, skip,
};
use shared::{EventId, ShardId};
use sqlx::PgConnection;
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

/// One shard, its consumers and its relays.
struct Bench(test_support::Bench);

impl Deref for Bench {
    type Target = test_support::Bench;

    fn deref(&self) -> &Self::Target {
        &self.0
    }
}

impl Bench {
    async fn new() -> Self {
        Self(test_support::Bench::new().await)
    }

    /// A runner as a process has it, without pauses between attempts.
    fn runner(&self, fault: Fault) -> (Runner, mpsc::UnboundedReceiver<()>) {
        let (committed, commits) = mpsc::unbounded_channel();
        let settings = Settings { first_pause: Duration::ZERO, batch: 7, ..Settings::default() };
        let scribe = Scribe::new(fault, committed);
        (Runner::new(self.shards.clone(), self.wakes.clone(), vec![scribe], settings), commits)
    }

    async fn settle(&self, fault: Fault) -> Result<usize, HandleError> {
        self.runner(fault).0.settle().await
    }

    /// The scribe as another bus tells it of events.
    fn listening(&self, fault: Fault) -> Listening {
        let (committed, _) = mpsc::unbounded_channel();
        let settings = Settings { first_pause: Duration::ZERO, batch: 7, ..Settings::default() };
        Listening::new(&self.shards, &self.wakes, Scribe::new(fault, committed), &settings)
    }

    async fn tell(&self, listening: &Listening, events: &[Outgoing]) -> usize {
        let events: Vec<_> = events.iter().map(|outgoing| outgoing.event.event_id).collect();
        listening.tell(self.shard().id(), &events).await.unwrap()
    }

    /// This process's relay, which no other has while its lease is not over.
    fn relay(&self, process: u128, lease: Duration) -> Relay {
        Relay::new(self.shard().clone(), "kafka", uuid::Uuid::from_u128(process), lease, 7)
    }

    /// All that is to be carried to another bus, once it was.
    async fn carried(&self) -> Vec<Outgoing> {
        let relay = self.relay(1, Duration::from_secs(3600));
        let mut carried = Vec::new();
        while let Some(events) = next(&relay).await {
            assert!(relay.passed(&events).await.unwrap(), "the lease was lost");
            carried.extend(events);
        }
        carried
    }

    /// (attempts, parked, cause) of each dead letter, oldest first.
    async fn dead_letters(&self) -> Vec<(i32, bool, String)> {
        sqlx::query_as("SELECT attempts, parked, cause FROM dead_letters ORDER BY sequence")
            .fetch_all(&mut *self.shard().read().await.unwrap())
            .await
            .unwrap()
    }
}

#[tokio::test]
async fn an_event_whose_transaction_commits_late_is_not_lost() {
    let bench = Bench::new().await;
    let (early, late) = (bench.order(), bench.order());
    let mut slow = bench.shard().read().await.unwrap();
    sqlx::query("BEGIN").execute(&mut *slow).await.unwrap();
    append(&mut slow, &[bench.claimed(late, 1)]).await.unwrap();
    bench.say(&[bench.claimed(early, 1)]).await;
    let waits = tokio::time::timeout(Duration::from_millis(200), bench.settle(Fault::None)).await;
    assert!(waits.is_err() && bench.effects().await.is_empty(), "read past a transaction that is still open");
    sqlx::query("COMMIT").execute(&mut *slow).await.unwrap();
    assert_eq!(bench.settle(Fault::None).await.unwrap(), 2);
    assert_eq!(bench.effects().await, [(late, 1), (early, 1)]);
}

#[tokio::test]
async fn events_of_one_order_keep_their_order_against_the_numbers_of_their_transactions() {
    let bench = Bench::new().await;
    let order = bench.order();
    let mut elder = bench.shard().read().await.unwrap();
    sqlx::query("BEGIN").execute(&mut *elder).await.unwrap();
    sqlx::query("SELECT pg_current_xact_id()").execute(&mut *elder).await.unwrap();
    bench.say(&[bench.claimed(order, 1)]).await;
    append(&mut elder, &[bench.claimed(order, 2)]).await.unwrap();
    sqlx::query("COMMIT").execute(&mut *elder).await.unwrap();
    bench.settle(Fault::None).await.unwrap();
    assert_eq!(bench.effects().await, [(order, 1), (order, 2)]);
}

#[tokio::test]
async fn a_transaction_that_rolls_back_says_nothing() {
    let bench = Bench::new().await;
    let mut conn = bench.shard().read().await.unwrap();
    sqlx::query("BEGIN").execute(&mut *conn).await.unwrap();
    append(&mut conn, &[bench.claimed(bench.order(), 1)]).await.unwrap();
    sqlx::query("ROLLBACK").execute(&mut *conn).await.unwrap();
    assert_eq!(bench.settle(Fault::None).await.unwrap(), 0);
}

#[tokio::test]
async fn an_event_delivered_again_has_no_effect() {
    let bench = Bench::new().await;
    let order = bench.order();
    let events: Vec<_> = (1..=20).map(|version| bench.claimed(order, version)).collect();
    bench.say(&events).await;
    for _ in 0..3 {
        bench.settle(Fault::None).await.unwrap();
        bench.count("WITH back AS (UPDATE consumer_cursors SET settled_before = 0, window_before = 0, sequence = 0, window_last = 0 RETURNING 1) SELECT count(*) FROM back").await;
    }
    let expected: Vec<_> = (1..=20).map(|version| (order, version)).collect();
    assert_eq!(bench.effects().await, expected);
}

#[tokio::test]
async fn kinds_that_a_consumer_does_not_hear_pass_it_by() {
    let bench = Bench::new().await;
    let order_id = bench.order();
    let confirmed = NewEvent::new(EventId::mint(MS, bench.entropy.bytes()), 1, &OrderConfirmed { order_id });
    bench.say(&[confirmed, bench.claimed(order_id, 2)]).await;
    assert_eq!(bench.settle(Fault::None).await.unwrap(), 1);
    assert_eq!(bench.effects().await, [(order_id, 2)]);
}

#[tokio::test]
async fn a_crash_between_effect_and_commit_leaves_neither() {
    let bench = Bench::new().await;
    let order = bench.order();
    bench.say(&[bench.claimed(order, 1), bench.claimed(order, 2)]).await;
    let (runner, _commits) = bench.runner(Fault::LosesItsConnectionOnce);
    assert!(!runner.settle().await.unwrap_err().blames_the_event());
    assert_eq!(bench.effects().await, [], "an effect without its cursor");
    assert_eq!(runner.settle().await.unwrap(), 2);
    assert_eq!(bench.effects().await, [(order, 1), (order, 2)]);
    assert_eq!(bench.count("SELECT count(*) FROM event_retries").await, 0, "a lost connection counted as an attempt");
}

#[tokio::test]
async fn poison_parks_its_own_order_and_no_other() {
    for fault in [Fault::Rejects, Fault::BreaksAConstraint, Fault::Panics] {
        let bench = Bench::new().await;
        let (sick, well) = (bench.order(), bench.order());
        let both = |version| [bench.claimed(sick, version), bench.claimed(well, version)];
        bench.say(&[both(1), both(2)].concat()).await;
        bench.settle(fault(sick)).await.unwrap();
        bench.say(&both(3)).await;
        bench.settle(fault(sick)).await.unwrap();
        assert_eq!(bench.effects().await, [(well, 1), (well, 2), (well, 3)]);
        let letters = bench.dead_letters().await;
        let fates: Vec<_> = letters.iter().map(|(attempts, parked, _)| (*attempts, *parked)).collect();
        assert_eq!(fates, [(5, false), (0, true), (0, true)], "{letters:?}");

        let mut conn = bench.shard().read().await.unwrap();
        let listed = list_dead_letters(&mut conn, 10).await.unwrap();
        assert!(listed.iter().all(|letter| (letter.consumer.as_str(), letter.order_id) == ("scribe", sick)));
        let fates: Vec<_> = listed.iter().map(|letter| (letter.attempts, letter.parked)).collect();
        assert_eq!(fates, [(5, false), (0, true), (0, true)], "{listed:?}");
        assert_eq!(listed[0].kind.as_deref(), Some(OrderClaimed::KIND));
        assert_eq!(replay(&mut conn, "scribe", well).await.unwrap(), 0, "replayed what was never given up");
        assert_eq!(replay(&mut conn, "scribe", sick).await.unwrap(), 3);
        bench.settle(Fault::None).await.unwrap();
        assert_eq!(bench.effects().await[3..], [(sick, 1), (sick, 2), (sick, 3)], "replayed in another order");
        assert_eq!(bench.dead_letters().await, []);
    }
}

#[tokio::test]
async fn an_event_that_is_skipped_is_never_handled_and_those_behind_it_are() {
    let bench = Bench::new().await;
    let sick = bench.order();
    bench.say(&[1, 2, 3].map(|version| bench.claimed(sick, version))).await;
    bench.settle(Fault::Rejects(sick)).await.unwrap();
    let mut conn = bench.shard().read().await.unwrap();
    let letters = list_dead_letters(&mut conn, 10).await.unwrap();
    let (first, parked) = (letters[0].event_id, letters[1].event_id);
    assert_eq!(skip(&mut conn, "scribe", sick, parked, "test").await.unwrap(), None, "skipped what was never tried");
    assert_eq!(skip(&mut conn, "other", sick, first, "test").await.unwrap(), None);
    assert!(skip(&mut conn, "scribe", sick, first, "").await.is_err(), "without a reason");
    assert!(!is_skipped(&mut conn, "scribe", sick, first).await.unwrap());
    assert_eq!(skip(&mut conn, "scribe", sick, first, "told by hand").await.unwrap(), Some(2));
    assert!(is_skipped(&mut conn, "scribe", sick, first).await.unwrap());
    assert!(!is_skipped(&mut conn, "scribe", bench.order(), first).await.unwrap(), "of another order");
    assert_eq!(skip(&mut conn, "scribe", sick, first, "told by hand").await.unwrap(), None, "skipped twice");
    bench.settle(Fault::None).await.unwrap();
    assert_eq!(bench.effects().await, [(sick, 2), (sick, 3)]);
    assert_eq!(bench.dead_letters().await, []);
    let kept = "SELECT count(*) FROM skipped_events WHERE reason = 'told by hand' AND cause <> ''";
    assert_eq!(bench.count(kept).await, 1);
}

#[tokio::test]
async fn attempts_are_counted_across_restarts_and_those_behind_wait() {
    let bench = Bench::new().await;
    let order = bench.order();
    bench.say(&[bench.claimed(order, 1)]).await;
    let settings =
        |max_attempts| Settings { max_attempts, first_pause: Duration::from_secs(3600), ..Settings::default() };
    for attempt in 1..=3 {
        let (committed, _commits) = mpsc::unbounded_channel();
        let scribe = Scribe::new(Fault::Rejects(order), committed);
        let runner = Runner::new(bench.shards.clone(), bench.wakes.clone(), vec![scribe], settings(3));
        runner.settle().await.unwrap();
        bench.say(&[bench.claimed(order, 1 + attempt)]).await;
        assert_eq!(runner.settle().await.unwrap(), 0, "tried before its pause was over, or out of order");
        bench.count("WITH due AS (UPDATE event_retries SET next_attempt_at = shard_now() RETURNING 1) SELECT count(*) FROM due").await;
    }
    let fates: Vec<_> =
        bench.dead_letters().await.into_iter().map(|(attempts, parked, _)| (attempts, parked)).collect();
    assert_eq!(fates, [(3, false), (0, true), (0, true), (0, true)]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn two_processes_share_the_work_and_double_nothing() {
    const ORDERS: usize = 40;
    const VERSIONS: i64 = 25;
    let bench = Arc::new(Bench::new().await);
    let shutdown = CancellationToken::new();
    let (first, mut commits) = bench.runner(Fault::None);
    let (second, mut other_commits) = bench.runner(Fault::None);
    let runners = [first, second].map(|runner| tokio::spawn(runner.run(shutdown.clone())));
    let speakers: Vec<_> = (0..4)
        .map(|_| {
            let bench = Arc::clone(&bench);
            tokio::spawn(async move {
                let orders = bench.orders(ORDERS / 4);
                for version in 1..=VERSIONS {
                    bench.say_of_each(&orders, version).await;
                }
            })
        })
        .collect();
    let all = ORDERS * usize::try_from(VERSIONS).unwrap();
    let mut effects = Vec::new();
    while effects.len() < all {
        let heard = async {
            tokio::select! { Some(()) = commits.recv() => {}, Some(()) = other_commits.recv() => {} }
        };
        assert!(tokio::time::timeout(Duration::from_secs(60), heard).await.is_ok(), "{} of {all} came", effects.len());
        effects = bench.effects().await;
    }
    for speaker in speakers {
        speaker.await.unwrap();
    }
    shutdown.cancel();
    for runner in runners {
        runner.await.unwrap();
    }
    bench.heard_once_and_in_order(all).await;
}

/// Looks once, and then rests for longer than any test takes. Tells how many events came at a time.
struct Unhurried(mpsc::UnboundedSender<usize>);

impl Consumer for Unhurried {
    fn name(&self) -> &'static str {
        "unhurried"
    }

    fn kinds(&self) -> &'static [&'static str] {
        &[OrderClaimed::KIND]
    }

    fn handle<'a>(
        &'a self,
        _shard: ShardId,
        _conn: &'a mut PgConnection,
        events: &'a [Event],
    ) -> BoxFuture<'a, Result<AfterCommit, HandleError>> {
        let (heard, count) = (self.0.clone(), events.len());
        Box::pin(async move {
            Ok(AfterCommit::run(move || {
                let _ = heard.send(count);
            }))
        })
    }

    fn rest(&self) -> Duration {
        Duration::from_secs(3600)
    }
}

#[tokio::test]
async fn who_rests_is_given_full_batches_at_once_and_what_comes_in_his_rest_as_one() {
    let bench = Bench::new().await;
    let order = bench.order();
    bench.say(&(1..=9).map(|version| bench.claimed(order, version)).collect::<Vec<_>>()).await;
    bench.settle(Fault::None).await.unwrap(); // all of it is safe to read from here on
    let (heard, mut hears) = mpsc::unbounded_channel();
    let (committed, mut commits) = mpsc::unbounded_channel();
    let hurried = Scribe::new(Fault::None, committed);
    let unhurried: Arc<dyn Consumer> = Arc::new(Unhurried(heard));
    let runner = |consumers| {
        let settings = Settings { batch: 7, ..Settings::default() };
        Runner::new(bench.shards.clone(), bench.wakes.clone(), consumers, settings)
    };
    let shutdown = CancellationToken::new();
    let running = tokio::spawn(runner(vec![hurried, Arc::clone(&unhurried)]).run(shutdown.clone()));
    assert_eq!((hears.recv().await, hears.recv().await), (Some(7), Some(2)));
    for version in 10..=14 {
        bench.say(&[bench.claimed(order, version)]).await;
        bench.wakes.of(bench.shard().id()).notify();
        commits.recv().await.unwrap();
    }
    assert!(hears.try_recv().is_err(), "the rest was broken");
    shutdown.cancel();
    running.await.unwrap();
    runner(vec![unhurried]).settle().await.unwrap();
    assert_eq!(hears.recv().await, Some(5));
}

/// What the relay hands on next, once transactions of other tests no longer hold it back.
async fn next(relay: &Relay) -> Option<Vec<Outgoing>> {
    loop {
        match relay.next().await.unwrap() {
            Shipment::Events(events) => return Some(events),
            Shipment::Soon => tokio::task::yield_now().await,
            Shipment::Elsewhere | Shipment::None => return None,
        }
    }
}

fn versions(events: &[Outgoing]) -> Vec<i64> {
    events.iter().map(|outgoing| outgoing.event.aggregate_version).collect()
}

#[tokio::test]
async fn what_is_told_three_times_and_shuffled_takes_effect_once_and_in_order() {
    const ORDERS: usize = 10;
    const VERSIONS: i64 = 12;
    let bench = Bench::new().await;
    let orders = bench.orders(ORDERS);
    for version in 1..=VERSIONS {
        bench.say_of_each(&orders, version).await;
    }
    let carried = bench.carried().await;
    let mut told = [carried.as_slice(); 3].concat();
    for place in (1..told.len()).rev() {
        told.swap(place, bench.entropy.below(u32::try_from(place + 1).unwrap()) as usize);
    }
    let listening = bench.listening(Fault::None);
    for some in told.chunks(11) {
        bench.tell(&listening, some).await;
    }
    let effects = bench.effects().await;
    for order in orders {
        let of: Vec<_> = effects.iter().filter(|effect| effect.0 == order).map(|effect| effect.1).collect();
        assert_eq!(of, (1..=VERSIONS).collect::<Vec<_>>(), "{order}");
    }
}

#[tokio::test]
async fn what_is_told_at_once_by_two_processes_takes_effect_once_and_in_order() {
    let bench = Bench::new().await;
    let order = bench.order();
    bench.say(&(1..=30).map(|version| bench.claimed(order, version)).collect::<Vec<_>>()).await;
    let carried = bench.carried().await;
    let (one, other) = (bench.listening(Fault::None), bench.listening(Fault::None));
    let (first, second) = tokio::join!(bench.tell(&one, &carried), bench.tell(&other, &carried[10..]));
    assert_eq!(first + second, 30);
    assert_eq!(bench.effects().await, (1..=30).map(|version| (order, version)).collect::<Vec<_>>());
}

#[tokio::test]
async fn an_event_that_is_nowhere_and_one_that_is_not_heard_are_told_in_vain() {
    let bench = Bench::new().await;
    let order_id = bench.order();
    let confirmed = NewEvent::new(EventId::mint(MS, bench.entropy.bytes()), 1, &OrderConfirmed { order_id });
    bench.say(&[confirmed]).await;
    let mut carried = bench.carried().await;
    carried.push(carried[0].clone());
    carried[1].event.event_id = EventId::mint(MS, bench.entropy.bytes());
    assert_eq!(bench.tell(&bench.listening(Fault::None), &carried).await, 0);
}

#[tokio::test]
async fn what_was_handled_is_not_parked_when_it_is_told_again() {
    let bench = Bench::new().await;
    let sick = bench.order();
    bench.say(&[1, 2, 3].map(|version| bench.claimed(sick, version))).await;
    let carried = bench.carried().await;
    assert_eq!(bench.tell(&bench.listening(Fault::None), &carried[..1]).await, 1);
    let failing = bench.listening(Fault::Rejects(sick));
    assert_eq!(bench.tell(&failing, &carried[1..2]).await, 0);
    let due = "SELECT count(*) FROM event_retries WHERE attempts = 1";
    assert_eq!(bench.count(due).await, 1);
    bench.tell(&failing, &carried[..2]).await;
    assert_eq!(bench.count(due).await, 1, "an attempt that only the telling made");
    bench.settle(Fault::Rejects(sick)).await.unwrap();
    let fates = async || bench.dead_letters().await.into_iter().map(|(n, parked, _)| (n, parked)).collect::<Vec<_>>();
    assert_eq!(fates().await, [(5, false), (0, true)], "the runner reads what was not told");
    bench.tell(&failing, &carried).await;
    bench.tell(&failing, &carried[..1]).await;
    bench.settle(Fault::Rejects(sick)).await.unwrap();
    assert_eq!(fates().await, [(5, false), (0, true)], "what was handled lies with the dead letters");
    let mut conn = bench.shard().read().await.unwrap();
    assert_eq!(replay(&mut conn, "scribe", sick).await.unwrap(), 2);
    bench.settle(Fault::None).await.unwrap();
    bench.tell(&bench.listening(Fault::None), &carried).await;
    assert_eq!(bench.effects().await, [(sick, 1), (sick, 2), (sick, 3)]);
}

#[tokio::test]
async fn what_another_bus_lost_is_read_from_the_outbox_once_it_is_old() {
    let bench = Bench::new().await;
    let order = bench.order();
    bench.say(&[1, 2, 3].map(|version| bench.claimed(order, version))).await;
    let carried = bench.carried().await;
    assert_eq!(bench.tell(&bench.listening(Fault::None), &carried[..1]).await, 1);
    let (committed, _commits) = mpsc::unbounded_channel();
    let scribe = Scribe::new(Fault::None, committed);
    let settings = Settings { grace: Duration::from_secs(60), ..Settings::default() };
    let runner = Runner::new(bench.shards.clone(), bench.wakes.clone(), vec![scribe], settings);
    assert_eq!(runner.settle().await.unwrap(), 0, "not left to the other bus");
    bench.count("WITH old AS (UPDATE outbox SET created_at = shard_now() - interval '2 minutes' RETURNING 1) SELECT count(*) FROM old").await;
    while bench.effects().await.len() < 3 {
        runner.settle().await.unwrap(); // transactions of other tests may hold events back
    }
    assert_eq!(bench.effects().await, [(order, 1), (order, 2), (order, 3)]);
}

#[tokio::test]
async fn one_process_relays_at_a_time_and_another_goes_on_where_it_died() {
    let bench = Bench::new().await;
    let order = bench.order();
    bench.say(&(1..=10).map(|version| bench.claimed(order, version)).collect::<Vec<_>>()).await;
    let (dying, heir) = (bench.relay(1, Duration::from_secs(3600)), bench.relay(2, Duration::from_secs(3600)));
    let batch = next(&dying).await.unwrap();
    assert_eq!(versions(&batch), (1..=7).collect::<Vec<_>>());
    assert!(matches!(heir.next().await.unwrap(), Shipment::Elsewhere), "two relay at once");
    bench
        .count(
            "WITH over AS (UPDATE relay_leases SET leased_until = shard_now() RETURNING 1) SELECT count(*) FROM over",
        )
        .await;
    assert_eq!(versions(&next(&heir).await.unwrap()), (1..=7).collect::<Vec<_>>(), "not all of it is carried again");
    assert!(!dying.passed(&batch).await.unwrap(), "one without the lease moved the cursor");
    assert!(heir.passed(&batch).await.unwrap());
    assert_eq!(versions(&next(&heir).await.unwrap()), [8, 9, 10]);
}

#[tokio::test]
async fn what_commits_late_is_carried_too() {
    let bench = Bench::new().await;
    let (early, late) = (bench.order(), bench.order());
    let mut slow = bench.shard().read().await.unwrap();
    sqlx::query("BEGIN").execute(&mut *slow).await.unwrap();
    append(&mut slow, &[bench.claimed(late, 1)]).await.unwrap();
    bench.say(&[bench.claimed(early, 1)]).await;
    let relay = bench.relay(1, Duration::from_secs(3600));
    for _ in 0..2 {
        assert!(matches!(relay.next().await.unwrap(), Shipment::Soon), "carried past a transaction that is still open");
    }
    sqlx::query("COMMIT").execute(&mut *slow).await.unwrap();
    assert_eq!(bench.carried().await.len(), 2);
}
