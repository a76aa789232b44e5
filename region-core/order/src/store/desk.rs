//! What the order desk reads and writes down.

use region_core_store::StoreError;
use shared::api::desk::{DeskOrder, Happening, Timeline, TimelineEntry};
use shared::api::order::{OrderStatus, PaymentStatus, Return, ReturnedItem};
use shared::{EmailAddress, OrderId, RegionName, UserId};
use sqlx::PgConnection;
use time::OffsetDateTime;
use uuid::Uuid;

use super::read;
use super::review::{self, Review};

/// What the desk looks for.
#[derive(Clone, Debug)]
pub(crate) enum Wanted<'a> {
    /// The newest.
    All,
    /// This one.
    Order(OrderId),
    /// Those whose number ends so, in lower case, and is no smaller than this: no index has ends, so only so many are read.
    Ending(&'a str, Uuid),
    /// Those whose news go there.
    Email(&'a EmailAddress),
    /// Those that wait for a person.
    Held,
    /// Those of which something is to be sent from this region, which is the shard's own, and whose number is no smaller than
    /// this: no index knows them, so only so many are read.
    FromHere(&'a RegionName, Uuid),
    /// Those of which something is to be sent from this region, which is another.
    FromElsewhere(&'a RegionName),
}

/// Which part of them.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Part {
    pub(crate) status: Option<OrderStatus>,
    pub(crate) before: Option<OrderId>,
    pub(crate) most: i64,
}

struct DeskRow {
    order_id: Uuid,
    status: String,
    payment: String,
    currency: String,
    total_minor: i64,
    units: i64,
    name: String,
    email: Option<String>,
    created_at: OffsetDateTime,
    held: bool,
}

/// Each way of looking has a statement of its own, so that each has the index that fits it. Without an order to begin before,
/// the greatest number there is stands for it: a plan that knows no values goes by the index in either case.
macro_rules! orders {
    ($condition:literal, $part:expr $(, $argument:expr)*) => {
        sqlx::query_as!(
            DeskRow,
            r#"SELECT order_id, status, payment, currency, total_minor, email, created_at,
                   (SELECT coalesce(sum(quantity), 0) FROM line_items WHERE line_items.order_id = orders.order_id) AS "units!",
                   coalesce(shipping_address ->> 'name', '') AS "name!",
                   status = 'PENDING' AND EXISTS (SELECT FROM order_reviews
                       WHERE order_reviews.order_id = orders.order_id AND decision IS NULL) AS "held!"
               FROM orders
               WHERE ($1::text IS NULL OR status = $1) AND order_id < coalesce($2, 'ffffffff-ffff-ffff-ffff-ffffffffffff'::uuid) AND "#
                + $condition
                + " ORDER BY order_id DESC LIMIT $3",
            $part.status.map(name),
            $part.before.map(OrderId::as_uuid),
            $part.most
            $(, $argument)*
        )
    };
}

/// The newest orders of this shard that are wanted.
pub(crate) async fn find(
    conn: &mut PgConnection,
    wanted: &Wanted<'_>,
    part: Part,
) -> Result<Vec<DeskOrder>, StoreError> {
    let rows = match wanted {
        Wanted::All => orders!("true", part).fetch_all(conn).await?,
        Wanted::Order(order) => orders!("order_id = $4", part, order.as_uuid()).fetch_all(conn).await?,
        Wanted::Ending(ending, since) => {
            orders!("right(order_id::text, 8) = $4 AND order_id >= $5", part, *ending, since).fetch_all(conn).await?
        }
        Wanted::Email(email) => orders!("email = $4", part, email.as_str()).fetch_all(conn).await?,
        Wanted::Held => {
            orders!(
                "status = 'PENDING' AND order_id IN (SELECT order_id FROM order_reviews WHERE decision IS NULL)",
                part
            )
            .fetch_all(conn)
            .await?
        }
        // A parcel of which nothing was said, or under a label, leaves from here.
        Wanted::FromHere(region, since) => {
            orders!(
                "status IN ('CONFIRMED', 'SHIPPED') AND order_id >= $5 AND EXISTS (
                     SELECT FROM line_items AS line LEFT JOIN sent_units AS gone USING (order_id, sku)
                     WHERE line.order_id = orders.order_id AND line.quantity > coalesce(gone.sent + gone.labelled, 0)
                       AND line.quantity - (SELECT coalesce(sum(quantity), 0) FROM order_origins AS lies
                                            WHERE lies.order_id = line.order_id AND lies.sku = line.sku)
                           > coalesce(gone.sent + gone.labelled, 0)
                             - (SELECT coalesce(sum(units), 0) FROM parcel_origins JOIN shipment_lines AS packed USING (shipment_id)
                                WHERE parcel_origins.order_id = line.order_id AND region <> $4 AND packed.sku = line.sku))",
                part,
                region.as_str(),
                since
            )
            .fetch_all(conn)
            .await?
        }
        Wanted::FromElsewhere(region) => {
            orders!(
                "status IN ('CONFIRMED', 'SHIPPED') AND order_id IN (
                     SELECT order_id FROM order_origins AS lies JOIN line_items AS line USING (order_id, sku)
                     LEFT JOIN sent_units AS gone USING (order_id, sku)
                     WHERE region = $4 AND line.quantity > coalesce(gone.sent + gone.labelled, 0)
                       AND lies.quantity
                           > (SELECT coalesce(sum(units), 0) FROM parcel_origins JOIN shipment_lines AS packed USING (shipment_id)
                              WHERE parcel_origins.order_id = lies.order_id AND region = $4 AND packed.sku = lies.sku))",
                part,
                region.as_str()
            )
            .fetch_all(conn)
            .await?
        }
    };
    rows.into_iter().map(DeskRow::into_order).collect()
}

