//! What a run came to, for people and for programs.

use std::fmt::{self, Display, Formatter};
use std::path::PathBuf;

use serde::Serialize;

use super::verdict::Verdict;
use crate::audit;

/// Units that may be left unsold though somebody wanted them, of 1,000.
const STRANDED_PER_MILLE: u64 = 1;

/// Everything that was found.
#[derive(Debug, Serialize)]
pub(crate) struct Report {
    pub(crate) seed: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) bug: Option<&'static str>,
    /// Where cores died.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(crate) failpoints: Vec<&'static str>,
    pub(crate) faults: u32,
    pub(crate) seconds: f64,
    pub(crate) verdict: Verdict,
    /// Parcels, refunds and cancellations that who keeps the store asked for and was told yes.
    pub(crate) by_hand: u64,
    /// Units of scarce SKUs: all, and those left in the end though somebody still wanted them.
    pub(crate) scarce_units: u64,
    pub(crate) stranded: u64,
    /// Seconds until nothing was under way any more; absent if something still was when the time was over.
    pub(crate) quiet_after_seconds: Option<f64>,
    /// Panics of the store's programs, as their logs tell: a peer that dies or hangs is no reason for one.
    pub(crate) panics: Vec<String>,
    /// What broke without having been told to, and what else went wrong.
    pub(crate) surprises: Vec<String>,
    pub(crate) audit: audit::Report,
    /// History, ledger and schedule.
    pub(crate) folder: PathBuf,
}

impl Report {
    /// Every promise was kept.
    pub(crate) fn is_green(&self) -> bool {
        self.problems().is_empty()
    }

    /// A promise to those outside was broken, or rows contradict each other: more than a store that was slow to recover.
    pub(crate) fn found_a_bug(&self) -> bool {
        !self.panics.is_empty() || self.verdict.broken() > self.verdict.unreasonable || !self.audit.is_clean()
    }

    /// What is wrong, in a line each.
    pub(crate) fn problems(&self) -> Vec<String> {
        let mut problems = self.surprises.clone();
        problems.extend(self.panics.iter().cloned());
        if self.verdict.broken() > 0 {
            problems.extend(self.verdict.first.iter().cloned());
        }
        if self.quiet_after_seconds.is_none() {
            problems.push("something was still under way when it should have been quiet".to_owned());
        }
        if self.stranded * 1_000 > self.scarce_units * STRANDED_PER_MILLE {
            problems.push(format!("{} of {} scarce units are stranded", self.stranded, self.scarce_units));
        }
        if !self.audit.is_clean() {
            problems.push(format!("the audit found {} breaches", self.audit.breaches));
        }
        problems
    }
}

impl Display for Report {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        let Verdict { asked, ok, fail, unknown, unknown_placed, .. } = &self.verdict;
        let verdict = &self.verdict;
        let told = match (self.bug, self.failpoints.as_slice()) {
            (Some(bug), _) => format!(" with {bug}"),
            (None, []) => String::new(),
            (None, [only]) => format!(" with deaths at {only}"),
            (None, all) => format!(" with deaths at {} places", all.len()),
        };
        let quiet = self
            .quiet_after_seconds
            .map_or_else(|| "never quiet".to_owned(), |after| format!("quiet after {after:.1} s"));
        write!(
            f,
            "seed {}{told}: {} faults in {:.0} s, {asked} orders asked for ({ok} ok, {fail} refused, {unknown} unknown of \
             which {unknown_placed} placed): {} unreasonable refusals, {} lost, {} doubled, {} phantom, {} SKUs oversold, {} units astray, {} charges \
             without order, {} orders without charge, {} payments over-refunded, {} parcels doubled, {} parcels otherwise than \
             said, {} labels paid twice ({} things done by hand), {} of {} scarce units stranded, {quiet}, {} audit breaches: {}",
            self.seed,
            self.faults,
            self.seconds,
            verdict.unreasonable,
            verdict.lost,
            verdict.doubled,
            verdict.phantom,
            verdict.oversold,
            verdict.astray,
            verdict.charged_without_order,
            verdict.confirmed_without_charge,
            verdict.over_refunded,
            verdict.parcels_doubled,
            verdict.parcels_wrong,
            verdict.labels_paid_twice,
            self.by_hand,
            self.stranded,
            self.scarce_units,
            self.audit.breaches,
            if self.is_green() { "green" } else { "RED" }
        )
    }
}
