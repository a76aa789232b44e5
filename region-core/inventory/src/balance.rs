//! What goes on between requests: keeping allotments in proportion to demand, and finishing transfers that were interrupted.
//!
//! The balancer looks only at what sells: shards are asked about those SKUs alone, so that what is heard of others costs in
//! proportion to trade and not to the catalog. Every process balances what it sells itself. Recovery runs in every process;
//! its steps may be run by two at once.

pub(crate) mod demand;
pub(crate) mod heard;
pub(crate) mod recovery;

use std::collections::HashMap;
use std::time::Duration;

use futures::future::join_all;
use region_core_store::{Shard, StoreError};
use shared::Sku;
use tokio_util::sync::CancellationToken;

use crate::borrow::{Borrowing, Errands, Look};
use crate::store::free_units;
use crate::transfer::message::{MAX_SKUS, Mode};
use crate::transfer::rules::{self, HORIZON, LEAD_TIME, Plan};
use crate::transfer::store::Wish;

/// Between two looks at demand and at what is unfinished.
const PERIOD: Duration = Duration::from_secs(1);

/// What another shard does not do in this time is left to the next look.
pub(crate) const PATIENCE: Duration = Duration::from_secs(1);

/// Balances and recovers until told to stop. Each shard at its own pace, and balancing at its own too: one that hangs holds
/// up nobody else.
pub async fn run(borrowing: Borrowing, shutdown: CancellationToken) {
    let all = async {
        let recovering = borrowing.shards.all().map(|shard| keep_recovering(&borrowing, shard));
        let balancing = borrowing.shards.all().map(|shard| keep_balancing(&borrowing, shard));
        tokio::join!(keep_sweeping(&borrowing), join_all(recovering), join_all(balancing));
    };
    tokio::select! { () = all => {}, () = shutdown.cancelled() => {} }
}

async fn keep_sweeping(borrowing: &Borrowing) {
    loop {
        tokio::time::sleep(PERIOD).await;
        borrowing.lanes.sweep();
    }
}

async fn keep_recovering(borrowing: &Borrowing, shard: &Shard) {
    loop {
        tokio::time::sleep(PERIOD).await;
        if let Err(error) = borrowing.recover(shard).await {
            tracing::warn!(%error, shard.id = %shard.id(), "transfers could not be looked after; they are safe meanwhile");
        }
    }
}

async fn keep_balancing(borrowing: &Borrowing, shard: &Shard) {
    loop {
        tokio::time::sleep(PERIOD).await;
        if let Err(error) = borrowing.balance(shard).await {
            tracing::warn!(%error, shard.id = %shard.id(), "the shard could not be balanced");
        }
    }
}

impl Borrowing {
    /// Borrows for SKUs of which less is left than will be sold before anybody could do something about it.
    ///
    /// # Errors
    /// When the shard does not answer.
    pub async fn balance(&self, shard: &Shard) -> Result<(), StoreError> {
        let thin = self.thin(shard).await?;
        if thin.is_empty() {
            return Ok(());
        }
        self.read_everywhere(&thin.keys().cloned().collect::<Vec<_>>(), Look::Thorough).await;
        let mut errands = Errands::new();
        for (sku, need) in thin {
            // Near the end nothing is hoarded: whoever has an order for the last units fetches them.
            let Plan::Share(donors) = rules::plan(need, &self.candidates(shard.id(), &sku)) else { continue };
            let want = rules::want(need, 0).div_ceil(u64::try_from(donors.len()).unwrap_or(1));
            donors
                .into_iter()
                .for_each(|donor| errands.entry(donor).or_default().push(Wish { sku: sku.clone(), want }));
        }
        if let Some(flight) = self.launch(shard, errands, Mode::Share) {
            // It ends by itself as well; waited for, the next look finds what it brought.
            let _ = tokio::time::timeout(PATIENCE, flight).await;
        }
        Ok(())
    }

    /// SKUs that run out within the lead time, with the units that are missing for the horizon.
    async fn thin(&self, shard: &Shard) -> Result<HashMap<Sku, u64>, StoreError> {
        let busy = self.demand.busiest(shard.id(), MAX_SKUS);
        if busy.is_empty() {
            return Ok(HashMap::new());
        }
        let names: Vec<String> = busy.iter().map(|sku| sku.as_str().to_owned()).collect();
        let free: HashMap<Sku, u64> = free_units(&mut *shard.read().await?, &names).await?.into_iter().collect();
        let expected = |sku: &Sku, time| self.demand.expected(shard.id(), sku, time);
        let missing = busy.into_iter().filter_map(|sku| {
            let free = free.get(&sku).copied().unwrap_or(0);
            let missing = expected(&sku, HORIZON).saturating_sub(free);
            (expected(&sku, LEAD_TIME) > free && missing > 0).then_some((sku, missing))
        });
        Ok(missing.collect())
    }
}
