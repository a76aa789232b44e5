//! What a run came to, for people and for programs.

use std::fmt::{self, Display, Formatter};

use anyhow::bail;
use serde::Serialize;

use crate::cells::{Pair, Side};
use crate::ground::SETTINGS;
use crate::options::{Disk, Goods, Options};
use crate::whole_way::{Passage, WholeWay};

/// Clients of the promised comparison.
const CROWD: u32 = 64;

/// Everything. A figure of a part that was not measured is null.
#[derive(Debug, Default, Serialize)]
pub(crate) struct Report {
    /// Our orders a second to pgbench's: one hot SKU, 64 clients, one shard.
    hot_sku_64_ratio: Option<f64>,
    hot_sku_64_ratio_1ms: Option<f64>,
    /// The same with 1,000 SKUs.
    spread_64_ratio: Option<f64>,
    spread_64_ratio_1ms: Option<f64>,
    /// One client, one shard: the lower one of hot and spread.
    one_client_ratio: Option<f64>,
    one_client_ratio_1ms: Option<f64>,
    /// Ours and pgbench's, of the same measurements.
    hot_sku_64_p99_ms: Option<f64>,
    hot_sku_64_p99_ms_pgbench: Option<f64>,
    hot_sku_64_p99_ms_1ms: Option<f64>,
    hot_sku_64_p99_ms_pgbench_1ms: Option<f64>,
    spread_64_p99_ms: Option<f64>,
    spread_64_p99_ms_pgbench: Option<f64>,
    spread_64_p99_ms_1ms: Option<f64>,
    spread_64_p99_ms_pgbench_1ms: Option<f64>,
    /// Accepted and paid, on this machine's own disk: the lower one of hot and spread.
    whole_way_orders_per_s: Option<f64>,
    whole_way_orders_per_s_1ms: Option<f64>,
    /// CPU time an order at that rate, load generator and payment sandbox apart: the higher one of hot and spread.
    whole_way_cpu_ms: Option<f64>,
    whole_way_cpu_ms_1ms: Option<f64>,
    /// At seven tenths of that rate: the higher one of hot and spread.
    whole_way_p99_ms: Option<f64>,
    whole_way_p99_ms_1ms: Option<f64>,
    runs: u16,
    /// Cores of this machine, shared by load generators and servers.
    machine_cores: usize,
    settings: Vec<&'static str>,
    admission: Vec<Pair>,
    whole_way: Vec<Passage>,
    faults: Vec<String>,
}

impl Report {
    pub(crate) fn of(options: &Options, admission: Option<Vec<Pair>>, whole_way: Option<WholeWay>) -> Self {
        let admission = admission.unwrap_or_default();
        let (whole_way, mut faults) = whole_way.map_or_else(Default::default, |way| (way.passages, way.faults));
        for pair in &admission {
            let of_side = pair.pgbench.faults.iter().chain(&pair.meridian.faults);
            faults.extend(of_side.map(|fault| format!("{}: {fault}", pair.cell)));
        }
        let machine_cores = std::thread::available_parallelism().map_or(1, usize::from);
        let report = Self { runs: options.runs, machine_cores, settings: SETTINGS.to_vec(), faults, ..Self::default() };
        report.with_ratios(&admission).with_p99s(&admission).with_whole_way(&whole_way).holding(admission, whole_way)
    }

    fn with_ratios(self, pairs: &[Pair]) -> Self {
        let crowd = |disk, goods| find(pairs, disk, goods, CROWD).map(|pair| pair.ratio);
        let alone = |disk| {
            Goods::ALL
                .into_iter()
                .filter_map(|goods| find(pairs, disk, goods, 1))
                .map(|pair| pair.ratio)
                .reduce(f64::min)
        };
        Self {
            hot_sku_64_ratio: crowd(Disk::Own, Goods::Hot),
            hot_sku_64_ratio_1ms: crowd(Disk::Slow, Goods::Hot),
            spread_64_ratio: crowd(Disk::Own, Goods::Spread),
            spread_64_ratio_1ms: crowd(Disk::Slow, Goods::Spread),
            one_client_ratio: alone(Disk::Own),
            one_client_ratio_1ms: alone(Disk::Slow),
            ..self
        }
    }

