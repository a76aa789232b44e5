//! Counts of stock for display, kept here: asked of the cores twice a second, served from memory to shoppers and Workers.
//!
//! A count is about a second old at worst, and says so. Once the cores have not answered for some seconds nothing is served
//! from here any more: then a core is asked, as for a SKU that nobody has spoken of yet.

use std::collections::HashMap;
use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

use bytes::Bytes;
use http::header::{CACHE_CONTROL, CONTENT_TYPE};
use http::{HeaderValue, Method, Request, Response};
use shared::Sku;
use shared::api::catalog::{StockLevel, StockLevels};
use shared::api::stock::{StockChanges, StockCursors};
use shared_clock::Entropy;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use crate::upstream::Upstream;

/// Where cores tell what changed.
const CHANGES: &str = "/v1/stock/changes";
/// How often each core of the nearest region is asked, at the latest.
const PERIOD_MS: u32 = 500;
/// Up to so much earlier, so that points of presence do not ask all at once.
const JITTER_MS: u32 = 100;
/// Longest pause after failures.
const LONGEST_PAUSE: Duration = Duration::from_secs(2);
/// Time for an answer.
const DEADLINE: Duration = Duration::from_secs(2);
/// Age at which counts are no longer served.
const TOO_OLD: Duration = Duration::from_secs(5);
/// SKUs kept at most; others are asked of a core.
const MOST_SKUS: usize = 500_000;
/// Most SKUs in one question, as at the cores.
const MOST_ASKED: usize = 100;

/// The counts. Clones share them.
#[derive(Clone, Default)]
pub struct Stock(Arc<RwLock<Table>>);

#[derive(Default)]
struct Table {
    counts: HashMap<Sku, u64>,
    read_at: Option<Instant>,
}

impl Stock {
    /// Free units of these SKUs, in this order; `None` if the counts are too old or one of the SKUs is not among them.
    #[must_use]
    pub fn levels(&self, skus: &[Sku]) -> Option<Vec<StockLevel>> {
        let table = self.0.read().unwrap_or_else(PoisonError::into_inner);
        table.read_at.filter(|at| at.elapsed() < TOO_OLD)?;
        let level =
            |sku: &Sku| Some(StockLevel { sku: sku.clone(), units: *table.counts.get(sku)?, approximate: true });
        skus.iter().map(level).collect()
    }

    /// The answer to a Worker's `GET /v1/stock`, if it can be given from here.
    #[must_use]
    pub fn answer<B>(&self, request: &Request<B>) -> Option<Response<Bytes>> {
        let asks = request.method() == Method::GET && request.uri().path() == "/v1/stock";
        let skus = asks.then(|| wanted(request.uri().query().unwrap_or_default())).flatten()?;
        let body = serde_json::to_vec(&StockLevels { items: self.levels(&skus)? }).ok()?;
        let mut response = Response::new(Bytes::from(body));
        response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
        response.headers_mut().insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
        Some(response)
    }

    /// Keeps the counts current until `stop`. `cores` is how many share the nearest region's requests: each is to be asked
    /// in every period, for each hears of changes at its own pace.
    pub async fn keep(self, upstream: Upstream, cores: usize, entropy: Entropy, stop: CancellationToken) {
        let share = u32::try_from(cores.clamp(1, 4)).unwrap_or(1);
        let keep = async {
            let (mut cursors, mut failures) = (StockCursors::default(), 0_u32);
            loop {
                match self.read(&upstream, &mut cursors).await {
                    Ok(true) => continue,
                    Ok(false) => failures = 0,
                    Err(reason) => {
                        failures = failures.saturating_add(1);
                        tracing::debug!(reason, "no news of stock");
                    }
                }
                let pause = Duration::from_millis(u64::from(PERIOD_MS - entropy.below(JITTER_MS))) / share;
                tokio::time::sleep((pause * (failures + 1)).min(LONGEST_PAUSE)).await;
            }
        };
        stop.run_until_cancelled(keep).await;
    }

