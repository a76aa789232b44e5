//! Who may speak to whom.

use std::sync::Arc;
use std::time::Duration;

use axum::routing::get as route;
use axum::{Router, middleware};
use http::StatusCode;
use quinn::crypto::rustls::QuicClientConfig;
use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, PrivateKeyDer};
use shared_link::peer::only_cores;
use shared_link::{LinkError, Peer, PeerName, PoolOptions, Tls, TlsError, TlsFiles};
use tokio_util::sync::CancellationToken;

use crate::support::{Authority, Life, PATIENT, get, pool, send, serve};

fn hello() -> Router {
    Router::new().route("/", route(|| async { "hello" }))
}

/// What a client with `client`'s certificates meets at a server with `server`'s.
async fn meet(server: TlsFiles, client: TlsFiles) -> Result<StatusCode, LinkError> {
    let core = serve(Tls::load(server).unwrap(), hello());
    let pool = pool(Tls::load(client).unwrap(), &[&core.address], PoolOptions::default());
    send(&pool, get("/")).await.map(|answer| answer.status())
}

fn assert_unauthenticated(outcome: Result<StatusCode, LinkError>) {
    assert!(matches!(outcome, Err(LinkError::Unauthenticated { .. })), "{outcome:?}");
}

#[tokio::test]
async fn a_core_and_a_pop_of_one_authority_understand_each_other() {
    let ours = Authority::new();
    assert_eq!(meet(ours.files("core.eu"), ours.files("pop.p1")).await, Ok(StatusCode::OK));
    assert_eq!(meet(ours.files("core.eu"), ours.files("core.us")).await, Ok(StatusCode::OK));
}

#[tokio::test]
async fn a_core_refuses_a_client_of_another_authority() {
    let (ours, theirs) = (Authority::new(), Authority::new());
    let stranger = theirs.files_with("stranger", &ours.pem, theirs.issue(&["pop.p1"], Life::Valid));
    assert_unauthenticated(meet(ours.files("core.eu"), stranger).await);
}

#[tokio::test]
async fn a_core_refuses_an_expired_client() {
    let ours = Authority::new();
    let late = ours.files_with("late", &ours.pem, ours.issue(&["pop.p1"], Life::Expired));
    assert_unauthenticated(meet(ours.files("core.eu"), late).await);
}

#[tokio::test]
async fn a_core_refuses_a_client_that_shows_a_name_of_no_peer() {
    let ours = Authority::new();
    for names in [&["www.example"][..], &["pop.p1", "core.eu"], &["core.eu.evil"]] {
        let (outcome, _) = raw_meeting(&ours, Some(ours.issue(names, Life::Valid))).await;
        assert!(outcome.contains("cryptographic handshake failed"), "{names:?}: {outcome}");
    }
}

#[tokio::test]
async fn a_core_refuses_a_client_without_a_certificate() {
    let ours = Authority::new();
    let (outcome, config) = raw_meeting(&ours, None).await;
    // TLS alert 116, certificate_required (RFC 8446 section 6.2).
    assert!(outcome.contains("116") || outcome.contains("certificate required"), "{outcome}");
    assert!(!config.enable_early_data);
}

/// How a connection with that client certificate ends at a core, as the client sees it.
async fn raw_meeting(ours: &Authority, identity: Option<(String, String)>) -> (String, rustls::ClientConfig) {
    let core = serve(ours.tls("core.eu"), hello());
    let config = raw_config(ours, identity);
    let endpoint = quinn::Endpoint::client("127.0.0.1:0".parse().unwrap()).unwrap();
    let crypto = QuicClientConfig::try_from(config.clone()).unwrap();
    let quic = quinn::ClientConfig::new(Arc::new(crypto));
    let connecting = endpoint.connect_with(quic, core.address.parse().unwrap(), "core.eu").unwrap();
    let ended = match connecting.await {
        // The client believes in the connection until the server has looked at its certificate.
        Ok(connection) => tokio::time::timeout(PATIENT, connection.closed()).await.expect("the core refuses"),
        Err(error) => error,
    };
    (format!("{ended:?} {ended}"), config)
}

