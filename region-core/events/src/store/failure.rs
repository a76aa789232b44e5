//! Events that failed: waiting for another attempt, parked behind one that does, or given up.

use std::collections::HashMap;
use std::time::Duration;

use region_core_store::StoreError;
use shared::{EventId, OrderId};
use sqlx::PgConnection;
use time::OffsetDateTime;
use uuid::Uuid;

use crate::Event;

/// What holds back later events of an order.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Hold {
    /// An earlier event waits for another attempt.
    Retrying,
    /// An earlier event was given up.
    Dead,
}

impl Hold {
    /// Behind an event that was given up, or one that was not.
    pub(crate) fn behind(dead: bool) -> Self {
        if dead { Self::Dead } else { Self::Retrying }
    }
}

/// Orders that are held back for a consumer, and by what.
pub(crate) type Holds = HashMap<Uuid, Hold>;

/// An event whose next attempt is due.
pub(crate) struct Retry {
    pub(crate) event: Event,
    /// Attempts that failed.
    pub(crate) attempts: i32,
}

/// Which of these orders are held back for the consumer, and by what.
pub(crate) async fn holds(conn: &mut PgConnection, consumer: &str, orders: &[Uuid]) -> Result<Holds, StoreError> {
    let rows = sqlx::query!(
        r#"
        SELECT aggregate_id AS "aggregate_id!", bool_or(dead) AS "dead!" FROM (
            SELECT aggregate_id, false AS dead FROM event_retries WHERE consumer = $1 AND aggregate_id = ANY ($2)
            UNION ALL
            SELECT aggregate_id, true FROM dead_letters WHERE consumer = $1 AND aggregate_id = ANY ($2)
        ) AS held GROUP BY aggregate_id
        "#,
        consumer,
        orders,
    )
    .fetch_all(conn)
    .await?;
    Ok(rows.into_iter().map(|row| (row.aggregate_id, Hold::behind(row.dead))).collect())
}

/// Parks an event behind an earlier one of its order.
pub(crate) async fn park(conn: &mut PgConnection, consumer: &str, event: &Event, hold: Hold) -> Result<(), StoreError> {
    match hold {
        Hold::Retrying => {
            sqlx::query!(
                r#"
                INSERT INTO event_retries (consumer, event_id, aggregate_id, sequence, attempts, next_attempt_at)
                VALUES ($1, $2, $3, $4, 0, shard_now()) ON CONFLICT DO NOTHING
                "#,
                consumer,
                event.event_id.as_uuid(),
                event.aggregate_id.as_uuid(),
                event.sequence,
            )
            .execute(conn)
            .await?;
        }
        Hold::Dead => {
            sqlx::query!(
                r#"
                INSERT INTO dead_letters (consumer, event_id, aggregate_id, sequence, attempts, parked, cause)
                VALUES ($1, $2, $3, $4, 0, true, 'parked behind an earlier event of its order') ON CONFLICT DO NOTHING
                "#,
                consumer,
                event.event_id.as_uuid(),
                event.aggregate_id.as_uuid(),
                event.sequence,
            )
            .execute(conn)
            .await?;
        }
    }
    Ok(())
}

/// Keeps a failed attempt; the next one is due in `pause`.
pub(crate) async fn failed(
    conn: &mut PgConnection,
    consumer: &str,
    event: &Event,
    attempts: i32,
    cause: &str,
    pause: Duration,
) -> Result<(), StoreError> {
    sqlx::query!(
        r#"
        INSERT INTO event_retries (consumer, event_id, aggregate_id, sequence, attempts, cause, next_attempt_at)
        VALUES ($1, $2, $3, $4, $5, $6, shard_now() + make_interval(secs => $7))
        ON CONFLICT (consumer, event_id) DO UPDATE
        SET attempts = excluded.attempts, cause = excluded.cause, next_attempt_at = excluded.next_attempt_at
        "#,
        consumer,
        event.event_id.as_uuid(),
        event.aggregate_id.as_uuid(),
        event.sequence,
        attempts,
        cause,
        pause.as_secs_f64(),
    )
    .execute(conn)
    .await?;
    Ok(())
}

/// Gives an event up, and with it those parked behind it.
pub(crate) async fn bury(
    conn: &mut PgConnection,
    consumer: &str,
    event: &Event,
    attempts: i32,
    cause: &str,
) -> Result<(), StoreError> {
    sqlx::query!(
        r#"
        WITH held AS (
            DELETE FROM event_retries WHERE consumer = $1 AND aggregate_id = $3 AND sequence >= $4
            RETURNING event_id, sequence
        ), letters AS (
            SELECT event_id, sequence FROM held WHERE event_id <> $2 UNION ALL SELECT $2, $4::bigint
        )
        INSERT INTO dead_letters (consumer, event_id, aggregate_id, sequence, attempts, parked, cause)
        SELECT $1, event_id, $3, sequence, CASE WHEN event_id = $2 THEN $5 ELSE 0 END, event_id <> $2,
               CASE WHEN event_id = $2 THEN $6 ELSE 'parked behind an earlier event of its order' END
        FROM letters
        "#,
        consumer,
        event.event_id.as_uuid(),
        event.aggregate_id.as_uuid(),
        event.sequence,
        attempts,
        cause,
    )
    .execute(conn)
    .await?;
    Ok(())
}

