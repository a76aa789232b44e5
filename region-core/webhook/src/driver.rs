//! Sends what is due on one shard: leases it, sends several at once, commits what came of them.
//!
//! Each endpoint has so many attempts under way and no more, and there are so many endpoints: one that hangs holds up itself.

use std::collections::BTreeMap;
use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::time::Duration;

use futures::future::BoxFuture;
use futures::stream::FuturesUnordered;
use futures::{FutureExt as _, StreamExt as _};
use region_core_control::webhooks::{KeptEndpoint, Report, report};
use region_core_events::{Waiter, Wake};
use region_core_store::{Shard, StoreError};
use shared::api::webhook::DeliveryState;
use shared::{EndpointId, EventId};
use shared_clock::{Clock, Entropy};
use tokio::time::{Instant, Interval, MissedTickBehavior};
use tokio_util::sync::CancellationToken;

use crate::client::{Http, Post};
use crate::endpoints::Endpoints;
use crate::rules::{self, Health, Outcome};
use crate::signature::sign;
use crate::store::{self, Change, Leased};
use crate::{DisabledFn, Settings};

/// How often it is measured what is due, told how endpoints do, and forgotten what is old.
const CHORES: Duration = Duration::from_secs(10);
/// Most deliveries forgotten at a time.
const PRUNED_AT_ONCE: i64 = 1000;
/// What a lease must outlast beside the exchange: keeping the result at the second try.
#[cfg(test)]
pub(crate) const BESIDES: Duration = Duration::from_secs(30);

/// Who is told, and how.
pub(crate) struct Office {
    pub(crate) endpoints: Endpoints,
    pub(crate) http: Http,
    pub(crate) disabled: DisabledFn,
    pub(crate) clock: Clock,
    pub(crate) entropy: Entropy,
}

/// An attempt that has ended.
struct Ended {
    leased: Leased,
    url: String,
    outcome: Outcome,
    jitter: u32,
}

type Attempts = FuturesUnordered<BoxFuture<'static, Ended>>;

/// How an endpoint did since that was last told, and at which URL.
type News = BTreeMap<EndpointId, (Health, String)>;

/// The driver of one shard. Any number of processes may run one: leases keep them apart.
pub(crate) struct Driver {
    shard: Shard,
    office: Arc<Office>,
    settings: Settings,
    wake: Wake,
    under_way: Attempts,
    /// How many of them are under way to each endpoint, or not committed yet.
    busy: BTreeMap<EndpointId, usize>,
    /// What attempts came to that is not committed yet.
    results: Vec<Ended>,
    news: News,
}

impl Driver {
    pub(crate) fn new(shard: Shard, office: Arc<Office>, settings: Settings, wake: Wake) -> Self {
        let (under_way, busy, results, news) = (Attempts::new(), BTreeMap::new(), Vec::new(), News::new());
        Self { shard, office, settings, wake, under_way, busy, results, news }
    }

    /// Runs until `shutdown`; attempts under way are finished and what came of them is kept.
    pub(crate) async fn run(mut self, shutdown: CancellationToken) {
        let (mut waiter, mut poll) = (self.wake.waiter(), ticks(self.settings.poll));
        let mut chores = ticks(CHORES);
        while !shutdown.is_cancelled() {
            tokio::select! {
                Some(ended) = self.under_way.next() => self.ended(ended).await,
                () = woken(&mut waiter) => self.go_on().await,
                _ = poll.tick() => self.go_on().await,
                _ = chores.tick() => self.chores().await,
                () = shutdown.cancelled() => {}
            }
        }
        while let Some(ended) = self.under_way.next().await {
            self.results.push(ended);
        }
        self.settle().await;
        self.tell_health().await;
    }

    /// Takes along what else has ended meanwhile: one commit for all.
    async fn ended(&mut self, ended: Ended) {
        self.results.push(ended);
        while let Some(Some(ended)) = self.under_way.next().now_or_never() {
            self.results.push(ended);
        }
        self.go_on().await;
    }

    /// Keeps what there is to keep, and takes what is due.
    async fn go_on(&mut self) {
        self.settle().await;
        let rooms = self.rooms();
        if rooms.is_empty() {
            return; // looked for again when an attempt has ended
        }
        match lease(self.shard.clone(), rooms, self.settings.lease).await {
            Ok(leased) => leased.into_iter().for_each(|leased| self.start(leased)),
            Err(error) => tracing::warn!(shard.id = %self.shard.id(), %error, "webhooks wait for their shard"),
        }
    }

