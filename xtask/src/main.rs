//! `cargo xtask`: runs a whole Meridian on this machine, tests it and checks it.
//!
//! One file a command, under `command/`. What a running system is made of is `xtask-system`'s to know.

mod audit;
mod build;
mod bus;
mod command;
mod console;
mod failure;
mod faults;
mod instance;
mod movements;
mod scratch;
mod site;
mod workspace;

use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Parser, Subcommand};

use crate::workspace::Workspace;

/// Runs, tests and checks Meridian on this machine.
#[derive(Debug, Parser)]
#[command(name = "cargo xtask", bin_name = "cargo xtask", version, arg_required_else_help = true)]
struct Arguments {
    /// Which system of this repository; each has ports, data and logs of its own under .meridian/NAME.
    #[arg(long, global = true, default_value = "default", value_parser = instance_name)]
    instance: String,
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Starts everything on loopback and stays in the foreground until Ctrl-C.
    Up(command::up::Options),
    /// Stops a running `up` and waits until all of it has ended.
    Down,
    /// Asks every part whether it answers; fails unless all do.
    Status(command::status::Options),
    /// Shows what the parts wrote.
    Logs(command::logs::Options),
    /// Reads products and stock from a file into the store that runs.
    Import(command::import::Options),
    /// Puts a table of what delivery costs in force in the store that runs.
    Delivery(command::delivery::Options),
    /// Places every sale of a file of invoices as an order in the store that runs, and checks the books to the penny.
    Replay(command::replay::Options),
    /// Looks for rows that break a promise about units, orders, money, events or slots.
    Audit(command::audit::Options),
    /// Breaks a store of its own while orders are placed, and checks that every promise was kept.
    Faults(command::faults::Options),
    /// Installs what is missing, builds everything and runs every test.
    Test(command::test::Options),
    /// Measures how fast checkout is, beside what most stores have, and how accepted orders end.
    #[command(subcommand)]
    Bench(command::bench::Bench),
    /// Formatting, lints, documentation, the Worker's build, query metadata, Terraform.
    Check,
    /// Rewrites the committed metadata of the checked SQL queries.
    Sqlx(command::sqlx::Options),
    /// Installs every tool that building, running and testing need.
    Tools(command::tools::Options),
    /// Ends what `up` started, should it die. Started by `up` itself.
    #[command(hide = true)]
    Guardian {
        /// The guardian's lock file.
        lock: PathBuf,
    },
}

fn instance_name(name: &str) -> Result<String, String> {
    let plain = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-';
    if !name.is_empty() && name.len() <= 40 && name.bytes().all(plain) {
        Ok(name.to_owned())
    } else {
        Err("lower-case letters, digits and hyphens, 40 at most".to_owned())
    }
}

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    if let Command::Guardian { lock } = &arguments.command {
        // Before any thread is started, for the guardian blocks the signals of its only one.
        return code(xtask_system::guardian::run(lock).map_err(anyhow::Error::from));
    }
    match tokio::runtime::Runtime::new() {
        Ok(runtime) => code(runtime.block_on(run(arguments))),
        Err(error) => code(Err(error.into())),
    }
}

async fn run(arguments: Arguments) -> anyhow::Result<()> {
    let workspace = Workspace::find()?;
    let instance = instance::Instance::new(&workspace, &arguments.instance);
    match arguments.command {
        Command::Up(options) => Box::pin(command::up::run(&workspace, &instance, &options)).await,
        Command::Down => command::down::run(&instance).await,
        Command::Status(options) => command::status::run(&instance, &options).await,
        Command::Logs(options) => command::logs::run(&instance, &options).await,
        Command::Import(options) => command::import::run(&workspace, &instance, &options).await,
        Command::Delivery(options) => command::delivery::run(&workspace, &instance, &options).await,
        Command::Replay(options) => Ok(Box::pin(command::replay::run(&instance, &options)).await?),
        Command::Audit(options) => Ok(Box::pin(command::audit::run(&instance, &options)).await?),
        Command::Faults(options) => Ok(Box::pin(command::faults::run(&workspace, &options)).await?),
        Command::Test(options) => Box::pin(command::test::run(&workspace, &options)).await,
        Command::Bench(bench) => Ok(command::bench::run(&workspace, &bench).await?),
        Command::Check => Box::pin(command::check::run(&workspace)).await,
        Command::Sqlx(options) => Box::pin(command::sqlx::run(&workspace, &options)).await,
        Command::Tools(options) => command::tools::run(&workspace, &options).await,
        Command::Guardian { lock } => Ok(xtask_system::guardian::run(&lock)?),
    }
}

fn code(result: anyhow::Result<()>) -> ExitCode {
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error:#}");
            failure::exit_code(&error)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_command_line_is_consistent() {
        <Arguments as clap::CommandFactory>::command().debug_assert();
    }

    #[test]
    fn an_instance_cannot_be_named_out_of_its_folder() {
        assert!(instance_name("two").is_ok());
        assert!(instance_name("../elsewhere").is_err() && instance_name("").is_err());
    }
}
