//! What a run came to, for people and for programs.

use std::fmt::{self, Display, Formatter};

use anyhow::bail;
use serde::Serialize;

use super::Measured;
use super::limit::Limit;
use super::relay::Relay;
use crate::samples::ratio;
use crate::whole_way::Flow;

/// A figure beside what it should be. One that is missed fails nothing: a slow machine gives low figures.
#[derive(Clone, Copy, Debug, Serialize)]
struct Aim {
    figure: &'static str,
    measured: f64,
    #[serde(skip_serializing_if = "Option::is_none")]
    at_most: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    at_least: Option<f64>,
    met: bool,
}

/// Everything.
#[derive(Debug, Serialize)]
pub(crate) struct Report {
    /// From acceptance to CONFIRMED, of steady orders, by the rows' own times.
    confirmed_p50_ms: f64,
    confirmed_p99_ms: f64,
    /// To what flushes and the provider alone would take.
    confirmed_p50_ratio: f64,
    /// Steady orders: asked for, and confirmed.
    offered_per_s: f64,
    reached_per_s: f64,
    /// CPU time of a steady order, load generator and payment sandbox apart.
    cpu_ms_per_order: f64,
    /// Waiting events that their consumer took, and until none of them was left.
    relay_events_per_s: f64,
    backlog_drained_s: f64,
    /// To plain commits a second: how many events a flush is worth.
    relay_events_ratio: f64,
    /// In the burst: the oldest event that somebody had yet to hear.
    outbox_age_p99_ms: f64,
    burst_offered_per_s: f64,
    burst_reached_per_s: f64,
    aims: Vec<Aim>,
    /// Cores of this machine, shared by load generators and servers.
    machine_cores: usize,
    limit: Limit,
    steady: Flow,
    backlog: Relay,
    burst: Flow,
    faults: Vec<String>,
}

impl Report {
    pub(crate) fn of(measured: Measured) -> Self {
        let Measured { limit, steady, relay, burst, outbox_age_p99_ms, faults } = measured;
        let report = Self {
            confirmed_p50_ms: steady.paid_p50_ms,
            confirmed_p99_ms: steady.paid_p99_ms,
            confirmed_p50_ratio: ratio(steady.paid_p50_ms, limit.confirmed_ms),
            offered_per_s: steady.offered_per_s.unwrap_or_default(),
            reached_per_s: steady.orders_per_s,
            cpu_ms_per_order: steady.cpu_ms_per_order,
            relay_events_per_s: relay.events_per_s,
            backlog_drained_s: relay.drained_s,
            relay_events_ratio: ratio(relay.events_per_s, limit.commits_per_s),
            outbox_age_p99_ms,
            burst_offered_per_s: burst.offered_per_s.unwrap_or_default(),
            burst_reached_per_s: burst.orders_per_s,
            aims: Vec::new(),
            machine_cores: std::thread::available_parallelism().map_or(1, usize::from),
            limit,
            steady,
            backlog: relay,
            burst,
            faults,
        };
        Self { aims: report.aims(), ..report }
    }

    fn aims(&self) -> Vec<Aim> {
        let most = |figure, measured, most| Aim {
            figure,
            measured,
            at_most: Some(most),
            at_least: None,
            met: measured <= most,
        };
        let least = |figure, measured, least| Aim {
            figure,
            measured,
            at_most: None,
            at_least: Some(least),
            met: measured >= least,
        };
        vec![
            most("confirmed_p50_ms", self.confirmed_p50_ms, 50.0),
            most("confirmed_p99_ms", self.confirmed_p99_ms, 500.0),
            least("relay_events_per_s", self.relay_events_per_s, 4_000.0),
            most("backlog_drained_s", self.backlog_drained_s, 30.0),
            most("outbox_age_p99_ms", self.outbox_age_p99_ms, 5_000.0),
        ]
    }

    /// Whether something was measured, and every order was there once and no other.
    ///
    /// # Errors
    /// Naming the first thing that was wrong.
    pub(crate) fn verdict(&self) -> anyhow::Result<()> {
        if let Some(first) = self.faults.first() {
            bail!("the books are wrong in {} places; first: {first}", self.faults.len());
        }
        let measured = [self.confirmed_p50_ms, self.relay_events_per_s, self.burst_reached_per_s];
        if measured.iter().any(|figure| *figure <= 0.0) {
            bail!("nothing was measured: {}", self.line());
        }
        Ok(())
    }

