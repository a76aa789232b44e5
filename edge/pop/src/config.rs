//! The PoP's configuration: one TOML file, with environment variables `MERIDIAN_…` above it (`__` for nesting).
//!
//! Read and checked once, at start. A key that means nothing is refused by name, so that a misspelt limit is an error
//! and not a default.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use figment::Figment;
use figment::providers::{Env, Format, Toml};
use serde::Deserialize;
use shared::RegionName;
use shared::api::MAX_BODY_BYTES;
use shared_link::{Congestion, TlsFiles};

use crate::limits::Network;

/// Everything a PoP is told.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Config {
    /// This PoP's name; its certificate says `pop.<name>`.
    pub name: String,
    /// The region for those who have no slot yet.
    pub nearest: RegionName,
    /// Where to listen.
    pub listen: Listen,
    /// Certificates for the link to the cores.
    pub tls: TlsPaths,
    /// Every region and its cores.
    pub regions: BTreeMap<RegionName, Region>,
    /// What Workers sign with.
    pub uplink: Uplink,
    /// Limits on what one address may ask.
    #[serde(default)]
    pub limits: Limits,
    /// How much to keep.
    #[serde(default)]
    pub cache: Cache,
    /// Settings of the link to the cores.
    #[serde(default)]
    pub link: Link,
}

/// Where to listen.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Listen {
    /// The storefront, for shoppers.
    pub public: SocketAddr,
    /// `/v1` for Workers, signed.
    pub uplink: SocketAddr,
    /// Health and metrics, for operators.
    pub ops: SocketAddr,
    /// Networks of the machines that end TLS in front of `public`, and of nothing else: the last address in their
    /// `X-Forwarded-For` is believed to be the shopper's. Nobody else's is.
    #[serde(default)]
    pub terminators: Vec<Network>,
}

/// Paths of PEM files, relative to the configuration file.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TlsPaths {
    /// The private CA.
    pub ca: PathBuf,
    /// Our certificate.
    pub certificate: PathBuf,
    /// Our key.
    pub key: PathBuf,
}

/// A region's cores.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Region {
    /// `host:port` of each.
    pub cores: Vec<String>,
    /// Networks whose shoppers are nearer to this region than to [`Config::nearest`], as far as they have no slot yet.
    #[serde(default)]
    pub near: Vec<Network>,
}

/// What Workers sign with.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Uplink {
    /// A file of one or two lines `ID:HEX`, readable by us alone, relative to the configuration file.
    pub keys: PathBuf,
}

/// Limits on what one address prefix (/24 or /56) may ask.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Limits {
    /// Requests a second, sustained.
    pub per_second: u32,
    /// Requests at once after a pause.
    pub burst: u32,
    /// Networks that are not limited, such as load tools'.
    pub exempt: Vec<Network>,
    /// Connections to one listener at once.
    pub connections: usize,
    /// Connections of one prefix to the public listener at once. Terminators and the exempt may have more.
    pub connections_per_block: usize,
    /// Bytes of request bodies in memory at once, of all listeners together.
    pub body_bytes: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            per_second: 100,
            burst: 400,
            exempt: Vec::new(),
            connections: 10_000,
            connections_per_block: 500,
            body_bytes: 64 * 1024 * 1024,
        }
    }
}

/// How much to keep.
#[derive(Clone, Copy, Debug, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Cache {
    /// Bytes of finished pages in memory.
    pub memory_bytes: u64,
}

impl Default for Cache {
    fn default() -> Self {
        Self { memory_bytes: 64 * 1024 * 1024 }
    }
}

/// Settings of the link to the cores.
#[derive(Clone, Copy, Debug, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Link {
    /// `cubic` (above a floor) or `bbr`.
    pub congestion: Congestion,
    /// Connections to each core.
    pub connections_per_core: usize,
    /// Requests to one region at once; more are refused at once.
    pub max_in_flight: usize,
}

impl Default for Link {
    fn default() -> Self {
        Self { congestion: Congestion::default(), connections_per_core: 2, max_in_flight: 1_024 }
    }
}

/// Why a configuration cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// The file cannot be read.
    #[error("{path}: {reason}")]
    File {
        /// The file.
        path: PathBuf,
        /// What the system says.
        reason: std::io::Error,
    },
    /// A key is unknown, missing, or of the wrong shape.
    #[error("{path}: {reason}")]
    Shape {
        /// The file.
        path: PathBuf,
        /// Names the key.
        reason: Box<figment::Error>,
    },
    /// A value breaks a rule.
    #[error("{path}: {field}: {reason}")]
    Value {
        /// The file.
        path: PathBuf,
        /// The key, dotted.
        field: String,
        /// The rule.
        reason: String,
    },
}

impl Config {
    /// Reads and checks a configuration. Paths in it come out relative to the file's directory.
    ///
    /// # Errors
    /// Names the file and the key.
    pub fn load(path: &Path) -> Result<Self, ConfigError> {
        let file = |reason| ConfigError::File { path: path.to_owned(), reason };
        let text = std::fs::read_to_string(path).map_err(file)?;
        // What is said to the tools and to tests is no configuration of ours.
        let environment =
            Env::prefixed("MERIDIAN_").split("__").ignore(&["tools"]).filter(|key| !key.starts_with("test_"));
        let read = Figment::new().merge(Toml::string(&text)).merge(environment).extract::<Self>();
        let shape = |reason| ConfigError::Shape { path: path.to_owned(), reason: Box::new(reason) };
        let mut config = read.map_err(shape)?;
        config.check().map_err(|(field, reason)| ConfigError::Value { path: path.to_owned(), field, reason })?;
        let directory = path.parent().unwrap_or(Path::new(""));
        let TlsPaths { ca, certificate, key } = &mut config.tls;
        for relative in [ca, certificate, key, &mut config.uplink.keys] {
            *relative = directory.join(&*relative);
        }
        Ok(config)
    }

