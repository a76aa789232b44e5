//! The login directory: e-mail → user, in the shard that owns the slot of the e-mail's digest.

use region_core_store::StoreError;
use serde::{Deserialize, Serialize};
use shared::{EmailAddress, UserId};
use sqlx::PgConnection;

use super::readable;

/// What a sign-up finds in the directory.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Claim {
    /// The e-mail is reserved for this user for 15 minutes.
    Reserved,
    /// This user signs in with it already: the sign-up is a repeat.
    Ours,
    /// Somebody signs in with it.
    Taken,
    /// Somebody else is signing up with it.
    Held {
        /// Seconds until that reservation runs out.
        seconds: u32,
    },
}

/// Reserves an e-mail for a user for 15 minutes, unless somebody else has it. Repeatable.
pub(crate) async fn reserve(conn: &mut PgConnection, email: &EmailAddress, user: UserId) -> Result<Claim, StoreError> {
    let done = sqlx::query!(
        "INSERT INTO logins (email_digest, slot, user_id, state, reserved_until)
         VALUES ($1, $2, $3, 'reserved', shard_now() + interval '15 minutes')
         ON CONFLICT (email_digest) DO UPDATE
         SET user_id = excluded.user_id, reserved_until = excluded.reserved_until
         WHERE logins.state = 'reserved'
           AND (logins.user_id = excluded.user_id OR logins.reserved_until <= shard_now())",
        &email.digest(),
        i16::from(email.slot()),
        user.as_i64(),
    )
    .execute(&mut *conn)
    .await?;
    if done.rows_affected() == 1 { Ok(Claim::Reserved) } else { refused(conn, email, user).await }
}

/// Whose it is. The refused upsert has locked the row, so it is still there.
async fn refused(conn: &mut PgConnection, email: &EmailAddress, user: UserId) -> Result<Claim, StoreError> {
    let row = sqlx::query!(
        r#"SELECT user_id, state, greatest(extract(epoch FROM reserved_until - shard_now()), 1)::integer AS seconds
           FROM logins WHERE email_digest = $1"#,
        &email.digest(),
    )
    .fetch_one(conn)
    .await?;
    match (row.state.as_str(), row.seconds) {
        ("active", _) if row.user_id == user.as_i64() => Ok(Claim::Ours),
        ("active", _) => Ok(Claim::Taken),
        ("reserved", Some(seconds)) => Ok(Claim::Held { seconds: seconds.unsigned_abs() }),
        (state, _) => Err(StoreError::corrupt("logins.state", state)),
    }
}

/// Turns the user's reservation into a login; `false` if it is not the user's any more. Repeatable.
pub(crate) async fn activate(conn: &mut PgConnection, email: &EmailAddress, user: UserId) -> Result<bool, StoreError> {
    let done = sqlx::query!(
        "UPDATE logins SET state = 'active', reserved_until = NULL WHERE email_digest = $1 AND user_id = $2",
        &email.digest(),
        user.as_i64(),
    )
    .execute(conn)
    .await?;
    Ok(done.rows_affected() == 1)
}

/// Gives a reservation back; never touches a login. Repeatable.
pub(crate) async fn release(conn: &mut PgConnection, email: &EmailAddress, user: UserId) -> Result<(), StoreError> {
    sqlx::query!(
        "DELETE FROM logins WHERE email_digest = $1 AND user_id = $2 AND state = 'reserved'",
        &email.digest(),
        user.as_i64(),
    )
    .execute(conn)
    .await?;
    Ok(())
}

/// The user who signs in with that e-mail.
///
/// # Errors
/// [`StoreError::WrongShard`] when the e-mail's slot is elsewhere.
pub(crate) async fn find(conn: &mut PgConnection, email: &EmailAddress) -> Result<Option<UserId>, StoreError> {
    let row = sqlx::query!(
        r#"SELECT slots.state, logins.user_id AS "user_id?"
           FROM slots LEFT JOIN logins ON logins.email_digest = $2 AND logins.state = 'active'
           WHERE slots.slot = $1"#,
        i16::from(email.slot()),
        &email.digest(),
    )
    .fetch_optional(conn)
    .await?
    .ok_or(StoreError::WrongShard(email.slot()))?;
    readable(&row.state, email.slot())?;
    let user = row.user_id.map(UserId::from_i64).transpose();
    user.map_err(|error| StoreError::corrupt("logins.user_id", error))
}

/// Forgets reservations that ran out an hour ago, at most `limit`. How many.
pub(crate) async fn forget_expired(conn: &mut PgConnection, limit: i64) -> Result<u64, StoreError> {
    let done = sqlx::query!(
        "DELETE FROM logins WHERE email_digest = ANY (ARRAY(
             SELECT email_digest FROM logins
             WHERE state = 'reserved' AND reserved_until < shard_now() - interval '1 hour'
             ORDER BY reserved_until LIMIT $1 FOR UPDATE SKIP LOCKED))",
        limit,
    )
    .execute(conn)
    .await?;
    Ok(done.rows_affected())
}
