//! Who is written to about orders, and how: what connects notification with the orders that it tells of.

use std::collections::HashMap;
use std::path::PathBuf;
use std::sync::Arc;

use anyhow::Context;
use futures::FutureExt;
use futures::future::BoxFuture;
use region_core_notification::{LinkKeys, Notifications, OrderBook, Preferences, Shop, Smtp};
use region_core_order::Orders;
use region_core_store::{Shards, StoreError};
use shared::api::order::Order;
use shared::{EmailAddress, OrderId, UserId};
use shared_clock::{Clock, Entropy};
use sqlx::PgConnection;

use crate::config::Config;

/// The order service, as notification asks it.
struct Book(Orders);

impl OrderBook for Book {
    fn addresses<'a>(
        &'a self,
        conn: &'a mut PgConnection,
        orders: &'a [OrderId],
    ) -> BoxFuture<'a, Result<HashMap<OrderId, EmailAddress>, StoreError>> {
        Orders::addresses(conn, orders).boxed()
    }

    fn find(&self, order: OrderId) -> BoxFuture<'_, Result<Option<Order>, StoreError>> {
        self.0.find_any(order).boxed()
    }

    fn note_copy<'a>(
        &'a self,
        conn: &'a mut PgConnection,
        order: OrderId,
        by: UserId,
        what: &'a str,
    ) -> BoxFuture<'a, Result<(), StoreError>> {
        Orders::note_resent(conn, order, by, what).boxed()
    }
}

/// Who writes, and through which mail server.
pub(crate) struct Post {
    shop: Shop,
    smtp: Smtp,
}

impl Post {
    /// What the configuration says, if it names a mail server.
    pub(crate) fn read(config: &Config) -> anyhow::Result<Option<Self>> {
        let (mail, store) = (&config.mail, &config.store);
        let Some(url) = &mail.url else {
            tracing::info!("without mail.url no mail is written about orders");
            return Ok(None);
        };
        let shop = Shop::new(&store.name, &store.public_url, &mail.from)?;
        let read =
            |file: &PathBuf| std::fs::read(file).with_context(|| format!("mail.ca: {} cannot be read", file.display()));
        let authority = mail.ca.as_ref().map(read).transpose()?;
        let smtp = Smtp::new(url, shop.domain(), authority.as_deref()).context("mail.url")?;
        Ok(Some(Self { shop, smtp }))
    }

    /// What tells of these orders.
    pub(crate) fn notifications(
        self,
        shards: &Shards,
        orders: &Orders,
        preferences: &Preferences,
        clock: &Clock,
        entropy: &Entropy,
    ) -> Notifications {
        let (book, preferences) = (Arc::new(Book(orders.clone())), preferences.clone());
        Notifications::new(shards.clone(), book, self.shop, self.smtp, preferences, clock.clone(), entropy.clone())
    }
}

/// What the links in mails are signed with.
pub(crate) fn link_keys(config: &Config) -> anyhow::Result<LinkKeys> {
    LinkKeys::new(config.mail.unsubscribe_keys.clone()).context("mail.unsubscribe_keys")
}
