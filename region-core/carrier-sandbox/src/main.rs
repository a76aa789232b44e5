//! `carrier-sandbox --listen 127.0.0.1:PORT --data-dir DIR [--webhook-url URL]`

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use anyhow::Context;
use clap::Parser;
use region_core_carrier_sandbox::{Hook, Options, Sandbox};
use secrecy::SecretString;
use shared_clock::{Clock, Entropy};
use tokio::signal::unix::{SignalKind, signal};
use tokio_util::sync::CancellationToken;

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// A carrier to build and test against.
#[derive(Parser, Debug)]
#[command(name = "carrier-sandbox", version)]
struct Arguments {
    /// Loopback address and port; port 0 takes a free one and logs it.
    #[arg(long)]
    listen: SocketAddr,
    /// Folder of the durable log; made if absent.
    #[arg(long)]
    data_dir: PathBuf,
    /// Where parcels are told of, on loopback.
    #[arg(long, requires = "webhook_secret")]
    webhook_url: Option<String>,
    /// What those notices are signed with.
    #[arg(long, env = "CARRIER_SANDBOX_WEBHOOK_SECRET", hide_env_values = true)]
    webhook_secret: Option<SecretString>,
    /// Seconds after which a parcel goes on by itself; 0 has it wait until it is told to.
    #[arg(long, default_value_t = 120)]
    step_seconds: u64,
    /// Milliseconds for which an answer that is never to be heard is held.
    #[arg(long, default_value_t = 60_000)]
    silence_ms: u64,
}

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let arguments = Arguments::parse();
    tracing_subscriber::fmt().json().with_writer(std::io::stderr).init();
    let options = Options {
        listen: arguments.listen,
        data_dir: arguments.data_dir,
        hook: arguments.webhook_url.zip(arguments.webhook_secret).map(|(url, secret)| Hook { url, secret }),
        step: (arguments.step_seconds > 0).then(|| Duration::from_secs(arguments.step_seconds)),
        silence: Duration::from_millis(arguments.silence_ms),
    };
    let sandbox = Sandbox::open(&options, Clock::system(), Entropy::system()).await?;
    tracing::info!(listen.address = %sandbox.address(), "the carrier sandbox is ready");
    let shutdown = CancellationToken::new();
    let mut terminate = signal(SignalKind::terminate()).context("SIGTERM")?;
    let mut interrupt = signal(SignalKind::interrupt()).context("SIGINT")?;
    let stop = shutdown.clone();
    tokio::spawn(async move {
        tokio::select! { _ = terminate.recv() => {}, _ = interrupt.recv() => {} }
        stop.cancel();
    });
    sandbox.run(shutdown).await;
    Ok(())
}
