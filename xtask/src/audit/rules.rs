//! What one shard can tell about itself: each rule is a few queries that find the rows which break it.
//!
//! A query answers rows of `key` and `problem`, both text, and none if all is well. It may use
//! - `$1`, the patience: 1 while the system runs, 0 if nothing may be under way; graces are multiplied by it,
//! - `$2`, the moment of the cut by the shard's own clock.
//!
//! They are checked at run time only: the commands here also rewrite the committed metadata of checked queries, so they
//! must compile without it. Each has a test that breaks a real shard by hand.

mod events;
mod money;
mod notifications;
mod orders;
mod origins;
mod payments;
mod quiet;
mod shipments;
mod slots;
mod stock;

use sqlx::AssertSqlSafe;

use super::Demand;
use super::cut::Shard;
use super::report::{Breach, Found, NAMED, Rule};

/// The slot inside a `UUIDv7` of ours: its twelve `rand_a` bits.
macro_rules! slot_of_uuid {
    ($column:literal) => {
        concat!("('x' || substr(", $column, "::text, 16, 3))::bit(12)::integer")
    };
}
/// The slot inside a user's id.
macro_rules! slot_of_user {
    ($column:literal) => {
        concat!("((", $column, " >> 10) & 4095)::integer")
    };
}
pub(super) use {slot_of_user, slot_of_uuid};

/// A rule that each shard is asked about by itself.
#[derive(Debug)]
pub(super) struct LocalRule {
    pub(super) rule: Rule,
    /// Tables whose rows it looks at.
    pub(super) looks_at: &'static [&'static str],
    pub(super) checks: &'static [Check],
}

/// A query for broken rows.
#[derive(Debug)]
pub(super) struct Check {
    /// Where the broken row is, or should be.
    pub(super) table: &'static str,
    pub(super) sql: &'static str,
}

