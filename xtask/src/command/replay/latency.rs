//! How long answers took: exact percentiles of every one of them, for a year of invoices is but some thousands.

use std::time::Duration;

use serde::Serialize;

/// Percentiles in milliseconds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize)]
pub(super) struct Latency {
    pub(super) p50_ms: f64,
    pub(super) p99_ms: f64,
    pub(super) max_ms: f64,
}

impl Latency {
    /// Of these durations, by nearest rank; zeros if there are none.
    pub(super) fn of(mut took: Vec<Duration>) -> Self {
        took.sort_unstable();
        let at = |per_cent: usize| {
            let rank = (took.len() * per_cent).div_ceil(100).max(1);
            took.get(rank - 1).map_or(0.0, |took| took.as_secs_f64() * 1_000.0)
        };
        Self { p50_ms: at(50), p99_ms: at(99), max_ms: at(100) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_percentile_is_the_smallest_value_that_so_many_do_not_exceed() {
        let shuffled = (1..=200).map(|number| Duration::from_millis(number * 37 % 211)).collect::<Vec<_>>();
        let mut sorted = shuffled.clone();
        sorted.sort_unstable();
        let ms = |index: usize| sorted[index].as_secs_f64() * 1_000.0;
        assert_eq!(Latency::of(shuffled), Latency { p50_ms: ms(99), p99_ms: ms(197), max_ms: ms(199) });
    }

    #[test]
    fn few_values_are_enough_and_none_are_zeros() {
        let one = Latency::of(vec![Duration::from_millis(7)]);
        assert_eq!(one, Latency { p50_ms: 7.0, p99_ms: 7.0, max_ms: 7.0 });
        assert_eq!(Latency::of(Vec::new()), Latency::default());
    }
}
