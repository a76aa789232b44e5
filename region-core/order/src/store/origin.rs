//! Which orders of a shard were paid and are to be sent.

use region_core_store::StoreError;
use shared::OrderId;
use sqlx::PgConnection;

/// Those of these orders that were paid and not called off, in the order given. Their rows are locked by the caller.
pub(crate) async fn paid(conn: &mut PgConnection, orders: &[OrderId]) -> Result<Vec<OrderId>, StoreError> {
    let ids: Vec<_> = orders.iter().map(|order| order.as_uuid()).collect();
    let paid = sqlx::query_scalar!(
        "SELECT order_id FROM orders WHERE order_id = ANY ($1) AND status IN ('CONFIRMED', 'SHIPPED', 'DELIVERED')",
        &ids,
    );
    let paid = paid.fetch_all(conn).await?;
    Ok(orders.iter().filter(|order| paid.contains(&order.as_uuid())).copied().collect())
}
