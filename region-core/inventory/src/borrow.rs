//! Borrowing units of other shards for orders that find too few.
//!
//! An order that falls short waits in line ([`Borrowing::cover`]) while units are fetched: a fair share from a shard that has
//! plenty; near the end exactly what is missing, from everybody at once. It waits for a bounded time; what is under way
//! then goes on in the background and serves those who come again. "Sold out" is said only when every shard has answered
//! and nothing was on its way; until then the answer is "in transit".
//!
//! Deliberately absent: moving orders to where the units are, and any belief that what is known here is still true. The shard
//! decides when the order is submitted again.

mod gather;
pub(crate) mod lanes;
mod reading;
#[cfg(test)]
mod tests;

use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use region_core_store::Shards;
use region_core_web::Peers;
use shared::{Problem, ProblemKind, ShardId, Sku};
use tokio::time::Instant;

use crate::balance::demand::Demand;
use crate::balance::heard::Heard;
use crate::rules::{Held, Shortfall};
use crate::transfer::desk::{ChangedFn, Desk};
use crate::transfer::donors::{Donors, Everywhere, Post};
use crate::transfer::routes;
pub(crate) use gather::Errands;
use gather::{Flights, Landed, Refusals};
use lanes::{Lanes, NoPlace, Outlook, Place};
use reading::Eyes;
pub(crate) use reading::Look;

/// What a shopper can be asked for.
const PATIENCE: Patience = Patience { near: Duration::from_millis(150), across: Duration::from_millis(400) };
/// When an order whose units are on their way had better come again, in seconds.
const RETRY_AFTER_SECONDS: u32 = 1;

/// Borrows units for the shards of this region. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Borrowing {
    pub(crate) shards: Shards,
    pub(crate) lanes: Lanes,
    pub(crate) demand: Demand,
    pub(crate) heard: Heard,
    pub(crate) post: Post,
    pub(crate) desk: Desk,
    patience: Patience,
    flights: Flights,
    eyes: Eyes,
    landed: Landed,
    refusals: Refusals,
}

/// How long an order waits at most.
#[derive(Clone, Copy, Debug)]
struct Patience {
    /// For units of this region.
    near: Duration,
    /// For units of any region.
    across: Duration,
}

/// An order that wants units: the same in every attempt to place it, in whichever core of the region.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct Claimant(pub [u8; 16]);

