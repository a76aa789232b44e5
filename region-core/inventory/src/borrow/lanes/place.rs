//! What is held of the lanes, and given up when dropped: an order's place, and the lanes that one gathers for.

use std::sync::Arc;

use shared::{ShardId, Sku};
use tokio::sync::Notify;
use tokio::time::Instant;

use super::{Claimant, Lanes, Outlook};

/// A place in the lanes.
#[derive(Debug)]
pub(crate) struct Place {
    pub(super) lanes: Lanes,
    pub(super) shard: ShardId,
    pub(super) order: Claimant,
    pub(super) changed: Arc<Notify>,
    /// Whether its order goes only to come again.
    pub(super) comes_again: bool,
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

    /// Gives it up for now: its order has been told to come again. If it has done so once, the place is kept for it.
    pub(crate) fn until_it_comes_again(mut self) {
        self.comes_again = true;
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.lanes.leave(self.shard, self.order, self.comes_again);
    }
}

/// Lanes that one gathers for, and nobody else meanwhile.
#[derive(Debug)]
pub(crate) struct Gathering {
    pub(super) lanes: Lanes,
    pub(super) shard: ShardId,
    pub(super) skus: Vec<Sku>,
    /// Whether it is no longer counted among those of its shard.
    pub(super) over: bool,
}

impl Gathering {
    /// What is to be gathered.
    pub(crate) fn skus(&self) -> &[Sku] {
        &self.skus
    }

    /// Takes up what else is waited for and nobody gathers, until there are `most`. Tells whether there is anything; if not, it
    /// is over.
    pub(crate) fn goes_on(&mut self, most: usize) -> bool {
        let more = self.lanes.take_up_more(self.shard, &self.skus, most);
        self.skus.extend(more);
        self.over = self.skus.is_empty();
        !self.over
    }

    /// Gives up those that nobody waits for any more, and nobody has given up since the round before.
    pub(crate) fn narrow(&mut self) {
        let (now, lanes, shard) = (Instant::now(), &self.lanes, self.shard);
        self.skus.retain(|sku| lanes.with(shard, sku, |lane| lane.goes_on(now)).unwrap_or(false));
    }
}

impl Drop for Gathering {
    fn drop(&mut self) {
        if !self.over {
            self.lanes.put_down(self.shard, &self.skus);
        }
    }
}
