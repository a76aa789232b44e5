//! `region-core migrate`: schemas, the first slot map, and the shards' first rows. Repeatable.

use std::collections::BTreeMap;

use anyhow::Context;
use region_core_control::publish_first_slot_map;
use region_core_store::migrate::{self, CATALOG, SHARD};
use secrecy::{ExposeSecret, SecretString};
use shared::{Slot, SlotMap};
use sqlx::PgPool;

use crate::config::{Config, ShardAddress};

pub(crate) async fn run(config: &Config) -> anyhow::Result<()> {
    // A subscriber first: logical replication copies rows, never DDL.
    catalog(&config.catalog.url).await.context("catalog.url")?;
    let primary = catalog(&config.catalog.primary_url).await.context("catalog.primary_url")?;
    let map = slot_map(config, &primary).await.context("the slot map")?;
    for (index, shard) in config.shards.iter().enumerate() {
        found(shard, &map).await.with_context(|| format!("shards[{index}], shard {}", shard.id))?;
    }
    tracing::info!(slot_map.epoch = map.epoch(), shards = config.shards.len(), "every database is up to date");
    Ok(())
}

async fn catalog(url: &SecretString) -> anyhow::Result<PgPool> {
    let pool = PgPool::connect(url.expose_secret()).await.context("cannot be reached")?;
    migrate::run(&CATALOG, &pool).await?;
    Ok(pool)
}

/// The map that stands; in a new store an even one, published now.
async fn slot_map(config: &Config, primary: &PgPool) -> anyhow::Result<SlotMap> {
    let shards: BTreeMap<_, _> = config.shards.iter().map(|shard| (shard.id, shard.region.clone())).collect();
    Ok(publish_first_slot_map(primary, &SlotMap::even(1, shards)?).await?)
}

async fn found(shard: &ShardAddress, map: &SlotMap) -> anyhow::Result<()> {
    let pool = PgPool::connect(shard.url.expose_secret()).await.context("cannot be reached")?;
    migrate::run(&SHARD, &pool).await?;
    let slots: Vec<Slot> = map.slots_of(shard.id).collect();
    let mut transaction = pool.begin().await?;
    migrate::found_shard(&mut transaction, shard.id, &shard.region, &slots, map.epoch()).await?;
    transaction.commit().await?;
    Ok(())
}
