//! Who keeps the store amid the faults: parcels are sent by hand and by label, arrive, come back and are paid back, and orders are
//! called off while they are sent. Each order's fate is decided by the seed; what was answered is kept for the comparison.
//!
//! Whatever is asked can be asked again: until it is known what became of it, or there is no time left. Where one fate has two
//! ask for things that exclude each other, or for more than there is, that both were told yes is what the comparison looks for.

use std::fmt;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use futures::future::join_all;
use reqwest::Method;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};
use shared::api::account::Tokens;
use shared::api::order::{Label, LabelState, Labels, Order, OrderItem, OrderStatus, Return};
use shared::idempotency::IDEMPOTENCY_KEY;
use shared::{Money, OrderId};
use shared_clock::Entropy;
use tokio::sync::{Mutex as Turn, mpsc};
use tokio::time::Instant;

use super::load::Door;

/// Orders that wait for a hand; the load waits for nobody, so that what finds no room is left alone.
const WAITING: usize = 256;
/// Orders that are in somebody's hands at a time.
const HANDS: usize = 12;
/// How long one order is worked at, from when it was taken up.
const PATIENCE: Duration = Duration::from_secs(30);
/// How long something is waited for that the store does by itself; then a person says so, or lets it be.
const SOON: Duration = Duration::from_secs(6);
/// The pause between two looks, and before the same is asked again.
const PAUSE: Duration = Duration::from_millis(200);
/// Longest answer waited for.
const ANSWER_WITHIN: Duration = Duration::from_secs(15);

/// An order that was accepted, and whose.
#[derive(Clone, Debug)]
pub(super) struct Sold {
    pub(super) number: u32,
    pub(super) region: usize,
    pub(super) guest: Tokens,
    pub(super) order_id: OrderId,
    pub(super) items: Vec<OrderItem>,
    pub(super) total: Money,
}

/// What becomes of an order.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Fate {
    /// Nobody touches it.
    Waits,
    /// It goes by hand, arrives, and a part of it comes back.
    ByHand,
    /// The same by label.
    ByLabel,
    /// Its label is given back, and then it is called off.
    LabelGivenBack,
    /// Its label is one that nobody takes back: it is written off, and then it is called off.
    LabelWrittenOff,
    /// Its shopper and the store call it off while it is sent.
    CalledOffAndSent,
    /// The same while a label is bought for it.
    CalledOffAndLabelled,
}

impl Fate {
    /// The fate of that order, always the same for a seed.
    pub(super) fn of(seed: u64, number: u32) -> Self {
        let dice = Entropy::seeded(seed ^ (u64::from(number) + 1).wrapping_mul(0xd6e8_feb8_6659_fd93));
        match dice.below(100) {
            0..8 => Self::ByHand,
            8..16 => Self::ByLabel,
            16..19 => Self::LabelGivenBack,
            19..22 => Self::LabelWrittenOff,
            22..27 => Self::CalledOffAndSent,
            27..30 => Self::CalledOffAndLabelled,
            _ => Self::Waits,
        }
    }
}

/// What was asked for under a key, and what was said.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Deed {
    pub(super) order_id: OrderId,
    pub(super) what: What,
    /// Whether the store said yes; absent if nobody knows.
    pub(super) done: Option<bool>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum What {
    /// A parcel under this key, which the store calls so once it has said yes.
    Parcel { key: String, shipment_id: Option<String> },
    /// So much is given back.
    Refund { minor: i64 },
    /// It is called off.
    CalledOff,
}

/// How orders come to the hands.
pub(super) type Basket = mpsc::Sender<Sold>;

/// The people of the store.
pub(super) struct Hands<'a> {
    door: &'a Door,
    carrier: String,
    client: reqwest::Client,
    seed: u64,
    prefix: &'a str,
    email: &'a str,
    password: String,
    session: Turn<Option<String>>,
    waiting: Turn<mpsc::Receiver<Sold>>,
    deeds: Mutex<Vec<Deed>>,
    /// Nothing is taken up or gone on with after.
    over: Instant,
}

impl fmt::Debug for Hands<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Hands").field("carrier", &self.carrier).finish_non_exhaustive()
    }
}

/// An answer: a status and a body.
#[derive(Debug)]
struct Said {
    status: u16,
    body: Vec<u8>,
}

impl Said {
    fn is_yes(&self) -> bool {
        (200..300).contains(&self.status)
    }

    fn read<T: DeserializeOwned>(&self) -> Option<T> {
        serde_json::from_slice(&self.body).ok()
    }
}

