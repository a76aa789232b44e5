//! What a provider tells us by itself (a webhook): a reason to look at a payment now, never a fact about it.
//!
//! Whoever proves to be the provider may have the payment read by its reference sooner, and have one that was over looked at
//! once more: a success that came too late goes back. A notice that comes twice does nothing twice, for its name is kept in
//! the shard's inbox in the same transaction; one about a payment that nobody knows is refused, so that it is sent again.
//!
//! Providers know one address for all regions. A core that is told of another region's payment passes that on.

use std::time::Duration;

use http::Method;
use region_core_store::{HasStoreError, Shard, Shards, StoreError, own_slot};
use region_core_web::Peers;
use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};
use shared::{PaymentId, Problem, ProblemKind};
use sqlx::PgConnection;
use uuid::Uuid;

use crate::rules::{self, Told};
use crate::store::{self, Change};

/// Where cores of other regions are told.
pub(crate) const PATH: &str = "/internal/payments/notices";

/// A provider's word about a payment.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Notice {
    /// The provider's name for this notice.
    pub event_id: String,
    /// Our name for the payment.
    pub payment_id: PaymentId,
    /// The provider's name for it.
    pub reference: String,
    /// What it is about.
    pub news: News,
}

/// What a notice is about.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum News {
    /// An amount is kept ready, or it moved.
    Money,
    /// A decline, or the amount was let go.
    Over,
}

/// Why a notice was not taken.
#[derive(Debug, thiserror::Error)]
pub enum NoticeError {
    /// This store's provider sends none, or it is another provider.
    #[error("no such provider tells this store anything")]
    NotSent,
    /// It does not prove to be from the provider, or not of now.
    #[error("{0}")]
    Forged(String),
    /// Nobody could say just now whether it is from the provider.
    #[error("the notice could not be proved: {0}")]
    Unproven(String),
    /// From the provider, but out of shape.
    #[error("the notice cannot be read: {0}")]
    Unreadable(String),
    /// Its payment is not here, or not yet.
    #[error("there is no such payment")]
    UnknownPayment,
    /// Another region's core did not take it.
    #[error("{0}")]
    Elsewhere(Problem),
    /// The shard failed or is not the right one.
    #[error(transparent)]
    Store(#[from] StoreError),
}

impl HasStoreError for NoticeError {
    fn store_error(&self) -> Option<&StoreError> {
        match self {
            Self::Store(error) => Some(error),
            Self::NotSent
            | Self::Forged(_)
            | Self::Unproven(_)
            | Self::Unreadable(_)
            | Self::UnknownPayment
            | Self::Elsewhere(_) => None,
        }
    }
}

impl From<NoticeError> for Problem {
    fn from(error: NoticeError) -> Self {
        match error {
            NoticeError::NotSent | NoticeError::UnknownPayment => Self::not_found().detail(error.to_string()),
            NoticeError::Forged(_) | NoticeError::Unreadable(_) => {
                Self::new(ProblemKind::Malformed).detail(error.to_string())
            }
            NoticeError::Unproven(_) => Self::new(ProblemKind::Unavailable),
            NoticeError::Elsewhere(problem) => problem,
            NoticeError::Store(error) => error.into(),
        }
    }
}

/// What came of a notice.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Heard {
    /// The payment is read soon.
    Looking,
    /// It changes nothing.
    Known,
    /// It was heard before.
    Repeated,
    /// The payment goes by another name at the provider: somebody should look.
    Stranger,
}

impl Heard {
    const fn name(self) -> &'static str {
        match self {
            Self::Looking => "looking",
            Self::Known => "known",
            Self::Repeated => "repeated",
            Self::Stranger => "stranger",
        }
    }
}

/// A notice on its way between cores.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Passed {
    /// Whose it is; a core of before there were several does not say, and means the main one.
    #[serde(default)]
    pub(crate) provider: Option<String>,
    #[serde(flatten)]
    pub(crate) notice: Notice,
}

/// Passes the notice on to the region of its payment, if that is not this one. Whether it did.
pub(crate) async fn pass_on(
    shards: &Shards,
    peers: &Peers,
    provider: &str,
    notice: &Notice,
) -> Result<bool, NoticeError> {
    let map = shards.map();
    let region = map.region_of(notice.payment_id.slot());
    if region == shards.region() {
        return Ok(false);
    }
    let passed = Passed { provider: Some(provider.to_owned()), notice: notice.clone() };
    let passed = peers.call::<_, ()>(region, Method::POST, PATH, &passed).await;
    passed.map(|()| true).map_err(NoticeError::Elsewhere)
}

