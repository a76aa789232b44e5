//! Where parcels leave from, as far as who sends them said so.

use region_core_store::StoreError;
use shared::{OrderId, RegionName, ShipmentId, Sku};
use sqlx::PgConnection;

use super::sku;

/// Units of an order that are in parcels, or under live labels, of which the same was said.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Packed {
    /// Where they left from, or will, if that was said.
    pub from: Option<RegionName>,
    /// What.
    pub sku: Sku,
    /// How many.
    pub units: u64,
}

/// Writes down where a parcel leaves from, in the transaction that writes down the parcel or its label.
///
/// # Errors
/// When the shard does.
pub async fn note(
    conn: &mut PgConnection,
    order: OrderId,
    shipment: ShipmentId,
    from: &RegionName,
) -> Result<(), StoreError> {
    sqlx::query!(
        "INSERT INTO parcel_origins (shipment_id, order_id, region) VALUES ($1, $2, $3)",
        shipment.as_uuid(),
        order.as_uuid(),
        from.as_str(),
    )
    .execute(conn)
    .await?;
    Ok(())
}

/// What is packed of the order, by where it leaves from.
///
/// # Errors
/// When the shard does.
pub async fn packed(conn: &mut PgConnection, order: OrderId) -> Result<Vec<Packed>, StoreError> {
    let rows = sqlx::query!(
        r#"
        SELECT region AS "region?", packed.sku AS "sku!", sum(packed.units)::bigint AS "units!"
        FROM (SELECT shipment_id, sku, units FROM shipments JOIN shipment_lines USING (shipment_id) WHERE order_id = $1
              UNION ALL
              SELECT shipment_id, sku, units FROM labels JOIN label_lines USING (shipment_id)
              WHERE order_id = $1 AND is_live) AS packed
        LEFT JOIN parcel_origins USING (shipment_id)
        GROUP BY region, packed.sku
        "#,
        order.as_uuid(),
    )
    .fetch_all(conn)
    .await?;
    rows.into_iter()
        .map(|row| {
            let units = u64::try_from(row.units).map_err(|_| StoreError::corrupt("shipment_lines.units", row.units))?;
            let from = row.region.as_deref().map(parse).transpose()?;
            Ok(Packed { from, sku: sku("shipment_lines.sku", &row.sku)?, units })
        })
        .collect()
}

pub(super) fn parse(region: &str) -> Result<RegionName, StoreError> {
    region.parse().map_err(|_| StoreError::corrupt("parcel_origins.region", region))
}
