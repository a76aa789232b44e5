//! The store's public API as a shopper's program uses it: prices, guests, orders.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::time::Duration;

use anyhow::{Context as _, bail};
use reqwest::header::RETRY_AFTER;
use reqwest::{Client, Method, RequestBuilder, Url};
use serde::de::DeserializeOwned;
use shared::api::account::{Refresh, Tokens};
use shared::api::catalog::{Product, ProductPage};
use shared::api::order::{OrderItem, PlaceOrder};
use shared::idempotency::IDEMPOTENCY_KEY;
use shared::{Currency, IdempotencyKey, Money, Problem, Sku, SlotMap};

use super::rules;

/// Longer than the PoP's own deadline, so that its answer is heard.
const ANSWER_WITHIN: Duration = Duration::from_secs(60);
/// Times that a read, or a request for a guest, is put off before the run is given up.
const MOST_TRIES: u32 = 60;
/// The pause where an answer does not name one.
const PAUSE: Duration = Duration::from_secs(1);
/// Products on a page.
const PAGE: u32 = 100;

/// One address of the store.
#[derive(Clone, Debug)]
pub(super) struct Shop {
    client: Client,
    origin: String,
}

/// What came back.
#[derive(Debug)]
pub(super) struct Answered {
    pub(super) status: u16,
    pub(super) retry_after: Option<Duration>,
    pub(super) body: Vec<u8>,
}

/// Every price that the store shows.
#[derive(Debug, Default)]
pub(super) struct Prices(BTreeMap<Sku, Money>);

impl Shop {
    /// The store at `origin`, asked from the address `from` or any.
    pub(super) fn at(origin: &str, from: Option<IpAddr>) -> anyhow::Result<Self> {
        let client = Client::builder().no_proxy().timeout(ANSWER_WITHIN).local_address(from).build()?;
        Ok(Self { client, origin: origin.trim_end_matches('/').to_owned() })
    }

    /// Who owns which slot.
    pub(super) async fn slot_map(&self) -> anyhow::Result<SlotMap> {
        self.json(|| self.request(Method::GET, "/v1/slot-map")).await
    }

    /// Reads every price, list by list.
    pub(super) async fn prices(&self) -> anyhow::Result<Prices> {
        let mut prices = Prices::default();
        let mut cursor: Option<String> = None;
        loop {
            let list = self.list(cursor.as_deref())?;
            let page: ProductPage = self.json(|| self.client.get(list.clone())).await?;
            for product in page.items {
                match product.only_sku {
                    Some(sku) => drop(prices.0.insert(sku, product.price_from)),
                    None => prices.take(self.product(&product.slug).await?),
                }
            }
            cursor = page.next_cursor;
            if cursor.is_none() {
                return Ok(prices);
            }
        }
    }

    fn list(&self, cursor: Option<&str>) -> anyhow::Result<Url> {
        let mut url = Url::parse(&format!("{}/v1/products?limit={PAGE}", self.origin))?;
        if let Some(cursor) = cursor {
            url.query_pairs_mut().append_pair("cursor", cursor);
        }
        Ok(url)
    }

    async fn product(&self, slug: &str) -> anyhow::Result<Product> {
        self.json(|| self.request(Method::GET, &format!("/v1/products/{slug}"))).await
    }

    /// A new guest of the region that this address belongs to.
    pub(super) async fn guest(&self) -> anyhow::Result<Tokens> {
        self.json(|| self.request(Method::POST, "/v1/guests")).await
    }

    /// New tokens for old; a refresh token works once, so this is not repeated.
    pub(super) async fn refresh(&self, tokens: &Tokens) -> anyhow::Result<Tokens> {
        let body = Refresh { refresh_token: tokens.refresh_token.clone() };
        let answer = self.request(Method::POST, "/v1/sessions/refresh").json(&body).send().await?;
        Ok(answer.error_for_status()?.json().await?)
    }

