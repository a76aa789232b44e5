//! Requests to the outside: how long they may take, how much is read, and, to strangers, where they may lead; in one place for every
//! service that sends them.
//!
//! Deliberately absent: retries, and what an answer means; services know that.

pub mod http;
pub mod resolver;
mod strangers;
pub mod target;

use std::error::Error;

pub use strangers::{NoAnswer, Outbound};

/// The chain in one line.
fn chain(error: &(dyn Error + 'static)) -> String {
    let chain = std::iter::successors(Some(error), |error: &&(dyn Error + 'static)| (*error).source());
    chain.map(ToString::to_string).collect::<Vec<_>>().join(": ")
}
