//! The keys of one machine's system: a private certificate authority, short-lived certificates for mutual TLS, the
//! regions' signing keys and the Worker's uplink key. Everything secret has mode 0600 and never leaves the instance.

use std::path::{Path, PathBuf};

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use rcgen::{
    BasicConstraints, CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair, KeyUsagePurpose,
};
use shared_clock::{Clock, Entropy};
use time::{Duration, OffsetDateTime};

use crate::error::{SystemError, file};
use crate::layout::write_private;

/// A leaf is good for this long.
const LEAF_LIFE: Duration = Duration::days(7);
/// A leaf older than this is made anew.
const LEAF_FRESH: Duration = Duration::days(3);
/// The authority is good for this long; it is made anew, with everything under it, when half of that is over.
const AUTHORITY_LIFE: Duration = Duration::days(365);
/// Certificates are dated back by this much, so that a clock that is a little behind accepts them.
const SKEW: Duration = Duration::hours(1);

/// Makes what is missing or old in one folder.
#[derive(Debug)]
pub struct Keys<'a> {
    /// Where the files are.
    pub folder: &'a Path,
    /// What is old is decided by this clock.
    pub clock: &'a Clock,
    /// Where secrets come from.
    pub entropy: &'a Entropy,
}

impl Keys<'_> {
    /// Makes the authority and a certificate for each of `names` (DNS names such as `core.eu`): `ca.pem`, and `NAME.pem`
    /// and `NAME.key` for each.
    ///
    /// # Errors
    /// [`SystemError::Certificate`], [`SystemError::File`].
    pub fn certificates(&self, names: &[String]) -> Result<(), SystemError> {
        let (ca, key) = (self.folder.join("ca.pem"), self.folder.join("ca.key"));
        let kept = self.is_younger(&ca, AUTHORITY_LIFE / 2) && key.is_file();
        if !kept {
            self.authority(&ca, &key)?;
        }
        let issuer = load(&ca, &key)?;
        for name in names {
            let path = self.folder.join(format!("{name}.pem"));
            if !kept || !self.is_younger(&path, LEAF_FRESH) {
                self.leaf(name, &path, &issuer)?;
            }
        }
        Ok(())
    }

    /// The PKCS#8 Ed25519 key with which a region signs access tokens, made once.
    ///
    /// # Errors
    /// [`SystemError::Certificate`], [`SystemError::File`].
    pub fn signing_key(&self, region: &str) -> Result<PathBuf, SystemError> {
        let path = self.folder.join(format!("signing.{region}.key"));
        if !path.is_file() {
            let pair = KeyPair::generate_for(&rcgen::PKCS_ED25519).map_err(refused(region))?;
            write_private(&path, pair.serialize_pem().as_bytes())?;
        }
        Ok(path)
    }

    /// The private key under which browsers are told, as a core's configuration holds it, made once.
    ///
    /// # Errors
    /// [`SystemError::Certificate`], [`SystemError::File`].
    pub fn push_key(&self) -> Result<String, SystemError> {
        let path = self.folder.join("push.key");
        if !path.is_file() {
            let pair = KeyPair::generate_for(&rcgen::PKCS_ECDSA_P256_SHA256).map_err(refused("push"))?;
            write_private(&path, URL_SAFE_NO_PAD.encode(pair.serialize_der()).as_bytes())?;
        }
        std::fs::read_to_string(&path).map_err(file("read", &path))
    }

    /// The key with which the Worker signs its requests to the PoP, as `ID:HEX`, made once; `uplink.keys` holds it.
    ///
    /// # Errors
    /// [`SystemError::File`].
    pub fn uplink_key(&self) -> Result<(PathBuf, String), SystemError> {
        let path = self.folder.join("uplink.keys");
        if !path.is_file() {
            let line = format!("k{}:{}\n", self.clock.unix_seconds(), hex::encode(self.entropy.bytes::<32>()));
            write_private(&path, line.as_bytes())?;
        }
        let lines = std::fs::read_to_string(&path).map_err(file("read", &path))?;
        Ok((path, lines.lines().next().unwrap_or_default().to_owned()))
    }

    /// A password of its own name, made once.
    ///
    /// # Errors
    /// [`SystemError::File`].
    pub fn password(&self, name: &str) -> Result<String, SystemError> {
        let path = self.folder.join(format!("{name}.password"));
        if !path.is_file() {
            write_private(&path, hex::encode(self.entropy.bytes::<24>()).as_bytes())?;
        }
        std::fs::read_to_string(&path).map_err(file("read", &path))
    }

    fn authority(&self, ca: &Path, key: &Path) -> Result<(), SystemError> {
        let pair = KeyPair::generate().map_err(refused("the authority"))?;
        let mut params = self.params(&[], "Meridian development authority", AUTHORITY_LIFE)?;
        params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
        let certificate = params.self_signed(&pair).map_err(refused("the authority"))?;
        write_private(key, pair.serialize_pem().as_bytes())?;
        write_private(ca, certificate.pem().as_bytes())
    }

    fn leaf(&self, name: &str, path: &Path, issuer: &Issuer<'_, KeyPair>) -> Result<(), SystemError> {
        let pair = KeyPair::generate().map_err(refused(name))?;
        let mut params = self.params(&[name.to_owned()], name, LEAF_LIFE)?;
        params.use_authority_key_identifier_extension = true;
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth, ExtendedKeyUsagePurpose::ClientAuth];
        let certificate = params.signed_by(&pair, issuer).map_err(refused(name))?;
        write_private(&self.folder.join(format!("{name}.key")), pair.serialize_pem().as_bytes())?;
        write_private(path, certificate.pem().as_bytes())
    }

    fn params(&self, names: &[String], subject: &str, life: Duration) -> Result<CertificateParams, SystemError> {
        let mut params = CertificateParams::new(names).map_err(refused(subject))?;
        params.distinguished_name.push(DnType::CommonName, subject);
        params.not_before = self.clock.now() - SKEW;
        params.not_after = self.clock.now() + life;
        Ok(params)
    }

    /// There is a certificate, and it was made less than `age` ago.
    fn is_younger(&self, path: &Path, age: Duration) -> bool {
        made_at(path).is_some_and(|made_at| made_at <= self.clock.now() && self.clock.now() - made_at < age)
    }
}

