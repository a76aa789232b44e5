//! Parcels: what of an order has left, with whom, what has arrived, and what came back; and labels that are bought for them.
//!
//! Inside the transaction that decides about an order, `order` asks what a parcel may hold ([`rules::pack`]), writes it down
//! ([`send`]) and notes its arrival ([`deliver`]). Units leave once, and come back once ([`returns`]): the table of what was
//! sent repeats that as CHECKs.
//!
//! **A label is paper.** It is written down before it is bought ([`keep_label`]), a driver on each shard buys it with no connection
//! held, and its units are kept for it meanwhile. Its parcel has left when the carrier has scanned it, or when who keeps the store
//! says so; only then there is a parcel, by the same code as one that is sent by hand ([`Departures`]). Until then a label can be
//! voided. That the first scan counts, and not the purchase, keeps every later step honest: nobody is told "on its way" about
//! what lies on the packing table, and a label that was bought for the wrong service needs no order to move backwards.
//!
//! What a carrier tells us by itself ([`NoticeError`], `notice.rs`) only has us look sooner.
//!
//! Deliberately absent: whether an order may be sent at all (`order` decides that by the order's row), rates at checkout, customs
//! papers, and stock: what is claimed for an order is sold, whether it has left or not, and what came back is entered into the
//! stock's ledger by `order`.

pub mod carrier;
mod client;
mod driver;
mod easypost;
mod exchange;
mod notice;
mod routes;
pub mod rules;
mod store;

use std::sync::Arc;
use std::time::Duration;

use futures::future::BoxFuture;
use http::HeaderMap;
use region_core_events::Wakes;
use region_core_store::{Shard, Shards, StoreError};
use region_core_web::Peers;
use shared::api::order::Labels;
use shared::{OrderId, Problem, ShipmentId};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

pub use client::Deadlines;
pub use easypost::{Account, EASYPOST_URL, EasyPost, EasyPostError};
pub use notice::NoticeError;
pub use routes::{Api, internal_router, router};
pub use rules::{Line, ParcelError, pack};
pub use store::label::{
    HeldLabel, NewLabel, find_key as find_label_key, has_live as has_live_label, keep as keep_label,
    list_strayed as list_strayed_labels, lock as lock_label, release as release_label, set_state as set_label_state,
    write_off as write_off_label,
};
pub use store::{
    Arrival, Known, NewParcel, all_sent, count_events, count_said, deliver, find_key, is_whole, list, send, taken,
};

use crate::carrier::Carrier;
use crate::driver::Driver;
use crate::notice::Notice;

/// Goods that come back.
pub mod returns {
    pub use crate::rules::returns::{Gone, Looked, ReturnError, look_at, take_back};
    pub use crate::store::returns::{NewReturn, Registered, find, find_key, gone, inspect, list, register};
}

/// Where parcels leave from.
pub mod origin {
    pub use crate::store::origin::{Packed, note, packed};
}

/// What follows from what the carrier saw: kept by whoever decides about orders. Repeats are harmless.
pub trait Departures: Send + Sync + 'static {
    /// The parcel under that label has left.
    fn left(&self, order: OrderId, shipment: ShipmentId) -> BoxFuture<'_, Result<(), Problem>>;

    /// The parcel has arrived.
    fn arrived(&self, order: OrderId, shipment: ShipmentId) -> BoxFuture<'_, Result<(), Problem>>;
}

/// The bounds of buying and following.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Most exchanges with the carrier at a time, for each shard and process.
    pub concurrency: usize,
    /// Longest time without looking for what is due.
    pub poll: Duration,
    /// How long a label is kept off other workers: longer than the longest exchange. One that ran out early would not pay twice,
    /// for what is paid is paid under one name at the carrier.
    pub lease: Duration,
    /// Pauses between exchanges.
    pub pauses: rules::label::Pauses,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            concurrency: 8,
            poll: Duration::from_millis(500),
            lease: Duration::from_secs(120),
            pauses: rules::label::Pauses::default(),
        }
    }
}

