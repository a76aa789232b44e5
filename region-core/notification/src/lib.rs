//! Notifications: what becomes of an order is told to its shopper, by mail, and by texts and in his browser if he
//! asked for that.
//!
//! A consumer of the bus writes down what is to be told, one row for each event and channel, in the transaction that enters
//! the event into its inbox. A driver on each shard leases what is due, has it written from the order as it stands now,
//! hands it to a mail server and keeps what came of that. No connection to the database is held while the server talks. A
//! mail is sent at least once, under one Message-ID; an order's news is told in order; to an address that came back nothing
//! more is sent about that order.
//!
//! A way to tell (`way.rs`) makes its message of the same letter. Each has rows, a driver and an order of its own, so that one
//! which stands still holds up no other. By text goes news of parcels alone, to orders that named a number (`sms.rs`). Browsers
//! are told all of an order that its shopper has asked them to tell him of (`push.rs`).
//!
//! An order without an address to write to gets no row: nothing would ever come of it, and an address is never added later.
//! News of more than [`Settings::old_news`] is not told, so that a shop which begins or resumes to write mail does not begin
//! with what everybody knows.
//!
//! Who keeps the store sees what was told of an order, and may have it sent once more (`desk.rs`): that is a notification of
//! its own, even to an address that an earlier one came back from.
//!
//! What an order requires is always told; news of parcels can be done without (`preferences.rs`): by the mail's own link, signed
//! and without a sign-in (RFC 8058), for its address, or by who ordered, for his orders. What is not wanted any more when it is due is kept as such.
//!
//! Deliberately absent: mails to shoppers that belong to no order; bounces that come back later as mail; signing
//! mails (DKIM), which the mail server does.

mod desk;
mod driver;
mod events;
pub mod letter;
mod link;
mod mail;
mod preferences;
mod push;
mod routes;
pub mod rules;
mod sms;
mod smtp;
mod store;
mod way;

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use futures::future::BoxFuture;
use lettre::message::Mailbox;
use region_core_events::Wakes;
use region_core_store::{Shard, Shards, StoreError};
use shared::api::account::Channels;
use shared::api::order::Order;
use shared::{EmailAddress, OrderId, PhoneNumber, Problem, UserId};
use shared_clock::{Clock, Entropy};
use sqlx::PgConnection;
use time::OffsetDateTime;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;
use url::Url;

pub use desk::{Copied, CopyError};
pub use events::News;
pub use link::{LinkKeys, ShortKey};
pub use preferences::{Preferences, PreferencesError};
pub use push::{Push, PushError, Services, push_keys};
pub use routes::{Api, channels_router, internal_router, preferences_router, push_router, router};
pub use sms::{Sms, SmsAccount, SmsError};
pub use smtp::{Smtp, SmtpUrlError};

use crate::driver::{Driver, Post};
use crate::mail::Mailing;
use crate::rules::{Channel, Outcome, Patience};
use crate::way::Way;

/// What notifications ask about orders: handed in by the wiring, since this crate knows nothing of that service.
pub trait OrderBook: Send + Sync + 'static {
    /// Where to write to about these orders, inside the caller's transaction; those that named no address are left out.
    ///
    /// # Errors
    /// When the shard fails.
    fn addresses<'a>(
        &'a self,
        conn: &'a mut PgConnection,
        orders: &'a [OrderId],
    ) -> BoxFuture<'a, Result<HashMap<OrderId, EmailAddress>, StoreError>>;

    /// Where to text about these orders, inside the caller's transaction; those that named no number are left out.
    ///
    /// # Errors
    /// When the shard fails.
    fn phones<'a>(
        &'a self,
        conn: &'a mut PgConnection,
        orders: &'a [OrderId],
    ) -> BoxFuture<'a, Result<HashMap<OrderId, PhoneNumber>, StoreError>>;

    /// The order as it stands now, if there is one.
    ///
    /// # Errors
    /// When its shard fails.
    fn find(&self, order: OrderId) -> BoxFuture<'_, Result<Option<Order>, StoreError>>;

    /// Whether the order is that user's, or a guest's that he was.
    ///
    /// # Errors
    /// 404 if it is not; when its shard fails.
    fn check_owner(&self, user: UserId, order: OrderId) -> BoxFuture<'_, Result<(), Problem>>;

    /// Writes down that `by`, who keeps the store, had `what` sent once more, inside the caller's transaction.
    ///
    /// # Errors
    /// When the shard fails.
    fn note_copy<'a>(
        &'a self,
        conn: &'a mut PgConnection,
        order: OrderId,
        by: UserId,
        what: &'a str,
    ) -> BoxFuture<'a, Result<(), StoreError>>;
}