pub(crate) fn raw_config(ours: &Authority, identity: Option<(String, String)>) -> rustls::ClientConfig {
    let mut roots = rustls::RootCertStore::empty();
    roots.add(CertificateDer::from_pem_slice(ours.pem.as_bytes()).unwrap()).unwrap();
    let builder = rustls::ClientConfig::builder_with_provider(Arc::new(rustls::crypto::ring::default_provider()))
        .with_protocol_versions(&[&rustls::version::TLS13])
        .unwrap()
        .with_root_certificates(roots);
    let mut config = match identity {
        Some((certificate, key)) => {
            let chain = vec![CertificateDer::from_pem_slice(certificate.as_bytes()).unwrap()];
            builder.with_client_auth_cert(chain, PrivateKeyDer::from_pem_slice(key.as_bytes()).unwrap()).unwrap()
        }
        None => builder.with_no_client_auth(),
    };
    config.alpn_protocols = vec![shared_link::ALPN.to_vec()];
    config
}

#[tokio::test]
async fn a_client_refuses_a_core_of_another_authority() {
    let (ours, theirs) = (Authority::new(), Authority::new());
    let impostor = theirs.files_with("impostor", &ours.pem, theirs.issue(&["core.eu"], Life::Valid));
    assert_unauthenticated(meet(impostor, ours.files("pop.p1")).await);
}

#[tokio::test]
async fn a_client_refuses_an_expired_core() {
    let ours = Authority::new();
    let late = ours.files_with("late", &ours.pem, ours.issue(&["core.eu"], Life::Expired));
    assert_unauthenticated(meet(late, ours.files("pop.p1")).await);
}

#[tokio::test]
async fn a_client_refuses_a_core_of_another_region_and_a_pop_in_a_cores_place() {
    let ours = Authority::new();
    assert_unauthenticated(meet(ours.files("core.us"), ours.files("pop.p1")).await);
    assert_unauthenticated(meet(ours.files("pop.p2"), ours.files("pop.p1")).await);
}

#[tokio::test]
async fn a_process_does_not_start_with_a_certificate_that_names_no_peer() {
    let ours = Authority::new();
    for names in [&["localhost"][..], &["core.eu", "core.us"], &[]] {
        let files = ours.files_with("odd", &ours.pem, ours.issue(names, Life::Valid));
        assert!(matches!(Tls::load(files), Err(TlsError::Name { .. })), "{names:?} was taken");
    }
    let missing = TlsFiles { key: "/nonexistent/key".into(), ..ours.files("core.eu") };
    let error = Tls::load(missing).err().unwrap().to_string();
    assert!(error.contains("/nonexistent/key"), "{error}");
}

#[tokio::test]
async fn handlers_know_who_asks_and_some_answer_only_cores() {
    let ours = Authority::new();
    let who = |peer: Peer| async move { peer.name.to_string() };
    let internal = Router::new().route("/internal", route(|| async { "in" })).layer(middleware::from_fn(only_cores));
    let router = Router::new().route("/who", route(who)).merge(internal);
    let core = serve(ours.tls("core.eu"), router);

    let pop = pool(ours.tls("pop.p1"), &[&core.address], PoolOptions::default());
    assert_eq!(send(&pop, get("/who")).await.unwrap().body(), "pop.p1");
    assert_eq!(send(&pop, get("/internal")).await.unwrap().status(), StatusCode::FORBIDDEN);

    let other = pool(ours.tls("core.us"), &[&core.address], PoolOptions::default());
    assert_eq!(send(&other, get("/internal")).await.unwrap().body(), "in");
}

#[tokio::test]
async fn early_data_is_never_taken() {
    let ours = Authority::new();
    let core = serve(ours.tls("core.eu"), hello());
    let mut eager = raw_config(&ours, Some(ours.issue(&["pop.p1"], Life::Valid)));
    eager.enable_early_data = true;
    let endpoint = quinn::Endpoint::client("127.0.0.1:0".parse().unwrap()).unwrap();
    let config = quinn::ClientConfig::new(Arc::new(QuicClientConfig::try_from(eager).unwrap()));
    let dial = || endpoint.connect_with(config.clone(), core.address.parse().unwrap(), "core.eu").unwrap();

    let first = dial().await.unwrap();
    // A stream of the server's proves that everything it sends with the handshake, tickets included, has had its chance.
    first.accept_uni().await.unwrap();
    first.close(0_u32.into(), b"");
    assert!(dial().into_0rtt().is_err(), "the client had keys to send early data with");
}

