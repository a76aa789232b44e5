//! The process's configuration: one TOML file, checked whole at start.
//!
//! `MERIDIAN_SECTION__KEY` in the environment overrides `section.key`. Unknown keys are refused by name. Paths are
//! relative to the file.

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use anyhow::{Context, bail, ensure};
use figment::Figment;
use figment::providers::{Env, Format, Toml};
use ipnet::IpNet;
use region_core_order::Judging;
use region_core_order::rules::DoorKey;
use region_core_payment::risk::{MOST_COUNTED, RiskRules};
use secrecy::{ExposeSecret as _, SecretString};
use serde::Deserialize;
use shared::api::order::Address;
use shared::{Currency, RegionName, ShardId};

/// Everything a core is told.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Config {
    /// The region that this process serves.
    pub(crate) region: RegionName,
    /// This process, in logs and metrics and to the other cores of its region; none of them has the same.
    pub(crate) name: String,
    pub(crate) listen: Listen,
    pub(crate) tls: TlsPaths,
    pub(crate) catalog: Catalog,
    /// Every shard of the store; a serving core connects to its own region's only.
    pub(crate) shards: Vec<ShardAddress>,
    pub(crate) redis: Redis,
    pub(crate) token: Token,
    pub(crate) payment: Payment,
    /// Without it no order is judged.
    pub(crate) risk: Option<Risk>,
    /// Without it, parcels are sent by hand only.
    pub(crate) shipping: Option<Shipping>,
    #[serde(default)]
    pub(crate) bus: Bus,
    #[serde(default)]
    pub(crate) mail: Mail,
    /// Without it no browser is told.
    pub(crate) push: Option<Push>,
    /// Without it nobody is texted.
    pub(crate) sms: Option<Sms>,
    #[serde(default)]
    pub(crate) store: Store,
    /// Cores of the other regions, `host:port`.
    #[serde(default)]
    pub(crate) peers: BTreeMap<RegionName, Vec<String>>,
    /// The other cores of this region by their `name`, `host:port`.
    #[serde(default)]
    pub(crate) neighbours: BTreeMap<String, String>,
    #[serde(default)]
    pub(crate) order: Order,
    #[serde(default)]
    pub(crate) webhooks: Webhooks,
    #[serde(default)]
    pub(crate) limits: Limits,
    #[serde(default)]
    pub(crate) dev: Dev,
}

/// Where it listens.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Listen {
    /// `/v1` and `/internal` over HTTP/3 with mutual TLS.
    pub(crate) quic: SocketAddr,
    /// `/ops`, plain HTTP.
    pub(crate) ops: SocketAddr,
}

/// Certificates of the link.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct TlsPaths {
    pub(crate) ca: PathBuf,
    pub(crate) certificate: PathBuf,
    pub(crate) key: PathBuf,
}

/// The catalog server of this region, and the one that is written.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Catalog {
    pub(crate) url: SecretString,
    pub(crate) primary_url: SecretString,
}

/// One shard.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct ShardAddress {
    pub(crate) id: ShardId,
    pub(crate) region: RegionName,
    pub(crate) url: SecretString,
}

/// The region's Redis.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Redis {
    pub(crate) url: SecretString,
}

/// How access tokens are signed.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Token {
    /// PKCS#8 Ed25519, PEM or DER.
    pub(crate) signing_key: PathBuf,
}

/// The payment provider, and PayPal beside it. Payments stay with the provider they were begun at, and wait while another one is
/// configured.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Payment {
    pub(crate) provider: ProviderKind,
    /// The sandbox's origin.
    pub(crate) url: Option<String>,
    pub(crate) stripe: Option<Stripe>,
    /// Orders with the payment token `paypal` are paid there; without it nobody pays with PayPal.
    pub(crate) paypal: Option<PayPal>,
}

/// The providers that there are.
#[derive(Clone, Copy, Debug, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum ProviderKind {
    Sandbox,
    Stripe,
}

