//! Places the orders of a plan: so many users at once, each user's orders one after the other.

use std::time::Duration;

use anyhow::bail;
use futures::stream::{self, FuturesUnordered, StreamExt as _, TryStreamExt as _};
use shared::api::account::Tokens;
use shared::api::order::PlaceOrder;
use shared::{Currency, Money};
use tokio::sync::{Semaphore, SemaphorePermit};
use tokio::time::Instant;

use super::plan::{Planned, User};
use super::progress::Progress;
use super::rules::{Answer, Next, Outcome, Patience};
use super::shop::{Prices, Shop};
use crate::instance::Instance;

/// The sandbox's way to pay that always succeeds.
const PAYMENT_TOKEN: &str = "tok_success";

/// How fast.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Speed {
    /// As fast as the store answers.
    Max,
    /// So many times as fast as the shop once sold.
    Times(f64),
}

impl std::str::FromStr for Speed {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        match text.parse::<f64>() {
            _ if text == "max" => Ok(Self::Max),
            Ok(times) if times.is_finite() && times >= 0.001 => Ok(Self::Times(times)),
            _ => Err("`max`, or how many times as fast as the shop once sold, such as 60"),
        }
    }
}

impl Speed {
    fn due(self, since_first: Duration) -> Duration {
        match self {
            Self::Max => Duration::ZERO,
            Self::Times(times) => since_first.div_f64(times),
        }
    }
}

/// What became of one order.
#[derive(Debug)]
pub(super) struct Placed<'a> {
    pub(super) order: &'a Planned,
    pub(super) outcome: Outcome,
    pub(super) patience: Patience,
    /// From request to answer, of the request that was accepted.
    pub(super) took: Option<Duration>,
}

/// How orders are placed.
#[derive(Debug)]
pub(super) struct Drive<'a> {
    pub(super) shop: &'a Shop,
    pub(super) prices: &'a Prices,
    pub(super) currency: Currency,
    pub(super) speed: Speed,
    pub(super) progress: &'a Progress,
    /// Whose `up` must go on running.
    pub(super) instance: &'a Instance,
    pub(super) shoppers: Semaphore,
}

/// Makes a guest for each user, in the region where he is met.
pub(super) async fn guests(shops: &[Shop], users: &[User], at_once: usize) -> anyhow::Result<Vec<Tokens>> {
    let guests = users.iter().map(|user| shops[user.region].guest());
    stream::iter(guests).buffered(at_once).try_collect().await
}

impl Drive<'_> {
    /// Places everything and tells what became of each order.
    pub(super) async fn run<'p>(&self, users: &'p [User], tokens: Vec<Tokens>) -> anyhow::Result<Vec<Placed<'p>>> {
        let begun = Instant::now();
        let users: FuturesUnordered<_> =
            users.iter().zip(tokens).map(|(user, tokens)| self.user(user, tokens, begun)).collect();
        Ok(users.try_collect::<Vec<_>>().await?.into_iter().flatten().collect())
    }

    async fn user<'p>(&self, user: &'p User, mut tokens: Tokens, begun: Instant) -> anyhow::Result<Vec<Placed<'p>>> {
        let mut all = Vec::with_capacity(user.orders.len());
        for order in &user.orders {
            tokio::time::sleep_until(begun + self.speed.due(order.due)).await;
            all.push(self.place(order, &mut tokens).await?);
            self.progress.one_more();
        }
        Ok(all)
    }

    async fn place<'p>(&self, order: &'p Planned, tokens: &mut Tokens) -> anyhow::Result<Placed<'p>> {
        let mut body = body(order, self.prices.total(&order.items, self.currency)?);
        let mut patience = Patience::default();
        let _shopper = self.permit().await;
        loop {
            let sent = Instant::now();
            let answer = self.shop.place(&tokens.access_token, &order.key, &body).await;
            let took = sent.elapsed();
            if answer.is_err() && self.instance.owner().is_none() {
                bail!("`{}` was stopped while orders were placed; nothing was checked", self.instance.name);
            }
            let answer = answer.as_ref().map_err(Clone::clone).map(|answer| Answer {
                status: answer.status,
                retry_after: answer.retry_after,
                body: &answer.body,
            });
            match patience.after(answer) {
                Next::Done(outcome) => {
                    let took = matches!(outcome, Outcome::Accepted { .. }).then_some(took);
                    return Ok(Placed { order, outcome, patience, took });
                }
                Next::Again(pause) => tokio::time::sleep(pause).await,
                Next::AtTotal(total) => body.expected_total = total,
                Next::SignIn => match self.shop.refresh(tokens).await {
                    Ok(new) => *tokens = new,
                    Err(error) => {
                        let outcome = Outcome::Unknown(format!("the session was not renewed: {error:#}"));
                        return Ok(Placed { order, outcome, patience, took: None });
                    }
                },
            }
        }
    }

    /// Held from an order's first request to its last answer: a shopper who is told to come again is one of so many still.
    async fn permit(&self) -> Option<SemaphorePermit<'_>> {
        // The semaphore is never closed.
        self.shoppers.acquire().await.ok()
    }
}

fn body(order: &Planned, total: Money) -> PlaceOrder {
    PlaceOrder {
        items: order.items.clone(),
        shipping_address: order.address.clone(),
        payment_token: PAYMENT_TOKEN.to_owned(),
        expected_total: total,
        cart_version: None,
        email: None,
        delivery_option: None,
        phone: None,
        user_id: None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_speed_is_max_or_a_factor() {
        assert_eq!("max".parse(), Ok(Speed::Max));
        assert_eq!("60".parse::<Speed>().unwrap().due(Duration::from_secs(90)), Duration::from_millis(1_500));
        assert_eq!(Speed::Max.due(Duration::from_secs(90)), Duration::ZERO);
        for bad in ["", "0", "-1", "inf", "NaN", "fast"] {
            assert!(bad.parse::<Speed>().is_err(), "{bad:?} was taken");
        }
    }
}
