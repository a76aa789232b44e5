//! The bus on Kafka: the same consumers and the same delivery, with brokers between the outbox and them.
//!
//! For each shard a relay hands the outbox to the brokers (`publisher`): one process at a time, from a leased cursor that moves
//! once the brokers have acknowledged, so at least once. A topic for each [`region_core_events::Topic`], keyed by order, each
//! message a CloudEvent (`message`) that other teams can read. Our own consumers (`subscriber`), a group for each and region, take
//! a message for what it is, news that something lies in a shard's outbox, and have
//! [`region_core_events::Listening`] read it there. So duplicates, reordering, rebalances and forged messages are harmless, and
//! what the brokers lose, or a shard was away for, is read from the outbox once it is older than [`GRACE`].
//!
//! Deliberately absent: making topics (whoever runs the brokers decides on partitions and copies), transactions of Kafka (the
//! inbox is in the same transaction as the effect already), TLS and SASL.

mod message;
mod publisher;
mod subscriber;

use std::sync::Arc;
use std::time::Duration;

use region_core_events::{Consumer, Listening, Relay, Runner, Settings, Wakes};
use region_core_store::{Shard, Shards};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use crate::publisher::Publisher;
use crate::subscriber::Subscriber;

/// What the brokers have not brought after this time is read from the outbox.
pub const GRACE: Duration = Duration::from_secs(20);
/// The relay's cursor among those of the consumers.
const RELAY: &str = "kafka";

/// What a [`Bus`] is told.
#[derive(Clone, Debug)]
pub struct Options {
    /// Where the brokers are, `host:port` each.
    pub brokers: Vec<String>,
    /// The bounds of the delivery; [`GRACE`] is a good grace.
    pub settings: Settings,
    /// How long a relay that is silent keeps others away.
    pub lease: Duration,
    /// This process: no other has the same.
    pub process: [u8; 16],
}

impl Options {
    /// These brokers, and bounds as they should be.
    #[must_use]
    pub fn new(brokers: Vec<String>, process: [u8; 16]) -> Self {
        let settings = Settings { grace: GRACE, ..Settings::default() };
        Self { brokers, settings, lease: Duration::from_secs(10), process }
    }
}

/// Gives the events of this region's shards to consumers over Kafka. Any number of processes may run one.
pub struct Bus {
    shards: Shards,
    wakes: Wakes,
    consumers: Vec<Arc<dyn Consumer>>,
    options: Options,
}

impl Bus {
    /// A bus from every shard of the region to these consumers.
    #[must_use]
    pub fn new(shards: Shards, wakes: Wakes, consumers: Vec<Arc<dyn Consumer>>, options: Options) -> Self {
        Self { shards, wakes, consumers, options }
    }

    /// Runs until `shutdown`; the batches under way are finished. Brokers that are away are waited for.
    ///
    /// # Panics
    /// If a task of the bus itself does.
    pub async fn run(self, shutdown: CancellationToken) {
        let mut tasks = JoinSet::new();
        for publisher in self.publishers() {
            tasks.spawn(publisher.run(shutdown.clone()));
        }
        for subscriber in self.subscribers() {
            tasks.spawn(subscriber.run(shutdown.clone()));
        }
        tasks.spawn(Runner::new(self.shards, self.wakes, self.consumers, self.options.settings).run(shutdown));
        while let Some(ended) = tasks.join_next().await {
            if let Err(error) = ended {
                std::panic::resume_unwind(error.into_panic());
            }
        }
    }

    fn publishers(&self) -> Vec<Publisher> {
        let Options { brokers, settings, lease, process } = &self.options;
        let holder = Uuid::from_bytes(*process);
        let publisher = |shard: &Shard| Publisher {
            relay: Relay::new(shard.clone(), RELAY, holder, *lease, settings.batch),
            region: self.shards.region().clone(),
            wake: self.wakes.of(shard.id()),
            brokers: brokers.join(","),
            poll: settings.poll,
        };
        self.shards.all().map(publisher).collect()
    }

    fn subscribers(&self) -> Vec<Subscriber> {
        let Options { brokers, settings, .. } = &self.options;
        let subscriber = |consumer: &Arc<dyn Consumer>| Subscriber {
            shards: self.shards.clone(),
            listening: Listening::new(&self.shards, &self.wakes, Arc::clone(consumer), settings),
            brokers: brokers.join(","),
            batch: settings.batch as usize,
        };
        self.consumers.iter().map(subscriber).collect()
    }
}

/// Ends a client, which waits for its threads and for the brokers, where waiting holds nobody up.
async fn end<T: Send + 'static>(client: T) {
    // An error says that dropping panicked or that the runtime is going: the client is gone either way.
    let _ = tokio::task::spawn_blocking(move || drop(client)).await;
}
