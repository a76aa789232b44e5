//! The configuration files of cores and PoPs, in the words that their binaries read.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use serde::Serialize;

use crate::error::SystemError;
use crate::layout::write_private;

/// `region-core --config`.
#[derive(Clone, Debug, Serialize)]
pub struct CoreConfig {
    /// Its region.
    pub region: String,
    /// This process.
    pub name: String,
    /// Where it listens.
    pub listen: CoreListen,
    /// How it proves itself.
    pub tls: Tls,
    /// The region's catalog.
    pub catalog: Catalog,
    /// All shards of the store.
    pub shards: Vec<Shard>,
    /// Copies of carts and of revocations.
    pub redis: Url,
    /// How access tokens are signed.
    pub token: Token,
    /// Who moves the money.
    pub payment: Payment,
    /// Who moves the parcels.
    pub shipping: Shipping,
    /// How shoppers are written to, if they are.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub mail: Option<Mail>,
    /// What carries events, if it is not the shards themselves.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub bus: Option<Bus>,
    /// How browsers are told, if mail is written.
    pub push: Option<Push>,
    /// The shop as shoppers know it.
    pub store: Store,
    /// How merchants' systems are told of events.
    pub webhooks: Webhooks,
    /// The cores of the other regions.
    pub peers: BTreeMap<String, Vec<String>>,
    /// The other cores of its region by name.
    pub neighbours: BTreeMap<String, String>,
    /// Rules of the shop.
    pub order: Order,
    /// Who may ask how often.
    pub limits: Limits,
    /// What is allowed on a developer's machine only.
    pub dev: Dev,
}

/// A core's listeners.
#[derive(Clone, Debug, Serialize)]
pub struct CoreListen {
    /// HTTP/3 with mutual TLS.
    pub quic: String,
    /// Health and metrics, plain.
    pub ops: String,
}

/// Certificate files.
#[derive(Clone, Debug, Serialize)]
pub struct Tls {
    /// The authority's certificate.
    pub ca: PathBuf,
    /// The own one.
    pub certificate: PathBuf,
    /// Its key.
    pub key: PathBuf,
}

impl Tls {
    /// The files of `name` in a folder that [`crate::certificates::Keys`] filled.
    #[must_use]
    pub fn of(folder: &Path, name: &str) -> Self {
        Self {
            ca: folder.join("ca.pem"),
            certificate: folder.join(format!("{name}.pem")),
            key: folder.join(format!("{name}.key")),
        }
    }
}

/// Where the catalog is read and where it is written.
#[derive(Clone, Debug, Serialize)]
pub struct Catalog {
    /// This region's copy.
    pub url: String,
    /// The primary.
    pub primary_url: String,
}

/// One shard.
#[derive(Clone, Debug, Serialize)]
pub struct Shard {
    /// Its number.
    pub id: u16,
    /// Its region.
    pub region: String,
    /// Its database.
    pub url: String,
}

/// A server that is named by a URL alone.
#[derive(Clone, Debug, Serialize)]
pub struct Url {
    /// The URL.
    pub url: String,
}

/// How access tokens are signed.
#[derive(Clone, Debug, Serialize)]
pub struct Token {
    /// A PKCS#8 file.
    pub signing_key: PathBuf,
}

/// Who moves the money.
#[derive(Clone, Debug, Serialize)]
pub struct Payment {
    /// Its kind.
    pub provider: String,
    /// Where it is.
    pub url: String,
}

/// Who moves the parcels.
#[derive(Clone, Debug, Serialize)]
pub struct Shipping {
    /// Where it is.
    pub url: String,
    /// Who we are there.
    pub api_key: String,
    /// What its notices are signed with.
    pub webhook_secrets: Vec<String>,
    /// Where parcels leave from.
    pub from: Sender,
}

/// Who sends, and from where.
#[derive(Clone, Debug, Serialize)]
pub struct Sender {
    /// Who sends.
    pub name: String,
    /// Street and number.
    pub line1: String,
    /// Town.
    pub city: String,
    /// Postal code.
    pub postal_code: String,
    /// ISO 3166-1 alpha-2.
    pub country: String,
}

/// How shoppers are written to.
#[derive(Clone, Debug, Serialize)]
pub struct Mail {
    /// The mail server.
    pub url: String,
    /// Who writes.
    pub from: String,
    /// What the links in mails are signed with.
    pub unsubscribe_keys: Vec<String>,
}

/// What carries events.
#[derive(Clone, Debug, Serialize)]
pub struct Bus {
    /// Its kind.
    pub kind: String,
    /// Its brokers.
    pub brokers: Vec<String>,
}

/// How browsers are told.
#[derive(Clone, Debug, Serialize)]
pub struct Push {
    /// Under which key.
    pub vapid_private_key: String,
    /// Whom push services turn to.
    pub subject: String,
    /// Whether one may stand on this machine.
    pub allow_loopback: bool,
}

/// The shop as shoppers know it.
#[derive(Clone, Debug, Serialize)]
pub struct Store {
    /// Where its pages are.
    pub public_url: String,
}

/// How merchants' systems are told of events.
#[derive(Clone, Debug, Serialize)]
pub struct Webhooks {
    /// Whether those on this machine may be.
    pub allow_loopback: bool,
}

/// Rules of the shop.
#[derive(Clone, Debug, Serialize)]
pub struct Order {
    /// How long units are held for an unpaid order, in seconds.
    pub reservation_seconds: u64,
    /// ISO 4217 code of the shop's one currency.
    pub currency: String,
}

/// What is allowed on a developer's machine only.
#[derive(Clone, Debug, Serialize)]
pub struct Dev {
    /// `/v1` on the plain listener too.
    pub plain_api: bool,
}

/// `edge-pop --config`.
#[derive(Clone, Debug, Serialize)]
pub struct PopConfig {
    /// Its name.
    pub name: String,
    /// The region of those who have no slot yet.
    pub nearest: String,
    /// Where it listens.
    pub listen: PopListen,
    /// How it proves itself.
    pub tls: Tls,
    /// The regions that it reaches.
    pub regions: BTreeMap<String, Cores>,
    /// How Workers prove themselves.
    pub uplink: Uplink,
    /// Who may ask how often.
    pub limits: Limits,
}

/// A PoP's listeners.
#[derive(Clone, Debug, Serialize)]
pub struct PopListen {
    /// For shoppers.
    pub public: String,
    /// For Workers.
    pub uplink: String,
    /// Health and metrics.
    pub ops: String,
}

/// The cores of a region.
#[derive(Clone, Debug, Serialize)]
pub struct Cores {
    /// Their QUIC addresses.
    pub cores: Vec<String>,
    /// Networks whose new shoppers are met in this region.
    pub near: Vec<String>,
}

/// How Workers prove themselves.
#[derive(Clone, Debug, Serialize)]
pub struct Uplink {
    /// The key file.
    pub keys: PathBuf,
}

/// Who may ask how often.
#[derive(Clone, Debug, Serialize)]
pub struct Limits {
    /// Address blocks that no address limit holds for.
    pub exempt: Vec<String>,
}

/// Writes a configuration, readable by its owner alone: it holds passwords.
///
/// # Errors
/// [`SystemError::File`].
pub fn write(path: &Path, config: &impl Serialize) -> Result<(), SystemError> {
    let text = toml::to_string(config).map_err(|error| SystemError::File {
        action: "write",
        path: path.to_owned(),
        source: std::io::Error::other(error),
    })?;
    write_private(path, text.as_bytes())
}
