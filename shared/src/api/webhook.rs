//! Webhooks: where merchants' systems are told of events, and what became of telling them.

use serde::{Deserialize, Serialize};
use time::OffsetDateTime;

use crate::{EndpointId, EventId, OrderId, RegionName};

/// What may be told. The names are part of the API and never change.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub enum EventType {
    /// An order is paid.
    #[serde(rename = "order.confirmed")]
    OrderConfirmed,
    /// An order ended without a sale.
    #[serde(rename = "order.cancelled")]
    OrderCancelled,
    /// An order's first parcel left.
    #[serde(rename = "order.shipped")]
    OrderShipped,
    /// All of an order arrived.
    #[serde(rename = "order.delivered")]
    OrderDelivered,
    /// A parcel left.
    #[serde(rename = "shipment.sent")]
    ShipmentSent,
    /// A parcel arrived.
    #[serde(rename = "shipment.delivered")]
    ShipmentDelivered,
    /// Whatever of a payment no [`Self::RefundIssued`] told of went back.
    #[serde(rename = "payment.refunded")]
    PaymentRefunded,
    /// A part of a payment went back.
    #[serde(rename = "refund.issued")]
    RefundIssued,
    /// Goods came back, and somebody has looked at them.
    #[serde(rename = "order.returned")]
    OrderReturned,
}

impl EventType {
    /// Every one of them.
    pub const ALL: [Self; 9] = [
        Self::OrderConfirmed,
        Self::OrderCancelled,
        Self::OrderShipped,
        Self::OrderDelivered,
        Self::ShipmentSent,
        Self::ShipmentDelivered,
        Self::PaymentRefunded,
        Self::RefundIssued,
        Self::OrderReturned,
    ];

    /// Its name, as JSON spells it.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::OrderConfirmed => "order.confirmed",
            Self::OrderCancelled => "order.cancelled",
            Self::OrderShipped => "order.shipped",
            Self::OrderDelivered => "order.delivered",
            Self::ShipmentSent => "shipment.sent",
            Self::ShipmentDelivered => "shipment.delivered",
            Self::PaymentRefunded => "payment.refunded",
            Self::RefundIssued => "refund.issued",
            Self::OrderReturned => "order.returned",
        }
    }

    /// The one of that name.
    #[must_use]
    pub fn parse(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|kind| kind.name() == name)
    }
}

/// The type of what an operator has sent to try an endpoint; nobody subscribes to it.
pub const TEST_EVENT: &str = "webhook.test";

/// An endpoint to be made: `POST /v1/webhook-endpoints`.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct NewEndpoint {
    /// Where events are posted to, over https.
    pub url: String,
    /// Of what it is told.
    pub event_types: Vec<EventType>,
    /// What it is for, for people; at most 200 characters.
    #[serde(default)]
    pub description: String,
}

/// What is to change about an endpoint: `PATCH /v1/webhook-endpoints/{endpoint_id}`. What is absent stays.
#[derive(Clone, PartialEq, Eq, Default, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct ChangeEndpoint {
    /// Where events are posted to from now on.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub url: Option<String>,
    /// Of what it is told from now on.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub event_types: Option<Vec<EventType>>,
    /// What it is for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub description: Option<String>,
    /// Whether it is told of anything now. What it is not told meanwhile waits.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub state: Option<Switch>,
}

/// What people may switch an endpoint to.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub enum Switch {
    /// It is told.
    Active,
    /// What it would be told waits.
    Paused,
}

/// Whether an endpoint is told of events.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub enum EndpointState {
    /// It is.
    Active,
    /// An operator lets it wait.
    Paused,
    /// It failed for days, or said that it is gone; what it would be told waits for an operator.
    Disabled,
}

/// A place where events are told.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct Endpoint {
    /// It.
    pub endpoint_id: EndpointId,
    /// Where events are posted to.
    pub url: String,
    /// What it is for.
    pub description: String,
    /// Of what it is told.
    pub event_types: Vec<EventType>,
    /// Whether it is told.
    pub state: EndpointState,
    /// Why it is disabled.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub disabled_reason: Option<String>,
    /// Since when every attempt has failed.
    #[serde(default, with = "time::serde::rfc3339::option", skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "openapi", schema(value_type = Option<String>, format = "date-time"))]
    pub failing_since: Option<OffsetDateTime>,
    /// Until when the secret before this one signs as well.
    #[serde(default, with = "time::serde::rfc3339::option", skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "openapi", schema(value_type = Option<String>, format = "date-time"))]
    pub previous_secret_until: Option<OffsetDateTime>,
    /// When it was made.
    #[serde(with = "time::serde::rfc3339")]
    #[cfg_attr(feature = "openapi", schema(value_type = String, format = "date-time"))]
    pub created_at: OffsetDateTime,
}

/// An endpoint and its secret: shown when it is made and when its secret is rotated, and never again.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct EndpointWithSecret {
    /// The endpoint.
    #[serde(flatten)]
    pub endpoint: Endpoint,
    /// What signs from now on: `whsec_` and base64, as Standard Webhooks spells it.
    pub secret: String,
}

