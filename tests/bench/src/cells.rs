//! Admission beside pgbench: every combination of disk, shards, goods and clients, both sides one after the other.

use std::collections::BTreeMap;
use std::time::Duration;

use anyhow::bail;
use serde::Serialize;
use shared::Problem;

use crate::admission::{self, Meridian, Town};
use crate::baseline::{self, Pgbench};
use crate::cpu::Meter;
use crate::ground::Ground;
use crate::options::{Disk, Goods, Options, Pace, Span};
use crate::samples::{Answer, Epoch, Speed, Trace, count, median, median_speed, ratio, with_readings};

/// How often a cell is measured until both sides have accepted orders.
const TRIES: u32 = 2;
/// Reasons of each kind that are kept.
const MOST_REASONS: usize = 8;

/// One combination.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub(crate) struct Cell {
    pub(crate) disk: Disk,
    pub(crate) shards: usize,
    pub(crate) goods: Goods,
    pub(crate) clients: u32,
}

impl std::fmt::Display for Cell {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { disk, shards, goods, clients } = self;
        write!(f, "{disk:<6}{shards:>6}  {goods:<7}{clients:>7}")
    }
}

/// One side of the comparison.
pub(crate) trait Contender {
    /// Lets the clients place orders.
    async fn drive(&self, span: Span) -> anyhow::Result<Driven>;
    /// CPU time used by it beside the databases, clients apart; `reader` has metered what reading costs in this process.
    fn cpu(&self, reader: &Meter) -> Duration;
    /// Whatever is wrong in its databases after so many accepted orders.
    async fn faults(&self, accepted: u64) -> anyhow::Result<Vec<String>>;
}

/// What clients were answered.
#[derive(Debug, Default)]
pub(crate) struct Driven {
    pub(crate) accepted: u64,
    pub(crate) answers: Vec<Answer>,
    /// Answers to come back later, by problem.
    pub(crate) refused: BTreeMap<String, u64>,
    /// Answers that nobody should have had.
    pub(crate) faults: Vec<String>,
}

impl Driven {
    pub(crate) fn accept(&mut self, answer: Answer) {
        self.accepted += 1;
        self.answers.push(answer);
    }

    /// Under load a store may say "later"; anything else is wrong, for there is plenty of everything.
    pub(crate) fn refuse(&mut self, problem: &Problem) {
        if matches!(problem.status, 429 | 503 | 504) {
            *self.refused.entry(problem.kind.clone().into_owned()).or_default() += 1;
        } else if self.faults.len() < MOST_REASONS {
            self.faults.push(format!("{} {}", problem.title, problem.detail.as_deref().unwrap_or_default()));
        }
    }

    pub(crate) fn and(mut self, mut other: Self) -> Self {
        self.accepted += other.accepted;
        self.answers.append(&mut other.answers);
        other.refused.into_iter().for_each(|(kind, times)| *self.refused.entry(kind).or_default() += times);
        self.faults.append(&mut other.faults);
        self
    }
}

/// What one side has shown in a cell.
#[derive(Clone, Debug, Default, Serialize)]
pub(crate) struct Side {
    #[serde(flatten)]
    pub(crate) speed: Speed,
    pub(crate) commits_per_order: f64,
    /// Absent where Postgres cannot count them.
    pub(crate) statements_per_order: Option<f64>,
    /// Orders that were put off, by problem.
    pub(crate) refused: BTreeMap<String, u64>,
    #[serde(skip)]
    pub(crate) faults: Vec<String>,
}

/// Both sides of a cell; the figures are medians over the runs, and so is the ratio.
#[derive(Debug, Serialize)]
pub(crate) struct Pair {
    #[serde(flatten)]
    pub(crate) cell: Cell,
    pub(crate) pgbench: Side,
    pub(crate) meridian: Side,
    /// Our orders a second to pgbench's.
    pub(crate) ratio: f64,
    /// Of each run.
    pub(crate) ratios: Vec<f64>,
}

/// Measures every cell, as often as was asked for.
pub(crate) async fn run(options: &Options) -> anyhow::Result<Vec<Pair>> {
    eprintln!("admission: starting Postgres");
    let mut ground = Ground::open(options).await?;
    let (town, widest) = (Town::new(options.pace().span)?, options.shards().iter().copied().max().unwrap_or(1));
    baseline::prepare(&ground, widest).await?;
    for shards in options.shards() {
        town.prepare(&ground, *shards).await?;
    }
    let mut measured: BTreeMap<Cell, Vec<(Side, Side)>> = BTreeMap::new();
    for run in 1..=options.runs {
        for disk in Disk::ALL {
            ground.put_on(disk).await?;
            for cell in cells(options, disk) {
                let sides = both(&ground, &town, cell, options.pace()).await?;
                tell(run, cell, &sides);
                measured.entry(cell).or_default().push(sides);
            }
        }
    }
    ground.close().await?;
    Ok(measured.into_iter().map(|(cell, sides)| Pair::of(cell, sides)).collect())
}

fn cells(options: &Options, disk: Disk) -> Vec<Cell> {
    let mut cells = Vec::new();
    for shards in options.shards().iter().copied() {
        for goods in Goods::ALL {
            cells.extend(options.clients_at_once().iter().map(|&clients| Cell { disk, shards, goods, clients }));
        }
    }
    cells
}

fn tell(run: u16, cell: Cell, (pgbench, meridian): &(Side, Side)) {
    let (theirs, ours) = (pgbench.speed, meridian.speed);
    let times = ratio(ours.orders_per_s, theirs.orders_per_s);
    eprintln!(
        "run {run}  {cell}  pgbench {:>8.0}/s  meridian {:>8.0}/s  {times:>6.2}x",
        theirs.orders_per_s, ours.orders_per_s
    );
    for fault in pgbench.faults.iter().chain(&meridian.faults) {
        eprintln!("run {run}  {cell}  WRONG: {fault}");
    }
}

