//! What payment hears from orders, and what it says.

use std::collections::{BTreeMap, HashMap};
use std::time::Duration;

use futures::future::BoxFuture;
use region_core_events::contract::{
    Assessment, OrderCancelled, OrderClaimed, OrderCreated, Payload, PaymentAuthorized, PaymentCaptured,
    PaymentChallengeRequired, PaymentFailed, PaymentRefunded, PaymentVoided, RefundIssued,
};
use region_core_events::{AfterCommit, Consumer, Event, HandleError, NewEvent, Wake, Wakes, append};
use region_core_store::StoreError;
use shared::{EventId, Money, OrderId, PaymentId, RefundId, ShardId};
use shared_clock::{Clock, Entropy};
use sqlx::PgConnection;

use crate::counters::Sign;
use crate::handover::Place;
use crate::refund;
use crate::rules::{self, Payment, Said};
use crate::store::{self, Change};

/// Mints what payment needs names for.
#[derive(Clone, Debug)]
pub(crate) struct Mint {
    pub(crate) clock: Clock,
    pub(crate) entropy: Entropy,
}

impl Mint {
    fn event(&self) -> EventId {
        EventId::mint(self.clock.unix_ms(), self.entropy.bytes())
    }

    fn payment(&self, order: OrderId) -> PaymentId {
        PaymentId::mint(self.clock.unix_ms(), order.slot(), self.entropy.bytes())
    }

    pub(crate) fn refund(&self, order: OrderId) -> RefundId {
        RefundId::mint(self.clock.unix_ms(), order.slot(), self.entropy.bytes())
    }

    /// The event that tells `said`, counted in the payment's version.
    pub(crate) fn say(&self, payment: &mut Payment, said: Said) -> NewEvent {
        self.say_judged(payment, said, None)
    }

    /// The same; the amount that is kept ready is said with how its order was judged.
    pub(crate) fn say_judged(&self, payment: &mut Payment, said: Said, assessment: Option<Assessment>) -> NewEvent {
        payment.version += 1;
        let (order_id, payment_id, amount) = (payment.order_id, payment.payment_id, payment.amount);
        let (id, version) = (self.event(), payment.version);
        match said {
            Said::Authorized => NewEvent::new(id, version, &PaymentAuthorized { order_id, payment_id, assessment }),
            Said::ChallengeRequired(challenge_id) => {
                NewEvent::new(id, version, &PaymentChallengeRequired { order_id, payment_id, challenge_id })
            }
            Said::Failed(reason) => NewEvent::new(id, version, &PaymentFailed { order_id, payment_id, reason }),
            Said::Captured => NewEvent::new(id, version, &PaymentCaptured { order_id, payment_id, amount }),
            Said::Voided => NewEvent::new(id, version, &PaymentVoided { order_id, payment_id }),
            Said::Refunded(minor) => {
                // A part of an amount that is within its bounds.
                let amount = Money::new(minor, amount.currency()).unwrap_or(amount);
                NewEvent::new(id, version, &PaymentRefunded { order_id, payment_id, amount })
            }
            Said::PartRefunded { refund_id, amount, reason } => {
                NewEvent::new(id, version, &RefundIssued { order_id, payment_id, refund_id, amount, reason })
            }
        }
    }
}

/// Hears what became of orders and sets their payments to what is to be done next.
#[derive(Clone, Debug)]
pub struct OrderNews {
    pub(crate) sign: Sign,
    pub(crate) mint: Mint,
    pub(crate) lease: Duration,
    pub(crate) wakes: Wakes,
    pub(crate) refunds: Wakes,
}

impl Consumer for OrderNews {
    fn name(&self) -> &'static str {
        "payment"
    }

    fn kinds(&self) -> &'static [&'static str] {
        &[OrderCreated::KIND, OrderClaimed::KIND, OrderCancelled::KIND]
    }

    fn handle<'a>(
        &'a self,
        shard: ShardId,
        conn: &'a mut PgConnection,
        events: &'a [Event],
    ) -> BoxFuture<'a, Result<AfterCommit, HandleError>> {
        Box::pin(async move {
            let mut due = Due { sign: self.sign.clone(), shard, leased: BTreeMap::new(), waiting: false, parts: false };
            self.take_orders(conn, events, &mut due).await?;
            self.follow_orders(conn, events, &mut due).await?;
            let (wake, refunds) = (self.wakes.of(shard), self.refunds.of(shard));
            Ok(AfterCommit::run(move || due.go(&wake, &refunds)))
        })
    }
}

