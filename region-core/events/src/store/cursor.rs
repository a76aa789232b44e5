//! Reading: cursors, windows and the inbox.
//!
//! A row is safe to read once every transaction up to its own has ended: its id lies below `pg_snapshot_xmin`. The rows
//! that became safe since the last look are one window. Windows follow each other in transaction ids; within one, rows
//! follow each other in sequence numbers.
//!
//! So nothing is lost, whoever writes. The order of one order's events is kept from window to window only if the writer of
//! the later event has the higher transaction id, which nothing here checks: [`crate::append`] says what that asks of
//! writers.

use std::time::Duration;

use region_core_store::StoreError;
use shared::{EventId, OrderId};
use sqlx::PgConnection;
use uuid::Uuid;

use crate::Event;
use crate::store::failure::{Hold, Holds};

/// How far a consumer has read.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Cursor {
    /// Transactions below are settled.
    pub(crate) settled_before: i64,
    /// Transactions from here on wait for the next window.
    pub(crate) window_before: i64,
    /// Last sequence handled in the window.
    pub(crate) sequence: i64,
    /// Last sequence in the window.
    pub(crate) window_last: i64,
}

impl Cursor {
    /// Whether all of the window was handled.
    pub(crate) fn window_is_done(self) -> bool {
        self.sequence >= self.window_last
    }
}

/// What there is to do for a consumer.
#[derive(Clone, Copy, PartialEq, Debug)]
pub(crate) struct Peek {
    /// Events that it hears.
    pub(crate) heard: bool,
    /// Attempts that are due.
    pub(crate) retries: bool,
    /// Events that others hear: the cursor may pass them when it likes.
    pub(crate) passing: bool,
    /// Events that are committed or will be, but are not safe to read yet.
    pub(crate) unsettled: bool,
    /// If asked: seconds since the oldest event that it hears and has neither handled nor set aside was written, whether that
    /// event is safe to read already or not: a transaction that never ends holds the bus up, and must show.
    pub(crate) lag_seconds: Option<f64>,
}

/// Makes the consumer's cursor, at the oldest event that is kept, unless it has one.
pub(crate) async fn found(conn: &mut PgConnection, consumer: &str) -> Result<(), StoreError> {
    sqlx::query!("INSERT INTO consumer_cursors (consumer) VALUES ($1) ON CONFLICT DO NOTHING", consumer)
        .execute(conn)
        .await?;
    Ok(())
}

