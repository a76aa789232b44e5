//! What an audit found: every rule by name, the rows it looked at, and the first rows that break it.

use std::fmt::{self, Display, Formatter};

use serde::Serialize;

use super::Demand;
use super::figures::Figures;
use super::rules::promises;

/// Breaches of a rule that are named; all are counted.
pub(super) const NAMED: usize = 20;

/// A promise that is checked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Rule {
    /// `area.what`; never changes.
    pub(crate) name: &'static str,
    /// What holds if nothing is found.
    pub(crate) promise: &'static str,
}

/// A row that breaks a rule.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub(crate) struct Breach {
    /// Where it is; absent for what is nowhere, or in several places.
    pub(crate) shard: Option<i16>,
    /// The table, or the log, that it stands in.
    pub(crate) table: String,
    /// Which row.
    pub(crate) key: String,
    /// What is wrong with it, with the values.
    pub(crate) problem: String,
}

/// What became of one rule.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Checked {
    pub(crate) rule: &'static str,
    pub(crate) promise: &'static str,
    /// Rows looked at.
    pub(crate) rows: u64,
    /// Why it was not looked at, if it was not.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) skipped: Option<&'static str>,
    /// Rows that break it.
    pub(crate) breaches: u64,
    /// The first of them.
    pub(crate) first: Vec<Breach>,
}

/// The rules in their order, as they fill.
#[derive(Debug)]
pub(super) struct Findings(Vec<Checked>);

/// What one look added to one rule.
#[derive(Debug, Default)]
pub(super) struct Found {
    pub(super) rows: u64,
    pub(super) breaches: u64,
    pub(super) first: Vec<Breach>,
}

/// The whole audit.
#[derive(Debug, Serialize)]
pub(crate) struct Report {
    /// Nothing was found.
    pub(crate) clean: bool,
    pub(crate) demand: Demand,
    /// Rows that break a rule, over all rules.
    pub(crate) breaches: u64,
    /// How often transfers had to be looked at until they stood still.
    pub(crate) looks: u32,
    pub(crate) figures: Figures,
    pub(crate) rules: Vec<Checked>,
}

impl Found {
    /// Rows that were looked at, none of which is wrong so far.
    pub(super) fn rows(rows: u64) -> Self {
        Self { rows, ..Self::default() }
    }

    /// One more row that is wrong.
    pub(super) fn breach(&mut self, breach: Breach) {
        self.breaches(1, breach);
    }

    /// So many rows that are wrong in one way, with one of them.
    pub(super) fn breaches(&mut self, count: u64, example: Breach) {
        self.breaches += count;
        if self.first.len() < NAMED {
            self.first.push(example);
        }
    }
}

impl Findings {
    pub(super) fn new() -> Self {
        let empty = |rule: Rule| Checked {
            rule: rule.name,
            promise: rule.promise,
            rows: 0,
            skipped: None,
            breaches: 0,
            first: Vec::new(),
        };
        Self(promises().map(empty).collect())
    }

    pub(super) fn add(&mut self, rule: Rule, found: Found) {
        let checked = self.of(rule);
        checked.rows += found.rows;
        checked.breaches += found.breaches;
        let room = NAMED - checked.first.len();
        checked.first.extend(found.first.into_iter().take(room));
    }

    pub(super) fn add_all(&mut self, all: impl IntoIterator<Item = (Rule, Found)>) {
        for (rule, found) in all {
            self.add(rule, found);
        }
    }

    pub(super) fn skip(&mut self, rule: Rule, reason: &'static str) {
        self.of(rule).skipped = Some(reason);
    }

    fn of(&mut self, rule: Rule) -> &mut Checked {
        let position = self.0.iter().position(|checked| checked.rule == rule.name);
        &mut self.0[position.unwrap_or_else(|| panic!("{} is not among the promises", rule.name))]
    }
}

