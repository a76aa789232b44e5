//! What befalls the broker, if events go over Kafka: decided from the seed, by dice of its own, so that whatever else befalls a
//! store is the same on either bus.

use std::time::Duration;

use shared_clock::Entropy;

use super::schedule::{Action, Step, between};

/// The broker's part. It keeps all in memory: one that was killed comes back without a message and without an offset.
const BROKER: &str = "broker";
/// Tells these dice from those of the other faults.
const SALT: u64 = 0x6b61_666b;
/// Pause after which something befalls it again, in milliseconds.
const PAUSE: (u32, u32) = (3_000, 8_000);
/// For how long it is gone, and for how long it hangs.
const GONE: (u32, u32) = (200, 5_000);
const HANGS: (u32, u32) = (500, 8_000);

/// Killed or stopped again and again for so long, never before it has come back.
pub(super) fn steps(seed: u64, duration: Duration) -> Vec<Step> {
    let dice = Entropy::seeded(seed ^ SALT);
    let (mut steps, mut at) = (Vec::new(), Duration::ZERO);
    let part = || BROKER.to_owned();
    loop {
        at += between(&dice, PAUSE);
        if at >= duration {
            return steps;
        }
        let (begins, ends, lasts) = match dice.below(2) {
            0 => (Action::Kill(part()), Action::Start(part()), between(&dice, GONE)),
            _ => (Action::Pause(part()), Action::Resume(part()), between(&dice, HANGS)),
        };
        steps.push(Step { at, action: begins });
        at += lasts;
        steps.push(Step { at, action: ends });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LONG: Duration = Duration::from_secs(600);

    #[test]
    fn a_seed_repeats_what_befalls_the_broker_and_another_does_otherwise() {
        assert_eq!(steps(7, LONG), steps(7, LONG));
        assert_ne!(steps(7, LONG), steps(8, LONG));
    }

    #[test]
    fn the_broker_is_killed_and_stopped_by_turns_and_comes_back_each_time() {
        let (mut killed, mut stopped) = (0, 0);
        for pair in steps(3, LONG).chunks(2) {
            let [begins, ends] = pair else { panic!("{pair:?} never ends") };
            assert!(begins.at < ends.at);
            match (&begins.action, &ends.action) {
                (Action::Kill(gone), Action::Start(back)) if gone == back => killed += 1,
                (Action::Pause(gone), Action::Resume(back)) if gone == back => stopped += 1,
                other => panic!("{other:?}"),
            }
        }
        assert!(killed > 10 && stopped > 10, "{killed} and {stopped}");
    }
}
