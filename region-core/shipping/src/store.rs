//! Parcels in the shard. Every function that writes runs inside the caller's transaction, which has locked the order's row.

pub(crate) mod label;
pub(crate) mod origin;
pub(crate) mod returns;

use std::collections::BTreeMap;

use region_core_store::StoreError;
use shared::api::order::{OrderItem, Shipment};
use shared::{IdempotencyKey, OrderId, Quantity, ShipmentId, Sku};
use sqlx::PgConnection;
use time::OffsetDateTime;
use uuid::Uuid;

/// A parcel that is to leave.
#[derive(Clone, Debug)]
pub struct NewParcel<'a> {
    /// Minted by the caller, in the order's slot.
    pub shipment_id: ShipmentId,
    /// Whose units it holds.
    pub order_id: OrderId,
    /// What the sender called it.
    pub key: &'a IdempotencyKey,
    /// Tells one request under that key from another.
    pub request_hash: [u8; 32],
    /// Who takes it.
    pub carrier: &'a str,
    /// The carrier's name for it.
    pub tracking_code: Option<&'a str>,
    /// Where its way can be followed.
    pub tracking_url: Option<&'a str>,
    /// What it holds.
    pub units: &'a BTreeMap<Sku, Quantity>,
    /// All lines of the order.
    pub ordered: &'a BTreeMap<Sku, Quantity>,
}

/// The parcel that was sent under a key.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Known {
    /// The parcel.
    pub shipment_id: ShipmentId,
    /// What the request under the key meant.
    pub request_hash: [u8; 32],
}

/// What the news of an arrival changed.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Arrival {
    /// The order has no such parcel.
    Unknown,
    /// It was known.
    Repeated,
    /// It is new.
    Noted,
}

/// The parcel that the sender has called so.
///
/// # Errors
/// When the shard does.
pub async fn find_key(
    conn: &mut PgConnection,
    order: OrderId,
    key: &IdempotencyKey,
) -> Result<Option<Known>, StoreError> {
    let row = sqlx::query!(
        "SELECT shipment_id, request_hash FROM shipments WHERE order_id = $1 AND key = $2",
        order.as_uuid(),
        key.as_str(),
    )
    .fetch_optional(conn)
    .await?;
    row.map(|row| {
        let request_hash = row.request_hash.try_into();
        Ok(Known {
            shipment_id: ShipmentId::from_uuid(row.shipment_id),
            request_hash: request_hash.map_err(|_| StoreError::corrupt("shipments.request_hash", row.shipment_id))?,
        })
    })
    .transpose()
}

/// Units of each SKU of the order that are in no parcel to come: they have left, or are under a live label.
///
/// # Errors
/// When the shard does.
pub async fn taken(conn: &mut PgConnection, order: OrderId) -> Result<BTreeMap<Sku, u32>, StoreError> {
    let rows = sqlx::query!(
        r#"SELECT sku, sent + labelled AS "taken!" FROM sent_units WHERE order_id = $1"#,
        order.as_uuid(),
    );
    let rows = rows.fetch_all(conn).await?;
    rows.into_iter()
        .map(|row| {
            let sent = u32::try_from(row.taken).map_err(|_| StoreError::corrupt("sent_units.sent", row.taken))?;
            Ok((sku("sent_units.sku", &row.sku)?, sent))
        })
        .collect()
}

/// Writes a parcel down, and what has left with it. The database refuses one that holds more than is left.
///
/// # Errors
/// When the shard does.
pub async fn send(conn: &mut PgConnection, parcel: &NewParcel<'_>) -> Result<(), StoreError> {
    let NewParcel { shipment_id, order_id, units, ordered, .. } = parcel;
    sqlx::query!(
        "INSERT INTO shipments (shipment_id, order_id, key, request_hash, carrier, tracking_code, tracking_url)
         VALUES ($1, $2, $3::text, $4::bytea, $5, $6, $7)",
        shipment_id.as_uuid(),
        order_id.as_uuid(),
        parcel.key.as_str(),
        parcel.request_hash.as_slice(),
        parcel.carrier,
        parcel.tracking_code,
        parcel.tracking_url,
    )
    .execute(&mut *conn)
    .await?;
    let packed = |sku: &Sku| units.get(sku).map_or(0, |quantity| i64::from(quantity.units()));
    let skus: Vec<String> = ordered.keys().map(|sku| sku.as_str().to_owned()).collect();
    let all: Vec<i64> = ordered.values().map(|quantity| i64::from(quantity.units())).collect();
    let leaving: Vec<i64> = ordered.keys().map(packed).collect();
    sqlx::query!(
        "INSERT INTO shipment_lines (shipment_id, sku, units)
         SELECT $1, sku, units FROM unnest($2::text[], $3::bigint[]) AS line (sku, units) WHERE units > 0",
        shipment_id.as_uuid(),
        &skus,
        &leaving,
    )
    .execute(&mut *conn)
    .await?;
    sqlx::query!(
        "INSERT INTO sent_units (order_id, sku, ordered, sent)
         SELECT $1, sku, ordered, units FROM unnest($2::text[], $3::bigint[], $4::bigint[]) AS line (sku, ordered, units)
         ON CONFLICT (order_id, sku) DO UPDATE SET sent = sent_units.sent + excluded.sent",
        order_id.as_uuid(),
        &skus,
        &all,
        &leaving,
    )
    .execute(conn)
    .await?;
    Ok(())
}

