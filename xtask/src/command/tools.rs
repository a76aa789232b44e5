//! `cargo xtask tools`: installs everything that the other commands would.

use std::sync::Arc;

use xtask_system::tools::node::NodeTools;
use xtask_system::tools::{Tools, cargo_tool, servers, stripe, wasm};

use crate::console::Console;
use crate::workspace::Workspace;

/// What to install beside what every command needs.
#[derive(Debug, clap::Args)]
pub(crate) struct Options {
    /// Also tansu, a broker of Kafka that others wrote: the bus is then tested on it, and `up --bus kafka` runs it. Compiling it
    /// once takes some 15 minutes of two cores.
    #[arg(long)]
    tansu: bool,
}

pub(crate) async fn run(workspace: &Workspace, options: &Options) -> anyhow::Result<()> {
    let console = Arc::new(Console::new());
    let told = console.clone();
    let tools = Tools::new(move |line| told.say(line))?;
    let root = &workspace.root;
    let toolchain = console.step("wasm toolchain", wasm::toolchain(&tools)).await?;
    console.step("postgres", servers::postgres(&tools)).await?;
    let redis = console.step("redis", servers::redis(&tools)).await?;
    let node = console.step("npm tools", NodeTools::install(&tools, root)).await?;
    let worker_build = console.step("worker-build", cargo_tool::worker_build(&tools)).await?;
    let wasm_bindgen = console.step("wasm-bindgen", cargo_tool::wasm_bindgen(&tools, root)).await?;
    let chromium = console.step("chromium", servers::chromium(&tools)).await?;
    // Only tests want these, and do without where they cannot be had.
    let fakes = [
        ("stripe-world", console.step("stripe-world", stripe::world(&tools)).await),
        ("localstripe", console.step("localstripe", stripe::localstripe(&tools)).await),
    ];
    let tansu = match options.tansu {
        true => Some(console.step("tansu", cargo_tool::tansu(&tools)).await?),
        false => cargo_tool::found_tansu(&tools),
    };
    console.clear();
    for (name, value) in toolchain.variables {
        println!("{name}={value}");
    }
    println!("WASM_BINDGEN_BIN={}", wasm_bindgen.display());
    println!("ESBUILD_BIN={}", node.program("esbuild").display());
    println!("WASM_OPT_BIN={}", node.program("wasm-opt").display());
    println!("worker-build  {}", worker_build.display());
    println!("wrangler      {}", node.program("wrangler").display());
    println!("node          {}", node.node.display());
    println!("redis         {}", redis.display());
    println!("chromium      {}", chromium.display());
    match tansu {
        Some(program) => println!("tansu         {}", program.display()),
        None => println!("tansu         not installed: `cargo xtask tools --tansu` does"),
    }
    for (name, fake) in fakes {
        match fake {
            Ok(program) => println!("{name:<13} {}", program.display()),
            Err(error) => println!("{name:<13} not installed: {error}"),
        }
    }
    Ok(())
}
