//! UDP sockets with room for a burst, and QUIC endpoints on them.

use std::io;
use std::net::{SocketAddr, UdpSocket};
use std::sync::Arc;

use quinn::{Endpoint, EndpointConfig, ServerConfig, TokioRuntime};
use socket2::{Domain, Protocol, Socket, Type};

/// Bytes asked of the kernel for each direction; it gives less where `net.core.*mem_max` says so.
const BUFFER_BYTES: usize = 2 * 1024 * 1024;

/// An endpoint on `address`, accepting connections if it has a `server` configuration.
pub(crate) fn endpoint(address: SocketAddr, server: Option<ServerConfig>) -> io::Result<Endpoint> {
    Endpoint::new(EndpointConfig::default(), server, socket(address)?, Arc::new(TokioRuntime))
}

fn socket(address: SocketAddr) -> io::Result<UdpSocket> {
    let socket = Socket::new(Domain::for_address(address), Type::DGRAM, Some(Protocol::UDP))?;
    // A smaller buffer drops packets in a burst, which QUIC repairs: no reason not to start.
    for outcome in [socket.set_recv_buffer_size(BUFFER_BYTES), socket.set_send_buffer_size(BUFFER_BYTES)] {
        outcome.unwrap_or_else(|error| tracing::debug!(%error, "the UDP buffer keeps the system's size"));
    }
    socket.bind(&address.into())?;
    Ok(socket.into())
}
