//! Which way of delivery an order takes, and what it costs with that.

use shared::Quantity;
use shared::api::order::{ChosenDelivery, DeliveryOption};

use super::{PriceError, PricedOrder};

/// Where an order goes and how, as far as that is known.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct DeliveryWish<'a> {
    /// ISO 3166-1 alpha-2, upper-case.
    pub country: Option<&'a str>,
    /// An option's id; the cheapest one, if absent.
    pub option: Option<&'a str>,
}

impl PricedOrder {
    /// What its items weigh together, by `grams` of one.
    #[must_use]
    pub fn weight_grams(&self, grams: impl Fn(&shared::Sku) -> u32) -> u64 {
        let weight = |units: Quantity, grams: u32| u64::from(units.units()).saturating_mul(u64::from(grams));
        self.lines.iter().fold(0, |sum, line| sum.saturating_add(weight(line.quantity, grams(&line.sku))))
    }

    /// The order with the wanted one of these ways of delivery, or the cheapest, of equally cheap ones the first.
    ///
    /// # Errors
    /// [`PriceError::NotOffered`]; [`PriceError::TooHeavy`] if there is none; [`PriceError::DeliveryMoney`].
    pub fn delivered(
        self,
        options: Vec<DeliveryOption>,
        wanted: Option<&str>,
        weight_grams: u64,
    ) -> Result<Self, PriceError> {
        let chosen = match wanted {
            Some(id) => options.iter().find(|option| option.id == id).ok_or(PriceError::NotOffered)?,
            None => options.iter().min_by_key(|option| option.price.minor()).ok_or(PriceError::TooHeavy)?,
        };
        let DeliveryOption { id, name, price, days, service } = chosen.clone();
        let total = self.subtotal.checked_add(price).map_err(PriceError::DeliveryMoney)?;
        let delivery = Some(ChosenDelivery { id, name, days, service, weight_grams });
        Ok(Self { shipping: price, total, delivery, delivery_options: options, ..self })
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use shared::api::order::{DeliveryDays, LineItem};
    use shared::{Currency, Money};

    use super::*;

    fn pounds(minor: i64) -> Money {
        Money::new(minor, Currency::GBP).unwrap()
    }

    fn mugs(units: i64) -> PricedOrder {
        let (sku, quantity) = ("MUG".parse().unwrap(), Quantity::new(units).unwrap());
        let unit_price = pounds(250);
        let line_total = pounds(250 * units);
        PricedOrder {
            lines: vec![LineItem { sku, title: "Mug".into(), quantity, unit_price, line_total }],
            subtotal: line_total,
            shipping: pounds(0),
            total: line_total,
            catalog_version: 1,
            delivery: None,
            delivery_options: Vec::new(),
        }
    }

    fn option(id: &str, price: Money) -> DeliveryOption {
        let days = DeliveryDays { from: 1, to: 2 };
        DeliveryOption { id: id.into(), name: id.to_uppercase(), price, days, service: None }
    }

    #[test]
    fn an_order_goes_the_way_that_was_asked_for_or_the_cheapest() {
        let options = || vec![option("fast", pounds(900)), option("slow", pounds(300)), option("later", pounds(300))];
        let fast = mugs(2).delivered(options(), Some("fast"), 700).unwrap();
        assert_eq!((fast.subtotal, fast.shipping, fast.total), (pounds(500), pounds(900), pounds(1_400)));
        assert_eq!(fast.delivery.map(|delivery| (delivery.id, delivery.weight_grams)), Some(("fast".into(), 700)));
        let cheapest = mugs(2).delivered(options(), None, 700).unwrap();
        assert_eq!(cheapest.delivery.map(|delivery| delivery.id).as_deref(), Some("slow"));
        assert_eq!(mugs(2).delivered(options(), Some("by-owl"), 700), Err(PriceError::NotOffered));
        assert_eq!(mugs(2).delivered(Vec::new(), None, 700), Err(PriceError::TooHeavy));
        let dollars = vec![option("fast", Money::new(1, Currency::USD).unwrap())];
        assert!(matches!(mugs(2).delivered(dollars, None, 0), Err(PriceError::DeliveryMoney(_))));
    }

    proptest! {
        #[test]
        fn the_total_is_goods_and_delivery(units in 1_i64..1_000, prices in prop::collection::vec(0_i64..10_000, 1..5)) {
            let options: Vec<_> = prices.iter().enumerate().map(|(at, price)| option(&format!("o{at}"), pounds(*price))).collect();
            let order = mugs(units).delivered(options, None, 0).unwrap();
            prop_assert_eq!(order.total.minor(), units * 250 + prices.iter().min().unwrap());
            prop_assert_eq!(mugs(units).weight_grams(|_| 350), 350 * units.unsigned_abs());
        }
    }
}