impl DeskRow {
    fn into_order(self) -> Result<DeskOrder, StoreError> {
        let email = self.email.map(|email| email.parse()).transpose();
        Ok(DeskOrder {
            order_id: OrderId::from_uuid(self.order_id),
            status: read::status(&self.status)?,
            payment: read::payment(&self.payment)?,
            total: read::money("orders.total_minor", self.total_minor, read::currency(&self.currency)?)?,
            units: u64::try_from(self.units).map_err(|_| StoreError::corrupt("line_items.quantity", self.units))?,
            name: self.name,
            email: email.map_err(|error| StoreError::corrupt("orders.email", error))?,
            created_at: self.created_at,
            held: self.held,
        })
    }
}

const fn name(status: OrderStatus) -> &'static str {
    match status {
        OrderStatus::Pending => "PENDING",
        OrderStatus::Confirmed => "CONFIRMED",
        OrderStatus::Shipped => "SHIPPED",
        OrderStatus::Delivered => "DELIVERED",
        OrderStatus::Cancelled => "CANCELLED",
    }
}

/// What somebody of the store does to an order.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Action {
    Ship,
    Deliver,
    Cancel,
    Return,
    Inspect,
    Release,
    Resend,
    Replay,
    Skip,
    WriteOff,
}

/// Writes down who did what, in the transaction that does it.
pub(crate) async fn note(
    conn: &mut PgConnection,
    order: OrderId,
    actor: UserId,
    action: Action,
    detail: &str,
) -> Result<(), StoreError> {
    let action = match action {
        Action::Ship => "ship",
        Action::Deliver => "deliver",
        Action::Cancel => "cancel",
        Action::Return => "return",
        Action::Inspect => "inspect",
        Action::Release => "release",
        Action::Resend => "resend",
        Action::Replay => "replay",
        Action::Skip => "skip",
        Action::WriteOff => "write_off",
    };
    sqlx::query!(
        "INSERT INTO desk_actions (order_id, actor, action, detail) VALUES ($1, $2, $3, $4)",
        order.as_uuid(),
        actor.as_i64(),
        action,
        detail,
    )
    .execute(conn)
    .await?;
    Ok(())
}

/// All that happened to an order, oldest first; what the store's people did, too, if asked for.
pub(crate) async fn timeline(conn: &mut PgConnection, order: OrderId, with_desk: bool) -> Result<Timeline, StoreError> {
    let steps = sqlx::query!(
        "SELECT status, created_at, claimed_at, confirmed_at, cancelled_at, cancel_reason, payment, payment_at
         FROM orders WHERE order_id = $1",
        order.as_uuid(),
    )
    .fetch_optional(&mut *conn)
    .await?;
    let Some(steps) = steps else { return Ok(Timeline::default()) };
    let entry = |at: Option<OffsetDateTime>, what, detail| Some(TimelineEntry { at: at?, what, detail, actor: None });
    let moved = match read::payment(&steps.payment)? {
        PaymentStatus::Declined => Some(Happening::Declined),
        PaymentStatus::Voided => Some(Happening::Voided),
        PaymentStatus::Refunded => Some(Happening::Refunded),
        PaymentStatus::Processing | PaymentStatus::ChallengeRequired | PaymentStatus::Captured => None,
    };
    let mut all: Vec<TimelineEntry> = [
        entry(Some(steps.created_at), Happening::Placed, None),
        entry(steps.claimed_at, Happening::Authorized, None),
        entry(steps.confirmed_at, Happening::Paid, None),
        entry(steps.cancelled_at, Happening::Cancelled, steps.cancel_reason),
        moved.and_then(|moved| entry(steps.payment_at, moved, None)),
    ]
    .into_iter()
    .flatten()
    .collect();
    for parcel in region_core_shipping::list(conn, order).await? {
        let from = parcel.from.map(|region| format!("from {region}"));
        let told =
            [Some(parcel.carrier), parcel.tracking_code, from].into_iter().flatten().collect::<Vec<_>>().join(", ");
        all.extend(entry(Some(parcel.sent_at), Happening::Sent, Some(told.clone())));
        all.extend(entry(parcel.delivered_at, Happening::Arrived, Some(told)));
    }
    for back in region_core_shipping::returns::list(conn, order).await? {
        all.extend(entry(Some(back.registered_at), Happening::Returned, Some(came_back(&back))));
        all.extend(entry(back.inspected_at, Happening::Inspected, Some(found(&back))));
    }
    all.extend(refunds(conn, order, with_desk).await?);
    let mut held = false;
    if with_desk {
        if let Some(found) = review::find(conn, order).await? {
            held = found.decision.is_none() && steps.status == "PENDING";
            all.push(reviewed(found));
        }
        for (at, parcel) in region_core_shipping::list_strayed_labels(conn, order).await? {
            all.extend(entry(Some(at), Happening::Strayed, Some(parcel)));
        }
        all.extend(actions(conn, order).await?);
    }
    all.sort_by_key(|entry| entry.at);
    Ok(Timeline { items: all, held })
}

