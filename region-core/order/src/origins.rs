//! From which regions an order is sent.
//!
//! Units of a paid order that lie elsewhere are assigned to the regions where they lie by a consumer that is in no hurry, off the way of
//! a checkout ([`region_core_inventory::origins`]). What it assigns is a plan: who keeps the store may send a parcel from wherever he
//! has the goods, and says from where.

use std::time::Duration;

use futures::FutureExt;
use futures::future::BoxFuture;
use region_core_events::contract::{OrderConfirmed, Payload};
use region_core_events::{AfterCommit, Consumer, Event, HandleError};
use region_core_inventory::origins;
use region_core_store::{Shards, StoreError};
use shared::api::origin::Origins;
use shared::{OrderId, ShardId};
use sqlx::PgConnection;

use crate::error::OrderError;
use crate::orders::Orders;
use crate::rules;
use crate::ship::lines;
use crate::store::{origin, progress, read};

/// The least time between two looks at what was paid: parcels are packed later than that.
const REST: Duration = Duration::from_secs(1);

/// Assigns paid orders to regions, while there are several. As many as there are now: a store may get another at any time.
#[derive(Clone)]
pub struct OriginNews {
    shards: Shards,
}

impl OriginNews {
    /// For the orders of these shards.
    #[must_use]
    pub fn new(shards: Shards) -> Self {
        Self { shards }
    }
}

impl Consumer for OriginNews {
    fn name(&self) -> &'static str {
        "order.origins"
    }

    fn kinds(&self) -> &'static [&'static str] {
        &[OrderConfirmed::KIND]
    }

    fn handle<'a>(
        &'a self,
        _shard: ShardId,
        conn: &'a mut PgConnection,
        events: &'a [Event],
    ) -> BoxFuture<'a, Result<AfterCommit, HandleError>> {
        async move {
            let orders: Vec<OrderId> = events.iter().map(|event| event.aggregate_id).collect();
            assign(conn, &orders).await?;
            Ok(AfterCommit::default())
        }
        .boxed()
    }

    /// It locks allotments, which those who sell from them must not have to wait for; in a store of one region none.
    fn changes_stock(&self) -> bool {
        self.heeds()
    }

    /// In a store of one region everything lies there.
    fn heeds(&self) -> bool {
        let (map, here) = (self.shards.map(), self.shards.region());
        map.shards().any(|(_, region)| region != here)
    }

    fn rest(&self) -> Duration {
        REST
    }
}

/// Locks only what is to be assigned, in the order of everybody: orders by id, then allotments by SKU.
async fn assign(conn: &mut PgConnection, orders: &[OrderId]) -> Result<(), StoreError> {
    let concerned = origins::concerned(conn, orders).await?;
    if concerned.is_empty() {
        return Ok(());
    }
    progress::lock(conn, &concerned).await?;
    let paid = origin::paid(conn, &concerned).await?;
    origins::assign(conn, &paid).await
}

impl Orders {
    /// Where the units of an order lie, and what is still to be sent from where: for who keeps the store, which the caller has
    /// checked.
    ///
    /// # Errors
    /// [`OrderError::NotFound`], and those of the store.
    pub async fn origins(&self, order: OrderId) -> Result<Origins, OrderError> {
        self.existing(order).await?;
        let shards = &self.parts().shards;
        let mut conn = shards.here(order.slot())?.read().await?;
        let ordered = read::ordered(&mut conn, order).await?;
        let lines = lines(&mut conn, order, &ordered).await?;
        let elsewhere = origins::planned(&mut conn, order).await?;
        let packed = region_core_shipping::origin::packed(&mut conn, order).await?;
        Ok(Origins { items: rules::origins(&lines, shards.region(), &elsewhere, &packed) })
    }
}
