//! One run from start to end: the store, the load, the faults, the quiet afterwards, the comparison.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use shared_clock::Entropy;
use tokio::time::Instant;
use xtask_system::operator::{self, Operator};
use xtask_system::postgres::PostgresPrograms;
use xtask_system::tools::{Tools, servers};
use xtask_system::{Addresses, Guardian, Layout, Plan, Ports, Programs, RegionPlan, ServiceUser, System};

use super::books::Shards;
use super::chaos::Chaos;
use super::client::Outcome;
use super::goods::{Demand, Good, Goods};
use super::hands::{Basket, Hands};
use super::history::History;
use super::load::{Door, Load};
use super::report::Report;
use super::scenario::Scenario;
use super::schedule::{CARRIER, Step};
use super::verdict::Verdict;
use crate::audit;
use crate::build;
use crate::bus::{self, Bus};
use crate::console::Console;
use crate::workspace::Workspace;

/// How long the store may take to come to rest after the faults.
const QUIET_WITHIN: Duration = Duration::from_secs(60);
/// How much longer than the load who keeps the store is busy: what he has not finished by then stays as it is.
const HANDS_LONGER: Duration = Duration::from_secs(15);
/// How long new goods may take to be for sale.
const FOR_SALE_WITHIN: Duration = Duration::from_secs(30);
/// How often that is asked.
const LOOK: Duration = Duration::from_millis(200);
/// Refusals in a row after which a shopper believes that nothing is left.
const REFUSALS: u32 = 2;

/// Builds what is needed, runs the scenario and tells what came of it.
pub(crate) async fn run(
    workspace: &Workspace,
    console: &Arc<Console>,
    scenario: &Scenario,
    build: bool,
) -> anyhow::Result<Report> {
    // A whole store is a large value: it stays out of the callers' futures.
    Box::pin(run_on_a_store(workspace, console, scenario, build)).await
}

async fn run_on_a_store(
    workspace: &Workspace,
    console: &Arc<Console>,
    scenario: &Scenario,
    build: bool,
) -> anyhow::Result<Report> {
    let programs = programs(workspace, console, scenario, build).await?;
    let folder = workspace.target().join(scenario.name());
    std::fs::create_dir_all(&folder).with_context(|| format!("cannot create {}", folder.display()))?;
    let goods = {
        let (scarce, lopsided, plentiful) = scenario.goods;
        Goods::of(scenario.orders, scarce, lopsided, plentiful)?
    };
    let steps = scenario.steps();
    let schedule: String = steps.iter().map(|step| format!("{step}\n")).collect();
    std::fs::write(folder.join("schedule.txt"), format!("seed {}\n{schedule}", scenario.seed))?;
    let system = start(&folder, programs, scenario, &goods, console).await?;
    console.clear();
    let operator = if scenario.hands { Some(appoint(&system, scenario).await?) } else { None };
    let mut run = Run { scenario, goods, history: History::begin(&folder)?, folder, system, operator };
    let report = run.carry_out(&steps).await?;
    let Run { system, .. } = run;
    let layout = system.layout.clone();
    system.stop().await?;
    if report.is_green() {
        layout.remove()?; // what a red run left stays, to be looked at
    }
    Ok(report)
}

struct Run<'a> {
    scenario: &'a Scenario,
    goods: Goods,
    history: History,
    folder: PathBuf,
    system: System,
    operator: Option<Operator>,
}

