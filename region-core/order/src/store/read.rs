//! Orders as their owner sees them.

use std::collections::{BTreeMap, HashMap};

use region_core_store::StoreError;
use shared::api::order::{
    Address, ChosenDelivery, LineItem, Order, OrderStatus, OrderSummary, PaymentStatus, state_tag,
};
use shared::{Currency, EmailAddress, Money, OrderId, PhoneNumber, Quantity, Sku, UserId};
use sqlx::PgConnection;
use sqlx::types::Json;
use time::OffsetDateTime;

use super::lines::Lines;

struct OrderRow {
    order_id: uuid::Uuid,
    user_id: i64,
    status: String,
    cancel_reason: Option<String>,
    payment: String,
    currency: String,
    subtotal_minor: i64,
    shipping_minor: i64,
    total_minor: i64,
    shipping_address: Json<Address>,
    email: Option<String>,
    delivery: Option<Json<ChosenDelivery>>,
    phone: Option<String>,
    version: i64,
    created_at: OffsetDateTime,
    expires_at: OffsetDateTime,
}

/// The order, if it is `caller`'s: his own, or a guest's that he was before he signed in.
pub(crate) async fn find(
    conn: &mut PgConnection,
    kept: &Lines,
    order: OrderId,
    caller: UserId,
) -> Result<Option<Order>, StoreError> {
    find_for(conn, kept, order, Some(caller)).await
}

/// The order, whosever it is.
pub(crate) async fn find_any(
    conn: &mut PgConnection,
    kept: &Lines,
    order: OrderId,
) -> Result<Option<Order>, StoreError> {
    find_for(conn, kept, order, None).await
}

async fn find_for(
    conn: &mut PgConnection,
    kept: &Lines,
    order: OrderId,
    caller: Option<UserId>,
) -> Result<Option<Order>, StoreError> {
    let row = sqlx::query_as!(
        OrderRow,
        r#"
        SELECT order_id, user_id, status, cancel_reason, payment, currency, subtotal_minor, shipping_minor, total_minor,
            shipping_address AS "shipping_address: Json<Address>", email, delivery AS "delivery: Json<ChosenDelivery>",
            phone, version, created_at, expires_at
        FROM orders
        WHERE order_id = $1 AND ($2::bigint IS NULL OR user_id = $2 OR EXISTS (
            SELECT FROM user_aliases WHERE user_aliases.guest_id = orders.user_id AND user_aliases.user_id = $2))
        "#,
        order.as_uuid(),
        caller.map(UserId::as_i64),
    )
    .fetch_optional(&mut *conn)
    .await?;
    let Some(row) = row else { return Ok(None) };
    let currency = currency(&row.currency)?;
    let lines = kept.of(conn, order, currency).await?;
    let mut found = row.into_order(currency, lines)?;
    if caller.is_some() && waits_for_shopper(found.status, found.payment) {
        found.next_action = region_core_payment::find_next_action(conn, order).await?;
    }
    if has_parcels(found.status) {
        found.shipments = region_core_shipping::list(conn, order).await?;
        found.returns = region_core_shipping::returns::list(conn, order).await?;
    }
    Ok(Some(found))
}

/// Where the order stands, as [`Order::state_tag`] has it, if it is `owner`'s; anybody's if none is named. Reads neither lines
/// nor address.
pub(crate) async fn state(
    conn: &mut PgConnection,
    order: OrderId,
    owner: Option<UserId>,
) -> Result<Option<String>, StoreError> {
    let row = sqlx::query!(
        r#"
        SELECT status, payment, version FROM orders
        WHERE order_id = $1 AND ($2::bigint IS NULL OR user_id = $2 OR EXISTS (
            SELECT FROM user_aliases WHERE user_aliases.guest_id = orders.user_id AND user_aliases.user_id = $2))
        "#,
        order.as_uuid(),
        owner.map(UserId::as_i64),
    )
    .fetch_optional(&mut *conn)
    .await?;
    let Some(row) = row else { return Ok(None) };
    let (status, payment) = (status(&row.status)?, payment(&row.payment)?);
    let said_of_goods = if has_parcels(status) { region_core_shipping::count_said(conn, order).await? } else { 0 };
    let asked = if owner.is_some() && waits_for_shopper(status, payment) {
        region_core_payment::find_next_action(conn, order).await?
    } else {
        None
    };
    let version = u64::try_from(row.version).map_err(|_| StoreError::corrupt("orders.version", row.version))?;
    Ok(Some(state_tag(version, payment, said_of_goods.unsigned_abs(), asked.as_ref())))
}

