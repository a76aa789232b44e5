//! `region-core import`: products into the catalog, units into the shards' ledgers. Repeatable: a file counts once.

use std::collections::BTreeMap;
use std::path::PathBuf;

use anyhow::Context;
use region_core_catalog::{ImportOptions, Receipt as Incoming, import, split};
use region_core_inventory::{Receipt, receive};
use region_core_store::{PoolLimits, Shard, StoreError};
use shared::{Currency, ShardId};
use shared_clock::{Clock, Entropy};

use super::{ConfigFile, PATIENCE};
use crate::config::Config;
use crate::region;

/// Receipts booked in one transaction.
const BATCH: usize = 500;
/// Largest file that is read.
const MAX_FILE_BYTES: u64 = 512 * 1024 * 1024;

/// Arguments of the command.
#[derive(clap::Args)]
pub(crate) struct Import {
    /// The file: a shop's invoice lines, or a Shopify product CSV; plain or gzip.
    file: PathBuf,
    /// The currency of its prices.
    #[arg(long, value_name = "CODE")]
    currency: Option<Currency>,
    /// Invoice lines bring in this many times the units that they asked for.
    #[arg(long, default_value_t = 10, value_name = "N", value_parser = clap::value_parser!(u64).range(0..=10_000))]
    stock_factor: u64,
    /// Print the report as one JSON object.
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    config: ConfigFile,
}

impl Import {
    pub(crate) async fn run(self) -> anyhow::Result<()> {
        let config = self.config.read()?;
        let file = read(&self.file)?;
        let primary = region::catalog_pool(&config.catalog.primary_url, PATIENCE).context("catalog.primary_url")?;
        let options =
            ImportOptions { currency: self.currency.unwrap_or(config.order.currency), stock_factor: self.stock_factor };
        let imported = import(&primary, &Clock::system(), &Entropy::system(), file, options)
            .await
            .with_context(|| self.file.display().to_string())?;
        let received = receive_everywhere(&config, &imported.receipts).await.context("receiving stock")?;
        if self.json {
            let mut report = serde_json::to_value(&imported.report)?;
            report["received_units"] = received.into();
            println!("{report}");
        } else {
            print!("{}", imported.report);
            println!("received: {received} units new to the shards");
        }
        Ok(())
    }
}

fn read(file: &std::path::Path) -> anyhow::Result<Vec<u8>> {
    let size = std::fs::metadata(file).with_context(|| file.display().to_string())?.len();
    anyhow::ensure!(size <= MAX_FILE_BYTES, "{}: longer than 512 MiB", file.display());
    std::fs::read(file).with_context(|| file.display().to_string())
}

/// Splits every receipt over all shards of the store and books the parts. Returns the units that were new.
async fn receive_everywhere(config: &Config, receipts: &[Incoming]) -> anyhow::Result<u64> {
    let addresses: BTreeMap<ShardId, _> = config.shards.iter().map(|shard| (shard.id, shard)).collect();
    let mut parts: BTreeMap<ShardId, Vec<Receipt>> = BTreeMap::new();
    for receipt in receipts {
        for (shard, units) in addresses.keys().zip(split(receipt.units, addresses.len(), &receipt.sku)) {
            if units > 0 {
                let part = Receipt { reference: receipt.reference.clone(), sku: receipt.sku.clone(), units };
                parts.entry(*shard).or_default().push(part);
            }
        }
    }
    let mut received = 0;
    for (id, parts) in parts {
        let limits = PoolLimits { min_connections: 0, max_connections: 1, acquire_timeout: PATIENCE };
        let shard = Shard::new(id, &addresses[&id].url, limits)?;
        for batch in parts.chunks(BATCH) {
            let batch = batch.to_vec();
            let booked =
                shard.write("inventory.receive", async move |conn| Ok::<_, StoreError>(receive(conn, &batch).await?));
            received += booked.await.with_context(|| format!("shard {id}"))?;
        }
    }
    Ok(received)
}
