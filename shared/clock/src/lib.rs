//! Where native processes take time and random bytes from: the only place that asks the operating system.
//!
//! Both are handed in as values, so that tests turn the clock and repeat their dice. The Worker has its own, behind the
//! edge's `Platform`. Times that decide about stock and orders come from the shard's `shard_now()` instead.

use std::sync::Arc;
use std::sync::Mutex;
use std::sync::PoisonError;
use std::sync::atomic::{AtomicU64, Ordering};

use time::OffsetDateTime;

/// Wall-clock time, of the system or turned by hand.
#[derive(Clone, Debug)]
pub struct Clock(Source);

#[derive(Clone, Debug)]
enum Source {
    System,
    Turned(Arc<AtomicU64>),
}

impl Clock {
    /// The machine's clock.
    #[must_use]
    pub fn system() -> Self {
        Self(Source::System)
    }

    /// A clock that stands at `unix_ms` until [`Clock::advance`] turns it. Clones turn together.
    #[must_use]
    pub fn turned(unix_ms: u64) -> Self {
        Self(Source::Turned(Arc::new(AtomicU64::new(unix_ms))))
    }

    /// Turns a [`Clock::turned`] forward; the system's clock is not ours to turn.
    pub fn advance(&self, by: std::time::Duration) {
        if let Source::Turned(now) = &self.0 {
            now.fetch_add(u64::try_from(by.as_millis()).unwrap_or(u64::MAX), Ordering::SeqCst);
        }
    }

    /// Unix milliseconds.
    #[must_use]
    pub fn unix_ms(&self) -> u64 {
        match &self.0 {
            #[expect(clippy::disallowed_methods, reason = "the one place")]
            Source::System => std::time::SystemTime::now()
                .duration_since(std::time::UNIX_EPOCH)
                .map_or(0, |since| u64::try_from(since.as_millis()).unwrap_or(u64::MAX)),
            Source::Turned(now) => now.load(Ordering::SeqCst),
        }
    }

    /// Unix seconds.
    #[must_use]
    pub fn unix_seconds(&self) -> u64 {
        self.unix_ms() / 1_000
    }

    /// The instant, in UTC, to the millisecond.
    #[must_use]
    pub fn now(&self) -> OffsetDateTime {
        OffsetDateTime::from_unix_timestamp_nanos(i128::from(self.unix_ms()) * 1_000_000)
            .unwrap_or(OffsetDateTime::UNIX_EPOCH)
    }
}

/// Random bytes, from the system or from a seed.
#[derive(Clone, Debug)]
pub struct Entropy(Dice);

#[derive(Clone, Debug)]
enum Dice {
    System,
    Seeded(Arc<Mutex<u64>>),
}

impl Entropy {
    /// The operating system's secure source.
    #[must_use]
    pub fn system() -> Self {
        Self(Dice::System)
    }

    /// Repeatable bytes for tests and load tools; never for secrets.
    #[must_use]
    pub fn seeded(seed: u64) -> Self {
        Self(Dice::Seeded(Arc::new(Mutex::new(seed))))
    }

    /// That many random bytes.
    ///
    /// # Panics
    /// When the operating system has no secure source: nothing safe could be done then.
    #[must_use]
    pub fn bytes<const N: usize>(&self) -> [u8; N] {
        let mut bytes = [0; N];
        match &self.0 {
            #[expect(clippy::disallowed_methods, clippy::expect_used, reason = "the one place")]
            Dice::System => getrandom::fill(&mut bytes).expect("the operating system's random source"),
            Dice::Seeded(state) => {
                let mut state = state.lock().unwrap_or_else(PoisonError::into_inner);
                for chunk in bytes.chunks_mut(8) {
                    let word = split_mix(&mut state).to_le_bytes();
                    chunk.copy_from_slice(&word[..chunk.len()]);
                }
            }
        }
        bytes
    }

    /// A number below `bound`, which must not be zero. The bias is below 2^-32 for bounds that fit 32 bits.
    #[must_use]
    pub fn below(&self, bound: u32) -> u32 {
        let wide = u128::from(u64::from_le_bytes(self.bytes())) * u128::from(bound);
        u32::try_from(wide >> 64).unwrap_or(0)
    }
}

/// `SplitMix64` (Steele, Lea and Flood, 2014).
fn split_mix(state: &mut u64) -> u64 {
    *state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let mut word = *state;
    word = (word ^ (word >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    word = (word ^ (word >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    word ^ (word >> 31)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_turned_clock_moves_only_by_hand_and_all_its_clones_with_it() {
        let clock = Clock::turned(1_000);
        let twin = clock.clone();
        clock.advance(std::time::Duration::from_millis(500));
        assert_eq!((clock.unix_ms(), twin.unix_ms(), twin.unix_seconds()), (1_500, 1_500, 1));
    }

    #[test]
    fn a_seed_repeats_and_the_system_does_not() {
        assert_eq!(Entropy::seeded(1).bytes::<20>(), Entropy::seeded(1).bytes::<20>());
        assert_ne!(Entropy::seeded(1).bytes::<20>(), Entropy::seeded(2).bytes::<20>());
        assert_ne!(Entropy::system().bytes::<20>(), Entropy::system().bytes::<20>());
    }

    #[test]
    fn numbers_stay_below_their_bound() {
        let dice = Entropy::seeded(7);
        let throws: Vec<u32> = (0..600).map(|_| dice.below(6)).collect();
        assert!((0..6).all(|face| throws.contains(&face)) && throws.iter().all(|throw| *throw < 6));
    }
}
