//! A whole system on one machine: started in parallel, told apart by part, stopped in order.

use std::collections::BTreeMap;
use std::time::Duration;

use futures::future::{join_all, try_join_all};
use shared_clock::{Clock, Entropy};
use tokio::time::Instant;

use crate::certificates::Keys;
use crate::config::{self, CoreConfig, CoreListen, Cores, PopConfig, PopListen, Tls};
use crate::error::SystemError;
use crate::guardian::Guardian;
use crate::layout::Layout;
use crate::links::Links;
use crate::part::{Part, PartSpec};
use crate::plan::{CoreSite, Plan, Programs, RegionSites, Sites};
use crate::ports::Port;
use crate::postgres::{self, PostgresPlan, PostgresServer};
use crate::probe::Probe;
use crate::process::ProcessSpec;
use crate::user::ServiceUser;
use crate::worker::{self, WorkerPlan};
use crate::{broker, mail, redis, store};

/// The one PoP.
const POP: &str = "pop-1";
/// Who writes to shoppers; nothing is delivered anywhere.
const SHOP: &str = "Meridian <orders@meridian.test>";
/// The databases' names.
const CATALOG: &str = "catalog";
const SHARD: &str = "shard";
/// How long our own binaries may take until they answer.
const READY_WITHIN: Duration = Duration::from_secs(60);

/// Hears how the start goes on.
pub trait Progress: Sync {
    /// Work on a part begins.
    fn begins(&self, part: &str);
    /// The part answers, or the step is done.
    fn done(&self, part: &str, took: Duration);
}

/// Nobody listens.
impl Progress for () {
    fn begins(&self, _: &str) {}
    fn done(&self, _: &str, _: Duration) {}
}

/// A core process.
#[derive(Debug)]
pub struct Core {
    /// Its region.
    pub region: String,
    /// Its process; its part's name is `core.eu-1` and so on.
    pub part: Part,
    /// `host:port` of HTTP/3.
    pub quic: String,
    /// `http://host:port` of health and metrics.
    pub ops: String,
}

/// A running system. Dropping it kills its processes; its databases stay on disk.
#[derive(Debug)]
pub struct System {
    /// The Worker, if the plan had one.
    pub worker: Option<Part>,
    /// The PoP.
    pub pop: Part,
    /// The cores of all regions.
    pub cores: Vec<Core>,
    /// The payment provider.
    pub sandbox: Part,
    /// The carrier.
    pub carrier: Part,
    /// Redis.
    pub redis: Part,
    /// The mail catcher, if the plan had one.
    pub mail: Option<Part>,
    /// The broker, if events go over Kafka.
    pub broker: Option<Part>,
    /// The catalogs' databases by region, named `catalog-eu` and so on.
    pub catalogs: BTreeMap<String, PostgresServer>,
    /// The shards' databases by number, named `shard-1` and so on.
    pub shards: BTreeMap<u16, PostgresServer>,
    /// The links that pass through proxies; none unless the plan said so.
    pub links: Links,
    /// Where people and tests reach it.
    pub addresses: Addresses,
    /// Where it keeps its things.
    pub layout: Layout,
    /// Who ends it if we cannot.
    pub guardian: Guardian,
    programs: Programs,
    /// Keeps the ports ours.
    _sites: Sites,
}

/// Where people and tests reach a system.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Addresses {
    /// The shop at the PoP, `http://host:port`.
    pub shop: String,
    /// The shop at the Worker, if there is one.
    pub worker: Option<String>,
    /// The PoP's listener for Workers.
    pub uplink: String,
    /// The PoP's health and metrics.
    pub pop_ops: String,
    /// The payment provider.
    pub sandbox: String,
    /// The carrier.
    pub carrier: String,
    /// Redis, with its password.
    pub redis: String,
    /// The mail catcher's page, if there is one.
    pub mail: Option<String>,
    /// The key with which a Worker signs, as `ID:HEX`.
    pub uplink_key: String,
}

impl System {
    /// Starts everything, migrates the databases and waits until every part answers.
    ///
    /// # Errors
    /// Whatever stopped the first part that failed; what had started is killed.
    pub async fn start(
        plan: &Plan,
        programs: Programs,
        layout: Layout,
        guardian: Guardian,
        progress: &dyn Progress,
    ) -> Result<Self, SystemError> {
        Box::pin(Builder::new(plan, programs, layout, guardian, progress)?.build()).await
    }

