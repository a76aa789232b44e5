//! What a provider's notice does to the `payments` table.

use region_core_store::{StoreError, expect_rows};
use shared::PaymentId;
use sqlx::PgConnection;
use uuid::Uuid;

use crate::rules::Payment;
use crate::store::PaymentRow;

/// Enters a notice into the inbox; whether it was not there before. Inbox rows are kept for days, longer than providers repeat
/// themselves.
pub(crate) async fn enter(conn: &mut PgConnection, consumer: &str, event: Uuid) -> Result<bool, StoreError> {
    let done =
        sqlx::query!("INSERT INTO inbox (consumer, event_id) VALUES ($1, $2) ON CONFLICT DO NOTHING", consumer, event,)
            .execute(conn)
            .await?;
    Ok(done.rows_affected() == 1)
}

/// Whether there is such a payment at that provider.
pub(crate) async fn is_known(conn: &mut PgConnection, provider: &str, payment: PaymentId) -> Result<bool, StoreError> {
    let known = sqlx::query_scalar!(
        r#"SELECT EXISTS (SELECT FROM payments WHERE payment_id = $1 AND provider = $2) AS "known!""#,
        payment.as_uuid(),
        provider,
    );
    Ok(known.fetch_one(conn).await?)
}

/// The payment, locked, if it is at that provider.
pub(crate) async fn lock(
    conn: &mut PgConnection,
    provider: &str,
    payment: PaymentId,
) -> Result<Option<Payment>, StoreError> {
    sqlx::query_as!(
        PaymentRow,
        r#"
        SELECT payment_id, order_id, provider, provider_reference, challenge_id, next_action_url, payment_token, currency, amount_minor,
               captured_minor, refunded_minor, refunding_minor, state, attempts, version, last_error, facts
        FROM payments WHERE payment_id = $1 AND provider = $2 FOR UPDATE
        "#,
        payment.as_uuid(),
        provider,
    )
    .fetch_optional(conn)
    .await?
    .map(Payment::try_from)
    .transpose()
}

/// Ends the pause before a payment's next attempt. Whoever has leased it keeps it.
pub(crate) async fn make_due(conn: &mut PgConnection, payment: PaymentId) -> Result<(), StoreError> {
    let done =
        sqlx::query!("UPDATE payments SET next_attempt_at = shard_now() WHERE payment_id = $1", payment.as_uuid())
            .execute(conn)
            .await?;
    expect_rows("payments", done.rows_affected(), 1)
}
