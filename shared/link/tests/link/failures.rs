//! Cores that hang, drain and die.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use axum::Router;
use axum::extract::State;
use axum::routing::any;
use bytes::Bytes;
use http::{Request, StatusCode};
use shared_link::{LinkError, PoolOptions, Server, ServerOptions};
use tokio::runtime::Runtime;
use tokio::sync::{Notify, mpsc};
use tokio_util::sync::CancellationToken;

use crate::support::{Authority, PATIENT, get, loopback, pool, post, send, serve};

/// The first call of all hangs and says where; later ones answer with that status.
#[derive(Clone)]
struct Trap {
    core: usize,
    later: StatusCode,
    calls: Arc<AtomicUsize>,
    entered: mpsc::UnboundedSender<usize>,
}

async fn trapped(State(trap): State<Trap>) -> (StatusCode, String) {
    if trap.calls.fetch_add(1, Ordering::SeqCst) == 0 {
        trap.entered.send(trap.core).unwrap();
        std::future::pending::<()>().await;
    }
    (trap.later, trap.core.to_string())
}

/// Two cores in runtimes of their own, so that one can vanish as a killed process does: without a word.
struct Doomed {
    runtimes: [Option<Runtime>; 2],
    addresses: [String; 2],
    calls: Arc<AtomicUsize>,
    entered: mpsc::UnboundedReceiver<usize>,
}

impl Doomed {
    fn start(ours: &Authority, later: StatusCode) -> Self {
        let calls = Arc::new(AtomicUsize::new(0));
        let (sender, entered) = mpsc::unbounded_channel();
        let [(first, at_first), (second, at_second)] = [0, 1].map(|core| {
            let runtime = Runtime::new().unwrap();
            let trap = Trap { core, later, calls: Arc::clone(&calls), entered: sender.clone() };
            let router = Router::new().route("/", any(trapped)).with_state(trap);
            let _inside = runtime.enter();
            let server = Server::bind(loopback(), ours.tls("core.eu"), ServerOptions::default()).unwrap();
            let address = server.local_addr().unwrap().to_string();
            runtime.spawn(server.serve(router, CancellationToken::new()));
            (runtime, address)
        });
        Self { runtimes: [Some(first), Some(second)], addresses: [at_first, at_second], calls, entered }
    }

    /// Waits for the request that hangs, and kills its core. Returns the survivor.
    async fn kill_the_busy_one(&mut self) -> usize {
        let core = self.entered.recv().await.unwrap();
        self.runtimes[core].take().unwrap().shutdown_background();
        1 - core
    }
}

impl Drop for Doomed {
    fn drop(&mut self) {
        self.runtimes.iter_mut().filter_map(Option::take).for_each(Runtime::shutdown_background);
    }
}

fn quick() -> PoolOptions {
    PoolOptions { probe: Duration::from_millis(100), silence: Duration::from_millis(500), ..PoolOptions::default() }
}

fn keyed(text: &'static str) -> Request<Bytes> {
    let mut request = post("/", text);
    request.headers_mut().insert("idempotency-key", "k1".parse().unwrap());
    request
}

/// Sends `request` to two cores, kills the one it hangs at, and returns the outcome, the survivor and the calls made.
async fn killed_under_way(request: Request<Bytes>) -> (Result<Bytes, LinkError>, usize, usize) {
    let ours = Authority::new();
    let mut cores = Doomed::start(&ours, StatusCode::OK);
    let pool = pool(ours.tls("pop.p1"), &[&cores.addresses[0], &cores.addresses[1]], quick());
    let sending = tokio::spawn(async move { send(&pool, request).await });
    let survivor = cores.kill_the_busy_one().await;
    let outcome = sending.await.unwrap().map(axum::http::Response::into_body);
    (outcome, survivor, cores.calls.load(Ordering::SeqCst))
}

