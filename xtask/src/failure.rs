//! How the commands end that look whether the store keeps its promises (`audit`, `replay`, `faults`, `bench`): that one was
//! broken is told apart from not having been able to look.

use std::fmt::{self, Display, Formatter};
use std::process::ExitCode;

/// Why such a command does not end with success.
#[derive(Debug)]
pub(crate) enum Failure {
    /// A promise was broken, and this says which.
    Broken(String),
    /// Nobody knows: something could not be built, started, reached or read.
    NotRun(anyhow::Error),
}

/// What such a command comes to.
pub(crate) type Judged = Result<(), Failure>;

impl Failure {
    /// The exit code of this kind. Help, scripts and the gate rely on it.
    pub(crate) const fn code(&self) -> u8 {
        match self {
            Self::Broken(_) => 1,
            Self::NotRun(_) => 2,
        }
    }
}

impl From<anyhow::Error> for Failure {
    fn from(error: anyhow::Error) -> Self {
        Self::NotRun(error)
    }
}

impl Display for Failure {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        match self {
            Self::Broken(what) => f.write_str(what),
            Self::NotRun(error) => write!(f, "{error:#}"),
        }
    }
}

impl std::error::Error for Failure {}

/// The exit code for an error of any command; those that judge nothing have but one.
pub(crate) fn exit_code(error: &anyhow::Error) -> ExitCode {
    error.downcast_ref().map_or(ExitCode::FAILURE, |failure: &Failure| ExitCode::from(failure.code()))
}

#[cfg(test)]
mod tests {
    use anyhow::anyhow;

    use super::*;

    #[test]
    fn a_broken_promise_is_told_apart_from_a_command_that_could_not_be_run() {
        let codes = [
            anyhow!(Failure::Broken("2 orders under one key".to_owned())),
            anyhow!(Failure::from(anyhow!("port 7105 is in use"))),
            anyhow!("no answer from pop"),
        ];
        assert_eq!(codes.map(|error| exit_code(&error)), [1, 2, 1].map(ExitCode::from));
    }

    #[test]
    fn the_whole_chain_of_causes_is_told() {
        let error = anyhow!("refused").context("cannot reach the database of shard 1");
        assert_eq!(Failure::from(error).to_string(), "cannot reach the database of shard 1: refused");
    }
}
