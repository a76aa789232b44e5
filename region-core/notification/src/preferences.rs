//! What whoever reads mail at an address wants to be told beyond what his orders require, and what whoever ordered does.
//!
//! The first is kept by the address's digest in the shard that owns that digest's slot, whichever region that is, and changed
//! by a mail's link alone: whoever has one reads there. The second is kept with the user, and holds for his own orders: the
//! address that he signed up with was never proven to be his. Both are asked when such a mail is due, and both must want it: a
//! word to stop holds from the next mail on.

use std::sync::Arc;

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

    /// Those of a user, about his own orders.
    ///
    /// # Errors
    /// When they cannot be read.
    pub async fn of_user(&self, user: UserId) -> Result<MailPreferences, StoreError> {
        preferences::find_of_user(&mut *self.shards.here(user.slot())?.read().await?, user).await
    }

    /// Keeps those of a user.
    ///
    /// # Errors
    /// When they cannot be kept.
    pub async fn keep_of_user(&self, user: UserId, wanted: MailPreferences) -> Result<MailPreferences, StoreError> {
        let work = async move |conn: &mut PgConnection| {
            own_slot(conn, user.slot()).await?;
            preferences::keep_of_user(conn, user, wanted).await
        };
        self.shards.here(user.slot())?.write("notification.prefer", work).await?;
        metrics::counter!("mail_preferences_kept_total").increment(1);
        Ok(wanted)
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
