//! Keeps one slot connected: dials, watches, and dials again after a pause that grows.

use std::sync::Arc;
use std::time::Duration;

use shared_clock::Entropy;
use tokio::sync::watch;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::PoolOptions;
use super::dial::{Dialed, Dialer, Ending};
use super::slot::{DialFailure, Live, Slot, Status};
use crate::server::NO_ERROR;

/// How often a connection's counters are read.
const LOOK: Duration = Duration::from_millis(250);
/// A connection that lived so long ended for a reason of its own; the next attempt need not wait.
const SETTLED: Duration = Duration::from_secs(1);

/// Starts keeping a connection to `core` until `stop`.
pub(super) fn start(
    dialer: &Arc<Dialer>,
    core: &str,
    options: &PoolOptions,
    changes: &watch::Sender<()>,
    stop: &CancellationToken,
) -> Arc<Slot> {
    let slot = Arc::new(Slot::new(changes.clone()));
    let keeper = Keeper {
        dialer: Arc::clone(dialer),
        core: core.to_owned(),
        slot: Arc::clone(&slot),
        silence: options.silence,
        entropy: Entropy::system(),
    };
    let stop = stop.clone();
    tokio::spawn(async move { stop.run_until_cancelled(keeper.keep()).await });
    slot
}

struct Keeper {
    dialer: Arc<Dialer>,
    core: String,
    slot: Arc<Slot>,
    silence: Duration,
    entropy: Entropy,
}

impl Keeper {
    async fn keep(self) {
        let mut failures = 0;
        let mut certificates = self.dialer.tls.subscribe();
        loop {
            let unauthenticated = match self.dialer.dial(&self.core).await {
                Ok(dialed) => {
                    let since = Instant::now();
                    self.watch(dialed).await;
                    failures = if since.elapsed() >= SETTLED { 0 } else { failures + 1 };
                    false
                }
                Err(failure) => {
                    self.note(&failure);
                    failures += 1;
                    failure.unauthenticated
                }
            };
            let pause = pause(failures, unauthenticated, &self.entropy);
            tokio::select! {
                () = tokio::time::sleep(pause) => {}
                // New certificates may be what was missing. The sender lives as long as the dialer's `Tls`.
                _ = certificates.changed() => failures = 0,
            }
        }
    }

    fn note(&self, failure: &DialFailure) {
        let DialFailure { reason, unauthenticated } = failure;
        if !matches!(self.slot.status(), Status::Down(before) if *before == *failure) {
            let region = &self.dialer.region;
            tracing::warn!(core = self.core, %region, reason, unauthenticated, "a core cannot be connected");
        }
        self.slot.set(Status::Down(Arc::new(failure.clone())));
    }

    /// Offers the connection to requests until it ends.
    async fn watch(&self, dialed: Dialed) {
        let Dialed { sender, mut driver, quic } = dialed;
        let open = metrics::gauge!("link_connections", "region" => self.dialer.region.as_str().to_owned());
        open.increment(1);
        let _count = Decrement(open);
        tracing::info!(core = self.core, region = %self.dialer.region, rtt_ms = quic.rtt().as_millis(), "connected");
        self.slot.set(Status::Up(Arc::new(Live::new(sender, quic.clone()))));
        let ending = tokio::select! {
            ending = driver.next() => ending,
            () = self.heard_nothing(&quic) => {
                quic.close(NO_ERROR, b"nothing is heard");
                Ending::Closed
            }
        };
        self.slot.set(Status::Connecting);
        match ending {
            Ending::Closed => {
                let reason = quic.close_reason().map(|reason| reason.to_string());
                tracing::warn!(core = self.core, region = %self.dialer.region, reason, "a connection ended");
            }
            // Requests under way still need it; it closes with the last of them, or when the core is done.
            Ending::GoAway => {
                tracing::info!(core = self.core, region = %self.dialer.region, "a core is draining");
                tokio::spawn(driver.closed());
            }
        }
    }

    /// Returns when packets that call for an answer have had none for too long. A killed process sends no farewell, and
    /// QUIC's idle timeout is far longer than a shopper waits.
    async fn heard_nothing(&self, quic: &quinn::Connection) {
        let mut silence = Silence::default();
        let mut looks = tokio::time::interval(LOOK);
        loop {
            let now = looks.tick().await;
            let stats = quic.stats();
            let asked = stats.frame_tx.stream + stats.frame_tx.ping;
            if silence.observe(now, stats.udp_rx.datagrams, asked) >= self.silence {
                return;
            }
        }
    }
}

struct Decrement(metrics::Gauge);

impl Drop for Decrement {
    fn drop(&mut self) {
        self.0.decrement(1);
    }
}

/// How long frames that call for an acknowledgement have met silence.
#[derive(Default)]
struct Silence {
    heard: u64,
    /// Frames sent by the time we last heard something.
    asked: u64,
    since: Option<Instant>,
}

impl Silence {
    /// Takes the connection's counters of datagrams received and of such frames sent.
    fn observe(&mut self, now: Instant, heard: u64, asked: u64) -> Duration {
        if heard != self.heard {
            *self = Self { heard, asked, since: None };
        } else if asked > self.asked {
            self.since.get_or_insert(now);
        }
        self.since.map_or(Duration::ZERO, |since| now.saturating_duration_since(since))
    }
}

/// 100 ms doubling to 5 s, or 1 s doubling to 10 s where a certificate was refused; between half and the whole of it.
fn pause(failures: u32, unauthenticated: bool, entropy: &Entropy) -> Duration {
    if failures == 0 {
        return Duration::ZERO;
    }
    let (first_ms, longest_ms) = if unauthenticated { (1_000_u32, 10_000) } else { (100, 5_000) };
    let ms = first_ms.saturating_mul(1 << (failures - 1).min(10)).min(longest_ms);
    Duration::from_millis(u64::from(ms / 2 + entropy.below(ms / 2 + 1)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn silence_counts_only_while_something_was_asked() {
        let start = Instant::now();
        let second = Duration::from_secs(1);
        let mut silence = Silence::default();
        assert_eq!(silence.observe(start, 5, 3), Duration::ZERO);
        assert_eq!(silence.observe(start + second, 5, 3), Duration::ZERO, "an idle connection is not silent");
        assert_eq!(silence.observe(start + 2 * second, 5, 4), Duration::ZERO);
        assert_eq!(silence.observe(start + 4 * second, 5, 5), 2 * second);
        assert_eq!(silence.observe(start + 5 * second, 6, 5), Duration::ZERO, "one packet ends the silence");
        assert_eq!(silence.observe(start + 9 * second, 6, 5), Duration::ZERO);
    }

    #[test]
    fn pauses_grow_to_a_bound_and_refused_certificates_wait_longest() {
        let entropy = Entropy::seeded(1);
        assert_eq!(pause(0, false, &entropy), Duration::ZERO);
        for (failures, unauthenticated, least, most) in [
            (1, false, 50, 100),
            (4, false, 400, 800),
            (60, false, 2_500, 5_000),
            (1, true, 500, 1_000),
            (9, true, 5_000, 10_000),
        ] {
            let ms = pause(failures, unauthenticated, &entropy).as_millis();
            assert!((least..=most).contains(&ms), "{ms} ms after {failures}");
        }
    }
}
