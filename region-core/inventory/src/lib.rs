//! Stock: allotments (units of a SKU that a shard owns), reservations (units held for an order) and the ledger that is
//! the only way in and out.
//!
//! What other services may do with stock: [`receive`] units through the ledger; take them for orders through the shard's
//! [`writer`]; inside the transaction that decides about an order, [`claim`] and [`release`] its units; and, for an order that
//! finds too few, have them fetched from other shards ([`Borrowing`]). Every change is a conditional update that the table's CHECKs repeat; nobody reads a count and
//! writes one back. How units move between shards is told in [`transfer`], and
//! where the goods lie that they stand for in [`origins`].
//!
//! Deliberately absent: who may order and why an order ends (`order` decides that by one compare-and-set on the order's
//! row).

pub mod balance;
mod borrow;
pub mod ledger;
pub mod levels;
pub mod origins;
mod routes;
mod rules;
mod store;
pub mod transfer;
pub mod writer;

pub use borrow::{Borrowing, Claimant, Covered, NotCovered};
pub use ledger::Ledger;
pub use routes::{Api, router};
pub use rules::{Held, Shortfall};
pub use store::{Receipt, claim, find_free, lock, lock_free, receive, release};
pub use writer::{Kind, Memory, Writer, WriterError};
