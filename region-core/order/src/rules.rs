//! What an order may be and what it costs: pure decisions.

pub(crate) mod admit;
mod checked;
mod parcel;
mod price;

pub use checked::{CheckedOrder, InvalidField, checked_items};
pub(crate) use parcel::{CheckedReturn, CheckedShipment, checked_reason, checked_restock};
pub use price::{PriceError, Priced, PricedOrder, price};
