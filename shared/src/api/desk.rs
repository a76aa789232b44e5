//! The order desk: orders of all shoppers, for who keeps the store, and what has happened to one of them.

use serde::{Deserialize, Serialize};
use time::OffsetDateTime;

use super::order::{OrderStatus, PaymentStatus};
use crate::{EmailAddress, EventId, Money, OrderId, RegionName, ShardId, UserId};

/// Which orders: `GET /v1/desk/orders`.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
#[cfg_attr(feature = "openapi", derive(utoipa::IntoParams), into_params(parameter_in = Query))]
pub struct DeskQuery {
    /// An order's number, its last eight characters (of the orders of 90 days), or the e-mail address that its news go to.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub find: Option<String>,
    /// Only those that stand so.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub status: Option<OrderStatus>,
    /// Only those that wait for a decision because something speaks against them.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub held: bool,
    /// Only those of which something that lies in this region is still to be sent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub from: Option<RegionName>,
    /// Only those older than this one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cursor: Option<OrderId>,
    /// Most on a page, 1 to 100.
    #[serde(default = "default_limit")]
    #[cfg_attr(feature = "openapi", param(minimum = 1, maximum = 100, default = 50))]
    pub limit: u32,
}

const fn default_limit() -> u32 {
    50
}

impl Default for DeskQuery {
    fn default() -> Self {
        Self { find: None, status: None, held: false, from: None, cursor: None, limit: default_limit() }
    }
}

/// An order on the desk's list.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct DeskOrder {
    /// The order.
    pub order_id: OrderId,
    /// Where it stands.
    pub status: OrderStatus,
    /// Where its payment stands.
    pub payment: PaymentStatus,
    /// What is charged.
    pub total: Money,
    /// Units in all.
    pub units: u64,
    /// Who receives it.
    pub name: String,
    /// Where its news go to.
    pub email: Option<EmailAddress>,
    /// When it was accepted.
    #[serde(with = "time::serde::rfc3339")]
    #[cfg_attr(feature = "openapi", schema(value_type = String, format = "date-time"))]
    pub created_at: OffsetDateTime,
    /// Whether it waits for a decision because something speaks against it.
    #[serde(default)]
    pub held: bool,
}

/// Orders of all regions, newest first.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct DeskPage {
    /// Newest first.
    pub items: Vec<DeskOrder>,
    /// Where the next page starts; null on the last.
    pub next_cursor: Option<OrderId>,
    /// Regions that did not answer: their orders are missing here.
    pub missing: Vec<RegionName>,
}

/// What can happen to an order.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub enum Happening {
    /// It was accepted.
    Placed,
    /// The bank keeps the amount ready, and its units are its own.
    Authorized,
    /// The money is ours.
    Paid,
    /// A parcel left.
    Sent,
    /// A parcel arrived.
    Arrived,
    /// It ended without a sale.
    Cancelled,
    /// The bank refused.
    Declined,
    /// The amount was let go before it was taken.
    Voided,
    /// The money went back.
    Refunded,
    /// A part of the money went back.
    PartRefunded,
    /// The provider would not give a part of the money back; only who keeps the store is told.
    RefundRefused,
    /// Goods came back.
    Returned,
    /// Somebody has looked at goods that came back.
    Inspected,
    /// Something spoke against it; only who keeps the store is told.
    Reviewed,
    /// A parcel left although its label had come to nothing: refused, given back or written off; only who keeps the store is told.
    Strayed,
    /// Somebody of the store did something.
    Desk,
}

/// One thing that happened.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct TimelineEntry {
    /// When.
    #[serde(with = "time::serde::rfc3339")]
    #[cfg_attr(feature = "openapi", schema(value_type = String, format = "date-time"))]
    pub at: OffsetDateTime,
    /// What.
    pub what: Happening,
    /// In words, where there is more to say.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub detail: Option<String>,
    /// Who of the store did it; only who keeps the store is told.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub actor: Option<UserId>,
}

/// All that happened to an order, oldest first: `GET /v1/orders/{order_id}/timeline`.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct Timeline {
    /// Oldest first.
    pub items: Vec<TimelineEntry>,
    /// Whether it waits for a decision; only who keeps the store is told.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub held: bool,
}

/// Where a message to a shopper stands.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub enum NotificationState {
    /// It is to be sent, now or later.
    ToSend,
    /// It was handed over.
    Sent,
    /// It was given up.
    Failed,
    /// Nobody can be reached there.
    Bounced,
    /// Whoever reads there does not want to be told.
    Unwanted,
}

/// What the shopper of an order is told.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct Notification {
    /// Names it.
    pub notification_id: EventId,
    /// The way it goes, such as `mail`.
    pub channel: String,
    /// What is told, such as `order_confirmed`.
    pub template: String,
    /// To whom.
    pub recipient: String,
    /// Where it stands.
    pub state: NotificationState,
    /// How often it was tried.
    pub attempts: u32,
    /// What went wrong last.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
    /// What it is a copy of, if somebody of the store had it sent once more.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub copy_of: Option<EventId>,
    /// When it was written down.
    #[serde(with = "time::serde::rfc3339")]
    #[cfg_attr(feature = "openapi", schema(value_type = String, format = "date-time"))]
    pub created_at: OffsetDateTime,
    /// When it was handed over.
    #[serde(default, with = "time::serde::rfc3339::option")]
    #[cfg_attr(feature = "openapi", schema(value_type = Option<String>, format = "date-time"))]
    pub sent_at: Option<OffsetDateTime>,
}

/// What the shopper of an order is told, newest first: `GET /v1/orders/{order_id}/notifications`.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct NotificationList {
    /// Newest first, the newest hundred at most.
    pub items: Vec<Notification>,
}

/// An event that a consumer of the bus has given up.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct DeadLetter {
    /// Where it lies.
    #[cfg_attr(feature = "openapi", schema(value_type = i16))]
    pub shard: ShardId,
    /// Who could not handle it.
    pub consumer: String,
    /// The event.
    pub event_id: EventId,
    /// What kind of event it is, unless the outbox has forgotten it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub kind: Option<String>,
    /// The order it is about.
    pub order_id: OrderId,
    /// Attempts that failed.
    pub attempts: u32,
    /// Whether it was never tried, because an earlier event of its order lies here.
    pub parked: bool,
    /// What went wrong last, cut short if it is long.
    pub cause: String,
    /// When it was given up.
    #[serde(with = "time::serde::rfc3339")]
    #[cfg_attr(feature = "openapi", schema(value_type = String, format = "date-time"))]
    pub died_at: OffsetDateTime,
}

/// What was given up in all regions: `GET /v1/desk/dead-letters`. Each consumer's and each order's in their order.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct DeadLetterPage {
    /// A hundred of each shard at most.
    pub items: Vec<DeadLetter>,
    /// Whether a shard has more.
    pub more: bool,
    /// Regions that did not answer: theirs are missing here.
    pub missing: Vec<RegionName>,
}

/// Gives what a consumer gave up of an order another life: `POST /v1/orders/{order_id}/dead-letters/replay`.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct ReplayLetters {
    /// Who gave it up.
    pub consumer: String,
}

/// Has a consumer go without an event that it gave up: `POST /v1/orders/{order_id}/dead-letters/{event_id}/skip`.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct SkipLetter {
    /// Who gave it up.
    pub consumer: String,
    /// Why it may go without, 1 to 200 characters.
    pub reason: String,
}

/// What a consumer is given again.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct GivenAgain {
    /// How many events; none if an earlier request has done it.
    pub events: u64,
}
