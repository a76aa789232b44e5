//! Reading what another bus tells of: the outbox stays the truth, also of what came before.

use region_core_store::StoreError;
use sqlx::PgConnection;
use uuid::Uuid;

use crate::Event;
use crate::store::cursor::{self, EventRow};

/// The consumer's turn on this shard, until the transaction ends: the lock of its cursor, waited for.
pub(crate) async fn wait_for_turn(conn: &mut PgConnection, consumer: &str) -> Result<(), StoreError> {
    loop {
        let locked = sqlx::query!("SELECT FROM consumer_cursors WHERE consumer = $1 FOR UPDATE", consumer)
            .execute(&mut *conn)
            .await?;
        if locked.rows_affected() > 0 {
            return Ok(());
        }
        cursor::found(conn, consumer).await?;
    }
}

/// Of these events and all that their orders said before them, as far as a relay carried it: what the consumer hears and has neither handled nor set
/// aside, at most `limit`, in the order of the outbox. Events that are not in this outbox, or no longer, are none.
pub(crate) async fn read(
    conn: &mut PgConnection,
    consumer: &str,
    kinds: &[String],
    events: &[Uuid],
    limit: i64,
) -> Result<Vec<Event>, StoreError> {
    let rows = sqlx::query_as!(
        EventRow,
        r#"
        WITH told AS MATERIALIZED (
            SELECT aggregate_id, max(sequence) AS last FROM outbox WHERE event_id = ANY ($2) GROUP BY aggregate_id
        )
        SELECT event.sequence, event.event_id, event.kind, event.aggregate_id, event.aggregate_version, event.payload,
               event.traceparent, extract(epoch FROM shard_now() - event.created_at)::float8 AS "age_seconds!"
        FROM told JOIN relayed_events AS carried
                  ON carried.aggregate_id = told.aggregate_id AND carried.sequence <= told.last
             JOIN outbox AS event ON event.sequence = carried.sequence
        WHERE event.kind = ANY ($3)
          AND NOT EXISTS (SELECT FROM inbox AS entry WHERE entry.consumer = $1 AND entry.event_id = event.event_id)
          AND NOT EXISTS (SELECT FROM event_retries AS retry
                          WHERE retry.consumer = $1 AND retry.event_id = event.event_id)
          AND NOT EXISTS (SELECT FROM dead_letters AS letter
                          WHERE letter.consumer = $1 AND letter.event_id = event.event_id)
        ORDER BY event.sequence LIMIT $4
        "#,
        consumer,
        events,
        kinds,
        limit,
    )
    .fetch_all(conn)
    .await?;
    Ok(rows.into_iter().map(Event::from).collect())
}
