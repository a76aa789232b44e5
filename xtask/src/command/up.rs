//! `cargo xtask up`: everything on one machine, in the foreground, until Ctrl-C.

use std::time::Duration;

use anyhow::Context as _;
use futures::TryFutureExt as _;
use futures::future::join_all;
use shared_clock::{Clock, Entropy};
use tokio::signal::unix::{SignalKind, signal};
use tokio::time::Instant;
use xtask_system::operator::{self, OperatorError};
use xtask_system::tools::node::NodeTools;
use xtask_system::tools::{Tools, servers};
use xtask_system::{Guardian, Layout, Part, Plan, Ports, Programs, ServiceUser, System, SystemError};

use crate::build;
use crate::bus::{self, Bus};
use crate::console::Console;
use crate::instance::{Instance, State};
use crate::workspace::Workspace;

/// The shop's goods on a developer's machine.
const DEMO_CATALOG: &str = "infra/demo/catalog.csv";
/// What delivery costs there.
const DEMO_DELIVERY: &str = "infra/demo/delivery.toml";
/// Units of each product, as a multiple of what the file says was sold.
const STOCK_FACTOR: &str = "10";
/// A part that ends by itself is started again this often; then it stays down.
const RESTARTS: u32 = 3;

/// How to start.
#[derive(Debug, clap::Args)]
pub(crate) struct Options {
    /// Core processes in each region.
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u16).range(1..=8))]
    cores: u16,
    /// Forgets all data of earlier runs first.
    #[arg(long)]
    fresh: bool,
    /// The first of the ports: the Worker's. The shop at the PoP has the next, cores are 100 and 200 further.
    #[arg(long, default_value_t = 7_100, value_parser = clap::value_parser!(u16).range(1_024..=65_000))]
    port_base: u16,
    /// Takes any free ports instead.
    #[arg(long, conflicts_with = "port_base")]
    free_ports: bool,
    /// What carries events.
    #[arg(long, value_enum, default_value_t)]
    bus: Bus,
    /// Runs no Worker; the shop is then served by the PoP alone.
    #[arg(long)]
    no_worker: bool,
    /// Runs everything as it was last built.
    #[arg(long)]
    no_build: bool,
    /// Imports no demo catalog.
    #[arg(long)]
    empty: bool,
    /// Also answers /v1 on the cores' plain listeners, for development.
    #[arg(long)]
    plain_api: bool,
}

pub(crate) async fn run(workspace: &Workspace, instance: &Instance, options: &Options) -> anyhow::Result<()> {
    let console = std::sync::Arc::new(Console::new());
    let _running = instance.claim()?;
    let begun = Instant::now();
    let mut end = End::new()?;
    let starting = start(workspace, instance, options, &console);
    let Started { mut system, operator } = tokio::select! {
        started = starting => started?,
        () = end.wanted() => {
            console.clear();
            anyhow::bail!("interrupted while starting; everything that had started was ended");
        }
    };
    console.clear();
    announce(instance, &system, &operator, begun.elapsed());
    tokio::select! {
        () = end.wanted() => {}
        () = supervise(&mut system, &console) => {}
    }
    console.say("stopping");
    instance.forget();
    system.stop().await.context("while stopping")
}

/// What there is to tell about once everything answers.
struct Started {
    system: System,
    /// How to sign in as the operator, or why nobody can.
    operator: String,
}

async fn start(
    workspace: &Workspace,
    instance: &Instance,
    options: &Options,
    console: &std::sync::Arc<Console>,
) -> anyhow::Result<Started> {
    let guardian = instance.guardian()?;
    let user = ServiceUser::for_databases()?;
    if options.fresh {
        Layout::create(&instance.root, user.as_ref())?.remove()?;
    }
    let layout = Layout::create(&instance.root, user.as_ref())?;
    if !layout.databases().starts_with(layout.root()) {
        console
            .say(&format!("databases lie in {}: their user cannot reach the repository", layout.databases().display()));
    }
    layout.rotate_logs()?;
    let programs = programs(workspace, options, console).await?;
    let plan = plan(options);
    let system = launch(&plan, programs, layout, guardian, console).await?;
    if !options.empty {
        console.step("demo catalog", import(workspace, &plan, &system)).await?;
    }
    let operator = console.step("operator", appoint_operator(&plan, &system)).await?;
    instance.write(&State::of(&system, Clock::system().unix_seconds()))?;
    Ok(Started { system, operator })
}

/// Makes the operator, or finds the one of an earlier run. A store whose operator's password was lost sells all the same:
/// that is told, and keeps nothing from running.
async fn appoint_operator(plan: &Plan, system: &System) -> Result<String, OperatorError> {
    match operator::appoint(system, &plan.regions[0].name, &Entropy::system()).await {
        Ok(operator) => Ok(format!("{}, password in {}", operator.email, operator.password_file.display())),
        Err(error @ OperatorError::OtherPassword { .. }) => {
            Ok(format!("nobody: {error}; put it there, or forget all data with `--fresh`"))
        }
        Err(error @ OperatorError::Held { .. }) => Ok(format!("nobody: {error}")),
        Err(error) => Err(error),
    }
}

