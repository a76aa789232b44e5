//! Who is told about orders, and how: what connects notification with the orders that it tells of.

use std::collections::HashMap;
use std::path::PathBuf;
use std::sync::Arc;

use anyhow::{Context, ensure};
use futures::FutureExt;
use futures::future::BoxFuture;
use region_core_notification::{
    LinkKeys, Notifications, OrderBook, Preferences, Push, Services, Shop, Sms, SmsAccount, Smtp, Ways,
};
use region_core_order::Orders;
use region_core_outbound::target::Guard;
use region_core_store::{Shards, StoreError};
use shared::api::order::Order;
use shared::{EmailAddress, OrderId, PhoneNumber, Problem, UserId};
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

    fn phones<'a>(
        &'a self,
        conn: &'a mut PgConnection,
        orders: &'a [OrderId],
    ) -> BoxFuture<'a, Result<HashMap<OrderId, PhoneNumber>, StoreError>> {
        Orders::phones(conn, orders).boxed()
    }

    fn find(&self, order: OrderId) -> BoxFuture<'_, Result<Option<Order>, StoreError>> {
        self.0.find_any(order).boxed()
    }

    fn check_owner(&self, user: UserId, order: OrderId) -> BoxFuture<'_, Result<(), Problem>> {
        async move { self.0.find(user, order).await.map(drop).map_err(Problem::from) }.boxed()
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

/// Who writes, and by which ways.
pub(crate) struct Post {
    shop: Shop,
    ways: Ways,
}

impl Post {
    /// What the configuration says, if it names a mail server.
    pub(crate) fn read(config: &Config, shards: &Shards, clock: &Clock) -> anyhow::Result<Option<Self>> {
        let (mail, store) = (&config.mail, &config.store);
        let Some(url) = &mail.url else {
            ensure!(config.sms.is_none(), "sms: texts go beside mail; mail.url is missing");
            ensure!(config.push.is_none(), "push: browsers are told beside mail; mail.url is missing");
            tracing::info!("without mail.url no mail is written about orders");
            return Ok(None);
        };
        let shop = Shop::new(&store.name, &store.public_url, &mail.from)?;
        let read =
            |file: &PathBuf| std::fs::read(file).with_context(|| format!("mail.ca: {} cannot be read", file.display()));
        let authority = mail.ca.as_ref().map(read).transpose()?;
        let smtp = Smtp::new(url, shop.domain(), authority.as_deref()).context("mail.url")?;
        Ok(Some(Self { shop, ways: Ways { mail: smtp, sms: sms(config)?, push: push(config, shards, clock)? } }))
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
        Notifications::new(shards.clone(), book, self.shop, self.ways, preferences, clock.clone(), entropy.clone())
    }
}

/// Who sends texts, if anybody is configured. Its own words name the key that is wrong.
fn sms(config: &Config) -> anyhow::Result<Option<Sms>> {
    let Some(sms) = &config.sms else {
        tracing::info!("without [sms] nobody is texted");
        return Ok(None);
    };
    let account = SmsAccount {
        url: sms.url.clone(),
        account_sid: sms.account_sid.clone(),
        auth_token: sms.auth_token.clone(),
        from: sms.from.clone(),
    };
    // An API on this machine is a developer's own, or a gateway of the shop's.
    Ok(Some(Sms::new(&account, Guard { loopback: true })?))
}

/// Who pushes to browsers, if keys are configured. Its own words name the key that is wrong.
fn push(config: &Config, shards: &Shards, clock: &Clock) -> anyhow::Result<Option<Push>> {
    let Some(push) = &config.push else {
        tracing::info!("without [push] no browser is told");
        return Ok(None);
    };
    let guard = Guard { loopback: push.allow_loopback };
    let services = Services::new(&push.services, guard)?;
    Ok(Some(Push::new(&push.vapid_private_key, &push.subject, services, shards.clone(), clock.clone())?))
}

/// What the links in mails are signed with.
pub(crate) fn link_keys(config: &Config) -> anyhow::Result<LinkKeys> {
    LinkKeys::new(config.mail.unsubscribe_keys.clone()).context("mail.unsubscribe_keys")
}
