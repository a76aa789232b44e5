//! Sending an order's parcels and noting their arrival, for who keeps the store and for what a carrier saw. Whoever calls has checked
//! that he may.
//!
//! A parcel goes by hand, and has left when that is said; or under a label, and has left when the carrier has scanned it or who
//! keeps the store says so. Until then its units are kept for it, and its order is not called off.

use std::collections::BTreeMap;

use region_core_events::contract::{OrderDelivered, OrderShipped, ShipmentDelivered, ShipmentSent};
use region_core_events::{NewEvent, append};
use region_core_shipping::{Arrival, HeldLabel, Known, Line, NewParcel, pack};
use region_core_store::{StoreError, own_slot};
use shared::api::order::{LabelState, NewLabel, NewShipment, Order, OrderStatus, Shipment};
use shared::{IdempotencyKey, OrderId, Quantity, ShipmentId, Sku, UserId};
use sqlx::PgConnection;

use crate::error::OrderError;
use crate::orders::Orders;
use crate::rules::{By, CheckedShipment, InvalidField, checked_reason};
use crate::store::desk::{self, Action};
use crate::store::{progress, read};

/// A parcel that was asked for.
#[derive(Clone, Debug)]
pub struct Sent {
    /// What became of it.
    pub parcel: Parcel,
    /// Whether an earlier request under the same key asked for it.
    pub replayed: bool,
}

/// What became of a parcel that was asked for.
#[derive(Clone, Debug)]
pub enum Parcel {
    /// It has left.
    Left(Shipment),
    /// A label is bought for it.
    Labelled(ShipmentId),
}

/// A parcel that is asked for.
struct Wanted {
    order: OrderId,
    shipment: ShipmentId,
    key: IdempotencyKey,
    by: UserId,
    checked: CheckedShipment,
}

/// A label that is written off.
struct WrittenOff {
    order: OrderId,
    shipment: ShipmentId,
    key: IdempotencyKey,
    by: UserId,
    reason: String,
}

impl Orders {
    /// Sends a parcel of a paid order, once under its key: its units have left, and with the first one the order is SHIPPED
    /// and can no longer be cancelled. Or has a label bought for it, and its units are kept until that parcel leaves.
    ///
    /// # Errors
    /// [`OrderError::NotPaid`] unless CONFIRMED or SHIPPED, [`OrderError::Parcel`] if it would hold what was not ordered, has
    /// left or is under a label, [`OrderError::NoCarrier`], [`OrderError::KeyReused`], [`OrderError::NotFound`]; nothing is changed then.
    #[tracing::instrument(name = "order.ship", skip_all, fields(order.id = %order))]
    pub async fn ship(
        &self,
        order: OrderId,
        key: IdempotencyKey,
        by: UserId,
        body: NewShipment,
    ) -> Result<Sent, OrderError> {
        let checked = CheckedShipment::check(body)?;
        self.check_origin(&checked)?;
        if matches!(checked.by, By::Label(_)) && !self.parts().labels {
            return Err(OrderError::NoCarrier);
        }
        let shard = self.parts().shards.here(order.slot())?;
        let (orders, wanted) = (self.clone(), Wanted { order, shipment: self.mint_shipment(order), key, by, checked });
        let work = async move |conn: &mut PgConnection| send_in(conn, &orders, &wanted).await;
        let (shipment, replayed) = shard.write("order.ship", work).await?;
        let left = self.find_parcel(order, shipment).await?;
        if !replayed && left.is_some() {
            self.tell_left(order)?;
        }
        Ok(Sent { parcel: left.map_or(Parcel::Labelled(shipment), Parcel::Left), replayed })
    }

    /// A parcel leaves from a region of the store. The address that a label names as its sender's is this region's.
    fn check_origin(&self, parcel: &CheckedShipment) -> Result<(), InvalidField> {
        let Some(from) = &parcel.from else { return Ok(()) };
        let (shards, invalid) =
            (&self.parts().shards, |reason: &str| InvalidField { field: "from".to_owned(), reason: reason.to_owned() });
        if !shards.map().shards().any(|(_, region)| region == from) {
            return Err(invalid("no region of this store"));
        }
        if matches!(parcel.by, By::Label(_)) && from != shards.region() {
            return Err(invalid("labels are bought for parcels from the order's own region: send this one by hand"));
        }
        Ok(())
    }