/// A stretch in which the machine stood still measures neither side: then both are measured once more.
async fn both(ground: &Ground, town: &Town, cell: Cell, pace: Pace) -> anyhow::Result<(Side, Side)> {
    for _ in 0..TRIES {
        let (pgbench, meridian) = side_by_side(ground, town, cell, pace).await?;
        let silent = |side: &&Side| side.speed == Speed::default() && side.faults.is_empty();
        let Some(side) = [&pgbench, &meridian].into_iter().find(silent) else { return Ok((pgbench, meridian)) };
        eprintln!("{cell}: no order was accepted; put off: {:?}", side.refused);
    }
    bail!("{cell}: no order was accepted, {TRIES} times")
}

async fn side_by_side(ground: &Ground, town: &Town, cell: Cell, pace: Pace) -> anyhow::Result<(Side, Side)> {
    let epoch = Epoch::now();
    let databases = ground.fresh(cell.shards, baseline::TEMPLATE).await?;
    let pgbench = measure(ground, cell, &Pgbench::new(ground, cell, databases)?, pace, epoch).await?;
    let databases = ground.fresh(cell.shards, &admission::template(cell.shards)).await?;
    let meridian = Meridian::new(town, cell, databases, epoch)?;
    Ok((pgbench, measure(ground, cell, &meridian, pace, epoch).await?))
}

/// One side of one cell: some orders to warm up, in which statements are counted, then the measurement, then the books.
async fn measure(
    ground: &Ground,
    cell: Cell,
    contender: &impl Contender,
    pace: Pace,
    epoch: Epoch,
) -> anyhow::Result<Side> {
    ground.count_statements(cell.shards, true).await?;
    let primed = contender.drive(pace.prime).await?;
    let statements = ground.statements(cell.shards).await?;
    ground.count_statements(cell.shards, false).await?;
    let reader = Meter::default();
    let read = || reader.run(|| ground.cpu(cell.shards)) + contender.cpu(&reader);
    let (driven, readings) = with_readings(epoch, read, contender.drive(pace.span)).await;
    let mut driven = driven?;
    let commits = ground.commits(cell.shards).await?;
    let (warm, trace) = (number(primed.accepted), Trace { answers: std::mem::take(&mut driven.answers), readings });
    let all = primed.and(driven);
    let mut faults = contender.faults(all.accepted).await?;
    faults.extend(all.faults);
    let statements = ground.counts_statements().then(|| ratio(whole(statements), warm));
    let commits_per_order = ratio(whole(commits), number(all.accepted));
    let speed = if trace.answers.is_empty() { Speed::default() } else { trace.speed(pace.ramp) };
    let refused = all.refused;
    Ok(Side { speed, commits_per_order, statements_per_order: statements, refused, faults })
}

fn number(orders: u64) -> f64 {
    count(usize::try_from(orders).unwrap_or(usize::MAX))
}

fn whole(of: i64) -> f64 {
    number(u64::try_from(of).unwrap_or(0))
}

impl Pair {
    fn of(cell: Cell, runs: Vec<(Side, Side)>) -> Self {
        let quick = |(theirs, ours): &(Side, Side)| ratio(ours.speed.orders_per_s, theirs.speed.orders_per_s);
        let ratios: Vec<f64> = runs.iter().map(quick).collect();
        let (pgbench, meridian): (Vec<Side>, Vec<Side>) = runs.into_iter().unzip();
        Self {
            cell,
            pgbench: Side::median(pgbench),
            meridian: Side::median(meridian),
            ratio: median(ratios.clone()),
            ratios,
        }
    }
}

impl Side {
    fn median(runs: Vec<Self>) -> Self {
        let speeds: Vec<Speed> = runs.iter().map(|run| run.speed).collect();
        let statements: Vec<f64> = runs.iter().filter_map(|run| run.statements_per_order).collect();
        let mut all = Self {
            speed: median_speed(&speeds),
            commits_per_order: median(runs.iter().map(|run| run.commits_per_order).collect()),
            statements_per_order: (!statements.is_empty()).then(|| median(statements)),
            ..Self::default()
        };
        for run in runs {
            run.refused.into_iter().for_each(|(kind, times)| *all.refused.entry(kind).or_default() += times);
            all.faults.extend(run.faults);
        }
        all
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn side(orders_per_s: f64, faults: &[&str]) -> Side {
        let speed = Speed { orders_per_s, ..Speed::default() };
        Side { speed, faults: faults.iter().map(|&fault| fault.to_owned()).collect(), ..Side::default() }
    }

    #[test]
    fn a_ratio_is_the_median_of_each_runs_own_and_no_fault_is_lost() {
        let cell = Cell { disk: Disk::Own, shards: 1, goods: Goods::Hot, clients: 64 };
        // The machine was slow in the second run, for both.
        let runs = [(10.0, 80.0), (1.0, 9.0), (10.0, 100.0)];
        let runs = runs.map(|(theirs, ours)| (side(theirs, &[]), side(ours, &["lost"]))).to_vec();
        let pair = Pair::of(cell, runs);
        assert_eq!((pair.ratio, pair.meridian.speed.orders_per_s, pair.meridian.faults.len()), (9.0, 80.0, 3));
    }

    #[test]
    fn later_is_an_answer_and_never_is_a_fault() {
        let mut driven = Driven::default();
        driven.refuse(&Problem::new(shared::ProblemKind::Unavailable));
        driven.refuse(&Problem::new(shared::ProblemKind::SoldOut));
        assert_eq!((driven.refused.values().sum::<u64>(), driven.faults.len()), (1, 1));
    }
}
