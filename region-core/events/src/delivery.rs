//! One round of one consumer on one shard, in one commit: retries that are due, then the next events and the cursor; or the
//! events that another bus tells of.

use std::any::Any;
use std::panic::AssertUnwindSafe;
use std::sync::Arc;

use futures::FutureExt;
use region_core_store::{Shard, StoreError};
use sqlx::{Connection, PgConnection};
use uuid::Uuid;

use crate::store::cursor::{self, Cursor, Reading};
use crate::store::failure::{self, Hold, Holds, Retry};
use crate::store::told;
use crate::{AfterCommit, Consumer, Event, HandleError, Settings};

/// What a round came to.
#[derive(Debug)]
pub(crate) enum Round {
    /// Another process has the cursor.
    Elsewhere,
    /// Committed.
    Done {
        /// Events that took effect.
        handled: usize,
        /// Whether there may be more of the same.
        more: bool,
    },
}

/// Where a round's events come from.
#[derive(Clone)]
pub(crate) enum Source {
    /// The outbox, from the cursor on; before that attempts that are due, if there were any at the last look.
    Cursor {
        /// Whether there were.
        retries: bool,
    },
    /// These events, wherever the cursor is, and what their orders said before them.
    Told(Arc<[Uuid]>),
}

/// What events have brought about that is not committed yet.
#[derive(Default)]
struct Effects {
    /// Events that took effect.
    handled: usize,
    more: bool,
    then: Vec<AfterCommit>,
}

impl Effects {
    fn add(&mut self, more: Self) {
        self.handled += more.handled;
        self.more |= more.more;
        self.then.extend(more.then);
    }
}

/// A consumer on one shard, and what it needs to be given events.
pub(crate) struct Delivery {
    pub(crate) shard: Shard,
    pub(crate) consumer: Arc<dyn Consumer>,
    pub(crate) kinds: Vec<String>,
    pub(crate) settings: Settings,
}

/// How a batch is given.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Manner {
    /// All at once: set-based handlers, one failure fails all.
    Whole,
    /// Event by event, each behind a savepoint of its own: finds the one that fails.
    OneByOne,
}

impl Delivery {
    pub(crate) fn new(shard: &Shard, consumer: &Arc<dyn Consumer>, settings: &Settings) -> Self {
        Self {
            shard: shard.clone(),
            consumer: Arc::clone(consumer),
            kinds: consumer.kinds().iter().map(|kind| (*kind).to_owned()).collect(),
            settings: settings.clone(),
        }
    }

    /// Whether a batch that came to so many events has likely left some behind.
    pub(crate) fn is_full(&self, events: usize) -> bool {
        events >= self.settings.batch as usize
    }

    /// Runs one round; if an event of the batch fails it, runs it again event by event.
    pub(crate) async fn round(self: Arc<Self>, source: Source) -> Result<Round, HandleError> {
        match Arc::clone(&self).attempt(source.clone(), Manner::Whole).await {
            Err(error) if error.blames_the_event() => {
                let consumer = self.consumer.name();
                tracing::warn!(event.consumer = consumer, error = error.cause(), "a batch failed and is taken apart");
                self.attempt(source, Manner::OneByOne).await
            }
            outcome => outcome,
        }
    }

    // Owned values all the way: a transaction's closure that borrows makes a future that cannot be spawned.
    async fn attempt(self: Arc<Self>, source: Source, manner: Manner) -> Result<Round, HandleError> {
        let (shard, in_turn) = (self.shard.clone(), self.consumer.changes_stock());
        let work = async move |conn: &mut PgConnection| match &source {
            Source::Cursor { retries } => self.read_on(conn, *retries, manner).await,
            Source::Told(events) => self.catch_up(conn, events, manner).await.map(Some),
        };
        let effects = if in_turn {
            shard.turn().write("events.deliver", work).await?
        } else {
            shard.write("events.deliver", work).await?
        };
        let Some(Effects { handled, more, then }) = effects else { return Ok(Round::Elsewhere) };
        then.into_iter().for_each(AfterCommit::go);
        Ok(Round::Done { handled, more })
    }

