use region_core_store::test_support::{TestDatabase, shard_database};
use serde_json::json;
use shared::id::Slot;
use sqlx::pool::PoolConnection;
use sqlx::{Executor, Postgres};

use super::*;
use crate::rules::{Answer, Outcome, Patience, settle as settled};

const MS: u64 = 1_800_000_000_000;
const LEASE: Duration = Duration::from_secs(60);
const DAY: Duration = Duration::from_secs(24 * 3600);

fn endpoint(number: u8) -> EndpointId {
    EndpointId::mint(MS, [number; 10])
}

/// Event number `number`, for that endpoint.
fn news(number: u8, of: u8) -> New {
    let order_id = OrderId::mint(MS, Slot::new(7).unwrap(), [number; 8]);
    New {
        endpoint_id: endpoint(of),
        event_id: EventId::mint(MS + u64::from(number), [number; 10]),
        order_id: Some(order_id),
        event_type: "order.confirmed",
        data: json!({ "order_id": order_id }),
    }
}

/// A connection to a fresh shard; its clock is turned by [`turn`].
async fn shard() -> (TestDatabase, PoolConnection<Postgres>) {
    let database = shard_database().await;
    let conn = database.pool.acquire().await.unwrap();
    (database, conn)
}

/// Turns this connection's clock to so long after the start.
async fn turn(conn: &mut PgConnection, seconds: i32) {
    let turn = "SELECT set_config('meridian.clock_offset', make_interval(secs => $1)::text, false)";
    sqlx::query(turn).bind(f64::from(seconds)).execute(conn).await.unwrap();
}

/// What is taken with room for so many for each of the first two endpoints.
async fn taken(conn: &mut PgConnection, room: i64) -> Vec<Leased> {
    let mut leased = lease(conn, &[(endpoint(1), room), (endpoint(2), room)], LEASE).await.unwrap();
    leased.sort_unstable_by_key(|leased| (leased.endpoint_id, leased.event_id));
    leased
}

/// The numbers of what is taken, its endpoint, and which attempt at it that is.
async fn numbers(conn: &mut PgConnection, room: i64) -> Vec<(u8, u8, i32)> {
    let last = |uuid: Uuid| uuid.as_bytes()[15];
    let one = |leased: Leased| (last(leased.endpoint_id.as_uuid()), last(leased.event_id.as_uuid()), leased.tries);
    taken(conn, room).await.into_iter().map(one).collect()
}

async fn came_to(conn: &mut PgConnection, leased: &Leased, status: u16) -> bool {
    let outcome = Outcome::Answered(Answer { status, retry_after: None, beginning: "so it is".to_owned() });
    let settled = settled(leased.tries, &outcome, &Patience::default(), 0);
    let Leased { endpoint_id, event_id, attempts, .. } = *leased;
    !settle(conn, &[Change { endpoint_id, event_id, attempts, settled }]).await.unwrap().is_empty()
}

async fn log(conn: &mut PgConnection, state: Option<DeliveryState>) -> Vec<Delivery> {
    list(conn, endpoint(1), state, None, 100).await.unwrap()
}

#[tokio::test]
async fn an_event_is_written_down_once_for_each_endpoint_and_taken_by_one_worker() {
    let (database, mut conn) = shard().await;
    for _ in 0..3 {
        insert(&mut conn, &[news(1, 1), news(1, 2), news(2, 1)]).await.unwrap();
    }
    let mut other = database.pool.acquire().await.unwrap();
    assert_eq!(numbers(&mut conn, 9).await, [(1, 1, 1), (1, 2, 1), (2, 1, 1)]);
    assert_eq!(numbers(&mut other, 9).await, []);
}

#[tokio::test]
async fn an_endpoint_with_much_to_do_leaves_the_others_their_room() {
    let (_database, mut conn) = shard().await;
    let many: Vec<_> = (1..=50).map(|number| news(number, 1)).collect();
    insert(&mut conn, &many).await.unwrap();
    insert(&mut conn, &[news(60, 2), news(61, 3)]).await.unwrap();
    assert_eq!(numbers(&mut conn, 2).await, [(1, 1, 1), (1, 2, 1), (2, 60, 1)], "and nobody asked for the third");
    assert_eq!(lease(&mut conn, &[], LEASE).await.unwrap(), []);
}

