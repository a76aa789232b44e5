//! Signing up: reserve the e-mail, put credentials on the user, activate the login. Each step can be run twice, and a
//! sign-up that stops half-way can be begun again.

use region_core_store::{StoreError, own_slot};
use region_core_web::ClientAddress;
use shared::api::account::{SignUp, Tokens};
use shared::{EmailAddress, UserId};

use crate::password::Verdict;
use crate::rules::{PlainPassword, checked_name};
use crate::service::{AccountError, Accounts};
use crate::step::{ActivateLogin, FindLogin, ReleaseLogin, ReserveLogin};
use crate::store::credentials::Placed;
use crate::store::logins::Claim;
use crate::store::{credentials, sessions, users};

/// How often an id is drawn again.
const MINT_ATTEMPTS: u32 = 8;

/// What is to be written about the person.
#[derive(Clone)]
struct Entry {
    email: EmailAddress,
    password_hash: String,
    name: Option<String>,
}

/// What became of one attempt with one id.
enum Attempt {
    Done,
    /// Somebody else has the id.
    IdInUse,
}

impl Accounts {
    /// Opens an account on the guest's own id, or on a new one.
    ///
    /// A repeat by the same guest, with the same e-mail and password, finishes what was begun and answers the same.
    ///
    /// # Errors
    /// [`AccountError::EmailTaken`] and [`AccountError::EmailHeld`]; rules' refusals that name the field; a 429.
    #[tracing::instrument(name = "account.sign_up", skip_all)]
    pub async fn sign_up(
        &self,
        request: SignUp,
        guest: Option<UserId>,
        from: ClientAddress,
    ) -> Result<Tokens, AccountError> {
        let SignUp { email, password, name } = request;
        let plain = PlainPassword::chosen(&password, &email)?;
        let name = checked_name(name.as_deref())?;
        self.limits.sign_up(from)?;
        let entry = Entry { password_hash: self.hasher.hash(plain).await?, email, name };
        for _ in 0..MINT_ATTEMPTS {
            let user = guest.map_or_else(|| self.mint(), Ok)?;
            match self.claim(&entry.email, user).await? {
                Claim::Ours => return self.repeated(user, entry.email, PlainPassword::tried(&password)).await,
                Claim::Taken => return Err(AccountError::EmailTaken),
                Claim::Held { seconds } => return Err(AccountError::EmailHeld { seconds }),
                Claim::Reserved => {}
            }
            match self.enter(user, guest.is_none(), &entry).await? {
                Attempt::Done => return self.open_account(user, entry.email, None).await,
                Attempt::IdInUse => {}
            }
        }
        Err(AccountError::NoRoom)
    }

    async fn claim(&self, email: &EmailAddress, user: UserId) -> Result<Claim, AccountError> {
        self.perform(ReserveLogin { email: email.clone(), user }).await
    }

    /// The e-mail is this guest's already: whoever knows the password gets in, as with a sign-in.
    async fn repeated(
        &self,
        user: UserId,
        email: EmailAddress,
        password: Option<PlainPassword>,
    ) -> Result<Tokens, AccountError> {
        let hash = credentials::find_hash(&mut *self.shards.here(user.slot())?.read().await?, user, &email).await?;
        match self.hasher.verify(password, hash).await? {
            Verdict::Right | Verdict::RightButOld => self.open_account(user, email, None).await,
            Verdict::Wrong => Err(AccountError::EmailTaken),
        }
    }

    /// Second and third step, once the e-mail is reserved.
    async fn enter(&self, user: UserId, new: bool, entry: &Entry) -> Result<Attempt, AccountError> {
        let placed = self.place(user, new, entry).await;
        let kept = matches!(placed, Ok(Some(Placed::Done))) || (placed.is_err() && !new);
        if !kept {
            // Nobody comes back for it: a new user is not tried twice, and what is written without a login is unreachable.
            self.release(&entry.email, user).await;
        }
        match placed? {
            Some(Placed::Done) => self.activate(user, &entry.email).await,
            Some(Placed::AlreadyAnAccount | Placed::Unfinished(_)) => Err(AccountError::AlreadyAnAccount),
            None => Ok(Attempt::IdInUse),
        }
    }

    async fn activate(&self, user: UserId, email: &EmailAddress) -> Result<Attempt, AccountError> {
        let activate = ActivateLogin { email: email.clone(), user };
        if self.perform(activate).await? { Ok(Attempt::Done) } else { Err(AccountError::EmailTaken) }
    }

    /// Writes user, name and credentials. Credentials of an earlier, unfinished sign-up of the same guest give way, unless
    /// that one had won its e-mail. `None` if a new user's id is in use.
    async fn place(&self, user: UserId, new: bool, entry: &Entry) -> Result<Option<Placed>, AccountError> {
        let placed = self.write_entry(user, new, entry, None).await?;
        let Some(Placed::Unfinished(email)) = placed else { return Ok(placed) };
        if self.perform(FindLogin { email: email.clone() }).await? == Some(user) {
            return Ok(Some(Placed::AlreadyAnAccount));
        }
        Ok(self.write_entry(user, new, entry, Some(email)).await?)
    }

    async fn write_entry(
        &self,
        user: UserId,
        new: bool,
        entry: &Entry,
        lost: Option<EmailAddress>,
    ) -> Result<Option<Placed>, StoreError> {
        let entry = entry.clone();
        let placed = self.shards.here(user.slot())?.write("account.place_credentials", async move |conn| {
            own_slot(conn, user.slot()).await?;
            if new && !users::insert(conn, user).await? {
                return Ok(None);
            }
            let placed = credentials::put(conn, user, &entry.email, &entry.password_hash, lost.as_ref()).await?;
            if placed == Placed::Done {
                users::set_name(conn, user, entry.name.as_deref()).await?;
            }
            Ok::<_, StoreError>(Some(placed))
        });
        placed.await
    }

    /// As good as it goes: a reservation that stays runs out by itself.
    async fn release(&self, email: &EmailAddress, user: UserId) {
        if let Err(error) = self.perform(ReleaseLogin { email: email.clone(), user }).await {
            tracing::debug!(%error, "a reservation was left to run out");
        }
    }

    /// Notes that the login is active and starts a session, in one transaction.
    pub(crate) async fn open_account(
        &self,
        user: UserId,
        email: EmailAddress,
        new_hash: Option<String>,
    ) -> Result<Tokens, AccountError> {
        let secret = self.new_session(user);
        let write = secret.clone();
        let standing = self.shards.here(user.slot())?.write("account.open_session", async move |conn| {
            own_slot(conn, user.slot()).await?;
            // First, for it may end the sessions that there are.
            credentials::settle(conn, user, &email).await?;
            if let Some(hash) = &new_hash {
                credentials::rehash(conn, user, hash).await?;
            }
            sessions::insert(conn, user, &write).await?;
            users::standing(conn, user).await
        });
        let standing = standing.await?.ok_or(AccountError::NotFound)?;
        Ok(self.tokens(user, &secret, standing))
    }
}
