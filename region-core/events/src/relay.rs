//! Handing a shard's outbox on to another bus, at least once and in order.
//!
//! One process at a time holds the relay's lease. Nothing is locked while the other bus is asked: it may take any time, and
//! the lease be over before it answers. Then two processes hand on the same events; each does so in order and from a place
//! that the cursor had reached, so whatever order their copies come in, an event first comes after what was before it.

use std::time::Duration;

use region_core_store::{Shard, StoreError};
use sqlx::PgConnection;
use uuid::Uuid;

use crate::Outgoing;
use crate::store::{cursor, relay};

/// The relay of one shard in one process.
#[derive(Clone, Debug)]
pub struct Relay {
    shard: Shard,
    name: &'static str,
    holder: Uuid,
    lease: Duration,
    batch: u32,
}

/// What is to be handed on now.
#[derive(Debug)]
pub enum Shipment {
    /// These, in this order; then [`Relay::passed`].
    Events(Vec<Outgoing>),
    /// Nothing for now, but soon.
    Soon,
    /// Another process is at it.
    Elsewhere,
    /// Nothing.
    None,
}

impl Relay {
    /// The relay `name`, whose cursor is kept by that name, in a process that no other calls itself `holder`.
    #[must_use]
    pub fn new(shard: Shard, name: &'static str, holder: Uuid, lease: Duration, batch: u32) -> Self {
        Self { shard, name, holder, lease, batch }
    }

    /// Whose outbox it hands on.
    #[must_use]
    pub fn shard(&self) -> &Shard {
        &self.shard
    }

    /// What is to be handed on next, and the lease to do it.
    ///
    /// # Errors
    /// When the shard fails.
    pub async fn next(&self) -> Result<Shipment, StoreError> {
        let peek = relay::peek(&mut *self.shard.read().await?, self.name, self.holder).await?;
        if let Some(peek) = peek {
            metrics::gauge!("events_lag_seconds", "consumer" => self.name, "shard" => self.shard.id().to_string())
                .set(peek.lag_seconds);
            if peek.elsewhere {
                return Ok(Shipment::Elsewhere);
            }
            if !peek.work {
                return Ok(if peek.unsettled { Shipment::Soon } else { Shipment::None });
            }
        }
        let relay = self.clone();
        self.shard.write("events.relay", async move |conn| relay.open(conn).await).await
    }

    async fn open(&self, conn: &mut PgConnection) -> Result<Shipment, StoreError> {
        cursor::found(conn, self.name).await?;
        if !relay::lease(conn, self.name, self.holder, self.lease).await? {
            return Ok(Shipment::Elsewhere);
        }
        let Some(mut at) = cursor::lock(conn, self.name).await? else {
            return Ok(Shipment::Elsewhere);
        };
        if at.window_is_done() {
            at = cursor::next_window(conn, at, Duration::ZERO).await?;
            cursor::advance(conn, self.name, at).await?;
        }
        let events = relay::read(conn, at, i64::from(self.batch)).await?;
        if events.is_empty() {
            return Ok(Shipment::Soon);
        }
        // Committed before it is carried: nobody is told of what he cannot find.
        relay::note(conn, &events).await?;
        Ok(Shipment::Events(events))
    }

    /// Moves the cursor past what the other bus has taken over, and gives the lease back: whoever is woken first goes on. Tells whether it did: not if the lease went elsewhere, and then
    /// all of it is handed on again from there.
    ///
    /// # Errors
    /// When the shard fails; the same events come again then.
    pub async fn passed(&self, events: &[Outgoing]) -> Result<bool, StoreError> {
        let Some(last) = events.last().map(|last| last.event.sequence) else { return Ok(true) };
        let relay = self.clone();
        self.shard.write("events.relayed", async move |conn| relay.advance(conn, last).await).await
    }

    async fn advance(&self, conn: &mut PgConnection, sequence: i64) -> Result<bool, StoreError> {
        if !relay::release(conn, self.name, self.holder).await? {
            return Ok(false);
        }
        let Some(at) = cursor::lock(conn, self.name).await? else { return Ok(false) };
        cursor::advance(conn, self.name, cursor::Cursor { sequence, ..at }).await?;
        Ok(true)
    }
}
