//! The brokers that librdkafka simulates for its own tests, in a thread of this process.

use std::net::SocketAddr;

use rdkafka::ClientConfig;
use rdkafka::bindings::{rd_kafka_handle_mock_cluster, rd_kafka_mock_broker_set_host_port};
use rdkafka::error::KafkaError;
use rdkafka::producer::{BaseProducer, Producer as _};
use region_core_events::Topic;

use crate::{BrokerError, PARTITIONS};

/// A client whose brokers are its own.
pub(crate) struct Simulated(BaseProducer);

impl std::fmt::Debug for Simulated {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.debug_tuple("Simulated").field(&self.addresses()).finish()
    }
}

impl Simulated {
    pub(crate) fn start(count: u16) -> Result<Self, BrokerError> {
        let producer: BaseProducer = ClientConfig::new().set("test.mock.num.brokers", count.to_string()).create()?;
        let brokers = producer.client().mock_cluster().ok_or(KafkaError::Canceled)?;
        let copies = i32::from(count.min(3));
        for topic in Topic::ALL {
            brokers.create_topic(topic.name(), PARTITIONS, copies)?;
        }
        drop(brokers);
        Ok(Self(producer))
    }

    /// Where they really are, the first first.
    pub(crate) fn addresses(&self) -> Vec<SocketAddr> {
        let brokers = self.0.client().mock_cluster().map(|brokers| brokers.bootstrap_servers());
        brokers.unwrap_or_default().split(',').filter_map(|address| address.parse().ok()).collect()
    }

    /// Has clients sent to that address for the broker of that number, from 1.
    pub(crate) fn is_known_at(&self, number: i32, address: SocketAddr) {
        let host = std::ffi::CString::new(address.ip().to_string()).unwrap_or_default();
        #[expect(unsafe_code, reason = "the client's safe interface lacks this one call")]
        // SAFETY: the client lives as long as `self`, and with it its brokers, which are there since `start` found them;
        // the call locks them and copies the name.
        unsafe {
            let brokers = rd_kafka_handle_mock_cluster(self.0.client().native_ptr());
            rd_kafka_mock_broker_set_host_port(brokers, number, host.as_ptr(), i32::from(address.port()));
        }
    }
}
