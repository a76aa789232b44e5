//! Orders: accepted in one local transaction of the shopper's shard, and moved on by what payment says.
//!
//! [`Orders::place`] writes the idempotency record, the order with its lines, the reservations and the outbox event, or
//! nothing. After that an order changes by compare-and-set on its own row only: claimed when its payment is authorized,
//! confirmed when the money is ours, cancelled when payment fails, its time runs out or its shopper thinks better of it;
//! units follow in the same transaction. SHIPPED with its first parcel, DELIVERED with the last of a whole order. What comes back
//! of it (`returns.rs`) leaves its status as it is.
//!
//! Deliberately absent: calls to anything outside inside a transaction, prices (the region's own copy of the catalog is
//! asked beforehand, [`PriceList`]) and units of other shards.

mod admission;
mod cancel;
mod desk;
mod error;
mod events;
mod expiry;
mod follow;
mod handover;
mod limit;
mod orders;
mod origins;
mod release;
mod repair;
mod returns;
mod routes;
pub mod rules;
mod ship;
mod store;

use std::collections::BTreeMap;

use shared::{Quantity, Sku};

pub use error::OrderError;
pub use events::PaymentNews;
pub use expiry::sweep;
pub use follow::Followed;
pub use orders::{Caller, Judging, Orders, Parts, Placed};
pub use origins::OriginNews;
pub use returns::TakenBack;
pub use routes::{Api, internal_router, regions_router, router};
pub use ship::{Parcel, Sent};

/// The region's own copy of the catalog, as an order needs it: answered from memory, all items at one version.
pub trait PriceList: Send + Sync + 'static {
    /// Prices items, and their delivery, at one version of the catalog ([`rules::price`], [`rules::PricedOrder::delivered`]).
    ///
    /// # Errors
    /// When an item is not for sale, cannot be delivered like that, or the sum does not fit.
    fn price(
        &self,
        items: &BTreeMap<Sku, Quantity>,
        wish: rules::DeliveryWish<'_>,
    ) -> Result<rules::PricedOrder, rules::PriceError>;
}
