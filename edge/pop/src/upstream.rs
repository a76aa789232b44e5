//! The way to the cores: picks a request's region by the slot map, sends over the link, and follows users who moved.
//!
//! The map here is a copy, read again every few seconds and whenever a core says that it is old (421). Requests without
//! a slot may be answered by any region, so they outlive their nearest one.

use std::collections::BTreeMap;
use std::io;
use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwapOption;
use bytes::Bytes;
use http::header::HOST;
use http::{HeaderValue, Request, Response, StatusCode};
use shared::uplink::CLIENT_ADDRESS;
use shared::{RegionName, Slot, SlotMap};
use shared_clock::Entropy;
use shared_link::{LinkError, Pool, PoolOptions, Safe, Tls, Transport};
use tokio::sync::{Mutex, Semaphore, SemaphorePermit};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use crate::config::{Config, Region};
use crate::crowd::{Crowd, Place};
use crate::limits::Network;
use crate::{headers, rules};

/// Time for a request, besides what it asks its answer to be held.
const DEADLINE: Duration = Duration::from_secs(10);
/// Time for a slot map.
const MAP_DEADLINE: Duration = Duration::from_secs(2);

/// How often the first slot map is asked for.
const FIRST_MAP: Duration = Duration::from_millis(250);

/// The way to the cores. Clones share it.
#[derive(Clone)]
pub struct Upstream(Arc<Inner>);

struct Inner {
    nearest: RegionName,
    /// Networks that another region is nearer to.
    near: Vec<(Network, RegionName)>,
    pools: BTreeMap<RegionName, Pool>,
    map: ArcSwapOption<SlotMap>,
    /// Held while a map is fetched; says when the last one was asked for.
    fetched_at: Mutex<Option<Instant>>,
    /// Requests whose answers may be held: half of those that may be under way, so that who waits keeps nobody from asking.
    held: Semaphore,
    /// And of one address block an eighth.
    waiting: Crowd,
    entropy: Entropy,
}

impl Upstream {
    /// Starts connecting to every region of the configuration.
    ///
    /// # Errors
    /// When no UDP socket can be had.
    pub fn start(config: &Config, tls: &Arc<Tls>, entropy: Entropy) -> io::Result<Self> {
        let options = PoolOptions {
            transport: Transport { congestion: config.link.congestion, ..Transport::default() },
            connections_per_core: config.link.connections_per_core,
            max_in_flight: config.link.max_in_flight,
            ..PoolOptions::default()
        };
        let connect = |(region, Region { cores, .. }): (&RegionName, &Region)| {
            Ok((region.clone(), Pool::new(region.clone(), cores, Arc::clone(tls), options)?))
        };
        let pools = config.regions.iter().map(connect).collect::<io::Result<_>>()?;
        let near = config
            .regions
            .iter()
            .flat_map(|(region, Region { near, .. })| near.iter().map(move |network| (*network, region.clone())));
        let (near, nearest) = (near.collect(), config.nearest.clone());
        let (map, fetched_at) = (ArcSwapOption::empty(), Mutex::new(None));
        let held = Semaphore::new(config.link.max_in_flight / 2);
        let waiting = Crowd::new(config.link.max_in_flight.div_ceil(8), config.limits.exempt.clone());
        Ok(Self(Arc::new(Inner { nearest, near, pools, map, fetched_at, held, waiting, entropy })))
    }

    /// Whether requests can be served: the nearest region is connected and the slot map is known.
    #[must_use]
    pub fn is_ready(&self) -> bool {
        self.0.pools[&self.0.nearest].is_connected() && self.0.map.load().is_some()
    }

    /// The epoch of the slot map in use; 0 before the first.
    #[must_use]
    pub fn epoch(&self) -> u64 {
        self.0.map.load().as_ref().map_or(0, |map| map.epoch())
    }

    /// Keeps the slot map current until `stop`.
    pub async fn keep_map(self, period: Duration, stop: CancellationToken) {
        let keep = async {
            loop {
                self.0.fetch_map(&self.0.nearest, |_| true).await;
                let known = self.0.map.load().is_some();
                tokio::time::sleep(if known { period } else { FIRST_MAP }).await;
            }
        };
        stop.run_until_cancelled(keep).await;
    }

    /// Sends a request of the shopper at `client` to the core it belongs to, and waits for the whole answer. One that asks its
    /// answer to be held is answered at once where enough wait already, which a preference allows (RFC 7240 section 2).
    ///
    /// # Errors
    /// See [`LinkError`]; a 421 that remains after a retry with the newest map counts as unreachable.
    pub async fn send(&self, mut request: Request<Bytes>, client: IpAddr) -> Result<Response<Bytes>, LinkError> {
        let inner = &*self.0;
        let slot = rules::slot_of(request.uri(), request.headers());
        let _waits = inner.place_to_wait(&mut request, client);
        let until = Instant::now() + DEADLINE + Duration::from_secs(rules::wait_seconds(request.headers()));
        inner.prepare(&mut request, client);
        for _ in 0..2 {
            let epoch = self.epoch();
            let (region, answer) = inner.ask(slot, client, &request, until).await?;
            if answer.status() != StatusCode::MISDIRECTED_REQUEST {
                return Ok(answer);
            }
            // The core did nothing, so asking again is safe for any method.
            metrics::counter!("pop_misdirected_total").increment(1);
            if self.epoch() <= epoch {
                inner.fetch_map(region, |newest| newest > epoch).await;
            }
        }
        let region = inner.region_of(slot, client).to_string();
        Err(LinkError::Unreachable { region, reason: "the user's slot is on the move".to_owned() })
    }
}