#[tokio::test(flavor = "multi_thread")]
async fn a_keyed_request_survives_the_death_of_its_core() {
    let (outcome, survivor, calls) = killed_under_way(keyed("order")).await;
    assert_eq!(outcome, Ok(Bytes::from(survivor.to_string())));
    assert_eq!(calls, 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_read_survives_the_death_of_its_core() {
    let (outcome, survivor, calls) = killed_under_way(get("/")).await;
    assert_eq!(outcome, Ok(Bytes::from(survivor.to_string())));
    assert_eq!(calls, 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_question_in_a_posts_clothes_survives_the_death_of_its_core() {
    let mut request = post("/", "quote");
    request.extensions_mut().insert(shared_link::Safe);
    let (outcome, survivor, calls) = killed_under_way(request).await;
    assert_eq!(outcome, Ok(Bytes::from(survivor.to_string())));
    assert_eq!(calls, 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_write_without_a_key_is_never_sent_twice() {
    let (outcome, _, calls) = killed_under_way(post("/", "order")).await;
    assert!(matches!(outcome, Err(LinkError::Lost { .. })), "{outcome:?}");
    assert_eq!(calls, 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_keyed_write_whose_only_core_dies_is_lost_and_not_called_unsent() {
    let ours = Authority::new();
    let mut cores = Doomed::start(&ours, StatusCode::OK);
    let options = PoolOptions { connect_timeout: Duration::from_millis(200), ..quick() };
    let pool = pool(ours.tls("pop.p1"), &[&cores.addresses[0]], options);
    let sending = tokio::spawn(async move { send(&pool, keyed("order")).await });
    cores.kill_the_busy_one().await;
    let outcome = sending.await.unwrap();
    assert!(matches!(outcome, Err(LinkError::Lost { .. })), "{outcome:?}");
    assert_eq!(cores.calls.load(Ordering::SeqCst), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_lost_write_is_not_settled_by_a_core_that_refuses_to_act() {
    let ours = Authority::new();
    let mut cores = Doomed::start(&ours, StatusCode::SERVICE_UNAVAILABLE);
    let pool = pool(ours.tls("pop.p1"), &[&cores.addresses[0], &cores.addresses[1]], quick());
    let sending = tokio::spawn(async move { send(&pool, keyed("order")).await });
    cores.kill_the_busy_one().await;
    let outcome = sending.await.unwrap();
    assert!(matches!(outcome, Err(LinkError::Lost { .. })), "{outcome:?}");
    assert_eq!(cores.calls.load(Ordering::SeqCst), 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_dead_core_is_out_of_the_way_and_is_taken_back_when_it_returns() {
    let ours = Authority::new();
    let router = |text: &'static str| Router::new().route("/", any(move || async move { text }));
    let (first, second) = (serve(ours.tls("core.eu"), router("first")), serve(ours.tls("core.eu"), router("second")));
    let pool = pool(ours.tls("pop.p1"), &[&first.address, &second.address], quick());
    until_answered_by(&pool, "first").await;
    first.shutdown.cancel();
    first.served.await.unwrap();
    for _ in 0..20 {
        assert_eq!(send(&pool, post("/", "unkeyed")).await.unwrap().body(), "second");
    }
    let again = Server::bind(first.address.parse().unwrap(), ours.tls("core.eu"), ServerOptions::default()).unwrap();
    let stop = CancellationToken::new();
    tokio::spawn(again.serve(router("first again"), stop.clone()));
    until_answered_by(&pool, "first again").await;
    stop.cancel();
}

async fn until_answered_by(pool: &shared_link::Pool, who: &str) {
    let answered = async {
        let mut looks = tokio::time::interval(Duration::from_millis(10));
        while send(pool, get("/")).await.unwrap().body() != who.as_bytes() {
            looks.tick().await;
        }
    };
    tokio::time::timeout(PATIENT, answered).await.expect("that core answers");
}

#[tokio::test]
async fn a_region_without_cores_is_refused_at_once() {
    let ours = Authority::new();
    // A UDP socket that answers nothing: what a firewall looks like.
    let silent = std::net::UdpSocket::bind(loopback()).unwrap();
    let options = PoolOptions { connect_timeout: Duration::from_millis(100), ..PoolOptions::default() };
    let pool = pool(ours.tls("pop.p1"), &[&silent.local_addr().unwrap().to_string()], options);
    let outcome = send(&pool, get("/")).await;
    assert!(matches!(outcome, Err(LinkError::Unreachable { .. })), "{outcome:?}");
    assert!(!pool.is_connected());
    let began = tokio::time::Instant::now();
    assert!(send(&pool, get("/")).await.is_err());
    assert!(began.elapsed() < Duration::from_secs(2), "what is known to be down is refused without waiting");
}

#[tokio::test]
async fn beyond_its_bound_a_pool_refuses_at_once() {
    let ours = Authority::new();
    let (entered, release) = (Arc::new(Notify::new()), Arc::new(Notify::new()));
    let gate = (Arc::clone(&entered), Arc::clone(&release));
    let handler = move || {
        let (entered, release) = gate.clone();
        async move {
            entered.notify_one();
            release.notified().await;
            "done"
        }
    };
    let core = serve(ours.tls("core.eu"), Router::new().route("/", any(handler)));
    let options = PoolOptions { max_in_flight: 1, ..PoolOptions::default() };
    let pool = pool(ours.tls("pop.p1"), &[&core.address], options);
    let first = tokio::spawn({
        let pool = pool.clone();
        async move { send(&pool, get("/")).await }
    });
    entered.notified().await;
    assert_eq!(send(&pool, get("/")).await.unwrap_err(), LinkError::Overloaded { limit: 1 });
    release.notify_one();
    assert_eq!(first.await.unwrap().unwrap().body(), "done");
}

#[tokio::test]
async fn a_server_answers_503_beyond_a_connections_bound() {
    let ours = Authority::new();
    let entered = Arc::new(Notify::new());
    let gate = Arc::clone(&entered);
    let hang = move || {
        let entered = Arc::clone(&gate);
        async move {
            entered.notify_one();
            std::future::pending::<()>().await;
        }
    };
    let options = ServerOptions { max_requests_per_connection: 1, ..ServerOptions::default() };
    let core = crate::support::serve_with(ours.tls("core.eu"), Router::new().route("/", any(hang)), options);
    let one = PoolOptions { connections_per_core: 1, ..PoolOptions::default() };
    let pool = pool(ours.tls("pop.p1"), &[&core.address], one);
    let hanging = tokio::spawn({
        let pool = pool.clone();
        async move { send(&pool, get("/")).await }
    });
    entered.notified().await;
    let refused = send(&pool, get("/")).await.unwrap();
    assert_eq!(refused.status(), StatusCode::SERVICE_UNAVAILABLE);
    assert_eq!(refused.headers()["retry-after"], "1");
    hanging.abort();
}

#[tokio::test]
async fn a_drain_finishes_what_was_taken_and_takes_no_more() {
    let ours = Authority::new();
    let (entered, release) = (Arc::new(Notify::new()), Arc::new(Notify::new()));
    let gate = (Arc::clone(&entered), Arc::clone(&release));
    let handler = move || {
        let (entered, release) = gate.clone();
        async move {
            entered.notify_one();
            release.notified().await;
            vec![b'x'; 300_000]
        }
    };
    let core = serve(ours.tls("core.eu"), Router::new().route("/", any(handler)));
    let pool = pool(ours.tls("pop.p1"), &[&core.address], PoolOptions::default());
    let taken = tokio::spawn({
        let pool = pool.clone();
        async move { send(&pool, post("/", "unkeyed")).await }
    });
    entered.notified().await;
    core.shutdown.cancel();
    let late = tokio::time::timeout(PATIENT, async {
        // Until the GOAWAY has arrived a request may still be taken; it hangs, and so its deadline says nothing.
        loop {
            match pool.send(post("/", "late"), Duration::from_millis(100)).await {
                Err(LinkError::Deadline) => {}
                outcome => return outcome,
            }
        }
    });
    let late = late.await.expect("the pool learns of the drain");
    assert!(matches!(late, Err(LinkError::Unreachable { .. })), "{late:?}");
    release.notify_waiters();
    assert_eq!(taken.await.unwrap().unwrap().body().len(), 300_000);
    tokio::time::timeout(PATIENT, core.served).await.expect("a drained server returns").unwrap();
}

#[tokio::test]
async fn two_cores_that_drain_at_once_do_not_wait_for_each_other() {
    let ours = Authority::new();
    let [one, other] =
        ["core.eu", "core.us"].map(|name| serve(ours.tls(name), Router::new().route("/", any(|| async { "here" }))));
    let to_one = pool(ours.tls("core.us"), &[&one.address], PoolOptions::default());
    to_one.connected().await;
    send(&to_one, post("/", "k")).await.unwrap();
    one.shutdown.cancel();
    other.shutdown.cancel();
    for core in [one, other] {
        tokio::time::timeout(PATIENT, core.served).await.expect("a drained server returns").unwrap();
    }
}

#[tokio::test]
async fn addresses_that_must_prove_themselves_do() {
    let ours = Authority::new();
    let options = ServerOptions { always_retry: true, ..ServerOptions::default() };
    let router = Router::new().route("/", any(|| async { "proven" }));
    let core = crate::support::serve_with(ours.tls("core.eu"), router, options);
    let pool = pool(ours.tls("pop.p1"), &[&core.address], PoolOptions::default());
    assert_eq!(send(&pool, get("/")).await.unwrap().body(), "proven");
}

#[tokio::test]
async fn connections_over_the_servers_bound_are_refused() {
    let ours = Authority::new();
    let options = ServerOptions { max_connections: 1, ..ServerOptions::default() };
    let router = Router::new().route("/", any(|| async { "in" }));
    let core = crate::support::serve_with(ours.tls("core.eu"), router, options);
    let one = PoolOptions { connections_per_core: 1, ..PoolOptions::default() };
    let first = pool(ours.tls("pop.p1"), &[&core.address], one);
    assert_eq!(send(&first, get("/")).await.unwrap().body(), "in");
    let second = pool(ours.tls("pop.p2"), &[&core.address], one);
    let refused = send(&second, get("/")).await;
    assert!(matches!(refused, Err(LinkError::Unreachable { .. })), "{refused:?}");
    assert_eq!(send(&first, get("/")).await.unwrap().body(), "in");
}
