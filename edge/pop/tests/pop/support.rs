//! Certificates, cores that say what reached them, and a PoP in front.

use std::collections::BTreeMap;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use axum::extract::{Request, State};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use axum::{Json, Router};
use edge_pop::{Config, Pop};
use metrics_exporter_prometheus::PrometheusBuilder;
use rcgen::{BasicConstraints, CertificateParams, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair};
use serde_json::{Value, json};
use shared::api::stock::{StockChanges, StockCount, StockCursor};
use shared::id::USER_EPOCH_MS;
use shared::token::{Claims, KeyId, Role};
use shared::{Problem, ProblemKind, RegionName, SessionId, ShardId, Slot, SlotMap, UserId};
use shared_clock::Clock;
use shared_link::{Server, ServerOptions, Tls, TlsFiles};
use tempfile::TempDir;
use tokio::runtime::{Builder, Runtime};
use tokio::sync::oneshot;
use tokio_util::sync::CancellationToken;

/// Far longer than anything here takes; only a failing test meets it.
pub(crate) const PATIENT: Duration = Duration::from_secs(20);
/// When the PoPs of these tests are.
pub(crate) const NOW: u64 = 1_800_000_000;
pub(crate) const KEY: &str = "k1:000102030405060708090a0b0c0d0e0f101112131415161718191a1b1c1d1e1f";

/// A store's machines: one CA, one core in each of two regions.
pub(crate) struct Store {
    directory: TempDir,
    issuer: Issuer<'static, KeyPair>,
    pub(crate) eu: Core,
    pub(crate) us: Core,
}

pub(crate) struct Core {
    pub(crate) address: String,
    pub(crate) state: CoreState,
    pub(crate) shutdown: CancellationToken,
    pub(crate) served: tokio::task::JoinHandle<()>,
    /// The core's own, so that it can vanish as a killed process does: without a word.
    runtime: Option<Runtime>,
}

#[derive(Clone)]
pub(crate) struct CoreState {
    region: &'static str,
    pub(crate) map: Arc<Mutex<SlotMap>>,
    /// Counts of stock; a change is a new list.
    pub(crate) stock: Arc<Mutex<Vec<StockCount>>>,
    /// Requests other than for the map and for news of stock.
    pub(crate) calls: Arc<AtomicUsize>,
    /// Whether to say that it does not own any slot.
    pub(crate) disowns: Arc<Mutex<bool>>,
    /// If there, the next request says so here and is never answered.
    pub(crate) trap: Arc<Mutex<Option<oneshot::Sender<()>>>>,
}

pub(crate) fn region(name: &str) -> RegionName {
    name.parse().unwrap()
}

/// Shard 1 is in `eu`, shard 2 in `us`; the first `in_eu` slots are shard 1's.
pub(crate) fn map(epoch: u64, in_eu: u16) -> SlotMap {
    let shard = |number: i16| ShardId::try_from(number).unwrap();
    let shards = BTreeMap::from([(shard(1), region("eu")), (shard(2), region("us"))]);
    let owners = Slot::all().map(|slot| shard(if slot.number() < in_eu { 1 } else { 2 })).collect();
    SlotMap::new(epoch, shards, owners).unwrap()
}

async fn mirror(State(core): State<CoreState>, request: Request) -> Response {
    core.calls.fetch_add(1, Ordering::SeqCst);
    if *core.disowns.lock().unwrap() {
        return Problem::from(ProblemKind::WrongShard).into_response();
    }
    let trap = core.trap.lock().unwrap().take();
    if let Some(entered) = trap {
        entered.send(()).unwrap();
        std::future::pending::<()>().await;
    }
    let (parts, body) = request.into_parts();
    let headers: BTreeMap<&str, &str> =
        parts.headers.iter().map(|(name, value)| (name.as_str(), value.to_str().unwrap())).collect();
    let body = axum::body::to_bytes(body, usize::MAX).await.unwrap();
    let target = parts.uri.path_and_query().unwrap().as_str();
    let seen = json!({
        "region": core.region, "method": parts.method.as_str(), "target": target,
        "headers": headers, "body": String::from_utf8(body.to_vec()).unwrap(),
    });
    ([("etag", "\"e\""), ("x-internal", "kept")], Json(seen)).into_response()
}