/// Whether its shopper is to do something for its payment: that is told to him alone.
fn waits_for_shopper(status: OrderStatus, payment: PaymentStatus) -> bool {
    status == OrderStatus::Pending && payment == PaymentStatus::ChallengeRequired
}

/// Whether some of it has left.
const fn has_parcels(status: OrderStatus) -> bool {
    matches!(status, OrderStatus::Shipped | OrderStatus::Delivered)
}

/// Units that the order's lines ordered.
pub(crate) async fn ordered(conn: &mut PgConnection, order: OrderId) -> Result<BTreeMap<Sku, Quantity>, StoreError> {
    let rows = sqlx::query!("SELECT sku, quantity FROM line_items WHERE order_id = $1", order.as_uuid());
    rows.fetch_all(conn).await?.into_iter().map(|row| Ok((sku(&row.sku)?, quantity(row.quantity)?))).collect()
}

/// Where the order goes.
pub(crate) async fn destination(conn: &mut PgConnection, order: OrderId) -> Result<Option<Address>, StoreError> {
    let address = sqlx::query_scalar!(
        r#"SELECT shipping_address AS "address: Json<Address>" FROM orders WHERE order_id = $1"#,
        order.as_uuid(),
    );
    Ok(address.fetch_optional(conn).await?.map(|Json(address)| address))
}

/// Where to write to about these orders; those that named no address are left out.
pub(crate) async fn addresses(
    conn: &mut PgConnection,
    orders: &[OrderId],
) -> Result<HashMap<OrderId, EmailAddress>, StoreError> {
    let ids: Vec<_> = orders.iter().map(|order| order.as_uuid()).collect();
    let rows = sqlx::query!(
        r#"SELECT order_id, email AS "email!" FROM orders WHERE order_id = ANY ($1) AND email IS NOT NULL"#,
        &ids,
    )
    .fetch_all(conn)
    .await?;
    let address = |email: String| email.parse().map_err(|error| StoreError::corrupt("orders.email", error));
    rows.into_iter().map(|row| Ok((OrderId::from_uuid(row.order_id), address(row.email)?))).collect()
}

/// Where to text about these orders; those that named no number are left out.
pub(crate) async fn phones(
    conn: &mut PgConnection,
    orders: &[OrderId],
) -> Result<HashMap<OrderId, PhoneNumber>, StoreError> {
    let ids: Vec<_> = orders.iter().map(|order| order.as_uuid()).collect();
    let rows = sqlx::query!(
        r#"SELECT order_id, phone AS "phone!" FROM orders WHERE order_id = ANY ($1) AND phone IS NOT NULL"#,
        &ids,
    )
    .fetch_all(conn)
    .await?;
    rows.into_iter().map(|row| Ok((OrderId::from_uuid(row.order_id), phone(&row.phone)?))).collect()
}

/// Without the number: errors are logged.
fn phone(number: &str) -> Result<PhoneNumber, StoreError> {
    number.parse().map_err(|error| StoreError::corrupt("orders.phone", error))
}

/// What these orders came to.
pub(crate) async fn totals(conn: &mut PgConnection, orders: &[OrderId]) -> Result<HashMap<OrderId, Money>, StoreError> {
    let ids: Vec<_> = orders.iter().map(|order| order.as_uuid()).collect();
    let rows = sqlx::query!("SELECT order_id, currency, total_minor FROM orders WHERE order_id = ANY ($1)", &ids)
        .fetch_all(conn)
        .await?;
    let total = |currency_code: &str, minor| money("orders.total_minor", minor, currency(currency_code)?);
    rows.into_iter().map(|row| Ok((OrderId::from_uuid(row.order_id), total(&row.currency, row.total_minor)?))).collect()
}