/// Whether there can be such a payment: false if it would be here, and is not.
pub(crate) async fn may_be_known(shards: &Shards, provider: &str, payment: PaymentId) -> Result<bool, StoreError> {
    if shards.map().region_of(payment.slot()) != shards.region() {
        return Ok(true);
    }
    let mut conn = shards.here(payment.slot())?.read().await?;
    store::notice::is_known(&mut conn, provider, payment).await
}

/// Has the payment looked at. It must be of this region.
pub(crate) async fn hear(
    shards: &Shards,
    provider: &'static str,
    notice: Notice,
) -> Result<(Shard, Heard), NoticeError> {
    let shard = shards.here(notice.payment_id.slot())?.clone();
    let heard = keep(shard.clone(), provider.to_owned(), notice.clone()).await?;
    metrics::counter!("payment_notices_total", "provider" => provider, "result" => heard.name()).increment(1);
    if heard == Heard::Stranger {
        tracing::error!(
            payment.id = %notice.payment_id, payment.reference = notice.reference,
            "the provider tells of a payment under a reference that is not the one we know"
        );
    }
    Ok((shard, heard))
}

// Owned values all the way, as the driver's: a closure that captures a reference, even one for ever, cannot be spawned.
async fn keep(shard: Shard, provider: String, notice: Notice) -> Result<Heard, NoticeError> {
    shard.write("payment.notice", async move |conn| transaction(conn, &provider, &notice).await).await
}

async fn transaction(conn: &mut PgConnection, provider: &str, notice: &Notice) -> Result<Heard, NoticeError> {
    own_slot(conn, notice.payment_id.slot()).await?;
    if !store::notice::enter(conn, &consumer(provider), event_uuid(&notice.event_id)).await? {
        return Ok(Heard::Repeated);
    }
    let known = store::notice::lock(conn, provider, notice.payment_id).await?;
    let payment = known.ok_or(NoticeError::UnknownPayment)?;
    match rules::told(&payment, &notice.reference, notice.news) {
        Told::Known => Ok(Heard::Known),
        Told::Stranger => Ok(Heard::Stranger),
        Told::Due => {
            store::notice::make_due(conn, notice.payment_id).await?;
            Ok(Heard::Looking)
        }
        Told::Look(payment) => {
            store::update(conn, &[Change::now(*payment)], Duration::ZERO).await?;
            Ok(Heard::Looking)
        }
    }
}

/// Whose inbox remembers the notices.
fn consumer(provider: &str) -> String {
    format!("payment.notice.{provider}")
}

/// The inbox knows events by UUID, providers name theirs otherwise: a version 8 UUID of the name's SHA-256 (RFC 9562 section 5.8).
fn event_uuid(name: &str) -> Uuid {
    let digest: [u8; 32] = Sha256::digest(name).into();
    let mut head = [0; 16];
    head.copy_from_slice(&digest[..16]);
    uuid::Builder::from_custom_bytes(head).into_uuid()
}

#[cfg(test)]
mod tests {
    use region_core_store::test_support::one_shard;
    use shared::id::Slot;
    use shared::{Currency, Money, OrderId};

    use super::*;
    use crate::rules::{Payment, State};

    const MS: u64 = 1_800_000_000_000;

    fn payment_id() -> PaymentId {
        PaymentId::mint(MS, Slot::new(9).unwrap(), [1; 8])
    }

    fn notice(event_id: &str, news: News) -> Notice {
        Notice { event_id: event_id.to_owned(), payment_id: payment_id(), reference: "pi_1".to_owned(), news }
    }

    /// A shard with one payment at `bank`, in that state.
    async fn shards(state: State) -> Shards {
        let shards = one_shard().await;
        let mut conn = shards.all().next().unwrap().read().await.unwrap();
        sqlx::raw_sql(store::AN_ORDER).execute(&mut *conn).await.unwrap();
        let order_id = OrderId::from_uuid("00000000-0000-7000-8000-000000000001".parse().unwrap());
        let amount = Money::new(1250, Currency::GBP).unwrap();
        let new = Payment::new("bank", payment_id(), order_id, amount, "tok".to_owned());
        store::insert(&mut conn, std::slice::from_ref(&new), Duration::ZERO).await.unwrap();
        let provider_reference = (state != State::Abandoned).then(|| "pi_1".to_owned());
        let payment = Payment { state, provider_reference, ..new };
        let pause = Duration::from_secs(3600);
        let change = Change { pause, ..Change::now(payment) };
        store::update(&mut conn, &[change], Duration::ZERO).await.unwrap();
        shards
    }

