//! A payment provider to build and test against: a process of its own that decides like a real one, keeps a durable log,
//! loses answers and comes late.
//!
//! Every effect is on disk before its answer leaves, and the log is replayed at the start, so that a kill loses nothing
//! that anyone was told. `GET /v1/log` tells what money moved, for an audit to compare with.
//!
//! Deliberately absent: real money, card numbers, accounts and authentication. It listens on loopback only.

pub mod book;
pub mod clerk;
pub mod routes;
pub mod rules;
mod sandbox;

pub use sandbox::{Options, Sandbox, SandboxError};
