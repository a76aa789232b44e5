//! What orders hear from payment, and what they say then.

use std::collections::{HashMap, HashSet};

use futures::FutureExt;
use futures::future::BoxFuture;
use region_core_events::contract::{
    Assessment, Decision, OrderCancelled, OrderClaimed, OrderConfirmed, Payload, PaymentAuthorized, PaymentCaptured,
    PaymentChallengeRequired, PaymentFailed, PaymentRefunded, PaymentVoided,
};
use region_core_events::{AfterCommit, Consumer, Event, HandleError, NewEvent, append};
use region_core_store::StoreError;
use shared::{OrderId, ShardId};
use sqlx::PgConnection;

use crate::orders::Orders;
use crate::store::progress::{self, Cancelled, Moved};
use crate::store::review::{self, End, Judged};

/// What the shopper of an order reads that was refused, or that nobody decided about in time. It says no more, for it would teach others what to avoid.
pub(crate) const REFUSED: &str = "we could not accept this order";

/// Moves orders on as payment tells of them.
#[derive(Clone, Debug)]
pub struct PaymentNews {
    orders: Orders,
}

/// What a batch comes to: whose units move, and what is said.
#[derive(Default)]
struct Round {
    claimed: Vec<OrderId>,
    released: Vec<OrderId>,
    said: Vec<NewEvent>,
}

/// One step for many orders, in the order in which their steps must happen.
enum Step {
    Claim(OrderId),
    Hold(OrderId, Assessment),
    Refuse(OrderId, Assessment),
    Confirm(OrderId),
    Cancel(OrderId, String),
    Note(OrderId, &'static str),
}

impl PaymentNews {
    /// News for these orders.
    #[must_use]
    pub fn new(orders: Orders) -> Self {
        Self { orders }
    }

    fn step(event: &Event) -> Result<Step, HandleError> {
        let order = event.aggregate_id;
        match event.kind.as_str() {
            PaymentAuthorized::KIND => {
                let assessment = event.read::<PaymentAuthorized>()?.and_then(|authorized| authorized.assessment);
                Ok(match assessment {
                    Some(judged) if judged.decision == Decision::Review => Step::Hold(order, judged),
                    Some(judged) if judged.decision == Decision::Refuse => Step::Refuse(order, judged),
                    _ => Step::Claim(order),
                })
            }
            PaymentCaptured::KIND => Ok(Step::Confirm(order)),
            PaymentChallengeRequired::KIND => Ok(Step::Note(order, "challenge_required")),
            PaymentVoided::KIND => Ok(Step::Note(order, "voided")),
            PaymentRefunded::KIND => Ok(Step::Note(order, "refunded")),
            PaymentFailed::KIND => {
                let reason = event.read::<PaymentFailed>()?.map_or_else(String::new, |failed| failed.reason);
                Ok(Step::Cancel(order, reason))
            }
            other => Err(HandleError::Rejected(format!("{other} is not a kind that orders hear"))),
        }
    }

    /// Decides about every order first and moves units last, in one round of locks: orders by id, then allotments by SKU.
    /// Checkouts and the sweeper lock in that order too, so nobody waits in a ring.
    async fn apply(
        &self,
        shard: ShardId,
        conn: &mut PgConnection,
        events: &[Event],
    ) -> Result<AfterCommit, HandleError> {
        let steps = events.iter().map(Self::step).collect::<Result<Vec<_>, _>>()?;
        progress::lock(conn, &steps.iter().map(order_of).collect::<Vec<_>>()).await?;
        let mut round = Round::default();
        let mut rest = steps.as_slice();
        // Neighbouring steps of one kind are one set of statements; runs keep the order of each order's own events.
        while let Some(first) = rest.first() {
            let same = |step: &Step| {
                std::mem::discriminant(step) == std::mem::discriminant(first) && noted(step) == noted(first)
            };
            let run = rest.iter().take_while(|step| same(step)).count();
            let (run, later) = rest.split_at(run);
            self.apply_run(conn, run, &mut round).await?;
            rest = later;
        }
        let Round { claimed, released, said } = round;
        review::end(conn, &released, End::Lapsed).await?;
        if !claimed.is_empty() && !released.is_empty() {
            region_core_inventory::lock(conn, &[claimed.as_slice(), released.as_slice()].concat()).await?;
        }
        region_core_inventory::claim(conn, &claimed).await?;
        let skus = region_core_inventory::release(conn, &released).await?;
        append(conn, &said).await?;
        let orders = self.orders.clone();
        Ok(AfterCommit::run(move || {
            orders.parts().released(shard, &skus);
            orders.parts().wakes.of(shard).notify();
        }))
    }

