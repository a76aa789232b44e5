//! Drives payments on one shard: takes those handed over and leases what else is due, asks the provider about many at once,
//! commits what came of it.

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use futures::future::BoxFuture;
use futures::stream::FuturesUnordered;
use futures::{FutureExt, StreamExt};
use region_core_events::contract::Assessment;
use region_core_events::{Waiter, Wake, append};
use region_core_store::{Shard, StoreError};
use sqlx::PgConnection;
use time::OffsetDateTime;
use tokio::sync::{OwnedSemaphorePermit, mpsc};
use tokio::time::{Instant, Interval, MissedTickBehavior};
use tokio_util::sync::CancellationToken;

use crate::Settings;
use crate::events::Mint;
use crate::exchange::exchange;
use crate::handover::{Handover, Leased, Places};
use crate::provider::Provider;
use crate::risk::Judge;
use crate::rules::{self, Answer, Payment, Said, State};
use crate::store::{self, Change, Lot};

/// How often the backlog is measured.
const MEASURE: Duration = Duration::from_secs(10);
/// How many times as long as it took to keep results the next ones are gathered, and at most how long: the busier the
/// machine, the fewer commits. While payments wait for their turn they gain by fewer commits; else each waits for this one.
const REST: f64 = 0.5;
const BUSY_REST: f64 = 2.0;
const LONGEST_REST: Duration = Duration::from_millis(40);

/// How often at least it is looked for due payments from the oldest on.
const FROM_THE_OLDEST: Duration = Duration::from_millis(100);

/// Places for each exchange that may be under way: payments whose turn comes soon, and those whose results are not kept yet,
/// need not be found in their table once more.
const PLACES: usize = 8;
/// How long a payment waits for its exchange at most. Then it is left to its lease, which must outlast the exchange as well.
pub(crate) const LONGEST_WAIT: Duration = Duration::from_secs(4);

/// What an exchange came to.
#[derive(Debug)]
struct Outcome {
    answer: Answer,
    /// How the order was judged, if its amount is kept ready now.
    assessment: Option<Assessment>,
}

type Exchanges = FuturesUnordered<BoxFuture<'static, (Leased, Outcome)>>;

/// What a driver needs to write.
#[derive(Clone)]
struct Desk {
    shard: Shard,
    provider: &'static str,
    mint: Mint,
    settings: Settings,
}

/// The driver of one shard. Any number of processes may run one: leases keep them apart.
pub(crate) struct Driver<P> {
    desk: Desk,
    provider: Arc<P>,
    judge: Option<Judge>,
    /// Where the shop's pages are.
    shop: Option<Arc<str>>,
    handover: Handover,
    /// Told when something may have become due.
    wake: Wake,
    /// To be told when something was said.
    events: Wake,
}

/// The driver at work.
struct Shift<P> {
    driver: Driver<P>,
    places: Places,
    handed: mpsc::Receiver<Leased>,
    exchanges: Exchanges,
    /// Leased payments that wait for an exchange to end, the first first, and since when.
    waiting: VecDeque<(Leased, Instant)>,
    /// What the provider has said and is not kept yet.
    results: Vec<(Leased, Outcome)>,
    /// When results are kept again.
    gathered_at: Instant,
    /// Whether payments may be due that nobody took.
    owing: bool,
    /// How far the last look came that left some behind.
    came_to: Option<OffsetDateTime>,
    /// When it was last looked from the oldest on.
    looked_at: Instant,
}

impl<P: Provider> Driver<P> {
    pub(crate) fn new(
        shard: Shard,
        provider: Arc<P>,
        mint: Mint,
        settings: Settings,
        handover: Handover,
        wake: Wake,
        events: Wake,
    ) -> Self {
        let desk = Desk { shard, provider: provider.name(), mint, settings };
        Self { desk, provider, judge: None, shop: None, handover, wake, events }
    }

    /// The same, judging orders.
    pub(crate) fn judged_by(self, judge: Option<Judge>) -> Self {
        Self { judge, ..self }
    }

    /// The same, of a shop whose pages are there.
    pub(crate) fn returning_to(self, shop: Option<Arc<str>>) -> Self {
        Self { shop, ..self }
    }

    /// Runs until `shutdown`; the exchanges under way are finished and committed.
    pub(crate) async fn run(self, shutdown: CancellationToken) {
        let shift = Shift::of(self);
        shift.driver.handover.open(shift.places.clone());
        shift.run(shutdown).await;
    }

