use region_core_store::test_support::{TestDatabase, shard_database};
use serde_json::json;
use shared::id::Slot;
use sqlx::pool::PoolConnection;
use sqlx::{Executor, Postgres};

use super::*;
use crate::rules::{Outcome, Patience, message_id, settle as settled};

const MS: u64 = 1_800_000_000_000;
const LEASE: Duration = Duration::from_secs(120);

fn order(number: u8) -> OrderId {
    OrderId::mint(MS, Slot::new(7).unwrap(), [number; 8])
}

/// News number `number`, about that order.
fn news(number: u8, of: u8) -> New {
    let event_id = EventId::mint(MS, [number; 10]);
    New {
        event_id,
        channel: Channel::Mail,
        order_id: order(of),
        template: Template::ALL[usize::from(number) % 3],
        payload: json!({ "order_id": order(of) }),
        recipient: "ada@example.org".to_owned(),
        message_id: message_id(event_id, Channel::Mail, "shop.example"),
    }
}

/// A connection to a fresh shard; its clock is turned by [`turn`].
async fn shard() -> (TestDatabase, PoolConnection<Postgres>) {
    let database = shard_database().await;
    let conn = database.pool.acquire().await.unwrap();
    (database, conn)
}

/// Turns this connection's clock to so long after the start.
async fn turn(conn: &mut PgConnection, minutes: i32) {
    let turn = "SELECT set_config('meridian.clock_offset', make_interval(mins => $1)::text, false)";
    sqlx::query(turn).bind(minutes).execute(conn).await.unwrap();
}

/// What is due, by order: of each there is one at most.
async fn taken(conn: &mut PgConnection) -> Vec<Leased> {
    let mut leased = lease(conn, Channel::Mail, 10, LEASE).await.unwrap();
    leased.sort_unstable_by_key(|leased| leased.order_id);
    leased
}

/// The numbers of the news that is taken, and which attempt at it that is.
async fn numbers(conn: &mut PgConnection) -> Vec<(u8, i32)> {
    let leased = taken(conn).await;
    let mut numbers: Vec<_> =
        leased.iter().map(|leased| (leased.event_id.as_uuid().as_bytes()[15], leased.attempts)).collect();
    numbers.sort_unstable();
    numbers
}

async fn came_to(conn: &mut PgConnection, leased: &Leased, outcome: Outcome) -> bool {
    let settled = settled(leased.attempts, outcome, &Patience::default());
    let change = Change { event_id: leased.event_id, attempts: leased.attempts, settled };
    !settle(conn, Channel::Mail, &[change]).await.unwrap().is_empty()
}

fn no(text: &str) -> String {
    text.to_owned()
}

#[tokio::test]
async fn news_is_written_down_once_and_taken_by_one() {
    let (database, mut conn) = shard().await;
    for _ in 0..3 {
        insert(&mut conn, &[news(1, 1), news(2, 2)]).await.unwrap();
    }
    let mut other = database.pool.acquire().await.unwrap();
    assert_eq!(numbers(&mut conn).await, [(1, 1), (2, 1)]);
    assert_eq!(numbers(&mut other).await, []);
}

#[tokio::test]
async fn two_workers_at_the_same_moment_share_what_is_due() {
    let (database, mut conn) = shard().await;
    insert(&mut conn, &[news(1, 1), news(2, 2)]).await.unwrap();
    let mut first = database.pool.begin().await.unwrap();
    let taken_first = lease(&mut first, Channel::Mail, 1, LEASE).await.unwrap();
    let taken_second = taken(&mut conn).await;
    first.commit().await.unwrap();
    assert_eq!((taken_first.len(), taken_second.len()), (1, 1));
    assert_ne!(taken_first[0].event_id, taken_second[0].event_id);
}