    /// Runs `region-core COMMAND --config …` of a region's first core to its end. A command of two words is written with
    /// one space, such as `account revoke`.
    ///
    /// # Errors
    /// [`SystemError::Failed`] with what it said.
    pub async fn region_core(&self, region: &str, command: &str, arguments: &[&str]) -> Result<(), SystemError> {
        region_core(&self.programs, &self.layout, &self.guardian, region, command, arguments).await
    }

    /// Every part, in the order in which they are stopped.
    pub fn parts(&self) -> impl Iterator<Item = &Part> {
        let edge = self.worker.iter().chain([&self.pop]);
        let cores = self.cores.iter().map(|core| &core.part);
        let databases = self.catalogs.values().chain(self.shards.values()).map(|server| &server.part);
        edge.chain(cores)
            .chain([&self.sandbox, &self.carrier, &self.redis])
            .chain(&self.mail)
            .chain(&self.broker)
            .chain(databases)
    }

    /// Every part, to be stopped, killed or started again.
    pub fn parts_mut(&mut self) -> impl Iterator<Item = &mut Part> {
        let edge = self.worker.iter_mut().chain([&mut self.pop]);
        let cores = self.cores.iter_mut().map(|core| &mut core.part);
        let databases = self.catalogs.values_mut().chain(self.shards.values_mut()).map(|server| &mut server.part);
        edge.chain(cores)
            .chain([&mut self.sandbox, &mut self.carrier, &mut self.redis])
            .chain(&mut self.mail)
            .chain(&mut self.broker)
            .chain(databases)
    }

    /// The part of that name.
    pub fn part_mut(&mut self, name: &str) -> Option<&mut Part> {
        self.parts_mut().find(|part| part.name() == name)
    }

    /// Stops everything in order: the edge first, the databases last.
    ///
    /// # Errors
    /// The first that the operating system had to tell; everything is stopped all the same.
    pub async fn stop(mut self) -> Result<(), SystemError> {
        let edge = self.worker.iter_mut().chain([&mut self.pop]).map(Part::stop);
        let mut ends = join_all(edge).await;
        ends.extend(join_all(self.cores.iter_mut().map(|core| core.part.stop())).await);
        let beside = [&mut self.sandbox, &mut self.carrier, &mut self.redis].into_iter();
        let beside = beside.chain(&mut self.mail).chain(&mut self.broker);
        ends.extend(join_all(beside.map(Part::stop)).await);
        let databases = self.catalogs.values_mut().chain(self.shards.values_mut());
        ends.extend(join_all(databases.map(|server| server.part.stop())).await);
        ends.into_iter().find_map(Result::err).map_or(Ok(()), Err)
    }
}

async fn region_core(
    programs: &Programs,
    layout: &Layout,
    guardian: &Guardian,
    region: &str,
    command: &str,
    arguments: &[&str],
) -> Result<(), SystemError> {
    let config = core_config_path(layout, &format!("{region}-1"));
    let part = format!("region-core-{}-{region}", command.replace(' ', "-"));
    ProcessSpec::new(
        format!("region-core {command} of {region}"),
        &programs.region_core,
        layout.root(),
        layout.log(&part),
    )
    .arguments(command.split(' '))
    .arguments(["--config".into(), config.into_os_string()])
    .arguments(arguments)
    .run(guardian)
    .await
}

fn core_config_path(layout: &Layout, core: &str) -> std::path::PathBuf {
    layout.path("config").join(format!("core.{core}.toml"))
}

/// Everything that is decided before the first process starts.
struct Builder<'a> {
    plan: &'a Plan,
    programs: Programs,
    layout: Layout,
    guardian: Guardian,
    progress: &'a dyn Progress,
    sites: Sites,
    links: Links,
    user: Option<ServiceUser>,
    uplink_key: String,
    unsubscribe_key: String,
    push_key: String,
    postgres_password: String,
    redis_password: String,
    /// What the carrier's notices are signed with.
    carrier_secret: String,
}