/// Who asks.
#[derive(Clone, Copy)]
enum As<'a> {
    Operator,
    Shopper(&'a Sold),
}

impl<'a> Hands<'a> {
    /// The operator of that e-mail and password at the shop's door, with the carrier at that origin; and where orders are put.
    pub(super) fn at(
        door: &'a Door,
        carrier: &str,
        (email, password): (&'a str, String),
        (seed, prefix): (u64, &'a str),
        over: Instant,
    ) -> anyhow::Result<(Self, Basket)> {
        let (basket, waiting) = mpsc::channel(WAITING);
        let client = reqwest::Client::builder().no_proxy().timeout(ANSWER_WITHIN).build()?;
        let (session, waiting, deeds) = (Turn::new(None), Turn::new(waiting), Mutex::default());
        let carrier = carrier.to_owned();
        Ok((Self { door, carrier, client, seed, prefix, email, password, session, waiting, deeds, over }, basket))
    }

    /// Works until no more orders can come and those that came are done with.
    pub(super) async fn run(&self) {
        join_all((0..HANDS).map(|_| self.work())).await;
    }

    /// All that was asked for.
    pub(super) fn deeds(&self) -> Vec<Deed> {
        self.deeds.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    async fn work(&self) {
        loop {
            let next = self.waiting.lock().await.recv().await;
            let Some(sold) = next else { return };
            let until = (Instant::now() + PATIENCE).min(self.over);
            // Whatever is not finished is left as it is: any state is one that a store may be in.
            let _left_as_it_is = tokio::time::timeout_at(until, self.befall(&sold)).await;
        }
    }

    async fn befall(&self, sold: &Sold) {
        let fate = Fate::of(self.seed, sold.number);
        if fate == Fate::Waits || self.reached(sold, |status| status != OrderStatus::Pending).await.is_none() {
            return;
        }
        match fate {
            Fate::Waits => {}
            Fate::ByHand => {
                let by_hand = json!({ "carrier": "Royal Mail" });
                let both = [self.send(sold, "hand", &by_hand), self.send(sold, "hand", &by_hand)];
                let parcel = join_all(both).await.into_iter().flatten().next();
                if let Some(parcel) = parcel {
                    join_all([self.on_parcel(sold, &parcel, "delivered"), self.on_parcel(sold, &parcel, "delivered")])
                        .await;
                    self.comes_back(sold).await;
                }
            }
            Fate::ByLabel => {
                let Some(parcel) = self.labelled(sold, "Tracked").await else { return };
                self.carry(&parcel).await;
                if self.reached(sold, |status| status != OrderStatus::Confirmed).await.is_none() {
                    self.on_parcel(sold, &parcel, "left").await;
                }
                self.carry(&parcel).await;
                self.carry(&parcel).await;
                if self.reached(sold, |status| status == OrderStatus::Delivered).await.is_none() {
                    self.on_parcel(sold, &parcel, "delivered").await;
                }
                self.comes_back(sold).await;
            }
            Fate::LabelGivenBack => self.given_back(sold, "Standard", false).await,
            Fate::LabelWrittenOff => self.given_back(sold, "Letter", true).await,
            Fate::CalledOffAndSent => self.called_off_while(sold, &json!({ "carrier": "Royal Mail" })).await,
            Fate::CalledOffAndLabelled => {
                self.called_off_while(sold, &json!({ "label": { "service": "Express", "weight_grams": 450 } })).await;
            }
        }
    }

    /// One unit comes back and is looked at, and two at once want to give back more than half of the money.
    async fn comes_back(&self, sold: &Sold) {
        let Some(OrderItem { sku, .. }) = sold.items.first() else { return };
        let one = json!([{ "sku": sku, "quantity": 1 }]);
        let (returns, key) = (format!("/v1/orders/{}/returns", sold.order_id), self.key(sold, "return"));
        let back = json!({ "items": one, "reason": "too heavy" });
        let both =
            [self.ask(As::Operator, &returns, Some(&key), &back), self.ask(As::Operator, &returns, Some(&key), &back)];
        let registered = join_all(both).await.into_iter().flatten().find(Said::is_yes);
        if let Some(Return { return_id, .. }) = registered.and_then(|said| said.read()) {
            let restock = if sold.number.is_multiple_of(2) { one } else { json!([]) };
            let inspection = json!({ "restock": restock });
            let path = format!("{returns}/{return_id}/inspection");
            let both =
                [self.ask(As::Operator, &path, None, &inspection), self.ask(As::Operator, &path, None, &inspection)];
            join_all(both).await;
        }
        let most = sold.total.minor() * 3 / 5;
        join_all([self.refund(sold, "one", most), self.refund(sold, "other", most)]).await;
    }

    async fn given_back(&self, sold: &Sold, service: &str, kept: bool) {
        let Some(parcel) = self.labelled(sold, service).await else { return };
        self.on_parcel(sold, &parcel, "void").await;
        if kept {
            // Only what the carrier was asked to take back is written off.
            self.seen(sold, &parcel, |label| label.problem.is_some()).await;
            let path = format!("/v1/orders/{}/shipments/{parcel}/write-off", sold.order_id);
            let (key, why) = (self.key(sold, "write-off"), json!({ "reason": "the carrier keeps it" }));
            let both =
                [self.ask(As::Operator, &path, Some(&key), &why), self.ask(As::Operator, &path, Some(&key), &why)];
            join_all(both).await;
        } else {
            self.label(sold, &parcel, LabelState::Voided).await;
        }
        self.call_off(sold, As::Operator).await;
    }

    async fn called_off_while(&self, sold: &Sold, parcel: &Value) {
        let calling_off = join_all([self.call_off(sold, As::Shopper(sold)), self.call_off(sold, As::Operator)]);
        tokio::join!(calling_off, self.send(sold, "race", parcel));
    }

    async fn call_off(&self, sold: &Sold, by: As<'_>) {
        let body = match by {
            As::Operator => json!({ "reason": "sold out" }),
            As::Shopper(_) => json!({}),
        };
        let deed = self.begin(sold, What::CalledOff);
        let said = self.ask(by, &format!("/v1/orders/{}/cancel", sold.order_id), None, &body).await;
        self.end(deed, said.as_ref().map(Said::is_yes), None);
    }

    async fn refund(&self, sold: &Sold, name: &str, minor: i64) {
        if minor == 0 {
            return;
        }
        let deed = self.begin(sold, What::Refund { minor });
        let amount = json!({ "minor": minor, "currency": sold.total.currency().code() });
        let body = json!({ "amount": amount, "reason": "it came broken" });
        let path = format!("/v1/orders/{}/refunds", sold.order_id);
        let said = self.ask(As::Operator, &path, Some(&self.key(sold, name)), &body).await;
        self.end(deed, said.as_ref().map(Said::is_yes), None);
    }

    /// The parcel's id, if the store said yes.
    async fn send(&self, sold: &Sold, name: &str, body: &Value) -> Option<String> {
        let key = self.key(sold, name);
        let deed = self.begin(sold, What::Parcel { key: key.clone(), shipment_id: None });
        let said = self.ask(As::Operator, &format!("/v1/orders/{}/shipments", sold.order_id), Some(&key), body).await;
        let sent = said.as_ref().filter(|said| said.is_yes()).and_then(Said::read::<Value>);
        let parcel = sent.and_then(|sent| sent["shipment_id"].as_str().map(str::to_owned));
        self.end(deed, said.as_ref().map(Said::is_yes), parcel.clone());
        parcel
    }

    /// The parcel of a label that is bought.
    async fn labelled(&self, sold: &Sold, service: &str) -> Option<String> {
        let label = json!({ "label": { "service": service, "weight_grams": 450 } });
        let parcel = self.send(sold, "label", &label).await?;
        self.label(sold, &parcel, LabelState::Bought).await.then_some(parcel)
    }

    /// Whether the label stands there soon.
    async fn label(&self, sold: &Sold, parcel: &str, state: LabelState) -> bool {
        self.seen(sold, parcel, |label| label.state == state).await
    }

    /// Whether the label is good soon.
    async fn seen(&self, sold: &Sold, parcel: &str, good: impl Fn(&Label) -> bool) -> bool {
        let path = format!("/v1/orders/{}/labels", sold.order_id);
        let look = async || {
            let labels: Labels = self.get(As::Operator, &path).await?;
            labels.items.into_iter().find(|label| label.shipment_id.to_string() == parcel && good(label))
        };
        soon(look).await.is_some()
    }

    /// The order, once its status is good.
    async fn reached(&self, sold: &Sold, good: impl Fn(OrderStatus) -> bool) -> Option<Order> {
        let path = format!("/v1/orders/{}", sold.order_id);
        let look = async || {
            let order: Order = self.get(As::Shopper(sold), &path).await?;
            Some(order).filter(|order| good(order.status))
        };
        soon(look).await
    }

    async fn on_parcel(&self, sold: &Sold, parcel: &str, what: &str) {
        let path = format!("/v1/orders/{}/shipments/{parcel}/{what}", sold.order_id);
        self.ask(As::Operator, &path, None, &json!({})).await;
    }

    /// The carrier has the parcel go on, if it knows it and lives.
    async fn carry(&self, parcel: &str) {
        let asked = self.client.post(format!("{}/control/go-on", self.carrier)).json(&json!({ "parcel": parcel }));
        let _whatever_it_says = asked.send().await;
    }

    /// Asks until it is known what became of it: 5xx and silence have it asked again, and a refusal after such a time is no
    /// certain one.
    async fn ask(&self, by: As<'_>, path: &str, key: Option<&str>, body: &Value) -> Option<Said> {
        let (until, mut unsure) = (Instant::now() + PATIENCE, false);
        while Instant::now() < until {
            if let Some(request) = self.request(by, Method::POST, path).await {
                let request = key.into_iter().fold(request, |request, key| request.header(IDEMPOTENCY_KEY, key));
                match heard(request.json(body)).await {
                    Some(said) if said.status == 401 => self.sign_in_again().await,
                    Some(said) if said.status == 429 => {}
                    Some(said) if said.status < 500 => return Some(said).filter(|said| said.is_yes() || !unsure),
                    Some(_) | None => unsure = true,
                }
            }
            tokio::time::sleep(PAUSE).await;
        }
        None
    }

    async fn get<T: DeserializeOwned>(&self, by: As<'_>, path: &str) -> Option<T> {
        let said = heard(self.request(by, Method::GET, path).await?).await?;
        if said.status == 401 {
            self.sign_in_again().await;
        }
        Some(said).filter(Said::is_yes)?.read()
    }

    async fn sign_in_again(&self) {
        *self.session.lock().await = None;
    }

    async fn request(&self, by: As<'_>, method: Method, path: &str) -> Option<reqwest::RequestBuilder> {
        let (region, token) = match by {
            As::Shopper(sold) => (sold.region, sold.guest.access_token.clone()),
            As::Operator => (0, self.operator().await?),
        };
        Some(self.door.request(region, method, path).bearer_auth(token))
    }

    /// The operator's token, signing in first if there is none.
    async fn operator(&self) -> Option<String> {
        let mut session = self.session.lock().await;
        if session.is_none() {
            let body = json!({ "email": self.email, "password": self.password });
            let said = heard(self.door.request(0, Method::POST, "/v1/sessions").json(&body)).await;
            *session = said.and_then(|said| said.read::<Tokens>()).map(|tokens| tokens.access_token);
        }
        session.clone()
    }

    fn key(&self, sold: &Sold, name: &str) -> String {
        format!("{}{:06}-{name}", self.prefix, sold.number)
    }

    /// Before it is asked for: what is broken off in the middle may have happened.
    fn begin(&self, sold: &Sold, what: What) -> usize {
        let mut deeds = self.deeds.lock().unwrap_or_else(PoisonError::into_inner);
        deeds.push(Deed { order_id: sold.order_id, what, done: None });
        deeds.len() - 1
    }

    fn end(&self, deed: usize, said_yes: Option<bool>, parcel: Option<String>) {
        let mut deeds = self.deeds.lock().unwrap_or_else(PoisonError::into_inner);
        deeds[deed].done = said_yes;
        if let What::Parcel { shipment_id, .. } = &mut deeds[deed].what {
            *shipment_id = parcel;
        }
    }
}

async fn heard(request: reqwest::RequestBuilder) -> Option<Said> {
    let answer = request.send().await.ok()?;
    let status = answer.status().as_u16();
    Some(Said { status, body: answer.bytes().await.ok()?.to_vec() })
}

async fn soon<T>(look: impl AsyncFn() -> Option<T>) -> Option<T> {
    let until = Instant::now() + SOON;
    while Instant::now() < until {
        if let Some(found) = look().await {
            return Some(found);
        }
        tokio::time::sleep(PAUSE).await;
    }
    None
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;

    #[test]
    fn a_seed_repeats_its_fates_every_one_comes_and_most_orders_wait() {
        let mut counts = BTreeMap::<Fate, u32>::new();
        for number in 0..1_000 {
            assert_eq!(Fate::of(3, number), Fate::of(3, number));
            *counts.entry(Fate::of(3, number)).or_default() += 1;
        }
        assert_eq!(counts.len(), 7, "{counts:?}");
        assert!((600..800).contains(&counts[&Fate::Waits]), "{counts:?}");
        assert!((0..1_000).any(|number| Fate::of(3, number) != Fate::of(4, number)));
    }
}