    /// The parcel under a label has left: the carrier has scanned it, or `by` says so. Repeats are harmless.
    ///
    /// # Errors
    /// [`OrderError::NotFound`], [`OrderError::Label`] unless it was bought.
    #[tracing::instrument(name = "order.leave", skip_all, fields(order.id = %order))]
    pub async fn leave(
        &self,
        order: OrderId,
        shipment: ShipmentId,
        by: Option<UserId>,
    ) -> Result<Shipment, OrderError> {
        let shard = self.parts().shards.here(order.slot())?;
        let orders = self.clone();
        let work = async move |conn: &mut PgConnection| leave_in(conn, &orders, order, shipment, by).await;
        if shard.write("order.leave", work).await? {
            self.tell_left(order)?;
        }
        self.find_parcel(order, shipment).await?.ok_or(OrderError::NotFound)
    }

    /// Has a label given back whose parcel has not left; once it is, its units may be sent otherwise. Repeats are harmless.
    ///
    /// # Errors
    /// [`OrderError::NotFound`], [`OrderError::Label`] if its parcel has left or it was refused.
    #[tracing::instrument(name = "order.void_label", skip_all, fields(order.id = %order))]
    pub async fn void_label(&self, order: OrderId, shipment: ShipmentId, by: UserId) -> Result<(), OrderError> {
        let shard = self.parts().shards.here(order.slot())?;
        shard
            .write("order.void_label", async move |conn: &mut PgConnection| void_in(conn, order, shipment, by).await)
            .await
    }

    /// Writes a label off that the carrier has not taken back when it was asked to, or that nobody can ask it about, once under
    /// its key: its units may be sent otherwise, and its order may be called off. Tells whether it was before.
    ///
    /// # Errors
    /// [`OrderError::Invalid`] for a reason that says nothing or too much, [`OrderError::NotFound`], [`OrderError::KeyReused`],
    /// [`OrderError::Label`] unless it was bought or is being given back, and the carrier's problem with that is known, if there
    /// is a carrier; nothing is changed then.
    #[tracing::instrument(name = "order.write_off_label", skip_all, fields(order.id = %order))]
    pub async fn write_off_label(
        &self,
        order: OrderId,
        shipment: ShipmentId,
        key: IdempotencyKey,
        by: UserId,
        reason: &str,
    ) -> Result<bool, OrderError> {
        let wanted = WrittenOff { order, shipment, key, by, reason: checked_reason(reason)? };
        let shard = self.parts().shards.here(order.slot())?;
        let is_asked = self.parts().labels;
        let work = async move |conn: &mut PgConnection| write_off_in(conn, &wanted, is_asked).await;
        let replayed = shard.write("order.write_off_label", work).await?;
        if !replayed {
            metrics::counter!("labels_written_off_total").increment(1);
        }
        Ok(replayed)
    }

    /// Notes that a parcel has arrived; with the last one of a whole order it is DELIVERED. Repeats are harmless.
    ///
    /// # Errors
    /// [`OrderError::NotFound`] if the order has no such parcel.
    #[tracing::instrument(name = "order.deliver", skip_all, fields(order.id = %order))]
    pub async fn deliver(&self, order: OrderId, shipment: ShipmentId, by: Option<UserId>) -> Result<Order, OrderError> {
        let shard = self.parts().shards.here(order.slot())?;
        let orders = self.clone();
        let work = async move |conn: &mut PgConnection| deliver_in(conn, &orders, order, shipment, by).await;
        if shard.write("order.deliver", work).await? {
            self.parts().wakes.of(shard.id()).notify();
            metrics::counter!("shipments_delivered_total").increment(1);
        }
        self.existing(order).await
    }

    async fn find_parcel(&self, order: OrderId, shipment: ShipmentId) -> Result<Option<Shipment>, OrderError> {
        let shard = self.parts().shards.here(order.slot())?;
        let parcels = region_core_shipping::list(&mut *shard.read().await?, order).await?;
        Ok(parcels.into_iter().find(|parcel| parcel.shipment_id == shipment))
    }

    fn tell_left(&self, order: OrderId) -> Result<(), OrderError> {
        let shard = self.parts().shards.here(order.slot())?;
        self.parts().wakes.of(shard.id()).notify();
        metrics::counter!("shipments_sent_total").increment(1);
        Ok(())
    }

    fn say<P: region_core_events::contract::Payload>(&self, version: i64, payload: &P) -> NewEvent {
        NewEvent::new(self.mint_event(), version, payload)
    }
}