macro_rules! rules {
    ($($(#[$doc:meta])* $name:ident = $text:literal, $promise:literal;)*) => {
        $($(#[$doc])* pub(super) const $name: Rule = Rule { name: $text, promise: $promise };)*

        /// Every promise, in the order in which they are told.
        pub(crate) fn promises() -> impl Iterator<Item = Rule> {
            [$($name),*].into_iter()
        }
    };
}

rules! {
    STOCK_ABOVE_ZERO = "stock.above-zero", "no allotment is below zero";
    STOCK_RESERVED = "stock.reserved", "what an allotment has reserved is held for orders, unit by unit";
    STOCK_SOLD = "stock.sold", "what an allotment has sold is claimed by orders, unit by unit";
    STOCK_CONSERVED = "stock.conserved", "received + returned - written off = free + reserved + sold + in flight";
    STOCK_OVERSOLD = "stock.oversold", "sold + reserved never exceeds what was received";
    STOCK_TRANSFERS = "stock.transfers", "both halves of a transfer tell the same, each once";
    STOCK_REGIONS = "stock.regions", "in each region lies what came there and was not lost there, whoever may sell it";
    STOCK_ORIGINS = "stock.origins", "what orders are assigned lies where it is said to, and no unit is assigned twice";
    ORDERS_KEYS = "orders.keys", "each idempotency record names an order of its user, and each order has one";
    ORDERS_LINES = "orders.lines", "an order has lines, and its total is their sum and the shipping";
    ORDERS_UNITS = "orders.units", "each line has its reservation of the same units, and none stands alone";
    ORDERS_STATES = "orders.states", "reservations are held, claimed or released as their order's status says";
    ORDERS_ORPHANS = "orders.orphans", "no line, reservation or payment is without its order, no order without its user";
    ORDERS_ONCE = "orders.once", "no order and no key of a user lives on two shards";
    ORDERS_ACKNOWLEDGED = "orders.acknowledged", "every order that a client was told of exists once, as he was told";
    ORDERS_REVIEWS = "orders.reviews", "no order goes on while it waits for a decision, and what was refused is CANCELLED";
    ORDERS_TOLD = "orders.told", "whoever named an address is to be told of what was heard about his order";
    PRICES_HISTORY = "prices.history", "each line has the price that the catalog had at the order's version";
    PRICES_DELIVERY = "prices.delivery", "an order's delivery costs what its option, country, weight and value cost at its version";
    PAYMENTS_ORDERS = "payments.orders", "captured = total, refunded = its refunds if CONFIRMED or later; captured = refunded if CANCELLED";
    PAYMENTS_PROVIDER = "payments.provider", "the provider's own log knows one live capture an order, and none that we do not";
    MONEY_BOOKED = "money.booked", "a payment's entries come to what it captured and what it gave back";
    MONEY_REFUNDS = "money.refunds", "a refund is entered once it is through, and its amount set aside until then";
    MONEY_PROVIDER = "money.provider", "what was entered as moved, the provider's own log says too";
    SHIPMENTS_UNITS = "shipments.units", "what has left of a line is what its parcels hold, and never more than was ordered";
    SHIPMENTS_STATES = "shipments.states", "an order is SHIPPED with its first parcel, DELIVERED when all of it has arrived";
    SHIPMENTS_LABELS = "shipments.labels", "units are kept for live labels alone, and a label that was used is on its own parcel";
    SHIPMENTS_CARRIER = "shipments.carrier", "every label that the carrier's own log knows as paid for is ours, and none is paid for twice";
    RETURNS_UNITS = "returns.units", "what came back had left, and what became of it is in the stock's ledger, unit by unit";
    EVENTS_INBOX = "events.inbox", "no consumer has handled an event twice";
    EVENTS_HANDLED = "events.handled", "every event is handled, waits for another try, or was set aside";
    EVENTS_VERSIONS = "events.versions", "the versions of an order's events rise without a gap";
    EVENTS_STATES = "events.states", "orders and payments stand where their last event says, and nothing is said twice";
    SLOTS_OWNERS = "slots.owners", "each slot has one owner: the shard that the slot map names, at the highest epoch";
    SLOTS_ROWS = "slots.rows", "no row of a slot is on a shard that never owned it, or was written there after it left";
    QUIET_ORDERS = "quiet.orders", "no order is PENDING longer than it may be";
    QUIET_PAYMENTS = "quiet.payments", "no payment waits longer than it may";
    QUIET_EVENTS = "quiet.events", "no event waits longer for another try than it may";
    QUIET_LABELS = "quiet.labels", "no label is being bought or given back longer than it may be";
    QUIET_TRANSFERS = "quiet.transfers", "no unit is in flight longer than it may be, nor more than 1 % of a SKU";
}

/// Every rule that a shard is asked about.
fn local() -> impl Iterator<Item = &'static LocalRule> {
    let services = [stock::RULES, orders::RULES, notifications::RULES, payments::RULES, money::RULES, shipments::RULES];
    services.into_iter().chain([origins::RULES, events::RULES, slots::RULES, quiet::RULES]).flatten()
}

/// The queries that find, without patience, whatever a shard still has to do by itself.
pub(super) fn under_way() -> impl Iterator<Item = &'static Check> {
    let waiting = [QUIET_ORDERS, QUIET_PAYMENTS, QUIET_EVENTS, QUIET_LABELS, EVENTS_HANDLED];
    local().filter(move |local| waiting.contains(&local.rule)).flat_map(|local| local.checks)
}

/// Asks one shard about all of them.
pub(super) async fn check(shard: &mut Shard, demand: Demand) -> anyhow::Result<Vec<(Rule, Found)>> {
    let mut all = Vec::new();
    for local in local() {
        let mut found = Found::rows(local.looks_at.iter().map(|table| shard.rows(table)).sum());
        for check in local.checks {
            broken(shard, demand, check, &mut found).await?;
        }
        all.push((local.rule, found));
    }
    Ok(all)
}

/// The first rows that a query finds, and how many there are.
async fn broken(shard: &mut Shard, demand: Demand, check: &Check, found: &mut Found) -> anyhow::Result<()> {
    let query =
        format!("SELECT key, problem, count(*) OVER () FROM ({}) AS broken ORDER BY key LIMIT {NAMED}", check.sql);
    let rows: Vec<(String, String, i64)> = sqlx::query_as(AssertSqlSafe(query))
        .bind(demand.patience())
        .bind(shard.moment)
        .fetch_all(&mut shard.conn)
        .await
        .map_err(|error| anyhow::anyhow!(error).context(format!("shard {}, {}", shard.id, check.table)))?;
    let count = rows.first().map_or(0, |(_, _, count)| count.unsigned_abs());
    found.breaches += count;
    let named = rows.into_iter().map(|(key, problem, _)| Breach {
        shard: Some(shard.id),
        table: check.table.to_owned(),
        key,
        problem,
    });
    found.first.extend(named);
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    #[test]
    fn every_promise_has_a_name_of_its_own_and_every_local_rule_is_promised() {
        let names: Vec<_> = promises().map(|rule| rule.name).collect();
        assert_eq!(names.iter().collect::<HashSet<_>>().len(), names.len());
        for local in local() {
            assert!(names.contains(&local.rule.name) && !local.checks.is_empty() && !local.looks_at.is_empty());
        }
    }
}