impl OrderRow {
    fn into_order(self, currency: Currency, lines: Vec<LineItem>) -> Result<Order, StoreError> {
        Ok(Order {
            order_id: OrderId::from_uuid(self.order_id),
            user_id: UserId::from_i64(self.user_id).map_err(|error| StoreError::corrupt("orders.user_id", error))?,
            status: status(&self.status)?,
            cancel_reason: self.cancel_reason,
            payment: payment(&self.payment)?,
            next_action: None,
            lines,
            subtotal: money("orders.subtotal_minor", self.subtotal_minor, currency)?,
            shipping: money("orders.shipping_minor", self.shipping_minor, currency)?,
            total: money("orders.total_minor", self.total_minor, currency)?,
            shipping_address: self.shipping_address.0,
            email: self
                .email
                .map(|email| email.parse())
                .transpose()
                .map_err(|error| StoreError::corrupt("orders.email", error))?,
            delivery: self.delivery.map(|Json(delivery)| delivery),
            phone: self.phone.as_deref().map(phone).transpose()?,
            shipments: Vec::new(),
            returns: Vec::new(),
            version: u64::try_from(self.version).map_err(|_| StoreError::corrupt("orders.version", self.version))?,
            created_at: self.created_at,
            expires_at: self.expires_at,
        })
    }
}

/// Up to `most` of the caller's orders in this shard that are older than `before`, newest first.
pub(crate) async fn list(
    conn: &mut PgConnection,
    caller: UserId,
    before: Option<OrderId>,
    most: i64,
) -> Result<Vec<OrderSummary>, StoreError> {
    let rows = sqlx::query!(
        r#"
        SELECT order_id, status, currency, total_minor, created_at,
            (SELECT sum(quantity) FROM line_items WHERE line_items.order_id = orders.order_id) AS "units!"
        FROM orders
        WHERE user_id IN (SELECT $1::bigint UNION ALL SELECT guest_id FROM user_aliases WHERE user_aliases.user_id = $1)
            AND order_id < coalesce($2, 'ffffffff-ffff-ffff-ffff-ffffffffffff'::uuid)
        ORDER BY order_id DESC LIMIT $3
        "#,
        caller.as_i64(),
        before.map(OrderId::as_uuid),
        most,
    )
    .fetch_all(conn)
    .await?;
    rows.into_iter()
        .map(|row| {
            Ok(OrderSummary {
                order_id: OrderId::from_uuid(row.order_id),
                status: status(&row.status)?,
                total: money("orders.total_minor", row.total_minor, currency(&row.currency)?)?,
                units: u64::try_from(row.units).map_err(|_| StoreError::corrupt("line_items.quantity", row.units))?,
                created_at: row.created_at,
            })
        })
        .collect()
}

pub(crate) fn currency(code: &str) -> Result<Currency, StoreError> {
    code.parse().map_err(|error| StoreError::corrupt("orders.currency", error))
}

pub(crate) fn money(what: &'static str, minor: i64, currency: Currency) -> Result<Money, StoreError> {
    Money::new(minor, currency).map_err(|error| StoreError::corrupt(what, error))
}

pub(super) fn sku(text: &str) -> Result<Sku, StoreError> {
    text.parse().map_err(|_| StoreError::corrupt("line_items.sku", text))
}

pub(super) fn quantity(units: i32) -> Result<Quantity, StoreError> {
    Quantity::new(i64::from(units)).map_err(|error| StoreError::corrupt("line_items.quantity", error))
}

pub(crate) fn status(text: &str) -> Result<OrderStatus, StoreError> {
    match text {
        "PENDING" => Ok(OrderStatus::Pending),
        "CONFIRMED" => Ok(OrderStatus::Confirmed),
        "SHIPPED" => Ok(OrderStatus::Shipped),
        "DELIVERED" => Ok(OrderStatus::Delivered),
        "CANCELLED" => Ok(OrderStatus::Cancelled),
        other => Err(StoreError::corrupt("orders.status", other)),
    }
}

pub(crate) fn payment(text: &str) -> Result<PaymentStatus, StoreError> {
    match text {
        "processing" => Ok(PaymentStatus::Processing),
        "challenge_required" => Ok(PaymentStatus::ChallengeRequired),
        "captured" => Ok(PaymentStatus::Captured),
        "declined" => Ok(PaymentStatus::Declined),
        "voided" => Ok(PaymentStatus::Voided),
        "refunded" => Ok(PaymentStatus::Refunded),
        other => Err(StoreError::corrupt("orders.payment", other)),
    }
}
