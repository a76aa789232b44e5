//! Carries out what the schedule says, on the parts that run, and mends everything in the end.

use std::collections::{BTreeMap, BTreeSet};
use std::os::unix::process::ExitStatusExt as _;
use std::time::Duration;

use anyhow::{Context as _, bail, ensure};
use futures::future::{join_all, try_join_all};
use nix::sys::signal::Signal;
use serde_json::json;
use tokio::time::Instant;
use xtask_system::{Part, System};

use super::books::{self, Shards};
use super::failpoint;
use super::schedule::{Action, CARRIER, Death, PROVIDER, Step};

/// A part that ended by itself is tried again this often in the end: a killed Postgres may still let go of its memory.
const TRIES: u32 = 10;
const PAUSE: Duration = Duration::from_millis(300);
/// How long a core may take to come to the place where it is to die: some seconds until it is found again, some orders.
const DIES_WITHIN: Duration = Duration::from_secs(30);
/// How long the payment provider or the carrier may take to hear how it is to fail.
const HEARS_WITHIN: Duration = Duration::from_secs(10);

/// How the payment provider or the carrier was told to fail.
#[derive(Clone, Copy, Debug, Default)]
struct Mischief {
    drop_answer: f64,
    fail_before: f64,
    fail_after: f64,
    delay: Duration,
}

/// The store, and what of it is down on purpose.
pub(super) struct Chaos<'a> {
    system: &'a mut System,
    shards: &'a Shards,
    catalog: String,
    down: BTreeSet<String>,
    moved: Vec<(u16, Vec<i16>)>,
    provider: Mischief,
    carrier: Mischief,
    /// What broke without having been told to.
    pub(super) surprises: Vec<String>,
    pub(super) faults: u32,
}

impl<'a> Chaos<'a> {
    pub(super) fn new(system: &'a mut System, shards: &'a Shards, catalog: String) -> Self {
        let (down, moved, surprises) = (BTreeSet::new(), Vec::new(), Vec::new());
        let (provider, carrier) = (Mischief::default(), Mischief::default());
        Self { system, shards, catalog, down, moved, provider, carrier, surprises, faults: 0 }
    }

    /// Does each step at its time, and lets what was done last for as long as the load does. An error is of the harness.
    pub(super) async fn run(&mut self, steps: &[Step], duration: Duration) -> anyhow::Result<()> {
        let begun = Instant::now();
        for step in steps {
            tokio::time::sleep_until(begun + step.at).await;
            eprintln!("{step}");
            self.note_surprises()?;
            self.faults += step.action.faults();
            self.act(&step.action).await.with_context(|| step.action.to_string())?;
        }
        tokio::time::sleep_until(begun + duration).await;
        Ok(())
    }

    /// Mends what is broken, and waits until every part answers.
    pub(super) async fn heal(&mut self) -> anyhow::Result<()> {
        self.note_surprises()?;
        self.system.links.calm();
        if !self.moved.is_empty() {
            self.publish().await?;
        }
        let parts = self.system.parts_mut().map(async |part| {
            part.process().resume();
            for _ in 0..TRIES {
                if part.has_ended()?.is_some() {
                    part.respawn().await?;
                }
                if part.ready().await.is_ok() {
                    return Ok(());
                }
                tokio::time::sleep(PAUSE).await;
            }
            part.ready().await
        });
        join_all(parts).await.into_iter().collect::<Result<Vec<()>, _>>().context("a part does not come back")?;
        self.down.clear();
        (self.provider, self.carrier) = (Mischief::default(), Mischief::default());
        self.provide().await?;
        self.carry().await
    }

