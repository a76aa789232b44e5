//! Mutual TLS 1.3 under one private CA, with certificates that change without a restart.
//!
//! Sessions are never resumed and 0-RTT is off on both ends: every connection shows and checks both certificates, so a
//! rotated CA or an expired certificate takes effect at the next connection, and nothing can be replayed.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use quinn::crypto::rustls::{QuicClientConfig, QuicServerConfig};
use rustls::client::Resumption;
use rustls::client::danger::ServerCertVerifier;
use rustls::crypto::CryptoProvider;
use rustls::server::danger::ClientCertVerifier;
use rustls::server::{NoServerSessionStorage, WebPkiClientVerifier};
use rustls::{RootCertStore, client::WebPkiServerVerifier};
use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, PrivateKeyDer};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use crate::ALPN;
use crate::peer::{NotAPeer, PeerName};

mod verify;

/// Where the PEM files are.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct TlsFiles {
    /// The private CA, one certificate or two while it is being replaced.
    pub ca: PathBuf,
    /// Our certificate, and intermediates after it.
    pub certificate: PathBuf,
    /// Our private key.
    pub key: PathBuf,
}

/// Why certificates could not be loaded.
#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    /// A file is missing or not PEM.
    #[error("{path}: {reason}")]
    File {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        reason: String,
    },
    /// Our own certificate names no peer.
    #[error("{path}: {reason}")]
    Name {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        reason: NotAPeer,
    },
    /// The files do not go together, or rustls does not take them.
    #[error("certificate and key cannot be used: {0}")]
    Rustls(#[from] rustls::Error),
    /// The CA file holds nothing that certificates can be checked against.
    #[error("the CA cannot be used: {0}")]
    Ca(#[from] rustls::server::VerifierBuilderError),
    /// The cryptography lacks QUIC's initial cipher suite.
    #[error("no AES-128-GCM-SHA256 for QUIC's initial packets")]
    NoInitialCipherSuite(#[from] quinn::crypto::rustls::NoInitialCipherSuite),
}

/// The certificates of this process, for both ends, and their reload.
pub struct Tls {
    files: TlsFiles,
    current: watch::Sender<Configs>,
}

type Modified = [Option<SystemTime>; 3];

/// What was made from one reading of the files.
#[derive(Clone)]
pub(crate) struct Configs {
    name: PeerName,
    /// When the files were changed before they were read.
    modified: Modified,
    pub(crate) server: Arc<QuicServerConfig>,
    pub(crate) client: Arc<QuicClientConfig>,
}

impl Tls {
    /// Loads the files.
    ///
    /// # Errors
    /// Says which file is wrong and how.
    pub fn load(files: TlsFiles) -> Result<Arc<Self>, TlsError> {
        let (current, _) = watch::channel(Configs::read(&files)?);
        Ok(Arc::new(Self { files, current }))
    }

    /// Reads the files again. Connections made from now on use them; those that stand are not disturbed.
    ///
    /// # Errors
    /// As [`Tls::load`]; the certificates in use stay then.
    pub fn reload(&self) -> Result<(), TlsError> {
        let configs = Configs::read(&self.files)?;
        self.current.send_replace(configs);
        Ok(())
    }

    /// Who our own certificate says we are.
    #[must_use]
    pub fn name(&self) -> PeerName {
        self.current.borrow().name.clone()
    }

    /// Reloads whenever a file's modification time changes, looking every `period`, until `stop`.
    pub async fn reload_on_change(self: Arc<Self>, period: Duration, stop: CancellationToken) {
        let mut seen = self.current().modified;
        let mut ticks = tokio::time::interval(period);
        while stop.run_until_cancelled(ticks.tick()).await.is_some() {
            let modified = modified(&self.files);
            if modified == seen {
                continue;
            }
            match self.reload() {
                Ok(()) => tracing::info!(peer.name = %self.name(), "certificates reloaded"),
                // Half-written files settle by the next tick, which sees a newer time.
                Err(error) => tracing::warn!(%error, "changed certificates cannot be used; the old ones stay"),
            }
            seen = modified;
        }
    }

    pub(crate) fn current(&self) -> Configs {
        self.current.borrow().clone()
    }

    pub(crate) fn subscribe(&self) -> watch::Receiver<Configs> {
        self.current.subscribe()
    }
}

impl Configs {
    fn read(files: &TlsFiles) -> Result<Self, TlsError> {
        let modified = modified(files);
        let chain = certificates(&files.certificate)?;
        let key = PrivateKeyDer::from_pem_file(&files.key).map_err(|reason| file_error(&files.key, &reason))?;
        let named = |reason| TlsError::Name { path: files.certificate.clone(), reason };
        let name = PeerName::in_certificate(&chain[0]).map_err(named)?;
        let mut roots = RootCertStore::empty();
        for certificate in certificates(&files.ca)? {
            roots.add(certificate).map_err(|reason| file_error(&files.ca, &reason))?;
        }
        Self::build(name, modified, &Arc::new(roots), chain, key)
    }

    fn build(
        name: PeerName,
        modified: Modified,
        roots: &Arc<RootCertStore>,
        chain: Vec<CertificateDer<'static>>,
        key: PrivateKeyDer<'static>,
    ) -> Result<Self, TlsError> {
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let server = server_config(&provider, roots, chain.clone(), key.clone_key())?;
        let client = client_config(&provider, roots, chain, key)?;
        Ok(Self {
            name,
            modified,
            server: Arc::new(QuicServerConfig::try_from(server)?),
            client: Arc::new(QuicClientConfig::try_from(client)?),
        })
    }
}

fn server_config(
    provider: &Arc<CryptoProvider>,
    roots: &Arc<RootCertStore>,
    chain: Vec<CertificateDer<'static>>,
    key: PrivateKeyDer<'static>,
) -> Result<rustls::ServerConfig, TlsError> {
    let inner = WebPkiClientVerifier::builder_with_provider(Arc::clone(roots), Arc::clone(provider)).build()?;
    let verifier: Arc<dyn ClientCertVerifier> = Arc::new(verify::Named(inner));
    let mut config = rustls::ServerConfig::builder_with_provider(Arc::clone(provider))
        .with_protocol_versions(&[&rustls::version::TLS13])?
        .with_client_cert_verifier(verifier)
        .with_single_cert(chain, key)?;
    config.alpn_protocols = vec![ALPN.to_vec()];
    config.max_early_data_size = 0;
    config.send_tls13_tickets = 0;
    config.session_storage = Arc::new(NoServerSessionStorage {});
    Ok(config)
}

fn client_config(
    provider: &Arc<CryptoProvider>,
    roots: &Arc<RootCertStore>,
    chain: Vec<CertificateDer<'static>>,
    key: PrivateKeyDer<'static>,
) -> Result<rustls::ClientConfig, TlsError> {
    let inner = WebPkiServerVerifier::builder_with_provider(Arc::clone(roots), Arc::clone(provider)).build()?;
    let verifier: Arc<dyn ServerCertVerifier> = Arc::new(verify::Named(inner));
    let mut config = rustls::ClientConfig::builder_with_provider(Arc::clone(provider))
        .with_protocol_versions(&[&rustls::version::TLS13])?
        .dangerous()
        .with_custom_certificate_verifier(verifier)
        .with_client_auth_cert(chain, key)?;
    config.alpn_protocols = vec![ALPN.to_vec()];
    config.enable_early_data = false;
    config.resumption = Resumption::disabled();
    Ok(config)
}

fn modified(TlsFiles { ca, certificate, key }: &TlsFiles) -> Modified {
    [ca, certificate, key].map(|path| std::fs::metadata(path).and_then(|file| file.modified()).ok())
}

fn certificates(path: &Path) -> Result<Vec<CertificateDer<'static>>, TlsError> {
    let read = CertificateDer::pem_file_iter(path).and_then(Iterator::collect::<Result<Vec<_>, _>>);
    match read {
        Ok(found) if found.is_empty() => Err(file_error(path, &"no certificate in it")),
        Ok(found) => Ok(found),
        Err(reason) => Err(file_error(path, &reason)),
    }
}

fn file_error(path: &Path, reason: &dyn std::fmt::Display) -> TlsError {
    TlsError::File { path: path.to_owned(), reason: reason.to_string() }
}
