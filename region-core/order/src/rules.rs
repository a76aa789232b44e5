//! What an order may be and what it costs: pure decisions.

pub(crate) mod admit;
mod checked;
mod delivery;
mod facts;
mod origin;
mod parcel;
mod price;

pub(crate) use checked::checked_wish;
pub use checked::{CheckedOrder, InvalidField, checked_items};
pub use delivery::DeliveryWish;
pub use facts::DoorKey;
pub(crate) use facts::facts;
pub(crate) use origin::origins;
pub(crate) use parcel::{By, CheckedReturn, CheckedShipment, checked_reason, checked_restock};
pub use price::{PriceError, Priced, PricedOrder, price};