/// An account at Stripe.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Stripe {
    #[serde(default = "stripe_url")]
    pub(crate) url: String,
    pub(crate) secret_key: SecretString,
    /// Of the endpoint that Stripe posts events to: one, or two while it is rotated.
    pub(crate) webhook_secrets: Vec<SecretString>,
}

fn stripe_url() -> String {
    region_core_payment::STRIPE_URL.to_owned()
}

/// An app at PayPal.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct PayPal {
    #[serde(default = "paypal_url")]
    pub(crate) url: String,
    pub(crate) client_id: String,
    pub(crate) secret: SecretString,
    /// Of the webhook that PayPal posts events to.
    pub(crate) webhook_id: String,
}

fn paypal_url() -> String {
    region_core_payment::PAYPAL_URL.to_owned()
}

/// An account at EasyPost, or at the carrier sandbox, which speaks as EasyPost does.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Shipping {
    #[serde(default = "easypost_url")]
    pub(crate) url: String,
    pub(crate) api_key: SecretString,
    /// Of the webhook that it posts events to: one, or two while it is rotated.
    pub(crate) webhook_secrets: Vec<SecretString>,
    /// Where parcels leave from.
    pub(crate) from: Address,
}

fn easypost_url() -> String {
    region_core_shipping::EASYPOST_URL.to_owned()
}

/// What speaks against an order, and what follows. Points: too many orders on one card 60, a card of another country than the
/// delivery's 40, too many orders by one user or to one address 30 each, a mailbox to be thrown away 30, a large total 20.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct Risk {
    /// A secret of 32 characters or more under which addresses are counted; all cores of a region have the same. Under another
    /// one the counts start anew.
    pub(crate) address_key: SecretString,
    /// From so many points an order waits for who keeps the store.
    pub(crate) review_from: u16,
    /// From so many points it is refused.
    pub(crate) refuse_from: u16,
    /// How long it waits before it is cancelled: not as long as the bank keeps an amount ready, seven days at most.
    pub(crate) review_hours: u16,
    /// How far back orders are counted.
    pub(crate) window_seconds: u32,
    /// From which count on orders of one user in that time are too many.
    pub(crate) user_orders: u32,
    /// The same for one address.
    pub(crate) address_orders: u32,
    /// The same for one card.
    pub(crate) card_orders: u32,
    /// A total from which it is large, in minor units.
    pub(crate) large_total_minor: i64,
    /// Domains of mailboxes that are thrown away after use.
    pub(crate) disposable_mail: BTreeSet<String>,
}

impl Default for Risk {
    fn default() -> Self {
        let domains = ["guerrillamail.com", "mailinator.com", "sharklasers.com", "tempmail.com", "yopmail.com"];
        Self {
            address_key: SecretString::default(),
            review_from: 50,
            refuse_from: 100,
            review_hours: 48,
            window_seconds: 3_600,
            user_orders: 10,
            address_orders: 10,
            card_orders: 5,
            large_total_minor: 100_000,
            disposable_mail: domains.map(str::to_owned).into(),
        }
    }
}

impl Risk {
    /// As payment takes them.
    pub(crate) fn rules(&self) -> RiskRules {
        RiskRules {
            review_from: self.review_from,
            refuse_from: self.refuse_from,
            window_seconds: self.window_seconds,
            user_orders: self.user_orders,
            address_orders: self.address_orders,
            card_orders: self.card_orders,
            large_total_minor: self.large_total_minor,
            disposable_mail: self.disposable_mail.iter().map(|domain| domain.to_lowercase()).collect(),
        }
    }

    /// As orders take it.
    pub(crate) fn judging(&self) -> Judging {
        let patience = time::Duration::hours(i64::from(self.review_hours));
        Judging { patience, doors: DoorKey::new(self.address_key.clone()) }
    }

