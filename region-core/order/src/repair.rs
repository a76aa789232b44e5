//! What the bus gave up, of all regions, and its way back, as `region-core events` has it for whoever is on the machine. Whoever
//! calls has checked that the caller keeps the store.

use region_core_events::{is_skipped, list_dead_letters, replay, skip};
use region_core_store::{StoreError, own_slot};
use shared::api::desk::{DeadLetter, DeadLetterPage, ReplayLetters, SkipLetter};
use shared::{EventId, OrderId, ShardId, UserId};
use sqlx::PgConnection;

use crate::error::OrderError;
use crate::orders::Orders;
use crate::rules::checked_reason;
use crate::store::desk::{self, Action};

/// Where cores of other regions are asked for theirs.
pub(crate) const PATH: &str = "/internal/desk/dead-letters";
/// Most dead letters shown of one shard.
const SHOWN: usize = 100;
/// Most characters shown of a cause: some drag a whole statement along.
const CAUSE_SHOWN: usize = 500;

impl Orders {
    /// What was given up in all regions. A region that does not answer is named, and the others' are shown.
    ///
    /// # Errors
    /// Those of this region's shards.
    #[tracing::instrument(name = "order.dead_letters", skip_all)]
    pub async fn dead_letters(&self) -> Result<DeadLetterPage, OrderError> {
        let mut all = self.dead_letters_here().await?;
        let (theirs, missing) = self.ask_others::<_, DeadLetterPage>(PATH, &()).await;
        for page in theirs {
            all.items.extend(page.items);
            all.more |= page.more;
        }
        Ok(DeadLetterPage { missing, ..all })
    }

    /// This region's part of it.
    pub(crate) async fn dead_letters_here(&self) -> Result<DeadLetterPage, OrderError> {
        let mut page = DeadLetterPage { items: Vec::new(), more: false, missing: Vec::new() };
        // One more than is shown tells whether there are more.
        let most = i64::try_from(SHOWN + 1).unwrap_or(i64::MAX);
        for shard in self.parts().shards.all() {
            let letters = list_dead_letters(&mut *shard.read().await?, most).await?;
            page.more |= letters.len() > SHOWN;
            let shown = letters.into_iter().take(SHOWN).map(|letter| view(shard.id(), letter));
            page.items.extend(shown.collect::<Result<Vec<_>, _>>()?);
        }
        Ok(page)
    }

    /// Gives what the consumer gave up of the order another life, in its order, once the fault is mended. Tells how many events
    /// those are: none at a repeat, which is harmless.
    ///
    /// # Errors
    /// Those of the store; nothing is changed then.
    #[tracing::instrument(name = "order.replay_letters", skip_all, fields(order.id = %order))]
    pub async fn replay_letters(&self, order: OrderId, wanted: ReplayLetters, by: UserId) -> Result<u64, OrderError> {
        let shard = self.parts().shards.here(order.slot())?;
        let work = async move |conn: &mut PgConnection| replay_in(conn, order, &wanted.consumer, by).await;
        let events = shard.write("order.replay_letters", work).await?;
        self.given_again(shard.id(), events);
        Ok(events)
    }

    /// Has the consumer go without an event that it gave up, for good, and gives those parked behind it another life. Tells how
    /// many those are: none at a repeat, which is harmless.
    ///
    /// # Errors
    /// [`OrderError::Invalid`] for a reason that says nothing or too much, [`OrderError::NotGivenUp`]; nothing is changed then.
    #[tracing::instrument(name = "order.skip_letter", skip_all, fields(order.id = %order, event.id = %event))]
    pub async fn skip_letter(
        &self,
        order: OrderId,
        event: EventId,
        wanted: SkipLetter,
        by: UserId,
    ) -> Result<u64, OrderError> {
        let wanted = SkipLetter { reason: checked_reason(&wanted.reason)?, ..wanted };
        let shard = self.parts().shards.here(order.slot())?;
        let work = async move |conn: &mut PgConnection| skip_in(conn, order, event, &wanted, by).await;
        let events = shard.write("order.skip_letter", work).await?;
        self.given_again(shard.id(), events);
        Ok(events)
    }

    fn given_again(&self, shard: ShardId, events: u64) {
        if events > 0 {
            self.parts().wakes.of(shard).notify();
            metrics::counter!("events_given_again_total").increment(events);
        }
    }
}

async fn replay_in(conn: &mut PgConnection, order: OrderId, consumer: &str, by: UserId) -> Result<u64, OrderError> {
    own_slot(conn, order.slot()).await?;
    let events = replay(conn, consumer, order).await?;
    if events > 0 {
        desk::note(conn, order, by, Action::Replay, &format!("{consumer}, {events} events")).await?;
    }
    Ok(events)
}

async fn skip_in(
    conn: &mut PgConnection,
    order: OrderId,
    event: EventId,
    wanted: &SkipLetter,
    by: UserId,
) -> Result<u64, OrderError> {
    let SkipLetter { consumer, reason } = wanted;
    own_slot(conn, order.slot()).await?;
    match skip(conn, consumer, order, event, reason).await? {
        Some(parked) => {
            desk::note(conn, order, by, Action::Skip, &format!("{consumer}, event {event}: {reason}")).await?;
            Ok(parked)
        }
        None if is_skipped(conn, consumer, order, event).await? => Ok(0),
        None => Err(OrderError::NotGivenUp),
    }
}

fn view(shard: ShardId, letter: region_core_events::DeadLetter) -> Result<DeadLetter, StoreError> {
    let attempts = u32::try_from(letter.attempts);
    Ok(DeadLetter {
        shard,
        consumer: letter.consumer,
        event_id: letter.event_id,
        kind: letter.kind,
        order_id: letter.order_id,
        attempts: attempts.map_err(|_| StoreError::corrupt("dead_letters.attempts", letter.attempts))?,
        parked: letter.parked,
        cause: letter.cause.chars().take(CAUSE_SHOWN).collect(),
        died_at: letter.died_at,
    })
}
