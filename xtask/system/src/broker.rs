//! A broker of Kafka with the bus' topics, and nothing in them whenever it starts.

use std::time::Duration;

use crate::layout::Layout;
use crate::part::PartSpec;
use crate::plan::BrokerPrograms;
use crate::ports::Port;
use crate::probe::Probe;
use crate::process::ProcessSpec;

/// The part's name.
pub(crate) const BROKER: &str = "broker";

/// Says how to run it: clients come to one port, and somebody listens on the other once it has its topics.
pub(crate) fn prepare(programs: &BrokerPrograms, kafka: &Port, ready: &Port, layout: &Layout) -> PartSpec {
    let mut process = ProcessSpec::new(BROKER, &programs.broker, layout.root(), layout.log(BROKER)).arguments([
        "--listen".to_owned(),
        kafka.address(),
        "--ready".to_owned(),
        ready.address(),
    ]);
    if let Some(tansu) = &programs.tansu {
        process = process.arguments(["--tansu".into(), tansu.clone().into_os_string()]);
    }
    let probe = Probe::Listens { address: ready.address() };
    PartSpec { process, probe, address: kafka.address(), ready_within: Duration::from_secs(60) }
}