fn load(ca: &Path, key: &Path) -> Result<Issuer<'static, KeyPair>, SystemError> {
    let pair = std::fs::read_to_string(key).map_err(file("read", key))?;
    let pair = KeyPair::from_pem(&pair).map_err(refused("the authority"))?;
    let certificate = std::fs::read_to_string(ca).map_err(file("read", ca))?;
    Issuer::from_ca_cert_pem(&certificate, pair).map_err(refused("the authority"))
}

/// When a certificate was made, as it says itself.
fn made_at(path: &Path) -> Option<OffsetDateTime> {
    let (_, pem) = x509_parser::pem::parse_x509_pem(&std::fs::read(path).ok()?).ok()?;
    let seconds = pem.parse_x509().ok()?.validity().not_before.timestamp();
    Some(OffsetDateTime::from_unix_timestamp(seconds).ok()? + SKEW)
}

fn refused(name: &str) -> impl FnOnce(rcgen::Error) -> SystemError + '_ {
    move |error| SystemError::Certificate { name: name.to_owned(), reason: error.to_string() }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOON_MS: u64 = 1_893_499_200_000;

    fn names() -> Vec<String> {
        ["core.eu", "pop.pop-1"].map(str::to_owned).to_vec()
    }

    fn days(count: u64) -> std::time::Duration {
        std::time::Duration::from_secs(count * 86_400)
    }

    #[test]
    fn leaves_are_kept_for_three_days_and_then_made_anew_under_the_same_authority() {
        let (folder, clock, entropy) = (tempfile::tempdir().unwrap(), Clock::turned(NOON_MS), Entropy::system());
        let keys = Keys { folder: folder.path(), clock: &clock, entropy: &entropy };
        let read = |name: &str| std::fs::read(folder.path().join(name)).unwrap();
        keys.certificates(&names()).unwrap();
        let (ca, leaf) = (read("ca.pem"), read("core.eu.pem"));

        clock.advance(days(2));
        keys.certificates(&names()).unwrap();
        assert_eq!((read("ca.pem"), read("core.eu.pem")), (ca.clone(), leaf.clone()));

        clock.advance(days(1));
        keys.certificates(&names()).unwrap();
        assert_eq!(read("ca.pem"), ca);
        assert_ne!(read("core.eu.pem"), leaf);
    }

    #[test]
    fn a_leaf_names_its_owner_and_is_signed_by_the_authority() {
        let (folder, clock, entropy) = (tempfile::tempdir().unwrap(), Clock::turned(NOON_MS), Entropy::system());
        Keys { folder: folder.path(), clock: &clock, entropy: &entropy }.certificates(&names()).unwrap();
        let pem = |name: &str| {
            let bytes = std::fs::read(folder.path().join(name)).unwrap();
            x509_parser::pem::parse_x509_pem(&bytes).unwrap().1
        };
        let (ca, leaf) = (pem("ca.pem"), pem("pop.pop-1.pem"));
        let (ca, leaf) = (ca.parse_x509().unwrap(), leaf.parse_x509().unwrap());
        assert_eq!(leaf.issuer(), ca.subject());
        let san = leaf.subject_alternative_name().unwrap().unwrap();
        assert_eq!(san.value.general_names, [x509_parser::extensions::GeneralName::DNSName("pop.pop-1")]);
        let usage = leaf.extended_key_usage().unwrap().unwrap().value;
        assert!(usage.server_auth && usage.client_auth && !leaf.is_ca() && ca.is_ca());
    }

    #[test]
    fn a_lost_authority_key_makes_everything_anew() {
        let (folder, clock, entropy) = (tempfile::tempdir().unwrap(), Clock::turned(NOON_MS), Entropy::system());
        let keys = Keys { folder: folder.path(), clock: &clock, entropy: &entropy };
        keys.certificates(&names()).unwrap();
        let leaf = std::fs::read(folder.path().join("core.eu.pem")).unwrap();
        std::fs::remove_file(folder.path().join("ca.key")).unwrap();
        keys.certificates(&names()).unwrap();
        assert_ne!(std::fs::read(folder.path().join("core.eu.pem")).unwrap(), leaf);
    }

    #[test]
    fn secrets_are_made_once_and_are_readable_by_their_owner_alone() {
        use std::os::unix::fs::PermissionsExt as _;
        let (folder, clock, entropy) = (tempfile::tempdir().unwrap(), Clock::turned(NOON_MS), Entropy::system());
        let keys = Keys { folder: folder.path(), clock: &clock, entropy: &entropy };
        let (path, line) = keys.uplink_key().unwrap();
        assert_eq!(keys.uplink_key().unwrap().1, line);
        assert_eq!(line.split_once(':').unwrap().1.len(), 64);
        assert_eq!(keys.password("redis").unwrap(), keys.password("redis").unwrap());
        for path in [path, keys.signing_key("eu").unwrap(), folder.path().join("redis.password")] {
            assert_eq!(path.metadata().unwrap().permissions().mode() & 0o777, 0o600, "{}", path.display());
        }
    }
}
