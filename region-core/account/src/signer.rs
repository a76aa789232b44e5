//! The region's signing key: makes access tokens, and finds the refresh token that follows another.

use std::sync::Arc;

use ring::signature::{Ed25519KeyPair, KeyPair};
use rustls_pki_types::PrivatePkcs8KeyDer;
use rustls_pki_types::pem::PemObject;
use sha2::{Digest, Sha256};
use shared::RegionName;
use shared::token::{AUDIENCE, Claims, ISSUER, KeyId, PublicKey, Role, finish, signing_input};
use shared::{SessionId, UserId};

/// Seconds that an access token lives.
pub(crate) const ACCESS_SECONDS: u32 = 600;

/// Not an Ed25519 private key in PKCS#8.
#[derive(Debug, thiserror::Error)]
#[error("the signing key is not an Ed25519 key in PKCS#8 (PEM or DER)")]
pub struct BadSigningKey;

/// Signs for a region. Its name follows from its public half. Clones share the key.
#[derive(Clone)]
pub struct Signer {
    key_id: KeyId,
    pair: Arc<Ed25519KeyPair>,
}

impl std::fmt::Debug for Signer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Signer({})", self.key_id)
    }
}

impl Signer {
    /// Reads the region's key: PKCS#8, as PEM or DER.
    ///
    /// # Errors
    /// [`BadSigningKey`]; it says nothing about the content.
    pub fn from_pkcs8(region: &RegionName, file: &[u8]) -> Result<Self, BadSigningKey> {
        let pem = PrivatePkcs8KeyDer::from_pem_slice(file).ok();
        let der = pem.as_ref().map_or(file, PrivatePkcs8KeyDer::secret_pkcs8_der);
        let pair = Ed25519KeyPair::from_pkcs8_maybe_unchecked(der).map_err(|_| BadSigningKey)?;
        let digest = Sha256::digest(pair.public_key());
        let name: String = digest[..6].iter().map(|byte| format!("{byte:02x}")).collect();
        Ok(Self { key_id: KeyId(format!("{region}-{name}")), pair: Arc::new(pair) })
    }

    /// The public half, for every region and edge to verify with.
    #[must_use]
    pub fn public_key(&self) -> PublicKey {
        let mut bytes = [0; 32];
        bytes.copy_from_slice(self.pair.public_key().as_ref());
        PublicKey::new(self.key_id.clone(), &bytes)
    }

    /// An access token for a session, issued `now` (Unix seconds).
    pub(crate) fn access_token(
        &self,
        user: UserId,
        session: SessionId,
        roles: Vec<Role>,
        epoch: u32,
        now: u64,
    ) -> String {
        let claims = Claims {
            iss: ISSUER.to_owned(),
            aud: AUDIENCE.to_owned(),
            sub: user,
            sid: session,
            roles,
            epoch,
            iat: now,
            nbf: now,
            exp: now + u64::from(ACCESS_SECONDS),
        };
        let input = signing_input(&self.key_id, &claims);
        finish(&input, &self.sign(input.as_bytes()))
    }

    /// Ed25519 signatures are deterministic (RFC 8032 section 5.1.6), which the refresh tokens rely on.
    pub(crate) fn sign(&self, message: &[u8]) -> [u8; 64] {
        let mut bytes = [0; 64];
        bytes.copy_from_slice(self.pair.sign(message).as_ref());
        bytes
    }
}
