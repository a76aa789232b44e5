//! Ed25519 signatures (RFC 8032) on native hosts, each verified once.
//!
//! A shopper sends the same token with every request, and verifying it costs more than most of what else a request does.
//! That a signature is good never changes, so it is remembered: by a digest of the key, the message and the signature, all
//! of them. Whether the key is still published, and whether the claims hold now, is for the caller to ask each time.
//!
//! Deliberately absent: memory of bad signatures, which anybody could fill.

use std::sync::Arc;

use moka::sync::Cache;
use ring::digest::{Context, SHA256};
use ring::signature::{ED25519, UnparsedPublicKey};

/// Signatures that are remembered; each takes some 100 bytes.
const MOST_REMEMBERED: u64 = 65_536;

/// Verifies signatures and remembers the good ones. Clones share the memory.
#[derive(Clone, Debug)]
pub struct Signatures(Arc<Cache<[u8; 32], ()>>);

impl Default for Signatures {
    fn default() -> Self {
        Self(Arc::new(Cache::new(MOST_REMEMBERED)))
    }
}

impl Signatures {
    /// Whether `signature` is that of `message` by the owner of `key`.
    #[must_use]
    pub fn verify(&self, key: &[u8; 32], message: &[u8], signature: &[u8; 64]) -> bool {
        let name = name(key, message, signature);
        if self.0.contains_key(&name) {
            return true;
        }
        let good = UnparsedPublicKey::new(&ED25519, key).verify(message, signature).is_ok();
        if good {
            self.0.insert(name, ());
        }
        good
    }
}

/// Key and signature have fixed lengths and stand first, so that no two triples are spelt alike.
fn name(key: &[u8; 32], message: &[u8], signature: &[u8; 64]) -> [u8; 32] {
    let mut digest = Context::new(&SHA256);
    digest.update(key);
    digest.update(signature);
    digest.update(message);
    let mut name = [0; 32];
    name.copy_from_slice(digest.finish().as_ref());
    name
}

#[cfg(test)]
mod tests {
    use ring::signature::{Ed25519KeyPair, KeyPair};

    use super::*;

    fn signed(seed: u8, message: &[u8]) -> ([u8; 32], [u8; 64]) {
        let pair = Ed25519KeyPair::from_seed_unchecked(&[seed; 32]).unwrap();
        (pair.public_key().as_ref().try_into().unwrap(), pair.sign(message).as_ref().try_into().unwrap())
    }

    #[test]
    fn a_good_signature_stays_good_and_nothing_near_it_becomes_good() {
        let (signatures, message) = (Signatures::default(), b"a token".as_slice());
        let (key, signature) = signed(1, message);
        let (other_key, other_signature) = signed(2, message);
        // The second round finds the good one remembered.
        for _ in 0..2 {
            assert!(signatures.verify(&key, message, &signature));
            assert!(!signatures.verify(&other_key, message, &signature));
            assert!(!signatures.verify(&key, b"another token", &signature));
            assert!(!signatures.verify(&key, message, &other_signature));
            assert!(!signatures.verify(&key, b"", &signature));
        }
        assert!(signatures.clone().verify(&other_key, message, &other_signature));
    }

    #[test]
    fn only_good_signatures_are_remembered() {
        let signatures = Signatures::default();
        let (key, signature) = signed(1, b"a token");
        assert!(!signatures.verify(&key, b"forged", &signature));
        assert!(signatures.verify(&key, b"a token", &signature));
        signatures.0.run_pending_tasks();
        assert_eq!(signatures.0.entry_count(), 1);
    }
}
