//! What carries the events of a store that is started here.

use xtask_system::BrokerPrograms;
use xtask_system::tools::{Tools, cargo_tool};

use crate::workspace::Workspace;

/// The homes of the bus.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum Bus {
    /// The shards themselves.
    #[default]
    Postgres,
    /// A broker beside them: tansu if it is installed (`cargo xtask tools --tansu`), else what librdkafka simulates. Either
    /// keeps all in memory.
    Kafka,
}

/// What a broker is run with.
pub(crate) fn broker(workspace: &Workspace, tools: &Tools) -> BrokerPrograms {
    BrokerPrograms { tansu: cargo_tool::found_tansu(tools), ..simulated_broker(workspace) }
}

/// The same for one that is killed: librdkafka does not survive a tansu that comes back with nothing in it.
pub(crate) fn simulated_broker(workspace: &Workspace) -> BrokerPrograms {
    BrokerPrograms { broker: workspace.programs.join("meridian-broker"), tansu: None }
}
