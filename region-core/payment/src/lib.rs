//! Payments: one for each order, driven at a provider by what orders say.
//!
//! Create (moves nothing), commit the provider's reference, authorize, wait for the order's claim, capture until the answer
//! is definite; a cancelled order's payment is voided, or refunded if the money moved after all. Each effect has one key
//! for ever, and an outcome that nobody knows is read back by reference before anything is repeated. No connection is
//! held while the provider thinks.
//!
//! A provider that tells us something by itself (`notice.rs`) only has us look sooner.
//!
//! Who keeps the store gives parts of a captured payment back (`refund.rs`). Whatever moves is entered into a ledger of money
//! (`money_entries`) by the transaction that moves the payment's sums, once for each effect at the provider.
//!
//! Where the shopper must answer on the provider's own page, its address is kept while he is to (`page.rs`), and the payment is read
//! when he comes back, which proves nothing, and now and then until its order ends.
//!
//! Deliberately absent: card numbers.

mod any;
mod client;
mod confirm;
mod counters;
mod driver;
mod events;
mod exchange;
mod handover;

mod notice;
mod page;
mod paypal;
pub mod provider;
mod refund;
pub mod risk;
mod routes;
pub mod rules;
mod sandbox;
mod store;
mod stranded;
mod stripe;

use std::sync::Arc;
use std::time::Duration;

use http::HeaderMap;
use region_core_events::Wakes;
use region_core_store::{Shard, Shards, StoreError};
use region_core_web::Peers;
use shared::api::order::{NextAction, PaymentMethod};
use shared::api::refund::{NewRefund, Refunds};
use shared::{IdempotencyKey, OrderId, UserId};
use shared_clock::{Clock, Entropy};
use sqlx::PgConnection;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

pub use any::AnyProvider;
pub use client::Deadlines;
pub use confirm::ConfirmError;
pub use events::OrderNews;
pub use notice::{News, Notice, NoticeError};
pub use page::shop_origin;
pub use paypal::{PAYPAL_URL, PayPal, PayPalApp, PayPalError};
pub use refund::{Asked, RefundError};
pub use routes::{Api, FindOrder, internal_router, router};
pub use sandbox::{Sandbox, SandboxError};
pub use stripe::{Account, STRIPE_URL, Stripe, StripeError};

use crate::counters::{Counter, Counters};
use crate::driver::Driver;
use crate::events::Mint;
use crate::provider::Provider;
use crate::refund::RefundDriver;
use crate::risk::Judge;

/// The bounds of payment.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Most exchanges with the provider at a time, for each shard and process.
    pub concurrency: usize,
    /// Longest time without looking for what is due.
    pub poll: Duration,
    /// How long a payment is kept off other workers; longer than the longest wait for an exchange and the longest exchange,
    /// which is four calls, each with its deadline (read first, look up a name, ask, and read again what was refused), and its
    /// commit. A lease that ran out early would not charge twice, for each effect has one key; it would ask twice.
    pub lease: Duration,
    /// Pause after the first attempt without progress; doubles with each.
    pub first_pause: Duration,
    /// Longest such pause.
    pub longest_pause: Duration,
    /// Pause before the first look at a payment whose shopper is on the provider's own page; doubles twice. He mostly comes back and
    /// has it looked at at once; this is for those who do not.
    pub look: Duration,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            concurrency: 64,
            poll: Duration::from_millis(250),
            lease: Duration::from_secs(25),
            first_pause: Duration::from_millis(250),
            longest_pause: Duration::from_secs(30),
            look: Duration::from_secs(15),
        }
    }
}

/// The payments of this region's shards, at one provider, or at more. Cheap to clone.
#[derive(Debug)]
pub struct Payments<P = Sandbox> {
    shards: Shards,
    counters: Counters<P>,
    events: Wakes,
    wakes: Wakes,
    refunds: Wakes,
    mint: Mint,
    peers: Peers,
    judge: Option<Judge>,
    /// The origin of the shop's pages.
    shop: Option<Arc<str>>,
    settings: Settings,
}

