//! Who of a batch gets units: pure, first come, first served.

use std::collections::HashMap;

use region_core_inventory::Shortfall;
use shared::{Quantity, Sku};

/// Free units of each SKU while a batch is decided.
pub(crate) type Free<'a> = HashMap<&'a Sku, u64>;

/// Takes an order's units out of `free`, all or none. SKUs that are not in `free` have none; of the others, as many as
/// `held_back` says are for those who came before and wait.
///
/// # Errors
/// Every SKU that falls short; nothing is taken then.
pub(crate) fn take<'a>(
    free: &mut Free<'a>,
    held_back: impl Fn(&Sku) -> u64,
    wanted: impl Iterator<Item = (&'a Sku, Quantity)> + Clone,
) -> Result<(), Vec<Shortfall>> {
    let short: Vec<Shortfall> = wanted
        .clone()
        .filter_map(|(sku, quantity)| {
            let free = free.get(sku).copied().unwrap_or(0).saturating_sub(held_back(sku));
            let wanted = u64::from(quantity.units());
            (free < wanted).then(|| Shortfall { sku: sku.clone(), wanted, free })
        })
        .collect();
    if !short.is_empty() {
        return Err(short);
    }
    for (sku, quantity) in wanted {
        if let Some(free) = free.get_mut(sku) {
            *free -= u64::from(quantity.units());
        }
    }
    Ok(())
}

/// What orders that are taken together take of each SKU, by SKU.
pub(crate) fn sums<'a>(wanted: impl Iterator<Item = (&'a Sku, Quantity)>) -> Vec<(&'a Sku, u64)> {
    let mut sums: Vec<(&Sku, u64)> = wanted.map(|(sku, quantity)| (sku, u64::from(quantity.units()))).collect();
    sums.sort_unstable();
    sums.dedup_by(|later, earlier| {
        let same = later.0 == earlier.0;
        if same {
            earlier.1 += later.1;
        }
        same
    });
    sums
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn sku(name: &str) -> Sku {
        name.parse().unwrap()
    }

    fn units(units: i64) -> Quantity {
        Quantity::new(units).unwrap()
    }

    fn nobody(_: &Sku) -> u64 {
        0
    }

    #[test]
    fn a_newcomer_finds_only_what_those_who_wait_leave() {
        let mug = sku("MUG");
        let mut free = Free::from([(&mug, 5)]);
        let short = take(&mut free, |_| 3, [(&mug, units(3))].into_iter()).unwrap_err();
        assert_eq!(short, [Shortfall { sku: mug.clone(), wanted: 3, free: 2 }]);
        take(&mut free, |_| 3, [(&mug, units(2))].into_iter()).unwrap();
        assert_eq!(free[&mug], 3);
    }

    #[test]
    fn an_order_takes_all_its_units_or_none() {
        let (mug, cup) = (sku("MUG"), sku("CUP"));
        let mut free = Free::from([(&mug, 2), (&cup, 1)]);
        let both = [(&mug, units(2)), (&cup, units(2))];
        let short = take(&mut free, nobody, both.into_iter()).unwrap_err();
        assert_eq!(short, [Shortfall { sku: cup.clone(), wanted: 2, free: 1 }]);
        assert_eq!(free, Free::from([(&mug, 2), (&cup, 1)]));
        take(&mut free, nobody, [(&mug, units(2))].into_iter()).unwrap();
        assert_eq!(free[&mug], 0);
    }

    #[test]
    fn a_sku_that_the_shard_never_had_falls_short_by_everything() {
        let mug = sku("MUG");
        let short = take(&mut Free::new(), nobody, [(&mug, units(3))].into_iter()).unwrap_err();
        assert_eq!(short, [Shortfall { sku: mug, wanted: 3, free: 0 }]);
    }

    proptest! {
        #[test]
        fn whoever_is_served_never_takes_more_than_was_free(
            stock in 0_u64..50,
            orders in prop::collection::vec(1_i64..20, 0..30),
        ) {
            let mug = sku("MUG");
            let mut free = Free::from([(&mug, stock)]);
            let mut taken = 0;
            for wanted in orders {
                let before = free[&mug];
                match take(&mut free, nobody, [(&mug, units(wanted))].into_iter()) {
                    Ok(()) => taken += wanted.unsigned_abs(),
                    Err(_) => prop_assert!(before < wanted.unsigned_abs(), "refused although enough was free"),
                }
            }
            prop_assert_eq!(free[&mug] + taken, stock);
        }

        #[test]
        fn sums_name_each_sku_once_in_order_and_lose_no_unit(
            lines in prop::collection::vec((0_u8..6, 1_i64..100), 0..40),
        ) {
            let names: Vec<Sku> = (0..6).map(|number| sku(&format!("S{number}"))).collect();
            let wanted = lines.iter().map(|(name, quantity)| (&names[usize::from(*name)], units(*quantity)));
            let sums = sums(wanted);
            prop_assert!(sums.windows(2).all(|pair| pair[0].0 < pair[1].0));
            let total: u64 = lines.iter().map(|(_, quantity)| quantity.unsigned_abs()).sum();
            prop_assert_eq!(sums.iter().map(|(_, units)| units).sum::<u64>(), total);
        }
    }
}
