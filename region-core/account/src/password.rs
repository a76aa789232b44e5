//! Argon2id (RFC 9106) off the async threads, never more at once than the machine can bear.

use std::sync::Arc;
use std::time::Duration;

use argon2::password_hash::{PasswordHash, PasswordHasher, PasswordVerifier, SaltString};
use argon2::{Algorithm, Argon2, Params, Version};
use shared::{Problem, ProblemKind};
use shared_clock::Entropy;
use tokio::sync::Semaphore;

use crate::rules::PlainPassword;

/// Memory in KiB: OWASP's first choice for Argon2id, with two passes and one lane.
const MEMORY_KIB: u32 = 19 * 1024;
const PASSES: u32 = 2;
const LANES: u32 = 1;
/// Longest wait for a turn.
const PATIENCE: Duration = Duration::from_secs(3);

/// Hashes and checks passwords. Clones share the turns.
#[derive(Clone, Debug)]
pub struct Hasher {
    turns: Arc<Semaphore>,
    entropy: Entropy,
}

/// Too many passwords are being checked; try again.
#[derive(Debug, thiserror::Error)]
#[error("too many sign-ins at once")]
pub struct HasherBusy;

impl From<HasherBusy> for Problem {
    fn from(busy: HasherBusy) -> Self {
        Self::new(ProblemKind::Unavailable).detail(busy).retry_after(2)
    }
}

/// What a check found.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Verdict {
    /// The password is right.
    Right,
    /// The password is right, and its hash was made with other parameters than today's.
    RightButOld,
    /// It is not.
    Wrong,
}

impl Hasher {
    /// A hasher that keeps at most `at_once` threads busy; each hash takes 19 MiB for as long as it runs.
    #[must_use]
    pub fn new(at_once: usize, entropy: Entropy) -> Self {
        Self { turns: Arc::new(Semaphore::new(at_once.max(1))), entropy }
    }

    /// The PHC string of a password under a salt of its own.
    ///
    /// # Errors
    /// [`HasherBusy`] when no turn came in time.
    pub(crate) async fn hash(&self, password: PlainPassword) -> Result<String, HasherBusy> {
        let salt = SaltString::encode_b64(&self.entropy.bytes::<16>());
        self.in_turn(move || {
            let hash = argon2().hash_password(password.as_bytes(), salt.as_ref().ok()?).ok()?;
            Some(hash.to_string())
        })
        .await?
        .ok_or(HasherBusy)
    }

    /// Checks a password against a PHC string. Without one the same work is done for nothing.
    ///
    /// # Errors
    /// [`HasherBusy`] when no turn came in time.
    pub(crate) async fn verify(
        &self,
        password: Option<PlainPassword>,
        hash: Option<String>,
    ) -> Result<Verdict, HasherBusy> {
        self.in_turn(move || {
            let bytes = password.as_ref().map_or(b"".as_slice(), PlainPassword::as_bytes);
            let parsed = hash.as_deref().and_then(|hash| PasswordHash::new(hash).ok());
            match (parsed, password.is_some()) {
                (Some(hash), true) => verdict(bytes, &hash),
                (Some(_), false) | (None, _) => waste(bytes),
            }
        })
        .await
    }

    async fn in_turn<T: Send + 'static>(&self, work: impl FnOnce() -> T + Send + 'static) -> Result<T, HasherBusy> {
        let turn = Arc::clone(&self.turns).acquire_owned();
        let turn = tokio::time::timeout(PATIENCE, turn).await.ok().and_then(Result::ok).ok_or(HasherBusy)?;
        // The turn moves into the thread: a caller who goes away does not free it before the work is done.
        let done = tokio::task::spawn_blocking(move || {
            let _turn = turn;
            work()
        });
        done.await.map_err(|_| HasherBusy)
    }
}

fn argon2() -> Argon2<'static> {
    Argon2::new(Algorithm::Argon2id, Version::V0x13, params())
}

fn params() -> Params {
    Params::new(MEMORY_KIB, PASSES, LANES, None).unwrap_or(Params::DEFAULT)
}

fn verdict(password: &[u8], hash: &PasswordHash<'_>) -> Verdict {
    let right = argon2().verify_password(password, hash).is_ok();
    let today = hash.algorithm == Algorithm::Argon2id.ident()
        && Params::try_from(hash)
            .is_ok_and(|used| (used.m_cost(), used.t_cost(), used.p_cost()) == (MEMORY_KIB, PASSES, LANES));
    match (right, today) {
        (true, true) => Verdict::Right,
        (true, false) => Verdict::RightButOld,
        (false, _) => Verdict::Wrong,
    }
}

/// As much work as a check, so that time does not tell whether there was anything to check.
fn waste(password: &[u8]) -> Verdict {
    let mut out = [0; 32];
    let done = argon2().hash_password_into(password, b"nobody has this!", &mut out);
    std::hint::black_box((done.is_ok(), out));
    Verdict::Wrong
}

#[cfg(test)]
mod tests {
    use shared::api::account::Password;

    use super::*;

    fn plain(text: &str) -> PlainPassword {
        PlainPassword::tried(&Password(text.to_owned())).unwrap()
    }

    #[tokio::test]
    async fn only_the_right_password_verifies_and_no_two_hashes_are_alike() {
        let hasher = Hasher::new(2, Entropy::system());
        let hash = hasher.hash(plain("correct horse")).await.unwrap();
        assert!(hash.starts_with("$argon2id$v=19$m=19456,t=2,p=1$"), "{hash}");
        assert_ne!(hash, hasher.hash(plain("correct horse")).await.unwrap());
        let verify = async |password, hash| hasher.verify(password, hash).await.unwrap();
        assert_eq!(verify(Some(plain("correct horse")), Some(hash.clone())).await, Verdict::Right);
        assert_eq!(verify(Some(plain("battery staple")), Some(hash.clone())).await, Verdict::Wrong);
        assert_eq!(verify(None, Some(hash)).await, Verdict::Wrong);
        assert_eq!(verify(Some(plain("correct horse")), None).await, Verdict::Wrong);
    }

    #[tokio::test]
    async fn a_hash_of_weaker_days_is_right_but_old() {
        let weak = Argon2::new(Algorithm::Argon2id, Version::V0x13, Params::new(8, 1, 1, None).unwrap());
        let salt = SaltString::encode_b64(&[1; 16]).unwrap();
        let hash = weak.hash_password(b"correct horse", &salt).unwrap().to_string();
        let hasher = Hasher::new(1, Entropy::system());
        assert_eq!(hasher.verify(Some(plain("correct horse")), Some(hash)).await.unwrap(), Verdict::RightButOld);
    }
}
