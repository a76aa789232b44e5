//! TCP listeners with bounds, and the guard that every request passes before a route sees it.
//!
//! HTTP/1.1 and HTTP/2 without TLS. Slow heads, large heads, many streams and many connections are bounded here; bodies
//! are bounded where they are read, and the deadline of a request includes its body.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::extract::{Request, State};
use axum::middleware::{self, Next};
use axum::response::{IntoResponse, Response};
use edge_app::ClientAddress;
use http::header::TRANSFER_ENCODING;
use http::{HeaderMap, Method};
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::conn::auto::Builder;
use hyper_util::server::graceful::{GracefulShutdown, Watcher};
use shared::{Problem, ProblemKind};
use shared_clock::Entropy;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tower::ServiceExt;
use tower_http::catch_panic::CatchPanicLayer;

use crate::headers;
use crate::limits::Limiter;

/// Time between signs of life of an HTTP/2 peer.
const KEEP_ALIVE: Duration = Duration::from_secs(15);
/// Time that bytes may wait for the peer to take them.
#[cfg(target_os = "linux")]
const UNTAKEN: Duration = Duration::from_secs(30);
/// Time for a whole request: its body, the longest hold of an answer, and the answer's head.
const REQUEST: Duration = Duration::from_secs(50);
/// Bounds of a listener.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Bounds {
    /// Connections at once; more wait in the system's queue.
    pub connections: usize,
    /// Time for a request's head, and for a kept-alive connection to begin its next.
    pub head: Duration,
}

impl Default for Bounds {
    fn default() -> Self {
        Self { connections: 10_000, head: Duration::from_secs(15) }
    }
}

/// Time that requests have to finish once draining.
const DRAIN: Duration = Duration::from_secs(20);
/// A pause after the system refused a connection, most likely for want of file descriptors.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);
/// Longest head, in bytes.
const MAX_HEAD_BYTES: u16 = 32 * 1024;
const MAX_HEADERS: usize = 100;
/// Requests at once of one HTTP/2 connection.
const MAX_STREAMS: u32 = 128;

/// Where a connection comes from.
#[derive(Clone, Copy, Debug)]
struct Remote(SocketAddr);

/// What guards a listener.
#[derive(Clone)]
pub struct Guard {
    /// Its name in metrics.
    pub listener: &'static str,
    /// Limits by the socket's address. A listener that has them is for anyone: what requests claim is dropped.
    pub limiter: Option<Limiter>,
    /// For traces.
    pub entropy: Entropy,
}

/// `router` behind `guard`.
pub fn guarded(router: Router, guard: Guard) -> Router {
    let panicked = CatchPanicLayer::custom(|_: Box<dyn std::any::Any + Send>| {
        tracing::error!("a handler panicked");
        Problem::new(ProblemKind::Internal).into_response()
    });
    router.layer(panicked).layer(middleware::from_fn_with_state(guard, pass))
}

/// A limit's refusal.
pub(crate) fn slow_down(seconds: u32) -> Problem {
    metrics::counter!("pop_limited_total").increment(1);
    Problem::new(ProblemKind::SlowDown).retry_after(seconds)
}

async fn pass(State(guard): State<Guard>, request: Request, next: Next) -> Response {
    let began = Instant::now();
    let response = match admit(&guard, request) {
        Ok(request) => match tokio::time::timeout(REQUEST, next.run(request)).await {
            Ok(response) => response,
            Err(_) => Problem::new(ProblemKind::Timeout).into_response(),
        },
        Err(problem) => problem.into_response(),
    };
    let status = response.status().as_str().to_owned();
    metrics::counter!("pop_requests_total", "listener" => guard.listener, "status" => status).increment(1);
    metrics::histogram!("pop_request_seconds", "listener" => guard.listener).record(began.elapsed());
    response
}

fn admit(guard: &Guard, mut request: Request) -> Result<Request, Problem> {
    let address = request.extensions().get::<Remote>().map(|Remote(address)| address.ip().to_canonical());
    if matches!(*request.method(), Method::CONNECT | Method::TRACE) {
        return Err(Problem::new(ProblemKind::MethodNotAllowed));
    }
    if !is_framed_plainly(request.headers()) {
        return Err(Problem::new(ProblemKind::Malformed).detail("the only transfer coding is chunked"));
    }
    if let Some(limiter) = &guard.limiter {
        let address = address.unwrap_or(IpAddr::V4(std::net::Ipv4Addr::UNSPECIFIED));
        limiter.take(address).map_err(slow_down)?;
        headers::drop_claims(request.headers_mut());
        request.extensions_mut().insert(ClientAddress(address));
    }
    headers::ensure_trace(request.headers_mut(), &guard.entropy);
    Ok(request)
}

