//! How fast each SKU sells in each shard, as this process sees it.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use shared::{ShardId, Sku};
use tokio::time::Instant;

/// Sales are counted by windows of this length; the one before counts less and less as the present one fills.
const WINDOW: Duration = Duration::from_secs(30);
/// SKUs counted in one shard at most; what else is sold in a window goes uncounted.
const CAPACITY: usize = 100_000;

/// Counts of units sold. Clones share them.
#[derive(Clone, Debug, Default)]
pub(crate) struct Demand(Arc<Mutex<HashMap<ShardId, HashMap<Sku, Sales>>>>);

#[derive(Clone, Copy, Debug)]
struct Sales {
    since: Instant,
    now: u64,
    before: u64,
}

impl Demand {
    fn shards(&self) -> MutexGuard<'_, HashMap<ShardId, HashMap<Sku, Sales>>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Counts units that were sold.
    pub(crate) fn add<'a>(&self, shard: ShardId, sold: impl IntoIterator<Item = (&'a Sku, u64)>) {
        let now = Instant::now();
        let mut shards = self.shards();
        let skus = shards.entry(shard).or_default();
        for (sku, units) in sold {
            if let Some(sales) = skus.get_mut(sku) {
                *sales = sales.at(now);
                sales.now += units;
            } else if skus.len() < CAPACITY {
                skus.insert(sku.clone(), Sales { since: now, now: units, before: 0 });
            }
        }
    }

    /// Units that will be sold within `time`, if it goes on like this.
    pub(crate) fn expected(&self, shard: ShardId, sku: &Sku, time: Duration) -> u64 {
        let now = Instant::now();
        let shards = self.shards();
        shards.get(&shard).and_then(|skus| skus.get(sku)).map_or(0, |sales| sales.at(now).expected(now, time))
    }

    /// The SKUs that sell fastest, at most `limit`. Those that nobody has bought for two windows are forgotten.
    pub(crate) fn busiest(&self, shard: ShardId, limit: usize) -> Vec<Sku> {
        let now = Instant::now();
        let mut shards = self.shards();
        let Some(skus) = shards.get_mut(&shard) else { return Vec::new() };
        skus.retain(|_, sales| sales.at(now).total() > 0);
        let mut busy: Vec<_> = skus.iter().map(|(sku, sales)| (sales.at(now).expected(now, WINDOW), sku)).collect();
        if busy.len() > limit {
            busy.select_nth_unstable_by(limit, |left, right| right.cmp(left));
            busy.truncate(limit);
        }
        busy.into_iter().map(|(_, sku)| sku.clone()).collect()
    }
}

impl Sales {
    fn total(self) -> u64 {
        self.now + self.before
    }

    /// The same as of `now`: windows that have ended are moved on.
    fn at(self, now: Instant) -> Self {
        let passed = now.saturating_duration_since(self.since);
        if passed < WINDOW {
            self
        } else if passed < WINDOW * 2 {
            Self { since: self.since + WINDOW, now: 0, before: self.now }
        } else {
            Self { since: now, now: 0, before: 0 }
        }
    }

    /// Units in `time`, at the rate of the last window's length: all of the present one and the rest of the one before.
    fn expected(self, now: Instant, time: Duration) -> u64 {
        let window = WINDOW.as_millis();
        let rest = window - now.saturating_duration_since(self.since).as_millis().min(window);
        let sold = u128::from(self.now) * window + u128::from(self.before) * rest;
        u64::try_from((sold * time.as_millis()).div_ceil(window * window)).unwrap_or(u64::MAX)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shard() -> ShardId {
        ShardId::try_from(1).unwrap()
    }

    #[tokio::test(start_paused = true)]
    async fn demand_is_what_was_sold_lately_and_fades() {
        let (demand, mug): (_, Sku) = (Demand::default(), "MUG".parse().unwrap());
        demand.add(shard(), [(&mug, 60)]);
        let expected = |seconds| demand.expected(shard(), &mug, Duration::from_secs(seconds));
        assert_eq!((expected(60), expected(15), expected(0)), (120, 30, 0));
        tokio::time::advance(WINDOW + WINDOW / 2).await;
        assert_eq!(expected(30), 30);
        tokio::time::advance(WINDOW / 2).await;
        assert_eq!(expected(60), 0);
    }

    #[tokio::test(start_paused = true)]
    async fn the_busiest_come_first_and_the_idle_are_forgotten() {
        let demand = Demand::default();
        let skus: Vec<Sku> = (1..=9).map(|number| format!("S{number}").parse().unwrap()).collect();
        for (units, sku) in (1..).zip(&skus) {
            demand.add(shard(), [(sku, units)]);
        }
        let mut busiest = demand.busiest(shard(), 2);
        busiest.sort();
        assert_eq!(busiest, skus[7..]);
        tokio::time::advance(WINDOW * 2).await;
        assert!(demand.busiest(shard(), 9).is_empty());
    }
}
