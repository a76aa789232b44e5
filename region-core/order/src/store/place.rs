//! What is read before orders are accepted, and what is written when they are: many at a time.

use std::collections::HashMap;

use region_core_store::StoreError;
use serde::{Deserialize, Serialize};
use shared::{IdempotencyKey, OrderId, Sku, Slot, UserId};
use sqlx::PgConnection;
use sqlx::postgres::PgDatabaseError;
use time::{Duration, OffsetDateTime};

use crate::admission::{AdmitOrder, Wanted};
use crate::rules::admit::sums;

/// Raised by `must_hold` when what the writer decided on no longer holds. Nothing was written then.
const STALE: &str = "MD001";

/// What is known of a key.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct KnownKey {
    pub(crate) order_id: OrderId,
    pub(crate) request_hash: Vec<u8>,
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

/// Who owns these slots, as this shard says. They stay as they are until the transaction ends; absent ones are not here.
pub(crate) async fn lock_slots(
    conn: &mut PgConnection,
    slots: impl Iterator<Item = Slot>,
) -> Result<HashMap<Slot, String>, StoreError> {
    let slots: Vec<i16> = slots.map(i16::from).collect();
    let rows = sqlx::query!("SELECT slot, state FROM slots WHERE slot = ANY ($1) ORDER BY slot FOR SHARE", &slots)
        .fetch_all(conn)
        .await?;
    let slot = |number: i16| u16::try_from(number).ok().and_then(|number| Slot::try_from(number).ok());
    rows.into_iter()
        .map(|row| Ok((slot(row.slot).ok_or_else(|| StoreError::corrupt("slots.slot", row.slot))?, row.state)))
        .collect()
}

/// The lowest epoch that is still honoured, of each of these users that the shard has.
pub(crate) async fn find_epochs(
    conn: &mut PgConnection,
    users: impl Iterator<Item = UserId>,
) -> Result<HashMap<i64, i64>, StoreError> {
    let users: Vec<i64> = users.map(UserId::as_i64).collect();
    let rows = sqlx::query!("SELECT user_id, revocation_epoch FROM users WHERE user_id = ANY ($1)", &users)
        .fetch_all(conn)
        .await?;
    Ok(rows.into_iter().map(|row| (row.user_id, i64::from(row.revocation_epoch))).collect())
}

/// The orders that these keys belong to already, by user and key.
pub(crate) async fn find_keys(
    conn: &mut PgConnection,
    keys: impl Iterator<Item = (UserId, &IdempotencyKey)>,
) -> Result<HashMap<(i64, String), KnownKey>, StoreError> {
    let (users, keys): (Vec<i64>, Vec<String>) =
        keys.map(|(user, key)| (user.as_i64(), key.as_str().to_owned())).unzip();
    let rows = sqlx::query!(
        // One step into the index for each, whatever the planner believed of the table when it was empty.
        r#"SELECT asked.user_id AS "user_id!", asked.key AS "key!", order_id AS "order_id!", request_hash AS "request_hash!"
           FROM unnest($1::bigint[], $2::text[]) AS asked (user_id, key)
           CROSS JOIN LATERAL (
               SELECT order_id, request_hash FROM idempotency_records AS record
               WHERE record.user_id = asked.user_id AND record.key = asked.key OFFSET 0) AS known"#,
        &users,
        &keys,
    )
    .fetch_all(conn)
    .await?;
    let known = rows.into_iter().map(|row| {
        let known = KnownKey { order_id: OrderId::from_uuid(row.order_id), request_hash: row.request_hash };
        ((row.user_id, row.key), known)
    });
    Ok(known.collect())
}

/// When an admitted batch was created, and until when its units are held unless they are claimed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Times {
    #[serde(with = "time::serde::rfc3339")]
    pub(crate) created_at: OffsetDateTime,
    #[serde(with = "time::serde::rfc3339")]
    pub(crate) expires_at: OffsetDateTime,
}

