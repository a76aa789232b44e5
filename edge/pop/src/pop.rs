//! Puts the parts together, and takes them down in order.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use metrics_exporter_prometheus::PrometheusHandle;
use shared_clock::{Clock, Entropy};
use shared_link::{PeerName, Tls, TlsError};
use tokio::net::TcpListener;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use crate::bodies::Bodies;
use crate::config::Config;
use crate::crowd::Crowd;
use crate::guard::{self, Anyone, Guard};
use crate::host::Host;
use crate::keys::{Keys, KeysError};
use crate::limits::Limiter;
use crate::listener::{self, Bounds};
use crate::ops::{self, OpsState};
use crate::signed::{self, UplinkState};
use crate::stock::Stock;
use crate::streams::Streams;
use crate::upstream::Upstream;

/// How often files of secrets and certificates are looked at.
const FILES: Duration = Duration::from_secs(1);
/// How often the slot map is read again.
const SLOT_MAP: Duration = Duration::from_secs(3);

/// A running point of presence.
pub struct Pop {
    /// Where shoppers come.
    pub public: SocketAddr,
    /// Where Workers come.
    pub uplink: SocketAddr,
    /// Where operators come.
    pub ops: SocketAddr,
    task: JoinHandle<()>,
}

/// Why a PoP did not start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// The certificates cannot be used.
    #[error("tls: {0}")]
    Tls(#[from] TlsError),
    /// The certificate is another machine's.
    #[error("tls.certificate: it says {found}, and this is {wanted}")]
    Name {
        /// What it says.
        found: PeerName,
        /// What it should say.
        wanted: PeerName,
    },
    /// The uplink keys cannot be used.
    #[error(transparent)]
    Keys(#[from] KeysError),
    /// An address cannot be had.
    #[error("{field}: {address}: {reason}")]
    Listen {
        /// The configuration's key.
        field: &'static str,
        /// The address.
        address: SocketAddr,
        /// What the system says.
        reason: io::Error,
    },
    /// No UDP socket for the link.
    #[error("no UDP socket for the link to the cores: {0}")]
    Link(io::Error),
}

impl Pop {
    /// Starts a PoP, which runs until `shutdown` and then drains.
    ///
    /// # Errors
    /// Names what is wrong; nothing runs then.
    pub async fn start(
        config: Config,
        metrics: PrometheusHandle,
        clock: Clock,
        shutdown: CancellationToken,
    ) -> Result<Self, StartError> {
        let tls = Tls::load(config.tls_files())?;
        let (found, wanted) = (tls.name(), PeerName::Pop(config.name.clone()));
        if found != wanted {
            return Err(StartError::Name { found, wanted });
        }
        let keys = Keys::load(config.uplink.keys.clone())?;
        let [public, uplink, ops] = [
            bind("listen.public", config.listen.public).await?,
            bind("listen.uplink", config.listen.uplink).await?,
            bind("listen.ops", config.listen.ops).await?,
        ];
        let entropy = Entropy::system();
        let upstream = Upstream::start(&config, &tls, entropy.clone()).map_err(StartError::Link)?;
        let bodies = Bodies::new(config.limits.body_bytes);
        let stock = Stock::default();
        let parts = Parts { config, clock, entropy, metrics, tls, keys, upstream, stock, bodies, shutdown };
        let addresses = [&public, &uplink, &ops].map(|(_, address)| *address);
        let task = tokio::spawn(parts.run(public.0, uplink.0, ops.0));
        Ok(Self { public: addresses[0], uplink: addresses[1], ops: addresses[2], task })
    }

    /// Waits until it has drained.
    pub async fn stopped(self) {
        if let Err(error) = self.task.await {
            tracing::error!(%error, "the PoP's main task failed");
        }
    }
}

async fn bind(field: &'static str, address: SocketAddr) -> Result<(TcpListener, SocketAddr), StartError> {
    let refuse = |reason| StartError::Listen { field, address, reason };
    let socket = TcpListener::bind(address).await.map_err(refuse)?;
    let bound = socket.local_addr().map_err(refuse)?;
    Ok((socket, bound))
}

struct Parts {
    config: Config,
    clock: Clock,
    entropy: Entropy,
    metrics: PrometheusHandle,
    tls: Arc<Tls>,
    keys: Arc<Keys>,
    upstream: Upstream,
    stock: Stock,
    bodies: Bodies,
    shutdown: CancellationToken,
}

impl Parts {
    async fn run(self, public: TcpListener, uplink: TcpListener, ops: TcpListener) {
        let bounds = Bounds { connections: self.config.limits.connections, ..Bounds::default() };
        // Operators can look until everything else has drained.
        let last = CancellationToken::new();
        let _stop = last.clone().drop_guard();
        tokio::spawn(Arc::clone(&self.tls).reload_on_change(FILES, last.clone()));
        tokio::spawn(Arc::clone(&self.keys).reload_on_change(FILES, last.clone()));
        tokio::spawn(self.upstream.clone().keep_map(SLOT_MAP, last.clone()));
        let cores = self.config.regions[&self.config.nearest].cores.len();
        let (upstream, entropy) = (self.upstream.clone(), self.entropy.clone());
        tokio::spawn(self.stock.clone().keep(upstream, cores, entropy, last.clone()));
        let [shoppers, workers, operators] = self.crowds();
        let operators = tokio::spawn(listener::serve(ops, self.ops_router(), bounds, operators, last.clone()));
        tokio::join!(
            listener::serve(public, self.public_router(), bounds, shoppers, self.shutdown.clone()),
            listener::serve(uplink, self.uplink_router(), bounds, workers, self.shutdown.clone()),
        );
        last.cancel();
        if let Err(error) = operators.await {
            tracing::error!(%error, "the operators' listener failed");
        }
    }

    /// Shares of the connections to the public listener, the uplink and the operators'.
    fn crowds(&self) -> [Crowd; 3] {
        let limits = &self.config.limits;
        let unshared = limits.exempt.iter().chain(&self.config.listen.terminators).copied().collect();
        let shoppers = Crowd::new(limits.connections_per_block, unshared);
        // Workers come from few blocks, so one may have much, but not all. Operators come from inside.
        let workers = Crowd::new(limits.connections.div_ceil(2), limits.exempt.clone());
        [shoppers, workers, Crowd::new(limits.connections, Vec::new())]
    }

    fn public_router(&self) -> axum::Router {
        let Self { config, upstream, stock, clock, entropy, .. } = self;
        let (name, memory_bytes) = (config.name.clone(), config.cache.memory_bytes);
        let (upstream, stock, streams) = (upstream.clone(), stock.clone(), Streams::new(self.shutdown.clone()));
        let host = Host::new(name, memory_bytes, upstream, stock, streams, clock.clone(), entropy.clone());
        let terminators = config.listen.terminators.clone();
        let cache_name = config.name.clone();
        let anyone = Anyone { cache_name, limiter: self.limiter(), terminators, bodies: self.bodies.clone() };
        self.guarded("public", edge_app::router(host), Some(anyone))
    }

    fn uplink_router(&self) -> axum::Router {
        let (upstream, stock, keys) = (self.upstream.clone(), self.stock.clone(), Arc::clone(&self.keys));
        let (limiter, bodies, clock) = (self.limiter(), self.bodies.clone(), self.clock.clone());
        let state = UplinkState { upstream, stock, keys, limiter, bodies, clock };
        self.guarded("uplink", signed::router(state), None)
    }

    fn ops_router(&self) -> axum::Router {
        let (upstream, metrics) = (self.upstream.clone(), self.metrics.clone());
        let router = ops::router(OpsState { upstream, metrics, draining: self.shutdown.clone() });
        self.guarded("ops", router, None)
    }

    fn guarded(&self, listener: &'static str, router: axum::Router, anyone: Option<Anyone>) -> axum::Router {
        guard::guarded(router, Guard { listener, anyone, entropy: self.entropy.clone() })
    }

    fn limiter(&self) -> Limiter {
        Limiter::new(&self.config.limits, self.clock.clone())
    }
}
