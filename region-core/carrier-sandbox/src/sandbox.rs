//! A running sandbox: the log, its keeper, the parcels' way and the listener.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use region_core_sandbox::faults::Mischief;
use region_core_sandbox::journal::JournalError;
use region_core_sandbox::server::{self, ListenError};
use shared_clock::{Clock, Entropy};
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

use crate::hook::{Hook, Teller};
use crate::keeper::Keeper;
use crate::routes::{self, App};

/// How often it is looked which parcels go on.
const LOOK: Duration = Duration::from_secs(1);

/// What a sandbox is started with.
#[derive(Clone, Debug)]
pub struct Options {
    /// Where to listen; loopback only.
    pub listen: SocketAddr,
    /// Where the log is kept.
    pub data_dir: PathBuf,
    /// Who is told of parcels.
    pub hook: Option<Hook>,
    /// After how long a parcel goes on by itself; only when told to, if absent.
    pub step: Option<Duration>,
    /// How long an answer that is never to be heard is held.
    pub silence: Duration,
}

/// Why it did not start.
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
    keeper: Keeper,
    hook: Option<Hook>,
    step: Option<Duration>,
    silence: Duration,
    clock: Clock,
    entropy: Entropy,
}

impl Sandbox {
    /// Replays the log and binds the address.
    ///
    /// # Errors
    /// [`SandboxError`], naming the option that is at fault.
    pub async fn open(options: &Options, clock: Clock, entropy: Entropy) -> Result<Self, SandboxError> {
        let (listener, address) = server::listen(options.listen).await?;
        let keeper = Keeper::open(&options.data_dir, clock.clone(), entropy.clone())?;
        let (hook, step, silence) = (options.hook.clone(), options.step, options.silence);
        Ok(Self { listener, address, keeper, hook, step, silence, clock, entropy })
    }

    /// Where it listens.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Serves until `shutdown`.
    pub async fn run(self, shutdown: CancellationToken) {
        let Self { listener, address, keeper, hook, step, silence, clock, entropy } = self;
        let app = App {
            keeper,
            teller: Teller::start(hook, shutdown.clone()),
            mischief: Mischief::default(),
            entropy,
            origin: format!("http://{address}"),
            silence,
            shutdown: shutdown.clone(),
        };
        if let Some(step) = step {
            let (app, stop) = (app.clone(), shutdown.clone());
            tokio::spawn(async move { stop.run_until_cancelled(carry(app, clock, step)).await });
        }
        server::serve(listener, routes::router(app), shutdown).await;
    }
}

/// Has parcels go on, each a step after the last.
async fn carry(app: App, clock: Clock, step: Duration) {
    let mut looks = tokio::time::interval(LOOK);
    loop {
        looks.tick().await;
        let late = clock.unix_ms().saturating_sub(u64::try_from(step.as_millis()).unwrap_or(u64::MAX));
        let Ok(due) = app.keeper.due(late).await else { return };
        for parcel in due {
            if let Err(error) = app.go_on(parcel).await {
                tracing::debug!(%error, "a parcel does not go on");
            }
        }
    }
}
