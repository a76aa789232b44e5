//! What who keeps the store sees and does. Whoever calls has checked that the caller does.

use std::sync::Arc;

use region_core_store::{HasStoreError, StoreError, own_slot};
use shared::api::desk::Notification;
use shared::{EventId, IdempotencyKey, OrderId, Problem, ProblemKind, UserId};
use sqlx::PgConnection;

use crate::Notifications;
use crate::driver::Post;
use crate::rules::{self, Channel, NoCopy};
use crate::store::desk::{self, NewCopy};

/// A copy that is on its way.
#[derive(Clone, Debug)]
pub struct Copied {
    /// As it is now.
    pub notification: Notification,
    /// Whether an earlier request under the same key asked for it.
    pub replayed: bool,
}

/// Why no copy is sent; nothing was written then.
#[derive(Debug, thiserror::Error)]
pub enum CopyError {
    /// The order has no such notification.
    #[error("no such notification")]
    NotFound,
    /// Not of this one, or not now.
    #[error(transparent)]
    No(#[from] NoCopy),
    /// The shard failed.
    #[error(transparent)]
    Store(#[from] StoreError),
}

impl HasStoreError for CopyError {
    fn store_error(&self) -> Option<&StoreError> {
        match self {
            Self::Store(error) => Some(error),
            Self::NotFound | Self::No(_) => None,
        }
    }
}

impl From<CopyError> for Problem {
    fn from(error: CopyError) -> Self {
        match error {
            CopyError::NotFound => Self::not_found(),
            CopyError::No(why) => Self::new(ProblemKind::OrderState).detail(why),
            CopyError::Store(error) => error.into(),
        }
    }
}

/// A copy that is asked for.
struct Wanted {
    order: OrderId,
    of: EventId,
    key: IdempotencyKey,
    by: UserId,
    /// Its own name, if it becomes one.
    event_id: EventId,
}

impl Notifications {
    /// What the order's shopper is told, newest first.
    ///
    /// # Errors
    /// Those of the store.
    pub async fn list(&self, order: OrderId) -> Result<Vec<Notification>, StoreError> {
        let shard = self.shards.here(order.slot())?;
        desk::list(&mut *shard.read().await?, order).await
    }

    /// Has what the order's shopper was told sent once more, once under its key, under a Message-ID of its own: what came
    /// back or was given up, and what is said not to have arrived.
    ///
    /// # Errors
    /// [`CopyError::NotFound`]; [`CopyError::No`] while it or another copy of it is to be sent, or if there are too many.
    #[tracing::instrument(name = "notification.copy", skip_all, fields(order.id = %order))]
    pub async fn send_again(
        &self,
        order: OrderId,
        notification: EventId,
        key: IdempotencyKey,
        by: UserId,
    ) -> Result<Copied, CopyError> {
        let shard = self.shards.here(order.slot())?;
        let event_id = EventId::mint(self.clock.unix_ms(), self.entropy.bytes());
        let (post, wanted) = (Arc::clone(&self.post), Wanted { order, of: notification, key, by, event_id });
        let work = async move |conn: &mut PgConnection| copy_in(conn, &post, &wanted).await;
        let (copy, replayed) = shard.write("notification.copy", work).await?;
        if !replayed {
            self.wakes.of(shard.id()).notify();
            metrics::counter!("mails_copied_total").increment(1);
        }
        let all = desk::list(&mut *shard.read().await?, order).await?;
        let notification = all.into_iter().find(|known| known.notification_id == copy);
        Ok(Copied { notification: notification.ok_or(CopyError::NotFound)?, replayed })
    }
}

/// The copy under the key, and whether it was asked for before.
async fn copy_in(conn: &mut PgConnection, post: &Post, wanted: &Wanted) -> Result<(EventId, bool), CopyError> {
    let Wanted { order, of, key, by, event_id } = wanted;
    own_slot(conn, order.slot()).await?;
    let first = desk::lock_first(conn, *order, *of, Channel::Mail).await?.ok_or(CopyError::NotFound)?;
    let copies = desk::copies(conn, first.event_id, Channel::Mail).await?;
    if let Some(known) = copies.iter().find(|copy| copy.key == key.as_str()) {
        return Ok((known.event_id, true));
    }
    rules::may_copy(first.state, &copies.iter().map(|copy| copy.state).collect::<Vec<_>>())?;
    let message_id = rules::message_id(*event_id, Channel::Mail, post.shop.domain());
    let (message_id, of) = (message_id.as_str(), first.event_id);
    desk::insert_copy(conn, &NewCopy { event_id: *event_id, message_id, of, channel: Channel::Mail, key }).await?;
    post.book.note_copy(conn, *order, *by, &first.template).await?;
    Ok((*event_id, false))
}
