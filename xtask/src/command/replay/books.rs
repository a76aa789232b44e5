//! What the databases say about a run.
//!
//! The queries are checked at run time only: the commands here also rewrite the committed metadata of checked queries,
//! so they must compile without it.

use std::collections::BTreeMap;

use anyhow::Context as _;
use shared::{OrderId, PaymentId};
use sqlx::{Connection as _, PgConnection};
use uuid::Uuid;

/// Units by SKU.
pub(super) type Units = BTreeMap<String, i64>;

/// Stock of a SKU, over all shards.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Stock {
    pub(super) free: i64,
    pub(super) reserved: i64,
    pub(super) sold: i64,
    /// Received, less written off.
    pub(super) ledger: i64,
}

/// All stock at one moment, one moment a shard.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Count {
    pub(super) stock: BTreeMap<String, Stock>,
    /// Units claimed for orders of anyone but this run.
    pub(super) others: Units,
}

/// Key, order, status, total, delivery, catalog's version, payment.
type KeptRow = (String, Uuid, String, i64, i64, i64, Option<Uuid>);

/// An order of the run as its shard keeps it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Kept {
    pub(super) key: String,
    pub(super) order_id: OrderId,
    pub(super) status: String,
    pub(super) total_minor: i64,
    /// What of it is for delivery.
    pub(super) shipping_minor: i64,
    pub(super) catalog_version: i64,
    pub(super) payment_id: Option<PaymentId>,
}

/// Every price that was ever in force: by SKU, by the catalog's version from which on. Absent where withdrawn.
#[derive(Clone, Debug, Default)]
pub(super) struct PriceHistory(pub(super) BTreeMap<String, BTreeMap<i64, Option<i64>>>);

impl PriceHistory {
    /// The price in minor units at a version of the catalog.
    pub(super) fn at(&self, sku: &str, version: i64) -> Option<i64> {
        self.0.get(sku)?.range(..=version).next_back().and_then(|(_, price)| *price)
    }
}

/// The shards' databases.
#[derive(Debug)]
pub(super) struct Shards(Vec<PgConnection>);

impl Shards {
    pub(super) async fn connect(urls: &[String]) -> anyhow::Result<Self> {
        let mut connections = Vec::with_capacity(urls.len());
        for (index, url) in urls.iter().enumerate() {
            let shard = PgConnection::connect(url).await;
            connections.push(shard.with_context(|| format!("cannot reach the database of shard {}", index + 1))?);
        }
        Ok(Self(connections))
    }

    /// Counts all stock, and what is claimed for orders whose key does not start with `prefix`.
    pub(super) async fn count(&mut self, prefix: &str) -> anyhow::Result<Count> {
        let mut count = Count::default();
        for shard in &mut self.0 {
            count_shard(shard, prefix, &mut count).await?;
        }
        Ok(count)
    }

    /// How many orders of the run are still PENDING.
    pub(super) async fn pending(&mut self, prefix: &str) -> anyhow::Result<i64> {
        let mut pending = 0;
        for shard in &mut self.0 {
            pending += sqlx::query_scalar::<_, i64>(
                "SELECT count(*) FROM idempotency_records JOIN orders USING (order_id)
                 WHERE starts_with(key, $1) AND status = 'PENDING'",
            )
            .bind(prefix)
            .fetch_one(shard)
            .await?;
        }
        Ok(pending)
    }

    /// The orders of the run.
    pub(super) async fn orders(&mut self, prefix: &str) -> anyhow::Result<Vec<Kept>> {
        let mut kept = Vec::new();
        for shard in &mut self.0 {
            let rows: Vec<KeptRow> = sqlx::query_as(
                "SELECT i.key, o.order_id, o.status, o.total_minor, o.shipping_minor, o.catalog_version, p.payment_id
                 FROM idempotency_records i JOIN orders o USING (order_id) LEFT JOIN payments p USING (order_id)
                 WHERE starts_with(i.key, $1) ORDER BY i.key",
            )
            .bind(prefix)
            .fetch_all(shard)
            .await?;
            let order = |(key, order, status, total_minor, shipping_minor, catalog_version, payment): KeptRow| Kept {
                key,
                order_id: OrderId::from_uuid(order),
                status,
                total_minor,
                shipping_minor,
                catalog_version,
                payment_id: payment.map(PaymentId::from_uuid),
            };
            kept.extend(rows.into_iter().map(order));
        }
        Ok(kept)
    }

