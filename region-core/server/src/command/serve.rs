//! `region-core serve`: opens the listeners, serves the region, drains on SIGTERM or Ctrl-C.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context;
use axum::Router;
use metrics_exporter_prometheus::{PrometheusBuilder, PrometheusHandle};
use region_core_web::AddressSource;
use shared_link::{Server, ServerOptions, Tls, TlsFiles};
use tokio::net::TcpListener;
use tokio::signal::unix::{SignalKind, signal};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::config::Config;
use crate::ops::{self, LateRoutes, Readiness};
use crate::region::Region;

/// How long background work may take to end once the link has drained.
const LONGEST_END: Duration = Duration::from_secs(10);
/// How often certificate files are looked at.
const CERTIFICATE_PERIOD: Duration = Duration::from_secs(10);
/// How often samples of histograms are counted into their buckets.
const UPKEEP: Duration = Duration::from_secs(5);

pub(crate) async fn run(config: Config) -> anyhow::Result<()> {
    let shutdown = shutdown_on_signal()?;
    let tasks = TaskTracker::new();
    let tls = load_tls(&config)?;
    tasks.spawn(Arc::clone(&tls).reload_on_change(CERTIFICATE_PERIOD, shutdown.clone()));
    let link = Server::bind(config.listen.quic, Arc::clone(&tls), ServerOptions::default())
        .with_context(|| format!("listen.quic: {}", config.listen.quic))?;
    let (readiness, api) = (Readiness::default(), LateRoutes::default());
    // The plain listener outlives the link, so that a drain can be watched.
    let drained = CancellationToken::new();
    tasks.spawn(open_plain(&config, &readiness, &api).await?.serve(drained.clone()));

    let region = tokio::select! {
        region = Region::build(&config, &tls) => region?,
        () = shutdown.cancelled() => return Ok(()),
    };
    region.start(&tasks, &shutdown);
    api.open(region.front(AddressSource::Listener).wrap(region.public()));
    readiness.set(true);
    tracing::info!(region = %config.region, process.name = config.name, link = %link.local_addr()?, "serving");
    tasks.spawn({
        let shutdown = shutdown.clone();
        async move {
            shutdown.cancelled().await;
            readiness.set(false);
        }
    });
    link.serve(region.linked(), shutdown).await;
    drained.cancel();
    tasks.close();
    if tokio::time::timeout(LONGEST_END, tasks.wait()).await.is_err() {
        tracing::warn!("some work did not end in time; what it had not committed is taken up by others");
    }
    tracing::info!("drained");
    Ok(())
}

fn load_tls(config: &Config) -> anyhow::Result<Arc<Tls>> {
    let paths = &config.tls;
    let files = TlsFiles { ca: paths.ca.clone(), certificate: paths.certificate.clone(), key: paths.key.clone() };
    Tls::load(files).context("tls")
}

/// The plain listener: health, readiness and metrics from the first moment; `/v1` only where a developer asks for it.
struct Plain {
    listener: TcpListener,
    routes: Router,
}

async fn open_plain(config: &Config, readiness: &Readiness, api: &LateRoutes) -> anyhow::Result<Plain> {
    let address = config.listen.ops;
    let listener = TcpListener::bind(address).await.with_context(|| format!("listen.ops: {address}"))?;
    let mut routes = ops::router(readiness.clone(), install_metrics(config)?);
    if config.dev.plain_api {
        let api = api.clone();
        routes = routes.fallback(async move |request| api.answer(request).await);
    }
    Ok(Plain { listener, routes })
}

impl Plain {
    async fn serve(self, shutdown: CancellationToken) {
        let service = self.routes.into_make_service_with_connect_info::<SocketAddr>();
        let served = axum::serve(self.listener, service).with_graceful_shutdown(shutdown.cancelled_owned()).await;
        if let Err(error) = served {
            tracing::error!(%error, "the plain listener ended");
        }
    }
}

fn install_metrics(config: &Config) -> anyhow::Result<PrometheusHandle> {
    let handle = PrometheusBuilder::new()
        .add_global_label("region", config.region.as_str())
        .add_global_label("process", &config.name)
        .set_buckets(&[0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0])?
        .install_recorder()
        .context("metrics")?;
    let upkeep = handle.clone();
    tokio::spawn(async move {
        // Else a histogram keeps every sample until somebody asks for it, which nobody may ever do.
        let mut ticks = tokio::time::interval(UPKEEP);
        loop {
            ticks.tick().await;
            upkeep.run_upkeep();
        }
    });
    Ok(handle)
}

fn shutdown_on_signal() -> anyhow::Result<CancellationToken> {
    let (mut terminate, mut interrupt) = (signal(SignalKind::terminate())?, signal(SignalKind::interrupt())?);
    let shutdown = CancellationToken::new();
    let told = shutdown.clone();
    tokio::spawn(async move {
        tokio::select! { _ = terminate.recv() => {}, _ = interrupt.recv() => {} }
        told.cancel();
    });
    Ok(shutdown)
}