impl<'a> Builder<'a> {
    fn new(
        plan: &'a Plan,
        programs: Programs,
        layout: Layout,
        guardian: Guardian,
        progress: &'a dyn Progress,
    ) -> Result<Self, SystemError> {
        let sites = Sites::choose(plan)?;
        let (clock, entropy) = (Clock::system(), Entropy::system());
        let (tls, secrets) = (layout.path("tls"), layout.path("secrets"));
        let names: Vec<String> = plan.regions.iter().map(|region| format!("core.{}", region.name)).collect();
        let pop = format!("pop.{POP}");
        Keys { folder: &tls, clock: &clock, entropy: &entropy }.certificates(&[names, vec![pop]].concat())?;
        let keys = Keys { folder: &secrets, clock: &clock, entropy: &entropy };
        for region in &plan.regions {
            keys.signing_key(&region.name)?;
        }
        let (_, uplink_key) = keys.uplink_key()?;
        let (postgres_password, redis_password) = (keys.password("postgres")?, keys.password("redis")?);
        let (unsubscribe_key, push_key) = (keys.password("unsubscribe")?, keys.push_key()?);
        let carrier_secret = keys.password("carrier")?;
        let user = ServiceUser::for_databases()?;
        Ok(Self {
            plan,
            programs,
            layout,
            guardian,
            progress,
            sites,
            links: Links::default(),
            user,
            uplink_key,
            unsubscribe_key,
            push_key,
            postgres_password,
            redis_password,
            carrier_secret,
        })
    }

    async fn build(mut self) -> Result<System, SystemError> {
        if let Some(seed) = self.plan.links {
            self.links = Links::open(&self.sites, seed).await?;
        }
        self.write_configs()?;
        // What takes long to start is started first, and waited for last.
        let worker = self.worker()?.map(|spec| spec.spawn(&self.guardian)).transpose()?;
        let mail = self.mail()?.map(|spec| spec.spawn(&self.guardian)).transpose()?;
        let broker = self.broker()?.map(|spec| spec.spawn(&self.guardian)).transpose()?;
        let redis = redis::prepare(&self.programs.redis, &self.sites.redis, &self.redis_password, &self.layout)?;
        let (servers, redis, sandbox, carrier, broker) = tokio::try_join!(
            try_join_all(self.database_plans().into_iter().map(|plan| self.database(plan))),
            self.timed(redis),
            self.timed(self.sandbox()),
            self.timed(self.carrier()),
            self.answering(broker),
        )?;
        let mut servers: BTreeMap<String, PostgresServer> =
            servers.into_iter().map(|server| (server.name().to_owned(), server)).collect();
        self.migrate(&servers).await?;
        let cores = self.sites.regions.iter().flat_map(|region| region.cores.iter().map(move |core| (region, core)));
        let (cores, pop, worker, mail) = tokio::try_join!(
            try_join_all(cores.map(|(region, core)| self.core(region, core))),
            self.timed(self.pop()),
            self.answering(worker),
            self.answering(mail),
        )?;
        let shards = self.plan.regions.iter().flat_map(|region| &region.shards);
        let shards = shards.filter_map(|&id| Some((id, servers.remove(&format!("shard-{id}"))?))).collect();
        let catalogs =
            servers.into_iter().map(|(name, server)| (name.trim_start_matches("catalog-").to_owned(), server));
        let (catalogs, addresses) = (catalogs.collect(), self.addresses());
        let Self { programs, layout, guardian, sites, links, .. } = self;
        Ok(System {
            worker,
            pop,
            cores,
            sandbox,
            carrier,
            redis,
            mail,
            broker,
            catalogs,
            shards,
            links,
            addresses,
            layout,
            guardian,
            programs,
            _sites: sites,
        })
    }

    /// Starts a part, waits until it answers and says how long that took.
    async fn timed(&self, spec: PartSpec) -> Result<Part, SystemError> {
        let (name, begun) = (spec.name().to_owned(), Instant::now());
        self.progress.begins(&name);
        let part = spec.start(&self.guardian).await?;
        self.progress.done(&name, begun.elapsed());
        Ok(part)
    }

    /// Waits for a part that was started before the others: the Worker answers last, for it needs the PoP for a page.
    async fn answering(&self, part: Option<Part>) -> Result<Option<Part>, SystemError> {
        let Some(mut part) = part else { return Ok(None) };
        let begun = Instant::now();
        self.progress.begins(part.name());
        part.ready().await?;
        self.progress.done(part.name(), begun.elapsed());
        Ok(Some(part))
    }

