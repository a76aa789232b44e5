//! Where the parcels of an order are to come from. No I/O.

use std::collections::BTreeMap;

use region_core_shipping::Line;
use region_core_shipping::origin::Packed;
use shared::api::order::OrderItem;
use shared::api::origin::Origin;
use shared::{Quantity, RegionName, Sku};

/// Units by SKU, in each region.
type ByRegion = BTreeMap<RegionName, BTreeMap<Sku, u64>>;

/// Where the units of an order lie and which of them are still to be sent: those in `elsewhere`, and the rest in its `own` region. A
/// parcel of which nothing was said came from there. What was sent from where it did not lie is missed nowhere: together the regions
/// never have more to send than is left of a line. Nothing is said of an order that lies in its own region whole.
pub(crate) fn origins(
    lines: &BTreeMap<Sku, Line>,
    own: &RegionName,
    elsewhere: &ByRegion,
    packed: &[Packed],
) -> Vec<Origin> {
    if elsewhere.is_empty() {
        return Vec::new();
    }
    let mut here: BTreeMap<Sku, u64> =
        lines.iter().map(|(sku, line)| (sku.clone(), u64::from(line.ordered.units()))).collect();
    for (sku, units) in elsewhere.values().flatten() {
        here.entry(sku.clone()).and_modify(|left| *left = left.saturating_sub(*units));
    }
    let mut gone = ByRegion::new();
    for Packed { from, sku, units } in packed {
        let region = from.clone().unwrap_or_else(|| own.clone());
        *gone.entry(region).or_default().entry(sku.clone()).or_default() += units;
    }
    let mut unsent: BTreeMap<Sku, u64> =
        lines.iter().map(|(sku, line)| (sku.clone(), u64::from(line.left()))).collect();
    let regions = std::iter::once((own, &here)).chain(elsewhere.iter().filter(|(region, _)| *region != own));
    let origin = |(region, planned): (&RegionName, &BTreeMap<Sku, u64>)| {
        let mut left = BTreeMap::new();
        for (sku, units) in planned {
            let packed = gone.get(region).and_then(|gone| gone.get(sku)).copied().unwrap_or(0);
            let unsent = unsent.entry(sku.clone()).or_default();
            let to_send = units.saturating_sub(packed).min(*unsent);
            *unsent -= to_send;
            left.insert(sku.clone(), to_send);
        }
        Origin { region: region.clone(), items: items(planned), left: items(&left) }
    };
    regions.map(origin).filter(|origin| !origin.items.is_empty()).collect()
}

fn items(units: &BTreeMap<Sku, u64>) -> Vec<OrderItem> {
    let item = |(sku, units): (&Sku, &u64)| {
        let quantity = i64::try_from(*units).ok().and_then(|units| Quantity::new(units).ok())?;
        Some(OrderItem { sku: sku.clone(), quantity })
    };
    units.iter().filter_map(item).collect()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn region(name: &str) -> RegionName {
        name.parse().unwrap()
    }

    fn mug() -> Sku {
        "MUG".parse().unwrap()
    }

    fn line(ordered: i64, sent: u32) -> BTreeMap<Sku, Line> {
        [(mug(), Line { ordered: Quantity::new(ordered).unwrap(), sent })].into()
    }

    fn there(units: &[(&str, u64)]) -> ByRegion {
        units.iter().map(|(name, units)| (region(name), [(mug(), *units)].into())).collect()
    }

    fn packed(units: &[(Option<&str>, u64)]) -> Vec<Packed> {
        let packed = |(from, units): &(Option<&str>, u64)| Packed { from: from.map(region), sku: mug(), units: *units };
        units.iter().map(packed).collect()
    }

    /// Region, units, units left.
    fn told(origins: &[Origin]) -> Vec<(&str, u32, u32)> {
        let sum = |items: &[OrderItem]| items.iter().map(|item| item.quantity.units()).sum();
        origins.iter().map(|origin| (origin.region.as_str(), sum(&origin.items), sum(&origin.left))).collect()
    }

    #[test]
    fn each_region_has_its_parcel_until_that_has_left() {
        let (own, elsewhere) = (region("eu"), there(&[("ap", 1), ("us", 2)]));
        let seen = |sent, gone: &[(Option<&str>, u64)]| origins(&line(4, sent), &own, &elsewhere, &packed(gone));
        assert_eq!(told(&seen(0, &[])), [("eu", 1, 1), ("ap", 1, 1), ("us", 2, 2)]);
        assert_eq!(told(&seen(2, &[(Some("us"), 2)])), [("eu", 1, 1), ("ap", 1, 1), ("us", 2, 0)]);
        assert_eq!(told(&seen(1, &[(None, 1)])), [("eu", 1, 0), ("ap", 1, 1), ("us", 2, 2)]);
        // Somebody sent all of it from here.
        assert_eq!(told(&seen(4, &[(None, 4)])), [("eu", 1, 0), ("ap", 1, 0), ("us", 2, 0)]);
        let all_there = origins(&line(2, 0), &own, &there(&[("us", 2)]), &[]);
        assert_eq!(told(&all_there), [("us", 2, 2)], "there is no parcel from here");
        assert_eq!(origins(&line(2, 0), &own, &there(&[]), &[]), []);
    }

    proptest! {
        #[test]
        fn together_the_regions_send_what_is_left(
            own in 0..5_u64, ap in 0..5_u64, us in 0..5_u64,
            from_own in 0..5_u64, from_ap in 0..5_u64, from_us in 0..5_u64,
        ) {
            let (ordered, sent) = (own + ap + us, from_own + from_ap + from_us);
            prop_assume!(ordered > 0 && sent <= ordered);
            let lines = line(ordered.cast_signed(), u32::try_from(sent).unwrap());
            let gone = packed(&[(None, from_own), (Some("ap"), from_ap), (Some("us"), from_us)]);
            let origins = origins(&lines, &region("eu"), &there(&[("ap", ap), ("us", us)]), &gone);
            let left: u32 = told(&origins).iter().map(|(_, _, left)| left).sum();
            prop_assert_eq!(u64::from(left), ordered - sent);
        }
    }
}
