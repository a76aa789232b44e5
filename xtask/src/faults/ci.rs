//! The short version that every full test run ends with: one seed, and each bug once.

use std::sync::Arc;

use super::bug::Bug;
use super::run::run as run_one;
use super::scenario::Scenario;
use crate::build;
use crate::console::Console;
use crate::workspace::Workspace;

/// What the gate run of the tests is made of.
const SEED: u64 = 1;
const ORDERS: u32 = 1_000;
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
    count("a seeded run keeps every promise", gate(workspace, console).await);
    for bug in Bug::ALL {
        count(&format!("{} is found", bug.name()), hunt(workspace, console, bug).await);
    }
    Ok((passed, failed))
}

async fn gate(workspace: &Workspace, console: &Arc<Console>) -> Result<String, String> {
    let report = run_one(workspace, console, &Scenario::gate(SEED, ORDERS, 2, None), false).await;
    let report = report.map_err(|error| format!("it could not be run: {error:#}"))?;
    if report.is_green() { Ok(report.to_string()) } else { Err(format!("{report}\n{}", report.problems().join("\n"))) }
}

/// A hunt must end red, and by a broken promise: one that could not be run proves nothing.
async fn hunt(workspace: &Workspace, console: &Arc<Console>, bug: Bug) -> Result<String, String> {
    let report = run_one(workspace, console, &Scenario::hunt(bug, SEED, HUNT_ORDERS, None), false).await;
    let report = report.map_err(|error| format!("it could not be run: {error:#}"))?;
    if report.found_a_bug() { Ok(report.to_string()) } else { Err(format!("the bug was not found: {report}")) }
}
