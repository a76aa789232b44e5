//! The other regions' cores, over the link.

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

/// A pool of connections to each other region.
pub(crate) struct LinkedPeers(BTreeMap<RegionName, Pool>);

impl LinkedPeers {
    /// Starts connecting.
    ///
    /// # Errors
    /// When no UDP socket can be had.
    pub(crate) fn connect(peers: &BTreeMap<RegionName, Vec<String>>, tls: &Arc<Tls>) -> io::Result<Self> {
        let pool = |(region, cores): (&RegionName, &Vec<String>)| {
            Ok((region.clone(), Pool::new(region.clone(), cores, Arc::clone(tls), PoolOptions::default())?))
        };
        peers.iter().map(pool).collect::<io::Result<_>>().map(Self)
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
            let Some(pool) = self.0.get(region) else {
                return Err(
                    Problem::new(ProblemKind::Unavailable).detail(format!("no way to region {region} is configured"))
                );
            };
            pool.send(request, deadline).await.map_err(|error| problem(region, &error))
        }
        .boxed()
    }
}

fn problem(region: &RegionName, error: &LinkError) -> Problem {
    tracing::warn!(peer.region = %region, %error, "another region did not answer");
    error.problem().detail(format!("region {region} did not answer"))
}