    /// `None` if another process has the cursor.
    async fn read_on(
        &self,
        conn: &mut PgConnection,
        retries: bool,
        manner: Manner,
    ) -> Result<Option<Effects>, HandleError> {
        let Some(cursor) = cursor::lock(conn, self.consumer.name()).await? else {
            return Ok(None);
        };
        let mut effects = if retries { self.retry_due(conn).await? } else { Effects::default() };
        let (consumer, limit, grace) = (self.consumer.name(), self.settings.batch, self.settings.grace);
        if !self.consumer.heeds() {
            let open = if cursor.window_is_done() { cursor::next_window(conn, cursor, grace).await? } else { cursor };
            let passed = Cursor { sequence: open.window_last, ..open };
            cursor::advance(conn, consumer, passed).await?;
            return Ok(Some(effects));
        }
        let Reading { cursor, events, holds } =
            cursor::read(conn, consumer, cursor, &self.kinds, i64::from(limit), grace).await?;
        let full = self.is_full(events.len());
        let last = events.last().filter(|_| full).map_or(cursor.window_last, |last| last.sequence);
        let to = Cursor { sequence: last, ..cursor };
        // As a rule nothing is held back: then inbox and cursor are one statement.
        if holds.is_empty() && manner == Manner::Whole && !events.is_empty() {
            effects.add(self.enter_and_handle(conn, events, Some(to)).await?);
        } else {
            effects.add(self.give(conn, &events, holds, manner).await?);
            cursor::advance(conn, consumer, to).await?;
        }
        effects.more = full;
        Ok(Some(effects))
    }

    /// Handles what the consumer was told of, as far as it is new to it. Waits for whoever has the cursor: two that tell of
    /// one order at once would not see what the other sets aside.
    async fn catch_up(&self, conn: &mut PgConnection, told: &[Uuid], manner: Manner) -> Result<Effects, HandleError> {
        let consumer = self.consumer.name();
        told::wait_for_turn(conn, consumer).await?;
        let events = told::read(conn, consumer, &self.kinds, told, i64::from(self.settings.batch)).await?;
        if events.is_empty() {
            return Ok(Effects::default());
        }
        let orders: Vec<_> = events.iter().map(|event| event.aggregate_id.as_uuid()).collect();
        let holds = failure::holds(conn, consumer, &orders).await?;
        let mut effects = self.give(conn, &events, holds, manner).await?;
        effects.more = self.is_full(events.len());
        Ok(effects)
    }

    /// Gives the events that nothing holds back; the others are parked.
    async fn give(
        &self,
        conn: &mut PgConnection,
        events: &[Event],
        mut holds: Holds,
        manner: Manner,
    ) -> Result<Effects, HandleError> {
        if events.is_empty() {
            return Ok(Effects::default());
        }
        if holds.is_empty() && manner == Manner::Whole {
            return self.enter_and_handle(conn, events.to_vec(), None).await;
        }
        // What another bus brought before is done, and must not be parked behind what came after it.
        let handled = cursor::handled(conn, self.consumer.name(), events).await?;
        let events: Vec<_> =
            events.iter().filter(|event| !handled.contains(&event.event_id.as_uuid())).cloned().collect();
        match manner {
            Manner::Whole => self.give_whole(conn, &events, &holds).await,
            Manner::OneByOne => self.give_one_by_one(conn, &events, &mut holds).await,
        }
    }

    async fn give_whole(
        &self,
        conn: &mut PgConnection,
        events: &[Event],
        holds: &Holds,
    ) -> Result<Effects, HandleError> {
        let mut free = Vec::with_capacity(events.len());
        for event in events {
            match holds.get(&event.aggregate_id.as_uuid()) {
                Some(hold) => failure::park(conn, self.consumer.name(), event, *hold).await?,
                None => free.push(event.clone()),
            }
        }
        self.enter_and_handle(conn, free, None).await
    }

    async fn give_one_by_one(
        &self,
        conn: &mut PgConnection,
        events: &[Event],
        holds: &mut Holds,
    ) -> Result<Effects, HandleError> {
        let mut effects = Effects::default();
        for event in events {
            if let Some(hold) = holds.get(&event.aggregate_id.as_uuid()) {
                failure::park(conn, self.consumer.name(), event, *hold).await?;
                continue;
            }
            match self.try_one(conn, event).await? {
                Ok(effect) => effects.add(effect),
                Err(cause) => {
                    let hold = self.note_failure(conn, event, 1, &cause).await?;
                    holds.insert(event.aggregate_id.as_uuid(), hold);
                }
            }
        }
        Ok(effects)
    }

