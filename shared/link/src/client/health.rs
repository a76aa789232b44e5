//! Whether a core answers at all. A core whose connection stands but whose handlers hang is set aside for a while.

use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

/// A deadline shorter than this says more about the caller than about the core.
const FAIR_WAIT: Duration = Duration::from_secs(1);
/// Deadlines in a row that a core may miss.
const MISSES: u32 = 3;
/// How long a core is set aside at first; it doubles with each miss after that.
const FIRST_PAUSE: Duration = Duration::from_secs(1);
const LONGEST_PAUSE: Duration = Duration::from_secs(30);

/// One core's record.
#[derive(Default)]
pub(super) struct Health(Mutex<Record>);

#[derive(Default)]
struct Record {
    misses: u32,
    ejected_until: Option<Instant>,
}

impl Health {
    /// The core answered, whatever it said.
    pub(super) fn answered(&self) {
        let mut record = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if record.misses > 0 {
            *record = Record::default();
        }
    }

    /// A request that began then had no answer by `now`.
    pub(super) fn timed_out(&self, began: Instant, now: Instant) {
        if now.saturating_duration_since(began) < FAIR_WAIT {
            return;
        }
        let mut record = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        record.misses = record.misses.saturating_add(1);
        if let Some(extra) = record.misses.checked_sub(MISSES) {
            let pause = FIRST_PAUSE.saturating_mul(1 << extra.min(8)).min(LONGEST_PAUSE);
            record.ejected_until = Some(now + pause);
        }
    }

    /// Whether others are to be preferred.
    pub(super) fn is_ejected(&self, now: Instant) -> bool {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).ejected_until.is_some_and(|until| now < until)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_core_that_hangs_is_set_aside_longer_each_time_until_it_answers() {
        let health = Health::default();
        let began = Instant::now();
        let now = began + FAIR_WAIT;
        for _ in 0..MISSES {
            assert!(!health.is_ejected(now));
            health.timed_out(began, now);
        }
        assert!(health.is_ejected(now + FIRST_PAUSE / 2));
        assert!(!health.is_ejected(now + FIRST_PAUSE));
        health.timed_out(began, now);
        assert!(health.is_ejected(now + FIRST_PAUSE));
        health.answered();
        assert!(!health.is_ejected(now));
    }

    #[tokio::test]
    async fn impatient_callers_eject_nobody() {
        let health = Health::default();
        let began = Instant::now();
        for _ in 0..10 {
            health.timed_out(began, began + FAIR_WAIT / 2);
        }
        assert!(!health.is_ejected(began));
    }
}
