//! The lines of orders, kept in memory once they are read: they never change, so no copy is ever older than the truth.

use std::sync::Arc;

use moka::sync::Cache;
use region_core_store::StoreError;
use shared::api::order::LineItem;
use shared::{Currency, OrderId};
use sqlx::PgConnection;

use super::read::{money, quantity, sku};

/// Most lines kept, each some 200 bytes.
const MOST_LINES: u64 = 50_000;

/// Lines by their order. Whether somebody may see them is for the caller to know.
pub(crate) struct Lines(Cache<OrderId, Arc<[LineItem]>>);

impl Lines {
    pub(crate) fn new() -> Self {
        // One more, so that no order weighs nothing.
        let weigh =
            |_: &OrderId, lines: &Arc<[LineItem]>| u32::try_from(lines.len()).unwrap_or(u32::MAX).saturating_add(1);
        Self(Cache::builder().weigher(weigh).max_capacity(MOST_LINES).build())
    }

    /// The order's lines, by SKU.
    pub(crate) async fn of(
        &self,
        conn: &mut PgConnection,
        order: OrderId,
        currency: Currency,
    ) -> Result<Vec<LineItem>, StoreError> {
        if let Some(kept) = self.0.get(&order) {
            return Ok(kept.to_vec());
        }
        let lines = read(conn, order, currency).await?;
        self.0.insert(order, lines.as_slice().into());
        Ok(lines)
    }
}

async fn read(conn: &mut PgConnection, order: OrderId, currency: Currency) -> Result<Vec<LineItem>, StoreError> {
    let rows = sqlx::query!(
        "SELECT sku, title, quantity, unit_price_minor FROM line_items WHERE order_id = $1 ORDER BY sku",
        order.as_uuid(),
    )
    .fetch_all(conn)
    .await?;
    rows.into_iter()
        .map(|row| {
            let (sku, quantity) = (sku(&row.sku)?, quantity(row.quantity)?);
            let unit_price = money("line_items.unit_price_minor", row.unit_price_minor, currency)?;
            let line_total = unit_price
                .checked_mul(quantity.units())
                .map_err(|error| StoreError::corrupt("line_items.unit_price_minor", error))?;
            Ok(LineItem { sku, title: row.title, quantity, unit_price, line_total })
        })
        .collect()
}
