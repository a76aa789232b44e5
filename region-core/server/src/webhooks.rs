//! What connects webhooks with the orders that they tell of, and with where endpoints are kept.

use std::collections::HashMap;
use std::sync::Arc;

use futures::FutureExt;
use futures::future::BoxFuture;
use region_core_notification::Notifications;
use region_core_order::Orders;
use region_core_store::StoreError;
use region_core_webhook::{DisabledFn, OrderBook};
use shared::{Money, OrderId};
use shared_clock::Clock;
use sqlx::PgConnection;

/// The order service, as webhooks ask it.
struct Book;

impl OrderBook for Book {
    fn totals<'a>(
        &'a self,
        conn: &'a mut PgConnection,
        orders: &'a [OrderId],
    ) -> BoxFuture<'a, Result<HashMap<OrderId, Money>, StoreError>> {
        Orders::totals(conn, orders).boxed()
    }
}

/// What webhooks tell of.
pub(crate) fn book() -> Arc<dyn OrderBook> {
    Arc::new(Book)
}

/// Has the shop written to when an endpoint is disabled, if it writes mail at all.
pub(crate) fn disabled(notifications: Option<Notifications>, clock: Clock) -> DisabledFn {
    Arc::new(move |endpoint, reason| {
        let (Some(notifications), now) = (notifications.clone(), clock.now()) else { return };
        let (reason, path) = (reason.to_owned(), format!("/desk/webhooks/{endpoint}"));
        tokio::spawn(async move {
            let text = format!(
                "A webhook endpoint was disabled: {reason}.\nWhat it would be told waits for a month at most. Look at it here:"
            );
            let name = format!("{endpoint}.{}.webhook", now.unix_timestamp());
            notifications.write_home("A webhook endpoint was disabled", &text, &path, &name, now).await;
        });
    })
}
