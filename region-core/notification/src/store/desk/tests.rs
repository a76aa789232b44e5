use region_core_store::test_support::{TestDatabase, shard_database};
use serde_json::json;
use shared::id::Slot;

use super::*;
use crate::rules::{Template, message_id};
use crate::store::{self, New};

const MS: u64 = 1_800_000_000_000;

fn order() -> OrderId {
    OrderId::mint(MS, Slot::new(7).unwrap(), [1; 8])
}

fn event(number: u8) -> EventId {
    EventId::mint(MS, [number; 10])
}

fn key(text: &str) -> IdempotencyKey {
    text.parse().unwrap()
}

/// A shard with one notification of [`order`], number 1, that stands so.
async fn told(state: State) -> TestDatabase {
    let database = shard_database().await;
    let mut conn = database.pool.acquire().await.unwrap();
    let new = New {
        event_id: event(1),
        channel: Channel::Mail,
        order_id: order(),
        template: Template::OrderConfirmed,
        payload: json!({ "order_id": order() }),
        recipient: "ada@example.org".to_owned(),
        message_id: message_id(event(1), Channel::Mail, "shop.example"),
    };
    store::insert(&mut conn, &[new]).await.unwrap();
    let stands = "UPDATE notifications SET state = $1, sent_at = CASE WHEN $1 = 'sent' THEN shard_now() END";
    sqlx::query(stands).bind(state.name()).execute(&mut *conn).await.unwrap();
    database
}

async fn copy(conn: &mut PgConnection, number: u8, text: &str) -> Result<(), StoreError> {
    let message_id = message_id(event(number), Channel::Mail, "shop.example");
    let (of, key) = (event(1), key(text));
    let new = NewCopy { event_id: event(number), message_id: &message_id, of, channel: Channel::Mail, key: &key };
    insert_copy(conn, &new).await
}

#[tokio::test]
async fn a_copy_says_the_same_to_the_same_under_a_name_of_its_own() {
    let database = told(State::Sent).await;
    let mut conn = database.pool.acquire().await.unwrap();
    copy(&mut conn, 2, "once").await.unwrap();
    let shown = list(&mut conn, order()).await.unwrap();
    let of: Vec<_> = shown.iter().map(|shown| (shown.notification_id, shown.copy_of, shown.state)).collect();
    let expected = [(event(2), Some(event(1)), NotificationState::ToSend), (event(1), None, NotificationState::Sent)];
    assert_eq!(of, expected, "newest first");
    assert_eq!((&shown[0].template, &shown[0].recipient), (&shown[1].template, &shown[1].recipient));
    let ids = "SELECT count(DISTINCT message_id) FROM notifications";
    assert_eq!(sqlx::query_scalar::<_, i64>(ids).fetch_one(&mut *conn).await.unwrap(), 2);
}

#[tokio::test]
async fn a_key_makes_one_copy_and_a_copy_s_copy_is_one_of_the_first() {
    let database = told(State::Bounced).await;
    let mut conn = database.pool.acquire().await.unwrap();
    copy(&mut conn, 2, "once").await.unwrap();
    let twice = copy(&mut conn, 3, "once").await.unwrap_err();
    assert_eq!(twice.constraint(), Some("notifications_copied_once"));
    for named in [event(1), event(2)] {
        let first = lock_first(&mut conn, order(), named, Channel::Mail).await.unwrap().unwrap();
        assert_eq!((first.event_id, first.state), (event(1), State::Bounced));
    }
    let known = copies(&mut conn, event(1), Channel::Mail).await.unwrap();
    assert_eq!(known, [Known { event_id: event(2), key: "once".to_owned(), state: State::ToSend }]);
}

#[tokio::test]
async fn a_notification_is_found_under_its_own_order_alone() {
    let database = told(State::Sent).await;
    let mut conn = database.pool.acquire().await.unwrap();
    let other = OrderId::mint(MS, Slot::new(7).unwrap(), [2; 8]);
    for (order, notification) in [(other, event(1)), (order(), event(9))] {
        assert_eq!(lock_first(&mut conn, order, notification, Channel::Mail).await.unwrap(), None);
    }
    assert_eq!(list(&mut conn, other).await.unwrap(), []);
}

#[tokio::test]
async fn a_copy_goes_where_an_earlier_one_came_back_from_and_later_news_follow_it() {
    let database = told(State::Bounced).await;
    let mut conn = database.pool.acquire().await.unwrap();
    let later = async |conn: &mut PgConnection, number: u8| {
        let sql = "INSERT INTO notifications (event_id, channel, order_id, template, payload, recipient, message_id)
                   SELECT $2, channel, order_id, template, payload, recipient, message_id || $2::text
                   FROM notifications WHERE event_id = $1";
        sqlx::query(sql).bind(event(1).as_uuid()).bind(event(number).as_uuid()).execute(conn).await.unwrap();
    };
    let leased = async |conn: &mut PgConnection| {
        let minute = std::time::Duration::from_secs(60);
        let leased = store::lease(conn, Channel::Mail, 10, minute).await.unwrap().remove(0);
        let sent =
            "UPDATE notifications SET state = 'sent', sent_at = shard_now(), leased_until = NULL WHERE event_id = $1";
        if !leased.bounced_before {
            sqlx::query(sent).bind(leased.event_id.as_uuid()).execute(&mut *conn).await.unwrap();
        }
        (leased.event_id, leased.bounced_before)
    };
    copy(&mut conn, 2, "try-there-once-more").await.unwrap();
    assert_eq!(leased(&mut conn).await, (event(2), false), "it was asked for");
    later(&mut conn, 3).await;
    assert_eq!(leased(&mut conn).await, (event(3), false), "somebody reads there after all");
    sqlx::query("UPDATE notifications SET state = 'bounced', sent_at = NULL").execute(&mut *conn).await.unwrap();
    later(&mut conn, 4).await;
    assert_eq!(leased(&mut conn).await, (event(4), true));
}
