//! The store that is measured: started, restarted on slower disks, looked at, and its books compared at the end.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::time::Duration;

use anyhow::{Context as _, bail, ensure};
use futures::future::try_join_all;
use http::{HeaderValue, Method};
use serde::Deserialize;
use shared::api::account::Tokens;
use shared::{Money, OrderId};
use shared_clock::Entropy;
use tokio::time::Instant;
use xtask_system::postgres::PostgresServer;
use xtask_system::tools::{Tools, servers};
use xtask_system::{PartSpec, Plan, Ports, Programs, RegionPlan, System};

use super::door::{Asked, Door};
use super::goods;
use super::load::{self, Arrival, Done, Load, Shop};
use crate::books::{self, Rows};
use crate::options::{Disk, Goods, Place, Span};
use crate::samples::{Epoch, ratio};
use crate::{cpu, ground, slow_flush};

/// The one region.
const REGION: &str = "eu";
/// How many shoppers are met at once.
const AT_ONCE: usize = 16;
/// How long the last order may take to be paid.
const PAID_WITHIN: Duration = Duration::from_secs(120);
/// How long the store may take to sell what was imported, and after its databases were restarted.
const SELLS_WITHIN: Duration = Duration::from_secs(60);
/// How often that is looked at; it costs the databases some.
const LOOK: Duration = Duration::from_millis(100);
/// How often orders that are not decided yet are counted, which goes through all there are.
const PENDING_LOOK: Duration = Duration::from_millis(500);
/// Orders of each client that warm the store up.
const WARM: u32 = 4;

/// How large a store is.
#[derive(Clone, Debug)]
pub(crate) struct Size {
    pub(crate) shards: Vec<u16>,
    pub(crate) cores: u16,
    /// Clients that warm it up.
    pub(crate) clients: u32,
    /// Guests who place the orders: none may place more than five a second.
    pub(crate) shoppers: usize,
}

/// A running store.
#[derive(Debug)]
pub(crate) struct Site {
    system: System,
    /// How each shard is started on this machine's own disk.
    own: BTreeMap<u16, PartSpec>,
    slow_flush: PathBuf,
    shop: Arc<Shop>,
    epoch: Epoch,
    size: Size,
    /// Every order that was acknowledged.
    acknowledged: BTreeSet<OrderId>,
    faults: Vec<String>,
}

/// What a store has used and written so far.
#[derive(Clone, Debug)]
pub(crate) struct Look {
    pub(crate) at_us: u64,
    /// Transactions that wrote, on all shards.
    pub(crate) writes: i64,
    cpu: BTreeMap<String, Duration>,
}

impl Look {
    /// Milliseconds of CPU time that one of so many operations took: of the store, and by part with those that are apart.
    pub(crate) fn cpu_ms_since(&self, before: &Self, operations: f64) -> (f64, BTreeMap<String, f64>) {
        let spent = |(part, cpu): (&String, &Duration)| {
            let used = cpu.saturating_sub(before.cpu.get(part).copied().unwrap_or_default());
            (part.clone(), ratio(used.as_secs_f64() * 1_000.0, operations))
        };
        let by_part: BTreeMap<_, _> = self.cpu.iter().map(spent).collect();
        (by_part.iter().filter(|(part, _)| !is_apart(part)).map(|(_, ms)| ms).sum(), by_part)
    }
}

/// The name under which this process, the load generator, is counted.
const LOAD: &str = "load generator";
const SANDBOX: &str = "payment-sandbox";
const CARRIER: &str = "carrier-sandbox";

/// Whether a part is no part of the store: it stands for the world outside.
fn is_apart(part: &str) -> bool {
    matches!(part, LOAD | SANDBOX | CARRIER)
}

/// Parts of one kind are counted together: `core.eu-1` with the cores, `shard-2` with the shards.
fn kind(part: &str) -> String {
    match part.split_once(['.', '-']) {
        Some((kind @ ("core" | "shard" | "catalog"), _)) => format!("{kind}s"),
        _ => part.to_owned(),
    }
}

