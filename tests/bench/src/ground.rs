//! The private Postgres servers on which both sides run in turns, and the fresh databases that each measurement gets.

use std::path::PathBuf;
use std::time::Duration;

use anyhow::Context as _;
use shared_clock::Entropy;
use xtask_system::postgres::{PostgresPlan, PostgresPrograms, PostgresServer};
use xtask_system::tools::{Tools, servers};
use xtask_system::{Guardian, GuardianProgram, Layout, PartSpec, Ports, ServiceUser};

use crate::options::{Disk, Options, Place};
use crate::{books, cpu, slow_flush};

/// What is set beside the defaults, for both sides alike: nothing that a commit could gain by, no checkpoint in the middle.
pub(crate) const SETTINGS: [&str; 6] = [
    "fsync=on",
    "synchronous_commit=on",
    "max_connections=320",
    "shared_buffers=256MB",
    "max_wal_size=4GB",
    "checkpoint_timeout=1h",
];
/// The database of one measurement.
const DATABASE: &str = "bench";
/// Counts statements; part of Postgres' own extensions.
const STATEMENTS: &str = "pg_stat_statements";

/// The servers.
#[derive(Debug)]
pub(crate) struct Ground {
    servers: Vec<PostgresServer>,
    /// How each is started on this machine's own disk.
    own: Vec<PartSpec>,
    slow_flush: PathBuf,
    counts_statements: bool,
    layout: Layout,
    guardian: Guardian,
}

/// This very program as a guardian.
pub(crate) fn guardian(place: &Place, part: &str) -> anyhow::Result<Guardian> {
    let program = GuardianProgram { program: "/proc/self/exe".into(), arguments: vec!["guardian".into()] };
    let lock = place.of(part).with_extension("lock");
    let folder = lock.parent().context("no folder")?;
    std::fs::create_dir_all(folder).with_context(|| format!("cannot create {}", folder.display()))?;
    Ok(Guardian::start(&program, &lock)?)
}

/// The folder of a part of the run, with nothing left of an earlier one.
pub(crate) fn emptied(place: &Place, part: &str) -> anyhow::Result<Layout> {
    let (root, user) = (place.of(part), ServiceUser::for_databases()?);
    if root.exists() {
        Layout::create(&root, user.as_ref())?.remove()?;
    }
    Ok(Layout::create(&root, user.as_ref())?)
}

/// Finds or installs Postgres.
pub(crate) async fn postgres() -> anyhow::Result<PostgresPrograms> {
    let tools = Tools::new(|line| eprintln!("{line}"))?;
    Ok(servers::postgres(&tools).await?)
}

impl Ground {
    /// Starts as many servers as the widest measurement has shards.
    pub(crate) async fn open(options: &Options) -> anyhow::Result<Self> {
        // First: it waits until whatever an interrupted run has left behind has ended.
        let guardian = guardian(&options.place, "admission")?;
        let (layout, programs) = (emptied(&options.place, "admission")?, postgres().await?);
        let slow_flush = slow_flush::build(layout.databases())?;
        let (user, ports, secret) = (ServiceUser::for_databases()?, Ports::Free(Entropy::system()), secret());
        let mut servers = Vec::new();
        for number in 1..=options.shards().iter().copied().max().unwrap_or(1) {
            let name = format!("postgres-{number}");
            let port = ports.get(&name, 0)?;
            let settings = SETTINGS.map(str::to_owned).to_vec();
            let plan = PostgresPlan { name, port, password: secret.clone(), settings };
            servers.push(PostgresServer::start(&programs, plan, &layout, user.as_ref(), &guardian).await?);
        }
        let own = servers.iter().map(|server| server.part.spec().clone()).collect();
        let mut ground = Self { servers, own, slow_flush, counts_statements: false, layout, guardian };
        ground.counts_statements = ground.load_statements().await?;
        Ok(ground)
    }