/// Who writes: the shop, to its shoppers.
#[derive(Clone, Debug)]
pub struct Shop {
    name: String,
    origin: String,
    from: Mailbox,
}

/// What the shop is called, or where it is, cannot stand in a mail.
#[derive(Debug, thiserror::Error)]
pub enum ShopError {
    /// Empty, too long or with control characters.
    #[error("store.name: 1 to 100 characters on one line")]
    Name,
    /// Not an origin.
    #[error("store.public_url: not an http or https origin such as https://shop.example")]
    PublicUrl,
    /// Not a mailbox.
    #[error("mail.from: not of the form Name <name@domain> or name@domain")]
    From,
}

impl Shop {
    /// The shop of that name at `public_url`, an origin, which writes as `from`.
    ///
    /// # Errors
    /// [`ShopError`] names the key that is wrong.
    pub fn new(name: &str, public_url: &str, from: &str) -> Result<Self, ShopError> {
        let good = |text: &str| (1..=100).contains(&text.chars().count()) && !text.contains(char::is_control);
        if !good(name) {
            return Err(ShopError::Name);
        }
        let url = Url::parse(public_url).map_err(|_| ShopError::PublicUrl)?;
        let is_origin = url.path() == "/" && url.query().is_none() && url.fragment().is_none();
        if !matches!(url.scheme(), "http" | "https") || !is_origin || url.username() != "" || url.password().is_some() {
            return Err(ShopError::PublicUrl);
        }
        let from: Mailbox =
            Some(from).filter(|from| good(from)).and_then(|from| from.parse().ok()).ok_or(ShopError::From)?;
        Ok(Self { name: name.to_owned(), origin: url.origin().ascii_serialization(), from })
    }

    /// What it is called.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// `https://shop.example`, without a slash at the end.
    #[must_use]
    pub fn origin(&self) -> &str {
        &self.origin
    }

    /// The domain that it writes from.
    #[must_use]
    pub fn domain(&self) -> &str {
        self.from.email.domain()
    }

    fn from(&self) -> &Mailbox {
        &self.from
    }
}

/// The bounds of notification.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Most messages under way at a time, for each shard, way and process.
    pub concurrency: usize,
    /// Longest time without looking for what is due.
    pub poll: Duration,
    /// How long a message may take: whether it is wanted, and the exchange with who takes it.
    pub exchange: Duration,
    /// How long a mail is kept off other workers; longer than reading the order, the exchange and its commit. A lease that
    /// ran out early would have the mail sent twice.
    pub lease: Duration,
    /// How often an attempt is repeated.
    pub patience: Patience,
    /// The least time between two looks at the bus: nobody waits for mail as for a page.
    pub rest: Duration,
    /// Age at which news is not told any more.
    pub old_news: Duration,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            concurrency: 8,
            poll: Duration::from_secs(5),
            exchange: Duration::from_secs(60),
            lease: Duration::from_secs(120),
            patience: Patience::default(),
            rest: Duration::from_secs(1),
            old_news: Duration::from_secs(2 * 24 * 3600),
        }
    }
}

/// The ways by which shoppers are told.
#[derive(Debug)]
pub struct Ways {
    /// The mail server.
    pub mail: Smtp,
    /// Who sends texts, if anybody does.
    pub sms: Option<Sms>,
    /// Who pushes to browsers, if anybody does.
    pub push: Option<Push>,
}

/// The notifications of this region's shards. Cheap to clone.
#[derive(Clone)]
pub struct Notifications {
    shards: Shards,
    post: Arc<Post>,
    push: Option<Arc<Push>>,
    wakes: Wakes,
    settings: Settings,
    clock: Clock,
    entropy: Entropy,
}

impl std::fmt::Debug for Notifications {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Notifications").field("smtp", &self.post.smtp).finish_non_exhaustive()
    }
}

impl Notifications {
    /// Notifications by `shop` about the orders of `book`, by these `ways`; mails as far as `preferences` want them. Ids
    /// take their time and their random bytes from `clock` and `entropy`.
    #[must_use]
    pub fn new(
        shards: Shards,
        book: Arc<dyn OrderBook>,
        shop: Shop,
        ways: Ways,
        preferences: Preferences,
        clock: Clock,
        entropy: Entropy,
    ) -> Self {
        let wakes = Wakes::new(shards.all().map(Shard::id));
        let smtp = Arc::new(ways.mail);
        let mailing = Mailing { shop: shop.clone(), smtp: Arc::clone(&smtp), preferences };
        let mut all: Vec<Arc<dyn Way>> = vec![Arc::new(mailing)];
        all.extend(ways.sms.map(|sms| Arc::new(sms) as Arc<dyn Way>));
        let push = ways.push.map(Arc::new);
        all.extend(push.clone().map(|push| push as Arc<dyn Way>));
        let (post, settings) = (Arc::new(Post { book, shop, smtp, ways: all }), Settings::default());
        Self { shards, post, push, wakes, settings, clock, entropy }
    }