impl Site {
    /// Starts a store for one part of a run, and has it sell the goods.
    pub(crate) async fn open(place: &Place, part: &str, size: Size) -> anyhow::Result<Self> {
        let guardian = ground::guardian(place, part)?;
        let layout = ground::emptied(place, part)?;
        let slow_flush = slow_flush::build(layout.databases())?;
        let system = System::start(&plan(&size), programs(place).await?, layout, guardian, &()).await?;
        let catalog = system.layout.path("goods.csv");
        goods::write(&catalog)?;
        system.region_core(REGION, "import", &[catalog.to_str().context("a path that is no text")?]).await?;
        let shop = Shop {
            origin: system.addresses.shop.clone(),
            orders: goods::orders()?,
            shoppers: Vec::new(),
            next: AtomicU64::new(0),
        };
        Ok(Self {
            own: system.shards.iter().map(|(id, server)| (*id, server.part.spec().clone())).collect(),
            system,
            slow_flush,
            shop: Arc::new(shop),
            epoch: Epoch::now(),
            size,
            acknowledged: BTreeSet::new(),
            faults: Vec::new(),
        })
    }

    pub(crate) fn shop(&self) -> Arc<Shop> {
        Arc::clone(&self.shop)
    }

    /// Restarts every shard's database on that disk.
    pub(crate) async fn put_on(&mut self, disk: Disk) -> anyhow::Result<()> {
        for (id, server) in &mut self.system.shards {
            server.part.stop().await?;
            let own = self.own.get(id).context("an unknown shard")?;
            server.part = ground::on(own, disk, &self.slow_flush).start(&self.system.guardian).await?;
        }
        Ok(())
    }

    /// New guests, whose tokens last for the measurements to come, and some orders until the store is warm.
    pub(crate) async fn meet_shoppers(&mut self) -> anyhow::Result<()> {
        let origin = self.shop.origin.as_str();
        let met = try_join_all((0..AT_ONCE).map(|one| meet(origin, share(self.size.shoppers, one)))).await?;
        let Shop { origin, orders, next, .. } = &*self.shop;
        let next = AtomicU64::new(next.load(std::sync::atomic::Ordering::Relaxed));
        let shoppers = met.into_iter().flatten().collect();
        self.shop = Arc::new(Shop { origin: origin.clone(), orders: orders.clone(), shoppers, next });
        self.sells().await?;
        let arrival = Arrival::Closed(Span::Orders(WARM));
        let done = load::run(&Load { goods: Goods::Spread, clients: self.size.clients, arrival }, self.shop()).await?;
        self.settle(done).await
    }

    /// Waits until an order is taken: goods that were imported, and databases that were restarted, need a moment.
    async fn sells(&mut self) -> anyhow::Result<()> {
        let deadline = Instant::now() + SELLS_WITHIN;
        let first = Load { goods: Goods::Hot, clients: 1, arrival: Arrival::Closed(Span::Orders(1)) };
        loop {
            match load::run(&first, self.shop()).await {
                Ok(done) => return self.settle(done).await,
                Err(error) if Instant::now() >= deadline => return Err(error).context("the store sells nothing"),
                Err(_) => tokio::time::sleep(LOOK).await,
            }
        }
    }

    /// Notes what was acknowledged and waits until all of it is paid.
    pub(crate) async fn settle(&mut self, done: Done) -> anyhow::Result<()> {
        for order in done.accepted {
            if !self.acknowledged.insert(order) {
                self.faults.push(format!("order {order} was acknowledged under two keys"));
            }
        }
        let deadline = Instant::now() + PAID_WITHIN;
        loop {
            let mut pending = 0;
            for shard in self.shards() {
                pending += books::pending(&shard).await?;
            }
            if pending == 0 {
                return Ok(());
            }
            if Instant::now() >= deadline {
                bail!("{pending} orders are still PENDING {} s after the last was placed", PAID_WITHIN.as_secs());
            }
            tokio::time::sleep(PENDING_LOOK).await;
        }
    }

    /// The shards' databases.
    pub(crate) fn shards(&self) -> impl Iterator<Item = String> {
        self.system.shards.values().map(|server| server.url("shard"))
    }

    /// The servers that the shards are on.
    pub(crate) fn servers(&self) -> impl Iterator<Item = &PostgresServer> {
        self.system.shards.values()
    }

    /// The payment provider, `http://host:port`.
    pub(crate) fn provider(&self) -> &str {
        &self.system.addresses.sandbox
    }

