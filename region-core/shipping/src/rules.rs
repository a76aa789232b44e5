//! What a parcel may hold. No I/O.

pub mod label;
pub mod returns;

use std::collections::BTreeMap;

use shared::{Quantity, Sku};

/// A line of an order, as far as sending it goes.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Line {
    /// Units that were ordered.
    pub ordered: Quantity,
    /// Units of them that have left, or are under a label that was bought for them.
    pub sent: u32,
}

impl Line {
    /// Units that have not left.
    #[must_use]
    pub const fn left(self) -> u32 {
        self.ordered.units().saturating_sub(self.sent)
    }
}

/// Why a parcel cannot be made.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum ParcelError {
    /// The order has no such line.
    #[error("{0} is not in this order")]
    NotOrdered(Sku),
    /// Fewer units are left than the parcel is to hold.
    #[error("{left} of {sku} are left to send, not {wanted}")]
    TooMany {
        /// Of what.
        sku: Sku,
        /// Units asked for.
        wanted: u32,
        /// Units that have not left.
        left: u32,
    },
    /// Everything has left.
    #[error("everything has been sent")]
    NothingLeft,
}

/// What a parcel holds: the units asked for, or whatever has not left if nothing is named.
///
/// # Errors
/// [`ParcelError`].
pub fn pack(
    lines: &BTreeMap<Sku, Line>,
    asked: Option<&BTreeMap<Sku, Quantity>>,
) -> Result<BTreeMap<Sku, Quantity>, ParcelError> {
    let parcel = match asked {
        Some(asked) => asked
            .iter()
            .map(|(sku, quantity)| fits(lines, sku, *quantity).map(|()| (sku.clone(), *quantity)))
            .collect::<Result<_, _>>()?,
        None => rest(lines),
    };
    if parcel.is_empty() { Err(ParcelError::NothingLeft) } else { Ok(parcel) }
}

fn fits(lines: &BTreeMap<Sku, Line>, sku: &Sku, wanted: Quantity) -> Result<(), ParcelError> {
    let line = lines.get(sku).ok_or_else(|| ParcelError::NotOrdered(sku.clone()))?;
    if wanted.units() > line.left() {
        return Err(ParcelError::TooMany { sku: sku.clone(), wanted: wanted.units(), left: line.left() });
    }
    Ok(())
}

fn rest(lines: &BTreeMap<Sku, Line>) -> BTreeMap<Sku, Quantity> {
    let left = |line: &Line| Quantity::new(i64::from(line.left())).ok();
    lines.iter().filter_map(|(sku, line)| Some((sku.clone(), left(line)?))).collect()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn sku(text: &str) -> Sku {
        text.parse().unwrap()
    }

    fn units(units: u32) -> Quantity {
        Quantity::new(i64::from(units)).unwrap()
    }

    fn order() -> BTreeMap<Sku, Line> {
        [
            (sku("MUG"), Line { ordered: units(3), sent: 1 }),
            (sku("CUP"), Line { ordered: units(1), sent: 1 }),
            (sku("CAP"), Line { ordered: units(2), sent: 0 }),
        ]
        .into()
    }

    #[test]
    fn a_parcel_without_a_list_holds_whatever_is_left() {
        assert_eq!(pack(&order(), None), Ok([(sku("CAP"), units(2)), (sku("MUG"), units(2))].into()));
    }

    #[test]
    fn a_parcel_holds_what_was_ordered_and_has_not_left() {
        let asked = |name: &str, count| [(sku(name), units(count))].into();
        assert_eq!(pack(&order(), Some(&asked("MUG", 2))), Ok(asked("MUG", 2)));
        let too_many = ParcelError::TooMany { sku: sku("MUG"), wanted: 3, left: 2 };
        assert_eq!(pack(&order(), Some(&asked("MUG", 3))), Err(too_many));
        assert_eq!(pack(&order(), Some(&asked("HAT", 1))), Err(ParcelError::NotOrdered(sku("HAT"))));
        assert_eq!(pack(&order(), Some(&BTreeMap::new())), Err(ParcelError::NothingLeft));
    }

    #[test]
    fn nothing_is_sent_of_an_order_that_has_left() {
        let gone: BTreeMap<_, _> = [(sku("MUG"), Line { ordered: units(3), sent: 3 })].into();
        assert_eq!(pack(&gone, None), Err(ParcelError::NothingLeft));
    }

    proptest! {
        #[test]
        fn parcels_never_hold_more_than_was_ordered(
            ordered in prop::collection::vec(1_u32..5, 1..4),
            asked in prop::collection::vec((0_usize..5, 1_u32..5), 0..12),
        ) {
            let name = |place: usize| sku(&format!("SKU-{place}"));
            let mut lines: BTreeMap<Sku, Line> = ordered.iter().enumerate()
                .map(|(place, count)| (name(place), Line { ordered: units(*count), sent: 0 })).collect();
            for (place, count) in asked {
                if let Ok(parcel) = pack(&lines, Some(&[(name(place), units(count))].into())) {
                    for (sku, packed) in parcel {
                        lines.get_mut(&sku).unwrap().sent += packed.units();
                    }
                }
            }
            prop_assert!(lines.values().all(|line| line.sent <= line.ordered.units()));
            let rest = pack(&lines, None).unwrap_or_default();
            for (sku, line) in lines {
                prop_assert_eq!(line.sent + rest.get(&sku).map_or(0, |packed| packed.units()), line.ordered.units());
            }
        }
    }
}
