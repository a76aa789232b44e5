//! How PayPal writes amounts: decimal strings, in whole units of some currencies that have smaller ones.
//!
//! See "Currency codes", <https://developer.paypal.com/api/rest/reference/currency-codes/>.

use serde::{Deserialize, Serialize};
use shared::{Currency, Money};

/// An amount on the wire.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub(super) struct Amount {
    currency_code: String,
    value: String,
}

/// Decimals that PayPal takes in amounts of `currency`.
fn decimals(currency: Currency) -> u32 {
    match currency.code() {
        "HUF" | "TWD" => 0,
        _ => currency.exponent(),
    }
}

impl Amount {
    /// `None` if PayPal cannot say it exactly, or if it is negative.
    pub(super) fn of(money: Money) -> Option<Self> {
        let (currency, minor) = (money.currency(), u64::try_from(money.minor()).ok()?);
        let decimals = decimals(currency);
        let surplus = 10_u64.checked_pow(currency.exponent() - decimals)?;
        let (units, unit) = (minor / surplus, 10_u64.checked_pow(decimals)?);
        let width = decimals as usize;
        let value = match decimals {
            0 => units.to_string(),
            _ => format!("{}.{:0width$}", units / unit, units % unit),
        };
        (minor % surplus == 0).then(|| Self { currency_code: currency.code().to_owned(), value })
    }

    /// `None` if it is of no currency, or not an amount of it.
    pub(super) fn money(&self) -> Option<Money> {
        Money::parse_decimal(&self.value, self.currency_code.parse().ok()?).ok()
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn money(minor: i64, code: &str) -> Money {
        Money::new(minor, code.parse().unwrap()).unwrap()
    }

    #[test]
    fn amounts_have_the_decimals_of_their_currency_at_paypal() {
        let cases = [
            (money(1250, "GBP"), "12.50"),
            (money(5, "GBP"), "0.05"),
            (money(500, "JPY"), "500"),
            (money(5120, "KWD"), "5.120"),
            (money(120_000, "HUF"), "1200"),
            (money(3000, "TWD"), "30"),
        ];
        for (amount, value) in cases {
            assert_eq!(Amount::of(amount).unwrap().value, value, "{amount:?}");
        }
    }

    #[test]
    fn an_amount_that_paypal_cannot_say_is_not_rounded() {
        assert_eq!(Amount::of(money(120_001, "HUF")), None);
        assert_eq!(Amount::of(money(-1, "GBP")), None);
        for (value, code) in [("12.505", "GBP"), ("5.5", "JPY"), ("1e3", "GBP"), ("", "GBP"), ("1.00", "ZZZ")] {
            let amount = Amount { currency_code: code.to_owned(), value: value.to_owned() };
            assert_eq!(amount.money(), None, "{value} {code}");
        }
    }

    proptest! {
        #[test]
        fn what_goes_there_comes_back_the_same(
            minor in 0..1_i64 << 40,
            code in prop::sample::select(vec!["GBP", "JPY", "HUF", "TWD", "KWD"]),
        ) {
            let amount = money(minor, code);
            if let Some(said) = Amount::of(amount) {
                prop_assert_eq!(said.money(), Some(amount));
            }
        }
    }
}
