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
    /// The carrier sandbox's own log, if there is one to compare with.
    #[serde(default)]
    pub(crate) carrier: Option<PathBuf>,
    /// Orders that a client was told of: one JSON object a line.
    #[serde(default)]
    pub(crate) acknowledged: Option<PathBuf>,
}

/// One shard's database.
#[derive(Clone, Debug, Deserialize)]
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
    /// The system that a core with this configuration is part of. Its provider is asked for the money that moved; name
    /// its journal instead where that can be read, for it tells more.
    ///
    /// # Errors
    /// When the file cannot be read or understood.
    pub(crate) fn of_core(config: &Path) -> anyhow::Result<Self> {
        let text = std::fs::read_to_string(config).with_context(|| format!("cannot read {}", config.display()))?;
        // The error's own text quotes the line, and lines hold passwords.
        let core: Core =
            toml::from_str(&text).map_err(|error| anyhow::anyhow!("{}: {}", config.display(), error.message()))?;
        let provider = Some(ProviderLog::Http(core.payment.url));
        Ok(Self { shards: core.shards, catalog: core.catalog.primary_url, provider, carrier: None, acknowledged: None })
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

#[cfg(test)]
mod tests {
    use super::*;

    fn file(text: &str) -> tempfile::NamedTempFile {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), text).unwrap();
        file
    }

    #[test]
    fn a_core_s_configuration_names_the_whole_store() {
        let config = "region = 'us'\n[catalog]\nurl = 'copy'\nprimary_url = 'primary'\n[payment]\nprovider = 'sandbox'\n\
                      url = 'http://pay'\n[[shards]]\nid = 3\nregion = 'eu'\nurl = 'one'\n";
        let layout = Layout::of_core(file(config).path()).unwrap();
        let shards: Vec<_> =
            layout.shards.iter().map(|site| (site.id, site.region.as_str(), site.url.as_str())).collect();
        assert_eq!((shards, layout.catalog.as_str()), (vec![(3, "eu", "one")], "primary"));
        assert!(matches!(layout.provider, Some(ProviderLog::Http(url)) if url == "http://pay"));
    }

    #[test]
    fn a_file_that_describes_a_system_says_nothing_else() {
        let text = r#"{"shards": [{"id": 1, "region": "eu", "url": "one"}], "catalog": "two",
                       "provider": {"journal": "payments.log"}, "acknowledged": "orders.jsonl"}"#;
        let layout = Layout::of_json(file(text).path()).unwrap();
        assert!(matches!(layout.provider, Some(ProviderLog::Journal(path)) if path.ends_with("payments.log")));
        assert!(Layout::of_json(file(&text.replace("catalog", "catalogue")).path()).is_err());
    }

    #[test]
    fn an_unreadable_configuration_does_not_give_its_passwords_away() {
        let config = "[catalog]\nprimary_url = 'postgres://postgres:secret@host' x";
        let error = format!("{:#}", Layout::of_core(file(config).path()).unwrap_err());
        assert!(!error.contains("secret"), "{error}");
    }
}