    /// Units on the lines of the run's orders that were paid.
    pub(super) async fn lines(&mut self, prefix: &str) -> anyhow::Result<Units> {
        let mut lines = Units::new();
        for shard in &mut self.0 {
            let rows: Vec<(String, i64)> = sqlx::query_as(
                "SELECT l.sku, sum(l.quantity)::bigint
                 FROM idempotency_records i JOIN orders o USING (order_id) JOIN line_items l USING (order_id)
                 WHERE starts_with(i.key, $1) AND o.status = 'CONFIRMED' GROUP BY l.sku",
            )
            .bind(prefix)
            .fetch_all(shard)
            .await?;
            add(&mut lines, rows);
        }
        Ok(lines)
    }
}

async fn count_shard(shard: &mut PgConnection, prefix: &str, count: &mut Count) -> anyhow::Result<()> {
    // One snapshot for both: a claim in between would be seen by one of them alone.
    let mut moment = shard.begin_with("BEGIN ISOLATION LEVEL REPEATABLE READ, READ ONLY").await?;
    let stock: Vec<(String, i64, i64, i64, i64)> = sqlx::query_as(
        "SELECT sku, coalesce(free, 0), coalesce(reserved, 0), coalesce(sold, 0), coalesce(units, 0)
         FROM allotments FULL JOIN (SELECT sku, sum(units)::bigint AS units FROM ledger GROUP BY sku) l USING (sku)",
    )
    .fetch_all(&mut *moment)
    .await?;
    let others: Vec<(String, i64)> = sqlx::query_as(
        "SELECT sku, sum(units)::bigint FROM reservations
         WHERE state = 'claimed'
           AND order_id NOT IN (SELECT order_id FROM idempotency_records WHERE starts_with(key, $1))
         GROUP BY sku",
    )
    .bind(prefix)
    .fetch_all(&mut *moment)
    .await?;
    moment.rollback().await?;
    for (sku, free, reserved, sold, ledger) in stock {
        let all = count.stock.entry(sku).or_default();
        all.free += free;
        all.reserved += reserved;
        all.sold += sold;
        all.ledger += ledger;
    }
    add(&mut count.others, others);
    Ok(())
}

fn add(sums: &mut Units, rows: Vec<(String, i64)>) {
    for (sku, units) in rows {
        *sums.entry(sku).or_default() += units;
    }
}

/// Every price, of a catalog's copy.
pub(super) async fn prices(catalog: &str) -> anyhow::Result<PriceHistory> {
    let mut catalog = PgConnection::connect(catalog).await.context("cannot reach the catalog's database")?;
    let rows: Vec<(String, i64, Option<i64>)> =
        sqlx::query_as("SELECT sku, version, price_minor FROM catalog.price_history").fetch_all(&mut catalog).await?;
    catalog.close().await?;
    let mut history = PriceHistory::default();
    for (sku, version, price) in rows {
        history.0.entry(sku).or_default().insert(version, price);
    }
    Ok(history)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_price_holds_from_its_version_until_the_next() {
        let history = PriceHistory([("MUG".to_owned(), [(3, Some(255)), (7, Some(295)), (9, None)].into())].into());
        let prices = [2, 3, 6, 7, 8, 9, 100].map(|version| history.at("MUG", version));
        assert_eq!(prices, [None, Some(255), Some(255), Some(295), Some(295), None, None]);
        assert_eq!(history.at("CUP", 5), None);
    }
}