/// Notes that a parcel of the order has arrived.
///
/// # Errors
/// When the shard does.
pub async fn deliver(conn: &mut PgConnection, order: OrderId, shipment: ShipmentId) -> Result<Arrival, StoreError> {
    let known = sqlx::query_scalar!(
        "SELECT delivered_at IS NOT NULL FROM shipments WHERE shipment_id = $1 AND order_id = $2 FOR NO KEY UPDATE",
        shipment.as_uuid(),
        order.as_uuid(),
    )
    .fetch_optional(&mut *conn)
    .await?
    .flatten();
    match known {
        None => Ok(Arrival::Unknown),
        Some(true) => Ok(Arrival::Repeated),
        Some(false) => {
            sqlx::query!(
                "UPDATE shipments SET delivered_at = shard_now() WHERE shipment_id = $1 AND delivered_at IS NULL",
                shipment.as_uuid(),
            )
            .execute(conn)
            .await?;
            Ok(Arrival::Noted)
        }
    }
}

/// Whether every unit of the order has left and every parcel has arrived.
///
/// # Errors
/// When the shard does.
pub async fn is_whole(conn: &mut PgConnection, order: OrderId) -> Result<bool, StoreError> {
    let whole = sqlx::query_scalar!(
        r#"SELECT NOT EXISTS (SELECT FROM sent_units WHERE order_id = $1 AND sent < ordered)
              AND NOT EXISTS (SELECT FROM shipments WHERE order_id = $1 AND delivered_at IS NULL) AS "whole!""#,
        order.as_uuid(),
    )
    .fetch_one(conn)
    .await?;
    Ok(whole)
}

/// Whether nothing of an order that has a parcel is left to send.
///
/// # Errors
/// When the shard does.
pub async fn all_sent(conn: &mut PgConnection, order: OrderId) -> Result<bool, StoreError> {
    let all = sqlx::query_scalar!(
        r#"SELECT NOT EXISTS (SELECT FROM sent_units WHERE order_id = $1 AND sent < ordered) AS "all!""#,
        order.as_uuid(),
    );
    Ok(all.fetch_one(conn).await?)
}

/// How much has been said about the order's parcels: each was sent, some have arrived, and what came back was looked at.
///
/// # Errors
/// When the shard does.
pub async fn count_events(conn: &mut PgConnection, order: OrderId) -> Result<i64, StoreError> {
    let said = sqlx::query_scalar!(
        r#"SELECT count(*) + count(delivered_at)
                  + (SELECT count(inspected_at) FROM returns WHERE order_id = $1) AS "said!"
           FROM shipments WHERE order_id = $1"#,
        order.as_uuid(),
    )
    .fetch_one(conn)
    .await?;
    Ok(said)
}

/// How much was said of the order's goods: parcels sent, parcels that arrived, returns registered, returns looked at. Only
/// grows, so that what is shown of them is another once this is.
///
/// # Errors
/// When the shard does.
pub async fn count_said(conn: &mut PgConnection, order: OrderId) -> Result<i64, StoreError> {
    let said = sqlx::query_scalar!(
        r#"SELECT count(*) + count(delivered_at)
                  + (SELECT count(*) + count(inspected_at) FROM returns WHERE order_id = $1) AS "said!"
           FROM shipments WHERE order_id = $1"#,
        order.as_uuid(),
    )
    .fetch_one(conn)
    .await?;
    Ok(said)
}

/// The order's parcels, in the order in which they left.
///
/// # Errors
/// When the shard does.
pub async fn list(conn: &mut PgConnection, order: OrderId) -> Result<Vec<Shipment>, StoreError> {
    let rows = sqlx::query_as!(
        ShipmentRow,
        r#"
        SELECT shipments.shipment_id, carrier, tracking_code, tracking_url, sent_at, delivered_at, region AS "region?",
            array_agg(sku ORDER BY sku) AS "skus!", array_agg(units::bigint ORDER BY sku) AS "units!"
        FROM shipments JOIN shipment_lines USING (shipment_id) LEFT JOIN parcel_origins USING (shipment_id)
        WHERE shipments.order_id = $1 GROUP BY shipments.shipment_id, region ORDER BY sent_at, shipments.shipment_id
        "#,
        order.as_uuid(),
    )
    .fetch_all(conn)
    .await?;
    rows.into_iter().map(ShipmentRow::into_shipment).collect()
}

struct ShipmentRow {
    shipment_id: Uuid,
    carrier: String,
    tracking_code: Option<String>,
    tracking_url: Option<String>,
    sent_at: OffsetDateTime,
    delivered_at: Option<OffsetDateTime>,
    region: Option<String>,
    skus: Vec<String>,
    units: Vec<i64>,
}

impl ShipmentRow {
    fn into_shipment(self) -> Result<Shipment, StoreError> {
        let item = |(name, units): (String, i64)| {
            let quantity = Quantity::new(units).map_err(|error| StoreError::corrupt("shipment_lines.units", error))?;
            Ok::<_, StoreError>(OrderItem { sku: sku("shipment_lines.sku", &name)?, quantity })
        };
        Ok(Shipment {
            shipment_id: ShipmentId::from_uuid(self.shipment_id),
            carrier: self.carrier,
            tracking_code: self.tracking_code,
            tracking_url: self.tracking_url,
            items: self.skus.into_iter().zip(self.units).map(item).collect::<Result<_, _>>()?,
            from: self.region.as_deref().map(origin::parse).transpose()?,
            sent_at: self.sent_at,
            delivered_at: self.delivered_at,
        })
    }
}

fn sku(what: &'static str, text: &str) -> Result<Sku, StoreError> {
    text.parse().map_err(|_| StoreError::corrupt(what, text))
}
