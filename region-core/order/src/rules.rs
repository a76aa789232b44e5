//! What an order may be and what it costs: pure decisions.

pub(crate) mod admit;
mod checked;
mod parcel;
mod price;

pub use checked::{CheckedOrder, InvalidField, checked_items};
pub(crate) use parcel::{By, CheckedShipment, checked_reason};
pub use price::{PriceError, Priced, PricedOrder, price};
