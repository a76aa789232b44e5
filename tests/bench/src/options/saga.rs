//! What is measured of accepted orders, and for how long.

use std::time::Duration;

use super::{Place, seconds};

/// How many times as many orders a burst brings.
pub(crate) const BURST: u32 = 10;
/// The part of the steady time that a burst lasts.
const BURST_SHARE: u32 = 5;
/// Shoppers for each order a second: at ten times the rate each of them places less than half of what one may.
const SHOPPERS: u32 = 5;

/// What to measure of accepted orders.
#[derive(Debug, clap::Args)]
pub(crate) struct Saga {
    #[command(flatten)]
    pub(crate) place: Place,
    /// Some seconds in all: three of steady orders, 1,000 events.
    #[arg(long)]
    quick: bool,
    /// Orders a second, by the clock; the burst brings ten times as many.
    #[arg(long, default_value_t = 300, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=2_000))]
    pub(crate) rate: u32,
    /// Seconds of steady orders; the burst lasts a fifth of that.
    #[arg(long, value_name = "S", value_parser = seconds)]
    seconds: Option<Duration>,
    /// Events that wait when the consumers are let loose.
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=200_000))]
    backlog: Option<u32>,
    /// Core processes.
    #[arg(long, default_value_t = 1, value_name = "N", value_parser = clap::value_parser!(u16).range(1..=8))]
    pub(crate) cores: u16,
    /// For programs: everything as one JSON object.
    #[arg(long)]
    pub(crate) json: bool,
}

impl Saga {
    /// How long orders come steadily.
    pub(crate) fn steady(&self) -> Duration {
        self.seconds.unwrap_or(Duration::from_secs(if self.quick { 3 } else { 20 }))
    }

    /// How long the burst lasts.
    pub(crate) fn burst(&self) -> Duration {
        self.steady() / BURST_SHARE
    }

    /// Events that are to wait.
    pub(crate) fn backlog(&self) -> u32 {
        self.backlog.unwrap_or(if self.quick { 1_000 } else { 10_000 })
    }

    /// Guests who place the orders.
    pub(crate) fn shoppers(&self) -> usize {
        usize::try_from(self.rate * SHOPPERS).unwrap_or(usize::MAX)
    }
}

#[cfg(test)]
mod tests {
    use clap::Parser as _;

    use super::*;

    #[derive(clap::Parser)]
    struct Line {
        #[command(flatten)]
        saga: Saga,
    }

    fn parse(more: &[&str]) -> Result<Saga, clap::Error> {
        let line = ["bench", "--programs", "p", "--folder", "f"].into_iter().chain(more.iter().copied());
        Ok(Line::try_parse_from(line)?.saga)
    }

    #[test]
    fn a_full_run_is_what_the_aims_are_of_and_a_quick_one_is_smaller() {
        let (full, quick) = (parse(&[]).unwrap(), parse(&["--quick"]).unwrap());
        assert_eq!(
            (full.rate, full.backlog(), full.steady(), full.burst().as_secs()),
            (300, 10_000, Duration::from_secs(20), 4)
        );
        assert!(quick.rate == 300 && quick.backlog() < full.backlog() && quick.steady() < full.steady());
        for bad in [&["--rate", "0"][..], &["--seconds", "0"], &["--backlog", "0"], &["--cores", "0"]] {
            assert!(parse(bad).is_err(), "{bad:?} was taken");
        }
    }
}
