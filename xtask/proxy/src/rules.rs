//! What befalls what passes: pure decisions on seeded dice.

use std::time::Duration;

use shared_clock::Entropy;

/// By how much a datagram that is to be overtaken comes later, and a TCP segment that had to be sent again.
const HELD_BACK: Duration = Duration::from_millis(30);
const SENT_AGAIN: Duration = Duration::from_millis(200);
/// The dice have so many faces.
const FACES: u32 = 1 << 24;

/// How one direction of a link behaves. Rates are 0 to 1 of all that passes.
#[derive(Clone, Copy, PartialEq, Debug, Default)]
pub struct Conditions {
    /// Nothing passes.
    pub cut: bool,
    /// Everything comes so much later.
    pub delay: Duration,
    /// And at most so much more.
    pub jitter: Duration,
    /// Never arrives.
    pub loss: f64,
    /// Arrives twice, the second time after half the jitter more.
    pub duplicate: f64,
    /// Is overtaken by what was sent in the next 30 ms.
    pub reorder: f64,
}

/// How a link behaves. Forward is from those who connect to it towards its target.
#[derive(Clone, Copy, PartialEq, Debug, Default)]
pub struct Weather {
    /// Towards the target.
    pub forward: Conditions,
    /// Back from it.
    pub backward: Conditions,
}

impl Conditions {
    /// Nothing passes.
    pub const CUT: Self =
        Self { cut: true, delay: Duration::ZERO, jitter: Duration::ZERO, loss: 0.0, duplicate: 0.0, reorder: 0.0 };

    /// When the copies of one datagram arrive, after now: none, one or two.
    pub(crate) fn datagram(&self, dice: &Entropy) -> [Option<Duration>; 2] {
        // Always as many throws, so that one rate does not shift what another decides.
        let (lost, doubled, held, late) =
            (happens(self.loss, dice), happens(self.duplicate, dice), happens(self.reorder, dice), share(dice));
        if self.cut || lost {
            return [None, None];
        }
        let after = self.delay + self.jitter.mul_f64(late) + if held { HELD_BACK } else { Duration::ZERO };
        [Some(after), doubled.then(|| after + self.jitter / 2)]
    }

    /// How much later a piece of a byte stream arrives. Its order is kept by who sends it on.
    pub(crate) fn piece(&self, dice: &Entropy) -> Duration {
        let (lost, late) = (happens(self.loss, dice), share(dice));
        self.delay + self.jitter.mul_f64(late) + if lost { SENT_AGAIN } else { Duration::ZERO }
    }
}

impl Weather {
    /// The same in both directions.
    #[must_use]
    pub const fn both(conditions: Conditions) -> Self {
        Self { forward: conditions, backward: conditions }
    }

    /// Nothing passes, either way.
    pub const CUT: Self = Self::both(Conditions::CUT);
}

/// From 0 up to 1.
fn share(dice: &Entropy) -> f64 {
    f64::from(dice.below(FACES)) / f64::from(FACES)
}

fn happens(rate: f64, dice: &Entropy) -> bool {
    share(dice) < rate
}

#[cfg(test)]
mod tests {
    use super::*;

    const ROUGH: Conditions = Conditions {
        cut: false,
        delay: Duration::from_millis(5),
        jitter: Duration::from_millis(10),
        loss: 0.2,
        duplicate: 0.1,
        reorder: 0.1,
    };

    fn fates(conditions: Conditions, seed: u64) -> Vec<[Option<Duration>; 2]> {
        let dice = Entropy::seeded(seed);
        (0..2_000).map(|_| conditions.datagram(&dice)).collect()
    }

    #[test]
    fn fair_weather_delivers_everything_once_and_at_once() {
        let fates = fates(Conditions::default(), 1);
        assert!(fates.iter().all(|fate| *fate == [Some(Duration::ZERO), None]));
        assert_eq!(Conditions::default().piece(&Entropy::seeded(1)), Duration::ZERO);
    }

    #[test]
    fn a_seed_repeats_what_befalls_each_datagram() {
        assert_eq!(fates(ROUGH, 7), fates(ROUGH, 7));
        assert_ne!(fates(ROUGH, 7), fates(ROUGH, 8));
    }

    #[test]
    fn rates_are_kept_and_delays_lie_within_their_bounds() {
        let fates = fates(ROUGH, 3);
        let lost = fates.iter().filter(|fate| fate[0].is_none()).count();
        let doubled = fates.iter().filter(|fate| fate[1].is_some()).count();
        assert!((300..500).contains(&lost), "{lost} of 2000 lost at 0.2");
        assert!((100..220).contains(&doubled), "{doubled} of 2000 doubled at 0.1 of those not lost");
        let (least, most) = (ROUGH.delay, ROUGH.delay + ROUGH.jitter + HELD_BACK);
        assert!(fates.iter().filter_map(|fate| fate[0]).all(|after| after >= least && after < most));
    }

    #[test]
    fn a_cut_lets_nothing_pass_and_what_comes_after_it_does_not_depend_on_it() {
        let (dice, spared) = (Entropy::seeded(5), Entropy::seeded(5));
        assert_eq!(Conditions::CUT.datagram(&dice), [None, None]);
        let _ = ROUGH.datagram(&spared);
        assert_eq!(ROUGH.datagram(&dice), ROUGH.datagram(&spared));
    }
}
