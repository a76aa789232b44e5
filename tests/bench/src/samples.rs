//! What a measurement wrote down, and the figures that follow from it.

use std::time::Duration;

use serde::Serialize;
use shared_clock::Clock;
use tokio::time::Instant;

/// How often CPU time is read, at most; reading it costs some.
const LONGEST_PAUSE: Duration = Duration::from_millis(200);
const SHORTEST_PAUSE: Duration = Duration::from_millis(20);

/// Unix time of the instants of one run.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Epoch {
    instant: Instant,
    unix_us: u64,
}

impl Epoch {
    pub(crate) fn now() -> Self {
        Self { instant: Instant::now(), unix_us: Clock::system().unix_ms() * 1_000 }
    }

    /// Unix microseconds of an instant after it.
    pub(crate) fn unix_us(&self, instant: Instant) -> u64 {
        self.unix_us + micros(instant.saturating_duration_since(self.instant))
    }
}

/// Whole microseconds.
pub(crate) fn micros(time: Duration) -> u64 {
    u64::try_from(time.as_micros()).unwrap_or(u64::MAX)
}

/// An order that was accepted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Answer {
    /// When, in Unix microseconds.
    pub(crate) at_us: u64,
    /// After how long.
    pub(crate) took_us: u64,
}

/// CPU time used until then.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Reading {
    /// When, in Unix microseconds.
    pub(crate) at_us: u64,
    /// By everything that is counted.
    pub(crate) cpu: Duration,
}

/// One measurement, written down.
#[derive(Clone, Debug, Default)]
pub(crate) struct Trace {
    /// In any order.
    pub(crate) answers: Vec<Answer>,
    /// In the order of time.
    pub(crate) readings: Vec<Reading>,
}

/// Figures of one measurement.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize)]
pub(crate) struct Speed {
    pub(crate) orders_per_s: f64,
    pub(crate) p50_ms: f64,
    pub(crate) p99_ms: f64,
    /// Without load generators.
    pub(crate) cpu_ms_per_order: f64,
}

impl Trace {
    /// The figures between the first reading after `ramp` and the last reading before the end: whatever begins and ends a
    /// run is outside. A run too short for that counts as a whole.
    pub(crate) fn speed(&self, ramp: Duration) -> Speed {
        let times = || self.answers.iter().map(|answer| answer.at_us);
        let (first, last) = (times().min().unwrap_or(0), times().max().unwrap_or(0));
        let within = |reading: &&Reading| reading.at_us >= first + micros(ramp) && reading.at_us <= last;
        let begin = self.readings.iter().find(within);
        let end = self.readings.iter().rfind(within);
        match (begin, end) {
            (Some(begin), Some(end)) if begin.at_us < end.at_us => self.between(*begin, *end),
            _ => self.whole(),
        }
    }

    fn whole(&self) -> Speed {
        match (self.readings.first(), self.readings.last()) {
            (Some(begin), Some(end)) => self.between(*begin, *end),
            _ => Speed::default(),
        }
    }

    fn between(&self, begin: Reading, end: Reading) -> Speed {
        let counted = |answer: &&Answer| answer.at_us > begin.at_us && answer.at_us <= end.at_us;
        let took: Vec<u64> = self.answers.iter().filter(counted).map(|answer| answer.took_us).collect();
        let orders = count(took.len());
        let seconds = Duration::from_micros(end.at_us - begin.at_us).as_secs_f64();
        let cpu_ms = end.cpu.saturating_sub(begin.cpu).as_secs_f64() * 1_000.0;
        let [p50_ms, p99_ms] = percentiles_ms(took);
        Speed { orders_per_s: ratio(orders, seconds), p50_ms, p99_ms, cpu_ms_per_order: ratio(cpu_ms, orders) }
    }
}

/// Runs a measurement and reads CPU time while it goes on, at its beginning and at its end.
pub(crate) async fn with_readings<T>(
    epoch: Epoch,
    read: impl Fn() -> Duration,
    work: impl Future<Output = T>,
) -> (T, Vec<Reading>) {
    let reading = || Reading { cpu: read(), at_us: epoch.unix_us(Instant::now()) };
    let mut readings = vec![reading()];
    let mut pause = SHORTEST_PAUSE;
    let mut work = std::pin::pin!(work);
    loop {
        match tokio::time::timeout(pause, &mut work).await {
            Ok(result) => {
                readings.push(reading());
                return (result, readings);
            }
            Err(_) => readings.push(reading()),
        }
        pause = (pause * 2).min(LONGEST_PAUSE);
    }
}

