//! `cargo xtask test`: every test, with everything that they need, and after them a short fault run and every planted bug.
//!
//! The tests find what they need by variables whose names begin with `MERIDIAN_TEST_`; see
//! `xtask_system::environment`. Nothing is started on a fixed port, so it may run beside `up`.

use std::path::PathBuf;
use std::process::{ExitStatus, Stdio};
use std::sync::Arc;

use anyhow::{Context as _, bail};
use tokio::io::{AsyncBufReadExt as _, BufReader};
use xtask_system::SystemError;
use xtask_system::environment;
use xtask_system::tools::{Tools, cargo_tool, servers, stripe};

use crate::build;
use crate::console::Console;
use crate::faults;
use crate::scratch::Scratch;
use crate::workspace::Workspace;

/// What properties draw their values from. It is the same in every run unless told, so that two runs of one commit say the
/// same and what fails is the change's own; to search further, give it another and raise `PROPTEST_CASES`.
const PROPERTY_SEED: &str = "PROPTEST_RNG_SEED";

/// Which tests.
#[derive(Debug, clap::Args)]
pub(crate) struct Options {
    /// What `cargo test` is told instead of `--workspace`, for example `-p region-core-order -- sold_out`.
    #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
    arguments: Vec<String>,
}

/// How many tests did what, over all test programs.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Counts {
    passed: u64,
    failed: u64,
    skipped: u64,
}

pub(crate) async fn run(workspace: &Workspace, options: &Options) -> anyhow::Result<()> {
    let console = Arc::new(Console::new());
    let variables = prepare(workspace, &console).await?;
    let scratch = Scratch::start(workspace, &console).await?;
    console.clear();
    let mut cargo = workspace.cargo();
    cargo.args(["test", "--no-fail-fast"]);
    if options.arguments.is_empty() {
        cargo.arg("--workspace");
    }
    cargo
        .args(&options.arguments)
        .envs(variables)
        .env(environment::POSTGRES_URL, scratch.postgres().url("postgres"))
        .env(environment::REDIS_URL, scratch.redis_url());
    if std::env::var_os(PROPERTY_SEED).is_none() {
        cargo.env(PROPERTY_SEED, "1");
    }
    let (status, mut counts) = count(cargo).await?;
    scratch.stop().await?;
    if options.arguments.is_empty() {
        let (passed, failed) = faults::run_in_ci(workspace, &console).await?;
        counts.passed += passed;
        counts.failed += failed;
    }
    println!("{} passed, {} failed, {} skipped", counts.passed, counts.failed, counts.skipped);
    verdict(status, counts)
}

/// Installs and builds what the tests start by themselves, and says where it is.
async fn prepare(
    workspace: &Workspace,
    console: &Arc<Console>,
) -> anyhow::Result<Vec<(&'static str, std::ffi::OsString)>> {
    let told = console.clone();
    let tools = Tools::new(move |line| told.say(line))?;
    // The same choice of packages as the tests' own build, so that nothing is compiled twice.
    let mut natives = workspace.cargo();
    natives.args(["build", "--quiet", "--workspace", "--bins"]);
    let natives = console.step("programs", build::passes("cargo build", natives));
    let browser =
        async { anyhow::Ok(if has_browser_tests(workspace) { Some(servers::chromium(&tools).await?) } else { None }) };
    let worker = build::worker(workspace, &tools, console);
    let fakes = async { anyhow::Ok(fakes_of_stripe(&tools, console).await) };
    let (worker, chromium, fakes, ()) = tokio::try_join!(worker, browser, fakes, natives)?;
    let mut variables = vec![
        (environment::PROGRAMS, workspace.programs.clone().into_os_string()),
        (environment::WRANGLER_CONFIG, worker.config.into_os_string()),
        (environment::NODE, worker.node.node.into_os_string()),
        (environment::NODE_MODULES, worker.node.modules.into_os_string()),
    ];
    variables.extend(chromium.map(|chromium| (environment::CHROMIUM, chromium.into_os_string())));
    variables.extend(fakes);
    // A broker that others wrote: the bus' tests on it are counted as skipped where it is not.
    variables.extend(cargo_tool::found_tansu(&tools).map(|tansu| (environment::TANSU, tansu.into_os_string())));
    Ok(variables)
}

