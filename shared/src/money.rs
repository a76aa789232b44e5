//! Money: integers of minor units with their currency, checked at every step.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// The largest amount of minor units either way: what every JSON reader keeps exact (2^53 - 1, RFC 8259 section 6).
pub const MAX_MINOR: i64 = (1 << 53) - 1;

/// An ISO 4217 currency.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct Currency(iso_currency::Currency);

impl Currency {
    /// Pounds sterling, the demo shop's currency.
    pub const GBP: Self = Self(iso_currency::Currency::GBP);
    /// United States dollars.
    pub const USD: Self = Self(iso_currency::Currency::USD);

    /// The three-letter code.
    #[must_use]
    pub fn code(self) -> &'static str {
        self.0.code()
    }

    /// Decimal digits of the minor unit: 2 for GBP, 0 for JPY. Units of account without one count as 0.
    #[must_use]
    pub fn exponent(self) -> u32 {
        self.0.exponent().map_or(0, u32::from)
    }

    /// The customary sign, or the code where there is none.
    #[must_use]
    pub fn symbol(self) -> String {
        self.0.symbol().to_string()
    }
}

impl FromStr for Currency {
    type Err = MoneyError;

    fn from_str(code: &str) -> Result<Self, MoneyError> {
        iso_currency::Currency::from_code(code)
            .map(Self)
            .ok_or_else(|| MoneyError::UnknownCurrency(code.chars().take(16).collect()))
    }
}

impl fmt::Display for Currency {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.code())
    }
}

impl Serialize for Currency {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.code())
    }
}

impl<'de> Deserialize<'de> for Currency {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(serde::de::Error::custom)
    }
}

/// An amount in the currency's smallest unit (pence, cents, yen), never apart from its currency and never a float.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Serialize, Deserialize)]
#[serde(try_from = "MoneyFields", deny_unknown_fields)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct Money {
    /// Minor units, within ±(2^53 - 1).
    minor: i64,
    /// ISO 4217 code.
    #[cfg_attr(feature = "openapi", schema(value_type = String, example = "GBP"))]
    currency: Currency,
}

/// What is on the wire; the range is checked on the way to [`Money`].
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct MoneyFields {
    minor: i64,
    currency: Currency,
}

impl TryFrom<MoneyFields> for Money {
    type Error = MoneyError;

    fn try_from(fields: MoneyFields) -> Result<Self, MoneyError> {
        Self::new(fields.minor, fields.currency)
    }
}

/// Why an amount could not be made.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum MoneyError {
    /// The result does not fit ±(2^53 - 1) minor units.
    #[error("the amount does not fit ±(2^53 - 1) minor units")]
    Overflow,
    /// Two amounts of different currencies met.
    #[error("{left} and {right} cannot be added")]
    MixedCurrencies {
        /// Currency of the first amount.
        left: &'static str,
        /// Currency of the second amount.
        right: &'static str,
    },
    /// Not an ISO 4217 code.
    #[error("{0:?} is not an ISO 4217 currency code")]
    UnknownCurrency(String),
    /// Not a decimal amount of that currency.
    #[error("{0:?} is not an amount with at most {1} decimals")]
    NotAnAmount(String, u32),
}

impl Money {
    /// An amount of `minor` units.
    ///
    /// # Errors
    /// [`MoneyError::Overflow`] beyond ±(2^53 - 1).
    pub fn new(minor: i64, currency: Currency) -> Result<Self, MoneyError> {
        if (-MAX_MINOR..=MAX_MINOR).contains(&minor) { Ok(Self { minor, currency }) } else { Err(MoneyError::Overflow) }
    }

    /// Nothing, in that currency.
    #[must_use]
    pub fn zero(currency: Currency) -> Self {
        Self { minor: 0, currency }
    }

    /// The amount in minor units.
    #[must_use]
    pub fn minor(self) -> i64 {
        self.minor
    }

    /// The currency.
    #[must_use]
    pub fn currency(self) -> Currency {
        self.currency
    }

    /// The sum of two amounts of one currency.
    ///
    /// # Errors
    /// On mixed currencies and on overflow.
    pub fn checked_add(self, other: Self) -> Result<Self, MoneyError> {
        if self.currency != other.currency {
            return Err(MoneyError::MixedCurrencies { left: self.currency.code(), right: other.currency.code() });
        }
        Self::new(self.minor.checked_add(other.minor).ok_or(MoneyError::Overflow)?, self.currency)
    }

    /// The difference of two amounts of one currency.
    ///
    /// # Errors
    /// On mixed currencies and on overflow.
    pub fn checked_sub(self, other: Self) -> Result<Self, MoneyError> {
        self.checked_add(Self { minor: -other.minor, currency: other.currency })
    }

    /// The amount `times` over.
    ///
    /// # Errors
    /// On overflow.
    pub fn checked_mul(self, times: u32) -> Result<Self, MoneyError> {
        Self::new(self.minor.checked_mul(i64::from(times)).ok_or(MoneyError::Overflow)?, self.currency)
    }

    /// The sum of amounts of one currency.
    ///
    /// # Errors
    /// On mixed currencies and on overflow.
    pub fn sum(currency: Currency, amounts: impl IntoIterator<Item = Self>) -> Result<Self, MoneyError> {
        amounts.into_iter().try_fold(Self::zero(currency), Self::checked_add)
    }

