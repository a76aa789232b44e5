//! The catalog that is sold, and the orders for it, ready to be sent.

use std::fmt::Write as _;
use std::path::Path;

use anyhow::Context as _;
use bytes::Bytes;
use shared::{Currency, Money};

use crate::admission::{address, order_of, sku_name};
use crate::books::PLENTY;
use crate::options::SPREAD_SKUS;

/// What everything costs, as a shop writes it.
const PRICE: &str = "19.99";

/// Writes the catalog in Shopify's layout: plenty of everything.
pub(crate) fn write(file: &Path) -> anyhow::Result<()> {
    let mut text = "Handle,Title,Type,Published,Variant SKU,Variant Inventory Qty,Variant Price,Status\n".to_owned();
    for number in 0..SPREAD_SKUS {
        let sku = sku_name(number);
        let handle = sku.to_lowercase();
        writeln!(text, "{handle},Thing to measure with {number},Bench goods,true,{sku},{PLENTY},{PRICE},active")?;
    }
    std::fs::write(file, text).with_context(|| format!("cannot write {}", file.display()))
}

/// An order for one unit of each SKU, as JSON.
pub(crate) fn orders() -> anyhow::Result<Vec<Bytes>> {
    let (costs, address) = (Money::parse_decimal(PRICE, Currency::GBP)?, address());
    let order = |number| {
        let order = order_of(&sku_name(number).parse()?, costs, &address)?;
        Ok(Bytes::from(serde_json::to_vec(&order)?))
    };
    (0..SPREAD_SKUS).map(order).collect()
}

#[cfg(test)]
mod tests {
    use shared::api::order::PlaceOrder;

    use super::*;

    #[test]
    fn every_sku_has_an_order_that_the_store_would_read() {
        let orders = orders().unwrap();
        let last: PlaceOrder = serde_json::from_slice(&orders[orders.len() - 1]).unwrap();
        assert_eq!(
            (orders.len(), last.items[0].sku.as_str(), last.expected_total.minor()),
            (1_000, "BENCH-0999", 1_999)
        );
    }
}
