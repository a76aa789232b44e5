//! What a run came to, for people and for programs.

use std::collections::BTreeMap;
use std::fmt::{self, Display, Formatter};
use std::time::Duration;

use serde::Serialize;
use shared::{Currency, Money};

use super::check::Verdict;
use super::drive::Placed;
use super::latency::Latency;
use super::memory::Used;
use super::plan::{Plan, Skipped};
use super::rules::Outcome;

/// Faults that are printed; `--json` has all of them.
const FAULTS_SHOWN: usize = 10;

/// What a run came to.
#[derive(Debug, Serialize)]
pub(super) struct Report {
    /// Every key of the run starts with it.
    pub(super) key_prefix: String,
    pub(super) through: String,
    pub(super) customers: u64,
    pub(super) guests: u64,
    /// Orders placed by region.
    pub(super) regions: BTreeMap<String, u64>,
    pub(super) placed: u64,
    /// Refused orders by reason.
    pub(super) refused: BTreeMap<String, u64>,
    /// Orders of which nobody said what became of them, by the last reason.
    pub(super) unknown: BTreeMap<String, u64>,
    pub(super) skipped: Skipped,
    /// Orders sent to GB, by what the invoice calls the country.
    pub(super) unknown_countries: BTreeMap<String, u64>,
    /// Answers that put an order off.
    pub(super) waits: u64,
    pub(super) repeats: u64,
    pub(super) requotes: u64,
    /// How often an order waited for units of another shard; absent if a core did not tell.
    pub(super) borrowed: Option<u64>,
    pub(super) currency: Currency,
    /// From the first request for an order to the last answer.
    pub(super) seconds: f64,
    pub(super) orders_per_second: f64,
    /// From the last answer until no order was PENDING.
    pub(super) settled_after_seconds: f64,
    pub(super) latency: Latency,
    /// Resident memory by part.
    pub(super) memory: BTreeMap<String, Used>,
    pub(super) check: Verdict,
}

/// What the run itself knows; the rest is added up.
#[derive(Debug)]
pub(super) struct Run {
    pub(super) key_prefix: String,
    pub(super) through: String,
    pub(super) currency: Currency,
    pub(super) regions: BTreeMap<String, u64>,
    pub(super) took: Duration,
    pub(super) settled_after: Duration,
    pub(super) borrowed: Option<u64>,
    pub(super) memory: BTreeMap<String, Used>,
    pub(super) check: Verdict,
}

