//! Clients that place orders through the PoP, patiently: whatever is not definite is asked again under the same key.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use anyhow::{Context as _, bail};
use bytes::Bytes;
use http::{HeaderValue, Method, StatusCode};
use serde::Deserialize;
use shared::OrderId;
use shared_clock::Entropy;
use tokio::task::JoinSet;
use tokio::time::Instant;

use super::door::{Answered, Asked, Door};
use crate::options::{Goods, Span};
use crate::samples::{count, micros};

/// Times that an order is asked for before the run is given up.
const MOST_TRIES: u32 = 40;
/// The pause before the next, where an answer does not name one.
const PAUSE: Duration = Duration::from_millis(50);

/// Where orders go, and whose they are.
#[derive(Debug)]
pub(crate) struct Shop {
    /// `http://host:port` of the PoP.
    pub(crate) origin: String,
    /// Orders for each SKU, as JSON.
    pub(crate) orders: Vec<Bytes>,
    /// The shoppers' tokens, as `Bearer …`.
    pub(crate) shoppers: Vec<HeaderValue>,
    /// Counts orders, over all loads: each has a key of its own.
    pub(crate) next: AtomicU64,
}

/// What comes when.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Load {
    pub(crate) goods: Goods,
    /// Connections at once.
    pub(crate) clients: u32,
    pub(crate) arrival: Arrival,
}

/// When an order is placed.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Arrival {
    /// When its client's last one was answered.
    Closed(Span),
    /// By the clock, so many in all.
    Open { per_s: f64, orders: u64 },
}

/// What became of a load.
#[derive(Debug, Default)]
pub(crate) struct Done {
    pub(crate) accepted: Vec<OrderId>,
    /// From request, or from when it was due, to the answer; of each accepted order, in microseconds.
    pub(crate) took_us: Vec<u64>,
    /// Answers and losses after which a client asked again.
    pub(crate) repeats: u64,
}

/// Lets the clients loose and waits until each has all its answers.
pub(crate) async fn run(load: &Load, shop: Arc<Shop>) -> anyhow::Result<Done> {
    let (begun, due) = (Instant::now(), Arc::new(AtomicU64::new(0)));
    let mut clients = JoinSet::new();
    for number in 0..load.clients {
        let dice = Entropy::seeded(u64::from(number));
        let client = Client { load: *load, shop: Arc::clone(&shop), due: Arc::clone(&due), begun, dice };
        clients.spawn(client.run());
    }
    let mut all = Done::default();
    while let Some(done) = clients.join_next().await {
        let done = done.context("a client panicked")??;
        all.accepted.extend(done.accepted);
        all.took_us.extend(done.took_us);
        all.repeats += done.repeats;
    }
    Ok(all)
}

struct Client {
    load: Load,
    shop: Arc<Shop>,
    /// Orders taken up by all clients of the load.
    due: Arc<AtomicU64>,
    begun: Instant,
    dice: Entropy,
}

#[derive(Deserialize)]
struct Accepted {
    order_id: OrderId,
}

impl Client {
    async fn run(self) -> anyhow::Result<Done> {
        let (mut door, mut done) = (Door::open(&self.shop.origin).await?, Done::default());
        while let Some(due) = self.next(done.accepted.len()) {
            tokio::time::sleep_until(due).await;
            self.place(&mut door, due, &mut done).await?;
        }
        Ok(done)
    }

    /// When the next order is due, if there is one.
    fn next(&self, placed: usize) -> Option<Instant> {
        let now = Instant::now();
        match self.load.arrival {
            Arrival::Closed(Span::Time(time)) => (now < self.begun + time).then_some(now),
            Arrival::Closed(Span::Orders(orders)) => (count(placed) < f64::from(orders)).then_some(now),
            Arrival::Open { per_s, orders } => {
                let number = self.due.fetch_add(1, Ordering::Relaxed);
                let after = Duration::from_secs_f64(count(usize::try_from(number).ok()?) / per_s);
                (number < orders).then(|| self.begun + after)
            }
        }
    }

    async fn place(&self, door: &mut Door, due: Instant, done: &mut Done) -> anyhow::Result<()> {
        let Shop { origin, orders, shoppers, next } = &*self.shop;
        let number = next.fetch_add(1, Ordering::Relaxed);
        let key = format!("bench-{number}");
        let skus = self.load.goods.skus().min(u32::try_from(orders.len())?);
        let body = &orders[usize::try_from(self.dice.below(skus))?];
        let token = &shoppers[usize::try_from(number)? % shoppers.len()];
        for _ in 0..MOST_TRIES {
            let asked = Asked { token: Some(token), key: Some(&key), body: body.clone() };
            let pause = match door.ask(Method::POST, "/v1/orders", asked).await {
                Ok(answer) if answer.status == StatusCode::CREATED => {
                    done.took_us.push(micros(due.elapsed()));
                    let Accepted { order_id } =
                        serde_json::from_slice(&answer.body).context("an order out of shape")?;
                    done.accepted.push(order_id);
                    return Ok(());
                }
                Ok(answer) => pause_after(&answer)?,
                Err(_) => {
                    *door = Door::open(origin).await?;
                    PAUSE
                }
            };
            done.repeats += 1;
            tokio::time::sleep(pause).await;
        }
        bail!("the order under {key} was asked for {MOST_TRIES} times and is still not placed")
    }
}

/// How long to wait before the order is asked for again.
fn pause_after(answer: &Answered) -> anyhow::Result<Duration> {
    match answer.status.as_u16() {
        429 | 500 | 502..=504 => Ok(answer.retry_after.unwrap_or(PAUSE)),
        other => bail!("an order was refused: {other} {}", String::from_utf8_lossy(&answer.body)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn answer(status: u16, seconds: Option<u64>) -> Answered {
        let status = StatusCode::from_u16(status).unwrap();
        Answered { status, retry_after: seconds.map(Duration::from_secs), body: Bytes::from_static(b"{}") }
    }

    #[test]
    fn what_is_not_definite_is_asked_again_and_a_refusal_ends_the_run() {
        assert_eq!(pause_after(&answer(503, Some(2))).unwrap(), Duration::from_secs(2));
        assert_eq!(pause_after(&answer(502, None)).unwrap(), PAUSE);
        assert!(pause_after(&answer(409, Some(1))).is_err() && pause_after(&answer(422, None)).is_err());
    }

    #[tokio::test(start_paused = true)]
    async fn orders_by_the_clock_are_due_evenly_and_end() {
        let shop = Shop { origin: String::new(), orders: Vec::new(), shoppers: Vec::new(), next: AtomicU64::new(0) };
        let client = Client {
            load: Load { goods: Goods::Hot, clients: 1, arrival: Arrival::Open { per_s: 100.0, orders: 3 } },
            shop: Arc::new(shop),
            due: Arc::default(),
            begun: Instant::now(),
            dice: Entropy::seeded(1),
        };
        let due = std::iter::from_fn(|| client.next(0)).map(|due| (due - client.begun).as_millis()).collect::<Vec<_>>();
        assert_eq!(due, [0, 10, 20]);
    }
}
