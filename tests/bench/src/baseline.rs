//! The other side: pgbench with one prepared statement and one commit an order, as most stores check out.

use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use anyhow::{Context as _, bail, ensure};
use futures::future::try_join_all;
use tokio::process::Command;
use xtask_system::postgres::PostgresServer;

use crate::books::{self, Rows};
use crate::cells::{Cell, Contender, Driven};
use crate::cpu::Meter;
use crate::ground::Ground;
use crate::options::Span;
use crate::samples::Answer;

/// The database that its measurements start from.
pub(crate) const TEMPLATE: &str = "row_per_order";
const SCRIPT: &str = include_str!("../pg/checkout.sql");
/// More threads than this machine has cores would only get in the way of the server.
const MOST_THREADS: u32 = 2;
/// Clients that are connected in a second, on a slow machine.
const CONNECTED_IN_A_SECOND: u32 = 64;

/// pgbench against the fresh databases of one cell.
#[derive(Debug)]
pub(crate) struct Pgbench<'a> {
    cell: Cell,
    servers: &'a [PostgresServer],
    databases: Vec<String>,
    /// Scripts and logs.
    folder: PathBuf,
}

/// Makes the template on every server.
pub(crate) async fn prepare(ground: &Ground, shards: usize) -> anyhow::Result<()> {
    for server in ground.servers(shards) {
        books::row_per_order(server, TEMPLATE).await?;
    }
    Ok(())
}

impl<'a> Pgbench<'a> {
    pub(crate) fn new(ground: &'a Ground, cell: Cell, databases: Vec<String>) -> anyhow::Result<Self> {
        let folder = ground.layout().path("pgbench");
        if folder.exists() {
            std::fs::remove_dir_all(&folder)?;
        }
        std::fs::create_dir_all(&folder)?;
        std::fs::write(folder.join("checkout.sql"), SCRIPT)?;
        Ok(Self { cell, servers: ground.servers(cell.shards), databases, folder })
    }

    /// Clients are dealt out to shards, one by one.
    fn clients_of(&self, shard: usize) -> u32 {
        let shards = u32::try_from(self.cell.shards).unwrap_or(1);
        let shard = u32::try_from(shard).unwrap_or(0);
        (self.cell.clients + shards - 1 - shard) / shards
    }

    async fn on_shard(&self, shard: usize, span: Span) -> anyhow::Result<Driven> {
        let clients = self.clients_of(shard);
        if clients == 0 {
            return Ok(Driven::default());
        }
        let prefix = format!("shard-{shard}");
        remove_logs(&self.folder, &prefix)?;
        let mut command = Command::new(program(&self.servers[shard])?);
        command.args(["-n", "-M", "prepared", "-f", "checkout.sql", "-D", &format!("nsku={}", self.cell.goods.skus())]);
        command.args(["-c", &clients.to_string(), "-j", &clients.min(MOST_THREADS).to_string()]);
        command.args(["--log", "--log-prefix", &prefix]).args(length(span, clients)).arg(&self.databases[shard]);
        let output = command.current_dir(&self.folder).stdin(Stdio::null()).kill_on_drop(true).output().await;
        let output = output.context("cannot run pgbench")?;
        ensure!(output.status.success(), "pgbench failed: {}", String::from_utf8_lossy(&output.stderr));
        let accepted = processed(&String::from_utf8_lossy(&output.stdout))?;
        Ok(Driven { accepted, answers: logged(&self.folder, &prefix)?, ..Driven::default() })
    }
}

impl Contender for Pgbench<'_> {
    async fn drive(&self, span: Span) -> anyhow::Result<Driven> {
        let driven = try_join_all((0..self.cell.shards).map(|shard| self.on_shard(shard, span))).await?;
        Ok(driven.into_iter().fold(Driven::default(), Driven::and))
    }

    /// pgbench is a client, and clients do not count.
    fn cpu(&self, _: &Meter) -> Duration {
        Duration::ZERO
    }

    async fn faults(&self, accepted: u64) -> anyhow::Result<Vec<String>> {
        let mut rows = Rows::default();
        for database in &self.databases {
            rows = rows + books::rows_of_baseline(database).await?;
        }
        let all = i64::try_from(accepted)?;
        let right = Rows { orders: all, lines: all, events: all, units: all, ..Rows::default() };
        Ok(if rows == right { Vec::new() } else { vec![format!("pgbench placed {accepted} orders and left {rows:?}")] })
    }
}

