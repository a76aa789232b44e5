//! One system of this repository: its folder, its lock, and what its `up` has written down for the other commands.

use std::fs::File;
use std::io::{Read as _, Write as _};
use std::path::PathBuf;

use anyhow::{Context as _, bail};
use serde::{Deserialize, Serialize};
use xtask_system::{Addresses, GuardianProgram, Part, Probe, System};

use crate::workspace::Workspace;

/// Which system.
#[derive(Clone, Debug)]
pub(crate) struct Instance {
    pub(crate) name: String,
    /// All that it keeps.
    pub(crate) root: PathBuf,
    lock: PathBuf,
    guardian_lock: PathBuf,
}

/// Held by the `up` that runs.
#[derive(Debug)]
pub(crate) struct Running(#[expect(dead_code, reason = "unlocks when dropped")] File);

/// What a running `up` tells the other commands. It holds passwords.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct State {
    /// Unix seconds.
    pub(crate) started_at: u64,
    /// The process id of `up`.
    pub(crate) process: u32,
    /// The process id of the guardian.
    pub(crate) guardian: u32,
    pub(crate) shop: String,
    pub(crate) worker: Option<String>,
    pub(crate) parts: Vec<PartState>,
}

#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct PartState {
    pub(crate) name: String,
    pub(crate) address: String,
    /// Its process id and process group when it was first started.
    pub(crate) process: i32,
    pub(crate) log: PathBuf,
    pub(crate) probe: Probe,
}

/// This very program as a guardian, even if a build has replaced its file since it was started.
pub(crate) fn guardian_program() -> GuardianProgram {
    GuardianProgram { program: "/proc/self/exe".into(), arguments: vec!["guardian".into()] }
}

impl Instance {
    pub(crate) fn new(workspace: &Workspace, name: &str) -> Self {
        let folder = workspace.root.join(".meridian");
        Self {
            name: name.to_owned(),
            root: folder.join(name),
            lock: folder.join(format!("{name}.lock")),
            guardian_lock: folder.join(format!("{name}.guardian.lock")),
        }
    }

    /// Claims the instance for this process.
    pub(crate) fn claim(&self) -> anyhow::Result<Running> {
        let folder = self.lock.parent().context("no folder")?;
        std::fs::create_dir_all(folder).with_context(|| format!("cannot create {}", folder.display()))?;
        let mut lock = File::options().create(true).read(true).write(true).truncate(false).open(&self.lock)?;
        if lock.try_lock().is_err() {
            let owner = self.owner().map(|id| format!(" (process {id})")).unwrap_or_default();
            bail!(
                "`{}` is up already{owner}; `cargo xtask down` stops it, `--instance NAME` starts another",
                self.name
            );
        }
        lock.set_len(0)?;
        write!(lock, "{}", std::process::id())?;
        Ok(Running(lock))
    }

    /// The process id of the `up` that runs, if one does.
    pub(crate) fn owner(&self) -> Option<i32> {
        let mut lock = File::open(&self.lock).ok()?;
        lock.try_lock_shared().is_err().then_some(())?;
        let mut id = String::new();
        lock.read_to_string(&mut id).ok()?;
        id.parse().ok()
    }

    /// Nothing of it runs any more: neither `up` nor a guardian that still clears up.
    pub(crate) fn has_ended(&self) -> bool {
        let free = |path: &PathBuf| File::open(path).map_or(true, |lock| lock.try_lock_shared().is_ok());
        free(&self.lock) && free(&self.guardian_lock)
    }

    /// This program as a guardian, and its lock.
    pub(crate) fn guardian(&self) -> anyhow::Result<xtask_system::Guardian> {
        let program = crate::instance::guardian_program();
        Ok(xtask_system::Guardian::start(&program, &self.guardian_lock)?)
    }

    pub(crate) fn logs(&self) -> PathBuf {
        self.root.join("logs")
    }

    fn state_path(&self) -> PathBuf {
        self.root.join("state.json")
    }

    /// Writes down what runs, for our own eyes only.
    pub(crate) fn write(&self, state: &State) -> anyhow::Result<()> {
        use std::os::unix::fs::OpenOptionsExt as _;
        let path = self.state_path();
        let _ = std::fs::remove_file(&path);
        let mut file = File::options().create_new(true).write(true).mode(0o600).open(&path)?;
        file.write_all(&serde_json::to_vec_pretty(state)?)?;
        Ok(())
    }

    pub(crate) fn forget(&self) {
        let _ = std::fs::remove_file(self.state_path());
    }

    /// What runs now.
    pub(crate) fn read(&self) -> anyhow::Result<State> {
        if self.owner().is_none() {
            bail!("`{}` is not up; `cargo xtask up` starts it", self.name);
        }
        let path = self.state_path();
        let text = std::fs::read(&path).with_context(|| format!("`{}` is still starting", self.name))?;
        serde_json::from_slice(&text).with_context(|| format!("cannot understand {}", path.display()))
    }
}

impl State {
    pub(crate) fn of(system: &System, started_at: u64) -> Self {
        let Addresses { shop, worker, .. } = system.addresses.clone();
        Self {
            started_at,
            process: std::process::id(),
            guardian: system.guardian.id(),
            shop,
            worker,
            parts: system.parts().map(PartState::of).collect(),
        }
    }
}

impl PartState {
    fn of(part: &Part) -> Self {
        Self {
            name: part.name().to_owned(),
            address: part.spec().address.clone(),
            process: part.process().id(),
            log: part.spec().process.log.clone(),
            probe: part.spec().probe.clone(),
        }
    }
}
