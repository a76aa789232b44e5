//! Orders that something speaks against: who waits for a person, and what was decided.

use region_core_events::contract::Assessment;
use region_core_store::StoreError;
use shared::{OrderId, UserId};
use sqlx::PgConnection;
use uuid::Uuid;

/// An order and how it was judged.
pub(crate) type Judged = (OrderId, Assessment);

/// Has orders that are PENDING, unclaimed and unexpired wait for a person, for so many seconds. Tells which: for the others it
/// is too late.
pub(crate) async fn hold(
    conn: &mut PgConnection,
    judged: &[Judged],
    patience_seconds: f64,
) -> Result<Vec<OrderId>, StoreError> {
    let orders: Vec<Uuid> = judged.iter().map(|(order, _)| order.as_uuid()).collect();
    let held = sqlx::query_scalar!(
        r#"
        WITH due AS MATERIALIZED (
            SELECT order_id FROM orders WHERE order_id = ANY ($1) ORDER BY order_id FOR NO KEY UPDATE
        )
        UPDATE orders SET expires_at = shard_now() + make_interval(secs => $2)
        FROM due WHERE orders.order_id = due.order_id AND status = 'PENDING' AND claimed_at IS NULL
            AND expires_at > shard_now()
        RETURNING orders.order_id
        "#,
        &orders,
        patience_seconds,
    )
    .fetch_all(&mut *conn)
    .await?;
    let held: Vec<OrderId> = held.into_iter().map(OrderId::from_uuid).collect();
    write(conn, judged.iter().filter(|(order, _)| held.contains(order)), None).await?;
    Ok(held)
}

/// Writes down that the rules alone refused these orders.
pub(crate) async fn refused(conn: &mut PgConnection, judged: &[Judged]) -> Result<(), StoreError> {
    write(conn, judged.iter(), Some("refused")).await
}

async fn write<'a>(
    conn: &mut PgConnection,
    judged: impl Iterator<Item = &'a Judged>,
    decision: Option<&str>,
) -> Result<(), StoreError> {
    // One statement each: it is rare that anything speaks against an order.
    for (order, Assessment { score, reasons, .. }) in judged {
        sqlx::query!(
            "INSERT INTO order_reviews (order_id, score, reasons, decision, decided_at)
             VALUES ($1, $2, $3, $4, CASE WHEN $4::text IS NULL THEN NULL ELSE shard_now() END)
             ON CONFLICT (order_id) DO NOTHING",
            order.as_uuid(),
            i32::from(*score),
            reasons,
            decision,
        )
        .execute(&mut *conn)
        .await?;
    }
    Ok(())
}

/// Whether the order waited for a person, who lets it go on now.
pub(crate) async fn release(conn: &mut PgConnection, order: OrderId, by: UserId) -> Result<bool, StoreError> {
    let released = sqlx::query!(
        "UPDATE order_reviews SET decision = 'released', decided_by = $2, decided_at = shard_now()
         WHERE order_id = $1 AND decision IS NULL",
        order.as_uuid(),
        by.as_i64(),
    );
    Ok(released.execute(conn).await?.rows_affected() > 0)
}

/// How an order ended that waited for a person.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum End {
    /// Who keeps the store cancelled it.
    Refused(UserId),
    /// Its shopper cancelled it.
    Withdrawn,
    /// Nobody decided before it ended.
    Lapsed,
}

/// Writes down how these orders ended, of those that still waited. Their rows are locked by whoever ends them.
pub(crate) async fn end(conn: &mut PgConnection, orders: &[OrderId], end: End) -> Result<(), StoreError> {
    if orders.is_empty() {
        return Ok(());
    }
    let (decision, by) = match end {
        End::Refused(by) => ("refused", Some(by.as_i64())),
        End::Withdrawn => ("withdrawn", None),
        End::Lapsed => ("lapsed", None),
    };
    let orders: Vec<Uuid> = orders.iter().map(|order| order.as_uuid()).collect();
    sqlx::query!(
        "UPDATE order_reviews SET decision = $2, decided_by = $3, decided_at = shard_now()
         WHERE order_id = ANY ($1) AND decision IS NULL",
        &orders,
        decision,
        by,
    )
    .execute(conn)
    .await?;
    Ok(())
}

/// How an order was judged, and what followed.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Review {
    pub(crate) score: i32,
    pub(crate) reasons: Vec<String>,
    pub(crate) asked_at: time::OffsetDateTime,
    /// `released`, `refused`, `withdrawn` or `lapsed`; `None` while it waits.
    pub(crate) decision: Option<String>,
    /// Whether a person decided.
    pub(crate) by_somebody: bool,
}

/// What spoke against the order, if anything did.
pub(crate) async fn find(conn: &mut PgConnection, order: OrderId) -> Result<Option<Review>, StoreError> {
    let found = sqlx::query_as!(
        Review,
        r#"SELECT score, reasons, asked_at, decision, decided_by IS NOT NULL AS "by_somebody!"
           FROM order_reviews WHERE order_id = $1"#,
        order.as_uuid(),
    );
    Ok(found.fetch_optional(conn).await?)
}
