//! Access tokens, checked with the published keys of every region.

use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;
use shared::token::{self, Claims, KeySet, TokenError};
use shared_clock::Clock;
use shared_signature::Signatures;
use tokio::sync::{Notify, Semaphore, watch};

/// Requests that wait for a look at the published keys at once; others are judged by the known ones.
const MOST_WAITING: usize = 64;
/// How long a request waits for such a look.
const LOOK_WITHIN: Duration = Duration::from_secs(1);
/// Looks that one waits for: the first may have begun before the key was published.
const LOOKS: usize = 2;

/// Checks access tokens. Clones share the keys, which the server replaces as regions publish new ones.
#[derive(Clone, Debug)]
pub struct Verifier {
    keys: Arc<ArcSwap<KeySet>>,
    renewal: Arc<Renewal>,
    signatures: Signatures,
    clock: Clock,
}

/// Between requests that miss a key and whoever looks which are published.
#[derive(Debug)]
struct Renewal {
    missed: Notify,
    replaced: watch::Sender<()>,
    waiting: Semaphore,
}

impl Verifier {
    /// A verifier that knows `keys` and judges lifetimes by `clock`.
    #[must_use]
    pub fn new(keys: KeySet, clock: Clock) -> Self {
        let (replaced, _) = watch::channel(());
        let renewal = Arc::new(Renewal { missed: Notify::new(), replaced, waiting: Semaphore::new(MOST_WAITING) });
        Self { keys: Arc::new(ArcSwap::from_pointee(keys)), renewal, signatures: Signatures::default(), clock }
    }

    /// Takes over a newer set of keys; tokens of keys that are gone are refused from now on.
    pub fn replace(&self, keys: KeySet) {
        self.keys.store(Arc::new(keys));
        self.renewal.replaced.send_replace(());
    }

    /// Returns once a token came whose key is not known: another region may just have published it.
    pub async fn missed_a_key(&self) {
        self.renewal.missed.notified().await;
    }

    /// The keys it knows.
    #[must_use]
    pub fn keys(&self) -> Arc<KeySet> {
        self.keys.load_full()
    }

    /// The claims of a token that one of the known keys signed and whose time is now.
    ///
    /// # Errors
    /// The first [`TokenError`] that applies.
    pub fn verify(&self, token: &str) -> Result<Claims, TokenError> {
        let unverified = token::parse(token)?;
        let keys = self.keys.load();
        let key = keys.find(unverified.key_id()).and_then(token::PublicKey::bytes).ok_or(TokenError::UnknownKey)?;
        let good = self.signatures.verify(&key, unverified.message(), unverified.signature());
        unverified.accept(good, self.clock.unix_seconds())
    }

    /// As [`Verifier::verify`]; a key that is not known is waited for a moment, while the server looks at what is published.
    /// Forged names of keys cost no more than that: few wait at once, and the server looks only so often.
    ///
    /// # Errors
    /// The first [`TokenError`] that applies.
    pub async fn verify_or_look(&self, token: &str) -> Result<Claims, TokenError> {
        let first = self.verify(token);
        if !matches!(first, Err(TokenError::UnknownKey)) {
            return first;
        }
        let Ok(_place) = self.renewal.waiting.try_acquire() else { return first };
        let mut replaced = self.renewal.replaced.subscribe();
        for _ in 0..LOOKS {
            self.renewal.missed.notify_one();
            if !matches!(tokio::time::timeout(LOOK_WITHIN, replaced.changed()).await, Ok(Ok(()))) {
                break;
            }
            match self.verify(token) {
                Err(TokenError::UnknownKey) => {}
                known => return known,
            }
        }
        first
    }
}
