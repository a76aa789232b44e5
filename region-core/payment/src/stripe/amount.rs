//! How Stripe counts amounts: in minor units, but not of every currency in ISO 4217's.
//!
//! See "Supported currencies", <https://docs.stripe.com/currencies>: zero-decimal, three-decimal and special cases.

use shared::{Currency, Money};

/// Decimals of the unit that Stripe counts `currency` in.
fn decimals(currency: Currency) -> u32 {
    match currency.code() {
        "BIF" | "CLP" | "DJF" | "GNF" | "JPY" | "KMF" | "KRW" | "MGA" | "PYG" | "RWF" | "VND" | "VUV" | "XAF"
        | "XOF" | "XPF" => 0,
        // Whole crowns and shillings, yet written with two decimals, as they once were.
        "ISK" | "UGX" => 2,
        _ => currency.exponent(),
    }
}

/// The smallest step that Stripe takes, in its own units: card networks know no third decimal.
fn step(currency: Currency) -> i64 {
    if decimals(currency) == 3 { 10 } else { 1 }
}

/// `amount` in Stripe's units; `None` if Stripe cannot say it exactly.
pub(super) fn to_stripe(amount: Money) -> Option<i64> {
    let (ours, theirs) = (amount.currency().exponent(), decimals(amount.currency()));
    let units = scaled(amount.minor(), ours, theirs)?;
    (units % step(amount.currency()) == 0).then_some(units)
}

/// Minor units of `currency` that `units` of Stripe's are; `None` if that is no whole number.
pub(super) fn to_minor(units: i64, currency: Currency) -> Option<i64> {
    scaled(units, decimals(currency), currency.exponent())
}

fn scaled(units: i64, from: u32, to: u32) -> Option<i64> {
    let factor = 10_i64.checked_pow(from.abs_diff(to))?;
    if to >= from { units.checked_mul(factor) } else { (units % factor == 0).then(|| units / factor) }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn money(minor: i64, code: &str) -> Money {
        Money::new(minor, code.parse().unwrap()).unwrap()
    }

    #[test]
    fn amounts_are_in_the_units_that_stripes_documentation_names() {
        // 10 USD, 500 JPY, 5 ISK, 5 UGX, 5 ariary, 5.12 KWD.
        let cases = [
            (money(1000, "USD"), 1000),
            (money(500, "JPY"), 500),
            (money(5, "ISK"), 500),
            (money(5, "UGX"), 500),
            (money(500, "MGA"), 5),
            (money(5120, "KWD"), 5120),
        ];
        for (amount, units) in cases {
            assert_eq!(to_stripe(amount), Some(units), "{amount:?}");
        }
    }

    #[test]
    fn an_amount_that_stripe_cannot_say_is_not_rounded() {
        assert_eq!(to_stripe(money(501, "MGA")), None);
        assert_eq!(to_stripe(money(5124, "KWD")), None);
        assert_eq!(to_minor(501, "ISK".parse().unwrap()), None);
    }

    proptest! {
        #[test]
        fn what_goes_there_comes_back_the_same(
            minor in 0..1_i64 << 40,
            code in prop::sample::select(vec!["GBP", "JPY", "ISK", "MGA", "KWD"]),
        ) {
            let amount = money(minor, code);
            if let Some(units) = to_stripe(amount) {
                prop_assert_eq!(to_minor(units, amount.currency()), Some(minor));
            }
        }
    }
}
