//! A whole store, started for tests.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::mpsc;
use std::time::Duration;

use shared::api::catalog::SearchResults;
use shared_clock::{Clock, Entropy};
use xtask_system::certificates::Keys;
use xtask_system::environment;
use xtask_system::operator::{self, Operator};
use xtask_system::postgres::PostgresPrograms;
use xtask_system::tools::node::NodeTools;
use xtask_system::tools::{Tools, servers};
use xtask_system::worker::WorkerPrograms;
use xtask_system::{
    Addresses, BrokerPrograms, Guardian, GuardianProgram, Layout, Plan, Ports, Programs, RegionPlan, ServiceUser,
    System,
};

use crate::{goods, place};

/// A category of the demo shop.
const DEMO_CATEGORY: &str = "Candles";
/// What the demo shop has, for a search.
const DEMO_SEARCH: &str = "/v1/search?q=lantern";
/// How long imported goods may take to be for sale at every door.
const SOLD_WITHIN: Duration = Duration::from_secs(60);

/// What to start.
#[derive(Clone, Debug)]
pub struct Options {
    /// Regions with the numbers of their shards; the first is nearest to the PoP.
    pub regions: &'static [(&'static str, &'static [u16])],
    /// Cores in each region.
    pub cores: u16,
    /// Whether the Worker runs beside the PoP.
    pub worker: bool,
    /// Whether a mail catcher runs, and orders are written about.
    pub mail: bool,
    /// Whether the demo shop's catalog is imported beside the goods for tests.
    pub demo_catalog: bool,
    /// Whether there is an operator.
    pub operator: bool,
    /// What carries events.
    pub bus: Bus,
}

/// What carries events.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Bus {
    /// The shards themselves.
    Postgres,
    /// A broker: tansu where it is installed, else what librdkafka simulates.
    Kafka,
    /// What librdkafka simulates, which can lose everything and come back.
    SimulatedKafka,
}

/// Orders are judged where somebody could let them go on. Tests send many to one address and from one card.
fn judged() -> Vec<(String, String)> {
    let counts = ["USER", "ADDRESS", "CARD"];
    let counts = counts.map(|whose| (format!("MERIDIAN_RISK__{whose}_ORDERS"), "1000".to_owned()));
    let key = ("MERIDIAN_RISK__ADDRESS_KEY".to_owned(), "k".repeat(32));
    counts.into_iter().chain([key]).collect()
}

impl Options {
    /// Two regions, the Worker, a mail catcher, the demo shop's catalog and an operator.
    pub const WHOLE: Self = Self {
        regions: &[("eu", &[1, 2]), ("us", &[3])],
        cores: 1,
        worker: true,
        mail: true,
        demo_catalog: true,
        operator: true,
        bus: Bus::Postgres,
    };
    /// One region, one shard, one core.
    pub const SMALL: Self = Self {
        regions: &[("eu", &[1])],
        cores: 1,
        worker: false,
        mail: false,
        demo_catalog: false,
        operator: false,
        bus: Bus::Postgres,
    };

    fn shards(&self) -> usize {
        self.regions.iter().map(|(_, shards)| shards.len()).sum()
    }

    fn plan(&self) -> Plan {
        let region = |(name, shards): &(&str, &[u16])| RegionPlan { name: (*name).to_owned(), shards: shards.to_vec() };
        let mut plan = Plan::two_regions(Ports::Free(Entropy::system()));
        plan.regions = self.regions.iter().map(region).collect();
        plan.cores = self.cores;
        plan.worker = self.worker;
        plan.mail = self.mail;
        plan.kafka = self.bus != Bus::Postgres;
        plan.exempt = vec!["127.0.0.0/8".to_owned()];
        if self.operator {
            plan.core_variables = judged();
        }
        plan
    }
}

/// Where the parts of a store are.
#[derive(Clone, Debug)]
pub struct Sites {
    /// What shoppers and operators reach.
    pub addresses: Addresses,
    /// The shards' databases by number.
    pub shards: BTreeMap<u16, String>,
    /// The cores: region, `host:port` of HTTP/3, `http://host:port` of health and metrics.
    pub cores: Vec<(String, String, String)>,
    /// Certificates and keys.
    pub tls: PathBuf,
    /// The parts' logs.
    pub logs: PathBuf,
    /// Who runs it.
    pub operator: Option<Operator>,
}

