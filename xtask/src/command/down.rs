//! `cargo xtask down`: what Ctrl-C does to a running `up`, from elsewhere.

use std::time::Duration;

use anyhow::bail;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use tokio::time::Instant;

use crate::instance::Instance;

/// An orderly end takes seconds; the guardian's, a few more.
const ENDED_WITHIN: Duration = Duration::from_secs(90);
/// How often the locks are looked at: a process that is not our child tells nobody that it has ended.
const LOOK: Duration = Duration::from_millis(50);

pub(crate) async fn run(instance: &Instance) -> anyhow::Result<()> {
    let Some(owner) = instance.owner() else {
        println!("`{}` is not up.", instance.name);
        return Ok(());
    };
    kill(Pid::from_raw(owner), Signal::SIGTERM)?;
    let deadline = Instant::now() + ENDED_WITHIN;
    while !instance.has_ended() {
        if Instant::now() >= deadline {
            bail!("`{}` (process {owner}) has not ended within {} s", instance.name, ENDED_WITHIN.as_secs());
        }
        tokio::time::sleep(LOOK).await;
    }
    println!("`{}` has ended.", instance.name);
    Ok(())
}
