//! Promises of accounts over two regions with a real Postgres each.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

mod routes;
mod sessions;
mod sign_in;
mod sign_up;
mod world;
