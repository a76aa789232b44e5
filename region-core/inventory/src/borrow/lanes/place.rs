//! What is held of the lanes, and given up when dropped: an order's place, and the lanes that one gathers for.

use std::sync::Arc;

use shared::{OrderId, ShardId, Sku};
use tokio::sync::Notify;
use tokio::time::Instant;

use super::lane::Lane;
use super::{Lanes, Outlook};

/// A place in the lanes.
#[derive(Debug)]
pub(crate) struct Place {
    pub(super) lanes: Lanes,
    pub(super) shard: ShardId,
    pub(super) order: OrderId,
    pub(super) changed: Arc<Notify>,
}

impl Place {
    /// How it looks now.
    pub(crate) fn outlook(&self) -> Outlook {
        let now = Instant::now();
        self.lanes.yards().get(&self.shard).map_or(Outlook::Waiting, |yard| yard.outlook(self.order, now))
    }

    /// Waits for the outlook to change. A change between two calls is not missed.
    pub(crate) async fn changed(&self) {
        self.changed.notified().await;
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.lanes.leave(self.shard, self.order);
    }
}

/// Lanes that one gathers for, and nobody else meanwhile.
#[derive(Debug)]
pub(crate) struct Gathering {
    pub(super) lanes: Lanes,
    pub(super) shard: ShardId,
    pub(super) skus: Vec<Sku>,
}

impl Gathering {
    /// What is to be gathered.
    pub(crate) fn skus(&self) -> &[Sku] {
        &self.skus
    }

    /// Gives up those that nobody waits for any more, and nobody has given up since the round before.
    pub(crate) fn narrow(&mut self) {
        let (now, lanes, shard) = (Instant::now(), &self.lanes, self.shard);
        self.skus.retain(|sku| lanes.with(shard, sku, |lane| lane.goes_on(now)).unwrap_or(false));
    }
}

impl Drop for Gathering {
    fn drop(&mut self) {
        for sku in &self.skus {
            self.lanes.with(self.shard, sku, Lane::put_down);
        }
    }
}
