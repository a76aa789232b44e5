//! Cancelling by the shopper or by who keeps the store, as long as nothing has left, and what follows from every cancellation.

use region_core_events::contract::OrderCancelled;
use region_core_events::{NewEvent, append};
use region_core_store::{StoreError, own_slot};
use shared::api::order::{Order, OrderStatus};
use shared::{OrderId, Sku, UserId};
use sqlx::PgConnection;

use crate::error::OrderError;
use crate::orders::Orders;
use crate::rules::checked_reason;
use crate::store::desk::{self, Action};
use crate::store::progress::{self, Cancelled};
use crate::store::review::{self, End};

/// What the shopper reads on his order.
const REASON: &str = "you cancelled this order";

impl Orders {
    /// Cancels the caller's own order while it is PENDING or CONFIRMED: its units are free again, and what was paid or is kept
    /// ready goes back to him. One that is cancelled already, for whatever reason, stays as it is.
    ///
    /// # Errors
    /// [`OrderError::NotFound`] if it is not his, [`OrderError::Left`] if it has gone to the carrier, [`OrderError::Labelled`] while
    /// it is made ready for that; nothing is changed then.
    pub async fn cancel(&self, caller: UserId, order: OrderId) -> Result<Order, OrderError> {
        let seen = self.find(caller, order).await?;
        self.call_off(seen, REASON.to_owned(), None).await
    }

    /// The same for whosever order, with a reason that its shopper reads: for who keeps the store, which the caller has checked.
    ///
    /// # Errors
    /// [`OrderError::Invalid`] for a reason that says nothing or too much, [`OrderError::NotFound`], [`OrderError::Left`],
    /// [`OrderError::Labelled`].
    pub async fn cancel_any(&self, order: OrderId, by: UserId, reason: &str) -> Result<Order, OrderError> {
        let reason = checked_reason(reason)?;
        let seen = self.existing(order).await?;
        self.call_off(seen, reason, Some(by)).await
    }

    #[tracing::instrument(name = "order.cancel", skip_all, fields(order.id = %seen.order_id))]
    async fn call_off(&self, seen: Order, reason: String, keeper: Option<UserId>) -> Result<Order, OrderError> {
        if seen.status == OrderStatus::Cancelled {
            return Ok(seen);
        }
        let (parts, speaker, order) = (self.parts(), self.clone(), seen.order_id);
        let shard = parts.shards.here(order.slot())?;
        let work = async move |conn: &mut PgConnection| call_off_in(conn, &speaker, order, &reason, keeper).await;
        if let Some(released) = shard.turn().write("order.cancel", work).await? {
            parts.released(shard.id(), &released);
            parts.wakes.of(shard.id()).notify();
            let by = if keeper.is_some() { "store" } else { "shopper" };
            metrics::counter!("orders_cancelled_total", "by" => by).increment(1);
        }
        let now = self.existing(order).await?;
        if now.status == OrderStatus::Cancelled { Ok(now) } else { Err(OrderError::Left(now.status)) }
    }
}

/// The SKUs whose units are free again, if the order was there to be cancelled.
async fn call_off_in(
    conn: &mut PgConnection,
    orders: &Orders,
    order: OrderId,
    reason: &str,
    keeper: Option<UserId>,
) -> Result<Option<Vec<Sku>>, OrderError> {
    own_slot(conn, order.slot()).await?;
    // A statement of its own: whoever waited for the lock must see the label that the other has asked for.
    progress::lock_one(conn, order).await?.ok_or(OrderError::NotFound)?;
    if region_core_shipping::has_live_label(conn, order).await? {
        return Err(OrderError::Labelled);
    }
    let Some(moved) = progress::call_off(conn, order, reason).await? else { return Ok(None) };
    if let Some(keeper) = keeper {
        desk::note(conn, order, keeper, Action::Cancel, reason).await?;
    }
    let moved = Cancelled { moved, reason: reason.to_owned() };
    ended(conn, orders, &[moved], keeper.map_or(End::Withdrawn, End::Refused)).await.map(Some).map_err(Into::into)
}

/// Frees the units of orders that were just cancelled, and says so; reviews that waited have this end. Tells of which SKUs.
pub(crate) async fn ended(
    conn: &mut PgConnection,
    orders: &Orders,
    cancelled: &[Cancelled],
    end: End,
) -> Result<Vec<Sku>, StoreError> {
    let ids: Vec<OrderId> = cancelled.iter().map(|order| order.moved.order_id).collect();
    review::end(conn, &ids, end).await?;
    let released = region_core_inventory::release(conn, &ids).await?;
    let said = |Cancelled { moved, reason }: &Cancelled| {
        let event = OrderCancelled { order_id: moved.order_id, reason: reason.clone() };
        NewEvent::new(orders.mint_event(), moved.version, &event)
    };
    append(conn, &cancelled.iter().map(said).collect::<Vec<_>>()).await?;
    Ok(released)
}