/// The first waiting event of each order whose attempt is due, at most `limit`, oldest first.
pub(crate) async fn due(conn: &mut PgConnection, consumer: &str, limit: i64) -> Result<Vec<Retry>, StoreError> {
    let rows = sqlx::query_as!(
        RetryRow,
        r#"
        SELECT retry.attempts, event.sequence, event.event_id, event.kind, event.aggregate_id, event.aggregate_version,
               event.payload, event.traceparent,
               extract(epoch FROM shard_now() - event.created_at)::float8 AS "age_seconds!"
        FROM event_retries AS retry JOIN outbox AS event USING (event_id)
        WHERE retry.consumer = $1 AND retry.next_attempt_at <= shard_now()
          AND NOT EXISTS (SELECT FROM event_retries AS earlier
                          WHERE earlier.consumer = retry.consumer AND earlier.aggregate_id = retry.aggregate_id
                            AND earlier.sequence < retry.sequence)
        ORDER BY event.sequence LIMIT $2
        "#,
        consumer,
        limit,
    )
    .fetch_all(conn)
    .await?;
    Ok(rows.into_iter().map(Retry::from).collect())
}

/// Forgets a waiting event: it was handled.
pub(crate) async fn succeeded(conn: &mut PgConnection, consumer: &str, event: &Event) -> Result<(), StoreError> {
    sqlx::query!("DELETE FROM event_retries WHERE consumer = $1 AND event_id = $2", consumer, event.event_id.as_uuid())
        .execute(conn)
        .await?;
    Ok(())
}

/// Waits for the batch under way, which may be parking another event of an order that is decided about.
async fn wait_for_batch(conn: &mut PgConnection, consumer: &str) -> Result<(), StoreError> {
    sqlx::query!("SELECT FROM consumer_cursors WHERE consumer = $1 FOR UPDATE", consumer).execute(conn).await?;
    Ok(())
}

/// Gives an order's dead letters another life, in their order: an operator's replay after the fault was mended. Tells how
/// many there were.
///
/// # Errors
/// [`StoreError::Sql`]; nothing is changed then.
pub async fn replay(conn: &mut PgConnection, consumer: &str, order: OrderId) -> Result<u64, StoreError> {
    wait_for_batch(conn, consumer).await?;
    revive(conn, consumer, order).await
}

/// The same, by whoever has waited for the batch under way.
async fn revive(conn: &mut PgConnection, consumer: &str, order: OrderId) -> Result<u64, StoreError> {
    let done = sqlx::query!(
        r#"
        WITH letters AS (
            DELETE FROM dead_letters WHERE consumer = $1 AND aggregate_id = $2
            RETURNING event_id, aggregate_id, sequence
        )
        INSERT INTO event_retries (consumer, event_id, aggregate_id, sequence, attempts, next_attempt_at)
        SELECT $1, event_id, aggregate_id, sequence, 0, shard_now() FROM letters
        "#,
        consumer,
        order.as_uuid(),
    )
    .execute(conn)
    .await?;
    Ok(done.rows_affected())
}

/// Has the consumer go without an event that it gave up, for the operator's `reason`, and gives those that are parked behind it
/// another life. Tells how many those are; nothing if there is no such event, or it is parked itself.
///
/// # Errors
/// [`StoreError::Sql`], also if `reason` is empty or longer than 500 characters; nothing is changed then.
pub async fn skip(
    conn: &mut PgConnection,
    consumer: &str,
    order: OrderId,
    event: EventId,
    reason: &str,
) -> Result<Option<u64>, StoreError> {
    wait_for_batch(conn, consumer).await?;
    // The inbox says that it was handled, for whoever should read it once more.
    let skipped = sqlx::query!(
        r#"
        WITH letter AS (
            DELETE FROM dead_letters WHERE consumer = $1 AND aggregate_id = $2 AND event_id = $3 AND NOT parked RETURNING cause
        ), handled AS (
            INSERT INTO inbox (consumer, event_id) SELECT $1, $3 FROM letter ON CONFLICT DO NOTHING
        )
        INSERT INTO skipped_events (consumer, event_id, aggregate_id, cause, reason)
        SELECT $1, $3, $2, cause, $4 FROM letter
        "#,
        consumer,
        order.as_uuid(),
        event.as_uuid(),
        reason,
    )
    .execute(&mut *conn)
    .await?;
    if skipped.rows_affected() == 0 {
        return Ok(None);
    }
    revive(conn, consumer, order).await.map(Some)
}

