//! The `webhook_deliveries` table, each function inside its caller's transaction.

use std::time::Duration;

use region_core_store::StoreError;
use serde_json::Value;
use shared::api::webhook::{Delivery, DeliveryState};
use shared::{EndpointId, EventId, OrderId};
use sqlx::PgConnection;
use time::OffsetDateTime;
use uuid::Uuid;

use crate::rules::Settled;

/// What an endpoint is to be told.
#[derive(Clone, Debug)]
pub(crate) struct New {
    pub(crate) endpoint_id: EndpointId,
    pub(crate) event_id: EventId,
    pub(crate) order_id: Option<OrderId>,
    pub(crate) event_type: &'static str,
    pub(crate) data: Value,
}

/// A delivery that no other worker makes while its lease lasts.
#[derive(Clone, PartialEq, Debug)]
pub(crate) struct Leased {
    pub(crate) endpoint_id: EndpointId,
    pub(crate) event_id: EventId,
    pub(crate) order_id: Option<OrderId>,
    pub(crate) event_type: String,
    pub(crate) data: Value,
    /// The lease's number; no two of a row have the same.
    pub(crate) attempts: i32,
    /// Which attempt that is since it was last asked for, from 1.
    pub(crate) tries: i32,
}

/// What an attempt came to.
#[derive(Clone, Debug)]
pub(crate) struct Change {
    pub(crate) endpoint_id: EndpointId,
    pub(crate) event_id: EventId,
    /// The lease's number.
    pub(crate) attempts: i32,
    pub(crate) settled: Settled,
}

/// How the database spells a state; never changes.
pub(crate) const fn spelt(state: DeliveryState) -> &'static str {
    match state {
        DeliveryState::ToSend => "to_send",
        DeliveryState::Delivered => "delivered",
        DeliveryState::Failed => "failed",
    }
}

fn parsed(state: &str) -> Result<DeliveryState, StoreError> {
    let all = [DeliveryState::ToSend, DeliveryState::Delivered, DeliveryState::Failed];
    let known = all.into_iter().find(|known| spelt(*known) == state);
    known.ok_or_else(|| StoreError::corrupt("webhook_deliveries.state", state))
}

/// Keeps what is to be told; what is kept already stays as it is.
pub(crate) async fn insert(conn: &mut PgConnection, new: &[New]) -> Result<(), StoreError> {
    if new.is_empty() {
        return Ok(());
    }
    let endpoints: Vec<_> = new.iter().map(|new| new.endpoint_id.as_uuid()).collect();
    let events: Vec<_> = new.iter().map(|new| new.event_id.as_uuid()).collect();
    let orders: Vec<_> = new.iter().map(|new| new.order_id.map(OrderId::as_uuid)).collect();
    let types: Vec<_> = new.iter().map(|new| new.event_type).collect();
    let data: Vec<_> = new.iter().map(|new| new.data.clone()).collect();
    sqlx::query!(
        "INSERT INTO webhook_deliveries (endpoint_id, event_id, order_id, event_type, data)
         SELECT * FROM UNNEST($1::uuid[], $2::uuid[], $3::uuid[], $4::text[], $5::jsonb[])
         ON CONFLICT (endpoint_id, event_id) DO NOTHING",
        &endpoints,
        &events,
        &orders as &[Option<Uuid>],
        &types as &[&str],
        &data,
    )
    .execute(conn)
    .await?;
    Ok(())
}

/// Takes what is due, of each endpoint at most as many as there is room for, the longest due first, and keeps others off
/// them for `lease`.
pub(crate) async fn lease(
    conn: &mut PgConnection,
    rooms: &[(EndpointId, i64)],
    lease: Duration,
) -> Result<Vec<Leased>, StoreError> {
    let (endpoints, rooms): (Vec<_>, Vec<_>) = rooms.iter().map(|(id, room)| (id.as_uuid(), *room)).unzip();
    let rows = sqlx::query!(
        r#"
        WITH due AS MATERIALIZED (
            SELECT open.endpoint_id, taken.event_id
            FROM UNNEST($1::uuid[], $2::bigint[]) AS open (endpoint_id, room) CROSS JOIN LATERAL (
                SELECT event_id FROM webhook_deliveries AS one
                WHERE one.endpoint_id = open.endpoint_id AND is_open AND next_attempt_at <= (SELECT shard_now())
                  AND (leased_until IS NULL OR leased_until < (SELECT shard_now()))
                ORDER BY next_attempt_at LIMIT open.room FOR UPDATE SKIP LOCKED
            ) AS taken
            -- More than all of them have room for: else a planner that knows no room would read the whole table.
            LIMIT 256
        )
        UPDATE webhook_deliveries AS own
        SET leased_until = shard_now() + make_interval(secs => $3), attempts = own.attempts + 1
        FROM due WHERE own.endpoint_id = due.endpoint_id AND own.event_id = due.event_id
        RETURNING own.endpoint_id, own.event_id, own.order_id, own.event_type, own.data, own.attempts AS "attempts: i32",
                  own.attempts - own.forgiven AS "tries!"
        "#,
        &endpoints,
        &rooms,
        lease.as_secs_f64(),
    )
    .fetch_all(conn)
    .await?;
    let leased = rows.into_iter().map(|row| Leased {
        endpoint_id: EndpointId::from_uuid(row.endpoint_id),
        event_id: EventId::from_uuid(row.event_id),
        order_id: row.order_id.map(OrderId::from_uuid),
        event_type: row.event_type,
        data: row.data,
        attempts: row.attempts,
        tries: row.tries,
    });
    Ok(leased.collect())
}

