//! `cargo xtask bench`: how fast, measured on systems of its own that are gone afterwards; it may run beside `up`.
//!
//! This command builds the programs for release and runs `meridian-bench`, which measures. Deliberately absent: bounds on
//! time. A run fails only if what it measured was wrong.

use std::fs::File;
use std::path::PathBuf;

use anyhow::{Context as _, anyhow, bail};

use crate::build;
use crate::console::Console;
use crate::failure::{Failure, Judged};
use crate::workspace::Workspace;

/// The packages whose programs a run starts.
const PACKAGES: [&str; 5] =
    ["meridian-bench", "region-core-server", "edge-pop", "region-core-payment-sandbox", "region-core-carrier-sandbox"];

/// What follows the help of `checkout`.
const MORE_OF_CHECKOUT: &str = "\
Examples:
  cargo xtask bench checkout --quick
  cargo xtask bench checkout --runs 3 --json > figures.json
  cargo xtask bench checkout --only whole-way --cores 2 --seconds 10

The object that --json prints has, among others, hot_sku_64_ratio, hot_sku_64_ratio_1ms, spread_64_ratio,
spread_64_ratio_1ms and one_client_ratio (our orders a second to pgbench's), whole_way_orders_per_s, whole_way_cpu_ms and
whole_way_p99_ms; `admission` and `whole_way` hold every measurement.

Exit code: 0 measured, and the books are right; 1 an order was lost, doubled or half there; 2 it could not be measured.";

/// What follows the help of `saga`.
const MORE_OF_SAGA: &str = "\
Aims on an idle machine, each printed beside its figure: confirmed_p50_ms at most 50 and confirmed_p99_ms at most 500 at 300 orders a
second; relay_events_per_s at least 4,000; backlog_drained_s at most 30 for 10,000 events; outbox_age_p99_ms at most 5,000. An aim that
is missed fails nothing.

Examples:
  cargo xtask bench saga --quick
  cargo xtask bench saga --rate 600 --seconds 60
  cargo xtask bench saga --backlog 50000 --json > figures.json

The object that --json prints has these figures, and confirmed_p50_ratio (to the commits and the provider's answers that an order
waits for, one after the other), relay_events_ratio (to commits of one client), offered_per_s, reached_per_s, cpu_ms_per_order and
aims; `limit`, `steady`, `backlog` and `burst` hold every measurement.

Exit code: 0 measured, and the books are right; 1 an order or a charge was lost, doubled or half there, or nothing was measured; 2 it
could not be measured.";

/// What to measure.
#[derive(Debug, clap::Subcommand)]
pub(crate) enum Bench {
    /// Checkout: admission beside pgbench's checkout, and the whole way through PoP and HTTP/3.
    ///
    /// Admission: pgbench with one prepared statement and one commit an order, and our `Orders::place` driven in process,
    /// on the same private Postgres with the same settings (fsync and synchronous_commit on); one hot SKU and 1,000; 1, 16,
    /// 64 and 256 clients; one shard and two, each a server of its own; on this machine's disk and with 1 ms added to every
    /// flush, as a cloud disk has.
    ///
    /// The whole way: orders over HTTP through a PoP and HTTP/3 to a core, accepted and paid by the payment sandbox; the
    /// highest rate, then answers at 70 % of it.
    ///
    /// Everything shares this machine's cores, load generators included; CPU time an order leaves out load generators and
    /// the payment sandbox. After each measurement the books are read: the run fails if an order is lost, doubled or
    /// half there, never for its figures. Takes some 6 minutes after the build; --quick takes one. Stop what else runs here.
    #[command(after_help = MORE_OF_CHECKOUT)]
    Checkout(Checkout),
    /// What becomes of accepted orders: from acceptance to CONFIRMED, through events and the payment sandbox.
    ///
    /// Orders come over HTTP through a PoP into a store with one shard, on the bus that every store has. Steadily by the clock:
    /// how long each takes to be confirmed, as the rows themselves say. A backlog: real orders come in while the consumers are
    /// kept from reading, then they are let loose. A burst of ten times the rate: how old the oldest event grows that nobody
    /// has heard yet, looked at every 10 ms.
    ///
    /// Beside the times stand ratios to what no store could do better here: one commit after the other on the shard's own
    /// disk, one answer of the payment sandbox after the other. Everything shares this machine's cores, the load generator
    /// included; CPU time an order leaves out load generator and sandbox. In the end the books are read: the run fails if an
    /// order or a charge is lost, doubled or half there, never for its figures. Takes some two minutes after the build. Stop
    /// what else runs here.
    #[command(after_help = MORE_OF_SAGA)]
    Saga(Saga),
}

/// How to measure checkout.
#[derive(Debug, clap::Args)]
pub(crate) struct Checkout {
    /// A small run: one shard, 1 and 64 clients, a second each.
    #[arg(long)]
    quick: bool,
    /// Seconds of each measurement: 3, or 1 with --quick.
    #[arg(long, value_name = "S")]
    seconds: Option<f64>,
    /// Each client places this many orders, however long that takes.
    #[arg(long, value_name = "N", conflicts_with = "seconds")]
    orders: Option<u32>,
    /// Only one of the two parts.
    #[arg(long, value_enum)]
    only: Option<Part>,
    /// How often everything is measured; the figures are medians.
    #[arg(long, default_value_t = 1, value_name = "N", value_parser = clap::value_parser!(u16).range(1..=9))]
    runs: u16,
    /// The whole way: core processes.
    #[arg(long, default_value_t = 1, value_name = "N", value_parser = clap::value_parser!(u16).range(1..=8))]
    cores: u16,
    /// The whole way: clients that place one order after the other while the highest rate is looked for.
    #[arg(long, default_value_t = 64, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=400))]
    clients: u32,
    /// For programs: everything as one JSON object.
    #[arg(long)]
    json: bool,
    /// Measures the programs as they were last built.
    #[arg(long)]
    no_build: bool,
}

/// How to measure accepted orders.
#[derive(Debug, clap::Args)]
pub(crate) struct Saga {
    /// A small run: three seconds of steady orders, 1,000 events.
    #[arg(long)]
    quick: bool,
    /// Orders a second, by the clock; the burst brings ten times as many.
    #[arg(long, default_value_t = 300, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=2_000))]
    rate: u32,
    /// Seconds of steady orders: 20, or 3 with --quick; the burst lasts a fifth of that.
    #[arg(long, value_name = "S")]
    seconds: Option<f64>,
    /// Events that wait when the consumers are let loose: 10,000, or 1,000 with --quick.
    #[arg(long, value_name = "N")]
    backlog: Option<u32>,
    /// Core processes.
    #[arg(long, default_value_t = 1, value_name = "N", value_parser = clap::value_parser!(u16).range(1..=8))]
    cores: u16,
    /// For programs: everything as one JSON object.
    #[arg(long)]
    json: bool,
    /// Measures the programs as they were last built.
    #[arg(long)]
    no_build: bool,
}

/// The two parts of checkout's benchmark.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
enum Part {
    /// In process, against pgbench.
    Admission,
    /// Client, PoP, HTTP/3, core, commit, payment.
    WholeWay,
}

pub(crate) async fn run(workspace: &Workspace, bench: &Bench) -> Judged {
    let (name, arguments, no_build) = match bench {
        Bench::Checkout(options) => ("checkout", options.arguments(), options.no_build),
        Bench::Saga(options) => ("saga", options.arguments(), options.no_build),
    };
    let (folder, programs) = (workspace.target().join("bench"), workspace.target().join("release"));
    let _alone = claim(&folder)?;
    if !no_build {
        Console::new().step("release build", build(workspace)).await?;
    }
    let mut command = tokio::process::Command::new(programs.join("meridian-bench"));
    command.arg(name).args(arguments).arg("--programs").arg(&programs).arg("--folder").arg(&folder);
    let status = command.kill_on_drop(true).status().await.context("cannot run meridian-bench; was it built?")?;
    match status.code() {
        Some(0) => Ok(()),
        // As `meridian-bench` itself ends: it has said what is wrong.
        Some(1) => Err(Failure::Broken("what was measured was wrong".to_owned())),
        _ => Err(anyhow!("the benchmark could not be run ({status})").into()),
    }
}

async fn build(workspace: &Workspace) -> anyhow::Result<()> {
    let mut cargo = workspace.cargo();
    cargo.args(["build", "--release", "--quiet", "--bins"]).args(PACKAGES.iter().flat_map(|package| ["-p", package]));
    build::passes("cargo build --release", cargo).await
}

/// Two runs at once would measure each other.
fn claim(folder: &PathBuf) -> anyhow::Result<File> {
    std::fs::create_dir_all(folder).with_context(|| format!("cannot create {}", folder.display()))?;
    let path = folder.join("run.lock");
    let lock = File::create(&path).with_context(|| format!("cannot create {}", path.display()))?;
    if lock.try_lock().is_err() {
        bail!("another benchmark runs here; two at once would measure each other");
    }
    Ok(lock)
}

impl Checkout {
    /// As `meridian-bench` is told.
    fn arguments(&self) -> Vec<String> {
        let Self { quick, seconds, orders, only, runs, cores, clients, json, no_build: _ } = self;
        let values = [
            ("--seconds", seconds.map(|seconds| seconds.to_string())),
            ("--orders", orders.map(|orders| orders.to_string())),
            ("--only", only.map(|part| part.name().to_owned())),
            ("--runs", Some(runs.to_string())),
            ("--cores", Some(cores.to_string())),
            ("--clients", Some(clients.to_string())),
        ];
        spelled(&[("--quick", *quick), ("--json", *json)], values)
    }
}

impl Saga {
    /// As `meridian-bench` is told.
    fn arguments(&self) -> Vec<String> {
        let Self { quick, rate, seconds, backlog, cores, json, no_build: _ } = self;
        let values = [
            ("--rate", Some(rate.to_string())),
            ("--seconds", seconds.map(|seconds| seconds.to_string())),
            ("--backlog", backlog.map(|events| events.to_string())),
            ("--cores", Some(cores.to_string())),
        ];
        spelled(&[("--quick", *quick), ("--json", *json)], values)
    }
}

/// The flags that are wanted, and the options that have a value.
fn spelled<const N: usize>(flags: &[(&str, bool)], values: [(&str, Option<String>); N]) -> Vec<String> {
    let flags = flags.iter().filter(|(_, wanted)| *wanted).map(|(flag, _)| (*flag).to_owned());
    let values = values.into_iter().filter_map(|(name, value)| Some([name.to_owned(), value?]));
    flags.chain(values.flatten()).collect()
}

impl Part {
    fn name(self) -> &'static str {
        match self {
            Self::Admission => "admission",
            Self::WholeWay => "whole-way",
        }
    }
}

#[cfg(test)]
mod tests {
    use clap::Parser as _;

    use super::*;

    #[derive(clap::Parser)]
    struct Line {
        #[command(subcommand)]
        bench: Bench,
    }

    #[test]
    fn what_was_asked_for_is_passed_on() {
        let line = ["bench", "checkout", "--quick", "--only", "whole-way", "--orders", "5", "--runs", "3"];
        let Bench::Checkout(options) = Line::parse_from(line).bench else { panic!("another benchmark") };
        let passed = options.arguments().join(" ");
        assert_eq!(passed, "--quick --orders 5 --only whole-way --runs 3 --cores 1 --clients 64");
        let line = ["bench", "saga", "--json", "--backlog", "500"];
        let Bench::Saga(options) = Line::parse_from(line).bench else { panic!("another benchmark") };
        assert_eq!(options.arguments().join(" "), "--json --rate 300 --backlog 500 --cores 1");
    }
}
