//! Who gives events to consumers: one task for each shard and consumer, one for each shard that forgets old events, and
//! one that counts its dead letters.

use std::sync::Arc;
use std::time::Duration;

use region_core_store::{Shard, Shards, StoreError, failpoint};
use tokio::task::JoinSet;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use crate::delivery::{Delivery, Round, Source};
use crate::store::cursor::{self, Peek};
use crate::store::retention;
use crate::{Consumer, HandleError, Wake, Wakes, measure};

/// Pauses when events are committed that are not safe to read yet: what they wait for is a commit that is a moment away as a
/// rule, so the first is as short as a timer can make it, and each after it twice as long up to a bound.
const FIRST_PAUSE: Duration = Duration::from_millis(1);
const SHORT_PAUSE: Duration = Duration::from_millis(8);
/// Pause when another process has the cursor: it goes on by itself, and each look may cost orders a turn.
const ELSEWHERE_PAUSE: Duration = Duration::from_millis(50);
/// How long a cursor may lag behind events that only others hear.
const PASSING: Duration = Duration::from_secs(5);
/// As long as its last round took a listener rests after it, up to this. What comes meanwhile is one batch: the busier the
/// machine, the fewer rounds and commits, while a round at rest costs its events no more than a few milliseconds.
const LONGEST_REST: Duration = Duration::from_millis(40);
/// Half as long after a round of fewer events: nobody queues up, and what comes next waits for this rest.
const FEW: usize = 16;
/// How often it is measured how far a consumer lags.
const MEASURE: Duration = Duration::from_secs(1);
/// Pause after the shard failed.
const FAILURE_PAUSE: Duration = Duration::from_secs(1);

/// The bounds of the bus.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Most events of one transaction.
    pub batch: u32,
    /// Longest wait before looking without having been woken.
    pub poll: Duration,
    /// Age up to which events are left to another bus ([`crate::Listening`]): what it has not brought by then is read from the
    /// outbox. Zero if there is no other.
    pub grace: Duration,
    /// Attempts before an event is given up.
    pub max_attempts: i32,
    /// Pause after the first failed attempt; doubles with each.
    pub first_pause: Duration,
    /// Age at which events that every consumer has passed are forgotten.
    pub outbox_kept: Duration,
    /// Age at which inbox rows of forgotten events are forgotten too.
    pub inbox_kept: Duration,
    /// Pause between looks for what can be forgotten.
    pub forget_every: Duration,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            batch: 256,
            poll: Duration::from_millis(250),
            grace: Duration::ZERO,
            max_attempts: 5,
            first_pause: Duration::from_millis(500),
            outbox_kept: Duration::from_secs(3 * 24 * 3600),
            inbox_kept: Duration::from_secs(4 * 24 * 3600),
            forget_every: Duration::from_secs(60),
        }
    }
}

impl Settings {
    /// Pause after that many failed attempts, from 1.
    pub(crate) fn pause_after(&self, attempts: i32) -> Duration {
        self.first_pause * 2_u32.pow(u32::try_from(attempts - 1).unwrap_or(0).min(10))
    }
}

/// Gives the events of this region's shards to consumers. Any number of processes may run one: the cursor's row lock
/// lets one at a time read for each (shard, consumer).
pub struct Runner {
    shards: Shards,
    wakes: Wakes,
    consumers: Vec<Arc<dyn Consumer>>,
    settings: Settings,
}

impl Runner {
    /// A runner of these consumers on every shard of the region, woken by `wakes`.
    #[must_use]
    pub fn new(shards: Shards, wakes: Wakes, consumers: Vec<Arc<dyn Consumer>>, settings: Settings) -> Self {
        Self { shards, wakes, consumers, settings }
    }

    /// Runs until `shutdown`; the batches under way are finished.
    ///
    /// # Panics
    /// If a task of the bus itself does.
    pub async fn run(self, shutdown: CancellationToken) {
        let mut tasks = JoinSet::new();
        for listener in self.listeners() {
            tasks.spawn(listener.listen(shutdown.clone()));
        }
        for shard in self.shards.all() {
            tasks.spawn(forget(shard.clone(), self.settings.clone(), shutdown.clone()));
            let consumers = self.consumers.iter().map(|consumer| consumer.name().to_owned()).collect();
            tasks.spawn(measure::dead_letters(shard.clone(), consumers, shutdown.clone()));
        }
        while let Some(ended) = tasks.join_next().await {
            if let Err(error) = ended {
                std::panic::resume_unwind(error.into_panic());
            }
        }
    }

    /// Gives every consumer all that is committed now, and what that leads to, then returns: how tests turn the bus by
    /// hand. Waits for transactions that hold events back; retries wait for their time. Tells how many took effect.
    ///
    /// # Errors
    /// When a shard fails.
    pub async fn settle(&self) -> Result<usize, HandleError> {
        let mut total = 0;
        loop {
            let mut handled = 0;
            for mut listener in self.listeners() {
                handled += listener.settle().await?;
            }
            if handled == 0 {
                return Ok(total);
            }
            total += handled;
        }
    }

    fn listeners(&self) -> Vec<Listener> {
        let pairs = self.shards.all().flat_map(|shard| self.consumers.iter().map(move |consumer| (shard, consumer)));
        pairs
            .map(|(shard, consumer)| Listener {
                delivery: Arc::new(Delivery::new(shard, consumer, &self.settings)),
                wake: self.wakes.of(shard.id()),
                founded: false,
                passed_at: Instant::now(),
                lag_at: None,
            })
            .collect()
    }
}

