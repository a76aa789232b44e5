//! What Workers may say, and what anyone else may not.

use std::net::IpAddr;
use std::time::Duration;

use reqwest::Method;
use shared::uplink::{CLIENT_ADDRESS, SIGNATURE, Signed, TIMESTAMP, UplinkKey};
use shared::{Problem, ProblemKind};

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::support::{KEY, NOW, PATIENT, RunningPop, Store, seen, token};

pub(crate) struct Worker<'a> {
    pop: &'a RunningPop,
    key: UplinkKey,
    timestamp: u64,
    client: IpAddr,
}

impl<'a> Worker<'a> {
    pub(crate) fn new(pop: &'a RunningPop) -> Self {
        Self { pop, key: UplinkKey::parse(KEY).unwrap(), timestamp: NOW, client: "203.0.113.7".parse().unwrap() }
    }

    /// A request signed for `signed_body` that carries `body`.
    pub(crate) fn request(&self, method: Method, path: &str, signed_body: &str, body: &str) -> reqwest::RequestBuilder {
        let signed = Signed {
            method: method.as_str(),
            path_and_query: path,
            body: signed_body.as_bytes(),
            timestamp: self.timestamp,
            client_address: self.client,
        };
        let signature = self.key.sign(&signed);
        let request = self.pop.http.request(method, format!("http://{}{path}", self.pop.pop.uplink));
        let request = request.header(SIGNATURE, signature).header(TIMESTAMP, self.timestamp);
        request.header(CLIENT_ADDRESS, self.client.to_string()).body(body.to_owned())
    }

    async fn status(&self, method: Method, path: &str, signed_body: &str, body: &str) -> u16 {
        self.request(method, path, signed_body, body).send().await.unwrap().status().as_u16()
    }
}

#[tokio::test]
async fn a_signed_request_arrives_with_the_shoppers_address_and_without_what_it_claims() {
    let store = Store::new();
    let pop = store.pop("").await;
    let worker = Worker::new(&pop);
    let request = worker.request(Method::POST, "/v1/cart/operations?x=%20", "{}", "{}");
    let request = request.bearer_auth(token(4000)).header("x-user-id", "1").header("x-forwarded-for", "6.6.6.6");
    let answer = request.header("connection", "x-hop").header("x-hop", "1").send().await.unwrap();
    assert_eq!(answer.headers()["etag"], "\"e\"");
    let seen = seen(answer).await;
    assert_eq!(seen["region"], "us");
    assert_eq!(seen["target"], "/v1/cart/operations?x=%20");
    assert_eq!(seen["body"], "{}");
    let headers = seen["headers"].as_object().unwrap();
    assert_eq!(headers[CLIENT_ADDRESS], "203.0.113.7");
    assert!(headers.contains_key("authorization") && headers.contains_key("traceparent"));
    for dropped in ["x-user-id", "x-forwarded-for", "x-hop", "host", SIGNATURE, TIMESTAMP] {
        assert!(!headers.contains_key(dropped), "{dropped} went through");
    }
}

#[tokio::test]
async fn nothing_unsigned_goes_through() {
    let store = Store::new();
    let pop = store.pop("").await;
    let worker = Worker::new(&pop);
    let bare = pop.http.get(format!("http://{}/v1/keys", pop.pop.uplink)).send().await.unwrap();
    assert_eq!(bare.status(), 502);
    assert!(!bare.headers().contains_key("www-authenticate"));
    let problem: Problem = bare.json().await.unwrap();
    assert!(problem.is(ProblemKind::UplinkRefused), "{problem}: a Worker would take this for the shopper's doing");
    assert_eq!(worker.status(Method::POST, "/v1/orders", "{}", "{ }").await, 502, "another body");
    let stranger = Worker { key: UplinkKey::parse(&KEY.replace("k1", "k2")).unwrap(), ..Worker::new(&pop) };
    assert_eq!(stranger.status(Method::GET, "/v1/keys", "", "").await, 502);
    let forger = Worker { key: UplinkKey::parse(&KEY.replace("00", "ff")).unwrap(), ..Worker::new(&pop) };
    assert_eq!(forger.status(Method::GET, "/v1/keys", "", "").await, 502);
    let twice = worker.request(Method::GET, "/v1/keys", "", "").header(CLIENT_ADDRESS, "6.6.6.6");
    assert_eq!(twice.send().await.unwrap().status(), 502, "two addresses");
    assert_eq!((store.eu.calls(), store.us.calls()), (0, 0));
}

#[tokio::test]
async fn a_signature_holds_for_thirty_seconds() {
    let store = Store::new();
    let pop = store.pop("").await;
    for (timestamp, status) in [(NOW - 31, 502), (NOW - 30, 200), (NOW + 30, 200), (NOW + 31, 502)] {
        let worker = Worker { timestamp, ..Worker::new(&pop) };
        assert_eq!(worker.status(Method::GET, "/v1/keys", "", "").await, status, "signed at {timestamp}");
    }
}

