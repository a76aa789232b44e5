//! The harness of the tests that run the whole of Meridian: real processes on loopback, real databases, real HTTP.
//!
//! [`Store`] starts a system and knows where its parts are. [`Shopper`] uses the JSON API with a token, [`Visitor`] uses
//! the pages as a browser without JavaScript does. [`Books`] reads what the databases and the payment provider wrote
//! down, which is what the tests believe. Everything here fails by panicking with what was expected.
//!
//! Deliberately absent: stand-ins for any part, and knowledge of how a part works inside.
#![allow(clippy::unwrap_used, reason = "a harness fails its test by panicking")]

pub mod books;
pub mod client;
pub mod contract;
pub mod events;
pub mod goods;
pub mod place;
pub mod shopper;
pub mod store;
pub mod visitor;
pub mod wait;

pub use books::Books;
pub use client::{Answer, Client};
pub use shopper::{Shopper, address};
pub use store::{Bus, Options, Sites, Store};
pub use visitor::{Page, Visitor};
pub use wait::until;
