//! Counts of stock, added up over where they were read, and in the order in which they changed.

use std::collections::{BTreeMap, HashMap};

use shared::Sku;
use shared::api::stock::{StockChanges, StockCount, StockCursor};

/// Units of each SKU from a fixed number of sources (shards, or regions), and their sums. Each SKU stands in the order of
/// changes once, where its sum last changed: so the order is as long as the list of SKUs, and a reader who comes from
/// anywhere in it misses nothing.
#[derive(Debug)]
pub(crate) struct Board {
    id: u64,
    sources: usize,
    version: u64,
    entries: HashMap<Sku, Entry>,
    order: BTreeMap<u64, Sku>,
}

#[derive(Debug)]
struct Entry {
    units: Box<[u64]>,
    sum: u64,
    version: u64,
}

impl Board {
    /// An empty board. Its `id` tells readers whose order of changes this is.
    pub(crate) fn new(id: u64, sources: usize) -> Self {
        Self { id, sources, version: 0, entries: HashMap::new(), order: BTreeMap::new() }
    }

    /// Notes what a source has of a SKU. Gives the sum if that is another one now, or the first.
    pub(crate) fn set(&mut self, source: usize, sku: &Sku, units: u64) -> Option<u64> {
        let Some(entry) = self.entries.get_mut(sku) else {
            let mut all = vec![0; self.sources].into_boxed_slice();
            all[source] = units;
            self.version += 1;
            self.order.insert(self.version, sku.clone());
            self.entries.insert(sku.clone(), Entry { units: all, sum: units, version: self.version });
            return Some(units);
        };
        entry.units[source] = units;
        let sum = entry.units.iter().fold(0_u64, |sum, units| sum.saturating_add(*units));
        if sum == entry.sum {
            return None;
        }
        self.version += 1;
        // The very key, taken from its old place to the new one.
        let name = self.order.remove(&entry.version).unwrap_or_else(|| sku.clone());
        self.order.insert(self.version, name);
        (entry.sum, entry.version) = (sum, self.version);
        Some(sum)
    }

    /// All units of a SKU, if anybody has said anything of it.
    pub(crate) fn sum(&self, sku: &Sku) -> Option<u64> {
        self.entries.get(sku).map(|entry| entry.sum)
    }

    /// The units of a SKU that other sources than this one have.
    pub(crate) fn elsewhere(&self, source: usize, sku: &Sku) -> u64 {
        self.entries.get(sku).map_or(0, |entry| entry.sum.saturating_sub(entry.units[source]))
    }

    /// What changed after those of the cursors that is this board's, from the start if none is; `limit` SKUs at most.
    pub(crate) fn since(&self, cursors: &[StockCursor], limit: usize) -> StockChanges {
        let own = cursors.iter().find(|cursor| cursor.board == self.id);
        // One from the future is not ours, whatever it says.
        let read = own.map_or(0, |cursor| cursor.version).min(self.version);
        let mut later = self.order.range(read + 1..);
        let taken: Vec<_> = later.by_ref().take(limit).collect();
        let more = later.next().is_some();
        let reached = if more { taken.last().map_or(read, |(version, _)| **version) } else { self.version };
        let count = |sku: &Sku| StockCount { sku: sku.clone(), units: self.sum(sku).unwrap_or(0) };
        StockChanges {
            items: taken.into_iter().map(|(_, sku)| count(sku)).collect(),
            next: StockCursor { board: self.id, version: reached },
            more,
        }
    }

    /// Every SKU.
    pub(crate) fn skus(&self) -> impl Iterator<Item = &Sku> {
        self.entries.keys()
    }

    /// How many SKUs there are.
    pub(crate) fn len(&self) -> usize {
        self.entries.len()
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn sku(name: &str) -> Sku {
        name.parse().unwrap()
    }

    fn told(changes: &StockChanges) -> Vec<(&str, u64)> {
        changes.items.iter().map(|count| (count.sku.as_str(), count.units)).collect()
    }

    #[test]
    fn sources_add_up_and_an_unchanged_sum_is_no_news() {
        let mut board = Board::new(1, 2);
        assert_eq!(board.set(0, &sku("MUG"), 3), Some(3));
        assert_eq!(board.set(1, &sku("MUG"), 4), Some(7));
        assert_eq!(board.set(1, &sku("MUG"), 4), None);
        assert_eq!(board.set(0, &sku("CUP"), 0), Some(0), "none is news where nothing was known");
        assert_eq!((board.sum(&sku("MUG")), board.sum(&sku("JAR"))), (Some(7), None));
        assert_eq!((board.elsewhere(0, &sku("MUG")), board.elsewhere(0, &sku("JAR"))), (4, 0));
    }

    #[test]
    fn a_reader_is_told_each_sku_once_with_its_newest_count() {
        let mut board = Board::new(1, 1);
        for (name, units) in [("A", 1), ("B", 1), ("A", 2), ("C", 1)] {
            board.set(0, &sku(name), units);
        }
        let all = board.since(&[], 10);
        assert_eq!(told(&all), [("B", 1), ("A", 2), ("C", 1)]);
        assert!(!all.more);
        board.set(0, &sku("B"), 0);
        let foreign = StockCursor { board: 2, version: 4 };
        let news = board.since(&[foreign, all.next], 10);
        assert_eq!(told(&news), [("B", 0)]);
        assert_eq!(told(&board.since(&[news.next], 10)), []);
        assert_eq!(board.since(&[foreign], 10).items.len(), 3, "another core's cursor says nothing here");
        let beyond = StockCursor { version: 99, ..all.next };
        assert_eq!(board.since(&[beyond], 10).next, news.next);
    }

    #[test]
    fn a_long_list_comes_in_pieces() {
        let mut board = Board::new(1, 1);
        for number in 0..7 {
            board.set(0, &sku(&format!("S{number}")), number);
        }
        let (mut cursors, mut pieces) = (Vec::new(), Vec::new());
        loop {
            let piece = board.since(&cursors, 3);
            pieces.push(piece.items.len());
            cursors = vec![piece.next];
            if !piece.more {
                break;
            }
        }
        assert_eq!(pieces, [3, 3, 1]);
    }

    proptest! {
        /// However changes and readings of any length alternate, the reader ends with the board's counts.
        #[test]
        fn a_reader_who_comes_now_and_then_ends_with_the_same_counts(
            steps in prop::collection::vec((0..2_usize, 0..6_u8, 0..4_u64, prop::option::of(1..4_usize)), 1..60)
        ) {
            let mut board = Board::new(9, 2);
            let (mut copy, mut cursors) = (HashMap::new(), Vec::new());
            let mut read = |board: &Board, limit: usize| {
                let news = board.since(&cursors, limit);
                copy.extend(news.items.iter().map(|count| (count.sku.clone(), count.units)));
                cursors = vec![news.next];
                news.more
            };
            for (source, name, units, reads) in steps {
                board.set(source, &sku(&format!("S{name}")), units);
                reads.map(|limit| read(&board, limit));
            }
            while read(&board, 2) {}
            prop_assert_eq!(copy.len(), board.len());
            for name in board.skus() {
                prop_assert_eq!(copy.get(name).copied(), board.sum(name));
            }
        }
    }
}
