//! Pure decisions about names, passwords, roles and refresh tokens.

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use sha2::{Digest, Sha256};
use shared::api::account::{Password, RefreshToken};
use shared::text::holds_card_number;
use shared::token::Role;
use shared::{EmailAddress, OperationId, Problem, SessionId, Slot, UserId};
use subtle::ConstantTimeEq;
use unicode_normalization::UnicodeNormalization;

/// Characters in a password.
const PASSWORD_CHARS: std::ops::RangeInclusive<usize> = 8..=128;
/// Most characters in a name.
const NAME_CHARS: usize = 100;

/// A password in the one spelling (NFC) that it is hashed in, so that every keyboard types the same one. Never printed.
pub(crate) struct PlainPassword(String);

impl PlainPassword {
    /// The spelling of a password that is tried. `None` unless it has 8 to 128 characters: no password can be another.
    pub(crate) fn tried(password: &Password) -> Option<Self> {
        let text: String = password.0.nfc().take(*PASSWORD_CHARS.end() + 1).collect();
        PASSWORD_CHARS.contains(&text.chars().count()).then_some(Self(text))
    }

    /// A password that is to be set: 8 to 128 characters and not the e-mail address.
    pub(crate) fn chosen(password: &Password, email: &EmailAddress) -> Result<Self, Problem> {
        let refuse = |detail| Problem::invalid("password", detail);
        let plain = Self::tried(password).ok_or_else(|| refuse("a password has 8 to 128 characters"))?;
        let is_email = plain.0.trim().to_lowercase() == email.as_str();
        if is_email { Err(refuse("the password must not be the e-mail address")) } else { Ok(plain) }
    }

    pub(crate) fn as_bytes(&self) -> &[u8] {
        self.0.as_bytes()
    }
}

/// A name as it is kept: trimmed, and none at all if nothing is left.
pub(crate) fn checked_name(name: Option<&str>) -> Result<Option<String>, Problem> {
    let name: String = name.unwrap_or_default().trim().nfc().collect();
    let refuse = |detail| Err(Problem::invalid("name", detail));
    match name {
        name if name.is_empty() => Ok(None),
        name if name.chars().count() > NAME_CHARS => refuse("a name has at most 100 characters"),
        name if name.chars().any(char::is_control) => refuse("a name has no control characters"),
        name if holds_card_number(&name) => refuse("this looks like a card number"),
        name => Ok(Some(name)),
    }
}

/// A role's name in the database.
pub(crate) const fn role_name(role: Role) -> &'static str {
    match role {
        Role::Guest => "guest",
        Role::Customer => "customer",
        Role::Merchant => "merchant",
        Role::Operator => "operator",
    }
}

/// The role of that name in the database.
pub(crate) fn parse_role(name: &str) -> Option<Role> {
    [Role::Guest, Role::Customer, Role::Merchant, Role::Operator].into_iter().find(|role| role_name(*role) == name)
}

/// SHA-256 of a refresh token's secret: all that a database learns of it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct SecretHash([u8; 32]);

impl SecretHash {
    pub(crate) fn from_stored(bytes: &[u8]) -> Option<Self> {
        bytes.try_into().ok().map(Self)
    }

    pub(crate) fn to_bytes(self) -> [u8; 32] {
        self.0
    }

    fn is(&self, other: &Self) -> bool {
        self.0.ct_eq(&other.0).into()
    }
}

/// A refresh token taken apart: `{session_id}.{32 bytes in base64url}`.
#[derive(Clone)]
pub(crate) struct Secret {
    pub(crate) session: SessionId,
    bytes: [u8; 32],
}

impl Secret {
    pub(crate) fn new(session: SessionId, bytes: [u8; 32]) -> Self {
        Self { session, bytes }
    }

    pub(crate) fn parse(token: &RefreshToken) -> Option<Self> {
        let (session, secret) = token.0.split_once('.')?;
        let bytes = URL_SAFE_NO_PAD.decode(secret).ok()?.try_into().ok()?;
        Some(Self { session: session.parse().ok()?, bytes })
    }

    pub(crate) fn token(&self) -> RefreshToken {
        RefreshToken(format!("{}.{}", self.session, URL_SAFE_NO_PAD.encode(self.bytes)))
    }

    pub(crate) fn hash(&self) -> SecretHash {
        SecretHash(Sha256::digest(self.bytes).into())
    }

    /// What a region's key signs to find the token that follows this one. No access token starts like that.
    pub(crate) fn succession_input(&self) -> Vec<u8> {
        [b"meridian refresh 1\0".as_slice(), self.session.as_uuid().as_bytes(), &self.bytes].concat()
    }

    /// The token that follows this one: 32 bytes that only the holder of the region's key can find, and always the same,
    /// so that a repeat of a lost answer, or a second tab, gets the very same token.
    pub(crate) fn successor(&self, signature: &[u8; 64]) -> Self {
        Self { session: self.session, bytes: Sha256::digest(signature).into() }
    }
}

/// What a session's row knows when a refresh token is shown.
pub(crate) struct SessionFacts {
    pub(crate) current: SecretHash,
    pub(crate) previous: Option<SecretHash>,
    /// Ended, or past its time.
    pub(crate) over: bool,
}

/// What is to be done about a refresh token.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Rotation {
    /// It is the one that works: its successor takes its place.
    Rotate,
    /// It was the last to be replaced and its successor was never shown, so the answer may have been lost, however long
    /// ago: the same successor again.
    Repeat,
    /// Its successor was used since, or it was made up: someone else has it, so the session ends.
    End,
    /// The session is over.
    Refuse,
}

