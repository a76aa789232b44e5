//! Sessions: one row for each family of refresh tokens.

use region_core_store::{StoreError, expect_rows};
use shared::{SessionId, UserId};
use sqlx::PgConnection;

use super::users::{Standing, read_standing};
use crate::rules::{Rotation, Secret, SecretHash, SessionFacts, judge};

/// Seconds that a session lives after its last refresh: 30 days.
pub(crate) const SESSION_SECONDS: u32 = 30 * 24 * 60 * 60;

/// A session that goes on.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Refreshed {
    pub(crate) user: UserId,
    pub(crate) standing: Standing,
}

/// A session's row, locked.
struct Found {
    facts: SessionFacts,
    refreshed: Refreshed,
}

/// Starts a session.
pub(crate) async fn insert(conn: &mut PgConnection, user: UserId, secret: &Secret) -> Result<(), StoreError> {
    sqlx::query!(
        "INSERT INTO sessions (session_id, user_id, refresh_hash, expires_at)
         VALUES ($1, $2, $3, shard_now() + make_interval(secs => $4))",
        secret.session.as_uuid(),
        user.as_i64(),
        &secret.hash().to_bytes(),
        f64::from(SESSION_SECONDS),
    )
    .execute(conn)
    .await?;
    Ok(())
}

/// Puts `next` in the place of `shown`, if `shown` is the token that works, or the one before it. Any other ends the session,
/// and that must be committed: `None` is no reason to roll back.
pub(crate) async fn rotate(
    conn: &mut PgConnection,
    shown: &Secret,
    next: &Secret,
) -> Result<Option<Refreshed>, StoreError> {
    let Some(Found { facts, refreshed }) = lock(conn, shown.session).await? else { return Ok(None) };
    match judge(&facts, &shown.hash()) {
        Rotation::Rotate => replace(conn, shown, next).await?,
        Rotation::Repeat => repeat(conn, next).await?,
        Rotation::End => {
            tracing::warn!(user.id = %refreshed.user, "a refresh token came back after its use; its session is ended");
            end(conn, shown.session).await?;
            return Ok(None);
        }
        Rotation::Refuse => return Ok(None),
    }
    Ok(Some(refreshed))
}

async fn lock(conn: &mut PgConnection, session: SessionId) -> Result<Option<Found>, StoreError> {
    let row = sqlx::query!(
        r#"SELECT user_id, refresh_hash, previous_hash, roles, revocation_epoch,
                  ended_at IS NOT NULL OR expires_at <= shard_now() AS "over!"
           FROM sessions JOIN users USING (user_id) WHERE session_id = $1 FOR UPDATE OF sessions"#,
        session.as_uuid(),
    )
    .fetch_optional(conn)
    .await?;
    let Some(row) = row else { return Ok(None) };
    let hash = |bytes: &[u8]| {
        SecretHash::from_stored(bytes).ok_or_else(|| StoreError::corrupt("sessions.refresh_hash", session))
    };
    let facts = SessionFacts {
        current: hash(&row.refresh_hash)?,
        previous: row.previous_hash.as_deref().map(hash).transpose()?,
        over: row.over,
    };
    let user = UserId::from_i64(row.user_id).map_err(|error| StoreError::corrupt("sessions.user_id", error))?;
    let standing = read_standing(&row.roles, row.revocation_epoch)?;
    Ok(Some(Found { facts, refreshed: Refreshed { user, standing } }))
}

async fn replace(conn: &mut PgConnection, shown: &Secret, next: &Secret) -> Result<(), StoreError> {
    let done = sqlx::query!(
        "UPDATE sessions SET refresh_hash = $2, previous_hash = $3,
                expires_at = shard_now() + make_interval(secs => $4)
         WHERE session_id = $1",
        shown.session.as_uuid(),
        &next.hash().to_bytes(),
        &shown.hash().to_bytes(),
        f64::from(SESSION_SECONDS),
    )
    .execute(conn)
    .await?;
    expect_rows("sessions", done.rows_affected(), 1)
}

/// The session goes on from now. Its successor is there already, and differs only where the region's key changed in between.
async fn repeat(conn: &mut PgConnection, next: &Secret) -> Result<(), StoreError> {
    let done = sqlx::query!(
        "UPDATE sessions SET refresh_hash = $2, expires_at = shard_now() + make_interval(secs => $3) WHERE session_id = $1",
        next.session.as_uuid(),
        &next.hash().to_bytes(),
        f64::from(SESSION_SECONDS),
    )
    .execute(conn)
    .await?;
    expect_rows("sessions", done.rows_affected(), 1)
}

/// Ends a session.
async fn end(conn: &mut PgConnection, session: SessionId) -> Result<(), StoreError> {
    sqlx::query!(
        "UPDATE sessions SET ended_at = coalesce(ended_at, shard_now()) WHERE session_id = $1",
        session.as_uuid(),
    )
    .execute(conn)
    .await?;
    Ok(())
}

/// Ends the session that a refresh token belongs to. One that does not belong to it any more is a sign of theft, and ends
/// it all the same.
pub(crate) async fn end_of(conn: &mut PgConnection, shown: &Secret) -> Result<(), StoreError> {
    end(conn, shown.session).await
}

/// Ends every session of a user.
pub(crate) async fn end_all(conn: &mut PgConnection, user: UserId) -> Result<(), StoreError> {
    sqlx::query!("UPDATE sessions SET ended_at = shard_now() WHERE user_id = $1 AND ended_at IS NULL", user.as_i64(),)
        .execute(conn)
        .await?;
    Ok(())
}

/// Forgets sessions that expired a week ago, at most `limit`. How many.
pub(crate) async fn forget_expired(conn: &mut PgConnection, limit: i64) -> Result<u64, StoreError> {
    let done = sqlx::query!(
        "DELETE FROM sessions WHERE session_id = ANY (ARRAY(
             SELECT session_id FROM sessions WHERE expires_at < shard_now() - interval '7 days'
             ORDER BY expires_at LIMIT $1 FOR UPDATE SKIP LOCKED))",
        limit,
    )
    .execute(conn)
    .await?;
    Ok(done.rows_affected())
}
