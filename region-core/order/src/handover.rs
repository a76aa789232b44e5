//! Orders that another core of the region decides about: the one that writes their shard by preference.
//!
//! Two cores that admit orders on one shard make each other's remembered counts stale. So whoever is not preferred hands an
//! order over as a whole, checked and priced; where units are missing it waits in the preferred core's line. It is handed over
//! once, and never further. Whatever comes back that is no decision (nothing in time, "not I", a failure) leaves the order to
//! this core's own writer, which finds by the order's key what the other may have written all the same. An order says by when
//! it is to be answered, so that a core that hung does not write it long after its shopper was told something else.
//!
//! Deliberately absent: waiting for a core that is away, and any reliance on who is preferred.

use std::borrow::Cow;
use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use region_core_store::{Preferred, Shard};
use region_core_web::{CoreCallError, Peers};
use serde::{Deserialize, Serialize};
use shared::{Problem, ProblemKind};
use shared_clock::Clock;
use tokio::sync::Semaphore;
use tokio::time::Instant;

use crate::admission::{AdmitOrder, Wanted};
use crate::error::OrderError;
use crate::orders::{LONGEST_BORROW, Orders};
use crate::store::place::{KnownKey, Times};

/// Where cores of the region hand over orders.
pub(crate) const PATH: &str = "/internal/orders/admit";
/// Longest time that the preferred core may take: a little more than orders wait for units, there as here.
const DEADLINE_MS: u64 = 1_000;
const DEADLINE: Duration = Duration::from_millis(DEADLINE_MS);
/// Orders handed over and not answered yet, at most.
const MOST: usize = 512;
/// How long a core that gave no decision is left alone.
const PAUSE: Duration = Duration::from_secs(1);

/// An order on its way to another core.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct HandedOver<'a> {
    order: Cow<'a, Wanted>,
    /// When whoever hands it over gives up, in milliseconds of Unix time by his clock.
    answer_by_unix_ms: u64,
}

impl HandedOver<'_> {
    /// How long somebody waits for the answer yet. Clocks that differ make it shorter or end it, but never longer.
    fn left(&self, clock: &Clock) -> Duration {
        Duration::from_millis(self.answer_by_unix_ms.saturating_sub(clock.unix_ms())).min(DEADLINE)
    }
}

/// Which order stands under the key, once it was decided about.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Stands {
    /// This one.
    Admitted(Times),
    /// The key's own: an earlier one, or this one by an earlier attempt.
    Known(KnownKey),
}

/// What the core says to which an order was handed over; a refusal is a problem.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Reply {
    /// It was decided about.
    Stands(Stands),
    /// Nothing was done: that core does not write the shard by preference.
    NotPreferred,
}

/// What has become of an order that was to be handed over.
#[derive(Debug)]
pub(crate) enum Handed {
    /// It was decided about.
    Decided(Result<Stands, OrderError>),
    /// Nothing; this core's writer is to decide.
    Nothing,
    /// Nobody knows. This core's writer is to decide, and may find what the other has written or is writing.
    Unknown,
}

/// Why an order is written here although this core is not known to be preferred.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Why {
    /// Nobody is known to be.
    Unknown,
    /// The preferred core gave no decision a moment ago.
    LeftAlone,
    /// Too many orders are handed over already.
    Full,
    /// The core says that it is not preferred.
    NotPreferred,
    /// The core could not be reached, did not answer in time, or failed.
    NoDecision,
}

impl Why {
    fn label(self) -> &'static str {
        match self {
            Self::Unknown => "unknown",
            Self::LeftAlone => "left_alone",
            Self::Full => "full",
            Self::NotPreferred => "not_preferred",
            Self::NoDecision => "no_decision",
        }
    }
}

/// Hands orders over.
pub(crate) struct Handover {
    peers: Peers,
    permits: Semaphore,
    /// Cores that gave no decision, and until when they are left alone.
    left_alone: Mutex<HashMap<String, Instant>>,
}

impl Handover {
    pub(crate) fn new(peers: Peers) -> Self {
        Self { peers, permits: Semaphore::new(MOST), left_alone: Mutex::default() }
    }

    /// Has the order decided about by the core that writes the shard by preference, unless that is this one.
    pub(crate) async fn decide(&self, shard: &Shard, order: &Wanted, clock: &Clock) -> Handed {
        let decided = match &*shard.turn().preferred() {
            Preferred::Here => return Handed::Nothing,
            Preferred::Unknown => Err(Why::Unknown),
            Preferred::Elsewhere(core) => self.hand_over(shard, core, order, clock).await,
        };
        match decided {
            Ok(decided) => {
                metrics::counter!("orders_handed_over_total").increment(1);
                Handed::Decided(decided)
            }
            Err(why) => {
                metrics::counter!("orders_written_unpreferred_total", "why" => why.label()).increment(1);
                if why == Why::NoDecision { Handed::Unknown } else { Handed::Nothing }
            }
        }
    }

