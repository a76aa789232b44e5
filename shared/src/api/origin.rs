//! Where the units of an order lie, for who keeps the store.

use serde::{Deserialize, Serialize};

use super::order::OrderItem;
use crate::RegionName;

/// Units of an order that lie in one region.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct Origin {
    /// Where.
    pub region: RegionName,
    /// Which, by SKU.
    pub items: Vec<OrderItem>,
    /// Of them, those that are in no parcel and under no label yet: what a parcel from there should hold.
    pub left: Vec<OrderItem>,
}

/// Where the units of an order lie: `GET /v1/orders/{order_id}/origins`. One parcel from each of these regions is to be sent; none is
/// named if all of it lies in the order's own.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct Origins {
    /// First the order's own region, if something lies there, then the others by name.
    pub items: Vec<Origin>,
}