#[tokio::test]
async fn the_news_of_an_order_is_told_in_order() {
    let (_database, mut conn) = shard().await;
    insert(&mut conn, &[news(3, 1), news(1, 1), news(2, 2)]).await.unwrap();
    let first = taken(&mut conn).await;
    assert_eq!(first.iter().map(|leased| leased.order_id).collect::<Vec<_>>(), [order(1), order(2)]);
    assert_eq!(first[0].event_id, news(3, 1).event_id);
    assert!(came_to(&mut conn, &first[0], Outcome::Deferred(no("busy"))).await);
    assert_eq!(numbers(&mut conn).await, [], "the later waits for the earlier");
    turn(&mut conn, 1).await;
    let again = taken(&mut conn).await;
    assert_eq!((again.len(), again[0].event_id, again[0].attempts), (1, first[0].event_id, 2));
    assert!(came_to(&mut conn, &again[0], Outcome::Sent).await);
    assert_eq!(numbers(&mut conn).await, [(1, 1)]);
}

#[tokio::test]
async fn what_can_be_done_without_holds_back_nothing_that_must_be_told_once_it_is_put_off() {
    let (_database, mut conn) = shard().await;
    let of = |template, number| New { template, ..news(number, 1) };
    insert(&mut conn, &[of(Template::ShipmentSent, 1), of(Template::RefundIssued, 2)]).await.unwrap();
    insert(&mut conn, &[of(Template::ShipmentDelivered, 3)]).await.unwrap();
    let sent = taken(&mut conn).await.remove(0);
    assert_eq!(sent.template, Template::ShipmentSent, "its turn comes first");
    assert_eq!(numbers(&mut conn).await, []);
    assert!(came_to(&mut conn, &sent, Outcome::Deferred(no("nobody knows whether it is wanted"))).await);
    let refund = taken(&mut conn).await.remove(0);
    assert_eq!(refund.template, Template::RefundIssued);
    assert!(came_to(&mut conn, &refund, Outcome::Deferred(no("busy"))).await);
    turn(&mut conn, 1).await;
    let again = taken(&mut conn).await;
    assert_eq!((again.len(), again[0].event_id), (1, sent.event_id), "one at a time, in order");
    assert!(came_to(&mut conn, &again[0], Outcome::Deferred(no("still nobody"))).await);
    let refund = taken(&mut conn).await.remove(0);
    assert!(came_to(&mut conn, &refund, Outcome::Sent).await);
    assert_eq!(numbers(&mut conn).await, [], "nothing arrives before it has left");
    turn(&mut conn, 3).await;
    let again = taken(&mut conn).await.remove(0);
    assert!(came_to(&mut conn, &again, Outcome::Sent).await);
    assert_eq!(numbers(&mut conn).await, [(3, 1)]);
}

#[tokio::test]
async fn a_worker_that_crashed_is_replaced_when_its_lease_has_run_out() {
    let (_database, mut conn) = shard().await;
    insert(&mut conn, &[news(1, 1)]).await.unwrap();
    let crashed = taken(&mut conn).await.remove(0);
    turn(&mut conn, 1).await;
    assert_eq!(numbers(&mut conn).await, []);
    turn(&mut conn, 3).await;
    let second = taken(&mut conn).await.remove(0);
    assert_eq!(second.attempts, 2, "what crashed counts");
    assert!(!came_to(&mut conn, &crashed, Outcome::Deferred(no("slow"))).await, "an old answer changes nothing");
    assert!(came_to(&mut conn, &crashed, Outcome::Sent).await, "but what was sent after all need not be sent again");
    assert!(!came_to(&mut conn, &second, Outcome::Bounced(no("gone"))).await);
    turn(&mut conn, 100).await;
    assert_eq!(numbers(&mut conn).await, []);
}

#[tokio::test]
async fn a_deferred_mail_waits_ever_longer_and_is_given_up_after_two_days() {
    let (_database, mut conn) = shard().await;
    insert(&mut conn, &[news(1, 1)]).await.unwrap();
    let (mut minutes, patience) = (0, Patience::default());
    for attempt in 1..=patience.most_attempts {
        let leased = taken(&mut conn).await.remove(0);
        assert_eq!(leased.attempts, attempt);
        assert!(came_to(&mut conn, &leased, Outcome::Deferred(no("busy"))).await);
        let pause = i32::try_from(patience.pause(attempt).as_secs() / 60).unwrap();
        turn(&mut conn, minutes + pause - 1).await;
        assert_eq!(numbers(&mut conn).await, [], "after attempt {attempt}");
        minutes += pause;
        turn(&mut conn, minutes).await;
    }
    assert_eq!(numbers(&mut conn).await, []);
    let row: (String, Option<String>) =
        sqlx::query_as("SELECT state, last_error FROM notifications").fetch_one(&mut *conn).await.unwrap();
    assert_eq!(row, (no("failed"), Some(no("busy"))));
}

