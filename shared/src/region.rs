//! Regions, shards and the slot map: slot → shard → region, with an epoch.
//!
//! A copy of the map is a hint. The truth about a slot is the row in the shard that owns it, which every write checks in
//! its own transaction.

use std::collections::BTreeMap;
use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::id::{SLOTS, Slot};

/// A region's name: 1 to 32 of `a-z 0-9 -`, starting with a letter. It is a label in certificate names.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema), schema(value_type = String, example = "eu"))]
pub struct RegionName(String);

/// Not a region's name.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is not a region's name: 1 to 32 of a-z, 0-9 and '-', a letter first")]
pub struct NotARegion(String);

impl RegionName {
    /// The name.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for RegionName {
    type Err = NotARegion;

    fn from_str(text: &str) -> Result<Self, NotARegion> {
        let known = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-';
        let fits = (1..=32).contains(&text.len()) && text.bytes().all(known) && text.as_bytes()[0].is_ascii_lowercase();
        if fits { Ok(Self(text.to_owned())) } else { Err(NotARegion(text.chars().take(40).collect())) }
    }
}

impl TryFrom<String> for RegionName {
    type Error = NotARegion;

    fn try_from(text: String) -> Result<Self, NotARegion> {
        text.parse()
    }
}

impl From<RegionName> for String {
    fn from(name: RegionName) -> Self {
        name.0
    }
}

impl fmt::Display for RegionName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// A shard's number: one Postgres server that owns some slots. 1 to 32767, so that it fits a `smallint`.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Serialize, Deserialize)]
#[serde(try_from = "i16", into = "i16")]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema), schema(value_type = i16, example = 1))]
pub struct ShardId(i16);

/// Not 1 to 32767.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0} is not a shard's number: 1 to 32767")]
pub struct NotAShard(i16);

impl ShardId {
    /// The number, as databases keep it.
    #[must_use]
    pub const fn number(self) -> i16 {
        self.0
    }
}

impl TryFrom<i16> for ShardId {
    type Error = NotAShard;

    fn try_from(number: i16) -> Result<Self, NotAShard> {
        if number > 0 { Ok(Self(number)) } else { Err(NotAShard(number)) }
    }
}

impl From<ShardId> for i16 {
    fn from(shard: ShardId) -> Self {
        shard.0
    }
}

impl fmt::Display for ShardId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// Who owns which slot, at an epoch.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(try_from = "SlotMapDocument", into = "SlotMapDocument")]
pub struct SlotMap {
    epoch: u64,
    shards: BTreeMap<ShardId, RegionName>,
    /// One entry a slot.
    owners: Vec<ShardId>,
}

/// The map on the wire: runs of neighbouring slots.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct SlotMapDocument {
    /// Rises with every change.
    pub epoch: u64,
    /// Every shard and its region.
    pub shards: Vec<ShardPlace>,
    /// Runs of slots, in order, without gap or overlap.
    pub runs: Vec<SlotRun>,
}

/// A shard and the region it stands in.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct ShardPlace {
    /// The shard.
    pub shard: ShardId,
    /// Its region.
    pub region: RegionName,
}

/// Neighbouring slots of one shard, both ends included.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct SlotRun {
    /// First slot.
    pub first: Slot,
    /// Last slot.
    pub last: Slot,
    /// Their owner.
    pub shard: ShardId,
}

/// Why a slot map is not one.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SlotMapError {
    /// A slot has no owner.
    #[error("slot {0} has no owner")]
    Unowned(u16),
    /// Runs overlap or are out of order.
    #[error("slot {0} is named twice or out of order")]
    Overlap(u16),
    /// An owner is not among the shards.
    #[error("shard {0} owns slots but stands in no region")]
    Homeless(ShardId),
    /// There are no shards to divide slots among.
    #[error("a slot map needs at least one shard")]
    NoShards,
}

impl SlotMap {
    /// A map with an owner for each slot, in slot order.
    ///
    /// # Errors
    /// When a slot lacks an owner or an owner lacks a region.
    pub fn new(epoch: u64, shards: BTreeMap<ShardId, RegionName>, owners: Vec<ShardId>) -> Result<Self, SlotMapError> {
        if let Some(homeless) = owners.iter().find(|owner| !shards.contains_key(owner)) {
            return Err(SlotMapError::Homeless(*homeless));
        }
        match u16::try_from(owners.len()) {
            Ok(SLOTS) => Ok(Self { epoch, shards, owners }),
            Ok(short) if short < SLOTS => Err(SlotMapError::Unowned(short)),
            _ => Err(SlotMapError::Overlap(SLOTS - 1)),
        }
    }

    /// The first map of a new store: slots divided evenly, in runs.
    ///
    /// # Errors
    /// [`SlotMapError::NoShards`] without shards.
    pub fn even(epoch: u64, shards: BTreeMap<ShardId, RegionName>) -> Result<Self, SlotMapError> {
        let ids: Vec<_> = shards.keys().copied().collect();
        if ids.is_empty() {
            return Err(SlotMapError::NoShards);
        }
        let owners = (0..usize::from(SLOTS)).map(|slot| ids[slot * ids.len() / usize::from(SLOTS)]).collect();
        Self::new(epoch, shards, owners)
    }