    /// Loads the extension that counts statements, where the installation has it, and leaves it switched off.
    async fn load_statements(&mut self) -> anyhow::Result<bool> {
        for server in &mut self.servers {
            if !books::has_extension(server, STATEMENTS).await? {
                return Ok(false);
            }
            server.reconfigure(&statements("none"))?;
            server.part.restart().await?;
            books::create_extension(server, STATEMENTS).await?;
        }
        Ok(true)
    }

    /// Whether statements can be counted here.
    pub(crate) fn counts_statements(&self) -> bool {
        self.counts_statements
    }

    /// Restarts every server on that disk.
    pub(crate) async fn put_on(&mut self, disk: Disk) -> anyhow::Result<()> {
        for (server, own) in self.servers.iter_mut().zip(&self.own) {
            server.part.stop().await?;
            server.part = on(own, disk, &self.slow_flush).start(&self.guardian).await?;
        }
        Ok(())
    }

    /// The first so many servers.
    pub(crate) fn servers(&self, shards: usize) -> &[PostgresServer] {
        &self.servers[..shards.min(self.servers.len())]
    }

    /// A fresh database on each of the first so many servers, made from a template there; their URLs.
    pub(crate) async fn fresh(&self, shards: usize, template: &str) -> anyhow::Result<Vec<String>> {
        for server in self.servers(shards) {
            books::fresh_database(server, DATABASE, template).await?;
        }
        Ok(self.servers(shards).iter().map(|server| server.url(DATABASE)).collect())
    }

    /// Switches the count of statements on and sets it to zero, or off.
    pub(crate) async fn count_statements(&self, shards: usize, on: bool) -> anyhow::Result<()> {
        if !self.counts_statements {
            return Ok(());
        }
        let track = if on { "top" } else { "none" };
        for server in self.servers(shards) {
            server.reconfigure(&statements(track))?;
            books::wait_for_setting(server, "pg_stat_statements.track", track).await?;
            if on {
                books::forget_statements(server).await?;
            }
        }
        Ok(())
    }

    /// Statements since they were last set to zero.
    pub(crate) async fn statements(&self, shards: usize) -> anyhow::Result<i64> {
        let mut all = 0;
        for server in self.servers(shards).iter().filter(|_| self.counts_statements) {
            all += books::statements(server, DATABASE).await?;
        }
        Ok(all)
    }

    /// Transactions committed in the fresh databases. Ends their sessions, for sessions tell late otherwise.
    pub(crate) async fn commits(&self, shards: usize) -> anyhow::Result<i64> {
        let mut all = 0;
        for server in self.servers(shards) {
            all += books::commits(server, DATABASE).await?;
        }
        Ok(all)
    }

    /// CPU time of the first so many servers.
    pub(crate) fn cpu(&self, shards: usize) -> Duration {
        self.servers(shards).iter().map(|server| cpu::of_family(server.part.process().id())).sum()
    }

    /// Where things may be put while the run goes on.
    pub(crate) fn layout(&self) -> &Layout {
        &self.layout
    }

    /// Ends the servers and removes what they kept.
    pub(crate) async fn close(mut self) -> anyhow::Result<()> {
        for server in &mut self.servers {
            server.part.stop().await?;
        }
        Ok(self.layout.remove()?)
    }
}

/// A server as it is started on that disk.
pub(crate) fn on(own: &PartSpec, disk: Disk, slow_flush: &std::path::Path) -> PartSpec {
    let mut spec = own.clone();
    if disk == Disk::Slow {
        let process = spec.process.variable("LD_PRELOAD", slow_flush);
        spec.process = process.variable("SLOWSYNC_US", slow_flush::MICROSECONDS);
    }
    spec
}

fn statements(track: &str) -> [(&str, &str); 2] {
    [("shared_preload_libraries", STATEMENTS), ("pg_stat_statements.track", track)]
}

fn secret() -> String {
    Entropy::system().bytes::<16>().iter().map(|byte| format!("{byte:02x}")).collect()
}
