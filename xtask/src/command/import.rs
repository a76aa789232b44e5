//! `cargo xtask import`: a product file into the store that runs.
//!
//! Only finds the store: reading files and booking stock is `region-core import`'s, which operators call on their own
//! machines.

use std::path::PathBuf;
use std::process::Stdio;

use anyhow::{Context as _, bail};

use crate::instance::Instance;
use crate::site::Site;
use crate::workspace::Workspace;

/// What to read, and how.
#[derive(Debug, clap::Args)]
pub(crate) struct Options {
    /// A shop's invoice lines, or a Shopify product CSV; plain or gzip.
    file: PathBuf,
    /// The currency of its prices; the store's own if none is named.
    #[arg(long, value_name = "CODE")]
    currency: Option<String>,
    /// Invoice lines bring in this many times the units that they asked for.
    #[arg(long, value_name = "N")]
    stock_factor: Option<u64>,
    /// For programs: the report as one JSON object.
    #[arg(long)]
    json: bool,
}

pub(crate) async fn run(workspace: &Workspace, instance: &Instance, options: &Options) -> anyhow::Result<()> {
    instance.read()?;
    let program = workspace.programs.join("region-core");
    let mut command = xtask_system::tools::clean_command(&program);
    command.arg("import").arg("--config").arg(Site::of(instance)?.core_config).arg(std::path::absolute(&options.file)?);
    if let Some(currency) = &options.currency {
        command.args(["--currency", currency]);
    }
    if let Some(factor) = options.stock_factor {
        command.args(["--stock-factor", &factor.to_string()]);
    }
    if options.json {
        command.arg("--json");
    }
    let status = command.stdin(Stdio::null()).kill_on_drop(true).status().await;
    let status = status.with_context(|| format!("cannot run {}", program.display()))?;
    if !status.success() {
        bail!("{} was not imported ({status})", options.file.display());
    }
    Ok(())
}
