//! Sending an order's parcels and noting their arrival, for who keeps the store. Whoever calls has checked that he does.

use std::collections::BTreeMap;

use region_core_events::contract::{OrderDelivered, OrderShipped, ShipmentDelivered, ShipmentSent};
use region_core_events::{NewEvent, append};
use region_core_shipping::{Arrival, Line, NewParcel, pack};
use region_core_store::{StoreError, own_slot};
use shared::api::order::{NewShipment, Order, OrderStatus, Shipment};
use shared::{IdempotencyKey, OrderId, Quantity, ShipmentId, Sku, UserId};
use sqlx::PgConnection;

use crate::error::OrderError;
use crate::orders::Orders;
use crate::rules::CheckedShipment;
use crate::store::desk::{self, Action};
use crate::store::{progress, read};

/// A parcel that has left.
#[derive(Clone, Debug)]
pub struct Sent {
    /// As it is now.
    pub shipment: Shipment,
    /// Whether an earlier request under the same key sent it.
    pub replayed: bool,
}

/// A parcel that is asked for.
struct Wanted {
    order: OrderId,
    shipment: ShipmentId,
    key: IdempotencyKey,
    by: UserId,
    checked: CheckedShipment,
}

impl Orders {
    /// Sends a parcel of a paid order, once under its key: its units have left, and with the first one the order is SHIPPED
    /// and can no longer be cancelled.
    ///
    /// # Errors
    /// [`OrderError::NotPaid`] unless CONFIRMED or SHIPPED, [`OrderError::Parcel`] if it would hold what was not ordered or
    /// has left, [`OrderError::KeyReused`], [`OrderError::NotFound`]; nothing is changed then.
    #[tracing::instrument(name = "order.ship", skip_all, fields(order.id = %order))]
    pub async fn ship(
        &self,
        order: OrderId,
        key: IdempotencyKey,
        by: UserId,
        body: NewShipment,
    ) -> Result<Sent, OrderError> {
        let checked = CheckedShipment::check(body)?;
        let shard = self.parts().shards.here(order.slot())?;
        let (orders, wanted) = (self.clone(), Wanted { order, shipment: self.mint_shipment(order), key, by, checked });
        let work = async move |conn: &mut PgConnection| send_in(conn, &orders, &wanted).await;
        let (shipment, replayed) = shard.write("order.ship", work).await?;
        if !replayed {
            self.parts().wakes.of(shard.id()).notify();
            metrics::counter!("shipments_sent_total").increment(1);
        }
        let parcels = region_core_shipping::list(&mut *shard.read().await?, order).await?;
        let shipment = parcels.into_iter().find(|parcel| parcel.shipment_id == shipment);
        Ok(Sent { shipment: shipment.ok_or(OrderError::NotFound)?, replayed })
    }

    /// Notes that a parcel has arrived; with the last one of a whole order it is DELIVERED. Repeats are harmless.
    ///
    /// # Errors
    /// [`OrderError::NotFound`] if the order has no such parcel.
    #[tracing::instrument(name = "order.deliver", skip_all, fields(order.id = %order))]
    pub async fn deliver(&self, order: OrderId, shipment: ShipmentId, by: UserId) -> Result<Order, OrderError> {
        let shard = self.parts().shards.here(order.slot())?;
        let orders = self.clone();
        let work = async move |conn: &mut PgConnection| deliver_in(conn, &orders, order, shipment, by).await;
        if shard.write("order.deliver", work).await? {
            self.parts().wakes.of(shard.id()).notify();
            metrics::counter!("shipments_delivered_total").increment(1);
        }
        self.existing(order).await
    }

    fn say<P: region_core_events::contract::Payload>(&self, version: i64, payload: &P) -> NewEvent {
        NewEvent::new(self.mint_event(), version, payload)
    }
}