    /// Reads what changed; whether there is more at once.
    async fn read(&self, upstream: &Upstream, cursors: &mut StockCursors) -> Result<bool, String> {
        let outcome = upstream.ask_any(&cursors.query(CHANGES), DEADLINE).await;
        let news = outcome.and_then(|body| serde_json::from_slice(&body).map_err(|error| error.to_string()));
        let result = if news.is_ok() { "read" } else { "failed" };
        metrics::counter!("pop_stock_polls_total", "result" => result).increment(1);
        let news: StockChanges = news?;
        let (next, more) = (news.next, news.more);
        self.note(news);
        cursors.advance(next);
        Ok(more)
    }

    fn note(&self, news: StockChanges) {
        let mut table = self.0.write().unwrap_or_else(PoisonError::into_inner);
        for count in news.items {
            if table.counts.len() < MOST_SKUS || table.counts.contains_key(&count.sku) {
                table.counts.insert(count.sku, count.units);
            }
        }
        // Half of a list says nothing of the other half, but what it says is new.
        table.read_at = Some(Instant::now());
        metrics::gauge!("pop_stock_skus").set(u32::try_from(table.counts.len()).map_or(f64::MAX, f64::from));
    }
}

/// The SKUs of a query that holds nothing else; whatever is odd is left to a core to refuse.
fn wanted(query: &str) -> Option<Vec<Sku>> {
    let sku = |pair: &str| pair.strip_prefix("sku=")?.replace("%2F", "/").replace("%2f", "/").parse().ok();
    let mut skus: Vec<Sku> = Vec::new();
    for pair in query.split('&') {
        let sku = sku(pair)?;
        if !skus.contains(&sku) {
            skus.push(sku);
        }
    }
    (skus.len() <= MOST_ASKED).then_some(skus)
}

#[cfg(test)]
mod tests {
    use shared::api::stock::{StockCount, StockCursor};

    use super::*;

    fn news(counts: &[(&str, u64)]) -> StockChanges {
        let items = counts.iter().map(|(sku, units)| StockCount { sku: sku.parse().unwrap(), units: *units });
        StockChanges { items: items.collect(), next: StockCursor { board: 1, version: 1 }, more: false }
    }

    fn ask(stock: &Stock, method: &str, target: &str) -> Option<serde_json::Value> {
        let request = Request::builder().method(method).uri(target).body(()).unwrap();
        stock.answer(&request).map(|answer| serde_json::from_slice(answer.body()).unwrap())
    }

    #[tokio::test(start_paused = true)]
    async fn counts_are_served_until_they_are_too_old() {
        let stock = Stock::default();
        assert_eq!(ask(&stock, "GET", "/v1/stock?sku=MUG"), None, "nothing was heard yet");
        stock.note(news(&[("MUG", 3), ("A/B", 0)]));
        stock.note(news(&[("MUG", 2)]));
        let told = ask(&stock, "GET", "/v1/stock?sku=a%2fb&sku=mug&sku=MUG").unwrap();
        let level = |sku: &str, units: u64| serde_json::json!({ "sku": sku, "units": units, "approximate": true });
        assert_eq!(told["items"], serde_json::json!([level("A/B", 0), level("MUG", 2)]));
        tokio::time::advance(TOO_OLD).await;
        assert_eq!(ask(&stock, "GET", "/v1/stock?sku=MUG"), None, "the cores are silent");
    }

    #[tokio::test]
    async fn what_cannot_be_answered_here_goes_to_a_core() {
        let stock = Stock::default();
        stock.note(news(&[("MUG", 3)]));
        let many = (0..=MOST_ASKED).map(|number| format!("sku=S{number}")).collect::<Vec<_>>().join("&");
        for target in
            ["/v1/stock", "/v1/stock?sku=JAR", "/v1/stock?sku=", "/v1/stock?sku=MUG&x=1", "/v1/stocks?sku=MUG"]
        {
            assert_eq!(ask(&stock, "GET", target), None, "{target}");
        }
        assert_eq!(ask(&stock, "POST", "/v1/stock?sku=MUG"), None);
        assert_eq!(wanted(&many), None);
    }
}