/// Looks without locking or writing, so that idle polling costs neither a transaction id nor a flush. How far the consumer
/// lags is looked for only if that is asked, and what may be passed or is not settled only where there is nothing to hear.
/// Events younger than `grace` are left to another bus: they count as nothing yet.
pub(crate) async fn peek(
    conn: &mut PgConnection,
    consumer: &str,
    kinds: &[String],
    lag: bool,
    grace: Duration,
) -> Result<Peek, StoreError> {
    let row = sqlx::query!(
        r#"
        WITH cursor AS MATERIALIZED (
            SELECT settled_before, window_before, sequence, window_last, sequence >= window_last AS done,
                   least(pg_snapshot_xmin(pg_current_snapshot())::text::bigint, CASE WHEN $4::float8 > 0 THEN (
                       SELECT transaction_id FROM outbox
                       WHERE transaction_id >= window_before AND created_at > shard_now() - make_interval(secs => $4)
                       ORDER BY transaction_id LIMIT 1) END) AS safe_before
            FROM consumer_cursors WHERE consumer = $1
        ), heard AS MATERIALIZED (
            -- Ordered, as all of these, so that each is one step into the index and never a scan of all that is kept.
            SELECT NOT done OR (
                SELECT true FROM outbox
                WHERE transaction_id >= cursor.window_before AND transaction_id < cursor.safe_before AND kind = ANY ($2)
                ORDER BY transaction_id LIMIT 1) IS NOT NULL AS any
            FROM cursor
        )
        SELECT
            heard.any AS "heard!",
            CASE WHEN $3 THEN coalesce(
                (SELECT created_at FROM outbox
                 WHERE NOT cursor.done AND sequence > cursor.sequence AND sequence <= cursor.window_last
                   AND transaction_id >= cursor.settled_before AND transaction_id < cursor.window_before
                   AND kind = ANY ($2)
                 ORDER BY sequence LIMIT 1),
                (SELECT created_at FROM outbox
                 WHERE transaction_id >= cursor.window_before AND kind = ANY ($2)
                 ORDER BY transaction_id, sequence LIMIT 1)) END AS oldest_heard,
            NOT heard.any AND (
                SELECT true FROM outbox
                WHERE transaction_id >= cursor.window_before AND transaction_id < cursor.safe_before
                ORDER BY transaction_id LIMIT 1) IS NOT NULL AS "passing!",
            NOT heard.any AND $4 = 0 AND (
                SELECT true FROM outbox WHERE transaction_id >= cursor.safe_before
                ORDER BY transaction_id LIMIT 1) IS NOT NULL AS "unsettled!",
            EXISTS (SELECT FROM event_retries AS retry
                    WHERE retry.consumer = $1 AND retry.next_attempt_at <= shard_now()
                      AND NOT EXISTS (SELECT FROM event_retries AS earlier
                                      WHERE earlier.consumer = $1 AND earlier.aggregate_id = retry.aggregate_id
                                        AND earlier.sequence < retry.sequence)) AS "retry_due!",
            shard_now() AS "now!"
        FROM cursor, heard
        "#,
        consumer,
        kinds,
        lag,
        grace.as_secs_f64(),
    )
    .fetch_one(conn)
    .await?;
    let behind =
        row.oldest_heard.map_or(0.0, |oldest| (row.now - oldest).as_seconds_f64() - grace.as_secs_f64()).max(0.0);
    Ok(Peek {
        heard: row.heard,
        retries: row.retry_due,
        passing: row.passing,
        unsettled: row.unsettled,
        lag_seconds: lag.then_some(behind),
    })
}

/// The consumer's cursor, locked until the transaction ends; `None` while another process holds it.
pub(crate) async fn lock(conn: &mut PgConnection, consumer: &str) -> Result<Option<Cursor>, StoreError> {
    let cursor = sqlx::query_as!(
        Cursor,
        r#"
        SELECT settled_before, window_before, sequence, window_last
        FROM consumer_cursors WHERE consumer = $1 FOR UPDATE SKIP LOCKED
        "#,
        consumer,
    )
    .fetch_optional(conn)
    .await?;
    Ok(cursor)
}

/// A look at what comes next.
#[derive(Debug)]
pub(crate) struct Reading {
    /// In the window that is read.
    pub(crate) cursor: Cursor,
    /// The window's next events.
    pub(crate) events: Vec<Event>,
    /// Which of their orders are held back.
    pub(crate) holds: Holds,
}

/// The next window: what became safe to read since the last one was opened, and is older than `grace`.
pub(crate) async fn next_window(conn: &mut PgConnection, done: Cursor, grace: Duration) -> Result<Cursor, StoreError> {
    Ok(read(conn, "", done, &[], 0, grace).await?.cursor)
}

