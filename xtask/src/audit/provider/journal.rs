//! The sandbox's durable log: every fact of every payment, one JSON record a line.

use std::fs::File;
use std::io::{BufRead as _, BufReader, Read as _};
use std::path::{Path, PathBuf};

use anyhow::{Context as _, ensure};
use serde::Deserialize;

use super::{Account, Accounts, Part};

/// A log is read in parts of so many bytes, as many times as it has: some 300,000 payments each.
const PART_BYTES: u64 = 256 << 20;

/// The log, with its length before the cut.
#[derive(Debug)]
pub(in crate::audit) struct Journal {
    path: PathBuf,
    before: u64,
}

/// A line of it, as far as it matters here.
#[derive(Debug, Deserialize)]
struct Record {
    sequence: u64,
    reference: String,
    fact: Fact,
    #[serde(default)]
    merchant_reference: Option<String>,
    #[serde(default)]
    amount_minor: Option<i64>,
    #[serde(default)]
    currency: Option<String>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Fact {
    Created,
    Authorized,
    Challenged,
    Approved,
    Declined,
    Captured,
    Voided,
    Refunded,
}

impl Journal {
    pub(super) fn up_to_now(path: &Path) -> anyhow::Result<Self> {
        let metadata = path.metadata().with_context(|| format!("cannot read {}", path.display()))?;
        Ok(Self { path: path.to_owned(), before: metadata.len() })
    }

    pub(super) fn parts(&self) -> u64 {
        self.before / PART_BYTES + 1
    }

    /// Reads all of it. A line that is being written is left out.
    pub(super) fn accounts(&self, part: Part) -> anyhow::Result<(u64, Accounts)> {
        let open = || File::open(&self.path).and_then(|file| Ok((file.metadata()?.len(), file)));
        let (length, file) = open().with_context(|| format!("cannot read {}", self.path.display()))?;
        let mut lines = BufReader::new(file.take(length));
        let (mut accounts, mut text, mut end, mut facts) = (Accounts::new(), Vec::new(), 0, 0);
        loop {
            text.clear();
            end += lines.read_until(b'\n', &mut text)? as u64;
            if !text.ends_with(b"\n") {
                return Ok((facts, accounts));
            }
            facts += 1;
            let place = || format!("{}, line {facts}", self.path.display());
            let record: Record = serde_json::from_slice(&text).with_context(place)?;
            ensure!(record.sequence == facts, "{}: record {} stands there", place(), record.sequence);
            if part.has(&record.reference) {
                note(&mut accounts, record, end <= self.before).with_context(place)?;
            }
        }
    }
}

fn note(accounts: &mut Accounts, record: Record, before: bool) -> anyhow::Result<()> {
    let Record { reference, fact, merchant_reference, amount_minor, currency, .. } = record;
    if fact == Fact::Created {
        let merchant_reference = merchant_reference.context("a payment without the merchant's reference")?;
        let currency = currency.context("a payment without currency")?;
        accounts.insert(reference, Account { merchant_reference, currency, amount_minor, ..Account::default() });
        return Ok(());
    }
    let account = accounts.get_mut(&reference).context("a fact about a payment that was never made")?;
    account.note(fact, amount_minor.unwrap_or(0), before);
    Ok(())
}

impl Account {
    fn note(&mut self, fact: Fact, refunded_minor: i64, before: bool) {
        let once = u32::from(before);
        match fact {
            Fact::Created | Fact::Voided => return,
            Fact::Authorized | Fact::Challenged | Fact::Approved | Fact::Declined => {}
            Fact::Captured => {
                self.captures += 1;
                self.captures_before += once;
                self.captured_minor += self.amount_minor.unwrap_or(0);
            }
            Fact::Refunded => {
                self.refunded_minor += refunded_minor;
                self.refunded_before_minor += refunded_minor * i64::from(once);
            }
        }
        self.moved_before |= before;
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write as _;

    use super::*;

    const ALL: Part = Part { number: 0, of: 1 };
    const CREATED: &str = concat!(
        r#"{"sequence":1,"at_ms":1,"reference":"pay_1","fact":"created","merchant_reference":"m","amount_minor":5,"#,
        r#""currency":"GBP","token":"tok_success","key":{"key":"k","request":"create"}}"#
    );
    const AUTHORIZED: &str = r#"{"sequence":2,"at_ms":2,"reference":"pay_1","fact":"authorized"}"#;
    const CAPTURED: &str = r#"{"sequence":3,"at_ms":3,"reference":"pay_1","fact":"captured"}"#;
    const REFUNDED: &str = r#"{"sequence":4,"at_ms":4,"reference":"pay_1","fact":"refunded","amount_minor":2}"#;

    fn log(lines: &[&str]) -> (tempfile::NamedTempFile, Journal) {
        let mut file = tempfile::NamedTempFile::new().unwrap();
        lines.iter().for_each(|line| writeln!(file, "{line}").unwrap());
        let journal = Journal::up_to_now(file.path()).unwrap();
        (file, journal)
    }

    #[test]
    fn facts_know_whether_they_are_older_than_the_cut() {
        let (mut file, journal) = log(&[CREATED, AUTHORIZED, CAPTURED]);
        writeln!(file, "{REFUNDED}").unwrap();
        write!(file, r#"{{"sequence":5,"at_"#).unwrap();
        let (facts, accounts) = journal.accounts(ALL).unwrap();
        let account = &accounts["pay_1"];
        assert_eq!((facts, account.captures_before, account.captured_minor), (4, 1, 5));
        assert_eq!((account.refunded_minor, account.refunded_before_minor), (2, 0));
        assert!(account.moved_before && account.merchant_reference == "m");
    }

    #[test]
    fn a_log_with_a_gap_or_a_fact_of_nobody_is_not_believed() {
        for lines in [&[CREATED, CAPTURED][..], &[CREATED, AUTHORIZED, "{}"]] {
            let (_file, journal) = log(lines);
            assert!(format!("{:#}", journal.accounts(ALL).unwrap_err()).contains(&format!("line {}", lines.len())));
        }
        let (_file, journal) = log(&[&AUTHORIZED.replace(":2,\"at", ":1,\"at")]);
        assert!(format!("{:#}", journal.accounts(ALL).unwrap_err()).contains("never made"));
    }
}
