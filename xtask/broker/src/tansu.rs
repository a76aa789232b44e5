//! Tansu, a broker in Rust that speaks Kafka's protocol. What it does not do: transactions, which we do not use; and come back with
//! nothing in it, for it answers whoever then fetches from a topic of before with one without an id, of which librdkafka 2.12.1
//! dies. Only the simulated brokers can lose everything.

use std::net::SocketAddr;
use std::path::Path;
use std::process::Stdio;
use std::time::Duration;

use rdkafka::ClientConfig;
use rdkafka::admin::{AdminClient, AdminOptions, NewTopic, TopicReplication};
use rdkafka::client::DefaultClientContext;
use rdkafka::types::RDKafkaErrorCode;
use region_core_events::Topic;
use tokio::process::{Child, ChildStdin, Command};
use tokio::time::Instant;

use crate::{BrokerError, PARTITIONS};

/// How long it may take until it has its topics.
const READY_WITHIN: Duration = Duration::from_secs(30);
/// How long one attempt to make them may take, and the pause after it.
const ATTEMPT: Duration = Duration::from_secs(5);
const PAUSE: Duration = Duration::from_millis(50);
/// Runs the program, which is killed when the standard input ends: it cannot outlive whoever started it.
const ENDS_WITH_INPUT: &str = r#"exec 3<&0; (read -r _ <&3; kill -9 $$ 2>/dev/null) & exec "$@" 3<&- </dev/null"#;

#[derive(Debug)]
pub(crate) struct Tansu {
    child: Child,
    /// Apart from the child, which closes it when it is waited for.
    _input: Option<ChildStdin>,
}

impl Tansu {
    /// Starts it at an address of this machine, with clients sent to another.
    pub(crate) async fn start(program: &Path, listens: SocketAddr, known: SocketAddr) -> Result<Self, BrokerError> {
        let mut command = Command::new("sh");
        command.args(["-c", ENDS_WITH_INPUT, "sh"]).arg(program);
        command.args(["broker", "--cluster-id", "meridian", "--storage-engine", "memory://meridian/"]);
        command.arg("--listener-url").arg(format!("tcp://{listens}/"));
        command.arg("--advertised-listener-url").arg(format!("tcp://{known}/"));
        command.stdin(Stdio::piped()).stdout(Stdio::null()).kill_on_drop(true);
        let mut child = command.spawn()?;
        let mut tansu = Self { _input: child.stdin.take(), child };
        let deadline = Instant::now() + READY_WITHIN;
        let admin: AdminClient<_> = ClientConfig::new().set("bootstrap.servers", known.to_string()).create()?;
        while let Err(error) = make_topics(&admin).await {
            if let Some(status) = tansu.child.try_wait()? {
                return Err(BrokerError::Ended(status));
            }
            if Instant::now() >= deadline {
                return Err(error);
            }
            tokio::time::sleep(PAUSE).await;
        }
        Ok(tansu)
    }

    pub(crate) async fn watch(&mut self) -> BrokerError {
        self.child.wait().await.map_or_else(BrokerError::Io, BrokerError::Ended)
    }
}

async fn make_topics(admin: &AdminClient<DefaultClientContext>) -> Result<(), BrokerError> {
    let topics = Topic::ALL.map(|topic| NewTopic::new(topic.name(), PARTITIONS, TopicReplication::Fixed(1)));
    let options = AdminOptions::new().request_timeout(Some(ATTEMPT)).operation_timeout(Some(ATTEMPT));
    for made in admin.create_topics(&topics, &options).await? {
        match made {
            Ok(_) | Err((_, RDKafkaErrorCode::TopicAlreadyExists)) => {}
            Err((topic, code)) => return Err(BrokerError::NoTopic(format!("{topic}: {code}"))),
        }
    }
    Ok(())
}
