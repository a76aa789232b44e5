//! What a writer remembers of its shard between batches.

use std::collections::HashMap;

use shared::Sku;

/// SKUs remembered at most; past this, all is forgotten and read anew.
const CAPACITY: usize = 200_000;

/// Free units by SKU, as of this writer's last commit. Others may have changed them since: good enough to decide on what the
/// database then re-checks, never to refuse.
#[derive(Debug, Default)]
pub struct Memory(HashMap<Sku, u64>);

impl Memory {
    /// Free units, if remembered.
    #[must_use]
    pub fn free(&self, sku: &Sku) -> Option<u64> {
        self.0.get(sku).copied()
    }

    /// Notes what was read of a SKU.
    pub fn note(&mut self, sku: &Sku, free: u64) {
        if let Some(known) = self.0.get_mut(sku) {
            *known = free;
            return;
        }
        if self.0.len() >= CAPACITY {
            self.forget();
        }
        self.0.insert(sku.clone(), free);
    }

    /// Notes that units are no longer free.
    pub fn took(&mut self, sku: &Sku, units: u64) {
        if let Some(free) = self.0.get_mut(sku) {
            *free = free.saturating_sub(units);
        }
    }

    /// Forgets everything: what was remembered has proved wrong, or its fate is unknown.
    pub fn forget(&mut self) {
        self.0.clear();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_taken_is_no_longer_free_and_what_was_never_read_stays_unknown() {
        let (mug, cup): (Sku, Sku) = ("MUG".parse().unwrap(), "CUP".parse().unwrap());
        let mut memory = Memory::default();
        memory.note(&mug, 5);
        memory.took(&mug, 3);
        memory.took(&cup, 1);
        assert_eq!((memory.free(&mug), memory.free(&cup)), (Some(2), None));
        memory.took(&mug, 9);
        assert_eq!(memory.free(&mug), Some(0));
        memory.forget();
        assert_eq!(memory.free(&mug), None);
    }

    #[test]
    fn memory_is_bounded() {
        let mut memory = Memory::default();
        for number in 0..=CAPACITY {
            memory.note(&format!("S{number}").parse().unwrap(), 1);
        }
        assert!(memory.0.len() <= CAPACITY);
    }
}