/// Whether an operator had the consumer go without that event of the order.
///
/// # Errors
/// [`StoreError::Sql`].
pub async fn is_skipped(
    conn: &mut PgConnection,
    consumer: &str,
    order: OrderId,
    event: EventId,
) -> Result<bool, StoreError> {
    let skipped = sqlx::query_scalar!(
        r#"SELECT EXISTS (SELECT FROM skipped_events
                          WHERE consumer = $1 AND event_id = $2 AND aggregate_id = $3) AS "skipped!""#,
        consumer,
        event.as_uuid(),
        order.as_uuid(),
    );
    Ok(skipped.fetch_one(conn).await?)
}

/// An event that was given up for a consumer.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct DeadLetter {
    /// Who could not handle it.
    pub consumer: String,
    /// The event.
    pub event_id: EventId,
    /// What kind of event it is, unless the outbox has forgotten it.
    pub kind: Option<String>,
    /// The order it is about.
    pub order_id: OrderId,
    /// Attempts that failed.
    pub attempts: i32,
    /// Whether it was never tried, because an earlier event of its order lies here.
    pub parked: bool,
    /// What went wrong last.
    pub cause: String,
    /// When it was given up.
    pub died_at: OffsetDateTime,
}

/// The dead letters of this shard, of every consumer, at most `limit`: each consumer's and each order's in their order.
///
/// # Errors
/// [`StoreError::Sql`].
pub async fn list_dead_letters(conn: &mut PgConnection, limit: i64) -> Result<Vec<DeadLetter>, StoreError> {
    let rows = sqlx::query!(
        r#"
        SELECT letter.consumer, letter.event_id, event.kind AS "kind?", letter.aggregate_id, letter.attempts,
               letter.parked, letter.cause, letter.died_at
        FROM dead_letters AS letter LEFT JOIN outbox AS event USING (event_id)
        ORDER BY letter.consumer, letter.aggregate_id, letter.sequence LIMIT $1
        "#,
        limit,
    )
    .fetch_all(conn)
    .await?;
    let letters = rows.into_iter().map(|row| DeadLetter {
        consumer: row.consumer,
        event_id: EventId::from_uuid(row.event_id),
        kind: row.kind,
        order_id: OrderId::from_uuid(row.aggregate_id),
        attempts: row.attempts,
        parked: row.parked,
        cause: row.cause,
        died_at: row.died_at,
    });
    Ok(letters.collect())
}

/// How many dead letters each of these consumers has on this shard, none included.
pub(crate) async fn count_dead_letters(
    conn: &mut PgConnection,
    consumers: &[String],
) -> Result<Vec<(String, i64)>, StoreError> {
    let rows = sqlx::query!(
        r#"
        SELECT consumer AS "consumer!",
               (SELECT count(*) FROM dead_letters WHERE dead_letters.consumer = asked.consumer) AS "count!"
        FROM UNNEST($1::text[]) AS asked (consumer)
        "#,
        consumers,
    )
    .fetch_all(conn)
    .await?;
    Ok(rows.into_iter().map(|row| (row.consumer, row.count)).collect())
}

/// A waiting event with its outbox row.
struct RetryRow {
    attempts: i32,
    sequence: i64,
    event_id: Uuid,
    kind: String,
    aggregate_id: Uuid,
    aggregate_version: i64,
    payload: serde_json::Value,
    traceparent: Option<String>,
    age_seconds: f64,
}

impl From<RetryRow> for Retry {
    fn from(row: RetryRow) -> Self {
        let event = Event {
            event_id: EventId::from_uuid(row.event_id),
            kind: row.kind,
            aggregate_id: OrderId::from_uuid(row.aggregate_id),
            aggregate_version: row.aggregate_version,
            payload: row.payload,
            traceparent: row.traceparent,
            sequence: row.sequence,
            age_seconds: row.age_seconds,
        };
        Self { event, attempts: row.attempts }
    }
}

#[cfg(test)]
mod tests {
    use region_core_store::test_support::shard_database;

    use super::*;

    #[tokio::test]
    async fn dead_letters_are_counted_for_each_consumer_until_they_are_replayed() {
        let database = shard_database().await;
        let mut conn = database.pool.acquire().await.unwrap();
        let letters = r"
            INSERT INTO dead_letters (consumer, event_id, aggregate_id, sequence, attempts, cause)
            SELECT 'sick', ('00000000-0000-7000-8000-00000000000' || number)::uuid,
                   '00000000-0000-7000-8000-000000000000', number, 5, 'test'
            FROM generate_series(1, 3) AS number";
        sqlx::raw_sql(letters).execute(&mut *conn).await.unwrap();
        let asked = ["sick".to_owned(), "well".to_owned()];
        let count = async |conn: &mut PgConnection| {
            let mut counts = count_dead_letters(conn, &asked).await.unwrap();
            counts.sort();
            counts.into_iter().map(|(_, count)| count).collect::<Vec<_>>()
        };
        assert_eq!(count(&mut conn).await, [3, 0]);
        let order = OrderId::from_uuid("00000000-0000-7000-8000-000000000000".parse().unwrap());
        assert_eq!(replay(&mut conn, "sick", order).await.unwrap(), 3);
        assert_eq!(count(&mut conn).await, [0, 0]);
    }
}
