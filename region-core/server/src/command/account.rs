//! `region-core account …`: what only an operator on the core's own machine may do.

use std::sync::Arc;

use anyhow::Context;
use clap::Subcommand;
use region_core_account::{Accounts, Hasher, Limits};
use region_core_cart::Carts;
use region_core_catalog::Catalog;
use region_core_store::PoolLimits;
use region_core_store::redis::Redis;
use region_core_web::{NoPeers, Peers};
use shared::EmailAddress;
use shared_clock::{Clock, Entropy};

use super::ConfigFile;
use crate::config::Config;
use crate::prices::CatalogPrices;
use crate::region;

/// The commands.
#[derive(Subcommand)]
pub(crate) enum Account {
    /// Give an account the operator's role. Its owner has it from his next sign-in or refresh.
    GrantOperator {
        /// The account's e-mail.
        email: EmailAddress,
        #[command(flatten)]
        config: ConfigFile,
    },
    /// End every session of an account, and refuse the access tokens that are out.
    Revoke {
        /// The account's e-mail.
        email: EmailAddress,
        #[command(flatten)]
        config: ConfigFile,
    },
}

impl Account {
    pub(crate) async fn run(self) -> anyhow::Result<()> {
        match self {
            Self::GrantOperator { email, config } => grant_operator(&config.read()?, email).await,
            Self::Revoke { email, config } => revoke(&config.read()?, email).await,
        }
    }
}

async fn grant_operator(config: &Config, email: EmailAddress) -> anyhow::Result<()> {
    let user = accounts(config).await?.grant_operator(email).await?;
    println!("user {user} is an operator from the next sign-in or refresh");
    Ok(())
}

async fn revoke(config: &Config, email: EmailAddress) -> anyhow::Result<()> {
    let user = accounts(config).await?.revoke(email).await?;
    println!("user {user} is signed out everywhere");
    Ok(())
}

/// Accounts over every shard that the configuration names, whichever regions they stand in.
async fn accounts(config: &Config) -> anyhow::Result<Accounts> {
    let (clock, entropy) = (Clock::system(), Entropy::system());
    let copy = region::catalog_pool(&config.catalog.url, super::PATIENCE).context("catalog.url")?;
    let shards = region::shards(config, &config.shards, region::slot_map(&copy).await?, PoolLimits::default())?;
    let prices = CatalogPrices { catalog: Catalog::load(copy).await?, currency: config.order.currency };
    let carts = Carts::new(shards.clone(), Redis::absent(), Arc::new(prices));
    Ok(Accounts::new(region_core_account::Parts {
        shards,
        peers: Peers::new(NoPeers),
        carts,
        signer: region::signer(config)?,
        hasher: Hasher::new(1, entropy.clone()),
        limits: Limits::new(clock.clone(), Vec::new()),
        clock,
        entropy,
    }))
}
