//! A carrier to build and test against: a process of its own that speaks EasyPost's API v2 as far as the shop does, sells labels,
//! prints them, moves parcels along, tells of it by signed webhooks, keeps a durable log, loses answers and comes late.
//!
//! Every effect is on disk before its answer leaves, and the log is replayed at the start. `GET /log` tells what was sold and taken
//! back, for an audit to compare with. Misbehaviour, log and listener are those of `region-core/sandbox`.
//!
//! Deliberately absent: money, accounts (any key will do), customs papers, and a log of webhooks: one that was not heard before the
//! process ended is not sent again, as with a real carrier that gives up. It listens on loopback only.

pub mod book;
pub mod code128;
mod hook;
mod keeper;
pub mod label;
mod pdf;
mod routes;
mod sandbox;

pub use hook::Hook;
pub use sandbox::{Options, Sandbox, SandboxError};