/// A waiting order's units are here. Its place is kept until this is dropped: submit the order under it, and drop it once
/// the order was accepted or has given up.
#[derive(Debug)]
pub struct Covered(#[expect(dead_code, reason = "held, and given up when dropped")] Place);

/// Why an order's units could not be had.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
pub enum NotCovered {
    /// All shards of all regions together have fewer than it wants.
    #[error("fewer units are left than were asked for, everywhere")]
    SoldOut,
    /// There may be units, but not here yet.
    #[error("units are on their way")]
    InTransit {
        /// When to come again.
        retry_after_seconds: u32,
    },
    /// As many orders wait for units as may.
    #[error("too many orders wait for units")]
    Busy,
}

impl From<NotCovered> for Problem {
    fn from(error: NotCovered) -> Self {
        match error {
            NotCovered::SoldOut => Self::new(ProblemKind::SoldOut).detail(error),
            NotCovered::InTransit { retry_after_seconds } => {
                Self::new(ProblemKind::StockInTransit).detail(error).retry_after(retry_after_seconds)
            }
            NotCovered::Busy => Self::new(ProblemKind::Unavailable).detail(error),
        }
    }
}

impl From<NoPlace> for NotCovered {
    fn from(error: NoPlace) -> Self {
        match error {
            NoPlace::SoldOut => Self::SoldOut,
            NoPlace::Full => Self::Busy,
        }
    }
}

impl Borrowing {
    /// For the shards of this region, from them and from those that `peers` lead to. `told` hears of every transfer's SKUs,
    /// for whoever shows counts.
    #[must_use]
    pub fn new(shards: Shards, peers: Peers, told: ChangedFn) -> Self {
        Self::with_donors(shards, told, |desk| Arc::new(Everywhere::new(desk, peers)))
    }

    /// The same with messages carried by what `donors` makes of this region's desk.
    pub fn with_donors(shards: Shards, told: ChangedFn, donors: impl FnOnce(Desk) -> Arc<dyn Donors>) -> Self {
        let (lanes, demand) = (Lanes::default(), Demand::default());
        let desk = Desk::new(shards.clone(), lanes.clone(), demand.clone(), told);
        let post = Post::new(donors(desk.clone()));
        let (heard, flights, landed) = (Heard::default(), Flights::default(), Landed::default());
        let (refusals, eyes) = (Refusals::default(), Eyes::default());
        Self { shards, lanes, demand, heard, post, desk, patience: PATIENCE, flights, eyes, landed, refusals }
    }

    /// What other regions' cores ask: to be served to cores alone.
    pub fn internal_router(&self) -> Router {
        routes::internal_router(self.desk.clone())
    }

    /// Waits until the units of an order that fell short are in its shard, after those of the orders before it; fetches
    /// them from elsewhere meanwhile. An order that holds a [`Covered`] and fell short all the same calls again with it still
    /// held, and keeps its place.
    ///
    /// An order that is told to come again, and does, keeps its place while it is away the next time ([`Borrowing::decided`]
    /// gives it up).
    ///
    /// `wanted` names each SKU of the order once, and is the same whenever the order calls. Waits at most 150 ms if only this
    /// region has shards, else 400 ms, and never beyond `until`.
    ///
    /// # Errors
    /// [`NotCovered`].
    #[tracing::instrument(name = "inventory.cover", skip_all, fields(shard.id = %shard))]
    pub async fn cover(
        &self,
        shard: ShardId,
        order: Claimant,
        wanted: &[Held],
        short: &[Shortfall],
        until: Instant,
    ) -> Result<Covered, NotCovered> {
        metrics::counter!("borrow_on_path_total").increment(1);
        let started = Instant::now();
        let covered = self.wait(shard, order, wanted, short, until.min(started + self.patience())).await;
        metrics::histogram!("borrow_on_path_seconds", "result" => result(&covered))
            .record(started.elapsed().as_secs_f64());
        covered
    }

    async fn wait(
        &self,
        shard: ShardId,
        order: Claimant,
        wanted: &[Held],
        short: &[Shortfall],
        until: Instant,
    ) -> Result<Covered, NotCovered> {
        if self.shards.map().shards().count() == 1 {
            return Err(NotCovered::SoldOut); // there is nobody to ask
        }
        let place = self.lanes.park(shard, order, wanted, short)?;
        let skus: Vec<Sku> = wanted.iter().map(|held| held.sku.clone()).collect();
        // However often it is covered and falls short all the same, there is an end to it.
        let (over, mut late) = (Instant::now() >= until, false);
        loop {
            match place.outlook() {
                Outlook::Covered if !over => return Ok(Covered(place)),
                Outlook::SoldOut => return Err(NotCovered::SoldOut),
                Outlook::Waiting if !late => self.fetch(shard, &skus),
                Outlook::Covered | Outlook::Waiting => {
                    place.until_it_comes_again();
                    return Err(NotCovered::InTransit { retry_after_seconds: RETRY_AFTER_SECONDS });
                }
            }
            late = tokio::time::timeout_at(until, place.changed()).await.is_err();
        }
    }

    /// Notes that an order is decided about: a place that was kept for it is free.
    pub fn decided(&self, shard: ShardId, order: Claimant) {
        self.lanes.give_up(shard, order);
    }

    /// Units that waiting orders of the shard want. They come first: to a newcomer, that many fewer are free.
    #[must_use]
    pub fn parked(&self, shard: ShardId, sku: &Sku) -> u64 {
        self.lanes.parked(shard, sku)
    }

    /// Notes units that a shard has sold (reserved for accepted orders), once that is committed: from this the balancer
    /// knows what is in demand.
    pub fn sold(&self, shard: ShardId, sku: &Sku, units: u64) {
        self.lanes.sold(shard, sku, units);
        self.demand.add(shard, [(sku, units)]);
    }

    /// The same for many SKUs.
    pub fn sold_all<'a>(&self, shard: ShardId, sold: impl IntoIterator<Item = (&'a Sku, u64)>) {
        let noted = sold.into_iter().inspect(|(sku, units)| self.lanes.sold(shard, sku, *units));
        self.demand.add(shard, noted);
    }

    /// Notes that units of these SKUs came back to a shard, once that is committed: what was believed of them is no longer so.
    pub fn returned(&self, shard: ShardId, skus: &[Sku]) {
        skus.iter().for_each(|sku| self.lanes.forget(shard, sku));
    }

    /// For whoever brings units to shards otherwise: notes that they came ([`Borrowing::returned`]) and tells whoever shows
    /// counts.
    #[must_use]
    pub fn on_return(&self) -> ChangedFn {
        let desk = self.desk.clone();
        Arc::new(move |shard, skus| desk.returned(shard, skus))
    }

    /// Longest wait of an order: across regions if there are any.
    fn patience(&self) -> Duration {
        let (map, home) = (self.shards.map(), self.shards.region());
        if map.shards().all(|(_, region)| region == home) { self.patience.near } else { self.patience.across }
    }
}

fn result(covered: &Result<Covered, NotCovered>) -> &'static str {
    match covered {
        Ok(_) => "covered",
        Err(NotCovered::SoldOut) => "sold_out",
        Err(NotCovered::InTransit { .. }) => "in_transit",
        Err(NotCovered::Busy) => "busy",
    }
}