    async fn hand_over(
        &self,
        shard: &Shard,
        core: &str,
        order: &Wanted,
        clock: &Clock,
    ) -> Result<Result<Stands, OrderError>, Why> {
        if self.is_left_alone(core) {
            return Err(Why::LeftAlone);
        }
        let _permit = self.permits.try_acquire().map_err(|_| Why::Full)?;
        let answer_by_unix_ms = clock.unix_ms() + DEADLINE_MS;
        let handed_over = HandedOver { order: Cow::Borrowed(order), answer_by_unix_ms };
        match self.peers.call_core(core, PATH, &handed_over, DEADLINE).await {
            Ok(Reply::Stands(stands)) => Ok(Ok(stands)),
            Ok(Reply::NotPreferred) => {
                shard.turn().doubt();
                Err(Why::NotPreferred)
            }
            Err(CoreCallError::Refused(problem)) if is_decision(&problem) => {
                Ok(Err(OrderError::DecidedElsewhere(problem)))
            }
            Err(error) => {
                tracing::warn!(core, shard.id = %shard.id(), %error, "the preferred writer gave no decision");
                self.leave_alone(core);
                shard.turn().doubt();
                Err(Why::NoDecision)
            }
        }
    }

    fn is_left_alone(&self, core: &str) -> bool {
        let left_alone = self.left_alone.lock().unwrap_or_else(PoisonError::into_inner);
        left_alone.get(core).is_some_and(|until| Instant::now() < *until)
    }

    fn leave_alone(&self, core: &str) {
        let mut left_alone = self.left_alone.lock().unwrap_or_else(PoisonError::into_inner);
        // One entry for each core that ever was preferred.
        left_alone.insert(core.to_owned(), Instant::now() + PAUSE);
    }
}

/// Whether a refusal is about the order. Anything else is about the core that refused (its shard failed, it is of an older
/// version), and no reason to refuse the order here.
fn is_decision(refusal: &Problem) -> bool {
    const ABOUT_THE_ORDER: [ProblemKind; 5] = [
        ProblemKind::SoldOut,
        ProblemKind::StockInTransit,
        ProblemKind::CartChanged,
        ProblemKind::NotSignedIn,
        ProblemKind::WrongShard,
    ];
    ABOUT_THE_ORDER.iter().any(|kind| refusal.is(*kind))
}

impl Orders {
    /// Decides about an order that another core of the region handed over, if this one writes its shard by preference.
    ///
    /// # Errors
    /// As of [`Orders::place`]; 504 once nobody waits for it any more.
    #[tracing::instrument(name = "order.admit_handed_over", skip_all, fields(user.id = %handed_over.order.user_id))]
    pub(crate) async fn admit_handed_over(&self, handed_over: HandedOver<'_>) -> Result<Reply, Problem> {
        let shard = self.parts().shards.here(handed_over.order.user_id.slot()).map_err(OrderError::from)?;
        if *shard.turn().preferred() != Preferred::Here {
            return Ok(Reply::NotPreferred);
        }
        let (now, left) = (Instant::now(), handed_over.left(&self.parts().clock));
        if left.is_zero() {
            return Err(Problem::new(ProblemKind::Timeout));
        }
        let (by, until) = (now + left, now + left.min(LONGEST_BORROW));
        let order = Arc::new(AdmitOrder::from(handed_over.order.into_owned()));
        match tokio::time::timeout_at(by, self.decide(shard, &order, until, Some(by))).await {
            Ok(decided) => Ok(Reply::Stands(decided?)),
            Err(_) => Err(Problem::new(ProblemKind::Timeout)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_is_said_about_the_order_is_taken_for_a_decision() {
        let about_the_order = |kind: &&ProblemKind| is_decision(&Problem::new(**kind));
        let statuses: Vec<u16> = ProblemKind::ALL.iter().filter(about_the_order).map(|kind| kind.status()).collect();
        assert_eq!(statuses.len(), 5);
        assert!(statuses.iter().all(|status| matches!(status, 401 | 409 | 421)), "{statuses:?}");
    }

    #[tokio::test(start_paused = true)]
    async fn a_core_that_gave_no_decision_is_left_alone_for_a_moment_and_others_are_not() {
        let handover = Handover::new(Peers::none());
        handover.leave_alone("eu-1");
        assert!(handover.is_left_alone("eu-1") && !handover.is_left_alone("eu-2"));
        tokio::time::advance(PAUSE).await;
        assert!(!handover.is_left_alone("eu-1"));
    }
}