/// The window's next events of these kinds, at most `limit`; of the next window, once all of this one was handled: what became safe
/// to read since it was opened, and is older than `grace`.
///
/// The cursor is locked, by a statement before this one: so what another process has set aside is seen.
pub(crate) async fn read(
    conn: &mut PgConnection,
    consumer: &str,
    cursor: Cursor,
    kinds: &[String],
    limit: i64,
    grace: Duration,
) -> Result<Reading, StoreError> {
    let rows = sqlx::query!(
        r#"
        WITH bound AS MATERIALIZED (
            SELECT least(pg_snapshot_xmin(pg_current_snapshot())::text::bigint, CASE WHEN $4::float8 > 0 THEN (
                       SELECT transaction_id FROM outbox
                       WHERE transaction_id >= $6 AND created_at > shard_now() - make_interval(secs => $4)
                       ORDER BY transaction_id LIMIT 1) END) AS safe_before
        ),
        -- By itself, for a least and a greatest sequence would otherwise be looked for from the beginning of all that is kept.
        safe AS MATERIALIZED (
            SELECT sequence FROM outbox
            WHERE $9 AND transaction_id >= $6 AND transaction_id < (SELECT safe_before FROM bound)
            ORDER BY transaction_id
        ),
        open AS MATERIALIZED (
            SELECT CASE WHEN $9 THEN $6::bigint ELSE $5::bigint END AS settled_before,
                   CASE WHEN $9 THEN greatest((SELECT safe_before FROM bound), $6) ELSE $6 END AS window_before,
                   CASE WHEN $9 THEN coalesce(min(sequence) - 1, 0) ELSE $7::bigint END AS sequence,
                   CASE WHEN $9 THEN coalesce(max(sequence), 0) ELSE $8::bigint END AS window_last
            FROM safe
        )
        SELECT open.settled_before AS "settled_before!", open.window_before AS "window_before!",
               open.sequence AS "before!", open.window_last AS "window_last!",
               event.sequence AS "sequence?", event.event_id AS "event_id?", event.kind AS "kind?",
               event.aggregate_id AS "aggregate_id?", event.aggregate_version AS "aggregate_version?",
               event.payload AS "payload?", event.traceparent AS "traceparent?", event.age_seconds AS "age_seconds?",
               EXISTS (SELECT FROM event_retries AS earlier
                       WHERE earlier.consumer = $1 AND earlier.aggregate_id = event.aggregate_id) AS "retrying!",
               EXISTS (SELECT FROM dead_letters AS earlier
                       WHERE earlier.consumer = $1 AND earlier.aggregate_id = event.aggregate_id) AS "dead!"
        FROM open LEFT JOIN LATERAL (
            SELECT sequence, event_id, kind, aggregate_id, aggregate_version, payload, traceparent,
                   extract(epoch FROM shard_now() - created_at)::float8 AS age_seconds
            FROM outbox
            WHERE outbox.sequence > open.sequence AND outbox.sequence <= open.window_last
              AND transaction_id >= open.settled_before AND transaction_id < open.window_before AND kind = ANY ($2)
            ORDER BY sequence LIMIT $3
        ) AS event ON true
        ORDER BY event.sequence
        "#,
        consumer,
        kinds,
        limit,
        grace.as_secs_f64(),
        cursor.settled_before,
        cursor.window_before,
        cursor.sequence,
        cursor.window_last,
        cursor.window_is_done(),
    )
    .fetch_all(conn)
    .await?;
    let mut reading = Reading { cursor, events: Vec::with_capacity(rows.len()), holds: Holds::new() };
    for row in rows {
        reading.cursor = Cursor {
            settled_before: row.settled_before,
            window_before: row.window_before,
            sequence: row.before,
            window_last: row.window_last,
        };
        let (Some(sequence), Some(event_id), Some(kind), Some(aggregate_id), Some(aggregate_version)) =
            (row.sequence, row.event_id, row.kind, row.aggregate_id, row.aggregate_version)
        else {
            continue; // nothing is heard of the window
        };
        if row.retrying || row.dead {
            reading.holds.insert(aggregate_id, Hold::behind(row.dead));
        }
        reading.events.push(Event {
            event_id: EventId::from_uuid(event_id),
            kind,
            aggregate_id: OrderId::from_uuid(aggregate_id),
            aggregate_version,
            payload: row.payload.unwrap_or_default(),
            traceparent: row.traceparent,
            sequence,
            age_seconds: row.age_seconds.unwrap_or_default(),
        });
    }
    Ok(reading)
}

/// Keeps how far the consumer has read.
pub(crate) async fn advance(conn: &mut PgConnection, consumer: &str, to: Cursor) -> Result<(), StoreError> {
    let done = sqlx::query!(
        r#"
        UPDATE consumer_cursors SET settled_before = $2, window_before = $3, sequence = $4, window_last = $5
        WHERE consumer = $1
        "#,
        consumer,
        to.settled_before,
        to.window_before,
        to.sequence,
        to.window_last,
    )
    .execute(conn)
    .await?;
    region_core_store::expect_rows("consumer_cursors", done.rows_affected(), 1)
}