/// Judges a refresh token that names this session. Showing a token's successor makes that one `previous`, so a token that is
/// `previous` still has a successor that nobody has shown.
pub(crate) fn judge(facts: &SessionFacts, shown: &SecretHash) -> Rotation {
    let was_previous = facts.previous.is_some_and(|previous| previous.is(shown));
    match () {
        () if facts.over => Rotation::Refuse,
        () if facts.current.is(shown) => Rotation::Rotate,
        () if was_previous => Rotation::Repeat,
        () => Rotation::End,
    }
}

/// The one operation under which a guest's cart of that version joins an account's: a repeat has the same name.
pub(crate) fn merge_operation(guest: UserId, version: u64) -> OperationId {
    let digest = Sha256::digest(format!("merge {guest} {version}"));
    let mut random = [0; 10];
    random.copy_from_slice(&digest[..10]);
    OperationId::mint(guest.minted_at_ms(), random)
}

/// A user who does not exist, for an e-mail that nobody has: its sign-in goes the same way, and takes as long, as that of
/// one who does. Minted in the first millisecond of all, when nobody was there to mint.
pub(crate) fn nobody(email: &EmailAddress) -> UserId {
    let digest = Sha256::digest([b"nobody".as_slice(), &email.digest()].concat());
    let slot = Slot::from_low_bits(u16::from_be_bytes([digest[0], digest[1]]));
    let random = u16::from_be_bytes([digest[2], digest[3]]) | 1;
    // Cannot fail: the time is the first that fits, and the lowest random bit makes the number positive.
    UserId::mint(shared::id::USER_EPOCH_MS, slot, random).unwrap_or_else(|_| unreachable!("a positive number"))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use shared::id::USER_EPOCH_MS;

    use super::*;

    fn email() -> EmailAddress {
        "ada@shop.example".parse().unwrap()
    }

    fn chosen(text: &str) -> Result<PlainPassword, Problem> {
        PlainPassword::chosen(&Password(text.to_owned()), &email())
    }

    fn secret(byte: u8) -> Secret {
        Secret::new(SessionId::mint(USER_EPOCH_MS, Slot::new(7).unwrap(), [1; 8]), [byte; 32])
    }

    fn facts() -> SessionFacts {
        let (current, previous) = (secret(2).hash(), Some(secret(1).hash()));
        SessionFacts { current, previous, over: false }
    }

    #[test]
    fn a_password_has_8_to_128_characters_however_they_are_typed() {
        for good in ["12345678", &"x".repeat(128), "pass word", &"\u{1f511}".repeat(8)] {
            assert!(chosen(good).is_ok(), "{good} was refused");
        }
        for bad in ["", "1234567", &"x".repeat(129), &"e\u{301}".repeat(7), " Ada@Shop.example"] {
            assert_eq!(chosen(bad).err().unwrap().members["field"], "password", "{bad} was taken");
        }
        let (composed, typed) = (chosen("caf\u{e9} noir").ok().unwrap(), chosen("cafe\u{301} noir").ok().unwrap());
        assert_eq!(composed.as_bytes(), typed.as_bytes());
    }

    #[test]
    fn a_name_is_short_and_no_card() {
        assert_eq!(checked_name(Some("  Ada ")).unwrap().as_deref(), Some("Ada"));
        assert_eq!(checked_name(Some("   ")).unwrap(), None);
        for bad in ["4242 4242 4242 4242", "a\0b", &"x".repeat(101)] {
            assert_eq!(checked_name(Some(bad)).unwrap_err().members["field"], "name", "{bad:?} was taken");
        }
    }

    #[test]
    fn a_refresh_token_works_until_its_successor_is_used() {
        assert_eq!(judge(&facts(), &secret(2).hash()), Rotation::Rotate);
        assert_eq!(judge(&facts(), &secret(1).hash()), Rotation::Repeat);
        assert_eq!(judge(&facts(), &secret(9).hash()), Rotation::End);
        let over = SessionFacts { over: true, ..facts() };
        for shown in [1, 2, 9] {
            assert_eq!(judge(&over, &secret(shown).hash()), Rotation::Refuse);
        }
    }

    #[test]
    fn nobody_is_always_the_same_for_one_email_and_never_a_user() {
        assert_eq!(nobody(&email()), nobody(&email()));
        assert_eq!(nobody(&email()).minted_at_ms(), USER_EPOCH_MS);
    }

    #[test]
    fn a_cart_merges_under_one_name_for_each_version() {
        let guest = nobody(&email());
        assert_eq!(merge_operation(guest, 1), merge_operation(guest, 1));
        assert_ne!(merge_operation(guest, 1), merge_operation(guest, 2));
    }

    #[test]
    fn a_role_survives_the_database() {
        for role in [Role::Guest, Role::Customer, Role::Merchant, Role::Operator] {
            assert_eq!(parse_role(role_name(role)), Some(role));
        }
        assert_eq!(parse_role("root"), None);
    }

    proptest! {
        #[test]
        fn a_refresh_token_survives_the_wire(bytes: [u8; 32], random: [u8; 8], slot in 0..4096_u16) {
            let session = SessionId::mint(USER_EPOCH_MS, Slot::new(slot).unwrap(), random);
            let secret = Secret::new(session, bytes);
            let back = Secret::parse(&secret.token()).unwrap();
            prop_assert_eq!((back.session, back.bytes), (session, bytes));
        }

        #[test]
        fn no_text_makes_the_parser_panic(text in ".{0,200}") {
            let _ = Secret::parse(&RefreshToken(text));
        }
    }
}
