//! Where units lie. What a shard has are rights to sell, and borrowing moves those alone: the goods stay where they were delivered
//! until a parcel leaves. So each shard writes down, by SKU, how many of its units lie in which other region ([`Elsewhere`]); all
//! others lie in its own. A transfer says where its units lie ([`rules::Lying::lend`]), so that this stays exact however often they
//! are lent on, and a loss says which units were lost.
//!
//! Once an order is paid, its units are assigned to regions ([`assign`]): those of its own region as long as there are any, then from
//! as few others as can be. Nobody counts that on the way of a checkout: what is unsold is known, and of what is sold as much lies
//! elsewhere as does not fit into what is unsold. An order that is called off gives back what it was assigned, and a transfer that is
//! taken back lies where it lay: triggers see to both, for a core of before this, beside others during an upgrade, would not.
//!
//! All counts are gross, as `allotments.sold` is: what has left stays assigned, and what comes back counts as delivered where its
//! return is booked.
//!
//! Deliberately absent: rows for what lies in the shard's own region, hence any row in a store of one region; and what lies on which
//! shelf of a region, which is its warehouse's own affair.

pub mod rules;
mod store;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;

use shared::{RegionName, ShardId, SlotMap};

pub use store::{assign, concerned, planned};
pub(crate) use store::{lose, unassigned};

/// Units that lie in other regions than the one that is spoken of, by region.
pub type Elsewhere = BTreeMap<RegionName, u64>;

/// The regions that a transfer goes between.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Way {
    /// The donor's.
    pub from: RegionName,
    /// The borrower's.
    pub to: RegionName,
}

impl Way {
    /// Between two shards; `None` where all shards stand in one region, and all units lie there.
    #[must_use]
    pub fn between(map: &SlotMap, donor: ShardId, borrower: ShardId) -> Option<Self> {
        let (from, to) = (map.region_of_shard(donor)?, map.region_of_shard(borrower)?);
        let several = map.shards().any(|(_, region)| region != from);
        several.then(|| Self { from: from.clone(), to: to.clone() })
    }

    /// Where units lie that came this way, as their borrower sees it: those of its own region are left out.
    #[must_use]
    pub fn lying(&self, units: u64, elsewhere: &Elsewhere) -> Elsewhere {
        let mut lying = elsewhere.clone();
        let rest = units.saturating_sub(elsewhere.values().sum());
        *lying.entry(self.from.clone()).or_default() += rest;
        lying.retain(|region, units| *region != self.to && *units > 0);
        lying
    }
}
