//! Answers messages for the shards of this region.

use std::sync::Arc;
use std::time::Duration;

use region_core_store::{Shard, Shards, StoreError};
use shared::{Problem, ProblemKind, ShardId, Sku};
use sqlx::PgConnection;

use super::message::{
    Ack, Ask, CountsRequest, Given, Grant, MAX_ASKS, MAX_SEQS, MAX_SKUS, MAX_WANT, Reply, ShardCounts, Standings,
    Status, Term,
};
use super::{rules, store};
use crate::balance::demand::Demand;
use crate::borrow::lanes::Lanes;
use crate::origins::Way;

/// A shard that takes longer to count is left out, so that the others' counts are of use.
const SLOWEST_COUNT: Duration = Duration::from_millis(250);

/// Why a message was not answered.
#[derive(Debug, thiserror::Error)]
pub enum DeskError {
    /// The shard stands in another region.
    #[error("shard {0} does not stand in this region")]
    Elsewhere(ShardId),
    /// The message breaks a bound.
    #[error("{0}")]
    Invalid(&'static str),
    /// The shard failed.
    #[error(transparent)]
    Store(#[from] StoreError),
}

impl From<DeskError> for Problem {
    fn from(error: DeskError) -> Self {
        match error {
            DeskError::Elsewhere(shard) => Self::not_found().detail(&error).with("shard", shard.number()),
            DeskError::Invalid(bound) => Self::new(ProblemKind::Invalid).detail(bound),
            DeskError::Store(error) => error.into(),
        }
    }
}

/// Answers messages for the shards of this region. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Desk {
    shards: Shards,
    lanes: Lanes,
    demand: Demand,
    told: Changed,
}

/// Who is told that units of some SKUs came to a shard or left it.
pub type ChangedFn = Arc<dyn Fn(ShardId, &[Sku]) + Send + Sync>;

#[derive(Clone)]
struct Changed(ChangedFn);

impl std::fmt::Debug for Changed {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Changed")
    }
}

impl Desk {
    pub(crate) fn new(shards: Shards, lanes: Lanes, demand: Demand, told: ChangedFn) -> Self {
        Self { shards, lanes, demand, told: Changed(told) }
    }

    pub(crate) fn shards(&self) -> &Shards {
        &self.shards
    }

    pub(crate) fn shard(&self, id: ShardId) -> Result<&Shard, DeskError> {
        self.shards.all().find(|shard| shard.id() == id).ok_or(DeskError::Elsewhere(id))
    }

    /// GRANT, to a shard of this region.
    ///
    /// # Errors
    /// [`DeskError`]; what was decided is then unknown until it is asked again.
    pub async fn grant(&self, message: Grant) -> Result<Reply<Vec<Given>>, DeskError> {
        check(message.asks.len() <= MAX_ASKS, "at most 64 transfers at once")?;
        check(message.asks.iter().all(|ask| ask.want <= MAX_WANT && ask.seq.0 > 0), "no such transfer")?;
        check(message.borrower != message.donor && message.low.0 > 0, "no such borrower")?;
        let (shard, desk) = (self.shard(message.donor)?, self.clone());
        let skus: Vec<Sku> = message.asks.iter().map(|ask| ask.sku.clone()).collect();
        let way = Way::between(&self.shards.map(), message.donor, message.borrower);
        let granted = shard.turn().write("transfer.grant", async move |conn| {
            if let Some(stale) = stale(conn, message.term).await? {
                return Ok::<_, StoreError>(Reply::StaleTerm(stale));
            }
            let to = way.as_ref().map(|way| &way.to);
            Ok(Reply::Answer(store::grant(conn, &message, to, |ask, free| desk.decide(&message, ask, free)).await?))
        });
        let granted = granted.await?;
        self.moved(shard.id(), &skus);
        Ok(granted)
    }

