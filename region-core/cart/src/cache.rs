//! The cart's copy in Redis: 5 seconds at most, carrying its version, never the judge of anything.

use std::time::Duration;

use region_core_store::redis::Redis;
use shared::UserId;

use crate::rules::StoredCart;

/// Longest time that another device's change may stay unseen.
const LIFE: Duration = Duration::from_secs(5);

fn key(user: UserId) -> String {
    format!("cart:{user}")
}

/// A copy no older than `min_version`, if Redis has one and answers in time.
pub(crate) async fn find(redis: &Redis, user: UserId, min_version: u64) -> Option<StoredCart> {
    let bytes = redis.get(&key(user)).await?;
    let cart: StoredCart = serde_json::from_slice(&bytes).ok()?;
    Some(cart).filter(|cart| cart.version >= min_version)
}

/// Keeps a copy.
pub(crate) async fn keep(redis: &Redis, user: UserId, cart: &StoredCart) {
    if let Ok(bytes) = serde_json::to_vec(cart) {
        redis.set(&key(user), bytes, LIFE).await;
    }
}

/// Forgets the copy.
pub(crate) async fn forget(redis: &Redis, user: UserId) {
    redis.delete(&key(user)).await;
}
