//! Drives the refunds of one shard: leases what is due, asks the provider with no connection held, commits what came of it.
//! They are few and nobody waits for one in a hurry, so they go in rounds, beside the payments' own driver.

use std::sync::Arc;

use futures::FutureExt;
use futures::future::join_all;
use region_core_events::{NewEvent, Wake, append};
use region_core_store::{Shard, StoreError};
use sqlx::PgConnection;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use crate::Settings;
use crate::events::Mint;
use crate::provider::{NewRefund, Provider, ProviderError, ProviderRefund};
use crate::rules::refund::{self, Answer, Outcome, Refund};
use crate::rules::{self, Payment};
use crate::store::{self, Change};

/// Most refunds of one round, all asked about at once.
const ROUND: i64 = 8;
/// How many times as long as payments they are not looked for.
const PATIENCE: u32 = 4;

/// The refunds of one shard. Any number of processes may drive them: leases keep them apart.
pub(crate) struct RefundDriver<P> {
    pub(crate) desk: Desk,
    pub(crate) provider: Arc<P>,
    /// Told when a refund was asked for.
    pub(crate) wake: Wake,
    /// To be told when something was said.
    pub(crate) events: Wake,
    /// To be told when a payment may have become due.
    pub(crate) payments: Wake,
}

/// What a driver needs to write.
#[derive(Clone)]
pub(crate) struct Desk {
    pub(crate) shard: Shard,
    pub(crate) provider: &'static str,
    pub(crate) mint: Mint,
    pub(crate) settings: Settings,
}

impl<P: Provider> RefundDriver<P> {
    /// Runs until `shutdown`; a round under way is finished.
    pub(crate) async fn run(self, shutdown: CancellationToken) {
        let mut waiter = self.wake.waiter();
        while !shutdown.is_cancelled() {
            let full = match self.round().await {
                Ok(asked) => i64::try_from(asked).is_ok_and(|asked| asked >= ROUND),
                // Leases run out; then the provider is read before anything is repeated.
                Err(error) => {
                    tracing::warn!(shard.id = %self.desk.shard.id(), %error, "refunds wait for their shard");
                    false
                }
            };
            if !full {
                let pause = waiter.wait(self.desk.settings.poll * PATIENCE);
                shutdown.run_until_cancelled(pause).await;
            }
        }
    }

    /// Tells how many refunds were asked about.
    async fn round(&self) -> Result<usize, StoreError> {
        let due = lease(self.desk.clone()).await?;
        if due.is_empty() {
            return Ok(0);
        }
        let ask = |refund| answered(Arc::clone(&self.provider), refund).boxed();
        let results: Vec<(Refund, Answer)> = join_all(due.into_iter().map(ask)).await;
        let asked = results.len();
        commit(self.desk.clone(), results).await?;
        self.events.notify();
        self.payments.notify();
        Ok(asked)
    }
}

async fn answered<P: Provider>(provider: Arc<P>, refund: Refund) -> (Refund, Answer) {
    let started = Instant::now();
    let answer = exchange(provider.as_ref(), &refund).await;
    let result = match answer {
        Answer::Shown(_) => "shown",
        Answer::Refused(_) => "refused",
        Answer::Unknown(_) => "unknown",
    };
    metrics::histogram!("payment_exchange_seconds", "call" => "give_back", "result" => result)
        .record(started.elapsed().as_secs_f64());
    (refund, answer)
}

/// Asks for the refund, in three calls at most. After an attempt whose outcome nobody knows it is read back by its name first.
async fn exchange<P: Provider>(provider: &P, refund: &Refund) -> Answer {
    let Refund { refund_id, reference, amount, .. } = refund;
    if refund.attempts > 1 {
        match provider.find_refund(reference, *refund_id).await {
            Ok(None) => {}
            Ok(Some(shown)) => return Answer::Shown(shown),
            Err(error) => return Answer::Unknown(error.to_string()),
        }
    }
    let new = NewRefund { refund_id: *refund_id, amount: *amount };
    match provider.give_back(reference, new, &refund.key()).await {
        Ok(shown) => Answer::Shown(shown),
        Err(ProviderError::Unknown(cause)) => Answer::Unknown(cause),
        // An earlier attempt may have come through after all.
        Err(ProviderError::Refused(cause)) => refused(provider.find_refund(reference, *refund_id).await, cause),
    }
}

fn refused(known: Result<Option<ProviderRefund>, ProviderError>, cause: String) -> Answer {
    match known {
        Ok(Some(shown)) => Answer::Shown(shown),
        Ok(None) => Answer::Refused(cause),
        Err(error) => Answer::Unknown(error.to_string()),
    }
}

// Owned values all the way, as the payments' driver's.

async fn lease(desk: Desk) -> Result<Vec<Refund>, StoreError> {
    let shard = desk.shard.clone();
    shard.write("payment.lease-refunds", async move |conn| desk.lease(conn).await).await
}

async fn commit(desk: Desk, results: Vec<(Refund, Answer)>) -> Result<(), StoreError> {
    let shard = desk.shard.clone();
    shard.write("payment.settle-refunds", async move |conn| desk.settle(conn, &results).await).await
}

impl Desk {
    async fn lease(&self, conn: &mut PgConnection) -> Result<Vec<Refund>, StoreError> {
        store::refund::lease(conn, self.provider, ROUND, self.settings.lease).await
    }

    async fn settle(&self, conn: &mut PgConnection, results: &[(Refund, Answer)]) -> Result<(), StoreError> {
        let ids: Vec<_> = results.iter().map(|(refund, _)| refund.payment_id).collect();
        // The payments first, before this transaction has an id: events are said under their locks.
        let mut payments = store::lock(conn, &ids).await?;
        let mut said = Vec::new();
        for (refund, answer) in results {
            let payment = payments.iter_mut().find(|payment| payment.payment_id == refund.payment_id);
            let payment = payment.ok_or_else(|| StoreError::corrupt("refunds.payment_id", refund.payment_id))?;
            // Another lease may have come in between; its answer counts.
            if store::refund::is_open(conn, refund).await? {
                said.extend(self.settle_one(conn, payment, refund, &refund::outcome(refund, answer)).await?);
            }
        }
        append(conn, &said).await
    }

    /// Tells what is to be said.
    async fn settle_one(
        &self,
        conn: &mut PgConnection,
        payment: &mut Payment,
        refund: &Refund,
        outcome: &Outcome,
    ) -> Result<Vec<NewEvent>, StoreError> {
        let Refund { refund_id, attempts, .. } = refund;
        let (after, said) = match outcome {
            Outcome::Through => {
                store::refund::end(conn, *refund_id, "refunded", None).await?;
                refund::through(payment, refund)
            }
            Outcome::Refused(cause) => {
                tracing::warn!(refund.id = %refund_id, error = cause, "the provider gives nothing back; somebody should look");
                store::refund::end(conn, *refund_id, "refused", Some(cause)).await?;
                (refund::let_go(payment, refund), Vec::new())
            }
            Outcome::Again(cause) => {
                let pause = rules::pause(*attempts, self.settings.first_pause, self.settings.longest_pause);
                tracing::warn!(refund.id = %refund_id, attempts, error = cause, "no answer to go on with; it is asked again");
                store::refund::again(conn, *refund_id, cause, pause).await?;
                return Ok(Vec::new());
            }
        };
        *payment = after;
        let said = said.into_iter().map(|said| self.mint.say(payment, said)).collect();
        let change = Change { refund: Some(*refund_id), ..Change::now(payment.clone()) };
        store::update(conn, &[change], self.settings.lease).await?;
        Ok(said)
    }
}
