//! Finishing transfers that were interrupted, on either side. Each step may be repeated, by several processes at once.

use std::collections::BTreeMap;

use futures::future::{join_all, try_join_all};
use region_core_store::{Bug, planted};
use region_core_store::{Shard, StoreError};
use shared::{Problem, ProblemKind, ShardId};

use super::PATIENCE;
use crate::borrow::Borrowing;
use crate::transfer::message::{MAX_ASKS, MAX_SEQS, Sent, Seq, Standing, Standings};
use crate::transfer::store::{self, Closable, Overdue, Pending, Received};

/// By the shard's clock: when a borrower asks again for what was not answered. Longer than any ordinary answer takes.
const ASK_AGAIN_SECONDS: f64 = 2.0;
/// By the shard's clock: when a donor asks what became of what it sent.
const OVERDUE_SECONDS: f64 = 5.0;
/// By the shard's clock: when a donor reminds a borrower of what is closed, so that both may forget it.
const CLOSABLE_SECONDS: f64 = 30.0;
/// When units in flight are worth waking somebody up.
const ALARM_SECONDS: u64 = 60;
/// Rows looked at in one round, of each sort.
const ROWS: i64 = 1_024;

impl Borrowing {
    /// One round for a shard of this region. What cannot be finished now is left to the next round.
    ///
    /// # Errors
    /// When this shard does not answer.
    pub async fn recover(&self, shard: &Shard) -> Result<(), StoreError> {
        // Side by side, for each may wait for a shard that is away, and not for the same one.
        let (asked, acknowledged, concluded, closed, measured) = tokio::join!(
            self.ask_again(shard),
            self.acknowledge(shard),
            self.ask_what_became(shard),
            self.close(shard),
            self.measure(shard),
        );
        asked.and(acknowledged).and(concluded).and(closed).and(measured)
    }

    /// As a borrower: asks for the answers that did not come.
    async fn ask_again(&self, shard: &Shard) -> Result<(), StoreError> {
        let pending = store::list_pending(&mut *shard.read().await?, ASK_AGAIN_SECONDS, ROWS).await?;
        let groups = by(pending, |pending: &Pending| pending.donor);
        let each = groups.iter().map(|(donor, pending)| self.ask_donor_again(shard, *donor, pending));
        join_all(each).await;
        Ok(())
    }

    async fn ask_donor_again(&self, shard: &Shard, donor: ShardId, pending: &[Pending]) {
        for pending in pending.chunks(MAX_ASKS) {
            if let Err(problem) = self.resume(shard, donor, pending).await {
                tracing::info!(%problem, shard.id = %shard.id(), donor.id = %donor, "a donor does not answer yet");
                return;
            }
        }
    }

    /// As a borrower: tells donors what was credited, and settles what they have heard.
    async fn acknowledge(&self, shard: &Shard) -> Result<(), StoreError> {
        let received = store::list_received(&mut *shard.read().await?, ROWS).await?;
        let groups = by(received, |received| received.donor);
        let each = groups.iter().map(|(donor, received)| self.acknowledge_to(shard, *donor, received));
        let settled: Vec<Seq> = try_join_all(each).await?.into_iter().flatten().collect();
        if store::is_to_settle(&mut *shard.read().await?, &settled).await? {
            shard.turn().write("transfer.settle", async move |conn| store::settle(conn, &settled).await).await?;
        }
        Ok(())
    }

    /// Those that the donor has heard of.
    async fn acknowledge_to(
        &self,
        shard: &Shard,
        donor: ShardId,
        received: &[Received],
    ) -> Result<Vec<Seq>, StoreError> {
        let mut heard = Vec::new();
        for received in received.chunks(MAX_SEQS) {
            let seqs: Vec<Seq> = received.iter().map(|received| received.seq).collect();
            let low = store::low(&mut *shard.read().await?).await?;
            match in_time(self.post.ack((shard.id(), donor), low, &seqs)).await {
                Ok(()) => heard.extend(seqs),
                Err(problem) => {
                    tracing::info!(%problem, shard.id = %shard.id(), donor.id = %donor, "a donor does not hear yet");
                    break;
                }
            }
        }
        Ok(heard)
    }

    /// As a donor: asks what became of units that nothing was heard of. They are taken back only if the borrower has written
    /// that it will never credit them.
    async fn ask_what_became(&self, shard: &Shard) -> Result<(), StoreError> {
        let overdue = store::list_overdue(&mut *shard.read().await?, OVERDUE_SECONDS, ROWS).await?;
        let groups = by(overdue, |overdue: &Overdue| overdue.borrower);
        let each = groups.iter().map(|(borrower, overdue)| self.ask_borrower(shard, *borrower, overdue));
        join_all(each).await.into_iter().collect()
    }

