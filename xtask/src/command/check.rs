//! `cargo xtask check`: everything that can be found wrong without running the product.

use std::sync::Arc;

use anyhow::{Context as _, bail};
use xtask_system::redis::on_path;
use xtask_system::tools::Tools;

use crate::build::{self, passes};
use crate::command::sqlx;
use crate::console::Console;
use crate::workspace::Workspace;

pub(crate) async fn run(workspace: &Workspace) -> anyhow::Result<()> {
    let console = Arc::new(Console::new());
    let cargo = |arguments: &[&str]| {
        let mut cargo = workspace.cargo();
        cargo.args(arguments);
        cargo
    };
    console.step("formatting", passes("cargo fmt", cargo(&["fmt", "--all", "--check"]))).await?;
    let lints = ["clippy", "--quiet", "--workspace", "--all-targets", "--", "--deny", "warnings"];
    console.step("lints", passes("cargo clippy", cargo(&lints))).await?;
    let mut documentation = cargo(&["doc", "--quiet", "--workspace", "--no-deps"]);
    documentation.env("RUSTDOCFLAGS", "--deny warnings");
    console.step("documentation", passes("cargo doc", documentation)).await?;
    let told = console.clone();
    let tools = Tools::new(move |line| told.say(line))?;
    console.step("worker", build::worker(workspace, &tools, &console)).await?;
    is_small(workspace)?;
    sqlx::run(workspace, &sqlx::Options { check: true }).await.context("query metadata")?;
    terraform(workspace, &console).await?;
    console.say("all checks passed");
    Ok(())
}

/// Terraform's own formatting, where there is a Terraform.
async fn terraform(workspace: &Workspace, console: &Console) -> anyhow::Result<()> {
    let Some(program) = on_path("terraform") else {
        console.say("terraform          skipped: it is not installed here");
        return Ok(());
    };
    let mut terraform = tokio::process::Command::new(program);
    terraform.args(["fmt", "-check", "-diff", "-recursive"]).arg(workspace.root.join("infra/terraform"));
    console.step("terraform", passes("terraform fmt", terraform)).await
}

/// The Worker's code stays well below what Cloudflare takes: 3 MiB compressed, which is some 8 MiB of wasm.
const WORKER_BYTES: u64 = 4 << 20;

fn is_small(workspace: &Workspace) -> anyhow::Result<()> {
    let build = workspace.root.join("edge/worker/build");
    let files = std::fs::read_dir(&build).with_context(|| format!("cannot list {}", build.display()))?;
    let wasm = files.flatten().find(|entry| entry.path().extension().is_some_and(|extension| extension == "wasm"));
    let bytes = wasm.context("the Worker's build holds no wasm")?.metadata()?.len();
    if bytes > WORKER_BYTES {
        bail!("the Worker's wasm has {bytes} bytes; {WORKER_BYTES} are the bound");
    }
    Ok(())
}
