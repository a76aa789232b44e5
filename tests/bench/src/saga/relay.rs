//! The bus under a backlog: events wait while nobody may read, and then all at once.

use std::collections::BTreeMap;
use std::fmt::{self, Display, Formatter};
use std::time::Duration;

use anyhow::{Context as _, bail, ensure};
use serde::Serialize;
use tokio::time::Instant;

use super::CLIENTS;
use crate::books::{self, Halt};
use crate::options::{Goods, Span};
use crate::samples::{count, ratio};
use crate::whole_way::load::{self, Arrival, Load};
use crate::whole_way::site::Site;

/// How long the backlog may take.
const DRAINED_WITHIN: Duration = Duration::from_secs(300);
/// How often it is looked at: one row that is found by its key.
const LOOK: Duration = Duration::from_millis(20);

/// What the bus has shown.
#[derive(Clone, Debug, Default, Serialize)]
pub(crate) struct Relay {
    /// Events of the shard that waited, each of an order that was placed meanwhile.
    pub(crate) events: f64,
    /// Until the last of them had taken effect.
    pub(crate) drained_s: f64,
    pub(crate) events_per_s: f64,
    /// Until the last of their orders was CONFIRMED.
    pub(crate) confirmed_s: f64,
    /// All that consumers heard in that time, and so what the backlog led to as well.
    pub(crate) all_events_per_s: f64,
    /// Of that time, without the payment sandbox.
    pub(crate) cpu_ms_per_order: f64,
    pub(crate) cpu_ms_by_part: BTreeMap<String, f64>,
}

impl Display for Relay {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        let Self { events, drained_s, events_per_s, confirmed_s, all_events_per_s, .. } = self;
        write!(
            f,
            "{events:.0} events taken in {drained_s:.2} s, {events_per_s:.0}/s; all confirmed in {confirmed_s:.1} s, "
        )?;
        write!(f, "{all_events_per_s:.0} events/s; {:.2} CPU ms an order", self.cpu_ms_per_order)
    }
}

/// Keeps the consumers of the only shard from reading until at least so many events wait, lets them loose, and waits until
/// all is confirmed.
pub(crate) async fn drain(site: &mut Site, events: u32) -> anyhow::Result<Relay> {
    let shard = site.shards().next().context("a store without a shard")?;
    let hearers = books::hearers(&shard).await?;
    ensure!(!hearers.is_empty(), "nobody hears of orders");
    let placed_us = site.look().await?.at_us;
    let halt = Halt::of(&shard).await?;
    let arrival = Arrival::Closed(Span::Orders(events.div_ceil(CLIENTS)));
    let done = load::run(&Load { goods: Goods::Spread, clients: CLIENTS, arrival }, site.shop()).await?;
    let orders = count(done.accepted.len());
    let (waiting, last) = books::unheard(&shard).await?;
    let last = last.context("nothing waits")?;
    let before = site.look().await?;
    let released = Instant::now();
    halt.end().await?;
    drained(&shard, &hearers, &last).await?;
    let drained_s = released.elapsed().as_secs_f64();
    site.settle(done).await?;
    let after = site.look().await?;
    let (last_us, _) = site.confirmations(placed_us).await?;
    let confirmed_s = Duration::from_micros(last_us.saturating_sub(before.at_us)).as_secs_f64();
    let (heard, events) = (books::heard(&shard, before.at_us).await?, count(usize::try_from(waiting)?));
    let (cpu_ms_per_order, cpu_ms_by_part) = after.cpu_ms_since(&before, orders);
    Ok(Relay {
        events,
        drained_s,
        events_per_s: ratio(events, drained_s),
        confirmed_s,
        all_events_per_s: ratio(count(usize::try_from(heard)?), confirmed_s),
        cpu_ms_per_order,
        cpu_ms_by_part,
    })
}

/// Waits until every hearer has committed what follows from the last event of the backlog, and none of it is left.
async fn drained(shard: &str, hearers: &[String], last: &str) -> anyhow::Result<()> {
    let deadline = Instant::now() + DRAINED_WITHIN;
    let mut look = books::Look::at(shard).await?;
    // Events are given in their order, so the last is looked for; that really none is left is looked at once or twice.
    while !(look.was_heard(hearers, last).await? && books::unheard(shard).await?.0 == 0) {
        if Instant::now() >= deadline {
            bail!("the backlog is not drained after {} s", DRAINED_WITHIN.as_secs());
        }
        tokio::time::sleep(LOOK).await;
    }
    Ok(())
}