    fn check(&self) -> Result<(), (String, String)> {
        let refuse = |field: String, reason: &str| Err((field, reason.to_owned()));
        let plain = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-';
        if !(1..=63).contains(&self.name.len()) || !self.name.bytes().all(plain) {
            return refuse("name".into(), "a PoP's name is 1 to 63 of a-z, 0-9 and '-'");
        }
        if !self.regions.contains_key(&self.nearest) {
            return refuse("nearest".into(), "this region is not among [regions]");
        }
        for (region, Region { cores, .. }) in &self.regions {
            if cores.is_empty() || cores.len() > 64 {
                return refuse(format!("regions.{region}.cores"), "a region has 1 to 64 cores");
            }
            if let Some(core) = cores.iter().find(|core| !is_host_and_port(core)) {
                return refuse(format!("regions.{region}.cores"), &format!("{core:?} is not host:port"));
            }
        }
        for (field, zero) in [
            ("limits.per_second", self.limits.per_second == 0),
            ("limits.burst", self.limits.burst == 0),
            ("limits.connections", self.limits.connections == 0),
            ("limits.connections_per_block", self.limits.connections_per_block == 0),
            ("link.connections_per_core", self.link.connections_per_core == 0),
            ("link.max_in_flight", self.link.max_in_flight == 0),
        ] {
            if zero {
                return refuse(field.into(), "must be at least 1");
            }
        }
        if self.limits.body_bytes < MAX_BODY_BYTES {
            return refuse("limits.body_bytes".into(), &format!("one body may have {MAX_BODY_BYTES}"));
        }
        Ok(())
    }

    /// The certificates' files.
    #[must_use]
    pub fn tls_files(&self) -> TlsFiles {
        let TlsPaths { ca, certificate, key } = self.tls.clone();
        TlsFiles { ca, certificate, key }
    }
}

fn is_host_and_port(text: &str) -> bool {
    text.rsplit_once(':').is_some_and(|(host, port)| !host.is_empty() && port.parse::<u16>().is_ok_and(|port| port > 0))
}

#[cfg(test)]
mod tests {
    use super::*;

    const GOOD: &str = r#"
        name = "pop-1"
        nearest = "eu"
        [listen]
        public = "127.0.0.1:0"
        uplink = "127.0.0.1:0"
        ops = "127.0.0.1:0"
        [tls]
        ca = "ca.pem"
        certificate = "pop.pop-1.pem"
        key = "/etc/pop.key"
        [regions.eu]
        cores = ["127.0.0.1:7201"]
        [regions.us]
        cores = ["us.cores.example:7301"]
        [uplink]
        keys = "uplink.keys"
        [limits]
        exempt = ["127.0.0.1/32"]
    "#;

    fn load(text: &str) -> Result<Config, ConfigError> {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("pop.toml");
        std::fs::write(&path, text).unwrap();
        Config::load(&path)
    }

    #[test]
    fn paths_are_relative_to_the_file() {
        let config = load(GOOD).unwrap();
        assert!(config.tls.ca.is_absolute() && config.tls.ca.ends_with("ca.pem"), "{:?}", config.tls.ca);
        assert_eq!(config.tls.key, Path::new("/etc/pop.key"));
        assert_eq!(config.regions.len(), 2);
        assert_eq!(config.link.connections_per_core, 2);
    }

    #[test]
    fn whatever_is_wrong_is_named() {
        for (good, bad, named) in [
            ("nearest = \"eu\"", "nearest = \"eu\"\nneerest = \"eu\"", "neerest"),
            ("[limits]", "[limits]\nper_sekond = 3", "per_sekond"),
            ("[uplink]", "[uplink]\nkey = \"x\"", "key"),
            ("nearest = \"eu\"", "nearest = \"mars\"", "nearest"),
            ("nearest = \"eu\"", "nearest = \"EU\"", "nearest"),
            ("nearest = \"eu\"", "", "nearest"),
            ("public = \"127.0.0.1:0\"", "public = \"here\"", "listen.public"),
            ("[\"127.0.0.1:7201\"]", "[]", "regions.eu.cores"),
            ("127.0.0.1:7201", "127.0.0.1", "regions.eu.cores"),
            ("127.0.0.1/32", "127.0.0.1/33", "limits.exempt"),
            ("[\"us.cores.example:7301\"]", "[\"us.cores.example:7301\"]\nnear = [\"anywhere\"]", "regions.us.near"),
            ("[limits]", "[limits]\nburst = 0", "limits.burst"),
            ("[limits]", "[limits]\nbody_bytes = 1", "limits.body_bytes"),
            ("[limits]", "[limits]\nconnections_per_block = 0", "limits.connections_per_block"),
            ("[listen]", "[listen]\nterminators = [\"here\"]", "listen.terminators"),
            ("name = \"pop-1\"", "name = \"Pop 1\"", "name"),
            ("[limits]", "[link]\ncongestion = \"reno\"\n[limits]", "congestion"),
        ] {
            let error = load(&GOOD.replacen(good, bad, 1)).expect_err(bad).to_string();
            assert!(error.contains(named), "{bad:?} was met with {error:?}");
        }
        let missing = Config::load(Path::new("/nonexistent/pop.toml")).unwrap_err().to_string();
        assert!(missing.contains("/nonexistent/pop.toml"), "{missing}");
    }
}
