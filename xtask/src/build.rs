//! Our own programs, compiled: the native ones by cargo, the Worker by worker-build, only if its sources changed.

use std::path::{Path, PathBuf};
use std::process::Stdio;

use anyhow::{Context as _, bail};
use sha2::{Digest as _, Sha256};
use tokio::process::Command;
use xtask_system::tools::node::NodeTools;
use xtask_system::tools::wasm::WasmToolchain;
use xtask_system::tools::{Tools, cargo_tool, clean_command, wasm};
use xtask_system::worker::WorkerPrograms;

use crate::console::Console;
use crate::workspace::Workspace;

/// What the Worker is made of.
const WORKER_SOURCES: [&str; 7] = [
    "Cargo.toml",
    "Cargo.lock",
    "edge/worker/Cargo.toml",
    "edge/worker/src",
    "edge/app",
    "shared/Cargo.toml",
    "shared/src",
];
/// Cargo's profile for the Worker.
const WORKER_PROFILE: &str = "worker";
/// Names what a build was made from.
const MADE_FROM: &str = ".made-from";

/// Compiles the native programs.
pub(crate) async fn natives(workspace: &Workspace) -> anyhow::Result<()> {
    let mut cargo = workspace.cargo();
    // The whole workspace, so that features are the same as in every other build and nothing is compiled twice.
    cargo.args(["build", "--quiet", "--workspace", "--bins"]);
    passes("cargo build", cargo).await
}

/// Compiles a core that can have planted bugs. What it shares with the others is compiled once; the program itself goes to a
/// folder of its own, so that nobody takes it for the real one.
pub(crate) async fn planted(workspace: &Workspace) -> anyhow::Result<()> {
    let mut cargo = workspace.cargo();
    cargo
        .args(["build", "--quiet", "--workspace", "--bin", "region-core"])
        .args(["--features", "region-core-server/planted-bugs,region-core-server/failpoints"])
        .env("CARGO_BUILD_BUILD_DIR", workspace.target())
        .env("CARGO_TARGET_DIR", planted_target(workspace));
    passes("cargo build with planted bugs", cargo).await
}

/// The core that [`planted`] compiles.
pub(crate) fn planted_core(workspace: &Workspace) -> PathBuf {
    let profile = workspace.programs.file_name().unwrap_or("debug".as_ref());
    planted_target(workspace).join(profile).join("region-core")
}

fn planted_target(workspace: &Workspace) -> PathBuf {
    workspace.target().join("planted")
}

/// Builds the Worker into `edge/worker/build`, unless it is there already, and gives what runs it.
pub(crate) async fn worker(workspace: &Workspace, tools: &Tools, console: &Console) -> anyhow::Result<WorkerPrograms> {
    let root = &workspace.root;
    let (node, toolchain) = tokio::try_join!(NodeTools::install(tools, root), wasm::toolchain(tools))?;
    let build = root.join("edge/worker/build");
    let made_from = digest(root, &toolchain)?;
    let mark = build.join(MADE_FROM);
    if std::fs::read_to_string(&mark).ok().as_deref() != Some(made_from.as_str()) {
        let (worker_build, wasm_bindgen) =
            (cargo_tool::worker_build(tools).await?, cargo_tool::wasm_bindgen(tools, root).await?);
        let mut command = clean_command(worker_build);
        command
            .args(["--profile", WORKER_PROFILE])
            .current_dir(root.join("edge/worker"))
            .env("CARGO_TARGET_DIR", workspace.worker_target())
            .env("PATH", node.path())
            .env("WASM_BINDGEN_BIN", wasm_bindgen)
            .env("ESBUILD_BIN", node.program("esbuild"))
            .env("WASM_OPT_BIN", node.program("wasm-opt"))
            .envs(toolchain.variables.iter().copied());
        console.step("building worker", passes("worker-build", command)).await?;
        std::fs::write(&mark, made_from).with_context(|| format!("cannot write {}", mark.display()))?;
    }
    Ok(WorkerPrograms { node, config: root.join("wrangler.toml") })
}

/// What runs the Worker as it was last built.
pub(crate) async fn built_worker(workspace: &Workspace, tools: &Tools) -> anyhow::Result<WorkerPrograms> {
    let node = NodeTools::install(tools, &workspace.root).await?;
    Ok(WorkerPrograms { node, config: workspace.root.join("wrangler.toml") })
}

/// One number for everything that the Worker is made from.
fn digest(root: &Path, toolchain: &WasmToolchain) -> anyhow::Result<String> {
    let mut files = Vec::new();
    for source in WORKER_SOURCES {
        collect(&root.join(source), &mut files)?;
    }
    files.sort();
    let mut digest = Sha256::new_with_prefix(&toolchain.compiler);
    for file in files {
        let content = std::fs::read(&file).with_context(|| format!("cannot read {}", file.display()))?;
        digest.update(file.strip_prefix(root).unwrap_or(&file).as_os_str().as_encoded_bytes());
        digest.update(Sha256::digest(content));
    }
    Ok(hex::encode(digest.finalize()))
}

fn collect(path: &Path, files: &mut Vec<PathBuf>) -> anyhow::Result<()> {
    if path.is_dir() {
        for entry in std::fs::read_dir(path)? {
            collect(&entry?.path(), files)?;
        }
    } else if path.is_file() {
        files.push(path.to_owned());
    }
    Ok(())
}

/// Runs a command and keeps its output for the case that it fails.
pub(crate) async fn passes(what: &str, mut command: Command) -> anyhow::Result<()> {
    let output = command
        .stdin(Stdio::null())
        .kill_on_drop(true)
        .output()
        .await
        .with_context(|| format!("cannot run {what}; is it on the PATH?"))?;
    if output.status.success() {
        return Ok(());
    }
    let text = [output.stdout, output.stderr].concat();
    bail!("{what} failed ({})\n{}", output.status, String::from_utf8_lossy(&text).trim_end());
}