#[tokio::test]
async fn two_workers_at_the_same_moment_share_what_is_due() {
    let (database, mut conn) = shard().await;
    insert(&mut conn, &[news(1, 1), news(2, 1)]).await.unwrap();
    let mut first = database.pool.begin().await.unwrap();
    let one = taken(&mut first, 1).await;
    let other = taken(&mut conn, 9).await;
    first.commit().await.unwrap();
    assert_eq!((one.len(), other.len()), (1, 1));
    assert_ne!(one[0].event_id, other[0].event_id);
}

#[tokio::test]
async fn what_failed_comes_again_later_and_what_was_taken_does_not() {
    let (_database, mut conn) = shard().await;
    insert(&mut conn, &[news(1, 1)]).await.unwrap();
    let first = taken(&mut conn, 1).await.remove(0);
    assert!(came_to(&mut conn, &first, 500).await);
    turn(&mut conn, 4).await;
    assert_eq!(numbers(&mut conn, 1).await, []);
    turn(&mut conn, 6).await;
    let second = taken(&mut conn, 1).await.remove(0);
    assert_eq!((second.attempts, second.data.clone()), (2, first.data));
    let seen = log(&mut conn, Some(DeliveryState::ToSend)).await.remove(0);
    assert_eq!((seen.last_status, seen.last_answer.as_deref()), (Some(500), Some("so it is")));
    assert!(came_to(&mut conn, &second, 204).await);
    assert!(!came_to(&mut conn, &second, 500).await, "an older word");
    turn(&mut conn, 90_000).await;
    assert_eq!(numbers(&mut conn, 1).await, []);
    let seen = log(&mut conn, None).await.remove(0);
    assert_eq!((seen.state, seen.last_status, seen.attempts), (DeliveryState::Delivered, Some(204), 2));
    assert!(seen.delivered_at.is_some() && seen.next_attempt_at.is_none() && seen.last_error.is_none());
}

#[tokio::test]
async fn a_worker_that_crashed_is_replaced_when_its_lease_has_run_out() {
    let (_database, mut conn) = shard().await;
    insert(&mut conn, &[news(1, 1)]).await.unwrap();
    let crashed = taken(&mut conn, 1).await.remove(0);
    turn(&mut conn, 59).await;
    assert_eq!(numbers(&mut conn, 1).await, []);
    turn(&mut conn, 61).await;
    assert_eq!(numbers(&mut conn, 1).await, [(1, 1, 2)], "what crashed counts");
    assert!(!came_to(&mut conn, &crashed, 500).await, "an old answer changes nothing");
    assert!(came_to(&mut conn, &crashed, 200).await, "but what was taken after all need not be sent again");
}

#[tokio::test]
async fn a_replay_begins_anew_under_the_same_id_and_no_earlier_answer_settles_it() {
    let (_database, mut conn) = shard().await;
    insert(&mut conn, &[news(1, 1)]).await.unwrap();
    let first = taken(&mut conn, 1).await.remove(0);
    assert!(came_to(&mut conn, &first, 410).await);
    assert_eq!(log(&mut conn, Some(DeliveryState::Failed)).await.len(), 1);
    assert!(replay_one(&mut conn, endpoint(1), first.event_id).await.unwrap());
    assert!(!replay_one(&mut conn, endpoint(2), first.event_id).await.unwrap());
    assert!(!came_to(&mut conn, &first, 200).await);
    let again = taken(&mut conn, 1).await.remove(0);
    assert_eq!((again.event_id, again.attempts, again.tries), (first.event_id, 2, 1));
    assert!(replay_one(&mut conn, endpoint(1), first.event_id).await.unwrap(), "what is under way is not doubled");
    assert_eq!(numbers(&mut conn, 1).await, []);
    assert!(came_to(&mut conn, &again, 200).await);
}

