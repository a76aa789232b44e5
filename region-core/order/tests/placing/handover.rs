//! Two cores of a region over one shard, each with a connection of its own: one is preferred, the other hands over.

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use axum::Router;
use axum::body::{Body, Bytes, to_bytes};
use futures::FutureExt;
use futures::future::BoxFuture;
use http::{Request, Response, StatusCode};
use region_core_order::{OrderError, internal_router};
use region_core_store::{Preferred, Shard, Shards, test_support};
use region_core_web::{PeerTransport, Peers};
use shared::api::order::PlaceOrder;
use shared::{Problem, ProblemKind, RegionName, ShardId, SlotMap};
use shared_clock::Clock;
use sqlx::Row;
use tower::ServiceExt;

use super::{Shop, key, shop_over, two_hundred_on_twenty, wanting};

/// The way between the cores of the region.
#[derive(Clone, Default)]
struct Wire(Arc<Ends>);

#[derive(Default)]
struct Ends {
    cores: Mutex<HashMap<String, Router>>,
    /// Whether answers get lost, once the core has said them.
    loses_answers: AtomicBool,
    /// Calls that reached a core.
    carried: AtomicUsize,
    /// The last one's body.
    last: Mutex<Bytes>,
}

impl Wire {
    fn carried(&self) -> usize {
        self.0.carried.load(Ordering::Relaxed)
    }

    /// The last call once more, to be answered by then.
    async fn repeat(&self, core: &str, answer_by_unix_ms: u64) -> StatusCode {
        let mut body: serde_json::Value = serde_json::from_slice(&self.0.last.lock().unwrap()).unwrap();
        body["answer_by_unix_ms"] = answer_by_unix_ms.into();
        let request = Request::post("/internal/orders/admit").header("content-type", "application/json");
        let router = self.0.cores.lock().unwrap()[core].clone();
        router.oneshot(request.body(Body::from(body.to_string())).unwrap()).await.unwrap().status()
    }

    fn lose_answers(&self, lose: bool) {
        self.0.loses_answers.store(lose, Ordering::Relaxed);
    }
}

impl PeerTransport for Wire {
    fn send<'a>(
        &'a self,
        _: &'a RegionName,
        _: Request<Bytes>,
        _: Duration,
    ) -> BoxFuture<'a, Result<Response<Bytes>, Problem>> {
        async { panic!("there is no other region") }.boxed()
    }

    fn send_to<'a>(
        &'a self,
        core: &'a str,
        request: Request<Bytes>,
        _: Duration,
    ) -> BoxFuture<'a, Result<Response<Bytes>, Problem>> {
        let router = self.0.cores.lock().unwrap()[core].clone();
        async move {
            self.0.carried.fetch_add(1, Ordering::Relaxed);
            *self.0.last.lock().unwrap() = request.body().clone();
            let (parts, body) = router.oneshot(request.map(Body::from)).await.unwrap().into_parts();
            if self.0.loses_answers.load(Ordering::Relaxed) {
                return Err(Problem::new(ProblemKind::Timeout));
            }
            Ok(Response::from_parts(parts, to_bytes(body, usize::MAX).await.unwrap()))
        }
        .boxed()
    }
}

struct Region {
    wire: Wire,
    one: Shop,
    two: Shop,
    database: test_support::TestDatabase,
}

impl Region {
    /// Cores `one`, which is preferred, and `two`, which knows it.
    async fn open(stock: &[(&str, u64)]) -> Self {
        let (database, wire) = (test_support::shard_database().await, Wire::default());
        let core = |name: &str| {
            let shop = shop_over(shards(&database), Peers::new(wire.clone()));
            wire.0.cores.lock().unwrap().insert(name.to_owned(), internal_router(shop.orders.clone()));
            shop
        };
        let (one, two) = (core("one"), core("two"));
        let region = Self { wire, one, two, database };
        region.one.receive(stock).await;
        assert_eq!(region.one.stands("one").await, Preferred::Here);
        assert_eq!(region.two.stands("two").await, Preferred::Elsewhere("one".to_owned()));
        region
    }
}