#[tokio::test]
async fn the_uplink_has_no_pages() {
    let store = Store::new();
    let pop = store.pop("").await;
    let worker = Worker::new(&pop);
    for path in ["/", "/v1", "/internal/x", "/v10/x", "/ops/health"] {
        assert_eq!(worker.status(Method::GET, path, "", "").await, 404, "{path}");
    }
    assert_eq!(store.eu.calls(), 0);
}

#[tokio::test]
async fn a_new_key_is_taken_from_the_file_and_a_retired_one_is_not() {
    let store = Store::new();
    let pop = store.pop("").await;
    let newer = KEY.replace("k1", "k2");
    let worker = Worker { key: UplinkKey::parse(&newer).unwrap(), ..Worker::new(&pop) };
    assert_eq!(worker.status(Method::GET, "/v1/keys", "", "").await, 502);
    store.write_keys(&newer);
    let taken = async {
        let mut looks = tokio::time::interval(Duration::from_millis(50));
        while worker.status(Method::GET, "/v1/keys", "", "").await != 200 {
            looks.tick().await;
        }
    };
    tokio::time::timeout(PATIENT, taken).await.expect("the new key is taken");
    assert_eq!(Worker::new(&pop).status(Method::GET, "/v1/keys", "", "").await, 502);
}

#[tokio::test]
async fn a_flood_from_one_address_is_slowed_down_on_both_listeners() {
    let store = Store::new();
    let pop = store.pop("limits = { per_second = 1, burst = 2 }").await;
    let worker = Worker::new(&pop);
    let other = Worker { client: "198.51.100.1".parse().unwrap(), ..Worker::new(&pop) };
    for (request, status) in [(1, 200), (2, 200), (3, 429)] {
        assert_eq!(worker.status(Method::GET, "/v1/keys", "", "").await, status, "signed request {request}");
        let answer = pop.http.get(pop.public("/v1/account")).header("x-forwarded-for", format!("10.0.{request}.1"));
        let answer = answer.send().await.unwrap();
        assert_eq!(answer.status(), status, "public request {request}");
        assert_eq!(answer.headers().contains_key("retry-after"), status == 429);
    }
    assert_eq!(other.status(Method::GET, "/v1/keys", "", "").await, 200);
}

#[tokio::test]
async fn what_workers_fetch_for_everybody_is_not_taken_for_one_shopper() {
    let store = Store::new();
    let pop = store.pop("limits = { per_second = 1, burst = 1 }").await;
    let everybody = Worker { client: "0.0.0.0".parse().unwrap(), ..Worker::new(&pop) };
    for _ in 0..5 {
        assert_eq!(everybody.status(Method::GET, "/v1/keys", "", "").await, 200);
    }
}

#[tokio::test]
async fn the_exempt_are_never_slowed_down() {
    let store = Store::new();
    let pop = store.pop("limits = { per_second = 1, burst = 1, exempt = [\"127.0.0.1/32\"] }").await;
    for _ in 0..5 {
        assert_eq!(pop.http.get(pop.public("/v1/account")).send().await.unwrap().status(), 200);
    }
}

#[tokio::test]
async fn a_body_is_not_waited_for_when_its_key_or_time_cannot_be_right() {
    let store = Store::new();
    let pop = store.pop("").await;
    let mac = "00".repeat(32);
    for (id, timestamp) in [("k2", NOW), ("k1", NOW - 31)] {
        let head = format!(
            "POST /v1/orders HTTP/1.1\r\nHost: x\r\nContent-Length: 10\r\n{SIGNATURE}: {id}={mac}\r\n\
             {TIMESTAMP}: {timestamp}\r\n{CLIENT_ADDRESS}: 203.0.113.7\r\n\r\n"
        );
        let mut socket = TcpStream::connect(pop.pop.uplink).await.unwrap();
        socket.write_all(head.as_bytes()).await.unwrap();
        let mut status = [0; 12];
        let read = tokio::time::timeout(PATIENT, socket.read_exact(&mut status));
        read.await.expect("an answer without the body").unwrap();
        assert_eq!(&status, b"HTTP/1.1 502", "{id} at {timestamp}");
    }
}

#[tokio::test]
async fn bodies_on_both_listeners_share_one_room() {
    let store = Store::new();
    let pop = store.pop("limits = { body_bytes = 262144, exempt = [\"203.0.113.7/32\"] }").await;
    let worker = Worker::new(&pop);
    let body = "x".repeat(100_000);
    let until = async |status| {
        let asked = async {
            while worker.status(Method::POST, "/v1/orders", &body, &body).await != status {
                tokio::task::yield_now().await;
            }
        };
        tokio::time::timeout(PATIENT, asked).await.expect("the room changes hands");
    };
    until(200).await;
    let mut half = TcpStream::connect(pop.pop.public).await.unwrap();
    half.write_all(b"POST /v1/guests HTTP/1.1\r\nHost: x\r\nContent-Length: 200001\r\n\r\n").await.unwrap();
    half.write_all(&[b'x'; 200_000]).await.unwrap();
    until(503).await;
    drop(half);
    until(200).await;
}
