//! Mail servers that want TLS and a password.

use std::sync::Arc;

use rustls_pki_types::PrivateKeyDer;
use tokio_rustls::TlsAcceptor;

use crate::server::{Secured, Server};
use crate::shop::Shop;

/// A certificate for `localhost`, which is its own authority, as PEM; and who shows it.
fn certificate() -> (String, TlsAcceptor) {
    let own = rcgen::generate_simple_self_signed(vec!["localhost".to_owned()]).unwrap();
    let key = PrivateKeyDer::try_from(own.signing_key.serialize_der()).unwrap();
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = rustls::ServerConfig::builder_with_provider(provider).with_safe_default_protocol_versions().unwrap();
    let config = config.with_no_client_auth().with_single_cert(vec![own.cert.der().clone()], key).unwrap();
    (own.cert.pem(), TlsAcceptor::from(Arc::new(config)))
}

/// How many mails arrived, and how the one stands that was to be sent.
async fn sent(server: &Server, url: &str, authority: Option<&str>) -> (usize, String) {
    let url = url.replace("PORT", &server.address.port().to_string());
    let shop = Shop::open(&url, authority.map(str::as_bytes)).await;
    shop.confirmed(shop.order(Some("ada@example.org"))).await;
    shop.hear().await;
    shop.send().await;
    (server.taken().len(), shop.states().await.remove(0).1)
}

#[tokio::test]
async fn mail_goes_by_starttls_with_a_password() {
    let (authority, tls) = certificate();
    let server = Server::start(Secured::ByStartTls(tls)).await;
    let url = "smtp://ada:secret@localhost:PORT?tls=required";
    assert_eq!(sent(&server, url, Some(&authority)).await, (1, "sent".to_owned()));
}

#[tokio::test]
async fn mail_goes_by_tls_from_the_start() {
    let (authority, tls) = certificate();
    let server = Server::start(Secured::FromTheStart(tls)).await;
    let url = "smtps://ada:secret@localhost:PORT";
    assert_eq!(sent(&server, url, Some(&authority)).await, (1, "sent".to_owned()));
}

#[tokio::test]
async fn a_stranger_s_certificate_and_a_server_without_tls_get_nothing() {
    let (_, tls) = certificate();
    let (other, _) = certificate();
    let strange = Server::start(Secured::FromTheStart(tls)).await;
    let failed = (0, "failed".to_owned());
    assert_eq!(sent(&strange, "smtps://ada:secret@localhost:PORT", Some(&other)).await, failed);
    let plain = Server::start(Secured::Never).await;
    assert_eq!(sent(&plain, "smtp://ada:secret@localhost:PORT?tls=required", Some(&other)).await, failed);
}

#[tokio::test]
async fn a_wrong_password_is_not_the_shopper_s_fault() {
    let (authority, tls) = certificate();
    let server = Server::start(Secured::FromTheStart(tls)).await;
    let failed = (0, "failed".to_owned());
    assert_eq!(sent(&server, "smtps://ada:guess@localhost:PORT", Some(&authority)).await, failed);
}
