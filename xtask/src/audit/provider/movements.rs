//! The sandbox over HTTP: it lists money that moved, a page at a time, and nothing else.

use anyhow::Context as _;
use serde::Deserialize;
use shared::Money;

use super::{Account, Accounts, Part};

/// The list, with the last number that it had before the cut.
#[derive(Debug)]
pub(in crate::audit) struct Movements {
    client: reqwest::Client,
    log: String,
    before: u64,
}

#[derive(Deserialize)]
struct Page {
    movements: Vec<Movement>,
}

#[derive(Debug, Deserialize)]
struct Movement {
    sequence: u64,
    kind: Kind,
    reference: String,
    merchant_reference: String,
    amount: Money,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Kind {
    Capture,
    Refund,
}

impl Movements {
    pub(super) async fn up_to_now(origin: &str) -> anyhow::Result<Self> {
        let client = reqwest::Client::builder().no_proxy().build()?;
        let log = format!("{}/v1/log", origin.trim_end_matches('/'));
        let mut movements = Self { client, log, before: 0 };
        while let Some(last) = movements.page(movements.before).await?.last() {
            movements.before = last.sequence;
        }
        Ok(movements)
    }

    async fn page(&self, after: u64) -> anyhow::Result<Vec<Movement>> {
        let asked = self.client.get(format!("{}?after={after}", self.log)).send().await;
        let page =
            asked.and_then(reqwest::Response::error_for_status).with_context(|| format!("cannot read {}", self.log))?;
        Ok(page.json::<Page>().await?.movements)
    }

    pub(super) async fn accounts(&self, part: Part) -> anyhow::Result<(u64, Accounts)> {
        let (mut accounts, mut facts, mut after) = (Accounts::new(), 0, 0);
        loop {
            let page = self.page(after).await?;
            let Some(last) = page.last() else { return Ok((facts, accounts)) };
            after = last.sequence;
            facts += page.len() as u64;
            for movement in page.into_iter().filter(|movement| part.has(&movement.reference)) {
                note(&mut accounts, movement, self.before);
            }
        }
    }
}

fn note(accounts: &mut Accounts, movement: Movement, last_before: u64) {
    let Movement { sequence, kind, reference, merchant_reference, amount } = movement;
    let before = sequence <= last_before;
    let account = accounts.entry(reference).or_insert_with(|| Account {
        merchant_reference,
        currency: amount.currency().code().to_owned(),
        ..Account::default()
    });
    account.moved_before |= before;
    match kind {
        Kind::Capture => {
            account.captures += 1;
            account.captures_before += u32::from(before);
            account.captured_minor += amount.minor();
        }
        Kind::Refund => {
            account.refunded_minor += amount.minor();
            account.refunded_before_minor += if before { amount.minor() } else { 0 };
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn movements_of_a_payment_are_added_up_as_of_the_cut() {
        let page = r#"{"movements": [
            {"sequence": 3, "at_ms": 1, "kind": "capture", "reference": "pay_1", "merchant_reference": "m",
             "amount": {"minor": 5, "currency": "GBP"}},
            {"sequence": 9, "at_ms": 2, "kind": "refund", "reference": "pay_1", "merchant_reference": "m",
             "amount": {"minor": 5, "currency": "GBP"}}]}"#;
        let mut accounts = Accounts::new();
        serde_json::from_str::<Page>(page)
            .unwrap()
            .movements
            .into_iter()
            .for_each(|movement| note(&mut accounts, movement, 8));
        let account = &accounts["pay_1"];
        assert_eq!((account.captures, account.captures_before, account.captured_minor), (1, 1, 5));
        assert_eq!((account.refunded_minor, account.refunded_before_minor, account.currency.as_str()), (5, 0, "GBP"));
    }
}
