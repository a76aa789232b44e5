//! Buys, voids and follows the labels of one shard: leases what is due, asks the carrier about several at once, keeps what came of it.

use std::sync::Arc;
use std::time::Duration;

use futures::future::BoxFuture;
use futures::stream::FuturesUnordered;
use futures::{FutureExt, StreamExt};
use region_core_events::{Waiter, Wake};
use region_core_store::{Shard, StoreError};
use shared::api::order::LabelState;
use sqlx::PgConnection;
use tokio::time::{Interval, MissedTickBehavior};
use tokio_util::sync::CancellationToken;

use crate::carrier::{Carrier, Way};
use crate::exchange::exchange;
use crate::rules::label::{self, Answer, Asked, Pauses};
use crate::store::label as store;
use crate::{Departures, Settings};

/// How often it is measured what is due.
const MEASURE: Duration = Duration::from_secs(10);

type Exchanges = FuturesUnordered<BoxFuture<'static, (Asked, Answer)>>;

/// The driver of one shard. Any number of processes may run one: leases keep them apart.
pub(crate) struct Driver<C> {
    shard: Shard,
    carrier: Arc<C>,
    departures: Arc<dyn Departures>,
    settings: Settings,
    wake: Wake,
    under_way: Exchanges,
}

impl<C: Carrier> Driver<C> {
    pub(crate) fn new(
        shard: Shard,
        carrier: Arc<C>,
        departures: Arc<dyn Departures>,
        settings: Settings,
        wake: Wake,
    ) -> Self {
        Self { shard, carrier, departures, settings, wake, under_way: Exchanges::new() }
    }

    /// Runs until `shutdown`; exchanges under way are finished and what came of them is kept.
    pub(crate) async fn run(mut self, shutdown: CancellationToken) {
        let (mut waiter, mut poll) = (self.wake.waiter(), ticks(self.settings.poll));
        let mut measure = ticks(MEASURE);
        while !shutdown.is_cancelled() {
            tokio::select! {
                Some((asked, answer)) = self.under_way.next() => {
                    self.keep(asked, answer).await;
                    self.take().await;
                }
                () = woken(&mut waiter) => self.take().await,
                _ = poll.tick() => self.take().await,
                _ = measure.tick() => measure_due(self.shard.clone()).await,
                () = shutdown.cancelled() => {}
            }
        }
        while let Some((asked, answer)) = self.under_way.next().await {
            self.keep(asked, answer).await;
        }
    }

    /// Leases what is due, as much as there is room for.
    async fn take(&mut self) {
        let room = self.settings.concurrency.saturating_sub(self.under_way.len());
        if room == 0 {
            return; // looked for again when an exchange has ended
        }
        match lease(self.shard.clone(), room, self.settings.lease).await {
            Ok(asked) => asked.into_iter().for_each(|asked| self.ask(asked)),
            Err(error) => tracing::warn!(shard.id = %self.shard.id(), %error, "labels wait for their shard"),
        }
    }

    fn ask(&self, asked: Asked) {
        let (carrier, departures) = (Arc::clone(&self.carrier), Arc::clone(&self.departures));
        self.under_way.push(
            async move {
                let answer = exchange(carrier.as_ref(), &asked).await;
                let answer = follow(departures.as_ref(), &asked, answer).await;
                (asked, answer)
            }
            .boxed(),
        );
    }

    /// A result that cannot be kept is found again by reading, once the lease has run out.
    async fn keep(&mut self, asked: Asked, answer: Answer) {
        tell(&asked, &answer);
        if let Err(error) = settle(self.shard.clone(), asked, answer, self.settings.pauses.clone()).await {
            tracing::warn!(shard.id = %self.shard.id(), %error, "what the carrier said is not kept yet");
        }
    }
}

/// Has what the carrier saw done to the order, before it is kept that it was seen: whoever crashes between sees it again.
async fn follow(departures: &dyn Departures, asked: &Asked, answer: Answer) -> Answer {
    let Answer::Shown(way) = answer else { return answer };
    if label::came_to_nothing(asked.state) {
        return Answer::Shown(way);
    }
    let (order, parcel) = (asked.order_id, asked.shipment_id);
    let followed = async {
        if asked.state == LabelState::Bought && way.has_left() {
            departures.left(order, parcel).await?;
        }
        if way == Way::Delivered {
            departures.arrived(order, parcel).await?;
        }
        Ok::<_, shared::Problem>(())
    };
    match followed.await {
        Ok(()) => Answer::Shown(way),
        Err(problem) => Answer::Unknown(format!("it is {}, and that was not kept: {problem}", way.name())),
    }
}

fn tell(asked: &Asked, answer: &Answer) {
    let Asked { shipment_id, order_id, attempts, .. } = asked;
    match answer {
        Answer::Bought { .. } => metrics::counter!("labels_bought_total").increment(1),
        Answer::Voided => metrics::counter!("labels_voided_total").increment(1),
        Answer::Refused(cause) => {
            metrics::counter!("labels_refused_total").increment(1);
            tracing::warn!(shipment.id = %shipment_id, order.id = %order_id, cause, "the carrier refused");
        }
        Answer::Unknown(cause) => {
            tracing::warn!(shipment.id = %shipment_id, order.id = %order_id, attempts, cause, "the carrier is asked again");
        }
        Answer::Shown(way) if label::came_to_nothing(asked.state) && way.has_left() => {
            metrics::counter!("labels_strayed_total").increment(1);
            tracing::warn!(shipment.id = %shipment_id, order.id = %order_id, way = way.name(), "a parcel has left although its label had come to nothing");
        }
        Answer::Named(_) | Answer::Shown(_) | Answer::NothingBought => {}
    }
}

async fn measure_due(shard: Shard) {
    let measured = async { store::oldest_due(&mut *shard.read().await?).await };
    match measured.await {
        Ok(seconds) => {
            metrics::gauge!("labels_oldest_due_seconds", "shard" => shard.id().to_string()).set(seconds);
        }
        Err(error) => tracing::debug!(%error, "it was not measured which labels are due"),
    }
}

fn ticks(every: Duration) -> Interval {
    let mut ticks = tokio::time::interval(every);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    ticks
}

/// The poll is another branch: here only a wake counts.
async fn woken(waiter: &mut Waiter) {
    waiter.wait(Duration::from_secs(3600)).await;
}

// Owned values all the way: a transaction's closure that captures a reference makes a future that cannot be spawned.

async fn lease(shard: Shard, room: usize, lease: Duration) -> Result<Vec<Asked>, StoreError> {
    let limit = i64::try_from(room).unwrap_or(i64::MAX);
    shard.write("shipping.lease", async move |conn| store::lease(conn, limit, lease).await).await
}

async fn settle(shard: Shard, asked: Asked, answer: Answer, pauses: Pauses) -> Result<(), StoreError> {
    shard.write("shipping.settle", async move |conn| settle_in(conn, &asked, &answer, &pauses).await).await
}

async fn settle_in(conn: &mut PgConnection, asked: &Asked, answer: &Answer, pauses: &Pauses) -> Result<(), StoreError> {
    let Some(now) = store::standing(conn, asked).await? else { return Ok(()) };
    let settled = label::settle(asked.state, now, answer, pauses);
    let ended = matches!(settled.state, LabelState::Refused | LabelState::Voided);
    if ended && settled.state != now.state {
        store::release(conn, asked.shipment_id).await?;
    }
    store::settle(conn, asked, answer, &settled).await
}