/// Which of these events the consumer has handled already.
pub(crate) async fn handled(
    conn: &mut PgConnection,
    consumer: &str,
    events: &[Event],
) -> Result<Vec<Uuid>, StoreError> {
    let ids: Vec<_> = events.iter().map(|event| event.event_id.as_uuid()).collect();
    let handled =
        sqlx::query_scalar!("SELECT event_id FROM inbox WHERE consumer = $1 AND event_id = ANY ($2)", consumer, &ids)
            .fetch_all(conn)
            .await?;
    Ok(handled)
}

/// Enters events into the consumer's inbox and tells which were not there before. Moves its cursor as well, if it is to be moved: it is
/// locked then.
pub(crate) async fn enter(
    conn: &mut PgConnection,
    consumer: &str,
    events: &[Event],
    to: Option<Cursor>,
) -> Result<Vec<Uuid>, StoreError> {
    let ids: Vec<_> = events.iter().map(|event| event.event_id.as_uuid()).collect();
    let fresh = sqlx::query_scalar!(
        r#"
        WITH moved AS (
            UPDATE consumer_cursors SET settled_before = $3, window_before = $4, sequence = $5, window_last = $6
            WHERE consumer = $1 AND $3::bigint IS NOT NULL
        )
        INSERT INTO inbox (consumer, event_id) SELECT $1, event_id FROM UNNEST($2::uuid[]) AS heard (event_id)
        ON CONFLICT DO NOTHING RETURNING event_id
        "#,
        consumer,
        &ids,
        to.map(|to| to.settled_before),
        to.map(|to| to.window_before),
        to.map(|to| to.sequence),
        to.map(|to| to.window_last),
    )
    .fetch_all(conn)
    .await?;
    Ok(fresh)
}

/// An outbox row as read.
pub(crate) struct EventRow {
    pub(crate) sequence: i64,
    pub(crate) event_id: Uuid,
    pub(crate) kind: String,
    pub(crate) aggregate_id: Uuid,
    pub(crate) aggregate_version: i64,
    pub(crate) payload: serde_json::Value,
    pub(crate) traceparent: Option<String>,
    pub(crate) age_seconds: f64,
}

impl From<EventRow> for Event {
    fn from(row: EventRow) -> Self {
        Self {
            event_id: EventId::from_uuid(row.event_id),
            kind: row.kind,
            aggregate_id: OrderId::from_uuid(row.aggregate_id),
            aggregate_version: row.aggregate_version,
            payload: row.payload,
            traceparent: row.traceparent,
            sequence: row.sequence,
            age_seconds: row.age_seconds,
        }
    }
}

#[cfg(test)]
mod tests {
    use region_core_store::test_support::shard_database;

    use super::*;

    /// Three events of an order, each written a minute after the one before, the last a minute ago.
    const THREE_EVENTS: &str = r"
        INSERT INTO outbox (event_id, topic, kind, aggregate_id, aggregate_version, payload, created_at)
        SELECT ('00000000-0000-7000-8000-00000000000' || number)::uuid, 'order_events', 'OrderClaimed',
               '00000000-0000-7000-8000-000000000000', number, '{}', shard_now() - make_interval(mins => 4 - number)
        FROM generate_series(1, 3) AS number";

    async fn lag_minutes(conn: &mut PgConnection, kind: &str) -> f64 {
        (peek(conn, "scribe", &[kind.to_owned()], true, Duration::ZERO).await.unwrap().lag_seconds.unwrap() / 60.0)
            .floor()
    }

