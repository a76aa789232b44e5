//! The payment provider's own log against our payments: at most one live capture an order, no charge without an order,
//! and nothing that moved on a reference which no shard had committed.
//!
//! The provider's log goes on while we look. What it had written before the cut must be known in it, unless our payment
//! still waits for just that answer; what our shards know must be in the log as it is now. So the log is read to its
//! present end, and each fact remembers whether it is older than the cut.

mod journal;
mod movements;

use std::collections::HashMap;
use std::hash::{DefaultHasher, Hash as _, Hasher as _};

use anyhow::Context as _;
use futures::TryStreamExt as _;
use uuid::Uuid;

use super::cut::{Cut, Shard};
use super::layout::ProviderLog;
use super::report::{Breach, Findings, Found};
use super::rules::{MONEY_PROVIDER, PAYMENTS_PROVIDER};

use self::journal::Journal;
use self::movements::Movements;

/// The log, with its end before the cut.
#[derive(Debug)]
pub(super) enum Provider {
    Journal(Journal),
    Movements(Movements),
}

/// What the log says about one payment.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Account {
    /// Our name for it, as the provider was told.
    merchant_reference: String,
    currency: String,
    /// What it was made for; absent where only movements are known.
    amount_minor: Option<i64>,
    /// Facts that need a committed reference and are older than the cut: the bank was asked, or money moved.
    moved_before: bool,
    captures: u32,
    captures_before: u32,
    captured_minor: i64,
    refunded_minor: i64,
    refunded_before_minor: i64,
}

/// Accounts by the provider's reference, of one part of all references.
type Accounts = HashMap<String, Account>;

/// A part of all references, so that a long log is compared in several passes.
#[derive(Clone, Copy, Debug)]
struct Part {
    number: u64,
    of: u64,
}

/// A payment at the sandbox as we have it: the log is its own, and other providers have none that we could read.
#[derive(Debug, sqlx::FromRow)]
struct Ours {
    payment_id: Uuid,
    order_id: Uuid,
    provider_reference: String,
    currency: String,
    amount_minor: i64,
    captured_minor: i64,
    refunded_minor: i64,
    /// Set aside for refunds of which the provider may have made some already.
    refunding_minor: i64,
    /// What the ledger of money says.
    captured_entries: i64,
    refunded_entries: i64,
    state: String,
}

const OURS: &str = "
    SELECT payment_id, payments.order_id, provider_reference, payments.currency, payments.amount_minor, captured_minor,
           refunded_minor, refunding_minor, state,
           coalesce(sum(entry.amount_minor) FILTER (WHERE debit = 'provider'), 0)::bigint AS captured_entries,
           coalesce(sum(entry.amount_minor) FILTER (WHERE credit = 'provider'), 0)::bigint AS refunded_entries
    FROM payments LEFT JOIN money_entries AS entry USING (payment_id)
    WHERE provider = 'sandbox' AND provider_reference IS NOT NULL GROUP BY payment_id";

impl Provider {
    /// Marks the log's present end.
    pub(super) async fn up_to_now(log: &ProviderLog) -> anyhow::Result<Self> {
        match log {
            ProviderLog::Journal(path) => Ok(Self::Journal(Journal::up_to_now(path)?)),
            ProviderLog::Http(origin) => Ok(Self::Movements(Movements::up_to_now(origin).await?)),
        }
    }

    /// Passes that the log takes.
    fn parts(&self) -> u64 {
        match self {
            Self::Journal(journal) => journal.parts(),
            Self::Movements(_) => 1,
        }
    }

    /// Reads the accounts of one part; tells how many facts the log has.
    async fn accounts(&mut self, part: Part) -> anyhow::Result<(u64, Accounts)> {
        match self {
            Self::Journal(journal) => journal.accounts(part),
            Self::Movements(movements) => movements.accounts(part).await,
        }
    }

    /// Whether payments are in the log before money moves.
    fn tells_all(&self) -> bool {
        matches!(self, Self::Journal(_))
    }
}

impl Part {
    fn has(self, reference: &str) -> bool {
        let mut hasher = DefaultHasher::new();
        reference.hash(&mut hasher);
        hasher.finish() % self.of == self.number
    }
}

