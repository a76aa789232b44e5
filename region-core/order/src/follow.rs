//! Following an order: an answer that is held until the order has left the state that its reader knows.
//!
//! Whoever waits reads one row now and then and holds no connection in between. A commit of the shard in this process
//! wakes him; what another process did he finds by looking again.

use std::time::Duration;

use region_core_store::Shard;
use shared::api::order::Order;
use shared::{OrderId, UserId};
use tokio::time::Instant;

use crate::error::OrderError;
use crate::orders::Orders;
use crate::store::read;

/// Longest time between two looks at an order that someone follows: nothing of it hurries any more.
const LONGEST_LOOK: Duration = Duration::from_secs(2);
/// Shortest time between two such looks.
const SHORTEST_LOOK: Duration = Duration::from_millis(10);
/// Requests that follow an order at once. Each takes a place among the requests that a point of presence has under way.
pub(crate) const MOST_FOLLOWERS: usize = 128;

/// Where an order stands once its follower is answered.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Followed {
    /// As [`Order::state_tag`] has it.
    pub state: String,
    /// Whether the answer would have been held for a change: false when too many follow already.
    pub held: bool,
}

impl Orders {
    /// Where the order stands, once `known` knows that no more or `wait` has passed. `owner` must be its shopper; nobody in
    /// particular is for who keeps the store, which the caller has checked.
    ///
    /// # Errors
    /// [`OrderError::NotFound`] for absent orders and for other people's; those of the store.
    pub async fn follow(
        &self,
        order: OrderId,
        owner: Option<UserId>,
        wait: Duration,
        known: impl Fn(&str) -> bool,
    ) -> Result<Followed, OrderError> {
        let shard = self.parts().shards.here(order.slot())?;
        // Before the first look, so that no commit after it is missed.
        let mut commits = self.parts().wakes.of(shard.id()).waiter();
        let mut state = look(shard, order, owner).await?;
        let Ok(_place) = self.followers().try_acquire() else { return Ok(Followed { state, held: false }) };
        let (until, mut pause) = (Instant::now() + wait, SHORTEST_LOOK);
        let left = || until.saturating_duration_since(Instant::now());
        while known(&state) && !left().is_zero() {
            // Every commit of the shard wakes; a pause that grows keeps those who wait long from reading all the time.
            tokio::time::sleep(pause.min(left())).await;
            commits.wait(left().min(LONGEST_LOOK)).await;
            pause = (pause * 2).min(LONGEST_LOOK);
            state = look(shard, order, owner).await?;
        }
        Ok(Followed { state, held: true })
    }

    /// As whom somebody who keeps the store reads the order: as its owner if it is his own, and as nobody in particular if it is not.
    ///
    /// # Errors
    /// As [`Self::follow`].
    pub(crate) async fn reader(&self, keeper: UserId, order: OrderId) -> Result<Option<UserId>, OrderError> {
        let shard = self.parts().shards.here(order.slot())?;
        let his = read::state(&mut *shard.read().await?, order, Some(keeper)).await?;
        Ok(his.map(|_| keeper))
    }

    /// The order, if it is the owner's; anybody's if none is named.
    ///
    /// # Errors
    /// As [`Self::follow`].
    pub(crate) async fn find_for(&self, owner: Option<UserId>, order: OrderId) -> Result<Order, OrderError> {
        match owner {
            Some(owner) => self.find(owner, order).await,
            None => self.existing(order).await,
        }
    }
}

async fn look(shard: &Shard, order: OrderId, owner: Option<UserId>) -> Result<String, OrderError> {
    read::state(&mut *shard.read().await?, order, owner).await?.ok_or(OrderError::NotFound)
}