impl Upstream {
    /// Asks any core something that is for everybody: the nearest region's, or another's while that one cannot be reached.
    ///
    /// # Errors
    /// Why there is no good answer, for a log.
    pub async fn ask_any(&self, target: &str, within: Duration) -> Result<Bytes, String> {
        let request = Request::get(target).body(Bytes::new()).map_err(|error| error.to_string())?;
        let nobody = IpAddr::V4(Ipv4Addr::UNSPECIFIED);
        let asked = self.0.ask(None, nobody, &request, Instant::now() + within).await;
        let (_, answer) = asked.map_err(|error| error.to_string())?;
        if answer.status() == StatusCode::OK {
            Ok(answer.into_body())
        } else {
            Err(format!("status {}", answer.status()))
        }
    }
}

impl Inner {
    /// A place for a request that asks its answer to be held; where there is none, it no longer asks.
    fn place_to_wait(&self, request: &mut Request<Bytes>, client: IpAddr) -> Option<(SemaphorePermit<'_>, Place)> {
        if rules::wait_seconds(request.headers()) == 0 {
            return None;
        }
        let place = self.held.try_acquire().ok().zip(self.waiting.enter(client));
        if place.is_none() {
            metrics::counter!("pop_answers_not_held_total").increment(1);
            request.headers_mut().remove("prefer");
        }
        place
    }

    fn prepare(&self, request: &mut Request<Bytes>, client: IpAddr) {
        let own = request.headers_mut();
        headers::drop_hop(own);
        headers::drop_claims(own);
        own.remove(HOST);
        headers::ensure_trace(own, &self.entropy);
        if let Ok(address) = HeaderValue::try_from(client.to_canonical().to_string()) {
            own.insert(CLIENT_ADDRESS, address);
        }
        // A question in a POST's clothes.
        if request.uri().path() == "/v1/quotes" {
            request.extensions_mut().insert(Safe);
        }
    }

    fn region_of(&self, slot: Option<Slot>, client: IpAddr) -> RegionName {
        match (slot, &*self.map.load()) {
            (Some(slot), Some(map)) => map.region_of(slot).clone(),
            (None, _) => self.region_near(client).clone(),
            (_, None) => self.nearest.clone(),
        }
    }

    fn region_near(&self, client: IpAddr) -> &RegionName {
        self.near.iter().find(|(network, _)| network.contains(client)).map_or(&self.nearest, |(_, region)| region)
    }

    /// The answer, and the region that gave it.
    async fn ask(
        &self,
        slot: Option<Slot>,
        client: IpAddr,
        request: &Request<Bytes>,
        until: Instant,
    ) -> Result<(&RegionName, Response<Bytes>), LinkError> {
        let home = self.region_of(slot, client);
        let Some((home, pool)) = self.pools.get_key_value(&home) else {
            let reason = "no cores of it are configured here".to_owned();
            return Err(LinkError::Unreachable { region: home.to_string(), reason });
        };
        let mut outcome = pool.send(request.clone(), until.saturating_duration_since(Instant::now())).await;
        let mut answered = home;
        let others = self.pools.iter().filter(|(region, _)| slot.is_none() && *region != home);
        for (region, pool) in others {
            // Nothing was sent, not even once, so another region may try, whatever the method. What was `Lost` stays
            // here: another region's core does not know the key that would make a repetition safe.
            if !matches!(outcome, Err(LinkError::Unreachable { .. } | LinkError::Unauthenticated { .. })) {
                break;
            }
            outcome = pool.send(request.clone(), until.saturating_duration_since(Instant::now())).await;
            answered = region;
        }
        outcome.map(|answer| (answered, answer))
    }

    /// Looks whether there is a newer slot map, `first` in that region, and takes the first that is `enough`.
    async fn fetch_map(&self, first: &RegionName, enough: impl Fn(u64) -> bool) {
        let asked_at = Instant::now();
        let mut fetched_at = self.fetched_at.lock().await;
        // One fetch serves all who waited for it.
        if fetched_at.is_some_and(|at| at >= asked_at) {
            return;
        }
        *fetched_at = Some(Instant::now());
        let rest = self.pools.keys().filter(|region| *region != first);
        for region in std::iter::once(first).chain(rest) {
            match self.map_from(region).await {
                Ok(map) => {
                    let epoch = map.epoch();
                    self.offer(map);
                    if enough(epoch) {
                        return;
                    }
                }
                Err(reason) => tracing::debug!(%region, reason, "no slot map from this region"),
            }
        }
    }

    async fn map_from(&self, region: &RegionName) -> Result<SlotMap, String> {
        let request = Request::get("/v1/slot-map").body(Bytes::new()).map_err(|error| error.to_string())?;
        let answer = self.pools[region].send(request, MAP_DEADLINE).await.map_err(|error| error.to_string())?;
        if answer.status() != StatusCode::OK {
            return Err(format!("status {}", answer.status()));
        }
        serde_json::from_slice(answer.body()).map_err(|error| error.to_string())
    }

    /// Takes the map if it is newer. Called with the fetch lock held.
    fn offer(&self, map: SlotMap) {
        let current = self.map.load();
        if current.as_ref().is_none_or(|current| map.epoch() > current.epoch()) {
            tracing::info!(slot_map.epoch = map.epoch(), "a newer slot map is in use");
            #[expect(clippy::cast_precision_loss, reason = "epochs count changes of the map; 2^53 are far away")]
            metrics::gauge!("pop_slot_map_epoch").set(map.epoch() as f64);
            self.map.store(Some(Arc::new(map)));
        }
    }
}
