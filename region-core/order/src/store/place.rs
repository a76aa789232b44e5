//! What is written when an order is accepted.

use region_core_store::StoreError;
use shared::{IdempotencyKey, OrderId, Slot, UserId};
use sqlx::PgConnection;
use sqlx::types::Json;
use time::{Duration, OffsetDateTime};

use crate::rules::{CheckedOrder, PricedOrder};

/// Whether this shard may write for the user, and under which revocation epoch.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Admission {
    /// The user's lowest epoch that is still honoured.
    Admitted { revocation_epoch: u32 },
    /// The shard owns the slot and has no such user.
    NoSuchUser,
}

/// The slot's fence and the user's revocation epoch, in one round trip.
pub(crate) async fn admit(conn: &mut PgConnection, user: UserId) -> Result<Admission, StoreError> {
    let slot: Slot = user.slot();
    let row = sqlx::query!(
        r#"
        SELECT slots.state, users.revocation_epoch AS "revocation_epoch?"
        FROM slots LEFT JOIN users ON users.user_id = $2
        WHERE slots.slot = $1
        FOR SHARE OF slots
        "#,
        i16::from(slot),
        user.as_i64(),
    )
    .fetch_optional(conn)
    .await?
    .ok_or(StoreError::WrongShard(slot))?;
    match (row.state.as_str(), row.revocation_epoch) {
        ("owner", Some(epoch)) => {
            let revocation_epoch =
                u32::try_from(epoch).map_err(|_| StoreError::corrupt("users.revocation_epoch", epoch))?;
            Ok(Admission::Admitted { revocation_epoch })
        }
        ("owner", None) => Ok(Admission::NoSuchUser),
        ("frozen", _) => Err(StoreError::Frozen(slot)),
        _ => Err(StoreError::WrongShard(slot)),
    }
}

/// What is known of a key.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct KnownKey {
    pub(crate) order_id: OrderId,
    pub(crate) request_hash: Vec<u8>,
}

/// Records the key for this order, or says which order it belongs to. While another transaction is recording the same
/// key, this waits for its end (bounded by the shard's lock timeout).
pub(crate) async fn record_key(
    conn: &mut PgConnection,
    user: UserId,
    key: &IdempotencyKey,
    request_hash: &[u8; 32],
    order: OrderId,
) -> Result<Option<KnownKey>, StoreError> {
    let recorded = sqlx::query!(
        "INSERT INTO idempotency_records (user_id, key, request_hash, order_id) VALUES ($1, $2, $3, $4)
         ON CONFLICT (user_id, key) DO NOTHING",
        user.as_i64(),
        key.as_str(),
        request_hash.as_slice(),
        order.as_uuid(),
    )
    .execute(&mut *conn)
    .await?;
    if recorded.rows_affected() == 1 { Ok(None) } else { find_key(conn, user, key).await }
}

/// The order that a key belongs to.
pub(crate) async fn find_key(
    conn: &mut PgConnection,
    user: UserId,
    key: &IdempotencyKey,
) -> Result<Option<KnownKey>, StoreError> {
    let row = sqlx::query!(
        "SELECT order_id, request_hash FROM idempotency_records WHERE user_id = $1 AND key = $2",
        user.as_i64(),
        key.as_str(),
    )
    .fetch_optional(conn)
    .await?;
    Ok(row.map(|row| KnownKey { order_id: OrderId::from_uuid(row.order_id), request_hash: row.request_hash }))
}

/// An order about to be accepted.
#[derive(Debug)]
pub(crate) struct NewOrder<'a> {
    pub(crate) order_id: OrderId,
    pub(crate) user_id: UserId,
    pub(crate) checked: &'a CheckedOrder,
    pub(crate) priced: &'a PricedOrder,
    /// How long its units are held.
    pub(crate) hold: Duration,
}

/// Writes the order and its lines; returns when it was created and when it expires.
pub(crate) async fn insert(
    conn: &mut PgConnection,
    new: &NewOrder<'_>,
) -> Result<(OffsetDateTime, OffsetDateTime), StoreError> {
    let NewOrder { order_id, user_id, checked, priced, hold } = new;
    let skus: Vec<String> = priced.lines.iter().map(|line| line.sku.as_str().to_owned()).collect();
    let titles: Vec<String> = priced.lines.iter().map(|line| line.title.clone()).collect();
    let quantities: Vec<i32> = priced.lines.iter().map(|line| line.quantity.units().cast_signed()).collect();
    let prices: Vec<i64> = priced.lines.iter().map(|line| line.unit_price.minor()).collect();
    let catalog_version = i64::try_from(priced.catalog_version)
        .map_err(|_| StoreError::corrupt("versions.version", priced.catalog_version))?;
    let row = sqlx::query!(
        r#"
        WITH now AS MATERIALIZED (SELECT shard_now() AS at),
        accepted AS (
            INSERT INTO orders (order_id, user_id, payment_token, currency, subtotal_minor, shipping_minor, total_minor,
                catalog_version, shipping_address, email, created_at, expires_at)
            SELECT $1, $2, $3, $4, $5, $6, $7, $8, $9, $10, at, at + make_interval(secs => $11) FROM now
            RETURNING created_at, expires_at
        ), lines AS (
            INSERT INTO line_items (order_id, sku, title, quantity, unit_price_minor)
            SELECT $1, * FROM unnest($12::text[], $13::text[], $14::integer[], $15::bigint[])
        )
        SELECT created_at, expires_at FROM accepted
        "#,
        order_id.as_uuid(),
        user_id.as_i64(),
        checked.payment_token,
        priced.total.currency().code(),
        priced.subtotal.minor(),
        priced.shipping.minor(),
        priced.total.minor(),
        catalog_version,
        Json(&checked.shipping_address) as _,
        checked.email.as_ref().map(shared::EmailAddress::as_str),
        hold.as_seconds_f64(),
        &skus,
        &titles,
        &quantities,
        &prices,
    )
    .fetch_one(conn)
    .await?;
    Ok((row.created_at, row.expires_at))
}
