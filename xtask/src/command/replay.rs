//! `cargo xtask replay`: a real shop's invoices as orders, through the front door, and then the books compared.
//!
//! Users are guests of the store. Each is met from an address that the PoP holds to be near his region, so customers are
//! spread over all regions without any way to ask for one. Deliberately absent: privileges. Orders go through the public
//! API with the users' own tokens, and only the check afterwards reads the databases.

mod books;
mod borrows;
mod check;
mod country;
mod drive;
mod latency;
mod memory;
mod plan;
mod progress;
mod report;
mod rules;
mod shop;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context as _, bail};
use region_core_feed::{Feed, InvoiceFile};
use shared::api::account::Tokens;
use shared::{Currency, SlotMap};
use shared_clock::Entropy;
use tokio::sync::Semaphore;
use tokio::time::Instant;

use self::books::{Count, Shards};
use self::check::{Books, Verdict};
use self::drive::{Drive, Placed, Speed};
use self::memory::Memory;
use self::plan::Plan;
use self::progress::Progress;
use self::report::{Report, Run};
use self::shop::{Prices, Shop};
use crate::console;
use crate::failure::{Failure, Judged};
use crate::instance::{Instance, State};
use crate::movements::MovementLog;
use crate::site::Site;

/// How long orders may stay PENDING after the last answer.
const SETTLED_WITHIN: Duration = Duration::from_secs(120);
/// How often that is asked.
const LOOK: Duration = Duration::from_millis(250);

/// What `--help` says after the options.
const TEACHES: &str = "\
Exit code: 0 the books agree with the file; 1 they do not; 2 the replay could not be carried out, so nobody knows.";

/// What to place, and how.
#[derive(Debug, clap::Args)]
#[command(after_help = TEACHES)]
pub(crate) struct Options {
    /// A shop's invoice lines; plain or gzip. Import it first, so that there is something to sell.
    file: PathBuf,
    /// `max`, or how many times as fast as the shop once sold, such as 60.
    #[arg(long, default_value = "max")]
    speed: Speed,
    /// Orders that are being placed at once; one that is told to come again is one of them.
    #[arg(long, default_value_t = 32, value_name = "N", value_parser = clap::value_parser!(u16).range(1..=1_024))]
    concurrency: u16,
    /// Only the first N sale invoices.
    #[arg(long, value_name = "N")]
    limit: Option<usize>,
    /// Where orders are placed. Guests are made at the PoP either way.
    #[arg(long, value_enum, default_value_t = Through::Pop)]
    through: Through,
    /// For programs: the report as one JSON object.
    #[arg(long)]
    json: bool,
}

/// The store's two doors.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
enum Through {
    /// The point of presence.
    Pop,
    /// The Worker.
    Worker,
}

pub(crate) async fn run(instance: &Instance, options: &Options) -> Judged {
    let report = replay(instance, options).await.context("the replay could not be carried out")?;
    console::show(&report, options.json)?;
    let faults = &report.check.faults;
    let Some(first) = faults.first() else { return Ok(()) };
    Err(Failure::Broken(format!("the books do not agree with the file, {} times; first: {first}", faults.len())))
}

async fn replay(instance: &Instance, options: &Options) -> anyhow::Result<Report> {
    let (state, site) = (instance.read()?, Site::of(instance)?);
    let file = invoices(&options.file, site.currency)?;
    let prefix = format!("replay-{}-", hex::encode(Entropy::system().bytes::<6>()));
    let plan = Plan::of(&file, &prefix, site.regions.len(), options.limit.unwrap_or(usize::MAX))?;
    let replay = Replay::prepare(instance, &state, &site, options, prefix).await?;
    replay.run(&plan, &state, options).await
}

fn invoices(path: &Path, currency: Currency) -> anyhow::Result<InvoiceFile> {
    let bytes = std::fs::read(path).with_context(|| format!("cannot read {}", path.display()))?;
    match region_core_feed::read(&bytes, currency).with_context(|| path.display().to_string())? {
        Feed::Invoices(file) => Ok(file),
        Feed::Products(_) => bail!("{} holds products, not invoices; `cargo xtask import` reads it", path.display()),
    }
}

/// Everything that a run stands on.
#[derive(Debug)]
struct Replay<'a> {
    instance: &'a Instance,
    site: &'a Site,
    prefix: String,
    /// The door for orders.
    shop: Shop,
    /// The PoP as seen from near each region.
    near: Vec<Shop>,
    map: SlotMap,
    prices: Prices,
    shards: Shards,
}