/// Pause after the look of that number, from 0, at what is not safe to read.
fn pause_after_look(unsettled: u32) -> Duration {
    (FIRST_PAUSE * 2_u32.pow(unsettled.min(10))).min(SHORT_PAUSE)
}

/// Rest after a round that took so long and brought so many events.
fn rest_after(round: Duration, events: usize) -> Duration {
    if events < FEW { round / 2 } else { round }.min(LONGEST_REST)
}

/// What one look came to.
enum Step {
    /// So many events took effect, or the cursor passed some: look again at once.
    Handled(usize),
    /// Nothing for now, but soon.
    Soon,
    /// Another process is at it.
    Elsewhere,
    /// Nothing to do.
    Idle,
}

/// One consumer on one shard.
struct Listener {
    delivery: Arc<Delivery>,
    wake: Wake,
    founded: bool,
    /// When the cursor was last moved.
    passed_at: Instant,
    /// When it was last measured how far it lags.
    lag_at: Option<Instant>,
}

impl Listener {
    async fn listen(mut self, shutdown: CancellationToken) {
        let mut waiter = self.wake.waiter();
        // Looks in a row at what was not safe to read.
        let mut unsettled = 0;
        while !shutdown.is_cancelled() {
            let began = Instant::now();
            let step = self.step().await;
            let rest = self.delivery.consumer.rest();
            let soon = matches!(step, Ok(Step::Soon));
            let pause = async {
                let full = matches!(step, Ok(Step::Handled(events)) if self.delivery.is_full(events));
                if !full && !rest.is_zero() {
                    tokio::time::sleep(rest).await;
                }
                match step {
                    Ok(Step::Handled(_)) if full => {}
                    Ok(Step::Handled(events)) => tokio::time::sleep(rest_after(began.elapsed(), events)).await,
                    Ok(Step::Soon) => tokio::time::sleep(pause_after_look(unsettled)).await,
                    Ok(Step::Elsewhere) => tokio::time::sleep(ELSEWHERE_PAUSE).await,
                    Ok(Step::Idle) => waiter.wait(self.delivery.settings.poll).await,
                    Err(error) => {
                        let consumer = self.delivery.consumer.name();
                        tracing::warn!(event.consumer = consumer, shard.id = %self.delivery.shard.id(), error = error.cause(), "events wait");
                        tokio::time::sleep(FAILURE_PAUSE).await;
                    }
                }
            };
            shutdown.run_until_cancelled(pause).await;
            unsettled = if soon { unsettled + 1 } else { 0 };
        }
    }

    async fn settle(&mut self) -> Result<usize, HandleError> {
        let mut handled = 0;
        loop {
            match self.step().await? {
                Step::Handled(events) => handled += events,
                Step::Soon | Step::Elsewhere => tokio::time::sleep(SHORT_PAUSE).await,
                Step::Idle => return Ok(handled),
            }
        }
    }

    /// Looks, and runs one round if there is something to do.
    async fn step(&mut self) -> Result<Step, HandleError> {
        let peek = self.peek().await?;
        let may_pass = peek.passing && self.passed_at.elapsed() > PASSING;
        if !(peek.heard || peek.retries || may_pass) {
            return Ok(if peek.unsettled { Step::Soon } else { Step::Idle });
        }
        match Arc::clone(&self.delivery).round(Source::Cursor { retries: peek.retries }).await? {
            Round::Elsewhere => Ok(Step::Elsewhere),
            Round::Done { handled, .. } => {
                self.passed_at = Instant::now();
                if handled > 0 {
                    failpoint("events.publish.before").await?;
                    self.wake.notify(); // what was handled may have said something
                    failpoint("events.publish.after").await?;
                }
                Ok(Step::Handled(handled))
            }
        }
    }

    async fn peek(&mut self) -> Result<Peek, StoreError> {
        let shard = &self.delivery.shard;
        let mut conn = shard.read().await?;
        let consumer = self.delivery.consumer.name();
        if !self.founded {
            cursor::found(&mut conn, consumer).await?;
            self.founded = true;
        }
        let lag = self.lag_at.is_none_or(|at| at.elapsed() >= MEASURE);
        let peek = cursor::peek(&mut conn, consumer, &self.delivery.kinds, lag, self.delivery.settings.grace).await?;
        if let Some(seconds) = peek.lag_seconds {
            self.lag_at = Some(Instant::now());
            metrics::gauge!("events_lag_seconds", "consumer" => consumer, "shard" => shard.id().to_string())
                .set(seconds);
        }
        Ok(peek)
    }
}

/// Forgets old events of one shard, now and then.
async fn forget(shard: Shard, settings: Settings, shutdown: CancellationToken) {
    while shutdown.run_until_cancelled(tokio::time::sleep(settings.forget_every)).await.is_some() {
        if let Err(error) = forget_once(shard.clone(), settings.clone()).await {
            tracing::warn!(shard.id = %shard.id(), %error, "old events could not be forgotten");
        }
    }
}

/// Forgets all that may be forgotten, in small transactions.
async fn forget_once(shard: Shard, settings: Settings) -> Result<(), StoreError> {
    let (outbox_kept, inbox_kept) = (settings.outbox_kept, settings.inbox_kept);
    let mut forgotten = u64::MAX;
    while forgotten > 0 {
        forgotten = shard
            .write("events.forget", async move |conn| {
                let events = retention::forget_events(conn, outbox_kept).await?;
                let inbox = retention::forget_inbox(conn, inbox_kept).await?;
                Ok::<_, StoreError>(events + inbox)
            })
            .await?;
    }
    Ok(())
}
