//! Drives payments on one shard: leases what is due, asks the provider about many at once, commits what came of it.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use futures::future::BoxFuture;
use futures::stream::FuturesUnordered;
use futures::{FutureExt, StreamExt};
use region_core_events::{Waiter, Wake, append};
use region_core_store::{Shard, StoreError, failpoint};
use sqlx::PgConnection;
use tokio::time::{Interval, MissedTickBehavior};
use tokio_util::sync::CancellationToken;

use crate::Settings;
use crate::events::Mint;
use crate::exchange::exchange;
use crate::provider::Provider;
use crate::rules::{self, Answer, Payment};
use crate::store::{self, Change};

/// How often the backlog is measured.
const MEASURE: Duration = Duration::from_secs(10);

type Exchanges = FuturesUnordered<BoxFuture<'static, (Payment, Answer)>>;

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
    /// Told when something may have become due.
    wake: Wake,
    /// To be told when something was said.
    events: Wake,
}

impl<P: Provider> Driver<P> {
    pub(crate) fn new(
        shard: Shard,
        provider: Arc<P>,
        mint: Mint,
        settings: Settings,
        wake: Wake,
        events: Wake,
    ) -> Self {
        let desk = Desk { shard, provider: provider.name(), mint, settings };
        Self { desk, provider, wake, events }
    }

    /// Runs until `shutdown`; the exchanges under way are finished and committed.
    pub(crate) async fn run(self, shutdown: CancellationToken) {
        let mut exchanges = Exchanges::new();
        let (mut waiter, mut poll) = (self.wake.waiter(), ticks(self.desk.settings.poll));
        let mut measure = ticks(MEASURE);
        let mut look = true;
        while !shutdown.is_cancelled() {
            if look {
                look = self.take(&mut exchanges).await;
            }
            tokio::select! {
                Some(first) = exchanges.next() => {
                    let results = ready(first, &mut exchanges);
                    self.settle(results, &mut exchanges, true).await;
                    look = true;
                }
                () = woken(&mut waiter) => look = true,
                _ = poll.tick() => look = true,
                _ = measure.tick() => self.measure().await,
                () = shutdown.cancelled() => {}
            }
        }
        while let Some(first) = exchanges.next().await {
            let results = ready(first, &mut exchanges);
            self.settle(results, &mut exchanges, false).await;
        }
    }

    /// Leases as many due payments as there is room for and starts their exchanges. True if more may be due already.
    async fn take(&self, exchanges: &mut Exchanges) -> bool {
        let room = self.desk.settings.concurrency.saturating_sub(exchanges.len());
        if room == 0 {
            return false; // looked for again when one is done
        }
        match lease(self.desk.clone(), room).await {
            Ok(leased) => {
                let full = leased.len() == room;
                leased.into_iter().for_each(|payment| self.start(payment, exchanges));
                full
            }
            Err(error) => {
                tracing::warn!(shard.id = %self.desk.shard.id(), %error, "payments wait for their shard");
                false
            }
        }
    }

    fn start(&self, payment: Payment, exchanges: &mut Exchanges) {
        let provider = Arc::clone(&self.provider);
        exchanges.push(
            async move {
                let answer = exchange(provider.as_ref(), &payment).await;
                (payment, answer)
            }
            .boxed(),
        );
    }

    /// Commits results, and goes on with those payments whose next call is due at once.
    async fn settle(&self, results: Vec<(Payment, Answer)>, exchanges: &mut Exchanges, go_on: bool) {
        match commit(self.desk.clone(), results, go_on).await {
            Ok(Committed { next, said }) => {
                if said {
                    self.events.notify();
                }
                next.into_iter().for_each(|payment| self.start(payment, exchanges));
            }
            // The leases run out; then the provider is read before anything is repeated.
            Err(error) => {
                tracing::warn!(shard.id = %self.desk.shard.id(), %error, "results of the provider were not kept");
            }
        }
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
                metrics::gauge!("payment_backlog", "shard" => shard.clone()).set(count);
                metrics::gauge!("payment_oldest_seconds", "shard" => shard).set(oldest);
            }
            Err(error) => tracing::debug!(%error, "the payment backlog was not measured"),
        }
    }
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

/// The first result and all others that are there already.
fn ready(first: (Payment, Answer), exchanges: &mut Exchanges) -> Vec<(Payment, Answer)> {
    let mut results = vec![first];
    while let Some(Some(result)) = exchanges.next().now_or_never() {
        results.push(result);
    }
    results
}

// Owned values all the way: a transaction's closure that captures a reference makes a future that cannot be spawned.

async fn lease(desk: Desk, room: usize) -> Result<Vec<Payment>, StoreError> {
    let shard = desk.shard.clone();
    shard.write("payment.lease", async move |conn| desk.lease(conn, room).await).await
}

/// What a commit led to.
struct Committed {
    /// Payments that are still leased and due.
    next: Vec<Payment>,
    /// Whether an event was written.
    said: bool,
}

async fn commit(desk: Desk, results: Vec<(Payment, Answer)>, go_on: bool) -> Result<Committed, StoreError> {
    let shard = desk.shard.clone();
    failpoint("payment.settle.before").await?;
    let committed = shard.write("payment.settle", async move |conn| desk.settle(conn, &results, go_on).await).await?;
    failpoint("payment.settle.after").await?;
    Ok(committed)
}

impl Desk {
    async fn lease(&self, conn: &mut PgConnection, room: usize) -> Result<Vec<Payment>, StoreError> {
        let limit = i64::try_from(room).unwrap_or(i64::MAX);
        store::lease(conn, self.provider, limit, self.settings.lease).await
    }

    async fn settle(
        &self,
        conn: &mut PgConnection,
        results: &[(Payment, Answer)],
        go_on: bool,
    ) -> Result<Committed, StoreError> {
        let ids: Vec<_> = results.iter().map(|(payment, _)| payment.payment_id).collect();
        let answers: HashMap<_, _> =
            results.iter().map(|(asked, answer)| (asked.payment_id, (asked, answer))).collect();
        let (mut changes, mut said) = (Vec::new(), Vec::new());
        for payment in store::lock(conn, &ids).await? {
            let Some((asked, answer)) = answers.get(&payment.payment_id) else { continue };
            // The order's events or another lease came in between: this answer is to a question that no longer stands.
            if (payment.state, payment.attempts) != (asked.state, asked.attempts) {
                continue;
            }
            let rules::Settled { payment: mut after, said: says, progress } = rules::settle(&payment, answer);
            said.extend(says.map(|says| self.mint.say(&mut after, says)));
            changes.push(self.change(after, progress, go_on));
        }
        store::update(conn, &changes, self.settings.lease).await?;
        append(conn, &said).await?;
        let next = changes.into_iter().filter(|change| change.leased).map(|change| change.payment).collect();
        Ok(Committed { next, said: !said.is_empty() })
    }

    fn change(&self, mut payment: Payment, progress: bool, go_on: bool) -> Change {
        if !progress {
            let pause = rules::pause(payment.attempts, self.settings.first_pause, self.settings.longest_pause);
            tracing::warn!(
                payment.id = %payment.payment_id, payment.state = payment.state.name(), payment.attempts,
                error = payment.last_error, "the provider gave no answer to go on with; it is asked again"
            );
            return Change { payment, pause, leased: false };
        }
        let leased = go_on && payment.call().is_some();
        if leased {
            payment.attempts = 1;
        }
        Change { payment, pause: Duration::ZERO, leased }
    }
}
