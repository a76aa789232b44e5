//! Makes connections, and says why one could not be made.

use std::io;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use h3::ConnectionState;
use quinn::{ConnectionError, Endpoint};
use shared::RegionName;

use super::PoolOptions;
use super::slot::{DialFailure, Sender};
use crate::peer::PeerName;
use crate::socket;
use crate::tls::Tls;

/// Longest head of an answer, as HTTP/3 counts it.
const MAX_HEAD_BYTES: u64 = 64 * 1024;
/// How often an unconfirmed handshake is looked at, should nothing else wake us.
const LOOK: Duration = Duration::from_millis(50);

/// Connects to the cores of one region.
pub(super) struct Dialer {
    pub(super) region: RegionName,
    pub(super) tls: Arc<Tls>,
    v4: Endpoint,
    /// Absent on machines without IPv6.
    v6: Option<Endpoint>,
    transport: Arc<quinn::TransportConfig>,
    timeout: Duration,
}

/// A connection and the state machine that must be polled for it to live.
pub(super) struct Dialed {
    pub(super) sender: Sender,
    pub(super) driver: Driver,
    pub(super) quic: quinn::Connection,
}

/// Reads the control streams of a connection.
pub(super) struct Driver(h3::client::Connection<h3_quinn::Connection, Bytes>);

/// What a core did to end a connection.
pub(super) enum Ending {
    /// It asks us to go elsewhere; requests under way will be answered.
    GoAway,
    /// The connection is closed.
    Closed,
}

impl Dialer {
    pub(super) fn new(region: &RegionName, tls: Arc<Tls>, options: &PoolOptions) -> io::Result<Self> {
        Ok(Self {
            region: region.clone(),
            tls,
            v4: socket::endpoint((Ipv4Addr::UNSPECIFIED, 0).into(), None)?,
            v6: socket::endpoint((Ipv6Addr::UNSPECIFIED, 0).into(), None).ok(),
            transport: options.transport.client(options.probe),
            timeout: options.connect_timeout,
        })
    }

    /// A connection on which both sides have accepted each other's certificate.
    pub(super) async fn dial(&self, core: &str) -> Result<Dialed, DialFailure> {
        let dialed = tokio::time::timeout(self.timeout, self.connect(core)).await;
        dialed.unwrap_or_else(|_| Err(failure("no handshake in time")))
    }

    async fn connect(&self, core: &str) -> Result<Dialed, DialFailure> {
        let mut found = tokio::net::lookup_host(core).await.map_err(failure)?;
        let address = found.next().ok_or_else(|| failure("the name has no address"))?;
        let mut config = quinn::ClientConfig::new(self.tls.current().client);
        config.transport_config(Arc::clone(&self.transport));
        let name = PeerName::Core(self.region.clone()).to_string();
        let connecting = self.endpoint(address)?.connect_with(config, address, &name).map_err(failure)?;
        let quic = connecting.await.map_err(|error| classify(&error))?;
        let mut builder = h3::client::builder();
        builder.send_grease(false).max_field_section_size(MAX_HEAD_BYTES);
        let built = builder.build(h3_quinn::Connection::new(quic.clone())).await;
        let (driver, sender) = built.map_err(|error| closed(&quic, &error))?;
        let mut dialed = Dialed { sender, driver: Driver(driver), quic };
        dialed.confirm().await?;
        Ok(dialed)
    }

    fn endpoint(&self, address: SocketAddr) -> Result<&Endpoint, DialFailure> {
        match (address, &self.v6) {
            (SocketAddr::V4(_), _) => Ok(&self.v4),
            (SocketAddr::V6(_), Some(v6)) => Ok(v6),
            (SocketAddr::V6(_), None) => Err(failure("this machine has no IPv6")),
        }
    }
}

impl Dialed {
    /// Waits for the server's word that the handshake is done (RFC 9001 section 4.1.2).
    ///
    /// A TLS 1.3 client believes so before the server has looked at its certificate. Without this a refused certificate
    /// would show as a lost first request.
    async fn confirm(&mut self) -> Result<(), DialFailure> {
        let mut looks = tokio::time::interval(LOOK);
        while self.quic.stats().frame_rx.handshake_done == 0 {
            tokio::select! {
                ending = self.driver.next() => if matches!(ending, Ending::Closed) {
                    return Err(closed(&self.quic, &"the core closed the connection"));
                },
                _ = looks.tick() => {}
            }
        }
        Ok(())
    }
}

impl Driver {
    /// Polls the connection until the core ends it or says that it will. Loses nothing when cancelled.
    pub(super) async fn next(&mut self) -> Ending {
        std::future::poll_fn(|cx| {
            let closed = self.0.poll_close(cx);
            if closed.is_ready() {
                closed.map(|_| Ending::Closed)
            } else if self.0.is_closing() {
                std::task::Poll::Ready(Ending::GoAway)
            } else {
                std::task::Poll::Pending
            }
        })
        .await
    }

    /// Polls the connection until it is closed.
    pub(super) async fn closed(mut self) {
        std::future::poll_fn(|cx| self.0.poll_close(cx)).await;
    }
}

fn failure(reason: impl ToString) -> DialFailure {
    DialFailure { reason: reason.to_string(), unauthenticated: false }
}

/// Why the connection was closed, in QUIC's words if it has any.
fn closed(quic: &quinn::Connection, otherwise: &dyn std::fmt::Display) -> DialFailure {
    quic.close_reason().map_or_else(|| failure(otherwise), |reason| classify(&reason))
}

fn classify(error: &ConnectionError) -> DialFailure {
    // TLS alerts, whoever raised them, are CRYPTO_ERROR 0x0100 to 0x01ff (RFC 9001 section 4.8).
    let code = match error {
        ConnectionError::TransportError(error) => u64::from(error.code),
        ConnectionError::ConnectionClosed(close) => u64::from(close.error_code),
        ConnectionError::VersionMismatch
        | ConnectionError::ApplicationClosed(_)
        | ConnectionError::Reset
        | ConnectionError::TimedOut
        | ConnectionError::LocallyClosed
        | ConnectionError::CidsExhausted => 0,
    };
    DialFailure { reason: error.to_string(), unauthenticated: (0x100..0x200).contains(&code) }
}
