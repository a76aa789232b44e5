//! Misbehaviour on demand, for tests: lost answers, errors, delays, by a seeded dice.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use axum::extract::{Request, State};
use axum::http::StatusCode;
use axum::middleware::Next;
use axum::response::Response;
use serde::{Deserialize, Serialize};
use shared_clock::Entropy;
use tokio_util::sync::CancellationToken;

/// How a sandbox misbehaves. Rates are 0 to 1 of all requests that a real one would serve; a later setting replaces all of an earlier.
#[derive(Clone, Copy, PartialEq, Debug, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Faults {
    /// Repeats the same misbehaviour.
    pub seed: u64,
    /// The effect happens and the answer is never sent.
    pub drop_answer: f64,
    /// 503 and no effect.
    pub fail_before: f64,
    /// 500 although the effect happened.
    pub fail_after: f64,
    /// Every answer comes so much later.
    pub delay_ms: u64,
}

/// What befalls one request.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Fate {
    /// Nothing.
    Spared,
    /// Refused unheard.
    FailsBefore,
    /// Done, and answered with an error.
    FailsAfter,
    /// Done, and not answered.
    AnswerLost,
}

/// The present setting and its dice.
#[derive(Clone, Debug)]
pub struct Mischief(Arc<Mutex<(Faults, Entropy)>>);

impl Default for Mischief {
    fn default() -> Self {
        Self(Arc::new(Mutex::new((Faults::default(), Entropy::seeded(0)))))
    }
}

impl Mischief {
    /// Takes a new setting.
    ///
    /// # Errors
    /// Names the field that is out of range.
    pub fn set(&self, faults: Faults) -> Result<(), &'static str> {
        let rates = [faults.drop_answer, faults.fail_before, faults.fail_after];
        if !rates.iter().all(|rate| (0.0..=1.0).contains(rate)) || rates.iter().sum::<f64>() > 1.0 {
            return Err("drop_answer, fail_before and fail_after must be 0 to 1, and so must their sum");
        }
        if faults.delay_ms > 60_000 {
            return Err("delay_ms must be 60000 at most");
        }
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = (faults, Entropy::seeded(faults.seed));
        Ok(())
    }

    /// What befalls the next request, and how much later it is answered.
    #[must_use]
    pub fn next(&self) -> (Fate, Duration) {
        let guard = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let (faults, dice) = &*guard;
        let throw = f64::from(dice.below(1_000_000)) / 1_000_000.0;
        let edges = [faults.drop_answer, faults.fail_before, faults.fail_after];
        let fates = [Fate::AnswerLost, Fate::FailsBefore, Fate::FailsAfter];
        let mut edge = 0.0;
        let fate = edges.iter().zip(fates).find(|(rate, _)| {
            edge += **rate;
            throw < edge
        });
        (fate.map_or(Fate::Spared, |(_, fate)| fate), Duration::from_millis(faults.delay_ms))
    }
}

/// What [`misbehave`] needs.
#[derive(Clone, Debug)]
pub struct Misbehaviour {
    /// The present setting.
    pub mischief: Mischief,
    /// How long an answer that nobody hears takes.
    pub silence: Duration,
    /// Ends waiting when the process does.
    pub shutdown: CancellationToken,
    /// How this party says that it failed.
    pub failed: fn(StatusCode) -> Response,
}

/// Middleware (`axum::middleware::from_fn_with_state`) that lets a request's fate befall it.
pub async fn misbehave(State(state): State<Misbehaviour>, request: Request, next: Next) -> Response {
    let Misbehaviour { mischief, silence, shutdown, failed } = state;
    let (fate, delay) = mischief.next();
    if fate == Fate::FailsBefore {
        return failed(StatusCode::SERVICE_UNAVAILABLE);
    }
    // A task of its own: the effect comes also if the shop hangs up first.
    let Ok(response) = tokio::spawn(next.run(request)).await else {
        return failed(StatusCode::INTERNAL_SERVER_ERROR);
    };
    shutdown.run_until_cancelled(tokio::time::sleep(delay)).await;
    match fate {
        Fate::Spared | Fate::FailsBefore => response,
        Fate::FailsAfter => failed(StatusCode::INTERNAL_SERVER_ERROR),
        Fate::AnswerLost => {
            shutdown.run_until_cancelled(tokio::time::sleep(silence)).await;
            failed(StatusCode::GATEWAY_TIMEOUT)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_seed_repeats_its_mischief_and_every_fate_comes() {
        let faults = Faults { seed: 4, drop_answer: 0.2, fail_before: 0.2, fail_after: 0.2, delay_ms: 0 };
        let run = || {
            let mischief = Mischief::default();
            mischief.set(faults).unwrap();
            (0..200).map(|_| mischief.next().0).collect::<Vec<_>>()
        };
        assert_eq!(run(), run());
        for fate in [Fate::Spared, Fate::FailsBefore, Fate::FailsAfter, Fate::AnswerLost] {
            assert!(run().contains(&fate), "{fate:?} never came");
        }
    }

    #[test]
    fn rates_beyond_certainty_are_refused() {
        let mischief = Mischief::default();
        assert!(mischief.set(Faults { drop_answer: 1.5, ..Faults::default() }).is_err());
        assert!(mischief.set(Faults { drop_answer: 0.6, fail_after: 0.6, ..Faults::default() }).is_err());
        assert_eq!(mischief.next().0, Fate::Spared);
    }
}
