//! The `payments` table, each function inside its caller's transaction. Rows are locked in the order of their ids, by
//! everyone.

pub(crate) mod notice;
pub(crate) mod refund;

use std::collections::HashSet;
use std::time::Duration;

use region_core_store::{StoreError, expect_rows};
use serde_json::{Value, json};
use shared::{Currency, Money, OrderId, PaymentId, RefundId};
use sqlx::PgConnection;
use time::OffsetDateTime;
use uuid::Uuid;

use crate::rules::{Payment, State};

/// A payment as it is to be kept from now on.
#[derive(Clone, Debug)]
pub(crate) struct Change {
    pub(crate) payment: Payment,
    /// When its next call is due.
    pub(crate) pause: Duration,
    /// Whether a worker of this process goes on with it at once.
    pub(crate) leased: bool,
    /// What moved back, if it is a part.
    pub(crate) refund: Option<RefundId>,
}

impl Change {
    /// This payment, its next call due now and free for any worker.
    pub(crate) fn now(payment: Payment) -> Self {
        Self { payment, pause: Duration::ZERO, leased: false, refund: None }
    }
}

/// Keeps payments that wait for their creation, those with an attempt leased; an order that has a payment keeps that one.
/// Tells which were new.
pub(crate) async fn insert(
    conn: &mut PgConnection,
    new: &[Payment],
    lease: Duration,
) -> Result<HashSet<PaymentId>, StoreError> {
    let ids: Vec<_> = new.iter().map(|payment| payment.payment_id.as_uuid()).collect();
    let orders: Vec<_> = new.iter().map(|payment| payment.order_id.as_uuid()).collect();
    let providers: Vec<_> = new.iter().map(|payment| payment.provider.as_str()).collect();
    let tokens: Vec<_> = new.iter().map(|payment| payment.payment_token.as_str()).collect();
    let currencies: Vec<_> = new.iter().map(|payment| payment.amount.currency().code()).collect();
    let amounts: Vec<_> = new.iter().map(|payment| payment.amount.minor()).collect();
    let attempts: Vec<_> = new.iter().map(|payment| payment.attempts).collect();
    let facts: Vec<_> = new.iter().map(|payment| payment.facts.as_ref().map(|facts| json!(facts))).collect();
    let kept = sqlx::query_scalar!(
        r#"
        INSERT INTO payments (payment_id, order_id, provider, payment_token, currency, amount_minor, state, attempts,
                              leased_until, facts)
        SELECT payment_id, order_id, provider, payment_token, currency, amount_minor, 'to_create', attempts,
               CASE WHEN attempts > 0 THEN shard_now() + make_interval(secs => $8) END, facts
        FROM UNNEST($2::uuid[], $3::uuid[], $1::text[], $4::text[], $5::text[], $6::bigint[], $7::integer[], $9::jsonb[])
            AS new (payment_id, order_id, provider, payment_token, currency, amount_minor, attempts, facts)
        ON CONFLICT (order_id) DO NOTHING
        RETURNING payment_id
        "#,
        &providers as &[&str],
        &ids,
        &orders,
        &tokens as &[&str],
        &currencies as &[&str],
        &amounts,
        &attempts,
        lease.as_secs_f64(),
        &facts as &[Option<Value>],
    )
    .fetch_all(conn)
    .await?;
    Ok(kept.into_iter().map(PaymentId::from_uuid).collect())
}

/// The payments of these orders, locked.
pub(crate) async fn lock_of_orders(conn: &mut PgConnection, orders: &[OrderId]) -> Result<Vec<Payment>, StoreError> {
    let orders: Vec<_> = orders.iter().map(|order| order.as_uuid()).collect();
    sqlx::query_as!(
        PaymentRow,
        r#"
        SELECT payment_id, order_id, provider, provider_reference, challenge_id, next_action_url, payment_token, currency, amount_minor,
               captured_minor, refunded_minor, refunding_minor, state, attempts, version, last_error, facts
        FROM payments WHERE order_id = ANY ($1) ORDER BY payment_id FOR UPDATE
        "#,
        &orders,
    )
    .fetch_all(conn)
    .await?
    .into_iter()
    .map(Payment::try_from)
    .collect()
}

