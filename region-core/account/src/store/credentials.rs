//! Passwords' hashes, in the user's shard.

use region_core_store::StoreError;
use shared::{EmailAddress, UserId};
use sqlx::PgConnection;

use super::{readable, sessions, users};

/// What became of credentials that were to be put on a user.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) enum Placed {
    /// They are there, not active yet.
    Done,
    /// The user has an account already, or is a guest whose owner signed in to one.
    AlreadyAnAccount,
    /// An earlier sign-up of this user stopped half-way; only the login directory knows whether it had won.
    Unfinished(EmailAddress),
}

/// Credentials whose login never became active, as far as this shard knows.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Pending {
    pub(crate) user: UserId,
    pub(crate) email: EmailAddress,
}

/// Puts credentials on a user. Those of an unfinished sign-up are replaced if they are for the same e-mail, or for
/// `lost`, which the login directory gave to another. A guest whose owner signed in to an account takes none.
pub(crate) async fn put(
    conn: &mut PgConnection,
    user: UserId,
    email: &EmailAddress,
    password_hash: &str,
    lost: Option<&EmailAddress>,
) -> Result<Placed, StoreError> {
    users::lock(conn, user).await?;
    let done = sqlx::query!(
        "INSERT INTO credentials (user_id, email, password_hash)
         SELECT $1, $2, $3 WHERE NOT EXISTS (SELECT FROM user_aliases WHERE guest_id = $1)
         ON CONFLICT (user_id) DO UPDATE
         SET email = excluded.email, password_hash = excluded.password_hash, changed_at = shard_now()
         WHERE credentials.activated_at IS NULL AND credentials.email IN (excluded.email, $4)",
        user.as_i64(),
        email.as_str(),
        password_hash,
        lost.unwrap_or(email).as_str(),
    )
    .execute(&mut *conn)
    .await?;
    if done.rows_affected() == 1 { Ok(Placed::Done) } else { occupied(conn, user).await }
}

/// Why credentials could not be put.
async fn occupied(conn: &mut PgConnection, user: UserId) -> Result<Placed, StoreError> {
    let unfinished = sqlx::query_scalar!(
        "SELECT email FROM credentials WHERE user_id = $1 AND activated_at IS NULL
         AND NOT EXISTS (SELECT FROM user_aliases WHERE guest_id = $1)",
        user.as_i64(),
    );
    match unfinished.fetch_optional(conn).await?.map(|email| email.parse()) {
        None => Ok(Placed::AlreadyAnAccount),
        Some(Ok(email)) => Ok(Placed::Unfinished(email)),
        Some(Err(_)) => Err(StoreError::corrupt("credentials.email", user)),
    }
}

/// The PHC string of the user's password, if the user goes by that e-mail.
///
/// # Errors
/// [`StoreError::WrongShard`] when the user lives elsewhere.
pub(crate) async fn find_hash(
    conn: &mut PgConnection,
    user: UserId,
    email: &EmailAddress,
) -> Result<Option<String>, StoreError> {
    let row = sqlx::query!(
        r#"SELECT slots.state, credentials.password_hash AS "password_hash?"
           FROM slots LEFT JOIN credentials ON credentials.user_id = $2 AND credentials.email = $3
           WHERE slots.slot = $1"#,
        i16::from(user.slot()),
        user.as_i64(),
        email.as_str(),
    )
    .fetch_optional(conn)
    .await?
    .ok_or(StoreError::WrongShard(user.slot()))?;
    readable(&row.state, user.slot())?;
    Ok(row.password_hash)
}

/// Notes that the user's login with that e-mail is active; nothing if the user does not go by it. A guest becomes a
/// customer thereby, and every session of the guest ends: whoever else holds its tokens gets none of the account's.
pub(crate) async fn settle(conn: &mut PgConnection, user: UserId, email: &EmailAddress) -> Result<(), StoreError> {
    users::lock(conn, user).await?;
    if activate(conn, user, email).await? && users::promote(conn, user).await? {
        sessions::end_all(conn, user).await?;
    }
    Ok(())
}

async fn activate(conn: &mut PgConnection, user: UserId, email: &EmailAddress) -> Result<bool, StoreError> {
    let done = sqlx::query!(
        "UPDATE credentials SET activated_at = coalesce(activated_at, shard_now()) WHERE user_id = $1 AND email = $2",
        user.as_i64(),
        email.as_str(),
    )
    .execute(conn)
    .await?;
    Ok(done.rows_affected() == 1)
}

/// Replaces a hash that was made with older parameters.
pub(crate) async fn rehash(conn: &mut PgConnection, user: UserId, password_hash: &str) -> Result<(), StoreError> {
    sqlx::query!("UPDATE credentials SET password_hash = $2 WHERE user_id = $1", user.as_i64(), password_hash)
        .execute(conn)
        .await?;
    Ok(())
}

/// Credentials that have waited for more than an hour to become active, at most `limit`, the oldest first.
pub(crate) async fn list_pending(conn: &mut PgConnection, limit: i64) -> Result<Vec<Pending>, StoreError> {
    let rows = sqlx::query!(
        "SELECT user_id, email FROM credentials
         WHERE activated_at IS NULL AND changed_at < shard_now() - interval '1 hour' ORDER BY changed_at LIMIT $1",
        limit,
    )
    .fetch_all(conn)
    .await?;
    rows.into_iter()
        .map(|row| {
            let user =
                UserId::from_i64(row.user_id).map_err(|error| StoreError::corrupt("credentials.user_id", error))?;
            let email = row.email.parse().map_err(|_| StoreError::corrupt("credentials.email", user))?;
            Ok(Pending { user, email })
        })
        .collect()
}

/// Removes credentials that lost: still not active, and not replaced since.
pub(crate) async fn delete_pending(conn: &mut PgConnection, pending: &Pending) -> Result<(), StoreError> {
    sqlx::query!(
        "DELETE FROM credentials WHERE user_id = $1 AND email = $2 AND activated_at IS NULL
         AND changed_at < shard_now() - interval '1 hour'",
        pending.user.as_i64(),
        pending.email.as_str(),
    )
    .execute(conn)
    .await?;
    Ok(())
}
