//! `meridian-bench`: how fast checkout is, beside the checkout that most stores have, and how fast accepted orders end.
//! `cargo xtask bench` builds it for release and runs it.
//!
//! Checkout has two parts. *Admission*: pgbench with one statement and one commit an order, and `Orders::place` driven in this process,
//! in turns on the same private Postgres under the same settings. *The whole way*: a started store of release programs,
//! orders over HTTP through the PoP, until the payment sandbox has paid them. *Saga* looks at such a store's orders once they
//! are accepted: steadily, behind a backlog, in a burst. Afterwards the books are read: figures of a store that loses or
//! doubles an order mean nothing, and the run fails.
//!
//! Deliberately absent: any bound on time. A slow machine gives low figures, never a failure.

mod admission;
mod baseline;
mod books;
mod cells;
mod cpu;
mod ground;
mod options;
mod report;
mod saga;
mod samples;
mod slow_flush;
mod whole_way;

use std::fmt::Display;
use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Parser, Subcommand};
use serde::Serialize;

use crate::options::{Options, Saga};
use crate::report::Report;

/// As in the core, whose admission is measured in this process.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// What `--help` says after the commands. `cargo xtask bench` relies on it.
const TEACHES: &str = "Exit code: 0 measured, and the books are right; 1 the books are wrong, or nothing was measured; 2 it could not be measured.";

/// Measures a store's orders.
#[derive(Debug, Parser)]
#[command(name = "meridian-bench", version, arg_required_else_help = true, after_help = TEACHES)]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Admission beside pgbench's one-statement checkout, and the whole way through PoP and HTTP/3.
    Checkout(Options),
    /// From acceptance to CONFIRMED: steadily, behind a backlog of events, in a burst.
    Saga(Saga),
    /// Ends what a run started, should it die. Started by the run itself.
    #[command(hide = true)]
    Guardian {
        /// The guardian's lock file.
        lock: PathBuf,
    },
}

fn main() -> ExitCode {
    let result = match Arguments::parse().command {
        // Before any thread is started, for the guardian blocks the signals of its only one.
        Command::Guardian { lock } => xtask_system::guardian::run(&lock).map_err(anyhow::Error::from).map(Ok),
        Command::Checkout(options) => checkout(&options),
        Command::Saga(options) => saga(&options),
    };
    let (error, code) = match result {
        Ok(Ok(())) => return ExitCode::SUCCESS,
        Ok(Err(wrong)) => (wrong, 1),
        Err(error) => (error, 2),
    };
    eprintln!("error: {error:#}");
    ExitCode::from(code)
}

/// Measures and shows what came out. The outer error says why nothing was measured, the inner one what is wrong with the
/// books.
fn checkout(options: &Options) -> anyhow::Result<anyhow::Result<()>> {
    let runtime = tokio::runtime::Runtime::new()?;
    let report = runtime.block_on(measure(options))?;
    show(&report, options.json)?;
    Ok(report.verdict())
}

/// The same of accepted orders.
fn saga(options: &Saga) -> anyhow::Result<anyhow::Result<()>> {
    let runtime = tokio::runtime::Runtime::new()?;
    let report = runtime.block_on(Box::pin(saga::run(options)))?;
    show(&report, options.json)?;
    Ok(report.verdict())
}

fn show(report: &(impl Serialize + Display), json: bool) -> anyhow::Result<()> {
    if json {
        println!("{}", serde_json::to_string(report)?);
    } else {
        println!("{report}");
    }
    Ok(())
}

async fn measure(options: &Options) -> anyhow::Result<Report> {
    let admission = if options.measures_admission() { Some(Box::pin(cells::run(options)).await?) } else { None };
    let whole_way = if options.measures_whole_way() { Some(Box::pin(whole_way::run(options)).await?) } else { None };
    Ok(Report::of(options, admission, whole_way))
}