#[tokio::test]
async fn after_a_bounce_that_address_is_known_to_be_dead_for_that_order_alone() {
    let (_database, mut conn) = shard().await;
    let elsewhere = New { recipient: no("ada@example.com"), ..news(4, 1) };
    insert(&mut conn, &[news(1, 1), news(2, 1), elsewhere, news(3, 2)]).await.unwrap();
    let first = taken(&mut conn).await;
    assert!(first.iter().all(|leased| !leased.bounced_before));
    assert!(came_to(&mut conn, &first[0], Outcome::Bounced(no("5.1.1 no such user"))).await);
    assert!(came_to(&mut conn, &first[1], Outcome::Sent).await);
    for (event, bounced_before) in [(2, true), (4, false)] {
        let next = taken(&mut conn).await.remove(0);
        assert_eq!((next.event_id, next.bounced_before), (news(event, 1).event_id, bounced_before));
        assert!(came_to(&mut conn, &next, Outcome::Sent).await);
    }
}

#[tokio::test]
async fn what_this_process_cannot_write_is_left_to_one_that_can() {
    let (_database, mut conn) = shard().await;
    insert(&mut conn, &[news(1, 1), news(2, 2)]).await.unwrap();
    conn.execute("UPDATE notifications SET template = 'parcel_lost' WHERE sequence = 1").await.unwrap();
    assert_eq!(numbers(&mut conn).await, [(2, 1)]);
}

#[tokio::test]
async fn the_oldest_due_grows_old_until_it_is_sent_and_what_waits_for_its_time_is_not_due() {
    let (_database, mut conn) = shard().await;
    assert_eq!(oldest_due(&mut conn, Channel::Mail).await.unwrap(), 0.0);
    insert(&mut conn, &[news(1, 1)]).await.unwrap();
    turn(&mut conn, 10).await;
    assert!(oldest_due(&mut conn, Channel::Mail).await.unwrap() >= 600.0);
    let leased = taken(&mut conn).await.remove(0);
    assert!(came_to(&mut conn, &leased, Outcome::Deferred(no("busy"))).await);
    assert_eq!(oldest_due(&mut conn, Channel::Mail).await.unwrap(), 0.0);
}

#[tokio::test]
async fn an_address_is_told_of_ten_cancellations_a_day_and_of_everything_that_was_paid() {
    let (_database, mut conn) = shard().await;
    let of = |template, number: u8| New { template, ..news(number, number) };
    let cancelled: Vec<_> = (0..7).map(|number| of(Template::OrderCancelled, number)).collect();
    insert(&mut conn, &cancelled).await.unwrap();
    let more: Vec<_> = (7..14).map(|number| of(Template::OrderCancelled, number)).collect();
    insert(&mut conn, &more).await.unwrap();
    insert(&mut conn, &more).await.unwrap(); // heard again
    let paid: Vec<_> = (20..26).map(|number| of(Template::OrderConfirmed, number)).collect();
    insert(&mut conn, &paid).await.unwrap();
    insert(&mut conn, &[New { recipient: "bob@example.org".to_owned(), ..of(Template::OrderCancelled, 40) }])
        .await
        .unwrap();
    turn(&mut conn, 24 * 60 + 1).await;
    insert(&mut conn, &[of(Template::OrderCancelled, 50)]).await.unwrap();
    let rows = "SELECT template, recipient, state, count(*) FROM notifications GROUP BY 1, 2, 3 ORDER BY 1, 2, 3";
    let rows: Vec<(String, String, String, i64)> = sqlx::query_as(rows).fetch_all(&mut *conn).await.unwrap();
    let rows: Vec<_> =
        rows.iter().map(|(what, who, state, count)| (&what[6..], &who[..3], state.as_str(), *count)).collect();
    let expected = [
        ("cancelled", "ada", "failed", 4),
        ("cancelled", "ada", "to_send", 11),
        ("cancelled", "bob", "to_send", 1),
        ("confirmed", "ada", "to_send", 6),
    ];
    assert_eq!(rows, expected);
}
