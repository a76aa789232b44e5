//! Parcels: what of an order has left, with whom, what has arrived, and what came back.
//!
//! Inside the transaction that decides about an order, `order` asks what a parcel may hold ([`rules::pack`]), writes it down
//! ([`send`]) and notes its arrival ([`deliver`]). Units leave once, and come back once ([`returns`]): the table of what was
//! sent repeats that as CHECKs.
//!
//! Deliberately absent: whether an order may be sent at all (`order` decides that by the order's row), and stock: what is
//! claimed for an order is sold, whether it has left or not, and what came back is entered into the stock's ledger by `order`.

pub mod rules;
mod store;

pub use rules::{Line, ParcelError, pack};
pub use store::{Arrival, Known, NewParcel, count_events, count_said, deliver, find_key, is_whole, list, send, sent};

/// Goods that come back.
pub mod returns {
    pub use crate::rules::returns::{Gone, Looked, ReturnError, look_at, take_back};
    pub use crate::store::returns::{NewReturn, Registered, find, find_key, gone, inspect, list, register};
}
