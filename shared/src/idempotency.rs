//! The `Idempotency-Key` request header.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::text::is_card_number;

/// Header that makes a `POST` safe to repeat.
pub const IDEMPOTENCY_KEY: &str = "idempotency-key";
/// Header on an answer that repeats an earlier one.
pub const IDEMPOTENCY_REPLAYED: &str = "idempotency-replayed";

/// A client's name for one intended effect: 1 to 255 visible ASCII characters, compared byte by byte, and no card number.
#[derive(Clone, PartialEq, Eq, Hash, Debug, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct IdempotencyKey(String);

/// The key is empty, longer than 255 characters, holds something other than visible ASCII, or is a card number.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("an Idempotency-Key is 1 to 255 visible ASCII characters, and no card number")]
pub struct NotAnIdempotencyKey;

impl IdempotencyKey {
    /// The key as sent.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for IdempotencyKey {
    type Err = NotAnIdempotencyKey;

    fn from_str(text: &str) -> Result<Self, NotAnIdempotencyKey> {
        let fits = (1..=255).contains(&text.len()) && text.bytes().all(|byte| byte.is_ascii_graphic());
        // It is kept beside what it brought about.
        if fits && !is_card_number(text) { Ok(Self(text.to_owned())) } else { Err(NotAnIdempotencyKey) }
    }
}

impl TryFrom<String> for IdempotencyKey {
    type Error = NotAnIdempotencyKey;

    fn try_from(text: String) -> Result<Self, NotAnIdempotencyKey> {
        text.parse()
    }
}

impl From<IdempotencyKey> for String {
    fn from(key: IdempotencyKey) -> Self {
        key.0
    }
}

impl fmt::Display for IdempotencyKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_is_short_and_visible() {
        assert!("order-17".parse::<IdempotencyKey>().is_ok());
        assert!("x".repeat(255).parse::<IdempotencyKey>().is_ok());
        let card = "4242-4242-4242-4242".to_owned();
        for bad in [String::new(), "x".repeat(256), "a b".to_owned(), "caf\u{e9}".to_owned(), "a\n".to_owned(), card] {
            assert!(bad.parse::<IdempotencyKey>().is_err(), "{bad:?} was taken");
            assert!(serde_json::from_value::<IdempotencyKey>(bad.clone().into()).is_err(), "{bad:?} was read");
        }
    }
}
