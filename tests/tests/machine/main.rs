//! The real code over a real Postgres, driven by random histories beside a reference model that says what must come of each
//! step (crate `proptest-state-machine`). A history that goes wrong is made as short as it can be.
//!
//! `PROPTEST_CASES` raises the number of histories.
//!
//! Deliberately absent: processes, HTTP and time that passes by itself (journeys and faults have those).
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

mod orders;
mod transfers;

use proptest::test_runner::Config;

/// As many histories as fit into a test run, or as many as are asked for.
pub(crate) fn histories(usual: u32) -> Config {
    let asked = std::env::var_os("PROPTEST_CASES").is_some();
    let config = if asked { Config::default() } else { Config::with_cases(usual) };
    Config { failure_persistence: None, max_shrink_iters: 300, ..config }
}
