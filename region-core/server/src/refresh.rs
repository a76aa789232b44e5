//! What every process keeps a copy of and looks at again: the slot map and the published keys.
//!
//! While the control schema is away the copies stay in use: losing it stops moves and new keys, never sales.

use std::time::Duration;

use region_core_control::{list_keys, load_slot_map};
use region_core_store::Shards;
use region_core_web::Verifier;
use sqlx::PgPool;
use tokio_util::sync::CancellationToken;

/// How old a copy may be.
const PERIOD: Duration = Duration::from_secs(2);

/// Keeps both copies fresh until told to stop.
pub(crate) async fn keep_fresh(catalog: PgPool, shards: Shards, verifier: Verifier, shutdown: CancellationToken) {
    while tokio::time::timeout(PERIOD, shutdown.cancelled()).await.is_err() {
        match load_slot_map(&catalog).await {
            Ok(Some(map)) => shards.adopt(map),
            Ok(None) => tracing::warn!("the control schema holds no slot map; the known one stays in use"),
            Err(error) => tracing::warn!(%error, "the slot map could not be read; the known one stays in use"),
        }
        match list_keys(&catalog).await {
            Ok(keys) => verifier.replace(keys),
            Err(error) => tracing::warn!(%error, "the published keys could not be read; the known ones stay in use"),
        }
    }
}
