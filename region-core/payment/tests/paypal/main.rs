//! The PayPal adapter, and payments at two providers at once, against a simulator of PayPal that is our own (`simulator.rs`).
#![expect(clippy::unwrap_used, reason = "a test that cannot go on fails")]

mod adapter;
mod paying;
mod shop;
mod simulator;
