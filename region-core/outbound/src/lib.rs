//! Requests to strangers: where they may lead, judged in one place for every service that sends them.

pub mod resolver;
pub mod target;
