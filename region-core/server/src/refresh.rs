//! What every process keeps a copy of and looks at again: the slot map and the published keys.
//!
//! While the control schema is away the copies stay in use: losing it stops moves and new keys, never sales.

use std::time::Duration;

use region_core_control::{list_keys, load_slot_map};
use region_core_store::Shards;
use region_core_web::Verifier;
use shared::token::{KeySet, PublicKey};
use sqlx::PgPool;
use tokio_util::sync::CancellationToken;

/// How old a copy may be.
const PERIOD: Duration = Duration::from_secs(2);
/// How old it is at least when it is read again, though somebody misses a key.
const SOONEST: Duration = Duration::from_millis(250);

/// Keeps both copies fresh until told to stop. `own` is this region's key, just published at the primary: until the
/// region's copy has been seen to hold it, its absence there is replication's delay and not a retirement.
pub(crate) async fn keep_fresh(
    catalog: PgPool,
    shards: Shards,
    verifier: Verifier,
    own: PublicKey,
    shutdown: CancellationToken,
) {
    let mut arrived = false;
    while shutdown.run_until_cancelled(next_look(&verifier)).await.is_some() {
        match load_slot_map(&catalog).await {
            Ok(Some(map)) => shards.adopt(map),
            Ok(None) => tracing::warn!("the control schema holds no slot map; the known one stays in use"),
            Err(error) => tracing::warn!(%error, "the slot map could not be read; the known one stays in use"),
        }
        match list_keys(&catalog).await {
            Ok(keys) => verifier.replace(with_own(keys, &own, &mut arrived)),
            Err(error) => tracing::warn!(%error, "the published keys could not be read; the known ones stay in use"),
        }
    }
}

/// Waits until the copies are old, or old enough for somebody who misses a key.
async fn next_look(verifier: &Verifier) {
    let missed = async {
        tokio::time::sleep(SOONEST).await;
        verifier.missed_a_key().await;
    };
    // Either way it is time.
    let _ = tokio::time::timeout(PERIOD, missed).await;
}

fn with_own(mut keys: KeySet, own: &PublicKey, arrived: &mut bool) -> KeySet {
    *arrived |= keys.find(&own.kid).is_some();
    if !*arrived {
        keys.keys.push(own.clone());
    }
    keys
}

#[cfg(test)]
mod tests {
    use shared::token::KeyId;

    use super::*;

    #[test]
    fn a_region_keeps_its_own_key_until_the_copy_has_it_and_then_believes_the_copy() {
        let key = |name: &str| PublicKey::new(KeyId(name.to_owned()), &[1; 32]);
        let names = |set: KeySet| set.keys.into_iter().map(|key| key.kid.0).collect::<Vec<_>>();
        let (own, mut arrived) = (key("eu-new"), false);
        let copy = |keys: &[&str]| KeySet { keys: keys.iter().map(|name| key(name)).collect() };
        assert_eq!(names(with_own(copy(&["us"]), &own, &mut arrived)), ["us", "eu-new"]);
        assert_eq!(names(with_own(copy(&["us", "eu-new"]), &own, &mut arrived)), ["us", "eu-new"]);
        assert_eq!(names(with_own(copy(&["us"]), &own, &mut arrived)), ["us"], "a retired key came back");
    }
}
