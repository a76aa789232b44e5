//! Bad weather for links on loopback: a small proxy for UDP and TCP that delays, loses, repeats and reorders what passes,
//! and cuts the link, both ways or one way, when it is told to. What befalls the n-th datagram follows from a seed.
//!
//! QUIC needs the UDP side; Postgres and Redis speak through the TCP side. On TCP a lost segment is one that comes late, and
//! repeats and reorderings cannot be seen, as on a real network: they are left out. A cut holds TCP's bytes back until it is
//! mended, and drops datagrams.
//!
//! Deliberately absent: a control socket, for who breaks links holds them in process; and anything that looks inside.

mod link;
mod rules;
mod tcp;
mod udp;

pub use link::{Counts, Kind, Link};
pub use rules::{Conditions, Weather};
