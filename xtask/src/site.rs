//! Where the parts of a running store are, as its own configuration files say. It holds passwords.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, bail};
use serde::Deserialize;
use shared::{Currency, RegionName};

use crate::instance::Instance;

/// A running store.
#[derive(Debug)]
pub(crate) struct Site {
    /// A core's configuration; commands of `region-core` reach every database with any of them.
    pub(crate) core_config: PathBuf,
    /// The store's one currency.
    pub(crate) currency: Currency,
    /// Every shard's database.
    pub(crate) shards: Vec<String>,
    /// A copy of the catalog.
    pub(crate) catalog: String,
    /// The payment provider.
    pub(crate) sandbox: String,
    /// Every region, with an address from which the PoP meets its shoppers; the first is the one that it meets all
    /// others in.
    pub(crate) regions: Vec<(RegionName, Option<IpAddr>)>,
}

#[derive(Deserialize)]
struct Core {
    catalog: Url,
    shards: Vec<Url>,
    payment: Url,
    order: Order,
}

#[derive(Deserialize)]
struct Url {
    url: String,
}

#[derive(Deserialize)]
struct Order {
    currency: Currency,
}

#[derive(Deserialize)]
struct Pop {
    nearest: RegionName,
    regions: BTreeMap<RegionName, Region>,
}

#[derive(Deserialize)]
struct Region {
    #[serde(default)]
    near: Vec<String>,
}

impl Site {
    /// The store that `up` of this instance runs.
    pub(crate) fn of(instance: &Instance) -> anyhow::Result<Self> {
        let folder = instance.root.join("config");
        let core_config = first_core(&folder)?;
        let core: Core = read(&core_config)?;
        let pop: Pop = read(&folder.join("pop.toml"))?;
        Ok(Self {
            core_config,
            currency: core.order.currency,
            shards: core.shards.into_iter().map(|shard| shard.url).collect(),
            catalog: core.catalog.url,
            sandbox: core.payment.url,
            regions: regions(pop)?,
        })
    }
}

fn regions(pop: Pop) -> anyhow::Result<Vec<(RegionName, Option<IpAddr>)>> {
    let Pop { nearest, mut regions } = pop;
    regions.remove(&nearest);
    let mut all = vec![(nearest, None)];
    for (name, region) in regions {
        // A region that no network is near to meets nobody who is new.
        let Some(network) = region.near.first() else { continue };
        let address = network.split('/').next().unwrap_or_default();
        let address = address.parse().with_context(|| format!("regions.{name}.near: {network:?} is no network"))?;
        all.push((name, Some(address)));
    }
    Ok(all)
}

/// The first of the files `core.NAME.toml`.
fn first_core(folder: &Path) -> anyhow::Result<PathBuf> {
    let entries = std::fs::read_dir(folder).with_context(|| format!("no configuration in {}", folder.display()))?;
    let is_core = |name: &str| name.starts_with("core.") && name.ends_with(".toml");
    let cores = entries.flatten().filter(|entry| entry.file_name().to_str().is_some_and(is_core));
    match cores.map(|entry| entry.path()).min() {
        Some(path) => Ok(path),
        None => bail!("no core's configuration in {}", folder.display()),
    }
}

fn read<T: serde::de::DeserializeOwned>(path: &Path) -> anyhow::Result<T> {
    let text = std::fs::read_to_string(path).with_context(|| format!("cannot read {}", path.display()))?;
    // The error's own text quotes the line, and lines hold passwords.
    toml::from_str(&text).map_err(|error| anyhow::anyhow!("{}: {}", path.display(), error.message()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parsed(text: &str) -> anyhow::Result<Vec<(String, Option<IpAddr>)>> {
        let regions = regions(toml::from_str(text).unwrap())?;
        Ok(regions.into_iter().map(|(name, address)| (name.to_string(), address)).collect())
    }

    #[test]
    fn the_nearest_region_comes_first_and_others_have_an_address_of_their_own() {
        let text = "nearest = \"us\"\n[regions.eu]\ncores = []\nnear = [\"127.0.1.1/32\", \"127.0.1.2/32\"]\n\
                    [regions.sg]\ncores = []\n[regions.us]\ncores = []\n";
        let wanted = [("us", None), ("eu", Some("127.0.1.1".parse().unwrap()))];
        assert_eq!(parsed(text).unwrap(), wanted.map(|(name, address)| (name.to_owned(), address)));
    }

    #[test]
    fn a_network_that_is_none_is_named() {
        let error = parsed("nearest = \"us\"\n[regions.eu]\nnear = [\"here\"]\n").unwrap_err().to_string();
        assert_eq!(error, "regions.eu.near: \"here\" is no network");
    }
}
