//! The region's catalog, as carts and orders ask it: answered from the snapshot in memory.

use std::collections::BTreeMap;
use std::sync::Arc;

use region_core_cart::{Offer, Prices};
use region_core_catalog::{Catalog, NoDelivery, Snapshot};
use region_core_order::PriceList;
use region_core_order::rules::{DeliveryWish, PriceError, Priced, PricedOrder, price};
use shared::{Currency, Quantity, Sku, country};

/// What is for sale in one currency.
pub(crate) struct CatalogPrices {
    pub(crate) catalog: Catalog,
    pub(crate) currency: Currency,
}

fn priced(snapshot: &Snapshot, sku: &Sku) -> Option<Priced> {
    let offer = snapshot.offer(sku)?;
    Some(Priced { title: Arc::from(&*offer.item.title), unit_price: offer.price })
}

/// The order with what its delivery costs, as far as it is said where to. Without a table nothing is offered, all is free.
fn delivered(snapshot: &Snapshot, order: PricedOrder, wish: DeliveryWish<'_>) -> Result<PricedOrder, PriceError> {
    let (Some(table), Some(to)) = (snapshot.delivery(), wish.country) else {
        return if wish.option.is_some() { Err(PriceError::NotOffered) } else { Ok(order) };
    };
    let grams = order.weight_grams(|sku| snapshot.offer(sku).map_or(0, |offer| offer.weight_grams));
    let options = table.offers(to, order.subtotal, grams).map_err(|why| match why {
        NoDelivery::Country => PriceError::NotDeliveredTo(country::name(to).to_owned()),
        NoDelivery::TooHeavy => PriceError::TooHeavy,
        NoDelivery::Money(error) => PriceError::DeliveryMoney(error),
    })?;
    order.delivered(options, wish.option, grams)
}

impl PriceList for CatalogPrices {
    fn price(&self, items: &BTreeMap<Sku, Quantity>, wish: DeliveryWish<'_>) -> Result<PricedOrder, PriceError> {
        // One snapshot for all items and their delivery: an order has prices of one version.
        let snapshot = self.catalog.snapshot();
        let order = price(items, self.currency, snapshot.version(), |sku| priced(&snapshot, sku))?;
        delivered(&snapshot, order, wish)
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
