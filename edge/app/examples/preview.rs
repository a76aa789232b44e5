//! The shop's pages on a small pretend core, for looking at: `cargo run -p edge-app --example preview`, then
//! <http://127.0.0.1:8088>. Nothing else needs to run; nothing is kept.

#![expect(clippy::unwrap_used, clippy::disallowed_methods, reason = "a designer's tool, not a part of the product")]

#[path = "../tests/support/fake.rs"]
mod fake;

use std::net::SocketAddr;
use std::sync::atomic::Ordering;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use edge_app::ClientAddress;
use hyper_util::rt::{TokioExecutor, TokioIo};
use hyper_util::server::conn::auto;
use hyper_util::service::TowerToHyperService;
use tower::ServiceExt;

#[tokio::main]
async fn main() {
    let address: SocketAddr = std::env::args().nth(1).unwrap_or("127.0.0.1:8088".to_owned()).parse().unwrap();
    let platform = fake::Fake::new(fake::demo_products());
    let router = edge_app::router(platform.clone());
    tokio::spawn(keep_time(platform));
    let listener = tokio::net::TcpListener::bind(address).await.unwrap();
    eprintln!("http://{address}");
    loop {
        let (stream, peer) = listener.accept().await.unwrap();
        let router = router.clone().map_request(move |mut request: http::Request<hyper::body::Incoming>| {
            request.extensions_mut().insert(ClientAddress(peer.ip()));
            request.map(axum::body::Body::new)
        });
        tokio::spawn(async move {
            let service = TowerToHyperService::new(router);
            // A browser that goes away is no news.
            drop(auto::Builder::new(TokioExecutor::new()).serve_connection(TokioIo::new(stream), service).await);
        });
    }
}

/// The real time, and the work that answers left behind.
async fn keep_time(platform: fake::Fake) {
    let mut tick = tokio::time::interval(Duration::from_millis(100));
    loop {
        tick.tick().await;
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_millis();
        platform.inner().now_ms.store(u64::try_from(now).unwrap(), Ordering::SeqCst);
        platform.run_deferred().await;
    }
}