    fn check(&self) -> anyhow::Result<()> {
        ensure!(self.address_key.expose_secret().len() >= 32, "risk.address_key: a secret of 32 characters or more");
        ensure!((1..=self.refuse_from).contains(&self.review_from), "risk.review_from: 1 to risk.refuse_from");
        ensure!((1..=144).contains(&self.review_hours), "risk.review_hours: 1 to 144");
        ensure!((60..=604_800).contains(&self.window_seconds), "risk.window_seconds: 60 to 604800");
        for (key, count) in [("user", self.user_orders), ("address", self.address_orders), ("card", self.card_orders)] {
            ensure!((2..=MOST_COUNTED).contains(&count), "risk.{key}_orders: 2 to {MOST_COUNTED}");
        }
        ensure!(self.large_total_minor > 0, "risk.large_total_minor: more than 0");
        Ok(())
    }
}

/// What carries events from a shard to those who hear them.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct Bus {
    pub(crate) kind: BusKind,
    /// Kafka's brokers, `host:port`, in a network where nobody else reads or writes. The topics `order_events`,
    /// `inventory_events`, `payment_events` and `shipping_events` are made by whoever runs them. Whoever goes back to Postgres
    /// deletes the row `kafka` of `consumer_cursors` on each shard, else events are kept for it.
    pub(crate) brokers: Vec<String>,
}

/// The buses that there are.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum BusKind {
    /// The shard itself.
    #[default]
    Postgres,
    /// If the program was built with it.
    #[cfg(feature = "kafka")]
    Kafka,
}

/// How shoppers are written to.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct Mail {
    /// `smtps://USER:PASSWORD@HOST`, or `smtp://` for STARTTLS, which is in clear on this machine alone. Without it no mail
    /// is written; whoever had one and will not have one again deletes the row `notification` of `consumer_cursors` on each
    /// shard, else events are kept for it.
    pub(crate) url: Option<SecretString>,
    /// Who writes: `Name <name@domain>`.
    pub(crate) from: String,
    /// Keys that the links in mails are signed with by which their readers stop them: at least 32 characters each, the same in all
    /// regions. The first signs, all are accepted; without any there are no such links.
    pub(crate) unsubscribe_keys: Vec<SecretString>,
    /// The certificate of an authority that the mail server's is checked against beside the machine's own.
    pub(crate) ca: Option<PathBuf>,
}

/// How shoppers are texted who asked for it, beside mail: an account at Twilio, or at who speaks as Twilio does.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Sms {
    /// Where its API is: https on the public Internet, or this machine.
    #[serde(default = "twilio")]
    pub(crate) url: String,
    /// Names the account.
    pub(crate) account_sid: String,
    pub(crate) auth_token: SecretString,
    /// Who texts: one of its numbers, such as `+15017122661`, or a name that it may send as.
    pub(crate) from: String,
}

/// How browsers are told whose shoppers asked for it, beside mail.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Push {
    /// What `region-core push-keys` prints; the same in all regions. Browsers that subscribed under another are told no more.
    pub(crate) vapid_private_key: SecretString,
    /// Whom push services turn to: `mailto:somebody@shop.example`, or an https URL.
    pub(crate) subject: String,
    /// Hosts of the push services that browsers are told through; all below a name that begins with a dot. A browser of another is
    /// not told: whoever subscribes says where a core posts to.
    #[serde(default = "usual_services")]
    pub(crate) services: Vec<String>,
    /// Whether a push service may stand on this machine as well: for developers.
    #[serde(default)]
    pub(crate) allow_loopback: bool,
}

fn usual_services() -> Vec<String> {
    region_core_notification::Services::USUAL.map(ToOwned::to_owned).into()
}

fn twilio() -> String {
    "https://api.twilio.com".to_owned()
}

/// The shop, as shoppers know it.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct Store {
    /// What it is called.
    pub(crate) name: String,
    /// Where its pages are, such as `https://shop.example`: what mails lead to.
    pub(crate) public_url: String,
}

impl Default for Store {
    fn default() -> Self {
        Self { name: "Meridian".to_owned(), public_url: String::new() }
    }
}

