//! Waiting until nothing is under way any more.

use std::time::Duration;

use anyhow::Context as _;
use sqlx::{AssertSqlSafe, Connection as _, PgConnection};
use time::OffsetDateTime;
use tokio::time::Instant;

use super::Demand;
use super::layout::Layout;
use super::rules::under_way;

/// How often is asked.
const LOOK: Duration = Duration::from_millis(100);

const IN_FLIGHT: &str = "
    SELECT EXISTS (SELECT FROM transfers_in WHERE state = 'pending') OR EXISTS (SELECT FROM transfers_out WHERE state = 'sent')";

/// Waits until no order is PENDING, no payment waits, no unit is in flight and every event is handled, on every shard;
/// tells how long that took, or nothing if it took too long: an audit that demands quiet then names what still is under
/// way.
///
/// # Errors
/// When a shard cannot be asked.
pub(crate) async fn settle(layout: &Layout, within: Duration) -> anyhow::Result<Option<Duration>> {
    let begun = Instant::now();
    let mut shards = Vec::with_capacity(layout.shards.len());
    for site in &layout.shards {
        let shard = PgConnection::connect(&site.url).await;
        shards.push(shard.with_context(|| format!("cannot reach the database of shard {}", site.id))?);
    }
    loop {
        // One shard sets another in motion only by a transfer, and transfers show on both; the last look is at all of
        // them.
        if is_quiet(&mut shards).await? {
            return Ok(Some(begun.elapsed()));
        }
        if begun.elapsed() >= within {
            return Ok(None);
        }
        tokio::time::sleep(LOOK).await;
    }
}

async fn is_quiet(shards: &mut [PgConnection]) -> anyhow::Result<bool> {
    for shard in shards {
        if sqlx::query_scalar(IN_FLIGHT).fetch_one(&mut *shard).await? {
            return Ok(false);
        }
        for check in under_way() {
            // No patience: whatever is under way counts, however young it is.
            let found: bool = sqlx::query_scalar(AssertSqlSafe(format!("SELECT EXISTS ({})", check.sql)))
                .bind(Demand::Settled.patience())
                .bind(OffsetDateTime::UNIX_EPOCH)
                .fetch_one(&mut *shard)
                .await?;
            if found {
                return Ok(false);
            }
        }
    }
    Ok(true)
}