#[tokio::test]
async fn rotated_certificates_count_from_the_next_connection_on_and_disturb_none_that_stands() {
    let (old, new) = (Authority::new(), Authority::new());
    let both = format!("{}{}", old.pem, new.pem);
    let server_tls = Tls::load(old.files("core.eu")).unwrap();
    let core = serve(Arc::clone(&server_tls), hello());
    let standing = pool(old.tls("pop.p1"), &[&core.address], PoolOptions::default());
    assert_eq!(send(&standing, get("/")).await.unwrap().body(), "hello");

    // The newcomer's certificate is of the new authority: refused until the core trusts that, too.
    let newcomer = Tls::load(new.files_with("newcomer", &both, new.issue(&["pop.p2"], Life::Valid))).unwrap();
    let early = pool(Arc::clone(&newcomer), &[&core.address], PoolOptions::default());
    let refused = send(&early, get("/")).await;
    assert!(matches!(refused, Err(LinkError::Unauthenticated { .. })), "{refused:?}");

    old.files_with("core.eu", &both, old.issue(&["core.eu"], Life::Valid));
    server_tls.reload().unwrap();
    let late = pool(newcomer, &[&core.address], PoolOptions::default());
    assert_eq!(send(&late, get("/")).await.unwrap().body(), "hello");
    assert_eq!(send(&standing, get("/")).await.unwrap().body(), "hello");
}

#[tokio::test(flavor = "multi_thread")]
async fn rotation_under_load_fails_no_request() {
    let ours = Authority::new();
    let (core_tls, pop_tls) = (ours.tls("core.eu"), ours.tls("pop.p1"));
    let core = serve(Arc::clone(&core_tls), hello());
    let standing = pool(Arc::clone(&pop_tls), &[&core.address], PoolOptions::default());
    let done = CancellationToken::new();
    let load: Vec<_> = (0..8)
        .map(|_| {
            let (pool, done) = (standing.clone(), done.clone());
            tokio::spawn(async move {
                let mut answered = 0;
                while !done.is_cancelled() {
                    send(&pool, get("/")).await.unwrap();
                    answered += 1;
                }
                answered
            })
        })
        .collect();
    for _ in 0..10 {
        ours.files("core.eu");
        ours.files("pop.p1");
        core_tls.reload().unwrap();
        pop_tls.reload().unwrap();
        let fresh = pool(Arc::clone(&pop_tls), &[&core.address], PoolOptions::default());
        assert_eq!(send(&fresh, get("/")).await.unwrap().body(), "hello");
    }
    done.cancel();
    for task in load {
        assert!(task.await.unwrap() > 0);
    }
}

#[tokio::test]
async fn changed_files_are_noticed_and_broken_ones_ignored() {
    let ours = Authority::new();
    let files = ours.files("pop.p1");
    let tls = Tls::load(files.clone()).unwrap();
    let stop = CancellationToken::new();
    let watch = tokio::spawn(Arc::clone(&tls).reload_on_change(Duration::from_millis(10), stop.clone()));

    std::fs::write(&files.certificate, "half a cert").unwrap();
    assert!(tls.reload().is_err());
    assert_eq!(tls.name(), PeerName::Pop("p1".to_owned()));

    ours.files_with("pop.p1", &ours.pem, ours.issue(&["pop.p9"], Life::Valid));
    let mut looks = tokio::time::interval(Duration::from_millis(10));
    let noticed = async {
        while tls.name() != PeerName::Pop("p9".to_owned()) {
            looks.tick().await;
        }
    };
    tokio::time::timeout(PATIENT, noticed).await.expect("the change is noticed");
    stop.cancel();
    watch.await.unwrap();
}
