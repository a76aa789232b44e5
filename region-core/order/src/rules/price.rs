//! What an order costs, from the region's own copy of the catalog.

use std::collections::BTreeMap;
use std::sync::Arc;

use serde::{Deserialize, Serialize};
use shared::api::order::{ChosenDelivery, DeliveryOption, LineItem, Quote};
use shared::money::MoneyError;
use shared::{Currency, Money, Quantity, Sku};

/// A SKU's price and name at one version of the catalog.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Priced {
    /// The product's name.
    pub title: Arc<str>,
    /// Price of one, tax included.
    pub unit_price: Money,
}

/// An order with prices. Prices include tax; shipping costs nothing unless a way of delivery was chosen
/// ([`PricedOrder::delivered`]).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PricedOrder {
    /// By SKU, each once.
    pub lines: Vec<LineItem>,
    /// Sum of the lines.
    pub subtotal: Money,
    /// Cost of shipping.
    pub shipping: Money,
    /// What is charged.
    pub total: Money,
    /// The catalog's version that set the prices.
    pub catalog_version: u64,
    /// How it is delivered, if there is a choice.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub delivery: Option<ChosenDelivery>,
    /// What it was chosen of: for who asks what it would cost, and nobody else.
    #[serde(skip)]
    pub delivery_options: Vec<DeliveryOption>,
}

/// Why items have no price together.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PriceError {
    /// Not for sale.
    #[error("{0} is not for sale")]
    UnknownSku(Sku),
    /// Nothing would be charged: no provider takes such a payment.
    #[error("an order must cost something")]
    Free,
    /// A sum does not fit, or a product is priced in another currency than the store's.
    #[error("{sku}: {source}")]
    Money {
        /// The line at which it happened.
        sku: Sku,
        /// What happened.
        source: MoneyError,
    },
    /// There is no way to deliver to this country.
    #[error("we do not deliver to {0}")]
    NotDeliveredTo(String),
    /// The way of delivery that was asked for is not offered for these items and that country.
    #[error("this way of delivery is not offered for these items there")]
    NotOffered,
    /// No way of delivery takes so much at once.
    #[error("too heavy to be delivered there in one order")]
    TooHeavy,
    /// What delivery costs does not fit, or has another currency than the store.
    #[error("what delivery costs: {0}")]
    DeliveryMoney(MoneyError),
}

/// Prices `items` in `currency`, with `look_up` as the catalog at `catalog_version`.
///
/// # Errors
/// The first item that has no price, or at which the sum overflows.
pub fn price(
    items: &BTreeMap<Sku, Quantity>,
    currency: Currency,
    catalog_version: u64,
    look_up: impl Fn(&Sku) -> Option<Priced>,
) -> Result<PricedOrder, PriceError> {
    let mut subtotal = Money::zero(currency);
    let mut lines = Vec::with_capacity(items.len());
    for (sku, quantity) in items {
        let Priced { title, unit_price } = look_up(sku).ok_or_else(|| PriceError::UnknownSku(sku.clone()))?;
        let fail = |source| PriceError::Money { sku: sku.clone(), source };
        let line_total = unit_price.checked_mul(quantity.units()).map_err(fail)?;
        subtotal = subtotal.checked_add(line_total).map_err(fail)?;
        let title = title.to_string();
        lines.push(LineItem { sku: sku.clone(), title, quantity: *quantity, unit_price, line_total });
    }
    if subtotal.minor() == 0 {
        return Err(PriceError::Free);
    }
    Ok(PricedOrder {
        lines,
        subtotal,
        shipping: Money::zero(currency),
        total: subtotal,
        catalog_version,
        delivery: None,
        delivery_options: Vec::new(),
    })
}

impl From<PricedOrder> for Quote {
    fn from(order: PricedOrder) -> Self {
        let PricedOrder { lines, subtotal, shipping, total, catalog_version, delivery, delivery_options } = order;
        let delivery_option = delivery.map(|delivery| delivery.id);
        let payment_methods = Vec::new();
        Self { lines, subtotal, shipping, total, catalog_version, delivery_options, delivery_option, payment_methods }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn items(of: &[(&str, i64)]) -> BTreeMap<Sku, Quantity> {
        of.iter().map(|(sku, units)| (sku.parse().unwrap(), Quantity::new(*units).unwrap())).collect()
    }

    fn at(minor: i64, currency: Currency) -> Priced {
        Priced { title: "A thing".into(), unit_price: Money::new(minor, currency).unwrap() }
    }

    #[test]
    fn a_total_that_does_not_fit_is_refused_at_its_line() {
        let dear = |_: &Sku| Some(at(shared::money::MAX_MINOR, Currency::GBP));
        let error = price(&items(&[("A", 1), ("B", 1)]), Currency::GBP, 1, dear).unwrap_err();
        assert_eq!(error, PriceError::Money { sku: "B".parse().unwrap(), source: MoneyError::Overflow });
    }

    #[test]
    fn what_is_not_sold_or_priced_elsewhere_is_named() {
        let none = price(&items(&[("A", 1)]), Currency::GBP, 1, |_| None).unwrap_err();
        assert_eq!(none, PriceError::UnknownSku("A".parse().unwrap()));
        let dollars = |_: &Sku| Some(at(100, Currency::USD));
        assert!(matches!(price(&items(&[("A", 1)]), Currency::GBP, 1, dollars), Err(PriceError::Money { .. })));
    }

    #[test]
    fn an_order_that_costs_nothing_is_refused() {
        let free = |_: &Sku| Some(at(0, Currency::GBP));
        assert_eq!(price(&items(&[("A", 3)]), Currency::GBP, 1, free), Err(PriceError::Free));
    }

    proptest! {
        #[test]
        fn the_total_is_the_sum_of_its_lines(lines in prop::collection::btree_map("[A-Z]{1,4}", (1_i64..1_000, 1_i64..100_000), 1..30)) {
            let items = lines.iter().map(|(sku, (units, _))| (sku.parse().unwrap(), Quantity::new(*units).unwrap())).collect();
            let order = price(&items, Currency::GBP, 7, |sku| Some(at(lines[sku.as_str()].1, Currency::GBP))).unwrap();
            let sum: i64 = lines.values().map(|(units, price)| units * price).sum();
            prop_assert_eq!((order.total.minor(), order.subtotal.minor(), order.catalog_version), (sum, sum, 7));
        }
    }
}
