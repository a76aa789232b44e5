//! How an order moves on: each step is one compare-and-set on its row, for many orders at once, locked in the order of
//! their ids. Who changed no row came too late, and leaves everything as it is.

use region_core_store::StoreError;
use shared::OrderId;
use shared::api::order::OrderStatus;
use sqlx::PgConnection;
use uuid::Uuid;

/// An order that moved on, at its new version.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Moved {
    pub(crate) order_id: OrderId,
    pub(crate) version: i64,
}

macro_rules! moved {
    ($rows:expr) => {
        $rows
            .into_iter()
            .map(|row| Moved { order_id: OrderId::from_uuid(row.order_id), version: row.version })
            .collect()
    };
}

/// An order that was cancelled, and what its shopper reads.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Cancelled {
    pub(crate) moved: Moved,
    pub(crate) reason: String,
}

macro_rules! cancelled {
    ($rows:expr) => {
        $rows
            .into_iter()
            .map(|row| {
                let moved = Moved { order_id: OrderId::from_uuid(row.order_id), version: row.version };
                Cancelled { moved, reason: row.reason }
            })
            .collect()
    };
}

fn uuids(orders: &[OrderId]) -> Vec<Uuid> {
    orders.iter().map(|order| order.as_uuid()).collect()
}

/// Locks the rows of these orders, in the order of their ids, for a transaction that decides about them in several steps.
pub(crate) async fn lock(conn: &mut PgConnection, orders: &[OrderId]) -> Result<(), StoreError> {
    sqlx::query_scalar!(
        "SELECT order_id FROM orders WHERE order_id = ANY ($1) ORDER BY order_id FOR NO KEY UPDATE",
        &uuids(orders),
    )
    .fetch_all(conn)
    .await?;
    Ok(())
}

/// Locks the row of an order for a transaction that decides about its parcels, and tells where it stands.
pub(crate) async fn lock_one(conn: &mut PgConnection, order: OrderId) -> Result<Option<OrderStatus>, StoreError> {
    let status =
        sqlx::query_scalar!("SELECT status FROM orders WHERE order_id = $1 FOR NO KEY UPDATE", order.as_uuid(),)
            .fetch_optional(conn)
            .await?;
    status.map(|status| super::read::status(&status)).transpose()
}

/// Claims orders that are PENDING, not claimed and unexpired by the shard's clock: from here on they cannot expire.
pub(crate) async fn claim(conn: &mut PgConnection, orders: &[OrderId]) -> Result<Vec<Moved>, StoreError> {
    let rows = sqlx::query!(
        r#"
        WITH due AS MATERIALIZED (
            SELECT order_id FROM orders WHERE order_id = ANY ($1) ORDER BY order_id FOR NO KEY UPDATE
        )
        UPDATE orders SET claimed_at = shard_now(), payment = 'processing', version = version + 1
        FROM due WHERE orders.order_id = due.order_id AND status = 'PENDING' AND claimed_at IS NULL
            AND expires_at > shard_now()
        RETURNING orders.order_id, version
        "#,
        &uuids(orders),
    )
    .fetch_all(conn)
    .await?;
    Ok(moved!(rows))
}

/// Confirms orders that are PENDING and claimed: their money is ours.
pub(crate) async fn confirm(conn: &mut PgConnection, orders: &[OrderId]) -> Result<Vec<Moved>, StoreError> {
    let rows = sqlx::query!(
        r#"
        WITH due AS MATERIALIZED (
            SELECT order_id FROM orders WHERE order_id = ANY ($1) AND status = 'PENDING' AND claimed_at IS NOT NULL
            ORDER BY order_id FOR NO KEY UPDATE
        )
        UPDATE orders SET status = 'CONFIRMED', payment = 'captured', version = version + 1, confirmed_at = shard_now(),
            payment_at = shard_now()
        FROM due WHERE orders.order_id = due.order_id AND status = 'PENDING' AND claimed_at IS NOT NULL
        RETURNING orders.order_id, version
        "#,
        &uuids(orders),
    )
    .fetch_all(conn)
    .await?;
    Ok(moved!(rows))
}

/// Cancels orders that are PENDING, claimed or not, each for its reason.
pub(crate) async fn cancel(
    conn: &mut PgConnection,
    orders: &[OrderId],
    reasons: &[String],
    payment: &str,
) -> Result<Vec<Moved>, StoreError> {
    let rows = sqlx::query!(
        r#"
        WITH due AS MATERIALIZED (
            SELECT order_id, reason FROM orders
            JOIN unnest($1::uuid[], $2::text[]) AS failed (order_id, reason) USING (order_id)
            WHERE status = 'PENDING' ORDER BY order_id FOR NO KEY UPDATE OF orders
        )
        UPDATE orders SET status = 'CANCELLED', cancel_reason = due.reason, payment = $3, version = version + 1,
            cancelled_at = shard_now(), payment_at = shard_now()
        FROM due WHERE orders.order_id = due.order_id AND status = 'PENDING'
        RETURNING orders.order_id, version
        "#,
        &uuids(orders),
        reasons,
        payment,
    )
    .fetch_all(conn)
    .await?;
    Ok(moved!(rows))
}