/// The labels of this region's shards, at one carrier or at none. Cheap to clone.
#[derive(Debug)]
pub struct Shipping<C = EasyPost> {
    shards: Shards,
    carrier: Option<Arc<C>>,
    peers: Peers,
    wakes: Wakes,
    settings: Settings,
}

impl<C> Clone for Shipping<C> {
    fn clone(&self) -> Self {
        Self {
            shards: self.shards.clone(),
            carrier: self.carrier.clone(),
            peers: self.peers.clone(),
            wakes: self.wakes.clone(),
            settings: self.settings.clone(),
        }
    }
}

impl<C: Carrier> Shipping<C> {
    /// Labels at `carrier`; without one, parcels are sent by hand only. `peers` lead to the other regions, which are asked about
    /// what the carrier tells of and this one does not know.
    #[must_use]
    pub fn new(shards: Shards, carrier: Option<Arc<C>>, peers: Peers) -> Self {
        let wakes = Wakes::new(shards.all().map(Shard::id));
        Self { shards, carrier, peers, wakes, settings: Settings::default() }
    }

    /// The same under other bounds.
    #[must_use]
    pub fn bounded_by(self, settings: Settings) -> Self {
        Self { settings, ..self }
    }

    /// Buys, voids and follows the labels of every shard until `shutdown`; exchanges under way are finished. Without a carrier
    /// nothing is done, and what had been asked for waits until there is one.
    ///
    /// # Panics
    /// If a driver does.
    pub async fn drive(self, departures: Arc<dyn Departures>, shutdown: CancellationToken) {
        let Some(carrier) = self.carrier else { return };
        let mut drivers = JoinSet::new();
        for shard in self.shards.all() {
            let (shard, carrier, departures) = (shard.clone(), Arc::clone(&carrier), Arc::clone(&departures));
            let wake = self.wakes.of(shard.id());
            drivers.spawn(Driver::new(shard, carrier, departures, self.settings.clone(), wake).run(shutdown.clone()));
        }
        while let Some(ended) = drivers.join_next().await {
            if let Err(error) = ended {
                std::panic::resume_unwind(error.into_panic());
            }
        }
    }

    /// The order's labels. Whoever calls has checked that the caller keeps the store.
    ///
    /// # Errors
    /// Those of the shard.
    pub async fn labels(&self, order: OrderId) -> Result<Labels, StoreError> {
        let shard = self.shards.here(order.slot())?;
        let items = store::label::list(&mut *shard.read().await?, order).await?;
        Ok(Labels { offered: self.carrier.is_some(), items })
    }

    /// The label as it is printed, if it was bought.
    ///
    /// # Errors
    /// Those of the shard.
    pub async fn pdf(&self, order: OrderId, shipment: ShipmentId) -> Result<Option<Vec<u8>>, StoreError> {
        let shard = self.shards.here(order.slot())?;
        store::label::pdf(&mut *shard.read().await?, order, shipment).await
    }

    /// Takes what the carrier says by itself, here or in the region that owns the label. `body` as it came: its bytes are what was
    /// signed. Repeats are harmless.
    ///
    /// # Errors
    /// [`NoticeError`]; nothing is changed then, and the carrier should say it again.
    pub async fn take_notice(&self, headers: &HeaderMap, body: &[u8]) -> Result<(), NoticeError> {
        let carrier = self.carrier.as_ref().ok_or(NoticeError::NotSent)?;
        let Some(notice) = carrier.notice(headers, body)? else { return Ok(()) };
        match self.hear(&notice).await {
            Err(NoticeError::UnknownLabel) => notice::pass_on(&self.shards, &self.peers, &notice).await,
            heard => heard,
        }
    }

    /// Has a label of this region looked at.
    async fn hear(&self, notice: &Notice) -> Result<(), NoticeError> {
        let shard = notice::hear(&self.shards, notice).await?;
        self.wakes.of(shard).notify();
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_usual_lease_outlasts_the_longest_exchange() {
        assert!(Settings::default().lease > client::DEADLINES.total * exchange::MOST_CALLS);
    }
}