    /// What has been used and written until now.
    pub(crate) async fn look(&self) -> anyhow::Result<Look> {
        let mut writes = 0;
        for shard in self.shards() {
            writes += books::writes(&shard).await?;
        }
        let mut spent: BTreeMap<String, Duration> = BTreeMap::new();
        for part in self.system.parts() {
            *spent.entry(kind(part.name())).or_default() += cpu::of_family(part.process().id());
        }
        spent.insert(LOAD.to_owned(), cpu::of_this_process());
        Ok(Look { at_us: self.epoch.unix_us(Instant::now()), writes, cpu: spent })
    }

    /// When the last order placed since then was confirmed, and how long each took from acceptance to there; in
    /// microseconds.
    pub(crate) async fn confirmations(&self, since_unix_us: u64) -> anyhow::Result<(u64, Vec<u64>)> {
        let (mut last, mut took) = (since_unix_us, Vec::new());
        for shard in self.shards() {
            for (at, after) in books::confirmations(&shard, since_unix_us).await? {
                last = last.max(u64::try_from(at)?);
                took.push(u64::try_from(after)?);
            }
        }
        Ok((last, took))
    }

    /// Whatever is wrong in the books of the shards and of the payment provider, now that every order is decided.
    pub(crate) async fn faults(&mut self) -> anyhow::Result<Vec<String>> {
        let (mut rows, mut kept, mut money) = (Rows::default(), BTreeSet::new(), Vec::new());
        for shard in self.shards().collect::<Vec<_>>() {
            rows = rows + books::rows_of_shard(&shard).await?;
            kept.append(&mut books::orders(&shard).await?);
            money.append(&mut books::money(&shard).await?);
            let astray = books::units_astray(&shard).await?;
            self.faults
                .extend(astray.first().map(|sku| format!("{} SKUs' units do not add up, {sku} first", astray.len())));
        }
        let mut faults = std::mem::take(&mut self.faults);
        let all = i64::try_from(self.acknowledged.len())?;
        if rows != (Rows { orders: all, lines: all, events: all, units: all, reservations: all, keys: all }) {
            faults.push(format!("{all} orders were acknowledged and left {rows:?}"));
        }
        let (lost, unasked) =
            (self.acknowledged.difference(&kept).count(), kept.difference(&self.acknowledged).count());
        if (lost, unasked) != (0, 0) {
            faults.push(format!("{lost} acknowledged orders are lost, {unasked} orders were never acknowledged"));
        }
        faults.extend(money_faults(self.acknowledged.len(), money, captures(&self.system.addresses.sandbox).await?));
        Ok(faults)
    }

    pub(crate) async fn close(self) -> anyhow::Result<()> {
        let layout = self.system.layout.clone();
        self.system.stop().await?;
        Ok(layout.remove()?)
    }
}

/// What one of [`AT_ONCE`] has to do of a whole.
fn share(whole: usize, one: usize) -> usize {
    whole / AT_ONCE + usize::from(one < whole % AT_ONCE)
}

async fn meet(origin: &str, guests: usize) -> anyhow::Result<Vec<HeaderValue>> {
    let (mut door, mut tokens) = (Door::open(origin).await?, Vec::with_capacity(guests));
    let deadline = Instant::now() + SELLS_WITHIN;
    while tokens.len() < guests {
        let answer = door.ask(Method::POST, "/v1/guests", Asked::default()).await?;
        if answer.status.is_success() {
            let guest: Tokens = serde_json::from_slice(&answer.body).context("a guest out of shape")?;
            tokens.push(HeaderValue::try_from(format!("Bearer {}", guest.access_token))?);
        } else {
            // A core that finds its database restarted says "later" once or twice.
            ensure!(Instant::now() < deadline, "no guest: {}", String::from_utf8_lossy(&answer.body));
            tokio::time::sleep(LOOK).await;
        }
    }
    Ok(tokens)
}

fn plan(size: &Size) -> Plan {
    let mut plan = Plan::two_regions(Ports::Free(Entropy::system()));
    plan.regions = vec![RegionPlan { name: REGION.to_owned(), shards: size.shards.clone() }];
    plan.cores = size.cores;
    plan.worker = false;
    // Load tools are exempt from limits by address, by configuration and not in code.
    plan.exempt = vec!["127.0.0.0/8".to_owned()];
    plan
}

