//! Stock levels for display: what the shards of this region have free, as of a moment ago.

use std::collections::HashMap;
use std::time::Duration;

use moka::sync::Cache;
use region_core_store::{Shards, StoreError};
use shared::Sku;
use shared::api::catalog::StockLevel;

use crate::store::free_units;

/// Reads levels through a small cache: what was asked within the last half second is not asked again.
#[derive(Clone, Debug)]
pub struct StockLevels {
    shards: Shards,
    recent: Cache<Sku, u64>,
}

impl StockLevels {
    /// Levels over those shards.
    #[must_use]
    pub fn new(shards: Shards) -> Self {
        let recent = Cache::builder().max_capacity(100_000).time_to_live(Duration::from_millis(500)).build();
        Self { shards, recent }
    }

    /// Free units of each SKU over all shards of the region, in the order asked for. A SKU that no shard has ever had
    /// counts as none.
    ///
    /// # Errors
    /// When a shard does not answer.
    pub async fn of(&self, skus: &[Sku]) -> Result<Vec<StockLevel>, StoreError> {
        let unknown: Vec<String> =
            skus.iter().filter(|sku| !self.recent.contains_key(*sku)).map(|sku| sku.as_str().to_owned()).collect();
        let mut fresh: HashMap<Sku, u64> = HashMap::new();
        if !unknown.is_empty() {
            fresh.extend(
                skus.iter().filter(|sku| unknown.iter().any(|name| name == sku.as_str())).map(|sku| (sku.clone(), 0)),
            );
            for shard in self.shards.all() {
                for (sku, free) in free_units(&mut *shard.read().await?, &unknown).await? {
                    *fresh.entry(sku).or_default() += free;
                }
            }
        }
        let level = |sku: &Sku| {
            let units = fresh.get(sku).copied().or_else(|| self.recent.get(sku)).unwrap_or(0);
            StockLevel { sku: sku.clone(), units, approximate: true }
        };
        let levels: Vec<_> = skus.iter().map(level).collect();
        fresh.into_iter().for_each(|(sku, units)| self.recent.insert(sku, units));
        Ok(levels)
    }
}