pub(super) async fn check(provider: Option<Provider>, cut: &mut Cut, findings: &mut Findings) -> anyhow::Result<()> {
    let Some(mut provider) = provider else {
        findings.skip(PAYMENTS_PROVIDER, "no log of the provider was named");
        findings.skip(MONEY_PROVIDER, "no log of the provider was named");
        return Ok(());
    };
    let of = provider.parts();
    for number in 0..of {
        let part = Part { number, of };
        let (facts, mut accounts) = provider.accounts(part).await.context("the payment provider's log")?;
        let facts = if number == 0 { facts } else { 0 };
        let (mut found, mut entered) = (Found::rows(facts), Found::rows(facts));
        for shard in &mut cut.shards {
            compare(shard, part, provider.tells_all(), &mut accounts, (&mut found, &mut entered)).await?;
        }
        unknown(accounts, &mut found);
        findings.add_all([(PAYMENTS_PROVIDER, found), (MONEY_PROVIDER, entered)]);
    }
    Ok(())
}

/// Our payments of one shard, and what was entered for them, against their accounts, which are then done with.
async fn compare(
    shard: &mut Shard,
    part: Part,
    tells_all: bool,
    accounts: &mut Accounts,
    (found, entered): (&mut Found, &mut Found),
) -> anyhow::Result<()> {
    let mut payments = sqlx::query_as::<_, Ours>(OURS).fetch(&mut shard.conn);
    while let Some(ours) = payments.try_next().await.with_context(|| format!("shard {}, payments", shard.id))? {
        if !part.has(&ours.provider_reference) {
            continue;
        }
        found.rows += 1;
        entered.rows += 1;
        let account = accounts.remove(&ours.provider_reference);
        let key = format!("order {}, {}", ours.order_id, ours.provider_reference);
        let breach =
            |table: &str, problem| Breach { shard: Some(shard.id), table: table.to_owned(), key: key.clone(), problem };
        if let Some(problem) = contradiction(&ours, account.as_ref(), tells_all) {
            found.breach(breach("payments", problem));
        }
        if let Some(problem) = entered_otherwise(&ours, account.as_ref()) {
            entered.breach(breach("money_entries", problem));
        }
    }
    Ok(())
}

/// Accounts of which no shard knows. A payment that was only made there is one whose making was never heard of: nothing
/// moved.
fn unknown(accounts: Accounts, found: &mut Found) {
    let mut moved: Vec<_> = accounts.into_iter().filter(|(_, account)| account.moved_before).collect();
    moved.sort_unstable_by(|(one, _), (other, _)| one.cmp(other));
    for (reference, account) in moved {
        let Account { merchant_reference, currency, captured_minor, refunded_minor, .. } = account;
        let key = format!("{reference} of payment {merchant_reference}");
        let moved = format!("{captured_minor} captured, {refunded_minor} refunded (minor units of {currency})");
        let problem = format!("{moved} on a reference that no shard has committed");
        found.breach(Breach { shard: None, table: "provider's log".to_owned(), key, problem });
    }
}

/// What our payment and the provider's account of it disagree in.
fn contradiction(ours: &Ours, account: Option<&Account>, tells_all: bool) -> Option<String> {
    let Ours { captured_minor, refunded_minor, state, .. } = ours;
    let Some(theirs) = account else {
        return (tells_all || *captured_minor > 0)
            .then(|| format!("{state} with {captured_minor} captured, and the provider does not know it"));
    };
    if theirs.merchant_reference != ours.payment_id.to_string()
        || theirs.amount_minor.is_some_and(|amount| amount != ours.amount_minor)
    {
        let amount = theirs.amount_minor.map_or_else(String::new, |amount| format!(" of {amount} {}", theirs.currency));
        return Some(format!("the provider knows it as payment {}{amount}", theirs.merchant_reference));
    }
    if theirs.currency != ours.currency {
        return Some(format!("in {}, at the provider in {}", ours.currency, theirs.currency));
    }
    if theirs.captures > 1 {
        return Some(format!("captured {} times at the provider", theirs.captures));
    }
    moved_otherwise(ours, (*captured_minor, *refunded_minor), theirs).then(|| {
        format!(
            "{state}: {captured_minor} captured and {refunded_minor} refunded here, {} and {} at the provider",
            theirs.captured_minor, theirs.refunded_minor
        )
    })
}

/// Whether so much captured and refunded is not what the provider did, as far as we must know by now.
fn moved_otherwise(ours: &Ours, (captured, refunded): (i64, i64), theirs: &Account) -> bool {
    let waits_for_capture = matches!(ours.state.as_str(), "to_capture" | "to_void");
    let captured_too_few = theirs.captured_minor < captured;
    let captured_too_many = theirs.captures_before > 0 && captured == 0 && !waits_for_capture;
    let refunded_too_few = theirs.refunded_minor < refunded;
    let refunded_too_many = theirs.refunded_before_minor > refunded + ours.refunding_minor
        && ours.state != "to_refund"
        && !waits_for_capture;
    captured_too_few || captured_too_many || refunded_too_few || refunded_too_many
}

