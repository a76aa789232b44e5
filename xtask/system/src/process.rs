//! One guarded process in a process group of its own, its output in a log file.

use std::ffi::{OsStr, OsString};
use std::fs::{File, OpenOptions};
use std::path::{Path, PathBuf};
use std::process::{ExitStatus, Stdio};
use std::time::Duration;

use nix::sys::signal::{Signal, kill, killpg};
use nix::unistd::Pid;
use tokio::process::{Child, Command};

use crate::error::{SystemError, file};
use crate::guardian::{Guardian, is_alive};
use crate::user::ServiceUser;

/// How many lines of its log are told about a part that failed.
const TAIL_LINES: usize = 20;
/// How much of a log's end is read to find them.
const TAIL_BYTES: u64 = 16 * 1024;
/// How often a dying process is looked at, and how many times at most.
const LOOK: Duration = Duration::from_millis(2);
const LOOKS: usize = 1_000;

/// How a part is asked to end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stop {
    /// SIGTERM to the whole group.
    Terminate,
    /// SIGINT to the leader alone: Postgres' fast shutdown.
    FastShutdown,
}

/// What to run, and how.
#[derive(Clone, Debug)]
pub struct ProcessSpec {
    /// The part's name, for messages.
    pub part: String,
    /// The program.
    pub program: PathBuf,
    /// Its arguments.
    pub arguments: Vec<OsString>,
    /// Variables beside those inherited.
    pub environment: Vec<(OsString, OsString)>,
    /// Its working folder.
    pub directory: PathBuf,
    /// Where its output is appended.
    pub log: PathBuf,
    /// Who it runs as, if not as we do.
    pub user: Option<ServiceUser>,
    /// How it is asked to end.
    pub stop: Stop,
}

impl ProcessSpec {
    /// A process that runs as we do, with our environment, and ends on SIGTERM.
    pub fn new(part: impl Into<String>, program: impl Into<PathBuf>, directory: &Path, log: PathBuf) -> Self {
        Self {
            part: part.into(),
            program: program.into(),
            arguments: Vec::new(),
            environment: Vec::new(),
            directory: directory.to_owned(),
            log,
            user: None,
            stop: Stop::Terminate,
        }
    }

    /// With these arguments after those it has.
    #[must_use]
    pub fn arguments<A: Into<OsString>>(mut self, arguments: impl IntoIterator<Item = A>) -> Self {
        self.arguments.extend(arguments.into_iter().map(Into::into));
        self
    }

    /// With this variable.
    #[must_use]
    pub fn variable(mut self, name: impl AsRef<OsStr>, value: impl AsRef<OsStr>) -> Self {
        self.environment.push((name.as_ref().to_owned(), value.as_ref().to_owned()));
        self
    }

    /// As another user.
    #[must_use]
    pub fn user(mut self, user: Option<ServiceUser>) -> Self {
        self.user = user;
        self
    }

    /// Starts it, registered with the guardian before its program is loaded.
    ///
    /// # Errors
    /// [`SystemError::Spawn`] or, if its log cannot be opened, [`SystemError::File`].
    pub fn spawn(&self, guardian: &Guardian) -> Result<Process, SystemError> {
        let log = open_log(&self.log)?;
        let errors = log.try_clone().map_err(file("open", &self.log))?;
        let mut command = Command::new(&self.program);
        // A part is described by its configuration; our own settings are not for it.
        for (name, _) in std::env::vars_os().filter(|(name, _)| name.as_encoded_bytes().starts_with(b"MERIDIAN_")) {
            command.env_remove(name);
        }
        command
            .args(&self.arguments)
            .envs(self.environment.iter().map(|(name, value)| (name, value)))
            .current_dir(&self.directory)
            .stdin(Stdio::null())
            .stdout(log)
            .stderr(errors)
            .process_group(0);
        if let Some(user) = &self.user {
            command.uid(user.uid).gid(user.gid).env("HOME", &user.home);
        }
        guard(&mut command, guardian.clone(), self.stop);
        let spawned = command.spawn().map_err(|source| SystemError::Spawn {
            part: self.part.clone(),
            program: self.program.clone(),
            source,
        })?;
        Ok(Process::new(self.clone(), spawned, guardian.clone()))
    }