#[tokio::test]
async fn a_span_is_replayed_from_its_oldest_on_and_says_how_far_it_came() {
    let (_database, mut conn) = shard().await;
    for number in 1..=4 {
        turn(&mut conn, i32::from(number) * 60).await;
        insert(&mut conn, &[news(number, 1), news(number, 2)]).await.unwrap();
    }
    for leased in taken(&mut conn, 9).await {
        let number = leased.event_id.as_uuid().as_bytes()[15];
        // The fourth is still to be sent.
        let status = [0, 200, 410, 200, 500][usize::from(number)];
        came_to(&mut conn, &leased, status).await;
    }
    let written = log(&mut conn, None).await;
    let (from, to) = (written[3].created_at, written[0].created_at + DAY);
    let span = |state, limit| Span { from, to, state, limit };
    let failed = replay_span(&mut conn, endpoint(1), &span(Some(DeliveryState::Failed), 9)).await.unwrap();
    assert_eq!(failed, (1, Some(written[2].created_at)));
    let first = replay_span(&mut conn, endpoint(1), &span(None, 1)).await.unwrap();
    assert_eq!(first, (1, Some(from)));
    let late = Span { from: written[2].created_at, ..span(None, 9) };
    assert_eq!(replay_span(&mut conn, endpoint(1), &late).await.unwrap(), (1, Some(written[1].created_at)));
    assert_eq!(replay_span(&mut conn, endpoint(1), &span(None, 9)).await.unwrap(), (0, None), "all is to be sent");
    assert_eq!(list(&mut conn, endpoint(2), Some(DeliveryState::ToSend), None, 9).await.unwrap().len(), 1);
}

#[tokio::test]
async fn the_log_is_read_from_the_latest_event_on() {
    let (_database, mut conn) = shard().await;
    insert(&mut conn, &[news(1, 1), news(3, 1), news(2, 1), news(4, 2)]).await.unwrap();
    let ids = |found: Vec<Delivery>| found.iter().map(|own| own.event_id.as_uuid().as_bytes()[15]).collect::<Vec<_>>();
    let first = list(&mut conn, endpoint(1), None, None, 2).await.unwrap();
    let cursor = first[1].event_id;
    assert_eq!(ids(first), [3, 2]);
    assert_eq!(ids(list(&mut conn, endpoint(1), None, Some(cursor), 2).await.unwrap()), [1]);
}

#[tokio::test]
async fn what_is_old_is_forgotten_a_little_at_a_time_and_what_waits_is_measured() {
    let (_database, mut conn) = shard().await;
    insert(&mut conn, &[news(1, 1), news(2, 1), news(3, 2)]).await.unwrap();
    turn(&mut conn, 120).await;
    let seconds = oldest_due(&mut conn, &[endpoint(1)]).await.unwrap();
    assert!((119.0..130.0).contains(&seconds), "{seconds}");
    assert!(oldest_due(&mut conn, &[]).await.unwrap().abs() < f64::EPSILON);
    assert_eq!(prune(&mut conn, DAY, 9).await.unwrap(), 0);
    turn(&mut conn, 90_000).await;
    assert_eq!(prune(&mut conn, DAY, 2).await.unwrap(), 2);
    assert_eq!(prune(&mut conn, DAY, 2).await.unwrap(), 1);
}

#[tokio::test]
async fn the_database_refuses_what_no_delivery_can_be() {
    let (_database, mut conn) = shard().await;
    insert(&mut conn, &[news(1, 1)]).await.unwrap();
    for (change, constraint) in [
        ("state = 'sent'", "webhook_state_known"),
        ("state = 'delivered'", "webhook_deliveries_delivered_at_an_instant"),
        ("forgiven = 1", "webhook_deliveries_forgiven_at_most_all"),
        ("attempts = -1", "attempt_count_not_negative"),
        ("last_answer = repeat('x', 1025)", "webhook_deliveries_last_answer_short"),
    ] {
        let sql = format!("UPDATE webhook_deliveries SET {change}");
        let refused = StoreError::from(conn.execute(sqlx::AssertSqlSafe(sql)).await.unwrap_err());
        assert_eq!(refused.constraint(), Some(constraint));
    }
}
