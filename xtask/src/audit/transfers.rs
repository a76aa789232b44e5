//! Units between shards: both halves of every transfer side by side, and what is in flight.
//!
//! In flight is what a donor has sent, its borrower has not credited, and is not settled: below the borrower's
//! low-water mark nothing is. A half may be forgotten once it is settled, so one that is alone is not wrong by itself.

use std::collections::BTreeMap;

use anyhow::Context as _;
use futures::StreamExt as _;
use time::{Duration, OffsetDateTime};

use super::Demand;
use super::cut::{Cut, Shard};
use super::merge::{Merge, Rows};
use super::regions::ByRegion;
use super::report::{Breach, Findings, Found};
use super::rules::{QUIET_TRANSFERS, STOCK_TRANSFERS};

/// How long units may be in flight.
const LONGEST: Duration = Duration::seconds(60);
/// Units in flight for less are on their way, however many they are: recovery begins to ask after this long.
const LINGERING: Duration = Duration::seconds(5);

/// What is in flight.
#[derive(Debug, Default)]
pub(super) struct Flights {
    pub(super) by_sku: BTreeMap<String, Flight>,
    /// Each transfer that is.
    pub(super) away: Vec<Away>,
}

/// Units in flight, and which of them lie in other regions than their donor's.
#[derive(Debug)]
pub(super) struct Away {
    pub(super) sku: String,
    pub(super) donor: i16,
    pub(super) units: i64,
    pub(super) elsewhere: Option<ByRegion>,
}

/// Units of a SKU.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Flight {
    pub(super) units: i64,
    /// Of these, those that ought to have arrived.
    pub(super) lingering: i64,
}

/// One half of a transfer.
#[derive(Clone, Debug, sqlx::FromRow)]
struct Half {
    seq: i64,
    sku: String,
    units: Option<i64>,
    state: String,
    created_at: OffsetDateTime,
    #[sqlx(default, json(nullable))]
    elsewhere: Option<ByRegion>,
}

/// What a borrower has drawn and settled, and what its donor knows of that.
#[derive(Clone, Copy, Debug)]
struct Marks {
    /// The next number that the borrower will draw.
    next_seq: i64,
    /// Every number below is settled, says the borrower.
    low: i64,
    /// Every number below is settled, knows the donor.
    known_low: i64,
}

/// A borrower and one of its donors.
#[derive(Clone, Copy, Debug)]
struct Pair {
    borrower: i16,
    donor: i16,
}

const IN: &str = "SELECT seq, sku, units, state, created_at FROM transfers_in WHERE donor = $1 ORDER BY seq";
const OUT: &str =
    "SELECT seq, sku, units, state, created_at, elsewhere FROM transfers_out WHERE borrower = $1 ORDER BY seq";

/// The names of the two streams.
const INCOMING: i16 = 0;
const OUTGOING: i16 = 1;

pub(super) async fn check(cut: &mut Cut, demand: Demand, findings: &mut Findings) -> anyhow::Result<Flights> {
    let rows = cut.shards.iter().map(|shard| shard.rows("transfers_in") + shard.rows("transfers_out")).sum();
    let (mut halves, mut quiet) = (Found::rows(rows), Found::rows(rows));
    let mut flights = Flights::default();
    strangers(cut, &mut halves).await?;
    for borrower in 0..cut.shards.len() {
        for donor in (0..cut.shards.len()).filter(|donor| *donor != borrower) {
            let Ok([borrower, donor]) = cut.shards.get_disjoint_mut([borrower, donor]) else { continue };
            let mut look = Look { demand, halves: &mut halves, quiet: &mut quiet, flights: &mut flights };
            let pair = Pair { borrower: borrower.id, donor: donor.id };
            look.compare(borrower, donor).await.with_context(|| format!("transfers, {pair:?}"))?;
        }
    }
    findings.add(STOCK_TRANSFERS, halves);
    findings.add(QUIET_TRANSFERS, quiet);
    Ok(flights)
}

/// Halves whose other side is no other shard of this store.
async fn strangers(cut: &mut Cut, found: &mut Found) -> anyhow::Result<()> {
    let all: Vec<i16> = cut.shards.iter().map(|shard| shard.id).collect();
    for shard in &mut cut.shards {
        let others: Vec<i16> = all.iter().filter(|id| **id != shard.id).copied().collect();
        let rows: Vec<(String, i64, i16)> = sqlx::query_as(
            "SELECT 'transfers_in', seq, donor FROM transfers_in WHERE donor <> ALL ($1)
             UNION ALL SELECT 'transfers_out', seq, borrower FROM transfers_out WHERE borrower <> ALL ($1)",
        )
        .bind(others)
        .fetch_all(&mut shard.conn)
        .await?;
        for (table, seq, other) in rows {
            let (key, problem) = (format!("seq {seq}"), format!("its other half would be on shard {other}"));
            found.breach(Breach { shard: Some(shard.id), table, key, problem });
        }
    }
    Ok(())
}