    fn with_p99s(self, pairs: &[Pair]) -> Self {
        let ours = |disk, goods| find(pairs, disk, goods, CROWD).map(|pair| pair.meridian.speed.p99_ms);
        let theirs = |disk, goods| find(pairs, disk, goods, CROWD).map(|pair| pair.pgbench.speed.p99_ms);
        Self {
            hot_sku_64_p99_ms: ours(Disk::Own, Goods::Hot),
            hot_sku_64_p99_ms_pgbench: theirs(Disk::Own, Goods::Hot),
            hot_sku_64_p99_ms_1ms: ours(Disk::Slow, Goods::Hot),
            hot_sku_64_p99_ms_pgbench_1ms: theirs(Disk::Slow, Goods::Hot),
            spread_64_p99_ms: ours(Disk::Own, Goods::Spread),
            spread_64_p99_ms_pgbench: theirs(Disk::Own, Goods::Spread),
            spread_64_p99_ms_1ms: ours(Disk::Slow, Goods::Spread),
            spread_64_p99_ms_pgbench_1ms: theirs(Disk::Slow, Goods::Spread),
            ..self
        }
    }

    fn with_whole_way(self, passages: &[Passage]) -> Self {
        let of = |disk, figure: fn(&Passage) -> f64, worse: fn(f64, f64) -> f64| {
            passages.iter().filter(|passage| passage.disk == disk).map(figure).reduce(worse)
        };
        let rate = |disk| of(disk, |passage| passage.top.orders_per_s, f64::min);
        let cpu = |disk| of(disk, |passage| passage.top.cpu_ms_per_order, f64::max);
        let p99 = |disk| of(disk, |passage| passage.steady.p99_ms, f64::max);
        Self {
            whole_way_orders_per_s: rate(Disk::Own),
            whole_way_orders_per_s_1ms: rate(Disk::Slow),
            whole_way_cpu_ms: cpu(Disk::Own),
            whole_way_cpu_ms_1ms: cpu(Disk::Slow),
            whole_way_p99_ms: p99(Disk::Own),
            whole_way_p99_ms_1ms: p99(Disk::Slow),
            ..self
        }
    }

    fn holding(self, admission: Vec<Pair>, whole_way: Vec<Passage>) -> Self {
        Self { admission, whole_way, ..self }
    }

    /// Whether every order was there once and no other.
    ///
    /// # Errors
    /// Naming the first thing that was wrong.
    pub(crate) fn verdict(&self) -> anyhow::Result<()> {
        match self.faults.first() {
            None => Ok(()),
            Some(first) => bail!("the books are wrong in {} places; first: {first}", self.faults.len()),
        }
    }
}

/// The pair of one shard.
fn find(pairs: &[Pair], disk: Disk, goods: Goods, clients: u32) -> Option<&Pair> {
    pairs.iter().find(|pair| {
        let cell = pair.cell;
        (cell.disk, cell.shards, cell.goods, cell.clients) == (disk, 1, goods, clients)
    })
}

impl Display for Report {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        if !self.admission.is_empty() {
            writeln!(
                f,
                "Admission, {} run(s) on {} cores; {}\n",
                self.runs,
                self.machine_cores,
                self.settings.join(", ")
            )?;
            writeln!(
                f,
                "disk  shards  goods  clients  side        orders/s   p50 ms   p99 ms   CPU ms  commits  statements   ratio"
            )?;
            for pair in &self.admission {
                side(f, pair, "pgbench", &pair.pgbench, None)?;
                side(f, pair, "meridian", &pair.meridian, Some(pair.ratio))?;
            }
            writeln!(f, "CPU, commits and statements are of one order; clients do not count.\n")?;
        }
        for passage in &self.whole_way {
            write!(f, "{passage}")?;
        }
        self.faults.iter().try_for_each(|fault| writeln!(f, "WRONG: {fault}"))?;
        write!(f, "{}", self.line())
    }
}

fn side(f: &mut Formatter<'_>, pair: &Pair, name: &str, side: &Side, ratio: Option<f64>) -> fmt::Result {
    let speed = side.speed;
    let statements = side.statements_per_order.map_or_else(|| "-".to_owned(), |number| format!("{number:.2}"));
    let ratio = ratio.map_or_else(String::new, |ratio| format!("{ratio:.2}"));
    write!(f, "{}  {name:<9}{:>11.0}{:>9.2}{:>9.2}", pair.cell, speed.orders_per_s, speed.p50_ms, speed.p99_ms)?;
    writeln!(f, "{:>9.3}{:>9.3}{statements:>12}{ratio:>8}", speed.cpu_ms_per_order, side.commits_per_order)
}

