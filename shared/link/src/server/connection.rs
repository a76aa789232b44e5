//! One peer's connection: handshake, requests, drain.

use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use bytes::Bytes;
use rustls_pki_types::CertificateDer;
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::request::{self, Context};
use super::{NO_ERROR, ServerOptions};
use crate::peer::{Peer, PeerName};

/// Time for a handshake.
const HANDSHAKE: Duration = Duration::from_secs(5);
/// Longest head of a request, as HTTP/3 counts it (RFC 9114 section 4.2.2).
pub(super) const MAX_HEAD_BYTES: u64 = 32 * 1024;

/// How long the last answer may travel before a drain closes the connection under a peer that does not.
const LINGER: Duration = Duration::from_secs(1);
/// Pause between looks whether requests are under way, while draining.
const LOOK: Duration = Duration::from_millis(50);

type H3 = h3::server::Connection<h3_quinn::Connection, Bytes>;

/// What every connection is served with.
#[derive(Clone)]
pub(super) struct Service {
    pub(super) router: Router,
    pub(super) options: ServerOptions,
    pub(super) shutdown: CancellationToken,
}

/// Serves one connection until either side closes it.
pub(super) async fn serve(incoming: quinn::Incoming, handshake: Arc<()>, service: Service) {
    let address = incoming.remote_address();
    match tokio::time::timeout(HANDSHAKE, shake_hands(incoming)).await {
        Ok(Ok((quic, peer))) => {
            drop(handshake);
            let open = metrics::gauge!("link_server_connections");
            open.increment(1);
            requests(&quic, peer, &service).await;
            open.decrement(1);
        }
        Ok(Err(error)) => refused(address, &error.to_string()),
        Err(_) => refused(address, "no handshake in time"),
    }
}

fn refused(address: std::net::SocketAddr, reason: &str) {
    metrics::counter!("link_server_refused_connections_total").increment(1);
    tracing::info!(peer.address = %address, reason, "a connection was refused");
}

async fn shake_hands(incoming: quinn::Incoming) -> Result<(quinn::Connection, Peer), quinn::ConnectionError> {
    let quic = incoming.await?;
    match name_of(&quic) {
        Some(name) => {
            let peer = Peer { name, address: quic.remote_address() };
            Ok((quic, peer))
        }
        None => {
            // The verifier lets no such certificate through; refusing again costs nothing.
            quic.close(NO_ERROR, b"no peer's certificate");
            Err(quinn::ConnectionError::LocallyClosed)
        }
    }
}

fn name_of(quic: &quinn::Connection) -> Option<PeerName> {
    let chain = quic.peer_identity()?.downcast::<Vec<CertificateDer<'static>>>().ok()?;
    PeerName::in_certificate(chain.first()?).ok()
}

async fn requests(quic: &quinn::Connection, peer: Peer, service: &Service) {
    let mut builder = h3::server::builder();
    builder.send_grease(false).max_field_section_size(MAX_HEAD_BYTES);
    let mut h3: H3 = match builder.build(h3_quinn::Connection::new(quic.clone())).await {
        Ok(h3) => h3,
        Err(error) => return tracing::debug!(%error, peer.name = %peer.name, "the connection ended at its start"),
    };
    let tasks = TaskTracker::new();
    let context = Context {
        router: service.router.clone(),
        options: service.options,
        permits: Arc::new(Semaphore::new(service.options.max_requests_per_connection)),
        quic: quic.clone(),
        peer,
    };
    match accept_all(&mut h3, &tasks, &context, &service.shutdown).await {
        Err(error) if !error.is_h3_no_error() => {
            tracing::debug!(%error, peer.name = %context.peer.name, "a connection ended");
        }
        Ok(()) | Err(_) => {}
    }
    // Closing now would cut off answers on their way; the peer closes when it has them.
    tasks.close();
    tasks.wait().await;
}

/// Returns when the peer is gone; after a drain began also when it has had its answers for a while and is still there.
async fn accept_all(
    h3: &mut H3,
    tasks: &TaskTracker,
    context: &Context,
    shutdown: &CancellationToken,
) -> Result<(), h3::error::ConnectionError> {
    let mut draining = false;
    loop {
        tokio::select! {
            () = shutdown.cancelled(), if !draining => {
                draining = true;
                h3.shutdown(0).await?;
            }
            accepted = h3.accept() => match accepted? {
                Some(resolver) => { tasks.spawn(request::serve(resolver, context.clone())); }
                None => return Ok(()),
            },
            () = quiet(tasks), if draining => return Ok(()),
        }
    }
}

/// Returns once no request has been under way for [`LINGER`].
async fn quiet(tasks: &TaskTracker) {
    let mut looks = tokio::time::interval(LOOK);
    let mut since = None;
    loop {
        let now = looks.tick().await;
        if !tasks.is_empty() {
            since = None;
        } else if now.saturating_duration_since(*since.get_or_insert(now)) >= LINGER {
            return;
        }
    }
}