    /// The endpoints that may be sent something, and how much.
    fn rooms(&self) -> Vec<(EndpointId, i64)> {
        let room = |endpoint: &Arc<KeptEndpoint>| {
            let id = endpoint.shown.endpoint_id;
            // What has said that it is gone is left alone, whether that is told already or not.
            let gone = matches!(self.news.get(&id), Some((Health::Gone, url)) if *url == endpoint.shown.url);
            let room = self.settings.concurrency.saturating_sub(self.busy.get(&id).copied().unwrap_or_default());
            (rules::is_open(endpoint) && !gone && room > 0).then(|| (id, i64::try_from(room).unwrap_or(i64::MAX)))
        };
        self.office.endpoints.known().iter().filter_map(room).collect()
    }

    fn start(&mut self, leased: Leased) {
        *self.busy.entry(leased.endpoint_id).or_default() += 1;
        let (office, settings, jitter) =
            (Arc::clone(&self.office), self.settings.clone(), self.office.entropy.below(1001));
        self.under_way.push(
            async move {
                let endpoint = office.endpoints.find(leased.endpoint_id);
                let url = endpoint.as_ref().map(|endpoint| endpoint.shown.url.clone()).unwrap_or_default();
                // One that brings out a bug must not keep the others from being sent.
                let attempt = AssertUnwindSafe(office.attempt(&leased, endpoint.as_deref(), &settings)).catch_unwind();
                let outcome = attempt.await.unwrap_or_else(|_| Outcome::Lost("sending it panicked".to_owned()));
                Ended { leased, url, outcome, jitter }
            }
            .boxed(),
        );
    }

    /// Commits results. Those that could not be kept wait for the next time, while their leases last.
    async fn settle(&mut self) {
        if self.results.is_empty() {
            return;
        }
        let changes: Vec<_> = self.results.iter().map(|ended| self.change(ended)).collect();
        match commit(self.shard.clone(), changes.clone()).await {
            Ok(kept) => {
                for (ended, change) in std::mem::take(&mut self.results).into_iter().zip(changes) {
                    if kept.contains(&(change.endpoint_id, change.event_id)) {
                        tell(&ended.leased, change.settled.state);
                    }
                    self.done(ended);
                }
            }
            Err(error) => {
                tracing::warn!(shard.id = %self.shard.id(), %error, "what became of webhooks is not kept yet");
            }
        }
    }

    fn change(&self, ended: &Ended) -> Change {
        let Leased { endpoint_id, event_id, attempts, tries, .. } = ended.leased;
        let settled = rules::settle(tries, &ended.outcome, &self.settings.patience, ended.jitter);
        Change { endpoint_id, event_id, attempts, settled }
    }

    fn done(&mut self, ended: Ended) {
        let id = ended.leased.endpoint_id;
        if let Some(busy) = self.busy.get_mut(&id) {
            *busy = busy.saturating_sub(1);
        }
        self.busy.retain(|_, busy| *busy > 0);
        match (rules::health(&ended.outcome), self.news.get(&id)) {
            // What took something is well, whatever failed beside it; what wants nothing more is believed.
            (Health::Failing, Some(_)) | (Health::Well, Some((Health::Gone, _))) => {}
            (health, _) => {
                self.news.insert(id, (health, ended.url));
            }
        }
    }

    async fn chores(&mut self) {
        self.tell_health().await;
        let open = self.office.endpoints.known();
        let open = open.iter().filter(|endpoint| rules::is_open(endpoint)).map(|endpoint| endpoint.shown.endpoint_id);
        measure_due(self.shard.clone(), open.collect()).await;
        if let Err(error) = prune(self.shard.clone(), self.settings.keep).await {
            tracing::debug!(shard.id = %self.shard.id(), %error, "old webhooks are not forgotten yet");
        }
    }