    /// Asks for an order once.
    ///
    /// # Errors
    /// Why there was no whole answer.
    pub(super) async fn place(
        &self,
        token: &str,
        key: &IdempotencyKey,
        order: &PlaceOrder,
    ) -> Result<Answered, String> {
        let request = self.request(Method::POST, "/v1/orders").bearer_auth(token);
        answered(request.header(IDEMPOTENCY_KEY, key.as_str()).json(order)).await
    }

    fn request(&self, method: Method, path: &str) -> RequestBuilder {
        self.client.request(method, format!("{}{path}", self.origin))
    }

    /// A document; 429 and 5xx are asked again, as often as [`MOST_TRIES`].
    async fn json<T: DeserializeOwned>(&self, request: impl Fn() -> RequestBuilder) -> anyhow::Result<T> {
        let mut tries = 0;
        loop {
            tries += 1;
            let failed = match answered(request()).await {
                Ok(answer) if (200..300).contains(&answer.status) => {
                    return serde_json::from_slice(&answer.body).context("the store answered out of shape");
                }
                Ok(answer) => {
                    let problem = serde_json::from_slice::<Problem>(&answer.body).ok();
                    let again = answer.status == 429 || answer.status >= 500;
                    (rules::reason(answer.status, problem.as_ref()), again, answer.retry_after)
                }
                Err(error) => (error, true, None),
            };
            let (reason, again, pause) = failed;
            if !again || tries >= MOST_TRIES {
                bail!("the store at {} refuses: {reason}", self.origin);
            }
            tokio::time::sleep(pause.unwrap_or(PAUSE)).await;
        }
    }
}

async fn answered(request: RequestBuilder) -> Result<Answered, String> {
    let answer = request.send().await.map_err(|error| chain(&error))?;
    let (status, retry_after) = (answer.status().as_u16(), retry_after(answer.headers()));
    let body = answer.bytes().await.map_err(|error| chain(&error))?;
    Ok(Answered { status, retry_after, body: body.to_vec() })
}

/// An error with its causes: reqwest's own text names only the address.
fn chain(error: &dyn std::error::Error) -> String {
    std::iter::successors(Some(error), |error| error.source()).map(ToString::to_string).collect::<Vec<_>>().join(": ")
}

/// `Retry-After` in seconds; our servers send no dates.
fn retry_after(headers: &reqwest::header::HeaderMap) -> Option<Duration> {
    headers.get(RETRY_AFTER)?.to_str().ok()?.parse().ok().map(Duration::from_secs)
}

impl Prices {
    fn take(&mut self, product: Product) {
        self.0.extend(product.variants.into_iter().map(|variant| (variant.sku, variant.price)));
    }

    /// What these would cost. What has no price costs nothing here: the store refuses such an order by itself.
    ///
    /// # Errors
    /// If prices have several currencies or the sum is too large.
    pub(super) fn total(&self, items: &[OrderItem], currency: Currency) -> anyhow::Result<Money> {
        let priced = items.iter().filter_map(|item| Some((self.0.get(&item.sku)?, item.quantity)));
        let lines =
            priced.map(|(price, quantity)| price.checked_mul(quantity.units())).collect::<Result<Vec<_>, _>>()?;
        Ok(Money::sum(currency, lines)?)
    }

    /// How many SKUs have one.
    pub(super) fn count(&self) -> usize {
        self.0.len()
    }
}

#[cfg(test)]
mod tests {
    use shared::Quantity;

    use super::*;

    #[test]
    fn an_orders_total_is_the_sum_of_what_is_priced() {
        let gbp = |minor| Money::new(minor, Currency::GBP).unwrap();
        let sku = |text: &str| text.parse::<Sku>().unwrap();
        let prices = Prices([(sku("A"), gbp(255)), (sku("B"), gbp(10))].into());
        let item = |text: &str, units| OrderItem { sku: sku(text), quantity: Quantity::new(units).unwrap() };
        assert_eq!(prices.total(&[item("A", 3), item("B", 1), item("C", 9)], Currency::GBP).unwrap(), gbp(775));
        assert!(prices.total(&[item("A", 1)], Currency::USD).is_err());
    }
}
