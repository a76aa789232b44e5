//! Shapes of the `/v1` API, the same at the edge and at the cores.
//!
//! Requests refuse unknown members, so that a misspelt field is an error and not a silent default.

pub mod account;
pub mod cart;
pub mod catalog;
pub mod desk;
pub mod order;
pub mod origin;
pub mod refund;
pub mod stock;
pub mod webhook;

/// Longest request body, in bytes.
pub const MAX_BODY_BYTES: usize = 256 * 1024;
/// Most line items in one order or cart.
pub const MAX_LINES: usize = 1_000;
