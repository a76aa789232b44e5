//! Returns in the shard. Every function that writes runs inside the caller's transaction, which has locked the order's row.

use std::collections::BTreeMap;

use region_core_store::{StoreError, expect_rows};
use shared::api::order::{Return, ReturnedItem};
use shared::{IdempotencyKey, OrderId, Quantity, ReturnId, Sku};
use sqlx::PgConnection;
use time::OffsetDateTime;
use uuid::Uuid;

use super::sku;
use crate::rules::returns::{Gone, Looked};

/// Goods that come back.
#[derive(Clone, Debug)]
pub struct NewReturn<'a> {
    /// Minted by the caller, in the order's slot.
    pub return_id: ReturnId,
    /// Whose units come back.
    pub order_id: OrderId,
    /// What the sender called it.
    pub key: &'a IdempotencyKey,
    /// Tells one request under that key from another.
    pub request_hash: [u8; 32],
    /// Why.
    pub reason: &'a str,
    /// Which.
    pub units: &'a BTreeMap<Sku, Quantity>,
}

/// A return that is registered.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Registered {
    /// Units that came back.
    pub units: BTreeMap<Sku, Quantity>,
    /// What became of them, once somebody had looked.
    pub looked: Option<BTreeMap<Sku, Looked>>,
}

/// The return that the sender has called so, and what the request under the key meant.
///
/// # Errors
/// When the shard does.
pub async fn find_key(
    conn: &mut PgConnection,
    order: OrderId,
    key: &IdempotencyKey,
) -> Result<Option<(ReturnId, Vec<u8>)>, StoreError> {
    let row = sqlx::query!(
        "SELECT return_id, request_hash FROM returns WHERE order_id = $1 AND key = $2",
        order.as_uuid(),
        key.as_str(),
    )
    .fetch_optional(conn)
    .await?;
    Ok(row.map(|row| (ReturnId::from_uuid(row.return_id), row.request_hash)))
}

/// What has left of each line of the order.
///
/// # Errors
/// When the shard does.
pub async fn gone(conn: &mut PgConnection, order: OrderId) -> Result<BTreeMap<Sku, Gone>, StoreError> {
    let rows = sqlx::query!("SELECT sku, sent, returned FROM sent_units WHERE order_id = $1", order.as_uuid());
    let rows = rows.fetch_all(conn).await?;
    rows.into_iter()
        .map(|row| {
            let gone = Gone {
                sent: units("sent_units.sent", row.sent)?,
                returned: units("sent_units.returned", row.returned)?,
            };
            Ok((sku("sent_units.sku", &row.sku)?, gone))
        })
        .collect()
}

/// Writes a return down, and what came back with it. The database refuses one of more than has left.
///
/// # Errors
/// When the shard does.
pub async fn register(conn: &mut PgConnection, new: &NewReturn<'_>) -> Result<(), StoreError> {
    let NewReturn { return_id, order_id, key, request_hash, reason, units } = new;
    sqlx::query!(
        "INSERT INTO returns (return_id, order_id, key, request_hash, reason) VALUES ($1, $2, $3::text, $4::bytea, $5)",
        return_id.as_uuid(),
        order_id.as_uuid(),
        key.as_str(),
        request_hash.as_slice(),
        reason,
    )
    .execute(&mut *conn)
    .await?;
    let skus: Vec<String> = units.keys().map(|sku| sku.as_str().to_owned()).collect();
    let counts: Vec<i64> = units.values().map(|quantity| i64::from(quantity.units())).collect();
    sqlx::query!(
        "INSERT INTO return_lines (return_id, sku, units)
         SELECT $1, sku, units FROM unnest($2::text[], $3::bigint[]) AS line (sku, units)",
        return_id.as_uuid(),
        &skus,
        &counts,
    )
    .execute(&mut *conn)
    .await?;
    let done = sqlx::query!(
        "UPDATE sent_units SET returned = sent_units.returned + line.units
         FROM unnest($2::text[], $3::bigint[]) AS line (sku, units)
         WHERE sent_units.order_id = $1 AND sent_units.sku = line.sku",
        order_id.as_uuid(),
        &skus,
        &counts,
    )
    .execute(conn)
    .await?;
    expect_rows("sent_units", done.rows_affected(), skus.len() as u64)
}

