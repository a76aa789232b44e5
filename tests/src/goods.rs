//! A catalog made for tests: every test buys goods of its own, so that tests do not take each other's units.

use std::fmt::Write as _;
use std::path::Path;
use std::sync::atomic::{AtomicU32, Ordering};

use shared::Sku;

/// Goods with plenty of units.
const PLENTY: u32 = 200;
/// Goods of which every shard has one unit.
const LAST: u32 = 12;
/// Goods of which the whole store has [`FEW_UNITS`].
const FEW: u32 = 12;
/// Units that all shards together have of goods with few.
pub const FEW_UNITS: i64 = 20;
/// Units that every shard has of goods with plenty.
pub const PLENTY_PER_SHARD: i64 = 2_000;
/// Two of it cost more than any amount of money may be.
pub const DEAR: &str = "TEST-DEAR";
/// Where goods for tests are filed.
pub const CATEGORY: &str = "Test goods";

static NEXT_PLENTY: AtomicU32 = AtomicU32::new(0);
static NEXT_LAST: AtomicU32 = AtomicU32::new(0);
static NEXT_FEW: AtomicU32 = AtomicU32::new(0);

/// A SKU of which every shard has [`PLENTY_PER_SHARD`] units and that no other test was given.
///
/// # Panics
/// When all were given.
#[must_use]
pub fn plenty() -> Sku {
    next("TEST-PLENTY", &NEXT_PLENTY, PLENTY)
}

/// A SKU of which every shard has one unit and that no other test was given.
///
/// # Panics
/// When all were given.
#[must_use]
pub fn last() -> Sku {
    next("TEST-LAST", &NEXT_LAST, LAST)
}

/// A SKU of which the whole store has [`FEW_UNITS`], split over its shards, and that no other test was given.
///
/// # Panics
/// When all were given.
#[must_use]
pub fn few() -> Sku {
    next("TEST-FEW", &NEXT_FEW, FEW)
}

fn next(kind: &str, counter: &AtomicU32, most: u32) -> Sku {
    let number = counter.fetch_add(1, Ordering::Relaxed);
    assert!(number < most, "more tests than goods of {kind}");
    format!("{kind}-{number}").parse().unwrap()
}

/// Writes the catalog in Shopify's layout, for a store of so many shards.
///
/// # Panics
/// If the file cannot be written.
pub fn write(file: &Path, shards: usize) {
    let shards = i64::try_from(shards).unwrap();
    let mut text = "Handle,Title,Body (HTML),Vendor,Type,Tags,Published,Variant SKU,Variant Inventory Qty,Variant \
                    Price,Status\n"
        .to_owned();
    let mut row = |sku: &str, title: &str, units: i64, price: &str| {
        let handle = sku.to_lowercase();
        writeln!(text, "{handle},{title},Made for tests.,,{CATEGORY},,true,{sku},{units},{price},active").unwrap();
    };
    for number in 0..PLENTY {
        let price = format!("{}.{:02}", 1 + number % 40, number % 100);
        row(&format!("TEST-PLENTY-{number}"), &format!("Plentiful thing {number}"), PLENTY_PER_SHARD * shards, &price);
    }
    for number in 0..LAST {
        row(&format!("TEST-LAST-{number}"), &format!("Last thing {number}"), shards, "7.50");
    }
    for number in 0..FEW {
        row(&format!("TEST-FEW-{number}"), &format!("Scarce thing {number}"), FEW_UNITS, "9.50");
    }
    row(DEAR, "Dearest thing", 100 * shards, "50000000000000.00");
    std::fs::write(file, text).unwrap();
}