/// How the statement that admits orders ended.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Admitted {
    /// They stand.
    Whole(Times),
    /// Nothing was written and the transaction is spoiled: something is not as it was thought to be.
    Stale {
        /// Whether that is the number of free units.
        units: bool,
    },
}

/// Writes these orders whole (idempotency record, order, lines, reservations, allotments, carts, event) in one statement
/// that re-checks slots, users, keys, carts and units.
pub(crate) async fn admit(
    conn: &mut PgConnection,
    orders: &[&AdmitOrder],
    hold: Duration,
) -> Result<Admitted, StoreError> {
    match admit_all(conn, orders, hold).await {
        Ok(times) => Ok(Admitted::Whole(times)),
        Err(StoreError::Sql(sqlx::Error::Database(error))) if error.code().as_deref() == Some(STALE) => {
            let what =
                error.try_downcast_ref::<PgDatabaseError>().and_then(PgDatabaseError::detail).unwrap_or_default();
            metrics::counter!("orders_batches_stale_total", "what" => what.to_owned()).increment(1);
            Ok(Admitted::Stale { units: what == "allotments" })
        }
        Err(error) => Err(error),
    }
}

async fn admit_all(conn: &mut PgConnection, orders: &[&AdmitOrder], hold: Duration) -> Result<Times, StoreError> {
    let rows = OrderRows::of(orders)?;
    let lines = LineRows::of(orders);
    let carts = CartRows::of(orders)?;
    let takes = sums(orders.iter().flat_map(|order| order.checked.items.iter().map(|(sku, units)| (sku, *units))));
    let (take_skus, take_units): (Vec<&str>, Vec<i64>) =
        takes.into_iter().map(|(sku, units)| (sku.as_str(), units.cast_signed())).unzip();
    let mut slots: Vec<i16> = orders.iter().map(|order| order.user_id.slot().into()).collect();
    slots.sort_unstable();
    slots.dedup();
    let (topic, kind) = orders.first().map_or(("", ""), |order| (order.event.topic.name(), order.event.kind));
    // The checks come first in the last part, which is evaluated before the inserts that nobody reads from: what does not
    // hold costs little. On the turn's connection joins are nested loops over the arrays, so that allotments are locked in
    // the order of the array, by SKU.
    let row = sqlx::query!(
        r#"
        WITH new AS MATERIALIZED (
            SELECT * FROM unnest($2::uuid[], $3::bigint[], $4::integer[], $5::text[], $6::bytea[], $7::text[], $8::text[],
                $9::bigint[], $10::bigint[], $11::bigint[], $12::bigint[], $13::jsonb[], $14::text[], $17::uuid[],
                $18::jsonb[], $19::text[], $33::jsonb[], $34::text[])
                AS new (order_id, user_id, epoch, key, request_hash, payment_token, currency, subtotal, shipping, total,
                    catalog_version, address, email, event_id, payload, traceparent, delivery, phone)
        ), clock AS MATERIALIZED (
            SELECT at, at + make_interval(secs => $1) AS until, pg_current_xact_id()::text::bigint AS transaction_id
            FROM (SELECT shard_now() AS at) AS now
        ), fenced AS MATERIALIZED (
            -- A move's freeze takes these rows FOR UPDATE and so waits for this transaction.
            SELECT state FROM slots WHERE slot = ANY ($32::smallint[]) ORDER BY slot FOR SHARE
        ), recorded AS (
            INSERT INTO idempotency_records (user_id, key, request_hash, order_id, created_at)
            SELECT user_id, key, request_hash, order_id, at FROM new, clock
            ON CONFLICT (user_id, key) DO NOTHING
            RETURNING 1
        ), taken AS (
            UPDATE allotments SET free = free - units, reserved = reserved + units
            FROM unnest($25::text[], $26::bigint[]) AS wanted (sku, units)
            WHERE allotments.sku = wanted.sku AND free >= units
            RETURNING 1
        ), accepted AS (
            INSERT INTO orders (order_id, user_id, payment_token, currency, subtotal_minor, shipping_minor, total_minor,
                catalog_version, shipping_address, email, delivery, phone, created_at, expires_at)
            SELECT order_id, user_id, payment_token, currency, subtotal, shipping, total, catalog_version, address, email,
                delivery, phone, at, until
            FROM new, clock
        ), lines AS (
            INSERT INTO line_items (order_id, sku, title, quantity, unit_price_minor)
            SELECT * FROM unnest($20::uuid[], $21::text[], $22::text[], $23::integer[], $24::bigint[])
        ), held AS (
            INSERT INTO reservations (order_id, sku, units)
            SELECT * FROM unnest($20::uuid[], $21::text[], $23::integer[])
        ), said AS (
            -- The payload is the speaker's own; only the shard's clock knows until when.
            INSERT INTO outbox (transaction_id, event_id, topic, kind, aggregate_id, aggregate_version, payload, traceparent, created_at)
            SELECT transaction_id, event_id, $15, $16, order_id, 1, payload || jsonb_build_object('expires_at', until),
                traceparent, at
            FROM new, clock
        )
        SELECT at AS "created_at!", until AS "expires_at!",
            must_hold((SELECT count(*) FROM fenced WHERE state = 'owner') = cardinality($32::smallint[]), 'slots')
            AND must_hold((SELECT count(*) FROM new JOIN users USING (user_id) WHERE revocation_epoch <= epoch)
                = cardinality($2::uuid[]), 'users')
            AND must_hold((SELECT count(*) FROM recorded) = cardinality($2::uuid[]), 'keys')
            AND (cardinality($27::bigint[]) = 0 OR must_hold(
                take_carts($27::bigint[], $28::bigint[], $29::bigint[], $30::text[], $31::integer[]), 'carts'))
            AND must_hold((SELECT count(*) FROM taken) = cardinality($25::text[]), 'allotments') AS "holds!"
        FROM clock
        "#,
        hold.as_seconds_f64(),
        &rows.order_ids,
        &rows.user_ids,
        &rows.epochs,
        &rows.keys as &[&str],
        &rows.hashes as &[&[u8]],
        &rows.payment_tokens as &[&str],
        &rows.currencies as &[&str],
        &rows.subtotals,
        &rows.shippings,
        &rows.totals,
        &rows.catalog_versions,
        &rows.addresses,
        &rows.emails as &[Option<&str>],
        topic,
        kind,
        &rows.event_ids,
        &rows.payloads as _,
        &rows.traces as &[Option<&str>],
        &lines.orders,
        &lines.skus as &[&str],
        &lines.titles as &[&str],
        &lines.quantities,
        &lines.prices,
        &take_skus as &[&str],
        &take_units,
        &carts.users,
        &carts.versions,
        &carts.item_users,
        &carts.item_skus as &[&str],
        &carts.item_quantities,
        &slots,
        &rows.deliveries as &[Option<serde_json::Value>],
        &rows.phones as &[Option<&str>],
    )
    .fetch_one(conn)
    .await?;
    Ok(Times { created_at: row.created_at, expires_at: row.expires_at })
}

