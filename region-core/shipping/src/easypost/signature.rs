//! The signature of EasyPost's events: `X-Hmac-Signature: hmac-sha256-hex=HEX`, HMAC-SHA-256 over the raw body.
//!
//! See "Webhook HMAC validation", <https://docs.easypost.com/guides/webhooks-guide>. No time is signed: an event that is repeated
//! is found in the inbox, and one that is older than the inbox has a parcel looked at once more, which is all that it can do.

use hmac::{Hmac, Mac};
use secrecy::{ExposeSecret as _, SecretString};
use sha2::Sha256;

/// The header that carries it.
pub(super) const HEADER: &str = "x-hmac-signature";
const SCHEME: &str = "hmac-sha256-hex=";

/// Why an event is not believed to be EasyPost's.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
pub(super) enum Forged {
    #[error("the header X-Hmac-Signature is missing or malformed")]
    Header,
    #[error("the signature does not match")]
    Mismatch,
}

/// Checks the header of an event against every live secret, each in constant time.
pub(super) fn verify(secrets: &[SecretString], header: &str, body: &[u8]) -> Result<(), Forged> {
    let signature = header.strip_prefix(SCHEME).and_then(|hex| hex::decode(hex).ok()).ok_or(Forged::Header)?;
    let matches = |secret: &SecretString| mac(secret, body).verify_slice(&signature).is_ok();
    if secrets.iter().any(matches) { Ok(()) } else { Err(Forged::Mismatch) }
}

fn mac(secret: &SecretString, body: &[u8]) -> Hmac<Sha256> {
    #[expect(clippy::expect_used, reason = "HMAC takes keys of any length (RFC 2104 section 3)")]
    let mut mac = Hmac::<Sha256>::new_from_slice(secret.expose_secret().as_bytes()).expect("a key of any length");
    mac.update(body);
    mac
}

#[cfg(test)]
mod tests {
    use super::*;

    const BODY: &[u8] = br#"{"description":"tracker.updated","id":"evt_1"}"#;
    /// Made apart from the code here: `printf '%s' "$BODY" | openssl dgst -sha256 -hmac sesame`.
    const BY_OPENSSL: &str = "abee0d3e7e2d1103956de1874fb029f6d71a57f4c4c2019817826a2f5bb74c0e";

    fn secret(text: &str) -> SecretString {
        SecretString::from(text.to_owned())
    }

    #[test]
    fn a_signature_made_by_openssl_is_taken_while_its_secret_is_live() {
        let header = format!("{SCHEME}{BY_OPENSSL}");
        assert_eq!(verify(&[secret("sesame")], &header, BODY), Ok(()));
        assert_eq!(verify(&[secret("new"), secret("sesame")], &header, BODY), Ok(()));
        assert_eq!(verify(&[secret("new")], &header, BODY), Err(Forged::Mismatch));
    }

    #[test]
    fn a_flipped_bit_or_a_header_out_of_shape_is_a_forgery() {
        let header = format!("{SCHEME}{BY_OPENSSL}");
        let mut body = BODY.to_vec();
        body[7] ^= 1;
        assert_eq!(verify(&[secret("sesame")], &header, &body), Err(Forged::Mismatch));
        assert_eq!(verify(&[secret("sesame")], &header[..header.len() - 2], BODY), Err(Forged::Mismatch));
        for bad in ["", BY_OPENSSL, "hmac-sha256-hex=xyz", "sha1=00"] {
            assert_eq!(verify(&[secret("sesame")], bad, BODY), Err(Forged::Header), "{bad}");
        }
    }
}
