//! No process outlives the one that started it, not even after `kill -9`.
//!
//! The guardian is a process in a session of its own. It reads from a pipe whose other end only the parent holds; when
//! that end closes, however the parent died, the guardian ends every process group that was registered. A parent-death
//! signal would not do: workerd and Postgres escape it.
//!
//! A child registers itself between `fork` and `exec`, while it still holds a copy of the pipe: if the parent dies in
//! that moment, the pipe stays open until the child is registered. So no group is ever running and unknown.
//!
//! Not here: orderly shutdown, which is [`crate::System::stop`]'s.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::io::{PipeReader, PipeWriter, Read, Write};
use std::os::fd::AsFd;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::time::Duration;

use nix::sys::signal::{SigSet, Signal, kill, killpg};
use nix::unistd::{Pid, getpid, setsid};

use crate::error::{SystemError, file};
use crate::process::Stop;

/// How long the groups have to end by themselves before they are killed.
const GRACE: Duration = Duration::from_secs(5);
/// How often the guardian looks whether they have ended.
const LOOK: Duration = Duration::from_millis(20);
/// Kind, then process group: short enough that a write to the pipe is one piece.
const RECORD_BYTES: usize = 5;
const GONE: u8 = 0;
const TERMINATE: u8 = 1;
const FAST_SHUTDOWN: u8 = 2;

/// Which program is a guardian: it must call [`run`] and nothing else.
#[derive(Clone, Debug)]
pub struct GuardianProgram {
    /// The program.
    pub program: PathBuf,
    /// What makes it a guardian; the path of its lock follows.
    pub arguments: Vec<OsString>,
}

/// The parent's end. Clones share it; when the last is dropped the guardian ends what is still registered.
#[derive(Clone, Debug)]
pub struct Guardian(Arc<Parent>);

#[derive(Debug)]
struct Parent {
    pipe: PipeWriter,
    child: std::sync::Mutex<Child>,
}

impl Guardian {
    /// Starts a guardian, which holds `lock` until all that it guarded has ended.
    ///
    /// # Errors
    /// [`SystemError::Spawn`] if the program does not run, [`SystemError::Unguarded`] if it is not a guardian, or if
    /// another guardian still holds the lock after half a minute.
    pub fn start(guardian: &GuardianProgram, lock: &Path) -> Result<Self, SystemError> {
        let spawn =
            |source| SystemError::Spawn { part: "the guardian".to_owned(), program: guardian.program.clone(), source };
        let (reader, pipe) = std::io::pipe().map_err(spawn)?;
        let mut child = Command::new(&guardian.program)
            .args(&guardian.arguments)
            .arg(lock)
            .stdin(reader)
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .map_err(spawn)?;
        let mut ready = [0];
        let said = child.stdout.take().map(|mut stdout| stdout.read_exact(&mut ready));
        match said {
            Some(Ok(())) => Ok(Self(Arc::new(Parent { pipe, child: std::sync::Mutex::new(child) }))),
            Some(Err(_)) | None => Err(SystemError::Unguarded),
        }
    }

    /// The guardian's process id.
    #[must_use]
    pub fn id(&self) -> u32 {
        self.0.child.lock().unwrap_or_else(std::sync::PoisonError::into_inner).id()
    }

    /// To be called by a child between `fork` and `exec`: registers its own group. Only async-signal-safe calls.
    pub(crate) fn register_self(&self, stop: Stop) -> std::io::Result<()> {
        let kind = match stop {
            Stop::Terminate => TERMINATE,
            Stop::FastShutdown => FAST_SHUTDOWN,
        };
        nix::unistd::write(self.0.pipe.as_fd(), &record(kind, getpid()))?;
        Ok(())
    }

    /// The whole group has ended: its number may now be anybody's.
    pub(crate) fn forget(&self, group: Pid) -> Result<(), SystemError> {
        (&self.0.pipe).write_all(&record(GONE, group)).map_err(|_| SystemError::Unguarded)
    }
}