/// A batch of orders, column by column.
#[derive(Default)]
struct OrderRows<'a> {
    order_ids: Vec<uuid::Uuid>,
    user_ids: Vec<i64>,
    epochs: Vec<i32>,
    keys: Vec<&'a str>,
    hashes: Vec<&'a [u8]>,
    payment_tokens: Vec<&'a str>,
    currencies: Vec<&'a str>,
    subtotals: Vec<i64>,
    shippings: Vec<i64>,
    totals: Vec<i64>,
    catalog_versions: Vec<i64>,
    addresses: Vec<serde_json::Value>,
    emails: Vec<Option<&'a str>>,
    deliveries: Vec<Option<serde_json::Value>>,
    phones: Vec<Option<&'a str>>,
    event_ids: Vec<uuid::Uuid>,
    payloads: Vec<&'a serde_json::Value>,
    traces: Vec<Option<&'a str>>,
}

impl<'a> OrderRows<'a> {
    fn of(orders: &[&'a AdmitOrder]) -> Result<Self, StoreError> {
        let mut rows = Self::default();
        for order in orders {
            let AdmitOrder { wanted: Wanted { checked, priced, .. }, event, .. } = order;
            rows.order_ids.push(order.order_id.as_uuid());
            rows.user_ids.push(order.user_id.as_i64());
            rows.epochs.push(order.epoch.try_into().unwrap_or(i32::MAX));
            rows.keys.push(order.key.as_str());
            rows.hashes.push(&order.request_hash);
            rows.payment_tokens.push(&checked.payment_token);
            rows.currencies.push(priced.total.currency().code());
            rows.subtotals.push(priced.subtotal.minor());
            rows.shippings.push(priced.shipping.minor());
            rows.totals.push(priced.total.minor());
            rows.catalog_versions.push(signed("versions.version", priced.catalog_version)?);
            // Plain strings: serialising cannot fail.
            rows.addresses.push(serde_json::to_value(&checked.shipping_address).unwrap_or_default());
            rows.emails.push(checked.email.as_ref().map(shared::EmailAddress::as_str));
            // Plain strings and numbers: serialising cannot fail.
            rows.deliveries.push(priced.delivery.as_ref().and_then(|delivery| serde_json::to_value(delivery).ok()));
            rows.phones.push(checked.phone.as_ref().map(shared::PhoneNumber::as_str));
            rows.event_ids.push(event.event_id.as_uuid());
            rows.payloads.push(&event.payload);
            rows.traces.push(event.traceparent.as_deref());
        }
        Ok(rows)
    }
}

/// The lines of a batch, column by column.
#[derive(Default)]
struct LineRows<'a> {
    orders: Vec<uuid::Uuid>,
    skus: Vec<&'a str>,
    titles: Vec<&'a str>,
    quantities: Vec<i32>,
    prices: Vec<i64>,
}