    /// Tells the control schema how endpoints do, where that is news to it. What could not be told is told the next time.
    async fn tell_health(&mut self) {
        let endpoints = &self.office.endpoints;
        let mut told = Report::default();
        for (id, (health, url)) in &self.news {
            let Some(known) = endpoints.find(*id) else { continue };
            match health {
                Health::Well if known.shown.failing_since.is_some() => told.answered.push(*id),
                Health::Well => {}
                Health::Failing => told.failed.push(*id),
                Health::Gone => told.gone.push((*id, url.clone())),
            }
        }
        if told.answered.is_empty() && told.failed.is_empty() && told.gone.is_empty() {
            self.news.clear();
            return;
        }
        let telling = report(endpoints.primary(), &told, self.settings.give_up_after);
        match tokio::time::timeout(CHORES / 2, telling).await {
            Ok(Ok(disabled)) => {
                self.news.clear();
                for (id, reason) in disabled {
                    metrics::counter!("webhook_endpoints_disabled_total").increment(1);
                    (self.office.disabled)(id, &reason);
                    tracing::error!(endpoint.id = %id, reason, "a webhook endpoint was disabled; what it would be told waits");
                }
            }
            Ok(Err(error)) => tracing::warn!(%error, "how webhook endpoints do could not be told"),
            Err(_) => tracing::warn!("the control schema does not say whether it was told how webhook endpoints do"),
        }
    }
}

impl Office {
    async fn attempt(&self, leased: &Leased, endpoint: Option<&KeptEndpoint>, settings: &Settings) -> Outcome {
        if leased.tries > settings.patience.most_attempts() {
            return Outcome::Lost("the last attempts ended without a result".to_owned());
        }
        let Some(endpoint) = endpoint else { return Outcome::Lost("the endpoint is not there any more".to_owned()) };
        let Leased { endpoint_id, event_id, order_id, event_type, data, .. } = leased;
        let body = rules::body(*endpoint_id, *event_id, *order_id, event_type, data);
        let (id, unix_seconds) = (event_id.to_string(), self.clock.unix_seconds());
        let signature = sign(&endpoint.secrets, &id, unix_seconds, &body);
        let (url, begun) = (endpoint.shown.url.clone(), Instant::now());
        let outcome = self.http.send(Post { url, id, unix_seconds, signature, body }, settings.exchange).await;
        metrics::histogram!("webhook_exchange_seconds").record(begun.elapsed().as_secs_f64());
        outcome
    }
}

/// Counts it, and logs what an operator should know: never the URL, which may hold a secret. That stands with the endpoint.
fn tell(leased: &Leased, state: DeliveryState) {
    let Leased { endpoint_id, event_id, event_type, tries, .. } = leased;
    let event_type = event_type.clone();
    match state {
        DeliveryState::Delivered => metrics::counter!("webhooks_delivered_total", "type" => event_type).increment(1),
        DeliveryState::Failed => {
            metrics::counter!("webhooks_failed_total", "type" => event_type).increment(1);
            tracing::warn!(event.id = %event_id, endpoint.id = %endpoint_id, tries, "a webhook was given up; its row says why");
        }
        DeliveryState::ToSend => {
            metrics::counter!("webhooks_deferred_total", "type" => event_type).increment(1);
            tracing::debug!(event.id = %event_id, endpoint.id = %endpoint_id, tries, "a webhook is tried again later");
        }
    }
}

async fn measure_due(shard: Shard, endpoints: Vec<EndpointId>) {
    let measured = async { store::oldest_due(&mut *shard.read().await?, &endpoints).await };
    match measured.await {
        Ok(seconds) => {
            metrics::gauge!("webhooks_oldest_due_seconds", "shard" => shard.id().to_string()).set(seconds);
        }
        Err(error) => tracing::debug!(%error, "it was not measured which webhooks are due"),
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

// Owned values all the way: a transaction's closure that captures a reference makes a future that cannot be spawned.

async fn lease(shard: Shard, rooms: Vec<(EndpointId, i64)>, lease: Duration) -> Result<Vec<Leased>, StoreError> {
    shard.write("webhook.lease", async move |conn| store::lease(conn, &rooms, lease).await).await
}

async fn commit(shard: Shard, changes: Vec<Change>) -> Result<Vec<(EndpointId, EventId)>, StoreError> {
    shard.write("webhook.settle", async move |conn| store::settle(conn, &changes).await).await
}

async fn prune(shard: Shard, age: Duration) -> Result<u64, StoreError> {
    shard.write("webhook.prune", async move |conn| store::prune(conn, age, PRUNED_AT_ONCE).await).await
}