    async fn ask_borrower(&self, shard: &Shard, borrower: ShardId, overdue: &[Overdue]) -> Result<(), StoreError> {
        for overdue in overdue.chunks(MAX_SEQS) {
            let sent: Vec<Sent> = overdue.iter().map(|overdue| overdue.sent.clone()).collect();
            if planted(Bug::RecreditOnTimeout) {
                self.take_back(shard, borrower, sent.iter().map(|sent| sent.seq).collect()).await?;
                continue;
            }
            match in_time(self.post.status((borrower, shard.id()), &sent, &[])).await {
                Ok(standings) => self.conclude(shard, borrower, standings).await?,
                Err(problem) => {
                    tracing::info!(%problem, shard.id = %shard.id(), borrower.id = %borrower, "a borrower does not answer yet");
                    break;
                }
            }
        }
        Ok(())
    }

    /// Closes outgoing halves as their borrower says.
    async fn conclude(&self, shard: &Shard, borrower: ShardId, standings: Standings) -> Result<(), StoreError> {
        let Standings { standings, low } = standings;
        let those = |wanted: Standing| {
            let matching = standings.iter().filter(move |(_, standing)| *standing == wanted);
            matching.map(|(seq, _)| *seq).collect::<Vec<_>>()
        };
        // What is settled was closed here before it was settled there; this row was read before that.
        let (done, cancelled) = (those(Standing::Done), those(Standing::Cancelled));
        let concluded = shard.turn().write("transfer.conclude", async move |conn| {
            store::raise_low(conn, borrower, low).await?;
            store::acknowledge(conn, borrower, &done).await
        });
        concluded.await?;
        if !cancelled.is_empty() {
            self.take_back(shard, borrower, cancelled.clone()).await?;
            // If this is lost, `close` says it again.
            let _ = in_time(self.post.status((borrower, shard.id()), &[], &cancelled)).await;
        }
        Ok(())
    }

    async fn take_back(&self, shard: &Shard, borrower: ShardId, seqs: Vec<Seq>) -> Result<(), StoreError> {
        let cancelled =
            shard.turn().write("transfer.cancel", async move |conn| store::cancel(conn, borrower, &seqs).await).await?;
        self.desk.returned(shard.id(), &cancelled);
        Ok(())
    }

    /// As a donor: learns from borrowers how far they have settled, tells them what was taken back, and forgets.
    async fn close(&self, shard: &Shard) -> Result<(), StoreError> {
        let most = i64::try_from(MAX_SEQS).unwrap_or(i64::MAX);
        let closable = store::list_closable(&mut *shard.read().await?, CLOSABLE_SECONDS, most).await?;
        if closable.is_empty() {
            return Ok(());
        }
        let reminded = join_all(closable.iter().map(|closable| self.remind(shard, closable))).await;
        reminded.into_iter().collect::<Result<(), StoreError>>()?;
        shard.turn().write("transfer.forget", async move |conn| store::forget(conn).await).await?;
        Ok(())
    }

    async fn remind(&self, shard: &Shard, closable: &Closable) -> Result<(), StoreError> {
        let borrower = closable.borrower;
        let told = in_time(self.post.status((borrower, shard.id()), &[], &closable.cancelled)).await;
        let Ok(Standings { low, .. }) = told else {
            return Ok(()); // It is away; nothing is forgotten until it says so.
        };
        let raised = async move |conn: &mut _| store::raise_low(conn, borrower, low).await;
        shard.turn().write("transfer.low", raised).await?;
        Ok(())
    }

    async fn measure(&self, shard: &Shard) -> Result<(), StoreError> {
        let flying = store::in_flight(&mut *shard.read().await?).await?;
        let name = shard.id().to_string();
        let gauge = |what: &'static str, value: u64| {
            let value = u32::try_from(value).map_or(f64::MAX, f64::from);
            metrics::gauge!(what, "shard" => name.clone()).set(value);
        };
        gauge("transfers_in_flight", flying.transfers);
        gauge("transfers_in_flight_units", flying.units);
        gauge("transfers_in_flight_oldest_seconds", flying.oldest_seconds);
        if flying.oldest_seconds > ALARM_SECONDS {
            tracing::error!(
                shard.id = %shard.id(),
                transfer.units = flying.units,
                transfer.oldest_seconds = flying.oldest_seconds,
                "units are on their way for too long: they are safe, and cannot be sold until their borrower answers"
            );
        }
        Ok(())
    }
}

/// An answer, if it comes soon. What was asked for may be done all the same.
pub(crate) async fn in_time<T>(answer: impl Future<Output = Result<T, Problem>>) -> Result<T, Problem> {
    let late = |_| Err(Problem::new(ProblemKind::Timeout).detail("no answer in time"));
    tokio::time::timeout(PATIENCE, answer).await.unwrap_or_else(late)
}

/// Groups rows by the shard that they concern, in order.
fn by<T>(rows: Vec<T>, shard: impl Fn(&T) -> ShardId) -> BTreeMap<ShardId, Vec<T>> {
    let mut groups: BTreeMap<ShardId, Vec<T>> = BTreeMap::new();
    rows.into_iter().for_each(|row| groups.entry(shard(&row)).or_default().push(row));
    groups
}