async fn slot_map(State(core): State<CoreState>) -> Json<SlotMap> {
    Json(core.map.lock().unwrap().clone())
}

/// All counts, whatever was read before.
async fn stock(State(core): State<CoreState>) -> Json<StockChanges> {
    let next = StockCursor { board: u64::from(core.region == "eu"), version: 1 };
    Json(StockChanges { items: core.stock.lock().unwrap().clone(), next, more: false })
}

impl Store {
    pub(crate) fn new() -> Self {
        let mut params = CertificateParams::new(Vec::new()).unwrap();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let key = KeyPair::generate().unwrap();
        let directory = tempfile::tempdir().unwrap();
        std::fs::write(directory.path().join("ca.pem"), params.self_signed(&key).unwrap().pem()).unwrap();
        let issuer = Issuer::new(params, key);
        let core = |name: &'static str| {
            let state = CoreState {
                region: name,
                map: Arc::new(Mutex::new(map(1, 2048))),
                stock: Arc::default(),
                calls: Arc::default(),
                disowns: Arc::default(),
                trap: Arc::default(),
            };
            serve_core(issue(directory.path(), &issuer, &format!("core.{name}")), "127.0.0.1:0", state)
        };
        let (eu, us) = (core("eu"), core("us"));
        Self { eu, us, directory, issuer }
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    pub(crate) fn write_keys(&self, keys: &str) {
        std::fs::write(self.path("uplink.keys"), keys).unwrap();
        std::fs::set_permissions(self.path("uplink.keys"), std::fs::Permissions::from_mode(0o600)).unwrap();
    }

    /// Starts a PoP near `eu` for whom 127.0.0.9 ends TLS; `more` is appended to its configuration.
    pub(crate) async fn pop(&self, more: &str) -> RunningPop {
        let pop = self.start("pop.p1", more).await.unwrap();
        pop.until_ready().await;
        pop
    }

    /// Writes what a PoP needs and returns its configuration's path.
    pub(crate) fn configure(&self, certificate: &str, more: &str) -> PathBuf {
        issue(self.directory.path(), &self.issuer, certificate);
        self.write_keys(KEY);
        let text = format!(
            r#"
            name = "p1"
            nearest = "eu"
            listen = {{ public = "127.0.0.1:0", uplink = "127.0.0.1:0", ops = "127.0.0.1:0", terminators = ["127.0.0.9/32"] }}
            tls = {{ ca = "ca.pem", certificate = "{certificate}.pem", key = "{certificate}.key" }}
            uplink = {{ keys = "uplink.keys" }}
            regions = {{ eu = {{ cores = ["{}"] }}, us = {{ cores = ["{}"], near = ["127.0.1.0/24"] }} }}
            {more}
            "#,
            self.eu.address, self.us.address
        );
        std::fs::write(self.path("pop.toml"), text).unwrap();
        self.path("pop.toml")
    }

    pub(crate) async fn start(&self, certificate: &str, more: &str) -> Result<RunningPop, edge_pop::StartError> {
        let config = Config::load(&self.configure(certificate, more)).unwrap();
        let metrics = PrometheusBuilder::new().build_recorder().handle();
        let shutdown = CancellationToken::new();
        let clock = Clock::turned(NOW * 1_000);
        let pop = Pop::start(config, metrics, clock.clone(), shutdown.clone()).await?;
        // No redirects and no proxies of the machine's: what is asked for is what is tested.
        let http = reqwest::Client::builder().no_proxy().build().unwrap();
        Ok(RunningPop { pop, http, shutdown })
    }
}

