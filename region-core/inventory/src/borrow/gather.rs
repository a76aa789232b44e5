//! Fetching units for waiting orders: rounds of asking for a share, asking everybody, and finding out what is left.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use futures::future::join_all;
use region_core_store::{Shard, StoreError};
use shared::{Problem, RegionName, ShardId, Sku};
use tokio::task::JoinHandle;

use super::Borrowing;
use super::lanes::Gathering;
use crate::transfer::message::{Ask, Count, CountsRequest, MAX_ASKS, MAX_SKUS, MAX_WANT, Mode, Seq};
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
}

impl Drop for Flight {
    fn drop(&mut self) {
        let mut flying = self.flights.0.lock().unwrap_or_else(PoisonError::into_inner);
        for wish in self.wishes.drain(..) {
            flying.remove(&(self.borrower, self.donor, wish.sku));
        }
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
    /// Starts fetching what waits for these SKUs, unless somebody does already.
    pub(super) fn fetch(&self, shard: ShardId, skus: &[Sku]) {
        let Some(shard) = self.shards.all().find(|own| own.id() == shard) else { return };
        let gathering = self.lanes.take_up(shard.id(), skus);
        if !gathering.skus().is_empty() {
            tokio::spawn(self.clone().gather(shard.clone(), gathering));
        }
    }

    /// Rounds until nobody waits.
    async fn gather(self, shard: Shard, mut gathering: Gathering) {
        // Orders that fell short in one batch come together: let all of them get in line.
        tokio::task::yield_now().await;
        loop {
            self.ask_for_a_share(&shard, gathering.skus()).await;
            self.ask_everybody(&shard, gathering.skus()).await;
            self.find_out(&shard, gathering.skus()).await;
            gathering.narrow();
            if gathering.skus().is_empty() {
                return;
            }
            tokio::time::sleep(PAUSE).await;
        }
    }

    /// Asks those who are said to have plenty. Not when what is left everywhere is known: then everybody is asked.
    async fn ask_for_a_share(&self, shard: &Shard, skus: &[Sku]) {
        let (mut errands, mut patience) = (BTreeMap::<ShardId, Vec<Wish>>::new(), self.patience.near);
        for sku in skus {
            let need = self.lanes.missing(shard.id(), sku);
            if need == 0 || self.lanes.is_judged(shard.id(), sku) {
                continue;
            }
            let candidates = self.candidates(shard.id(), sku);
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

    /// Asks every shard for exactly what is missing.
    async fn ask_everybody(&self, shard: &Shard, skus: &[Sku]) {
        let wishes: Vec<Wish> = skus
            .iter()
            .map(|sku| Wish { sku: sku.clone(), want: self.lanes.missing(shard.id(), sku).min(MAX_WANT) })
            .filter(|wish| wish.want > 0)
            .collect();
        if wishes.is_empty() {
            return;
        }
        let map = self.shards.map();
        let others = map.shards().map(|(id, _)| id).filter(|id| *id != shard.id());
        let errands = others.map(|donor| (donor, wishes.clone())).collect();
        self.run(shard, errands, Mode::Exact, self.patience()).await;
    }

    /// Runs transfers from these donors side by side. What takes longer than `patience` goes on by itself.
    async fn run(&self, shard: &Shard, errands: BTreeMap<ShardId, Vec<Wish>>, mode: Mode, patience: Duration) {
        let flights = errands.into_iter().flat_map(|(donor, wishes)| self.launch(shard, donor, wishes, mode));
        let flights: Vec<_> = flights.collect();
        // Late ones are no failure.
        let _ = tokio::time::timeout(patience, join_all(flights)).await;
    }

    /// Starts transfers from one donor, in tasks that outlive whoever waits for them.
    pub(crate) fn launch(&self, shard: &Shard, donor: ShardId, wishes: Vec<Wish>, mode: Mode) -> Vec<JoinHandle<()>> {
        let parts = wishes.chunks(MAX_ASKS).map(<[Wish]>::to_vec);
        let flights = parts.map(|wishes| self.flights.take(shard.id(), donor, wishes));
        flights
            .filter(|flight| !flight.wishes.is_empty())
            .map(|flight| tokio::spawn(self.clone().fly(shard.clone(), flight, mode)))
            .collect()
    }

    async fn fly(self, shard: Shard, flight: Flight, mode: Mode) {
        if let Err(error) = self.transfer(&shard, flight.donor, &flight.wishes, mode).await {
            metrics::counter!("transfers_unfinished_total").increment(1);
            tracing::warn!(%error, shard.id = %shard.id(), donor.id = %flight.donor, "a transfer is left to recovery");
            // For a while others are asked before this one.
            flight.wishes.iter().for_each(|wish| self.heard.note(flight.donor, &wish.sku, Some(0)));
        }
    }

    /// Begin, GRANT, credit.
    async fn transfer(&self, shard: &Shard, donor: ShardId, wishes: &[Wish], mode: Mode) -> Result<(), BorrowError> {
        let begun = wishes.to_vec();
        let (seqs, low) =
            shard.turn().write("transfer.begin", async move |conn| store::begin(conn, donor, &begun).await).await?;
        let ask = |(seq, wish): (_, &Wish)| Ask { seq, sku: wish.sku.clone(), want: wish.want, mode };
        let asks: Vec<Ask> = seqs.into_iter().zip(wishes).map(ask).collect();
        self.collect(shard, donor, low, asks).await
    }

    /// Asks for what a donor gives for transfers that are begun, and credits it.
    async fn collect(&self, shard: &Shard, donor: ShardId, low: Seq, asks: Vec<Ask>) -> Result<(), BorrowError> {
        let given = self.post.grant((shard.id(), donor), low, &asks).await.map_err(BorrowError::Donor)?;
        for (ask, given) in asks.iter().zip(&given) {
            self.heard.note(donor, &ask.sku, given.left);
        }
        let credited =
            shard.turn().write("transfer.credit", async move |conn| store::credit(conn, donor, &given).await).await?;
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
        let asks = pending.iter().map(ask).collect();
        self.collect(shard, donor, low, asks).await.map_err(|error| match error {
            BorrowError::Store(error) => error.into(),
            BorrowError::Donor(problem) => problem,
        })
    }

    /// Finds out how much is left everywhere of what somebody still waits for.
    async fn find_out(&self, shard: &Shard, skus: &[Sku]) {
        let open = |sku: &&Sku| self.lanes.somebody_waits(shard.id(), sku);
        let skus: Vec<Sku> = skus.iter().filter(open).cloned().collect();
        for skus in skus.chunks(MAX_SKUS) {
            let (first, second) = (self.read_everywhere(skus).await, self.read_everywhere(skus).await);
            for sku in skus {
                let (first, second) = (of(&first, sku), of(&second, sku));
                let own = second.iter().find(|(id, _)| *id == shard.id()).and_then(|(_, count)| count.as_ref());
                let Some(free) = own.map(|count| count.free) else { continue };
                let counts =
                    |reading: Vec<(ShardId, Option<Count>)>| reading.into_iter().map(|(_, count)| count).collect();
                let (first, second): (Vec<_>, Vec<_>) = (counts(first), counts(second));
                self.lanes.judge(shard.id(), sku, free, rules::left_everywhere(&first, &second));
            }
        }
    }

    /// One reading of every shard of the map; `None` for those that do not answer in time.
    pub(crate) async fn read_everywhere(&self, skus: &[Sku]) -> BTreeMap<ShardId, Option<HashMap<Sku, Count>>> {
        let map = self.shards.map();
        let mut regions: BTreeMap<RegionName, Vec<ShardId>> = BTreeMap::new();
        map.shards().for_each(|(shard, region)| regions.entry(region.clone()).or_default().push(shard));
        let readings = join_all(regions.iter().map(|(region, shards)| self.read_region(region, shards, skus))).await;
        let mut all: BTreeMap<_, _> = map.shards().map(|(shard, _)| (shard, None)).collect();
        all.extend(readings.into_iter().flatten().map(|(shard, counts)| (shard, Some(counts))));
        all
    }

    async fn read_region(
        &self,
        region: &RegionName,
        shards: &[ShardId],
        skus: &[Sku],
    ) -> Vec<(ShardId, HashMap<Sku, Count>)> {
        let request = CountsRequest { shards: shards.to_vec(), skus: skus.to_vec() };
        let Ok(Ok(read)) = tokio::time::timeout(self.patience.across, self.post.counts(region, request)).await else {
            return Vec::new();
        };
        for counts in &read {
            counts.counts.iter().for_each(|count| self.heard.note(counts.shard, &count.sku, Some(count.free)));
        }
        let by_sku = |counts: Vec<Count>| counts.into_iter().map(|count| (count.sku.clone(), count)).collect();
        read.into_iter().map(|counts| (counts.shard, by_sku(counts.counts))).collect()
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

type Reading = BTreeMap<ShardId, Option<HashMap<Sku, Count>>>;

/// One SKU's counts out of a reading.
fn of(reading: &Reading, sku: &Sku) -> Vec<(ShardId, Option<Count>)> {
    let count = |counts: &Option<HashMap<Sku, Count>>| counts.as_ref().and_then(|counts| counts.get(sku)).cloned();
    reading.iter().map(|(shard, counts)| (*shard, count(counts))).collect()
}
