//! Signing in: find the user in the login directory, then go where the user lives.

use region_core_web::ClientAddress;
use serde::{Deserialize, Serialize};
use shared::api::account::{Password, SignIn, Tokens};
use shared::{EmailAddress, Slot, UserId};

use crate::password::Verdict;
use crate::rules::{PlainPassword, merge_operation, nobody};
use crate::service::{AccountError, Accounts};
use crate::step::{DrainCart, FindLogin, FreezeCart, RecordAlias, Step};
use crate::store::credentials;

impl Accounts {
    /// Signs in. With a guest's id the guest's cart joins the account's and its orders stay reachable.
    ///
    /// Whether the e-mail is unknown or the password wrong shows neither in the answer nor in the time it takes.
    ///
    /// # Errors
    /// [`AccountError::WrongCredentials`]; a 429; those of the store, after which the whole can be repeated.
    #[tracing::instrument(name = "account.sign_in", skip_all)]
    pub async fn sign_in(
        &self,
        request: SignIn,
        guest: Option<UserId>,
        from: ClientAddress,
    ) -> Result<Tokens, AccountError> {
        let SignIn { email, password } = request;
        self.limits.sign_in(from, &email)?;
        let found = self.perform(FindLogin { email: email.clone() }).await?;
        let user = found.unwrap_or_else(|| nobody(&email));
        self.perform(SignInAtHome { user, email, password, guest }).await
    }

    /// Makes a guest's cart and orders the user's. Every step can be run twice, and a sign-in that stops half-way is
    /// finished by the next: until then the guest's cart takes no operation. Whoever is not this user's guest, but has an
    /// account or belongs to one, keeps everything.
    async fn adopt(&self, user: UserId, guest: UserId) -> Result<(), AccountError> {
        for place in [guest.slot(), user.slot()] {
            if !self.perform(RecordAlias { user, guest, place }).await? {
                return Ok(());
            }
        }
        let frozen = self.perform(FreezeCart { guest }).await?;
        let operation = merge_operation(guest, frozen.version);
        self.carts.merge(user, operation, frozen.items).await?;
        self.perform(DrainCart { guest, version: frozen.version }).await
    }
}

/// The part of a sign-in that belongs to the user's own slot: password, guest's things, session.
#[derive(Serialize, Deserialize)]
pub(crate) struct SignInAtHome {
    user: UserId,
    email: EmailAddress,
    password: Password,
    guest: Option<UserId>,
}

impl Step for SignInAtHome {
    const PATH: &'static str = "/internal/account/sign-in";
    type Answer = Tokens;

    fn slot(&self) -> Slot {
        self.user.slot()
    }

    async fn run(self, accounts: &Accounts) -> Result<Tokens, AccountError> {
        let Self { user, email, password, guest } = self;
        let shard = accounts.shards.here(user.slot())?;
        let hash = credentials::find_hash(&mut *shard.read().await?, user, &email).await?;
        let new_hash = match accounts.hasher.verify(PlainPassword::tried(&password), hash).await? {
            Verdict::Right => None,
            Verdict::RightButOld => match PlainPassword::tried(&password) {
                Some(plain) => Some(accounts.hasher.hash(plain).await?),
                None => None,
            },
            Verdict::Wrong => return Err(AccountError::WrongCredentials),
        };
        if let Some(guest) = guest.filter(|guest| *guest != user) {
            accounts.adopt(user, guest).await?;
        }
        accounts.open_account(user, email, new_hash).await
    }
}
