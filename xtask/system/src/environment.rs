//! How `cargo xtask test` tells the tests what it has installed and built.

use std::ffi::OsString;
use std::path::PathBuf;

use crate::error::SystemError;
use crate::guardian::GuardianProgram;
use crate::plan::{BrokerPrograms, Programs};
use crate::postgres::PostgresPrograms;
use crate::redis;
use crate::tools::node::NodeTools;
use crate::worker::WorkerPrograms;

/// A Postgres whose databases tests may make and drop; its user may do anything.
pub const POSTGRES_URL: &str = "MERIDIAN_TEST_POSTGRES_URL";
/// A Redis that tests share.
pub const REDIS_URL: &str = "MERIDIAN_TEST_REDIS_URL";
/// The folder of our own programs.
pub const PROGRAMS: &str = "MERIDIAN_TEST_PROGRAMS";
/// The `wrangler.toml` of a Worker that was built.
pub const WRANGLER_CONFIG: &str = "MERIDIAN_TEST_WRANGLER_CONFIG";
/// The `node` to use.
pub const NODE: &str = "MERIDIAN_TEST_NODE";
/// The `node_modules` folder with wrangler and Playwright's driver.
pub const NODE_MODULES: &str = "MERIDIAN_TEST_NODE_MODULES";
/// The Chromium to use.
pub const CHROMIUM: &str = "MERIDIAN_TEST_CHROMIUM";

/// The program that starts stripe-world, a fake of Stripe, at a port. Not set where it cannot be installed.
pub const STRIPE_WORLD: &str = "MERIDIAN_TEST_STRIPE_WORLD";
/// The program that starts localstripe, another one, at a port. Not set where it cannot be installed.
pub const LOCALSTRIPE: &str = "MERIDIAN_TEST_LOCALSTRIPE";

/// The program of tansu, a broker of Kafka. Not set where it is not installed.
pub const TANSU: &str = "MERIDIAN_TEST_TANSU";

/// Where tansu is, if the tests were told.
#[must_use]
pub fn tansu() -> Option<PathBuf> {
    std::env::var_os(TANSU).filter(|program| !program.is_empty()).map(PathBuf::from)
}

/// The programs that a system runs.
///
/// # Errors
/// [`SystemError::Missing`], naming the variable that is not set or the program that is not there.
pub fn programs() -> Result<Programs, SystemError> {
    let folder = PathBuf::from(variable(PROGRAMS)?);
    let own = |name: &'static str| {
        let program = folder.join(name);
        if program.is_file() { Ok(program) } else { Err(missing(name, &format!("it is not in {}", folder.display()))) }
    };
    Ok(Programs {
        region_core: own("region-core")?,
        edge_pop: own("edge-pop")?,
        payment_sandbox: own("payment-sandbox")?,
        carrier_sandbox: own("carrier-sandbox")?,
        postgres: PostgresPrograms::find().ok_or_else(|| missing("Postgres", RUN))?,
        redis: redis::find().ok_or_else(|| missing("Redis", RUN))?,
        worker: worker().ok(),
        mail: node().ok(),
        broker: Some(BrokerPrograms { broker: own("meridian-broker")?, tansu: tansu() }),
    })
}

/// The guardian's program.
///
/// # Errors
/// [`SystemError::Missing`] if the variable is not set.
pub fn guardian() -> Result<GuardianProgram, SystemError> {
    let program = PathBuf::from(variable(PROGRAMS)?).join("meridian-guardian");
    Ok(GuardianProgram { program, arguments: Vec::new() })
}

/// What runs the Worker.
///
/// # Errors
/// [`SystemError::Missing`] if one of its variables is not set.
pub fn worker() -> Result<WorkerPrograms, SystemError> {
    Ok(WorkerPrograms { node: node()?, config: variable(WRANGLER_CONFIG)?.into() })
}

/// Node and what it runs.
fn node() -> Result<NodeTools, SystemError> {
    Ok(NodeTools { modules: variable(NODE_MODULES)?.into(), node: variable(NODE)?.into() })
}

const RUN: &str = "run the tests with `cargo xtask test`";

fn variable(name: &'static str) -> Result<OsString, SystemError> {
    std::env::var_os(name).ok_or_else(|| missing(name, RUN))
}

fn missing(tool: &'static str, advice: &str) -> SystemError {
    SystemError::Missing { tool, advice: advice.to_owned() }
}
