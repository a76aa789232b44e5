//! `cargo xtask delivery`: a table of what delivery costs into the store that runs.

use std::path::PathBuf;
use std::process::Stdio;

use anyhow::{Context as _, bail};

use crate::instance::Instance;
use crate::site::Site;
use crate::workspace::Workspace;

/// What to read.
#[derive(Debug, clap::Args)]
pub(crate) struct Options {
    /// A table like infra/demo/delivery.toml.
    file: PathBuf,
}

pub(crate) async fn run(workspace: &Workspace, instance: &Instance, options: &Options) -> anyhow::Result<()> {
    instance.read()?;
    let program = workspace.programs.join("region-core");
    let mut command = xtask_system::tools::clean_command(&program);
    let (config, file) = (Site::of(instance)?.core_config, std::path::absolute(&options.file)?);
    command.arg("delivery").arg("--config").arg(config).arg(file);
    let status = command.stdin(Stdio::null()).kill_on_drop(true).status().await;
    let status = status.with_context(|| format!("cannot run {}", program.display()))?;
    if !status.success() {
        bail!("{} was not taken ({status})", options.file.display());
    }
    Ok(())
}
