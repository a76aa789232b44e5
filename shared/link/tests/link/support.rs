//! A private CA, cores that are real servers, and pools that dial them.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use bytes::Bytes;
use http::{Request, Response};
use rcgen::{BasicConstraints, CertificateParams, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair};
use shared_link::{LinkError, Pool, PoolOptions, Server, ServerOptions, Tls, TlsFiles};
use tempfile::TempDir;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

/// Far longer than anything here takes; only a failing test meets it.
pub(crate) const PATIENT: Duration = Duration::from_secs(20);

pub(crate) struct Authority {
    pub(crate) pem: String,
    issuer: Issuer<'static, KeyPair>,
    directory: TempDir,
}

/// What a certificate says besides its names.
#[derive(Clone, Copy)]
pub(crate) enum Life {
    Valid,
    Expired,
}

impl Authority {
    pub(crate) fn new() -> Self {
        let mut params = CertificateParams::new(Vec::new()).unwrap();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let key = KeyPair::generate().unwrap();
        let pem = params.self_signed(&key).unwrap().pem();
        Self { pem, issuer: Issuer::new(params, key), directory: tempfile::tempdir().unwrap() }
    }

    /// Certificate and key as PEM.
    pub(crate) fn issue(&self, names: &[&str], life: Life) -> (String, String) {
        let names: Vec<String> = names.iter().map(|name| (*name).to_owned()).collect();
        let mut params = CertificateParams::new(names).unwrap();
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth, ExtendedKeyUsagePurpose::ClientAuth];
        params.not_before = rcgen::date_time_ymd(2020, 1, 1);
        params.not_after = match life {
            Life::Valid => rcgen::date_time_ymd(2120, 1, 1),
            Life::Expired => rcgen::date_time_ymd(2020, 1, 2),
        };
        let key = KeyPair::generate().unwrap();
        (params.signed_by(&key, &self.issuer).unwrap().pem(), key.serialize_pem())
    }

    /// Files for a process that trusts this CA and is called `name`.
    pub(crate) fn files(&self, name: &str) -> TlsFiles {
        self.files_with(name, &self.pem, self.issue(&[name], Life::Valid))
    }

    pub(crate) fn files_with(&self, stem: &str, ca: &str, (certificate, key): (String, String)) -> TlsFiles {
        let write = |suffix: &str, text: &str| -> PathBuf {
            let path = self.directory.path().join(format!("{stem}.{suffix}"));
            std::fs::write(&path, text).unwrap();
            path
        };
        TlsFiles { ca: write("ca.pem", ca), certificate: write("pem", &certificate), key: write("key", &key) }
    }

    pub(crate) fn tls(&self, name: &str) -> Arc<Tls> {
        Tls::load(self.files(name)).unwrap()
    }
}

pub(crate) struct Core {
    pub(crate) address: String,
    pub(crate) shutdown: CancellationToken,
    pub(crate) served: JoinHandle<()>,
}

pub(crate) fn loopback() -> SocketAddr {
    SocketAddr::from(([127, 0, 0, 1], 0))
}

pub(crate) fn serve(tls: Arc<Tls>, router: Router) -> Core {
    serve_with(tls, router, ServerOptions::default())
}

pub(crate) fn serve_with(tls: Arc<Tls>, router: Router, options: ServerOptions) -> Core {
    let server = Server::bind(loopback(), tls, options).unwrap();
    let address = server.local_addr().unwrap().to_string();
    let shutdown = CancellationToken::new();
    let served = tokio::spawn(server.serve(router, shutdown.clone()));
    Core { address, shutdown, served }
}

/// A pool for region `eu`.
pub(crate) fn pool(tls: Arc<Tls>, cores: &[&str], options: PoolOptions) -> Pool {
    let cores: Vec<String> = cores.iter().map(|core| (*core).to_owned()).collect();
    let patient = PoolOptions { patience: PATIENT, ..options };
    Pool::new("eu".parse().unwrap(), &cores, tls, patient).unwrap()
}

pub(crate) fn get(path: &str) -> Request<Bytes> {
    Request::get(path).body(Bytes::new()).unwrap()
}

pub(crate) fn post(path: &str, body: impl Into<Bytes>) -> Request<Bytes> {
    Request::post(path).header("content-type", "text/plain").body(body.into()).unwrap()
}

pub(crate) async fn send(pool: &Pool, request: Request<Bytes>) -> Result<Response<Bytes>, LinkError> {
    pool.send(request, PATIENT).await
}