impl<P> Clone for Payments<P> {
    fn clone(&self) -> Self {
        Self {
            shards: self.shards.clone(),
            counters: self.counters.clone(),
            events: self.events.clone(),
            wakes: self.wakes.clone(),
            refunds: self.refunds.clone(),
            mint: self.mint.clone(),
            peers: self.peers.clone(),
            judge: self.judge.clone(),
            shop: self.shop.clone(),
            settings: self.settings.clone(),
        }
    }
}

impl<P: Provider> Payments<P> {
    /// Payments at `provider`; `events` are the bus's wakes, told when something was said.
    #[must_use]
    pub fn new(shards: Shards, events: Wakes, provider: Arc<P>, clock: Clock, entropy: Entropy) -> Self {
        let wakes = Wakes::new(shards.all().map(Shard::id));
        let refunds = Wakes::new(shards.all().map(Shard::id));
        let counters = Counters { main: Counter::new(&shards, provider), beside: Vec::new() };
        let mint = Mint { clock, entropy };
        let (peers, settings) = (Peers::none(), Settings::default());
        Self { shards, counters, events, wakes, refunds, mint, peers, judge: None, shop: None, settings }
    }

    /// The same with another provider beside the main one: what is paid with a token that is its name is paid there.
    #[must_use]
    pub fn beside(mut self, provider: Arc<P>) -> Self {
        self.counters.beside.push(Counter::new(&self.shards, provider));
        self
    }

    /// The same with a way to the cores of other regions, to whose payments a provider's notices are passed on.
    #[must_use]
    pub fn linked_by(self, peers: Peers) -> Self {
        Self { peers, ..self }
    }

    /// The same; orders whose facts are told are judged when their amount is kept ready.
    #[must_use]
    pub fn judged_by(self, judge: Judge) -> Self {
        Self { judge: Some(judge), ..self }
    }

    /// The same; who pays on the provider's own page comes back to the order's page at this [origin](shop_origin).
    #[must_use]
    pub fn returning_to(self, shop: Option<String>) -> Self {
        Self { shop: shop.map(Arc::from), ..self }
    }

    /// The ways to pay that shoppers choose from.
    #[must_use]
    pub fn methods(&self) -> Vec<PaymentMethod> {
        let of = |counter: &Counter<P>| counter.provider.payment_methods(self.shop.is_some());
        self.counters.all().flat_map(of).collect()
    }

    /// The same under other bounds.
    #[must_use]
    pub fn bounded_by(self, settings: Settings) -> Self {
        Self { settings, ..self }
    }

    /// What hears the orders: for the bus's [`region_core_events::Runner`].
    #[must_use]
    pub fn news(&self) -> OrderNews {
        OrderNews {
            sign: self.counters.sign(),
            mint: self.mint.clone(),
            lease: self.settings.lease,
            wakes: self.wakes.clone(),
            refunds: self.refunds.clone(),
        }
    }

    /// Drives the payments and refunds of every shard until `shutdown`; exchanges under way are finished.
    ///
    /// # Panics
    /// If a driver does.
    pub async fn drive(self, shutdown: CancellationToken) {
        let mut drivers = JoinSet::new();
        for shard in self.shards.all() {
            for counter in self.counters.all() {
                drivers.spawn(self.driver(shard, counter).run(shutdown.clone()));
                drivers.spawn(self.refund_driver(shard, counter).run(shutdown.clone()));
            }
            drivers.spawn(stranded::watch(shard.clone(), self.counters.names(), shutdown.clone()));
        }
        while let Some(ended) = drivers.join_next().await {
            if let Err(error) = ended {
                std::panic::resume_unwind(error.into_panic());
            }
        }
    }

    fn driver(&self, shard: &Shard, counter: &Counter<P>) -> Driver<P> {
        Driver::new(
            shard.clone(),
            Arc::clone(&counter.provider),
            self.mint.clone(),
            self.settings.clone(),
            counter.handovers.of(shard.id()),
            self.wakes.of(shard.id()),
            self.events.of(shard.id()),
        )
        .judged_by(self.judge.clone())
        .returning_to(self.shop.clone())
    }

