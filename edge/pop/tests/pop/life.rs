//! Start, health, hostile connections and the end.

use std::path::Path;
use std::process::Stdio;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::TcpStream;
use tokio::process::{Child, Command};

use crate::support::{PATIENT, Store, seen, token};

#[tokio::test]
async fn a_pop_is_ready_once_its_nearest_region_answers() {
    let mut store = Store::new();
    store.eu.stop().await;
    let pop = store.start("pop.p1", "").await.unwrap();
    assert_eq!(pop.ready().await, 503);
    let health = pop.http.get(format!("http://{}/ops/health", pop.pop.ops)).send().await.unwrap();
    assert_eq!(health.status(), 200);
    let metrics = pop.http.get(format!("http://{}/ops/metrics", pop.pop.ops)).send().await.unwrap();
    assert_eq!(metrics.status(), 200);
    let outside = pop.http.get(pop.public("/ops/metrics")).send().await.unwrap();
    assert_eq!(outside.status(), 404, "operators' routes are not public");
}

#[tokio::test]
async fn a_pop_does_not_start_as_someone_else() {
    let store = Store::new();
    let error = store.start("pop.p2", "").await.err().unwrap().to_string();
    assert!(error.contains("tls.certificate") && error.contains("pop.p2"), "{error}");
}

#[tokio::test]
async fn nobody_outside_says_who_he_is_or_where() {
    let store = Store::new();
    let pop = store.pop("").await;
    let request = pop.http.get(pop.public("/v1/account")).bearer_auth(token(7));
    let request = request
        .header("meridian-client-address", "6.6.6.6")
        .header("x-user-id", "1")
        .header("forwarded", "for=6.6.6.6");
    let seen = seen(request.send().await.unwrap()).await;
    let headers = seen["headers"].as_object().unwrap();
    assert_eq!(headers["meridian-client-address"], "127.0.0.1");
    assert!(!headers.contains_key("x-user-id") && !headers.contains_key("forwarded"));
    assert!(edge_pop::rules::is_trace_parent(headers["traceparent"].as_str().unwrap()));
}

/// The address that the core is told of a shopper who comes from `socket` with those headers.
async fn address_told(pop: &crate::support::RunningPop, socket: [u8; 4], forwarded: &[&str]) -> String {
    let client = reqwest::Client::builder().no_proxy().local_address(std::net::IpAddr::from(socket)).build().unwrap();
    let request = client.get(pop.public("/v1/account")).bearer_auth(token(7));
    let request = forwarded.iter().fold(request, |request, value| request.header("x-forwarded-for", *value));
    let seen = seen(request.send().await.unwrap()).await;
    assert!(!seen["headers"].as_object().unwrap().contains_key("x-forwarded-for"));
    seen["headers"]["meridian-client-address"].as_str().unwrap().to_owned()
}

#[tokio::test]
async fn only_a_terminator_says_for_whom_it_speaks() {
    let store = Store::new();
    let pop = store.pop("").await;
    let (terminator, anyone) = ([127, 0, 0, 9], [127, 0, 0, 8]);
    assert_eq!(address_told(&pop, terminator, &["6.6.6.6, 203.0.113.7"]).await, "203.0.113.7");
    assert_eq!(address_told(&pop, terminator, &["6.6.6.6", "2001:db8::7"]).await, "2001:db8::7");
    assert_eq!(address_told(&pop, terminator, &["203.0.113.7, nonsense"]).await, "127.0.0.9");
    assert_eq!(address_told(&pop, terminator, &[]).await, "127.0.0.9");
    assert_eq!(address_told(&pop, anyone, &["203.0.113.7"]).await, "127.0.0.8");
}

#[tokio::test]
async fn shoppers_behind_a_terminator_are_limited_each_by_himself() {
    let store = Store::new();
    let pop = store.pop("limits = { per_second = 1, burst = 1, connections_per_block = 1 }").await;
    let terminator = std::net::IpAddr::from([127, 0, 0, 9]);
    let client = reqwest::Client::builder().no_proxy().local_address(terminator).build().unwrap();
    for (shopper, status) in [("203.0.113.7", 200), ("198.51.100.7", 200), ("203.0.113.7", 429)] {
        let request = client.get(pop.public("/v1/account")).header("x-forwarded-for", shopper);
        assert_eq!(request.send().await.unwrap().status(), status, "{shopper}");
    }
}

