//! What a system is made of: regions, shards, cores, and where each part listens.

use std::path::PathBuf;

use crate::error::SystemError;
use crate::ports::{Port, Ports};
use crate::postgres::PostgresPrograms;
use crate::tools::node::NodeTools;
use crate::worker::WorkerPrograms;

/// Each region's cores listen from here on, two ports each.
const CORE_PORTS: u16 = 100;
/// The catalogs' databases listen from here on.
const CATALOG_PORTS: u16 = 10;
/// The shards' databases listen from here on.
const SHARD_PORTS: u16 = 20;
/// More would run into the next region's ports.
const MOST_CORES: u16 = 40;

/// A region and its shards.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RegionPlan {
    /// Its name.
    pub name: String,
    /// The numbers of its shards, each a Postgres server of its own.
    pub shards: Vec<u16>,
}

/// What to start.
#[derive(Clone, Debug)]
pub struct Plan {
    /// The first is home to the primary of the catalog.
    pub regions: Vec<RegionPlan>,
    /// Core processes in each region.
    pub cores: u16,
    /// Where the ports come from.
    pub ports: Ports,
    /// Whether to run the Worker beside the PoP.
    pub worker: bool,
    /// Whether orders are written about, to a mail catcher.
    pub mail: bool,
    /// Whether events go over Kafka, with a broker of the system's own.
    pub kafka: bool,
    /// `/v1` on the cores' plain listeners too.
    pub plain_api: bool,
    /// How long units are held for an unpaid order, in seconds.
    pub reservation_seconds: u64,
    /// The shop's currency.
    pub currency: String,
    /// Address blocks that no address limit holds for.
    pub exempt: Vec<String>,
    /// If set, links between parts pass through proxies that can be told to be bad, on dice of this seed.
    pub links: Option<u64>,
    /// Variables of every core.
    pub core_variables: Vec<(String, String)>,
}

impl Plan {
    /// Two regions of two shards, one core each: `eu` with shards 1 and 2, `us` with 3 and 4.
    #[must_use]
    pub fn two_regions(ports: Ports) -> Self {
        let region = |name: &str, shards: [u16; 2]| RegionPlan { name: name.to_owned(), shards: shards.to_vec() };
        Self {
            regions: vec![region("eu", [1, 2]), region("us", [3, 4])],
            cores: 1,
            ports,
            worker: true,
            mail: false,
            kafka: false,
            plain_api: false,
            reservation_seconds: 900,
            currency: "GBP".to_owned(),
            exempt: vec!["127.0.0.0/8".to_owned()],
            links: None,
            core_variables: Vec::new(),
        }
    }
}

/// The programs that a system runs.
#[derive(Clone, Debug)]
pub struct Programs {
    /// `region-core`.
    pub region_core: PathBuf,
    /// `edge-pop`.
    pub edge_pop: PathBuf,
    /// `payment-sandbox`.
    pub payment_sandbox: PathBuf,
    /// `carrier-sandbox`.
    pub carrier_sandbox: PathBuf,
    /// Postgres.
    pub postgres: PostgresPrograms,
    /// Redis.
    pub redis: PathBuf,
    /// The Worker's; needed only if the plan has one.
    pub worker: Option<WorkerPrograms>,
    /// What runs the mail catcher; needed only if the plan has one.
    pub mail: Option<NodeTools>,
    /// The broker's; needed only if events go over Kafka.
    pub broker: Option<BrokerPrograms>,
}

/// What a broker is run with.
#[derive(Clone, Debug)]
pub struct BrokerPrograms {
    /// `meridian-broker`.
    pub broker: PathBuf,
    /// The program of tansu; librdkafka's simulation if there is none.
    pub tansu: Option<PathBuf>,
}

