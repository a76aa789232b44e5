//! Requests to strangers: where they may lead, judged in one place for every service that sends them.

pub mod target;
