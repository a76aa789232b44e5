//! The `refunds` table. Who changes a refund has locked its payment first.

use std::time::Duration;

use region_core_store::{StoreError, expect_rows};
use shared::api::refund::{Refund as Shown, RefundStatus};
use shared::{Currency, IdempotencyKey, Money, OrderId, PaymentId, RefundId, UserId};
use sqlx::PgConnection;
use time::OffsetDateTime;
use uuid::Uuid;

use crate::rules::refund::Refund;

/// A refund that is to be asked for.
#[derive(Clone, Debug)]
pub(crate) struct New {
    pub(crate) refund_id: RefundId,
    pub(crate) order_id: OrderId,
    /// What who asks has called it.
    pub(crate) key: IdempotencyKey,
    /// Tells one request under that key from another.
    pub(crate) request_hash: [u8; 32],
    pub(crate) amount: Money,
    pub(crate) reason: String,
    /// Who of the store asks; nobody where the order's end does.
    pub(crate) by: Option<UserId>,
}

/// The refund under a key, and what the request under the key meant.
pub(crate) async fn find_key(
    conn: &mut PgConnection,
    order: OrderId,
    key: &IdempotencyKey,
) -> Result<Option<(RefundId, Vec<u8>)>, StoreError> {
    let row = sqlx::query!(
        "SELECT refund_id, request_hash FROM refunds WHERE order_id = $1 AND key = $2",
        order.as_uuid(),
        key.as_str(),
    )
    .fetch_optional(conn)
    .await?;
    Ok(row.map(|row| (RefundId::from_uuid(row.refund_id), row.request_hash)))
}

/// Writes a refund of the payment down, and who of the store asked for it, if somebody did.
pub(crate) async fn insert(conn: &mut PgConnection, payment: PaymentId, new: &New) -> Result<(), StoreError> {
    let New { refund_id, order_id, key, request_hash, amount, reason, by } = new;
    sqlx::query!(
        "INSERT INTO refunds (refund_id, order_id, payment_id, provider, key, request_hash, currency, amount_minor, reason)
         SELECT $1, $2, payment_id, provider, $4::text, $5::bytea, $6::text, $7::bigint, $8 FROM payments WHERE payment_id = $3",
        refund_id.as_uuid(),
        order_id.as_uuid(),
        payment.as_uuid(),
        key.as_str(),
        request_hash.as_slice(),
        amount.currency().code(),
        amount.minor(),
        reason,
    )
    .execute(&mut *conn)
    .await?;
    let Some(by) = by else { return Ok(()) };
    // The desk's list of who did what is its own; what is done is written there by whoever does it, in the same transaction.
    sqlx::query!(
        "INSERT INTO desk_actions (order_id, actor, action, detail) VALUES ($1, $2, 'refund', $3)",
        order_id.as_uuid(),
        by.as_i64(),
        format!("{amount}, {reason}"),
    )
    .execute(conn)
    .await?;
    Ok(())
}

/// Takes at most `limit` refunds whose call is due, the oldest first, and keeps others off them for `lease`.
pub(crate) async fn lease(
    conn: &mut PgConnection,
    provider: &str,
    limit: i64,
    lease: Duration,
) -> Result<Vec<Refund>, StoreError> {
    sqlx::query_as!(
        RefundRow,
        r#"
        UPDATE refunds SET leased_until = shard_now() + make_interval(secs => $3), attempts = refunds.attempts + 1
        FROM payments
        WHERE payments.payment_id = refunds.payment_id AND refund_id IN (
            SELECT refund_id FROM refunds
            WHERE is_open AND next_attempt_at <= (SELECT shard_now())
              AND (leased_until IS NULL OR leased_until < (SELECT shard_now()))
              AND provider = $1
            ORDER BY created_at LIMIT $2 FOR UPDATE SKIP LOCKED
        )
        RETURNING refund_id, refunds.payment_id, refunds.order_id, provider_reference AS "provider_reference!",
                  refunds.currency, refunds.amount_minor, reason, refunds.attempts
        "#,
        provider,
        limit,
        lease.as_secs_f64(),
    )
    .fetch_all(conn)
    .await?
    .into_iter()
    .map(Refund::try_from)
    .collect()
}

