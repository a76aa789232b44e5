//! What is looked at: plain URLs and paths, from whoever started the system.

use std::path::{Path, PathBuf};

use anyhow::Context as _;
use serde::Deserialize;

/// Everything that the audit reads. It holds passwords.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Layout {
    /// Every shard of the store; the slot map must know no other.
    pub(crate) shards: Vec<ShardSite>,
    /// The catalog's primary: slot map and price history.
    pub(crate) catalog: String,
    /// The payment provider's own log, if there is one to compare with.
    #[serde(default)]
    pub(crate) provider: Option<ProviderLog>,
    /// Orders that a client was told of: one JSON object a line.
    #[serde(default)]
    pub(crate) acknowledged: Option<PathBuf>,
}

/// One shard's database.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct ShardSite {
    /// Its number.
    pub(crate) id: i16,
    /// Its region.
    pub(crate) region: String,
    /// How the audit reaches it.
    pub(crate) url: String,
}

/// Where the provider says what it did.
#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum ProviderLog {
    /// The sandbox's durable log: every fact of every payment.
    Journal(PathBuf),
    /// The sandbox's origin: it lists money that moved, and nothing else.
    Http(String),
}

#[derive(Deserialize)]
struct Core {
    catalog: Catalog,
    shards: Vec<ShardSite>,
    payment: Payment,
}

#[derive(Deserialize)]
struct Catalog {
    primary_url: String,
}

#[derive(Deserialize)]
struct Payment {
    url: String,
}

impl Layout {
    /// The system that a core with this configuration is part of. Its provider is asked for the money that moved; name its
    /// journal instead where that can be read, for it tells more.
    ///
    /// # Errors
    /// When the file cannot be read or understood.
    pub(crate) fn of_core(config: &Path) -> anyhow::Result<Self> {
        let text = std::fs::read_to_string(config).with_context(|| format!("cannot read {}", config.display()))?;
        // The error's own text quotes the line, and lines hold passwords.
        let core: Core =
            toml::from_str(&text).map_err(|error| anyhow::anyhow!("{}: {}", config.display(), error.message()))?;
        let provider = Some(ProviderLog::Http(core.payment.url));
        Ok(Self { shards: core.shards, catalog: core.catalog.primary_url, provider, acknowledged: None })
    }

    /// The system that a JSON file describes in this structure's own words.
    ///
    /// # Errors
    /// When the file cannot be read or understood.
    pub(crate) fn of_json(path: &Path) -> anyhow::Result<Self> {
        let text = std::fs::read(path).with_context(|| format!("cannot read {}", path.display()))?;
        serde_json::from_slice(&text).with_context(|| format!("cannot understand {}", path.display()))
    }
}