    /// Runs it to its end.
    ///
    /// # Errors
    /// As [`ProcessSpec::spawn`]; [`SystemError::Failed`] with the end of its log if it fails.
    pub async fn run(&self, guardian: &Guardian) -> Result<(), SystemError> {
        let mut process = self.spawn(guardian)?;
        let status = process.wait().await?;
        if status.success() {
            return Ok(());
        }
        Err(SystemError::Failed { part: self.part.clone(), status, tail: tail(&self.log) })
    }
}

#[expect(unsafe_code, reason = "registration must happen between fork and exec, and there is no safe way in")]
fn guard(command: &mut Command, guardian: Guardian, stop: Stop) {
    // SAFETY: the closure calls only getpid(2) and write(2), both async-signal-safe, and allocates nothing.
    unsafe { command.pre_exec(move || guardian.register_self(stop)) };
}

fn open_log(path: &Path) -> Result<File, SystemError> {
    OpenOptions::new().create(true).append(true).open(path).map_err(file("open", path))
}

/// A process that was started. Dropping it kills it and its whole group.
#[derive(Debug)]
pub struct Process {
    spec: ProcessSpec,
    child: Child,
    group: Pid,
    guardian: Guardian,
}

impl Process {
    fn new(spec: ProcessSpec, child: Child, guardian: Guardian) -> Self {
        let id = child.id().and_then(|id| i32::try_from(id).ok()).unwrap_or(i32::MAX);
        Self { spec, child, group: Pid::from_raw(id), guardian }
    }

    /// Its process id, which is its group's as well.
    #[must_use]
    pub fn id(&self) -> i32 {
        self.group.as_raw()
    }

    /// How it ended, if it has.
    ///
    /// # Errors
    /// [`SystemError::Spawn`] if the operating system cannot tell.
    pub fn ended(&mut self) -> Result<Option<ExitStatus>, SystemError> {
        self.child.try_wait().map_err(|source| spawn_error(&self.spec, source))
    }

    /// Waits for its end.
    ///
    /// # Errors
    /// [`SystemError::Spawn`] if the operating system cannot tell.
    pub async fn wait(&mut self) -> Result<ExitStatus, SystemError> {
        self.child.wait().await.map_err(|source| spawn_error(&self.spec, source))
    }

    /// Asks it to end, kills it if it has not after `grace`, and waits until the whole group is gone.
    ///
    /// # Errors
    /// [`SystemError::Spawn`] if the operating system cannot tell how it ended.
    pub async fn stop(&mut self, grace: Duration) -> Result<ExitStatus, SystemError> {
        if self.ended()?.is_none() {
            self.ask();
            if let Ok(status) = tokio::time::timeout(grace, self.wait()).await {
                let status = status?;
                self.clear().await;
                return Ok(status);
            }
        }
        self.kill().await
    }

    /// Kills the whole group at once, as a crash would.
    ///
    /// # Errors
    /// [`SystemError::Spawn`] if the operating system cannot tell how it ended.
    pub async fn kill(&mut self) -> Result<ExitStatus, SystemError> {
        // Stopped first, so that it starts no more of them while they are looked for.
        let _ = killpg(self.group, Signal::SIGSTOP);
        let below = descendants(self.id());
        let _ = killpg(self.group, Signal::SIGKILL);
        signal_each(&below, Signal::SIGKILL);
        let status = self.wait().await;
        self.clear().await;
        status
    }

    /// Stops it, and all that it started, from running until [`Process::resume`], as a machine that hangs.
    pub fn pause(&self) {
        let _ = killpg(self.group, Signal::SIGSTOP);
        signal_each(&descendants(self.id()), Signal::SIGSTOP);
    }

    /// Lets it and all that it started run again.
    pub fn resume(&self) {
        signal_each(&descendants(self.id()), Signal::SIGCONT);
        let _ = killpg(self.group, Signal::SIGCONT);
    }

    /// Sends it SIGHUP, by which a server reads its configuration again.
    pub fn reload(&self) {
        let _ = kill(self.group, Signal::SIGHUP);
    }

