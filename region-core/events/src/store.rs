//! The bus's SQL, each function inside its caller's transaction.

pub(crate) mod outbox;