    async fn core(&self, region: &RegionSites, core: &CoreSite) -> Result<Core, SystemError> {
        let ops = format!("http://{}", core.ops.address());
        let name = core.part();
        let mut process =
            ProcessSpec::new(&name, &self.programs.region_core, self.layout.root(), self.layout.log(&name)).arguments(
                ["serve".into(), "--config".into(), core_config_path(&self.layout, &core.name).into_os_string()],
            );
        for (name, value) in &self.plan.core_variables {
            process = process.variable(name, value);
        }
        let spec = PartSpec {
            process,
            probe: Probe::Ready { url: format!("{ops}/ops/ready") },
            address: ops.clone(),
            ready_within: READY_WITHIN,
        };
        let part = self.timed(spec).await?;
        Ok(Core { region: region.name.clone(), part, quic: core.quic.address(), ops })
    }

    fn pop(&self) -> PartSpec {
        let process = ProcessSpec::new("pop", &self.programs.edge_pop, self.layout.root(), self.layout.log("pop"))
            .arguments(["--config".into(), self.layout.path("config").join("pop.toml").into_os_string()]);
        PartSpec {
            process,
            probe: Probe::Ready { url: format!("http://{}/ops/ready", self.sites.pop_ops.address()) },
            address: format!("http://{}", self.sites.public.address()),
            ready_within: READY_WITHIN,
        }
    }

    fn sandbox(&self) -> PartSpec {
        let name = "payment-sandbox";
        let data = self.layout.path(name);
        let process = ProcessSpec::new(name, &self.programs.payment_sandbox, self.layout.root(), self.layout.log(name))
            .arguments([
                "--listen".into(),
                self.sites.sandbox.address().into(),
                "--data-dir".into(),
                data.into_os_string(),
            ]);
        let address = format!("http://{}", self.sites.sandbox.address());
        let probe = Probe::Ready { url: format!("{address}/ready") };
        PartSpec { process, probe, address, ready_within: READY_WITHIN }
    }

    fn carrier(&self) -> PartSpec {
        let name = "carrier-sandbox";
        let data = self.layout.path(name);
        let webhook = format!("http://{}/v1/webhooks/carrier", self.sites.public.address());
        let process = ProcessSpec::new(name, &self.programs.carrier_sandbox, self.layout.root(), self.layout.log(name))
            .arguments([
                "--listen".into(),
                self.sites.carrier.address().into(),
                "--data-dir".into(),
                data.into_os_string(),
                "--webhook-url".into(),
                webhook.into(),
            ])
            .variable("CARRIER_SANDBOX_WEBHOOK_SECRET", &self.carrier_secret);
        let address = format!("http://{}", self.sites.carrier.address());
        let probe = Probe::Ready { url: format!("{address}/ready") };
        PartSpec { process, probe, address, ready_within: READY_WITHIN }
    }

    fn worker(&self) -> Result<Option<PartSpec>, SystemError> {
        let Some((port, inspector)) = &self.sites.worker else { return Ok(None) };
        let programs = self.programs.worker.as_ref().ok_or_else(|| SystemError::Missing {
            tool: "wrangler",
            advice: "the plan has a Worker, but no programs to run it were given".to_owned(),
        })?;
        let pop_url = format!("http://{}", self.sites.uplink.address());
        let plan = WorkerPlan { port, inspector, pop_url, uplink_key: &self.uplink_key };
        worker::prepare(programs, &plan, &self.layout).map(Some)
    }

    fn mail(&self) -> Result<Option<PartSpec>, SystemError> {
        let Some((smtp, web)) = &self.sites.mail else { return Ok(None) };
        let node = self.programs.mail.as_ref().ok_or_else(|| SystemError::Missing {
            tool: "maildev",
            advice: "the plan has a mail catcher, but no program to run it was given".to_owned(),
        })?;
        mail::prepare(node, smtp, web, &self.layout).map(Some)
    }

    fn broker(&self) -> Result<Option<PartSpec>, SystemError> {
        let Some((kafka, ready)) = &self.sites.broker else { return Ok(None) };
        let programs = self.programs.broker.as_ref().ok_or_else(|| SystemError::Missing {
            tool: "a broker of Kafka",
            advice: "the plan's events go over Kafka, but no program of a broker was given".to_owned(),
        })?;
        Ok(Some(broker::prepare(programs, kafka, ready, &self.layout)))
    }

