//! The audit: every promise about units, orders, money, events and ownership, looked up in the live databases.
//!
//! ```text
//! let report = audit::run(&layout, Demand::Running).await?;   // or Demand::Settled, after audit::settle(&layout, within)
//! assert!(report.is_clean());
//! ```
//!
//! A [`Layout`] names what is looked at, by plain URLs: [`Layout::of_core`] reads it from a core's configuration,
//! others fill it in by themselves. What one shard can tell about itself is asked in SQL ([`rules`]); what takes
//! several databases or the payment provider's own log is read as sorted streams and compared here, so that memory does
//! not grow with the orders. Everything is read in one consistent cut ([`cut`]).
//!
//! Deliberately absent: repair, writing of any kind, and anything that a core believes: only databases, the provider's
//! log and the client's own list of acknowledged orders are heard.

mod acknowledged;
mod carrier;
mod cut;
mod delivery;
mod figures;
mod layout;
mod merge;
mod once;
mod ownership;
mod prices;
mod provider;
mod regions;
mod report;
mod rules;
mod settle;
mod stock;
#[cfg(test)]
mod tests;
mod transfers;

use futures::future::try_join_all;
use serde::Serialize;

use self::acknowledged::Acknowledged;
use self::carrier::Carrier;
use self::cut::Cut;
use self::provider::Provider;
use self::report::Findings;

pub(crate) use self::layout::{Layout, ProviderLog, ShardSite};
pub(crate) use self::report::Report;
pub(crate) use self::rules::promises;
pub(crate) use self::settle::settle;

/// How still the system must be.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Demand {
    /// It sells: what is under way is fine until it is too old.
    Running,
    /// Nothing may be under way: no PENDING order, no payment to be moved on, no unit in flight, no event unheard.
    Settled,
}

impl Demand {
    /// What graces are multiplied by.
    const fn patience(self) -> f64 {
        match self {
            Self::Running => 1.0,
            Self::Settled => 0.0,
        }
    }
}

/// Checks every rule. A breach is a finding of the report; an error means that something could not be looked at.
///
/// # Errors
/// When a database, the provider's log or the list of acknowledged orders cannot be read, is not what the layout says, or
/// when transfers never stood still long enough for a consistent cut.
pub(crate) async fn run(layout: &Layout, demand: Demand) -> anyhow::Result<Report> {
    // What others wrote down before the cut must be true in it; so their ends are marked first.
    let acknowledged = layout.acknowledged.as_deref().map(Acknowledged::up_to_now).transpose()?;
    let provider = match &layout.provider {
        Some(log) => Some(Provider::up_to_now(log).await?),
        None => None,
    };
    let carrier = layout.carrier.as_deref().map(Carrier::up_to_now).transpose()?;
    let mut cut = Cut::take(layout, demand).await?;
    let mut findings = Findings::new();
    // One shard's rules follow each other on its one snapshot; shards go side by side.
    for found in try_join_all(cut.shards.iter_mut().map(|shard| rules::check(shard, demand))).await? {
        findings.add_all(found);
    }
    let flights = transfers::check(&mut cut, demand, &mut findings).await?;
    regions::check(&mut cut, &flights, &mut findings).await?;
    let units = stock::check(&mut cut, flights, &mut findings).await?;
    once::check(&mut cut, &mut findings).await?;
    acknowledged::check(acknowledged, &mut cut, &mut findings).await?;
    prices::check(&mut cut, &mut findings).await?;
    delivery::check(&mut cut, &mut findings).await?;
    provider::check(provider, &mut cut, &mut findings).await?;
    carrier::check(carrier, &mut cut, &mut findings).await?;
    ownership::check(&mut cut, &mut findings).await?;
    let figures = figures::count(&mut cut, units).await?;
    Ok(Report::of(demand, cut.looks, figures, findings))
}
