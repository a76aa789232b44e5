//! The `notifications` table, each function inside its caller's transaction.

pub(crate) mod desk;
pub(crate) mod preferences;
pub(crate) mod push;

use std::time::Duration;

use region_core_store::StoreError;
use serde_json::Value;
use shared::{EventId, OrderId};
use sqlx::PgConnection;
use time::OffsetDateTime;
use uuid::Uuid;

use crate::rules::{Channel, MOST_CANCELLATIONS_A_DAY, Settled, Template};

/// What somebody is to be told.
#[derive(Clone, Debug)]
pub(crate) struct New {
    pub(crate) event_id: EventId,
    pub(crate) channel: Channel,
    pub(crate) order_id: OrderId,
    pub(crate) template: Template,
    pub(crate) payload: Value,
    pub(crate) recipient: String,
    pub(crate) message_id: String,
}

/// A notification that no other worker tells while its lease lasts.
#[derive(Clone, PartialEq, Debug)]
pub(crate) struct Leased {
    pub(crate) event_id: EventId,
    pub(crate) order_id: OrderId,
    pub(crate) template: Template,
    pub(crate) payload: Value,
    pub(crate) recipient: String,
    pub(crate) message_id: String,
    /// This attempt's number, from 1.
    pub(crate) attempts: i32,
    pub(crate) created_at: OffsetDateTime,
    /// Whether the last one of this order came back from this address. Never of a copy: who asks for one has thought of that.
    pub(crate) bounced_before: bool,
}

/// What an attempt came to.
#[derive(Clone, Debug)]
pub(crate) struct Change {
    pub(crate) event_id: EventId,
    /// The attempt's number.
    pub(crate) attempts: i32,
    pub(crate) settled: Settled,
}

/// Keeps what is to be told, in this order; what is kept already stays as it is. An address that was told of
/// [`MOST_CANCELLATIONS_A_DAY`] within a day is told of no more; their rows say why.
pub(crate) async fn insert(conn: &mut PgConnection, new: &[New]) -> Result<(), StoreError> {
    if new.is_empty() {
        return Ok(());
    }
    let events: Vec<_> = new.iter().map(|new| new.event_id.as_uuid()).collect();
    let channels: Vec<_> = new.iter().map(|new| new.channel.name()).collect();
    let orders: Vec<_> = new.iter().map(|new| new.order_id.as_uuid()).collect();
    let templates: Vec<_> = new.iter().map(|new| new.template.name()).collect();
    let payloads: Vec<_> = new.iter().map(|new| new.payload.clone()).collect();
    let recipients: Vec<_> = new.iter().map(|new| new.recipient.as_str()).collect();
    let message_ids: Vec<_> = new.iter().map(|new| new.message_id.as_str()).collect();
    sqlx::query!(
        r#"
        WITH new AS (
            SELECT new.*, CASE WHEN template = 'order_cancelled' AND channel = 'mail' THEN
                row_number() OVER (PARTITION BY template, channel, recipient ORDER BY place) + (
                    SELECT count(*) FROM notifications AS told
                    WHERE told.template = 'order_cancelled' AND told.recipient = new.recipient
                      AND told.created_at > shard_now() - interval '1 day') > $8 ELSE false END AS too_many
            FROM UNNEST($1::uuid[], $2::text[], $3::uuid[], $4::text[], $5::jsonb[], $6::text[], $7::text[])
                WITH ORDINALITY AS new (event_id, channel, order_id, template, payload, recipient, message_id, place)
        )
        INSERT INTO notifications
            (event_id, channel, order_id, template, payload, recipient, message_id, state, last_error)
        SELECT event_id, channel, order_id, template, payload, recipient, message_id,
            CASE WHEN too_many THEN 'failed' ELSE 'to_send' END,
            CASE WHEN too_many THEN 'this address was told of too many cancellations today' END
        FROM new ORDER BY place
        ON CONFLICT (event_id, channel) DO NOTHING
        "#,
        &events,
        &channels as &[&str],
        &orders,
        &templates as &[&str],
        &payloads,
        &recipients as &[&str],
        &message_ids as &[&str],
        MOST_CANCELLATIONS_A_DAY,
    )
    .execute(conn)
    .await?;
    Ok(())
}

