//! Misbehaviour on demand, for tests: lost answers, errors, delays, by a seeded dice.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use serde::{Deserialize, Serialize};
use shared_clock::Entropy;

/// How the sandbox misbehaves. Rates are 0 to 1 of all requests under `/v1`; a later setting replaces all of an earlier.
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
