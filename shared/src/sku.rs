//! What is counted: SKUs and how many of them.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// A stock-keeping unit: 1 to 100 of `A-Z 0-9 - _ . /`, upper-cased on the way in.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema), schema(value_type = String, example = "85123A"))]
pub struct Sku(String);

/// Longest SKU, in characters.
pub const MAX_SKU_LENGTH: usize = 100;

/// Not 1 to 100 letters, digits, `-`, `_`, `.` or `/`.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is not a SKU: 1 to 100 ASCII letters, digits, '-', '_', '.' or '/'")]
pub struct NotASku(String);

impl Sku {
    /// The SKU, upper-case.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for Sku {
    type Err = NotASku;

    fn from_str(text: &str) -> Result<Self, NotASku> {
        let known = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.' | b'/');
        let fits = (1..=MAX_SKU_LENGTH).contains(&text.len()) && text.bytes().all(known);
        if fits { Ok(Self(text.to_ascii_uppercase())) } else { Err(NotASku(text.chars().take(120).collect())) }
    }
}

impl TryFrom<String> for Sku {
    type Error = NotASku;

    fn try_from(text: String) -> Result<Self, NotASku> {
        text.parse()
    }
}

impl From<Sku> for String {
    fn from(sku: Sku) -> Self {
        sku.0
    }
}

impl fmt::Display for Sku {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// Units of one SKU that are wanted: 1 to 100,000.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Serialize, Deserialize)]
#[serde(try_from = "i64", into = "u32")]
pub struct Quantity(u32);

#[cfg(feature = "openapi")]
impl utoipa::PartialSchema for Quantity {
    fn schema() -> utoipa::openapi::RefOr<utoipa::openapi::Schema> {
        let units = utoipa::openapi::ObjectBuilder::new().schema_type(utoipa::openapi::Type::Integer);
        units.description(Some("Units of one SKU.")).minimum(Some(1)).maximum(Some(MAX_QUANTITY)).into()
    }
}

#[cfg(feature = "openapi")]
impl utoipa::ToSchema for Quantity {}

/// Most units on one line.
pub const MAX_QUANTITY: u32 = 100_000;

/// Not 1 to 100,000.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0} is not a quantity: 1 to 100,000")]
pub struct NotAQuantity(i64);

impl Quantity {
    /// That many units.
    ///
    /// # Errors
    /// [`NotAQuantity`] outside 1 to 100,000.
    pub fn new(units: i64) -> Result<Self, NotAQuantity> {
        u32::try_from(units)
            .ok()
            .filter(|units| (1..=MAX_QUANTITY).contains(units))
            .map(Self)
            .ok_or(NotAQuantity(units))
    }

    /// How many.
    #[must_use]
    pub const fn units(self) -> u32 {
        self.0
    }

    /// Both together.
    ///
    /// # Errors
    /// [`NotAQuantity`] beyond 100,000.
    pub fn checked_add(self, other: Self) -> Result<Self, NotAQuantity> {
        Self::new(i64::from(self.0) + i64::from(other.0))
    }
}

impl TryFrom<i64> for Quantity {
    type Error = NotAQuantity;

    fn try_from(units: i64) -> Result<Self, NotAQuantity> {
        Self::new(units)
    }
}

impl From<Quantity> for u32 {
    fn from(quantity: Quantity) -> Self {
        quantity.0
    }
}

impl fmt::Display for Quantity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn skus_that_differ_only_in_case_are_one() {
        assert_eq!("85123a".parse::<Sku>(), "85123A".parse::<Sku>());
        for bad in ["", "a b", "caf\u{e9}", "x;drop"] {
            assert!(bad.parse::<Sku>().is_err(), "{bad:?} was taken");
        }
    }

    #[test]
    fn a_quantity_is_at_least_one_and_bounded() {
        assert!(Quantity::new(1).is_ok() && Quantity::new(100_000).is_ok());
        for bad in [0, -1, 100_001, i64::MAX, i64::MIN] {
            assert!(Quantity::new(bad).is_err(), "{bad} was taken");
        }
        assert!(serde_json::from_str::<Quantity>("1.5").is_err());
    }
}
