//! What of an order can come back, and what becomes of it. No I/O.

use std::collections::BTreeMap;

use shared::{Quantity, Sku};

/// A line of an order, as far as what has left of it goes.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Gone {
    /// Units that have left.
    pub sent: u32,
    /// Units of them that have come back.
    pub returned: u32,
}

impl Gone {
    /// Units that are with the shopper.
    #[must_use]
    pub const fn out(self) -> u32 {
        self.sent.saturating_sub(self.returned)
    }
}

/// What somebody found who looked at units that came back.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Looked {
    /// Units that are for sale again.
    pub restocked: u32,
    /// Units that are not.
    pub written_off: u32,
}

/// Why a return cannot be so.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum ReturnError {
    /// More would come back than is with the shopper.
    #[error("{out} of {sku} can come back, not {wanted}")]
    TooMany {
        /// Of what.
        sku: Sku,
        /// Units that are to come back.
        wanted: u32,
        /// Units that have left and have not come back.
        out: u32,
    },
    /// More would be for sale again than came back.
    #[error("{came} of {sku} came back, not {wanted}")]
    MoreThanCame {
        /// Of what.
        sku: Sku,
        /// Units that are to be for sale again.
        wanted: u32,
        /// Units that came back.
        came: u32,
    },
    /// It was decided otherwise before.
    #[error("somebody has looked at this return and decided otherwise")]
    Decided,
}

/// Whether these units can come back.
///
/// # Errors
/// [`ReturnError::TooMany`].
pub fn take_back(gone: &BTreeMap<Sku, Gone>, asked: &BTreeMap<Sku, Quantity>) -> Result<(), ReturnError> {
    let too_many = asked.iter().find_map(|(sku, quantity)| {
        let (out, wanted) = (gone.get(sku).copied().unwrap_or_default().out(), quantity.units());
        (wanted > out).then(|| ReturnError::TooMany { sku: sku.clone(), wanted, out })
    });
    too_many.map_or(Ok(()), Err)
}

/// What becomes of units that came back, if these of them are for sale again: the rest is written off.
///
/// # Errors
/// [`ReturnError::MoreThanCame`].
pub fn look_at(
    came: &BTreeMap<Sku, Quantity>,
    restock: &BTreeMap<Sku, Quantity>,
) -> Result<BTreeMap<Sku, Looked>, ReturnError> {
    let units = |of: &BTreeMap<Sku, Quantity>, sku: &Sku| of.get(sku).map_or(0, |quantity| quantity.units());
    if let Some(sku) = restock.keys().find(|sku| units(restock, sku) > units(came, sku)) {
        let (wanted, came) = (units(restock, sku), units(came, sku));
        return Err(ReturnError::MoreThanCame { sku: sku.clone(), wanted, came });
    }
    let looked = |(sku, quantity): (&Sku, &Quantity)| {
        let restocked = units(restock, sku);
        (sku.clone(), Looked { restocked, written_off: quantity.units() - restocked })
    };
    Ok(came.iter().map(looked).collect())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn sku(text: &str) -> Sku {
        text.parse().unwrap()
    }

    fn units(name: &str, units: u32) -> BTreeMap<Sku, Quantity> {
        [(sku(name), Quantity::new(i64::from(units)).unwrap())].into()
    }

    #[test]
    fn only_what_is_with_the_shopper_comes_back() {
        let gone: BTreeMap<_, _> = [(sku("MUG"), Gone { sent: 3, returned: 1 })].into();
        assert_eq!(take_back(&gone, &units("MUG", 2)), Ok(()));
        assert_eq!(
            take_back(&gone, &units("MUG", 3)),
            Err(ReturnError::TooMany { sku: sku("MUG"), wanted: 3, out: 2 })
        );
        assert_eq!(
            take_back(&gone, &units("CUP", 1)),
            Err(ReturnError::TooMany { sku: sku("CUP"), wanted: 1, out: 0 })
        );
    }

    #[test]
    fn what_is_not_for_sale_again_is_written_off() {
        let looked = |restocked, written_off| Ok([(sku("MUG"), Looked { restocked, written_off })].into());
        assert_eq!(look_at(&units("MUG", 3), &units("MUG", 2)), looked(2, 1));
        assert_eq!(look_at(&units("MUG", 3), &BTreeMap::new()), looked(0, 3));
        for (restock, wanted, came) in [(units("MUG", 4), 4, 3), (units("CUP", 1), 1, 0)] {
            let sku = restock.keys().next().unwrap().clone();
            let refused = Err(ReturnError::MoreThanCame { sku, wanted, came });
            assert_eq!(look_at(&units("MUG", 3), &restock), refused);
        }
    }

    proptest! {
        #[test]
        fn returns_never_hold_more_than_was_sent_and_lose_no_unit(
            sent in 0_u32..20, asked in prop::collection::vec((1_u32..6, 0_u32..6), 0..12),
        ) {
            let mut gone: BTreeMap<_, _> = [(sku("MUG"), Gone { sent, returned: 0 })].into();
            for (count, again) in asked {
                let came = units("MUG", count);
                if take_back(&gone, &came).is_ok() {
                    gone.get_mut(&sku("MUG")).unwrap().returned += count;
                }
                let restock = if again == 0 { BTreeMap::new() } else { units("MUG", again) };
                match look_at(&came, &restock) {
                    Ok(looked) => prop_assert!(looked.values().all(|line| line.restocked + line.written_off == count)),
                    Err(_) => prop_assert!(again > count),
                }
            }
            prop_assert!(gone.values().all(|line| line.returned <= line.sent));
        }
    }
}
