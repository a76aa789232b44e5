//! Signing as Standard Webhooks 1.0.0 says (`spec/standard-webhooks.md`, "Signature scheme"): HMAC-SHA-256 over id, instant
//! and body, once for each live secret, so that a receiver may change to the next whenever it likes.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use hmac::{Hmac, Mac as _};
use secrecy::{ExposeSecret as _, SecretSlice};
use sha2::Sha256;

/// What says which event it is; the same in every attempt.
pub const ID: &str = "webhook-id";
/// What says when it was sent, in Unix seconds; of each attempt its own.
pub const TIMESTAMP: &str = "webhook-timestamp";
/// What proves both and the body.
pub const SIGNATURE: &str = "webhook-signature";
/// What a written secret begins with.
const PREFIX: &str = "whsec_";

/// The secret as receivers are told it.
#[must_use]
pub fn written(secret: &[u8]) -> String {
    format!("{PREFIX}{}", STANDARD.encode(secret))
}

/// The value of [`SIGNATURE`]: one signature for each of `secrets`.
#[must_use]
pub fn sign(secrets: &[SecretSlice<u8>], id: &str, unix_seconds: u64, body: &[u8]) -> String {
    let one = |secret: &SecretSlice<u8>| {
        format!("v1,{}", STANDARD.encode(mac(secret.expose_secret(), id, unix_seconds, body)))
    };
    secrets.iter().map(one).collect::<Vec<_>>().join(" ")
}

fn mac(secret: &[u8], id: &str, unix_seconds: u64, body: &[u8]) -> [u8; 32] {
    #[expect(clippy::expect_used, reason = "HMAC takes keys of any length (RFC 2104)")]
    let mut mac = Hmac::<Sha256>::new_from_slice(secret).expect("a key of any length");
    mac.update(format!("{id}.{unix_seconds}.").as_bytes());
    mac.update(body);
    mac.finalize().into_bytes().into()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What the libraries of Standard Webhooks and of Svix are tested against.
    const SECRET: &str = "MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw";
    const ID: &str = "msg_p5jXN8AQM9LWM0D4loKWxJek";
    const BODY: &[u8] = br#"{"test": 2432232314}"#;
    const SIGNED: &str = "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=";

    fn secret(text: &str) -> SecretSlice<u8> {
        STANDARD.decode(text).unwrap().into()
    }

    #[test]
    fn the_published_vector_is_signed_as_published() {
        assert_eq!(sign(&[secret(SECRET)], ID, 1_614_265_330, BODY), SIGNED);
        assert_eq!(written(secret(SECRET).expose_secret()), format!("whsec_{SECRET}"));
    }

    #[test]
    fn two_live_secrets_make_two_signatures_and_nothing_signed_may_change() {
        let other = secret("c2VjcmV0IG51bWJlciB0d28gaXMgbG9uZyBlbm91Z2g=");
        let both = sign(&[other.clone(), secret(SECRET)], ID, 1_614_265_330, BODY);
        assert_eq!(both, format!("{} {SIGNED}", sign(&[other], ID, 1_614_265_330, BODY)));
        let own = |id: &str, at: u64, body: &[u8]| sign(&[secret(SECRET)], id, at, body);
        for changed in [own("msg_2", 1_614_265_330, BODY), own(ID, 1_614_265_331, BODY), own(ID, 1_614_265_330, b"{}")]
        {
            assert_ne!(changed, SIGNED);
        }
    }
}
