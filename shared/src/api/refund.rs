//! Parts of a payment that go back, for who keeps the store.

use serde::{Deserialize, Serialize};
use time::OffsetDateTime;

use crate::{Money, RefundId};

/// Money to give back: `POST /v1/orders/{order_id}/refunds` with `Idempotency-Key`.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct NewRefund {
    /// How much: no more than was taken and has neither gone back nor been asked for.
    pub amount: Money,
    /// 1 to 200 characters; the shopper reads it.
    pub reason: String,
}

/// Where a refund stands.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub enum RefundStatus {
    /// The provider is asked, until the answer is definite.
    Pending,
    /// The money went back.
    Refunded,
    /// The provider would not; the amount may be asked for again.
    Refused,
}

/// A part of a payment that is to go back, or did.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct Refund {
    /// The refund.
    pub refund_id: RefundId,
    /// How much.
    pub amount: Money,
    /// Why, as the shopper reads it.
    pub reason: String,
    /// Where it stands.
    pub status: RefundStatus,
    /// What the provider said last, if it was not a yes.
    pub last_error: Option<String>,
    /// When it was asked for.
    #[serde(with = "time::serde::rfc3339")]
    #[cfg_attr(feature = "openapi", schema(value_type = String, format = "date-time"))]
    pub created_at: OffsetDateTime,
}

/// An order's refunds: `GET /v1/orders/{order_id}/refunds`.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct Refunds {
    /// Oldest first.
    pub items: Vec<Refund>,
    /// How much can still be asked for.
    pub left: Money,
}
