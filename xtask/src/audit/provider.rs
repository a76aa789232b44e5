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
use super::rules::PAYMENTS_PROVIDER;

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

/// A payment as we have it.
#[derive(Debug, sqlx::FromRow)]
struct Ours {
    payment_id: Uuid,
    order_id: Uuid,
    provider_reference: String,
    currency: String,
    amount_minor: i64,
    captured_minor: i64,
    refunded_minor: i64,
    state: String,
}

const OURS: &str = "
    SELECT payment_id, order_id, provider_reference, currency, amount_minor, captured_minor, refunded_minor, state
    FROM payments WHERE provider_reference IS NOT NULL";

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
        return Ok(());
    };
    let of = provider.parts();
    for number in 0..of {
        let part = Part { number, of };
        let (facts, mut accounts) = provider.accounts(part).await.context("the payment provider's log")?;
        let mut found = Found::rows(if number == 0 { facts } else { 0 });
        for shard in &mut cut.shards {
            compare(shard, part, provider.tells_all(), &mut accounts, &mut found).await?;
        }
        unknown(accounts, &mut found);
        findings.add(PAYMENTS_PROVIDER, found);
    }
    Ok(())
}

/// Our payments of one shard against their accounts, which are then done with.
async fn compare(
    shard: &mut Shard,
    part: Part,
    tells_all: bool,
    accounts: &mut Accounts,
    found: &mut Found,
) -> anyhow::Result<()> {
    let mut payments = sqlx::query_as::<_, Ours>(OURS).fetch(&mut shard.conn);
    while let Some(ours) = payments.try_next().await.with_context(|| format!("shard {}, payments", shard.id))? {
        if !part.has(&ours.provider_reference) {
            continue;
        }
        found.rows += 1;
        let account = accounts.remove(&ours.provider_reference);
        if let Some(problem) = contradiction(&ours, account.as_ref(), tells_all) {
            let key = format!("order {}, {}", ours.order_id, ours.provider_reference);
            found.breach(Breach { shard: Some(shard.id), table: "payments".to_owned(), key, problem });
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
    let waits_for_capture = matches!(state.as_str(), "to_capture" | "to_void");
    let captured_too_few = theirs.captured_minor < *captured_minor;
    let captured_too_many = theirs.captures_before > 0 && *captured_minor == 0 && !waits_for_capture;
    let refunded_too_few = theirs.refunded_minor < *refunded_minor;
    let refunded_too_many =
        theirs.refunded_before_minor > *refunded_minor && state != "to_refund" && !waits_for_capture;
    (captured_too_few || captured_too_many || refunded_too_few || refunded_too_many).then(|| {
        format!(
            "{state}: {captured_minor} captured and {refunded_minor} refunded here, {} and {} at the provider",
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
