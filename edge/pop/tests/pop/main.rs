//! A real point of presence between HTTP clients and cores that are real servers of the link.
#![expect(clippy::unwrap_used, reason = "a test that cannot go on fails")]

mod life;
mod routing;
mod stock;
mod support;
mod uplink;