impl Display for Passage {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        for (name, flow) in [("highest", &self.top), ("steady", &self.steady)] {
            writeln!(
                f,
                "whole way  disk {:<6} {:<7} {name:<8}{:>7.0} orders/s accepted and paid; answers p50 {:.1} ms, p99 {:.1} ms; \
                 paid after p50 {:.0} ms, p99 {:.0} ms; {:.2} CPU ms, {:.2} commits an order",
                self.disk,
                self.goods,
                flow.orders_per_s,
                flow.p50_ms,
                flow.p99_ms,
                flow.paid_p50_ms,
                flow.paid_p99_ms,
                flow.cpu_ms_per_order,
                flow.commits_per_order
            )?;
            let parts = flow.cpu_ms_by_part.iter().map(|(part, cpu)| format!("{part} {cpu:.2}"));
            writeln!(f, "           CPU ms an order by part: {}", parts.collect::<Vec<_>>().join(", "))?;
        }
        Ok(())
    }
}

impl Report {
    /// The figures that matter, on one line.
    fn line(&self) -> String {
        let figure =
            |value: Option<f64>, digits: usize| value.map_or("-".to_owned(), |value| format!("{value:.digits$}"));
        format!(
            "hot 64: {}x (1 ms: {}x) · spread 64: {}x (1 ms: {}x) · one client: {}x · whole way: {} orders/s, {} CPU ms, p99 {} ms at 70 %",
            figure(self.hot_sku_64_ratio, 1),
            figure(self.hot_sku_64_ratio_1ms, 1),
            figure(self.spread_64_ratio, 2),
            figure(self.spread_64_ratio_1ms, 2),
            figure(self.one_client_ratio, 2),
            figure(self.whole_way_orders_per_s, 0),
            figure(self.whole_way_cpu_ms, 2),
            figure(self.whole_way_p99_ms, 1),
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cells::Cell;
    use crate::whole_way::Flow;

    fn pair(disk: Disk, shards: usize, goods: Goods, clients: u32, ratio: f64) -> Pair {
        let cell = Cell { disk, shards, goods, clients };
        Pair { cell, pgbench: Side::default(), meridian: Side::default(), ratio, ratios: vec![ratio] }
    }

    #[test]
    fn promised_figures_are_of_one_shard_and_the_worse_ones() {
        let pairs = vec![
            pair(Disk::Own, 2, Goods::Hot, 64, 1.0),
            pair(Disk::Own, 1, Goods::Hot, 64, 8.0),
            pair(Disk::Slow, 1, Goods::Hot, 64, 25.0),
            pair(Disk::Own, 1, Goods::Hot, 1, 0.9),
            pair(Disk::Own, 1, Goods::Spread, 1, 0.6),
        ];
        let report = Report::default().with_ratios(&pairs);
        let promised = (report.hot_sku_64_ratio, report.hot_sku_64_ratio_1ms, report.one_client_ratio);
        assert_eq!(promised, (Some(8.0), Some(25.0), Some(0.6)));
        assert_eq!(report.spread_64_ratio, None);
        let flow =
            |orders_per_s, cpu_ms_per_order, p99_ms| Flow { orders_per_s, cpu_ms_per_order, p99_ms, ..Flow::default() };
        let passage = |goods, top, steady| Passage { disk: Disk::Own, goods, top, steady };
        let report = report.with_whole_way(&[
            passage(Goods::Hot, flow(2_000.0, 0.7, 90.0), flow(1_400.0, 0.6, 20.0)),
            passage(Goods::Spread, flow(2_500.0, 0.5, 90.0), flow(1_750.0, 0.5, 60.0)),
        ]);
        let way = (report.whole_way_orders_per_s, report.whole_way_cpu_ms, report.whole_way_p99_ms);
        assert_eq!(way, (Some(2_000.0), Some(0.7), Some(60.0)));
    }

    #[test]
    fn a_wrong_book_fails_the_run() {
        assert!(Report::default().verdict().is_ok());
        assert!(Report { faults: vec!["lost".to_owned()], ..Report::default() }.verdict().is_err());
    }
}
