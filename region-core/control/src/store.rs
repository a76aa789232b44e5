//! Its SQL, on a catalog database. Writers use the primary; readers may use their region's copy.

use std::collections::BTreeMap;

use shared::region::{NotARegion, NotAShard, SlotMapError};
use shared::token::{KeyId, KeySet, PublicKey};
use shared::{RegionName, ShardId, SlotMap};
use sqlx::{PgConnection, PgPool};

/// Serialises writers of the control schema: `control` in ASCII.
const WRITERS: i64 = 0x63_6f6e_7472_6f6c;

/// Why the control schema could not be read or written.
#[derive(Debug, thiserror::Error)]
pub enum ControlError {
    /// The database failed.
    #[error("the control schema could not be reached")]
    Sql(#[from] sqlx::Error),
    /// What is stored is no slot map.
    #[error("the stored slot map is damaged")]
    SlotMap(#[from] SlotMapError),
    /// A stored shard has no usable number.
    #[error("a stored shard has no usable number")]
    Shard(#[from] NotAShard),
    /// A stored region has no usable name.
    #[error("a stored region has no usable name")]
    Region(#[from] NotARegion),
    /// A stored epoch is negative.
    #[error("the stored epoch {0} is negative")]
    Epoch(i64),
    /// The name already stands for another key or another region, or for a key that was retired.
    #[error("the key id {0} belongs to another key or to a retired one")]
    KeyIdTaken(KeyId),
    /// A stored endpoint is in no state that there is.
    #[error("a stored endpoint is in the unknown state {0:?}")]
    EndpointState(String),
}

/// The slot map, once one was published. Reads it all at one instant.
///
/// # Errors
/// [`ControlError`] when the database fails or holds no sound map.
pub async fn load_slot_map(pool: &PgPool) -> Result<Option<SlotMap>, ControlError> {
    let mut tx = pool.begin_with("BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY").await?;
    let map = read_slot_map(&mut tx).await?;
    tx.commit().await?;
    Ok(map)
}

async fn read_slot_map(conn: &mut PgConnection) -> Result<Option<SlotMap>, ControlError> {
    let Some(epoch) = sqlx::query_scalar!("SELECT epoch FROM control.slot_map").fetch_optional(&mut *conn).await?
    else {
        return Ok(None);
    };
    let mut shards = BTreeMap::new();
    for row in sqlx::query!("SELECT shard_id, region FROM control.shards").fetch_all(&mut *conn).await? {
        shards.insert(ShardId::try_from(row.shard_id)?, row.region.parse::<RegionName>()?);
    }
    let owners = sqlx::query!("SELECT slot, shard_id FROM control.slot_owners ORDER BY slot").fetch_all(conn).await?;
    // A gap would shift every later slot to a wrong owner.
    if let Some((gap, _)) = (0..).zip(&owners).find(|(slot, row)| *slot != row.slot) {
        return Err(SlotMapError::Unowned(u16::try_from(gap).unwrap_or_default()).into());
    }
    let owners = owners.into_iter().map(|row| ShardId::try_from(row.shard_id)).collect::<Result<_, _>>()?;
    let epoch = u64::try_from(epoch).map_err(|_| ControlError::Epoch(epoch))?;
    Ok(Some(SlotMap::new(epoch, shards, owners)?))
}

/// Publishes the first map of a store and answers the map that now stands: the one that was there, if there was one.
///
/// # Errors
/// [`ControlError`]; nothing is changed then.
pub async fn publish_first_slot_map(primary: &PgPool, map: &SlotMap) -> Result<SlotMap, ControlError> {
    let mut tx = primary.begin().await?;
    sqlx::query!("SELECT pg_advisory_xact_lock($1)", WRITERS).execute(&mut *tx).await?;
    if let Some(standing) = read_slot_map(&mut tx).await? {
        return Ok(standing);
    }
    let (shards, regions): (Vec<i16>, Vec<String>) =
        map.shards().map(|(shard, region)| (shard.number(), region.to_string())).unzip();
    sqlx::query!(
        "INSERT INTO control.shards (shard_id, region) SELECT * FROM unnest($1::smallint[], $2::text[])",
        &shards,
        &regions,
    )
    .execute(&mut *tx)
    .await?;
    let (slots, owners): (Vec<i16>, Vec<i16>) =
        shared::Slot::all().map(|slot| (i16::from(slot), map.shard_of(slot).number())).unzip();
    sqlx::query!(
        "INSERT INTO control.slot_owners (slot, shard_id) SELECT * FROM unnest($1::smallint[], $2::smallint[])",
        &slots,
        &owners,
    )
    .execute(&mut *tx)
    .await?;
    let epoch = i64::try_from(map.epoch()).unwrap_or(i64::MAX);
    sqlx::query!("INSERT INTO control.slot_map (epoch) VALUES ($1)", epoch).execute(&mut *tx).await?;
    tx.commit().await?;
    Ok(map.clone())
}

/// Publishes the public half of a region's signing key. Publishing the same key again changes nothing.
///
/// # Errors
/// [`ControlError::KeyIdTaken`] when the name stands for other bytes, another region or a retired key.
pub async fn publish_key(
    primary: &PgPool,
    region: &RegionName,
    kid: &KeyId,
    public_key: &[u8; 32],
) -> Result<(), ControlError> {
    let same = sqlx::query_scalar!(
        r#"INSERT INTO control.signing_keys AS standing (kid, region, public_key) VALUES ($1, $2, $3)
           ON CONFLICT (kid) DO UPDATE SET kid = standing.kid
               WHERE standing.region = excluded.region AND standing.public_key = excluded.public_key
                   AND standing.retired_at IS NULL
           RETURNING true AS "same!""#,
        kid.0,
        region.as_str(),
        &public_key[..],
    )
    .fetch_optional(primary)
    .await?;
    same.map(|_| ()).ok_or_else(|| ControlError::KeyIdTaken(kid.clone()))
}

/// Every region's keys that are not retired, newest first.
///
/// # Errors
/// [`ControlError::Sql`].
pub async fn list_keys(pool: &PgPool) -> Result<KeySet, ControlError> {
    let rows = sqlx::query!(
        "SELECT kid, public_key FROM control.signing_keys WHERE retired_at IS NULL ORDER BY created_at DESC, kid"
    )
    .fetch_all(pool)
    .await?;
    // The table's CHECK keeps every key at 32 bytes.
    let key = |(kid, bytes): (String, Vec<u8>)| Some(PublicKey::new(KeyId(kid), &<[u8; 32]>::try_from(bytes).ok()?));
    Ok(KeySet { keys: rows.into_iter().filter_map(|row| key((row.kid, row.public_key))).collect() })
}

/// Retires a key: tokens signed with it are refused once the copies have followed. `false` if no live key has the name.
///
/// # Errors
/// [`ControlError::Sql`].
pub async fn retire_key(primary: &PgPool, kid: &KeyId) -> Result<bool, ControlError> {
    let done = sqlx::query!(
        "UPDATE control.signing_keys SET retired_at = now() WHERE kid = $1 AND retired_at IS NULL",
        kid.0,
    )
    .execute(primary)
    .await?;
    Ok(done.rows_affected() == 1)
}

#[cfg(test)]
mod tests {
    use region_core_store::test_support::catalog_database;

    use super::*;

    fn even(epoch: u64, shards: i16) -> SlotMap {
        let region = |number: i16| if number <= 2 { "eu" } else { "us" }.parse().unwrap();
        let shards = (1..=shards).map(|number| (ShardId::try_from(number).unwrap(), region(number))).collect();
        SlotMap::even(epoch, shards).unwrap()
    }

    #[tokio::test]
    async fn the_first_map_stands_and_a_second_first_changes_nothing() {
        let pool = catalog_database().await.pool;
        assert_eq!(load_slot_map(&pool).await.unwrap(), None);
        let first = even(1, 4);
        assert_eq!(publish_first_slot_map(&pool, &first).await.unwrap(), first);
        assert_eq!(publish_first_slot_map(&pool, &even(9, 2)).await.unwrap(), first);
        assert_eq!(load_slot_map(&pool).await.unwrap(), Some(first));
    }

    #[tokio::test]
    async fn two_processes_that_publish_at_once_agree() {
        let pool = catalog_database().await.pool;
        let (two, four) = (even(1, 2), even(1, 4));
        let (left, right) = tokio::join!(publish_first_slot_map(&pool, &two), publish_first_slot_map(&pool, &four));
        assert_eq!(left.unwrap(), right.unwrap());
    }

    #[tokio::test]
    async fn a_map_with_a_hole_is_refused() {
        let pool = catalog_database().await.pool;
        publish_first_slot_map(&pool, &even(1, 2)).await.unwrap();
        sqlx::query!("DELETE FROM control.slot_owners WHERE slot = 77").execute(&pool).await.unwrap();
        let error = load_slot_map(&pool).await.unwrap_err();
        assert!(matches!(error, ControlError::SlotMap(SlotMapError::Unowned(77))), "{error:?}");
    }

    #[tokio::test]
    async fn a_key_is_listed_until_it_is_retired_and_its_name_is_not_reused() {
        let pool = catalog_database().await.pool;
        let (eu, kid) = ("eu".parse().unwrap(), KeyId("eu-1".to_owned()));
        publish_key(&pool, &eu, &kid, &[7; 32]).await.unwrap();
        publish_key(&pool, &eu, &kid, &[7; 32]).await.unwrap();
        let taken = publish_key(&pool, &eu, &kid, &[8; 32]).await.unwrap_err();
        assert!(matches!(taken, ControlError::KeyIdTaken(_)), "{taken:?}");
        assert_eq!(list_keys(&pool).await.unwrap().find(&kid).unwrap().bytes(), Some([7; 32]));
        assert!(retire_key(&pool, &kid).await.unwrap());
        assert!(!retire_key(&pool, &kid).await.unwrap());
        assert_eq!(list_keys(&pool).await.unwrap(), KeySet::default());
        assert!(publish_key(&pool, &eu, &kid, &[7; 32]).await.is_err(), "a retired key came back");
    }
}