    async fn measure(&self) {
        let shard = self.desk.shard.id().to_string();
        let measured = async {
            let mut conn = self.desk.shard.read().await?;
            store::backlog(&mut conn, self.desk.provider).await
        };
        match measured.await {
            Ok((count, oldest)) => {
                let count = i32::try_from(count).map_or(f64::MAX, f64::from);
                let provider = self.desk.provider;
                metrics::gauge!("payment_backlog", "shard" => shard.clone(), "provider" => provider).set(count);
                metrics::gauge!("payment_oldest_seconds", "shard" => shard, "provider" => provider).set(oldest);
            }
            Err(error) => tracing::debug!(%error, "the payment backlog was not measured"),
        }
    }
}

impl<P: Provider> Shift<P> {
    fn of(driver: Driver<P>) -> Self {
        let (places, handed) = Places::open(PLACES * driver.desk.settings.concurrency);
        Self {
            driver,
            places,
            handed,
            exchanges: Exchanges::new(),
            waiting: VecDeque::new(),
            results: Vec::new(),
            gathered_at: Instant::now(),
            owing: true,
            came_to: None,
            looked_at: Instant::now(),
        }
    }

    async fn run(mut self, shutdown: CancellationToken) {
        let (mut waiter, mut poll) = (self.driver.wake.waiter(), ticks(self.driver.desk.settings.poll));
        let mut measure = ticks(MEASURE);
        while !shutdown.is_cancelled() {
            tokio::select! {
                Some(leased) = self.handed.recv() => self.start(leased),
                Some(result) = self.exchanges.next() => self.ended(result),
                () = tokio::time::sleep_until(self.gathered_at), if !self.results.is_empty() => {
                    self.settle(true).await;
                    self.take_owing().await;
                }
                () = woken(&mut waiter) => self.take().await,
                _ = poll.tick() => self.take().await,
                _ = measure.tick() => self.driver.measure().await,
                () = shutdown.cancelled() => {}
            }
        }
        self.finish().await;
    }

    /// Takes nothing new, and finishes what is under way.
    async fn finish(mut self) {
        self.driver.handover.close();
        self.handed.close();
        while let Some(leased) = self.handed.recv().await {
            self.start(leased);
        }
        while let Some(result) = self.exchanges.next().await {
            self.ended(result);
            while let Some(Some(result)) = self.exchanges.next().now_or_never() {
                self.ended(result);
            }
            self.settle(false).await;
        }
        if !self.results.is_empty() {
            self.settle(false).await;
        }
    }

    async fn take_owing(&mut self) {
        if self.owing {
            self.take().await;
        }
    }

    /// Leases due payments, as many as there are free places but no more than can be asked about at a time.
    ///
    /// While more are due than there are places, the oldest are those under way, and each look would pass over all of them: so it
    /// goes on where the last one came to, and from the oldest on, for what is due again, now and then and when little is left.
    async fn take(&mut self) {
        let mut places = self.places.take(self.driver.desk.settings.concurrency);
        self.owing = places.is_empty(); // looked for again when one is free
        if self.owing {
            return;
        }
        if let Err(error) = self.fill(&mut places).await {
            tracing::warn!(shard.id = %self.driver.desk.shard.id(), %error, "payments wait for their shard");
        }
    }

    async fn fill(&mut self, places: &mut Vec<OwnedSemaphorePermit>) -> Result<(), StoreError> {
        let from = self.came_to.filter(|_| self.looked_at.elapsed() < FROM_THE_OLDEST);
        if from.is_some() {
            self.look(places, from).await?;
        }
        if places.is_empty() { Ok(()) } else { self.look(places, None).await }
    }

    /// Leases what is due for these places: what was written since `from`, or from the oldest on.
    async fn look(
        &mut self,
        places: &mut Vec<OwnedSemaphorePermit>,
        from: Option<OffsetDateTime>,
    ) -> Result<(), StoreError> {
        if from.is_none() {
            self.looked_at = Instant::now();
        }
        let Lot { payments, up_to } = lease(self.driver.desk.clone(), places.len(), from).await?;
        self.owing = payments.len() == places.len();
        self.came_to = up_to.filter(|_| self.owing);
        for payment in payments {
            let Some(place) = places.pop() else { break };
            self.start(Leased { payment, place });
        }
        Ok(())
    }

    /// Asks the provider about the payment, now or when its turn comes.
    fn start(&mut self, leased: Leased) {
        if self.exchanges.len() < self.driver.desk.settings.concurrency {
            self.ask(leased);
        } else {
            self.waiting.push_back((leased, Instant::now()));
        }
    }

    /// Keeps the result for the next commit, and asks about the next payment that waits.
    fn ended(&mut self, result: (Leased, Outcome)) {
        self.results.push(result);
        while let Some((leased, since)) = self.waiting.pop_front() {
            if since.elapsed() < LONGEST_WAIT {
                return self.ask(leased);
            }
        }
    }

