//! What an order may be and what it costs: pure decisions.

pub(crate) mod admit;
mod checked;
mod price;

pub use checked::{CheckedOrder, InvalidField, checked_items};
pub use price::{PriceError, Priced, PricedOrder, price};