/// The parcel under the key, and whether it had left before.
async fn send_in(conn: &mut PgConnection, orders: &Orders, wanted: &Wanted) -> Result<(ShipmentId, bool), OrderError> {
    let Wanted { order, shipment, key, by, checked } = wanted;
    own_slot(conn, order.slot()).await?;
    // From here on nobody cancels it, and parcels of one order come one after the other.
    let status = progress::lock_one(conn, *order).await?.ok_or(OrderError::NotFound)?;
    let request_hash = checked.request_hash();
    if let Some(known) = region_core_shipping::find_key(conn, *order, key).await? {
        let same = known.request_hash == request_hash;
        return if same { Ok((known.shipment_id, true)) } else { Err(OrderError::KeyReused) };
    }
    if !matches!(status, OrderStatus::Confirmed | OrderStatus::Shipped) {
        return Err(OrderError::NotPaid(status));
    }
    let ordered = read::ordered(conn, *order).await?;
    let lines = lines(conn, *order, &ordered).await?;
    let units = pack(&lines, checked.items.as_ref())?;
    let parcel = NewParcel {
        shipment_id: *shipment,
        order_id: *order,
        key,
        request_hash,
        carrier: &checked.carrier,
        tracking_code: checked.tracking_code.as_deref(),
        tracking_url: checked.tracking_url.as_deref(),
        units: &units,
        ordered: &ordered,
    };
    region_core_shipping::send(conn, &parcel).await?;
    desk::note(conn, *order, *by, Action::Ship, &checked.carrier).await?;
    let whole = lines.iter().all(|(sku, line)| line.left() == units.get(sku).map_or(0, |units| units.units()));
    say_sent(conn, orders, &parcel, whole).await?;
    Ok((*shipment, false))
}

async fn lines(
    conn: &mut PgConnection,
    order: OrderId,
    ordered: &BTreeMap<Sku, Quantity>,
) -> Result<BTreeMap<Sku, Line>, StoreError> {
    let sent = region_core_shipping::sent(conn, order).await?;
    let line = |(sku, ordered): (&Sku, &Quantity)| {
        (sku.clone(), Line { ordered: *ordered, sent: sent.get(sku).copied().unwrap_or_default() })
    };
    Ok(ordered.iter().map(line).collect())
}

async fn say_sent(
    conn: &mut PgConnection,
    orders: &Orders,
    parcel: &NewParcel<'_>,
    whole: bool,
) -> Result<(), StoreError> {
    let order_id = parcel.order_id;
    let moved = progress::ship(conn, order_id).await?;
    let sent = ShipmentSent {
        order_id,
        shipment_id: parcel.shipment_id,
        carrier: parcel.carrier.to_owned(),
        tracking_code: parcel.tracking_code.map(ToOwned::to_owned),
        tracking_url: parcel.tracking_url.map(ToOwned::to_owned),
        whole,
    };
    let version = region_core_shipping::count_events(conn, order_id).await?;
    let mut said = vec![orders.say(version, &sent)];
    said.extend(moved.map(|moved| orders.say(moved.version, &OrderShipped { order_id })));
    append(conn, &said).await
}

/// Whether it was news.
async fn deliver_in(
    conn: &mut PgConnection,
    orders: &Orders,
    order: OrderId,
    shipment: ShipmentId,
    by: UserId,
) -> Result<bool, OrderError> {
    own_slot(conn, order.slot()).await?;
    progress::lock_one(conn, order).await?.ok_or(OrderError::NotFound)?;
    match region_core_shipping::deliver(conn, order, shipment).await? {
        Arrival::Unknown => return Err(OrderError::NotFound),
        Arrival::Repeated => return Ok(false),
        Arrival::Noted => {}
    }
    desk::note(conn, order, by, Action::Deliver, "").await?;
    let version = region_core_shipping::count_events(conn, order).await?;
    let mut said = vec![orders.say(version, &ShipmentDelivered { order_id: order, shipment_id: shipment })];
    if region_core_shipping::is_whole(conn, order).await? {
        let moved = progress::deliver(conn, order).await?;
        said.extend(moved.map(|moved| orders.say(moved.version, &OrderDelivered { order_id: order })));
    }
    append(conn, &said).await?;
    Ok(true)
}
