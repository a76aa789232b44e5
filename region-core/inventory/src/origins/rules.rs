//! Which units are lent, lost and sent. No I/O.

use std::collections::{BTreeMap, BTreeSet};

use shared::{RegionName, Sku};

use super::Elsewhere;

/// Where the units of a SKU lie that a shard may still decide about.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Lying {
    /// Units that no order was promised for good: free and reserved.
    pub unsold: u64,
    /// Units in other regions that no order is assigned. There can be more than are unsold: then orders that were paid, or are being
    /// paid for, have them and were not assigned yet.
    pub elsewhere: Elsewhere,
}

impl Lying {
    /// Unsold units that lie here.
    fn here(&self) -> u64 {
        self.unsold.saturating_sub(self.elsewhere.values().sum())
    }

    /// Units that are sold, lie elsewhere and are assigned to no order.
    fn sold_elsewhere(&self) -> u64 {
        self.elsewhere.values().sum::<u64>().saturating_sub(self.unsold)
    }

    /// Notes units that are sold.
    pub fn sell(&mut self, units: u64) {
        self.unsold = self.unsold.saturating_sub(units);
    }

    /// Lends units to a shard of the region `to`: first those that lie there, then those that lie here, then the others. Says which
    /// of them do not lie here. At most what is unsold can be lent.
    pub fn lend(&mut self, units: u64, to: &RegionName) -> Elsewhere {
        let mut lent = Elsewhere::new();
        let back = take(&mut self.elsewhere, to, units, &mut lent);
        self.unsold = self.unsold.saturating_sub(back);
        lent_or_lost(self, units - back, lent)
    }

    /// Writes units off: those that lie here first. Says which of them did not.
    pub fn lose(&mut self, units: u64) -> Elsewhere {
        lent_or_lost(self, units, Elsewhere::new())
    }
}

/// Takes from here, then from the other regions in the order of their names.
fn lent_or_lost(lying: &mut Lying, units: u64, mut taken: Elsewhere) -> Elsewhere {
    let mut left = units.saturating_sub(lying.here());
    lying.unsold = lying.unsold.saturating_sub(units);
    let regions: Vec<RegionName> = lying.elsewhere.keys().cloned().collect();
    for region in regions {
        left -= take(&mut lying.elsewhere, &region, left, &mut taken);
    }
    taken
}

/// How many were there to be taken.
fn take(from: &mut Elsewhere, region: &RegionName, units: u64, to: &mut Elsewhere) -> u64 {
    let taken = from.get(region).copied().unwrap_or(0).min(units);
    if taken > 0 {
        from.entry(region.clone()).and_modify(|left| *left -= taken);
        *to.entry(region.clone()).or_default() += taken;
    }
    taken
}

/// Assigns the units of a paid order that cannot be sent from here to as few regions as can be found: each time the one that can send
/// most of what is left, by name where two can send as much.
pub fn assign(order: &BTreeMap<Sku, u64>, lying: &mut BTreeMap<Sku, Lying>) -> BTreeMap<Sku, Elsewhere> {
    let needed = |(sku, units): (&Sku, &u64)| {
        let needed = lying.get(sku).map_or(0, |lying| lying.sold_elsewhere().min(*units));
        (needed > 0).then(|| (sku.clone(), needed))
    };
    let mut needed: BTreeMap<Sku, u64> = order.iter().filter_map(needed).collect();
    let mut regions: BTreeSet<RegionName> = BTreeSet::new();
    for sku in needed.keys() {
        regions.extend(lying.get(sku).into_iter().flat_map(|lying| lying.elsewhere.keys().cloned()));
    }
    let mut assigned: BTreeMap<Sku, Elsewhere> = BTreeMap::new();
    while let Some(best) = best(&regions, &needed, lying) {
        regions.remove(&best);
        for (sku, units) in &mut needed {
            let Some(lying) = lying.get_mut(sku) else { continue };
            *units -= take(&mut lying.elsewhere, &best, *units, assigned.entry(sku.clone()).or_default());
        }
    }
    assigned.retain(|_, regions| !regions.is_empty());
    assigned
}

