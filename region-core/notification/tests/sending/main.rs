//! Mails on their way: from the bus through a real Postgres to a mail server that may be told to fail.
#![expect(clippy::unwrap_used, reason = "a test that cannot go on fails")]

mod again;
mod preferring;
mod pushing;
mod receiver;
mod secure;
mod server;
mod shop;
mod telling;
mod texting;
