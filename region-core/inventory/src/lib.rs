//! Stock: allotments (units of a SKU that a shard owns), reservations (units held for an order) and the ledger that is
//! the only way in and out.
//!
//! What other services may do with stock: [`receive`] units through the ledger; and, inside the transaction that decides
//! about an order, [`reserve`], [`claim`] and [`release`] its units. Every one of them is a
//! conditional update that the table's CHECKs repeat; nobody reads a count and writes one back.
//!
//! Deliberately absent: who may order and why an order ends (`order` decides that by one compare-and-set on the order's
//! row), and any wait for units of another shard.

pub mod levels;
mod routes;
mod rules;
mod store;
pub mod writer;

pub use routes::router;
pub use rules::{Held, Shortfall};
pub use store::{Receipt, ReserveError, claim, lock, lock_free, receive, release, reserve};
pub use writer::{Kind, Memory, Writer, WriterError};