/// The payment of this order.
pub(crate) async fn find_of_order(conn: &mut PgConnection, order: OrderId) -> Result<Option<Payment>, StoreError> {
    sqlx::query_as!(
        PaymentRow,
        r#"
        SELECT payment_id, order_id, provider, provider_reference, challenge_id, next_action_url, payment_token, currency, amount_minor,
               captured_minor, refunded_minor, refunding_minor, state, attempts, version, last_error, facts
        FROM payments WHERE order_id = $1
        "#,
        order.as_uuid(),
    )
    .fetch_optional(conn)
    .await?
    .map(Payment::try_from)
    .transpose()
}

/// These payments, locked.
pub(crate) async fn lock(conn: &mut PgConnection, payments: &[PaymentId]) -> Result<Vec<Payment>, StoreError> {
    let payments: Vec<_> = payments.iter().map(|payment| payment.as_uuid()).collect();
    sqlx::query_as!(
        PaymentRow,
        r#"
        SELECT payment_id, order_id, provider, provider_reference, challenge_id, next_action_url, payment_token, currency, amount_minor,
               captured_minor, refunded_minor, refunding_minor, state, attempts, version, last_error, facts
        FROM payments WHERE payment_id = ANY ($1) ORDER BY payment_id FOR UPDATE
        "#,
        &payments,
    )
    .fetch_all(conn)
    .await?
    .into_iter()
    .map(Payment::try_from)
    .collect()
}

/// Payments that were leased.
pub(crate) struct Lot {
    pub(crate) payments: Vec<Payment>,
    /// When the youngest of them was written.
    pub(crate) up_to: Option<OffsetDateTime>,
}

/// Takes at most `limit` payments whose call is due, the oldest first, and keeps others off them for `lease`. Looks only at those that
/// were written since `from`, if it is given.
pub(crate) async fn lease(
    conn: &mut PgConnection,
    provider: &str,
    limit: i64,
    lease: Duration,
    from: Option<OffsetDateTime>,
) -> Result<Lot, StoreError> {
    let rows = sqlx::query!(
        r#"
        UPDATE payments SET leased_until = shard_now() + make_interval(secs => $3), attempts = attempts + 1
        WHERE payment_id IN (
            SELECT payment_id FROM payments
            WHERE is_open AND created_at >= coalesce($4, '-infinity'::timestamptz) AND (
                state IN ('to_create', 'to_authorize', 'to_confirm', 'to_capture', 'to_void', 'to_refund')
                OR next_action_url IS NOT NULL
              ) AND refunding_minor = 0 AND next_attempt_at <= (SELECT shard_now())
              AND (leased_until IS NULL OR leased_until < (SELECT shard_now()))
              AND provider = $1
            ORDER BY created_at LIMIT $2 FOR UPDATE SKIP LOCKED
        )
        RETURNING payment_id, order_id, provider, provider_reference, challenge_id, next_action_url, payment_token, currency, amount_minor,
                  captured_minor, refunded_minor, refunding_minor, state, attempts, version, last_error, facts, created_at
        "#,
        provider,
        limit,
        lease.as_secs_f64(),
        from,
    )
    .fetch_all(conn)
    .await?;
    let up_to = rows.iter().map(|row| row.created_at).max();
    let payments = rows.into_iter().map(|row| {
        Payment::try_from(PaymentRow {
            payment_id: row.payment_id,
            order_id: row.order_id,
            provider: row.provider,
            provider_reference: row.provider_reference,
            challenge_id: row.challenge_id,
            next_action_url: row.next_action_url,
            payment_token: row.payment_token,
            currency: row.currency,
            amount_minor: row.amount_minor,
            captured_minor: row.captured_minor,
            refunded_minor: row.refunded_minor,
            refunding_minor: row.refunding_minor,
            state: row.state,
            attempts: row.attempts,
            version: row.version,
            last_error: row.last_error,
            facts: row.facts,
        })
    });
    Ok(Lot { payments: payments.collect::<Result<_, _>>()?, up_to })
}