/// What the tests of the Stripe adapter ask. A fake that cannot be installed here has its tests counted as skipped.
async fn fakes_of_stripe(tools: &Tools, console: &Console) -> Vec<(&'static str, std::ffi::OsString)> {
    let world = console.step("stripe-world", stripe::world(tools)).await;
    let localstripe = console.step("localstripe", stripe::localstripe(tools)).await;
    let found = |(variable, program): (&'static str, Result<PathBuf, SystemError>)| match program {
        Ok(program) => Some((variable, program.into_os_string())),
        Err(error) => {
            console.say(&format!("its tests are skipped: {error}"));
            None
        }
    };
    [(environment::STRIPE_WORLD, world), (environment::LOCALSTRIPE, localstripe)]
        .into_iter()
        .filter_map(found)
        .collect()
}

fn has_browser_tests(workspace: &Workspace) -> bool {
    let tests = workspace.root.join("tests");
    ["browser", "tests/browser", "tests/browser.rs", "src/browser.rs"]
        .into_iter()
        .any(|place| tests.join(place).exists())
}

/// Runs the tests, shows what they say and counts it.
async fn count(mut cargo: tokio::process::Command) -> anyhow::Result<(ExitStatus, Counts)> {
    let mut child = cargo.stdout(Stdio::piped()).kill_on_drop(true).spawn().context("cannot run cargo test")?;
    let mut lines = BufReader::new(child.stdout.take().context("cargo test says nothing")?).lines();
    let mut counts = Counts::default();
    while let Some(line) = lines.next_line().await? {
        println!("{line}");
        counts.add(&line);
    }
    Ok((child.wait().await?, counts))
}

fn verdict(status: ExitStatus, counts: Counts) -> anyhow::Result<()> {
    if !status.success() {
        bail!("cargo test failed ({status})");
    }
    if counts.failed > 0 {
        bail!("{} failed", counts.failed);
    }
    if counts.passed == 0 {
        bail!("no test was run");
    }
    Ok(())
}

impl Counts {
    /// Adds the closing line of one test program.
    fn add(&mut self, line: &str) {
        let Some(line) = line.strip_prefix("test result: ") else { return };
        let number = |kind: &str| {
            let words: Vec<&str> = line.split([' ', ';']).filter(|word| !word.is_empty()).collect();
            let at = words.iter().position(|word| *word == kind).and_then(|at| at.checked_sub(1));
            at.and_then(|at| words[at].parse::<u64>().ok()).unwrap_or_default()
        };
        self.passed += number("passed");
        self.failed += number("failed");
        self.skipped += number("ignored");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_closing_lines_of_all_programs_are_summed_and_others_are_not() {
        let mut counts = Counts::default();
        for line in [
            "test result: ok. 11 passed; 0 failed; 2 ignored; 0 measured; 0 filtered out; finished in 0.06s",
            "test result: FAILED. 3 passed; 1 failed; 0 ignored; 0 measured; 4 filtered out; finished in 1.00s",
            "someone printed 7 passed; 7 failed",
        ] {
            counts.add(line);
        }
        assert_eq!(counts, Counts { passed: 14, failed: 1, skipped: 2 });
    }

    #[test]
    fn a_run_without_tests_has_failed() {
        let success = std::os::unix::process::ExitStatusExt::from_raw(0);
        assert!(verdict(success, Counts::default()).is_err());
        assert!(verdict(success, Counts { passed: 1, ..Counts::default() }).is_ok());
        assert!(verdict(success, Counts { passed: 1, failed: 1, ..Counts::default() }).is_err(), "a fault run failed");
    }
}
