//! One consistent cut through all shards.
//!
//! Each shard is read in one snapshot (`REPEATABLE READ`, read only), so whatever it says about itself is of one
//! moment. The snapshots of different shards are moments apart; between them units may have moved, and only transfers
//! move units between shards. So every shard's transfers are looked at in its snapshot, and again when the last
//! snapshot is open. If none changed, they all stood as they are seen at the instant when the last snapshot was opened,
//! and the cut is as good as one instant. Else all is opened anew, a bounded number of times.
//!
//! The snapshots take no transaction id, so they hold up nobody: neither writers nor the readers of the outbox.

use std::collections::BTreeMap;
use std::time::Duration;

use anyhow::{Context as _, bail, ensure};
use futures::future::try_join_all;
use sqlx::{Connection as _, Executor as _, PgConnection};
use time::OffsetDateTime;

use super::layout::{Layout, ShardSite};
use super::{Demand, ownership::SlotMap};

/// Looks before the audit gives up on transfers that never stand still.
const MOST_LOOKS: u32 = 100;
/// Pause between looks; transfers take some milliseconds.
const PAUSE: Duration = Duration::from_millis(50);

/// How a shard's transfers stand; any change of any of them changes it.
const TRANSFERS: &str = "
    SELECT concat_ws(' ',
        (SELECT next_seq FROM transfer_counter),
        (SELECT concat(count(*), ':', sum(hashtextextended(half::text, 0)::numeric)) FROM transfers_in AS half),
        (SELECT concat(count(*), ':', sum(hashtextextended(half::text, 0)::numeric)) FROM transfers_out AS half),
        (SELECT concat(count(*), ':', sum(hashtextextended(low::text, 0)::numeric)) FROM transfer_lows AS low))";

/// Everything at one instant.
#[derive(Debug)]
pub(super) struct Cut {
    pub(super) shards: Vec<Shard>,
    /// The catalog, not in a snapshot: prices of old versions never change.
    pub(super) catalog: PgConnection,
    pub(super) map: SlotMap,
    pub(super) demand: Demand,
    /// How many looks it took.
    pub(super) looks: u32,
}

/// One shard in its snapshot.
#[derive(Debug)]
pub(super) struct Shard {
    pub(super) id: i16,
    pub(super) region: String,
    pub(super) conn: PgConnection,
    /// The snapshot's moment by the shard's own clock.
    pub(super) moment: OffsetDateTime,
    rows: BTreeMap<String, u64>,
}

impl Shard {
    /// Rows that a table has.
    pub(super) fn rows(&self, table: &str) -> u64 {
        self.rows.get(table).copied().unwrap_or_else(|| panic!("rows of {table} were not counted"))
    }
}

/// A shard's two connections: one holds the snapshot, the other sees what is new.
struct Sight<'a> {
    site: &'a ShardSite,
    snapshot: PgConnection,
    now: PgConnection,
}

impl Cut {
    pub(super) async fn take(layout: &Layout, demand: Demand) -> anyhow::Result<Self> {
        let mut catalog =
            PgConnection::connect(&layout.catalog).await.context("cannot reach the catalog's database")?;
        let mut sights = try_join_all(layout.shards.iter().map(Sight::open)).await?;
        for looks in 1..=MOST_LOOKS {
            let before = SlotMap::read(&mut catalog).await?;
            before.expect_shards(layout)?;
            let opened = try_join_all(sights.iter_mut().map(Sight::look)).await?;
            let after = try_join_all(sights.iter_mut().map(Sight::look_again)).await?;
            let map = SlotMap::read(&mut catalog).await?;
            if opened.iter().map(|(transfers, _)| transfers).eq(&after) && before == map {
                let moments = opened.into_iter().map(|(_, moment)| moment);
                let shards = try_join_all(sights.into_iter().zip(moments).map(|(sight, at)| sight.keep(at))).await?;
                return Ok(Self { shards, catalog, map, demand, looks });
            }
            try_join_all(sights.iter_mut().map(Sight::forget)).await?;
            tokio::time::sleep(PAUSE).await;
        }
        bail!("units moved between shards during each of {MOST_LOOKS} looks; audit again when less is being borrowed")
    }
}

impl<'a> Sight<'a> {
    async fn open(site: &'a ShardSite) -> anyhow::Result<Self> {
        let (mut snapshot, now) = tokio::try_join!(PgConnection::connect(&site.url), PgConnection::connect(&site.url))
            .with_context(|| format!("cannot reach the database of shard {}", site.id))?;
        let (id, region): (i16, String) =
            sqlx::query_as("SELECT shard_id, region FROM shard_meta").fetch_one(&mut snapshot).await?;
        ensure!(
            (id, &region) == (site.id, &site.region),
            "the database of shard {} of {} says that it is shard {id} of {region}",
            site.id,
            site.region
        );
        // A big audit sorts; and it may take longer than a checkout.
        let settings = "SET work_mem = '64MB'; SET statement_timeout = 0; SET idle_in_transaction_session_timeout = 0";
        snapshot.execute(settings).await?;
        Ok(Self { site, snapshot, now })
    }

    /// Opens the snapshot.
    async fn look(&mut self) -> anyhow::Result<(String, OffsetDateTime)> {
        self.snapshot.execute("BEGIN ISOLATION LEVEL REPEATABLE READ, READ ONLY").await?;
        let transfers = sqlx::query_scalar(TRANSFERS).fetch_one(&mut self.snapshot).await?;
        let moment = sqlx::query_scalar("SELECT shard_now()").fetch_one(&mut self.snapshot).await?;
        Ok((transfers, moment))
    }