/// Cancels an order that has not left yet: PENDING, claimed or not, or CONFIRMED.
pub(crate) async fn call_off(
    conn: &mut PgConnection,
    order: OrderId,
    reason: &str,
) -> Result<Option<Moved>, StoreError> {
    let row = sqlx::query!(
        r#"
        UPDATE orders SET status = 'CANCELLED', cancel_reason = $2, version = version + 1, cancelled_at = shard_now()
        WHERE order_id = $1 AND status IN ('PENDING', 'CONFIRMED')
        RETURNING order_id, version
        "#,
        order.as_uuid(),
        reason,
    )
    .fetch_optional(conn)
    .await?;
    Ok(row.map(|row| Moved { order_id: OrderId::from_uuid(row.order_id), version: row.version }))
}

/// Moves an order from CONFIRMED to SHIPPED: its first parcel has left, and it can no longer be cancelled.
pub(crate) async fn ship(conn: &mut PgConnection, order: OrderId) -> Result<Option<Moved>, StoreError> {
    let row = sqlx::query!(
        r#"
        UPDATE orders SET status = 'SHIPPED', version = version + 1 WHERE order_id = $1 AND status = 'CONFIRMED'
        RETURNING order_id, version
        "#,
        order.as_uuid(),
    )
    .fetch_optional(conn)
    .await?;
    Ok(row.map(|row| Moved { order_id: OrderId::from_uuid(row.order_id), version: row.version }))
}

/// Moves an order from SHIPPED to DELIVERED: all of it has arrived.
pub(crate) async fn deliver(conn: &mut PgConnection, order: OrderId) -> Result<Option<Moved>, StoreError> {
    let row = sqlx::query!(
        r#"
        UPDATE orders SET status = 'DELIVERED', version = version + 1 WHERE order_id = $1 AND status = 'SHIPPED'
        RETURNING order_id, version
        "#,
        order.as_uuid(),
    )
    .fetch_optional(conn)
    .await?;
    Ok(row.map(|row| Moved { order_id: OrderId::from_uuid(row.order_id), version: row.version }))
}

/// Cancels up to `most` orders whose time has run out by the shard's clock. Rows that someone else is deciding about are
/// left for the next round. Those that waited for a person have a reason of their own.
pub(crate) async fn expire(
    conn: &mut PgConnection,
    most: i64,
    reason: &str,
    waited: &str,
) -> Result<Vec<Cancelled>, StoreError> {
    let rows = sqlx::query!(
        r#"
        WITH due AS MATERIALIZED (
            SELECT order_id FROM orders WHERE may_expire AND expires_at <= (SELECT shard_now())
            ORDER BY expires_at LIMIT $1 FOR NO KEY UPDATE SKIP LOCKED
        )
        UPDATE orders SET status = 'CANCELLED', version = version + 1, cancelled_at = shard_now(),
            cancel_reason = CASE WHEN EXISTS (SELECT FROM order_reviews
                WHERE order_reviews.order_id = orders.order_id AND decision IS NULL) THEN $3 ELSE $2 END
        FROM due WHERE orders.order_id = due.order_id
        RETURNING orders.order_id, version, cancel_reason AS "reason!"
        "#,
        most,
        reason,
        waited,
    )
    .fetch_all(conn)
    .await?;
    Ok(cancelled!(rows))
}

/// Cancels those of these orders whose time has run out.
pub(crate) async fn expire_these(
    conn: &mut PgConnection,
    orders: &[OrderId],
    reason: &str,
    waited: &str,
) -> Result<Vec<Cancelled>, StoreError> {
    if orders.is_empty() {
        return Ok(Vec::new());
    }
    let rows = sqlx::query!(
        r#"
        WITH due AS MATERIALIZED (
            SELECT order_id FROM orders WHERE order_id = ANY ($1) AND status = 'PENDING' AND claimed_at IS NULL
                AND expires_at <= shard_now()
            ORDER BY order_id FOR NO KEY UPDATE
        )
        UPDATE orders SET status = 'CANCELLED', version = version + 1, cancelled_at = shard_now(),
            cancel_reason = CASE WHEN EXISTS (SELECT FROM order_reviews
                WHERE order_reviews.order_id = orders.order_id AND decision IS NULL) THEN $3 ELSE $2 END
        FROM due WHERE orders.order_id = due.order_id
        RETURNING orders.order_id, version, cancel_reason AS "reason!"
        "#,
        &uuids(orders),
        reason,
        waited,
    )
    .fetch_all(conn)
    .await?;
    Ok(cancelled!(rows))
}

/// Notes where the payments of these orders stand, without moving the orders.
pub(crate) async fn note_payment(conn: &mut PgConnection, orders: &[OrderId], payment: &str) -> Result<(), StoreError> {
    sqlx::query!(
        r#"
        WITH due AS MATERIALIZED (SELECT order_id FROM orders WHERE order_id = ANY ($1) ORDER BY order_id FOR NO KEY UPDATE)
        UPDATE orders SET payment = $2, payment_at = shard_now() FROM due WHERE orders.order_id = due.order_id
        "#,
        &uuids(orders),
        payment,
    )
    .execute(conn)
    .await?;
    Ok(())
}