/// Keeps what attempts came to, and tells of which. A result of an attempt whose lease ran out and was taken by another is
/// dropped, unless it says that the endpoint has it: then no other needs to send it. So is one from before a replay.
pub(crate) async fn settle(
    conn: &mut PgConnection,
    changes: &[Change],
) -> Result<Vec<(EndpointId, EventId)>, StoreError> {
    let endpoints: Vec<_> = changes.iter().map(|change| change.endpoint_id.as_uuid()).collect();
    let events: Vec<_> = changes.iter().map(|change| change.event_id.as_uuid()).collect();
    let attempts: Vec<_> = changes.iter().map(|change| change.attempts).collect();
    let states: Vec<_> = changes.iter().map(|change| spelt(change.settled.state)).collect();
    let pauses: Vec<_> = changes.iter().map(|change| change.settled.pause.as_secs_f64()).collect();
    let statuses: Vec<_> = changes.iter().map(|change| change.settled.status.map(i32::from)).collect();
    let errors: Vec<_> = changes.iter().map(|change| change.settled.error.clone()).collect();
    let answers: Vec<_> = changes.iter().map(|change| change.settled.said.clone()).collect();
    let kept = sqlx::query!(
        r#"
        UPDATE webhook_deliveries AS own SET
            state = new.state, last_status = new.status, last_error = new.error, last_answer = new.answer,
            leased_until = NULL,
            next_attempt_at = CASE WHEN new.state = 'to_send' THEN shard_now() + make_interval(secs => new.pause)
                                   ELSE own.next_attempt_at END,
            delivered_at = CASE WHEN new.state = 'delivered' THEN shard_now() END
        FROM UNNEST($1::uuid[], $2::uuid[], $3::integer[], $4::text[], $5::float8[], $6::integer[], $7::text[], $8::text[])
            AS new (endpoint_id, event_id, attempts, state, pause, status, error, answer)
        WHERE own.endpoint_id = new.endpoint_id AND own.event_id = new.event_id AND own.state = 'to_send'
          AND new.attempts > own.forgiven AND (own.attempts = new.attempts OR new.state = 'delivered')
        RETURNING own.endpoint_id, own.event_id
        "#,
        &endpoints,
        &events,
        &attempts,
        &states as &[&str],
        &pauses,
        &statuses as &[Option<i32>],
        &errors as &[Option<String>],
        &answers as &[Option<String>],
    )
    .fetch_all(conn)
    .await?;
    let kept = kept.into_iter().map(|row| (EndpointId::from_uuid(row.endpoint_id), EventId::from_uuid(row.event_id)));
    Ok(kept.collect())
}

/// For how many seconds the longest due of these endpoints has been due; 0 if none is.
pub(crate) async fn oldest_due(conn: &mut PgConnection, endpoints: &[EndpointId]) -> Result<f64, StoreError> {
    let endpoints: Vec<_> = endpoints.iter().map(|id| id.as_uuid()).collect();
    let seconds = sqlx::query_scalar!(
        r#"
        SELECT max(extract(epoch FROM shard_now() - due.next_attempt_at))::float8 AS seconds
        FROM UNNEST($1::uuid[]) AS open (endpoint_id) CROSS JOIN LATERAL (
            SELECT next_attempt_at FROM webhook_deliveries AS own
            WHERE own.endpoint_id = open.endpoint_id AND is_open ORDER BY next_attempt_at LIMIT 1
        ) AS due
        "#,
        &endpoints,
    )
    .fetch_one(conn)
    .await?;
    Ok(seconds.unwrap_or_default().max(0.0))
}