    async fn heard(shards: &Shards, notice: Notice) -> Result<Heard, NoticeError> {
        Ok(hear(shards, "bank", notice).await?.1)
    }

    /// Payments that a driver would take now.
    async fn due(shards: &Shards) -> Vec<(State, i32)> {
        let mut conn = shards.all().next().unwrap().read().await.unwrap();
        let due = store::lease(&mut conn, "bank", 10, Duration::ZERO, None).await.unwrap();
        due.payments.into_iter().map(|payment| (payment.state, payment.attempts)).collect()
    }

    #[tokio::test]
    async fn a_payment_that_waits_for_its_next_attempt_is_due_at_once() {
        let shards = shards(State::ToCapture).await;
        assert_eq!(due(&shards).await, []);
        assert_eq!(heard(&shards, notice("evt_1", News::Money)).await.unwrap(), Heard::Looking);
        assert_eq!(due(&shards).await, [(State::ToCapture, 1)]);
    }

    #[tokio::test]
    async fn a_notice_that_comes_again_does_nothing() {
        let shards = shards(State::ChallengeRequired).await;
        assert_eq!(heard(&shards, notice("evt_1", News::Money)).await.unwrap(), Heard::Looking);
        assert_eq!(due(&shards).await, [(State::ToConfirm, 1)]);
        for _ in 0..3 {
            assert_eq!(heard(&shards, notice("evt_1", News::Money)).await.unwrap(), Heard::Repeated);
        }
        assert_eq!(heard(&shards, notice("evt_2", News::Money)).await.unwrap(), Heard::Looking);
    }

    #[tokio::test]
    async fn a_notice_about_an_unknown_payment_is_refused_each_time_until_it_is_known() {
        let shards = shards(State::Authorized).await;
        let elsewhere = PaymentId::mint(MS, Slot::new(9).unwrap(), [2; 8]);
        let unknown = Notice { payment_id: elsewhere, ..notice("evt_1", News::Money) };
        for _ in 0..2 {
            let refused = heard(&shards, unknown.clone()).await.unwrap_err();
            assert!(matches!(refused, NoticeError::UnknownPayment), "{refused}");
        }
        assert_eq!(heard(&shards, notice("evt_1", News::Money)).await.unwrap(), Heard::Known);
        let other = hear(&shards, "another bank", notice("evt_2", News::Money)).await.unwrap_err();
        assert!(matches!(other, NoticeError::UnknownPayment), "{other}");
    }

    #[tokio::test]
    async fn a_payment_that_was_over_is_read_again_by_the_reference_that_the_notice_brings() {
        let shards = shards(State::Abandoned).await;
        assert_eq!(heard(&shards, notice("evt_1", News::Over)).await.unwrap(), Heard::Known);
        assert_eq!(heard(&shards, notice("evt_2", News::Money)).await.unwrap(), Heard::Looking);
        // From the second attempt on a payment is read before anything is asked.
        assert_eq!(due(&shards).await, [(State::ToVoid, 2)]);
    }

    #[test]
    fn a_notice_passed_on_says_whose_it_is_and_one_of_an_older_core_still_reads() {
        let (provider, notice) = (Some("paypal".to_owned()), notice("evt_1", News::Money));
        let older = serde_json::to_value(&notice).unwrap();
        let read: Passed = serde_json::from_value(older).unwrap();
        assert_eq!((read.provider, &read.notice), (None, &notice));
        let passed = serde_json::to_value(Passed { provider: provider.clone(), notice: notice.clone() }).unwrap();
        let read: Passed = serde_json::from_value(passed.clone()).unwrap();
        assert_eq!((read.provider, read.notice), (provider, notice.clone()));
        assert_eq!(serde_json::from_value::<Notice>(passed).unwrap(), notice, "an older core reads it, too");
    }

    #[tokio::test]
    async fn what_another_region_owns_is_passed_on_or_sent_again() {
        let shards = shards(State::Authorized).await;
        assert!(!pass_on(&shards, &Peers::none(), "bank", &notice("evt_1", News::Money)).await.unwrap());
        let there: shared::RegionName = "us".parse().unwrap();
        let map = shared::SlotMap::even(2, [(shared::ShardId::try_from(2).unwrap(), there)].into()).unwrap();
        shards.adopt(map);
        let away = pass_on(&shards, &Peers::none(), "bank", &notice("evt_1", News::Money)).await.unwrap_err();
        assert_eq!(Problem::from(away).status, 503);
    }
}
