//! What every HTTP route of a core shares: who is asking, what they sent, and how a refusal looks.
//!
//! A service builds its router from these extractors and hands it to the server, which joins all of them and calls
//! [`Front::wrap`] once. Every refusal is a [`shared::Problem`] document that names the offending field or header.
//!
//! Deliberately absent: listeners, TLS and QUIC (the server and `shared-link` own them; [`Peers`] is only a face),
//! business rules, and any trust in identity headers. Who the *user* is comes from the bearer token alone.

mod body;
mod client_address;
mod front;
mod headers;
mod parameters;
mod peers;
mod signed_in;
mod trace;
mod verifier;

pub use body::Json;
pub use client_address::{AddressBlock, CLIENT_ADDRESS, ClientAddress};
pub use front::{AddressSource, Front};
pub use headers::{IdempotencyKeyHeader, IfNoneMatch, PREFER, PREFERENCE_APPLIED, Prefer};
pub use parameters::{Path, Query};
pub use peers::{CoreCallError, NoPeers, PEER_DEADLINE, PeerTransport, Peers};
pub use signed_in::{Operator, SignedIn, StoreKeeper};
pub use trace::{NotATraceParent, TraceParent};
pub use verifier::Verifier;
