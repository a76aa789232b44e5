//! `cargo xtask faults`: a store of its own under load while its parts fail, and then the books.

use std::sync::Arc;
use std::time::Duration;

use anyhow::bail;
use shared_clock::Entropy;

use crate::console::Console;
use crate::faults::{self, Bug, Scenario};
use crate::workspace::Workspace;

/// What to break, and for how long.
#[derive(Debug, clap::Args)]
pub(crate) struct Options {
    /// Orders to place.
    #[arg(long, default_value_t = 1_000, value_parser = clap::value_parser!(u32).range(10..=1_000_000))]
    orders: u32,
    /// Decides which faults come when and who orders what; drawn and told if absent.
    #[arg(long)]
    seed: Option<u64>,
    /// Core processes in each region.
    #[arg(long, default_value_t = 2, value_parser = clap::value_parser!(u16).range(1..=8))]
    cores: u16,
    /// Seconds over which orders and faults are spread; by default 50 orders a second, 30 s at least, 600 s at most.
    #[arg(long, value_name = "SECONDS", value_parser = clap::value_parser!(u64).range(5..=7_200))]
    duration: Option<u64>,
    /// Gives every core this bug, and the store what brings it out: the run must then fail.
    #[arg(long, value_name = "NAME")]
    bug: Option<Bug>,
    /// With --bug: what brings it out, but without the bug. The run must then pass.
    #[arg(long, requires = "bug")]
    control: bool,
    /// Names every bug, a line each, and does nothing else.
    #[arg(long)]
    list_bugs: bool,
    /// For programs: the report as one JSON object.
    #[arg(long)]
    json: bool,
    /// Runs everything as it was last built.
    #[arg(long)]
    no_build: bool,
}

pub(crate) async fn run(workspace: &Workspace, options: &Options) -> anyhow::Result<()> {
    if options.list_bugs {
        for bug in Bug::ALL {
            println!("{:<20} {}", bug.name(), bug.says());
        }
        return Ok(());
    }
    let console = Arc::new(Console::new());
    let report = faults::run(workspace, &console, &scenario(options), !options.no_build).await?;
    let problems = report.problems();
    for problem in &problems {
        eprintln!("{problem}");
    }
    if !report.audit.is_clean() {
        eprintln!("{}", report.audit);
    }
    eprintln!("history, acknowledged orders and schedule: {}", report.folder.display());
    if options.json {
        println!("{}", serde_json::to_string(&report)?);
    } else {
        println!("{report}");
    }
    if report.is_green() { Ok(()) } else { bail!("{} promises were broken", problems.len()) }
}

fn scenario(options: &Options) -> Scenario {
    let seed = options.seed.unwrap_or_else(|| u64::from(Entropy::system().below(1_000_000)));
    let duration = options.duration.map(Duration::from_secs);
    match options.bug {
        None => Scenario::gate(seed, options.orders, options.cores, duration),
        Some(bug) if options.control => Scenario::hunt(bug, seed, options.orders, duration).control(),
        Some(bug) => Scenario::hunt(bug, seed, options.orders, duration),
    }
}
