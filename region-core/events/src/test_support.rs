//! What the tests of either bus need: a shard with a table of effects, and a consumer that writes each event it hears there.
#![expect(clippy::unwrap_used, clippy::missing_panics_doc, reason = "a test that cannot go on fails")]

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use futures::future::BoxFuture;
use region_core_store::{Shard, Shards, test_support};
use shared::id::Slot;
use shared::{EventId, OrderId, ShardId};
use shared_clock::Entropy;
use sqlx::PgConnection;
use tokio::sync::mpsc;

use crate::contract::{OrderClaimed, Payload};
use crate::{AfterCommit, Consumer, Event, HandleError, NewEvent, Wakes, append};

/// When all ids are made.
pub const MS: u64 = 1_800_000_000_000;

/// How a [`Scribe`] misbehaves.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Fault {
    /// Not at all.
    None,
    /// Rejects every event of this order.
    Rejects(OrderId),
    /// Breaks a constraint with every event of this order.
    BreaksAConstraint(OrderId),
    /// Panics at every event of this order.
    Panics(OrderId),
    /// Loses its connection after its first effect and before the commit.
    LosesItsConnectionOnce,
}

/// Writes each event it hears into a table.
#[derive(Debug)]
pub struct Scribe {
    fault: Fault,
    calls: AtomicU32,
    committed: mpsc::UnboundedSender<()>,
}

impl Scribe {
    /// One that misbehaves so, and tells of each commit.
    #[must_use]
    pub fn new(fault: Fault, committed: mpsc::UnboundedSender<()>) -> Arc<Self> {
        Arc::new(Self { fault, calls: AtomicU32::new(0), committed })
    }

    async fn misbehave(&self, conn: &mut PgConnection, event: &Event) -> Result<(), HandleError> {
        let call = self.calls.fetch_add(1, Ordering::SeqCst);
        match self.fault {
            Fault::Rejects(order) if order == event.aggregate_id => Err(HandleError::Rejected("poison".to_owned())),
            Fault::BreaksAConstraint(order) if order == event.aggregate_id => {
                sqlx::query("INSERT INTO effects (order_id) VALUES (NULL)").execute(conn).await?;
                Ok(())
            }
            Fault::Panics(order) if order == event.aggregate_id => panic!("poison"),
            Fault::LosesItsConnectionOnce if call == 0 => {
                sqlx::query("SELECT pg_terminate_backend(pg_backend_pid())").execute(conn).await?;
                Ok(())
            }
            _ => Ok(()),
        }
    }
}

impl Consumer for Scribe {
    fn name(&self) -> &'static str {
        "scribe"
    }

    fn kinds(&self) -> &'static [&'static str] {
        &[OrderClaimed::KIND]
    }

    fn handle<'a>(
        &'a self,
        _shard: ShardId,
        conn: &'a mut PgConnection,
        events: &'a [Event],
    ) -> BoxFuture<'a, Result<AfterCommit, HandleError>> {
        Box::pin(async move {
            for event in events {
                sqlx::query("INSERT INTO effects (order_id, version) VALUES ($1, $2)")
                    .bind(event.aggregate_id.as_uuid())
                    .bind(event.aggregate_version)
                    .execute(&mut *conn)
                    .await?;
                self.misbehave(conn, event).await?;
            }
            let committed = self.committed.clone();
            Ok(AfterCommit::run(move || {
                let _ = committed.send(());
            }))
        })
    }
}

/// One shard with a table of effects.
#[derive(Debug)]
pub struct Bench {
    /// The shard alone.
    pub shards: Shards,
    /// Its wake.
    pub wakes: Wakes,
    /// What ids are made of.
    pub entropy: Entropy,
}

impl Bench {
    /// On a database of its own.
    pub async fn new() -> Self {
        let shards = test_support::one_shard().await;
        let bench = Self { wakes: Wakes::new(shards.all().map(Shard::id)), shards, entropy: Entropy::seeded(1) };
        sqlx::query(
            "CREATE TABLE effects (place bigint GENERATED ALWAYS AS IDENTITY, order_id uuid NOT NULL, version bigint)",
        )
        .execute(&mut *bench.shard().read().await.unwrap())
        .await
        .unwrap();
        bench
    }

    /// The first.
    #[must_use]
    pub fn shard(&self) -> &Shard {
        self.shards.all().next().unwrap()
    }

    /// A new order's number, on that shard.
    #[must_use]
    pub fn order_on(&self, shard: ShardId) -> OrderId {
        let slot = Slot::all().find(|slot| self.shards.map().shard_of(*slot) == shard).unwrap();
        OrderId::mint(MS, slot, self.entropy.bytes())
    }

    /// A new order's number, on the first shard.
    #[must_use]
    pub fn order(&self) -> OrderId {
        self.order_on(self.shard().id())
    }

    /// So many of them.
    #[must_use]
    pub fn orders(&self, count: usize) -> Vec<OrderId> {
        (0..count).map(|_| self.order()).collect()
    }

    /// What a scribe hears.
    #[must_use]
    pub fn claimed(&self, order_id: OrderId, version: i64) -> NewEvent {
        NewEvent::new(EventId::mint(MS, self.entropy.bytes()), version, &OrderClaimed { order_id })
    }

    /// Writes events into the outbox and wakes nobody.
    pub async fn say(&self, events: &[NewEvent]) {
        let mut conn = self.shard().read().await.unwrap();
        append(&mut conn, events).await.unwrap();
    }

    /// Has each of these orders say that version, and wakes who waits.
    pub async fn say_of_each(&self, orders: &[OrderId], version: i64) {
        self.say(&orders.iter().map(|order| self.claimed(*order, version)).collect::<Vec<_>>()).await;
        self.wakes.of(self.shard().id()).notify();
    }

    /// Every effect, in the order in which they were made.
    pub async fn effects(&self) -> Vec<(OrderId, i64)> {
        let rows: Vec<(uuid::Uuid, i64)> = sqlx::query_as("SELECT order_id, version FROM effects ORDER BY place")
            .fetch_all(&mut *self.shard().read().await.unwrap())
            .await
            .unwrap();
        rows.into_iter().map(|(order, version)| (OrderId::from_uuid(order), version)).collect()
    }

    /// The one number that a query comes to.
    pub async fn count(&self, sql: &'static str) -> i64 {
        sqlx::query_scalar(sql).fetch_one(&mut *self.shard().read().await.unwrap()).await.unwrap()
    }

    /// That so many effects were made, each once and each order's in order.
    pub async fn heard_once_and_in_order(&self, count: usize) {
        let effects = self.effects().await;
        assert_eq!(effects.len(), count, "an event took effect twice");
        let mut last = std::collections::HashMap::new();
        for (order, version) in effects {
            let before = last.insert(order, version).unwrap_or(0);
            assert_eq!(version, before + 1, "{order} went from {before} to {version}");
        }
    }
}
