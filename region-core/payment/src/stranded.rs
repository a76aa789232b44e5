//! Payments and refunds that wait for a provider which is no longer configured. Nobody asks another one about them; they are left
//! as they are, and somebody should know.

use std::time::Duration;

use region_core_store::{Shard, StoreError};
use tokio_util::sync::CancellationToken;

use crate::store;

/// How often they are counted.
const COUNT: Duration = Duration::from_secs(60);

/// Counts those of the shard that are at none of these providers until `shutdown`, and says when their number changes.
pub(crate) async fn watch(shard: Shard, providers: Vec<&'static str>, shutdown: CancellationToken) {
    let (mut ticks, mut known) = (tokio::time::interval(COUNT), 0);
    while shutdown.run_until_cancelled(ticks.tick()).await.is_some() {
        let count = match count(&shard, &providers).await {
            Ok(count) => count,
            Err(error) => {
                tracing::debug!(%error, "payments of other providers were not counted");
                continue;
            }
        };
        metrics::gauge!("payment_stranded", "shard" => shard.id().to_string())
            .set(i32::try_from(count).map_or(f64::MAX, f64::from));
        if count > known {
            tracing::error!(
                shard.id = %shard.id(), payment.count = count,
                "payments or refunds wait for a provider that is not configured; they are left alone until it is"
            );
        }
        known = count;
    }
}

async fn count(shard: &Shard, providers: &[&'static str]) -> Result<i64, StoreError> {
    store::stranded(&mut *shard.read().await?, providers).await
}
