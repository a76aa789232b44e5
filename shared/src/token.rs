//! Access tokens: short JWTs (RFC 7519, RFC 9068), EdDSA over Ed25519 (RFC 8037) and nothing else.
//!
//! This module reads and checks; it does not verify signatures itself, because the Worker does that with `WebCrypto` and
//! native hosts with ring. [`parse`] hands out what was signed and by which key, and only [`Unverified::accept`] with the
//! verdict yields [`Claims`].

use std::fmt;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde::{Deserialize, Serialize};

use crate::id::{SessionId, UserId};

/// `iss` of every access token.
pub const ISSUER: &str = "meridian";
/// `aud` of every access token.
pub const AUDIENCE: &str = "meridian-store";
/// Longest token that is looked at, in bytes.
pub const MAX_TOKEN_LENGTH: usize = 2048;
/// Seconds that clocks may differ.
pub const LEEWAY_SECONDS: u64 = 60;
/// Longest life of a token, in seconds; one that claims more was not made by us.
pub const MAX_LIFE_SECONDS: u64 = 15 * 60;

/// What a signed-in user may do.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub enum Role {
    /// Nobody has credentials for this user yet.
    Guest,
    /// Shops.
    Customer,
    /// Keeps a catalog and its stock.
    Merchant,
    /// Runs the store.
    Operator,
}

/// Names a signing key.
#[derive(Clone, PartialEq, Eq, Hash, Debug, Serialize, Deserialize)]
#[serde(transparent)]
pub struct KeyId(pub String);

impl fmt::Display for KeyId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// A published verification key, as a JWK (RFC 7517, RFC 8037 section 2).
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct PublicKey {
    /// `OKP`.
    pub kty: String,
    /// `Ed25519`.
    pub crv: String,
    /// The key's name.
    #[cfg_attr(feature = "openapi", schema(value_type = String))]
    pub kid: KeyId,
    /// The 32 bytes, in unpadded base64url.
    pub x: String,
}

impl PublicKey {
    /// The key as published.
    #[must_use]
    pub fn new(kid: KeyId, bytes: &[u8; 32]) -> Self {
        Self { kty: "OKP".to_owned(), crv: "Ed25519".to_owned(), kid, x: URL_SAFE_NO_PAD.encode(bytes) }
    }

    /// The 32 bytes, if this is an Ed25519 key.
    #[must_use]
    pub fn bytes(&self) -> Option<[u8; 32]> {
        let known = self.kty == "OKP" && self.crv == "Ed25519";
        known.then(|| URL_SAFE_NO_PAD.decode(&self.x).ok()?.try_into().ok()).flatten()
    }
}

/// A set of published keys (RFC 7517 section 5).
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct KeySet {
    /// Every live key of every region.
    pub keys: Vec<PublicKey>,
}

impl KeySet {
    /// The key of that name. Tokens choose only among these: never by URL or embedded key.
    #[must_use]
    pub fn find(&self, kid: &KeyId) -> Option<&PublicKey> {
        self.keys.iter().find(|key| key.kid == *kid)
    }
}

/// What a token says.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Claims {
    /// Issuer: [`ISSUER`].
    pub iss: String,
    /// Audience: [`AUDIENCE`].
    pub aud: String,
    /// The user.
    pub sub: UserId,
    /// The session.
    pub sid: SessionId,
    /// What the user may do.
    pub roles: Vec<Role>,
    /// The user row's revocation epoch at issue; the core refuses an older one.
    pub epoch: u32,
    /// Issued at, Unix seconds.
    pub iat: u64,
    /// Not before, Unix seconds.
    pub nbf: u64,
    /// Expires at, Unix seconds.
    pub exp: u64,
}

impl Claims {
    /// Whether the user has that role.
    #[must_use]
    pub fn has(&self, role: Role) -> bool {
        self.roles.contains(&role)
    }

    /// Whether the user keeps the store: a merchant or an operator.
    #[must_use]
    pub fn keeps_store(&self) -> bool {
        self.has(Role::Merchant) || self.has(Role::Operator)
    }

    /// Whether nobody has credentials for this user yet.
    #[must_use]
    pub fn is_guest(&self) -> bool {
        self.has(Role::Guest)
    }
}