/// Payments that are to be asked about once the transaction is committed.
struct Due {
    sign: Sign,
    shard: ShardId,
    leased: BTreeMap<PaymentId, (Place, Payment)>,
    /// Whether there are others, for which the driver has no place now.
    waiting: bool,
    /// Whether rests are asked for as parts are.
    parts: bool,
}

impl Due {
    /// Leases the payment if the driver of this process has a place for it and something is to be asked. Whether it did.
    fn lease(&mut self, payment: &mut Payment) -> bool {
        let before = self.leased.remove(&payment.payment_id);
        // Nobody here may ask about a payment of a provider that is not configured: it waits for one who may.
        let handover = self.sign.handover(&payment.provider, self.shard);
        let Some(handover) = handover.filter(|_| payment.call().is_some()) else { return false };
        let Some(place) = before.map(|(place, _)| place).or_else(|| handover.place()) else {
            self.waiting = true;
            return false;
        };
        payment.attempts = 1;
        self.leased.insert(payment.payment_id, (place, payment.clone()));
        true
    }

    fn go(self, wake: &Wake, refunds: &Wake) {
        if self.parts {
            refunds.notify();
        }
        self.leased.into_values().for_each(|(place, payment)| place.hand_over(payment));
        if self.waiting {
            wake.notify();
        }
    }
}

impl OrderNews {
    /// A payment for each new order.
    async fn take_orders(&self, conn: &mut PgConnection, events: &[Event], due: &mut Due) -> Result<(), HandleError> {
        let mut new = Vec::new();
        for event in events {
            if let Some(OrderCreated { order_id, total, payment_token, facts, .. }) = event.read()? {
                let (provider, payment_id) = (self.sign.of_token(&payment_token), self.mint.payment(order_id));
                let payment = Payment::new(provider, payment_id, order_id, total, payment_token);
                let mut payment = Payment { facts: facts.map(Box::new), ..payment };
                due.lease(&mut payment);
                new.push(payment);
            }
        }
        if !new.is_empty() {
            let kept = store::insert(conn, &new, self.lease).await?;
            due.leased.retain(|payment, _| kept.contains(payment));
        }
        Ok(())
    }

    /// Claims and cancellations, each order's in their order.
    async fn follow_orders(&self, conn: &mut PgConnection, events: &[Event], due: &mut Due) -> Result<(), HandleError> {
        let orders: Vec<_> =
            events.iter().filter(|event| !event.is::<OrderCreated>()).map(|event| event.aggregate_id).collect();
        if orders.is_empty() {
            return Ok(());
        }
        let locked = store::lock_of_orders(conn, &orders).await?;
        let mut payments: HashMap<_, _> = locked.into_iter().map(|payment| (payment.order_id, payment)).collect();
        let (mut changed, mut said) = (BTreeMap::new(), Vec::new());
        for event in events.iter().filter(|event| !event.is::<OrderCreated>()) {
            let payment = payments.get_mut(&event.aggregate_id);
            let payment =
                payment.ok_or_else(|| HandleError::Rejected(format!("{} has no payment", event.aggregate_id)))?;
            if let Some((mut next, says)) = next(payment, event) {
                said.extend(says.map(|says| self.mint.say(&mut next, says)));
                *payment = next.clone();
                changed.insert(next.payment_id, next);
            }
        }
        for payment in changed.values_mut() {
            due.parts |= refund::ask_for_rest(conn, &self.mint, payment).await?;
        }
        let changed: Vec<_> = changed.into_values().map(|payment| change(payment, due)).collect();
        store::update(conn, &changed, self.lease).await?;
        Ok::<_, StoreError>(append(conn, &said).await?).map_err(HandleError::from)
    }
}

fn change(mut payment: Payment, due: &mut Due) -> Change {
    let leased = due.lease(&mut payment);
    Change { leased, ..Change::now(payment) }
}

/// What the order's event makes of its payment.
fn next(payment: &Payment, event: &Event) -> Option<(Payment, Option<Said>)> {
    if event.is::<OrderCancelled>() {
        rules::cancelled(payment)
    } else {
        rules::claimed(payment).map(|payment| (payment, None))
    }
}
