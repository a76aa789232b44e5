//! Links between parts that pass through proxies, so that tests and fault runs can make them bad: from the PoP to each
//! core, from each core to every other, to its region's shards and to Redis.

use std::collections::BTreeMap;
use std::net::{Ipv4Addr, SocketAddr};

use xtask_proxy::{Kind, Link};

use crate::error::SystemError;
use crate::plan::Sites;
use crate::ports::Port;
use crate::redis::REDIS;

/// Every link by the parts at its ends: who connects, and to whom.
#[derive(Debug, Default)]
pub struct Links(BTreeMap<(String, String), Link>);

impl Links {
    /// Opens a proxy in front of every target, each with dice of its own.
    pub(crate) async fn open(sites: &Sites, seed: u64) -> Result<Self, SystemError> {
        let mut links = BTreeMap::new();
        for (number, (from, to, kind, port)) in (0..).zip(ends(sites)) {
            let listen = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
            let target = SocketAddr::from((Ipv4Addr::LOCALHOST, port.number()));
            let link = Link::open(kind, listen, target, seed.wrapping_add(number)).await;
            let link = link.map_err(|source| SystemError::Link { from: from.clone(), to: to.clone(), source })?;
            links.insert((from, to), link);
        }
        Ok(Self(links))
    }

    /// The link from one part to another.
    #[must_use]
    pub fn get(&self, from: &str, to: &str) -> Option<&Link> {
        self.0.get(&(from.to_owned(), to.to_owned()))
    }

    /// All of them with their ends, in order.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &str, &Link)> {
        self.0.iter().map(|((from, to), link)| (from.as_str(), to.as_str(), link))
    }

    /// Fair weather everywhere.
    pub fn calm(&self) {
        self.0.values().for_each(Link::calm);
    }
}

fn ends(sites: &Sites) -> Vec<(String, String, Kind, &Port)> {
    let mut ends = Vec::new();
    for region in &sites.regions {
        for core in &region.cores {
            ends.push(("pop".to_owned(), core.part(), Kind::Udp, &core.quic));
            let peers = sites.regions.iter().flat_map(|other| &other.cores).filter(|other| other.name != core.name);
            ends.extend(peers.map(|peer| (core.part(), peer.part(), Kind::Udp, &peer.quic)));
            let shards = region.shards.iter();
            ends.extend(shards.map(|(id, port)| (core.part(), format!("shard-{id}"), Kind::Tcp, port)));
            ends.push((core.part(), REDIS.to_owned(), Kind::Tcp, &sites.redis));
        }
    }
    ends
}

#[cfg(test)]
mod tests {
    use shared_clock::Entropy;

    use super::*;
    use crate::{Plan, Ports};

    #[test]
    fn every_core_has_its_own_way_to_whatever_it_talks_to() {
        let mut plan = Plan::two_regions(Ports::Free(Entropy::seeded(9)));
        (plan.cores, plan.worker) = (2, false);
        let sites = Sites::choose(&plan).unwrap();
        let ends = ends(&sites);
        let of = |from: &str| {
            let mut to: Vec<_> = ends.iter().filter(|end| end.0 == from).map(|end| end.1.as_str()).collect();
            to.sort_unstable();
            to
        };
        assert_eq!(of("pop"), ["core.eu-1", "core.eu-2", "core.us-1", "core.us-2"]);
        assert_eq!(of("core.eu-2"), ["core.eu-1", "core.us-1", "core.us-2", "redis", "shard-1", "shard-2"]);
        assert_eq!(of("core.us-1"), ["core.eu-1", "core.eu-2", "core.us-2", "redis", "shard-3", "shard-4"]);
    }
}
