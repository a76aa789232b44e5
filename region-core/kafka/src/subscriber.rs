//! From the brokers to a consumer.

use std::collections::BTreeMap;
use std::time::Duration;

use futures::FutureExt;
use futures::future::join_all;
use rdkafka::consumer::{CommitMode, Consumer as _, StreamConsumer};
use rdkafka::error::{KafkaError, KafkaResult};
use rdkafka::message::BorrowedMessage;
use rdkafka::{ClientConfig, Message, Offset, TopicPartitionList};
use region_core_events::{Listening, Topic};
use region_core_store::Shards;
use shared::{EventId, ShardId};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use crate::{end, message};

/// Pause after the shard or the brokers failed.
const FAILURE_PAUSE: Duration = Duration::from_secs(1);
/// How often a shard that fails is told of the same events before it counts as away.
const PATIENCE: usize = 3;
/// How long the others then go on without looking for it. What it was to hear meanwhile is read from its outbox.
const AWAY: Duration = Duration::from_secs(30);

/// One consumer's group in this region.
pub(crate) struct Subscriber {
    pub(crate) shards: Shards,
    pub(crate) listening: Listening,
    pub(crate) brokers: String,
    /// Most messages at a time.
    pub(crate) batch: usize,
}

/// What some messages tell of, and how far they go.
#[derive(Default)]
struct Batch {
    messages: usize,
    news: BTreeMap<ShardId, Vec<EventId>>,
    /// The offset after the last message of each partition.
    next: BTreeMap<(String, i32), i64>,
}

impl Subscriber {
    pub(crate) async fn run(self, shutdown: CancellationToken) {
        while let Err(error) = self.listen_until(&shutdown).await {
            tracing::warn!(event.consumer = self.listening.consumer().name(), %error, "the brokers are asked anew");
            shutdown.run_until_cancelled(tokio::time::sleep(FAILURE_PAUSE)).await;
        }
    }

    /// Until `shutdown`, or until the brokers' client cannot go on.
    async fn listen_until(&self, shutdown: &CancellationToken) -> KafkaResult<()> {
        let group = join(&self.brokers, &self.group())?;
        let outcome = self.listen(&group, shutdown).await;
        end(group).await;
        outcome
    }

    async fn listen(&self, group: &StreamConsumer, shutdown: &CancellationToken) -> KafkaResult<()> {
        let mut rest = Duration::ZERO;
        let mut away = BTreeMap::new();
        loop {
            let next = async {
                tokio::time::sleep(rest).await;
                self.next_batch(group).await
            };
            let Some(batch) = shutdown.run_until_cancelled(next).await else { return Ok(()) };
            let batch = batch?;
            away.retain(|_, until| *until > Instant::now());
            let (missed, heard): (Vec<_>, Vec<_>) = batch.news.iter().partition(|(shard, _)| away.contains_key(*shard));
            missed.into_iter().for_each(|(_, events)| self.leave_to_outbox(events));
            let told = heard.into_iter().map(|(shard, events)| self.tell(*shard, events, shutdown));
            let gone = join_all(told).await.into_iter().flatten();
            away.extend(gone.map(|shard| (shard, Instant::now() + AWAY)));
            group.commit(&batch.offsets()?, CommitMode::Async)?;
            let full = batch.messages >= self.batch;
            rest = if full { Duration::ZERO } else { self.listening.consumer().rest() };
        }
    }

    fn group(&self) -> String {
        format!("meridian.{}.{}", self.shards.region(), self.listening.consumer().name())
    }

    /// Waits for a message and takes those that lie ready with it.
    async fn next_batch(&self, group: &StreamConsumer) -> KafkaResult<Batch> {
        let mut batch = Batch::default();
        let mut outcome = Some(group.recv().await);
        while let Some(received) = outcome {
            match received {
                Ok(message) => self.note(&mut batch, &message),
                Err(error) => self.endure(group, error).await?,
            }
            outcome = match batch.messages {
                0 => Some(group.recv().await),
                enough if enough >= self.batch => None,
                _ => group.recv().now_or_never(),
            };
        }
        Ok(batch)
    }

    /// The client mends what it can by itself, such as a topic or a broker that is not there yet.
    async fn endure(&self, group: &StreamConsumer, error: KafkaError) -> KafkaResult<()> {
        if group.client().fatal_error().is_some() {
            return Err(error);
        }
        tracing::warn!(event.consumer = self.listening.consumer().name(), %error, "the brokers do not bring events");
        tokio::time::sleep(FAILURE_PAUSE).await;
        Ok(())
    }

    fn note(&self, batch: &mut Batch, message: &BorrowedMessage<'_>) {
        batch.messages += 1;
        batch.next.insert((message.topic().to_owned(), message.partition()), message.offset() + 1);
        let Some(news) = message::read(message) else {
            tracing::warn!(message.topic = message.topic(), message.offset = message.offset(), "a message is not ours");
            return;
        };
        if !self.listening.consumer().kinds().contains(&news.kind) {
            return;
        }
        // Those of other regions are for their own groups.
        if let Ok(shard) = self.shards.here(news.order.slot()) {
            batch.news.entry(shard.id()).or_default().push(news.event);
        }
    }

    /// Has a shard hear of these events; tells if it is away.
    async fn tell(&self, shard: ShardId, events: &[EventId], shutdown: &CancellationToken) -> Option<ShardId> {
        let consumer = self.listening.consumer().name();
        for attempt in 1..=PATIENCE {
            match self.listening.tell(shard, events).await {
                Ok(_) => return None,
                Err(error) => {
                    tracing::warn!(event.consumer = consumer, shard.id = %shard, attempt, error = error.cause(), "events wait");
                }
            }
            if shutdown.run_until_cancelled(tokio::time::sleep(FAILURE_PAUSE)).await.is_none() {
                break;
            }
        }
        self.leave_to_outbox(events);
        Some(shard)
    }

    fn leave_to_outbox(&self, events: &[EventId]) {
        let consumer = self.listening.consumer().name();
        metrics::counter!("events_left_to_outbox_total", "consumer" => consumer).increment(events.len() as u64);
    }
}

impl Batch {
    fn offsets(&self) -> KafkaResult<TopicPartitionList> {
        let mut offsets = TopicPartitionList::with_capacity(self.next.len());
        for ((topic, partition), next) in &self.next {
            offsets.add_partition_offset(topic, *partition, Offset::Offset(*next))?;
        }
        Ok(offsets)
    }
}

/// A place in a group of that name.
fn join(brokers: &str, name: &str) -> KafkaResult<StreamConsumer> {
    let group: StreamConsumer = ClientConfig::new()
        .set("bootstrap.servers", brokers)
        .set("group.id", name)
        .set("enable.auto.commit", "false")
        .set("auto.offset.reset", "earliest")
        // How long the events of one that died wait for another.
        .set("session.timeout.ms", "10000")
        .set("reconnect.backoff.max.ms", "2000")
        .create()?;
    group.subscribe(&Topic::ALL.map(Topic::name))?;
    Ok(group)
}
