//! Other cores, over the link: those of other regions, any of which will do, and each of this region's by its name.

use std::collections::BTreeMap;
use std::io;
use std::sync::Arc;
use std::time::Duration;

use axum::body::Bytes;
use futures::FutureExt;
use futures::future::BoxFuture;
use http::{Request, Response};
use region_core_web::PeerTransport;
use shared::{Problem, ProblemKind, RegionName};
use shared_link::{LinkError, Pool, PoolOptions, Tls};

use crate::config::Config;

/// How a core of this region is called: it is near, and whoever calls it can do without.
fn near() -> PoolOptions {
    PoolOptions {
        connect_timeout: Duration::from_secs(1),
        patience: Duration::ZERO,
        probe: Duration::from_millis(250),
        silence: Duration::from_secs(1),
        ..PoolOptions::default()
    }
}

/// Connections to other cores.
pub(crate) struct LinkedPeers {
    /// To each other region.
    regions: BTreeMap<RegionName, Pool>,
    /// To each other core of this region.
    neighbours: BTreeMap<String, Pool>,
}

impl LinkedPeers {
    /// Starts connecting.
    ///
    /// # Errors
    /// When no UDP socket can be had.
    pub(crate) fn connect(config: &Config, tls: &Arc<Tls>) -> io::Result<Self> {
        let far = |(region, cores): (&RegionName, &Vec<String>)| {
            Ok((region.clone(), Pool::new(region.clone(), cores, Arc::clone(tls), PoolOptions::default())?))
        };
        let neighbour = |(core, address): (&String, &String)| {
            let address = std::slice::from_ref(address);
            Ok((core.clone(), Pool::new(config.region.clone(), address, Arc::clone(tls), near())?))
        };
        let regions = config.peers.iter().map(far).collect::<io::Result<_>>()?;
        let neighbours = config.neighbours.iter().map(neighbour).collect::<io::Result<_>>()?;
        Ok(Self { regions, neighbours })
    }
}

impl PeerTransport for LinkedPeers {
    fn send<'a>(
        &'a self,
        region: &'a RegionName,
        request: Request<Bytes>,
        deadline: Duration,
    ) -> BoxFuture<'a, Result<Response<Bytes>, Problem>> {
        async move {
            let Some(pool) = self.regions.get(region) else {
                return Err(
                    Problem::new(ProblemKind::Unavailable).detail(format!("no way to region {region} is configured"))
                );
            };
            pool.send(request, deadline).await.map_err(|error| problem(region, &error))
        }
        .boxed()
    }

    fn send_to<'a>(
        &'a self,
        core: &'a str,
        request: Request<Bytes>,
        deadline: Duration,
    ) -> BoxFuture<'a, Result<Response<Bytes>, Problem>> {
        async move {
            let no_way =
                || Problem::new(ProblemKind::Unavailable).detail(format!("no way to core {core} is configured"));
            let pool = self.neighbours.get(core).ok_or_else(no_way)?;
            pool.send(request, deadline).await.map_err(|error| error.problem().detail(&error))
        }
        .boxed()
    }
}

fn problem(region: &RegionName, error: &LinkError) -> Problem {
    tracing::warn!(peer.region = %region, %error, "another region did not answer");
    error.problem().detail(format!("region {region} did not answer"))
}
