//! Guests, sessions and the account itself; signing up and in have files of their own.

use std::sync::Arc;

use region_core_cart::Carts;
use region_core_store::{HasStoreError, Shards, StoreError, own_slot};
use region_core_web::{ClientAddress, Peers};
use shared::api::account::{Account, RefreshToken, Tokens};
use shared::token::Role;
use shared::{EmailAddress, Problem, ProblemKind, SessionId, Slot, UserId};
use shared_clock::{Clock, Entropy};
use sqlx::PgConnection;

use crate::rules::Secret;
use crate::signer::ACCESS_SECONDS;
use crate::step::{EndSession, FindLogin, RefreshSession};
use crate::store::sessions::{Refreshed, SESSION_SECONDS};
use crate::store::users::Standing;
use crate::store::{sessions, users};
use crate::{Hasher, HasherBusy, Limits, Signer};

/// How often an id or a slot is drawn again.
const MINT_ATTEMPTS: u32 = 8;

/// What accounts are made of.
#[derive(Clone, Debug)]
pub struct Parts {
    /// This region's shards.
    pub shards: Shards,
    /// The cores of the other regions.
    pub peers: Peers,
    /// Carts, which a sign-in carries over.
    pub carts: Carts,
    /// The region's signing key.
    pub signer: Signer,
    /// Who hashes passwords.
    pub hasher: Hasher,
    /// Limits against guessing and hoarding.
    pub limits: Limits,
    /// For ids and tokens.
    pub clock: Clock,
    /// For ids and secrets.
    pub entropy: Entropy,
}

/// The accounts of the store, as seen from this region. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Accounts(Arc<Parts>);

impl std::ops::Deref for Accounts {
    type Target = Parts;

    fn deref(&self) -> &Parts {
        &self.0
    }
}

