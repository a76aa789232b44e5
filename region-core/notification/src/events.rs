//! What notification hears, and what it writes down to be told.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::time::Duration;

use futures::FutureExt;
use futures::future::BoxFuture;
use region_core_events::{AfterCommit, Consumer, Event, HandleError, Wakes};
use shared::ShardId;
use sqlx::PgConnection;

use crate::driver::Post;
use crate::rules::{self, Channel, Template};
use crate::store::{self, New, push};

/// Whom a row for browsers names: which they are is looked up when it is due.
const BROWSERS: &str = "browsers";

/// Hears what became of orders and writes down who is to be told of it.
#[derive(Clone)]
pub struct News {
    pub(crate) post: Arc<Post>,
    pub(crate) wakes: Wakes,
    pub(crate) rest: Duration,
    pub(crate) old_news: Duration,
}

impl std::fmt::Debug for News {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("News").field("rest", &self.rest).finish_non_exhaustive()
    }
}

impl News {
    async fn write_down(&self, conn: &mut PgConnection, events: &[Event]) -> Result<(), HandleError> {
        let news: Vec<&Event> = events.iter().filter(|event| event.age() < self.old_news).collect();
        let orders: Vec<_> = news.iter().map(|event| event.aggregate_id).collect();
        let addresses = self.post.book.addresses(conn, &orders).await?;
        let phones =
            if self.post.by(Channel::Sms) { self.post.book.phones(conn, &orders).await? } else { HashMap::default() };
        let browsers =
            if self.post.by(Channel::Push) { push::told_of(conn, &orders).await? } else { HashSet::default() };
        let mut new = Vec::new();
        for event in news {
            let template = Template::of(event)?;
            if let Some(address) = addresses.get(&event.aggregate_id) {
                new.push(self.row(event, Channel::Mail, template, address.as_str()));
            }
            if let Some(phone) = phones.get(&event.aggregate_id).filter(|_| template.is_optional()) {
                new.push(self.row(event, Channel::Sms, template, phone.as_str()));
            }
            if browsers.contains(&event.aggregate_id) {
                new.push(self.row(event, Channel::Push, template, BROWSERS));
            }
        }
        Ok(store::insert(conn, &new).await?)
    }

    fn row(&self, event: &Event, channel: Channel, template: Template, recipient: &str) -> New {
        New {
            event_id: event.event_id,
            channel,
            order_id: event.aggregate_id,
            template,
            payload: event.payload.clone(),
            recipient: recipient.to_owned(),
            message_id: rules::message_id(event.event_id, channel, self.post.shop.domain()),
        }
    }
}

impl Consumer for News {
    fn name(&self) -> &'static str {
        "notification"
    }

    fn kinds(&self) -> &'static [&'static str] {
        &Template::KINDS
    }

    fn handle<'a>(
        &'a self,
        shard: ShardId,
        conn: &'a mut PgConnection,
        events: &'a [Event],
    ) -> BoxFuture<'a, Result<AfterCommit, HandleError>> {
        async move {
            self.write_down(conn, events).await?;
            let wake = self.wakes.of(shard);
            Ok(AfterCommit::run(move || wake.notify()))
        }
        .boxed()
    }

    fn rest(&self) -> Duration {
        self.rest
    }
}