/// What an order is held to.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct Order {
    /// How long units are held for an unpaid order, in seconds.
    pub(crate) reservation_seconds: u32,
    /// The store's currency.
    pub(crate) currency: Currency,
}

impl Default for Order {
    fn default() -> Self {
        Self { reservation_seconds: 900, currency: Currency::GBP }
    }
}

/// How merchants' systems are told of events; who they are, operators say.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct Webhooks {
    /// Whether this machine may be told, and over plain HTTP: for developers. Everything else is told over https, and only
    /// at addresses of the public Internet.
    pub(crate) allow_loopback: bool,
}

/// Who the address limits do not hold for.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct Limits {
    /// Networks of load tools, such as `127.0.0.1/32`.
    pub(crate) exempt: Vec<IpNet>,
}

/// Doors that only a developer's machine opens.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct Dev {
    /// `/v1` on the plain listener too.
    pub(crate) plain_api: bool,
}

impl Config {
    /// Reads and checks `file`.
    ///
    /// # Errors
    /// Names the file and the key.
    pub(crate) fn read(file: &Path) -> anyhow::Result<Self> {
        let text = std::fs::read_to_string(file).with_context(|| format!("{}: cannot be read", file.display()))?;
        let mut config: Self = Figment::from(Toml::string(&text))
            .merge(
                Env::prefixed("MERIDIAN_")
                    .split("__")
                    .ignore(&["config", "tools", "planted_bug"])
                    .filter(|key| !key.starts_with("test_")),
            )
            .extract()
            .map_err(|error| anyhow::anyhow!("{}: {}", file.display(), describe(&error)))?;
        config.check().with_context(|| file.display().to_string())?;
        let folder = file.parent().unwrap_or(Path::new("."));
        let Self { tls, token, mail, .. } = &mut config;
        let paths = [&mut tls.ca, &mut tls.certificate, &mut tls.key, &mut token.signing_key];
        for path in paths.into_iter().chain(&mut mail.ca) {
            *path = folder.join(&*path);
        }
        Ok(config)
    }

    fn check(&self) -> anyhow::Result<()> {
        ensure!(!self.name.is_empty(), "name: empty");
        ensure!(self.own_shards().next().is_some(), "shards: none stands in region {}", self.region);
        for (index, shard) in self.shards.iter().enumerate() {
            let twice = self.shards[..index].iter().any(|other| other.id == shard.id);
            ensure!(!twice, "shards[{index}].id: shard {} is named twice", shard.id);
        }
        if self.dev.plain_api && !self.listen.ops.ip().is_loopback() {
            bail!("dev.plain_api: refused, for listen.ops is {}, not a loopback address", self.listen.ops);
        }
        self.bus.check()?;
        match self.payment.provider {
            ProviderKind::Sandbox => ensure!(self.payment.url.is_some(), "payment.url: where is the sandbox?"),
            ProviderKind::Stripe => ensure!(self.payment.stripe.is_some(), "payment.stripe: which account?"),
        }
        let leads_back = region_core_payment::shop_origin(&self.store.public_url).is_some();
        ensure!(
            self.payment.paypal.is_none() || leads_back,
            "store.public_url: from PayPal shoppers come back to an https origin, or to this machine"
        );
        self.risk.as_ref().map_or(Ok(()), Risk::check)?;
        ensure!((1..=86_400).contains(&self.order.reservation_seconds), "order.reservation_seconds: 1 to 86400");
        ensure!(!self.peers.contains_key(&self.region), "peers.{}: this is the process's own region", self.region);
        ensure!(!self.neighbours.contains_key(&self.name), "neighbours.{}: this is the process itself", self.name);
        Ok(())
    }

    /// The shards of this process's region.
    pub(crate) fn own_shards(&self) -> impl Iterator<Item = &ShardAddress> {
        self.shards.iter().filter(|shard| shard.region == self.region)
    }
}