impl Sites {
    /// `host:port` of a region's cores.
    #[must_use]
    pub fn quic(&self, region: &str) -> Vec<String> {
        self.cores.iter().filter(|(own, ..)| own == region).map(|(_, quic, _)| quic.clone()).collect()
    }

    /// What the running cores have counted under a metric's name, all labels together.
    ///
    /// # Panics
    /// If a core answers with what is no count.
    pub async fn counted(&self, metric: &str) -> f64 {
        let mut sum = 0.0;
        for (_, _, ops) in &self.cores {
            let request = crate::Client::new(ops).request(http::Method::GET, "/ops/metrics");
            let Ok(answer) = crate::client::try_send(request).await else { continue };
            let of_metric = |line: &&str| line.strip_prefix(metric).is_some_and(|rest| rest.starts_with(['{', ' ']));
            let value = |line: &str| line.rsplit(' ').next().unwrap().parse::<f64>().unwrap();
            sum += answer.text().lines().filter(of_metric).map(value).sum::<f64>();
        }
        sum
    }
}

/// A running store, to be broken by the test that owns it. Dropping it kills it.
#[derive(Debug)]
pub struct Store {
    /// Where its parts are.
    pub sites: Sites,
    /// Its parts.
    pub system: System,
}

impl Store {
    /// Starts a store in a folder of that name, with nothing left of an earlier one, and imports the goods.
    ///
    /// # Panics
    /// If any part does not start.
    pub async fn start(name: &str, options: &Options) -> Self {
        // What starting takes is large: it stays out of the callers' futures.
        Box::pin(Self::start_all(name, options)).await
    }

    async fn start_all(name: &str, options: &Options) -> Self {
        let root = place::system(name);
        // Held until the guardian of an earlier run of this test has ended its processes.
        let guardian = guardian(&root.with_extension("lock"));
        let layout = emptied(&root);
        let system = System::start(&options.plan(), programs(options).await, layout, guardian, &()).await;
        let system = system.unwrap_or_else(|error| panic!("the store {name} did not start: {error}"));
        let file = system.layout.path("goods.csv");
        goods::write(&file, options.shards());
        import(&system, options, &file).await;
        if options.demo_catalog {
            import(&system, options, &place::repository().join("infra/demo/catalog.csv")).await;
        }
        let mut store = Self { sites: sites(&system), system };
        store.ready(options).await;
        if options.operator {
            let operator = operator::appoint(&store.system, options.regions[0].0, &Entropy::system()).await;
            store.sites.operator = Some(operator.unwrap_or_else(|error| panic!("no operator of {name}: {error}")));
        }
        store
    }

