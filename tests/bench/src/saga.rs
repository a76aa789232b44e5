//! What becomes of accepted orders, over a started store of our own programs with one shard: its figures are a shard's.
//!
//! Steady orders, by the clock: how long from acceptance to CONFIRMED. A backlog: consumers are kept from reading while
//! orders come, then let loose. A burst of ten times the rate: how old the oldest event grows that nobody has heard yet.
//! Beside them stands what no store could do better on this machine (`limit`).

mod limit;
mod relay;
mod report;

use std::time::Duration;

use self::limit::Limit;
use self::relay::Relay;
pub(crate) use self::report::Report;
use crate::books;
use crate::options::saga::BURST;
use crate::options::{Goods, Saga};
use crate::samples::{micros, percentiles_ms};
use crate::whole_way::load::{Arrival, Load};
use crate::whole_way::site::{Site, Size};
use crate::whole_way::{CONNECTIONS, Flow, flow, orders_in_time};

/// The one shard.
const SHARD: u16 = 1;
/// Clients that place one order after the other, where nothing is timed by them.
const CLIENTS: u32 = 64;
/// The time between two looks at the oldest event.
const LOOK: Duration = Duration::from_millis(10);

/// What was measured.
#[derive(Debug)]
pub(crate) struct Measured {
    pub(crate) limit: Limit,
    pub(crate) steady: Flow,
    pub(crate) relay: Relay,
    pub(crate) burst: Flow,
    /// Of the oldest event that nobody had heard yet, in the burst.
    pub(crate) outbox_age_p99_ms: f64,
    pub(crate) faults: Vec<String>,
}

/// Starts a store, measures, and reads the books.
pub(crate) async fn run(options: &Saga) -> anyhow::Result<Report> {
    eprintln!("saga: starting a store");
    let size = Size { shards: vec![SHARD], cores: options.cores, clients: CLIENTS, shoppers: options.shoppers() };
    let mut site = Site::open(&options.place, "saga", size).await?;
    site.meet_shoppers().await?;
    let limit = Limit::of(&site).await?;
    eprintln!("limit   {limit}");
    let steady = by_the_clock(&mut site, options.rate, options.steady()).await?;
    eprintln!("steady  {}", report::told(&steady));
    let relay = relay::drain(&mut site, options.backlog()).await?;
    eprintln!("backlog {relay}");
    let (burst, outbox_age_p99_ms) = burst(&mut site, options).await?;
    eprintln!("burst   {}; the oldest unheard event p99 {outbox_age_p99_ms:.0} ms", report::told(&burst));
    let faults = site.faults().await?;
    Box::pin(site.close()).await?;
    Ok(Report::of(Measured { limit, steady, relay, burst, outbox_age_p99_ms, faults }))
}

async fn by_the_clock(site: &mut Site, rate: u32, time: Duration) -> anyhow::Result<Flow> {
    let per_s = f64::from(rate);
    let arrival = Arrival::Open { per_s, orders: orders_in_time(time, per_s) };
    let flow = flow(site, &Load { goods: Goods::Spread, clients: CONNECTIONS, arrival }).await?;
    Ok(Flow { offered_per_s: Some(per_s), ..flow })
}

/// The burst, and the 99th in a hundred of the ages of the oldest event that somebody had yet to hear.
async fn burst(site: &mut Site, options: &Saga) -> anyhow::Result<(Flow, f64)> {
    let since = site.look().await?.at_us;
    let flow = by_the_clock(site, options.rate * BURST, options.burst()).await?;
    let mut hearings = Vec::new();
    for shard in site.shards() {
        hearings.extend(books::hearings(&shard, since).await?);
    }
    let [_, p99_ms] = percentiles_ms(oldest_unheard(hearings));
    Ok((flow, p99_ms))
}

/// The age of the oldest event that was written and not heard by all yet, at one look after the other from the first
/// event on. Events are told as when they were written and when they were heard, all in microseconds.
fn oldest_unheard(mut hearings: Vec<(u64, u64)>) -> Vec<u64> {
    hearings.sort_unstable();
    let step = micros(LOOK);
    let (mut ages, mut at) = (Vec::new(), hearings.first().map_or(0, |(written, _)| *written));
    // The oldest first: a look that one of them has had needs no younger one.
    for (written, heard) in hearings {
        while at < heard {
            ages.push(at.saturating_sub(written));
            at += step;
        }
    }
    ages
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_oldest_event_is_the_one_that_counts_and_silence_has_no_age() {
        let ms = |from: u64, to: u64| (from * 1_000, to * 1_000);
        // The first is heard after 35 ms; the second meanwhile; then nothing is there until the third.
        let ages = oldest_unheard(vec![ms(70, 85), ms(0, 35), ms(10, 30)]);
        assert_eq!(ages, [0, 10, 20, 30, 0, 0, 0, 0, 10].map(|ms| ms * 1_000));
        assert_eq!(oldest_unheard(Vec::new()), Vec::<u64>::new());
    }
}
