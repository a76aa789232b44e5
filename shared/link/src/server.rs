//! Serves an axum router over HTTP/3 to peers with certificates of ours.
//!
//! Everything has a bound: connections, requests of one connection, body, head, and time. One malformed request costs
//! its own stream and nothing else. A drain tells peers to go elsewhere, finishes what it took, and then closes.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use quinn::{Endpoint, VarInt};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::congestion::Transport;
use crate::socket;
use crate::tls::{Configs, Tls};

mod body;
mod connection;
mod request;

/// Bounds of a [`Server`].
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct ServerOptions {
    /// QUIC's settings.
    pub transport: Transport,
    /// Connections at once; more are refused.
    pub max_connections: usize,
    /// Requests at once of one connection; more are answered 503.
    pub max_requests_per_connection: usize,
    /// Time for a handler to answer, and again for the peer to take the answer; then 504.
    pub request_deadline: Duration,
    /// Longest body, in bytes; a longer one is answered 413.
    pub max_body_bytes: usize,
    /// Time that requests have to finish once draining.
    pub drain: Duration,
    /// Make every new address prove itself (RFC 9000 section 8.1.2), not only while many handshakes are open.
    pub always_retry: bool,
}

impl Default for ServerOptions {
    fn default() -> Self {
        Self {
            transport: Transport::default(),
            max_connections: 1_024,
            max_requests_per_connection: 512,
            request_deadline: Duration::from_secs(30),
            max_body_bytes: shared::api::MAX_BODY_BYTES,
            drain: Duration::from_secs(20),
            always_retry: false,
        }
    }
}

/// Handshakes at once from which on new addresses must prove themselves.
const UNPROVEN_HANDSHAKES: usize = 64;

/// A listener for peers.
pub struct Server {
    endpoint: Endpoint,
    tls: Arc<Tls>,
    options: ServerOptions,
}

impl Server {
    /// Binds to `address`; port 0 picks one.
    ///
    /// # Errors
    /// When the socket cannot be had.
    pub fn bind(address: SocketAddr, tls: Arc<Tls>, options: ServerOptions) -> io::Result<Self> {
        let config = quic_config(&tls.current(), &options);
        Ok(Self { endpoint: socket::endpoint(address, Some(config))?, tls, options })
    }

    /// Where it listens.
    ///
    /// # Errors
    /// When the system does not say.
    pub fn local_addr(&self) -> io::Result<SocketAddr> {
        self.endpoint.local_addr()
    }

    /// Serves `router` until `shutdown`, then drains and returns. Each request carries a [`crate::Peer`] extension.
    pub async fn serve(self, router: Router, shutdown: CancellationToken) {
        let tasks = TaskTracker::new();
        let handshakes = Arc::new(());
        let service = connection::Service { router, options: self.options, shutdown: shutdown.clone() };
        let mut changes = self.tls.subscribe();
        loop {
            tokio::select! {
                () = shutdown.cancelled() => break,
                // An error would mean that `self.tls` is gone, which `self` holds.
                Ok(()) = changes.changed() => {
                    let configs = changes.borrow_and_update().clone();
                    self.endpoint.set_server_config(Some(quic_config(&configs, &self.options)));
                }
                incoming = self.endpoint.accept() => match incoming {
                    Some(incoming) => self.admit(incoming, &tasks, &handshakes, &service),
                    None => break,
                },
            }
        }
        self.drain(&tasks).await;
    }

    fn admit(
        &self,
        incoming: quinn::Incoming,
        tasks: &TaskTracker,
        handshakes: &Arc<()>,
        service: &connection::Service,
    ) {
        let crowded = Arc::strong_count(handshakes) > UNPROVEN_HANDSHAKES;
        if self.endpoint.open_connections() >= self.options.max_connections {
            metrics::counter!("link_server_refused_connections_total").increment(1);
            incoming.refuse();
        } else if incoming.may_retry() && (crowded || self.options.always_retry) {
            // Fails only when `may_retry` does not hold.
            let _ = incoming.retry();
        } else {
            tasks.spawn(connection::serve(incoming, Arc::clone(handshakes), service.clone()));
        }
    }

    async fn drain(&self, tasks: &TaskTracker) {
        self.endpoint.set_server_config(None);
        tasks.close();
        if tokio::time::timeout(self.options.drain, tasks.wait()).await.is_err() {
            tracing::warn!(connections = self.endpoint.open_connections(), "requests did not finish while draining");
        }
        self.endpoint.close(NO_ERROR, b"drained");
        // The time that the last packets may take; a peer that is gone must not hold up the exit.
        let _ = tokio::time::timeout(Duration::from_secs(1), self.endpoint.wait_idle()).await;
    }
}

/// `H3_NO_ERROR` (RFC 9114 section 8.1).
pub(crate) const NO_ERROR: VarInt = VarInt::from_u32(0x100);

fn quic_config(configs: &Configs, options: &ServerOptions) -> quinn::ServerConfig {
    let mut config = quinn::ServerConfig::with_crypto(configs.server.clone());
    config.transport_config(options.transport.server());
    config
}
