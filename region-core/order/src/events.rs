//! What orders hear from payment, and what they say then.

use futures::FutureExt;
use futures::future::BoxFuture;
use region_core_events::contract::{
    OrderCancelled, OrderClaimed, OrderConfirmed, Payload, PaymentAuthorized, PaymentCaptured,
    PaymentChallengeRequired, PaymentFailed, PaymentRefunded, PaymentVoided,
};
use region_core_events::{Consumer, Event, HandleError, NewEvent, append};
use region_core_store::StoreError;
use shared::{OrderId, ShardId};
use sqlx::PgConnection;

use crate::orders::Orders;
use crate::store::progress::{self, Moved};

/// Moves orders on as payment tells of them.
#[derive(Clone, Debug)]
pub struct PaymentNews(Orders);

/// One step for many orders, in the order in which their steps must happen.
enum Step {
    Claim(OrderId),
    Confirm(OrderId),
    Cancel(OrderId, String),
    Note(OrderId, &'static str),
}

impl PaymentNews {
    /// News for these orders.
    #[must_use]
    pub fn new(orders: Orders) -> Self {
        Self(orders)
    }

    fn step(event: &Event) -> Result<Step, HandleError> {
        let order = event.aggregate_id;
        match event.kind.as_str() {
            PaymentAuthorized::KIND => Ok(Step::Claim(order)),
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

    async fn apply(&self, conn: &mut PgConnection, events: &[Event]) -> Result<(), HandleError> {
        let steps = events.iter().map(Self::step).collect::<Result<Vec<_>, _>>()?;
        let mut said = Vec::new();
        let mut rest = steps.as_slice();
        // Neighbouring steps of one kind are one set of statements; runs keep the order of each order's own events.
        while let Some(first) = rest.first() {
            let same = |step: &Step| {
                std::mem::discriminant(step) == std::mem::discriminant(first) && noted(step) == noted(first)
            };
            let run = rest.iter().take_while(|step| same(step)).count();
            let (run, later) = rest.split_at(run);
            said.extend(self.apply_run(conn, run).await?);
            rest = later;
        }
        Ok(append(conn, &said).await?)
    }

    async fn apply_run(&self, conn: &mut PgConnection, run: &[Step]) -> Result<Vec<NewEvent>, StoreError> {
        let orders: Vec<OrderId> = run.iter().map(order_of).collect();
        match run.first() {
            Some(Step::Claim(_)) => self.claim(conn, &orders).await,
            Some(Step::Confirm(_)) => {
                let confirmed = progress::confirm(conn, &orders).await?;
                Ok(self.say(&confirmed, |moved| OrderConfirmed { order_id: moved.order_id }))
            }
            Some(Step::Cancel(..)) => {
                let reasons: Vec<String> = run.iter().map(reason_of).collect();
                self.cancel(conn, &orders, &reasons, "declined").await
            }
            Some(Step::Note(_, payment)) => progress::note_payment(conn, &orders, payment).await.map(|()| Vec::new()),
            None => Ok(Vec::new()),
        }
    }

    /// Claims what can be claimed. An order that is still PENDING but out of time is cancelled here and now, so that its
    /// payment is voided without waiting for the sweeper.
    async fn claim(&self, conn: &mut PgConnection, orders: &[OrderId]) -> Result<Vec<NewEvent>, StoreError> {
        let claimed = progress::claim(conn, orders).await?;
        let won: Vec<OrderId> = claimed.iter().map(|moved| moved.order_id).collect();
        region_core_inventory::claim(conn, &won).await?;
        let mut said = self.say(&claimed, |moved| OrderClaimed { order_id: moved.order_id });
        let late: Vec<OrderId> = orders.iter().filter(|order| !won.contains(order)).copied().collect();
        let expired = progress::expire_these(conn, &late, crate::expiry::REASON).await?;
        said.extend(self.cancelled(conn, &expired, |_| crate::expiry::REASON.to_owned()).await?);
        Ok(said)
    }

    async fn cancel(
        &self,
        conn: &mut PgConnection,
        orders: &[OrderId],
        reasons: &[String],
        payment: &str,
    ) -> Result<Vec<NewEvent>, StoreError> {
        let moved = progress::cancel(conn, orders, reasons, payment).await?;
        let reason = |order: OrderId| {
            orders.iter().position(|other| *other == order).map_or_else(String::new, |index| reasons[index].clone())
        };
        self.cancelled(conn, &moved, reason).await
    }

    async fn cancelled(
        &self,
        conn: &mut PgConnection,
        moved: &[Moved],
        reason: impl Fn(OrderId) -> String,
    ) -> Result<Vec<NewEvent>, StoreError> {
        let orders: Vec<OrderId> = moved.iter().map(|moved| moved.order_id).collect();
        region_core_inventory::release(conn, &orders).await?;
        Ok(self.say(moved, |moved| OrderCancelled { order_id: moved.order_id, reason: reason(moved.order_id) }))
    }

    fn say<P: Payload>(&self, moved: &[Moved], payload: impl Fn(&Moved) -> P) -> Vec<NewEvent> {
        moved.iter().map(|moved| NewEvent::new(self.0.mint_event(), moved.version, &payload(moved))).collect()
    }
}

fn order_of(step: &Step) -> OrderId {
    match step {
        Step::Claim(order) | Step::Confirm(order) | Step::Cancel(order, _) | Step::Note(order, _) => *order,
    }
}

fn reason_of(step: &Step) -> String {
    match step {
        Step::Cancel(_, reason) => reason.clone(),
        Step::Claim(_) | Step::Confirm(_) | Step::Note(..) => String::new(),
    }
}

fn noted(step: &Step) -> Option<&'static str> {
    match step {
        Step::Note(_, payment) => Some(payment),
        Step::Claim(_) | Step::Confirm(_) | Step::Cancel(..) => None,
    }
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

    fn handle<'a>(&'a self, conn: &'a mut PgConnection, events: &'a [Event]) -> BoxFuture<'a, Result<(), HandleError>> {
        self.apply(conn, events).boxed()
    }

    fn committed(&self, shard: ShardId) {
        self.0.parts().wakes.of(shard).notify();
    }
}
