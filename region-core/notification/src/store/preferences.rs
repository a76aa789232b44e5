//! The tables `mail_preferences`, of addresses, and `user_preferences`.

use region_core_store::StoreError;
use shared::api::account::MailPreferences;
use shared::{EmailAddress, UserId};
use sqlx::PgConnection;

/// Those of the address of that digest: everything is wanted until somebody says otherwise.
pub(crate) async fn find(conn: &mut PgConnection, address: &[u8; 32]) -> Result<MailPreferences, StoreError> {
    let parcels = sqlx::query_scalar!("SELECT parcels FROM mail_preferences WHERE address_digest = $1", &address[..]);
    Ok(parcels.fetch_optional(conn).await?.map_or_else(MailPreferences::default, |parcels| MailPreferences { parcels }))
}

/// Keeps them.
pub(crate) async fn keep(
    conn: &mut PgConnection,
    address: &[u8; 32],
    wanted: MailPreferences,
) -> Result<(), StoreError> {
    sqlx::query!(
        "INSERT INTO mail_preferences (address_digest, slot, parcels) VALUES ($1::bytea, $2, $3)
         ON CONFLICT (address_digest) DO UPDATE SET parcels = excluded.parcels, changed_at = shard_now()",
        &address[..],
        i16::from(EmailAddress::slot_of(address)),
        wanted.parcels,
    )
    .execute(conn)
    .await?;
    Ok(())
}

/// Those of a user.
pub(crate) async fn find_of_user(conn: &mut PgConnection, user: UserId) -> Result<MailPreferences, StoreError> {
    let parcels = sqlx::query_scalar!("SELECT parcels FROM user_preferences WHERE user_id = $1", user.as_i64());
    Ok(parcels.fetch_optional(conn).await?.map_or_else(MailPreferences::default, |parcels| MailPreferences { parcels }))
}

/// Keeps them.
pub(crate) async fn keep_of_user(
    conn: &mut PgConnection,
    user: UserId,
    wanted: MailPreferences,
) -> Result<(), StoreError> {
    sqlx::query!(
        "INSERT INTO user_preferences (user_id, parcels) VALUES ($1, $2)
         ON CONFLICT (user_id) DO UPDATE SET parcels = excluded.parcels, changed_at = shard_now()",
        user.as_i64(),
        wanted.parcels,
    )
    .execute(conn)
    .await?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use region_core_store::test_support::shard_database;

    use super::*;

    #[tokio::test]
    async fn everything_is_wanted_until_somebody_says_otherwise_for_his_own_address() {
        let database = shard_database().await;
        let mut conn = database.pool.acquire().await.unwrap();
        assert!(find(&mut conn, &[1; 32]).await.unwrap().parcels);
        for parcels in [false, false, true, false] {
            keep(&mut conn, &[1; 32], MailPreferences { parcels }).await.unwrap();
            assert_eq!(find(&mut conn, &[1; 32]).await.unwrap(), MailPreferences { parcels });
        }
        assert!(find(&mut conn, &[2; 32]).await.unwrap().parcels);
    }
}
