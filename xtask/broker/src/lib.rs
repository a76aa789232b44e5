//! Kafka's brokers for one machine, where there is no Kafka: what tests, fault runs and developers run the bus on.
//!
//! Two kinds, each good for what the other is not. [`Kind::Simulated`] are those of librdkafka, the client that we use: always
//! there, and several of them. [`Kind::Tansu`] is a broker that others wrote, where it is installed. Either keeps what it was
//! sent in memory alone, so one that is killed comes back with nothing in it. Clients reach them through a front each, which can
//! be closed and opened again while the broker behind it keeps what it has.
//!
//! Deliberately absent: anything for production.

mod front;
mod simulated;
mod tansu;

use std::net::{Ipv4Addr, SocketAddr};
use std::path::PathBuf;

use rdkafka::error::KafkaError;

use crate::front::Front;
use crate::simulated::Simulated;
use crate::tansu::Tansu;

/// Partitions of each topic.
const PARTITIONS: i32 = 4;
/// How `cargo xtask test` says where tansu is, if it is installed.
pub const TANSU: &str = "MERIDIAN_TEST_TANSU";

/// What brokers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Kind {
    /// So many of librdkafka's own.
    Simulated(u16),
    /// One of that program.
    Tansu(PathBuf),
}

impl Kind {
    /// Tansu, if the tests were told where it is.
    #[must_use]
    pub fn tansu() -> Option<Self> {
        std::env::var_os(TANSU).filter(|program| !program.is_empty()).map(|program| Self::Tansu(program.into()))
    }
}

/// Why there are no brokers.
#[derive(Debug, thiserror::Error)]
pub enum BrokerError {
    /// The client's library refused.
    #[error(transparent)]
    Kafka(#[from] KafkaError),
    /// The operating system did.
    #[error(transparent)]
    Io(#[from] std::io::Error),
    /// It runs, but does not do what it is asked.
    #[error("the broker made no topic: {0}")]
    NoTopic(String),
    /// It does not run.
    #[error("the broker ended ({0})")]
    Ended(std::process::ExitStatus),
}

/// Running brokers with the bus' topics, gone when this is dropped.
#[derive(Debug)]
pub struct Brokers {
    kind: Kind,
    fronts: Vec<Front>,
    behind: Behind,
}

#[derive(Debug)]
enum Behind {
    Simulated(#[expect(dead_code, reason = "they are there as long as this is")] Simulated),
    Tansu(Box<Tansu>),
}

impl Brokers {
    /// Brokers at any free ports of this machine.
    ///
    /// # Errors
    /// If they cannot be started.
    pub async fn start(kind: &Kind) -> Result<Self, BrokerError> {
        let any = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
        let count = if let Kind::Simulated(count) = kind { usize::from(*count) } else { 1 };
        Self::start_at(kind, &vec![any; count]).await
    }

    /// The same at these addresses, one each.
    ///
    /// # Errors
    /// If they cannot be started.
    pub async fn start_at(kind: &Kind, addresses: &[SocketAddr]) -> Result<Self, BrokerError> {
        let (mut fronts, kind) = (Vec::new(), kind.clone());
        match &kind {
            Kind::Simulated(count) => {
                let simulated = Simulated::start(*count)?;
                for ((behind, at), number) in simulated.addresses().into_iter().zip(addresses).zip(1..) {
                    let front = Front::open(*at, behind).await?;
                    simulated.is_known_at(number, front.address());
                    fronts.push(front);
                }
                Ok(Self { kind, fronts, behind: Behind::Simulated(simulated) })
            }
            Kind::Tansu(program) => {
                let behind = front::free_address().await?;
                for at in addresses.iter().take(1) {
                    fronts.push(Front::open(*at, behind).await?);
                }
                let known = fronts.first().map_or(behind, Front::address);
                let tansu = Tansu::start(program, behind, known).await?;
                Ok(Self { kind, fronts, behind: Behind::Tansu(Box::new(tansu)) })
            }
        }
    }

    /// Where clients reach them, `host:port` each.
    #[must_use]
    pub fn addresses(&self) -> Vec<String> {
        self.fronts.iter().map(|front| front.address().to_string()).collect()
    }

    /// Nobody reaches them any more, and every connection ends.
    pub async fn go_away(&mut self) {
        for front in &mut self.fronts {
            front.close().await;
        }
    }

    /// They can be reached again, with what they had.
    ///
    /// # Errors
    /// If somebody else has taken a port meanwhile.
    pub async fn come_back(&mut self) -> Result<(), BrokerError> {
        for front in &mut self.fronts {
            front.reopen().await?;
        }
        Ok(())
    }

    /// Others take their place, at the same addresses and with nothing in them but the topics. Clients do not survive that with
    /// tansu.
    ///
    /// # Errors
    /// If they cannot be started.
    pub async fn wipe(&mut self) -> Result<(), BrokerError> {
        self.go_away().await;
        let addresses: Vec<_> = self.fronts.iter().map(Front::address).collect();
        *self = Self::start_at(&self.kind, &addresses).await?;
        Ok(())
    }

    /// Waits until a broker ends by itself, which it never should.
    pub async fn watch(&mut self) -> BrokerError {
        match &mut self.behind {
            Behind::Simulated(_) => std::future::pending().await,
            Behind::Tansu(tansu) => tansu.watch().await,
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use rdkafka::ClientConfig;
    use rdkafka::consumer::{BaseConsumer, Consumer as _};
    use rdkafka::producer::{FutureProducer, FutureRecord};
    use region_core_events::Topic;

    use super::*;

    const WITHIN: Duration = Duration::from_secs(30);

    fn config(brokers: &Brokers) -> ClientConfig {
        let mut config = ClientConfig::new();
        config.set("bootstrap.servers", brokers.addresses().join(","));
        config
    }

    fn metadata(brokers: &Brokers) -> rdkafka::metadata::Metadata {
        config(brokers).create::<BaseConsumer>().unwrap().fetch_metadata(None, WITHIN).unwrap()
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn clients_are_sent_to_the_fronts_and_find_every_topic_there() {
        let brokers = Brokers::start(&Kind::Simulated(3)).await.unwrap();
        let metadata = metadata(&brokers);
        let told = metadata.brokers().iter().map(|broker| format!("{}:{}", broker.host(), broker.port()));
        let (mut told, mut fronts) = (told.collect::<Vec<_>>(), brokers.addresses());
        told.sort_unstable();
        fronts.sort_unstable();
        assert_eq!(told, fronts);
        for topic in Topic::ALL.map(Topic::name) {
            let found = metadata.topics().iter().find(|found| found.name() == topic);
            assert_eq!(found.map(|found| found.partitions().len()), Some(4), "{topic}");
        }
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn brokers_that_were_away_take_what_waited_for_them_and_keep_what_they_had() {
        let mut brokers = Brokers::start(&Kind::Simulated(1)).await.unwrap();
        let producer: FutureProducer = config(&brokers).set("reconnect.backoff.max.ms", "200").create().unwrap();
        let record = || FutureRecord::to(Topic::ALL[0].name()).key("key").payload("payload");
        let first = producer.send(record(), WITHIN).await.unwrap();
        brokers.go_away().await;
        let waiting = producer.send_result(record()).unwrap();
        brokers.come_back().await.unwrap();
        let second = waiting.await.unwrap().unwrap();
        assert_eq!((second.partition, second.offset), (first.partition, first.offset + 1));
    }
}