/// The parcel under the key, and whether it was asked for before.
async fn send_in(conn: &mut PgConnection, orders: &Orders, wanted: &Wanted) -> Result<(ShipmentId, bool), OrderError> {
    let Wanted { order, shipment, key, by, checked } = wanted;
    own_slot(conn, order.slot()).await?;
    // From here on nobody cancels it, and parcels of one order come one after the other.
    let status = progress::lock_one(conn, *order).await?.ok_or(OrderError::NotFound)?;
    let request_hash = checked.request_hash();
    if let Some(known) = find_key(conn, *order, key).await? {
        let same = known.request_hash == request_hash;
        return if same { Ok((known.shipment_id, true)) } else { Err(OrderError::KeyReused) };
    }
    if !matches!(status, OrderStatus::Confirmed | OrderStatus::Shipped) {
        return Err(OrderError::NotPaid(status));
    }
    let ordered = read::ordered(conn, *order).await?;
    let units = pack(&lines(conn, *order, &ordered).await?, checked.items.as_ref())?;
    match &checked.by {
        By::Label(label) => {
            keep_label(conn, wanted, label, &units, &ordered).await?;
            desk::note(conn, *order, *by, Action::Ship, &format!("a label, {}", label.service)).await?;
        }
        By::Hand { carrier, tracking_code, tracking_url } => {
            let parcel = NewParcel {
                shipment_id: *shipment,
                order_id: *order,
                key,
                request_hash,
                carrier,
                tracking_code: tracking_code.as_deref(),
                tracking_url: tracking_url.as_deref(),
                units: &units,
                ordered: &ordered,
            };
            send(conn, orders, &parcel).await?;
            desk::note(conn, *order, *by, Action::Ship, carrier).await?;
        }
    }
    if let Some(from) = &checked.from {
        region_core_shipping::origin::note(conn, *order, *shipment, from).await?;
    }
    Ok((*shipment, false))
}

/// A parcel under a label is known by its label's key before it has left, and by its own after: they are the same.
async fn find_key(conn: &mut PgConnection, order: OrderId, key: &IdempotencyKey) -> Result<Option<Known>, StoreError> {
    match region_core_shipping::find_key(conn, order, key).await? {
        Some(known) => Ok(Some(known)),
        None => region_core_shipping::find_label_key(conn, order, key).await,
    }
}

async fn keep_label(
    conn: &mut PgConnection,
    wanted: &Wanted,
    label: &NewLabel,
    units: &BTreeMap<Sku, Quantity>,
    ordered: &BTreeMap<Sku, Quantity>,
) -> Result<(), OrderError> {
    let destination = read::destination(conn, wanted.order).await?.ok_or(OrderError::NotFound)?;
    let new = region_core_shipping::NewLabel {
        shipment_id: wanted.shipment,
        order_id: wanted.order,
        key: &wanted.key,
        request_hash: wanted.checked.request_hash(),
        service: &label.service,
        weight_grams: label.weight_grams,
        destination: &destination,
        units,
        ordered,
    };
    Ok(region_core_shipping::keep_label(conn, &new).await?)
}

/// Writes down that a parcel leaves, and says so.
async fn send(conn: &mut PgConnection, orders: &Orders, parcel: &NewParcel<'_>) -> Result<(), StoreError> {
    region_core_shipping::send(conn, parcel).await?;
    let whole = region_core_shipping::all_sent(conn, parcel.order_id).await?;
    say_sent(conn, orders, parcel, whole).await
}

/// Whether it was news.
async fn leave_in(
    conn: &mut PgConnection,
    orders: &Orders,
    order: OrderId,
    shipment: ShipmentId,
    by: Option<UserId>,
) -> Result<bool, OrderError> {
    own_slot(conn, order.slot()).await?;
    let status = progress::lock_one(conn, order).await?.ok_or(OrderError::NotFound)?;
    let label = region_core_shipping::lock_label(conn, order, shipment).await?.ok_or(OrderError::NotFound)?;
    let HeldLabel { state, key, request_hash, carrier: Some(carrier), tracking_code, tracking_url, units, .. } = label
    else {
        return Err(OrderError::Label(label.state));
    };
    match state {
        // What is to be given back and was scanned all the same has left.
        LabelState::Bought => {}
        LabelState::ToVoid if by.is_none() => {}
        LabelState::Sent | LabelState::Arrived => return Ok(false),
        LabelState::ToBuy | LabelState::Refused | LabelState::ToVoid | LabelState::Voided | LabelState::WrittenOff => {
            return Err(OrderError::Label(state));
        }
    }
    if !matches!(status, OrderStatus::Confirmed | OrderStatus::Shipped) {
        return Err(OrderError::NotPaid(status));
    }
    let ordered = read::ordered(conn, order).await?;
    region_core_shipping::release_label(conn, shipment).await?;
    let parcel = NewParcel {
        shipment_id: shipment,
        order_id: order,
        key: &key,
        request_hash,
        carrier: &carrier,
        tracking_code: tracking_code.as_deref(),
        tracking_url: tracking_url.as_deref(),
        units: &units,
        ordered: &ordered,
    };
    send(conn, orders, &parcel).await?;
    region_core_shipping::set_label_state(conn, shipment, LabelState::Sent).await?;
    if let Some(by) = by {
        desk::note(conn, order, by, Action::Ship, &carrier).await?;
    }
    Ok(true)
}