impl std::fmt::Debug for EndpointWithSecret {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("EndpointWithSecret").field("endpoint", &self.endpoint).finish_non_exhaustive()
    }
}

/// Endpoints, oldest first: `GET /v1/webhook-endpoints`.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct EndpointPage {
    /// Oldest first.
    pub items: Vec<Endpoint>,
    /// Where the next page starts; null on the last.
    pub next_cursor: Option<EndpointId>,
}

/// Where a delivery stands.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub enum DeliveryState {
    /// It is to be sent, now or later.
    ToSend,
    /// The endpoint took it.
    Delivered,
    /// It was given up.
    Failed,
}

/// Which deliveries of an endpoint: `GET /v1/webhook-endpoints/{endpoint_id}/deliveries`.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
#[cfg_attr(feature = "openapi", derive(utoipa::IntoParams), into_params(parameter_in = Query))]
pub struct DeliveryQuery {
    /// Only those that stand so.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub state: Option<DeliveryState>,
    /// Only those of events before this one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cursor: Option<EventId>,
    /// Most on a page, 1 to 100.
    #[serde(default = "default_limit")]
    #[cfg_attr(feature = "openapi", param(minimum = 1, maximum = 100, default = 50))]
    pub limit: u32,
}

const fn default_limit() -> u32 {
    50
}

/// One event on its way to one endpoint.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct Delivery {
    /// The event: `webhook-id` of every attempt.
    pub event_id: EventId,
    /// What is told.
    pub event_type: String,
    /// Of which order, if of any.
    pub order_id: Option<OrderId>,
    /// Where it stands.
    pub state: DeliveryState,
    /// Attempts made or under way.
    pub attempts: u32,
    /// When it is tried next, if it is.
    #[serde(with = "time::serde::rfc3339::option")]
    #[cfg_attr(feature = "openapi", schema(value_type = Option<String>, format = "date-time"))]
    pub next_attempt_at: Option<OffsetDateTime>,
    /// The status of the last answer, if there was one.
    pub last_status: Option<u16>,
    /// What went wrong last.
    pub last_error: Option<String>,
    /// How the last answer began.
    pub last_answer: Option<String>,
    /// When it was written down.
    #[serde(with = "time::serde::rfc3339")]
    #[cfg_attr(feature = "openapi", schema(value_type = String, format = "date-time"))]
    pub created_at: OffsetDateTime,
    /// When the endpoint took it.
    #[serde(with = "time::serde::rfc3339::option")]
    #[cfg_attr(feature = "openapi", schema(value_type = Option<String>, format = "date-time"))]
    pub delivered_at: Option<OffsetDateTime>,
}

/// Deliveries of all regions, of the latest events first.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct DeliveryPage {
    /// Of the latest events first.
    pub items: Vec<Delivery>,
    /// Where the next page starts; null on the last.
    pub next_cursor: Option<EventId>,
    /// Regions that did not answer: their deliveries are missing here.
    pub missing: Vec<RegionName>,
}

/// What is to be sent once more: `POST /v1/webhook-endpoints/{endpoint_id}/replay`. What is still to be sent is left alone.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct ReplaySpan {
    /// What was written down from then on,
    #[serde(with = "time::serde::rfc3339")]
    #[cfg_attr(feature = "openapi", schema(value_type = String, format = "date-time"))]
    pub from: OffsetDateTime,
    /// and before then.
    #[serde(with = "time::serde::rfc3339")]
    #[cfg_attr(feature = "openapi", schema(value_type = String, format = "date-time"))]
    pub to: OffsetDateTime,
    /// Only what stands so.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub state: Option<DeliveryState>,
}

/// What is sent once more.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct Replayed {
    /// How many.
    pub replayed: u64,
    /// From when on to ask again, if there were more than one request takes.
    #[serde(with = "time::serde::rfc3339::option")]
    #[cfg_attr(feature = "openapi", schema(value_type = Option<String>, format = "date-time"))]
    pub next: Option<OffsetDateTime>,
    /// Regions that did not answer: nothing of theirs is known to be sent once more.
    pub missing: Vec<RegionName>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_event_type_is_spelt_in_json_as_it_is_named() {
        for kind in EventType::ALL {
            assert_eq!(serde_json::to_value(kind).unwrap(), kind.name());
            assert_eq!(EventType::parse(kind.name()), Some(kind));
        }
        assert_eq!(EventType::parse(TEST_EVENT), None);
    }

    #[test]
    fn a_secret_does_not_show_in_debug() {
        let endpoint = Endpoint {
            endpoint_id: EndpointId::mint(1_800_000_000_000, [1; 10]),
            url: "https://erp.example/hooks".to_owned(),
            description: String::new(),
            event_types: vec![EventType::OrderConfirmed],
            state: EndpointState::Active,
            disabled_reason: None,
            failing_since: None,
            previous_secret_until: None,
            created_at: time::macros::datetime!(2030-01-01 12:00 UTC),
        };
        let shown = format!("{:?}", EndpointWithSecret { endpoint, secret: "whsec_c2VjcmV0".to_owned() });
        assert!(!shown.contains("c2VjcmV0"), "{shown}");
    }
}