/// The shard with connections and a turn of its own.
fn shards(database: &test_support::TestDatabase) -> Shards {
    let (region, id): (RegionName, _) = ("eu".parse().unwrap(), ShardId::try_from(1).unwrap());
    let map = SlotMap::even(1, [(id, region.clone())].into()).unwrap();
    Shards::new(region, [Shard::from_pool(id, database.pool.clone())], map)
}

impl Shop {
    async fn stands(&self, name: &str) -> Preferred {
        Preferred::clone(&*self.shard.turn().stand_once(name).await.unwrap())
    }

    /// Ends the connection that holds the lock, and waits until it has ended.
    async fn end_preferred_connection(&self) {
        let sql = "WITH holders AS MATERIALIZED (
                SELECT pid FROM pg_locks WHERE locktype = 'advisory' AND granted
                    AND database = (SELECT oid FROM pg_database WHERE datname = current_database()))
            SELECT count(*) FROM holders WHERE pg_terminate_backend(pid, 10000)";
        assert_eq!(self.count(sql).await, 1, "one connection holds the lock");
    }
}

#[tokio::test]
async fn two_hundred_shoppers_on_twenty_units_are_twenty_orders_when_one_core_writes_for_both() {
    let region = Region::open(&[("MUG", 20)]).await;
    two_hundred_on_twenty([&region.one, &region.two]).await;
    assert!(region.wire.carried() > 0, "nothing was handed over");
}

#[tokio::test]
async fn an_order_that_is_handed_over_is_the_shoppers_own_order() {
    let Region { wire, one, two, .. } = Region::open(&[("MUG", 10)]).await;
    let ada = one.shopper(1).await;
    let trace = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01".to_owned();
    let placed = two.orders.place(ada, &key("k"), wanting(&[("MUG", 2)], 500), Some(trace.clone())).await.unwrap();
    assert_eq!((placed.replayed, wire.carried()), (false, 1));
    assert_eq!(two.orders.find(ada.user_id, placed.order.order_id).await.unwrap(), placed.order);
    let mut conn = one.shard.read().await.unwrap();
    let traced =
        sqlx::query("SELECT traceparent, payload->>'user_id' FROM outbox").fetch_one(&mut *conn).await.unwrap();
    assert_eq!((traced.get::<String, _>(0), traced.get::<String, _>(1)), (trace, ada.user_id.to_string()));
    for core in [&one, &two] {
        let again = core.place(ada, "k", wanting(&[("MUG", 2)], 500)).await.unwrap();
        assert!(again.replayed && again.order == placed.order);
        let other = core.place(ada, "k", wanting(&[("MUG", 1)], 250)).await.unwrap_err();
        assert!(matches!(other, OrderError::KeyReused), "{other}");
    }
    assert_eq!((one.stock("MUG").await, one.count("SELECT count(*) FROM orders").await), ((8, 2, 0), 1));
}

#[tokio::test]
async fn an_order_stands_once_although_the_preferred_cores_answer_is_lost() {
    let Region { wire, one, two, .. } = Region::open(&[("MUG", 2)]).await;
    let (ada, bob) = (one.shopper(1).await, one.shopper(2).await);
    wire.lose_answers(true);
    let placed = two.place(ada, "k", wanting(&[("MUG", 2)], 500)).await.unwrap();
    assert!(!placed.replayed, "it was never answered before");
    assert_eq!((wire.carried(), one.stock("MUG").await), (1, (0, 2, 0)));
    for table in ["orders", "line_items", "reservations", "outbox", "idempotency_records"] {
        let count = sqlx::query(sqlx::AssertSqlSafe(format!("SELECT count(*) FROM {table}")));
        let count: i64 = count.fetch_one(&mut *one.shard.read().await.unwrap()).await.unwrap().get(0);
        assert_eq!(count, 1, "{table}");
    }
    // A refusal whose answer is lost is made here.
    let refused = two.place(bob, "k", wanting(&[("MUG", 1)], 250)).await.unwrap_err();
    assert!(matches!(refused, OrderError::SoldOut(_)), "{refused}");
}