    async fn database(&self, plan: PostgresPlan) -> Result<PostgresServer, SystemError> {
        let (name, begun) = (plan.name.clone(), Instant::now());
        self.progress.begins(&name);
        let user = self.user.as_ref();
        let server = PostgresServer::start(&self.programs.postgres, plan, &self.layout, user, &self.guardian).await?;
        store::create_database(&server, database_name(&name)).await?;
        self.progress.done(&name, begun.elapsed());
        Ok(server)
    }

    /// Copies first, the primary last: logical replication copies no tables' definitions.
    async fn migrate(&self, servers: &BTreeMap<String, PostgresServer>) -> Result<(), SystemError> {
        let begun = Instant::now();
        self.progress.begins("migrations");
        for region in self.plan.regions.iter().rev() {
            let (programs, layout) = (&self.programs, &self.layout);
            region_core(programs, layout, &self.guardian, &region.name, "migrate", &[]).await?;
        }
        let mut catalogs = self
            .plan
            .regions
            .iter()
            .filter_map(|region| Some((&region.name, servers.get(&format!("catalog-{}", region.name))?)));
        if let Some((_, primary)) = catalogs.next() {
            store::publish(primary, CATALOG).await?;
            try_join_all(catalogs.map(|(region, copy)| store::subscribe(copy, primary, CATALOG, region))).await?;
        }
        self.progress.done("migrations", begun.elapsed());
        Ok(())
    }

    fn database_plans(&self) -> Vec<PostgresPlan> {
        let password = &self.postgres_password;
        let plan = |name: String, port: &Port, settings: &[&str]| {
            let settings = settings.iter().map(|&setting| setting.to_owned()).collect();
            PostgresPlan { name, port: port.clone(), password: password.clone(), settings }
        };
        let mut plans = Vec::new();
        for (index, region) in self.sites.regions.iter().enumerate() {
            // A subscriber that stays away for long must not fill the primary's disk.
            let settings: &[&str] = if index == 0 { &["wal_level=logical", "max_slot_wal_keep_size=1GB"] } else { &[] };
            plans.push(plan(format!("catalog-{}", region.name), &region.catalog, settings));
            plans.extend(region.shards.iter().map(|(id, port)| plan(format!("shard-{id}"), port, &[])));
        }
        plans
    }

    fn write_configs(&self) -> Result<(), SystemError> {
        for region in &self.sites.regions {
            for core in &region.cores {
                config::write(&core_config_path(&self.layout, &core.name), &self.core_config(region, core))?;
            }
        }
        config::write(&self.layout.path("config").join("pop.toml"), &self.pop_config())
    }

