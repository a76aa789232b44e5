//! What can go wrong while a system is laid out, started or stopped; each message says which part and what to do.

use std::path::{Path, PathBuf};

/// Why a part could not be prepared, started or stopped.
#[derive(Debug, thiserror::Error)]
pub enum SystemError {
    /// A file or folder refused.
    #[error("cannot {action} {}: {source}", path.display())]
    File {
        /// What was tried, as a verb.
        action: &'static str,
        /// On which file or folder.
        path: PathBuf,
        /// What the operating system said.
        source: std::io::Error,
    },
    /// A program could not be run at all.
    #[error("cannot run {} for {part}: {source}", program.display())]
    Spawn {
        /// Whose program.
        part: String,
        /// Which program.
        program: PathBuf,
        /// What the operating system said.
        source: std::io::Error,
    },
    /// No proxy could be put between two parts.
    #[error("no proxy between {from} and {to}: {source}")]
    Link {
        /// Who connects.
        from: String,
        /// To whom.
        to: String,
        /// What the operating system said.
        source: std::io::Error,
    },
    /// A program that does one thing and ends has failed.
    #[error("{part} failed ({status})\n{tail}")]
    Failed {
        /// Which step.
        part: String,
        /// How it ended.
        status: std::process::ExitStatus,
        /// The last lines that it wrote.
        tail: String,
    },
    /// A long-running part ended before it answered.
    #[error("{part} ended before it was ready ({status}); the last lines of {}:\n{tail}", log.display())]
    Ended {
        /// Which part.
        part: String,
        /// How it ended.
        status: std::process::ExitStatus,
        /// Where all of its log is.
        log: PathBuf,
        /// The last lines that it wrote.
        tail: String,
    },
    /// A part runs but did not answer in time.
    #[error("{part} was not ready within {seconds} s ({answer}); the last lines of {}:\n{tail}", log.display())]
    NotReady {
        /// Which part.
        part: String,
        /// How long it was given.
        seconds: u64,
        /// What it answered last.
        answer: String,
        /// Where all of its log is.
        log: PathBuf,
        /// The last lines that it wrote.
        tail: String,
    },
    /// A port that was asked for belongs to somebody else.
    #[error("port {port}, wanted by {part}, is in use{}", owner.as_ref().map(|owner| format!(" by {owner}")).unwrap_or_default())]
    PortInUse {
        /// Who wanted it.
        part: String,
        /// Which port.
        port: u16,
        /// Who has it, if that could be found out: program and process id.
        owner: Option<String>,
    },
    /// No free port was found.
    #[error("no free port on 127.0.0.1 between {first} and {last}")]
    NoFreePort {
        /// First port tried.
        first: u16,
        /// Last port tried.
        last: u16,
    },
    /// Something else holds the instance.
    #[error("{0}")]
    Busy(String),
    /// A tool is neither installed nor installable here.
    #[error("{tool} is missing: {advice}")]
    Missing {
        /// Which tool.
        tool: &'static str,
        /// How to get it.
        advice: String,
    },
    /// A database refused.
    #[error("{part}: {source}")]
    Sql {
        /// Which server.
        part: String,
        /// What it said.
        source: sqlx::Error,
    },
    /// A certificate or key could not be made or read.
    #[error("cannot make the certificate of {name}: {reason}")]
    Certificate {
        /// Whose certificate.
        name: String,
        /// Why.
        reason: String,
    },
    /// The guardian is gone, so nothing may be started: it would outlive its parent.
    #[error("the guardian process is gone")]
    Unguarded,
}

/// Names the file and the action in an I/O error.
pub(crate) fn file<'a>(action: &'static str, path: &'a Path) -> impl FnOnce(std::io::Error) -> SystemError + 'a {
    move |source| SystemError::File { action, path: path.to_owned(), source }
}