async fn void_in(conn: &mut PgConnection, order: OrderId, shipment: ShipmentId, by: UserId) -> Result<(), OrderError> {
    own_slot(conn, order.slot()).await?;
    progress::lock_one(conn, order).await?.ok_or(OrderError::NotFound)?;
    let label = region_core_shipping::lock_label(conn, order, shipment).await?.ok_or(OrderError::NotFound)?;
    match label.state {
        LabelState::ToBuy | LabelState::Bought => {
            region_core_shipping::set_label_state(conn, shipment, LabelState::ToVoid).await?;
            desk::note(conn, order, by, Action::Ship, "a label is given back").await?;
            Ok(())
        }
        LabelState::ToVoid | LabelState::Voided => Ok(()),
        LabelState::Refused | LabelState::WrittenOff | LabelState::Sent | LabelState::Arrived => {
            Err(OrderError::Label(label.state))
        }
    }
}

/// Whether it was written off under that key before. `is_asked` is whether a carrier is asked to take labels back.
async fn write_off_in(conn: &mut PgConnection, wanted: &WrittenOff, is_asked: bool) -> Result<bool, OrderError> {
    let WrittenOff { order, shipment, key, by, reason } = wanted;
    own_slot(conn, order.slot()).await?;
    progress::lock_one(conn, *order).await?.ok_or(OrderError::NotFound)?;
    let label = region_core_shipping::lock_label(conn, *order, *shipment).await?.ok_or(OrderError::NotFound)?;
    if let Some((known, meant)) = &label.written_off
        && known == key
    {
        return if meant == reason { Ok(true) } else { Err(OrderError::KeyReused) };
    }
    match label.state {
        LabelState::Bought | LabelState::ToVoid if label.problem.is_some() || !is_asked => {}
        // What the carrier may still take back it is asked to first.
        LabelState::Bought
        | LabelState::ToVoid
        | LabelState::ToBuy
        | LabelState::Refused
        | LabelState::Voided
        | LabelState::WrittenOff
        | LabelState::Sent
        | LabelState::Arrived => return Err(OrderError::Label(label.state)),
    }
    region_core_shipping::release_label(conn, *shipment).await?;
    region_core_shipping::write_off_label(conn, *shipment, key, reason).await?;
    desk::note(conn, *order, *by, Action::WriteOff, reason).await?;
    Ok(false)
}

pub(crate) async fn lines(
    conn: &mut PgConnection,
    order: OrderId,
    ordered: &BTreeMap<Sku, Quantity>,
) -> Result<BTreeMap<Sku, Line>, StoreError> {
    let taken = region_core_shipping::taken(conn, order).await?;
    let line = |(sku, ordered): (&Sku, &Quantity)| {
        (sku.clone(), Line { ordered: *ordered, sent: taken.get(sku).copied().unwrap_or_default() })
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
    by: Option<UserId>,
) -> Result<bool, OrderError> {
    own_slot(conn, order.slot()).await?;
    progress::lock_one(conn, order).await?.ok_or(OrderError::NotFound)?;
    match region_core_shipping::deliver(conn, order, shipment).await? {
        Arrival::Unknown => return Err(OrderError::NotFound),
        Arrival::Repeated => return Ok(false),
        Arrival::Noted => {}
    }
    if region_core_shipping::lock_label(conn, order, shipment).await?.is_some() {
        region_core_shipping::set_label_state(conn, shipment, LabelState::Arrived).await?;
    }
    if let Some(by) = by {
        desk::note(conn, order, by, Action::Deliver, "").await?;
    }
    let version = region_core_shipping::count_events(conn, order).await?;
    let mut said = vec![orders.say(version, &ShipmentDelivered { order_id: order, shipment_id: shipment })];
    if region_core_shipping::is_whole(conn, order).await? {
        let moved = progress::deliver(conn, order).await?;
        said.extend(moved.map(|moved| orders.say(moved.version, &OrderDelivered { order_id: order })));
    }
    append(conn, &said).await?;
    Ok(true)
}