/// Why a token was not accepted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum TokenError {
    /// Longer than 2048 bytes.
    #[error("the token is too long")]
    TooLong,
    /// Not three parts of unpadded base64url with a JSON header and claims of ours.
    #[error("the token is malformed")]
    Malformed,
    /// `alg` is not EdDSA, `typ` not `at+jwt`, or a critical extension is named.
    #[error("the token's header is not one of ours")]
    Header,
    /// No published key has that name.
    #[error("the token's key is not known")]
    UnknownKey,
    /// The signature does not verify.
    #[error("the token's signature does not verify")]
    Signature,
    /// Another issuer or audience, or a life longer than 15 minutes.
    #[error("the token was made for something else")]
    Foreign,
    /// `exp` has passed.
    #[error("the token has expired")]
    Expired,
    /// `nbf` or `iat` lies in the future.
    #[error("the token is not valid yet")]
    NotYet,
}

#[derive(Serialize, Deserialize)]
struct Header {
    alg: String,
    typ: String,
    kid: KeyId,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    crit: Option<serde_json::Value>,
}

/// A token that was read but whose signature nobody has checked yet.
#[derive(Debug)]
pub struct Unverified<'a> {
    signed: &'a str,
    signature: [u8; 64],
    kid: KeyId,
    claims: Claims,
}

/// Reads a compact JWT without trusting it.
///
/// # Errors
/// Any [`TokenError`] about shape and header.
pub fn parse(token: &str) -> Result<Unverified<'_>, TokenError> {
    if token.len() > MAX_TOKEN_LENGTH {
        return Err(TokenError::TooLong);
    }
    let (signed, signature) = token.rsplit_once('.').ok_or(TokenError::Malformed)?;
    let (header, claims) = signed.split_once('.').ok_or(TokenError::Malformed)?;
    let decode = |part: &str| URL_SAFE_NO_PAD.decode(part).map_err(|_| TokenError::Malformed);
    let header: Header = serde_json::from_slice(&decode(header)?).map_err(|_| TokenError::Malformed)?;
    if header.alg != "EdDSA" || header.typ != "at+jwt" || header.crit.is_some() {
        return Err(TokenError::Header);
    }
    let claims = serde_json::from_slice(&decode(claims)?).map_err(|_| TokenError::Malformed)?;
    let signature = decode(signature)?.try_into().map_err(|_| TokenError::Malformed)?;
    Ok(Unverified { signed, signature, kid: header.kid, claims })
}

impl Unverified<'_> {
    /// The bytes that were signed.
    #[must_use]
    pub fn message(&self) -> &[u8] {
        self.signed.as_bytes()
    }

    /// The Ed25519 signature over [`Self::message`].
    #[must_use]
    pub fn signature(&self) -> &[u8; 64] {
        &self.signature
    }

    /// The key that is said to have signed it; look it up in a [`KeySet`].
    #[must_use]
    pub fn key_id(&self) -> &KeyId {
        &self.kid
    }

    /// The user it claims to be about. A routing hint: trust nothing on it.
    #[must_use]
    pub fn claimed_subject(&self) -> UserId {
        self.claims.sub
    }

    /// The claims, once the caller has verified the signature with the named key.
    ///
    /// # Errors
    /// [`TokenError::Signature`] when it did not verify, else whichever time or audience rule fails.
    pub fn accept(self, verified: bool, now: u64) -> Result<Claims, TokenError> {
        let Claims { iss, aud, iat, nbf, exp, .. } = &self.claims;
        if !verified {
            Err(TokenError::Signature)
        } else if iss != ISSUER || aud != AUDIENCE || exp.saturating_sub(*iat) > MAX_LIFE_SECONDS {
            Err(TokenError::Foreign)
        } else if now >= exp.saturating_add(LEEWAY_SECONDS) {
            Err(TokenError::Expired)
        } else if now.saturating_add(LEEWAY_SECONDS) < *nbf.max(iat) {
            Err(TokenError::NotYet)
        } else {
            Ok(self.claims)
        }
    }
}

/// What an issuer signs: header and claims, ready for [`finish`].
#[must_use]
pub fn signing_input(kid: &KeyId, claims: &Claims) -> String {
    let header = Header { alg: "EdDSA".to_owned(), typ: "at+jwt".to_owned(), kid: kid.clone(), crit: None };
    // Strings, numbers and lists of them: serialising cannot fail.
    let part = |json: Result<Vec<u8>, serde_json::Error>| URL_SAFE_NO_PAD.encode(json.unwrap_or_default());
    format!("{}.{}", part(serde_json::to_vec(&header)), part(serde_json::to_vec(claims)))
}