/// The order's return of that name, which stays as it is until the transaction ends.
///
/// # Errors
/// When the shard does.
pub async fn find(conn: &mut PgConnection, order: OrderId, id: ReturnId) -> Result<Option<Registered>, StoreError> {
    let known = sqlx::query_scalar!(
        "SELECT return_id FROM returns WHERE return_id = $1 AND order_id = $2 FOR NO KEY UPDATE",
        id.as_uuid(),
        order.as_uuid(),
    );
    if known.fetch_optional(&mut *conn).await?.is_none() {
        return Ok(None);
    }
    let found = list(conn, order).await?.into_iter().find(|found| found.return_id == id);
    Ok(found.map(|Return { items, .. }| {
        let looked = |item: &ReturnedItem| {
            let restocked = item.restocked?;
            let written_off = item.quantity.units().saturating_sub(restocked);
            Some((item.sku.clone(), Looked { restocked, written_off }))
        };
        let looked = items.iter().map(looked).collect();
        Registered { looked, units: items.into_iter().map(|item| (item.sku, item.quantity)).collect() }
    }))
}

/// Notes what became of a return's units.
///
/// # Errors
/// When the shard does.
pub async fn inspect(conn: &mut PgConnection, id: ReturnId, looked: &BTreeMap<Sku, Looked>) -> Result<(), StoreError> {
    let skus: Vec<String> = looked.keys().map(|sku| sku.as_str().to_owned()).collect();
    let restocked: Vec<i64> = looked.values().map(|line| i64::from(line.restocked)).collect();
    let written_off: Vec<i64> = looked.values().map(|line| i64::from(line.written_off)).collect();
    let done = sqlx::query!(
        "UPDATE return_lines SET restocked = line.restocked, written_off = line.written_off
         FROM unnest($2::text[], $3::bigint[], $4::bigint[]) AS line (sku, restocked, written_off)
         WHERE return_lines.return_id = $1 AND return_lines.sku = line.sku",
        id.as_uuid(),
        &skus,
        &restocked,
        &written_off,
    )
    .execute(&mut *conn)
    .await?;
    expect_rows("return_lines", done.rows_affected(), skus.len() as u64)?;
    let done = sqlx::query!(
        "UPDATE returns SET inspected_at = shard_now() WHERE return_id = $1 AND inspected_at IS NULL",
        id.as_uuid(),
    )
    .execute(conn)
    .await?;
    expect_rows("returns", done.rows_affected(), 1)
}

/// The order's returns, in the order in which they were registered.
///
/// # Errors
/// When the shard does.
pub async fn list(conn: &mut PgConnection, order: OrderId) -> Result<Vec<Return>, StoreError> {
    let rows = sqlx::query_as!(
        ReturnRow,
        r#"
        SELECT returns.return_id, reason, registered_at, inspected_at,
            array_agg(sku ORDER BY sku) AS "skus!", array_agg(units::bigint ORDER BY sku) AS "units!",
            array_agg(restocked::bigint ORDER BY sku) AS "restocked!: Vec<Option<i64>>"
        FROM returns JOIN return_lines USING (return_id)
        WHERE order_id = $1 GROUP BY returns.return_id ORDER BY registered_at, returns.return_id
        "#,
        order.as_uuid(),
    )
    .fetch_all(conn)
    .await?;
    rows.into_iter().map(ReturnRow::into_return).collect()
}

struct ReturnRow {
    return_id: Uuid,
    reason: String,
    registered_at: OffsetDateTime,
    inspected_at: Option<OffsetDateTime>,
    skus: Vec<String>,
    units: Vec<i64>,
    restocked: Vec<Option<i64>>,
}

impl ReturnRow {
    fn into_return(self) -> Result<Return, StoreError> {
        let item = |((name, count), restocked): ((String, i64), Option<i64>)| {
            let quantity = Quantity::new(count).map_err(|error| StoreError::corrupt("return_lines.units", error))?;
            let restocked = restocked.map(|restocked| units("return_lines.restocked", restocked)).transpose()?;
            Ok::<_, StoreError>(ReturnedItem { sku: sku("return_lines.sku", &name)?, quantity, restocked })
        };
        let lines = self.skus.into_iter().zip(self.units).zip(self.restocked);
        Ok(Return {
            return_id: ReturnId::from_uuid(self.return_id),
            reason: self.reason,
            items: lines.map(item).collect::<Result<_, _>>()?,
            registered_at: self.registered_at,
            inspected_at: self.inspected_at,
        })
    }
}

fn units(what: &'static str, units: i64) -> Result<u32, StoreError> {
    u32::try_from(units).map_err(|_| StoreError::corrupt(what, units))
}
