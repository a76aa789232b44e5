//! Access tokens, checked with the published keys of every region.

use std::sync::Arc;

use arc_swap::ArcSwap;
use shared::token::{self, Claims, KeySet, TokenError};
use shared_clock::Clock;
use shared_signature::Signatures;

/// Checks access tokens. Clones share the keys, which the server replaces as regions publish new ones.
#[derive(Clone, Debug)]
pub struct Verifier {
    keys: Arc<ArcSwap<KeySet>>,
    signatures: Signatures,
    clock: Clock,
}

impl Verifier {
    /// A verifier that knows `keys` and judges lifetimes by `clock`.
    #[must_use]
    pub fn new(keys: KeySet, clock: Clock) -> Self {
        Self { keys: Arc::new(ArcSwap::from_pointee(keys)), signatures: Signatures::default(), clock }
    }

    /// Takes over a newer set of keys; tokens of keys that are gone are refused from now on.
    pub fn replace(&self, keys: KeySet) {
        self.keys.store(Arc::new(keys));
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
}
