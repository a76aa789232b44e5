//! `payment-sandbox --listen 127.0.0.1:PORT --data-dir DIR`

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use anyhow::Context;
use clap::Parser;
use region_core_payment_sandbox::{Options, Sandbox};
use shared_clock::{Clock, Entropy};
use tokio::signal::unix::{SignalKind, signal};
use tokio_util::sync::CancellationToken;

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// A payment provider to build and test against.
#[derive(Parser, Debug)]
#[command(name = "payment-sandbox", version)]
struct Arguments {
    /// Loopback address and port; port 0 takes a free one and logs it.
    #[arg(long)]
    listen: SocketAddr,
    /// Folder of the durable log; made if absent.
    #[arg(long)]
    data_dir: PathBuf,
    /// Milliseconds by which `tok_late` is late.
    #[arg(long, default_value_t = 7_000)]
    late_ms: u64,
    /// Milliseconds for which an answer that is never to be heard is held.
    #[arg(long, default_value_t = 30_000)]
    silence_ms: u64,
    /// Most payments held in memory.
    #[arg(long, default_value_t = 2_000_000)]
    max_payments: usize,
}

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let arguments = Arguments::parse();
    tracing_subscriber::fmt().json().with_writer(std::io::stderr).init();
    let options = Options {
        listen: arguments.listen,
        data_dir: arguments.data_dir,
        late: Duration::from_millis(arguments.late_ms),
        silence: Duration::from_millis(arguments.silence_ms),
        max_payments: arguments.max_payments,
    };
    let sandbox = Sandbox::open(&options, Clock::system(), Entropy::system()).await?;
    tracing::info!(listen.address = %sandbox.address(), "the payment sandbox is ready");
    let shutdown = CancellationToken::new();
    let mut terminate = signal(SignalKind::terminate()).context("SIGTERM")?;
    let mut interrupt = signal(SignalKind::interrupt()).context("SIGINT")?;
    let stop = shutdown.clone();
    tokio::spawn(async move {
        tokio::select! { _ = terminate.recv() => {}, _ = interrupt.recv() => {} }
        stop.cancel();
    });
    Ok(sandbox.run(shutdown).await?)
}
