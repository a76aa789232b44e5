//! What arrives, and what a misshapen request costs.

use std::cell::Cell;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::body::Bytes;
use axum::routing::{any, get as route, post as posted};
use h3::error::{Code, StreamError};
use http::{HeaderMap, Method, Request, StatusCode, Uri};
use quinn::crypto::rustls::QuicClientConfig;
use shared_link::{LinkError, PoolOptions, ServerOptions};
use tokio::sync::Notify;

use crate::identity::raw_config;
use crate::support::{Authority, Life, PATIENT, get, pool, post, send, serve, serve_with};

async fn mirror(method: Method, uri: Uri, headers: HeaderMap, body: Bytes) -> String {
    let names: Vec<&str> = headers.keys().map(http::HeaderName::as_str).collect();
    format!("{method} {uri} {} {names:?}", body.len())
}

fn router() -> Router {
    Router::new()
        .route("/mirror", any(mirror))
        .route("/echo", posted(|body: Bytes| async { body }))
        .route("/large", route(|| async { vec![b'x'; 100_000] }))
        .route("/forever", route(|| async { std::future::pending::<()>().await }))
}

#[tokio::test]
async fn a_request_arrives_as_sent_but_for_the_headers_of_one_hop() {
    let ours = Authority::new();
    let core = serve(ours.tls("core.eu"), router());
    let pool = pool(ours.tls("pop.p1"), &[&core.address], PoolOptions::default());
    let request = Request::put("http://evil.example/mirror?a=1&b=%20")
        .header("host", "evil.example")
        .header("connection", "close")
        .header("transfer-encoding", "chunked")
        .header("expect", "100-continue")
        .header("content-length", "999")
        .header("x-kept", "yes")
        .body(Bytes::from_static(b"12345"))
        .unwrap();
    let answer = send(&pool, request).await.unwrap();
    let body = String::from_utf8(answer.into_body().to_vec()).unwrap();
    assert_eq!(body, r#"PUT https://core.eu/mirror?a=1&b=%20 5 ["x-kept", "content-length"]"#);
}

#[tokio::test]
async fn bodies_of_the_longest_kind_pass_both_ways_at_once() {
    let ours = Authority::new();
    let core = serve(ours.tls("core.eu"), router());
    let pool = pool(ours.tls("pop.p1"), &[&core.address], PoolOptions::default());
    let body = Bytes::from(vec![7; shared::api::MAX_BODY_BYTES]);
    let sends = (0..16).map(|_| {
        let (pool, body) = (pool.clone(), body.clone());
        tokio::spawn(async move { send(&pool, post("/echo", body)).await.unwrap() })
    });
    for answer in sends.collect::<Vec<_>>() {
        assert_eq!(answer.await.unwrap().body(), &body);
    }
}

#[tokio::test]
async fn a_body_over_the_limit_is_refused_on_either_side() {
    let ours = Authority::new();
    let options = ServerOptions { max_body_bytes: 10, ..ServerOptions::default() };
    let core = serve_with(ours.tls("core.eu"), router(), options);
    let pool = pool(ours.tls("pop.p1"), &[&core.address], PoolOptions::default());
    let refused = send(&pool, post("/echo", vec![0; 200_000])).await.unwrap();
    assert_eq!(refused.status(), StatusCode::PAYLOAD_TOO_LARGE);
    assert_eq!(refused.headers()["content-type"], "application/problem+json");
    let unsent = send(&pool, post("/echo", vec![0; shared::api::MAX_BODY_BYTES + 1])).await;
    assert_eq!(unsent.unwrap_err(), LinkError::TooLarge);
}

#[tokio::test]
async fn an_answer_over_the_limit_is_not_held() {
    let ours = Authority::new();
    let core = serve(ours.tls("core.eu"), router());
    let options = PoolOptions { max_response_bytes: 1_000, ..PoolOptions::default() };
    let pool = pool(ours.tls("pop.p1"), &[&core.address], options);
    let outcome = send(&pool, get("/large")).await;
    assert!(matches!(outcome, Err(LinkError::BadAnswer { .. })), "{outcome:?}");
    assert_eq!(send(&pool, post("/echo", "ok")).await.unwrap().body(), "ok");
}

#[tokio::test]
async fn head_has_the_length_and_no_body() {
    let ours = Authority::new();
    let core = serve(ours.tls("core.eu"), router());
    let pool = pool(ours.tls("pop.p1"), &[&core.address], PoolOptions::default());
    let answer = send(&pool, Request::head("/large").body(Bytes::new()).unwrap()).await.unwrap();
    assert_eq!((answer.status(), answer.body().len()), (StatusCode::OK, 0));
    assert_eq!(answer.headers()["content-length"], "100000");
}

#[tokio::test]
async fn a_handler_past_the_servers_deadline_is_a_504_and_past_the_callers_an_error() {
    let ours = Authority::new();
    let options = ServerOptions { request_deadline: Duration::from_millis(100), ..ServerOptions::default() };
    let core = serve_with(ours.tls("core.eu"), router(), options);
    let ample = pool(ours.tls("pop.p1"), &[&core.address], PoolOptions::default());
    assert_eq!(send(&ample, get("/forever")).await.unwrap().status(), StatusCode::GATEWAY_TIMEOUT);

    let patient = serve(ours.tls("core.eu"), router());
    let pool = pool(ours.tls("pop.p1"), &[&patient.address], PoolOptions::default());
    pool.connected().await;
    let began = tokio::time::Instant::now();
    let outcome = pool.send(get("/forever"), Duration::from_millis(200)).await;
    assert_eq!(outcome.unwrap_err(), LinkError::Deadline);
    assert!(began.elapsed() >= Duration::from_millis(200) && began.elapsed() < Duration::from_secs(5));
    assert_eq!(send(&pool, post("/echo", "ok")).await.unwrap().body(), "ok");
}

#[tokio::test]
async fn a_caller_who_goes_away_in_the_middle_leaves_quietly() {
    // A panic of a task that nobody awaits is seen by the hook alone. Everything here runs on this thread.
    thread_local!(static PANICS: Cell<u32> = const { Cell::new(0) });
    let hook = std::panic::take_hook();
    std::panic::set_hook(Box::new(move |info| {
        PANICS.set(PANICS.get() + 1);
        hook(info);
    }));
    let ours = Authority::new();
    let entered = Arc::new(Notify::new());
    let told = Arc::clone(&entered);
    let never = any(async move || {
        told.notify_one();
        std::future::pending::<()>().await;
    });
    let core = serve(ours.tls("core.eu"), router().route("/never", never));
    let pool = pool(ours.tls("pop.p1"), &[&core.address], PoolOptions::default());
    for request in [get("/never"), post("/never", vec![7; 100_000])] {
        tokio::select! {
            answer = send(&pool, request) => panic!("it is never answered: {answer:?}"),
            () = entered.notified() => {}
        }
        // On the same connection and after the exchange that was given up has ended.
        send(&pool, get("/mirror")).await.unwrap();
    }
    assert_eq!(PANICS.get(), 0);
}

#[tokio::test]
async fn a_misshapen_request_costs_its_own_stream_only() {
    let ours = Authority::new();
    let core = serve(ours.tls("core.eu"), router());
    let raw = RawClient::connect(&ours, &core.address).await;

    // A head without a method: HEADERS frame, empty QPACK prefix, `:path: /` (static entry 1).
    let (mut send, mut recv) = raw.quic.open_bi().await.unwrap();
    send.write_all(&[0x01, 0x03, 0x00, 0x00, 0xc1]).await.unwrap();
    send.finish().unwrap();
    let reset = recv.read_to_end(1_000).await.unwrap_err();
    let message_error = quinn::VarInt::from_u64(Code::H3_MESSAGE_ERROR.value()).unwrap();
    assert_eq!(reset, quinn::ReadToEndError::Read(quinn::ReadError::Reset(message_error)));

    let cases: [(&str, &str, &[u8]); 4] = [
        ("content-length", "5", b"123"),
        ("content-length", "2", b"123"),
        ("content-length", "nonsense", b"123"),
        ("transfer-encoding", "chunked", b"123"),
    ];
    for (name, value, body) in cases {
        let outcome = raw.post(name, value, body).await;
        let refused = matches!(outcome, Err(StreamError::RemoteTerminate { code: Code::H3_MESSAGE_ERROR }));
        assert!(refused, "{name}: {value} was met with {outcome:?}");
    }
    assert_eq!(raw.post("content-length", "3", b"123").await.unwrap(), StatusCode::OK);
    assert_eq!(raw.quic.close_reason(), None);
}

/// An HTTP/3 client that sends what our own never would.
struct RawClient {
    quic: quinn::Connection,
    sender: h3::client::SendRequest<h3_quinn::OpenStreams, Bytes>,
}

impl RawClient {
    async fn connect(ours: &Authority, address: &str) -> Self {
        let config = raw_config(ours, Some(ours.issue(&["pop.raw"], Life::Valid)));
        let endpoint = quinn::Endpoint::client("127.0.0.1:0".parse().unwrap()).unwrap();
        let config = quinn::ClientConfig::new(Arc::new(QuicClientConfig::try_from(config).unwrap()));
        let quic = endpoint.connect_with(config, address.parse().unwrap(), "core.eu").unwrap().await.unwrap();
        let (mut driver, sender) = h3::client::new(h3_quinn::Connection::new(quic.clone())).await.unwrap();
        tokio::spawn(async move { driver.wait_idle().await });
        Self { quic, sender }
    }

    async fn post(&self, name: &str, value: &str, body: &'static [u8]) -> Result<StatusCode, StreamError> {
        let head = Request::post("https://core.eu/echo").header(name, value).body(()).unwrap();
        let mut stream = self.sender.clone().send_request(head).await?;
        // The core may refuse before it has all of it; what counts is the answer.
        let _ = stream.send_data(Bytes::from_static(body)).await;
        let _ = stream.finish().await;
        let answer = tokio::time::timeout(PATIENT, stream.recv_response()).await.expect("an answer or a reset");
        answer.map(|answer| answer.status())
    }
}