impl Run<'_> {
    async fn carry_out(&mut self, steps: &[Step]) -> anyhow::Result<Report> {
        let begun = Instant::now();
        let shards = Shards(self.system.shards.iter().map(|(id, server)| (*id, server.url("shard"))).collect());
        let door = Door::at(&self.system.addresses.shop, self.scenario.regions.len(), self.scenario.patience)?;
        let catalog = self.catalog()?;
        let prefix = format!("{}-", self.scenario.name());
        let (hands, basket) = self.hands(&door, &prefix)?.unzip();
        let load = load(self.scenario, &self.goods, &self.history, (&door, basket), &prefix);
        let mut chaos = Chaos::new(&mut self.system, &shards, catalog.clone());
        let breaking = async {
            chaos.run(steps, self.scenario.duration).await?;
            chaos.heal().await
        };
        let keeping = async {
            if let Some(hands) = &hands {
                hands.run().await;
            }
            anyhow::Ok(())
        };
        tokio::try_join!(load.run(), breaking, keeping)?;
        let deeds = hands.as_ref().map(Hands::deeds).unwrap_or_default();
        let told: String = deeds.iter().map(|deed| format!("{deed:?}\n")).collect();
        std::fs::write(self.folder.join("deeds.txt"), told).context("what was done by hand cannot be written down")?;
        let (faults, surprises) = (chaos.faults, std::mem::take(&mut chaos.surprises));
        let seconds = begun.elapsed().as_secs_f64();
        let first = shards.quiet(QUIET_WITHIN).await?;
        self.buy_what_is_left(&door, &prefix).await?;
        let quiet = first.and(shards.quiet(QUIET_WITHIN).await?).and(first);
        let asked = self.history.so_far()?;
        let Addresses { sandbox, carrier, .. } = &self.system.addresses;
        let books = shards.read(&prefix, (sandbox, carrier)).await?;
        let audit = self.audit(&shards, catalog).await?;
        let scarce = |good: &&Good| good.demand == Demand::Scarce;
        let left = |good: &Good| books.stock.get(good.sku.as_str()).map_or(0, |stock| stock.free);
        let mut report = Report {
            seed: self.scenario.seed,
            bug: self.scenario.bug.map(super::Bug::name),
            failpoints: self.scenario.failpoints.iter().map(|place| place.name).collect(),
            faults,
            seconds,
            verdict: Verdict::of(&asked, &deeds, &books),
            by_hand: deeds.iter().filter(|deed| deed.done == Some(true)).count() as u64,
            scarce_units: self.goods.all.iter().filter(scarce).map(|good| good.units.unsigned_abs()).sum(),
            stranded: self.goods.all.iter().filter(scarce).map(|good| left(good).unsigned_abs()).sum(),
            quiet_after_seconds: quiet.ok().map(|after| after.as_secs_f64()),
            panics: panics(&self.system.layout.logs()?)?,
            surprises,
            audit,
            folder: self.folder.clone(),
        };
        if let Err(under_way) = quiet {
            report.surprises.push(format!("still under way after {} s: {under_way:?}", QUIET_WITHIN.as_secs()));
        }
        Ok(report)
    }

    /// The people of the store, if the scenario has some.
    fn hands<'a>(&self, door: &'a Door, prefix: &'a str) -> anyhow::Result<Option<(Hands<'a>, Basket)>> {
        let Some(Operator { email, password_file }) = &self.operator else { return Ok(None) };
        let password = std::fs::read_to_string(password_file)
            .with_context(|| format!("cannot read {}", password_file.display()))?;
        let who = (*email, password.trim().to_owned());
        let over = Instant::now() + self.scenario.duration + HANDS_LONGER;
        Hands::at(door, &self.system.addresses.carrier, who, (self.scenario.seed, prefix), over).map(Some)
    }

    /// Orders that were cancelled have given units back: they are still wanted. In the end nothing is left, wherever it lay.
    async fn buy_what_is_left(&self, door: &Door, prefix: &str) -> anyhow::Result<()> {
        let mut number = 0_u32;
        for good in self.goods.all.iter().filter(|good| good.demand == Demand::Scarce) {
            for region in 0..self.scenario.shopping_regions {
                let mut refusals = 0;
                while refusals < REFUSALS {
                    number += 1;
                    let guest = door.guest(region).await?;
                    let key = format!("{prefix}last-{number:06}");
                    let wish = self.goods.one_of(good, region)?;
                    match door.place(&guest, &key, &wish, &self.history).await {
                        Outcome::Ok { .. } => refusals = 0,
                        Outcome::Fail(_) | Outcome::Unknown(_) => refusals += 1,
                    }
                }
            }
        }
        Ok(())
    }

    fn catalog(&self) -> anyhow::Result<String> {
        let (region, _) = self.scenario.regions.first().context("no region")?;
        let server = self.system.catalogs.get(*region).context("no catalog")?;
        Ok(server.url("catalog"))
    }

    async fn audit(&self, shards: &Shards, catalog: String) -> anyhow::Result<audit::Report> {
        let region_of = |shard: u16| {
            let of = self.scenario.regions.iter().find(|(_, shards)| shards.contains(&shard));
            of.map_or_else(String::new, |(region, _)| (*region).to_owned())
        };
        let site = |(&id, url): (&u16, &String)| {
            anyhow::Ok(audit::ShardSite { id: i16::try_from(id)?, region: region_of(id), url: url.clone() })
        };
        let layout = audit::Layout {
            shards: shards.0.iter().map(site).collect::<anyhow::Result<_>>()?,
            catalog,
            provider: Some(audit::ProviderLog::Http(self.system.addresses.sandbox.clone())),
            carrier: Some(self.system.layout.path(CARRIER).join("parcels.log")),
            acknowledged: Some(self.history.acknowledged().to_owned()),
        };
        audit::run(&layout, audit::Demand::Settled).await.context("the audit could not look")
    }
}

/// Where the store's programs panicked, each place once.
fn panics(logs: &[PathBuf]) -> anyhow::Result<Vec<String>> {
    let mut found = BTreeSet::new();
    for log in logs {
        let bytes = std::fs::read(log).with_context(|| format!("cannot read {}", log.display()))?;
        let part = log.file_stem().unwrap_or_default().to_string_lossy();
        let text = String::from_utf8_lossy(&bytes);
        let places = text.lines().filter_map(|line| line.split_once(" panicked at ").map(|(_, place)| place));
        found.extend(places.map(|place| format!("{part} panicked at {}", place.trim_end_matches(':'))));
    }
    Ok(found.into_iter().collect())
}

/// Somebody who keeps the store, before anything befalls it.
async fn appoint(system: &System, scenario: &Scenario) -> anyhow::Result<Operator> {
    let (region, _) = scenario.regions.first().context("no region")?;
    operator::appoint(system, region, &Entropy::system()).await.context("nobody keeps the store")
}