    fn ask(&self, leased: Leased) {
        let (provider, judge) = (Arc::clone(&self.driver.provider), self.driver.judge.clone());
        let shop = self.driver.shop.clone();
        self.exchanges.push(
            async move {
                let answer = exchange(provider.as_ref(), &leased.payment, shop.as_deref()).await;
                let assessment = assess(judge.as_ref(), &leased.payment, &answer).await;
                (leased, Outcome { answer, assessment })
            }
            .boxed(),
        );
    }

    /// Commits results, and goes on with those payments whose next call is due at once.
    async fn settle(&mut self, go_on: bool) {
        let began = Instant::now();
        let (mut places, mut results) = (HashMap::new(), Vec::with_capacity(self.results.len()));
        for (Leased { payment, place }, outcome) in self.results.drain(..) {
            places.insert(payment.payment_id, place);
            results.push((payment, outcome));
        }
        match commit(self.driver.desk.clone(), results, go_on).await {
            Ok(Committed { next, said }) => {
                if said {
                    self.driver.events.notify();
                }
                for payment in next {
                    let Some(place) = places.remove(&payment.payment_id) else { continue };
                    self.start(Leased { payment, place });
                }
            }
            // The leases run out; then the provider is read before anything is repeated.
            Err(error) => {
                let shard = self.driver.desk.shard.id();
                tracing::warn!(shard.id = %shard, %error, "results of the provider were not kept");
            }
        }
        let rest = if self.waiting.is_empty() && !self.owing { REST } else { BUSY_REST };
        self.gathered_at = Instant::now() + began.elapsed().mul_f64(rest).min(LONGEST_REST);
    }
}

/// How the order is judged, if it is and its amount is kept ready from now on. No connection is held here.
async fn assess(judge: Option<&Judge>, payment: &Payment, answer: &Answer) -> Option<Assessment> {
    let (judge, facts, Answer::Shown(shown)) = (judge?, payment.facts.as_deref()?, answer) else { return None };
    let kept_ready = rules::settle(payment, answer).said == Some(Said::Authorized);
    if kept_ready { Some(judge.assess(payment, facts, shown.card.as_ref()).await) } else { None }
}

fn ticks(every: Duration) -> Interval {
    let mut ticks = tokio::time::interval(every);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    ticks
}

/// The poll is another branch: here only a wake counts.
async fn woken(waiter: &mut Waiter) {
    waiter.wait(Duration::from_secs(3600)).await;
}

// Owned values all the way: a transaction's closure that captures a reference makes a future that cannot be spawned.

async fn lease(desk: Desk, room: usize, from: Option<OffsetDateTime>) -> Result<Lot, StoreError> {
    let shard = desk.shard.clone();
    shard.write("payment.lease", async move |conn| desk.lease(conn, room, from).await).await
}

/// What a commit led to.
struct Committed {
    /// Payments that are still leased and due.
    next: Vec<Payment>,
    /// Whether an event was written.
    said: bool,
}

async fn commit(desk: Desk, results: Vec<(Payment, Outcome)>, go_on: bool) -> Result<Committed, StoreError> {
    let shard = desk.shard.clone();
    shard.write("payment.settle", async move |conn| desk.settle(conn, &results, go_on).await).await
}

impl Desk {
    async fn lease(
        &self,
        conn: &mut PgConnection,
        room: usize,
        from: Option<OffsetDateTime>,
    ) -> Result<Lot, StoreError> {
        let limit = i64::try_from(room).unwrap_or(i64::MAX);
        store::lease(conn, self.provider, limit, self.settings.lease, from).await
    }

    async fn settle(
        &self,
        conn: &mut PgConnection,
        results: &[(Payment, Outcome)],
        go_on: bool,
    ) -> Result<Committed, StoreError> {
        let ids: Vec<_> = results.iter().map(|(payment, _)| payment.payment_id).collect();
        // By what was asked: the order's events or another lease may have come in between, and then the answer is to a
        // question that no longer stands. A payment that comes to be voided once more has said something in between.
        let asked = |payment: &Payment| (payment.payment_id, payment.state, payment.attempts, payment.version);
        let outcomes: HashMap<_, _> = results.iter().map(|(payment, outcome)| (asked(payment), outcome)).collect();
        let (mut changes, mut said) = (Vec::new(), Vec::new());
        for payment in store::lock(conn, &ids).await? {
            let Some(Outcome { answer, assessment }) = outcomes.get(&asked(&payment)) else { continue };
            let rules::Settled { payment: mut after, said: says, progress } = rules::settle(&payment, answer);
            said.extend(says.map(|says| self.mint.say_judged(&mut after, says, assessment.clone())));
            changes.push(self.change(after, progress, go_on));
        }
        store::update(conn, &changes, self.settings.lease).await?;
        append(conn, &said).await?;
        let next = changes.into_iter().filter(|change| change.leased).map(|change| change.payment).collect();
        Ok(Committed { next, said: !said.is_empty() })
    }

