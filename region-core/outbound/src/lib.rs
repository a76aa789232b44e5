//! Requests to the outside: how long they may take, how much is read, and, to strangers, where they may lead; in one place for every
//! service that sends them.

pub mod http;
pub mod resolver;
pub mod target;