/// What the ledger of money and the provider's account disagree in.
fn entered_otherwise(ours: &Ours, account: Option<&Account>) -> Option<String> {
    let Ours { captured_entries, refunded_entries, .. } = ours;
    let (unknown, entered) = (Account::default(), (*captured_entries, *refunded_entries));
    let theirs = account.unwrap_or(&unknown);
    moved_otherwise(ours, entered, theirs).then(|| {
        format!(
            "{captured_entries} entered as captured and {refunded_entries} as refunded, {} and {} at the provider",
            theirs.captured_minor, theirs.refunded_minor
        )
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ours(state: &str, captured_minor: i64, refunded_minor: i64) -> Ours {
        Ours {
            payment_id: Uuid::from_u128(7),
            order_id: Uuid::from_u128(8),
            provider_reference: "pay_1".to_owned(),
            currency: "GBP".to_owned(),
            amount_minor: 1250,
            captured_minor,
            refunded_minor,
            refunding_minor: 0,
            captured_entries: captured_minor,
            refunded_entries: refunded_minor,
            state: state.to_owned(),
        }
    }

    fn theirs(captures: u32, before: bool) -> Account {
        let captured = 1250 * i64::from(captures);
        Account {
            merchant_reference: Uuid::from_u128(7).to_string(),
            currency: "GBP".to_owned(),
            amount_minor: Some(1250),
            moved_before: before,
            captures,
            captures_before: if before { captures } else { 0 },
            captured_minor: captured,
            ..Account::default()
        }
    }

    fn differ(ours: &Ours, theirs: &Account) -> bool {
        contradiction(ours, Some(theirs), true).is_some()
    }

    #[test]
    fn what_the_provider_did_is_known_here_or_still_waited_for() {
        assert!(!differ(&ours("captured", 1250, 0), &theirs(1, true)));
        assert!(!differ(&ours("to_capture", 0, 0), &theirs(1, true)), "its answer is on the way");
        assert!(differ(&ours("authorized", 0, 0), &theirs(1, true)), "nobody asked for it");
        assert!(!differ(&ours("authorized", 0, 0), &theirs(1, false)), "younger than the cut");
        assert!(differ(&ours("voided", 0, 0), &theirs(1, true)));
    }

    #[test]
    fn what_is_known_here_the_provider_did() {
        assert!(differ(&ours("captured", 1250, 0), &theirs(0, true)));
        assert!(differ(&ours("refunded", 1250, 1250), &theirs(1, true)));
        let refunded = Account { refunded_minor: 1250, refunded_before_minor: 1250, ..theirs(1, true) };
        assert!(!differ(&ours("refunded", 1250, 1250), &refunded) && !differ(&ours("to_refund", 1250, 0), &refunded));
        assert!(differ(&ours("captured", 1250, 0), &refunded), "refunded behind our back");
        assert!(contradiction(&ours("to_authorize", 0, 0), None, true).is_some());
        assert!(contradiction(&ours("to_authorize", 0, 0), None, false).is_none(), "movements do not tell");
    }

    #[test]
    fn a_refund_that_is_asked_for_may_have_happened_and_no_more_than_that() {
        let refunded = |minor| Account { refunded_minor: minor, refunded_before_minor: minor, ..theirs(1, true) };
        let asked = Ours { refunding_minor: 300, ..ours("captured", 1250, 0) };
        assert!(!differ(&asked, &theirs(1, true)) && !differ(&asked, &refunded(300)));
        assert!(differ(&asked, &refunded(301)));
        assert!(entered_otherwise(&ours("captured", 1250, 300), Some(&refunded(300))).is_none());
        let forgotten = Ours { refunded_entries: 0, ..ours("captured", 1250, 300) };
        assert!(entered_otherwise(&forgotten, Some(&refunded(300))).is_some());
        assert!(entered_otherwise(&ours("captured", 1250, 0), None).is_some(), "entered and never moved");
    }

    #[test]
    fn a_second_capture_and_another_payment_or_amount_are_found() {
        assert!(differ(&ours("captured", 1250, 0), &theirs(2, true)));
        assert!(differ(&ours("captured", 1250, 0), &Account { amount_minor: Some(1251), ..theirs(1, true) }));
        assert!(differ(&ours("captured", 1250, 0), &Account { currency: "EUR".to_owned(), ..theirs(1, true) }));
        assert!(differ(
            &ours("captured", 1250, 0),
            &Account { merchant_reference: "other".to_owned(), ..theirs(1, true) }
        ));
    }

    #[test]
    fn the_parts_of_a_log_have_every_reference_once() {
        for number in 0..100 {
            let reference = format!("pay_{number}");
            assert_eq!((0..3).filter(|number| Part { number: *number, of: 3 }.has(&reference)).count(), 1);
        }
    }
}
