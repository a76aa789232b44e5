//! Links that speak for an address without a sign-in: signed, so that nobody can make one for an address that is not his.

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use hmac::{Hmac, Mac};
use secrecy::{ExposeSecret, SecretString};
use sha2::Sha256;

/// Least characters of a key.
const LEAST_KEY: usize = 32;
/// What the signature is for, so that it serves for nothing else.
const PURPOSE: &[u8] = b"meridian-mail-preferences-1\n";
/// Bytes of the address's digest, and of the signature.
const DIGEST: usize = 32;
/// Characters of a token: both, in base64.
const TOKEN: usize = 86;

/// Keys that such links are signed with: the first signs, all verify, so that one can be rotated. The same in all regions.
#[derive(Clone, Debug, Default)]
pub struct LinkKeys(Vec<SecretString>);

/// A key is too short to sign with.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
#[error("a key of at least {} characters", LEAST_KEY)]
pub struct ShortKey;

impl LinkKeys {
    /// Those keys; none makes no links.
    ///
    /// # Errors
    /// [`ShortKey`].
    pub fn new(keys: Vec<SecretString>) -> Result<Self, ShortKey> {
        if keys.iter().any(|key| key.expose_secret().len() < LEAST_KEY) { Err(ShortKey) } else { Ok(Self(keys)) }
    }

    /// A token that speaks for the address of that digest, if there is a key to sign it with. It never runs out: mails are kept.
    pub(crate) fn sign(&self, address: &[u8; DIGEST]) -> Option<String> {
        let signature = mac(self.0.first()?, address).finalize().into_bytes();
        Some(URL_SAFE_NO_PAD.encode([address.as_slice(), signature.as_slice()].concat()))
    }

    /// The digest of the address that a token speaks for, if one of the keys has signed it.
    pub(crate) fn verify(&self, token: &str) -> Option<[u8; DIGEST]> {
        let bytes =
            Some(token).filter(|token| token.len() == TOKEN).and_then(|token| URL_SAFE_NO_PAD.decode(token).ok())?;
        let (address, signature) = bytes.split_at_checked(DIGEST)?;
        let address: [u8; DIGEST] = address.try_into().ok()?;
        self.0.iter().any(|key| mac(key, &address).verify_slice(signature).is_ok()).then_some(address)
    }
}

fn mac(key: &SecretString, address: &[u8; DIGEST]) -> Hmac<Sha256> {
    #[expect(clippy::expect_used, reason = "HMAC takes keys of any length (RFC 2104 section 3)")]
    let mut mac = Hmac::<Sha256>::new_from_slice(key.expose_secret().as_bytes()).expect("a key of any length");
    mac.update(PURPOSE);
    mac.update(address);
    mac
}

#[cfg(test)]
mod tests {
    use super::*;

    fn keys(keys: &[&str]) -> LinkKeys {
        LinkKeys::new(keys.iter().map(|key| SecretString::from(key.repeat(32))).collect()).unwrap()
    }

    #[test]
    fn a_token_speaks_for_its_address_under_every_live_key_and_for_no_other() {
        let (old, both, new) = (keys(&["a"]), keys(&["b", "a"]), keys(&["b"]));
        let token = old.sign(&[7; 32]).unwrap();
        assert_eq!((token.len(), old.sign(&[7; 32])), (TOKEN, Some(token.clone())), "the same in every repeat");
        assert_eq!((old.verify(&token), both.verify(&token), new.verify(&token)), (Some([7; 32]), Some([7; 32]), None));
        assert_eq!(new.verify(&both.sign(&[7; 32]).unwrap()), Some([7; 32]), "the first key signs");
        let other = old.sign(&[8; 32]).unwrap();
        for forged in [format!("{}{}", &other[..43], &token[43..]), token[..85].to_owned(), format!("{token}A")] {
            assert_eq!(old.verify(&forged), None, "{forged}");
        }
        for nonsense in ["", "x", &"=".repeat(TOKEN), &"A".repeat(TOKEN)] {
            assert_eq!(old.verify(nonsense), None, "{nonsense}");
        }
    }

    #[test]
    fn without_a_key_there_are_no_links_and_a_short_one_is_refused() {
        assert_eq!(LinkKeys::default().sign(&[7; 32]), None);
        assert_eq!(LinkKeys::default().verify(&keys(&["a"]).sign(&[7; 32]).unwrap()), None);
        assert_eq!(LinkKeys::new(vec![SecretString::from("short")]).unwrap_err(), ShortKey);
    }
}
