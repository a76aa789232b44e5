//! What shards say to each other about units. Any message may come twice, late, out of order or never.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use shared::{ShardId, Sku};

use crate::origins::Elsewhere;

/// Most transfers that one GRANT asks for.
pub const MAX_ASKS: usize = 64;
/// Most transfers that one ACK or STATUS names.
pub const MAX_SEQS: usize = 256;
/// Most SKUs that one request for counts names.
pub const MAX_SKUS: usize = 512;
/// Most units that one transfer asks for.
pub const MAX_WANT: u64 = 1_000_000;

/// A transfer's number, given by its borrower: 1 and up.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Seq(pub i64);

/// Which primary of a shard is meant: rises at a promotion.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Default, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Term(pub i64);

/// How much a donor is asked to part with.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Mode {
    /// A fair share of what it does not need itself.
    Share,
    /// Near the end: everything up to what is wanted, its own waiting orders first.
    Exact,
    /// Nothing new: only what it gave already, if anything. What recovery asks for.
    Settle,
}

/// One transfer that is asked for.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Ask {
    /// Its number.
    pub seq: Seq,
    /// Of what.
    pub sku: Sku,
    /// Most units that are wanted.
    pub want: u64,
    /// How the donor is to decide.
    pub mode: Mode,
}

/// GRANT: a borrower asks a donor for units.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Grant {
    /// Who asks.
    pub borrower: ShardId,
    /// Who is asked.
    pub donor: ShardId,
    /// The donor's term, as the borrower knows it.
    pub term: Term,
    /// The borrower's low-water mark: everything below it is settled.
    pub low: Seq,
    /// At most [`MAX_ASKS`].
    pub asks: Vec<Ask>,
}

/// What a donor gave for one transfer; the same however often it is asked.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Given {
    /// Which.
    pub seq: Seq,
    /// How many; 0 is a refusal, or that it was settled long ago.
    pub units: u64,
    /// What the donor has left of the SKU, if it looked.
    pub left: Option<u64>,
    /// Of them, those that lie in other regions than the donor's.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub elsewhere: Elsewhere,
}

/// ACK: a borrower has credited these.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Ack {
    /// Who says so.
    pub borrower: ShardId,
    /// To whom.
    pub donor: ShardId,
    /// The donor's term, as the borrower knows it.
    pub term: Term,
    /// The borrower's low-water mark.
    pub low: Seq,
    /// At most [`MAX_SEQS`].
    pub seqs: Vec<Seq>,
}

/// An outgoing half that its donor has heard nothing of.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Sent {
    /// Which.
    pub seq: Seq,
    /// Of what.
    pub sku: Sku,
    /// How many.
    pub units: u64,
}

/// STATUS: a donor asks what became of these.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Status {
    /// Who is asked.
    pub borrower: ShardId,
    /// Who asks.
    pub donor: ShardId,
    /// The borrower's term, as the donor knows it.
    pub term: Term,
    /// At most [`MAX_SEQS`].
    pub sent: Vec<Sent>,
    /// Cancelled ones whose units the donor has taken back: the borrower may settle them. At most [`MAX_SEQS`].
    pub closed: Vec<Seq>,
}

/// Where a transfer stands at its borrower.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Standing {
    /// Credited.
    Done,
    /// Never to be credited; written before it was said.
    Cancelled,
    /// Both halves were closed before.
    Settled,
}

/// Answer to STATUS.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Standings {
    /// Each transfer asked about.
    pub standings: Vec<(Seq, Standing)>,
    /// The borrower's low-water mark.
    pub low: Seq,
}

/// An answer, or that the question went to a primary that is none any more.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Reply<T> {
    /// The answer.
    Answer(T),
    /// Nothing was done: ask again under this term.
    StaleTerm(Term),
}

/// Asks what shards of one region have of some SKUs.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CountsRequest {
    /// Which shards.
    pub shards: Vec<ShardId>,
    /// At most [`MAX_SKUS`].
    pub skus: Vec<Sku>,
}

/// What a shard has of a SKU, read at one instant.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Count {
    /// Of what.
    pub sku: Sku,
    /// Free units.
    pub free: u64,
    /// Whether units may be on their way here.
    pub arriving: bool,
    /// The last transfer of this SKU that this shard began, 0 if none is remembered: two equal readings have none between.
    pub begun: Seq,
}

/// A shard's counts.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct ShardCounts {
    /// Whose.
    pub shard: ShardId,
    /// Its term.
    pub term: Term,
    /// One for each SKU asked about.
    pub counts: Vec<Count>,
}