/// The ports of everything, ours as long as the system is.
#[derive(Debug)]
pub(crate) struct Sites {
    pub(crate) worker: Option<(Port, Port)>,
    pub(crate) public: Port,
    pub(crate) uplink: Port,
    pub(crate) pop_ops: Port,
    pub(crate) sandbox: Port,
    pub(crate) carrier: Port,
    pub(crate) redis: Port,
    /// Of the mail catcher: SMTP and its web address.
    pub(crate) mail: Option<(Port, Port)>,
    /// Of the broker: for clients, and for those who ask whether it is ready.
    pub(crate) broker: Option<(Port, Port)>,
    pub(crate) regions: Vec<RegionSites>,
}

#[derive(Debug)]
pub(crate) struct RegionSites {
    pub(crate) name: String,
    pub(crate) catalog: Port,
    pub(crate) shards: Vec<(u16, Port)>,
    pub(crate) cores: Vec<CoreSite>,
}

#[derive(Debug)]
pub(crate) struct CoreSite {
    /// `eu-1`.
    pub(crate) name: String,
    pub(crate) quic: Port,
    pub(crate) ops: Port,
}

impl Sites {
    /// A port for every part of the plan.
    pub(crate) fn choose(plan: &Plan) -> Result<Self, SystemError> {
        let get = |part: &str, offset| plan.ports.get(part, offset);
        let worker = if plan.worker { Some((get("worker", 0)?, get("worker's inspector", 6)?)) } else { None };
        let mail = if plan.mail { Some((get("mail", 7)?, get("mail's web", 8)?)) } else { None };
        let broker = if plan.kafka { Some((get("broker", 90)?, get("broker's readiness", 91)?)) } else { None };
        let regions = plan.regions.iter().zip(0..).map(|(region, index)| RegionSites::choose(region, index, plan));
        Ok(Self {
            worker,
            public: get("pop", 1)?,
            uplink: get("pop's uplink", 2)?,
            pop_ops: get("pop's ops", 3)?,
            sandbox: get("payment-sandbox", 4)?,
            carrier: get("carrier-sandbox", 9)?,
            redis: get("redis", 5)?,
            mail,
            broker,
            regions: regions.collect::<Result<_, _>>()?,
        })
    }
}

impl RegionSites {
    fn choose(region: &RegionPlan, index: u16, plan: &Plan) -> Result<Self, SystemError> {
        let name = &region.name;
        let shard = |&id: &u16| Ok((id, plan.ports.get(&format!("shard-{id}"), SHARD_PORTS + id)?));
        let core = |number: u16| {
            let (name, base) = (format!("{name}-{number}"), CORE_PORTS * (index + 1) + 2 * number - 1);
            let quic = plan.ports.get(&format!("core.{name}"), base)?;
            let ops = plan.ports.get(&format!("ops of core.{name}"), base + 1)?;
            Ok(CoreSite { name, quic, ops })
        };
        Ok(Self {
            name: name.clone(),
            catalog: plan.ports.get(&format!("catalog-{name}"), CATALOG_PORTS + index)?,
            shards: region.shards.iter().map(shard).collect::<Result<_, SystemError>>()?,
            cores: (1..=plan.cores.min(MOST_CORES)).map(core).collect::<Result<_, SystemError>>()?,
        })
    }
}

impl CoreSite {
    /// `core.eu-1`.
    pub(crate) fn part(&self) -> String {
        format!("core.{}", self.name)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_part_has_a_port_of_its_own_and_always_the_same() {
        let mut plan = Plan::two_regions(Ports::From(17_100));
        plan.cores = 2;
        let sites = Sites::choose(&plan).unwrap();
        let cores: Vec<_> = sites.regions.iter().flat_map(|region| &region.cores).collect();
        let named: Vec<_> =
            cores.iter().map(|core| (core.name.as_str(), core.quic.number(), core.ops.number())).collect();
        assert_eq!(
            named,
            [("eu-1", 17_201, 17_202), ("eu-2", 17_203, 17_204), ("us-1", 17_301, 17_302), ("us-2", 17_303, 17_304)]
        );
        assert_eq!(
            sites.regions[1].shards.iter().map(|(id, port)| (*id, port.number())).collect::<Vec<_>>(),
            [(3, 17_123), (4, 17_124)]
        );
        assert_eq!((sites.public.number(), sites.regions[1].catalog.number()), (17_101, 17_111));
    }
}