    fn refund_driver(&self, shard: &Shard, counter: &Counter<P>) -> RefundDriver<P> {
        let desk = refund::Desk {
            shard: shard.clone(),
            provider: counter.provider.name(),
            mint: self.mint.clone(),
            settings: self.settings.clone(),
        };
        RefundDriver {
            desk,
            provider: Arc::clone(&counter.provider),
            wake: self.refunds.of(shard.id()),
            events: self.events.of(shard.id()),
            payments: self.wakes.of(shard.id()),
        }
    }

    /// Has a part of the order's captured payment given back, once under its key: the amount is set aside at once, and the
    /// provider is asked until its answer is definite. The caller has checked that `by` keeps the store.
    ///
    /// # Errors
    /// [`RefundError`]; nothing is changed then.
    #[tracing::instrument(name = "payment.refund", skip_all, fields(order.id = %order))]
    pub async fn give_back(
        &self,
        order: OrderId,
        key: IdempotencyKey,
        by: UserId,
        body: NewRefund,
    ) -> Result<Asked, RefundError> {
        let asked = refund::ask(&self.shards, &self.mint, order, key, by, body).await?;
        self.refunds.of(self.shards.here(order.slot())?.id()).notify();
        Ok(asked)
    }

    /// The order's refunds, and what can still be given back.
    ///
    /// # Errors
    /// [`RefundError::NoPayment`], and those of the store.
    pub async fn refunds(&self, order: OrderId) -> Result<Refunds, RefundError> {
        refund::list(&self.shards, order).await
    }

    /// The shopper answered the provider's question about this order's payment: has the provider asked about it, soon.
    /// The caller has checked whose order it is. Repeats are harmless.
    ///
    /// # Errors
    /// [`ConfirmError`]; nothing is changed then.
    pub async fn confirm_challenge(&self, order: OrderId) -> Result<(), ConfirmError> {
        confirm::confirm(&self.shards, order).await?;
        self.wakes.of(self.shards.here(order.slot()).map_err(ConfirmError::from)?.id()).notify();
        Ok(())
    }

    /// Takes what `provider` says of one of its payments, here or in the region that owns it. `body` as it came: its bytes are
    /// what was signed. Repeats are harmless.
    ///
    /// # Errors
    /// [`NoticeError`]; nothing is changed then, and the provider should say it again.
    pub async fn take_notice(&self, provider: &str, headers: &HeaderMap, body: &[u8]) -> Result<(), NoticeError> {
        let asked = &self.counters.find(provider).ok_or(NoticeError::NotSent)?.provider;
        let Some(notice) = asked.notice(headers, body, self.mint.clock.unix_seconds()).await? else { return Ok(()) };
        // Anybody may name a payment that nobody knows: that costs no call.
        if !notice::may_be_known(&self.shards, provider, notice.payment_id).await? {
            return Err(NoticeError::UnknownPayment);
        }
        asked.prove(headers, body).await?;
        if notice::pass_on(&self.shards, &self.peers, provider, &notice).await? {
            return Ok(());
        }
        self.hear(Some(provider), notice).await
    }

    /// Has a payment of this region looked at; of the main provider, if nobody says whose it is.
    ///
    /// # Errors
    /// [`NoticeError`].
    async fn hear(&self, provider: Option<&str>, notice: Notice) -> Result<(), NoticeError> {
        let counter = provider.map_or(Some(&self.counters.main), |name| self.counters.find(name));
        let name = counter.ok_or(NoticeError::NotSent)?.provider.name();
        let (shard, _) = notice::hear(&self.shards, name, notice).await?;
        self.wakes.of(shard.id()).notify();
        Ok(())
    }
}

/// What the order's shopper is to do for its payment, while he is to: for him alone.
///
/// # Errors
/// Those of the store.
pub async fn find_next_action(conn: &mut PgConnection, order: OrderId) -> Result<Option<NextAction>, StoreError> {
    let asked = store::find_question(conn, order).await?;
    Ok(asked.map(|page| page.map_or(NextAction::Confirm, |url| NextAction::RedirectToUrl { url })))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_usual_lease_outlasts_the_longest_exchange() {
        assert!(Settings::default().lease > driver::LONGEST_WAIT + client::DEADLINES.total * exchange::MOST_CALLS);
    }
}