#[tokio::test]
async fn a_refusal_by_the_preferred_core_is_told_to_the_shopper() {
    let Region { wire, one, two, .. } = Region::open(&[("MUG", 1)]).await;
    let ada = one.shopper(1).await;
    let refused = async |body| match two.place(ada, "k", body).await.unwrap_err() {
        OrderError::DecidedElsewhere(problem) => problem,
        other => panic!("{other}"),
    };
    let sold_out = refused(wanting(&[("MUG", 2)], 500)).await;
    assert!(sold_out.is(ProblemKind::SoldOut), "{sold_out}");
    assert_eq!(sold_out.members["items"][0]["available"], 1);
    let changed = refused(PlaceOrder { cart_version: Some(3), ..wanting(&[("MUG", 1)], 250) }).await;
    assert!(changed.is(ProblemKind::CartChanged), "{changed}");
    one.count("WITH ended AS (UPDATE users SET revocation_epoch = 1 RETURNING 1) SELECT count(*) FROM ended").await;
    let ended = refused(wanting(&[("MUG", 1)], 250)).await;
    assert!(ended.is(ProblemKind::NotSignedIn), "{ended}");
    assert_eq!((wire.carried(), one.stock("MUG").await), (3, (1, 0, 0)));
}

#[tokio::test]
async fn an_order_that_nobody_waits_for_any_more_is_not_written() {
    let Region { wire, one, two, .. } = Region::open(&[("HEART", 1)]).await;
    let ada = one.shopper(1).await;
    two.place(ada, "k", wanting(&[("MUG", 1)], 250)).await.unwrap_err();
    one.receive(&[("MUG", 5)]).await;
    let now = Clock::system().unix_ms();
    for past in [0, now - 1] {
        assert_eq!(wire.repeat("one", past).await, StatusCode::GATEWAY_TIMEOUT);
    }
    assert_eq!((one.stock("MUG").await, one.count("SELECT count(*) FROM orders").await), ((5, 0, 0), 0));
    assert_eq!(wire.repeat("one", now + 60_000).await, StatusCode::OK);
    assert_eq!(one.stock("MUG").await, (4, 1, 0));
}

#[tokio::test]
async fn a_core_that_lost_its_preference_says_so_and_the_order_is_written_where_it_came_in() {
    let Region { wire, one, two, database } = Region::open(&[("MUG", 10)]).await;
    let ada = one.shopper(1).await;
    // Somebody stands under the second's name: now each of the two believes that the other is preferred.
    two.end_preferred_connection().await;
    let third = shop_over(shards(&database), Peers::none());
    assert_eq!(third.stands("two").await, Preferred::Here);
    while *one.shard.turn().preferred() == Preferred::Here {
        drop(one.shard.turn().stand_once("one").await); // finds its connection dead
    }
    assert_eq!(one.stands("one").await, Preferred::Elsewhere("two".to_owned()));
    two.place(ada, "a", wanting(&[("MUG", 1)], 250)).await.unwrap();
    assert_eq!(wire.carried(), 1, "handed over once, and not handed back");
    one.place(ada, "b", wanting(&[("MUG", 1)], 250)).await.unwrap();
    assert_eq!((wire.carried(), one.stock("MUG").await), (2, (8, 2, 0)));
    // The second is elected, and from then on it writes for both.
    two.end_preferred_connection().await;
    assert_eq!(two.stands("two").await, Preferred::Here);
    one.place(ada, "c", wanting(&[("MUG", 1)], 250)).await.unwrap();
    two.place(ada, "d", wanting(&[("MUG", 1)], 250)).await.unwrap();
    assert_eq!((wire.carried(), one.stock("MUG").await), (3, (6, 4, 0)));
}