    async fn act(&mut self, action: &Action) -> anyhow::Result<()> {
        match action {
            Action::Kill(name) => {
                self.down.insert(name.clone());
                let _ = self.part(name)?.kill().await?;
            }
            Action::Deaths(deaths) => self.die(deaths).await?,
            Action::Start(name) => {
                self.part(name)?.respawn().await?;
                self.down.remove(name);
                if name == PROVIDER {
                    // A new process fails nobody until it is told again.
                    self.part(name)?.ready().await?;
                    self.provide().await?;
                }
                if name == CARRIER {
                    self.part(name)?.ready().await?;
                    self.carry().await?;
                }
            }
            Action::Pause(name) => self.part(name)?.process().pause(),
            Action::Resume(name) => self.part(name)?.process().resume(),
            Action::Weather { from, to, weather, .. } => {
                for (from, to) in from.iter().flat_map(|from| to.iter().map(move |to| (from, to))) {
                    self.system.links.get(from, to).with_context(|| format!("no link {from} → {to}"))?.set(*weather);
                }
            }
            Action::Clocks(ahead) => {
                let offset = format!("{ahead} seconds");
                for shard in self.system.shards.values() {
                    shard.reconfigure(&[("meridian.clock_offset", &offset)])?;
                }
            }
            Action::MoveSlots { from, to } => {
                let slots = self.shards.move_slots(*from, *to).await?;
                self.moved.push((*to, slots));
            }
            Action::PublishMap => self.publish().await?,
            &Action::Provider { drop_answer, fail_before, fail_after } => {
                self.provider = Mischief { drop_answer, fail_before, fail_after, ..self.provider };
                self.provide().await?;
            }
            &Action::Carrier { drop_answer, fail_before, fail_after } => {
                self.carrier = Mischief { drop_answer, fail_before, fail_after, ..self.carrier };
                self.carry().await?;
            }
            Action::SlowCarrier(delay) => {
                self.carrier.delay = *delay;
                self.carry().await?;
            }
            Action::SlowProvider(delay) => {
                self.provider.delay = *delay;
                self.provide().await?;
            }
            Action::ForgetKeys => {
                control(&self.system.addresses.sandbox, "/control/forget-keys", &json!({})).await?;
            }
        }
        Ok(())
    }

    async fn die(&mut self, deaths: &BTreeMap<String, Vec<Death>>) -> anyhow::Result<()> {
        let dying = self.system.parts_mut().filter_map(|part| Some((deaths.get(part.name())?, part)));
        try_join_all(dying.map(|(deaths, part)| die(part, deaths))).await.map(|_: Vec<()>| ())
    }

    fn part(&mut self, name: &str) -> anyhow::Result<&mut xtask_system::Part> {
        self.system.part_mut(name).with_context(|| format!("there is no part {name}"))
    }

    async fn publish(&mut self) -> anyhow::Result<()> {
        books::publish_map(&self.catalog, &std::mem::take(&mut self.moved)).await
    }

    /// Tells the payment provider how to fail; on other dice each time.
    async fn provide(&self) -> anyhow::Result<()> {
        control(&self.system.addresses.sandbox, "/control", &self.provider.body(self.faults)).await
    }

    /// The same for the carrier.
    async fn carry(&self) -> anyhow::Result<()> {
        control(&self.system.addresses.carrier, "/control", &self.carrier.body(self.faults)).await
    }

    /// Parts that ended though nobody killed them are started again, as a supervisor would, and told about.
    fn note_surprises(&mut self) -> anyhow::Result<()> {
        for part in self.system.parts_mut() {
            let name = part.name().to_owned();
            if self.down.contains(&name) {
                continue;
            }
            if let Some(status) = part.has_ended()? {
                self.surprises.push(format!("{name} ended by itself ({status}):\n{}", part.process().log_tail()));
                self.down.insert(name);
            }
        }
        Ok(())
    }
}

impl Mischief {
    fn body(self, seed: u32) -> serde_json::Value {
        let Self { drop_answer, fail_before, fail_after, delay } = self;
        json!({
            "seed": seed, "drop_answer": drop_answer, "fail_before": fail_before, "fail_after": fail_after,
            "delay_ms": delay.as_millis(),
        })
    }
}

async fn control(origin: &str, path: &str, body: &serde_json::Value) -> anyhow::Result<()> {
    let client = reqwest::Client::builder().no_proxy().timeout(HEARS_WITHIN).build()?;
    client.post(format!("{origin}{path}")).json(body).send().await?.error_for_status()?;
    Ok(())
}

/// Lets a core die at one place after the other: whenever it is started, it is told the next one. A core that does not die
/// there proves nothing about it, which is an error.
async fn die(core: &mut Part, deaths: &[Death]) -> anyhow::Result<()> {
    for death in deaths {
        core.respawn_with(&[(failpoint::VARIABLE, &death.at.crash_at(death.pass))]).await?;
        let place = format!("{} at {death}", core.name());
        let died = tokio::time::timeout(DIES_WITHIN, core.wait()).await;
        let Ok(status) = died else { bail!("{place}: it did not come there within {} s", DIES_WITHIN.as_secs()) };
        let status = status?;
        let tail = core.process().log_tail();
        let there = status.signal() == Some(Signal::SIGABRT as i32) && tail.contains(death.at.name);
        ensure!(there, "{place}: it ended otherwise ({status}):\n{tail}");
        eprintln!("            died: {place}");
    }
    core.respawn().await?;
    Ok(core.ready().await?)
}
