//! Writing events beside the change that makes them true.

use region_core_store::{StoreError, expect_rows};
use sqlx::PgConnection;

use crate::NewEvent;

/// Writes events inside the caller's transaction, in this order, with one statement. After the commit call
/// [`crate::Wake::notify`].
///
/// # What is required of writers
/// Events of one order are heard in the order in which they happened only if every transaction that says one
/// - calls this after the order's row (for payment events its payment's) is locked or written, and
/// - has a transaction id higher than that of the order's event before it on this topic. Either it locks the row first,
///   with `SELECT … FOR UPDATE` while it has no id yet: that waits without one, whereas an `UPDATE`, or anything written or
///   locked earlier, takes the id before the wait. Or what it says was decided on a state committed before it took its id,
///   as by a consumer, which hears only of settled transactions, or by a compare-and-set on a state read before.
///
/// A writer that takes its id, waits for the row and then speaks whatever it finds breaks this: while an unrelated
/// transaction between the two ids stays open, its event is read first.
///
/// # Errors
/// [`StoreError::Sql`] with constraint `outbox_event_id_once` if an event was written before.
pub async fn append(conn: &mut PgConnection, events: &[NewEvent]) -> Result<(), StoreError> {
    if events.is_empty() {
        return Ok(());
    }
    let ids: Vec<_> = events.iter().map(|event| event.event_id.as_uuid()).collect();
    let topics: Vec<_> = events.iter().map(|event| event.topic.name().to_owned()).collect();
    let kinds: Vec<_> = events.iter().map(|event| event.kind.to_owned()).collect();
    let aggregates: Vec<_> = events.iter().map(|event| event.aggregate_id.as_uuid()).collect();
    let versions: Vec<_> = events.iter().map(|event| event.aggregate_version).collect();
    let payloads: Vec<_> = events.iter().map(|event| event.payload.clone()).collect();
    let traces: Vec<_> = events.iter().map(|event| event.traceparent.clone()).collect();
    let done = sqlx::query!(
        r#"
        INSERT INTO outbox (event_id, topic, kind, aggregate_id, aggregate_version, payload, traceparent)
        SELECT event_id, topic, kind, aggregate_id, aggregate_version, payload, traceparent
        FROM UNNEST($1::uuid[], $2::text[], $3::text[], $4::uuid[], $5::bigint[], $6::jsonb[], $7::text[])
            WITH ORDINALITY AS new (event_id, topic, kind, aggregate_id, aggregate_version, payload, traceparent, place)
        ORDER BY place
        "#,
        &ids,
        &topics,
        &kinds,
        &aggregates,
        &versions,
        &payloads,
        &traces as &[Option<String>],
    )
    .execute(conn)
    .await?;
    expect_rows("outbox", done.rows_affected(), ids.len() as u64)
}
