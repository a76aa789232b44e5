//! Requests to the cores of one region: over a few connections to each, with bounds and at most one retry.
//!
//! A connection is kept by a task of its own, which dials again with growing pauses; what is not connected is not
//! chosen, so a failed core is out of the way at once. A request that was lost under way is repeated only if that is
//! safe: GET, HEAD, one with an `Idempotency-Key`, or one marked [`Safe`]. Once lost it stays lost unless the repetition settles it: nobody
//! hears "nothing was done" of a request that one core may have acted on.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use bytes::Bytes;
use http::{Request, Response};
use shared::RegionName;
use tokio::sync::{Semaphore, watch};
use tokio::time::Instant;
use tokio_util::sync::{CancellationToken, DropGuard};

use crate::congestion::Transport;
use crate::error::LinkError;
use crate::tls::Tls;

mod dial;
mod exchange;
mod health;
mod keeper;
mod slot;

use exchange::{Failure, Outgoing};
use health::Health;
use slot::{Live, Slot, Status};

/// Marks, among a request's extensions, one that asks for no change although its method could: it may be repeated.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Safe;

/// Bounds of a [`Pool`].
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct PoolOptions {
    /// QUIC's settings.
    pub transport: Transport,
    /// Connections to each core. Several share losses fairly and decrypt in parallel.
    pub connections_per_core: usize,
    /// Requests under way at once; more are refused at once.
    pub max_in_flight: usize,
    /// Longest request body, in bytes.
    pub max_request_bytes: usize,
    /// Longest answer, in bytes.
    pub max_response_bytes: usize,
    /// Time for a handshake.
    pub connect_timeout: Duration,
    /// Time that a request waits for a first connection, or one that is being replaced.
    pub patience: Duration,
    /// How often an idle connection is tried. With `silence` it bounds how long a killed core goes unnoticed.
    pub probe: Duration,
    /// A connection whose packets nobody has acknowledged for so long is given up.
    pub silence: Duration,
}

impl Default for PoolOptions {
    fn default() -> Self {
        Self {
            transport: Transport::default(),
            connections_per_core: 2,
            max_in_flight: 1_024,
            max_request_bytes: shared::api::MAX_BODY_BYTES,
            max_response_bytes: 4 * 1024 * 1024,
            connect_timeout: Duration::from_secs(3),
            patience: Duration::from_secs(1),
            probe: Duration::from_secs(1),
            silence: Duration::from_secs(3),
        }
    }
}

/// Connections to the cores of one region. Clones share them; dropping the last closes them.
#[derive(Clone)]
pub struct Pool(Arc<Inner>);

struct Inner {
    region: RegionName,
    options: PoolOptions,
    cores: Vec<Core>,
    permits: Semaphore,
    /// Where the search for a connection starts, so that equals take turns.
    turn: AtomicUsize,
    /// Marked changed whenever a slot's status changes.
    changes: watch::Sender<()>,
    _stop: DropGuard,
}

struct Core {
    slots: Vec<Arc<Slot>>,
    health: Health,
}

/// A connection chosen for a request.
struct Choice {
    core: usize,
    live: Arc<Live>,
}

impl Pool {
    /// Starts connecting to `cores` (`host:port` each), which must prove to be `core.<region>`.
    ///
    /// # Errors
    /// When no UDP socket can be had.
    ///
    /// # Panics
    /// Outside a tokio runtime.
    pub fn new(region: RegionName, cores: &[String], tls: Arc<Tls>, options: PoolOptions) -> io::Result<Self> {
        let stop = CancellationToken::new();
        let (changes, _) = watch::channel(());
        let dialer = Arc::new(dial::Dialer::new(&region, tls, &options)?);
        let start = |address: &String| {
            let slot = |_| keeper::start(&dialer, address, &options, &changes, &stop);
            Core { slots: (0..options.connections_per_core.max(1)).map(slot).collect(), health: Health::default() }
        };
        let cores = cores.iter().map(start).collect();
        let permits = Semaphore::new(options.max_in_flight);
        let turn = AtomicUsize::new(0);
        Ok(Self(Arc::new(Inner { region, options, cores, permits, turn, changes, _stop: stop.drop_guard() })))
    }

    /// The region.
    #[must_use]
    pub fn region(&self) -> &RegionName {
        &self.0.region
    }

    /// Whether a core of the region is connected now.
    #[must_use]
    pub fn is_connected(&self) -> bool {
        self.0.choose(None).is_some()
    }

    /// Waits until a core of the region is connected.
    pub async fn connected(&self) {
        let mut changes = self.0.changes.subscribe();
        while !self.is_connected() {
            if changes.changed().await.is_err() {
                return;
            }
        }
    }

    /// Sends a request and waits for the whole answer, `deadline` at most, a retry included.
    ///
    /// Of the URI only path and query count; `Host` and the headers of one hop are not sent on.
    ///
    /// # Errors
    /// See [`LinkError`]. An answer with an error status is not an error.
    pub async fn send(&self, request: Request<Bytes>, deadline: Duration) -> Result<Response<Bytes>, LinkError> {
        let began = Instant::now();
        let answer = self.0.bounded(request, began + deadline).await;
        let outcome = answer.as_ref().map_or_else(LinkError::label, |_| "answered");
        let region = self.0.region.as_str().to_owned();
        metrics::counter!("link_requests_total", "region" => region.clone(), "outcome" => outcome).increment(1);
        metrics::histogram!("link_request_seconds", "region" => region).record(began.elapsed());
        answer
    }
}