fn load<'a>(
    scenario: &Scenario,
    goods: &'a Goods,
    history: &'a History,
    (door, basket): (&'a Door, Option<Basket>),
    prefix: &'a str,
) -> Load<'a> {
    Load {
        basket,
        door,
        goods,
        history,
        prefix,
        seed: scenario.seed,
        orders: scenario.orders,
        duration: scenario.duration,
        regions: scenario.shopping_regions,
        paying: scenario.paying,
        shoppers: scenario.shoppers,
    }
}

async fn start(
    folder: &Path,
    programs: Programs,
    scenario: &Scenario,
    goods: &Goods,
    console: &Arc<Console>,
) -> anyhow::Result<System> {
    let root = folder.join("system");
    let program = crate::instance::guardian_program();
    // Held until the guardian of an earlier run has ended its processes.
    let guardian = Guardian::start(&program, &folder.join("guardian.lock"))?;
    let user = ServiceUser::for_databases()?;
    if root.exists() {
        Layout::create(&root, user.as_ref())?.remove()?;
    }
    let layout = Layout::create(&root, user.as_ref())?;
    let system = System::start(&plan(scenario), programs, layout, guardian, console.as_ref()).await?;
    let file = system.layout.path("goods.csv");
    std::fs::write(&file, goods.csv())?;
    let (region, _) = scenario.regions.first().context("no region")?;
    system.region_core(region, "import", &[&file.to_string_lossy(), "--currency", "GBP"]).await?;
    for_sale(&system, goods).await?;
    Ok(system)
}

fn plan(scenario: &Scenario) -> Plan {
    let mut plan = Plan::two_regions(Ports::Free(Entropy::system()));
    let region = |(name, shards): &(&str, Vec<u16>)| RegionPlan { name: (*name).to_owned(), shards: shards.clone() };
    plan.regions = scenario.regions.iter().map(region).collect();
    plan.cores = scenario.cores;
    plan.worker = false;
    plan.kafka = scenario.bus == Bus::Kafka;
    // Each core can then be asked whether it sells what was imported; orders go through the PoP.
    plan.plain_api = true;
    plan.reservation_seconds = scenario.reservation_seconds;
    plan.links = Some(scenario.seed);
    if let Some(bug) = scenario.bug {
        plan.core_variables.push(("MERIDIAN_PLANTED_BUG".to_owned(), bug.name().to_owned()));
    }
    plan
}

/// Waits until every core sells what was imported: each reads the catalog by itself.
async fn for_sale(system: &System, goods: &Goods) -> anyhow::Result<()> {
    let last = goods.all.last().context("no goods")?;
    let client = reqwest::Client::builder().no_proxy().build()?;
    let deadline = Instant::now() + FOR_SALE_WITHIN;
    for door in system.cores.iter().map(|core| &core.ops).chain([&system.addresses.shop]) {
        let product = format!("{door}/v1/products/{}", last.sku.as_str().to_lowercase());
        loop {
            let answer = client.get(&product).send().await;
            if answer.as_ref().is_ok_and(|answer| answer.status() == 200) {
                break;
            }
            anyhow::ensure!(Instant::now() < deadline, "the goods are not for sale at {door}: {answer:?}");
            tokio::time::sleep(LOOK).await;
        }
    }
    Ok(())
}

async fn programs(
    workspace: &Workspace,
    console: &Arc<Console>,
    scenario: &Scenario,
    build: bool,
) -> anyhow::Result<Programs> {
    let told = console.clone();
    let tools = Tools::new(move |line| told.say(line))?;
    if build {
        console.step("programs", build::natives(workspace)).await?;
        if scenario.needs_planted_core() {
            console.step("planted bugs", build::planted(workspace)).await?;
        }
    }
    let postgres: PostgresPrograms = servers::postgres(&tools).await?;
    let own = |name: &str| workspace.programs.join(name);
    let region_core = if scenario.needs_planted_core() { build::planted_core(workspace) } else { own("region-core") };
    Ok(Programs {
        region_core,
        edge_pop: own("edge-pop"),
        payment_sandbox: own("payment-sandbox"),
        carrier_sandbox: own("carrier-sandbox"),
        postgres,
        redis: servers::redis(&tools).await?,
        worker: None,
        mail: None,
        broker: Some(bus::simulated_broker(workspace)),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_panic_is_found_in_the_logs_wherever_it_was_and_named_once() {
        let folder = tempfile::tempdir().unwrap();
        let log = |name: &str, text: &str| {
            let path = folder.path().join(name);
            std::fs::write(&path, text).unwrap();
            path
        };
        let calm = log("pop.log", "{\"message\":\"serving\"}\nPANIC:  could not write to file\n");
        assert_eq!(panics(std::slice::from_ref(&calm)).unwrap(), Vec::<String>::new());
        let one = "\nthread 'tokio-rt-worker' (7) panicked at src/lib.rs:394:14:\nno stream\n";
        let told = panics(&[calm, log("core.eu-1.log", &one.repeat(2))]).unwrap();
        assert_eq!(told, ["core.eu-1 panicked at src/lib.rs:394:14"]);
    }
}
