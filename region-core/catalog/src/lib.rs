//! Products, their variants and prices: what the store offers.
//!
//! Truth is the catalog database, written in one region and copied to the others. [`import`] writes it, under one lock, so
//! that versions are in commit order. Every core keeps its region's copy in memory as a [`Snapshot`] and prices from that;
//! [`Catalog::follow`] brings it up to date by version, so a price is as new as the region's copy was a moment ago. What
//! delivery costs ([`DeliveryTable`]) is versioned and copied with the prices.
//!
//! Deliberately absent: stock (the shards own it; an import only says how many units came in), promotions, and search.

mod answer;
mod delivery;
mod import;
mod item;
mod live;
mod routes;
mod rules;
mod snapshot;
mod store;

pub use answer::cacheable;
pub use delivery::{Band, DeliveryTable, FileError, InvalidTable, NoDelivery, Rate, Step, Zone, read_delivery};
pub use import::{ImportError, ImportOptions, ImportReport, Imported, Receipt, import};
pub use item::Item;
pub use live::Catalog;
pub use region_core_feed::split;
pub use routes::{Api, router};
pub use snapshot::{Offer, Snapshot};
pub use store::CatalogError;
pub use store::delivery::{SetDelivery, set_delivery};