    /// Rises with every change of the map.
    #[must_use]
    pub fn epoch(&self) -> u64 {
        self.epoch
    }

    /// The shard that owns `slot`.
    #[must_use]
    pub fn shard_of(&self, slot: Slot) -> ShardId {
        self.owners[usize::from(slot.number())]
    }

    /// The region of the shard that owns `slot`.
    #[must_use]
    pub fn region_of(&self, slot: Slot) -> &RegionName {
        &self.shards[&self.shard_of(slot)]
    }

    /// The region a shard stands in.
    #[must_use]
    pub fn region_of_shard(&self, shard: ShardId) -> Option<&RegionName> {
        self.shards.get(&shard)
    }

    /// Every shard and its region, by number.
    pub fn shards(&self) -> impl Iterator<Item = (ShardId, &RegionName)> {
        self.shards.iter().map(|(shard, region)| (*shard, region))
    }

    /// The slots of a shard, in order.
    pub fn slots_of(&self, shard: ShardId) -> impl Iterator<Item = Slot> {
        Slot::all().filter(move |slot| self.shard_of(*slot) == shard)
    }

    /// The slots of a region, in order.
    pub fn slots_in(&self, region: &RegionName) -> impl Iterator<Item = Slot> {
        Slot::all().filter(move |slot| self.region_of(*slot) == region)
    }
}

impl TryFrom<SlotMapDocument> for SlotMap {
    type Error = SlotMapError;

    fn try_from(document: SlotMapDocument) -> Result<Self, SlotMapError> {
        let mut owners = Vec::with_capacity(usize::from(SLOTS));
        for run in &document.runs {
            let next = u16::try_from(owners.len()).unwrap_or(SLOTS);
            if run.first.number() > next {
                return Err(SlotMapError::Unowned(next));
            }
            if run.first.number() < next || run.last < run.first {
                return Err(SlotMapError::Overlap(run.first.number()));
            }
            owners.extend((run.first.number()..=run.last.number()).map(|_| run.shard));
        }
        let shards = document.shards.into_iter().map(|place| (place.shard, place.region)).collect();
        Self::new(document.epoch, shards, owners)
    }
}

impl From<SlotMap> for SlotMapDocument {
    fn from(map: SlotMap) -> Self {
        let mut runs: Vec<SlotRun> = Vec::new();
        for (slot, shard) in Slot::all().zip(map.owners) {
            match runs.last_mut() {
                Some(run) if run.shard == shard => run.last = slot,
                _ => runs.push(SlotRun { first: slot, last: slot, shard }),
            }
        }
        let shards = map.shards.into_iter().map(|(shard, region)| ShardPlace { shard, region }).collect();
        Self { epoch: map.epoch, shards, runs }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn shards(count: i16) -> BTreeMap<ShardId, RegionName> {
        let region = |number: i16| if number % 2 == 0 { "us" } else { "eu" }.parse().unwrap();
        (1..=count).map(|number| (ShardId(number), region(number))).collect()
    }

    #[test]
    fn a_new_store_divides_its_slots_evenly() {
        let map = SlotMap::even(1, shards(4)).unwrap();
        for (shard, _) in map.shards() {
            assert_eq!(map.slots_of(shard).count(), 1024);
        }
        assert_eq!(map.slots_in(&"eu".parse().unwrap()).count(), 2048);
        assert_eq!(SlotMap::even(1, BTreeMap::new()), Err(SlotMapError::NoShards));
    }

    #[test]
    fn a_gap_an_overlap_or_a_stranger_is_refused() {
        let good: SlotMapDocument = SlotMap::even(1, shards(2)).unwrap().into();
        let mut gap = good.clone();
        gap.runs[1].first = Slot::new(2050).unwrap();
        assert_eq!(SlotMap::try_from(gap), Err(SlotMapError::Unowned(2048)));
        let mut overlap = good.clone();
        overlap.runs[1].first = Slot::new(2000).unwrap();
        assert_eq!(SlotMap::try_from(overlap), Err(SlotMapError::Overlap(2000)));
        let mut short = good.clone();
        short.runs.pop();
        assert_eq!(SlotMap::try_from(short), Err(SlotMapError::Unowned(2048)));
        let mut stranger = good;
        stranger.runs[0].shard = ShardId(9);
        assert_eq!(SlotMap::try_from(stranger), Err(SlotMapError::Homeless(ShardId(9))));
    }

    proptest! {
        #[test]
        fn a_map_survives_the_wire(count in 1_i16..9, picks in prop::collection::vec(any::<u16>(), usize::from(SLOTS)), epoch: u32) {
            let count_u16 = u16::try_from(count).unwrap();
            let owners = picks.iter().map(|pick| ShardId(i16::try_from(pick % count_u16).unwrap() + 1)).collect();
            let map = SlotMap::new(u64::from(epoch), shards(count), owners).unwrap();
            let json = serde_json::to_string(&map).unwrap();
            prop_assert_eq!(serde_json::from_str::<SlotMap>(&json).unwrap(), map);
        }
    }
}
