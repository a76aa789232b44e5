//! Pieces of work that belong to one slot. A step runs in the region that owns the slot: here, or over `/internal` in
//! another. Each step may be run twice: an answer can be lost on the way.

use http::Method;
use region_core_cart::FrozenCart;
use region_core_store::{StoreError, own_slot};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use shared::api::account::{RefreshToken, Tokens};
use shared::{EmailAddress, SessionId, Slot, UserId};

use crate::service::{AccountError, Accounts};
use crate::store::logins::Claim;
use crate::store::{aliases, logins, sessions};

/// One piece of work.
pub(crate) trait Step: Serialize + DeserializeOwned + Send + Sync + 'static {
    /// Its `/internal` route.
    const PATH: &'static str;

    /// What it answers.
    type Answer: Serialize + DeserializeOwned + Send;

    /// The slot it belongs to.
    fn slot(&self) -> Slot;

    /// Does it, in the region that owns the slot.
    fn run(self, accounts: &Accounts) -> impl Future<Output = Result<Self::Answer, AccountError>> + Send;
}

impl Accounts {
    /// Does a step wherever its slot is.
    pub(crate) async fn perform<S: Step>(&self, step: S) -> Result<S::Answer, AccountError> {
        let slot = step.slot();
        if self.shards.here(slot).is_ok() {
            return step.run(self).await;
        }
        let map = self.shards.map();
        let region = map.region_of(slot);
        if region == self.shards.region() {
            return Err(StoreError::WrongShard(slot).into());
        }
        self.peers.call(region, Method::POST, S::PATH, &step).await.map_err(AccountError::Refused)
    }
}

/// Reserves an e-mail for a user.
#[derive(Serialize, Deserialize)]
pub(crate) struct ReserveLogin {
    pub(crate) email: EmailAddress,
    pub(crate) user: UserId,
}

impl Step for ReserveLogin {
    const PATH: &'static str = "/internal/account/logins/reserve";
    type Answer = Claim;

    fn slot(&self) -> Slot {
        self.email.slot()
    }

    async fn run(self, accounts: &Accounts) -> Result<Claim, AccountError> {
        let shard = accounts.shards.here(self.slot())?;
        let claim = shard.write("account.reserve_login", async move |conn| {
            own_slot(conn, self.email.slot()).await?;
            logins::reserve(conn, &self.email, self.user).await
        });
        Ok(claim.await?)
    }
}

/// Turns a reservation into a login; `false` if the reservation is lost.
#[derive(Serialize, Deserialize)]
pub(crate) struct ActivateLogin {
    pub(crate) email: EmailAddress,
    pub(crate) user: UserId,
}

impl Step for ActivateLogin {
    const PATH: &'static str = "/internal/account/logins/activate";
    type Answer = bool;

    fn slot(&self) -> Slot {
        self.email.slot()
    }

    async fn run(self, accounts: &Accounts) -> Result<bool, AccountError> {
        let shard = accounts.shards.here(self.slot())?;
        let active = shard.write("account.activate_login", async move |conn| {
            own_slot(conn, self.email.slot()).await?;
            logins::activate(conn, &self.email, self.user).await
        });
        Ok(active.await?)
    }
}

/// Gives a reservation back.
#[derive(Serialize, Deserialize)]
pub(crate) struct ReleaseLogin {
    pub(crate) email: EmailAddress,
    pub(crate) user: UserId,
}

impl Step for ReleaseLogin {
    const PATH: &'static str = "/internal/account/logins/release";
    type Answer = ();

    fn slot(&self) -> Slot {
        self.email.slot()
    }

    async fn run(self, accounts: &Accounts) -> Result<(), AccountError> {
        let shard = accounts.shards.here(self.slot())?;
        let released = shard.write("account.release_login", async move |conn| {
            own_slot(conn, self.email.slot()).await?;
            logins::release(conn, &self.email, self.user).await
        });
        Ok(released.await?)
    }
}

/// Who signs in with an e-mail.
#[derive(Serialize, Deserialize)]
pub(crate) struct FindLogin {
    pub(crate) email: EmailAddress,
}

impl Step for FindLogin {
    const PATH: &'static str = "/internal/account/logins/find";
    type Answer = Option<UserId>;

