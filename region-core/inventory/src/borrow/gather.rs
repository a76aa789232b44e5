//! Fetching units for waiting orders: rounds of asking for a share, asking everybody, and finding out what is left.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use futures::future::{join, join_all};
use moka::sync::Cache;
use region_core_store::{Shard, StoreError};
use shared::{Problem, ShardId, Sku};
use tokio::task::JoinHandle;

use super::Borrowing;
use super::lanes::Gathering;
use super::reading::{Look, Reading};
use crate::balance::recovery::in_time;
use crate::origins::Way;
use crate::transfer::message::{Ask, Given, MAX_ASKS, MAX_SKUS, MAX_WANT, Mode, Seq};
use crate::transfer::rules::{self, Candidate, HORIZON, Plan};
use crate::transfer::store::{self, Wish};

/// Between two rounds for the same SKU.
const PAUSE: Duration = Duration::from_millis(25);

/// Transfers under way from this process: one for each borrower, donor and SKU.
#[derive(Clone, Debug, Default)]
pub(super) struct Flights(Arc<Mutex<HashSet<(ShardId, ShardId, Sku)>>>);

/// Transfers of some SKUs from one donor; over when dropped.
struct Flight {
    flights: Flights,
    borrower: ShardId,
    donor: ShardId,
    wishes: Vec<Wish>,
}

impl Flights {
    /// Takes up those of the wishes that are not under way.
    fn take(&self, borrower: ShardId, donor: ShardId, wishes: Vec<Wish>) -> Flight {
        let mut flying = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let wishes = wishes.into_iter().filter(|wish| flying.insert((borrower, donor, wish.sku.clone()))).collect();
        Flight { flights: self.clone(), borrower, donor, wishes }
    }

    /// Whether such a transfer is under way.
    fn are_up(&self, borrower: ShardId, donor: ShardId, sku: &Sku) -> bool {
        let flying = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        flying.contains(&(borrower, donor, sku.clone()))
    }
}

impl Drop for Flight {
    fn drop(&mut self) {
        let mut flying = self.flights.0.lock().unwrap_or_else(PoisonError::into_inner);
        for wish in self.wishes.drain(..) {
            flying.remove(&(self.borrower, self.donor, wish.sku));
        }
    }
}

/// How long a donor that keeps what it has for its own waiting orders is not asked again.
const SPARED: Duration = Duration::from_millis(250);
/// Refusals remembered at most.
const MOST_REFUSALS: u64 = 100_000;

/// Who has just kept all it has: borrower, donor and SKU. To ask again at once would only make it look as if units moved.
#[derive(Clone, Debug)]
pub(super) struct Refusals(Cache<(ShardId, ShardId, Sku), ()>);

impl Default for Refusals {
    fn default() -> Self {
        Self(Cache::builder().max_capacity(MOST_REFUSALS).time_to_live(SPARED).build())
    }
}

impl Refusals {
    fn note(&self, borrower: ShardId, donor: ShardId, sku: &Sku) {
        self.0.insert((borrower, donor, sku.clone()), ());
    }

    fn stands(&self, borrower: ShardId, donor: ShardId, sku: &Sku) -> bool {
        self.0.contains_key(&(borrower, donor, sku.clone()))
    }
}

/// Why a transfer was not finished here; recovery finishes it.
#[derive(Debug, thiserror::Error)]
enum BorrowError {
    #[error("the borrowing shard failed")]
    Store(#[from] StoreError),
    #[error("the donor did not answer: {0}")]
    Donor(Problem),
}

impl Borrowing {
    /// Starts fetching what waits for these SKUs, unless somebody does already. If as many gather as may, one of them takes
    /// them up after its round.
    pub(super) fn fetch(&self, shard: ShardId, skus: &[Sku]) {
        let Some(shard) = self.shards.all().find(|own| own.id() == shard) else { return };
        if let Some(gathering) = self.lanes.take_up(shard.id(), skus) {
            tokio::spawn(self.clone().gather(shard.clone(), gathering));
        }
    }

