//! The work between requests: reading what changed, saying it in Redis, hearing others.

use std::time::Duration;

use futures::future::{join, join_all};
use http::Method;
use region_core_store::{Shard, StoreError};
use shared::Sku;
use shared::api::stock::{StockChanges, StockCursors};
use tokio::time::{Instant, MissedTickBehavior, interval};
use tokio_util::sync::CancellationToken;

use super::copy::BATCH;
use super::store::free_after;
use super::{HERE, StockLevels, lock};
use crate::store::free_units;

/// How often changed SKUs are read, and Redis is told and heard.
const ROUND: Duration = Duration::from_millis(100);
/// How often other regions are asked.
const ELSEWHERE: Duration = Duration::from_millis(250);
/// Longest pause before a region that does not answer is asked again.
const ELSEWHERE_MOST: Duration = Duration::from_secs(5);
/// Shortest pause between two scans, which read all counts of a shard for what nobody said.
const SCAN: Duration = Duration::from_secs(1);
/// Scans take at most one part in so many of the time, so that they are rare where there is much to read.
const SCAN_SHARE: u32 = 50;
/// SKUs read by one statement.
const PIECE: usize = 1_000;

/// Where other cores answer.
pub(crate) const INTERNAL: &str = "/internal/stock/changes";

impl StockLevels {
    /// Keeps the counts current until told to stop.
    pub async fn follow(self, shutdown: CancellationToken) {
        let shards: Vec<Shard> = self.0.shards.all().cloned().collect();
        let shards = join_all(shards.iter().enumerate().map(|(source, shard)| self.follow_shard(source, shard)));
        let others = join_all(self.0.others.iter().enumerate().map(|(at, _)| self.follow_region(at)));
        shutdown.run_until_cancelled(join(join(shards, others), self.follow_copy())).await;
    }

    async fn follow_shard(&self, source: usize, shard: &Shard) {
        let mut scanned: Option<(Instant, Duration)> = None;
        let mut rounds = rounds();
        loop {
            rounds.tick().await;
            if scanned.is_none_or(|(at, took)| at.elapsed() >= SCAN.max(took * SCAN_SHARE)) {
                let began = Instant::now();
                let outcome = self.scan(source, shard).await;
                warn(shard, outcome);
                lock(&self.0.counts).unread.remove(&source);
                scanned = Some((Instant::now(), began.elapsed()));
            }
            warn(shard, self.read_changed(source, shard).await);
        }
    }

    /// Reads every SKU that the shard has.
    pub(super) async fn scan(&self, source: usize, shard: &Shard) -> Result<(), StoreError> {
        let (mut after, limit) = (String::new(), i64::try_from(PIECE).unwrap_or(i64::MAX));
        loop {
            let piece = free_after(&mut *shard.read().await?, &after, limit).await?;
            self.note(source, &piece);
            match piece.last() {
                Some((last, _)) if piece.len() == PIECE => last.as_str().clone_into(&mut after),
                _ => return Ok(()),
            }
        }
    }

    /// Reads the SKUs that were said to have changed; those that could not be read stay said.
    pub(super) async fn read_changed(&self, source: usize, shard: &Shard) -> Result<(), StoreError> {
        let Some(changed) = self.0.changed.get(&shard.id()) else { return Ok(()) };
        let all: Vec<Sku> = std::mem::take(&mut *lock(changed)).into_iter().collect();
        for (at, piece) in all.chunks(PIECE).enumerate() {
            let outcome = self.read_piece(source, shard, piece).await;
            if outcome.is_err() {
                lock(changed).extend(all[at * PIECE..].iter().cloned());
                return outcome;
            }
        }
        Ok(())
    }

    async fn read_piece(&self, source: usize, shard: &Shard, skus: &[Sku]) -> Result<(), StoreError> {
        let names: Vec<String> = skus.iter().map(|sku| sku.as_str().to_owned()).collect();
        let free = free_units(&mut *shard.read().await?, &names).await?;
        self.note(source, &free);
        Ok(())
    }

