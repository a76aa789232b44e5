//! Telephone numbers, in the one spelling that a text can be sent to.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// A number in the form of ITU-T E.164: a plus sign, the country's code, at most 15 digits. Not proof that anyone reads texts
/// there.
#[derive(Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema), schema(value_type = String, example = "+447700900123"))]
pub struct PhoneNumber(String);

/// Not a number that could be called from anywhere.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("this is not a telephone number with its country's code, such as +447700900123")]
pub struct NotAPhoneNumber;

impl PhoneNumber {
    /// `+447700900123`.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for PhoneNumber {
    type Err = NotAPhoneNumber;

    /// As people write it: spaces, hyphens, dots and brackets do not count.
    fn from_str(text: &str) -> Result<Self, NotAPhoneNumber> {
        let between = |c: char| matches!(c, ' ' | '-' | '.' | '(' | ')');
        let number: String = text.trim().chars().filter(|c| !between(*c)).take(32).collect();
        let digits = number.strip_prefix('+').ok_or(NotAPhoneNumber)?;
        let fits = (7..=15).contains(&digits.len())
            && digits.bytes().all(|byte| byte.is_ascii_digit())
            && !digits.starts_with('0');
        if fits { Ok(Self(number)) } else { Err(NotAPhoneNumber) }
    }
}

impl TryFrom<String> for PhoneNumber {
    type Error = NotAPhoneNumber;

    fn try_from(text: String) -> Result<Self, NotAPhoneNumber> {
        text.parse()
    }
}

impl From<PhoneNumber> for String {
    fn from(number: PhoneNumber) -> Self {
        number.0
    }
}

/// Hides all but the ends, so that no log repeats it.
impl fmt::Debug for PhoneNumber {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}…{}", &self.0[..3], &self.0[self.0.len() - 2..])
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_number_has_one_spelling_and_is_not_repeated_by_logs() {
        for text in ["+447700900123", " +44 7700 900-123 ", "+44 (7700) 900.123"] {
            let number: PhoneNumber = text.parse().unwrap();
            assert_eq!((number.as_str(), format!("{number:?}").as_str()), ("+447700900123", "+44…23"));
        }
        assert_eq!(serde_json::from_str::<PhoneNumber>("\"+1 650 253 0000\"").unwrap().as_str(), "+16502530000");
    }

    #[test]
    fn what_cannot_be_texted_from_anywhere_is_refused() {
        let long = format!("+{}", "1".repeat(16));
        for text in ["", "+", "07700 900123", "0044 7700 900123", "+0447700900", "+44x7700900", "+123456", &long] {
            assert_eq!(text.parse::<PhoneNumber>(), Err(NotAPhoneNumber), "{text}");
        }
        assert_eq!("+٤٤٧٧٠٠٩٠٠١٢٣".parse::<PhoneNumber>(), Err(NotAPhoneNumber));
    }
}
