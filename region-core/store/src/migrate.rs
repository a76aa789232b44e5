//! Schema migrations, one list per kind of database, and the first rows of a shard.
//!
//! Migrations expand, then contract, so that old and new code run side by side. A replica of the catalog is migrated
//! before its primary, for logical replication copies no DDL.

use shared::{RegionName, ShardId, Slot};
use sqlx::migrate::{MigrateError, Migrator};
use sqlx::{PgConnection, PgPool};

use crate::error::StoreError;

/// What a shard's database looks like.
pub static SHARD: Migrator = sqlx::migrate!("migrations/shard");
/// What a catalog database looks like: schemas `catalog` and `control`.
pub static CATALOG: Migrator = sqlx::migrate!("migrations/catalog");

/// Brings a database up to date; what is already applied is left alone.
///
/// # Errors
/// When a migration fails (it is rolled back) or an applied one was changed since.
pub async fn run(migrator: &Migrator, pool: &PgPool) -> Result<(), MigrateError> {
    migrator.run(pool).await
}

/// Writes a shard's first rows: who it is and which slots it owns. On a shard that has them it changes nothing.
///
/// # Errors
/// [`StoreError::Corrupt`] when the database says that it is another shard.
pub async fn found_shard(
    conn: &mut PgConnection,
    shard: ShardId,
    region: &RegionName,
    slots: &[Slot],
    epoch: u64,
) -> Result<(), StoreError> {
    let epoch = i64::try_from(epoch).map_err(|_| StoreError::corrupt("slot_map.epoch", epoch))?;
    let founded = sqlx::query!(
        "INSERT INTO shard_meta (shard_id, region) VALUES ($1, $2) ON CONFLICT (one_row) DO NOTHING",
        shard.number(),
        region.as_str(),
    )
    .execute(&mut *conn)
    .await?;
    let is = sqlx::query!("SELECT shard_id, region FROM shard_meta").fetch_one(&mut *conn).await?;
    if is.shard_id != shard.number() || is.region != region.as_str() {
        return Err(StoreError::corrupt("shard_meta", format!("shard {} of {}", is.shard_id, is.region)));
    }
    if founded.rows_affected() == 1 {
        let slots: Vec<i16> = slots.iter().copied().map(i16::from).collect();
        sqlx::query!(
            "INSERT INTO slots (slot, state, epoch) SELECT slot, 'owner', $2 FROM unnest($1::smallint[]) AS mine (slot)",
            &slots,
            epoch,
        )
        .execute(conn)
        .await?;
    }
    Ok(())
}