    async fn retry_due(&self, conn: &mut PgConnection) -> Result<Effects, HandleError> {
        let mut effects = Effects::default();
        for Retry { event, attempts } in
            failure::due(conn, self.consumer.name(), i64::from(self.settings.batch)).await?
        {
            match self.try_one(conn, &event).await? {
                Ok(effect) => {
                    failure::succeeded(conn, self.consumer.name(), &event).await?;
                    effects.add(effect);
                }
                Err(cause) => {
                    self.note_failure(conn, &event, attempts + 1, &cause).await?;
                }
            }
        }
        Ok(effects)
    }

    /// Gives one event behind a savepoint. Inside, the cause if it failed by its own fault; nothing of it remains then.
    async fn try_one(&self, conn: &mut PgConnection, event: &Event) -> Result<Result<Effects, String>, HandleError> {
        let mut savepoint = conn.begin().await?;
        match self.enter_and_handle(&mut savepoint, vec![event.clone()], None).await {
            Ok(effect) => {
                savepoint.commit().await?;
                Ok(Ok(effect))
            }
            Err(error) if error.blames_the_event() => {
                savepoint.rollback().await?;
                Ok(Err(error.cause()))
            }
            Err(error) => Err(error),
        }
    }

    /// Keeps the failure: another attempt later, or the dead letters.
    async fn note_failure(
        &self,
        conn: &mut PgConnection,
        event: &Event,
        attempts: i32,
        cause: &str,
    ) -> Result<Hold, StoreError> {
        let consumer = self.consumer.name();
        if attempts < self.settings.max_attempts {
            failure::failed(conn, consumer, event, attempts, cause, self.settings.pause_after(attempts)).await?;
            return Ok(Hold::Retrying);
        }
        failure::bury(conn, consumer, event, attempts, cause).await?;
        metrics::counter!("events_dead_letters_total", "consumer" => consumer).increment(1);
        tracing::error!(
            event.consumer = consumer, event.id = %event.event_id, event.kind, order.id = %event.aggregate_id, cause,
            "an event was given up; later events of its order are parked behind it"
        );
        Ok(Hold::Dead)
    }

    /// Handles those of `events` that the inbox does not know yet, and moves the cursor if it is to be moved.
    async fn enter_and_handle(
        &self,
        conn: &mut PgConnection,
        mut events: Vec<Event>,
        to: Option<Cursor>,
    ) -> Result<Effects, HandleError> {
        let fresh = cursor::enter(conn, self.consumer.name(), &events, to).await?;
        if fresh.len() < events.len() {
            events.retain(|event| fresh.contains(&event.event_id.as_uuid()));
        }
        if events.is_empty() {
            return Ok(Effects::default());
        }
        let handling = AssertUnwindSafe(self.consumer.handle(self.shard.id(), conn, &events)).catch_unwind();
        let then = handling.await.unwrap_or_else(|panic| Err(HandleError::Rejected(panic_text(panic.as_ref()))))?;
        metrics::histogram!("events_batch_size", "consumer" => self.consumer.name()).record(usize_to_f64(events.len()));
        let oldest = events.iter().map(|event| event.age_seconds).fold(0.0, f64::max);
        metrics::histogram!("events_age_seconds", "consumer" => self.consumer.name()).record(oldest);
        Ok(Effects { handled: events.len(), more: false, then: vec![then] })
    }
}

/// A handler that panicked has a bug that its event brings out: the event is set aside, others flow.
fn panic_text(panic: &(dyn Any + Send)) -> String {
    let said = panic.downcast_ref::<&str>().copied().or_else(|| panic.downcast_ref::<String>().map(String::as_str));
    format!("the consumer panicked: {}", said.unwrap_or("without a word"))
}

/// Batches are small: no precision is lost.
fn usize_to_f64(count: usize) -> f64 {
    u32::try_from(count).map_or(f64::MAX, f64::from)
}
