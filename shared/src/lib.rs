//! What the edge and the cores must agree on: ids, money, slots and regions, access tokens, request signatures,
//! problem types and API shapes.
//!
//! Deliberately absent: I/O, clocks and randomness. Time and random bytes are handed in, so the crate builds for
//! wasm32 and every rule in it can be tested with plain values.

pub mod api;
pub mod country;
pub mod email;
pub mod id;
pub mod idempotency;
pub mod money;
pub mod phone;
pub mod problem;
pub mod region;
pub mod sku;
pub mod text;
pub mod token;
pub mod uplink;

pub use email::EmailAddress;
pub use id::{
    CartId, EndpointId, EventId, OperationId, OrderId, PaymentId, ProductId, RefundId, ReturnId, SessionId, ShipmentId,
    Slot, UserId,
};
pub use idempotency::IdempotencyKey;
pub use money::{Currency, Money};
pub use phone::PhoneNumber;
pub use problem::{Problem, ProblemKind};
pub use region::{RegionName, ShardId, SlotMap};
pub use sku::{Quantity, Sku};
