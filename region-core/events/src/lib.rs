//! The bus: each shard's own outbox, read by consumers with a cursor and an inbox.
//!
//! A service [`append`]s its events in the transaction that makes them true and calls [`Wake::notify`] after the commit. A
//! [`Runner`] gives them to each [`Consumer`] in the shard where they were written, at least once; effect, inbox and
//! cursor are one commit, so each takes effect once. What fails again and again goes to the dead letters, and later events
//! of the same order park behind it, while others flow.
//!
//! Where a broker carries the events, a [`Relay`] hands it each shard's outbox, and [`Listening`] takes what it tells of to the
//! same delivery; the runner then brings only what the broker did not.
//!
//! Deliberately absent: the broker itself (nothing is copied unless there is one), NOTIFY, and order between different
//! orders.

mod consumer;
pub mod contract;
mod delivery;
mod envelope;
mod listening;
mod measure;
mod relay;
mod runner;
mod store;
#[cfg(feature = "test-support")]
pub mod test_support;
mod wake;

pub use consumer::{AfterCommit, Consumer, HandleError};
pub use envelope::{Event, NewEvent, Outgoing, Topic};
pub use listening::Listening;
pub use relay::{Relay, Shipment};
pub use runner::{Runner, Settings};
pub use store::failure::{DeadLetter, is_skipped, list_dead_letters, replay, skip};
pub use store::outbox::append;
pub use wake::{Waiter, Wake, Wakes};
