//! Promises about real servers and real processes: nothing here is mocked.

#![expect(clippy::unwrap_used, reason = "a test may fail where it stands")]

mod guardian;
mod servers;
mod support;
