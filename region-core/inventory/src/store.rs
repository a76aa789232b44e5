//! Stock in the shard. Every function runs inside the caller's transaction.

use std::collections::HashMap;

use region_core_store::StoreError;
use shared::{OrderId, Sku};
use sqlx::PgConnection;

/// Units that came in from a supplier.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Receipt {
    /// Names the cause; a second receipt of that name adds nothing.
    pub reference: String,
    /// What.
    pub sku: Sku,
    /// How many.
    pub units: u64,
}

pub(crate) fn signed(what: &'static str, units: u64) -> Result<i64, StoreError> {
    i64::try_from(units).map_err(|_| StoreError::corrupt(what, units))
}

pub(crate) fn unsigned(what: &'static str, units: i64) -> Result<u64, StoreError> {
    u64::try_from(units).map_err(|_| StoreError::corrupt(what, units))
}

/// Books receipts and adds their units to *free*. Those whose reference is booked already are left out.
///
/// Returns how many units were new.
///
/// # Errors
/// When the database fails.
pub async fn receive(conn: &mut PgConnection, receipts: &[Receipt]) -> Result<u64, StoreError> {
    let references: Vec<String> = receipts.iter().map(|receipt| receipt.reference.clone()).collect();
    let skus: Vec<String> = receipts.iter().map(|receipt| receipt.sku.as_str().to_owned()).collect();
    let units = receipts.iter().map(|receipt| signed("ledger.units", receipt.units)).collect::<Result<Vec<_>, _>>()?;
    // New allotments in SKU order, the order in which everybody locks them.
    let booked = sqlx::query_scalar!(
        r#"
        WITH booked AS (
            INSERT INTO ledger (ref, sku, kind, units)
            SELECT ref, sku, 'supply', units FROM unnest($1::text[], $2::text[], $3::bigint[]) AS receipt (ref, sku, units)
            WHERE units > 0
            ON CONFLICT (ref) DO NOTHING
            RETURNING sku, units
        ), added AS (
            INSERT INTO allotments (sku, free)
            SELECT sku, sum(units)::bigint FROM booked GROUP BY sku ORDER BY sku
            ON CONFLICT (sku) DO UPDATE SET free = allotments.free + excluded.free
        )
        SELECT coalesce(sum(units), 0)::bigint AS "units!" FROM booked
        "#,
        &references,
        &skus,
        &units,
    )
    .fetch_one(conn)
    .await?;
    unsigned("ledger.units", booked)
}

/// Free units of these SKUs, as of a moment ago. SKUs that the shard never had are left out.
///
/// # Errors
/// When the database fails.
pub async fn find_free(conn: &mut PgConnection, skus: &[&Sku]) -> Result<HashMap<Sku, u64>, StoreError> {
    let skus: Vec<String> = skus.iter().map(|sku| sku.as_str().to_owned()).collect();
    Ok(free_units(conn, &skus).await?.into_iter().collect())
}

/// Free units of these SKUs, which stay as they are until the transaction ends. `skus` is sorted: the order in which
/// everybody locks allotments. SKUs that the shard never had are left out.
///
/// # Errors
/// When the database fails.
pub async fn lock_free(conn: &mut PgConnection, skus: &[&Sku]) -> Result<HashMap<Sku, u64>, StoreError> {
    let skus: Vec<String> = skus.iter().map(|sku| sku.as_str().to_owned()).collect();
    let rows = sqlx::query!("SELECT sku, free FROM allotments WHERE sku = ANY ($1) ORDER BY sku FOR UPDATE", &skus)
        .fetch_all(conn)
        .await?;
    rows.into_iter()
        .map(|row| {
            let sku = row.sku.parse().map_err(|_| StoreError::corrupt("allotments.sku", &row.sku))?;
            Ok((sku, unsigned("allotments.free", row.free)?))
        })
        .collect()
}