fn issue(directory: &Path, issuer: &Issuer<'static, KeyPair>, name: &str) -> TlsFiles {
    let mut params = CertificateParams::new(vec![name.to_owned()]).unwrap();
    params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth, ExtendedKeyUsagePurpose::ClientAuth];
    let key = KeyPair::generate().unwrap();
    let files = TlsFiles {
        ca: directory.join("ca.pem"),
        certificate: directory.join(format!("{name}.pem")),
        key: directory.join(format!("{name}.key")),
    };
    std::fs::write(&files.certificate, params.signed_by(&key, issuer).unwrap().pem()).unwrap();
    std::fs::write(&files.key, key.serialize_pem()).unwrap();
    files
}

fn serve_core(files: TlsFiles, address: &str, state: CoreState) -> Core {
    let options = ServerOptions::default();
    let runtime = Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
    let inside = runtime.enter();
    let server = Server::bind(address.parse().unwrap(), Tls::load(files).unwrap(), options).unwrap();
    let address = server.local_addr().unwrap().to_string();
    let router = Router::new()
        .route("/v1/slot-map", get(slot_map))
        .route("/v1/stock/changes", get(stock))
        .fallback(mirror)
        .with_state(state.clone());
    let shutdown = CancellationToken::new();
    let served = runtime.spawn(server.serve(router, shutdown.clone()));
    drop(inside);
    Core { address, state, shutdown, served, runtime: Some(runtime) }
}

impl Core {
    pub(crate) fn calls(&self) -> usize {
        self.state.calls.load(Ordering::SeqCst)
    }

    pub(crate) async fn stop(&mut self) {
        self.shutdown.cancel();
        (&mut self.served).await.unwrap();
    }

    /// Makes the next request hang; it is there once the receiver hears so.
    pub(crate) fn trap(&self) -> oneshot::Receiver<()> {
        let (sender, entered) = oneshot::channel();
        *self.state.trap.lock().unwrap() = Some(sender);
        entered
    }

    pub(crate) fn kill(&mut self) {
        self.runtime.take().into_iter().for_each(Runtime::shutdown_background);
    }
}

impl Drop for Core {
    fn drop(&mut self) {
        self.kill();
    }
}

pub(crate) struct RunningPop {
    pub(crate) pop: Pop,
    pub(crate) http: reqwest::Client,
    pub(crate) shutdown: CancellationToken,
}

impl RunningPop {
    pub(crate) fn public(&self, path: &str) -> String {
        format!("http://{}{path}", self.pop.public)
    }

    pub(crate) async fn ready(&self) -> u16 {
        let answer = self.http.get(format!("http://{}/ops/ready", self.pop.ops)).send().await.unwrap();
        answer.status().as_u16()
    }

    pub(crate) async fn until_ready(&self) {
        let ready = async {
            let mut looks = tokio::time::interval(Duration::from_millis(20));
            while self.ready().await != 200 {
                looks.tick().await;
            }
        };
        tokio::time::timeout(PATIENT, ready).await.expect("the PoP becomes ready");
    }
}

/// A token that claims to be of a user in that slot. Its signature is nonsense: the PoP only routes by it.
pub(crate) fn token(slot: u16) -> String {
    let slot = Slot::new(slot).unwrap();
    let claims = Claims {
        iss: "meridian".to_owned(),
        aud: "meridian-store".to_owned(),
        sub: UserId::mint(USER_EPOCH_MS, slot, 1).unwrap(),
        sid: SessionId::mint(USER_EPOCH_MS, slot, [1; 8]),
        roles: vec![Role::Guest],
        epoch: 0,
        iat: NOW,
        nbf: NOW,
        exp: NOW + 600,
    };
    shared::token::finish(&shared::token::signing_input(&KeyId("k".to_owned()), &claims), &[0; 64])
}

/// What the core says it saw.
pub(crate) async fn seen(answer: reqwest::Response) -> Value {
    assert_eq!(answer.status(), 200);
    answer.json().await.unwrap()
}