    /// Starts a store that lives as long as this process, for many tests to share.
    ///
    /// # Panics
    /// If it does not start.
    #[must_use]
    pub fn shared(name: &'static str, options: Options) -> Sites {
        let (tell, told) = mpsc::channel();
        // Its processes belong to a runtime that outlives each test's; at the end the guardian sees to them.
        std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
            runtime.block_on(async {
                let store = Self::start(name, &options).await;
                tell.send(store.sites.clone()).unwrap();
                std::future::pending::<()>().await;
                drop(store);
            });
        });
        told.recv().unwrap_or_else(|_| panic!("the store {name} did not start; its message stands above"))
    }

    /// Puts a certificate of a foreign authority in the place of that name's, and sets the real one aside.
    ///
    /// # Panics
    /// If the files cannot be made or moved.
    #[must_use]
    pub fn replace_certificate(&self, name: &str) -> Kept {
        let foreign = self.system.layout.path("foreign-tls");
        std::fs::create_dir_all(&foreign).unwrap();
        let (clock, entropy) = (Clock::system(), Entropy::system());
        Keys { folder: &foreign, clock: &clock, entropy: &entropy }.certificates(&[name.to_owned()]).unwrap();
        let files = ["pem", "key"].map(|kind| self.sites.tls.join(format!("{name}.{kind}")));
        for file in &files {
            std::fs::rename(file, aside(file)).unwrap();
            std::fs::copy(foreign.join(file.file_name().unwrap()), file).unwrap();
        }
        Kept { files }
    }

    /// Waits until all that was imported can be found and bought at every door; what a door remembers from before the import,
    /// or from between two files of it, has to grow old first.
    async fn ready(&self, options: &Options) {
        let categories: &[_] =
            if options.demo_catalog { &[goods::CATEGORY, DEMO_CATEGORY] } else { &[goods::CATEGORY] };
        let doors = [Some(&self.sites.addresses.shop), self.sites.addresses.worker.as_ref()];
        for door in doors.into_iter().flatten() {
            let client = crate::Client::new(door);
            let sold = async || {
                let [listed, product, found] =
                    ["/v1/categories", "/v1/products/test-dear", DEMO_SEARCH].map(|path| client.get(path));
                let (listed, product, found) = (listed.await, product.await, found.await);
                if [&listed, &product, &found].iter().any(|answer| answer.status != 200) {
                    return None;
                }
                let all = categories.iter().all(|category| listed.text().contains(category));
                (all && (!options.demo_catalog || found.json::<SearchResults>().total > 0)).then_some(())
            };
            crate::until(&format!("the imported goods are for sale at {door}"), SOLD_WITHIN, sold).await;
        }
    }
}

/// A certificate that was set aside.
#[derive(Debug)]
pub struct Kept {
    files: [PathBuf; 2],
}

impl Kept {
    /// Puts it back.
    ///
    /// # Panics
    /// If the files are gone.
    pub fn restore(self) {
        for file in self.files {
            std::fs::rename(aside(&file), file).unwrap();
        }
    }
}

fn aside(file: &Path) -> PathBuf {
    let mut name = file.as_os_str().to_owned();
    name.push(".aside");
    name.into()
}

async fn import(system: &System, options: &Options, file: &Path) {
    let region = options.regions[0].0;
    let imported = system.region_core(region, "import", &[file.to_str().unwrap()]).await;
    imported.unwrap_or_else(|error| panic!("{} was not imported: {error}", file.display()));
}

fn guardian(lock: &Path) -> Guardian {
    let program = GuardianProgram { program: place::program("meridian-guardian"), arguments: Vec::new() };
    Guardian::start(&program, lock).unwrap()
}

fn emptied(root: &Path) -> Layout {
    let user = ServiceUser::for_databases().unwrap();
    if root.exists() {
        Layout::create(root, user.as_ref()).unwrap().remove().unwrap();
    }
    Layout::create(root, user.as_ref()).unwrap()
}

async fn programs(options: &Options) -> Programs {
    let tools = Tools::new(|line| eprintln!("{line}")).unwrap();
    let node = if options.worker || options.mail {
        Some(NodeTools::install(&tools, place::repository()).await.unwrap())
    } else {
        None
    };
    let tansu = environment::tansu().filter(|_| options.bus == Bus::Kafka);
    let config = place::repository().join("wrangler.toml");
    let worker = node.clone().filter(|_| options.worker).map(|node| WorkerPrograms { node, config });
    Programs {
        region_core: place::program("region-core"),
        edge_pop: place::program("edge-pop"),
        payment_sandbox: place::program("payment-sandbox"),
        carrier_sandbox: place::program("carrier-sandbox"),
        postgres: PostgresPrograms::find().expect("Postgres' server programs; `cargo xtask test` installs them"),
        redis: servers::redis(&tools).await.unwrap(),
        worker,
        mail: node,
        broker: Some(BrokerPrograms { broker: place::program("meridian-broker"), tansu }),
    }
}

fn sites(system: &System) -> Sites {
    let cores = system.cores.iter().map(|core| (core.region.clone(), core.quic.clone(), core.ops.clone()));
    Sites {
        addresses: system.addresses.clone(),
        shards: system.shards.iter().map(|(id, server)| (*id, server.url("shard"))).collect(),
        cores: cores.collect(),
        tls: system.layout.path("tls"),
        logs: system.layout.path("logs"),
        operator: None,
    }
}
