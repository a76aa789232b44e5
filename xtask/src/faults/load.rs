//! Shoppers who place orders through the PoP, patiently, whatever happens behind it.

use std::net::IpAddr;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::time::Duration;

use anyhow::Context as _;
use futures::future::try_join_all;
use reqwest::header::RETRY_AFTER;
use shared::api::account::Tokens;
use shared::api::order::{Address, PlaceOrder};
use shared::idempotency::IDEMPOTENCY_KEY;
use tokio::time::Instant;

use super::client::{Answer, Next, Outcome, Patience, TOO_LONG};
use super::goods::{Goods, Paying, Wish};
use super::hands::{Basket, Fate, Sold};
use super::history::{Asked, History};

/// Longer than the PoP's own deadline, so that its answer is heard.
const ANSWER_WITHIN: Duration = Duration::from_secs(15);
/// How long a new shopper keeps asking to be let in, and the pause between.
const MET_WITHIN: Duration = Duration::from_secs(60);
const PAUSE: Duration = Duration::from_millis(200);
/// Orders of one guest.
const ORDERS_EACH: u32 = 8;

/// The shop as seen from each region.
#[derive(Clone, Debug)]
pub(super) struct Door {
    origin: String,
    /// How long a shopper keeps asking about one order.
    patience: Duration,
    near: Vec<reqwest::Client>,
}

impl Door {
    /// The PoP at `origin`; guests from the address 127.0.N.1 live in region N, others in region 0.
    pub(super) fn at(origin: &str, regions: usize, patience: Duration) -> anyhow::Result<Self> {
        let client = |region: usize| {
            let own: Option<IpAddr> = if region == 0 { None } else { Some(format!("127.0.{region}.1").parse()?) };
            let client = reqwest::Client::builder().no_proxy().timeout(ANSWER_WITHIN).local_address(own);
            anyhow::Ok(client.build()?)
        };
        let near = (0..regions).map(client).collect::<anyhow::Result<_>>()?;
        Ok(Self { origin: origin.to_owned(), patience, near })
    }

    /// A new guest of a region. Asks again whatever the answer: a guest too many harms nobody.
    pub(super) async fn guest(&self, region: usize) -> anyhow::Result<Tokens> {
        let deadline = Instant::now() + MET_WITHIN;
        loop {
            let request = self.near[region].post(format!("{}/v1/guests", self.origin)).json(&serde_json::json!({}));
            let met = match request.send().await {
                Ok(answer) if answer.status() == 201 => answer.json().await.map_err(|error| error.to_string()),
                Ok(answer) => Err(answer.status().to_string()),
                Err(error) => Err(error.to_string()),
            };
            match met {
                Ok(tokens) => return Ok(tokens),
                Err(error) if Instant::now() >= deadline => anyhow::bail!("no guest is let in: {error}"),
                Err(_) => tokio::time::sleep(PAUSE).await,
            }
        }
    }

    /// A request from that region.
    pub(super) fn request(&self, region: usize, method: reqwest::Method, path: &str) -> reqwest::RequestBuilder {
        self.near[region].request(method, format!("{}{path}", self.origin))
    }

    /// Places an order and keeps asking until it is known what became of it, or patience is over.
    pub(super) async fn place(&self, guest: &Tokens, key: &str, wish: &Wish, history: &History) -> Outcome {
        history.invoke(key, guest.user_id);
        let (mut patience, deadline) = (Patience::default(), Instant::now() + self.patience);
        let outcome = loop {
            let answer = self.ask(guest, key, wish).await;
            match patience.after(answer) {
                Next::Done(outcome) => break outcome,
                Next::Again(_) if Instant::now() >= deadline && patience.unsure == 0 => {
                    break Outcome::Fail(TOO_LONG.to_owned());
                }
                Next::Again(_) if Instant::now() >= deadline => break Outcome::Unknown("no time left".to_owned()),
                Next::Again(pause) => tokio::time::sleep(pause).await,
            }
        };
        let asked = Asked { key: key.to_owned(), user_id: guest.user_id, total: wish.total, outcome: outcome.clone() };
        history.told(asked, patience);
        outcome
    }

