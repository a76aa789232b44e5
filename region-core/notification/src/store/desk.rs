//! What the order desk sees of an order's notifications, and the copies that it asks for.

use region_core_store::StoreError;
use shared::api::desk::{Notification, NotificationState};
use shared::{EventId, IdempotencyKey, OrderId};
use sqlx::PgConnection;
use time::OffsetDateTime;
use uuid::Uuid;

use crate::rules::{Channel, State};

/// Most notifications of one order that are shown.
const MOST_SHOWN: i64 = 100;

/// What the order's shopper is told, newest first.
pub(crate) async fn list(conn: &mut PgConnection, order: OrderId) -> Result<Vec<Notification>, StoreError> {
    let rows = sqlx::query_as!(
        Row,
        "SELECT event_id, channel, template, recipient, state, attempts, last_error, copy_of, created_at, sent_at
         FROM notifications WHERE order_id = $1 ORDER BY sequence DESC LIMIT $2",
        order.as_uuid(),
        MOST_SHOWN,
    );
    rows.fetch_all(conn).await?.into_iter().map(Notification::try_from).collect()
}

/// What a copy is made of: never a copy itself.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct First {
    pub(crate) event_id: EventId,
    pub(crate) template: String,
    pub(crate) state: State,
}

/// The order's notification of that name, or what that is a copy of, locked: its copies come one after the other.
pub(crate) async fn lock_first(
    conn: &mut PgConnection,
    order: OrderId,
    notification: EventId,
    channel: Channel,
) -> Result<Option<First>, StoreError> {
    let row = sqlx::query!(
        "SELECT event_id, template, state FROM notifications AS first
         WHERE first.order_id = $1 AND first.channel = $3 AND first.event_id = (
             SELECT coalesce(named.copy_of, named.event_id) FROM notifications AS named
             WHERE named.event_id = $2 AND named.channel = $3)
         FOR NO KEY UPDATE",
        order.as_uuid(),
        notification.as_uuid(),
        channel.name(),
    );
    let first = |event_id, template, state: String| {
        Ok(First { event_id: EventId::from_uuid(event_id), template, state: parsed(&state)? })
    };
    row.fetch_optional(conn).await?.map(|row| first(row.event_id, row.template, row.state)).transpose()
}

/// A copy that was asked for before.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Known {
    pub(crate) event_id: EventId,
    pub(crate) key: String,
    pub(crate) state: State,
}

/// The copies of it.
pub(crate) async fn copies(
    conn: &mut PgConnection,
    first: EventId,
    channel: Channel,
) -> Result<Vec<Known>, StoreError> {
    let rows = sqlx::query!(
        r#"SELECT event_id, copy_key AS "copy_key!", state FROM notifications WHERE copy_of = $1 AND channel = $2"#,
        first.as_uuid(),
        channel.name(),
    );
    let known = |event_id, key, state: String| {
        Ok(Known { event_id: EventId::from_uuid(event_id), key, state: parsed(&state)? })
    };
    rows.fetch_all(conn).await?.into_iter().map(|row| known(row.event_id, row.copy_key, row.state)).collect()
}

/// A copy that is to be sent.
#[derive(Clone, Debug)]
pub(crate) struct NewCopy<'a> {
    pub(crate) event_id: EventId,
    pub(crate) message_id: &'a str,
    pub(crate) of: EventId,
    pub(crate) channel: Channel,
    pub(crate) key: &'a IdempotencyKey,
}

/// Keeps a copy to be sent.
pub(crate) async fn insert_copy(conn: &mut PgConnection, copy: &NewCopy<'_>) -> Result<(), StoreError> {
    let done = sqlx::query!(
        "INSERT INTO notifications
             (event_id, channel, order_id, template, payload, recipient, message_id, copy_of, copy_key)
         SELECT $1, channel, order_id, template, payload, recipient, $2, event_id, $3::text
         FROM notifications WHERE event_id = $4 AND channel = $5",
        copy.event_id.as_uuid(),
        copy.message_id,
        copy.key.as_str(),
        copy.of.as_uuid(),
        copy.channel.name(),
    );
    region_core_store::expect_rows("notifications", done.execute(conn).await?.rows_affected(), 1)
}

fn parsed(state: &str) -> Result<State, StoreError> {
    State::parse(state).ok_or_else(|| StoreError::corrupt("notifications.state", state))
}

/// A row as read.
struct Row {
    event_id: Uuid,
    channel: String,
    template: String,
    recipient: String,
    state: String,
    attempts: i32,
    last_error: Option<String>,
    copy_of: Option<Uuid>,
    created_at: OffsetDateTime,
    sent_at: Option<OffsetDateTime>,
}

impl TryFrom<Row> for Notification {
    type Error = StoreError;

    fn try_from(row: Row) -> Result<Self, StoreError> {
        let state = match parsed(&row.state)? {
            State::ToSend => NotificationState::ToSend,
            State::Sent => NotificationState::Sent,
            State::Failed => NotificationState::Failed,
            State::Bounced => NotificationState::Bounced,
            State::Unwanted => NotificationState::Unwanted,
        };
        let attempts = u32::try_from(row.attempts);
        Ok(Self {
            notification_id: EventId::from_uuid(row.event_id),
            channel: row.channel,
            template: row.template,
            recipient: row.recipient,
            state,
            attempts: attempts.map_err(|_| StoreError::corrupt("notifications.attempts", row.attempts))?,
            error: row.last_error,
            copy_of: row.copy_of.map(EventId::from_uuid),
            created_at: row.created_at,
            sent_at: row.sent_at,
        })
    }
}

#[cfg(test)]
mod tests;
