//! Units of each SKU over all shards: none came from nowhere, none went there, and none was sold twice.

use anyhow::Context as _;
use futures::StreamExt as _;
use serde::Serialize;

use super::Demand;
use super::cut::{Cut, Shard};
use super::merge::{Merge, Rows};
use super::report::{Breach, Findings, Found};
use super::rules::{QUIET_TRANSFERS, STOCK_CONSERVED, STOCK_OVERSOLD};
use super::transfers::{Flight, Flights};

/// Units.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, sqlx::FromRow)]
pub(crate) struct Units {
    /// Received and returned, less what was written off.
    pub(crate) received: i64,
    pub(crate) free: i64,
    pub(crate) reserved: i64,
    /// Claimed or confirmed, whether returned later or not.
    pub(crate) sold: i64,
    #[sqlx(default)]
    pub(crate) in_flight: i64,
}

/// A shard's units of a SKU.
#[derive(Debug, sqlx::FromRow)]
struct Row {
    sku: String,
    #[sqlx(flatten)]
    units: Units,
}

// Sorted by bytes, as strings are here.
const UNITS: &str = r#"
    SELECT sku, coalesce(units, 0) AS received, coalesce(free, 0) AS free, coalesce(reserved, 0) AS reserved,
           coalesce(sold, 0) AS sold
    FROM allotments FULL JOIN (SELECT sku, sum(units)::bigint AS units FROM ledger GROUP BY sku) AS booked USING (sku)
    ORDER BY sku COLLATE "C""#;

/// Checks every SKU. Tells how many there are, and all units together.
pub(super) async fn check(cut: &mut Cut, flights: Flights, findings: &mut Findings) -> anyhow::Result<(u64, Units)> {
    let demand = cut.demand;
    let rows = cut.shards.iter().map(|shard| shard.rows("allotments") + shard.rows("ledger")).sum();
    let (mut conserved, mut oversold, mut quiet) = (Found::rows(rows), Found::rows(rows), Found::default());
    let (mut skus, mut all, mut flights) = (0, Units::default(), flights.by_sku);
    let mut merge = Merge::of(cut.shards.iter_mut().map(units)).await.context("allotments")?;
    loop {
        let same = merge.next(|row| &row.sku).await.context("allotments")?;
        let Some((_, Row { sku, .. })) = same.first() else { break };
        let flight = flights.remove(sku).unwrap_or_default();
        let units =
            same.iter().fold(Units { in_flight: flight.units, ..Units::default() }, |sum, (_, row)| sum.and(row.units));
        note(&mut conserved, sku, units.unconserved().map(|problem| problem + &by_shard(&same)));
        note(&mut oversold, sku, units.oversold());
        note(&mut quiet, sku, units.lingering(flight, demand));
        (skus, all) = (skus + 1, all.and(units));
    }
    for (sku, flight) in flights {
        note(&mut conserved, &sku, Some(format!("{} in flight of what no shard has ever received", flight.units)));
    }
    findings.add_all([(STOCK_CONSERVED, conserved), (STOCK_OVERSOLD, oversold), (QUIET_TRANSFERS, quiet)]);
    Ok((skus, all))
}

fn units(shard: &mut Shard) -> (i16, Rows<'_, Row>) {
    (shard.id, sqlx::query_as(UNITS).fetch(&mut shard.conn).boxed())
}

/// What each shard of it has, for whoever must find the row.
fn by_shard(same: &[(i16, Row)]) -> String {
    let parts = same.iter().map(|(shard, Row { units, .. })| {
        let Units { received, free, reserved, sold, .. } = units;
        format!("; shard {shard}: {received} received, {free} + {reserved} + {sold}")
    });
    parts.collect()
}

fn note(found: &mut Found, sku: &str, problem: Option<String>) {
    if let Some(problem) = problem {
        found.breach(Breach { shard: None, table: "allotments".to_owned(), key: sku.to_owned(), problem });
    }
}

impl Units {
    fn and(self, other: Self) -> Self {
        Self {
            received: self.received + other.received,
            free: self.free + other.free,
            reserved: self.reserved + other.reserved,
            sold: self.sold + other.sold,
            in_flight: self.in_flight + other.in_flight,
        }
    }

    fn unconserved(self) -> Option<String> {
        let Self { received, free, reserved, sold, in_flight } = self;
        let there = free + reserved + sold + in_flight;
        (there != received).then(|| {
            let parts = format!("{free} free + {reserved} reserved + {sold} sold + {in_flight} in flight");
            format!("{received} received, but {there} there: {parts}")
        })
    }

    fn oversold(self) -> Option<String> {
        let Self { received, reserved, sold, .. } = self;
        (sold + reserved > received).then(|| format!("{sold} sold and {reserved} reserved of {received} received"))
    }

    /// Whether too many of it have been in flight for too long. Who demands quiet has been told of each already.
    fn lingering(self, flight: Flight, demand: Demand) -> Option<String> {
        let too_many = demand == Demand::Running && flight.lingering > 0 && flight.lingering * 100 > self.received;
        too_many.then(|| format!("{} of {} in flight for more than 5 s", flight.lingering, self.received))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const UNITS: Units = Units { received: 100, free: 90, reserved: 3, sold: 5, in_flight: 2 };

    #[test]
    fn a_unit_too_many_and_one_too_few_are_found() {
        assert_eq!((UNITS.unconserved(), UNITS.oversold()), (None, None));
        for free in [89, 91] {
            assert!(Units { free, ..UNITS }.unconserved().unwrap().starts_with("100 received, but "));
        }
        assert_eq!(Units { received: 7, ..UNITS }.oversold().unwrap(), "5 sold and 3 reserved of 7 received");
    }

    #[test]
    fn one_percent_may_linger_and_no_more() {
        let lingering = |lingering, demand| UNITS.lingering(Flight { units: 2, lingering }, demand).is_some();
        assert!(!lingering(1, Demand::Running) && lingering(2, Demand::Running));
        assert!(!lingering(2, Demand::Settled), "told twice");
    }
}