impl Drop for Parent {
    fn drop(&mut self) {
        // Closing our end is what tells the guardian. It is not waited for: what it still has to end may take seconds,
        // and whoever needs them ended waits for its lock.
        let child = self.child.get_mut().unwrap_or_else(std::sync::PoisonError::into_inner);
        let _ = child.try_wait();
    }
}

/// The guardian itself: returns when the parent is gone and every registered group has ended.
///
/// # Errors
/// [`SystemError::Busy`] if another guardian holds the lock for half a minute.
pub fn run(lock: &Path) -> Result<(), SystemError> {
    // Signals of the terminal and of well-meaning supervisors are for the parent; only the pipe speaks to us.
    let _ = setsid();
    let _ = SigSet::all().thread_block();
    let _held = hold(lock)?;
    let mut stdin = take_stdin().map_err(file("read", lock))?;
    if std::io::stdout().write_all(b"g").and_then(|()| std::io::stdout().flush()).is_err() {
        return Ok(());
    }
    let mut groups = BTreeMap::new();
    let mut bytes = [0; RECORD_BYTES];
    while stdin.read_exact(&mut bytes).is_ok() {
        match parse(bytes) {
            (GONE, group) => groups.remove(&group),
            (kind, group) => groups.insert(group, kind),
        };
    }
    end(&groups);
    Ok(())
}

fn take_stdin() -> std::io::Result<PipeReader> {
    Ok(PipeReader::from(std::io::stdin().as_fd().try_clone_to_owned()?))
}

/// Waits for the lock of an earlier guardian that is still clearing up.
fn hold(lock: &Path) -> Result<std::fs::File, SystemError> {
    let held = std::fs::File::create(lock).map_err(file("create", lock))?;
    for _ in 0..1_500 {
        match held.try_lock() {
            Ok(()) => return Ok(held),
            Err(std::fs::TryLockError::WouldBlock) => std::thread::sleep(LOOK),
            Err(std::fs::TryLockError::Error(source)) => {
                return Err(SystemError::File { action: "lock", path: lock.to_owned(), source });
            }
        }
    }
    Err(SystemError::Busy(format!("another guardian still holds {}", lock.display())))
}

/// Asks, waits, kills.
fn end(groups: &BTreeMap<i32, u8>) {
    for (&group, &kind) in groups {
        // Postgres is asked through its leader alone: its children have sessions of their own and obey it.
        let _ = if kind == FAST_SHUTDOWN {
            kill(Pid::from_raw(group), Signal::SIGINT)
        } else {
            killpg(Pid::from_raw(group), Signal::SIGTERM)
        };
        // One that was stopped can obey only once it runs again.
        let _ = killpg(Pid::from_raw(group), Signal::SIGCONT);
    }
    let mut waited = Duration::ZERO;
    while waited < GRACE && groups.keys().any(|&group| is_alive(Pid::from_raw(group))) {
        std::thread::sleep(LOOK);
        waited += LOOK;
    }
    for &group in groups.keys() {
        let _ = killpg(Pid::from_raw(group), Signal::SIGKILL);
    }
}

/// Whether any process of the group runs.
pub(crate) fn is_alive(group: Pid) -> bool {
    killpg(group, None).is_ok()
}

fn record(kind: u8, group: Pid) -> [u8; RECORD_BYTES] {
    let [a, b, c, d] = group.as_raw().to_le_bytes();
    [kind, a, b, c, d]
}

fn parse([kind, a, b, c, d]: [u8; RECORD_BYTES]) -> (u8, i32) {
    (kind, i32::from_le_bytes([a, b, c, d]))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_record_survives_the_pipe() {
        assert_eq!(parse(record(FAST_SHUTDOWN, Pid::from_raw(4_194_303))), (FAST_SHUTDOWN, 4_194_303));
    }

    #[test]
    fn a_program_that_is_no_guardian_is_refused() {
        let program = GuardianProgram { program: "/bin/true".into(), arguments: Vec::new() };
        let refused = Guardian::start(&program, Path::new("/nonexistent/lock")).unwrap_err();
        assert!(matches!(refused, SystemError::Unguarded));
    }
}
