//! Money that moved at the payment provider, from its own list over HTTP, a page at a time. Fault runs, the replay and
//! the audit read it here; what they make of it is theirs.

use anyhow::Context as _;
use serde::Deserialize;
use shared::Money;

/// One movement.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
pub(crate) struct Movement {
    /// Rises through the whole list, with gaps.
    pub(crate) sequence: u64,
    pub(crate) kind: MovementKind,
    /// The provider's name for the payment.
    pub(crate) reference: String,
    /// Our name for it, as the provider was told.
    pub(crate) merchant_reference: String,
    pub(crate) amount: Money,
}

/// Which way.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum MovementKind {
    Capture,
    Refund,
}

/// Where the list is.
#[derive(Debug)]
pub(crate) struct MovementLog {
    client: reqwest::Client,
    address: String,
}

#[derive(Deserialize)]
struct Page {
    movements: Vec<Movement>,
}

impl MovementLog {
    /// The list of the provider at `origin`.
    pub(crate) fn at(origin: &str) -> anyhow::Result<Self> {
        let client = reqwest::Client::builder().no_proxy().build()?;
        Ok(Self { client, address: format!("{}/v1/log", origin.trim_end_matches('/')) })
    }

    /// Some movements after that number, in order; none at the list's end.
    pub(crate) async fn page(&self, after: u64) -> anyhow::Result<Vec<Movement>> {
        let page = self.ask(after).await.with_context(|| format!("cannot read {}", self.address))?;
        Ok(page.movements)
    }

    async fn ask(&self, after: u64) -> reqwest::Result<Page> {
        let asked = self.client.get(format!("{}?after={after}", self.address)).send().await?;
        asked.error_for_status()?.json().await
    }

    /// Every movement since the list was begun.
    pub(crate) async fn all(&self) -> anyhow::Result<Vec<Movement>> {
        let mut all: Vec<Movement> = Vec::new();
        loop {
            let after = all.last().map_or(0, |last| last.sequence);
            let page = self.page(after).await.context("the payment provider's log")?;
            if page.is_empty() {
                return Ok(all);
            }
            all.extend(page);
        }
    }
}

#[cfg(test)]
mod tests {
    use shared::Currency;

    use super::*;

    #[test]
    fn a_page_is_read_as_the_provider_writes_it() {
        let page = r#"{"movements": [
            {"sequence": 9, "at_ms": 2, "kind": "refund", "reference": "pay_1", "merchant_reference": "m",
             "amount": {"minor": 5, "currency": "GBP"}}]}"#;
        let refund = Movement {
            sequence: 9,
            kind: MovementKind::Refund,
            reference: "pay_1".to_owned(),
            merchant_reference: "m".to_owned(),
            amount: Money::new(5, Currency::GBP).unwrap(),
        };
        assert_eq!(serde_json::from_str::<Page>(page).unwrap().movements, [refund]);
    }
}
