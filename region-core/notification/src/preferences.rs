//! What whoever reads mail at an address wants to be told beyond what his orders require.
//!
//! It is kept by the address's digest in the shard that owns that digest's slot, whichever region that is, and asked for when
//! such a mail is due: a word to stop holds from the next mail on.

use std::sync::Arc;

use futures::future::BoxFuture;
use http::Method;
use region_core_store::{Shards, StoreError, own_slot};
use region_core_web::Peers;
use serde::{Deserialize, Serialize};
use shared::api::account::MailPreferences;
use shared::{EmailAddress, Problem, UserId};
use sqlx::PgConnection;

use crate::link::LinkKeys;
use crate::store::preferences;

/// Where cores of other regions are asked.
pub(crate) const PATH: &str = "/internal/mail-preferences";

/// How preferences learn where a user reads mail, if he does: handed in by the wiring.
pub type AddressOf = Arc<dyn Fn(UserId) -> BoxFuture<'static, Result<Option<EmailAddress>, Problem>> + Send + Sync>;

/// The preferences of all addresses. Cheap to clone.
#[derive(Clone)]
pub struct Preferences {
    shards: Shards,
    peers: Peers,
    keys: Arc<LinkKeys>,
}

impl std::fmt::Debug for Preferences {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Preferences").field("region", self.shards.region()).finish_non_exhaustive()
    }
}

/// Why preferences are not known, or not kept.
#[derive(Debug, thiserror::Error)]
pub enum PreferencesError {
    /// The link was not made by this shop.
    #[error("no such link")]
    Link,
    /// The region where they live has said so, or nothing.
    #[error("{0}")]
    Refused(Problem),
    /// The shard failed.
    #[error(transparent)]
    Store(#[from] StoreError),
}

impl From<PreferencesError> for Problem {
    fn from(error: PreferencesError) -> Self {
        match error {
            PreferencesError::Link => Self::not_found(),
            PreferencesError::Refused(problem) => problem,
            PreferencesError::Store(error) => error.into(),
        }
    }
}

/// What is asked of the shard where an address's preferences live: them, after a change if there is one. Repeats are harmless.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Asked {
    address: [u8; 32],
    change: Option<MailPreferences>,
}

impl Preferences {
    /// Preferences in `shards` and, by `peers`, in those of other regions; links are signed with `keys`.
    #[must_use]
    pub fn new(shards: Shards, peers: Peers, keys: LinkKeys) -> Self {
        Self { shards, peers, keys: Arc::new(keys) }
    }

    /// Those of an address.
    ///
    /// # Errors
    /// When they cannot be read.
    pub async fn of(&self, address: &EmailAddress) -> Result<MailPreferences, PreferencesError> {
        self.ask(Asked { address: address.digest(), change: None }).await
    }

    /// Keeps those of an address.
    ///
    /// # Errors
    /// When they cannot be kept.
    pub async fn keep(
        &self,
        address: &EmailAddress,
        wanted: MailPreferences,
    ) -> Result<MailPreferences, PreferencesError> {
        self.ask(Asked { address: address.digest(), change: Some(wanted) }).await
    }

    /// Those of the address that a link's token speaks for, after `change` if there is one.
    ///
    /// # Errors
    /// [`PreferencesError::Link`] if it speaks for none; when they cannot be read or kept.
    pub async fn by_link(
        &self,
        token: &str,
        change: Option<MailPreferences>,
    ) -> Result<MailPreferences, PreferencesError> {
        let address = self.keys.verify(token).ok_or(PreferencesError::Link)?;
        self.ask(Asked { address, change }).await
    }

    /// The token of a link that speaks for that address, if links are made.
    #[must_use]
    pub fn token(&self, address: &EmailAddress) -> Option<String> {
        self.keys.sign(&address.digest())
    }

    async fn ask(&self, asked: Asked) -> Result<MailPreferences, PreferencesError> {
        let slot = EmailAddress::slot_of(&asked.address);
        if self.shards.here(slot).is_ok() {
            return Ok(self.ask_here(asked).await?);
        }
        let map = self.shards.map();
        let region = map.region_of(slot);
        if region == self.shards.region() {
            return Err(StoreError::WrongShard(slot).into());
        }
        self.peers.call(region, Method::POST, PATH, &asked).await.map_err(PreferencesError::Refused)
    }

    /// What a shard of this region says.
    pub(crate) async fn ask_here(&self, asked: Asked) -> Result<MailPreferences, StoreError> {
        let slot = EmailAddress::slot_of(&asked.address);
        let shard = self.shards.here(slot)?;
        let Some(wanted) = asked.change else {
            return preferences::find(&mut *shard.read().await?, &asked.address).await;
        };
        let work = async move |conn: &mut PgConnection| {
            own_slot(conn, slot).await?;
            preferences::keep(conn, &asked.address, wanted).await
        };
        shard.write("notification.prefer", work).await?;
        metrics::counter!("mail_preferences_kept_total").increment(1);
        Ok(wanted)
    }
}