async fn marks(borrower: &mut Shard, donor: &mut Shard) -> Result<Marks, sqlx::Error> {
    let (next_seq, low): (i64, i64) = sqlx::query_as(
        "SELECT next_seq, coalesce((SELECT min(seq) FROM transfers_in WHERE settled_at IS NULL), next_seq)
         FROM transfer_counter",
    )
    .fetch_one(&mut borrower.conn)
    .await?;
    let known_low: Option<i64> = sqlx::query_scalar("SELECT low FROM transfer_lows WHERE peer = $1")
        .bind(borrower.id)
        .fetch_optional(&mut donor.conn)
        .await?;
    Ok(Marks { next_seq, low, known_low: known_low.unwrap_or(1) })
}

fn halves<'a>(shard: &'a mut Shard, sql: &'static str, other: i16) -> Rows<'a, Half> {
    sqlx::query_as(sql).bind(other).fetch(&mut shard.conn).boxed()
}

/// One walk over the transfers of a borrower and a donor.
struct Look<'a> {
    demand: Demand,
    halves: &'a mut Found,
    quiet: &'a mut Found,
    flights: &'a mut Flights,
}

impl Look<'_> {
    async fn compare(&mut self, borrower: &mut Shard, donor: &mut Shard) -> anyhow::Result<()> {
        let pair = Pair { borrower: borrower.id, donor: donor.id };
        let (asked, given) = (borrower.moment, donor.moment);
        let marks = marks(borrower, donor).await?;
        if marks.known_low > marks.low {
            let problem = format!(
                "knows all below {} as settled, but its borrower has only all below {}",
                marks.known_low, marks.low
            );
            let (table, key) = ("transfer_lows".to_owned(), format!("peer {}", pair.borrower));
            self.halves.breach(Breach { shard: Some(pair.donor), table, key, problem });
        }
        let incoming = halves(borrower, IN, pair.donor);
        let outgoing = halves(donor, OUT, pair.borrower);
        let mut merge = Merge::of([(INCOMING, incoming), (OUTGOING, outgoing)]).await?;
        loop {
            let both = merge.next(|half| &half.seq).await?;
            let Some((_, half)) = both.first() else { return Ok(()) };
            let key = format!("seq {} of shard {}, {}", half.seq, pair.borrower, half.sku);
            let side = |name| both.iter().find(|(side, _)| *side == name).map(|(_, half)| half);
            self.pair(pair, &key, side(INCOMING), side(OUTGOING), marks);
            self.age(pair, &key, side(INCOMING), side(OUTGOING), (asked, given));
        }
    }

    fn pair(&mut self, pair: Pair, key: &str, incoming: Option<&Half>, outgoing: Option<&Half>, marks: Marks) {
        if let Some(problem) = contradiction(incoming, outgoing, marks) {
            let (shard, table) = match outgoing {
                Some(_) => (pair.donor, "transfers_out"),
                None => (pair.borrower, "transfers_in"),
            };
            let (table, key) = (table.to_owned(), key.to_owned());
            self.halves.breach(Breach { shard: Some(shard), table, key, problem });
        }
        if let Some(outgoing) = outgoing.filter(|outgoing| flies(incoming, outgoing, marks)) {
            let (sku, units) = (outgoing.sku.clone(), outgoing.units.unwrap_or(0));
            self.flights.by_sku.entry(sku.clone()).or_default().units += units;
            self.flights.away.push(Away { sku, donor: pair.donor, units, elsewhere: outgoing.elsewhere.clone() });
        }
    }

    fn age(
        &mut self,
        pair: Pair,
        key: &str,
        incoming: Option<&Half>,
        outgoing: Option<&Half>,
        (asked, given): (OffsetDateTime, OffsetDateTime),
    ) {
        let open = |half: &&Half| matches!(half.state.as_str(), "pending" | "sent");
        let sides = [
            (incoming.filter(open), pair.borrower, "transfers_in", asked),
            (outgoing.filter(open), pair.donor, "transfers_out", given),
        ];
        for (half, shard, table, now) in sides {
            let Some(half) = half else { continue };
            if self.demand == Demand::Settled || now - half.created_at >= LONGEST {
                let units = half.units.map_or_else(|| "units asked for".to_owned(), |units| format!("{units} units"));
                let problem = format!("{} since {}: {units}", half.state, half.created_at);
                self.quiet.breach(Breach { shard: Some(shard), table: table.to_owned(), key: key.to_owned(), problem });
            } else if table == "transfers_out" && now - half.created_at >= LINGERING {
                self.flights.by_sku.entry(half.sku.clone()).or_default().lingering += half.units.unwrap_or(0);
            }
        }
    }
}

