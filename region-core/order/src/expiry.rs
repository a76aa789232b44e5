//! Orders whose time has run out: cancelled, their units free again, by the shard's own clock.

use std::time::Duration;

use region_core_store::{Shard, StoreError};
use shared::Sku;
use sqlx::PgConnection;
use tokio_util::sync::CancellationToken;

use crate::cancel::ended;
use crate::events::REFUSED;
use crate::orders::Orders;
use crate::store::progress;
use crate::store::review::End;

/// What the shopper is told, unless his order waited for who keeps the store.
pub(crate) const REASON: &str = "the payment was not completed in time";

/// Orders cancelled in one transaction.
const BATCH: i64 = 200;
/// Pause between looks at a shard with nothing to do.
const PAUSE: Duration = Duration::from_secs(1);

/// Cancels what has run out, on every shard of the region, until told to stop. Several processes may do so at once: rows
/// under decision are skipped.
pub async fn sweep(orders: Orders, shutdown: CancellationToken) {
    let shards: Vec<Shard> = orders.parts().shards.all().cloned().collect();
    let sweeps = shards.iter().map(|shard| sweep_shard(&orders, shard, &shutdown));
    futures::future::join_all(sweeps).await;
}

async fn sweep_shard(orders: &Orders, shard: &Shard, shutdown: &CancellationToken) {
    while !shutdown.is_cancelled() {
        let full = match expire_batch(orders, shard).await {
            Ok(expired) => expired >= BATCH.unsigned_abs(),
            Err(error) => {
                tracing::warn!(shard.id = %shard.id(), %error, "expired orders wait for the next look");
                false
            }
        };
        if !full {
            let _ = tokio::time::timeout(PAUSE, shutdown.cancelled()).await;
        }
    }
}

/// Cancels one batch; how many.
async fn expire_batch(orders: &Orders, shard: &Shard) -> Result<u64, StoreError> {
    let speaker = orders.clone();
    let expire = async move |conn: &mut PgConnection| expire_in(conn, &speaker).await;
    let (expired, released) = shard.turn().write("order.expire", expire).await?;
    if expired > 0 {
        metrics::counter!("orders_expired_total").increment(expired);
        orders.parts().released(shard.id(), &released);
        orders.parts().wakes.of(shard.id()).notify();
    }
    Ok(expired)
}

async fn expire_in(conn: &mut PgConnection, orders: &Orders) -> Result<(u64, Vec<Sku>), StoreError> {
    let expired = progress::expire(conn, BATCH, REASON, REFUSED).await?;
    let released = ended(conn, orders, &expired, End::Lapsed).await?;
    Ok((expired.len() as u64, released))
}