/// Keeps what changed about payments that are locked, and enters what moved into the money's ledger. One that stays leased counts as leased anew. An attempt that leaves
/// the state as it was leaves `changed_at` too, so that a payment that is stuck grows old.
pub(crate) async fn update(conn: &mut PgConnection, changes: &[Change], lease: Duration) -> Result<(), StoreError> {
    if changes.is_empty() {
        return Ok(());
    }
    enter_moved(conn, changes).await?;
    let payments = || changes.iter().map(|change| &change.payment);
    let ids: Vec<_> = payments().map(|payment| payment.payment_id.as_uuid()).collect();
    let references: Vec<_> = payments().map(|payment| payment.provider_reference.clone()).collect();
    let challenges: Vec<_> = payments().map(|payment| payment.challenge_id.clone()).collect();
    let actions: Vec<_> = payments().map(|payment| payment.next_action.clone()).collect();
    let captured: Vec<_> = payments().map(|payment| payment.captured_minor).collect();
    let refunded: Vec<_> = payments().map(|payment| payment.refunded_minor).collect();
    let refunding: Vec<_> = payments().map(|payment| payment.refunding_minor).collect();
    let states: Vec<_> = payments().map(|payment| payment.state.name().to_owned()).collect();
    let attempts: Vec<_> = payments().map(|payment| payment.attempts).collect();
    let errors: Vec<_> = payments().map(|payment| payment.last_error.clone()).collect();
    let versions: Vec<_> = payments().map(|payment| payment.version).collect();
    let pauses: Vec<_> = changes.iter().map(|change| change.pause.as_secs_f64()).collect();
    let leased: Vec<_> = changes.iter().map(|change| change.leased).collect();
    let done = sqlx::query!(
        r#"
        UPDATE payments SET
            provider_reference = new.provider_reference, challenge_id = new.challenge_id,
            next_action_url = new.next_action_url,
            captured_minor = new.captured_minor, refunded_minor = new.refunded_minor,
            refunding_minor = new.refunding_minor, state = new.state,
            attempts = new.attempts, last_error = new.last_error, version = new.version,
            -- Once it was judged, or ended before, nobody asks for them.
            facts = CASE WHEN new.state IN ('to_create', 'to_authorize', 'challenge_required', 'to_confirm') THEN facts END,
            next_attempt_at = shard_now() + make_interval(secs => new.pause),
            changed_at = CASE WHEN payments.state = new.state THEN payments.changed_at ELSE shard_now() END,
            leased_until = CASE WHEN new.leased THEN shard_now() + make_interval(secs => $12) END
        FROM UNNEST($1::uuid[], $2::text[], $3::text[], $4::bigint[], $5::bigint[], $6::text[], $7::integer[], $8::text[],
                    $9::bigint[], $10::float8[], $11::boolean[], $13::bigint[], $14::text[])
            AS new (payment_id, provider_reference, challenge_id, captured_minor, refunded_minor, state, attempts,
                    last_error, version, pause, leased, refunding_minor, next_action_url)
        WHERE payments.payment_id = new.payment_id
        "#,
        &ids,
        &references as &[Option<String>],
        &challenges as &[Option<String>],
        &captured,
        &refunded,
        &states,
        &attempts,
        &errors as &[Option<String>],
        &versions,
        &pauses,
        &leased,
        lease.as_secs_f64(),
        &refunding,
        &actions as &[Option<String>],
    )
    .execute(conn)
    .await?;
    expect_rows("payments", done.rows_affected(), ids.len() as u64)
}

/// Enters what these changes move, if any moves money. By itself and before the payments' own sums follow: most changes move none, and
/// whoever reads both sees a transaction as a whole.
async fn enter_moved(conn: &mut PgConnection, changes: &[Change]) -> Result<(), StoreError> {
    let moved = |change: &&Change| change.payment.captured_minor > 0 || change.payment.refunded_minor > 0;
    let moved: Vec<_> = changes.iter().filter(moved).collect();
    if moved.is_empty() {
        return Ok(());
    }
    let ids: Vec<_> = moved.iter().map(|change| change.payment.payment_id.as_uuid()).collect();
    let captured: Vec<_> = moved.iter().map(|change| change.payment.captured_minor).collect();
    let refunded: Vec<_> = moved.iter().map(|change| change.payment.refunded_minor).collect();
    let refunds: Vec<_> = moved.iter().map(|change| change.refund.map(RefundId::as_uuid)).collect();
    sqlx::query!(
        r#"
        INSERT INTO money_entries (payment_id, cause, order_id, debit, credit, amount_minor, currency)
        SELECT payments.payment_id, cause, order_id, debit, credit, minor, currency
        FROM UNNEST($1::uuid[], $2::bigint[], $3::bigint[], $4::uuid[])
            AS new (payment_id, captured_minor, refunded_minor, refund_id)
        JOIN payments USING (payment_id) CROSS JOIN LATERAL (VALUES
            ('capture', 'provider', 'order', new.captured_minor - payments.captured_minor),
            (concat_ws(' ', 'refund', refund_id), 'order', 'provider', new.refunded_minor - payments.refunded_minor)
        ) AS entry (cause, debit, credit, minor)
        WHERE minor > 0
        "#,
        &ids,
        &captured,
        &refunded,
        &refunds as &[Option<Uuid>],
    )
    .execute(conn)
    .await?;
    Ok(())
}