    async fn apply_run(&self, conn: &mut PgConnection, run: &[Step], round: &mut Round) -> Result<(), StoreError> {
        let orders: Vec<OrderId> = run.iter().map(order_of).collect();
        match run.first() {
            Some(Step::Claim(_)) => self.claim(conn, &orders, round).await?,
            Some(Step::Hold(..)) => self.hold(conn, &judged(run), round).await?,
            Some(Step::Refuse(..)) => {
                review::refused(conn, &judged(run)).await?;
                let texts = vec![REFUSED.to_owned(); orders.len()];
                let moved = progress::cancel(conn, &orders, &texts, "processing").await?;
                self.cancelled(&moved, |_| REFUSED.to_owned(), round);
            }
            Some(Step::Confirm(_)) => {
                let confirmed = progress::confirm(conn, &orders).await?;
                round.said.extend(self.say(&confirmed, |moved| OrderConfirmed { order_id: moved.order_id }));
            }
            Some(Step::Cancel(..)) => {
                let reasons: HashMap<OrderId, &str> =
                    run.iter().map(|step| (order_of(step), reason_of(step))).collect();
                let texts: Vec<String> = run.iter().map(|step| reason_of(step).to_owned()).collect();
                let moved = progress::cancel(conn, &orders, &texts, "declined").await?;
                self.cancelled(&moved, |order| reasons[&order].to_owned(), round);
            }
            Some(Step::Note(_, payment)) => progress::note_payment(conn, &orders, payment).await?,
            None => {}
        }
        Ok(())
    }

    /// Claims what can be claimed. An order that is still PENDING but out of time is cancelled here and now, so that its
    /// payment is voided without waiting for the sweeper.
    async fn claim(&self, conn: &mut PgConnection, orders: &[OrderId], round: &mut Round) -> Result<(), StoreError> {
        let claimed = progress::claim(conn, orders).await?;
        let won: HashSet<OrderId> = claimed.iter().map(|moved| moved.order_id).collect();
        round.said.extend(self.say(&claimed, |moved| OrderClaimed { order_id: moved.order_id }));
        let late: Vec<OrderId> = orders.iter().filter(|order| !won.contains(order)).copied().collect();
        round.claimed.extend(won);
        self.expire(conn, &late, round).await
    }

    /// Has orders wait for a person; one that is out of time is cancelled.
    async fn hold(&self, conn: &mut PgConnection, judged: &[Judged], round: &mut Round) -> Result<(), StoreError> {
        let patience = self.orders.parts().review.as_ref().map_or(self.orders.parts().hold, |judging| judging.patience);
        let held = review::hold(conn, judged, patience.as_seconds_f64()).await?;
        metrics::counter!("orders_held_total").increment(held.len() as u64);
        let late: Vec<OrderId> = judged.iter().map(|(order, _)| *order).filter(|order| !held.contains(order)).collect();
        self.expire(conn, &late, round).await
    }

    async fn expire(&self, conn: &mut PgConnection, late: &[OrderId], round: &mut Round) -> Result<(), StoreError> {
        let expired = progress::expire_these(conn, late, crate::expiry::REASON, REFUSED).await?;
        for Cancelled { moved, reason } in expired {
            self.cancelled(&[moved], |_| reason.clone(), round);
        }
        Ok(())
    }

    fn cancelled(&self, moved: &[Moved], reason: impl Fn(OrderId) -> String, round: &mut Round) {
        round.released.extend(moved.iter().map(|moved| moved.order_id));
        let said = |moved: &Moved| OrderCancelled { order_id: moved.order_id, reason: reason(moved.order_id) };
        round.said.extend(self.say(moved, said));
    }

    fn say<P: Payload>(&self, moved: &[Moved], payload: impl Fn(&Moved) -> P) -> Vec<NewEvent> {
        moved.iter().map(|moved| NewEvent::new(self.orders.mint_event(), moved.version, &payload(moved))).collect()
    }
}

fn order_of(step: &Step) -> OrderId {
    match step {
        Step::Claim(order)
        | Step::Hold(order, _)
        | Step::Refuse(order, _)
        | Step::Confirm(order)
        | Step::Cancel(order, _)
        | Step::Note(order, _) => *order,
    }
}

fn reason_of(step: &Step) -> &str {
    match step {
        Step::Cancel(_, reason) => reason,
        Step::Claim(_) | Step::Hold(..) | Step::Refuse(..) | Step::Confirm(_) | Step::Note(..) => "",
    }
}

fn noted(step: &Step) -> Option<&'static str> {
    match step {
        Step::Note(_, payment) => Some(payment),
        Step::Claim(_) | Step::Hold(..) | Step::Refuse(..) | Step::Confirm(_) | Step::Cancel(..) => None,
    }
}

fn judged(run: &[Step]) -> Vec<Judged> {
    let of = |step: &Step| match step {
        Step::Hold(order, judged) | Step::Refuse(order, judged) => Some((*order, judged.clone())),
        Step::Claim(_) | Step::Confirm(_) | Step::Cancel(..) | Step::Note(..) => None,
    };
    run.iter().filter_map(of).collect()
}

impl Consumer for PaymentNews {
    fn name(&self) -> &'static str {
        "order.payment-news"
    }

    fn kinds(&self) -> &'static [&'static str] {
        &[
            PaymentAuthorized::KIND,
            PaymentChallengeRequired::KIND,
            PaymentFailed::KIND,
            PaymentCaptured::KIND,
            PaymentVoided::KIND,
            PaymentRefunded::KIND,
        ]
    }

    fn handle<'a>(
        &'a self,
        shard: ShardId,
        conn: &'a mut PgConnection,
        events: &'a [Event],
    ) -> BoxFuture<'a, Result<AfterCommit, HandleError>> {
        self.apply(shard, conn, events).boxed()
    }

    fn changes_stock(&self) -> bool {
        true
    }
}