impl Report {
    pub(super) fn of(plan: &Plan, placed: &[Placed<'_>], run: Run) -> Self {
        let (mut accepted, mut refused, mut unknown) = (0, BTreeMap::new(), BTreeMap::new());
        for one in placed {
            match &one.outcome {
                Outcome::Accepted { .. } => accepted += 1,
                Outcome::Refused(reason) => *refused.entry(reason.clone()).or_default() += 1,
                Outcome::Unknown(reason) => *unknown.entry(reason.clone()).or_default() += 1,
            }
        }
        let customers = count(plan.users.iter().filter(|user| user.is_customer).count());
        let sum = |of: fn(&Placed<'_>) -> u32| placed.iter().map(|one| u64::from(of(one))).sum();
        let seconds = run.took.as_secs_f64();
        Self {
            key_prefix: run.key_prefix,
            through: run.through,
            customers,
            guests: count(plan.users.len()) - customers,
            regions: run.regions,
            placed: accepted,
            refused,
            unknown,
            skipped: plan.skipped,
            unknown_countries: plan.unknown_countries.clone(),
            waits: sum(|one| one.patience.waits),
            repeats: sum(|one| one.patience.unsure),
            requotes: sum(|one| one.patience.requotes),
            borrowed: run.borrowed,
            currency: run.currency,
            seconds,
            orders_per_second: rate(accepted, seconds),
            settled_after_seconds: run.settled_after.as_secs_f64(),
            latency: Latency::of(placed.iter().filter_map(|one| one.took).collect()),
            memory: run.memory,
            check: run.check,
        }
    }

    fn money(&self, minor: i64) -> String {
        Money::new(minor, self.currency).map_or_else(|_| format!("{minor} minor units"), |money| money.to_string())
    }
}

fn count(length: usize) -> u64 {
    u64::try_from(length).unwrap_or(u64::MAX)
}

#[expect(clippy::cast_precision_loss, reason = "orders of one run are far fewer than 2^53")]
fn as_f64(orders: u64) -> f64 {
    orders as f64
}

/// So many in one second, or for one of whatever `of` counts.
fn rate(count: u64, of: f64) -> f64 {
    if of > 0.0 { as_f64(count) / of } else { 0.0 }
}

/// `3 sold-out, 1 invalid`.
fn listed(counts: &BTreeMap<String, u64>) -> String {
    if counts.is_empty() {
        return "none".to_owned();
    }
    counts.iter().map(|(what, count)| format!("{count} {what}")).collect::<Vec<_>>().join(", ")
}

impl Display for Report {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        let Self { skipped, check, latency, .. } = self;
        writeln!(
            f,
            "users      {} customers, {} guests; orders by region: {}",
            self.customers,
            self.guests,
            listed(&self.regions)
        )?;
        writeln!(f, "placed     {} orders through the {}", self.placed, self.through)?;
        writeln!(f, "refused    {}", listed(&self.refused))?;
        if !self.unknown.is_empty() {
            writeln!(f, "no answer  {}; {} of them were placed", listed(&self.unknown), check.found)?;
        }
        writeln!(
            f,
            "put off    {} times to wait, {} repeats without an answer, {} new totals",
            self.waits, self.repeats, self.requotes
        )?;
        if let Some(times) = self.borrowed {
            let share = rate(times * 100, as_f64(self.placed));
            writeln!(f, "borrowed   {times} times while an order waited, {share:.2} for 100 orders")?;
        }
        writeln!(
            f,
            "skipped    {} cancellations ({} lines), {} invoices with nothing sellable, {} beyond the limit",
            skipped.cancellations, skipped.cancelled_lines, skipped.nothing_sellable, skipped.beyond_limit
        )?;
        writeln!(
            f,
            "           lines: {} services, {} stock adjustments, {} never priced, {} unreadable",
            skipped.service_lines, skipped.adjustment_lines, skipped.unpriced_lines, skipped.refused_lines
        )?;
        if !self.unknown_countries.is_empty() {
            writeln!(f, "countries  sent to GB for want of one: {}", listed(&self.unknown_countries))?;
        }
        writeln!(f, "memory     {:<12} {:>10} {:>10} {:>10}   MiB resident", "", "before", "most", "after")?;
        for (part, used) in &self.memory {
            let [before, most, after] = [used.before_bytes, used.most_bytes, used.after_bytes].map(mebibytes);
            writeln!(f, "           {part:<12} {before:>10} {most:>10} {after:>10}")?;
        }
        self.fmt_check(f)?;
        write!(
            f,
            "{} orders, {} units, {} in {:.1} s: {:.1} orders/s, p50 {:.1} ms, p99 {:.1} ms, check {}",
            self.placed,
            check.units,
            self.money(check.total_minor),
            self.seconds,
            self.orders_per_second,
            latency.p50_ms,
            latency.p99_ms,
            if check.passed() { "passed" } else { "FAILED" }
        )
    }
}

impl Report {
    fn fmt_check(&self, f: &mut Formatter<'_>) -> fmt::Result {
        let check = &self.check;
        writeln!(
            f,
            "check      {} confirmed {:.1} s after the last answer; {} units and {} by the file, {} captured",
            check.confirmed,
            self.settled_after_seconds,
            check.units,
            self.money(check.total_minor),
            self.money(check.captured_minor)
        )?;
        if check.units_of_others != 0 {
            writeln!(f, "           others bought {} units meanwhile", check.units_of_others)?;
        }
        for fault in check.faults.iter().take(FAULTS_SHOWN) {
            writeln!(f, "  WRONG    {fault}")?;
        }
        if check.faults.len() > FAULTS_SHOWN {
            writeln!(f, "           and {} more", check.faults.len() - FAULTS_SHOWN)?;
        }
        Ok(())
    }
}

/// With one decimal.
fn mebibytes(bytes: u64) -> String {
    if bytes == 0 {
        return "gone".to_owned();
    }
    let tenths = bytes * 10 / (1 << 20);
    format!("{}.{}", tenths / 10, tenths % 10)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn report(check: Verdict) -> Report {
        let plan = Plan { users: Vec::new(), skipped: Skipped::default(), unknown_countries: BTreeMap::new() };
        let used = Used { before_bytes: 50 << 20, most_bytes: (80 << 20) + (1 << 19), after_bytes: 60 << 20 };
        let run = Run {
            key_prefix: "replay-1-".to_owned(),
            through: "pop".to_owned(),
            currency: Currency::GBP,
            regions: [("eu".to_owned(), 2), ("us".to_owned(), 1)].into(),
            took: Duration::from_millis(1_500),
            settled_after: Duration::from_millis(300),
            borrowed: Some(6),
            memory: [("core.eu-1".to_owned(), used)].into(),
            check,
        };
        let mut report = Report::of(&plan, &[], run);
        report.placed = 3;
        report.orders_per_second = rate(3, 1.5);
        report
    }

    #[test]
    fn the_last_line_has_the_figures() {
        let shown = report(Verdict { units: 42, total_minor: 123_456, ..Verdict::default() }).to_string();
        assert_eq!(
            shown.lines().last().unwrap(),
            "3 orders, 42 units, £1,234.56 in 1.5 s: 2.0 orders/s, p50 0.0 ms, p99 0.0 ms, check passed"
        );
        assert!(shown.contains("core.eu-1          50.0       80.5       60.0"), "{shown}");
        assert!(shown.contains("orders by region: 2 eu, 1 us"), "{shown}");
        assert!(shown.contains("6 times while an order waited, 200.00 for 100 orders"), "{shown}");
    }

    #[test]
    fn the_first_faults_are_named_and_the_rest_counted() {
        let faults = (0..13).map(|number| format!("SKU-{number}: 1 units by the file, 0 sold by the shards")).collect();
        let shown = report(Verdict { faults, ..Verdict::default() }).to_string();
        assert!(shown.contains("WRONG    SKU-0:") && shown.contains("SKU-9:") && !shown.contains("SKU-10:"), "{shown}");
        assert!(shown.contains("and 3 more") && shown.ends_with("check FAILED"), "{shown}");
    }
}
