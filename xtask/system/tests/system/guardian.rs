//! What a killed parent leaves behind.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use xtask_system::process::ProcessSpec;

use crate::support::{eventually, guardian, layout, place, postgres};

const NAME: &str = "guardian::nothing_outlives_a_parent_that_was_killed";
/// Tells a copy of this test that it is the parent to be killed, and where.
const PARENT: &str = "MERIDIAN_TEST_PARENT";

#[tokio::test]
async fn nothing_outlives_a_parent_that_was_killed() {
    if let Some(place) = std::env::var_os(PARENT) {
        be_the_parent(Path::new(&place)).await;
    }
    let place = place("killed-parent");
    let mut parent = Command::new(std::env::current_exe().unwrap())
        .args([NAME, "--exact", "--nocapture"])
        .env(PARENT, &place)
        .stdout(Stdio::null())
        .spawn()
        .unwrap();
    eventually("the parent has started everything", Duration::from_secs(60), || place.join("ready").exists()).await;
    let database = std::fs::read_to_string(place.join("ready")).unwrap();
    let mut busy = <sqlx::PgConnection as sqlx::Connection>::connect(&database).await.unwrap();
    let busy = tokio::spawn(async move { sqlx::raw_sql("SELECT pg_sleep(3600)").execute(&mut busy).await.is_err() });
    // Where its user cannot reach `place`, Postgres lives elsewhere.
    let layout = layout(&place);
    let everywhere = || -> BTreeSet<PathBuf> { inside(&place).into_iter().chain(inside(layout.databases())).collect() };
    let alive = everywhere();
    assert!(alive.len() >= 8, "Postgres with its children, and three shells: {alive:?}");

    kill(Pid::from_raw(i32::try_from(parent.id()).unwrap()), Signal::SIGKILL).unwrap();
    parent.wait().unwrap();

    eventually("everything has ended", Duration::from_secs(20), || everywhere().is_empty()).await;
    assert!(busy.await.unwrap(), "the busy connection was cut");
    layout.remove().unwrap();
    std::fs::remove_dir_all(&place).unwrap();
}

/// Starts a Postgres and a group that does not listen to SIGTERM, says so and hangs.
async fn be_the_parent(place: &Path) -> ! {
    let guardian = guardian(place);
    let layout = layout(place);
    let server = postgres("guarded", &[], &layout, &guardian).await;
    let deaf = ProcessSpec::new("deaf", "/bin/sh", place, place.join("deaf.log"))
        .arguments(["-c", "trap '' TERM; (while :; do sleep 1; done) & while :; do sleep 1; done"]);
    let _deaf = deaf.spawn(&guardian).unwrap();
    std::fs::write(place.join("ready.new"), server.url("postgres")).unwrap();
    std::fs::rename(place.join("ready.new"), place.join("ready")).unwrap();
    std::future::pending().await
}

/// The processes that run in a folder below `place`.
fn inside(place: &Path) -> Vec<PathBuf> {
    let processes = std::fs::read_dir("/proc").unwrap().flatten().map(|entry| entry.path());
    processes
        .filter(|process| std::fs::read_link(process.join("cwd")).is_ok_and(|cwd| cwd.starts_with(place)))
        .collect()
}

#[tokio::test]
async fn a_dropped_process_takes_its_children_along() {
    let place = place("dropped-process");
    let guardian = guardian(&place);
    let spec = ProcessSpec::new("family", "/bin/sh", &place, place.join("family.log"))
        .arguments(["-c", "sleep 3600 & sleep 3600"]);
    let process = spec.spawn(&guardian).unwrap();
    eventually("the family is complete", Duration::from_secs(10), || inside(&place).len() == 3).await;
    drop(process);
    eventually("the family is gone", Duration::from_secs(10), || inside(&place).is_empty()).await;
}

#[tokio::test]
async fn a_process_that_refuses_to_end_is_killed_after_its_grace() {
    let place = place("refusing-process");
    let guardian = guardian(&place);
    let spec = ProcessSpec::new("deaf", "/bin/sh", &place, place.join("deaf.log"))
        .arguments(["-c", "trap '' TERM; echo deaf; while :; do sleep 0.1; done"]);
    let mut process = spec.spawn(&guardian).unwrap();
    eventually("it is deaf", Duration::from_secs(10), || process.log_tail().contains("deaf")).await;
    let status = process.stop(Duration::from_millis(200)).await.unwrap();
    assert!(!status.success());
    assert!(inside(&place).is_empty());
}

#[tokio::test]
async fn a_second_guardian_waits_for_the_first_to_clear_up() {
    let place = place("two-guardians");
    let first = guardian(&place);
    let lock = std::fs::File::open(place.join("guardian.lock")).unwrap();
    assert!(lock.try_lock().is_err(), "the first holds it");
    drop(first);
    let second = guardian(&place);
    assert!(lock.try_lock().is_err(), "and now the second");
    drop(second);
}
