//! What is for sale in a fault run, and who orders what.

use std::fmt::Write as _;

use shared::api::order::OrderItem;
use shared::{Currency, Money, Quantity, Sku};
use shared_clock::Entropy;

/// How the demand for a SKU compares with its stock.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Demand {
    /// More is wanted than there is.
    Scarce,
    /// Enough in all, but only one region wants it, and more than its own shards have.
    Lopsided,
    /// Enough everywhere.
    Plentiful,
}

/// One SKU.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Good {
    pub(super) sku: Sku,
    pub(super) demand: Demand,
    pub(super) price_minor: i64,
    /// Over all shards.
    pub(super) units: i64,
}

/// Everything that is for sale.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Goods {
    pub(super) all: Vec<Good>,
    currency: Currency,
}

/// One order that somebody wants.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Wish {
    /// Index of the shopper's region.
    pub(super) region: usize,
    pub(super) items: Vec<OrderItem>,
    pub(super) total: Money,
    pub(super) payment_token: &'static str,
}

/// How orders are paid, in percent: most succeed, some are declined, some banks answer late and a few shoppers never do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Paying {
    Mixed,
    AlwaysSuccess,
}

const DECLINES_BELOW: u32 = 6;
const CHALLENGE_BELOW: u32 = 8;
const TIMEOUT_BELOW: u32 = 10;

impl Goods {
    /// So many of each kind, for so many orders.
    pub(super) fn of(orders: u32, scarce: usize, lopsided: usize, plentiful: usize) -> anyhow::Result<Self> {
        let kinds = [(Demand::Scarce, scarce), (Demand::Lopsided, lopsided), (Demand::Plentiful, plentiful)];
        let demands = kinds.into_iter().flat_map(|(demand, count)| std::iter::repeat_n(demand, count));
        let (orders, share) = (i64::from(orders), i64::from(lopsided_percent(lopsided)));
        let good = |(number, demand): (i64, Demand)| {
            anyhow::Ok(Good {
                sku: format!("FAULT-{number:02}").parse()?,
                demand,
                price_minor: 199 + 37 * number,
                units: match demand {
                    Demand::Scarce => (orders / 5).max(40),
                    // More than the home region's half, less than all.
                    Demand::Lopsided => (orders * share * 5 / 400).max(12),
                    Demand::Plentiful => orders * 4 + 400,
                },
            })
        };
        let all = (1..).zip(demands).map(good).collect::<anyhow::Result<_>>()?;
        Ok(Self { all, currency: Currency::GBP })
    }

    /// The catalog in Shopify's layout.
    pub(super) fn csv(&self) -> String {
        let mut text = "Handle,Title,Body (HTML),Vendor,Type,Tags,Published,Variant SKU,Variant Inventory Qty,Variant \
                        Price,Status\n"
            .to_owned();
        for Good { sku, price_minor, units, .. } in &self.all {
            let (handle, pounds, pence) = (sku.as_str().to_lowercase(), price_minor / 100, price_minor % 100);
            // Writing to a string cannot fail.
            let _ = writeln!(
                text,
                "{handle},{sku} for faults,Made for fault runs.,,Faults,,true,{sku},{units},{pounds}.{pence:02},active"
            );
        }
        text
    }

    /// The wish of that number, always the same for a seed. With lopsided goods wishes from region 0 hold one of them.
    pub(super) fn wish(&self, seed: u64, number: u32, regions: usize, paying: Paying) -> anyhow::Result<Wish> {
        let dice = Entropy::seeded(seed ^ (u64::from(number) + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15));
        let region = dice.below(u32::try_from(regions)?) as usize;
        let mut wanted: Vec<(&Good, i64)> = Vec::new();
        for good in &self.all {
            let percent = match good.demand {
                Demand::Scarce => 30,
                Demand::Lopsided if region == 0 => lopsided_percent(self.count(Demand::Lopsided)),
                Demand::Lopsided => 0,
                Demand::Plentiful => 6,
            };
            if dice.below(100) < percent {
                wanted.push((good, i64::from(1 + dice.below(2))));
            }
        }
        if wanted.is_empty() {
            let any = dice.below(u32::try_from(self.all.len())?) as usize;
            wanted.push((&self.all[any], 1));
        }
        let payment_token = match paying {
            Paying::AlwaysSuccess => "tok_success",
            Paying::Mixed => token(dice.below(100)),
        };
        Ok(Wish { region, total: self.total(&wanted)?, items: items(&wanted)?, payment_token })
    }

