//! Who may speak to a core, and what its listeners offer to whom.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::{Method, Request, Response};
use quinn::crypto::rustls::QuicClientConfig;
use rustls_pki_types::CertificateDer;
use rustls_pki_types::pem::PemObject as _;
use shared::uplink::{CLIENT_ADDRESS, SIGNATURE, Signed, TIMESTAMP, UplinkKey};
use shared::{ProblemKind, RegionName};
use shared_clock::{Clock, Entropy};
use shared_link::{LinkError, Pool, PoolOptions, Tls, TlsFiles};
use tests::client::try_send;
use tests::{Answer, Client};
use xtask_system::certificates::Keys;

use crate::regions::pool;
use crate::store::sites;

const PATIENCE: Duration = Duration::from_secs(5);

async fn ask(pool: &Pool, method: Method, path: &str) -> Result<Response<Bytes>, LinkError> {
    let request = Request::builder().method(method).uri(format!("https://core{path}"));
    let request = request.header("content-type", "application/json").body(Bytes::from_static(b"{}")).unwrap();
    pool.send(request, PATIENCE).await
}

/// A route of the account service that only cores of other regions call.
fn internal_route() -> &'static str {
    "/internal/account/logins/find"
}

#[tokio::test]
async fn a_pop_reaches_v1_and_a_core_reaches_the_internal_routes_as_well() {
    let (pop, core) = (pool("eu", "pop.pop-1").await, pool("eu", "core.us").await);
    for pool in [&pop, &core] {
        assert_eq!(ask(pool, Method::GET, "/v1/categories").await.unwrap().status(), 200);
        assert_eq!(ask(pool, Method::GET, "/ops/metrics").await.unwrap().status(), 404, "operators use another door");
    }
    let refused = ask(&pop, Method::POST, internal_route()).await.unwrap().status();
    assert!(matches!(refused.as_u16(), 403 | 404), "a PoP on an internal route: {refused}");
    let heard = ask(&core, Method::POST, internal_route()).await.unwrap().status();
    assert_eq!(heard, 422, "a core is heard there, and told that {{}} is no question");
    // Orders are handed over within a region alone.
    for (name, status) in [("pop.pop-1", 403), ("core.us", 403), ("core.eu", 422)] {
        let told = ask(&pool("eu", name).await, Method::POST, "/internal/orders/admit").await.unwrap().status();
        assert_eq!(told, status, "{name}");
    }
}

#[tokio::test]
async fn a_certificate_of_another_authority_is_refused_by_core_and_pop_side_alike() {
    let folder = tests::place::system("another-authority");
    std::fs::create_dir_all(&folder).unwrap();
    let (clock, entropy) = (Clock::system(), Entropy::system());
    let names = ["core.eu", "pop.pop-1"].map(str::to_owned);
    Keys { folder: &folder, clock: &clock, entropy: &entropy }.certificates(&names).unwrap();
    let ours = &sites().tls;
    // A stranger who trusts us, and one of ours who was told to trust the stranger.
    for (ca, name, own) in [(ours, "pop.pop-1", &folder), (ours, "core.eu", &folder), (&folder, "pop.pop-1", ours)] {
        let files = TlsFiles {
            ca: ca.join("ca.pem"),
            certificate: own.join(format!("{name}.pem")),
            key: own.join(format!("{name}.key")),
        };
        let tls: Arc<Tls> = Tls::load(files).unwrap();
        let region: RegionName = "eu".parse().unwrap();
        let pool = Pool::new(region, &sites().quic("eu"), tls, PoolOptions::default()).unwrap();
        let refused = ask(&pool, Method::GET, "/v1/categories").await.unwrap_err();
        assert!(matches!(refused, LinkError::Unauthenticated { .. } | LinkError::Unreachable { .. }), "{refused}");
        assert!(!pool.is_connected());
    }
}

/// A QUIC client that trusts this store's authority and has nothing to show for itself.
fn nobody() -> quinn::Endpoint {
    let authority = CertificateDer::from_pem_file(sites().tls.join("ca.pem")).unwrap();
    let mut roots = rustls::RootCertStore::empty();
    roots.add(authority).unwrap();
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config =
        rustls::ClientConfig::builder_with_provider(provider).with_protocol_versions(&[&rustls::version::TLS13]);
    let mut config = config.unwrap().with_root_certificates(roots).with_no_client_auth();
    config.alpn_protocols = vec![shared_link::ALPN.to_vec()];
    let config = QuicClientConfig::try_from(config).unwrap();
    let mut endpoint = quinn::Endpoint::client("127.0.0.1:0".parse().unwrap()).unwrap();
    endpoint.set_default_client_config(quinn::ClientConfig::new(Arc::new(config)));
    endpoint
}