    /// Rounds until nobody waits for whom nobody else gathers.
    async fn gather(self, shard: Shard, mut gathering: Gathering) {
        // Orders that fell short in one batch come together: let all of them get in line.
        tokio::task::yield_now().await;
        loop {
            self.ask_for_a_share(&shard, gathering.skus()).await;
            let open = self.open(&shard, gathering.skus());
            if !open.is_empty() {
                let look = self.eyes.look();
                let first = self.read_everywhere(&open, look).await;
                self.eyes.saw(look, open.iter().all(|sku| first.is_whole(sku)));
                self.ask_everybody(&shard, &open, &first).await;
                self.find_out(&shard, &open, &first).await;
            }
            gathering.narrow();
            if !gathering.skus().is_empty() {
                tokio::time::sleep(PAUSE).await;
            }
            // In a rush rounds become larger, not more.
            if !gathering.goes_on(MAX_SKUS) {
                return;
            }
        }
    }

    /// Asks those who are said to have plenty. Not when what is left everywhere is known: then everybody is asked.
    async fn ask_for_a_share(&self, shard: &Shard, skus: &[Sku]) {
        let (mut errands, mut patience) = (Errands::new(), self.patience.near);
        for sku in skus {
            let need = self.lanes.missing(shard.id(), sku);
            if need == 0 || self.lanes.is_judged(shard.id(), sku) {
                continue;
            }
            // Whoever has not answered yet is not waited for: another may.
            let mut candidates = self.candidates(shard.id(), sku);
            candidates.retain(|candidate| !self.flights.are_up(shard.id(), candidate.shard, sku));
            let Plan::Share(donors) = rules::plan(need, &candidates) else { continue };
            let want = rules::want(need, self.demand.expected(shard.id(), sku, HORIZON));
            let share = want.div_ceil(u64::try_from(donors.len()).unwrap_or(1));
            for donor in donors {
                if !candidates.iter().any(|candidate| candidate.shard == donor && candidate.near) {
                    patience = self.patience.across;
                }
                errands.entry(donor).or_default().push(Wish { sku: sku.clone(), want: share });
            }
        }
        self.run(shard, errands, Mode::Share, patience).await;
    }

    /// Those of these SKUs that units are still missing of.
    fn open(&self, shard: &Shard, skus: &[Sku]) -> Vec<Sku> {
        skus.iter().filter(|sku| self.lanes.is_short(shard.id(), sku)).cloned().collect()
    }

    /// Asks for exactly what is missing, in all shards at once if need be, but not those that have just said that they have
    /// none to give.
    async fn ask_everybody(&self, shard: &Shard, skus: &[Sku], first: &Reading) {
        let (map, home) = (self.shards.map(), self.shards.region());
        let mut errands: Errands = BTreeMap::new();
        for sku in skus {
            let want = self.lanes.missing(shard.id(), sku).min(MAX_WANT);
            let others = first
                .of(sku)
                .filter(|(donor, _)| *donor != shard.id() && !self.refusals.stands(shard.id(), *donor, sku));
            let candidates = others.map(|(donor, count)| Candidate {
                shard: donor,
                near: map.region_of_shard(donor) == Some(home),
                free: count.map(|count| count.free),
            });
            for (donor, want) in rules::split(want, candidates.collect()) {
                errands.entry(donor).or_default().push(Wish { sku: sku.clone(), want });
            }
        }
        self.run(shard, errands, Mode::Exact, self.patience()).await;
    }

    /// Runs transfers from these donors side by side. What takes longer than `patience` goes on by itself.
    async fn run(&self, shard: &Shard, errands: Errands, mode: Mode, patience: Duration) {
        if let Some(flight) = self.launch(shard, errands, mode) {
            // A late one is no failure.
            let _ = tokio::time::timeout(patience, flight).await;
        }
    }