    /// One unit of one good, paid at once.
    pub(super) fn one_of(&self, good: &Good, region: usize) -> anyhow::Result<Wish> {
        let wanted = [(good, 1)];
        Ok(Wish { region, total: self.total(&wanted)?, items: items(&wanted)?, payment_token: "tok_success" })
    }

    fn count(&self, demand: Demand) -> usize {
        self.all.iter().filter(|good| good.demand == demand).count()
    }

    fn total(&self, wanted: &[(&Good, i64)]) -> anyhow::Result<Money> {
        Ok(Money::new(wanted.iter().map(|(good, units)| good.price_minor * units).sum(), self.currency)?)
    }
}

/// How many of 100 orders of the first region hold one lopsided SKU: three such lines an order where there are many.
fn lopsided_percent(count: usize) -> u32 {
    u32::try_from(300 / count.max(1)).unwrap_or(0).clamp(1, 40)
}

fn items(wanted: &[(&Good, i64)]) -> anyhow::Result<Vec<OrderItem>> {
    let item = |(good, units): &(&Good, i64)| {
        anyhow::Ok(OrderItem { sku: good.sku.clone(), quantity: Quantity::new(*units)? })
    };
    wanted.iter().map(item).collect()
}

const fn token(percent: u32) -> &'static str {
    match percent {
        ..DECLINES_BELOW => "tok_decline",
        DECLINES_BELOW..CHALLENGE_BELOW => "tok_challenge",
        CHALLENGE_BELOW..TIMEOUT_BELOW => "tok_timeout",
        TIMEOUT_BELOW.. => "tok_success",
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;

    fn demand(goods: &Goods, orders: u32) -> BTreeMap<String, i64> {
        let mut sums = BTreeMap::new();
        for number in 0..orders {
            for item in goods.wish(1, number, 2, Paying::Mixed).unwrap().items {
                *sums.entry(item.sku.to_string()).or_default() += i64::from(item.quantity.units());
            }
        }
        sums
    }

    #[test]
    fn scarce_goods_are_wanted_more_than_there_are_and_plentiful_ones_less() {
        let goods = Goods::of(2_000, 2, 2, 16).unwrap();
        let demand = demand(&goods, 2_000);
        for good in &goods.all {
            let wanted = demand[good.sku.as_str()];
            match good.demand {
                Demand::Scarce => assert!(wanted > good.units * 3 / 2, "{good:?}: {wanted} wanted"),
                Demand::Lopsided => {
                    assert!(wanted > good.units / 2 && wanted < good.units, "{good:?}: {wanted} wanted")
                }
                Demand::Plentiful => assert!(wanted < good.units / 8, "{good:?}: {wanted} wanted"),
            }
        }
    }

    #[test]
    fn a_seed_repeats_its_wishes_and_only_its_first_region_wants_what_is_lopsided() {
        let goods = Goods::of(500, 1, 1, 4).unwrap();
        for number in 0..500 {
            let wish = goods.wish(9, number, 2, Paying::Mixed).unwrap();
            assert_eq!(wish, goods.wish(9, number, 2, Paying::Mixed).unwrap());
            let lopsided = wish.items.len() > 1 && wish.items.iter().any(|item| item.sku == goods.all[1].sku);
            assert!(!lopsided || wish.region == 0, "{wish:?}");
        }
    }
}