impl Inner {
    async fn bounded(&self, request: Request<Bytes>, until: Instant) -> Result<Response<Bytes>, LinkError> {
        if request.body().len() > self.options.max_request_bytes {
            return Err(LinkError::TooLarge);
        }
        let overloaded = |_| LinkError::Overloaded { limit: self.options.max_in_flight };
        let _permit = self.permits.try_acquire().map_err(overloaded)?;
        let outgoing = Outgoing::new(request, &self.region).ok_or(LinkError::TooLarge)?;
        match self.attempt(&outgoing, None, until).await {
            Err((failure, failed)) if failure.may_be_repeated(outgoing.is_repeatable()) => {
                tracing::info!(region = %self.region, reason = %failure, "a request goes to another connection");
                metrics::counter!("link_retries_total", "region" => self.region.as_str().to_owned()).increment(1);
                let again = self.attempt(&outgoing, failed.as_ref(), until).await;
                failure.then(again.map_err(|(failure, _)| failure), outgoing.is_safe())
            }
            outcome => outcome.map_err(|(failure, _)| failure),
        }
        .map_err(|failure| failure.into_error(&self.region))
    }

    /// One attempt, away from the core and connection that failed. With the failure comes what had been chosen.
    async fn attempt(
        &self,
        outgoing: &Outgoing,
        failed: Option<&Choice>,
        until: Instant,
    ) -> Result<Response<Bytes>, (Failure, Option<Choice>)> {
        let choice = self.wait_for_choice(failed, until).await.map_err(|error| (Failure::Final(error), None))?;
        let began = Instant::now();
        let answer = exchange::start(Arc::clone(&choice.live), outgoing.clone(), self.options.max_response_bytes);
        let outcome = match tokio::time::timeout_at(until, answer).await {
            Ok(Ok(outcome)) => outcome,
            Ok(Err(_)) => Err(Failure::Lost("its task ended".to_owned())),
            Err(_) => Err(Failure::Final(LinkError::Deadline)),
        };
        let health = &self.cores[choice.core].health;
        match &outcome {
            Ok(_) => health.answered(),
            Err(Failure::Final(LinkError::Deadline)) => health.timed_out(began, Instant::now()),
            Err(_) => {}
        }
        outcome.map_err(|failure| (failure, Some(choice)))
    }

    async fn wait_for_choice(&self, failed: Option<&Choice>, until: Instant) -> Result<Choice, LinkError> {
        let mut changes = self.changes.subscribe();
        let give_up = until.min(Instant::now() + self.options.patience);
        loop {
            if let Some(choice) = self.choose(failed) {
                return Ok(choice);
            }
            if let Some(error) = self.why_down() {
                return Err(error);
            }
            if !matches!(tokio::time::timeout_at(give_up, changes.changed()).await, Ok(Ok(()))) {
                let reason = "no connection in time".to_owned();
                return Err(LinkError::Unreachable { region: self.region.to_string(), reason });
            }
        }
    }

    /// The least busy connection, of a healthy core other than the one that failed if there is one.
    fn choose(&self, failed: Option<&Choice>) -> Option<Choice> {
        let turn = self.turn.fetch_add(1, Ordering::Relaxed);
        let now = Instant::now();
        let rank = |choice: &Choice| {
            let same_core = failed.is_some_and(|failed| failed.core == choice.core);
            let ejected = self.cores[choice.core].health.is_ejected(now);
            (same_core, ejected, choice.live.busy())
        };
        let count = self.cores.len();
        let in_turn = (0..count).map(|index| (index + turn) % count);
        let choices = in_turn.flat_map(|core| self.cores[core].choices(core));
        let usable = choices.filter(|choice| !failed.is_some_and(|failed| Arc::ptr_eq(&failed.live, &choice.live)));
        usable.min_by_key(rank)
    }

    /// Why nothing is connected, once every slot has failed to connect.
    fn why_down(&self) -> Option<LinkError> {
        let region = self.region.to_string();
        let mut worst = LinkError::Unreachable { region: region.clone(), reason: "no cores are configured".to_owned() };
        for slot in self.cores.iter().flat_map(|core| &core.slots) {
            match slot.status() {
                Status::Connecting | Status::Up(_) => return None,
                Status::Down(failure) if failure.unauthenticated => {
                    worst = LinkError::Unauthenticated { region: region.clone(), reason: failure.reason.clone() };
                }
                Status::Down(failure) => {
                    if let LinkError::Unreachable { reason, .. } = &mut worst {
                        reason.clone_from(&failure.reason);
                    }
                }
            }
        }
        Some(worst)
    }
}

impl Core {
    fn choices(&self, core: usize) -> impl Iterator<Item = Choice> {
        self.slots.iter().filter_map(|slot| slot.live()).map(move |live| Choice { core, live })
    }
}