/// Whether that attempt at the refund is still the last one, and nothing has come of it; locks it.
pub(crate) async fn is_open(conn: &mut PgConnection, refund: &Refund) -> Result<bool, StoreError> {
    let open = sqlx::query_scalar!(
        r#"SELECT is_open AND attempts = $2 AS "open!" FROM refunds WHERE refund_id = $1 FOR UPDATE"#,
        refund.refund_id.as_uuid(),
        refund.attempts,
    )
    .fetch_one(conn)
    .await?;
    Ok(open)
}

/// Ends a refund.
pub(crate) async fn end(
    conn: &mut PgConnection,
    refund: RefundId,
    state: &str,
    error: Option<&str>,
) -> Result<(), StoreError> {
    let done = sqlx::query!(
        "UPDATE refunds SET state = $2::text, last_error = $3, leased_until = NULL, changed_at = shard_now()
         WHERE refund_id = $1 AND state = 'to_refund'",
        refund.as_uuid(),
        state,
        error,
    )
    .execute(conn)
    .await?;
    expect_rows("refunds", done.rows_affected(), 1)
}

/// Has a refund asked about again after `pause`.
pub(crate) async fn again(
    conn: &mut PgConnection,
    refund: RefundId,
    error: &str,
    pause: Duration,
) -> Result<(), StoreError> {
    let done = sqlx::query!(
        "UPDATE refunds SET last_error = $2, leased_until = NULL,
             next_attempt_at = shard_now() + make_interval(secs => $3)
         WHERE refund_id = $1",
        refund.as_uuid(),
        error,
        pause.as_secs_f64(),
    )
    .execute(conn)
    .await?;
    expect_rows("refunds", done.rows_affected(), 1)
}

/// The order's refunds, oldest first.
pub(crate) async fn list(conn: &mut PgConnection, order: OrderId) -> Result<Vec<Shown>, StoreError> {
    let rows = sqlx::query_as!(
        ShownRow,
        "SELECT refund_id, currency, amount_minor, reason, state, last_error, created_at
         FROM refunds WHERE order_id = $1 ORDER BY created_at, refund_id",
        order.as_uuid(),
    )
    .fetch_all(conn)
    .await?;
    rows.into_iter().map(Shown::try_from).collect()
}

/// A leased row as read.
struct RefundRow {
    refund_id: Uuid,
    payment_id: Uuid,
    order_id: Uuid,
    provider_reference: String,
    currency: String,
    amount_minor: i64,
    reason: String,
    attempts: i32,
}

impl TryFrom<RefundRow> for Refund {
    type Error = StoreError;

    fn try_from(row: RefundRow) -> Result<Self, StoreError> {
        Ok(Self {
            refund_id: RefundId::from_uuid(row.refund_id),
            payment_id: PaymentId::from_uuid(row.payment_id),
            reference: row.provider_reference,
            order_id: OrderId::from_uuid(row.order_id),
            amount: money(row.amount_minor, &row.currency)?,
            reason: row.reason,
            attempts: row.attempts,
        })
    }
}

/// A row as the desk sees it.
struct ShownRow {
    refund_id: Uuid,
    currency: String,
    amount_minor: i64,
    reason: String,
    state: String,
    last_error: Option<String>,
    created_at: OffsetDateTime,
}

impl TryFrom<ShownRow> for Shown {
    type Error = StoreError;

    fn try_from(row: ShownRow) -> Result<Self, StoreError> {
        Ok(Self {
            refund_id: RefundId::from_uuid(row.refund_id),
            amount: money(row.amount_minor, &row.currency)?,
            reason: row.reason,
            status: match row.state.as_str() {
                "to_refund" => RefundStatus::Pending,
                "refunded" => RefundStatus::Refunded,
                "refused" => RefundStatus::Refused,
                other => return Err(StoreError::corrupt("refunds.state", other)),
            },
            last_error: row.last_error,
            created_at: row.created_at,
        })
    }
}

fn money(minor: i64, currency: &str) -> Result<Money, StoreError> {
    let currency: Currency = currency.parse().map_err(|_| StoreError::corrupt("refunds.currency", currency))?;
    Money::new(minor, currency).map_err(|_| StoreError::corrupt("refunds.amount_minor", minor))
}
