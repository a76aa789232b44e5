//! The ledger: the only way in and out of the store's stock. An entry has a reference, and a repeat of it changes nothing.
//!
//! What came from a supplier (supply) or from a shopper (return) becomes free; what was lost or broken (shrink) leaves what is
//! free, and never more than that. An entry is booked in one shard; a SKU's home shard if none is named, so that a repeat
//! finds it there. From there the units go to where they sell.

mod routes;
mod store;
#[cfg(test)]
mod tests;

use std::cmp::Reverse;
use std::collections::BTreeSet;

use region_core_store::{HasStoreError, Shards, StoreError};
use region_core_web::Peers;
use serde::{Deserialize, Serialize};
use shared::{Problem, ProblemKind, ShardId, Sku, SlotMap};
use time::OffsetDateTime;
use utoipa::ToSchema;

use crate::transfer::desk::ChangedFn;
pub use routes::Api;
pub use store::{book, take_back};

/// Why units came or went.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum EntryKind {
    /// From a supplier.
    Supply,
    /// Back from a shopper.
    Return,
    /// Lost, broken or stolen.
    Shrink,
}

/// Names the cause of an entry: 1 to 200 characters, none of them a control character.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize, ToSchema)]
#[serde(try_from = "String", into = "String")]
#[schema(value_type = String, example = "delivery note 17")]
pub struct Reference(String);

/// Not 1 to 200 characters without control characters.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
#[error("a reference is 1 to 200 characters, none of them a control character")]
pub struct NotAReference;

impl TryFrom<String> for Reference {
    type Error = NotAReference;

    fn try_from(text: String) -> Result<Self, NotAReference> {
        let fits = (1..=200).contains(&text.chars().count()) && !text.chars().any(char::is_control);
        if fits { Ok(Self(text)) } else { Err(NotAReference) }
    }
}

impl From<Reference> for String {
    fn from(reference: Reference) -> Self {
        reference.0
    }
}

/// Units of one entry: 1 to a thousand million.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize, ToSchema)]
#[serde(try_from = "i64", into = "i64")]
#[schema(value_type = i64, example = 24)]
pub struct EntryUnits(i64);

/// Not 1 to 1,000,000,000.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
#[error("{0} is not a number of units: 1 to 1,000,000,000")]
pub struct NotUnits(i64);

impl TryFrom<i64> for EntryUnits {
    type Error = NotUnits;

    fn try_from(units: i64) -> Result<Self, NotUnits> {
        if (1..=1_000_000_000).contains(&units) { Ok(Self(units)) } else { Err(NotUnits(units)) }
    }
}

impl From<EntryUnits> for i64 {
    fn from(units: EntryUnits) -> Self {
        units.0
    }
}

/// Units that come into the store or leave it otherwise than by an order: `POST /v1/stock/entries`.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct StockEntry {
    /// Names the cause within its shard: sent again, the same entry changes nothing.
    #[serde(rename = "ref")]
    pub reference: Reference,
    /// Of what.
    pub sku: Sku,
    /// Why.
    pub kind: EntryKind,
    /// How many, for every kind.
    pub units: EntryUnits,
    /// Where; at the SKU's home if not said.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub shard: Option<ShardId>,
}

/// An entry that stands in a ledger.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize, ToSchema)]
pub struct LedgerLine {
    /// Names the cause within its shard.
    #[serde(rename = "ref")]
    pub reference: Reference,
    /// Of what.
    pub sku: Sku,
    /// Why.
    pub kind: EntryKind,
    /// How many, for every kind.
    pub units: EntryUnits,
    /// Where.
    pub shard: ShardId,
    /// When, by the shard's clock.
    #[serde(with = "time::serde::rfc3339")]
    pub booked_at: OffsetDateTime,
}

/// Units of a SKU that a shopper sent back.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Back {
    /// Of what.
    pub sku: Sku,
    /// Units that are for sale again.
    pub free: u32,
    /// Units that are not.
    pub lost: u32,
}

