//! The short version that every full test run ends with: one seed on each bus, a death at each failpoint, and each bug once.

use std::sync::Arc;
use std::time::Duration;

use super::bug::Bug;
use super::failpoint::Failpoint;
use super::report::Report;
use super::run::run as run_one;
use super::scenario::Scenario;
use crate::build;
use crate::bus::Bus;
use crate::console::Console;
use crate::workspace::Workspace;

/// What the gate run of the tests is made of.
const SEED: u64 = 1;
const ORDERS: u32 = 1_000;
/// What the same on Kafka is made of.
const KAFKA_ORDERS: u32 = 500;
/// What the run is made of in which cores die at every place.
const DEATH_ORDERS: u32 = 240;
const DEATHS_LAST: Duration = Duration::from_secs(24);
/// Orders of a run that hunts a bug.
const HUNT_ORDERS: u32 = 400;

/// Runs them one after the other; gives how many went as they must, and how many did not.
pub(crate) async fn run(workspace: &Workspace, console: &Arc<Console>) -> anyhow::Result<(u64, u64)> {
    console.step("programs", build::natives(workspace)).await?;
    console.step("planted bugs", build::planted(workspace)).await?;
    let (mut passed, mut failed) = (0, 0);
    let mut count = |name: &str, outcome: Result<String, String>| match outcome {
        Ok(report) => {
            passed += 1;
            println!("faults: {name} ... ok\n    {report}");
        }
        Err(problem) => {
            failed += 1;
            println!("faults: {name} ... FAILED\n    {problem}");
        }
    };
    let gate = Scenario::gate(SEED, ORDERS, 2, None);
    count("a seeded run keeps every promise", keeps(workspace, console, &gate).await);
    let kafka = Scenario::gate(SEED, KAFKA_ORDERS, 2, None).on(Bus::Kafka);
    count("a seeded run on Kafka keeps every promise", keeps(workspace, console, &kafka).await);
    let deaths = Scenario::deaths(Failpoint::ALL.to_vec(), SEED, DEATH_ORDERS, Some(DEATHS_LAST));
    count("cores that die at every failpoint break no promise", keeps(workspace, console, &deaths).await);
    for bug in Bug::ALL {
        count(&format!("{} is found", bug.name()), hunt(workspace, console, bug).await);
    }
    Ok((passed, failed))
}

async fn keeps(workspace: &Workspace, console: &Arc<Console>, scenario: &Scenario) -> Result<String, String> {
    let report = carried_out(workspace, console, scenario).await?;
    if report.is_green() { Ok(report.to_string()) } else { Err(format!("{report}\n{}", report.problems().join("\n"))) }
}

/// A hunt must end red, and by a broken promise: one that could not be run proves nothing.
async fn hunt(workspace: &Workspace, console: &Arc<Console>, bug: Bug) -> Result<String, String> {
    let report = carried_out(workspace, console, &Scenario::hunt(bug, SEED, HUNT_ORDERS, None)).await?;
    if report.found_a_bug() { Ok(report.to_string()) } else { Err(format!("the bug was not found: {report}")) }
}

/// What came of the run. One that could not be carried out broke no promise and kept none: a machine whose disk stood still
/// while databases started gets a second try, and only one.
async fn carried_out(workspace: &Workspace, console: &Arc<Console>, scenario: &Scenario) -> Result<Report, String> {
    match run_one(workspace, console, scenario, false).await {
        Ok(report) => return Ok(report),
        Err(error) => console.say(&format!("faults: a run could not be carried out and is tried once more: {error:#}")),
    }
    let report = run_one(workspace, console, scenario, false).await;
    report.map_err(|error| format!("it could not be run, twice: {error:#}"))
}
