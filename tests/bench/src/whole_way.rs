//! The whole way: client, PoP, HTTP/3, core, commit, payment; over a started store of our own programs.
//!
//! First the highest rate is looked for: clients place one order after the other, and the rate is that of orders accepted
//! *and* paid, from the first request to the last confirmation. Then orders come at seven tenths of that rate, whether or
//! not earlier ones were answered, and answers are timed from when they were due.

pub(crate) mod door;
mod goods;
pub(crate) mod load;
pub(crate) mod site;

use std::collections::BTreeMap;
use std::time::Duration;

use serde::Serialize;

use self::load::{Arrival, Load};
use self::site::{Site, Size};
use crate::options::{Disk, Goods, Options, Span};
use crate::samples::{count, median, percentiles_ms, ratio};

/// The store's shards.
const SHARDS: [u16; 2] = [1, 2];
/// Enough shoppers for the highest rate; fewer where clients only count.
const SHOPPERS: usize = 2_000;
/// The share of the highest rate at which answers are timed.
const STEADY: f64 = 0.7;
/// Connections over which orders come that do not wait for earlier ones.
pub(crate) const CONNECTIONS: u32 = 256;

/// What the whole way has shown.
#[derive(Debug)]
pub(crate) struct WholeWay {
    pub(crate) passages: Vec<Passage>,
    pub(crate) faults: Vec<String>,
}

/// One disk and one kind of goods; medians over the runs.
#[derive(Debug, Serialize)]
pub(crate) struct Passage {
    pub(crate) disk: Disk,
    pub(crate) goods: Goods,
    /// The highest rate.
    pub(crate) top: Flow,
    /// At seven tenths of it.
    pub(crate) steady: Flow,
}

/// Figures of one load.
#[derive(Clone, Debug, Default, Serialize)]
pub(crate) struct Flow {
    pub(crate) orders: f64,
    /// Asked for, where orders come by the clock.
    pub(crate) offered_per_s: Option<f64>,
    /// Accepted and paid.
    pub(crate) orders_per_s: f64,
    /// From request (or when it was due) to 201.
    pub(crate) p50_ms: f64,
    pub(crate) p99_ms: f64,
    /// From acceptance to confirmation.
    pub(crate) paid_p50_ms: f64,
    pub(crate) paid_p99_ms: f64,
    /// Without the payment sandbox and the load generator.
    pub(crate) cpu_ms_per_order: f64,
    /// The same by part; those apart are here as well.
    pub(crate) cpu_ms_by_part: BTreeMap<String, f64>,
    /// Transactions that wrote.
    pub(crate) commits_per_order: f64,
    /// Answers and losses after which a client asked again, an order.
    pub(crate) repeats_per_order: f64,
}

/// Measures both disks and both kinds of goods, as often as was asked for.
pub(crate) async fn run(options: &Options) -> anyhow::Result<WholeWay> {
    eprintln!("whole way: starting a store");
    let mut site = Site::open(&options.place, "whole-way", size(options)).await?;
    let (mut flows, mut faults) = (BTreeMap::<_, Vec<(Flow, Flow)>>::new(), Vec::new());
    for run in 1..=options.runs {
        for disk in Disk::ALL {
            site.put_on(disk).await?;
            site.meet_shoppers().await?;
            for goods in Goods::ALL {
                let (top, steady) = passage(&mut site, options, goods).await?;
                tell(run, disk, goods, &top, &steady);
                flows.entry((disk, goods)).or_default().push((top, steady));
            }
        }
        faults.extend(site.faults().await?);
    }
    faults.iter().for_each(|fault| eprintln!("whole way  WRONG: {fault}"));
    Box::pin(site.close()).await?;
    let passages = flows.into_iter().map(|((disk, goods), runs)| Passage::of(disk, goods, runs)).collect();
    Ok(WholeWay { passages, faults })
}

fn size(options: &Options) -> Size {
    let shoppers = match options.pace().span {
        Span::Time(_) => SHOPPERS,
        Span::Orders(_) => usize::try_from(options.clients).unwrap_or(SHOPPERS).min(SHOPPERS) * 4,
    };
    Size { shards: SHARDS.to_vec(), cores: options.cores, clients: options.clients, shoppers }
}

async fn passage(site: &mut Site, options: &Options, goods: Goods) -> anyhow::Result<(Flow, Flow)> {
    let span = options.pace().span;
    let closed = Load { goods, clients: options.clients, arrival: Arrival::Closed(span) };
    let top = flow(site, &closed).await?;
    let rate = (top.orders_per_s * STEADY).max(1.0);
    let arrival = Arrival::Open { per_s: rate, orders: orders_in(span, rate, options.clients) };
    let open = Load { goods, clients: CONNECTIONS, arrival };
    let steady = flow(site, &open).await?;
    Ok((top, Flow { offered_per_s: Some(rate), ..steady }))
}

