//! The signature of Stripe's events: `Stripe-Signature: t=UNIX,v1=HEX[,v1=HEX…]`, HMAC-SHA-256 over `UNIX.BODY`.
//!
//! See "Verify webhook signatures manually", <https://docs.stripe.com/webhooks#verify-manually>. Other schemes (`v0`) are
//! ignored, so that nobody can choose a weaker one.

use hmac::{Hmac, Mac};
use secrecy::{ExposeSecret as _, SecretString};
use sha2::Sha256;

/// The header that carries it.
pub(super) const HEADER: &str = "stripe-signature";
/// How far the signer's clock may be from ours, and how long an event may travel, in seconds: Stripe's own default.
const TOLERANCE_SECONDS: u64 = 300;
/// Signatures looked at: while a secret is rotated there are two.
const MOST_SIGNATURES: usize = 8;

/// Why an event is not believed to be Stripe's.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
pub(super) enum Forged {
    #[error("the header Stripe-Signature is missing or malformed")]
    Header,
    #[error("the event was signed more than five minutes away from now")]
    OutsideWindow,
    #[error("the signature does not match")]
    Mismatch,
}

/// Checks the header of an event against every live secret, each in constant time.
pub(super) fn verify(secrets: &[SecretString], header: &str, body: &[u8], now_seconds: u64) -> Result<(), Forged> {
    let (timestamp, signatures) = parse(header).ok_or(Forged::Header)?;
    let signed_at: u64 = timestamp.parse().map_err(|_| Forged::Header)?;
    if now_seconds.abs_diff(signed_at) > TOLERANCE_SECONDS {
        return Err(Forged::OutsideWindow);
    }
    let matches = |secret: &SecretString| {
        // The body is hashed once a secret, however many signatures somebody sends along.
        let mac = mac(secret, timestamp, body);
        signatures.iter().any(|signature| mac.clone().verify_slice(signature).is_ok())
    };
    if secrets.iter().any(matches) { Ok(()) } else { Err(Forged::Mismatch) }
}

/// The timestamp as it was signed, and the signatures of our scheme: at least one.
fn parse(header: &str) -> Option<(&str, Vec<Vec<u8>>)> {
    let pairs = || header.split(',').filter_map(|pair| pair.trim().split_once('='));
    let mut timestamps = pairs().filter(|(name, _)| *name == "t").map(|(_, value)| value);
    let (Some(timestamp), None) = (timestamps.next(), timestamps.next()) else { return None };
    let signatures = pairs().filter(|(name, _)| *name == "v1").take(MOST_SIGNATURES);
    let signatures: Vec<_> = signatures.filter_map(|(_, value)| hex::decode(value).ok()).collect();
    (!signatures.is_empty()).then_some((timestamp, signatures))
}

fn mac(secret: &SecretString, timestamp: &str, body: &[u8]) -> Hmac<Sha256> {
    #[expect(clippy::expect_used, reason = "HMAC takes keys of any length (RFC 2104 section 3)")]
    let mut mac = Hmac::<Sha256>::new_from_slice(secret.expose_secret().as_bytes()).expect("a key of any length");
    mac.update(timestamp.as_bytes());
    mac.update(b".");
    mac.update(body);
    mac
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: u64 = 1_492_774_577;
    const BODY: &[u8] = br#"{"id":"evt_1","type":"payment_intent.succeeded"}"#;

    fn secret(text: &str) -> SecretString {
        SecretString::from(text.to_owned())
    }

    /// Made apart from the code here: `printf '%s' "1492774577.$BODY" | openssl dgst -sha256 -hmac whsec_test`.
    const BY_OPENSSL: &str = "18627c91f2a5630224c3bf073d469e4153a4064d2b3e74de88144319cf80c3ce";

    fn header(at: u64) -> String {
        let signature = mac(&secret("whsec_test"), &at.to_string(), BODY).finalize().into_bytes();
        format!(
            "t={at},v1={},v0=6ffbb59b2300aae63f272406069a9788598b792a944a07aba816edb039989a39",
            hex::encode(signature)
        )
    }

    fn verdict(header: &str, body: &[u8], now: u64) -> Result<(), Forged> {
        verify(&[secret("whsec_test")], header, body, now)
    }

    #[test]
    fn a_signature_made_by_openssl_is_taken() {
        assert_eq!(verdict(&format!("t={NOW},v1={BY_OPENSSL}"), BODY, NOW), Ok(()));
        assert_eq!(verdict(&header(NOW), BODY, NOW), Ok(()));
    }

    #[test]
    fn a_flipped_bit_another_secret_or_another_time_is_a_forgery() {
        let mut body = BODY.to_vec();
        body[7] ^= 1;
        assert_eq!(verdict(&header(NOW), &body, NOW), Err(Forged::Mismatch));
        assert_eq!(verify(&[secret("whsec_other")], &header(NOW), BODY, NOW), Err(Forged::Mismatch));
        assert_eq!(verify(&[], &header(NOW), BODY, NOW), Err(Forged::Mismatch));
        let later = header(NOW).replace(&NOW.to_string(), &(NOW + 1).to_string());
        assert_eq!(verdict(&later, BODY, NOW), Err(Forged::Mismatch), "the time is signed too");
    }

    #[test]
    fn five_minutes_are_allowed_either_way_and_no_more() {
        for (now, expected) in [
            (NOW + 300, Ok(())),
            (NOW + 301, Err(Forged::OutsideWindow)),
            (NOW - 300, Ok(())),
            (NOW - 301, Err(Forged::OutsideWindow)),
        ] {
            assert_eq!(verdict(&header(NOW), BODY, now), expected, "{now}");
        }
    }

    #[test]
    fn while_secrets_are_rotated_either_is_good() {
        let live = [secret("whsec_new"), secret("whsec_test")];
        assert_eq!(verify(&live, &header(NOW), BODY, NOW), Ok(()));
        let both = format!("{},v1={}", header(NOW), "00".repeat(32));
        assert_eq!(verify(&live, &both, BODY, NOW), Ok(()));
    }

    #[test]
    fn a_header_out_of_shape_is_refused() {
        let good = header(NOW);
        let signature = good.split(',').nth(1).unwrap();
        let bad = [
            String::new(),
            signature.to_owned(),
            format!("t={NOW}"),
            format!("t=soon,{signature}"),
            format!("t={NOW},t={NOW},{signature}"),
            format!("t={NOW},v1=xyz"),
            good.replace("v1=", "v2="),
        ];
        for header in bad {
            assert_eq!(verdict(&header, BODY, NOW), Err(Forged::Header), "{header}");
        }
    }
}
