//! What a relay has handed on, and who may.

use std::time::Duration;

use region_core_store::StoreError;
use shared::{EventId, OrderId};
use sqlx::PgConnection;
use time::OffsetDateTime;
use uuid::Uuid;

use crate::store::cursor::Cursor;
use crate::{Event, Outgoing, Topic};

/// What there is to do for a relay.
#[derive(Clone, Copy, PartialEq, Debug)]
pub(crate) struct Peek {
    /// Events that are safe to read.
    pub(crate) work: bool,
    /// Events that are committed or will be, but are not safe to read yet.
    pub(crate) unsettled: bool,
    /// Whether another process has the lease.
    pub(crate) elsewhere: bool,
    /// Seconds since the oldest event that was not handed on was written.
    pub(crate) lag_seconds: f64,
}

/// Looks without locking or writing; `None` if the relay has no cursor yet.
pub(crate) async fn peek(conn: &mut PgConnection, relay: &str, holder: Uuid) -> Result<Option<Peek>, StoreError> {
    let row = sqlx::query!(
        r#"
        WITH cursor AS MATERIALIZED (
            SELECT settled_before, window_before, sequence, window_last, sequence >= window_last AS done,
                   pg_snapshot_xmin(pg_current_snapshot())::text::bigint AS safe_before
            FROM consumer_cursors WHERE consumer = $1
        )
        SELECT
            NOT done OR (
                SELECT true FROM outbox
                WHERE transaction_id >= cursor.window_before AND transaction_id < cursor.safe_before
                ORDER BY transaction_id LIMIT 1) IS NOT NULL AS "work!",
            (SELECT true FROM outbox WHERE transaction_id >= cursor.safe_before
             ORDER BY transaction_id LIMIT 1) IS NOT NULL AS "unsettled!",
            EXISTS (SELECT FROM relay_leases
                    WHERE consumer = $1 AND holder <> $2 AND leased_until > shard_now()) AS "elsewhere!",
            coalesce(
                (SELECT created_at FROM outbox
                 WHERE NOT cursor.done AND sequence > cursor.sequence AND sequence <= cursor.window_last
                   AND transaction_id >= cursor.settled_before AND transaction_id < cursor.window_before
                 ORDER BY sequence LIMIT 1),
                (SELECT created_at FROM outbox WHERE transaction_id >= cursor.window_before
                 ORDER BY transaction_id, sequence LIMIT 1)) AS oldest,
            shard_now() AS "now!"
        FROM cursor
        "#,
        relay,
        holder,
    )
    .fetch_optional(conn)
    .await?;
    Ok(row.map(|row| Peek {
        work: row.work,
        unsettled: row.unsettled,
        elsewhere: row.elsewhere,
        lag_seconds: row.oldest.map_or(0.0, |oldest| (row.now - oldest).as_seconds_f64()).max(0.0),
    }))
}

/// Takes the lease, or takes it for longer; tells whether `holder` has it now.
pub(crate) async fn lease(
    conn: &mut PgConnection,
    relay: &str,
    holder: Uuid,
    lease: Duration,
) -> Result<bool, StoreError> {
    let done = sqlx::query!(
        r#"
        INSERT INTO relay_leases AS held (consumer, holder, leased_until)
        VALUES ($1, $2, shard_now() + make_interval(secs => $3))
        ON CONFLICT (consumer) DO UPDATE SET holder = excluded.holder, leased_until = excluded.leased_until
        WHERE held.holder = excluded.holder OR held.leased_until <= shard_now()
        "#,
        relay,
        holder,
        lease.as_secs_f64(),
    )
    .execute(conn)
    .await?;
    Ok(done.rows_affected() == 1)
}

/// Ends the lease of `holder`, over or not, unless another took it; tells whether it was `holder`'s. Nobody takes it until the
/// transaction ends.
pub(crate) async fn release(conn: &mut PgConnection, relay: &str, holder: Uuid) -> Result<bool, StoreError> {
    let done = sqlx::query!(
        "UPDATE relay_leases SET leased_until = shard_now() WHERE consumer = $1 AND holder = $2",
        relay,
        holder,
    )
    .execute(conn)
    .await?;
    Ok(done.rows_affected() == 1)
}

/// Keeps what is carried, so that whoever is told of it finds what came before; what was carried already stays.
pub(crate) async fn note(conn: &mut PgConnection, events: &[Outgoing]) -> Result<(), StoreError> {
    let orders: Vec<_> = events.iter().map(|outgoing| outgoing.event.aggregate_id.as_uuid()).collect();
    let sequences: Vec<_> = events.iter().map(|outgoing| outgoing.event.sequence).collect();
    sqlx::query!(
        r#"
        INSERT INTO relayed_events (aggregate_id, sequence)
        SELECT aggregate_id, sequence FROM UNNEST($1::uuid[], $2::bigint[]) AS carried (aggregate_id, sequence)
        ON CONFLICT DO NOTHING
        "#,
        &orders,
        &sequences,
    )
    .execute(conn)
    .await?;
    Ok(())
}

/// The window's next events of every kind, at most `limit`.
pub(crate) async fn read(conn: &mut PgConnection, cursor: Cursor, limit: i64) -> Result<Vec<Outgoing>, StoreError> {
    let rows = sqlx::query_as!(
        OutgoingRow,
        r#"
        SELECT sequence, event_id, topic, kind, aggregate_id, aggregate_version, payload, traceparent,
               created_at, extract(epoch FROM shard_now() - created_at)::float8 AS "age_seconds!"
        FROM outbox
        WHERE sequence > $1 AND sequence <= $2 AND transaction_id >= $3 AND transaction_id < $4
        ORDER BY sequence LIMIT $5
        "#,
        cursor.sequence,
        cursor.window_last,
        cursor.settled_before,
        cursor.window_before,
        limit,
    )
    .fetch_all(conn)
    .await?;
    rows.into_iter().map(Outgoing::try_from).collect()
}

/// An outbox row as it goes out.
struct OutgoingRow {
    sequence: i64,
    event_id: Uuid,
    topic: String,
    kind: String,
    aggregate_id: Uuid,
    aggregate_version: i64,
    payload: serde_json::Value,
    traceparent: Option<String>,
    created_at: OffsetDateTime,
    age_seconds: f64,
}

impl TryFrom<OutgoingRow> for Outgoing {
    type Error = StoreError;

    fn try_from(row: OutgoingRow) -> Result<Self, StoreError> {
        let topic = Topic::ALL.into_iter().find(|topic| topic.name() == row.topic);
        let topic = topic.ok_or_else(|| StoreError::corrupt("outbox.topic", &row.topic))?;
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
        Ok(Self { event, topic, created_at: row.created_at })
    }
}