    fn decide(&self, message: &Grant, ask: &Ask, free: u64) -> u64 {
        let Grant { borrower, donor, .. } = message;
        let waiting = self.lanes.waiting(*donor, &ask.sku, free);
        let reserve = self.demand.expected(*donor, &ask.sku, rules::LEAD_TIME);
        let given = rules::give(ask.mode, ask.want, free, waiting, reserve, borrower < donor);
        // A hint, and as good a one if the transaction is run again or rolled back.
        self.lanes.observe(*donor, &ask.sku, free - given);
        given
    }

    /// ACK, to a shard of this region.
    ///
    /// # Errors
    /// [`DeskError`].
    pub async fn ack(&self, message: Ack) -> Result<Reply<()>, DeskError> {
        check(message.seqs.len() <= MAX_SEQS && message.low.0 > 0, "at most 256 transfers at once")?;
        let acked = self.shard(message.donor)?.turn().write("transfer.ack", async move |conn| {
            if let Some(stale) = stale(conn, message.term).await? {
                return Ok::<_, StoreError>(Reply::StaleTerm(stale));
            }
            store::raise_low(conn, message.borrower, message.low).await?;
            store::acknowledge(conn, message.borrower, &message.seqs).await?;
            Ok(Reply::Answer(()))
        });
        Ok(acked.await?)
    }

    /// STATUS, to a shard of this region.
    ///
    /// # Errors
    /// [`DeskError`].
    pub async fn status(&self, message: Status) -> Result<Reply<Standings>, DeskError> {
        check(message.sent.len() <= MAX_SEQS && message.closed.len() <= MAX_SEQS, "at most 256 transfers at once")?;
        check(message.sent.iter().all(|sent| sent.seq.0 > 0), "no such transfer")?;
        let standings = self.shard(message.borrower)?.turn().write("transfer.status", async move |conn| {
            if let Some(stale) = stale(conn, message.term).await? {
                return Ok::<_, StoreError>(Reply::StaleTerm(stale));
            }
            Ok(Reply::Answer(store::status(conn, message.donor, &message.sent, &message.closed).await?))
        });
        Ok(standings.await?)
    }

    /// What shards of this region have. A shard that does not answer is left out.
    ///
    /// # Errors
    /// When too much is asked for.
    pub async fn counts(&self, request: CountsRequest) -> Result<Vec<ShardCounts>, DeskError> {
        check(request.skus.len() <= MAX_SKUS, "at most 512 SKUs at once")?;
        let asked = self.shards.all().filter(|shard| request.shards.contains(&shard.id()));
        let in_time = async |shard| tokio::time::timeout(SLOWEST_COUNT, counts(shard, &request.skus)).await;
        let all = futures::future::join_all(asked.map(in_time)).await;
        Ok(all.into_iter().filter_map(|counted| counted.ok()?.ok()).collect())
    }

    /// Notes units that came back to a shard of this region, or that it received.
    pub(crate) fn returned(&self, shard: ShardId, skus: &[Sku]) {
        skus.iter().for_each(|sku| self.lanes.forget(shard, sku));
        self.moved(shard, skus);
    }

    /// Tells whoever shows counts.
    pub(crate) fn moved(&self, shard: ShardId, skus: &[Sku]) {
        (self.told.0)(shard, skus);
    }
}

async fn counts(shard: &Shard, skus: &[Sku]) -> Result<ShardCounts, StoreError> {
    let mut conn = shard.read().await?;
    let term = store::peek_term(&mut conn).await?;
    Ok(ShardCounts { shard: shard.id(), term, counts: store::counts(&mut conn, skus).await? })
}

/// The shard's term, if the message was meant for another.
async fn stale(conn: &mut PgConnection, meant: Term) -> Result<Option<Term>, StoreError> {
    let term = store::term(conn).await?;
    Ok((term != meant).then_some(term))
}

fn check(holds: bool, bound: &'static str) -> Result<(), DeskError> {
    if holds { Ok(()) } else { Err(DeskError::Invalid(bound)) }
}
