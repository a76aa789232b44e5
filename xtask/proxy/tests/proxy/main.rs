//! The proxy on real sockets: what it is told to do to a link is what those at its ends see.
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

mod support;
mod tcp;
mod udp;
