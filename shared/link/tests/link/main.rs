//! Real QUIC on loopback, with certificates of a CA made for each test.
#![expect(clippy::unwrap_used, reason = "a test that cannot go on fails")]

mod failures;
mod identity;
mod requests;
mod support;