    /// The same under other bounds.
    #[must_use]
    pub fn bounded_by(self, settings: Settings) -> Self {
        Self { settings, ..self }
    }

    /// How shoppers can be told beside mail.
    #[must_use]
    pub fn channels(&self) -> Channels {
        Channels { texts: self.post.by(Channel::Sms), push_key: self.push.as_ref().map(|push| push.public_key()) }
    }

    /// What hears of orders and payments: for the bus's [`region_core_events::Runner`].
    #[must_use]
    pub fn news(&self) -> News {
        News {
            post: Arc::clone(&self.post),
            wakes: self.wakes.clone(),
            rest: self.settings.rest,
            old_news: self.settings.old_news,
        }
    }

    /// Writes to the shop itself, at the address that it writes from, about what waits for its people at `path` of its pages.
    /// Tried once: what must not be missed stands there.
    pub async fn write_home(&self, subject: &str, text: &str, path: &str, name: &str, now: OffsetDateTime) {
        let Post { shop, smtp, .. } = &*self.post;
        let text = format!("{text}\n\n{}{path}\n", shop.origin());
        let message_id = format!("{name}@{}", shop.domain());
        let outcome = match mail::note(shop, subject, text, &message_id, now) {
            Ok(mail) => tokio::time::timeout(self.settings.exchange, smtp.send(&mail)).await,
            Err(error) => Ok(error.into()),
        };
        if !matches!(outcome, Ok(Outcome::Sent)) {
            tracing::warn!(
                mail.subject = subject,
                "the shop could not be written to about something that waits at its desk"
            );
        }
    }

    /// Sends what is due on every shard by every way until `shutdown`; messages under way are finished.
    ///
    /// # Panics
    /// If a driver does.
    pub async fn drive(self, shutdown: CancellationToken) {
        let mut drivers = JoinSet::new();
        for (shard, way) in self.shards.all().flat_map(|shard| self.post.ways.iter().map(move |way| (shard, way))) {
            let (way, post) = (Arc::clone(way), Arc::clone(&self.post));
            let settings = Settings { patience: way.patience(self.settings.patience), ..self.settings.clone() };
            let driver = Driver::new(shard.clone(), way, post, settings, self.wakes.of(shard.id()));
            drivers.spawn(driver.run(shutdown.clone()));
        }
        if self.push.is_some() {
            for shard in self.shards.all() {
                drivers.spawn(push::forget_old(shard.clone(), shutdown.clone()));
            }
        }
        while let Some(ended) = drivers.join_next().await {
            if let Err(error) = ended {
                std::panic::resume_unwind(error.into_panic());
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_usual_lease_outlasts_an_exchange() {
        let Settings { exchange, lease, .. } = Settings::default();
        assert!(lease >= exchange + driver::BESIDES);
    }

    #[test]
    fn a_shop_that_cannot_stand_in_a_header_is_refused_by_name() {
        let (name, url, from) = ("Meridian", "https://shop.example", "Meridian <orders@shop.example>");
        let shop = Shop::new(name, url, from).unwrap();
        assert_eq!((shop.origin(), shop.domain()), ("https://shop.example", "shop.example"));
        assert_eq!(Shop::new(name, "http://127.0.0.1:7100/", from).unwrap().origin(), "http://127.0.0.1:7100");
        for (bad, key) in [
            (Shop::new("", url, from), "store.name"),
            (Shop::new("Mer\r\nBcc: x@y.example", url, from), "store.name"),
            (Shop::new(name, "ftp://shop.example", from), "store.public_url"),
            (Shop::new(name, "https://shop.example/de", from), "store.public_url"),
            (Shop::new(name, "https://ada:pw@shop.example", from), "store.public_url"),
            (Shop::new(name, url, "orders"), "mail.from"),
            (Shop::new(name, url, "Meridian <orders@shop.example>\r\nBcc: x@y.example"), "mail.from"),
        ] {
            assert!(bad.unwrap_err().to_string().starts_with(key), "{key}");
        }
    }
}
