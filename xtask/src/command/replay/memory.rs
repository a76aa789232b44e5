//! Resident memory of the processes that serve shoppers, from `/proc`.

use std::collections::BTreeMap;
use std::fs;
use std::time::Duration;

use serde::Serialize;

use crate::instance::PartState;

/// How often memory is looked at during a run.
const LOOK: Duration = Duration::from_millis(250);
/// The Worker's process; what wrangler runs besides it serves nobody.
const WORKERD: &str = "workerd";

/// A part and the group that its processes are in.
#[derive(Clone, Debug)]
struct Watched {
    name: String,
    group: i32,
    /// Only processes of this name.
    only: Option<&'static str>,
}

/// What memory the parts have had.
#[derive(Debug)]
pub(super) struct Memory {
    watched: Vec<Watched>,
    used: BTreeMap<String, Used>,
}

/// Bytes of resident memory of a part; zero once its first process has ended, for `up` writes down no later one.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub(super) struct Used {
    pub(super) before_bytes: u64,
    pub(super) most_bytes: u64,
    pub(super) after_bytes: u64,
}

impl Memory {
    /// Looks at the parts for the first time.
    pub(super) fn before(parts: &[PartState]) -> Self {
        let watched = parts.iter().filter_map(Watched::of).collect();
        let mut memory = Self { watched, used: BTreeMap::new() };
        for (name, bytes) in memory.now() {
            memory.used.insert(name, Used { before_bytes: bytes, most_bytes: bytes, after_bytes: bytes });
        }
        memory
    }

    /// Looks again and again while something is done.
    pub(super) async fn during<T>(&mut self, work: impl Future<Output = T>) -> T {
        let mut ticks = tokio::time::interval(LOOK);
        let mut work = std::pin::pin!(work);
        loop {
            tokio::select! {
                done = &mut work => {
                    self.look();
                    return done;
                }
                _ = ticks.tick() => self.look(),
            }
        }
    }

    /// By part: at first, at most, and at last.
    pub(super) fn used(&self) -> &BTreeMap<String, Used> {
        &self.used
    }

    fn look(&mut self) {
        let now = self.now();
        for part in &self.watched {
            let bytes = now.get(&part.name).copied().unwrap_or_default();
            let used = self.used.entry(part.name.clone()).or_default();
            used.most_bytes = used.most_bytes.max(bytes);
            used.after_bytes = bytes;
        }
    }

    fn now(&self) -> BTreeMap<String, u64> {
        let mut sums = BTreeMap::new();
        for process in processes() {
            for part in self.watched.iter().filter(|part| part.has(&process)) {
                *sums.entry(part.name.clone()).or_default() += process.resident_bytes;
            }
        }
        sums
    }
}

impl Watched {
    fn of(part: &PartState) -> Option<Self> {
        let group = part.process;
        match part.name.as_str() {
            "worker" => Some(Self { name: WORKERD.to_owned(), group, only: Some(WORKERD) }),
            name if name == "pop" || name.starts_with("core.") => {
                Some(Self { name: name.to_owned(), group, only: None })
            }
            _ => None,
        }
    }

    fn has(&self, process: &Process) -> bool {
        process.group == self.group && self.only.is_none_or(|only| process.command == only)
    }
}

#[derive(Debug, PartialEq, Eq)]
struct Process {
    command: String,
    group: i32,
    resident_bytes: u64,
}

/// Every process of the machine that can be looked at.
fn processes() -> impl Iterator<Item = Process> {
    let entries = fs::read_dir("/proc").into_iter().flatten().flatten();
    let processes = entries.filter(|entry| entry.file_name().as_encoded_bytes().iter().all(u8::is_ascii_digit));
    processes.filter_map(|entry| {
        let stat = fs::read_to_string(entry.path().join("stat")).ok()?;
        let status = fs::read_to_string(entry.path().join("status")).ok()?;
        process(&stat, &status)
    })
}

/// Reads `/proc/PID/stat` and `/proc/PID/status` (proc(5)).
fn process(stat: &str, status: &str) -> Option<Process> {
    // The command stands in parentheses and may hold any character, parentheses among them.
    let (before, after) = stat.rsplit_once(')')?;
    let command = before.split_once('(')?.1.to_owned();
    let group = after.split_whitespace().nth(2)?.parse().ok()?;
    let resident = status.lines().find_map(|line| line.strip_prefix("VmRSS:"))?;
    let kib: u64 = resident.split_whitespace().next()?.parse().ok()?;
    Some(Process { command, group, resident_bytes: kib * 1024 })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_process_is_read_whatever_its_name() {
        let stat = "4711 (node (1) x) S 1 4700 4700 0 -1 4194560 1 2 3";
        let status = "Name:\tnode\nVmPeak:\t  900 kB\nVmRSS:\t  120 kB\nThreads:\t2\n";
        let wanted = Process { command: "node (1) x".to_owned(), group: 4_700, resident_bytes: 122_880 };
        assert_eq!(process(stat, status), Some(wanted));
        assert_eq!(process(stat, "Name:\tkthreadd\n"), None, "a kernel thread has no memory of its own");
    }

    #[test]
    fn this_process_is_among_all_and_has_memory() {
        let group = nix::unistd::getpgrp().as_raw();
        assert!(processes().any(|process| process.group == group && process.resident_bytes > 0));
    }
}