    #[tokio::test]
    async fn the_lag_grows_behind_a_transaction_that_stays_open() {
        let database = shard_database().await;
        let (mut conn, mut open) = (database.pool.acquire().await.unwrap(), database.pool.begin().await.unwrap());
        found(&mut conn, "scribe").await.unwrap();
        sqlx::query("SELECT pg_current_xact_id()").execute(&mut *open).await.unwrap();
        sqlx::raw_sql(THREE_EVENTS).execute(&mut *conn).await.unwrap();
        let stuck = peek(&mut conn, "scribe", &["OrderClaimed".to_owned()], false, Duration::ZERO).await.unwrap();
        assert!(!stuck.heard && stuck.unsettled && stuck.lag_seconds.is_none(), "{stuck:?}");
        assert_eq!(lag_minutes(&mut conn, "OrderClaimed").await, 3.0);
        assert_eq!(lag_minutes(&mut conn, "OrderShipped").await, 0.0, "a lag behind what it does not hear");
        open.rollback().await.unwrap();
    }

    #[tokio::test]
    async fn the_lag_counts_what_is_left_of_the_window_under_way() {
        let database = shard_database().await;
        let mut conn = database.pool.acquire().await.unwrap();
        found(&mut conn, "scribe").await.unwrap();
        sqlx::raw_sql(THREE_EVENTS).execute(&mut *conn).await.unwrap();
        // Long settled, whatever else runs on this server.
        sqlx::query("UPDATE outbox SET transaction_id = aggregate_version").execute(&mut *conn).await.unwrap();
        let cursor = lock(&mut conn, "scribe").await.unwrap().unwrap();
        let cursor = next_window(&mut conn, cursor, Duration::ZERO).await.unwrap();
        for (handled, left_minutes) in [(0, 3.0), (1, 2.0), (2, 1.0), (3, 0.0)] {
            let to = Cursor { sequence: cursor.sequence + handled, ..cursor };
            advance(&mut conn, "scribe", to).await.unwrap();
            assert_eq!(lag_minutes(&mut conn, "OrderClaimed").await, left_minutes, "after {handled}");
        }
    }

    #[tokio::test]
    async fn what_is_younger_than_the_grace_is_left_alone() {
        let database = shard_database().await;
        let mut conn = database.pool.acquire().await.unwrap();
        found(&mut conn, "scribe").await.unwrap();
        sqlx::raw_sql(THREE_EVENTS).execute(&mut *conn).await.unwrap();
        sqlx::query("UPDATE outbox SET transaction_id = aggregate_version").execute(&mut *conn).await.unwrap();
        let kinds = ["OrderClaimed".to_owned()];
        let cursor = lock(&mut conn, "scribe").await.unwrap().unwrap();
        // They were written three, two and one minutes ago.
        for (grace_seconds, old) in [(0, 3), (90, 2), (150, 1), (600, 0)] {
            let grace = Duration::from_secs(grace_seconds);
            let window = next_window(&mut conn, cursor, grace).await.unwrap();
            let reading = read(&mut conn, "scribe", cursor, &kinds, 10, grace).await.unwrap();
            let numbers: Vec<_> = reading.events.iter().map(|event| event.aggregate_version).collect();
            assert_eq!(numbers, (1..=old).collect::<Vec<_>>(), "{grace:?}");
            assert_eq!(reading.cursor, window, "{grace:?}");
            if grace > Duration::ZERO {
                assert_eq!(window.window_before, old + 1, "the next window begins with what is young: {grace:?}");
            }
            if old > 0 {
                let again = read(&mut conn, "scribe", window, &kinds, 10, Duration::ZERO).await.unwrap();
                let sequences =
                    |reading: Reading| reading.events.iter().map(|event| event.sequence).collect::<Vec<_>>();
                assert_eq!(again.cursor, window, "a window stays as it was opened");
                assert_eq!(sequences(again), sequences(reading));
            }
            let peek = peek(&mut conn, "scribe", &kinds, true, grace).await.unwrap();
            assert_eq!((peek.heard, peek.passing || peek.unsettled), (old > 0, false), "{grace:?}: {peek:?}");
            assert_eq!(peek.lag_seconds.unwrap() > 0.0, old > 0, "{grace:?}: {peek:?}");
        }
    }
}
