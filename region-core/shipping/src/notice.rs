//! What a carrier tells us by itself (a webhook): a reason to look at a parcel now, never a fact about it.
//!
//! A notice that comes twice does nothing twice, for its name is kept in the shard's inbox in the same transaction; one about a
//! parcel that nobody knows is refused, so that it is sent again. Carriers name their shipments, which say nothing about where ours
//! lives: a region that does not know one asks the others.

use std::collections::BTreeSet;

use http::Method;
use region_core_store::{HasStoreError, Shard, Shards, StoreError, own_slot};
use region_core_web::Peers;
use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};
use shared::{Problem, ProblemKind, RegionName, ShardId, ShipmentId};
use sqlx::PgConnection;
use uuid::Uuid;

use crate::store::label;

/// Where cores of other regions are told.
pub(crate) const PATH: &str = "/internal/shipping/notices";
/// Whose inbox remembers the notices.
const CONSUMER: &str = "shipping.notice";

/// A carrier's word about a parcel.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Notice {
    /// The carrier's name for this notice.
    pub event_id: String,
    /// The carrier's name for the parcel.
    pub reference: String,
}

/// Why a notice was not taken.
#[derive(Debug, thiserror::Error)]
pub enum NoticeError {
    /// No carrier is configured.
    #[error("no carrier tells this store anything")]
    NotSent,
    /// It does not prove to be from the carrier.
    #[error("{0}")]
    Forged(String),
    /// From the carrier, but out of shape.
    #[error("the notice cannot be read: {0}")]
    Unreadable(String),
    /// Its parcel is not here, or not yet.
    #[error("there is no such parcel")]
    UnknownLabel,
    /// No region knows it, and one did not answer.
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
            Self::NotSent | Self::Forged(_) | Self::Unreadable(_) | Self::UnknownLabel | Self::Elsewhere(_) => None,
        }
    }
}

impl From<NoticeError> for Problem {
    fn from(error: NoticeError) -> Self {
        match error {
            NoticeError::NotSent | NoticeError::UnknownLabel => Self::not_found().detail(error.to_string()),
            NoticeError::Forged(_) | NoticeError::Unreadable(_) => {
                Self::new(ProblemKind::Malformed).detail(error.to_string())
            }
            NoticeError::Elsewhere(problem) => problem,
            NoticeError::Store(error) => error.into(),
        }
    }
}

/// Has the other regions look for the parcel, one after the other.
pub(crate) async fn pass_on(shards: &Shards, peers: &Peers, notice: &Notice) -> Result<(), NoticeError> {
    let map = shards.map();
    let all: BTreeSet<&RegionName> = map.shards().map(|(_, region)| region).collect();
    let mut last = NoticeError::UnknownLabel;
    for region in all.into_iter().filter(|region| *region != shards.region()) {
        match peers.call::<_, ()>(region, Method::POST, PATH, notice).await {
            Ok(()) => return Ok(()),
            Err(problem) if problem.is(ProblemKind::NotFound) => {}
            Err(problem) => last = NoticeError::Elsewhere(problem),
        }
    }
    Err(last)
}

/// Has the parcel looked at, on the shard of this region that knows it.
pub(crate) async fn hear(shards: &Shards, notice: &Notice) -> Result<ShardId, NoticeError> {
    for shard in shards.all() {
        let found = label::find_reference(&mut *shard.read().await?, &notice.reference).await?;
        if let Some(shipment) = found {
            let fresh = keep(shard.clone(), shipment, event_uuid(&notice.event_id)).await?;
            let result = if fresh { "looking" } else { "repeated" };
            metrics::counter!("carrier_notices_total", "result" => result).increment(1);
            return Ok(shard.id());
        }
    }
    Err(NoticeError::UnknownLabel)
}

/// Whether it was heard for the first time.
async fn keep(shard: Shard, shipment: ShipmentId, event: Uuid) -> Result<bool, NoticeError> {
    shard.write("shipping.notice", async move |conn| transaction(conn, shipment, event).await).await
}

async fn transaction(conn: &mut PgConnection, shipment: ShipmentId, event: Uuid) -> Result<bool, NoticeError> {
    own_slot(conn, shipment.slot()).await?;
    let fresh = label::enter(conn, CONSUMER, event).await?;
    if fresh {
        label::make_due(conn, shipment).await?;
    }
    Ok(fresh)
}

/// The inbox knows events by UUID, carriers name theirs otherwise: a version 8 UUID of the name's SHA-256 (RFC 9562 section 5.8).
fn event_uuid(name: &str) -> Uuid {
    let digest: [u8; 32] = Sha256::digest(name).into();
    let mut head = [0; 16];
    head.copy_from_slice(&digest[..16]);
    uuid::Builder::from_custom_bytes(head).into_uuid()
}
