//! Forgetting what every consumer has passed: a thousand rows at a time. The statements name the number themselves, for whoever
//! plans them must know how little is wanted.

use std::time::Duration;

use region_core_store::StoreError;
use sqlx::PgConnection;

/// Deletes at most a thousand events older than `kept` that every cursor has passed and nothing waits for. Tells how many.
///
/// The cursor of a consumer that no longer exists holds everything back until an operator deletes its row.
pub(crate) async fn forget_events(conn: &mut PgConnection, kept: Duration) -> Result<u64, StoreError> {
    let forgotten = sqlx::query_scalar!(
        r#"
        WITH forgotten AS (
            DELETE FROM outbox WHERE sequence IN (
                SELECT sequence FROM (
                    SELECT sequence, created_at FROM outbox AS event
                    WHERE transaction_id < (SELECT coalesce(min(settled_before), 0) FROM consumer_cursors)
                      AND NOT EXISTS (SELECT FROM event_retries AS retry WHERE retry.event_id = event.event_id)
                      AND NOT EXISTS (SELECT FROM dead_letters AS letter WHERE letter.event_id = event.event_id)
                    ORDER BY transaction_id, sequence LIMIT 1000
                ) AS oldest
                WHERE created_at < (SELECT shard_now()) - make_interval(secs => $1)
            ) RETURNING aggregate_id, sequence
        ), carried AS (
            DELETE FROM relayed_events AS carried USING forgotten
            WHERE carried.aggregate_id = forgotten.aggregate_id AND carried.sequence = forgotten.sequence
        )
        SELECT count(*) AS "count!" FROM forgotten
        "#,
        kept.as_secs_f64(),
    )
    .fetch_one(conn)
    .await?;
    Ok(forgotten.unsigned_abs())
}

/// Deletes at most a thousand inbox rows older than `kept` whose events are forgotten and so cannot come again.
pub(crate) async fn forget_inbox(conn: &mut PgConnection, kept: Duration) -> Result<u64, StoreError> {
    let done = sqlx::query!(
        r#"
        DELETE FROM inbox WHERE (consumer, event_id) IN (
            SELECT consumer, event_id FROM inbox AS entry
            WHERE handled_at < (SELECT shard_now()) - make_interval(secs => $1)
              AND NOT EXISTS (SELECT FROM outbox WHERE outbox.event_id = entry.event_id)
            ORDER BY handled_at LIMIT 1000
        )
        "#,
        kept.as_secs_f64(),
    )
    .execute(conn)
    .await?;
    Ok(done.rows_affected())
}

#[cfg(test)]
mod tests {
    use region_core_store::test_support::shard_database;

    use super::*;

    /// Three events of 2000, the second a dead letter, read by one consumer up to and with the second.
    const OLD_EVENTS: &str = r"
        INSERT INTO outbox (transaction_id, event_id, topic, kind, aggregate_id, aggregate_version, payload, created_at)
        SELECT number, ('00000000-0000-7000-8000-00000000000' || number)::uuid, 'order_events', 'OrderCreated',
               '00000000-0000-7000-8000-000000000000', number, '{}', '2000-01-01'
        FROM generate_series(1, 3) AS number;
        INSERT INTO dead_letters (consumer, event_id, aggregate_id, sequence, attempts, cause)
        SELECT 'stock', event_id, aggregate_id, sequence, 5, 'test' FROM outbox WHERE transaction_id = 2;
        INSERT INTO inbox (consumer, event_id, handled_at) SELECT 'stock', event_id, '2000-01-01' FROM outbox;
        INSERT INTO relayed_events (aggregate_id, sequence) SELECT aggregate_id, sequence FROM outbox;
        INSERT INTO consumer_cursors (consumer, settled_before, window_before) VALUES ('stock', 3, 3)";

    #[tokio::test]
    async fn only_what_every_cursor_passed_and_nothing_waits_for_is_forgotten() {
        let database = shard_database().await;
        let mut conn = database.pool.acquire().await.unwrap();
        sqlx::raw_sql(OLD_EVENTS).execute(&mut *conn).await.unwrap();
        let day = Duration::from_secs(86_400);
        let forgotten = forget_events(&mut conn, day).await.unwrap();
        let kept = sqlx::query_scalar!("SELECT transaction_id FROM outbox ORDER BY 1").fetch_all(&mut *conn).await;
        assert_eq!((forgotten, kept.unwrap()), (1, vec![2, 3]));
        let carried =
            sqlx::query_scalar!(r#"SELECT count(*) AS "count!" FROM relayed_events"#).fetch_one(&mut *conn).await;
        assert_eq!(carried.unwrap(), 2, "what is not kept is still said to have been carried");
        assert_eq!(forget_inbox(&mut conn, day).await.unwrap(), 1, "an inbox row goes only after its event");
    }

    #[tokio::test]
    async fn a_young_event_stays_although_all_have_read_it() {
        let database = shard_database().await;
        let mut conn = database.pool.acquire().await.unwrap();
        sqlx::raw_sql(OLD_EVENTS).execute(&mut *conn).await.unwrap();
        assert_eq!(forget_events(&mut conn, Duration::from_secs(100 * 365 * 86_400)).await.unwrap(), 0);
    }
}