    /// Starts transfers in a task that outlives whoever waits for it. None, if all of them are under way already.
    pub(crate) fn launch(&self, shard: &Shard, errands: Errands, mode: Mode) -> Option<JoinHandle<()>> {
        let parts = |(donor, wishes): (ShardId, Vec<Wish>)| {
            let parts: Vec<_> = wishes.chunks(MAX_ASKS).map(<[Wish]>::to_vec).collect();
            parts.into_iter().map(move |wishes| (donor, wishes))
        };
        let flights: Vec<Flight> = errands
            .into_iter()
            .flat_map(parts)
            .map(|(donor, wishes)| self.flights.take(shard.id(), donor, wishes))
            .filter(|flight| !flight.wishes.is_empty())
            .collect();
        (!flights.is_empty()).then(|| tokio::spawn(self.clone().fly(shard.clone(), flights, mode)))
    }

    /// Begins all of them in one transaction, then asks each donor by itself.
    async fn fly(self, shard: Shard, flights: Vec<Flight>, mode: Mode) {
        let errands: Vec<_> = flights.iter().map(|flight| (flight.donor, flight.wishes.clone())).collect();
        let begun = shard.turn().write("transfer.begin", async move |conn| {
            let mut begun = Vec::with_capacity(errands.len());
            for (donor, wishes) in &errands {
                begun.push(store::begin(conn, *donor, wishes).await?);
            }
            Ok::<_, StoreError>(begun)
        });
        match begun.await {
            Ok(begun) => {
                let land = |(flight, (seqs, low))| self.land(&shard, flight, seqs, low, mode);
                join_all(flights.into_iter().zip(begun).map(land)).await;
            }
            Err(error) => tracing::warn!(%error, shard.id = %shard.id(), "no transfer could begin"),
        }
    }

    /// GRANT and credit.
    async fn land(&self, shard: &Shard, flight: Flight, seqs: Vec<Seq>, low: Seq, mode: Mode) {
        let ask = |(seq, wish): (Seq, &Wish)| Ask { seq, sku: wish.sku.clone(), want: wish.want, mode };
        let asks: Vec<Ask> = seqs.into_iter().zip(&flight.wishes).map(ask).collect();
        if let Err(error) = self.collect(shard, flight.donor, low, asks).await {
            metrics::counter!("transfers_unfinished_total").increment(1);
            tracing::warn!(%error, shard.id = %shard.id(), donor.id = %flight.donor, "a transfer is left to recovery");
            // For a while others are asked before this one.
            flight.wishes.iter().for_each(|wish| self.heard.note(flight.donor, &wish.sku, Some(0)));
        }
    }

    /// Asks for what a donor gives for transfers that are begun, and credits it.
    async fn collect(&self, shard: &Shard, donor: ShardId, low: Seq, asks: Vec<Ask>) -> Result<(), BorrowError> {
        let given = self.post.grant((shard.id(), donor), low, &asks).await.map_err(BorrowError::Donor)?;
        self.receive(shard, donor, &asks, given).await
    }

    async fn receive(&self, shard: &Shard, donor: ShardId, asks: &[Ask], given: Vec<Given>) -> Result<(), BorrowError> {
        for (ask, given) in asks.iter().zip(&given) {
            self.heard.note(donor, &ask.sku, given.left);
            if ask.mode == Mode::Exact && given.units == 0 && given.left.is_some_and(|left| left > 0) {
                self.refusals.note(shard.id(), donor, &ask.sku);
            }
        }
        Ok(self.credit(shard, donor, given).await?)
    }

    /// Credits what was given. Answers that come while the shard's turn is another's are credited together by the first of
    /// them; if that fails, recovery asks for all of them again.
    async fn credit(&self, shard: &Shard, donor: ShardId, given: Vec<Given>) -> Result<(), StoreError> {
        self.landed.push(shard.id(), donor, given);
        let mut seat = shard.turn().take().await?;
        let landed = self.landed.take(shard.id());
        if landed.is_empty() {
            return Ok(()); // Another one has credited it.
        }
        let (map, borrower) = (self.shards.map(), shard.id());
        let credited = seat.write("transfer.credit", async move |conn| {
            let mut credited = Vec::new();
            for (donor, given) in &landed {
                let way = Way::between(&map, *donor, borrower);
                credited.extend(store::credit(conn, *donor, way.as_ref(), given).await?);
            }
            Ok::<_, StoreError>(credited)
        });
        let credited = credited.await?;
        drop(seat);
        for credited in &credited {
            metrics::counter!("borrowed_units_total").increment(credited.units);
            self.lanes.observe(shard.id(), &credited.sku, credited.free);
        }
        self.desk.moved(shard.id(), &credited.into_iter().map(|credited| credited.sku).collect::<Vec<_>>());
        Ok(())
    }