impl<'a> Replay<'a> {
    async fn prepare(
        instance: &'a Instance,
        state: &State,
        site: &'a Site,
        options: &Options,
        prefix: String,
    ) -> anyhow::Result<Self> {
        let shop = match options.through {
            Through::Pop => Shop::at(&state.shop, None)?,
            Through::Worker => Shop::at(state.worker.as_ref().context("this store runs without a Worker")?, None)?,
        };
        let near = site.regions.iter().map(|(_, address)| Shop::at(&state.shop, *address));
        let near = near.collect::<anyhow::Result<Vec<_>>>()?;
        let (map, prices) = tokio::try_join!(near[0].slot_map(), shop.prices())?;
        eprintln!("{} prices read", prices.count());
        let shards = Shards::connect(&site.shards).await?;
        Ok(Self { instance, site, prefix, shop, near, map, prices, shards })
    }

    async fn run(mut self, plan: &Plan, state: &State, options: &Options) -> anyhow::Result<Report> {
        let at_once = usize::from(options.concurrency);
        let before = self.shards.count(&self.prefix).await?;
        let mut memory = Memory::before(&state.parts);
        let guests = drive::guests(&self.near, &plan.users, at_once).await.context("no guests were made")?;
        eprintln!("{} users met", guests.len());
        let regions = self.regions(plan, &guests);
        let borrowed_before = borrows::so_far(&state.parts).await;
        let begun = Instant::now();
        let placed = memory.during(self.place(plan, guests, options)).await?;
        let took = begun.elapsed();
        let borrowed_after = borrows::so_far(&state.parts).await;
        let settled_after = memory.during(settled(&mut self.shards, &self.prefix)).await?;
        let check = self.check(&placed, &before).await?;
        let through = match options.through {
            Through::Pop => "pop".to_owned(),
            Through::Worker => "worker".to_owned(),
        };
        let run = Run {
            key_prefix: self.prefix,
            through,
            currency: self.site.currency,
            regions,
            took,
            settled_after,
            // A core that was restarted meanwhile counts from zero again.
            borrowed: borrowed_after.zip(borrowed_before).and_then(|(after, before)| after.checked_sub(before)),
            memory: memory.used().clone(),
            check,
        };
        Ok(Report::of(plan, &placed, run))
    }

    /// How many orders each region is to take, by where the guests really live.
    fn regions(&self, plan: &Plan, guests: &[Tokens]) -> BTreeMap<String, u64> {
        let mut regions = BTreeMap::new();
        for (user, tokens) in plan.users.iter().zip(guests) {
            let region = self.map.region_of(tokens.user_id.slot()).to_string();
            *regions.entry(region).or_default() += u64::try_from(user.orders.len()).unwrap_or(u64::MAX);
        }
        regions
    }

    async fn place<'p>(
        &self,
        plan: &'p Plan,
        guests: Vec<Tokens>,
        options: &Options,
    ) -> anyhow::Result<Vec<Placed<'p>>> {
        let progress = Progress::of(u64::try_from(plan.order_count())?);
        let drive = Drive {
            shop: &self.shop,
            prices: &self.prices,
            currency: self.site.currency,
            speed: options.speed,
            progress: &progress,
            instance: self.instance,
            shoppers: Semaphore::new(usize::from(options.concurrency)),
        };
        let placed = drive.run(&plan.users, guests).await;
        progress.end();
        placed
    }

    async fn check(&mut self, placed: &[Placed<'_>], before: &Count) -> anyhow::Result<Verdict> {
        let after = self.shards.count(&self.prefix).await?;
        let kept = self.shards.orders(&self.prefix).await?;
        let lines = self.shards.lines(&self.prefix).await?;
        let prices = books::prices(&self.site.catalog).await?;
        let movements = MovementLog::at(&self.site.sandbox)?.all().await?;
        let books = Books {
            currency: self.site.currency,
            prices: &prices,
            before,
            after: &after,
            kept: &kept,
            lines: &lines,
            movements: &movements,
        };
        Ok(check::verdict(placed, &books))
    }
}

/// Waits until no order of the run is PENDING, or that has taken too long: the check then names those that are. Tells how
/// long it took.
async fn settled(shards: &mut Shards, prefix: &str) -> anyhow::Result<Duration> {
    let begun = Instant::now();
    while shards.pending(prefix).await? > 0 && begun.elapsed() < SETTLED_WITHIN {
        tokio::time::sleep(LOOK).await;
    }
    Ok(begun.elapsed())
}
