//! The protocols that money and stock rest on, explored exhaustively in small scope (crate `stateright`), each beside the
//! known ways to get it wrong, which must be found.
//!
//! The network is a set whose messages are never removed: any of them may be delivered late, out of order, again, or never.
//! A process that crashes simply does nothing more, and every step may be the last; what a restarted process does is written as
//! *drain*, and from every reachable state a fair drain must settle everything. Properties that begin with "some" are there so that
//! a model which does nothing fails.
//!
//! Deliberately absent: time (it is an action that may happen at any moment) and SQL (`../machine` drives the real one).
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

mod explore;
mod payment_saga;
mod slot_move;
mod transfer;
