//! `meridian-broker`: Kafka for one machine, until it is ended. What it was sent ends with it.

use std::net::SocketAddr;
use std::path::PathBuf;

use anyhow::Context as _;
use clap::Parser;
use tokio::net::TcpListener;
use xtask_broker::{Brokers, Kind};

/// A broker with the bus' topics, for developers, tests and fault runs.
#[derive(Debug, Parser)]
#[command(name = "meridian-broker", version)]
struct Options {
    /// Where clients reach it.
    #[arg(long)]
    listen: SocketAddr,
    /// Where somebody listens once it has its topics.
    #[arg(long)]
    ready: SocketAddr,
    /// The program of tansu; a simulation of librdkafka's if absent.
    #[arg(long)]
    tansu: Option<PathBuf>,
}

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let options = Options::parse();
    let kind = options.tansu.map_or(Kind::Simulated(1), Kind::Tansu);
    let mut brokers = Brokers::start_at(&kind, &[options.listen]).await.context("no broker")?;
    println!("{kind:?} at {}", options.listen);
    let ready = TcpListener::bind(options.ready).await.context("cannot say that it is ready")?;
    loop {
        tokio::select! {
            ended = brokers.watch() => return Err(ended.into()),
            _ = ready.accept() => {}
        }
    }
}
