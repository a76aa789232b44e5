//! Webhooks: merchants' systems are told by signed HTTP requests what becomes of orders.
//!
//! Operators keep endpoints in the control schema, one list for all regions. A consumer of the bus writes down one delivery
//! for each event and endpoint, in the transaction that enters the event into its inbox. A driver on each shard leases what is
//! due, signs it as Standard Webhooks says and posts it; no connection to the database is held while a receiver thinks. An
//! event is posted at least once, under one `webhook-id`, and in no promised order: receivers go by `time` and `status`.
//! What an endpoint that is paused or disabled would be told waits, for a month at most.
//!
//! Deliberately absent: what shoppers typed (payloads hold ids, states and amounts; the rest is asked for with a token),
//! filters beyond the type of an event, transports other than HTTP, and order between events.

mod client;
mod driver;
mod endpoints;
mod error;
mod events;
mod routes;
pub mod rules;
mod service;
pub mod signature;
mod store;

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use futures::future::BoxFuture;
use region_core_store::StoreError;
use shared::{EndpointId, Money, OrderId};
use sqlx::PgConnection;

pub use endpoints::Endpoints;
pub use error::WebhookError;
pub use events::News;
pub use routes::{Api, internal_router, router};
pub use service::{Parts, Webhooks};

use crate::rules::Patience;

/// What webhooks ask about orders: handed in by the wiring, since this crate knows nothing of that service.
pub trait OrderBook: Send + Sync + 'static {
    /// What these orders came to, inside the caller's transaction.
    ///
    /// # Errors
    /// When the shard fails.
    fn totals<'a>(
        &'a self,
        conn: &'a mut PgConnection,
        orders: &'a [OrderId],
    ) -> BoxFuture<'a, Result<HashMap<OrderId, Money>, StoreError>>;
}

/// Hears which endpoint was disabled, and why; must be quick.
pub type DisabledFn = Arc<dyn Fn(EndpointId, &str) + Send + Sync>;

/// The bounds of webhooks.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Most attempts under way at a time to one endpoint, for each shard and process.
    pub concurrency: usize,
    /// Longest time without looking for what is due.
    pub poll: Duration,
    /// How long an exchange with a receiver may take.
    pub exchange: Duration,
    /// How long a delivery is kept off other workers; longer than the exchange and its commit. A lease that ran out early
    /// would have it sent twice.
    pub lease: Duration,
    /// How often an attempt is repeated.
    pub patience: Patience,
    /// The least time between two looks at the bus.
    pub rest: Duration,
    /// How long an endpoint may fail without taking anything before it is disabled.
    pub give_up_after: Duration,
    /// How long a secret signs beside the one that follows it.
    pub overlap: Duration,
    /// Age at which a delivery is forgotten, whatever became of it.
    pub keep: Duration,
}

impl Default for Settings {
    fn default() -> Self {
        const DAY: Duration = Duration::from_secs(24 * 3600);
        Self {
            concurrency: 4,
            poll: Duration::from_secs(5),
            exchange: Duration::from_secs(10),
            lease: Duration::from_secs(60),
            patience: Patience::default(),
            rest: Duration::from_secs(1),
            give_up_after: 5 * DAY,
            overlap: DAY,
            keep: 30 * DAY,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_usual_lease_outlasts_an_exchange() {
        let Settings { exchange, lease, .. } = Settings::default();
        assert!(lease >= exchange + driver::BESIDES);
    }
}
