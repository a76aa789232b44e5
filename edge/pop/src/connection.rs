//! One TCP connection: HTTP/1.1 or HTTP/2, for as long as it is used.
//!
//! hyper bounds a head that trickles in. It bounds neither the wait for the first bytes, which tell the protocol, nor an
//! HTTP/2 peer that answers pings and asks nothing; so here a connection without a request under way is ended.

use std::net::SocketAddr;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::body::{Body, HttpBody};
use http::Response;
use http_body_util::BodyExt;
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::conn::auto::Builder;
use tokio::net::TcpStream;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;
use tower::ServiceExt;

use crate::listener::Bounds;
use crate::streams;

/// Time between signs of life of an HTTP/2 peer.
const KEEP_ALIVE: Duration = Duration::from_secs(15);
/// Time that bytes may wait for the peer to take them.
#[cfg(target_os = "linux")]
const UNTAKEN: Duration = Duration::from_secs(30);
/// Longest head, in bytes.
const MAX_HEAD_BYTES: u16 = 32 * 1024;
const MAX_HEADERS: usize = 100;
/// Requests at once of one HTTP/2 connection.
const MAX_STREAMS: u32 = 128;

/// Where a connection comes from. In every request's extensions.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Remote(pub(crate) SocketAddr);

/// Serves `router` on one connection until it ends, lies unused, or `shutdown`; requests under way are finished.
pub(crate) async fn serve(
    (stream, remote): (TcpStream, SocketAddr),
    router: Router,
    bounds: Bounds,
    shutdown: CancellationToken,
) {
    if let Err(error) = tune(&stream) {
        tracing::debug!(%error, "a connection was gone before it began");
        return;
    }
    let under_way = Arc::new(watch::Sender::new(0));
    let unused = unused(under_way.subscribe(), bounds);
    let service = service_fn(move |request: http::Request<Incoming>| {
        let mut request = request.map(Body::new);
        request.extensions_mut().insert(Remote(remote));
        let (begun, answer) = (UnderWay::begin(&under_way), router.clone().oneshot(request));
        async move { answer.await.map(|answer| begun.until_told(answer)) }
    });
    let builder = builder(bounds);
    let mut served = pin!(builder.serve_connection(TokioIo::new(stream), service));
    let outcome = tokio::select! {
        outcome = served.as_mut() => Ok(outcome),
        () = shutdown.cancelled() => Err("shutdown"),
        () = unused => Err("unused"),
    };
    let outcome = match outcome {
        Ok(outcome) => outcome,
        Err(reason) => {
            tracing::debug!(reason, "a connection is taken down");
            served.as_mut().graceful_shutdown();
            // An answer may still be on its way out, and a peer may refuse to take it.
            tokio::time::timeout(bounds.idle, served).await.unwrap_or_else(|late| Err(late.into()))
        }
    };
    if let Err(error) = outcome {
        tracing::debug!(error, "a connection ended");
    }
}

/// Returns once the connection has had no request for too long.
async fn unused(mut under_way: watch::Receiver<usize>, bounds: Bounds) {
    let mut patience = bounds.head;
    while under_way.wait_for(|requests| *requests == 0).await.is_ok() {
        match tokio::time::timeout(patience, under_way.changed()).await {
            Ok(Ok(())) => patience = bounds.idle,
            // Out of patience; or the service is gone, and the connection with it.
            Err(_) | Ok(Err(_)) => return,
        }
    }
}

/// Counts a request until it is answered; one whose answer goes on, until that has ended or had all its time.
struct UnderWay(Arc<watch::Sender<usize>>);

impl UnderWay {
    fn begin(count: &Arc<watch::Sender<usize>>) -> Self {
        count.send_modify(|requests| *requests += 1);
        Self(Arc::clone(count))
    }

    fn until_told(self, answer: Response<Body>) -> Response<Body> {
        if answer.body().size_hint().exact().is_some() {
            return answer;
        }
        let ended = CancellationToken::new();
        let ends = ended.clone().drop_guard();
        tokio::spawn(async move {
            let _counted = self;
            // Either way it counts no longer: the peer may never take what would end it.
            let _ = tokio::time::timeout(streams::LONGEST, ended.cancelled()).await;
        });
        answer.map(|body| {
            Body::new(body.map_frame(move |frame| {
                let _dropped_with_the_body = &ends;
                frame
            }))
        })
    }
}

impl Drop for UnderWay {
    fn drop(&mut self) {
        self.0.send_modify(|requests| *requests -= 1);
    }
}

fn builder(bounds: Bounds) -> Builder<TokioExecutor> {
    let mut builder = Builder::new(TokioExecutor::new());
    builder
        .http1()
        .timer(TokioTimer::new())
        .header_read_timeout(bounds.head)
        .max_headers(MAX_HEADERS)
        .max_buf_size(usize::from(MAX_HEAD_BYTES));
    builder
        .http2()
        .timer(TokioTimer::new())
        .keep_alive_interval(KEEP_ALIVE)
        .keep_alive_timeout(KEEP_ALIVE)
        .max_concurrent_streams(MAX_STREAMS)
        .max_header_list_size(u32::from(MAX_HEAD_BYTES));
    builder
}

/// No waiting for more to send, and no waiting for a peer that takes nothing: the timeout also ends a connection whose
/// window stays shut.
fn tune(stream: &TcpStream) -> std::io::Result<()> {
    stream.set_nodelay(true)?;
    #[cfg(target_os = "linux")]
    socket2::SockRef::from(stream).set_tcp_user_timeout(Some(UNTAKEN))?;
    Ok(())
}