/// Whether the order's shopper is to answer the provider, and on which page of the provider's, if on one.
pub(crate) async fn find_question(
    conn: &mut PgConnection,
    order: OrderId,
) -> Result<Option<Option<String>>, StoreError> {
    let page = sqlx::query_scalar!(
        "SELECT next_action_url FROM payments WHERE order_id = $1 AND state = 'challenge_required'",
        order.as_uuid(),
    );
    Ok(page.fetch_optional(conn).await?)
}

/// How many payments wait for their provider, and for how many seconds the oldest has waited in its state.
pub(crate) async fn backlog(conn: &mut PgConnection, provider: &str) -> Result<(i64, f64), StoreError> {
    let row = sqlx::query!(
        r#"
        SELECT count(*) AS "count!",
               coalesce(extract(epoch FROM shard_now() - min(changed_at)), 0)::float8 AS "oldest_seconds!"
        FROM payments
        WHERE is_open AND state IN ('to_create', 'to_authorize', 'to_confirm', 'to_capture', 'to_void', 'to_refund')
          AND provider = $1
        "#,
        provider,
    )
    .fetch_one(conn)
    .await?;
    Ok((row.count, row.oldest_seconds))
}

/// How many payments and refunds wait for a provider that is none of these.
pub(crate) async fn stranded(conn: &mut PgConnection, providers: &[&str]) -> Result<i64, StoreError> {
    let count = sqlx::query_scalar!(
        r#"
        SELECT (SELECT count(*) FROM payments WHERE is_open AND provider <> ALL ($1))
             + (SELECT count(*) FROM refunds WHERE is_open AND provider <> ALL ($1)) AS "count!"
        "#,
        providers as &[&str],
    );
    Ok(count.fetch_one(conn).await?)
}

/// A payments row as read.
struct PaymentRow {
    payment_id: Uuid,
    order_id: Uuid,
    provider: String,
    provider_reference: Option<String>,
    challenge_id: Option<String>,
    next_action_url: Option<String>,
    payment_token: String,
    currency: String,
    amount_minor: i64,
    captured_minor: i64,
    refunded_minor: i64,
    refunding_minor: i64,
    state: String,
    attempts: i32,
    version: i64,
    last_error: Option<String>,
    facts: Option<Value>,
}

impl TryFrom<PaymentRow> for Payment {
    type Error = StoreError;

    fn try_from(row: PaymentRow) -> Result<Self, StoreError> {
        let currency: Currency =
            row.currency.parse().map_err(|_| StoreError::corrupt("payments.currency", &row.currency))?;
        let amount = Money::new(row.amount_minor, currency)
            .map_err(|_| StoreError::corrupt("payments.amount_minor", row.amount_minor))?;
        let state = State::parse(&row.state).ok_or_else(|| StoreError::corrupt("payments.state", &row.state))?;
        let facts = row.facts.map(serde_json::from_value).transpose();
        let facts = facts.map_err(|error| StoreError::corrupt("payments.facts", error))?;
        Ok(Self {
            payment_id: PaymentId::from_uuid(row.payment_id),
            order_id: OrderId::from_uuid(row.order_id),
            provider: row.provider,
            provider_reference: row.provider_reference,
            challenge_id: row.challenge_id,
            next_action: row.next_action_url,
            payment_token: row.payment_token,
            amount,
            captured_minor: row.captured_minor,
            refunded_minor: row.refunded_minor,
            refunding_minor: row.refunding_minor,
            state,
            attempts: row.attempts,
            version: row.version,
            last_error: row.last_error,
            facts,
        })
    }
}

