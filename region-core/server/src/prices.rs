//! The region's catalog, as carts and orders ask it: answered from the snapshot in memory.

use std::collections::BTreeMap;
use std::sync::Arc;

use region_core_cart::{Offer, Prices};
use region_core_catalog::{Catalog, Snapshot};
use region_core_order::PriceList;
use region_core_order::rules::{PriceError, Priced, PricedOrder, price};
use shared::{Currency, Quantity, Sku};

/// What is for sale in one currency.
pub(crate) struct CatalogPrices {
    pub(crate) catalog: Catalog,
    pub(crate) currency: Currency,
}

fn priced(snapshot: &Snapshot, sku: &Sku) -> Option<Priced> {
    let offer = snapshot.offer(sku)?;
    Some(Priced { title: Arc::from(&*offer.item.title), unit_price: offer.price })
}

impl PriceList for CatalogPrices {
    fn price(&self, items: &BTreeMap<Sku, Quantity>) -> Result<PricedOrder, PriceError> {
        // One snapshot for all items: an order has prices of one version.
        let snapshot = self.catalog.snapshot();
        price(items, self.currency, snapshot.version(), |sku| priced(&snapshot, sku))
    }
}

impl Prices for CatalogPrices {
    fn currency(&self) -> Currency {
        self.currency
    }

    fn find_offer(&self, sku: &Sku) -> Option<Offer> {
        let snapshot = self.catalog.snapshot();
        let offer = snapshot.offer(sku)?;
        Some(Offer {
            title: Arc::from(&*offer.item.title),
            slug: Arc::from(&*offer.item.slug),
            variant: Arc::from(offer.option_values.join(" / ")),
            unit_price: offer.price,
        })
    }
}
