//! The link between points of presence and cores, and between cores: HTTP/3 over QUIC with mutual TLS.
//!
//! [`Server`] serves an axum router and says in each request's extensions which [`Peer`] sent it. [`Pool`] keeps a few
//! connections to every core of one region and sends buffered requests over them, with a deadline, a bound on what is
//! in flight, and at most one retry where that is safe. [`Tls`] holds the certificates of both and reloads them.
//!
//! Deliberately absent: 0-RTT and session resumption (each connection proves both certificates anew), a fallback to
//! TCP, streamed requests, and any opinion about users: a peer's certificate says which machine speaks, never for whom.

pub mod client;
pub mod congestion;
mod error;
pub mod peer;
pub mod server;
mod socket;
pub mod tls;

pub use client::{Pool, PoolOptions, Safe};
pub use congestion::{Congestion, Transport};
pub use error::LinkError;
pub use peer::{Peer, PeerName};
pub use server::{Server, ServerOptions};
pub use tls::{Tls, TlsError, TlsFiles};

/// The application protocol that both sides must speak (RFC 9114 section 3.1).
pub const ALPN: &[u8] = b"h3";