/// The answer to raw bytes, read until the PoP closes.
async fn raw(pop: &crate::support::RunningPop, bytes: &str) -> String {
    let mut socket = TcpStream::connect(pop.pop.public).await.unwrap();
    socket.write_all(bytes.as_bytes()).await.unwrap();
    let mut answer = Vec::new();
    tokio::time::timeout(PATIENT, socket.read_to_end(&mut answer)).await.expect("the PoP closes").unwrap();
    String::from_utf8_lossy(&answer).into_owned()
}

#[tokio::test]
async fn misframed_requests_are_refused_and_reach_no_core() {
    let store = Store::new();
    let pop = store.pop("").await;
    let cases = [
        "POST /v1/guests HTTP/1.1\r\nHost: x\r\nConnection: close\r\nTransfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n",
        "POST /v1/guests HTTP/1.1\r\nHost: x\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\nab",
        "POST /v1/guests HTTP/1.0\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        "POST /v1/guests HTTP/1.1\r\nHost: x\r\nContent-Length: +1\r\n\r\na",
        "GET /v1/account HTTP/1.1\r\nHost: x\r\nA: b\r\n folded\r\n\r\n",
    ];
    for case in cases {
        let answer = raw(&pop, case).await;
        assert!(answer.starts_with("HTTP/1.1 400"), "{case:?} was met with {answer:?}");
    }
    assert_eq!((store.eu.calls(), store.us.calls()), (0, 0));
}

#[tokio::test]
async fn a_head_too_large_is_refused() {
    let store = Store::new();
    let pop = store.pop("").await;
    let answer = raw(&pop, &format!("GET / HTTP/1.1\r\nHost: x\r\nA: {}\r\n\r\n", "a".repeat(40_000))).await;
    assert!(answer.starts_with("HTTP/1.1 431"), "{answer:?}");
}

#[tokio::test]
async fn a_drained_pop_ends() {
    let store = Store::new();
    let pop = store.pop("").await;
    // A connection kept alive must not hold up the end.
    assert_eq!(pop.http.get(pop.public("/v1/account")).send().await.unwrap().status(), 200);
    pop.shutdown.cancel();
    let public = pop.pop.public;
    tokio::time::timeout(PATIENT, pop.pop.stopped()).await.expect("the PoP drains");
    assert!(TcpStream::connect(public).await.is_err());
}

fn binary(config: &Path) -> Child {
    let mut command = Command::new(env!("CARGO_BIN_EXE_edge-pop"));
    command.arg("--config").arg(config).kill_on_drop(true);
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap()
}

#[tokio::test]
async fn the_binary_logs_to_stderr_alone_and_ends_well_when_told_to() {
    let store = Store::new();
    let mut process = binary(&store.configure("pop.p1", ""));
    let mut log = BufReader::new(process.stderr.take().unwrap()).lines();
    let listening = async {
        while let Some(line) = log.next_line().await.unwrap() {
            if line.contains("\"listening\"") {
                return line;
            }
        }
        panic!("the process ended before it listened");
    };
    let line = tokio::time::timeout(PATIENT, listening).await.expect("it listens");
    let fields: serde_json::Value = serde_json::from_str(&line).unwrap();
    let ops = fields["fields"]["ops"].as_str().unwrap();
    assert_eq!(reqwest::get(format!("http://{ops}/ops/health")).await.unwrap().status(), 200);

    kill(Pid::from_raw(process.id().unwrap().try_into().unwrap()), Signal::SIGTERM).unwrap();
    let mut said = String::new();
    process.stdout.take().unwrap().read_to_string(&mut said).await.unwrap();
    let status = tokio::time::timeout(PATIENT, process.wait()).await.expect("it ends").unwrap();
    assert!(status.success(), "{status}");
    assert_eq!(said, "");
}

#[tokio::test]
async fn the_binary_names_what_is_wrong_with_its_configuration() {
    let store = Store::new();
    let process = binary(&store.configure("pop.p1", "colour = \"red\""));
    let output = tokio::time::timeout(PATIENT, process.wait_with_output()).await.expect("it ends").unwrap();
    assert!(!output.status.success());
    let said = String::from_utf8(output.stderr).unwrap();
    assert!(said.contains("colour") && said.contains("pop.toml"), "{said}");
}
