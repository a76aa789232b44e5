//! Events on their way to receivers: from the bus through a real Postgres to HTTP servers that misbehave.
#![expect(clippy::unwrap_used, reason = "a test that cannot go on fails")]

mod receiver;
mod sending;
mod shop;