/// Goods to look at, and what their delivery costs, unless somebody has said so already; a file counts once, however often it
/// is imported.
async fn import(workspace: &Workspace, plan: &Plan, system: &System) -> anyhow::Result<()> {
    let demo = workspace.root.join(DEMO_CATALOG);
    let arguments = [&demo.to_string_lossy(), "--currency", plan.currency.as_str(), "--stock-factor", STOCK_FACTOR];
    let region = &plan.regions[0].name;
    system.region_core(region, "import", &arguments).await?;
    let delivery = workspace.root.join(DEMO_DELIVERY);
    Ok(system.region_core(region, "delivery", &[&delivery.to_string_lossy(), "--only-first"]).await?)
}

async fn launch(
    plan: &Plan,
    programs: Programs,
    layout: Layout,
    guardian: Guardian,
    console: &Console,
) -> anyhow::Result<System> {
    let started = System::start(plan, programs, layout, guardian, console).await;
    started.map_err(|error| match error {
        // While a migration is still being written it changes under databases that have it.
        SystemError::Failed { ref tail, .. } if tail.contains("has been modified") => {
            anyhow::Error::from(error).context("this instance's data is of another version; `--fresh` forgets it")
        }
        error => error.into(),
    })
}

fn plan(options: &Options) -> Plan {
    let ports = if options.free_ports { Ports::Free(Entropy::system()) } else { Ports::From(options.port_base) };
    let mut plan = Plan::two_regions(ports);
    plan.cores = options.cores;
    plan.worker = !options.no_worker;
    plan.mail = true;
    plan.kafka = options.bus == Bus::Kafka;
    plan.plain_api = options.plain_api;
    plan
}

/// Finds or installs what is needed and compiles our own, as much of it at once as can be.
async fn programs(
    workspace: &Workspace,
    options: &Options,
    console: &std::sync::Arc<Console>,
) -> anyhow::Result<Programs> {
    let told = console.clone();
    let tools = Tools::new(move |line| told.say(line))?;
    let worker = async {
        match (options.no_worker, options.no_build) {
            (true, _) => anyhow::Ok(None),
            (false, true) => Ok(Some(build::built_worker(workspace, &tools).await?)),
            (false, false) => Ok(Some(build::worker(workspace, &tools, console).await?)),
        }
    };
    let servers = async { anyhow::Ok((servers::postgres(&tools).await?, servers::redis(&tools).await?)) };
    let natives =
        async { if options.no_build { Ok(()) } else { console.step("programs", build::natives(workspace)).await } };
    let mail = NodeTools::install(&tools, &workspace.root).map_err(anyhow::Error::from);
    let ((postgres, redis), (), worker, mail) = tokio::try_join!(servers, natives, worker, mail)?;
    let own = |name: &str| workspace.programs.join(name);
    Ok(Programs {
        region_core: own("region-core"),
        edge_pop: own("edge-pop"),
        payment_sandbox: own("payment-sandbox"),
        carrier_sandbox: own("carrier-sandbox"),
        postgres,
        redis,
        worker,
        mail: Some(mail),
        broker: Some(bus::broker(workspace, &tools)),
    })
}

fn announce(instance: &Instance, system: &System, operator: &str, took: Duration) {
    println!("Meridian is up after {:.1} s.\n", took.as_secs_f64());
    println!("  shop (PoP)     {}", system.addresses.shop);
    if let Some(worker) = &system.addresses.worker {
        println!("  shop (Worker)  {worker}");
    }
    println!("  carrier        {}", system.addresses.carrier);
    if let Some(mail) = &system.addresses.mail {
        println!("  mail           {mail}");
    }
    if let Some(broker) = &system.broker {
        println!("  broker         {}", broker.spec().address);
    }
    println!("  metrics        {}/ops/metrics", system.addresses.pop_ops);
    for core in &system.cores {
        println!("  {:<14} {}/ops/metrics", core.part.name(), core.ops);
    }
    println!("  operator       {operator}");
    println!("  data and logs  {}", instance.root.display());
    println!(
        "\n`cargo xtask status` asks every part, `cargo xtask logs` shows what they write. Ctrl-C stops everything."
    );
}

/// Starts again what ends by itself; returns never, for a part that stays down leaves the others running.
async fn supervise(system: &mut System, console: &Console) {
    join_all(system.parts_mut().map(|part| keep_running(part, console))).await;
    std::future::pending::<()>().await;
}

async fn keep_running(part: &mut Part, console: &Console) {
    for attempt in 1..=RESTARTS {
        let ended = part.watch().await;
        console.say(&format!("{ended}\nstarting {} again ({attempt} of {RESTARTS})", part.name()));
        if let Err(error) = part.restart().await {
            console.say(&error.to_string());
        } else {
            console.say(&format!("{} answers again", part.name()));
        }
    }
    console.say(&format!("{}\n{} stays down", part.watch().await, part.name()));
}

/// What a person or a supervisor sends when it is enough.
struct End {
    interrupt: tokio::signal::unix::Signal,
    terminate: tokio::signal::unix::Signal,
    hang_up: tokio::signal::unix::Signal,
}

impl End {
    fn new() -> std::io::Result<Self> {
        Ok(Self {
            interrupt: signal(SignalKind::interrupt())?,
            terminate: signal(SignalKind::terminate())?,
            hang_up: signal(SignalKind::hangup())?,
        })
    }

    async fn wanted(&mut self) {
        tokio::select! {
            _ = self.interrupt.recv() => {}
            _ = self.terminate.recv() => {}
            _ = self.hang_up.recv() => {}
        }
    }
}
