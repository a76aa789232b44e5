//! TCP listeners with bounds.
//!
//! HTTP/1.1 and HTTP/2 without TLS. How many connections there are, of all and of one address block, is bounded here;
//! what one connection may do, in `connection`; what one request may, in [`crate::guard`].

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::connection;
use crate::crowd::Crowd;

/// Bounds of a listener.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Bounds {
    /// Connections at once; more wait in the system's queue.
    pub connections: usize,
    /// Time for a connection's first request to begin, for a request's head, and for a kept-alive HTTP/1.1 connection to
    /// begin its next.
    pub head: Duration,
    /// Time that a connection is kept without a request, and then once more for answers that are still on their way out.
    pub idle: Duration,
}

impl Default for Bounds {
    fn default() -> Self {
        Self { connections: 10_000, head: Duration::from_secs(15), idle: Duration::from_secs(60) }
    }
}

/// Time that requests have to finish once draining.
const DRAIN: Duration = Duration::from_secs(20);
/// A pause after the system refused a connection, most likely for want of file descriptors.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);

/// Serves `router` on `socket` until `shutdown`, then lets requests finish and returns.
pub async fn serve(socket: TcpListener, router: Router, bounds: Bounds, crowd: Crowd, shutdown: CancellationToken) {
    let permits = Arc::new(Semaphore::new(bounds.connections));
    let connections = TaskTracker::new();
    let accept_all = async {
        // The semaphore is never closed.
        while let Ok(permit) = Arc::clone(&permits).acquire_owned().await {
            let stream = accept(&socket).await;
            let Some(place) = crowd.enter(stream.1.ip()) else {
                metrics::counter!("pop_crowded_total").increment(1);
                continue;
            };
            let connection = connection::serve(stream, router.clone(), bounds, shutdown.clone());
            connections.spawn(async move {
                connection.await;
                drop((place, permit));
            });
        }
    };
    shutdown.run_until_cancelled(accept_all).await;
    drop(socket);
    connections.close();
    if tokio::time::timeout(DRAIN, connections.wait()).await.is_err() {
        tracing::warn!("requests did not finish while draining");
    }
}

async fn accept(socket: &TcpListener) -> (TcpStream, SocketAddr) {
    loop {
        match socket.accept().await {
            Ok(stream) => return stream,
            Err(error) => {
                tracing::warn!(%error, "a connection was not accepted");
                tokio::time::sleep(ACCEPT_PAUSE).await;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use axum::routing::get;
    use futures_util::StreamExt;
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::task::JoinHandle;

    use super::*;

    /// Far longer than anything here takes; only a failing test meets it.
    const PATIENT: Duration = Duration::from_secs(20);
    const QUICK: Duration = Duration::from_millis(100);
    /// An empty SETTINGS frame after the preface: all that makes an HTTP/2 connection.
    const HTTP2: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0";

    /// Says one word, and then nothing for longer than a connection is kept unused.
    async fn slowly() -> axum::body::Body {
        let words = |said: bool| async move {
            tokio::time::sleep(if said { QUICK * 5 } else { Duration::ZERO }).await;
            Some((Ok::<_, std::convert::Infallible>(if said { "later" } else { "now, " }), true))
        };
        axum::body::Body::from_stream(futures_util::stream::unfold(false, words).take(2))
    }

    struct Served {
        address: SocketAddr,
        stop: CancellationToken,
        serving: JoinHandle<()>,
    }

    impl Served {
        async fn start(bounds: Bounds, crowd: Crowd) -> Self {
            let socket = TcpListener::bind("127.0.0.1:0").await.unwrap();
            let address = socket.local_addr().unwrap();
            let stop = CancellationToken::new();
            let router = Router::new().route("/", get(|| async { "hello" })).route("/slowly", get(slowly));
            let serving = tokio::spawn(serve(socket, router, bounds, crowd, stop.clone()));
            Self { address, stop, serving }
        }

        async fn connect(&self, bytes: &[u8]) -> TcpStream {
            let mut client = TcpStream::connect(self.address).await.unwrap();
            client.write_all(bytes).await.unwrap();
            client
        }

        async fn stop(self) {
            self.stop.cancel();
            self.serving.await.unwrap();
        }
    }

    /// Everything until the listener closes.
    async fn rest(mut client: TcpStream) -> Vec<u8> {
        let mut rest = Vec::new();
        let closed = tokio::time::timeout(PATIENT, client.read_to_end(&mut rest));
        // A reset is an end, too.
        let _ = closed.await.expect("the listener closes");
        rest
    }

    fn anyone() -> Crowd {
        Crowd::new(usize::MAX, Vec::new())
    }

    #[tokio::test]
    async fn a_connection_that_asks_nothing_is_ended_whatever_it_began_with() {
        let bounds = Bounds { head: QUICK, idle: QUICK, ..Bounds::default() };
        let listener = Served::start(bounds, anyone()).await;
        for beginning in [&b""[..], b"P", b"PRI ", b"PRI * HTTP/2.0\r\n\r\nSM", HTTP2, b"GET / HTTP/1.1\r\nHost: x\r\n"]
        {
            rest(listener.connect(beginning).await).await;
        }
        listener.stop().await;
    }

    #[tokio::test]
    async fn an_answer_that_goes_on_is_not_cut_off_as_unused() {
        let bounds = Bounds { head: QUICK, idle: QUICK, ..Bounds::default() };
        let listener = Served::start(bounds, anyone()).await;
        let answer =
            rest(listener.connect(b"GET /slowly HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n").await).await;
        let answer = String::from_utf8_lossy(&answer);
        assert!(answer.contains("now, ") && answer.contains("later"), "{answer}");
        listener.stop().await;
    }

    #[tokio::test]
    async fn silent_connections_do_not_keep_others_out() {
        let bounds = Bounds { connections: 2, head: QUICK, ..Bounds::default() };
        let listener = Served::start(bounds, anyone()).await;
        let _silent = (listener.connect(b"").await, listener.connect(b"PRI ").await);
        let asking = listener.connect(b"GET / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n").await;
        assert!(rest(asking).await.starts_with(b"HTTP/1.1 200"));
        listener.stop().await;
    }

    #[tokio::test]
    async fn a_block_with_its_share_of_connections_gets_no_more() {
        let listener = Served::start(Bounds::default(), Crowd::new(1, Vec::new())).await;
        let ask = b"GET / HTTP/1.1\r\nHost: x\r\n\r\n";
        let mut first = listener.connect(ask).await;
        first.read_exact(&mut [0; 12]).await.unwrap();
        let mut second = TcpStream::connect(listener.address).await.unwrap();
        // It may be gone before it has asked.
        let _ = second.write_all(ask).await;
        assert_eq!(rest(second).await, b"");
        listener.stop().await;
    }
}
