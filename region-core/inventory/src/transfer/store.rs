//! The steps of a transfer. Each function runs inside the caller's transaction, in the turn of its own shard.

mod borrower;
mod donor;
#[cfg(test)]
mod tests;

use region_core_store::StoreError;
use shared::{ShardId, Sku};
use sqlx::PgConnection;

pub use borrower::{
    Credited, Pending, Received, Wish, begin, counts, credit, is_to_settle, list_pending, list_received, low, settle,
    status,
};
pub use donor::{
    Closable, InFlight, Overdue, acknowledge, cancel, forget, grant, in_flight, list_closable, list_overdue, raise_low,
};

use super::message::Term;

/// This shard's term, locked so that a promotion waits for the caller's transaction.
///
/// # Errors
/// When the database fails.
pub async fn term(conn: &mut PgConnection) -> Result<Term, StoreError> {
    Ok(Term(sqlx::query_scalar!("SELECT term FROM shard_meta FOR SHARE").fetch_one(conn).await?))
}

/// This shard's term as of now, for those who only want to know.
///
/// # Errors
/// When the database fails.
pub async fn peek_term(conn: &mut PgConnection) -> Result<Term, StoreError> {
    Ok(Term(sqlx::query_scalar!("SELECT term FROM shard_meta").fetch_one(conn).await?))
}

fn parse_sku(what: &'static str, sku: &str) -> Result<Sku, StoreError> {
    sku.parse().map_err(|_| StoreError::corrupt(what, sku))
}

fn parse_shard(what: &'static str, number: i16) -> Result<ShardId, StoreError> {
    ShardId::try_from(number).map_err(|_| StoreError::corrupt(what, number))
}
