//! The bus: each shard's own outbox, read by consumers with a cursor and an inbox.
//!
//! A service [`append`]s its events in the transaction that makes them true and calls [`Wake::notify`] after the commit. A
//! [`Runner`] gives them to each [`Consumer`] in the shard where they were written, at least once; effect, inbox and
//! cursor are one commit, so each takes effect once. What fails again and again goes to the dead letters, and later events
//! of the same order park behind it, while others flow.
//!
//! Deliberately absent: a broker and a relay to one (nothing is copied on this bus), NOTIFY, and order between different
//! orders.

mod consumer;
pub mod contract;
mod delivery;
mod envelope;
mod measure;
mod runner;
mod store;
mod wake;

pub use consumer::{AfterCommit, Consumer, HandleError};
pub use envelope::{Event, NewEvent, Topic};
pub use runner::{Runner, Settings};
pub use store::failure::{DeadLetter, is_skipped, list_dead_letters, replay, skip};
pub use store::outbox::append;
pub use wake::{Waiter, Wake, Wakes};
