//! Carts: one for each user, changed by operations that do nothing twice.
//!
//! The truth is in the user's shard; Redis in front of it is a copy that may be absent, slow or a few seconds old, never
//! older than the version a caller demands. `order` takes a cart inside its own transaction, after a [`check`]; `account`
//! carries a guest's cart to the account that its owner signs in to.
//!
//! Deliberately absent: prices and titles of its own ([`Prices`] is asked at every view), stock (a cart holds nothing),
//! and events (nobody else needs to hear of a cart).

mod cache;
mod routes;
mod rules;
mod service;
mod store;

use std::sync::Arc;

use shared::{Currency, Money, Sku};

pub use routes::{Api, router};
pub use rules::{FrozenCart, Item, Line, StoredCart, cart_id_of};
pub use service::Carts;
pub use store::{CartError, TakeError, WantedCart, check};

/// What a SKU is called and costs today.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Offer {
    /// The product's name.
    pub title: Arc<str>,
    /// The product's name in paths.
    pub slug: Arc<str>,
    /// Such as "Small / Blue"; empty for a product without options.
    pub variant: Arc<str>,
    /// Price of one, tax included.
    pub unit_price: Money,
}

/// The region's catalog, as a cart needs it: answered from memory.
pub trait Prices: Send + Sync + 'static {
    /// The store's currency.
    fn currency(&self) -> Currency;

    /// The offer for a SKU, if it is for sale.
    fn find_offer(&self, sku: &Sku) -> Option<Offer>;
}