/// Whether the donor's half is in flight.
fn flies(incoming: Option<&Half>, outgoing: &Half, marks: Marks) -> bool {
    let credited = incoming.is_some_and(|half| half.state == "done");
    let settled = incoming.is_none() && outgoing.seq < marks.low;
    outgoing.state == "sent" && !credited && !settled
}

/// What the two halves of one transfer contradict each other in.
fn contradiction(incoming: Option<&Half>, outgoing: Option<&Half>, marks: Marks) -> Option<String> {
    let seq = incoming.or(outgoing).map_or(0, |half| half.seq);
    if seq >= marks.next_seq {
        return Some(format!("its borrower has drawn only the numbers below {}", marks.next_seq));
    }
    let units = |half: &Half| half.units.unwrap_or(0);
    match (incoming, outgoing) {
        (Some(got), None) => (got.state == "done" && units(got) > 0 && seq >= marks.known_low)
            .then(|| format!("{} units credited that its donor never gave", units(got))),
        (Some(got), Some(gave)) if got.sku != gave.sku => {
            Some(format!("{} was asked for, {} was given", got.sku, gave.sku))
        }
        (Some(got), Some(gave)) => match (got.state.as_str(), gave.state.as_str()) {
            ("done", "cancelled") if units(got) > 0 => {
                Some(format!("{} units credited that its donor has taken back", units(got)))
            }
            ("done", "sent" | "acked") if units(got) != units(gave) => {
                Some(format!("{} units given, {} credited", units(gave), units(got)))
            }
            ("pending" | "cancelled", "acked") if units(gave) > 0 => {
                Some(format!("{} units acknowledged, but the borrower's half is {}", units(gave), got.state))
            }
            _ => None,
        },
        (None, _) => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MARKS: Marks = Marks { next_seq: 9, low: 5, known_low: 4 };

    fn half(seq: i64, state: &str, units: Option<i64>) -> Half {
        let (sku, state) = ("MUG".to_owned(), state.to_owned());
        Half { seq, sku, units, state, created_at: OffsetDateTime::UNIX_EPOCH, elsewhere: None }
    }

    fn in_flight(incoming: Option<Half>, outgoing: &Half) -> bool {
        flies(incoming.as_ref(), outgoing, MARKS)
    }

    #[test]
    fn units_fly_from_the_sending_until_they_are_credited_or_taken_back() {
        let sent = half(6, "sent", Some(3));
        assert!(in_flight(None, &sent) && in_flight(Some(half(6, "pending", None)), &sent));
        assert!(in_flight(Some(half(6, "cancelled", None)), &sent), "not free again before its donor has heard of it");
        assert!(!in_flight(Some(half(6, "done", Some(3))), &sent));
        for closed in ["acked", "cancelled"] {
            assert!(!in_flight(None, &half(6, closed, Some(3))));
        }
        assert!(!in_flight(None, &half(4, "sent", Some(3))), "settled, says its borrower");
    }

    #[test]
    fn halves_that_go_together_are_no_news() {
        let done = half(6, "done", Some(3));
        for (incoming, outgoing) in [
            (Some(done.clone()), Some(half(6, "sent", Some(3)))),
            (Some(done.clone()), Some(half(6, "acked", Some(3)))),
            (Some(half(6, "pending", None)), None),
            (Some(half(6, "pending", None)), Some(half(6, "acked", Some(0)))),
            (Some(half(6, "cancelled", None)), Some(half(6, "cancelled", Some(3)))),
            (Some(half(6, "done", Some(0))), None),
            // Its donor forgot what it knows to be settled.
            (Some(half(3, "done", Some(3))), None),
            (None, Some(half(3, "acked", Some(3)))),
        ] {
            assert_eq!(contradiction(incoming.as_ref(), outgoing.as_ref(), MARKS), None, "{incoming:?} {outgoing:?}");
        }
    }

    #[test]
    fn halves_that_contradict_each_other_are_found() {
        let done = half(6, "done", Some(3));
        let cup = Half { sku: "CUP".to_owned(), ..half(6, "sent", Some(3)) };
        for (incoming, outgoing, problem) in [
            (Some(&done), None, "3 units credited that its donor never gave"),
            (Some(&done), Some(half(6, "cancelled", Some(3))), "3 units credited that its donor has taken back"),
            (Some(&done), Some(half(6, "acked", Some(2))), "2 units given, 3 credited"),
            (
                Some(&half(6, "pending", None)),
                Some(half(6, "acked", Some(2))),
                "2 units acknowledged, but the borrower's half is pending",
            ),
            (Some(&done), Some(cup), "MUG was asked for, CUP was given"),
            (None, Some(half(9, "sent", Some(1))), "its borrower has drawn only the numbers below 9"),
        ] {
            assert_eq!(contradiction(incoming, outgoing.as_ref(), MARKS).as_deref(), Some(problem));
        }
    }
}
