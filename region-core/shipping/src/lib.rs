//! Parcels: what of an order has left, with whom, and what has arrived.
//!
//! Inside the transaction that decides about an order, `order` asks what a parcel may hold ([`rules::pack`]), writes it down
//! ([`send`]) and notes its arrival ([`deliver`]). Units leave once: the table of what was sent repeats that as a CHECK.
//!
//! Deliberately absent: whether an order may be sent at all (`order` decides that by the order's row), and stock: what is
//! claimed for an order is sold, whether it has left or not.

pub mod rules;
mod store;

pub use rules::{Line, ParcelError, pack};
pub use store::{Arrival, Known, NewParcel, count_events, deliver, find_key, is_whole, list, send, sent};
