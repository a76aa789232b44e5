//! From a shard's outbox to the brokers.

use std::convert::Infallible;
use std::time::Duration;

use futures::future::try_join_all;
use rdkafka::ClientConfig;
use rdkafka::error::KafkaError;
use rdkafka::producer::{FutureProducer, FutureRecord};
use region_core_events::{Outgoing, Relay, Shipment, Wake};
use region_core_store::{StoreError, failpoint};
use shared::RegionName;
use tokio_util::sync::CancellationToken;

use crate::{end, message};

/// Pause when events are committed that are not safe to read yet.
const SHORT_PAUSE: Duration = Duration::from_millis(5);
/// Pause when another process has the lease.
const ELSEWHERE_PAUSE: Duration = Duration::from_millis(50);
/// Pause after the shard or the brokers failed.
const FAILURE_PAUSE: Duration = Duration::from_secs(1);
/// How long the brokers may be silent before that is said, and again after each such time.
const SILENCE: Duration = Duration::from_secs(10);

/// One shard's way to the brokers.
pub(crate) struct Publisher {
    pub(crate) relay: Relay,
    pub(crate) region: RegionName,
    pub(crate) wake: Wake,
    pub(crate) brokers: String,
    /// Longest wait before looking without having been woken.
    pub(crate) poll: Duration,
}

/// Why events were not handed on.
#[derive(Debug, thiserror::Error)]
enum PublishError {
    #[error(transparent)]
    Kafka(#[from] KafkaError),
    #[error(transparent)]
    Store(#[from] StoreError),
    #[error("a payload or a time has no form")]
    Form,
    #[error("the producer was closed")]
    Closed,
}

impl Publisher {
    pub(crate) async fn run(self, shutdown: CancellationToken) {
        while let Err(error) = self.publish_until(&shutdown).await {
            tracing::warn!(shard.id = %self.relay.shard().id(), %error, "events are not handed to the brokers");
            shutdown.run_until_cancelled(tokio::time::sleep(FAILURE_PAUSE)).await;
        }
    }

    /// Hands on with one producer until something fails. A producer of which one message failed is not used again: the message
    /// is said anew, with all after it, by one that knows nothing of them.
    async fn publish_until(&self, shutdown: &CancellationToken) -> Result<(), PublishError> {
        let producer = producer(&self.brokers)?;
        let outcome = shutdown.run_until_cancelled(self.publish(&producer)).await;
        end(producer).await;
        match outcome {
            None => Ok(()),
            Some(Err(error)) => Err(error),
        }
    }

    async fn publish(&self, producer: &FutureProducer) -> Result<Infallible, PublishError> {
        let mut waiter = self.wake.waiter();
        loop {
            match self.relay.next().await? {
                Shipment::Events(events) => {
                    self.send(producer, &events).await?;
                    if !self.relay.passed(&events).await? {
                        tracing::info!(shard.id = %self.relay.shard().id(), "another process went on relaying");
                    }
                }
                Shipment::Soon => tokio::time::sleep(SHORT_PAUSE).await,
                Shipment::Elsewhere => tokio::time::sleep(ELSEWHERE_PAUSE).await,
                Shipment::None => waiter.wait(self.poll).await,
            }
        }
    }

    /// Until the brokers have acknowledged all of them.
    async fn send(&self, producer: &FutureProducer, events: &[Outgoing]) -> Result<(), PublishError> {
        failpoint("events.publish.before").await?;
        let sent = events.iter().map(|event| self.enqueue(producer, event)).collect::<Result<Vec<_>, _>>()?;
        let mut acknowledged = std::pin::pin!(try_join_all(sent));
        loop {
            match tokio::time::timeout(SILENCE, &mut acknowledged).await {
                Ok(outcome) => {
                    outcome?;
                    break;
                }
                Err(_) => tracing::warn!(shard.id = %self.relay.shard().id(), "the brokers do not answer"),
            }
        }
        failpoint("events.publish.after").await?;
        metrics::counter!("events_relayed_total").increment(events.len() as u64);
        Ok(())
    }

    /// Puts an event behind those that wait already; it is sent at once, and acknowledged when what it gives back is done.
    fn enqueue(
        &self,
        producer: &FutureProducer,
        outgoing: &Outgoing,
    ) -> Result<impl Future<Output = Result<(), PublishError>> + use<>, PublishError> {
        let shard = self.relay.shard().id();
        let headers = message::headers(outgoing, &self.region, shard).map_err(|_| PublishError::Form)?;
        let payload = message::value(&outgoing.event.payload).map_err(|_| PublishError::Form)?;
        let key = outgoing.event.aggregate_id.to_string();
        let record = FutureRecord::to(outgoing.topic.name()).key(&key).payload(&payload).headers(headers);
        let sent = producer.send_result(record).map_err(|(error, _)| error)?;
        Ok(async move {
            let delivered = sent.await.map_err(|_| PublishError::Closed)?;
            delivered.map(drop).map_err(|(error, _)| PublishError::Kafka(error))
        })
    }
}

/// Idempotent, and without end to its patience: no message is left out between two that the brokers take, for whoever reads
/// them in order. What the brokers refuse for good ends it as a whole.
fn producer(brokers: &str) -> Result<FutureProducer, KafkaError> {
    ClientConfig::new()
        .set("bootstrap.servers", brokers)
        .set("enable.idempotence", "true")
        .set("enable.gapless.guarantee", "true")
        .set("message.timeout.ms", "0")
        .set("linger.ms", "0")
        .set("reconnect.backoff.max.ms", "2000")
        .create()
}