#[tokio::test]
async fn without_a_certificate_nobody_gets_as_far_as_a_route() {
    for (region, quic, _) in &sites().cores {
        let connecting = nobody().connect(quic.parse().unwrap(), &format!("core.{region}")).unwrap();
        // In TLS 1.3 a client may believe itself connected until the server has missed its certificate.
        let ended = async {
            match connecting.await {
                Ok(connection) => connection.closed().await,
                Err(error) => error,
            }
        };
        let ended = tokio::time::timeout(PATIENCE, ended).await.expect("the core ends the connection by itself");
        assert!(ended.to_string().contains("certificate"), "{ended}");
    }
}

#[tokio::test]
async fn a_core_of_the_wrong_region_is_not_taken_for_the_right_one() {
    let tls = &sites().tls;
    let files =
        TlsFiles { ca: tls.join("ca.pem"), certificate: tls.join("pop.pop-1.pem"), key: tls.join("pop.pop-1.key") };
    let region: RegionName = "us".parse().unwrap();
    let pool = Pool::new(region, &sites().quic("eu"), Tls::load(files).unwrap(), PoolOptions::default()).unwrap();
    let refused = ask(&pool, Method::GET, "/v1/categories").await.unwrap_err();
    assert!(matches!(refused, LinkError::Unauthenticated { .. } | LinkError::Unreachable { .. }), "{refused}");
}

#[tokio::test]
async fn the_plain_listener_of_a_core_offers_operations_alone() {
    for (_, _, ops) in &sites().cores {
        let client = Client::new(ops);
        let ask = async |method: Method, path: &str| try_send(client.request(method, path)).await.unwrap().status;
        for path in ["/ops/health", "/ops/ready", "/ops/metrics"] {
            assert_eq!(ask(Method::GET, path).await, 200, "{path}");
        }
        for path in ["/v1/categories", "/v1/cart", "/v1/orders", internal_route(), "/internal", "/"] {
            for method in [Method::GET, Method::POST] {
                assert_eq!(ask(method.clone(), path).await, 404, "{method} {path}");
            }
        }
    }
}

/// A request to the PoP's listener for Workers, signed with that key at that moment, if at all.
async fn uplink(path: &str, signature: Option<(&str, u64)>) -> Answer {
    let client = Client::new(&sites().addresses.uplink);
    let mut request = client.request(Method::GET, path);
    if let Some((key, timestamp)) = signature {
        let client_address = "203.0.113.9".parse().unwrap();
        let signed = Signed { method: "GET", path_and_query: path, body: b"", timestamp, client_address };
        request = request
            .header(TIMESTAMP, timestamp.to_string())
            .header(CLIENT_ADDRESS, client_address.to_string())
            .header(SIGNATURE, UplinkKey::parse(key).unwrap().sign(&signed));
    }
    try_send(request).await.unwrap()
}

#[tokio::test]
async fn the_uplink_listens_to_workers_alone() {
    let (key, now) = (sites().addresses.uplink_key.as_str(), Clock::system().unix_seconds());
    assert_eq!(uplink("/v1/categories", Some((key, now))).await.status, 200);
    let (id, _) = key.split_once(':').unwrap();
    let (other, unknown) = (format!("{id}:{}", "ab".repeat(32)), format!("nobody:{}", "ab".repeat(32)));
    for signature in
        [None, Some((other.as_str(), now)), Some((unknown.as_str(), now)), Some((key, now - 60)), Some((key, now + 60))]
    {
        let refused = uplink("/v1/categories", signature).await;
        // Not 401: to a shopper behind the Worker that would say that he is not signed in.
        assert_eq!(refused.status, 502, "{signature:?}: {}", refused.text());
        assert!(refused.problem().is(ProblemKind::UplinkRefused), "{signature:?}");
    }
    for path in ["/", "/cart", "/p/test-plenty-0", "/ops/metrics", internal_route()] {
        assert_eq!(uplink(path, Some((key, now))).await.status, 404, "{path} at the uplink");
    }
}
