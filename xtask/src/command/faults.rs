//! `cargo xtask faults`: a store of its own under load while its parts fail, and then the books.

use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use shared_clock::Entropy;

use crate::bus::Bus;
use crate::console::{self, Console};
use crate::failure::{Failure, Judged};
use crate::faults::{self, Bug, Failpoint, Scenario};
use crate::workspace::Workspace;

/// What `--help` says after the options.
const TEACHES: &str = "\
What befalls the store, by the seed, every 1 to 3 s: cores, shards, Redis, the PoP, the payment provider and the carrier are killed and
started again, or stopped for seconds; links between them are cut, slow, or lose, double and overtake. Provider and carrier lose
answers, fail before and after the fact, and answer late; the provider forgets the idempotency keys that it was sent. With --bus kafka
the broker as well is killed, and comes back without a message, an offset or a member of a group, or is stopped, every 3 to 8 s.

Meanwhile a third of the accepted orders is in the hands of who keeps the store: sent by hand and by label, delivered, returned and looked
at, paid back in parts by two at once, called off while they are sent, their labels given back or written off.

Exit code: 0 every promise was kept; 1 one was broken, which a run with --bug must come to; 2 nobody knows, for the run could not
be carried out: something could not be built, started or read, a part did not come back, or no core came to a failpoint.";

/// How long cores die on Kafka unless told: the lease of a relay outlives its core by seconds in which no event moves.
const DEATHS_ON_KAFKA: Duration = Duration::from_secs(60);

/// What to break, and for how long.
#[derive(Debug, clap::Args)]
#[command(after_help = TEACHES)]
pub(crate) struct Options {
    /// Orders to place.
    #[arg(long, default_value_t = 1_000, value_parser = clap::value_parser!(u32).range(10..=1_000_000))]
    orders: u32,
    /// Decides which faults come when and who orders what; drawn and told if absent.
    #[arg(long)]
    seed: Option<u64>,
    /// Core processes in each region; with --bug or a failpoint, as many as brings it out.
    #[arg(long, default_value_t = 2, value_parser = clap::value_parser!(u16).range(1..=8))]
    cores: u16,
    /// Seconds over which orders and faults are spread; by default 50 orders a second, 30 s at least, 600 s at most.
    #[arg(long, value_name = "SECONDS", value_parser = clap::value_parser!(u64).range(5..=7_200))]
    duration: Option<u64>,
    /// What carries events. On Kafka its broker suffers too.
    #[arg(long, value_enum, default_value_t)]
    bus: Bus,
    /// Gives every core this bug, and the store what brings it out: the run must then fail.
    #[arg(long, value_name = "NAME")]
    bug: Option<Bug>,
    /// With --bug: what brings it out, but without the bug. The run must then pass.
    #[arg(long, requires = "bug")]
    control: bool,
    /// Names every bug, a line each, and does nothing else.
    #[arg(long)]
    list_bugs: bool,
    /// Instead of anything else, cores die at this place again and again; nothing may be broken by that.
    #[arg(long, value_name = "NAME", value_parser = Failpoint::parse, conflicts_with = "bug")]
    failpoint: Option<Failpoint>,
    /// The same at every place, one after the other.
    #[arg(long, conflicts_with_all = ["bug", "failpoint"])]
    failpoints: bool,
    /// Names every place at which a core can die, a line each, and does nothing else.
    #[arg(long)]
    list_failpoints: bool,
    /// For programs: the report as one JSON object.
    #[arg(long)]
    json: bool,
    /// Runs everything as it was last built.
    #[arg(long)]
    no_build: bool,
}

pub(crate) async fn run(workspace: &Workspace, options: &Options) -> Judged {
    if options.list_bugs {
        for bug in Bug::ALL {
            println!("{:<20} {}", bug.name(), bug.says());
        }
        return Ok(());
    }
    if options.list_failpoints {
        for place in Failpoint::ALL {
            println!("{:<24} {}", place.name, place.says);
        }
        return Ok(());
    }
    let console = Arc::new(Console::new());
    let report = faults::run(workspace, &console, &scenario(options), !options.no_build).await;
    let report = report.context("the fault run could not be carried out")?;
    let problems = report.problems();
    for problem in &problems {
        eprintln!("{problem}");
    }
    if !report.audit.is_clean() {
        eprintln!("{}", report.audit);
    }
    eprintln!("history, acknowledged orders, deeds and schedule: {}", report.folder.display());
    console::show(&report, options.json)?;
    if report.is_green() {
        return Ok(());
    }
    Err(Failure::Broken(format!("{} promises were broken", problems.len())))
}

fn scenario(options: &Options) -> Scenario {
    let seed = options.seed.unwrap_or_else(|| u64::from(Entropy::system().below(1_000_000)));
    let duration = options.duration.map(Duration::from_secs);
    let places = if options.failpoints { Failpoint::ALL.to_vec() } else { options.failpoint.into_iter().collect() };
    let scenario = match options.bug {
        None if !places.is_empty() => {
            let longer = Some(DEATHS_ON_KAFKA).filter(|_| options.bus == Bus::Kafka);
            Scenario::deaths(places, seed, options.orders, duration.or(longer))
        }
        None => Scenario::gate(seed, options.orders, options.cores, duration),
        Some(bug) if options.control => Scenario::hunt(bug, seed, options.orders, duration).control(),
        Some(bug) => Scenario::hunt(bug, seed, options.orders, duration),
    };
    scenario.on(options.bus)
}