impl Bus {
    fn check(&self) -> anyhow::Result<()> {
        match self.kind {
            BusKind::Postgres => ensure!(self.brokers.is_empty(), "bus.brokers: only bus.kind = \"kafka\" has them"),
            #[cfg(feature = "kafka")]
            BusKind::Kafka => ensure!(!self.brokers.is_empty(), "bus.brokers: where is Kafka?"),
        }
        for (index, broker) in self.brokers.iter().enumerate() {
            let address = broker.rsplit_once(':').filter(|(host, _)| !host.is_empty() && !host.contains(','));
            let port = address.and_then(|(_, port)| port.parse::<u16>().ok());
            ensure!(port.is_some_and(|port| port > 0), "bus.brokers[{index}]: {broker} is not host:port");
        }
        Ok(())
    }
}

/// `key: what is wrong`, one line.
fn describe(error: &figment::Error) -> String {
    error
        .clone()
        .into_iter()
        .map(|error| {
            let key = error.path.join(".");
            if key.is_empty() { error.kind.to_string() } else { format!("{key}: {}", error.kind) }
        })
        .collect::<Vec<_>>()
        .join("; ")
}

#[cfg(test)]
mod tests {
    use super::*;

    const GOOD: &str = r#"
        region = "eu"
        name = "eu-1"
        [listen]
        quic = "127.0.0.1:0"
        ops = "127.0.0.1:0"
        [tls]
        ca = "ca.pem"
        certificate = "core.eu.pem"
        key = "core.eu.key"
        [catalog]
        url = "postgres://a@127.0.0.1/catalog"
        primary_url = "postgres://a@127.0.0.1/catalog"
        [[shards]]
        id = 1
        region = "eu"
        url = "postgres://a@127.0.0.1/shard"
        [redis]
        url = "redis://127.0.0.1:1"
        [token]
        signing_key = "signing.eu.key"
        [payment]
        provider = "sandbox"
        url = "http://127.0.0.1:1"
    "#;

