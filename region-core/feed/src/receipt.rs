//! How the units of a receipt are divided among shards.

use sha2::{Digest, Sha256};
use shared::Sku;

/// Divides `units` of a SKU over `shards` shards: evenly, the remainder one each to the shards that follow a hash of the
/// SKU, so that small receipts do not all land on the first shard. The parts add up to `units`; the same call gives the
/// same parts. Empty without shards.
#[must_use]
pub fn split(units: u64, shards: usize, sku: &Sku) -> Vec<u64> {
    let Ok(count) = u64::try_from(shards) else { return Vec::new() };
    if count == 0 {
        return Vec::new();
    }
    let digest = Sha256::digest(sku.as_str().as_bytes());
    let start = digest.iter().take(8).fold(0_u64, |word, byte| (word << 8) | u64::from(*byte)) % count;
    let extra = |index: u64| u64::from((index + count - start) % count < units % count);
    (0..count).map(|index| units / count + extra(index)).collect()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn remainders_of_different_skus_land_on_different_shards() {
        let first = |sku: &str| split(1, 4, &sku.parse().unwrap()).iter().position(|part| *part == 1).unwrap();
        let used: std::collections::BTreeSet<_> = (0..40).map(|number| first(&format!("SKU-{number}"))).collect();
        assert_eq!(used.len(), 4);
    }

    proptest! {
        #[test]
        fn parts_add_up_and_differ_by_at_most_one(units in 0..u64::MAX / 2, shards in 1..64_usize, sku in "[A-Z0-9]{1,12}") {
            let parts = split(units, shards, &sku.parse().unwrap());
            prop_assert_eq!(parts.len(), shards);
            prop_assert_eq!(parts.iter().sum::<u64>(), units);
            prop_assert!(parts.iter().max().unwrap() - parts.iter().min().unwrap() <= 1);
        }
    }
}