/// The 50th and the 99th in a hundred, by nearest rank, in milliseconds; zeros if there are none.
pub(crate) fn percentiles_ms(mut took_us: Vec<u64>) -> [f64; 2] {
    took_us.sort_unstable();
    [50, 99].map(|per_cent: usize| {
        let rank = (took_us.len() * per_cent).div_ceil(100).max(1);
        took_us.get(rank - 1).map_or(0.0, |took| Duration::from_micros(*took).as_secs_f64() * 1_000.0)
    })
}

/// The middle one; of an even number the mean of the two in the middle.
pub(crate) fn median(mut values: Vec<f64>) -> f64 {
    values.sort_unstable_by(f64::total_cmp);
    let middle = values.len() / 2;
    match values.len() {
        0 => 0.0,
        count if count % 2 == 1 => values[middle],
        _ => f64::midpoint(values[middle - 1], values[middle]),
    }
}

/// Of each figure on its own.
pub(crate) fn median_speed(speeds: &[Speed]) -> Speed {
    let of = |figure: fn(&Speed) -> f64| median(speeds.iter().map(figure).collect());
    Speed {
        orders_per_s: of(|speed| speed.orders_per_s),
        p50_ms: of(|speed| speed.p50_ms),
        p99_ms: of(|speed| speed.p99_ms),
        cpu_ms_per_order: of(|speed| speed.cpu_ms_per_order),
    }
}

/// A quotient; nothing of nothing is nothing.
pub(crate) fn ratio(of: f64, to: f64) -> f64 {
    if to > 0.0 { of / to } else { 0.0 }
}

/// A count as a number to reckon with: exact below 2^53.
#[expect(clippy::cast_precision_loss, reason = "no run counts to 2^53")]
pub(crate) fn count(of: usize) -> f64 {
    of as f64
}

#[cfg(test)]
mod tests {
    use super::*;

    fn trace(answers: &[(u64, u64)], readings: &[(u64, u64)]) -> Trace {
        let answers = answers.iter().map(|&(at_us, took_us)| Answer { at_us, took_us }).collect();
        let reading = |&(at_us, ms)| Reading { at_us, cpu: Duration::from_millis(ms) };
        Trace { answers, readings: readings.iter().map(reading).collect() }
    }

    #[test]
    fn what_begins_and_ends_a_run_is_outside_the_window() {
        // One order each 10 ms from 1 s to 2 s; connecting before has cost a second of CPU, disconnecting another.
        let answers: Vec<_> = (100..=200).map(|number| (number * 10_000, 4_000)).collect();
        let readings = [(0, 0), (900_000, 1_000), (1_200_000, 1_100), (1_600_000, 1_300), (2_300_000, 2_300)];
        let speed = trace(&answers, &readings).speed(Duration::from_millis(100));
        assert_eq!(speed, Speed { orders_per_s: 100.0, p50_ms: 4.0, p99_ms: 4.0, cpu_ms_per_order: 5.0 });
    }

    #[test]
    fn a_run_too_short_for_a_window_counts_as_a_whole() {
        let speed = trace(&[(10_000, 2_000), (20_000, 6_000)], &[(0, 0), (500_000, 10)]).speed(Duration::ZERO);
        assert_eq!(speed, Speed { orders_per_s: 4.0, p50_ms: 2.0, p99_ms: 6.0, cpu_ms_per_order: 5.0 });
        assert_eq!(Trace::default().speed(Duration::ZERO), Speed::default());
    }

    #[test]
    fn percentiles_are_values_that_occurred_and_a_median_ignores_the_outlier() {
        assert_eq!(percentiles_ms((1..=200).rev().map(|ms| ms * 1_000).collect()), [100.0, 198.0]);
        assert_eq!((median(vec![9.0, 1.0, 2.0]), median(vec![1.0, 3.0]), median(Vec::new())), (2.0, 2.0, 0.0));
    }

    #[tokio::test(start_paused = true)]
    async fn cpu_is_read_at_both_ends_and_in_between() {
        let epoch = Epoch::now();
        let work = tokio::time::sleep(Duration::from_secs(1));
        let ((), readings) = with_readings(epoch, || Duration::ZERO, work).await;
        let (first, last) = (readings[0].at_us, readings[readings.len() - 1].at_us);
        assert!(readings.len() > 4 && last - first >= 1_000_000, "{readings:?}");
    }
}