/// The region that can send most of what is needed, if any can send something.
fn best(
    regions: &BTreeSet<RegionName>,
    needed: &BTreeMap<Sku, u64>,
    lying: &BTreeMap<Sku, Lying>,
) -> Option<RegionName> {
    let there = |sku: &Sku, region: &RegionName| lying.get(sku).and_then(|lying| lying.elsewhere.get(region)).copied();
    let sends = |region: &RegionName| -> u64 {
        needed.iter().map(|(sku, units)| there(sku, region).unwrap_or(0).min(*units)).sum()
    };
    let sending = regions.iter().map(|region| (sends(region), region)).filter(|(units, _)| *units > 0);
    // Of equals the first by name: `max_by_key` would keep the last.
    sending.rev().max_by_key(|(units, _)| *units).map(|(_, region)| region.clone())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::super::Way;
    use super::*;

    fn region(name: &str) -> RegionName {
        name.parse().unwrap()
    }

    fn sku(name: &str) -> Sku {
        name.parse().unwrap()
    }

    fn there(units: &[(&str, u64)]) -> Elsewhere {
        units.iter().map(|(name, units)| (region(name), *units)).collect()
    }

    fn lying(unsold: u64, elsewhere: &[(&str, u64)]) -> Lying {
        Lying { unsold, elsewhere: there(elsewhere) }
    }

    #[test]
    fn units_go_back_where_they_lie_before_others_are_lent() {
        let mut shard = lying(10, &[("ap", 3), ("us", 2)]);
        assert_eq!(shard.lend(1, &region("us")), there(&[("us", 1)]));
        assert_eq!(shard.lend(3, &region("us")), there(&[("us", 1)]));
        assert_eq!(shard.lend(2, &region("eu")), there(&[]));
        assert_eq!(shard.lend(4, &region("eu")), there(&[("ap", 3)]));
        assert_eq!(shard, lying(0, &[("ap", 0), ("us", 0)]));
    }

    #[test]
    fn what_is_lost_lay_here_as_long_as_anything_does() {
        let mut shard = lying(4, &[("us", 3)]);
        assert_eq!(shard.lose(1), there(&[]));
        assert_eq!(shard.lose(2), there(&[("us", 2)]));
    }

    #[test]
    fn an_order_is_sent_from_here_and_then_in_as_few_parcels_as_can_be() {
        let order: BTreeMap<Sku, u64> = [(sku("MUG"), 2), (sku("CUP"), 1), (sku("CAP"), 1)].into();
        let mut lying: BTreeMap<Sku, Lying> = [
            // One of two mugs lies here; both regions have the other, and only one has the cup as well.
            (sku("MUG"), lying(0, &[("ap", 1)])),
            (sku("CUP"), lying(0, &[("us", 1)])),
            (sku("CAP"), lying(5, &[("us", 1)])),
        ]
        .into();
        lying.get_mut(&sku("MUG")).unwrap().elsewhere.insert(region("us"), 0);
        let assigned = assign(&order, &mut lying);
        assert_eq!(assigned, [(sku("CUP"), there(&[("us", 1)])), (sku("MUG"), there(&[("ap", 1)]))].into());
        assert_eq!(assign(&order, &mut lying), BTreeMap::new(), "nothing is assigned twice");

        let both = [("ap", 1), ("us", 1)];
        let mut lying: BTreeMap<Sku, Lying> =
            [(sku("MUG"), self::lying(1, &both)), (sku("CUP"), self::lying(0, &[("us", 1)]))].into();
        let one_parcel = [(sku("CUP"), there(&[("us", 1)])), (sku("MUG"), there(&[("us", 1)]))].into();
        assert_eq!(assign(&order, &mut lying), one_parcel);
    }

    #[test]
    fn a_transfer_is_booked_where_its_units_lie() {
        let way = Way { from: region("us"), to: region("eu") };
        assert_eq!(way.lying(5, &there(&[("ap", 1), ("eu", 2)])), there(&[("ap", 1), ("us", 2)]));
        assert_eq!(way.lying(2, &there(&[("eu", 2)])), there(&[]));
        // What an older core sends says nothing: all of it lies with the donor.
        assert_eq!(way.lying(2, &there(&[])), there(&[("us", 2)]));
    }

    const REGIONS: [&str; 3] = ["ap", "eu", "us"];

    /// A shard's books of one SKU: all of its units, which of them are sold, and where they lie.
    #[derive(Clone, Debug, Default)]
    struct Shard {
        held: u64,
        sold: u64,
        elsewhere: Elsewhere,
        assigned: Elsewhere,
        /// Units of orders that are paid and not assigned.
        due: Vec<u64>,
    }

    impl Shard {
        fn lying(&self) -> Lying {
            let left = |(region, units): (&RegionName, &u64)| {
                (region.clone(), units - self.assigned.get(region).copied().unwrap_or(0))
            };
            Lying { unsold: self.held - self.sold, elsewhere: self.elsewhere.iter().map(left).collect() }
        }

        fn remove(&mut self, units: u64, elsewhere: &Elsewhere) {
            self.held -= units;
            for (region, units) in elsewhere {
                *self.elsewhere.get_mut(region).unwrap() -= units;
            }
        }

        fn in_region(&self, own: &RegionName, region: &RegionName) -> i64 {
            let elsewhere = |region: &RegionName| self.elsewhere.get(region).copied().unwrap_or(0).cast_signed();
            if own == region {
                self.held.cast_signed() - self.elsewhere.values().sum::<u64>().cast_signed()
            } else {
                elsewhere(region)
            }
        }
    }

    fn own(shard: usize) -> RegionName {
        region(REGIONS[shard % REGIONS.len()])
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(512))]

        /// Units are lent on and on, sold, paid for, called off and lost. What lies in a region is always what was delivered there
        /// less what was lost there, no order is assigned what does not lie there, and every paid order can be sent.
        #[test]
        fn what_lies_in_a_region_is_what_came_there_whatever_is_lent_on(
            steps in prop::collection::vec((0..5_usize, 0..4_usize, 0..4_usize, 1..6_u64), 0..120),
        ) {
            let mut shards = vec![Shard::default(); 4];
            let mut came: BTreeMap<RegionName, i64> = BTreeMap::new();
            for (number, shard) in shards.iter_mut().enumerate() {
                shard.held = 8;
                *came.entry(own(number)).or_default() += 8;
            }
            for (what, this, other, units) in steps {
                let free = shards[this].held - shards[this].sold;
                let units = units.min(free);
                match what {
                    0 if this != other => {
                        let way = Way { from: own(this), to: own(other) };
                        let elsewhere = shards[this].lying().lend(units, &way.to);
                        shards[this].remove(units, &elsewhere);
                        shards[other].held += units;
                        for (region, units) in way.lying(units, &elsewhere) {
                            *shards[other].elsewhere.entry(region).or_default() += units;
                        }
                    }
                    1 if units > 0 => {
                        shards[this].sold += units;
                        shards[this].due.push(units);
                    }
                    2 if !shards[this].due.is_empty() => {
                        let units = shards[this].due.remove(0);
                        let mut lying = [(sku("MUG"), shards[this].lying())].into();
                        let assigned = assign(&[(sku("MUG"), units)].into(), &mut lying);
                        for (region, units) in assigned.into_values().flatten() {
                            *shards[this].assigned.entry(region).or_default() += units;
                        }
                    }
                    3 => {
                        // The last that was paid is called off before anybody looks at it.
                        if let Some(units) = shards[this].due.pop() {
                            shards[this].sold -= units;
                        }
                    }
                    4 => {
                        let elsewhere = shards[this].lying().lose(units);
                        shards[this].remove(units, &elsewhere);
                        *came.get_mut(&own(this)).unwrap() -=
                            units.cast_signed() - elsewhere.values().sum::<u64>().cast_signed();
                        for (region, units) in elsewhere {
                            *came.get_mut(&region).unwrap() -= units.cast_signed();
                        }
                    }
                    _ => {}
                }
                for name in REGIONS.map(region) {
                    let lies: i64 = shards.iter().enumerate().map(|(number, shard)| shard.in_region(&own(number), &name)).sum();
                    prop_assert_eq!(lies, came[&name], "{}", name);
                }
                for (number, shard) in shards.iter().enumerate() {
                    let assigned = |name: &RegionName| shard.assigned.get(name).copied().unwrap_or(0);
                    prop_assert!(shard.elsewhere.iter().all(|(name, units)| assigned(name) <= *units));
                    prop_assert!(shard.in_region(&own(number), &own(number)) >= 0);
                    // What is sold and lies elsewhere unassigned belongs to orders that are still to be assigned.
                    prop_assert!(shard.lying().sold_elsewhere() <= shard.due.iter().sum());
                }
            }
        }
    }
}
