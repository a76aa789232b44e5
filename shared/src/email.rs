//! E-mail addresses, in the one spelling that the login directory is keyed by.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use unicode_normalization::UnicodeNormalization;

use crate::id::Slot;

/// An address trimmed, NFC, lower-cased, its domain in IDNA's ASCII form. Not proof that anyone reads mail there.
#[derive(Clone, PartialEq, Eq, Hash, Debug, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema), schema(value_type = String, format = "email"))]
pub struct EmailAddress(String);

/// Not an address that mail could be sent to.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("this is not an e-mail address")]
pub struct NotAnEmail;

impl EmailAddress {
    /// The normalised address.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// SHA-256 of the normalised address: the login directory's key.
    #[must_use]
    pub fn digest(&self) -> [u8; 32] {
        Sha256::digest(self.0.as_bytes()).into()
    }

    /// The slot that its row of the login directory lives in: the digest modulo 4096.
    #[must_use]
    pub fn slot(&self) -> Slot {
        Self::slot_of(&self.digest())
    }

    /// The same of an address of which only the digest is known.
    #[must_use]
    pub fn slot_of(digest: &[u8; 32]) -> Slot {
        Slot::from_low_bits(u16::from_be_bytes([digest[30], digest[31]]))
    }
}

impl FromStr for EmailAddress {
    type Err = NotAnEmail;

    fn from_str(text: &str) -> Result<Self, NotAnEmail> {
        let text: String = text.trim().nfc().collect::<String>().to_lowercase();
        let (local, domain) = text.rsplit_once('@').ok_or(NotAnEmail)?;
        let domain = idna::domain_to_ascii(domain).map_err(|_| NotAnEmail)?;
        let stray = |c: char| {
            c.is_whitespace()
                || c.is_control()
                || matches!(c, '@' | '<' | '>' | '(' | ')' | ',' | ';' | ':' | '"' | '\\')
        };
        let local_fits = (1..=64).contains(&local.len())
            && !local.contains(stray)
            && !local.starts_with('.')
            && !local.ends_with('.');
        let host_char = |c: char| c.is_ascii_alphanumeric() || c == '-';
        let label_fits = |label: &str| (1..=63).contains(&label.len()) && label.chars().all(host_char);
        let domain_fits = domain.len() <= 189 && domain.contains('.') && domain.split('.').all(label_fits);
        if local_fits && domain_fits { Ok(Self(format!("{local}@{domain}"))) } else { Err(NotAnEmail) }
    }
}

impl TryFrom<String> for EmailAddress {
    type Error = NotAnEmail;

    fn try_from(text: String) -> Result<Self, NotAnEmail> {
        text.parse()
    }
}

impl From<EmailAddress> for String {
    fn from(email: EmailAddress) -> Self {
        email.0
    }
}

impl fmt::Display for EmailAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_address_has_one_spelling_and_one_slot() {
        let plain: EmailAddress = "ada@b\u{fc}cher.example".parse().unwrap();
        let shouted: EmailAddress = " ADA@B\u{dc}CHER.EXAMPLE ".parse().unwrap();
        assert_eq!(plain, shouted);
        assert_eq!(plain.as_str(), "ada@xn--bcher-kva.example");
        assert_eq!(plain.slot(), shouted.slot());
    }

    #[test]
    fn what_no_mail_reaches_is_refused() {
        for bad in [
            "",
            "ada",
            "@x.example",
            "ada@",
            "ada@localhost",
            "a b@x.example",
            "a@x..example",
            "a@x.example\r\nBcc: b@x.example",
        ] {
            assert!(bad.parse::<EmailAddress>().is_err(), "{bad:?} was taken");
        }
    }
}