async fn programs(place: &Place) -> anyhow::Result<Programs> {
    let tools = Tools::new(|line| eprintln!("{line}"))?;
    let own = |name: &str| {
        let program = place.program(name)?;
        ensure!(program.is_file(), "{} is not built", program.display());
        Ok(program)
    };
    Ok(Programs {
        region_core: own("region-core")?,
        edge_pop: own("edge-pop")?,
        payment_sandbox: own("payment-sandbox")?,
        carrier_sandbox: own("carrier-sandbox")?,
        postgres: ground::postgres().await?,
        redis: servers::redis(&tools).await?,
        worker: None,
        mail: None,
        broker: None,
    })
}

/// Money that moved, from the provider's own log.
#[derive(Debug, Deserialize)]
struct Movement {
    sequence: u64,
    kind: String,
    /// Our payment id.
    merchant_reference: String,
    amount: Money,
}

#[derive(Deserialize)]
struct Page {
    movements: Vec<Movement>,
}

async fn captures(sandbox: &str) -> anyhow::Result<Vec<Movement>> {
    let (mut door, mut all) = (Door::open(sandbox).await?, Vec::<Movement>::new());
    loop {
        let after = all.last().map_or(0, |movement| movement.sequence);
        let answer = door.ask(Method::GET, &format!("/v1/log?after={after}"), Asked::default()).await?;
        let mut page: Page = serde_json::from_slice(&answer.body).context("the payment provider's log out of shape")?;
        if page.movements.is_empty() {
            return Ok(all);
        }
        all.append(&mut page.movements);
    }
}

/// Every order is confirmed and was charged its total exactly once, and nothing else was charged.
fn money_faults(orders: usize, mut kept: Vec<(String, i64)>, moved: Vec<Movement>) -> Option<String> {
    let (movements, refunds) = (moved.len(), moved.iter().filter(|movement| movement.kind != "capture").count());
    let mut charged: Vec<_> =
        moved.into_iter().map(|movement| (movement.merchant_reference, movement.amount.minor())).collect();
    kept.sort_unstable();
    charged.sort_unstable();
    let right = refunds == 0 && kept.len() == orders && kept == charged;
    let confirmed = kept.len();
    (!right).then(|| {
        format!("{orders} orders, {confirmed} of them confirmed, do not agree with {movements} movements of money, {refunds} of them refunds")
    })
}

#[cfg(test)]
mod tests {
    use shared::Currency;

    use super::*;

    fn moved(kind: &str, payment: &str, minor: i64) -> Movement {
        let amount = Money::new(minor, Currency::GBP).unwrap();
        Movement { sequence: 1, kind: kind.to_owned(), merchant_reference: payment.to_owned(), amount }
    }

    #[test]
    fn money_is_right_only_if_every_order_was_charged_once() {
        let kept = || vec![("b".to_owned(), 5), ("a".to_owned(), 5)];
        let both = || vec![moved("capture", "a", 5), moved("capture", "b", 5)];
        assert_eq!(money_faults(2, kept(), both()), None);
        assert!(money_faults(3, kept(), both()).is_some(), "an order that is not confirmed");
        assert!(
            money_faults(2, kept(), both().into_iter().chain([moved("capture", "a", 5)]).collect()).is_some(),
            "charged twice"
        );
        assert!(money_faults(2, kept(), vec![moved("capture", "a", 5), moved("capture", "b", 4)]).is_some());
        assert!(money_faults(2, kept(), vec![moved("capture", "a", 5), moved("refund", "b", 5)]).is_some());
    }

    #[test]
    fn parts_of_one_kind_are_counted_together_and_the_world_outside_apart() {
        let kinds = ["core.eu-1", "shard-2", "catalog-eu", "pop", "payment-sandbox"].map(kind);
        assert_eq!(kinds, ["cores", "shards", "catalogs", "pop", "payment-sandbox"]);
        assert!(is_apart(SANDBOX) && is_apart(CARRIER) && is_apart(LOAD) && !is_apart("pop"));
    }

    #[test]
    fn shares_make_a_whole() {
        for whole in [0, 1, 15, 16, 2_001] {
            assert_eq!((0..AT_ONCE).map(|one| share(whole, one)).sum::<usize>(), whole);
        }
    }
}