    fn core_config(&self, region: &RegionSites, core: &CoreSite) -> CoreConfig {
        let catalog = |region: &RegionSites| postgres::url(&self.postgres_password, &region.catalog.address(), CATALOG);
        let from = core.part();
        let shards = self.sites.regions.iter().flat_map(|region| {
            region.shards.iter().map(|(id, port)| config::Shard {
                id: *id,
                region: region.name.clone(),
                url: postgres::url(&self.postgres_password, &self.way(&from, &format!("shard-{id}"), port), SHARD),
            })
        });
        let others = self.sites.regions.iter().filter(|other| other.name != region.name);
        let neighbours = region.cores.iter().filter(|other| other.name != core.name);
        CoreConfig {
            region: region.name.clone(),
            name: core.name.clone(),
            listen: CoreListen { quic: core.quic.address(), ops: core.ops.address() },
            tls: Tls::of(&self.layout.path("tls"), &format!("core.{}", region.name)),
            catalog: config::Catalog { url: catalog(region), primary_url: catalog(&self.sites.regions[0]) },
            shards: shards.collect(),
            redis: config::Url {
                url: redis::url_at(&self.way(&from, redis::REDIS, &self.sites.redis), &self.redis_password),
            },
            token: config::Token {
                signing_key: self.layout.path("secrets").join(format!("signing.{}.key", region.name)),
            },
            payment: config::Payment {
                provider: "sandbox".to_owned(),
                url: format!("http://{}", self.sites.sandbox.address()),
            },
            shipping: config::Shipping {
                url: format!("http://{}", self.sites.carrier.address()),
                api_key: "sandbox".to_owned(),
                webhook_secrets: vec![self.carrier_secret.clone()],
                from: config::Sender {
                    name: "Meridian".to_owned(),
                    line1: "1 Prime Meridian Walk".to_owned(),
                    city: "London".to_owned(),
                    postal_code: "E14 2BE".to_owned(),
                    country: "GB".to_owned(),
                },
            },
            mail: self.sites.mail.as_ref().map(|(smtp, _)| config::Mail {
                url: format!("smtp://{}", smtp.address()),
                from: SHOP.to_owned(),
                unsubscribe_keys: vec![self.unsubscribe_key.clone()],
            }),
            bus: self
                .sites
                .broker
                .as_ref()
                .map(|(kafka, _)| config::Bus { kind: "kafka".to_owned(), brokers: vec![kafka.address()] }),
            push: self.sites.mail.as_ref().map(|_| config::Push {
                vapid_private_key: self.push_key.clone(),
                subject: "mailto:shop@meridian.test".to_owned(),
                allow_loopback: true,
            }),
            store: config::Store { public_url: self.public_url() },
            webhooks: config::Webhooks { allow_loopback: true },
            peers: others.map(|other| (other.name.clone(), self.quic(&from, other))).collect(),
            neighbours: neighbours
                .map(|other| (other.name.clone(), self.way(&from, &other.part(), &other.quic)))
                .collect(),
            order: config::Order {
                reservation_seconds: self.plan.reservation_seconds,
                currency: self.plan.currency.clone(),
            },
            limits: self.limits(),
            dev: config::Dev { plain_api: self.plan.plain_api },
        }
    }

    fn pop_config(&self) -> PopConfig {
        let regions =
            self.sites.regions.iter().enumerate().map(|(index, region)| {
                (region.name.clone(), Cores { cores: self.quic("pop", region), near: near(index) })
            });
        PopConfig {
            name: POP.to_owned(),
            nearest: self.sites.regions[0].name.clone(),
            listen: PopListen {
                public: self.sites.public.address(),
                uplink: self.sites.uplink.address(),
                ops: self.sites.pop_ops.address(),
            },
            tls: Tls::of(&self.layout.path("tls"), &format!("pop.{POP}")),
            regions: regions.collect(),
            uplink: config::Uplink { keys: self.layout.path("secrets").join("uplink.keys") },
            limits: self.limits(),
        }
    }

    /// Where `from` reaches `to`, which listens on that port.
    fn way(&self, from: &str, to: &str, port: &Port) -> String {
        self.links.get(from, to).map_or_else(|| port.address(), |link| link.address().to_string())
    }

    /// Where `from` reaches a region's cores.
    fn quic(&self, from: &str, region: &RegionSites) -> Vec<String> {
        region.cores.iter().map(|core| self.way(from, &core.part(), &core.quic)).collect()
    }

    fn limits(&self) -> config::Limits {
        config::Limits { exempt: self.plan.exempt.clone() }
    }

    /// Where shoppers meet the shop: at the Worker, if there is one.
    fn public_url(&self) -> String {
        let port = self.sites.worker.as_ref().map_or(&self.sites.public, |(port, _)| port);
        format!("http://{}", port.address())
    }

    fn addresses(&self) -> Addresses {
        let http = |port: &Port| format!("http://{}", port.address());
        Addresses {
            shop: http(&self.sites.public),
            worker: self.sites.worker.as_ref().map(|(port, _)| http(port)),
            uplink: http(&self.sites.uplink),
            pop_ops: http(&self.sites.pop_ops),
            sandbox: http(&self.sites.sandbox),
            carrier: http(&self.sites.carrier),
            redis: redis::url(&self.sites.redis, &self.redis_password),
            mail: self.sites.mail.as_ref().map(|(_, web)| http(web)),
            uplink_key: self.uplink_key.clone(),
        }
    }
}

/// An address of this machine for shoppers who are nearest to a region other than the first: 127.0.1.1 and so on.
fn near(region: usize) -> Vec<String> {
    if region == 0 { Vec::new() } else { vec![format!("127.0.{region}.1/32")] }
}

fn database_name(server: &str) -> &'static str {
    if server.starts_with("catalog-") { CATALOG } else { SHARD }
}
