//! The cart's face: each use case loads, decides and commits once, and Redis follows.

use std::sync::Arc;

use region_core_store::redis::Redis;
use region_core_store::{Shards, StoreError};
use shared::api::cart::{Cart, CartChange, CartOperation};
use shared::{OperationId, UserId};

use crate::rules::{FrozenCart, Item, StoredCart};
use crate::store::{self, CartError};
use crate::{Prices, cache};

/// Operations forgotten in one statement.
const PRUNE_BATCH: i64 = 1_000;
/// Statements in one round of pruning, for each shard.
const PRUNE_ROUNDS: u32 = 20;

/// The carts of this region's users. Cheap to clone.
#[derive(Clone)]
pub struct Carts {
    shards: Shards,
    redis: Redis,
    prices: Arc<dyn Prices>,
}

impl std::fmt::Debug for Carts {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Carts").field("region", self.shards.region()).finish_non_exhaustive()
    }
}

impl Carts {
    /// Carts in these shards, with copies in that Redis, shown at those prices.
    #[must_use]
    pub fn new(shards: Shards, redis: Redis, prices: Arc<dyn Prices>) -> Self {
        Self { shards, redis, prices }
    }

    /// The cart as shown, never older than `min_version`; if the truth is lower than that, the truth.
    ///
    /// # Errors
    /// Those of the store.
    #[tracing::instrument(name = "cart.view", skip_all, fields(user.id = %user))]
    pub async fn view(&self, user: UserId, min_version: u64) -> Result<Cart, StoreError> {
        let shard = self.shards.here(user.slot())?;
        if let Some(copy) = cache::find(&self.redis, user, min_version).await {
            metrics::counter!("cart_reads_total", "from" => "redis").increment(1);
            return Ok(copy.view(&*self.prices));
        }
        metrics::counter!("cart_reads_total", "from" => "shard").increment(1);
        let cart = store::find(&mut *shard.read().await?, user).await?;
        cache::keep(&self.redis, user, &cart).await;
        Ok(cart.view(&*self.prices))
    }

    /// Applies one operation, once. A repeat answers with the cart as it is now.
    ///
    /// # Errors
    /// [`CartError`]; nothing is changed then.
    #[tracing::instrument(name = "cart.apply", skip_all, fields(user.id = %user))]
    pub async fn apply(&self, user: UserId, operation: &CartOperation) -> Result<Cart, CartError> {
        self.expect_sold(&operation.change)?;
        let shard = self.shards.here(user.slot())?;
        let operation = operation.clone();
        let cart = shard.write("cart.apply", async move |conn| store::apply(conn, user, &operation).await).await?;
        Ok(self.keep(user, cart).await)
    }

    /// What is no longer sold may still be taken out, never put in.
    fn expect_sold(&self, change: &CartChange) -> Result<(), CartError> {
        match change {
            CartChange::Add { sku, .. } | CartChange::Set { sku, .. } if self.prices.find_offer(sku).is_none() => {
                Err(CartError::UnknownSku(sku.clone()))
            }
            CartChange::Add { .. } | CartChange::Set { .. } | CartChange::Remove { .. } => Ok(()),
        }
    }

    async fn keep(&self, user: UserId, cart: StoredCart) -> Cart {
        cache::keep(&self.redis, user, &cart).await;
        cart.view(&*self.prices)
    }

    /// First step of a sign-in: a guest's cart takes no more operations, and says what is in it. Repeatable.
    ///
    /// # Errors
    /// Those of the store.
    pub async fn freeze(&self, guest: UserId) -> Result<FrozenCart, StoreError> {
        let shard = self.shards.here(guest.slot())?;
        shard.write("cart.freeze", async move |conn| store::freeze(conn, guest).await).await
    }

    /// Second step: the items join the account's cart under one operation id. Repeatable.
    ///
    /// # Errors
    /// Those of the store.
    pub async fn merge(&self, user: UserId, operation: OperationId, items: Vec<Item>) -> Result<(), StoreError> {
        let shard = self.shards.here(user.slot())?;
        let cart =
            shard.write("cart.merge", async move |conn| store::merge(conn, user, operation, &items).await).await?;
        cache::keep(&self.redis, user, &cart).await;
        Ok(())
    }

    /// Last step: the guest's cart, still at the version it was frozen at, is emptied and thawed. Repeatable.
    ///
    /// # Errors
    /// Those of the store.
    pub async fn drain(&self, guest: UserId, version: u64) -> Result<(), StoreError> {
        let shard = self.shards.here(guest.slot())?;
        shard.write("cart.drain", async move |conn| store::drain(conn, guest, version).await).await?;
        self.invalidate(guest).await;
        Ok(())
    }

    /// Forgets the copy of a cart that an order took; call it after the commit.
    pub async fn invalidate(&self, user: UserId) {
        cache::forget(&self.redis, user).await;
    }

    /// Forgets operations older than seven days, in bounded steps: nobody repeats those. How many.
    ///
    /// # Errors
    /// Those of the store; the next round goes on.
    #[tracing::instrument(name = "cart.prune", skip_all, err)]
    pub async fn prune(&self) -> Result<u64, StoreError> {
        let mut forgotten = 0;
        for shard in self.shards.all() {
            for _ in 0..PRUNE_ROUNDS {
                let batch = shard.write("cart.prune", async move |conn| store::prune(conn, PRUNE_BATCH).await).await?;
                forgotten += batch;
                if batch < PRUNE_BATCH.cast_unsigned() {
                    break;
                }
            }
        }
        Ok(forgotten)
    }
}