    async fn follow_copy(&self) {
        let (mut rounds, mut heard) = (rounds(), 0);
        loop {
            rounds.tick().await;
            self.publish().await;
            heard = self.hear(heard).await;
            let (known, waiting) = {
                let counts = lock(&self.0.counts);
                (counts.region.len(), counts.unpublished.len())
            };
            metrics::gauge!("stock_display_skus").set(as_f64(known));
            metrics::gauge!("stock_display_unpublished_skus").set(as_f64(waiting));
        }
    }

    /// Tells Redis what it does not have yet, and keeps what it did not take.
    pub(super) async fn publish(&self) {
        loop {
            let batch: Vec<(Sku, u64)> = {
                let counts = lock(&self.0.counts);
                let wanted = counts.unpublished.iter().take(BATCH);
                wanted.filter_map(|sku| Some((sku.clone(), counts.region.sum(sku)?))).collect()
            };
            if batch.is_empty() || !self.0.copy.publish(&batch).await {
                return;
            }
            let mut counts = lock(&self.0.counts);
            for (sku, units) in batch {
                // Unless it has changed again meanwhile.
                if counts.region.sum(&sku) == Some(units) {
                    counts.unpublished.remove(&sku);
                }
                counts.published.insert(sku, units);
            }
        }
    }

    /// Hears what was written after `version`; counts that differ from ours are read again. Gives the version reached.
    pub(super) async fn hear(&self, mut version: u64) -> u64 {
        loop {
            let Some(heard) = self.0.copy.hear(version).await else { return version };
            if heard.version < version {
                self.publish_everything();
                return 0;
            }
            let suspect = self.compare(&heard.counts);
            for shard in self.0.changed.keys() {
                self.changed(*shard, &suspect);
            }
            version = heard.reached;
            if heard.counts.len() < BATCH {
                return version;
            }
        }
    }

    /// Notes what Redis has, and gives the SKUs of which we think otherwise.
    fn compare(&self, heard: &[(Sku, Option<u64>)]) -> Vec<Sku> {
        let mut counts = lock(&self.0.counts);
        let mut suspect = Vec::new();
        for (sku, units) in heard {
            match units {
                Some(units) => counts.published.insert(sku.clone(), *units),
                None => counts.published.remove(sku),
            };
            if counts.region.sum(sku) != *units {
                suspect.push(sku.clone());
            }
        }
        suspect
    }

    /// Redis has forgotten.
    fn publish_everything(&self) {
        let mut counts = lock(&self.0.counts);
        counts.published.clear();
        let all: Vec<Sku> = counts.region.skus().cloned().collect();
        counts.unpublished.extend(all);
    }

    async fn follow_region(&self, at: usize) {
        let (mut cursors, mut pause) = (StockCursors::default(), ELSEWHERE);
        loop {
            pause = match self.ask(at, &mut cursors).await {
                Ok(true) => Duration::ZERO,
                Ok(false) => ELSEWHERE,
                Err(_) => (pause.max(ELSEWHERE) * 2).min(ELSEWHERE_MOST),
            };
            if !pause.is_zero() {
                // All that it has, or that it cannot be reached.
                lock(&self.0.counts).unheard.remove(&at);
            }
            tokio::time::sleep(pause).await;
        }
    }

    /// Asks another region what has changed there; whether there is more at once.
    async fn ask(&self, at: usize, cursors: &mut StockCursors) -> Result<bool, shared::Problem> {
        let path = cursors.query(INTERNAL);
        let news: StockChanges = self.0.peers.call(&self.0.others[at], Method::GET, &path, &()).await?;
        self.note_elsewhere(HERE + 1 + at, &news.items);
        cursors.advance(news.next);
        Ok(news.more)
    }
}

fn as_f64(count: usize) -> f64 {
    u32::try_from(count).map_or(f64::MAX, f64::from)
}

fn rounds() -> tokio::time::Interval {
    let mut rounds = interval(ROUND);
    rounds.set_missed_tick_behavior(MissedTickBehavior::Delay);
    rounds
}

fn warn(shard: &Shard, outcome: Result<(), StoreError>) {
    if let Err(error) = outcome {
        tracing::debug!(shard.id = %shard.id(), %error, "counts for display wait for the next round");
        metrics::counter!("stock_display_failures_total").increment(1);
    }
}