    /// The last lines that it wrote.
    #[must_use]
    pub fn log_tail(&self) -> String {
        tail(&self.spec.log)
    }

    fn ask(&self) {
        let _ = match self.spec.stop {
            Stop::Terminate => killpg(self.group, Signal::SIGTERM),
            Stop::FastShutdown => kill(self.group, Signal::SIGINT),
        };
        self.resume();
    }

    /// Whatever the leader left behind goes too. Orphans are not ours to wait for: looks until they are gone.
    async fn clear(&self) {
        for _ in 0..LOOKS {
            if self.forget_if_gone() {
                return;
            }
            tokio::time::sleep(LOOK).await;
        }
    }

    /// Kills what is left of the group; once nothing is, the guardian may forget it.
    fn forget_if_gone(&self) -> bool {
        let _ = killpg(self.group, Signal::SIGKILL);
        let gone = !is_alive(self.group);
        if gone {
            let _ = self.guardian.forget(self.group);
        }
        gone
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        if !matches!(self.child.try_wait(), Ok(Some(_))) && self.spec.stop == Stop::FastShutdown {
            // Postgres killed outright leaves its shared memory behind; its immediate shutdown does not, and takes
            // milliseconds.
            let _ = kill(self.group, Signal::SIGQUIT);
            let _ = killpg(self.group, Signal::SIGCONT);
            self.wait_blocking(Duration::from_secs(5));
        }
        let _ = killpg(self.group, Signal::SIGKILL);
        self.wait_blocking(Duration::from_secs(1));
        self.forget_if_gone();
    }
}

impl Process {
    /// A drop cannot await: looks every few milliseconds whether a dying process has been reaped.
    fn wait_blocking(&mut self, most: Duration) {
        let mut waited = Duration::ZERO;
        while waited < most && matches!(self.child.try_wait(), Ok(None)) {
            std::thread::sleep(LOOK);
            waited += LOOK;
        }
    }
}

fn signal_each(processes: &[i32], signal: Signal) {
    for process in processes {
        let _ = kill(Pid::from_raw(*process), signal);
    }
}

/// All processes below one, from `/proc`: Postgres' own leave its group, each for a session of its own.
fn descendants(of: i32) -> Vec<i32> {
    let entries = std::fs::read_dir("/proc").into_iter().flatten().flatten();
    let numbers = entries.filter_map(|entry| entry.file_name().to_str()?.parse::<i32>().ok());
    let parents: Vec<(i32, i32)> = numbers.filter_map(|id| Some((id, parent(id)?))).collect();
    let mut found = vec![of];
    let mut next = 0;
    while let Some(&above) = found.get(next) {
        found.extend(
            parents
                .iter()
                .filter(|(id, parent)| *parent == above && !found.contains(id))
                .map(|(id, _)| *id)
                .collect::<Vec<_>>(),
        );
        next += 1;
    }
    found.split_off(1)
}

/// The parent of a process: the second field after the name, which stands in parentheses (proc(5)).
fn parent(id: i32) -> Option<i32> {
    let stat = std::fs::read_to_string(format!("/proc/{id}/stat")).ok()?;
    stat.rsplit_once(')')?.1.split_whitespace().nth(1)?.parse().ok()
}

fn spawn_error(spec: &ProcessSpec, source: std::io::Error) -> SystemError {
    SystemError::Spawn { part: spec.part.clone(), program: spec.program.clone(), source }
}

/// The last lines of a log, each indented; empty if there is none.
#[must_use]
pub fn tail(log: &Path) -> String {
    let text = last_bytes(log).unwrap_or_default();
    let lines: Vec<&str> = text.lines().collect();
    lines[lines.len().saturating_sub(TAIL_LINES)..].iter().map(|line| format!("    {line}\n")).collect()
}

fn last_bytes(log: &Path) -> std::io::Result<String> {
    use std::io::{Read, Seek, SeekFrom};
    let mut file = File::open(log)?;
    let length = file.metadata()?.len();
    file.seek(SeekFrom::Start(length.saturating_sub(TAIL_BYTES)))?;
    let mut bytes = Vec::new();
    file.take(TAIL_BYTES).read_to_end(&mut bytes)?;
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}