impl Report {
    pub(super) fn of(demand: Demand, looks: u32, figures: Figures, findings: Findings) -> Self {
        let breaches = findings.0.iter().map(|rule| rule.breaches).sum();
        Self { clean: breaches == 0, demand, breaches, looks, figures, rules: findings.0 }
    }

    /// Whether every row that was looked at is as it should be.
    pub(crate) fn is_clean(&self) -> bool {
        self.clean
    }

    /// The rules that are broken.
    pub(crate) fn broken(&self) -> impl Iterator<Item = &Checked> {
        self.rules.iter().filter(|rule| rule.breaches > 0)
    }
}

impl Display for Report {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        let width = self.rules.iter().map(|rule| rule.rule.len()).max().unwrap_or_default();
        for rule in &self.rules {
            writeln!(f, "{:<width$}  {:>11}  {}", rule.rule, rule.looked(), rule.verdict())?;
            for breach in &rule.first {
                writeln!(f, "    {breach}")?;
            }
            if rule.breaches > rule.first.len() as u64 && !rule.first.is_empty() {
                writeln!(f, "    and {} more", rule.breaches - rule.first.len() as u64)?;
            }
        }
        let rows: u64 = self.rules.iter().map(|rule| rule.rows).sum();
        let skipped = self.rules.iter().filter(|rule| rule.skipped.is_some()).count();
        let checked = self.rules.len() - skipped;
        write!(f, "{checked} rules, {rows} rows looked at, {} breaches; {}", self.breaches, self.figures)
    }
}

impl Checked {
    fn looked(&self) -> String {
        if self.skipped.is_some() { "-".to_owned() } else { format!("{} rows", self.rows) }
    }

    fn verdict(&self) -> String {
        match (self.skipped, self.breaches) {
            (Some(reason), _) => format!("not looked at: {reason}"),
            (None, 0) => format!("holds    {}", self.promise),
            (None, 1) => format!("BROKEN   once: {}", self.promise),
            (None, count) => format!("BROKEN   {count} times: {}", self.promise),
        }
    }
}

impl Display for Breach {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        if let Some(shard) = self.shard {
            write!(f, "shard {shard}, ")?;
        }
        write!(f, "{}, {}: {}", self.table, self.key, self.problem)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::audit::rules::STOCK_SOLD;

    fn breach(number: usize) -> Breach {
        let (table, problem) = ("allotments".to_owned(), "1 sold, 2 claimed".to_owned());
        Breach { shard: Some(2), table, key: format!("SKU-{number}"), problem }
    }

    fn report(found: Found) -> Report {
        let mut findings = Findings::new();
        findings.add(STOCK_SOLD, found);
        Report::of(Demand::Running, 1, Figures::default(), findings)
    }

    #[test]
    fn the_first_breaches_are_named_and_all_are_counted() {
        let mut found = Found::rows(30);
        (0..25).for_each(|number| found.breach(breach(number)));
        let report = report(found);
        let shown = report.to_string();
        assert!(!report.is_clean() && report.breaches == 25);
        assert!(shown.contains("stock.sold") && shown.contains("BROKEN   25 times"), "{shown}");
        assert!(shown.contains("    shard 2, allotments, SKU-19: 1 sold, 2 claimed\n    and 5 more\n"), "{shown}");
    }

    #[test]
    fn a_rule_that_was_not_looked_at_does_not_pass_for_one_that_holds() {
        let mut findings = Findings::new();
        findings.skip(STOCK_SOLD, "nobody said where");
        let shown = Report::of(Demand::Settled, 1, Figures::default(), findings).to_string();
        let line = shown.lines().find(|line| line.starts_with("stock.sold")).unwrap();
        assert!(line.ends_with("not looked at: nobody said where") && !line.contains("holds"), "{line}");
        let rules = promises().count();
        assert!(shown.lines().last().unwrap().starts_with(&format!("{} rules, 0 rows", rules - 1)), "{shown}");
    }
}
