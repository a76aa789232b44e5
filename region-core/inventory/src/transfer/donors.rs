//! How messages reach the shard they are meant for, wherever it stands.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use futures::FutureExt;
use futures::future::BoxFuture;
use http::Method;
use region_core_web::Peers;
use shared::{Problem, RegionName, ShardId};

use super::desk::Desk;
use super::message::{Ack, Ask, CountsRequest, Given, Grant, Reply, Sent, Seq, ShardCounts, Standings, Status, Term};
use super::routes;

/// Sends a message under a term at most so often: a promotion between two of them is rare enough.
const ATTEMPTS: u32 = 3;

/// Carries messages. An error says nothing about whether the message arrived.
pub trait Donors: Send + Sync + 'static {
    /// Carries a GRANT to its donor.
    fn grant(&self, message: Grant) -> BoxFuture<'_, Result<Reply<Vec<Given>>, Problem>>;

    /// Carries an ACK to its donor.
    fn ack(&self, message: Ack) -> BoxFuture<'_, Result<Reply<()>, Problem>>;

    /// Carries a STATUS to its borrower.
    fn status(&self, message: Status) -> BoxFuture<'_, Result<Reply<Standings>, Problem>>;

    /// Asks one region for the counts of its shards.
    fn counts<'a>(
        &'a self,
        region: &'a RegionName,
        request: CountsRequest,
    ) -> BoxFuture<'a, Result<Vec<ShardCounts>, Problem>>;
}

/// This region's shards by a call, the others' over the link.
#[derive(Clone, Debug)]
pub struct Everywhere {
    desk: Desk,
    peers: Peers,
}

impl Everywhere {
    /// Over the desk of this region and the cores of the others.
    #[must_use]
    pub fn new(desk: Desk, peers: Peers) -> Self {
        Self { desk, peers }
    }

    /// The region of a shard, unless it is this one.
    fn abroad(&self, shard: ShardId) -> Result<Option<RegionName>, Problem> {
        let map = self.desk.shards().map();
        let region = map
            .region_of_shard(shard)
            .ok_or_else(|| Problem::not_found().detail(format!("the slot map has no shard {shard}")))?;
        Ok((region != self.desk.shards().region()).then(|| region.clone()))
    }
}

impl Donors for Everywhere {
    fn grant(&self, message: Grant) -> BoxFuture<'_, Result<Reply<Vec<Given>>, Problem>> {
        async move {
            match self.abroad(message.donor)? {
                None => Ok(self.desk.grant(message).await?),
                Some(region) => self.peers.call(&region, Method::POST, routes::GRANT, &message).await,
            }
        }
        .boxed()
    }

    fn ack(&self, message: Ack) -> BoxFuture<'_, Result<Reply<()>, Problem>> {
        async move {
            match self.abroad(message.donor)? {
                None => Ok(self.desk.ack(message).await?),
                Some(region) => self.peers.call(&region, Method::POST, routes::ACK, &message).await,
            }
        }
        .boxed()
    }

    fn status(&self, message: Status) -> BoxFuture<'_, Result<Reply<Standings>, Problem>> {
        async move {
            match self.abroad(message.borrower)? {
                None => Ok(self.desk.status(message).await?),
                Some(region) => self.peers.call(&region, Method::POST, routes::STATUS, &message).await,
            }
        }
        .boxed()
    }

    fn counts<'a>(
        &'a self,
        region: &'a RegionName,
        request: CountsRequest,
    ) -> BoxFuture<'a, Result<Vec<ShardCounts>, Problem>> {
        async move {
            if region == self.desk.shards().region() {
                return Ok(self.desk.counts(request).await?);
            }
            self.peers.call(region, Method::POST, routes::COUNTS, &request).await
        }
        .boxed()
    }
}

/// Messages under the term that is known of each shard; a stale one is learnt from the answer and the message sent again.
#[derive(Clone)]
pub(crate) struct Post {
    donors: Arc<dyn Donors>,
    terms: Arc<Mutex<HashMap<ShardId, Term>>>,
}

impl std::fmt::Debug for Post {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Post").finish_non_exhaustive()
    }
}

impl Post {
    pub(crate) fn new(donors: Arc<dyn Donors>) -> Self {
        Self { donors, terms: Arc::default() }
    }

    pub(crate) async fn grant(
        &self,
        (borrower, donor): (ShardId, ShardId),
        low: Seq,
        asks: &[Ask],
    ) -> Result<Vec<Given>, Problem> {
        let message = |term| Grant { borrower, donor, term, low, asks: asks.to_vec() };
        self.under_term(donor, |term| self.donors.grant(message(term))).await
    }

    pub(crate) async fn ack(
        &self,
        (borrower, donor): (ShardId, ShardId),
        low: Seq,
        seqs: &[Seq],
    ) -> Result<(), Problem> {
        let message = |term| Ack { borrower, donor, term, low, seqs: seqs.to_vec() };
        self.under_term(donor, |term| self.donors.ack(message(term))).await
    }

    pub(crate) async fn status(
        &self,
        (borrower, donor): (ShardId, ShardId),
        sent: &[Sent],
        closed: &[Seq],
    ) -> Result<Standings, Problem> {
        let message = |term| Status { borrower, donor, term, sent: sent.to_vec(), closed: closed.to_vec() };
        self.under_term(borrower, |term| self.donors.status(message(term))).await
    }

    pub(crate) async fn counts(
        &self,
        region: &RegionName,
        request: CountsRequest,
    ) -> Result<Vec<ShardCounts>, Problem> {
        let counts = self.donors.counts(region, request).await?;
        counts.iter().for_each(|counts| self.learn(counts.shard, counts.term));
        Ok(counts)
    }

    async fn under_term<'a, T>(
        &self,
        shard: ShardId,
        send: impl Fn(Term) -> BoxFuture<'a, Result<Reply<T>, Problem>>,
    ) -> Result<T, Problem> {
        for _ in 0..ATTEMPTS {
            match send(self.term(shard)).await? {
                Reply::Answer(answer) => return Ok(answer),
                Reply::StaleTerm(term) => self.learn(shard, term),
            }
        }
        Err(Problem::new(shared::ProblemKind::Unavailable).detail(format!("shard {shard} changes its primary")))
    }

    fn term(&self, shard: ShardId) -> Term {
        let terms = self.terms.lock().unwrap_or_else(PoisonError::into_inner);
        // Before the first answer a guess: terms start at 1.
        terms.get(&shard).copied().unwrap_or(Term(1))
    }

    /// Terms rise; an answer that comes late does not lower them.
    fn learn(&self, shard: ShardId, term: Term) {
        let mut terms = self.terms.lock().unwrap_or_else(PoisonError::into_inner);
        let known = terms.entry(shard).or_insert(term);
        *known = term.max(*known);
    }
}
