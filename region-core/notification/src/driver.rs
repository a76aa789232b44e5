//! Sends what is due on one shard by one way: leases it, writes and sends several letters at once, commits what came of them.

use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::time::Duration;

use futures::future::BoxFuture;
use futures::stream::FuturesUnordered;
use futures::{FutureExt, StreamExt};
use region_core_events::{Waiter, Wake};
use region_core_store::{Shard, StoreError};
use shared::EventId;
use tokio::time::{Interval, MissedTickBehavior};
use tokio_util::sync::CancellationToken;

use crate::letter::letter;
use crate::rules::{self, Channel, Outcome, State};
use crate::store::{self, Change, Leased};
use crate::way::{Told, Way};
use crate::{OrderBook, Settings, Shop, Smtp};

/// How often it is measured what is due.
const MEASURE: Duration = Duration::from_secs(10);
/// What a lease must outlast beside the exchange: reading the order, and keeping the result at the second try.
#[cfg(test)]
pub(crate) const BESIDES: Duration = Duration::from_secs(30);

/// Who tells, of what, and by which ways.
pub(crate) struct Post {
    pub(crate) book: Arc<dyn OrderBook>,
    pub(crate) shop: Shop,
    pub(crate) smtp: Arc<Smtp>,
    pub(crate) ways: Vec<Arc<dyn Way>>,
}

type Attempts = FuturesUnordered<BoxFuture<'static, (Leased, Outcome)>>;

/// The driver of one shard and way. Any number of processes may run one: leases keep them apart.
pub(crate) struct Driver {
    shard: Shard,
    way: Arc<dyn Way>,
    post: Arc<Post>,
    settings: Settings,
    wake: Wake,
    under_way: Attempts,
    /// What attempts came to that is not committed yet.
    results: Vec<(Leased, Outcome)>,
}

impl Driver {
    pub(crate) fn new(shard: Shard, way: Arc<dyn Way>, post: Arc<Post>, settings: Settings, wake: Wake) -> Self {
        Self { shard, way, post, settings, wake, under_way: Attempts::new(), results: Vec::new() }
    }

    /// Runs until `shutdown`; mails under way are finished and what came of them is kept.
    pub(crate) async fn run(mut self, shutdown: CancellationToken) {
        let (mut waiter, mut poll) = (self.wake.waiter(), ticks(self.settings.poll));
        let mut measure = ticks(MEASURE);
        while !shutdown.is_cancelled() {
            tokio::select! {
                Some(result) = self.under_way.next() => self.ended(result).await,
                () = woken(&mut waiter) => self.go_on().await,
                _ = poll.tick() => self.go_on().await,
                _ = measure.tick() => measure_due(self.shard.clone(), self.way.channel()).await,
                () = shutdown.cancelled() => {}
            }
        }
        while let Some(result) = self.under_way.next().await {
            self.results.push(result);
        }
        self.settle().await;
    }

    /// Takes along what else has ended meanwhile: one commit for all.
    async fn ended(&mut self, result: (Leased, Outcome)) {
        self.results.push(result);
        while let Some(Some(result)) = self.under_way.next().now_or_never() {
            self.results.push(result);
        }
        self.go_on().await;
    }

    /// Keeps what there is to keep, and takes what is due.
    async fn go_on(&mut self) {
        self.settle().await;
        let room = self.settings.concurrency.saturating_sub(self.under_way.len() + self.results.len());
        if room == 0 {
            return; // looked for again when a mail has ended
        }
        match lease(self.shard.clone(), self.way.channel(), room, self.settings.lease).await {
            Ok(leased) => leased.into_iter().for_each(|leased| self.start(leased)),
            Err(error) => tracing::warn!(shard.id = %self.shard.id(), %error, "news waits for its shard"),
        }
    }

    fn start(&self, leased: Leased) {
        let (post, way, settings) = (Arc::clone(&self.post), Arc::clone(&self.way), self.settings.clone());
        self.under_way.push(
            async move {
                // A letter that brings out a bug must not keep the others from being sent.
                let attempt = AssertUnwindSafe(post.attempt(&*way, &leased, &settings)).catch_unwind();
                let outcome = attempt.await.unwrap_or_else(|_| Outcome::Deferred("writing it panicked".to_owned()));
                (leased, outcome)
            }
            .boxed(),
        );
    }