/// Why something about an account was not done.
#[derive(Debug, thiserror::Error)]
pub enum AccountError {
    /// Somebody signs in with that e-mail.
    #[error("sign in, or use another e-mail")]
    EmailTaken,
    /// Somebody is signing up with that e-mail at this moment.
    #[error("a sign-up with this e-mail is under way")]
    EmailHeld {
        /// Seconds until it may be tried again.
        seconds: u32,
    },
    /// The guest's id has credentials already.
    #[error("this guest has an account; sign in to it")]
    AlreadyAnAccount,
    /// E-mail and password do not belong together.
    #[error("e-mail and password do not belong together")]
    WrongCredentials,
    /// The refresh token does not work, or not any more.
    #[error("the session is over")]
    SessionOver,
    /// No such user or e-mail.
    #[error("no such account")]
    NotFound,
    /// No free slot or id could be found; practically impossible while any slot is open.
    #[error("no slot of this region takes a new user")]
    NoRoom,
    /// Too many passwords at once.
    #[error(transparent)]
    Busy(#[from] HasherBusy),
    /// The shard failed.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// Refused by a rule, or by another region, in those words.
    #[error("{0}")]
    Refused(#[from] Problem),
}

impl HasStoreError for AccountError {
    fn store_error(&self) -> Option<&StoreError> {
        match self {
            Self::Store(error) => Some(error),
            Self::EmailTaken
            | Self::EmailHeld { .. }
            | Self::AlreadyAnAccount
            | Self::WrongCredentials
            | Self::SessionOver
            | Self::NotFound
            | Self::NoRoom
            | Self::Busy(_)
            | Self::Refused(_) => None,
        }
    }
}

impl From<AccountError> for Problem {
    fn from(error: AccountError) -> Self {
        let email_taken = Self::new(ProblemKind::EmailTaken).detail(&error);
        match error {
            AccountError::EmailTaken | AccountError::AlreadyAnAccount => email_taken,
            AccountError::EmailHeld { seconds } => email_taken.retry_after(seconds),
            AccountError::WrongCredentials => Self::new(ProblemKind::WrongCredentials),
            AccountError::SessionOver => Self::new(ProblemKind::NotSignedIn).detail(error),
            AccountError::NotFound => Self::not_found(),
            AccountError::NoRoom => Self::new(ProblemKind::Unavailable).detail(error),
            AccountError::Busy(busy) => busy.into(),
            AccountError::Store(store) => store.into(),
            AccountError::Refused(problem) => problem,
        }
    }
}

impl Accounts {
    /// Accounts made of these.
    #[must_use]
    pub fn new(parts: Parts) -> Self {
        Self(Arc::new(parts))
    }

    /// A new guest, in a uniformly random slot of this region, and its first tokens.
    ///
    /// # Errors
    /// A 429 when the address block has made too many.
    #[tracing::instrument(name = "account.guest", skip_all)]
    pub async fn guest(&self, from: ClientAddress) -> Result<Tokens, AccountError> {
        self.limits.guest(from)?;
        for _ in 0..MINT_ATTEMPTS {
            let user = self.mint()?;
            let secret = self.new_session(user);
            match self.open_guest(user, &secret).await {
                Ok(true) => return Ok(self.tokens(user, &secret, guest_standing())),
                // The id is in use, or the slot is on its way elsewhere: another.
                Ok(false) | Err(StoreError::WrongShard(_) | StoreError::Frozen(_)) => {}
                Err(error) => return Err(error.into()),
            }
        }
        Err(AccountError::NoRoom)
    }

    async fn open_guest(&self, user: UserId, secret: &Secret) -> Result<bool, StoreError> {
        let secret = secret.clone();
        let open = self.shards.here(user.slot())?.write("account.guest", async move |conn| {
            own_slot(conn, user.slot()).await?;
            let fresh = users::insert(conn, user).await?;
            if fresh {
                sessions::insert(conn, user, &secret).await?;
            }
            Ok::<_, StoreError>(fresh)
        });
        open.await
    }

    /// A user id that nobody has yet, most likely: the users' primary key is the judge.
    pub(crate) fn mint(&self) -> Result<UserId, AccountError> {
        let map = self.shards.map();
        let open: Vec<Slot> = map.slots_in(self.shards.region()).collect();
        let bound = u32::try_from(open.len()).unwrap_or(u32::MAX);
        let pick = if open.is_empty() { None } else { open.get(self.entropy.below(bound) as usize) };
        let random = u16::from_le_bytes(self.entropy.bytes());
        let id = pick.and_then(|slot| UserId::mint(self.clock.unix_ms(), *slot, random).ok());
        id.ok_or(AccountError::NoRoom)
    }

    /// The first refresh token of a session that is yet to be written.
    pub(crate) fn new_session(&self, user: UserId) -> Secret {
        let session = SessionId::mint(self.clock.unix_ms(), user.slot(), self.entropy.bytes());
        Secret::new(session, self.entropy.bytes())
    }

    /// What a client gets for a session.
    pub(crate) fn tokens(&self, user: UserId, secret: &Secret, standing: Standing) -> Tokens {
        let Standing { roles, epoch } = standing;
        Tokens {
            user_id: user,
            access_token: self.signer.access_token(user, secret.session, roles, epoch, self.clock.unix_seconds()),
            expires_in: ACCESS_SECONDS,
            refresh_token: secret.token(),
            refresh_expires_in: SESSION_SECONDS,
        }
    }

    /// New tokens for a refresh token, wherever its session lives. The token that was used last yields the same successor
    /// until that one is used, for an answer may be lost; any other ends the session.
    ///
    /// # Errors
    /// [`AccountError::SessionOver`], or those of the store.
    #[tracing::instrument(name = "account.refresh", skip_all)]
    pub async fn refresh(&self, refresh_token: RefreshToken) -> Result<Tokens, AccountError> {
        let session = Secret::parse(&refresh_token).ok_or(AccountError::SessionOver)?.session;
        self.perform(RefreshSession { session, refresh_token }).await
    }

    pub(crate) async fn refresh_here(&self, refresh_token: &RefreshToken) -> Result<Tokens, AccountError> {
        let shown = Secret::parse(refresh_token).ok_or(AccountError::SessionOver)?;
        let next = shown.successor(&self.signer.sign(&shown.succession_input()));
        let (write_shown, write_next) = (shown.clone(), next.clone());
        let rotated = self.shards.here(shown.session.slot())?.write("account.refresh", async move |conn| {
            own_slot(conn, write_shown.session.slot()).await?;
            sessions::rotate(conn, &write_shown, &write_next).await
        });
        let Refreshed { user, standing } = rotated.await?.ok_or(AccountError::SessionOver)?;
        Ok(self.tokens(user, &next, standing))
    }

    /// Ends a session, wherever it lives. A token that names none is as good as ended.
    ///
    /// # Errors
    /// Those of the store.
    #[tracing::instrument(name = "account.end", skip_all)]
    pub async fn end(&self, refresh_token: RefreshToken) -> Result<(), AccountError> {
        match Secret::parse(&refresh_token) {
            Some(Secret { session, .. }) => self.perform(EndSession { session, refresh_token }).await,
            None => Ok(()),
        }
    }

    pub(crate) async fn end_here(&self, refresh_token: &RefreshToken) -> Result<(), AccountError> {
        let shown = Secret::parse(refresh_token).ok_or(AccountError::SessionOver)?;
        let ended = self.shards.here(shown.session.slot())?.write("account.end", async move |conn| {
            own_slot(conn, shown.session.slot()).await?;
            sessions::end_of(conn, &shown).await
        });
        Ok(ended.await?)
    }

    /// The caller's account.
    ///
    /// # Errors
    /// [`AccountError::NotFound`] when the user is not there, or those of the store.
    pub async fn account(&self, user: UserId) -> Result<Account, AccountError> {
        let mut conn = self.shards.here(user.slot())?.read().await?;
        users::find(&mut conn, user).await?.ok_or(AccountError::NotFound)
    }

    /// Makes the owner of an e-mail an operator, once; his next token says so. Only for the command on a core's machine.
    ///
    /// # Errors
    /// [`AccountError::NotFound`] without such an account; [`StoreError::WrongShard`] when it lives in a shard that this
    /// process does not reach.
    pub async fn grant_operator(&self, email: EmailAddress) -> Result<UserId, AccountError> {
        let user = self.perform(FindLogin { email }).await?.ok_or(AccountError::NotFound)?;
        self.write_user("account.grant_operator", user, async move |conn| {
            users::grant(conn, user, Role::Operator).await
        })
        .await?;
        Ok(user)
    }

    /// Ends every session of an e-mail's owner and revokes the access tokens that are out. Only for the command on a core's
    /// machine.
    ///
    /// # Errors
    /// As for [`Self::grant_operator`].
    pub async fn revoke(&self, email: EmailAddress) -> Result<UserId, AccountError> {
        let user = self.perform(FindLogin { email }).await?.ok_or(AccountError::NotFound)?;
        self.write_user("account.revoke", user, async move |conn| {
            users::raise_epoch(conn, user).await?;
            sessions::end_all(conn, user).await
        })
        .await?;
        Ok(user)
    }

    /// Runs `work` in a transaction of the user's shard, once that is known to own the user's slot.
    async fn write_user<T, F>(&self, name: &'static str, user: UserId, work: F) -> Result<T, StoreError>
    where
        F: AsyncFn(&mut PgConnection) -> Result<T, StoreError>,
    {
        let shard = self.shards.here(user.slot())?;
        let work = async |conn: &mut PgConnection| {
            own_slot(conn, user.slot()).await?;
            work(conn).await
        };
        shard.write(name, work).await
    }
}

fn guest_standing() -> Standing {
    Standing { roles: vec![Role::Guest], epoch: 0 }
}