/// Takes at most `limit` that are due, the longest due first, and keeps others off them for `lease`. Of each order only
/// the first that is not settled yet: its news is told in order. But what its shopper may do without, once put off, holds back
/// nothing that he must be told. Templates that this process does not know are left.
pub(crate) async fn lease(
    conn: &mut PgConnection,
    channel: Channel,
    limit: i64,
    lease: Duration,
) -> Result<Vec<Leased>, StoreError> {
    let templates = Template::ALL.map(Template::name);
    let optional: Vec<_> = Template::ALL.into_iter().filter(|told| told.is_optional()).map(Template::name).collect();
    sqlx::query_as!(
        LeasedRow,
        r#"
        UPDATE notifications AS due
        SET leased_until = shard_now() + make_interval(secs => $4), attempts = due.attempts + 1
        WHERE (event_id, channel) IN (
            SELECT event_id, channel FROM notifications AS open
            WHERE is_open AND next_attempt_at <= (SELECT shard_now())
              AND (leased_until IS NULL OR leased_until < (SELECT shard_now()))
              AND channel = $1 AND template = ANY ($2)
              AND NOT EXISTS (SELECT FROM notifications AS earlier
                              WHERE earlier.order_id = open.order_id AND earlier.sequence < open.sequence
                                AND earlier.channel = open.channel AND earlier.is_open
                                AND (earlier.template <> ALL ($5) OR open.template = ANY ($5)
                                     OR earlier.next_attempt_at <= (SELECT shard_now())))
            ORDER BY next_attempt_at LIMIT $3 FOR UPDATE SKIP LOCKED
        )
        RETURNING event_id, order_id, template, payload, recipient, message_id, attempts, created_at,
                  due.copy_of IS NULL AND coalesce((
                      SELECT earlier.state = 'bounced' FROM notifications AS earlier
                      WHERE earlier.order_id = due.order_id AND earlier.channel = due.channel
                        AND earlier.recipient = due.recipient AND earlier.state IN ('bounced', 'sent')
                      ORDER BY earlier.sequence DESC LIMIT 1), false) AS "bounced_before!"
        "#,
        channel.name(),
        &templates as &[&str],
        limit,
        lease.as_secs_f64(),
        &optional as &[&str],
    )
    .fetch_all(conn)
    .await?
    .into_iter()
    .map(Leased::try_from)
    .collect()
}

/// Keeps what attempts came to, and tells of which events. A result of an attempt whose lease ran out and was taken by
/// another is dropped, unless it says that the mail is out: then no other needs to send it.
pub(crate) async fn settle(
    conn: &mut PgConnection,
    channel: Channel,
    changes: &[Change],
) -> Result<Vec<EventId>, StoreError> {
    let events: Vec<_> = changes.iter().map(|change| change.event_id.as_uuid()).collect();
    let attempts: Vec<_> = changes.iter().map(|change| change.attempts).collect();
    let states: Vec<_> = changes.iter().map(|change| change.settled.state.name()).collect();
    let pauses: Vec<_> = changes.iter().map(|change| change.settled.pause.as_secs_f64()).collect();
    let errors: Vec<_> = changes.iter().map(|change| change.settled.error.clone()).collect();
    let kept = sqlx::query_scalar!(
        r#"
        UPDATE notifications SET
            state = new.state, last_error = new.error, leased_until = NULL,
            next_attempt_at = CASE WHEN new.state = 'to_send' THEN shard_now() + make_interval(secs => new.pause)
                                   ELSE notifications.next_attempt_at END,
            sent_at = CASE WHEN new.state = 'sent' THEN shard_now() END
        FROM UNNEST($2::uuid[], $3::integer[], $4::text[], $5::float8[], $6::text[])
            AS new (event_id, attempts, state, pause, error)
        WHERE notifications.event_id = new.event_id AND notifications.channel = $1 AND notifications.state = 'to_send'
          AND (notifications.attempts = new.attempts OR new.state = 'sent')
        RETURNING notifications.event_id
        "#,
        channel.name(),
        &events,
        &attempts,
        &states as &[&str],
        &pauses,
        &errors as &[Option<String>],
    )
    .fetch_all(conn)
    .await?;
    Ok(kept.into_iter().map(EventId::from_uuid).collect())
}

/// For how many seconds the longest due has been due; 0 if none is.
pub(crate) async fn oldest_due(conn: &mut PgConnection, channel: Channel) -> Result<f64, StoreError> {
    let seconds = sqlx::query_scalar!(
        r#"
        SELECT extract(epoch FROM shard_now() - next_attempt_at)::float8 AS "seconds!"
        FROM notifications WHERE is_open AND channel = $1 ORDER BY next_attempt_at LIMIT 1
        "#,
        channel.name(),
    )
    .fetch_optional(conn)
    .await?;
    Ok(seconds.unwrap_or_default().max(0.0))
}

/// A leased row as read.
struct LeasedRow {
    event_id: Uuid,
    order_id: Uuid,
    template: String,
    payload: Value,
    recipient: String,
    message_id: String,
    attempts: i32,
    created_at: OffsetDateTime,
    bounced_before: bool,
}

impl TryFrom<LeasedRow> for Leased {
    type Error = StoreError;

    fn try_from(row: LeasedRow) -> Result<Self, StoreError> {
        let template = Template::parse(&row.template);
        Ok(Self {
            event_id: EventId::from_uuid(row.event_id),
            order_id: OrderId::from_uuid(row.order_id),
            template: template.ok_or_else(|| StoreError::corrupt("notifications.template", &row.template))?,
            payload: row.payload,
            recipient: row.recipient,
            message_id: row.message_id,
            attempts: row.attempts,
            created_at: row.created_at,
            bounced_before: row.bounced_before,
        })
    }
}

#[cfg(test)]
mod tests;