/// It lies beside the server's own program.
fn program(server: &PostgresServer) -> anyhow::Result<PathBuf> {
    let pgbench = server.part.spec().process.program.with_file_name("pgbench");
    if !pgbench.is_file() {
        bail!("{} is missing: install Postgres' contributed programs (Debian: postgresql-contrib)", pgbench.display());
    }
    Ok(pgbench)
}

/// pgbench knows whole seconds only, and to it connecting is part of them, with an exchange of passwords for each client.
fn length(span: Span, clients: u32) -> [String; 2] {
    match span {
        Span::Time(time) => {
            let connecting = u128::from(clients / CONNECTED_IN_A_SECOND);
            ["-T".to_owned(), (time.as_millis().div_ceil(1_000).max(1) + connecting).to_string()]
        }
        Span::Orders(orders) => ["-t".to_owned(), orders.to_string()],
    }
}

/// How many transactions pgbench says it made.
fn processed(said: &str) -> anyhow::Result<u64> {
    let line = said.lines().find_map(|line| line.strip_prefix("number of transactions actually processed: "));
    let count = line.and_then(|line| line.split('/').next()?.trim().parse().ok());
    count.with_context(|| format!("pgbench does not say how many transactions it made: {said}"))
}

fn logs(folder: &Path, prefix: &str) -> anyhow::Result<Vec<PathBuf>> {
    let ours = |path: &PathBuf| {
        path.file_name().and_then(|name| name.to_str()).is_some_and(|name| name.starts_with(&format!("{prefix}.")))
    };
    let entries = std::fs::read_dir(folder).with_context(|| format!("cannot list {}", folder.display()))?;
    Ok(entries.flatten().map(|entry| entry.path()).filter(ours).collect())
}

fn remove_logs(folder: &Path, prefix: &str) -> anyhow::Result<()> {
    logs(folder, prefix)?.iter().try_for_each(std::fs::remove_file).context("cannot remove an old log")
}

/// Every transaction of the logs that pgbench's threads wrote.
fn logged(folder: &Path, prefix: &str) -> anyhow::Result<Vec<Answer>> {
    let mut answers = Vec::new();
    for path in logs(folder, prefix)? {
        let text = std::fs::read_to_string(&path).with_context(|| format!("cannot read {}", path.display()))?;
        for line in text.lines() {
            answers.push(answer(line).with_context(|| format!("{}: {line}", path.display()))?);
        }
    }
    Ok(answers)
}

/// A line of the log: client, transaction, microseconds it took, script, and when: Unix seconds and microseconds.
fn answer(line: &str) -> Option<Answer> {
    let fields: Vec<u64> = line.split_whitespace().map(str::parse).collect::<Result<_, _>>().ok()?;
    let [_, _, took_us, _, seconds, micros, ..] = fields[..] else { return None };
    Some(Answer { at_us: seconds * 1_000_000 + micros, took_us })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_of_pgbenchs_log_is_an_answer_and_a_failed_transaction_is_none() {
        let line = answer("0 199 2241 0 1175850568 995598").unwrap();
        assert_eq!(line, Answer { at_us: 1_175_850_568_995_598, took_us: 2_241 });
        assert_eq!(answer("3 0 failed 0 1499414498 84905"), None);
    }

    #[test]
    fn the_count_is_read_with_and_without_what_was_asked_for() {
        assert_eq!(processed("tps = 1\nnumber of transactions actually processed: 640/640\n").unwrap(), 640);
        assert_eq!(processed("number of transactions actually processed: 90210\n").unwrap(), 90_210);
        assert!(processed("pgbench: error").is_err());
    }

    #[test]
    fn a_part_of_a_second_is_a_whole_one_to_pgbench() {
        assert_eq!(length(Span::Time(Duration::from_millis(1_200)), 1), ["-T", "2"]);
        assert_eq!(length(Span::Time(Duration::from_millis(1_200)), 256), ["-T", "6"], "all must be connected first");
        assert_eq!(length(Span::Orders(7), 256), ["-t", "7"]);
    }
}
