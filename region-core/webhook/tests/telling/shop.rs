//! A region with one shard whose events are told to receivers.

use std::collections::HashMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use futures::FutureExt;
use futures::future::BoxFuture;
use region_core_events::contract::{OrderConfirmed, Payload};
use region_core_events::{NewEvent, Runner, Wakes, append};
use region_core_outbound::target::Guard;
use region_core_store::{Shard, Shards, StoreError, test_support};
use region_core_web::Peers;
use region_core_webhook::rules::Patience;
use region_core_webhook::{Endpoints, OrderBook, Parts, Settings, Webhooks};
use shared::api::webhook::{Delivery, DeliveryQuery, DeliveryState, EndpointWithSecret, EventType, NewEndpoint};
use shared::id::Slot;
use shared::{Currency, EndpointId, EventId, Money, OrderId, UserId};
use shared_clock::{Clock, Entropy};
use sqlx::{PgConnection, PgPool};
use tokio_util::sync::CancellationToken;

const MS: u64 = 1_800_000_000_000;
/// No attempt of these tests takes longer.
const LIMIT: Duration = Duration::from_secs(60);

/// The order service, as far as webhooks can tell.
struct Orders;

impl OrderBook for Orders {
    fn totals<'a>(
        &'a self,
        _: &'a mut PgConnection,
        orders: &'a [OrderId],
    ) -> BoxFuture<'a, Result<HashMap<OrderId, Money>, StoreError>> {
        let total = Money::new(1250, Currency::GBP).unwrap();
        std::future::ready(Ok(orders.iter().map(|order| (*order, total)).collect())).boxed()
    }
}

pub(crate) struct Shop {
    shards: Shards,
    wakes: Wakes,
    entropy: Entropy,
    endpoints: Endpoints,
    pub(crate) catalog: PgPool,
    /// The endpoints that were said to be disabled.
    pub(crate) disabled: Arc<Mutex<Vec<EndpointId>>>,
    pub(crate) webhooks: Webhooks,
}

impl Shop {
    /// One that waits milliseconds where it usually waits hours.
    pub(crate) async fn open() -> Self {
        Self::guarded(Guard { loopback: true }).await
    }

    pub(crate) async fn guarded(guard: Guard) -> Self {
        let (shards, catalog) = (test_support::one_shard().await, test_support::catalog_database().await.pool);
        let wakes = Wakes::new(shards.all().map(Shard::id));
        let endpoints = Endpoints::load(catalog.clone(), catalog.clone()).await.unwrap();
        let (entropy, disabled) = (Entropy::seeded(7), Arc::<Mutex<Vec<EndpointId>>>::default());
        let parts = Parts {
            shards: shards.clone(),
            peers: Peers::none(),
            endpoints: endpoints.clone(),
            book: Arc::new(Orders),
            guard,
            disabled: Arc::new({
                let disabled = Arc::clone(&disabled);
                move |endpoint, _: &str| disabled.lock().unwrap().push(endpoint)
            }),
            clock: Clock::turned(MS),
            entropy: entropy.clone(),
        };
        let settings = Settings {
            poll: Duration::from_millis(10),
            exchange: Duration::from_millis(400),
            patience: Patience { pauses: vec![Duration::from_millis(5); 3] },
            rest: Duration::from_millis(1),
            ..Settings::default()
        };
        let webhooks = Webhooks::new(parts).unwrap().bounded_by(settings);
        Self { shards, wakes, entropy, endpoints, catalog, disabled, webhooks }
    }

    pub(crate) fn with_exchange(self, exchange: Duration) -> Self {
        let settings = Settings { exchange, poll: Duration::from_millis(10), ..Settings::default() };
        Self { webhooks: self.webhooks.clone().bounded_by(settings), ..self }
    }

    pub(crate) fn shard(&self) -> &Shard {
        self.shards.all().next().unwrap()
    }

    /// An endpoint at that URL that is told of confirmed orders, and known to this process.
    pub(crate) async fn endpoint(&self, url: &str) -> EndpointWithSecret {
        let operator = UserId::mint(MS, Slot::new(9).unwrap(), 1).unwrap();
        let new = NewEndpoint {
            url: url.to_owned(),
            event_types: vec![EventType::OrderConfirmed],
            description: String::new(),
        };
        let made = self.webhooks.make(operator, &url.parse().unwrap(), new).await.unwrap();
        self.endpoints.refresh().await.unwrap();
        made
    }

    /// Looks at the endpoints again, as every process does now and then.
    pub(crate) async fn refresh(&self) {
        self.endpoints.refresh().await.unwrap();
    }

    /// Says on the bus what became of an order.
    pub(crate) async fn said(&self, payload: &impl Payload) -> EventId {
        let id = EventId::mint(MS, self.entropy.bytes());
        let mut conn = self.shard().read().await.unwrap();
        append(&mut conn, &[NewEvent::new(id, 1, payload)]).await.unwrap();
        self.wakes.of(self.shard().id()).notify();
        id
    }

    pub(crate) fn order(&self) -> OrderId {
        OrderId::mint(MS, Slot::new(9).unwrap(), self.entropy.bytes())
    }

    pub(crate) async fn confirmed(&self) -> EventId {
        self.said(&OrderConfirmed { order_id: self.order() }).await
    }

    /// Has everything that was said written down, once.
    pub(crate) async fn hear(&self) {
        let consumers: Vec<Arc<dyn region_core_events::Consumer>> = vec![Arc::new(self.webhooks.news())];
        let settings = region_core_events::Settings::default();
        Runner::new(self.shards.clone(), self.wakes.clone(), consumers, settings).settle().await.unwrap();
    }

    /// Starts a process that sends; it stops when the token is cancelled.
    pub(crate) fn process(&self) -> (CancellationToken, tokio::task::JoinHandle<()>) {
        let shutdown = CancellationToken::new();
        (shutdown.clone(), tokio::spawn(self.webhooks.clone().drive(shutdown)))
    }

    /// Sends until nothing is left to send to that endpoint.
    pub(crate) async fn send(&self, id: EndpointId) -> Vec<Delivery> {
        let (shutdown, process) = self.process();
        let log = self.until(id, |log| log.iter().all(|own| own.state != DeliveryState::ToSend)).await;
        shutdown.cancel();
        process.await.unwrap();
        log
    }

    pub(crate) async fn log(&self, id: EndpointId) -> Vec<Delivery> {
        let query = DeliveryQuery { state: None, cursor: None, limit: 100 };
        self.webhooks.deliveries(id, query).await.unwrap().items
    }

    /// The deliveries, once they are so. The driver tells nobody when it has committed: its rows are looked at.
    pub(crate) async fn until(&self, id: EndpointId, so: impl Fn(&[Delivery]) -> bool) -> Vec<Delivery> {
        let reached = async {
            loop {
                let log = self.log(id).await;
                if so(&log) {
                    return log;
                }
                tokio::task::yield_now().await;
            }
        };
        tokio::time::timeout(LIMIT, reached).await.unwrap()
    }
}
