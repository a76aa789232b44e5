//! Parts that die, hang and come back: nothing is lost, nothing is done twice, and who is not concerned notices nothing.
//!
//! Each test breaks a store of its own, as small as the fault allows.
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

mod cores;
mod money;
mod redis;
mod scarce;
mod shards;
mod support;