/// An order of 12.50, for tests of its payment.
#[cfg(test)]
pub(crate) const AN_ORDER: &str = r"
    INSERT INTO users (user_id) VALUES (7);
    INSERT INTO orders (order_id, user_id, payment_token, currency, subtotal_minor, shipping_minor, total_minor,
                        catalog_version, shipping_address, expires_at)
    SELECT '00000000-0000-7000-8000-000000000001', 7, 'tok_success', 'GBP', 1250, 0, 1250, 1, '{}',
           shard_now() + interval '15 minutes'";

#[cfg(test)]
pub(crate) mod tests {
    use region_core_store::test_support::shard_database;
    use shared::id::Slot;

    use super::*;

    const MS: u64 = 1_800_000_000_000;

    /// A payment that waits for its creation at `bank`.
    pub(crate) async fn a_payment(conn: &mut PgConnection) -> PaymentId {
        sqlx::raw_sql(AN_ORDER).execute(&mut *conn).await.unwrap();
        let payment_id = PaymentId::mint(MS, Slot::new(9).unwrap(), [1; 8]);
        let order_id = OrderId::from_uuid("00000000-0000-7000-8000-000000000001".parse().unwrap());
        let amount = Money::new(1250, Currency::GBP).unwrap();
        let new = Payment::new("bank", payment_id, order_id, amount, "tok_success".to_owned());
        let kept = insert(conn, &[new], Duration::ZERO).await.unwrap();
        assert!(kept.contains(&payment_id));
        payment_id
    }

    #[tokio::test]
    async fn a_core_that_knows_of_no_page_moves_a_payment_on_all_the_same() {
        let database = shard_database().await;
        let conn = &mut *database.pool.acquire().await.unwrap();
        let payment = a_payment(conn).await;
        let page = "UPDATE payments SET state = 'challenge_required', provider_reference = 'pay_1', challenge_id = 'c',
                        next_action_url = 'https://bank.example/p/1' WHERE payment_id = $1";
        sqlx::query(page).bind(payment.as_uuid()).execute(&mut *conn).await.unwrap();
        assert!(
            sqlx::query("UPDATE payments SET next_action_url = 'javascript:pay()'").execute(&mut *conn).await.is_err()
        );
        let moved = "UPDATE payments SET state = 'to_void' RETURNING next_action_url";
        let page: Option<String> = sqlx::query_scalar(moved).fetch_one(&mut *conn).await.unwrap();
        assert_eq!(page, None, "nobody is led there any more");
    }

    async fn keep(conn: &mut PgConnection, payment: Payment) {
        update(conn, &[Change::now(payment)], Duration::ZERO).await.unwrap();
    }

    async fn entries(conn: &mut PgConnection) -> Vec<(String, String, String, i64)> {
        let sql = "SELECT cause, debit, credit, amount_minor::bigint FROM money_entries ORDER BY created_at, cause";
        sqlx::query_as(sql).fetch_all(conn).await.unwrap()
    }

    fn entry(cause: &str, [debit, credit]: [&str; 2], minor: i64) -> (String, String, String, i64) {
        (cause.to_owned(), debit.to_owned(), credit.to_owned(), minor)
    }

