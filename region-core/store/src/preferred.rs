//! Which process of a region writes a shard by preference: the one whose turn holds a lock of its session there.
//!
//! Two processes that admit orders on one shard make each other's remembered counts stale, so one of them is asked to do it.
//! That is a matter of speed alone: every statement re-checks what it was decided on, and nothing that is written relies on the
//! lock. The lock goes with its connection: who died or lost the shard is in nobody's way. A process that merely hangs keeps
//! it, and those who hand their orders over find out by themselves.

use shared::ShardId;
use sqlx::PgConnection;

use crate::error::StoreError;

/// Names the lock: `writer` in ASCII.
const LOCK: i64 = 0x7772_6974_6572;

/// Who writes a shard by preference, as far as this process knows.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub enum Preferred {
    /// Nobody that is known of.
    #[default]
    Unknown,
    /// This process.
    Here,
    /// Another process, by the name that it stood under.
    Elsewhere(String),
}

impl Preferred {
    /// Tells whoever watches that this is so now, of a shard of which something else was believed.
    pub(crate) fn announce(&self, shard: ShardId) {
        let label = shard.to_string();
        let here = if *self == Self::Here { 1.0 } else { 0.0 };
        metrics::gauge!("writer_preferred", "shard" => label.clone()).set(here);
        metrics::counter!("writer_preference_changes_total", "shard" => label).increment(1);
        match self {
            Self::Here => tracing::info!(shard.id = %shard, "this process is the shard's preferred writer"),
            Self::Elsewhere(core) => tracing::info!(shard.id = %shard, core, "another process is the preferred writer"),
            Self::Unknown => tracing::info!(shard.id = %shard, "the shard's preferred writer is not known"),
        }
    }
}

/// Stands for the preferred writer under the name `me`, on a connection that does not hold the lock yet. Waits for nobody:
/// if the lock is another's, the answer is who that is.
///
/// # Errors
/// When the database fails. The lock may be held all the same; only the connection's end gives it up then.
pub(crate) async fn stand(conn: &mut PgConnection, me: &str) -> Result<Preferred, StoreError> {
    let mine = sqlx::query_scalar!(r#"SELECT pg_try_advisory_lock($1) AS "mine!""#, LOCK).fetch_one(&mut *conn).await?;
    if !mine {
        let core = sqlx::query_scalar!("SELECT core FROM preferred_writer").fetch_optional(conn).await?;
        return Ok(core.map_or(Preferred::Unknown, Preferred::Elsewhere));
    }
    sqlx::query!(
        "INSERT INTO preferred_writer AS standing (core) VALUES ($1)
         ON CONFLICT (one_row) DO UPDATE SET core = excluded.core, since = excluded.since, taken = standing.taken + 1",
        me,
    )
    .execute(conn)
    .await?;
    Ok(Preferred::Here)
}