    /// Finishes transfers that were begun and not answered, without asking for anything new.
    ///
    /// # Errors
    /// When they remain unfinished.
    pub(crate) async fn resume(
        &self,
        shard: &Shard,
        donor: ShardId,
        pending: &[store::Pending],
    ) -> Result<(), Problem> {
        let low = store::low(&mut *shard.read().await.map_err(Problem::from)?).await?;
        let ask = |pending: &store::Pending| Ask {
            seq: pending.seq,
            sku: pending.sku.clone(),
            want: pending.want,
            mode: Mode::Settle,
        };
        let asks: Vec<Ask> = pending.iter().map(ask).collect();
        let given = in_time(self.post.grant((shard.id(), donor), low, &asks)).await?;
        self.receive(shard, donor, &asks, given).await.map_err(|error| match error {
            BorrowError::Store(error) => error.into(),
            BorrowError::Donor(problem) => problem,
        })
    }

    /// Finds out how much is left everywhere, from a second reading. If the first one lacks a shard, the second could not
    /// tell: then only this shard is looked at, and the next round waits for nobody.
    async fn find_out(&self, shard: &Shard, skus: &[Sku], first: &Reading) {
        let waited_for = skus.iter().filter(|sku| self.lanes.somebody_waits(shard.id(), sku)).cloned();
        let (whole, partial): (Vec<_>, Vec<_>) = waited_for.partition(|sku| first.is_whole(sku));
        join(self.judge_all(shard, &whole, first), self.look_here(shard, &partial)).await;
    }

    async fn look_here(&self, shard: &Shard, skus: &[Sku]) {
        if skus.is_empty() {
            return;
        }
        let here = self.read_shard(shard.id(), skus).await;
        here.iter().for_each(|count| self.lanes.judge(shard.id(), &count.sku, count.free, None));
    }

    async fn judge_all(&self, shard: &Shard, skus: &[Sku], first: &Reading) {
        if skus.is_empty() {
            return;
        }
        let second = self.read_everywhere(skus, Look::Thorough).await;
        for sku in skus {
            let Some(free) = second.count(shard.id(), sku).map(|count| count.free) else { continue };
            let counts = |reading: &Reading| reading.of(sku).map(|(_, count)| count.cloned()).collect::<Vec<_>>();
            self.lanes.judge(shard.id(), sku, free, rules::left_everywhere(&counts(first), &counts(&second)));
        }
    }

    /// Every other shard, with what was heard of it.
    pub(crate) fn candidates(&self, borrower: ShardId, sku: &Sku) -> Vec<Candidate> {
        let (map, home) = (self.shards.map(), self.shards.region());
        let others = map.shards().filter(|(shard, _)| *shard != borrower);
        others
            .map(|(shard, region)| Candidate { shard, near: region == home, free: self.heard.of(shard, sku) })
            .collect()
    }
}

/// Units to be fetched, by donor.
pub(crate) type Errands = BTreeMap<ShardId, Vec<Wish>>;

/// What a donor gave.
type Gift = (ShardId, Vec<Given>);

/// Gifts that wait to be credited, by shard.
#[derive(Clone, Debug, Default)]
pub(super) struct Landed(Arc<Mutex<HashMap<ShardId, Vec<Gift>>>>);

impl Landed {
    fn push(&self, shard: ShardId, donor: ShardId, given: Vec<Given>) {
        let mut landed = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        landed.entry(shard).or_default().push((donor, given));
    }

    fn take(&self, shard: ShardId) -> Vec<Gift> {
        let mut landed = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        landed.remove(&shard).unwrap_or_default()
    }
}
