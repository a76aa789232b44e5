//! Orders that something speaks against: who keeps the store lets one go on, or cancels it (`cancel.rs`).

use region_core_events::contract::OrderClaimed;
use region_core_events::{NewEvent, append};
use region_core_store::own_slot;
use shared::api::order::Order;
use shared::{OrderId, UserId};
use sqlx::PgConnection;

use crate::error::OrderError;
use crate::orders::Orders;
use crate::store::desk::{self, Action};
use crate::store::{progress, review};

impl Orders {
    /// Lets an order go on that waits for a person: its units are its own, and its money may move. Repeats are harmless. The
    /// caller has checked that `by` keeps the store.
    ///
    /// # Errors
    /// [`OrderError::NotFound`]; [`OrderError::NotHeld`] if it does not wait, or waited too long. Nothing is changed then.
    #[tracing::instrument(name = "order.release", skip_all, fields(order.id = %order))]
    pub async fn release(&self, order: OrderId, by: UserId) -> Result<Order, OrderError> {
        let seen = self.existing(order).await?;
        let (parts, speaker) = (self.parts(), self.clone());
        let shard = parts.shards.here(order.slot())?;
        let work = async move |conn: &mut PgConnection| release_in(conn, &speaker, order, by).await;
        if shard.turn().write("order.release", work).await? {
            parts.wakes.of(shard.id()).notify();
            metrics::counter!("orders_released_total").increment(1);
            return self.existing(order).await;
        }
        let before = review::find(&mut *shard.read().await?, order).await?;
        let released = before.is_some_and(|review| review.decision.as_deref() == Some("released"));
        if released { Ok(seen) } else { Err(OrderError::NotHeld(seen.status)) }
    }
}

/// Whether it waited. One that waited too long is refused whole, and its review stays as it is.
async fn release_in(conn: &mut PgConnection, orders: &Orders, order: OrderId, by: UserId) -> Result<bool, OrderError> {
    own_slot(conn, order.slot()).await?;
    // In the order in which everybody locks: the order's row, then its review, then its units.
    let Some(status) = progress::lock_one(conn, order).await? else { return Err(OrderError::NotFound) };
    if !review::release(conn, order, by).await? {
        return Ok(false);
    }
    let claimed = progress::claim(conn, &[order]).await?;
    let Some(moved) = claimed.first() else { return Err(OrderError::NotHeld(status)) };
    desk::note(conn, order, by, Action::Release, "").await?;
    let event = NewEvent::new(orders.mint_event(), moved.version, &OrderClaimed { order_id: order });
    region_core_inventory::lock(conn, &[order]).await?;
    region_core_inventory::claim(conn, &[order]).await?;
    append(conn, &[event]).await?;
    Ok(true)
}
