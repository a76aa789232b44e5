//! Where units lie, over all shards: in each region as many as came there and were not lost there, whatever was lent on.
//!
//! A unit too many or too few is told by `stock.conserved` alone; here is told what is said to lie in the wrong place. SKUs of which
//! units moved while it was not written down where they lie are left out (`origins_unknown`).

use std::collections::BTreeMap;

use anyhow::Context as _;
use futures::StreamExt as _;

use super::cut::{Cut, Shard};
use super::merge::{Merge, Rows};
use super::report::{Breach, Findings, Found};
use super::rules::STOCK_REGIONS;
use super::transfers::{Away, Flights};

/// Units by region.
pub(super) type ByRegion = BTreeMap<String, i64>;

/// What a shard says of a SKU.
#[derive(Debug, sqlx::FromRow)]
struct Row {
    sku: String,
    /// Received and returned, less what was written off.
    received: i64,
    held: i64,
    /// Of those that are held, units that lie in other regions.
    #[sqlx(json(nullable))]
    lying: Option<ByRegion>,
    /// Of those that were written off, units that lay in other regions.
    #[sqlx(json(nullable))]
    lost: Option<ByRegion>,
    unknown: bool,
}

// Sorted by bytes, as strings are here.
const LYING: &str = r#"
    SELECT sku, coalesce(booked.units, 0) AS received, coalesce(free + reserved + sold, 0) AS held, lying, lost,
           EXISTS (SELECT FROM origins_unknown WHERE origins_unknown.sku = coalesce(allotments.sku, booked.sku)) AS unknown
    FROM allotments FULL JOIN (SELECT sku, sum(units)::bigint AS units FROM ledger GROUP BY sku) AS booked USING (sku)
    LEFT JOIN (SELECT sku, jsonb_object_agg(region, units) AS lying FROM origins GROUP BY sku) AS there USING (sku)
    LEFT JOIN (SELECT sku, jsonb_object_agg(region, units) AS lost FROM (
                   SELECT sku, key AS region, sum(value::bigint) AS units FROM ledger, jsonb_each_text(elsewhere)
                   GROUP BY sku, key) AS sums GROUP BY sku) AS gone USING (sku)
    ORDER BY sku COLLATE "C""#;

/// Checks every SKU.
pub(super) async fn check(cut: &mut Cut, flights: &Flights, findings: &mut Findings) -> anyhow::Result<()> {
    let mut found = Found::rows(cut.shards.iter().map(|shard| shard.rows("allotments") + shard.rows("origins")).sum());
    let homes: BTreeMap<i16, String> = cut.shards.iter().map(|shard| (shard.id, shard.region.clone())).collect();
    let mut merge = Merge::of(cut.shards.iter_mut().map(lying)).await.context("origins")?;
    loop {
        let same = merge.next(|row| &row.sku).await.context("origins")?;
        let Some((_, Row { sku, .. })) = same.first() else { break };
        let away: Vec<&Away> = flights.away.iter().filter(|away| away.sku == *sku).collect();
        if let Some(problem) = misplaced(&homes, &same, &away) {
            found.breach(Breach { shard: None, table: "origins".to_owned(), key: sku.clone(), problem });
        }
    }
    findings.add(STOCK_REGIONS, found);
    Ok(())
}

fn lying(shard: &mut Shard) -> (i16, Rows<'_, Row>) {
    (shard.id, sqlx::query_as(LYING).fetch(&mut shard.conn).boxed())
}

/// The regions in which other units are said to lie than came there.
fn misplaced(homes: &BTreeMap<i16, String>, rows: &[(i16, Row)], away: &[&Away]) -> Option<String> {
    if rows.iter().any(|(_, row)| row.unknown) {
        return None;
    }
    let (mut came, mut lie) = (ByRegion::new(), ByRegion::new());
    for (shard, row) in rows {
        // A loss was entered below zero, and whatever lay elsewhere was lost there.
        spread(&mut came, homes.get(shard)?, row.received, row.lost.as_ref(), -1);
        spread(&mut lie, homes.get(shard)?, row.held, row.lying.as_ref(), 1);
    }
    for away in away {
        spread(&mut lie, homes.get(&away.donor)?, away.units, away.elsewhere.as_ref(), 1);
    }
    let all = |regions: &ByRegion| regions.values().sum::<i64>();
    if all(&came) != all(&lie) {
        return None;
    }
    let regions = came.keys().chain(lie.keys()).collect::<std::collections::BTreeSet<_>>();
    let units = |of: &ByRegion, region: &String| of.get(region).copied().unwrap_or(0);
    let wrong = regions.into_iter().filter(|region| units(&came, region) != units(&lie, region));
    let wrong: Vec<String> = wrong
        .map(|region| {
            format!("{} came to {region}, {} are said to lie there", units(&came, region), units(&lie, region))
        })
        .collect();
    (!wrong.is_empty()).then(|| wrong.join("; "))
}

/// Counts `units` at `home`, but for those that belong to other regions; `sign` is how those are counted among `units`.
fn spread(to: &mut ByRegion, home: &str, units: i64, elsewhere: Option<&ByRegion>, sign: i64) {
    let mut here = units;
    for (region, units) in elsewhere.into_iter().flatten() {
        here -= sign * units;
        *to.entry(region.clone()).or_default() += sign * units;
    }
    *to.entry(home.to_owned()).or_default() += here;
}

#[cfg(test)]
mod tests {
    use super::*;

    fn there(units: &[(&str, i64)]) -> Option<ByRegion> {
        Some(units.iter().map(|(region, units)| ((*region).to_owned(), *units)).collect())
    }

    fn row(received: i64, held: i64, lying: Option<ByRegion>) -> Row {
        Row { sku: "MUG".to_owned(), received, held, lying, lost: None, unknown: false }
    }

    fn told(rows: [Row; 2], away: &[&Away]) -> Option<String> {
        let homes = [(1, "eu".to_owned()), (2, "us".to_owned())].into();
        let [one, other] = rows;
        misplaced(&homes, &[(1, one), (2, other)], away)
    }

    #[test]
    fn units_that_are_lent_on_lie_where_they_came() {
        assert_eq!(told([row(10, 6, None), row(5, 9, there(&[("eu", 4)]))], &[]), None);
        let flying = Away { sku: "MUG".to_owned(), donor: 2, units: 3, elsewhere: there(&[("eu", 2)]) };
        assert_eq!(told([row(10, 6, None), row(5, 6, there(&[("eu", 2)]))], &[&flying]), None);
        let lost = Row { lost: there(&[("eu", 2)]), ..row(5 - 3, 6, there(&[("eu", 2)])) };
        assert_eq!(told([row(10, 6, None), lost], &[]), None, "two of the three that were lost lay in eu");
    }

    #[test]
    fn a_unit_in_the_wrong_place_is_found_and_one_too_many_is_another_rule_s() {
        let found = told([row(10, 6, None), row(5, 9, there(&[("eu", 3)]))], &[]).unwrap();
        assert_eq!(found, "10 came to eu, 9 are said to lie there; 5 came to us, 6 are said to lie there");
        assert_eq!(told([row(10, 7, None), row(5, 9, there(&[("eu", 4)]))], &[]), None);
        let before = Row { unknown: true, ..row(10, 6, None) };
        assert_eq!(told([before, row(5, 9, None)], &[]), None);
    }
}