    /// Reads a plain decimal such as `2.55`, exactly: no float is involved and surplus digits must be zeros.
    ///
    /// # Errors
    /// [`MoneyError::NotAnAmount`] with the text, or [`MoneyError::Overflow`].
    pub fn parse_decimal(text: &str, currency: Currency) -> Result<Self, MoneyError> {
        let exponent = currency.exponent();
        let fail = || MoneyError::NotAnAmount(text.chars().take(32).collect(), exponent);
        let (negative, digits) = text.strip_prefix('-').map_or((false, text), |rest| (true, rest));
        let (whole, fraction) = digits.split_once('.').unwrap_or((digits, ""));
        let all_digits = |part: &str| part.bytes().all(|byte| byte.is_ascii_digit());
        if whole.is_empty() || !all_digits(whole) || !all_digits(fraction) || digits.ends_with('.') {
            return Err(fail());
        }
        let width = exponent as usize;
        let (kept, surplus) = fraction.split_at(fraction.len().min(width));
        if surplus.bytes().any(|byte| byte != b'0') {
            return Err(fail());
        }
        let minor: i64 = format!("{whole}{kept:0<width$}").parse().map_err(|_| MoneyError::Overflow)?;
        Self::new(if negative { -minor } else { minor }, currency)
    }
}

impl fmt::Display for Money {
    /// For people: `£12.50`, `¥1,250`, `CHF 3.00`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let exponent = self.currency.exponent();
        let unit = 10_u64.pow(exponent);
        let amount = self.minor.unsigned_abs();
        let symbol = self.currency.symbol();
        let gap = if symbol.chars().all(|c| c.is_ascii_alphabetic()) { " " } else { "" };
        let sign = if self.minor < 0 { "-" } else { "" };
        write!(f, "{sign}{symbol}{gap}{}", grouped(amount / unit))?;
        if exponent > 0 {
            write!(f, ".{:0width$}", amount % unit, width = exponent as usize)?;
        }
        Ok(())
    }
}

/// `1234567` as `1,234,567`.
fn grouped(number: u64) -> String {
    let digits = number.to_string();
    let mut out = String::with_capacity(digits.len() + digits.len() / 3);
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) {
            out.push(',');
        }
        out.push(digit);
    }
    out
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn gbp(minor: i64) -> Money {
        Money::new(minor, Currency::GBP).unwrap()
    }

    #[test]
    fn an_amount_reads_like_a_price_tag() {
        assert_eq!(gbp(123_456).to_string(), "£1,234.56");
        assert_eq!(gbp(-5).to_string(), "-£0.05");
        assert_eq!(Money::new(1250, "JPY".parse().unwrap()).unwrap().to_string(), "¥1,250");
    }

    #[test]
    fn currencies_never_mix() {
        let error = gbp(1).checked_add(Money::new(1, Currency::USD).unwrap()).unwrap_err();
        assert_eq!(error.to_string(), "GBP and USD cannot be added");
    }

    #[test]
    fn a_decimal_is_read_exactly_or_refused() {
        assert_eq!(Money::parse_decimal("2.55", Currency::GBP), Ok(gbp(255)));
        assert_eq!(Money::parse_decimal("2.5", Currency::GBP), Ok(gbp(250)));
        assert_eq!(Money::parse_decimal("2.5500", Currency::GBP), Ok(gbp(255)));
        assert_eq!(Money::parse_decimal("-11062.06", Currency::GBP), Ok(gbp(-1_106_206)));
        for bad in ["", ".5", "5.", "2.555", "1e3", "1,000", "£2", " 2", "--2", "NaN"] {
            assert!(Money::parse_decimal(bad, Currency::GBP).is_err(), "{bad:?} was taken");
        }
        assert_eq!(Money::parse_decimal("99999999999999999999", Currency::GBP), Err(MoneyError::Overflow));
    }

    #[test]
    fn json_keeps_minor_units_and_refuses_what_would_not_survive_a_double() {
        assert_eq!(serde_json::to_string(&gbp(1250)).unwrap(), r#"{"minor":1250,"currency":"GBP"}"#);
        let too_big = r#"{"minor":9007199254740992,"currency":"GBP"}"#;
        assert!(serde_json::from_str::<Money>(too_big).is_err());
        assert!(serde_json::from_str::<Money>(r#"{"minor":12.5,"currency":"GBP"}"#).is_err());
        assert!(serde_json::from_str::<Money>(r#"{"minor":12,"currency":"gbp"}"#).is_err());
    }

    proptest! {
        #[test]
        fn adding_then_subtracting_gives_back_the_amount(a in -MAX_MINOR..=MAX_MINOR, b in -MAX_MINOR..=MAX_MINOR) {
            if let Ok(sum) = gbp(a).checked_add(gbp(b)) {
                prop_assert_eq!(sum.checked_sub(gbp(b)).unwrap(), gbp(a));
                prop_assert_eq!(i128::from(sum.minor()), i128::from(a) + i128::from(b));
            } else {
                prop_assert!((i128::from(a) + i128::from(b)).abs() > i128::from(MAX_MINOR));
            }
        }

        #[test]
        fn multiplying_is_exact_or_refused(a in -MAX_MINOR..=MAX_MINOR, n in any::<u32>()) {
            match gbp(a).checked_mul(n) {
                Ok(product) => prop_assert_eq!(i128::from(product.minor()), i128::from(a) * i128::from(n)),
                Err(error) => prop_assert_eq!(error, MoneyError::Overflow),
            }
        }

        #[test]
        fn what_is_written_as_a_decimal_is_read_back(minor in 0..=MAX_MINOR) {
            let text = format!("{}.{:02}", minor / 100, minor % 100);
            prop_assert_eq!(Money::parse_decimal(&text, Currency::GBP).unwrap(), gbp(minor));
        }
    }
}