impl<'a> LineRows<'a> {
    fn of(orders: &[&'a AdmitOrder]) -> Self {
        let mut rows = Self::default();
        for order in orders {
            for line in &order.priced.lines {
                rows.orders.push(order.order_id.as_uuid());
                rows.skus.push(line.sku.as_str());
                rows.titles.push(&line.title);
                rows.quantities.push(line.quantity.units().cast_signed());
                rows.prices.push(line.unit_price.minor());
            }
        }
        rows
    }
}

/// The carts that a batch takes, column by column.
#[derive(Default)]
struct CartRows<'a> {
    users: Vec<i64>,
    versions: Vec<i64>,
    item_users: Vec<i64>,
    item_skus: Vec<&'a str>,
    item_quantities: Vec<i32>,
}

impl<'a> CartRows<'a> {
    fn of(orders: &[&'a AdmitOrder]) -> Result<Self, StoreError> {
        let mut rows = Self::default();
        for order in orders {
            let Some(version) = order.checked.cart_version else { continue };
            rows.users.push(order.user_id.as_i64());
            rows.versions.push(signed("carts.version", version)?);
            for (sku, quantity) in &order.checked.items {
                rows.item_users.push(order.user_id.as_i64());
                rows.item_skus.push(sku.as_str());
                rows.item_quantities.push(quantity.units().cast_signed());
            }
        }
        Ok(rows)
    }
}

fn signed(what: &'static str, number: u64) -> Result<i64, StoreError> {
    i64::try_from(number).map_err(|_| StoreError::corrupt(what, number))
}

/// SKUs of a batch, each once, in the order in which everybody locks them.
pub(crate) fn skus<'a>(orders: impl Iterator<Item = &'a AdmitOrder>) -> Vec<&'a Sku> {
    let mut skus: Vec<&Sku> = orders.flat_map(|order| order.checked.items.keys()).collect();
    skus.sort_unstable();
    skus.dedup();
    skus
}
