//! A running sandbox: the log, its keeper and the listener.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use region_core_sandbox::faults::Mischief;
use region_core_sandbox::journal::JournalError;
use region_core_sandbox::server::{self, ListenError};
use shared_clock::{Clock, Entropy};
use tokio::net::TcpListener;
use tokio::sync::oneshot;
use tokio_util::sync::CancellationToken;

use crate::clerk::Clerk;
use crate::routes::{self, App};

/// Longest wait for the clerk's last flush.
const FAREWELL: Duration = Duration::from_secs(2);

/// What a sandbox is started with.
#[derive(Clone, Debug)]
pub struct Options {
    /// Where to listen; loopback only.
    pub listen: SocketAddr,
    /// Where the log is kept.
    pub data_dir: PathBuf,
    /// How late `tok_late` is authorized and answered.
    pub late: Duration,
    /// How long an answer that is never to be heard is held.
    pub silence: Duration,
    /// Most payments held.
    pub max_payments: usize,
}

/// Why it did not start, or ended.
#[derive(Debug, thiserror::Error)]
pub enum SandboxError {
    /// It cannot be reached.
    #[error(transparent)]
    Listen(#[from] ListenError),
    /// The log cannot be used.
    #[error("--data-dir: {0}")]
    Journal(#[from] JournalError),
}

/// A sandbox that is ready to serve.
#[derive(Debug)]
pub struct Sandbox {
    listener: TcpListener,
    address: SocketAddr,
    app: App,
    clerk_ended: oneshot::Receiver<Result<(), JournalError>>,
}

impl Sandbox {
    /// Replays the log and binds the address.
    ///
    /// # Errors
    /// [`SandboxError`], naming the option that is at fault.
    pub async fn open(options: &Options, clock: Clock, entropy: Entropy) -> Result<Self, SandboxError> {
        let (listener, address) = server::listen(options.listen).await?;
        let (clerk, clerk_ended) = Clerk::start(&options.data_dir, options.max_payments, clock, entropy)?;
        let app = App {
            clerk,
            mischief: Mischief::default(),
            origin: format!("http://{address}"),
            late: options.late,
            silence: options.silence,
            shutdown: CancellationToken::new(),
        };
        Ok(Self { listener, address, app, clerk_ended })
    }

    /// Where it listens.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Serves until `shutdown`, or until the log cannot be written.
    ///
    /// # Errors
    /// [`SandboxError::Journal`]: nothing more may be answered then.
    pub async fn run(self, shutdown: CancellationToken) -> Result<(), SandboxError> {
        let Self { listener, app, mut clerk_ended, .. } = self;
        let stop = app.shutdown.clone();
        let serving = server::serve(listener, routes::router(app), stop.clone());
        tokio::pin!(serving);
        tokio::select! {
            () = shutdown.cancelled() => {}
            () = &mut serving => return Ok(()),
            ended = &mut clerk_ended => return ended.unwrap_or(Ok(())).map_err(SandboxError::from),
        }
        stop.cancel();
        serving.await;
        // The last handler is gone, so the clerk ends; the log is free for the next start then.
        tokio::time::timeout(FAREWELL, clerk_ended).await.map_or(Ok(()), |ended| ended.unwrap_or(Ok(())))?;
        Ok(())
    }
}