    /// Commits results. Those that could not be kept wait for the next time, while their leases last.
    async fn settle(&mut self) {
        if self.results.is_empty() {
            return;
        }
        let changes: Vec<_> = self.results.iter().map(|(leased, outcome)| self.change(leased, outcome)).collect();
        match commit(self.shard.clone(), self.way.channel(), changes.clone()).await {
            Ok(kept) => {
                let results = std::mem::take(&mut self.results).into_iter().zip(changes);
                for ((leased, _), change) in results.filter(|(_, change)| kept.contains(&change.event_id)) {
                    tell(self.way.channel(), &leased, change.settled.state);
                }
            }
            Err(error) => {
                tracing::warn!(shard.id = %self.shard.id(), %error, "what became of news is not kept yet");
            }
        }
    }

    fn change(&self, leased: &Leased, outcome: &Outcome) -> Change {
        let settled = rules::settle(leased.attempts, outcome.clone(), &self.settings.patience);
        Change { event_id: leased.event_id, attempts: leased.attempts, settled }
    }
}

impl Post {
    /// Whether there is such a way.
    pub(crate) fn by(&self, channel: Channel) -> bool {
        self.ways.iter().any(|way| way.channel() == channel)
    }

    /// One attempt: the letter is written from the order as it stands now, and sent.
    async fn attempt(&self, way: &dyn Way, leased: &Leased, settings: &Settings) -> Outcome {
        if leased.bounced_before {
            return Outcome::Bounced("earlier news of this order came back from there".to_owned());
        }
        if leased.attempts > settings.patience.most_attempts {
            return Outcome::Deferred("the last attempts ended without a result".to_owned());
        }
        let order = match self.book.find(leased.order_id).await {
            Ok(Some(order)) => order,
            Ok(None) => return Outcome::Refused("there is no such order".to_owned()),
            Err(error) => return Outcome::Deferred(format!("the order was not read: {error}")),
        };
        let letter = match letter(&self.shop, leased.template, &leased.payload, &order) {
            Ok(letter) => letter,
            Err(error) => return Outcome::Refused(format!("the event says too little: {error}")),
        };
        let told = way.tell(Told { leased, order: &order, letter });
        let took_too_long = || Outcome::Deferred("it took too long".to_owned());
        tokio::time::timeout(settings.exchange, told).await.unwrap_or_else(|_| took_too_long())
    }
}

/// Counts it, and logs what an operator should know: never the address, nor the server's words, which may repeat it. Those
/// stand in the row.
fn tell(channel: Channel, leased: &Leased, state: State) {
    let count = |what: &str| {
        let name = format!("{}_{what}_total", channel.messages());
        metrics::counter!(name, "template" => leased.template.name()).increment(1);
    };
    let (channel, Leased { event_id, order_id, attempts, .. }) = (channel.name(), leased);
    match state {
        State::Sent => count("sent"),
        State::Bounced => {
            count("bounced");
            tracing::info!(channel, event.id = %event_id, order.id = %order_id, "news came back: nobody reads it there");
        }
        State::Unwanted => count("unwanted"),
        State::Failed => {
            count("failed");
            tracing::error!(channel, event.id = %event_id, order.id = %order_id, attempts, "news was given up; its row says why");
        }
        State::ToSend => {
            count("deferred");
            tracing::debug!(channel, event.id = %event_id, order.id = %order_id, attempts, "news is tried again later");
        }
    }
}

async fn measure_due(shard: Shard, channel: Channel) {
    let measured = async { store::oldest_due(&mut *shard.read().await?, channel).await };
    match measured.await {
        Ok(seconds) => {
            let name = format!("{}_oldest_due_seconds", channel.messages());
            metrics::gauge!(name, "shard" => shard.id().to_string()).set(seconds);
        }
        Err(error) => tracing::debug!(%error, "it was not measured which news is due"),
    }
}

pub(crate) fn ticks(every: Duration) -> Interval {
    let mut ticks = tokio::time::interval(every);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    ticks
}

/// The poll is another branch: here only a wake counts.
async fn woken(waiter: &mut Waiter) {
    waiter.wait(Duration::from_secs(3600)).await;
}

// Owned values all the way: a transaction's closure that captures a reference makes a future that cannot be spawned.

async fn lease(shard: Shard, channel: Channel, room: usize, lease: Duration) -> Result<Vec<Leased>, StoreError> {
    let limit = i64::try_from(room).unwrap_or(i64::MAX);
    shard.write("notification.lease", async move |conn| store::lease(conn, channel, limit, lease).await).await
}

async fn commit(shard: Shard, channel: Channel, changes: Vec<Change>) -> Result<Vec<EventId>, StoreError> {
    shard.write("notification.settle", async move |conn| store::settle(conn, channel, &changes).await).await
}