    async fn ask(&self, guest: &Tokens, key: &str, wish: &Wish) -> Result<Answer, String> {
        let request = self.near[wish.region].post(format!("{}/v1/orders", self.origin));
        let request = request.bearer_auth(&guest.access_token).header(IDEMPOTENCY_KEY, key).json(&body(wish));
        let answer = request.send().await.map_err(|error| error.to_string())?;
        let retry_after = answer.headers().get(RETRY_AFTER).and_then(|value| value.to_str().ok()?.parse().ok());
        let status = answer.status().as_u16();
        let body = answer.bytes().await.map_err(|error| error.to_string())?.to_vec();
        Ok(Answer { status, retry_after: retry_after.map(Duration::from_secs), body })
    }
}

fn body(wish: &Wish) -> PlaceOrder {
    PlaceOrder {
        items: wish.items.clone(),
        shipping_address: Address {
            name: "Ada Lovelace".to_owned(),
            line1: "12 St James's Square".to_owned(),
            line2: None,
            city: "London".to_owned(),
            region: None,
            postal_code: Some("SW1Y 4JH".to_owned()),
            country: "GB".to_owned(),
        },
        payment_token: wish.payment_token.to_owned(),
        expected_total: wish.total,
        cart_version: None,
        email: None,
        delivery_option: None,
        phone: None,
        user_id: None,
    }
}

/// The orders of a run, spread evenly over its duration.
#[derive(Debug)]
pub(super) struct Load<'a> {
    pub(super) door: &'a Door,
    pub(super) goods: &'a Goods,
    pub(super) history: &'a History,
    pub(super) prefix: &'a str,
    pub(super) seed: u64,
    pub(super) orders: u32,
    pub(super) duration: Duration,
    /// Regions that shoppers come from: the first so many.
    pub(super) regions: usize,
    pub(super) paying: Paying,
    pub(super) shoppers: usize,
    /// Where accepted orders are put that somebody of the store takes in hand.
    pub(super) basket: Option<Basket>,
}

impl Load<'_> {
    /// Places them all; those under way when the time is over are seen through.
    pub(super) async fn run(self) -> anyhow::Result<()> {
        let (next, begun, failed) = (AtomicU32::new(0), Instant::now(), AtomicBool::new(false));
        let shopping = (0..self.shoppers).map(|_| self.shop(&next, begun, &failed));
        try_join_all(shopping).await.map(|_: Vec<()>| ()).context("the load stopped")
    }

    /// One shopper after the other, a few orders each.
    async fn shop(&self, next: &AtomicU32, begun: Instant, failed: &AtomicBool) -> anyhow::Result<()> {
        let mut guests: Vec<Option<(Tokens, u32)>> = vec![None; self.regions];
        while !failed.load(Ordering::Relaxed) {
            let number = next.fetch_add(1, Ordering::Relaxed);
            if number >= self.orders {
                break;
            }
            let due = self.duration.mul_f64(f64::from(number) / f64::from(self.orders));
            tokio::time::sleep_until(begun + due).await;
            let wish = self.goods.wish(self.seed, number, self.regions, self.paying)?;
            let region = wish.region;
            let (guest, placed) = match guests[region].take() {
                Some((guest, placed)) if placed < ORDERS_EACH => (guest, placed),
                _ => (self.door.guest(region).await.inspect_err(|_| failed.store(true, Ordering::Relaxed))?, 0),
            };
            let key = format!("{}{number:06}", self.prefix);
            if let Outcome::Ok { order_id, total } = self.door.place(&guest, &key, &wish, self.history).await
                && let Some(basket) = &self.basket
                && Fate::of(self.seed, number) != Fate::Waits
            {
                let sold = Sold { number, region, guest: guest.clone(), order_id, items: wish.items, total };
                // What finds no room is left alone.
                let _ = basket.try_send(sold);
            }
            guests[region] = Some((guest, placed + 1));
        }
        Ok(())
    }
}