fn orders_in(span: Span, per_s: f64, clients: u32) -> u64 {
    match span {
        Span::Time(time) => orders_in_time(time, per_s),
        Span::Orders(orders) => u64::from(orders) * u64::from(clients),
    }
}

/// As many as the clock brings in that time.
#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "a rate times some seconds is small and not negative"
)]
pub(crate) fn orders_in_time(time: Duration, per_s: f64) -> u64 {
    (per_s * time.as_secs_f64()).ceil() as u64
}

/// Lets a load loose, and waits until all of its orders are paid.
pub(crate) async fn flow(site: &mut Site, load: &Load) -> anyhow::Result<Flow> {
    let before = site.look().await?;
    let done = load::run(load, site.shop()).await?;
    let orders = done.accepted.len();
    let (took, repeats) = (done.took_us.clone(), done.repeats);
    site.settle(done).await?;
    let after = site.look().await?;
    let (last_us, paid_us) = site.confirmations(before.at_us).await?;
    let seconds = Duration::from_micros(last_us.saturating_sub(before.at_us)).as_secs_f64();
    let (cpu_ms_per_order, cpu_ms_by_part) = after.cpu_ms_since(&before, count(orders));
    let [p50_ms, p99_ms] = percentiles_ms(took);
    let [paid_p50_ms, paid_p99_ms] = percentiles_ms(paid_us);
    Ok(Flow {
        orders: count(orders),
        offered_per_s: None,
        orders_per_s: ratio(count(orders), seconds),
        p50_ms,
        p99_ms,
        paid_p50_ms,
        paid_p99_ms,
        cpu_ms_per_order,
        cpu_ms_by_part,
        commits_per_order: ratio(count(usize::try_from(after.writes - before.writes)?), count(orders)),
        repeats_per_order: ratio(count(usize::try_from(repeats)?), count(orders)),
    })
}

fn tell(run: u16, disk: Disk, goods: Goods, top: &Flow, steady: &Flow) {
    eprintln!(
        "run {run}  whole way  {disk:<6} {goods:<7} {:>7.0} orders/s  {:.2} CPU ms  p99 {:.0} ms;  at {:.0}/s p99 {:.0} ms",
        top.orders_per_s,
        top.cpu_ms_per_order,
        top.p99_ms,
        steady.offered_per_s.unwrap_or_default(),
        steady.p99_ms
    );
}

impl Passage {
    fn of(disk: Disk, goods: Goods, runs: Vec<(Flow, Flow)>) -> Self {
        let (top, steady): (Vec<Flow>, Vec<Flow>) = runs.into_iter().unzip();
        Self { disk, goods, top: Flow::median(&top), steady: Flow::median(&steady) }
    }
}

impl Flow {
    /// Of each figure on its own.
    fn median(runs: &[Self]) -> Self {
        let of = |figure: &dyn Fn(&Self) -> f64| median(runs.iter().map(figure).collect());
        let parts = runs.iter().flat_map(|run| run.cpu_ms_by_part.keys());
        let part = |name: &String| of(&|run: &Self| run.cpu_ms_by_part.get(name).copied().unwrap_or_default());
        let offered = runs.iter().all(|run| run.offered_per_s.is_some());
        Self {
            orders: of(&|run| run.orders),
            offered_per_s: offered.then(|| of(&|run| run.offered_per_s.unwrap_or_default())),
            orders_per_s: of(&|run| run.orders_per_s),
            p50_ms: of(&|run| run.p50_ms),
            p99_ms: of(&|run| run.p99_ms),
            paid_p50_ms: of(&|run| run.paid_p50_ms),
            paid_p99_ms: of(&|run| run.paid_p99_ms),
            cpu_ms_per_order: of(&|run| run.cpu_ms_per_order),
            cpu_ms_by_part: parts.map(|name| (name.clone(), part(name))).collect(),
            commits_per_order: of(&|run| run.commits_per_order),
            repeats_per_order: of(&|run| run.repeats_per_order),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn orders_by_the_clock_are_as_many_as_fit_and_orders_by_count_take_no_clock() {
        assert_eq!(orders_in(Span::Time(Duration::from_millis(1_500)), 100.0, 64), 150);
        assert_eq!(orders_in(Span::Orders(3), 9_999.0, 64), 192);
    }

    #[test]
    fn the_median_of_runs_keeps_every_part() {
        let flow = |rate, part: &str| Flow {
            orders_per_s: rate,
            cpu_ms_by_part: [(part.to_owned(), rate)].into(),
            ..Flow::default()
        };
        let median = Flow::median(&[flow(1.0, "pop"), flow(3.0, "pop"), flow(2.0, "cores")]);
        assert_eq!((median.orders_per_s, median.cpu_ms_by_part["pop"], median.offered_per_s), (2.0, 1.0, None));
    }
}
