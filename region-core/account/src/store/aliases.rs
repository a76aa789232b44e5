//! Guests whose owner signed in to an older account. Kept in both shards: either can tell whose order it is.

use region_core_store::StoreError;
use shared::{Slot, UserId};
use sqlx::PgConnection;

/// Notes that `guest` is `user`. Repeatable.
pub(crate) async fn record(conn: &mut PgConnection, user: UserId, guest: UserId) -> Result<(), StoreError> {
    sqlx::query!(
        "INSERT INTO user_aliases (user_id, guest_id) VALUES ($1, $2) ON CONFLICT DO NOTHING",
        user.as_i64(),
        guest.as_i64(),
    )
    .execute(conn)
    .await?;
    Ok(())
}

/// Whether `caller` may see what `owner` owns: his own, or a guest's who turned out to be him. Ask in the shard of either.
///
/// # Errors
/// Those of the store.
pub async fn may_see(conn: &mut PgConnection, caller: UserId, owner: UserId) -> Result<bool, StoreError> {
    if caller == owner {
        return Ok(true);
    }
    let known = sqlx::query_scalar!(
        r#"SELECT EXISTS (SELECT FROM user_aliases WHERE guest_id = $1 AND user_id = $2) AS "known!""#,
        owner.as_i64(),
        caller.as_i64(),
    );
    Ok(known.fetch_one(conn).await?)
}

/// The guests that `user` once was, newest first, at most 100. Ask in the user's shard; their orders may live elsewhere.
///
/// # Errors
/// Those of the store.
pub async fn guests_of(conn: &mut PgConnection, user: UserId) -> Result<Vec<UserId>, StoreError> {
    let ids = sqlx::query_scalar!(
        "SELECT guest_id FROM user_aliases WHERE user_id = $1 ORDER BY created_at DESC, guest_id LIMIT 100",
        user.as_i64(),
    );
    let ids = ids.fetch_all(conn).await?;
    ids.into_iter()
        .map(|id| UserId::from_i64(id).map_err(|error| StoreError::corrupt("user_aliases.guest_id", error)))
        .collect()
}

/// Whether an alias of this guest has a place in that slot: it lives with its user and with its guest.
pub(crate) fn belongs_in(slot: Slot, user: UserId, guest: UserId) -> bool {
    slot == user.slot() || slot == guest.slot()
}