/// The compact token: `signing_input` with its signature.
#[must_use]
pub fn finish(signing_input: &str, signature: &[u8; 64]) -> String {
    format!("{signing_input}.{}", URL_SAFE_NO_PAD.encode(signature))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use ring::signature::{ED25519, Ed25519KeyPair, KeyPair, UnparsedPublicKey};

    use super::*;
    use crate::id::{Slot, USER_EPOCH_MS};

    const NOW: u64 = 1_800_000_000;

    fn pair() -> Ed25519KeyPair {
        Ed25519KeyPair::from_seed_unchecked(&[7; 32]).unwrap()
    }

    fn claims() -> Claims {
        let slot = Slot::new(77).unwrap();
        Claims {
            iss: ISSUER.to_owned(),
            aud: AUDIENCE.to_owned(),
            sub: UserId::mint(USER_EPOCH_MS, slot, 3).unwrap(),
            sid: SessionId::mint(USER_EPOCH_MS, slot, [1; 8]),
            roles: vec![Role::Customer],
            epoch: 0,
            iat: NOW,
            nbf: NOW,
            exp: NOW + 600,
        }
    }

    fn issue(claims: &Claims) -> String {
        let input = signing_input(&KeyId("k1".to_owned()), claims);
        finish(&input, &pair().sign(input.as_bytes()).as_ref().try_into().unwrap())
    }

    fn check(token: &str, now: u64) -> Result<Claims, TokenError> {
        let unverified = parse(token)?;
        let known = *unverified.key_id() == KeyId("k1".to_owned());
        let key = UnparsedPublicKey::new(&ED25519, pair().public_key().as_ref().to_vec());
        let verified = known && key.verify(unverified.message(), unverified.signature()).is_ok();
        unverified.accept(verified, now)
    }

    #[test]
    fn a_token_of_ours_is_accepted_for_its_life_and_no_longer() {
        let token = issue(&claims());
        assert_eq!(check(&token, NOW), Ok(claims()));
        assert_eq!(check(&token, NOW + 659), Ok(claims()));
        assert_eq!(check(&token, NOW + 660), Err(TokenError::Expired));
        assert_eq!(check(&token, NOW - 61), Err(TokenError::NotYet));
    }

    #[test]
    fn tokens_for_others_or_for_too_long_are_refused() {
        assert_eq!(check(&issue(&Claims { aud: "else".into(), ..claims() }), NOW), Err(TokenError::Foreign));
        assert_eq!(check(&issue(&Claims { iss: "else".into(), ..claims() }), NOW), Err(TokenError::Foreign));
        assert_eq!(check(&issue(&Claims { exp: NOW + 901, ..claims() }), NOW), Err(TokenError::Foreign));
    }

    #[test]
    fn only_eddsa_is_taken() {
        let body = issue(&claims());
        let rest = body.split_once('.').unwrap().1;
        for header in [
            r#"{"alg":"none","typ":"at+jwt","kid":"k1"}"#,
            r#"{"alg":"HS256","typ":"at+jwt","kid":"k1"}"#,
            r#"{"alg":"EdDSA","typ":"JWT","kid":"k1"}"#,
            r#"{"alg":"EdDSA","typ":"at+jwt","kid":"k1","crit":["x"]}"#,
        ] {
            assert_eq!(parse(&format!("{}.{rest}", URL_SAFE_NO_PAD.encode(header))).unwrap_err(), TokenError::Header);
        }
        assert_eq!(parse(&"x".repeat(MAX_TOKEN_LENGTH + 1)).unwrap_err(), TokenError::TooLong);
        for malformed in ["", "a.b", "a.b.c", "..", "é.é.é"] {
            assert_eq!(parse(malformed).unwrap_err(), TokenError::Malformed, "{malformed:?}");
        }
    }

    proptest! {
        #[test]
        fn no_changed_character_survives(position: prop::sample::Index, replacement in "[A-Za-z0-9_-]") {
            let token = issue(&claims());
            let at = position.index(token.len());
            let changed = format!("{}{replacement}{}", &token[..at], &token[at + 1..]);
            prop_assume!(changed != token);
            prop_assert!(check(&changed, NOW).is_err());
        }
    }
}
