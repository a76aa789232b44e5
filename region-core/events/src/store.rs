//! The bus's SQL, each function inside its caller's transaction.

pub(crate) mod cursor;
pub(crate) mod failure;
pub(crate) mod outbox;
pub(crate) mod relay;
pub(crate) mod retention;
pub(crate) mod told;
