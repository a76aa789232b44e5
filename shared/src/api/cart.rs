//! The cart: truth in the user's shard, changed by operations that do nothing twice.

use serde::{Deserialize, Serialize};

use crate::{CartId, Money, OperationId, Quantity, Sku};

/// One change: `POST /v1/cart/operations`.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct CartOperation {
    /// Named by the client; a repeat has no further effect.
    pub operation_id: OperationId,
    /// What to do.
    pub change: CartChange,
    /// Refuse (409 `cart-changed`) unless the cart is at this version.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub expected_version: Option<u64>,
}

/// What an operation does.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case", deny_unknown_fields)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub enum CartChange {
    /// That many more.
    Add {
        /// Of what.
        sku: Sku,
        /// How many.
        quantity: Quantity,
    },
    /// Exactly that many.
    Set {
        /// Of what.
        sku: Sku,
        /// How many.
        quantity: Quantity,
    },
    /// None any more.
    Remove {
        /// Of what.
        sku: Sku,
    },
}

/// The caller's cart: `GET /v1/cart?min_version=N`, and the answer to an operation.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct Cart {
    /// The cart.
    pub cart_id: CartId,
    /// Rises with every change and never falls, not by emptying nor by checkout.
    pub version: u64,
    /// In the order they were first added.
    pub lines: Vec<CartLine>,
    /// Units in all.
    pub units: u64,
    /// Sum of the lines that can be bought, at today's prices, tax included.
    pub total: Money,
}

/// One SKU in the cart.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct CartLine {
    /// What.
    pub sku: Sku,
    /// How many.
    pub quantity: Quantity,
    /// The product's name; the SKU itself where it is no longer sold.
    pub title: String,
    /// The product's name in paths, while it is sold.
    pub slug: Option<String>,
    /// Such as "Small / Blue"; empty for a product without options.
    pub variant: String,
    /// Today's price of one; null when it is no longer sold.
    pub unit_price: Option<Money>,
    /// `unit_price` times `quantity`.
    pub line_total: Option<Money>,
}
