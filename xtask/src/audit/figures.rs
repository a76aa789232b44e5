//! How much there is: the figures that an audit ends with.

use std::fmt::{self, Display, Formatter};

use serde::Serialize;

use super::cut::Cut;
use super::stock::Units;

/// Counts over all shards.
#[derive(Clone, Copy, Debug, Default, Serialize)]
pub(crate) struct Figures {
    pub(crate) shards: u64,
    pub(crate) skus: u64,
    pub(crate) units: Units,
    pub(crate) orders: u64,
    pub(crate) pending: u64,
    /// CONFIRMED or later.
    pub(crate) confirmed: u64,
    pub(crate) cancelled: u64,
    pub(crate) captured_minor: i64,
    pub(crate) refunded_minor: i64,
    /// Events that wait for another try, and those that were set aside.
    pub(crate) retries: u64,
    pub(crate) dead_letters: u64,
    /// Parcels that left although their labels had come to nothing.
    pub(crate) strayed: u64,
}

pub(super) async fn count(cut: &mut Cut, (skus, units): (u64, Units)) -> anyhow::Result<Figures> {
    let mut all = Figures { shards: cut.shards.len() as u64, skus, units, ..Figures::default() };
    for shard in &mut cut.shards {
        let (pending, cancelled, strayed, captured, refunded): (i64, i64, i64, i64, i64) = sqlx::query_as(
            "SELECT (SELECT count(*) FROM orders WHERE status = 'PENDING'),
                    (SELECT count(*) FROM orders WHERE status = 'CANCELLED'),
                    (SELECT count(*) FROM labels WHERE strayed_at IS NOT NULL),
                    coalesce(sum(captured_minor), 0)::bigint, coalesce(sum(refunded_minor), 0)::bigint
             FROM payments",
        )
        .fetch_one(&mut shard.conn)
        .await?;
        let (orders, pending, cancelled) = (shard.rows("orders"), pending.unsigned_abs(), cancelled.unsigned_abs());
        all.orders += orders;
        all.pending += pending;
        all.cancelled += cancelled;
        all.confirmed += orders - pending - cancelled;
        all.captured_minor += captured;
        all.refunded_minor += refunded;
        all.retries += shard.rows("event_retries");
        all.dead_letters += shard.rows("dead_letters");
        all.strayed += strayed.unsigned_abs();
    }
    Ok(all)
}

impl Display for Figures {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        let Self { units, .. } = self;
        write!(
            f,
            "{} shards, {} orders ({} pending, {} confirmed, {} cancelled), {} units of {} SKUs received = {} free \
             + {} reserved + {} sold + {} in flight, {} captured and {} refunded (minor units), {} dead letters, \
             {} parcels under labels that came to nothing",
            self.shards,
            self.orders,
            self.pending,
            self.confirmed,
            self.cancelled,
            units.received,
            self.skus,
            units.free,
            units.reserved,
            units.sold,
            units.in_flight,
            self.captured_minor,
            self.refunded_minor,
            self.dead_letters,
            self.strayed
        )
    }
}