    /// One more order and its payment, as old as that.
    pub(crate) async fn another(conn: &mut PgConnection, number: u8, minutes_ago: i32) -> PaymentId {
        let payment_id = PaymentId::mint(MS, Slot::new(9).unwrap(), [number; 8]);
        let order_id = OrderId::mint(MS, Slot::new(9).unwrap(), [number; 8]);
        let new =
            Payment::new("bank", payment_id, order_id, Money::new(1250, Currency::GBP).unwrap(), "tok".to_owned());
        let order = "INSERT INTO orders (order_id, user_id, payment_token, currency, subtotal_minor, shipping_minor, total_minor,
                                         catalog_version, shipping_address, expires_at)
                     SELECT $1, user_id, payment_token, currency, subtotal_minor, shipping_minor, total_minor, catalog_version,
                            shipping_address, expires_at FROM orders LIMIT 1";
        sqlx::query(order).bind(order_id.as_uuid()).execute(&mut *conn).await.unwrap();
        insert(conn, &[new], Duration::ZERO).await.unwrap();
        let age = "UPDATE payments SET created_at = shard_now() - make_interval(mins => $2) WHERE payment_id = $1";
        sqlx::query(age).bind(payment_id.as_uuid()).bind(minutes_ago).execute(conn).await.unwrap();
        payment_id
    }

    #[tokio::test]
    async fn a_look_goes_on_where_the_last_one_came_to_and_the_next_from_the_oldest_on_finds_what_it_passed() {
        let database = shard_database().await;
        let mut conn = database.pool.acquire().await.unwrap();
        let youngest = a_payment(&mut conn).await;
        let (oldest, middle) = (another(&mut conn, 3, 9).await, another(&mut conn, 2, 5).await);
        let mut look = async |limit, from| {
            let lot = lease(&mut conn, "bank", limit, Duration::ZERO, from).await.unwrap();
            (lot.payments.iter().map(|payment| payment.payment_id).collect::<Vec<_>>(), lot.up_to)
        };
        let (first, up_to) = look(1, None).await;
        assert_eq!(first, [oldest]);
        // Its lease is over already.
        let (second, up_to) = look(1, up_to.map(|at| at + Duration::from_secs(1))).await;
        assert_eq!(second, [middle]);
        let (mut rest, _) = look(10, up_to).await;
        rest.sort_unstable();
        let mut since = [middle, youngest];
        since.sort_unstable();
        assert_eq!(rest, since);
        assert_eq!(look(1, None).await.0, [oldest]);
    }

    #[tokio::test]
    async fn what_waits_for_a_provider_that_is_not_configured_is_counted() {
        let database = shard_database().await;
        let mut conn = database.pool.acquire().await.unwrap();
        let payment_id = a_payment(&mut conn).await;
        assert_eq!(stranded(&mut conn, &["sandbox", "bank"]).await.unwrap(), 0);
        assert_eq!(stranded(&mut conn, &["sandbox"]).await.unwrap(), 1);
        let payment = lock(&mut conn, &[payment_id]).await.unwrap().remove(0);
        assert_eq!(payment.provider, "bank");
        keep(&mut conn, Payment { state: State::Abandoned, ..payment }).await;
        assert_eq!(stranded(&mut conn, &["sandbox"]).await.unwrap(), 0, "it waits for nobody");
    }

    #[tokio::test]
    async fn what_moves_is_entered_once_with_the_payment_that_it_moves_and_never_changed() {
        let database = shard_database().await;
        let mut conn = database.pool.acquire().await.unwrap();
        let payment_id = a_payment(&mut conn).await;
        let payment = lock(&mut conn, &[payment_id]).await.unwrap().remove(0);
        let known = Payment { state: State::ToCapture, provider_reference: Some("ref".to_owned()), ..payment };
        keep(&mut conn, known.clone()).await;
        assert_eq!(entries(&mut conn).await, [], "nothing has moved");
        let captured = Payment { state: State::Captured, captured_minor: 1250, ..known };
        for _ in 0..2 {
            keep(&mut conn, captured.clone()).await;
        }
        let capture = entry("capture", ["provider", "order"], 1250);
        assert_eq!(entries(&mut conn).await, std::slice::from_ref(&capture));
        keep(&mut conn, Payment { state: State::Refunded, refunded_minor: 1250, ..captured.clone() }).await;
        let refund = entry("refund", ["order", "provider"], 1250);
        assert_eq!(entries(&mut conn).await, [capture, refund]);
        // Were the payment forgotten, the money would not move in the books a second time.
        sqlx::query("UPDATE payments SET captured_minor = 0, refunded_minor = 0").execute(&mut *conn).await.unwrap();
        let again = update(&mut conn, &[Change::now(captured)], Duration::ZERO).await.unwrap_err();
        assert_eq!(again.constraint(), Some("money_entries_once_a_cause"));
        for change in
            ["UPDATE money_entries SET amount_minor = 1", "DELETE FROM money_entries", "TRUNCATE money_entries"]
        {
            let refused = sqlx::raw_sql(change).execute(&mut *conn).await.unwrap_err();
            assert!(refused.to_string().contains("only ever added to"), "{change}: {refused}");
        }
    }

    #[tokio::test]
    async fn what_an_order_is_judged_by_is_kept_until_then_and_no_longer() {
        let database = shard_database().await;
        let mut conn = database.pool.acquire().await.unwrap();
        let payment_id = a_payment(&mut conn).await;
        let user_id = shared::UserId::mint(MS, Slot::new(9).unwrap(), 1).unwrap();
        let facts = json!({ "user_id": user_id, "address": "d00r", "country": "GB", "mail_domain": null });
        sqlx::query("UPDATE payments SET facts = $1").bind(&facts).execute(&mut *conn).await.unwrap();
        let mut payment = lock(&mut conn, &[payment_id]).await.unwrap().remove(0);
        payment.provider_reference = Some("ref".to_owned());
        for state in State::ALL.iter().filter(|state| !matches!(state, State::Captured | State::Refunded)) {
            sqlx::query("UPDATE payments SET facts = $1").bind(&facts).execute(&mut *conn).await.unwrap();
            keep(&mut conn, Payment { state: *state, ..payment.clone() }).await;
            let kept = lock(&mut conn, &[payment_id]).await.unwrap().remove(0).facts.is_some();
            let before = [State::ToCreate, State::ToAuthorize, State::ChallengeRequired, State::ToConfirm];
            assert_eq!(kept, before.contains(state), "{state:?}");
        }
    }

    #[tokio::test]
    async fn what_a_core_that_knows_no_ledger_moves_is_entered_too_and_nothing_twice() {
        let database = shard_database().await;
        let mut conn = database.pool.acquire().await.unwrap();
        let payment_id = a_payment(&mut conn).await;
        let named = "UPDATE payments SET state = 'to_capture', provider_reference = 'ref'";
        sqlx::raw_sql(named).execute(&mut *conn).await.unwrap();
        assert_eq!(entries(&mut conn).await, [], "nothing has moved");
        for _ in 0..2 {
            let captures = "UPDATE payments SET state = 'captured', captured_minor = 1250";
            sqlx::raw_sql(captures).execute(&mut *conn).await.unwrap();
        }
        let capture = entry("capture", ["provider", "order"], 1250);
        assert_eq!(entries(&mut conn).await, std::slice::from_ref(&capture));
        // One that knows it gives a part back, then the other one the rest.
        let part = RefundId::mint(MS, Slot::new(9).unwrap(), [2; 8]);
        let payment = lock(&mut conn, &[payment_id]).await.unwrap().remove(0);
        let moved = Change { refund: Some(part), ..Change::now(Payment { refunded_minor: 300, ..payment }) };
        update(&mut conn, &[moved], Duration::ZERO).await.unwrap();
        let rest = "UPDATE payments SET state = 'refunded', refunded_minor = 1250";
        sqlx::raw_sql(rest).execute(&mut *conn).await.unwrap();
        let part = entry(&format!("refund {part}"), ["order", "provider"], 300);
        let rest = entry("refund", ["order", "provider"], 950);
        assert_eq!(entries(&mut conn).await, [capture, part, rest]);
    }

    #[tokio::test]
    async fn a_payment_grows_old_through_its_failed_attempts_until_its_state_changes() {
        let database = shard_database().await;
        let mut conn = database.pool.acquire().await.unwrap();
        let payment_id = a_payment(&mut conn).await;
        for (minutes, attempts) in [(1_i32, 1), (2, 2), (3, 3)] {
            let turn = "SELECT set_config('meridian.clock_offset', make_interval(mins => $1)::text, false)";
            sqlx::query(turn).bind(minutes).execute(&mut *conn).await.unwrap();
            let payment = lock(&mut conn, &[payment_id]).await.unwrap().remove(0);
            let failed = Payment { attempts, last_error: Some("no answer".to_owned()), ..payment };
            keep(&mut conn, failed).await;
            let (count, oldest_seconds) = backlog(&mut conn, "bank").await.unwrap();
            assert!(count == 1 && oldest_seconds >= f64::from(minutes) * 60.0, "{count} waiting, {oldest_seconds} s");
        }
        let payment = lock(&mut conn, &[payment_id]).await.unwrap().remove(0);
        let created = Payment { state: State::ToAuthorize, provider_reference: Some("ref".to_owned()), ..payment };
        keep(&mut conn, created).await;
        let (count, oldest_seconds) = backlog(&mut conn, "bank").await.unwrap();
        assert!(count == 1 && oldest_seconds < 60.0, "{count} waiting, {oldest_seconds} s");
    }
}
