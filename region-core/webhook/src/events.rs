//! What is heard of the bus, and written down to be told.

use std::sync::Arc;
use std::time::Duration;

use futures::FutureExt as _;
use futures::future::BoxFuture;
use region_core_events::{AfterCommit, Consumer, Event, HandleError, Wakes};
use shared::ShardId;
use sqlx::PgConnection;

use crate::OrderBook;
use crate::endpoints::Endpoints;
use crate::rules;
use crate::store::{self, New};

/// Hears what became of orders and writes down which endpoints are to be told.
#[derive(Clone)]
pub struct News {
    pub(crate) endpoints: Endpoints,
    pub(crate) book: Arc<dyn OrderBook>,
    pub(crate) wakes: Wakes,
    pub(crate) rest: Duration,
}

impl std::fmt::Debug for News {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("News").field("rest", &self.rest).finish_non_exhaustive()
    }
}

impl News {
    /// How many deliveries there are to make of `events`.
    async fn write_down(&self, conn: &mut PgConnection, events: &[Event]) -> Result<usize, HandleError> {
        let endpoints = self.endpoints.known();
        if endpoints.is_empty() {
            return Ok(0);
        }
        let orders: Vec<_> = events.iter().map(|event| event.aggregate_id).collect();
        let totals = self.book.totals(conn, &orders).await?;
        let mut new = Vec::new();
        for event in events {
            let kind = rules::event_type(event)?;
            let Some(total) = totals.get(&event.aggregate_id) else {
                return Err(HandleError::Rejected(format!("there is no order {}", event.aggregate_id)));
            };
            let data = rules::data(event, *total)?;
            for endpoint in endpoints.iter().filter(|endpoint| rules::is_told(endpoint, event.event_id, kind)) {
                new.push(New {
                    endpoint_id: endpoint.shown.endpoint_id,
                    event_id: event.event_id,
                    order_id: Some(event.aggregate_id),
                    event_type: kind.name(),
                    data: data.clone(),
                });
            }
        }
        store::insert(conn, &new).await?;
        Ok(new.len())
    }
}

impl Consumer for News {
    fn name(&self) -> &'static str {
        "webhook"
    }

    fn kinds(&self) -> &'static [&'static str] {
        &rules::KINDS
    }

    fn handle<'a>(
        &'a self,
        shard: ShardId,
        conn: &'a mut PgConnection,
        events: &'a [Event],
    ) -> BoxFuture<'a, Result<AfterCommit, HandleError>> {
        async move {
            if self.write_down(conn, events).await? == 0 {
                return Ok(AfterCommit::default());
            }
            let wake = self.wakes.of(shard);
            Ok(AfterCommit::run(move || wake.notify()))
        }
        .boxed()
    }

    /// Whoever begins to listen hears of what happens from then on.
    fn heeds(&self) -> bool {
        !self.endpoints.known().is_empty()
    }

    fn rest(&self) -> Duration {
        self.rest
    }
}
