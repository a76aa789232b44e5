//! What the binary can be told to do, a file a command.

use std::path::PathBuf;
use std::time::Duration;

use clap::Subcommand;
use secrecy::ExposeSecret;

mod account;
mod delivery;
mod events;
mod import;
mod migrate;
mod serve;

/// How long a database may keep a command waiting, unlike a shopper.
const PATIENCE: Duration = Duration::from_secs(60);

/// The commands.
#[derive(Subcommand)]
pub(crate) enum Command {
    /// Serve this region until SIGTERM or Ctrl-C.
    Serve {
        #[command(flatten)]
        config: ConfigFile,
    },
    /// Bring every database named in the configuration up to date, the region's copy of the catalog before its primary.
    Migrate {
        #[command(flatten)]
        config: ConfigFile,
    },
    /// Read products, and stock, from a shop's invoice lines or a Shopify product CSV (plain or gzip).
    Import(import::Import),
    /// Put a table of what delivery costs in force, in every region.
    Delivery(delivery::Delivery),
    /// Look after accounts.
    #[command(subcommand)]
    Account(account::Account),
    /// Make the keys under which browsers are told: a private one for the configuration's `push.vapid_private_key`.
    PushKeys,
    /// Print what the API is, for programs (OpenAPI 3.1, JSON): what a core serves as /v1/openapi.json.
    Openapi,
    /// Look after events that were given up.
    #[command(subcommand)]
    Events(events::Events),
}

/// Which configuration to use.
#[derive(clap::Args)]
pub(crate) struct ConfigFile {
    /// The configuration, a TOML file; MERIDIAN_SECTION__KEY in the environment overrides section.key.
    #[arg(id = "config", long = "config", value_name = "FILE", env = "MERIDIAN_CONFIG")]
    file: PathBuf,
}

impl ConfigFile {
    fn read(&self) -> anyhow::Result<crate::config::Config> {
        crate::config::Config::read(&self.file)
    }
}

impl Command {
    /// Does it.
    ///
    /// # Errors
    /// For a person, with the whole chain of causes.
    pub(crate) async fn run(self) -> anyhow::Result<()> {
        match self {
            Self::Serve { config } => serve::run(config.read()?).await,
            Self::Migrate { config } => migrate::run(&config.read()?).await,
            Self::Import(import) => import.run().await,
            Self::Delivery(delivery) => delivery.run().await,
            Self::Account(account) => account.run().await,
            Self::PushKeys => push_keys(),
            Self::Openapi => crate::api::print(),
            Self::Events(events) => events.run().await,
        }
    }
}

/// To standard output, once: they are kept nowhere.
fn push_keys() -> anyhow::Result<()> {
    let keys = region_core_notification::push_keys();
    let (private, public) = keys.map_err(|_| anyhow::anyhow!("this machine gave no random bytes"))?;
    println!("vapid_private_key = \"{}\"", private.expose_secret());
    println!("# browsers subscribe under {public}");
    Ok(())
}