    fn change(&self, mut payment: Payment, progress: bool, go_on: bool) -> Change {
        if payment.state == State::ChallengeRequired {
            // The shopper takes his time; the longer, the less likely he comes back.
            let pause = rules::pause(payment.attempts, self.settings.look, 4 * self.settings.look);
            return Change { pause, ..Change::now(payment) };
        }
        if !progress {
            let pause = rules::pause(payment.attempts, self.settings.first_pause, self.settings.longest_pause);
            tracing::warn!(
                payment.id = %payment.payment_id, payment.state = payment.state.name(), payment.attempts,
                error = payment.last_error, "the provider gave no answer to go on with; it is asked again"
            );
            return Change { pause, ..Change::now(payment) };
        }
        let leased = go_on && payment.call().is_some();
        if leased {
            payment.attempts = 1;
        }
        Change { leased, ..Change::now(payment) }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use region_core_events::Wakes;
    use region_core_store::test_support::one_shard;
    use shared::PaymentId;
    use shared_clock::{Clock, Entropy};
    use uuid::Uuid;

    use super::*;
    use crate::Sandbox;
    use crate::store::tests::{a_payment, another};

    /// At work on the shard for the provider `bank`, one exchange at a time. Nobody is asked: no exchange is waited for.
    fn shift(shard: Shard) -> Shift<Sandbox> {
        let wake = Wakes::new([shard.id()]).of(shard.id());
        let mint = Mint { clock: Clock::system(), entropy: Entropy::seeded(7) };
        let settings = Settings { concurrency: 1, ..Settings::default() };
        let bank = Arc::new(Sandbox::new("http://127.0.0.1:9").unwrap());
        let mut driver = Driver::new(shard, bank, mint, settings, Handover::default(), wake.clone(), wake);
        driver.desk.provider = "bank";
        Shift::of(driver)
    }

    /// What a look takes that nobody had: soon after one from the oldest on, whatever time the statements take, or not.
    async fn taken(
        shift: &mut Shift<Sandbox>,
        soon: bool,
        conn: &mut PgConnection,
        before: &mut BTreeSet<Uuid>,
    ) -> Vec<PaymentId> {
        let now = Instant::now();
        shift.looked_at = if soon { now + Duration::from_secs(3_600) } else { now - FROM_THE_OLDEST };
        shift.take().await;
        let leased = "SELECT payment_id FROM payments WHERE leased_until > shard_now()";
        let leased: Vec<Uuid> = sqlx::query_scalar(leased).fetch_all(conn).await.unwrap();
        leased.into_iter().filter(|payment| before.insert(*payment)).map(PaymentId::from_uuid).collect()
    }

    #[tokio::test]
    async fn in_a_backlog_each_look_goes_on_and_what_it_passed_is_found_when_little_is_left_or_after_a_while() {
        let shards = one_shard().await;
        let shard = shards.all().next().unwrap();
        let mut conn = shard.read().await.unwrap();
        let fourth = a_payment(&mut conn).await;
        let (first, second, third) =
            (another(&mut conn, 2, 9).await, another(&mut conn, 3, 5).await, another(&mut conn, 4, 3).await);
        let (mut shift, mut seen) = (shift(shard.clone()), BTreeSet::new());
        assert_eq!(taken(&mut shift, true, &mut conn, &mut seen).await, [first]);
        let older = another(&mut conn, 5, 20).await;
        assert_eq!(taken(&mut shift, true, &mut conn, &mut seen).await, [second], "a look goes on");
        assert_eq!(taken(&mut shift, false, &mut conn, &mut seen).await, [older], "or begins with the oldest");
        assert_eq!(taken(&mut shift, true, &mut conn, &mut seen).await, [third]);
        let oldest = another(&mut conn, 6, 30).await;
        assert_eq!(taken(&mut shift, true, &mut conn, &mut seen).await, [fourth]);
        assert_eq!(taken(&mut shift, true, &mut conn, &mut seen).await, [oldest], "once nothing is left from there on");
        assert!(shift.owing, "more may be due");
        assert!(taken(&mut shift, true, &mut conn, &mut seen).await.is_empty());
        assert!(!shift.owing && shift.came_to.is_none());
    }
}
