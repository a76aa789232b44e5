//! A part of the system: a process, and how to tell that it answers.

use std::time::Duration;

use tokio::time::Instant;

use crate::error::SystemError;
use crate::guardian::Guardian;
use crate::probe::Probe;
use crate::process::{Process, ProcessSpec};

/// How often a starting part is asked. These are foreign processes: nothing but asking tells that they are ready.
const ASK_EVERY: Duration = Duration::from_millis(50);
/// How long a part may take to end before it is killed.
const GRACE: Duration = Duration::from_secs(15);

/// What a part is, whether it runs or not.
#[derive(Clone, Debug)]
pub struct PartSpec {
    /// What to run.
    pub process: ProcessSpec,
    /// How to tell that it answers.
    pub probe: Probe,
    /// Where people and other parts reach it, for telling.
    pub address: String,
    /// How long it may take until it answers.
    pub ready_within: Duration,
}

impl PartSpec {
    /// Its name.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.process.part
    }

    /// Starts it without waiting until it answers.
    ///
    /// # Errors
    /// As [`ProcessSpec::spawn`].
    pub fn spawn(self, guardian: &Guardian) -> Result<Part, SystemError> {
        let process = self.process.spawn(guardian)?;
        Ok(Part { spec: self, process, guardian: guardian.clone() })
    }

    /// Starts it and waits until it answers.
    ///
    /// # Errors
    /// As [`ProcessSpec::spawn`] and [`Part::ready`].
    pub async fn start(self, guardian: &Guardian) -> Result<Part, SystemError> {
        let mut part = self.spawn(guardian)?;
        part.ready().await?;
        Ok(part)
    }
}

/// A part that was started. Dropping it kills it.
#[derive(Debug)]
pub struct Part {
    spec: PartSpec,
    process: Process,
    guardian: Guardian,
}

impl Part {
    /// Its name.
    #[must_use]
    pub fn name(&self) -> &str {
        self.spec.name()
    }

    /// What it is.
    #[must_use]
    pub fn spec(&self) -> &PartSpec {
        &self.spec
    }

    /// Its process, for signals and logs.
    #[must_use]
    pub fn process(&self) -> &Process {
        &self.process
    }

    /// Waits until it answers.
    ///
    /// # Errors
    /// [`SystemError::Ended`] if its process ended instead, [`SystemError::NotReady`] if its time is over.
    pub async fn ready(&mut self) -> Result<(), SystemError> {
        let deadline = Instant::now() + self.spec.ready_within;
        loop {
            if let Some(status) = self.process.ended()? {
                return Err(self.ended(status));
            }
            match self.spec.probe.ask().await {
                Ok(()) => return Ok(()),
                Err(answer) if Instant::now() >= deadline => return Err(self.not_ready(answer)),
                Err(_) => tokio::time::sleep(ASK_EVERY).await,
            }
        }
    }

    /// Asks it to end and waits until it has.
    ///
    /// # Errors
    /// As [`Process::stop`].
    pub async fn stop(&mut self) -> Result<std::process::ExitStatus, SystemError> {
        self.process.stop(GRACE).await
    }

    /// Kills it, as a crash would.
    ///
    /// # Errors
    /// As [`Process::kill`].
    pub async fn kill(&mut self) -> Result<std::process::ExitStatus, SystemError> {
        self.process.kill().await
    }

    /// Starts it again after [`Part::stop`] or [`Part::kill`], with what it had, and waits until it answers.
    ///
    /// # Errors
    /// As [`PartSpec::start`].
    pub async fn restart(&mut self) -> Result<(), SystemError> {
        if self.process.ended()?.is_none() {
            self.process.stop(GRACE).await?;
        }
        self.process = self.spec.process.spawn(&self.guardian)?;
        self.ready().await
    }

    /// Starts it again without waiting until it answers.
    ///
    /// # Errors
    /// As [`ProcessSpec::spawn`], and those of [`Part::kill`] if it still runs.
    pub async fn respawn(&mut self) -> Result<(), SystemError> {
        self.respawn_with(&[]).await
    }

    /// The same with these variables beside its own, for this time.
    ///
    /// # Errors
    /// As [`Part::respawn`].
    pub async fn respawn_with(&mut self, variables: &[(&str, &str)]) -> Result<(), SystemError> {
        if self.process.ended()?.is_none() {
            self.process.kill().await?;
        }
        let process =
            variables.iter().fold(self.spec.process.clone(), |spec, (name, value)| spec.variable(name, value));
        self.process = process.spawn(&self.guardian)?;
        Ok(())
    }

    /// Waits until it has ended, and tells how.
    ///
    /// # Errors
    /// As [`Process::wait`].
    pub async fn wait(&mut self) -> Result<std::process::ExitStatus, SystemError> {
        self.process.wait().await
    }

    /// How it ended, if it has.
    ///
    /// # Errors
    /// As [`Process::ended`].
    pub fn has_ended(&mut self) -> Result<Option<std::process::ExitStatus>, SystemError> {
        self.process.ended()
    }

    /// The error that says it has ended by itself.
    pub(crate) fn ended(&self, status: std::process::ExitStatus) -> SystemError {
        SystemError::Ended {
            part: self.name().to_owned(),
            status,
            log: self.spec.process.log.clone(),
            tail: self.process.log_tail(),
        }
    }

    /// Waits until it ends by itself, which a part never should.
    pub async fn watch(&mut self) -> SystemError {
        match self.wait().await {
            Ok(status) => self.ended(status),
            Err(error) => error,
        }
    }

    fn not_ready(&self, answer: String) -> SystemError {
        SystemError::NotReady {
            part: self.name().to_owned(),
            seconds: self.spec.ready_within.as_secs(),
            answer,
            log: self.spec.process.log.clone(),
            tail: self.process.log_tail(),
        }
    }
}