    fn slot(&self) -> Slot {
        self.email.slot()
    }

    async fn run(self, accounts: &Accounts) -> Result<Option<UserId>, AccountError> {
        let mut conn = accounts.shards.here(self.slot())?.read().await?;
        Ok(logins::find(&mut conn, &self.email).await?)
    }
}

/// Stops a guest's cart and says what is in it. Asked only once the guest is known to be the user: see [`RecordAlias`].
#[derive(Serialize, Deserialize)]
pub(crate) struct FreezeCart {
    pub(crate) guest: UserId,
}

impl Step for FreezeCart {
    const PATH: &'static str = "/internal/account/guests/freeze-cart";
    type Answer = FrozenCart;

    fn slot(&self) -> Slot {
        self.guest.slot()
    }

    async fn run(self, accounts: &Accounts) -> Result<FrozenCart, AccountError> {
        Ok(accounts.carts.freeze(self.guest).await?)
    }
}

/// Empties and thaws a guest's cart whose items have arrived, and ends the guest's sessions. The last step: until then
/// whoever was interrupted can come back as the guest and finish.
#[derive(Serialize, Deserialize)]
pub(crate) struct DrainCart {
    pub(crate) guest: UserId,
    pub(crate) version: u64,
}

impl Step for DrainCart {
    const PATH: &'static str = "/internal/account/guests/drain-cart";
    type Answer = ();

    fn slot(&self) -> Slot {
        self.guest.slot()
    }

    async fn run(self, accounts: &Accounts) -> Result<(), AccountError> {
        let Self { guest, version } = self;
        accounts.carts.drain(guest, version).await?;
        let ended = accounts.shards.here(guest.slot())?.write("account.end_guest", async move |conn| {
            own_slot(conn, guest.slot()).await?;
            sessions::end_all(conn, guest).await
        });
        Ok(ended.await?)
    }
}

/// Notes, in one of the two shards concerned, that a guest is a user; `false` if he is not to be. The guest's slot comes
/// first and decides: a guest who has or is getting an account of his own, or is another's already, is nobody else's.
#[derive(Serialize, Deserialize)]
pub(crate) struct RecordAlias {
    pub(crate) user: UserId,
    pub(crate) guest: UserId,
    pub(crate) place: Slot,
}

impl Step for RecordAlias {
    const PATH: &'static str = "/internal/account/guests/alias";
    type Answer = bool;

    fn slot(&self) -> Slot {
        self.place
    }

    async fn run(self, accounts: &Accounts) -> Result<bool, AccountError> {
        let Self { user, guest, place } = self;
        if !aliases::belongs_in(place, user, guest) {
            return Err(StoreError::WrongShard(place).into());
        }
        let recorded = accounts.shards.here(place)?.write("account.alias", async move |conn| {
            own_slot(conn, place).await?;
            if place == guest.slot() {
                return aliases::claim(conn, user, guest).await;
            }
            aliases::copy(conn, user, guest).await?;
            Ok(true)
        });
        Ok(recorded.await?)
    }
}

/// Trades a refresh token for new ones.
#[derive(Serialize, Deserialize)]
pub(crate) struct RefreshSession {
    pub(crate) session: SessionId,
    pub(crate) refresh_token: RefreshToken,
}

impl Step for RefreshSession {
    const PATH: &'static str = "/internal/account/sessions/refresh";
    type Answer = Tokens;

    fn slot(&self) -> Slot {
        self.session.slot()
    }

    async fn run(self, accounts: &Accounts) -> Result<Tokens, AccountError> {
        accounts.refresh_here(&self.refresh_token).await
    }
}

/// Ends a session.
#[derive(Serialize, Deserialize)]
pub(crate) struct EndSession {
    pub(crate) session: SessionId,
    pub(crate) refresh_token: RefreshToken,
}

impl Step for EndSession {
    const PATH: &'static str = "/internal/account/sessions/end";
    type Answer = ();

    fn slot(&self) -> Slot {
        self.session.slot()
    }

    async fn run(self, accounts: &Accounts) -> Result<(), AccountError> {
        accounts.end_here(&self.refresh_token).await
    }
}
