//! Who pushes, proven to push services: VAPID (RFC 8292), a token signed with ES256.

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use ring::error::Unspecified;
use ring::rand::SystemRandom;
use ring::signature::{ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, KeyPair};
use secrecy::{ExposeSecret, SecretString};
use serde_json::json;
use url::Url;

/// How long a token serves: less than the day that push services allow (RFC 8292 section 2).
const SERVES_SECONDS: u64 = 12 * 3600;

/// The shop's pair of keys. Browsers subscribe under the public one, and take nothing that is signed with another.
pub(super) struct Vapid {
    pair: EcdsaKeyPair,
    subject: String,
}

impl Vapid {
    /// The pair of that private key: PKCS #8, in base64 of the URL's alphabet.
    pub(super) fn new(private_key: &SecretString, subject: &str) -> Option<Self> {
        let document = URL_SAFE_NO_PAD.decode(private_key.expose_secret()).ok()?;
        let algorithm = &ECDSA_P256_SHA256_FIXED_SIGNING;
        let pair = EcdsaKeyPair::from_pkcs8(algorithm, &document, &SystemRandom::new()).ok()?;
        Some(Self { pair, subject: subject.to_owned() })
    }

    /// What browsers subscribe under: `applicationServerKey`.
    pub(super) fn public_key(&self) -> String {
        URL_SAFE_NO_PAD.encode(self.pair.public_key().as_ref())
    }

    /// The `Authorization` of a message to `endpoint`.
    pub(super) fn authorization(&self, endpoint: &Url, unix_seconds: u64) -> Result<String, Unspecified> {
        let claims = json!({
            "aud": endpoint.origin().ascii_serialization(),
            "exp": unix_seconds + SERVES_SECONDS,
            "sub": self.subject,
        });
        let part = |text: &[u8]| URL_SAFE_NO_PAD.encode(text);
        let said = format!("{}.{}", part(br#"{"typ":"JWT","alg":"ES256"}"#), part(claims.to_string().as_bytes()));
        let signature = self.pair.sign(&SystemRandom::new(), said.as_bytes())?;
        Ok(format!("vapid t={said}.{}, k={}", part(signature.as_ref()), self.public_key()))
    }
}

/// A new private key, as a configuration holds it, and its public key.
///
/// # Errors
/// If the machine has no randomness.
pub fn push_keys() -> Result<(SecretString, String), Unspecified> {
    let document = EcdsaKeyPair::generate_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, &SystemRandom::new())?;
    let private_key = SecretString::from(URL_SAFE_NO_PAD.encode(document.as_ref()));
    let public_key = Vapid::new(&private_key, "").ok_or(Unspecified)?.public_key();
    Ok((private_key, public_key))
}

#[cfg(test)]
mod tests {
    use ring::signature::{ECDSA_P256_SHA256_FIXED, UnparsedPublicKey};
    use serde_json::Value;

    use super::*;

    #[test]
    fn a_push_service_can_check_who_pushes_where_and_until_when() {
        let (private_key, public_key) = push_keys().unwrap();
        let vapid = Vapid::new(&private_key, "mailto:shop@shop.example").unwrap();
        assert_eq!((vapid.public_key(), public_key.len()), (public_key.clone(), 87));
        let endpoint = "https://push.example:8443/p/abc?x=1".parse().unwrap();
        let authorization = vapid.authorization(&endpoint, 1_800_000_000).unwrap();
        let (token, key) = authorization.strip_prefix("vapid t=").unwrap().split_once(", k=").unwrap();
        let (said, signature) = token.rsplit_once('.').unwrap();
        let bytes = |text: &str| URL_SAFE_NO_PAD.decode(text).unwrap();
        let key = UnparsedPublicKey::new(&ECDSA_P256_SHA256_FIXED, bytes(key));
        key.verify(said.as_bytes(), &bytes(signature)).unwrap();
        let parts: Vec<Value> = said.split('.').map(|part| serde_json::from_slice(&bytes(part)).unwrap()).collect();
        assert_eq!(parts[0], json!({ "typ": "JWT", "alg": "ES256" }));
        let claims =
            json!({ "aud": "https://push.example:8443", "exp": 1_800_043_200, "sub": "mailto:shop@shop.example" });
        assert_eq!(parts[1], claims);
    }

    #[test]
    fn what_is_no_key_is_refused() {
        for text in ["", "x", "AAAA"] {
            assert!(Vapid::new(&SecretString::from(text), "").is_none(), "{text}");
        }
    }
}