    async fn look_again(&mut self) -> anyhow::Result<String> {
        Ok(sqlx::query_scalar(TRANSFERS).fetch_one(&mut self.now).await?)
    }

    async fn forget(&mut self) -> anyhow::Result<()> {
        self.snapshot.execute("ROLLBACK").await?;
        Ok(())
    }

    async fn keep(self, moment: OffsetDateTime) -> anyhow::Result<Shard> {
        let Self { site, mut snapshot, now } = self;
        now.close().await?;
        let rows = count(&mut snapshot).await?;
        Ok(Shard { id: site.id, region: site.region.clone(), conn: snapshot, moment, rows })
    }
}

/// Counts what the rules look at.
async fn count(snapshot: &mut PgConnection) -> anyhow::Result<BTreeMap<String, u64>> {
    let rows: Vec<(String, i64)> = sqlx::query_as(
        "SELECT 'allotments', count(*) FROM allotments UNION ALL SELECT 'ledger', count(*) FROM ledger
         UNION ALL SELECT 'orders', count(*) FROM orders UNION ALL SELECT 'line_items', count(*) FROM line_items
         UNION ALL SELECT 'reservations', count(*) FROM reservations
         UNION ALL SELECT 'idempotency_records', count(*) FROM idempotency_records
         UNION ALL SELECT 'notifications', count(*) FROM notifications
         UNION ALL SELECT 'order_reviews', count(*) FROM order_reviews
         UNION ALL SELECT 'payments', count(*) FROM payments UNION ALL SELECT 'outbox', count(*) FROM outbox
         UNION ALL SELECT 'inbox', count(*) FROM inbox UNION ALL SELECT 'event_retries', count(*) FROM event_retries
         UNION ALL SELECT 'dead_letters', count(*) FROM dead_letters UNION ALL SELECT 'users', count(*) FROM users
         UNION ALL SELECT 'carts', count(*) FROM carts UNION ALL SELECT 'logins', count(*) FROM logins
         UNION ALL SELECT 'slots', count(*) FROM slots UNION ALL SELECT 'transfers_in', count(*) FROM transfers_in
         UNION ALL SELECT 'transfers_out', count(*) FROM transfers_out
         UNION ALL SELECT 'shipments', count(*) FROM shipments UNION ALL SELECT 'sent_units', count(*) FROM sent_units
         UNION ALL SELECT 'shipment_lines', count(*) FROM shipment_lines
         UNION ALL SELECT 'labels', count(*) FROM labels UNION ALL SELECT 'label_lines', count(*) FROM label_lines
         UNION ALL SELECT 'returns', count(*) FROM returns UNION ALL SELECT 'return_lines', count(*) FROM return_lines
         UNION ALL SELECT 'refunds', count(*) FROM refunds
         UNION ALL SELECT 'origins', count(*) FROM origins
         UNION ALL SELECT 'order_origins', count(*) FROM order_origins
         UNION ALL SELECT 'parcel_origins', count(*) FROM parcel_origins
         UNION ALL SELECT 'money_entries', count(*) FROM money_entries",
    )
    .fetch_all(snapshot)
    .await?;
    Ok(rows.into_iter().map(|(table, rows)| (table, rows.unsigned_abs())).collect())
}

#[cfg(test)]
mod tests {
    use region_core_store::test_support::shard_database;
    use sqlx::AssertSqlSafe;

    use super::*;

    #[tokio::test]
    async fn whatever_moves_units_after_the_snapshot_shows() {
        let database = shard_database().await;
        let site = ShardSite { id: 1, region: "eu".to_owned(), url: database.url.clone() };
        let mut sight = Sight::open(&site).await.unwrap();
        for step in [
            "UPDATE transfer_counter SET next_seq = 2",
            "INSERT INTO transfers_in VALUES (1, 2, 'MUG', 9, NULL, 'pending')",
            "UPDATE transfers_in SET state = 'done', units = 3",
            "INSERT INTO transfers_out VALUES (2, 1, 'MUG', 3, 'sent')",
            "UPDATE transfers_out SET state = 'acked'",
            "INSERT INTO transfer_lows VALUES (2, 1)",
            "UPDATE transfer_lows SET low = 2",
            "DELETE FROM transfers_out",
        ] {
            let (before, _) = sight.look().await.unwrap();
            assert_eq!(before, sight.look_again().await.unwrap());
            sqlx::raw_sql(AssertSqlSafe(step)).execute(&database.pool).await.unwrap();
            assert_ne!(before, sight.look_again().await.unwrap(), "{step}");
            sight.forget().await.unwrap();
        }
    }

    #[tokio::test]
    async fn orders_that_go_on_do_not_spoil_the_cut_and_the_snapshot_holds_up_nobody() {
        let database = shard_database().await;
        let site = ShardSite { id: 1, region: "eu".to_owned(), url: database.url.clone() };
        let mut sight = Sight::open(&site).await.unwrap();
        let (before, _) = sight.look().await.unwrap();
        sqlx::raw_sql("INSERT INTO allotments VALUES ('MUG', 5)").execute(&database.pool).await.unwrap();
        assert_eq!(before, sight.look_again().await.unwrap());
        let assigned = "SELECT pg_current_xact_id_if_assigned() IS NOT NULL";
        let has_id: bool = sqlx::query_scalar(assigned).fetch_one(&mut sight.snapshot).await.unwrap();
        assert!(!has_id, "readers of the outbox would wait for the audit");
    }
}
