//! Orders priced anew from the catalog's history: a line must have the price that was in force at its order's version.
//!
//! The history is kept in memory, it grows with the catalog and its changes; lines are grouped by price on the shard.

use std::collections::{BTreeMap, HashMap};

use anyhow::Context as _;
use futures::TryStreamExt as _;
use sqlx::PgConnection;

use super::cut::{Cut, Shard};
use super::report::{Breach, Findings, Found};
use super::rules::PRICES_HISTORY;

/// A price from some version on; no amount where the SKU was withdrawn.
type Price = (String, Option<i64>);

/// Every price that was ever in force: by SKU, by the version from which on.
#[derive(Debug, Default)]
struct History {
    prices: HashMap<String, BTreeMap<i64, Price>>,
    /// The catalog's newest version.
    newest: i64,
}

/// Lines that were sold alike.
#[derive(Debug, sqlx::FromRow)]
struct Sold {
    sku: String,
    catalog_version: i64,
    currency: String,
    unit_price_minor: i64,
    lines: i64,
    example: String,
}

const SOLD: &str = "
    SELECT sku, catalog_version, currency, unit_price_minor, count(*) AS lines, min(order_id::text) AS example
    FROM line_items JOIN orders USING (order_id)
    GROUP BY sku, catalog_version, currency, unit_price_minor";

pub(super) async fn check(cut: &mut Cut, findings: &mut Findings) -> anyhow::Result<()> {
    let history = History::read(&mut cut.catalog).await.context("the catalog's price history")?;
    for shard in &mut cut.shards {
        let found = compare(shard, &history).await.with_context(|| format!("shard {}, line_items", shard.id))?;
        findings.add(PRICES_HISTORY, found);
    }
    Ok(())
}

async fn compare(shard: &mut Shard, history: &History) -> anyhow::Result<Found> {
    let mut found = Found::default();
    let mut sold = sqlx::query_as::<_, Sold>(SOLD).fetch(&mut shard.conn);
    while let Some(sold) = sold.try_next().await? {
        let lines = sold.lines.unsigned_abs();
        found.rows += lines;
        if let Some(problem) = history.contradicts(&sold) {
            let more = if lines > 1 { format!(" and {} more lines", lines - 1) } else { String::new() };
            let key = format!("order {}, {}{more}", sold.example, sold.sku);
            found.breaches(lines, Breach { shard: Some(shard.id), table: "line_items".to_owned(), key, problem });
        }
    }
    Ok(found)
}

impl History {
    async fn read(catalog: &mut PgConnection) -> Result<Self, sqlx::Error> {
        let mut history = Self::default();
        {
            let mut rows = sqlx::query_as::<_, (String, i64, String, Option<i64>)>(
                "SELECT sku, version, currency, price_minor FROM catalog.price_history",
            )
            .fetch(&mut *catalog);
            while let Some((sku, version, currency, price)) = rows.try_next().await? {
                history.prices.entry(sku).or_default().insert(version, (currency, price));
            }
        }
        let newest = sqlx::query_scalar("SELECT version FROM catalog.versions").fetch_optional(catalog).await?;
        Ok(Self { newest: newest.unwrap_or(0), ..history })
    }

    fn contradicts(&self, sold: &Sold) -> Option<String> {
        let Sold { sku, catalog_version, currency, unit_price_minor, .. } = sold;
        let at = format!("{unit_price_minor} {currency} (minor units) at version {catalog_version}");
        if *catalog_version > self.newest {
            return Some(format!("{at}, but the catalog is at version {}", self.newest));
        }
        let price = self.prices.get(sku).and_then(|prices| prices.range(..=*catalog_version).next_back());
        match price {
            Some((_, (known, Some(minor)))) if known == currency && minor == unit_price_minor => None,
            Some((since, (known, Some(minor)))) => {
                Some(format!("{at}, but it cost {minor} {known} since version {since}"))
            }
            Some((since, (_, None))) => Some(format!("{at}, but it was withdrawn at version {since}")),
            None => Some(format!("{at}, but it had no price then")),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn problem(version: i64, currency: &str, minor: i64) -> Option<String> {
        let price = |minor| ("GBP".to_owned(), minor);
        let prices = [(3, price(Some(255))), (7, price(Some(295))), (9, price(None))].into();
        let history = History { prices: [("MUG".to_owned(), prices)].into(), newest: 10 };
        let (sku, example) = ("MUG".to_owned(), String::new());
        let currency = currency.to_owned();
        history.contradicts(&Sold {
            sku,
            catalog_version: version,
            currency,
            unit_price_minor: minor,
            lines: 1,
            example,
        })
    }

    #[test]
    fn a_price_holds_from_its_version_until_the_next() {
        for (version, minor) in [(3, 255), (6, 255), (7, 295), (8, 295)] {
            assert_eq!(problem(version, "GBP", minor), None);
        }
        assert!(problem(7, "GBP", 255).unwrap().ends_with("it cost 295 GBP since version 7"));
        assert!(problem(7, "EUR", 295).unwrap().ends_with("it cost 295 GBP since version 7"));
    }

    #[test]
    fn nothing_is_sold_before_it_had_a_price_after_it_was_withdrawn_or_in_the_future() {
        assert!(problem(2, "GBP", 255).unwrap().ends_with("it had no price then"));
        assert!(problem(9, "GBP", 295).unwrap().ends_with("it was withdrawn at version 9"));
        assert!(problem(11, "GBP", 295).unwrap().ends_with("the catalog is at version 10"));
    }
}
