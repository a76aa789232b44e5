//! `region-core`: one region's truth behind HTTP/3, and the commands that look after it.
//!
//! A process reads its configuration once, builds every service from values and hands them to the listeners. Deliberately
//! absent: business rules (services have them) and globals.

mod api;
mod command;
mod config;
mod directory;
mod mail;
mod ops;
mod peers;
mod prices;
mod refresh;
mod region;
mod webhooks;

use std::io::IsTerminal;
use std::process::ExitCode;

use clap::Parser;
use tracing_subscriber::EnvFilter;

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// One region's core: serves shoppers' requests from its shards, and looks after them.
#[derive(Parser)]
#[command(version, about, long_about = None)]
struct Arguments {
    #[command(subcommand)]
    command: command::Command,
}

#[tokio::main]
async fn main() -> ExitCode {
    let arguments = Arguments::parse();
    log_to_stderr();
    match run(arguments).await {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("region-core: {error:#}");
            ExitCode::FAILURE
        }
    }
}

async fn run(arguments: Arguments) -> anyhow::Result<()> {
    region_core_store::arm()?;
    arguments.command.run().await
}

/// Structured logs: JSON lines for machines, plain lines on a terminal. `RUST_LOG` chooses what is said.
fn log_to_stderr() {
    let filter =
        EnvFilter::try_from_default_env().unwrap_or_else(|_| EnvFilter::new("info,sqlx=warn,tantivy=warn,fred=warn"));
    let logs = tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr);
    if std::io::stderr().is_terminal() {
        logs.init();
    } else {
        logs.json().flatten_event(true).init();
    }
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory as _;

    #[test]
    fn every_command_can_be_asked_for() {
        super::Arguments::command().debug_assert();
    }
}