    fn read(text: &str) -> anyhow::Result<Config> {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), text).unwrap();
        Config::read(file.path())
    }

    #[test]
    fn a_sound_file_is_taken_with_its_defaults_and_paths_beside_it() {
        let config = read(GOOD).unwrap();
        assert_eq!((config.order.reservation_seconds, config.dev.plain_api), (900, false));
        assert!(!config.webhooks.allow_loopback);
        assert!(config.tls.ca.is_absolute());
    }

    #[test]
    fn mail_is_written_if_there_is_a_server_for_it() {
        assert!(read(GOOD).unwrap().mail.url.is_none());
        let mail = "[mail]\nurl = \"smtp://127.0.0.1:1025\"\nfrom = \"orders@shop.example\"\nca = \"mail.pem\"";
        let config = read(&format!("{GOOD}\n{mail}\n[store]\npublic_url = \"https://shop.example\"")).unwrap();
        assert!(config.mail.unsubscribe_keys.is_empty());
        assert!(config.mail.url.is_some() && config.mail.ca.unwrap().is_absolute());
        assert_eq!((config.store.name.as_str(), config.mail.from.as_str()), ("Meridian", "orders@shop.example"));
    }

    #[test]
    fn shoppers_are_texted_if_there_is_an_account_and_its_secret_does_not_show() {
        assert!(read(GOOD).unwrap().sms.is_none());
        let sms = "[sms]\naccount_sid = \"AC1\"\nauth_token = \"swordfish\"\nfrom = \"Meridian\"";
        let config = read(&format!("{GOOD}\n{sms}")).unwrap();
        assert_eq!(config.sms.as_ref().unwrap().url, "https://api.twilio.com");
        assert!(!format!("{config:?}").contains("swordfish"));
    }

    #[test]
    fn browsers_are_told_if_there_is_a_key_and_it_does_not_show() {
        assert!(read(GOOD).unwrap().push.is_none());
        let push = "[push]\nvapid_private_key = \"swordfish\"\nsubject = \"mailto:a@shop.example\"";
        let config = read(&format!("{GOOD}\n{push}")).unwrap();
        let told = config.push.as_ref().unwrap();
        assert!(!told.allow_loopback && told.services.contains(&"fcm.googleapis.com".to_owned()));
        let own = read(&format!("{GOOD}\n{push}\nservices = [\"push.shop.example\"]")).unwrap().push.unwrap();
        assert_eq!(own.services, ["push.shop.example"]);
        assert!(!format!("{config:?}").contains("swordfish"));
    }

    #[test]
    fn orders_are_judged_if_there_are_rules_and_a_bad_rule_is_named() {
        assert!(read(GOOD).unwrap().risk.is_none());
        let keyless = read(&format!("{GOOD}\n[risk]\nreview_from = 60")).unwrap_err();
        let keyless = format!("{keyless:#}");
        assert!(keyless.contains("risk.address_key"), "{keyless}");
        let key = "address_key = \"0123456789abcdef0123456789abcdef\"";
        let rules = |text: &str| read(&format!("{GOOD}\n[risk]\n{key}\n{text}"));
        let risk = rules("card_orders = 3\ndisposable_mail = [\"Throwaway.example\"]").unwrap().risk.unwrap();
        assert_eq!((risk.review_from, risk.card_orders, risk.rules().card_orders), (50, 3, 3));
        assert!(risk.rules().disposable_mail.contains("throwaway.example"));
        for (bad, named) in [
            ("review_from = 101", "risk.review_from"),
            ("review_hours = 0", "risk.review_hours"),
            ("window_seconds = 5", "risk.window_seconds"),
            ("user_orders = 1", "risk.user_orders"),
            ("card_orders = 1001", "risk.card_orders"),
            ("large_total_minor = 0", "risk.large_total_minor"),
            ("colour = 1", "colour"),
        ] {
            let error = format!("{:#}", rules(bad).unwrap_err());
            assert!(error.contains(named), "{bad}: {error}");
        }
    }

    #[test]
    #[cfg(feature = "kafka")]
    fn events_go_over_kafka_if_it_is_said_where_it_is() {
        assert_eq!(read(GOOD).unwrap().bus.kind, BusKind::Postgres);
        let config =
            read(&format!("{GOOD}\n[bus]\nkind = \"kafka\"\nbrokers = [\"a.example:9092\", \"[::1]:9093\"]")).unwrap();
        assert_eq!((config.bus.kind, config.bus.brokers.len()), (BusKind::Kafka, 2));
        for brokers in ["", "brokers = []", "brokers = [\"a\"]", "brokers = [\"a:0\"]", "brokers = [\"a:1,b:2\"]"] {
            let error = format!("{:#}", read(&format!("{GOOD}\n[bus]\nkind = \"kafka\"\n{brokers}")).unwrap_err());
            assert!(error.contains("bus.brokers"), "{brokers}: {error}");
        }
    }

    #[test]
    fn an_account_at_stripe_is_taken_and_its_secrets_do_not_show() {
        let stripe = "[payment.stripe]\nsecret_key = \"sk_test_4eC39H\"\nwebhook_secrets = [\"whsec_wRNft\"]";
        let config = read(&format!("{}\n{stripe}", GOOD.replace("\"sandbox\"", "\"stripe\""))).unwrap();
        assert_eq!(config.payment.stripe.as_ref().unwrap().url, "https://api.stripe.com");
        let shown = format!("{config:?}");
        assert!(!shown.contains("4eC39H") && !shown.contains("wRNft"), "{shown}");
    }

    #[test]
    fn paypal_stands_beside_the_provider_and_needs_an_address_to_come_back_to() {
        assert!(read(GOOD).unwrap().payment.paypal.is_none());
        let paypal = "[payment.paypal]\nclient_id = \"AZDx\"\nsecret = \"EOjEJigcs\"\nwebhook_id = \"8PT5\"";
        let nowhere = format!("{:#}", read(&format!("{GOOD}\n{paypal}")).unwrap_err());
        assert!(nowhere.contains("store.public_url"), "{nowhere}");
        let config = read(&format!("{GOOD}\n{paypal}\n[store]\npublic_url = \"https://shop.example\"")).unwrap();
        assert_eq!(config.payment.paypal.as_ref().unwrap().url, "https://api-m.paypal.com");
        assert!(matches!(config.payment.provider, ProviderKind::Sandbox));
        assert!(!format!("{config:?}").contains("EOjEJigcs"));
    }

    #[test]
    fn labels_are_bought_where_an_account_and_an_address_to_leave_from_are_named() {
        assert!(read(GOOD).unwrap().shipping.is_none());
        let from = "[shipping.from]\nname = \"Meridian\"\nline1 = \"1 Quay\"\ncity = \"Hull\"\ncountry = \"GB\"";
        let shipping = "[shipping]\napi_key = \"EZTK123\"\nwebhook_secrets = [\"swordfish\"]";
        let config = read(&format!("{GOOD}\n{shipping}\n{from}")).unwrap();
        assert_eq!(config.shipping.as_ref().unwrap().url, "https://api.easypost.com");
        let shown = format!("{config:?}");
        assert!(!shown.contains("EZTK123") && !shown.contains("swordfish"), "{shown}");
        let nowhere = format!("{:#}", read(&format!("{GOOD}\n{shipping}")).unwrap_err());
        assert!(nowhere.contains("shipping") && nowhere.contains("from"), "{nowhere}");
    }

    #[test]
    fn a_bad_key_is_named() {
        let cases = [
            (GOOD.replace("name = \"eu-1\"", "name = \"eu-1\"\ncolour = 1"), "colour"),
            (GOOD.replace("quic = \"127.0.0.1:0\"", "quic = \"nowhere\""), "listen.quic"),
            (GOOD.replace("region = \"eu\"\n        name", "region = \"EU\"\n        name"), "region"),
            (GOOD.replace("id = 1", "id = 0"), "shards.0.id"),
            (GOOD.replace("region = \"eu\"\n        url", "region = \"us\"\n        url"), "shards"),
            (GOOD.replace("\"sandbox\"", "\"bank\""), "payment.provider"),
            (GOOD.replace("url = \"http://127.0.0.1:1\"", ""), "payment.url"),
            (GOOD.replace("\"sandbox\"", "\"stripe\""), "payment.stripe"),
            (format!("{GOOD}\n[payment.stripe]\nsecret_key = \"sk_1\""), "webhook_secrets"),
            (format!("{GOOD}\n[payment.paypal]\nclient_id = \"a\"\nsecret = \"b\""), "webhook_id"),
            (format!("{GOOD}\n[order]\nreservation_seconds = 0"), "order.reservation_seconds"),
            (format!("{GOOD}\n[order]\ncurrency = \"POUNDS\""), "order.currency"),
            (
                GOOD.replace("ops = \"127.0.0.1:0\"", "ops = \"0.0.0.0:0\"") + "\n[dev]\nplain_api = true",
                "dev.plain_api",
            ),
            (GOOD.replace("[redis]", "[reddis]"), "reddis"),
            (format!("{GOOD}\n[mail]\nuri = \"smtp://127.0.0.1\""), "mail.uri"),
            (format!("{GOOD}\n[bus]\nkind = \"pigeon\""), "bus.kind"),
            (format!("{GOOD}\n[bus]\nbrokers = [\"a:1\"]"), "bus.brokers"),
            (format!("{GOOD}\n[bus]\nbroker = \"a:1\""), "bus.broker"),
            (format!("{GOOD}\n[neighbours]\neu-1 = \"127.0.0.1:1\""), "neighbours.eu-1"),
        ];
        for (text, key) in cases {
            let error = format!("{:#}", read(&text).unwrap_err());
            assert!(error.contains(key), "{key} is not named in: {error}");
        }
    }
}