/// Whether nobody behind us could read the body's end differently (RFC 9112 section 6.1).
fn is_framed_plainly(headers: &HeaderMap) -> bool {
    let mut codings = headers.get_all(TRANSFER_ENCODING).iter();
    codings.next().is_none_or(|coding| coding.as_bytes().eq_ignore_ascii_case(b"chunked")) && codings.next().is_none()
}

/// Serves `router` on `socket` until `shutdown`, then lets requests finish and returns.
pub async fn serve(socket: TcpListener, router: Router, bounds: Bounds, shutdown: CancellationToken) {
    let permits = Arc::new(Semaphore::new(bounds.connections));
    let graceful = GracefulShutdown::new();
    let builder = builder(bounds);
    let accept_all = async {
        // The semaphore is never closed.
        while let Ok(permit) = Arc::clone(&permits).acquire_owned().await {
            match socket.accept().await {
                Ok((stream, address)) => {
                    let connection =
                        connection(builder.clone(), stream, Remote(address), router.clone(), graceful.watcher());
                    tokio::spawn(async move {
                        connection.await;
                        drop(permit);
                    });
                }
                Err(error) => {
                    tracing::warn!(%error, "a connection was not accepted");
                    tokio::time::sleep(ACCEPT_PAUSE).await;
                }
            }
        }
    };
    shutdown.run_until_cancelled(accept_all).await;
    drop(socket);
    if tokio::time::timeout(DRAIN, graceful.shutdown()).await.is_err() {
        tracing::warn!("requests did not finish while draining");
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

async fn connection(
    builder: Builder<TokioExecutor>,
    stream: TcpStream,
    remote: Remote,
    router: Router,
    watcher: Watcher,
) {
    if let Err(error) = tune(&stream) {
        tracing::debug!(%error, "a connection was gone before it began");
        return;
    }
    let service = service_fn(move |request: http::Request<Incoming>| {
        let mut request = request.map(Body::new);
        request.extensions_mut().insert(remote);
        router.clone().oneshot(request)
    });
    let served = watcher.watch(builder.serve_connection(TokioIo::new(stream), service).into_owned());
    if let Err(error) = served.await {
        tracing::debug!(%error, "a connection ended");
    }
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;
    use tokio::io::{AsyncReadExt, AsyncWriteExt};

    use super::*;

    #[test]
    fn the_only_transfer_coding_is_chunked_said_once() {
        let plain = |codings: &[&'static str]| {
            is_framed_plainly(
                &codings.iter().map(|coding| (TRANSFER_ENCODING, HeaderValue::from_static(coding))).collect(),
            )
        };
        assert!(is_framed_plainly(&HeaderMap::new()));
        assert!(plain(&["chunked"]));
        for odd in [&["gzip, chunked"][..], &["identity"], &["chunked", "chunked"], &["xchunked"], &[""]] {
            let mut headers = HeaderMap::new();
            odd.iter().for_each(|coding| {
                headers.append(TRANSFER_ENCODING, HeaderValue::from_static(coding));
            });
            assert!(!is_framed_plainly(&headers), "{odd:?} was taken");
        }
    }

    #[tokio::test]
    async fn a_head_that_trickles_in_costs_its_connection() {
        let socket = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = socket.local_addr().unwrap();
        let bounds = Bounds { head: Duration::from_millis(100), ..Bounds::default() };
        let stop = CancellationToken::new();
        let serving = tokio::spawn(serve(socket, Router::new(), bounds, stop.clone()));
        let mut client = TcpStream::connect(address).await.unwrap();
        client.write_all(b"GET / HTTP/1.1\r\nHost: x\r\n").await.unwrap();
        let mut rest = Vec::new();
        let closed = tokio::time::timeout(Duration::from_secs(20), client.read_to_end(&mut rest));
        closed.await.expect("the listener closes").unwrap();
        stop.cancel();
        serving.await.unwrap();
    }
}