/// What spoke against the order, for who keeps the store.
fn reviewed(found: Review) -> TimelineEntry {
    let Review { score, reasons, asked_at, decision, by_somebody } = found;
    let what = match decision.as_deref() {
        None => "waits for a decision",
        Some("refused") if !by_somebody => "refused by the rules",
        Some("refused") => "waited for a decision and was refused",
        Some("withdrawn") => "withdrawn by its shopper while it waited",
        Some("lapsed") => "ended before anybody decided",
        Some(_) => "waited for a decision",
    };
    let reasons: Vec<String> = reasons.iter().map(|reason| reason.replace('_', " ")).collect();
    let detail = format!("{what}: {} ({score} points)", reasons.join(", "));
    TimelineEntry { at: asked_at, what: Happening::Reviewed, detail: Some(detail), actor: None }
}

fn came_back(back: &Return) -> String {
    let held = |item: &ReturnedItem| format!("{} × {}", item.quantity, item.sku);
    let items = back.items.iter().map(held).collect::<Vec<_>>().join(", ");
    format!("{items}: {}", back.reason)
}

fn found(back: &Return) -> String {
    let all: u32 = back.items.iter().map(|item| item.quantity.units()).sum();
    let restocked: u32 = back.items.iter().filter_map(|item| item.restocked).sum();
    format!("{restocked} for sale again, {} written off", all.saturating_sub(restocked))
}

/// Parts of its payment that went back; to who keeps the store also those that the provider refused.
async fn refunds(conn: &mut PgConnection, order: OrderId, with_desk: bool) -> Result<Vec<TimelineEntry>, StoreError> {
    let rows = sqlx::query!(
        r#"SELECT state = 'refunded' AS "through!", currency, amount_minor, reason, last_error, changed_at
           FROM refunds WHERE order_id = $1 AND (state = 'refunded' OR ($2 AND state = 'refused'))"#,
        order.as_uuid(),
        with_desk,
    );
    let rows = rows.fetch_all(conn).await?;
    rows.into_iter()
        .map(|row| {
            let amount = read::money("refunds.amount_minor", row.amount_minor, read::currency(&row.currency)?)?;
            let (what, why) = if row.through {
                (Happening::PartRefunded, row.reason)
            } else {
                (Happening::RefundRefused, row.last_error.unwrap_or_default())
            };
            Ok(TimelineEntry { at: row.changed_at, what, detail: Some(format!("{amount}, {why}")), actor: None })
        })
        .collect()
}

async fn actions(conn: &mut PgConnection, order: OrderId) -> Result<Vec<TimelineEntry>, StoreError> {
    let rows = sqlx::query!(
        "SELECT actor, action, detail, at FROM desk_actions WHERE order_id = $1 ORDER BY action_id",
        order.as_uuid(),
    );
    let entry = |(at, actor, action, detail): (OffsetDateTime, i64, String, String)| {
        let actor = UserId::from_i64(actor).map_err(|error| StoreError::corrupt("desk_actions.actor", error))?;
        let detail = if detail.is_empty() { action } else { format!("{action}: {detail}") };
        Ok(TimelineEntry { at, what: Happening::Desk, detail: Some(detail), actor: Some(actor) })
    };
    let rows = rows.fetch_all(conn).await?;
    rows.into_iter().map(|row| entry((row.at, row.actor, row.action, row.detail))).collect()
}
