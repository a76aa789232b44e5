//! `region-core delivery`: a table of what delivery costs, into the catalog. Repeatable.

use std::path::{Path, PathBuf};

use anyhow::Context;
use region_core_catalog::{DeliveryTable, SetDelivery, read_delivery, set_delivery};

use super::{ConfigFile, PATIENCE};
use crate::region;

/// Largest file that is read.
const MAX_FILE_BYTES: u64 = 1024 * 1024;

/// Arguments of the command.
#[derive(clap::Args)]
pub(crate) struct Delivery {
    /// The table: a TOML file like infra/demo/delivery.toml.
    file: PathBuf,
    /// Leave a table that is in force already as it is.
    #[arg(long)]
    only_first: bool,
    #[command(flatten)]
    config: ConfigFile,
}

impl Delivery {
    pub(crate) async fn run(self) -> anyhow::Result<()> {
        let config = self.config.read()?;
        let table = read(&self.file).with_context(|| self.file.display().to_string())?;
        let (own, store) = (table.currency(), config.order.currency);
        anyhow::ensure!(own == store, "{}: currency: {own}, but the store sells in {store}", self.file.display());
        let primary = region::catalog_pool(&config.catalog.primary_url, PATIENCE).context("catalog.primary_url")?;
        match set_delivery(&primary, &table, self.only_first).await.context("writing the table")? {
            SetDelivery::Changed { version } => println!("delivery: in force from version {version} of the catalog on"),
            SetDelivery::AsItWas { version } => println!("delivery: as it was since version {version} of the catalog"),
        }
        Ok(())
    }
}

fn read(file: &Path) -> anyhow::Result<DeliveryTable> {
    anyhow::ensure!(std::fs::metadata(file)?.len() <= MAX_FILE_BYTES, "longer than 1 MiB");
    Ok(read_delivery(&std::fs::read_to_string(file)?)?)
}
