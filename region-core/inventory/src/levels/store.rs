//! Reading all free counts of a shard, a piece at a time.

use region_core_store::StoreError;
use shared::Sku;
use sqlx::PgConnection;

/// SKUs and free units after `after`, in SKU order; `limit` at most.
///
/// # Errors
/// When the database fails.
pub(super) async fn free_after(
    conn: &mut PgConnection,
    after: &str,
    limit: i64,
) -> Result<Vec<(Sku, u64)>, StoreError> {
    let rows = sqlx::query!("SELECT sku, free FROM allotments WHERE sku > $1 ORDER BY sku LIMIT $2", after, limit)
        .fetch_all(conn)
        .await?;
    rows.into_iter()
        .map(|row| {
            let sku = row.sku.parse().map_err(|_| StoreError::corrupt("allotments.sku", &row.sku))?;
            let free = u64::try_from(row.free).map_err(|_| StoreError::corrupt("allotments.free", row.free))?;
            Ok((sku, free))
        })
        .collect()
}
