//! What is measured, and for how long.

pub(crate) mod saga;

use std::path::PathBuf;
use std::time::Duration;

use serde::Serialize;

pub(crate) use self::saga::Saga;

/// Stock keeping units in the spread load.
pub(crate) const SPREAD_SKUS: u32 = 1_000;

/// Where a run finds its programs and keeps its things.
#[derive(Clone, Debug, clap::Args)]
pub(crate) struct Place {
    /// The folder of our own programs: region-core, edge-pop, payment-sandbox, carrier-sandbox.
    #[arg(long, value_name = "FOLDER")]
    programs: PathBuf,
    /// Where databases and logs are kept while it runs. What is there is removed, before and after.
    #[arg(long, value_name = "FOLDER")]
    folder: PathBuf,
}

impl Place {
    /// One of our own programs; parts are started in folders of their own, so its path is whole.
    pub(crate) fn program(&self, name: &str) -> std::io::Result<PathBuf> {
        std::path::absolute(self.programs.join(name))
    }

    /// The folder of one part of the run.
    pub(crate) fn of(&self, part: &str) -> PathBuf {
        self.folder.join(part)
    }
}

/// What to measure of checkout.
#[derive(Debug, clap::Args)]
pub(crate) struct Options {
    #[command(flatten)]
    pub(crate) place: Place,
    /// Some seconds in all: one shard, 1 and 64 clients, a second each.
    #[arg(long)]
    quick: bool,
    /// Seconds of each measurement.
    #[arg(long, value_name = "S", value_parser = seconds)]
    seconds: Option<Duration>,
    /// Each client places this many orders, however long that takes.
    #[arg(long, value_name = "N", conflicts_with = "seconds", value_parser = clap::value_parser!(u32).range(1..))]
    orders: Option<u32>,
    /// Only one of the two parts.
    #[arg(long, value_enum)]
    only: Option<Part>,
    /// How often everything is measured; the figures are medians.
    #[arg(long, default_value_t = 1, value_name = "N", value_parser = clap::value_parser!(u16).range(1..=9))]
    pub(crate) runs: u16,
    /// The whole way: core processes.
    #[arg(long, default_value_t = 1, value_name = "N", value_parser = clap::value_parser!(u16).range(1..=8))]
    pub(crate) cores: u16,
    /// The whole way: clients that place one order after the other while the highest rate is looked for.
    #[arg(long, default_value_t = 64, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=400))]
    pub(crate) clients: u32,
    /// For programs: everything as one JSON object.
    #[arg(long)]
    pub(crate) json: bool,
}

/// The two parts of a run.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
enum Part {
    /// Against pgbench, in process.
    Admission,
    /// Client, PoP, HTTP/3, core, commit, payment.
    WholeWay,
}

fn seconds(text: &str) -> Result<Duration, &'static str> {
    let seconds = text.parse::<f64>().ok().filter(|seconds| (0.1..=600.0).contains(seconds));
    seconds.map(Duration::from_secs_f64).ok_or("seconds between 0.1 and 600")
}

/// When a measurement ends.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Span {
    /// After so long.
    Time(Duration),
    /// When each client has placed so many orders.
    Orders(u32),
}

/// How long the parts of a measurement take.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Pace {
    /// Before it, to warm up and to count statements.
    pub(crate) prime: Span,
    /// The measurement.
    pub(crate) span: Span,
    /// How much of its beginning does not count.
    pub(crate) ramp: Duration,
}

/// The disk below the databases.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub(crate) enum Disk {
    /// This machine's.
    #[serde(rename = "own")]
    Own,
    /// With a millisecond added to every flush, as a cloud disk has.
    #[serde(rename = "1ms")]
    Slow,
}

/// What is bought.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Goods {
    /// One SKU by everybody.
    Hot,
    /// Any of [`SPREAD_SKUS`].
    Spread,
}

impl Disk {
    pub(crate) const ALL: [Self; 2] = [Self::Own, Self::Slow];
}

impl std::fmt::Display for Disk {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.pad(match self {
            Self::Own => "own",
            Self::Slow => "+1 ms",
        })
    }
}

impl Goods {
    pub(crate) const ALL: [Self; 2] = [Self::Hot, Self::Spread];

    /// How many SKUs that is.
    pub(crate) fn skus(self) -> u32 {
        match self {
            Self::Hot => 1,
            Self::Spread => SPREAD_SKUS,
        }
    }
}

impl std::fmt::Display for Goods {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.pad(match self {
            Self::Hot => "hot",
            Self::Spread => "spread",
        })
    }
}

impl Options {
    pub(crate) fn measures_admission(&self) -> bool {
        self.only != Some(Part::WholeWay)
    }

    pub(crate) fn measures_whole_way(&self) -> bool {
        self.only != Some(Part::Admission)
    }

    /// Clients at once, of admission.
    pub(crate) fn clients_at_once(&self) -> &'static [u32] {
        if self.quick { &[1, 64] } else { &[1, 16, 64, 256] }
    }

    /// Numbers of shards, of admission.
    pub(crate) fn shards(&self) -> &'static [usize] {
        if self.quick { &[1] } else { &[1, 2] }
    }

    pub(crate) fn pace(&self) -> Pace {
        if let Some(orders) = self.orders {
            let span = Span::Orders(orders);
            return Pace { prime: span, span, ramp: Duration::ZERO };
        }
        let seconds = self.seconds.unwrap_or(Duration::from_secs(if self.quick { 1 } else { 3 }));
        let ramp = (seconds / 5).min(Duration::from_millis(500));
        Pace { prime: Span::Time(seconds.min(Duration::from_secs(1))), span: Span::Time(seconds + ramp), ramp }
    }
}

#[cfg(test)]
mod tests {
    use clap::Parser as _;

    use super::*;

    #[derive(clap::Parser)]
    struct Line {
        #[command(flatten)]
        options: Options,
    }

    fn parse(more: &[&str]) -> Result<Options, clap::Error> {
        let line = ["bench", "--programs", "p", "--folder", "f"].into_iter().chain(more.iter().copied());
        Ok(Line::try_parse_from(line)?.options)
    }

    #[test]
    fn a_full_run_measures_everything_and_a_quick_one_what_is_promised() {
        let (full, quick) = (parse(&[]).unwrap(), parse(&["--quick"]).unwrap());
        assert_eq!((full.clients_at_once(), full.shards()), (&[1, 16, 64, 256][..], &[1, 2][..]));
        for options in [&full, &quick] {
            assert!(options.clients_at_once().contains(&1) && options.clients_at_once().contains(&64));
            assert!(options.measures_admission() && options.measures_whole_way());
        }
    }

    #[test]
    fn a_count_of_orders_takes_the_clock_out() {
        let pace = parse(&["--orders", "5"]).unwrap().pace();
        assert_eq!((pace.prime, pace.span, pace.ramp), (Span::Orders(5), Span::Orders(5), Duration::ZERO));
        for bad in [&["--orders", "0"][..], &["--seconds", "0"], &["--seconds", "NaN"], &["--runs", "0"]] {
            assert!(parse(bad).is_err(), "{bad:?} was taken");
        }
    }
}
