//! How many dead letters lie on each shard: a gauge per consumer, set at start and now and then, so that it is there before
//! the first letter and falls when they are replayed.

use std::time::Duration;

use region_core_store::{Shard, StoreError};
use tokio::time::MissedTickBehavior;
use tokio_util::sync::CancellationToken;

use crate::store::failure;

/// How often they are counted.
const PERIOD: Duration = Duration::from_secs(10);

/// Counts the dead letters of these consumers on one shard until `shutdown`.
pub(crate) async fn dead_letters(shard: Shard, consumers: Vec<String>, shutdown: CancellationToken) {
    let mut ticks = tokio::time::interval(PERIOD);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    while shutdown.run_until_cancelled(ticks.tick()).await.is_some() {
        if let Err(error) = count(&shard, &consumers).await {
            tracing::debug!(shard.id = %shard.id(), %error, "the dead letters were not counted");
        }
    }
}

async fn count(shard: &Shard, consumers: &[String]) -> Result<(), StoreError> {
    let counts = failure::count_dead_letters(&mut *shard.read().await?, consumers).await?;
    for (consumer, count) in counts {
        let count = i32::try_from(count).map_or(f64::MAX, f64::from);
        metrics::gauge!("events_dead_letters", "consumer" => consumer, "shard" => shard.id().to_string()).set(count);
    }
    Ok(())
}