    /// The figures that matter, on one line.
    fn line(&self) -> String {
        format!(
            "confirmed p50 {:.1} ms ({:.1}x of the limit), p99 {:.0} ms at {:.0} orders/s, {:.2} CPU ms an order · relay \
             {:.0} events/s ({:.1}x of single commits), {:.0} drained in {:.1} s · burst: oldest event p99 {:.0} ms at {:.0} orders/s",
            self.confirmed_p50_ms,
            self.confirmed_p50_ratio,
            self.confirmed_p99_ms,
            self.reached_per_s,
            self.cpu_ms_per_order,
            self.relay_events_per_s,
            self.relay_events_ratio,
            self.backlog.events,
            self.backlog_drained_s,
            self.outbox_age_p99_ms,
            self.burst_reached_per_s,
        )
    }
}

/// A load in a line.
pub(super) fn told(flow: &Flow) -> String {
    format!(
        "{:.0} orders at {:.0}/s of {:.0}/s asked for; answers p50 {:.1} ms, p99 {:.1} ms; confirmed after p50 {:.1} ms, \
         p99 {:.0} ms; {:.2} CPU ms, {:.2} commits, {:.2} repeats an order",
        flow.orders,
        flow.orders_per_s,
        flow.offered_per_s.unwrap_or_default(),
        flow.p50_ms,
        flow.p99_ms,
        flow.paid_p50_ms,
        flow.paid_p99_ms,
        flow.cpu_ms_per_order,
        flow.commits_per_order,
        flow.repeats_per_order,
    )
}

impl Display for Aim {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        let (word, bound) = match (self.at_most, self.at_least) {
            (Some(most), _) => ("at most", most),
            (None, least) => ("at least", least.unwrap_or_default()),
        };
        let met = if self.met { "met" } else { "MISSED" };
        write!(f, "{:<20}{:>10.1}   aim: {word} {bound:<6} {met}", self.figure, self.measured)
    }
}

impl Display for Report {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        writeln!(f, "One shard, {} cores of this machine for everything\n", self.machine_cores)?;
        writeln!(f, "limit    {}", self.limit)?;
        writeln!(f, "steady   {}", told(&self.steady))?;
        writeln!(f, "backlog  {}", self.backlog)?;
        writeln!(f, "burst    {}\n", told(&self.burst))?;
        self.aims.iter().try_for_each(|aim| writeln!(f, "{aim}"))?;
        self.faults.iter().try_for_each(|fault| writeln!(f, "WRONG: {fault}"))?;
        write!(f, "{}", self.line())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn measured(faults: Vec<String>) -> Measured {
        let flow =
            |paid_p50_ms, orders_per_s| Flow { paid_p50_ms, paid_p99_ms: 600.0, orders_per_s, ..Flow::default() };
        Measured {
            limit: Limit { commits_per_s: 1_000.0, confirmed_ms: 10.0, ..Limit::default() },
            steady: flow(20.0, 300.0),
            relay: Relay { events: 10_000.0, drained_s: 2.0, events_per_s: 5_000.0, ..Relay::default() },
            burst: flow(900.0, 1_500.0),
            outbox_age_p99_ms: 5_001.0,
            faults,
        }
    }

    #[test]
    fn a_missed_aim_is_told_and_fails_nothing_and_a_wrong_book_does() {
        let report = Report::of(measured(Vec::new()));
        assert_eq!((report.confirmed_p50_ratio, report.relay_events_ratio), (2.0, 5.0));
        let met: Vec<_> = report.aims.iter().map(|aim| (aim.figure, aim.met)).collect();
        let names =
            ["confirmed_p50_ms", "confirmed_p99_ms", "relay_events_per_s", "backlog_drained_s", "outbox_age_p99_ms"];
        assert_eq!(met, names.into_iter().zip([true, false, true, true, false]).collect::<Vec<_>>());
        assert!(report.verdict().is_ok() && report.to_string().contains("MISSED"));
        assert!(Report::of(measured(vec!["lost".to_owned()])).verdict().is_err());
    }

    #[test]
    fn a_run_that_measured_nothing_fails() {
        let nothing = Measured { relay: Relay::default(), ..measured(Vec::new()) };
        assert!(Report::of(nothing).verdict().is_err());
    }
}
