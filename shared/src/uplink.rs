//! How a Worker signs its requests to a point of presence.
//!
//! HMAC-SHA-256 over method, path and query, body digest, timestamp and client address; a window of 30 seconds either
//! way; two live keys, so that a secret can be rotated. The signature buys one thing: the PoP believes the client
//! address. Who the *user* is, only his own token says.

use std::net::IpAddr;

use hmac::{Hmac, Mac};
use sha2::{Digest, Sha256};

/// Unix seconds at which the request was signed.
pub const TIMESTAMP: &str = "meridian-timestamp";
/// The shopper's address as the Worker saw it.
pub const CLIENT_ADDRESS: &str = "meridian-client-address";
/// `KEY_ID=HEX`, the signature.
pub const SIGNATURE: &str = "meridian-signature";

/// Seconds that clocks may differ and a request may travel.
pub const WINDOW_SECONDS: u64 = 30;

/// What is signed.
#[derive(Clone, Copy, Debug)]
pub struct Signed<'a> {
    /// Upper-case method.
    pub method: &'a str,
    /// Path and query as sent.
    pub path_and_query: &'a str,
    /// The whole body.
    pub body: &'a [u8],
    /// Unix seconds.
    pub timestamp: u64,
    /// The shopper's address.
    pub client_address: IpAddr,
}

/// A shared secret and the name it goes by.
#[derive(Clone)]
pub struct UplinkKey {
    id: String,
    secret: Vec<u8>,
}

impl std::fmt::Debug for UplinkKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("UplinkKey").field("id", &self.id).finish_non_exhaustive()
    }
}

/// Why a signature was not accepted.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum UplinkError {
    /// A header is missing or out of shape.
    #[error("the header {0} is missing or malformed")]
    Header(&'static str),
    /// No live key has that name.
    #[error("no live key has this name")]
    UnknownKey,
    /// Too old, or from the future.
    #[error("the timestamp is more than 30 s away")]
    OutsideWindow,
    /// The signature is of something else.
    #[error("the signature does not match")]
    Mismatch,
    /// A key is written as `ID:HEX` with at least 32 bytes.
    #[error("an uplink key is ID:HEX with at least 32 bytes of secret")]
    BadKey,
}

impl UplinkKey {
    /// A key from `ID:HEX`, with at least 32 bytes of secret.
    ///
    /// # Errors
    /// [`UplinkError::BadKey`].
    pub fn parse(text: &str) -> Result<Self, UplinkError> {
        let (id, secret) = text.split_once(':').ok_or(UplinkError::BadKey)?;
        let secret = hex::decode(secret).map_err(|_| UplinkError::BadKey)?;
        let named = (1..=32).contains(&id.len()) && id.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-');
        if named && secret.len() >= 32 { Ok(Self { id: id.to_owned(), secret }) } else { Err(UplinkError::BadKey) }
    }

    fn mac(&self, signed: &Signed<'_>) -> Hmac<Sha256> {
        #[expect(clippy::expect_used, reason = "HMAC takes keys of any length (RFC 2104 section 3)")]
        let mut mac = Hmac::<Sha256>::new_from_slice(&self.secret).expect("a key of any length");
        let digest = hex::encode(Sha256::digest(signed.body));
        let Signed { method, path_and_query, timestamp, client_address, .. } = signed;
        mac.update(
            format!("meridian-uplink-1\n{method}\n{path_and_query}\n{digest}\n{timestamp}\n{client_address}")
                .as_bytes(),
        );
        mac
    }

    /// The value of the [`SIGNATURE`] header.
    #[must_use]
    pub fn sign(&self, signed: &Signed<'_>) -> String {
        format!("{}={}", self.id, hex::encode(self.mac(signed).finalize().into_bytes()))
    }
}

/// Checks what can be checked before the body is there: that the key is live and the timestamp in the window. Proves
/// nothing about who sent the request; it only spares reading the body of one that cannot be accepted.
///
/// # Errors
/// Says which rule failed.
pub fn check(keys: &[UplinkKey], signature: &str, timestamp: u64, now: u64) -> Result<(), UplinkError> {
    named(keys, signature, timestamp, now).map(|_| ())
}

/// Checks a [`SIGNATURE`] header against the live keys, in constant time.
///
/// # Errors
/// Says which rule failed.
pub fn verify(keys: &[UplinkKey], signature: &str, signed: &Signed<'_>, now: u64) -> Result<(), UplinkError> {
    let (key, mac) = named(keys, signature, signed.timestamp, now)?;
    key.mac(signed).verify_slice(&mac).map_err(|_| UplinkError::Mismatch)
}

/// The live key that a signature names, and the code it is to have made.
fn named<'a>(
    keys: &'a [UplinkKey],
    signature: &str,
    timestamp: u64,
    now: u64,
) -> Result<(&'a UplinkKey, Vec<u8>), UplinkError> {
    let (id, mac) = signature.split_once('=').ok_or(UplinkError::Header(SIGNATURE))?;
    let mac = hex::decode(mac).map_err(|_| UplinkError::Header(SIGNATURE))?;
    let key = keys.iter().find(|key| key.id == id).ok_or(UplinkError::UnknownKey)?;
    if now.abs_diff(timestamp) > WINDOW_SECONDS {
        return Err(UplinkError::OutsideWindow);
    }
    Ok((key, mac))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(id: &str, fill: u8) -> UplinkKey {
        UplinkKey::parse(&format!("{id}:{}", hex::encode([fill; 32]))).unwrap()
    }

    fn request() -> Signed<'static> {
        Signed {
            method: "POST",
            path_and_query: "/v1/orders?x=1",
            body: b"{}",
            timestamp: 1_000,
            client_address: IpAddr::from([203, 0, 113, 7]),
        }
    }

    #[test]
    fn a_signature_holds_for_exactly_what_was_signed() {
        let keys = [key("new", 1), key("old", 2)];
        for signer in &keys {
            let signature = signer.sign(&request());
            assert_eq!(verify(&keys, &signature, &request(), 1_030), Ok(()));
            let changed = [
                Signed { method: "PUT", ..request() },
                Signed { path_and_query: "/v1/orders?x=2", ..request() },
                Signed { body: b"{ }", ..request() },
                Signed { timestamp: 1_001, ..request() },
                Signed { client_address: IpAddr::from([203, 0, 113, 8]), ..request() },
            ];
            for other in changed {
                assert_eq!(verify(&keys, &signature, &other, 1_000), Err(UplinkError::Mismatch), "{other:?}");
            }
        }
    }

    #[test]
    fn old_signatures_and_retired_keys_are_refused() {
        let keys = [key("new", 1)];
        let signature = keys[0].sign(&request());
        assert_eq!(verify(&keys, &signature, &request(), 1_031), Err(UplinkError::OutsideWindow));
        assert_eq!(verify(&keys, &signature, &request(), 969), Err(UplinkError::OutsideWindow));
        assert_eq!(verify(&keys, &key("old", 1).sign(&request()), &request(), 1_000), Err(UplinkError::UnknownKey));
        assert_eq!(verify(&keys, "new=zz", &request(), 1_000), Err(UplinkError::Header(SIGNATURE)));
        assert_eq!(check(&keys, &signature, 1_000, 1_031), Err(UplinkError::OutsideWindow));
        assert_eq!(check(&keys, &signature, 1_000, 1_030), Ok(()));
        assert_eq!(check(&keys, &key("old", 1).sign(&request()), 1_000, 1_000), Err(UplinkError::UnknownKey));
        assert!(UplinkKey::parse("new:00").is_err(), "a short secret was taken");
    }
}
