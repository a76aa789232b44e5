//! Events on their way: what a service hands in and what a consumer is given.

use std::time::Duration;

use serde_json::Value;
use shared::{EventId, OrderId};
use time::OffsetDateTime;

use crate::HandleError;
use crate::contract::Payload;

/// Where events are said; consumers choose by kind, people and other buses by topic.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Topic {
    /// What became of orders.
    OrderEvents,
    /// What became of stock.
    InventoryEvents,
    /// What became of payments.
    PaymentEvents,
    /// What became of shipments.
    ShippingEvents,
}

impl Topic {
    /// All that there are.
    pub const ALL: [Self; 4] = [Self::OrderEvents, Self::InventoryEvents, Self::PaymentEvents, Self::ShippingEvents];

    /// Its name on every bus.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::OrderEvents => "order_events",
            Self::InventoryEvents => "inventory_events",
            Self::PaymentEvents => "payment_events",
            Self::ShippingEvents => "shipping_events",
        }
    }
}

/// An event about to be written beside the change that makes it true.
#[derive(Clone, PartialEq, Debug)]
pub struct NewEvent {
    /// Minted by the speaker.
    pub event_id: EventId,
    /// Where it is said.
    pub topic: Topic,
    /// What kind of payload it carries.
    pub kind: &'static str,
    /// The order it is about.
    pub aggregate_id: OrderId,
    /// Version of the order, or of its payment, that this event tells of.
    pub aggregate_version: i64,
    /// The payload as JSON.
    pub payload: Value,
    /// W3C trace context of the request that caused it.
    pub traceparent: Option<String>,
}

impl NewEvent {
    /// An event that says `payload` at the speaker's own `aggregate_version`.
    ///
    /// # Panics
    /// If the payload has no JSON form: only a map with keys that are not text could do that, and ours have none.
    #[must_use]
    pub fn new<P: Payload>(event_id: EventId, aggregate_version: i64, payload: &P) -> Self {
        #[expect(clippy::expect_used, reason = "see Panics")]
        let json = serde_json::to_value(payload).expect("a payload of plain fields");
        Self {
            event_id,
            topic: P::TOPIC,
            kind: P::KIND,
            aggregate_id: payload.order_id(),
            aggregate_version,
            payload: json,
            traceparent: None,
        }
    }

    /// The same event, in the trace of the request that caused it.
    #[must_use]
    pub fn traced(mut self, traceparent: Option<String>) -> Self {
        self.traceparent = traceparent;
        self
    }
}

/// An event as a consumer is given it.
#[derive(Clone, PartialEq, Debug)]
pub struct Event {
    /// The same at every delivery.
    pub event_id: EventId,
    /// What kind of payload it carries.
    pub kind: String,
    /// The order it is about.
    pub aggregate_id: OrderId,
    /// Version of the order, or of its payment, that this event tells of.
    pub aggregate_version: i64,
    /// The payload as JSON.
    pub payload: Value,
    /// W3C trace context of the request that caused it.
    pub traceparent: Option<String>,
    /// Its place in this shard's outbox.
    pub(crate) sequence: i64,
    /// How long ago it was written, by the shard's clock.
    pub(crate) age_seconds: f64,
}

/// An event as another bus carries it.
#[derive(Clone, PartialEq, Debug)]
pub struct Outgoing {
    /// What happened.
    pub event: Event,
    /// Where it is said.
    pub topic: Topic,
    /// When it was written, by the shard's clock.
    pub created_at: OffsetDateTime,
}

impl Event {
    /// Its place among the events of its order: those of one topic happened in this order.
    #[must_use]
    pub fn sequence(&self) -> i64 {
        self.sequence
    }

    /// How long ago it was written, by the shard's clock.
    #[must_use]
    pub fn age(&self) -> Duration {
        Duration::try_from_secs_f64(self.age_seconds).unwrap_or_default()
    }

    /// Whether this event carries a `P`.
    #[must_use]
    pub fn is<P: Payload>(&self) -> bool {
        self.kind == P::KIND
    }

    /// The payload as the type its kind promises, or `None` if the event is of another kind.
    ///
    /// # Errors
    /// [`HandleError::Rejected`] if the kind fits and the payload does not.
    pub fn read<P: Payload>(&self) -> Result<Option<P>, HandleError> {
        if !self.is::<P>() {
            return Ok(None);
        }
        serde_json::from_value(self.payload.clone())
            .map(Some)
            .map_err(|error| HandleError::Rejected(format!("{} of {}: {error}", P::KIND, self.aggregate_id)))
    }
}