/// Locks the allotments of these orders' live units, in SKU order. Call it first in a transaction that moves units more
/// than once: the order of locks holds within one statement only.
///
/// # Errors
/// When the database fails.
pub async fn lock(conn: &mut PgConnection, orders: &[OrderId]) -> Result<(), StoreError> {
    if orders.is_empty() {
        return Ok(());
    }
    let orders: Vec<_> = orders.iter().map(|order| order.as_uuid()).collect();
    sqlx::query_scalar!(
        "SELECT sku FROM allotments
         WHERE sku IN (SELECT sku FROM reservations WHERE order_id = ANY ($1) AND state <> 'released')
         ORDER BY sku FOR UPDATE",
        &orders,
    )
    .fetch_all(conn)
    .await?;
    Ok(())
}

/// Moves the held units of these orders from *reserved* to *sold*: they are being paid for and no longer expire. In the
/// shard's turn allotments are locked by SKU, for there joins are loops over what is sorted. The caller has just claimed the orders' rows by compare-and-set.
///
/// # Errors
/// When the database fails.
pub async fn claim(conn: &mut PgConnection, orders: &[OrderId]) -> Result<(), StoreError> {
    if orders.is_empty() {
        return Ok(());
    }
    let orders: Vec<_> = orders.iter().map(|order| order.as_uuid()).collect();
    sqlx::query!(
        r#"
        WITH claimed AS (
            UPDATE reservations SET state = 'claimed' WHERE order_id = ANY ($1) AND state = 'held' RETURNING sku, units
        ), sums AS MATERIALIZED (
            SELECT sku, sum(units)::bigint AS units FROM claimed GROUP BY sku ORDER BY sku
        )
        UPDATE allotments SET reserved = allotments.reserved - sums.units, sold = allotments.sold + sums.units
        FROM sums WHERE allotments.sku = sums.sku
        "#,
        &orders,
    )
    .execute(conn)
    .await?;
    Ok(())
}

/// Gives the units of these orders back to *free*, from *reserved* where they were held and from *sold* where they were
/// claimed. The caller has just cancelled the orders' rows by compare-and-set. Tells of which SKUs.
///
/// # Errors
/// When the database fails.
pub async fn release(conn: &mut PgConnection, orders: &[OrderId]) -> Result<Vec<Sku>, StoreError> {
    if orders.is_empty() {
        return Ok(Vec::new());
    }
    let orders: Vec<_> = orders.iter().map(|order| order.as_uuid()).collect();
    let skus = sqlx::query_scalar!(
        r#"
        WITH live AS MATERIALIZED (
            SELECT order_id, sku, units, state FROM reservations WHERE order_id = ANY ($1) AND state <> 'released' FOR UPDATE
        ), released AS (
            UPDATE reservations SET state = 'released' FROM live
            WHERE reservations.order_id = live.order_id AND reservations.sku = live.sku
        ), sums AS MATERIALIZED (
            SELECT sku,
                coalesce(sum(units) FILTER (WHERE state = 'held'), 0)::bigint AS held,
                coalesce(sum(units) FILTER (WHERE state = 'claimed'), 0)::bigint AS claimed
            FROM live GROUP BY sku ORDER BY sku
        )
        UPDATE allotments SET free = allotments.free + held + claimed, reserved = allotments.reserved - held, sold = allotments.sold - claimed
        FROM sums WHERE allotments.sku = sums.sku
        RETURNING allotments.sku
        "#,
        &orders,
    )
    .fetch_all(conn)
    .await?;
    skus.into_iter().map(|sku| sku.parse().map_err(|_| StoreError::corrupt("allotments.sku", &sku))).collect()
}

/// Free units of these SKUs in this shard; SKUs it has never had are left out.
pub(crate) async fn free_units(conn: &mut PgConnection, skus: &[String]) -> Result<Vec<(Sku, u64)>, StoreError> {
    let rows = sqlx::query!("SELECT sku, free FROM allotments WHERE sku = ANY ($1)", skus).fetch_all(conn).await?;
    rows.into_iter()
        .map(|row| {
            let sku = row.sku.parse().map_err(|_| StoreError::corrupt("allotments.sku", &row.sku))?;
            Ok((sku, unsigned("allotments.free", row.free)?))
        })
        .collect()
}

#[cfg(test)]
mod tests;