/// Forgets at most `limit` of what is older than `age`.
pub(crate) async fn prune(conn: &mut PgConnection, age: Duration, limit: i64) -> Result<u64, StoreError> {
    let done = sqlx::query!(
        "DELETE FROM webhook_deliveries WHERE (endpoint_id, event_id) IN (
             SELECT endpoint_id, event_id FROM webhook_deliveries
             WHERE created_at < shard_now() - make_interval(secs => $1) ORDER BY created_at LIMIT $2
             FOR UPDATE SKIP LOCKED)",
        age.as_secs_f64(),
        limit,
    );
    Ok(done.execute(conn).await?.rows_affected())
}

/// The endpoint's deliveries of the latest events before `before`.
pub(crate) async fn list(
    conn: &mut PgConnection,
    endpoint: EndpointId,
    state: Option<DeliveryState>,
    before: Option<EventId>,
    limit: i64,
) -> Result<Vec<Delivery>, StoreError> {
    let rows = sqlx::query!(
        r#"
        SELECT event_id, order_id, event_type, state AS "state: String", attempts AS "attempts: i32", next_attempt_at,
               last_status, last_error, last_answer, created_at, delivered_at
        FROM webhook_deliveries
        WHERE endpoint_id = $1 AND event_id < coalesce($2, 'ffffffff-ffff-ffff-ffff-ffffffffffff'::uuid) AND ($3::text IS NULL OR state = $3)
        ORDER BY event_id DESC LIMIT $4
        "#,
        endpoint.as_uuid(),
        before.map(EventId::as_uuid),
        state.map(spelt),
        limit,
    )
    .fetch_all(conn)
    .await?;
    rows.into_iter()
        .map(|row| {
            let state = parsed(&row.state)?;
            Ok(Delivery {
                event_id: EventId::from_uuid(row.event_id),
                event_type: row.event_type,
                order_id: row.order_id.map(OrderId::from_uuid),
                state,
                attempts: u32::try_from(row.attempts).unwrap_or_default(),
                next_attempt_at: (state == DeliveryState::ToSend).then_some(row.next_attempt_at),
                last_status: row.last_status.and_then(|status| u16::try_from(status).ok()),
                last_error: row.last_error,
                last_answer: row.last_answer,
                created_at: row.created_at,
                delivered_at: row.delivered_at,
            })
        })
        .collect()
}

/// Has one sent once more, or now if it is still to be sent. `false` if it is not here.
pub(crate) async fn replay_one(
    conn: &mut PgConnection,
    endpoint: EndpointId,
    event: EventId,
) -> Result<bool, StoreError> {
    let done = sqlx::query!(
        "UPDATE webhook_deliveries SET
             state = 'to_send', next_attempt_at = shard_now(), delivered_at = NULL,
             forgiven = CASE WHEN is_open THEN forgiven ELSE attempts END,
             leased_until = CASE WHEN is_open THEN leased_until END
         WHERE endpoint_id = $1 AND event_id = $2",
        endpoint.as_uuid(),
        event.as_uuid(),
    );
    Ok(done.execute(conn).await?.rows_affected() == 1)
}

/// A span of time, and how much of it is taken.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Span {
    pub(crate) from: OffsetDateTime,
    pub(crate) to: OffsetDateTime,
    pub(crate) state: Option<DeliveryState>,
    pub(crate) limit: i64,
}

/// Has what was written down in a span sent once more, the oldest first. How many, and when the last of them was written down.
pub(crate) async fn replay_span(
    conn: &mut PgConnection,
    endpoint: EndpointId,
    span: &Span,
) -> Result<(i64, Option<OffsetDateTime>), StoreError> {
    let row = sqlx::query!(
        r#"
        WITH again AS (
            SELECT event_id, created_at FROM webhook_deliveries
            WHERE endpoint_id = $1 AND NOT is_open AND created_at >= $2 AND created_at < $3
              AND ($4::text IS NULL OR state = $4)
            ORDER BY created_at, event_id LIMIT $5 FOR UPDATE
        ), done AS (
            UPDATE webhook_deliveries AS own SET
                state = 'to_send', next_attempt_at = shard_now(), delivered_at = NULL, forgiven = attempts,
                leased_until = NULL
            FROM again WHERE own.endpoint_id = $1 AND own.event_id = again.event_id
            RETURNING again.created_at
        )
        SELECT count(*) AS "replayed!", max(created_at) AS last FROM done
        "#,
        endpoint.as_uuid(),
        span.from,
        span.to,
        span.state.map(spelt),
        span.limit,
    )
    .fetch_one(conn)
    .await?;
    Ok((row.replayed, row.last))
}

#[cfg(test)]
mod tests;
