//! Cancelling by the shopper, as long as nothing has left for him.

use region_core_events::contract::OrderCancelled;
use region_core_events::{NewEvent, append};
use region_core_store::own_slot;
use shared::api::order::{Order, OrderStatus};
use shared::{OrderId, Sku, UserId};
use sqlx::PgConnection;

use crate::error::OrderError;
use crate::orders::Orders;
use crate::store::progress;

/// What the shopper reads on his order.
const REASON: &str = "you cancelled this order";

impl Orders {
    /// Cancels the caller's own order while it is PENDING or CONFIRMED: its units are free again, and what was paid or is kept
    /// ready goes back to him. One that is cancelled already, for whatever reason, stays as it is.
    ///
    /// # Errors
    /// [`OrderError::NotFound`] if it is not his, [`OrderError::Left`] if it has gone to the carrier; nothing is changed then.
    #[tracing::instrument(name = "order.cancel", skip_all, fields(order.id = %order))]
    pub async fn cancel(&self, caller: UserId, order: OrderId) -> Result<Order, OrderError> {
        let seen = self.find(caller, order).await?;
        if seen.status == OrderStatus::Cancelled {
            return Ok(seen);
        }
        let (parts, speaker) = (self.parts(), self.clone());
        let shard = parts.shards.here(order.slot())?;
        let work = async move |conn: &mut PgConnection| call_off_in(conn, &speaker, order).await;
        if let Some(released) = shard.turn().write("order.cancel", work).await? {
            parts.released(shard.id(), &released);
            parts.wakes.of(shard.id()).notify();
            metrics::counter!("orders_cancelled_by_shopper_total").increment(1);
        }
        let now = self.find(caller, order).await?;
        if now.status == OrderStatus::Cancelled { Ok(now) } else { Err(OrderError::Left(now.status)) }
    }
}

/// The SKUs whose units are free again, if the order was there to be cancelled.
async fn call_off_in(conn: &mut PgConnection, orders: &Orders, order: OrderId) -> Result<Option<Vec<Sku>>, OrderError> {
    own_slot(conn, order.slot()).await?;
    let Some(moved) = progress::call_off(conn, order, REASON).await? else { return Ok(None) };
    let released = region_core_inventory::release(conn, &[order]).await?;
    let cancelled = OrderCancelled { order_id: order, reason: REASON.to_owned() };
    append(conn, &[NewEvent::new(orders.mint_event(), moved.version, &cancelled)]).await?;
    Ok(Some(released))
}