/// Why an entry was not booked. Nothing was changed then.
#[derive(Debug, thiserror::Error)]
pub enum LedgerError {
    /// The reference belongs to another entry.
    #[error("{0:?} is the reference of another entry")]
    ReferenceTaken(String),
    /// More was lost than is free. Held and sold units are promised to shoppers.
    #[error("{sku}: {units} lost, {free} free in this shard")]
    NotFree {
        /// Of what.
        sku: Sku,
        /// How many were to be written off.
        units: u64,
        /// How many are free.
        free: u64,
    },
    /// No shard has this number.
    #[error("there is no shard {0}")]
    NoSuchShard(ShardId),
    /// The core of another region refused, or could not be reached.
    #[error("another region refused: {0}")]
    Refused(Problem),
    /// The shard failed.
    #[error(transparent)]
    Store(#[from] StoreError),
}

impl HasStoreError for LedgerError {
    fn store_error(&self) -> Option<&StoreError> {
        match self {
            Self::Store(error) => Some(error),
            Self::ReferenceTaken(_) | Self::NotFree { .. } | Self::NoSuchShard(_) | Self::Refused(_) => None,
        }
    }
}

impl From<LedgerError> for Problem {
    fn from(error: LedgerError) -> Self {
        match error {
            LedgerError::ReferenceTaken(_) => Self::new(ProblemKind::IdempotencyKeyReused).detail(error).field("ref"),
            LedgerError::NotFree { ref sku, units, free } => Self::new(ProblemKind::SoldOut)
                .detail(&error)
                .with("items", serde_json::json!([{"sku": sku, "wanted": units, "available": free}])),
            LedgerError::NoSuchShard(_) => Self::invalid("shard", error),
            LedgerError::Refused(problem) => problem,
            LedgerError::Store(error) => error.into(),
        }
    }
}

/// The shard where a SKU's units enter if no other is named: by its hash, spread over all shards of the map.
#[must_use]
pub fn home(map: &SlotMap, sku: &Sku) -> ShardId {
    // Rendezvous: a shard that is added takes over only what becomes its own.
    let weight = |shard: ShardId| fnv(sku.as_str().bytes().chain(shard.number().to_be_bytes()));
    let best = map.shards().map(|(shard, _)| shard).max_by_key(|shard| (weight(*shard), *shard));
    best.unwrap_or_else(|| map.shard_of(shared::Slot::from_low_bits(0)))
}

/// FNV-1a with the finisher of `SplitMix64`, so that ids that differ in their last bit alone are far apart.
fn fnv(bytes: impl Iterator<Item = u8>) -> u64 {
    let hash =
        bytes.fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3));
    let hash = (hash ^ (hash >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let hash = (hash ^ (hash >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    hash ^ (hash >> 31)
}

/// Books entries wherever their shard stands. Cheap to clone.
#[derive(Clone)]
pub struct Ledger {
    shards: Shards,
    peers: Peers,
    told: ChangedFn,
}

impl std::fmt::Debug for Ledger {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Ledger").field("region", self.shards.region()).finish_non_exhaustive()
    }
}

/// An entry that stands in a shard.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize, ToSchema)]
pub struct Booked {
    /// In which shard.
    pub shard: ShardId,
    /// Whether it is new; otherwise an earlier request had booked it.
    pub new: bool,
}

impl Ledger {
    /// Over this region's shards, and those of other regions through their cores. `told` hears of what changed: orders that
    /// wait for units are to be woken up as well.
    #[must_use]
    pub fn new(shards: Shards, peers: Peers, told: ChangedFn) -> Self {
        Self { shards, peers, told }
    }

    /// For merchants and operators.
    pub fn router(&self) -> axum::Router {
        routes::router(self.clone())
    }

    /// For cores alone.
    pub fn internal_router(&self) -> axum::Router {
        routes::internal_router(self.clone())
    }

    /// Books an entry in the shard it names, or in its SKU's home. A repeat changes nothing.
    ///
    /// # Errors
    /// [`LedgerError`].
    pub async fn enter(&self, entry: StockEntry) -> Result<Booked, LedgerError> {
        let map = self.shards.map();
        let id = entry.shard.unwrap_or_else(|| home(&map, &entry.sku));
        let region = map.region_of_shard(id).ok_or(LedgerError::NoSuchShard(id))?;
        if region == self.shards.region() {
            return self.enter_here(id, entry).await;
        }
        let entry = StockEntry { shard: Some(id), ..entry };
        self.peers.call(region, http::Method::POST, routes::INTERNAL, &entry).await.map_err(LedgerError::Refused)
    }

    async fn enter_here(&self, id: ShardId, entry: StockEntry) -> Result<Booked, LedgerError> {
        let shard = self.shards.all().find(|shard| shard.id() == id).ok_or(LedgerError::NoSuchShard(id))?;
        let sku = entry.sku.clone();
        let new = shard.turn().write("ledger.book", async move |conn| book(conn, &entry).await).await?;
        if new {
            (self.told)(id, std::slice::from_ref(&sku));
        }
        Ok(Booked { shard: id, new })
    }

    /// A SKU's entries in all shards of all regions, newest first: of each shard the last ones.
    ///
    /// # Errors
    /// When a shard or a region does not answer.
    pub async fn list(&self, sku: &Sku) -> Result<Vec<LedgerLine>, LedgerError> {
        let map = self.shards.map();
        let regions: BTreeSet<_> = map.shards().map(|(_, region)| region.clone()).collect();
        let mut lines = self.list_here(sku).await?;
        for region in regions.iter().filter(|region| *region != self.shards.region()) {
            let theirs: Result<Vec<LedgerLine>, _> =
                self.peers.call(region, http::Method::POST, routes::INTERNAL_LIST, sku).await;
            lines.extend(theirs.map_err(LedgerError::Refused)?);
        }
        lines.sort_by_key(|line: &LedgerLine| Reverse(line.booked_at));
        Ok(lines)
    }

    async fn list_here(&self, sku: &Sku) -> Result<Vec<LedgerLine>, LedgerError> {
        let mut lines = Vec::new();
        for shard in self.shards.all() {
            lines.extend(store::list(&mut *shard.read().await?, shard.id(), sku).await?);
        }
        Ok(lines)
    }
}
