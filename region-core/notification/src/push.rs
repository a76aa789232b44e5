//! Web push: a browser that its shopper has asked to tell him is told through its maker's push service (RFC 8030), sealed so
//! that the service reads nothing (RFC 8291), by a shop that proves who it is (RFC 8292).
//!
//! A subscription belongs to one order and goes when the service says that it is gone or is another shop's, and after half a year.
//! What is pushed says which order, and what became of it, in the words that a mail has for its subject; nothing that anybody
//! typed. A message that not all of an order's browsers could be given for now goes to the others again, a few times if one has it
//! and for a day if none has: under one topic (RFC 8030 section 5.4) and one tag, so that a browser shows it once.

mod sealed;
mod services;
mod vapid;

use std::sync::Arc;
use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use futures::FutureExt;
use futures::future::{BoxFuture, join_all};
use http::header::{AUTHORIZATION, CONTENT_ENCODING, CONTENT_TYPE, USER_AGENT};
use http::{HeaderName, Request, StatusCode};
use region_core_outbound::Outbound;
use region_core_store::{Shard, Shards, StoreError, own_slot};
use secrecy::SecretString;
use serde_json::json;
use shared::api::order::PushSubscription;
use shared::{OrderId, Problem, ProblemKind, UserId};
use shared_clock::Clock;
use sqlx::PgConnection;
use tokio_util::sync::CancellationToken;
use url::Url;

use crate::Notifications;
use crate::driver::ticks;
use crate::letter::Letter;
use crate::rules::{Channel, Outcome, Patience};
use crate::store::Leased;
use crate::store::push::{self, MOST_BROWSERS, Subscription};
use crate::way::{Told, Way};

pub use services::Services;
pub use vapid::push_keys;

/// How long a push service may take.
const ANSWERS_WITHIN: Duration = Duration::from_secs(20);
/// How long a push service keeps a message for a browser that is not there, in seconds: a day.
const TTL_SECONDS: u32 = 24 * 3600;
/// Attempts after which an order's other browsers are given up once one has the message.
const MOST_FOR_OTHERS: i32 = 3;
/// How often browsers are forgotten that are kept for long enough; so many at a time, and at most so often.
const FORGET: Duration = Duration::from_secs(3600);
const FORGOTTEN_AT_ONCE: i64 = 500;
const MOST_FORGETTING: usize = 20;

/// Pushes to browsers.
pub struct Push {
    outbound: Outbound,
    services: Services,
    vapid: vapid::Vapid,
    shards: Shards,
    clock: Clock,
}

impl std::fmt::Debug for Push {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Push").field("public_key", &self.public_key()).finish_non_exhaustive()
    }
}

/// Why nothing can be pushed: names the key that is wrong, never its secret.
#[derive(Debug, thiserror::Error)]
pub enum PushError {
    /// Not a key of ours.
    #[error("push.vapid_private_key: not one that `region-core push-keys` has made")]
    Key,
    /// Nobody to write to.
    #[error("push.subject: mailto:somebody@shop.example, or an https URL")]
    Subject,
    /// Not where a push service can be.
    #[error("push.services: {0:?} is no host such as push.example, nor .push.example for all below it")]
    Service(String),
    /// TLS cannot be set up.
    #[error("push: {0}")]
    Tls(#[from] rustls::Error),
}

impl Push {
    /// Pushes under that private key to the browsers of `shards`, through these services alone. `subject` is whom they turn
    /// to about it.
    ///
    /// # Errors
    /// [`PushError`].
    pub fn new(
        private_key: &SecretString,
        subject: &str,
        services: Services,
        shards: Shards,
        clock: Clock,
    ) -> Result<Self, PushError> {
        let is_subject = Url::parse(subject).is_ok_and(|url| matches!(url.scheme(), "mailto" | "https"));
        if !is_subject {
            return Err(PushError::Subject);
        }
        let vapid = vapid::Vapid::new(private_key, subject).ok_or(PushError::Key)?;
        Ok(Self { outbound: Outbound::new(services.guard())?, services, vapid, shards, clock })
    }

    /// What browsers subscribe under.
    pub(crate) fn public_key(&self) -> String {
        self.vapid.public_key()
    }

    /// What a browser has sent, if anything can be pushed to it.
    fn checked(&self, sent: &PushSubscription) -> Result<Subscription, Problem> {
        let endpoint = self.services.endpoint(&sent.endpoint);
        let endpoint = endpoint.map_err(|bad| Problem::invalid("endpoint", bad))?.to_string();
        let public_key = URL_SAFE_NO_PAD.decode(&sent.keys.p256dh).unwrap_or_default();
        let auth = URL_SAFE_NO_PAD.decode(&sent.keys.auth).unwrap_or_default();
        if auth.len() != sealed::AUTH {
            return Err(Problem::invalid("keys.auth", "16 bytes in base64url"));
        }
        // Once for trying: a point beside the curve would fail every message.
        let browser = sealed::Browser { public_key: &public_key, auth: &auth };
        if public_key.len() != sealed::PUBLIC_KEY || sealed::seal(browser, b"").is_err() {
            return Err(Problem::invalid("keys.p256dh", "an uncompressed point of P-256 in base64url"));
        }
        Ok(Subscription { endpoint, public_key, auth, told: Vec::new() })
    }

    async fn tell_all(&self, leased: &Leased, letter: &Letter) -> Outcome {
        let browsers = match self.browsers(leased.order_id).await {
            Ok(browsers) => browsers,
            Err(error) => return Outcome::Deferred(format!("the browsers were not read: {error}")),
        };
        let event = leased.event_id.as_uuid();
        let (told, untold): (Vec<_>, Vec<_>) = browsers.into_iter().partition(|browser| browser.told.contains(&event));
        let message = message(leased, letter);
        let answers = join_all(untold.iter().map(|browser| self.send(browser, leased, &message))).await;
        let that = |said: &Answer| {
            let those = untold.iter().zip(&answers).filter(|(_, answer)| *answer == said);
            those.map(|(browser, _)| browser.endpoint.clone()).collect::<Vec<_>>()
        };
        let (taken, gone) = (that(&Answer::Taken), that(&Answer::Gone));
        let outcome = together(!told.is_empty(), answers, leased.attempts);
        // Who has it is not told again with the others; if that is not kept, it is shown once by its tag.
        let taken = if matches!(outcome, Outcome::Deferred(_)) { taken } else { Vec::new() };
        metrics::counter!("push_subscriptions_gone_total").increment(gone.len().try_into().unwrap_or_default());
        if !(taken.is_empty() && gone.is_empty())
            && let Err(error) = note(&self.shards, leased, taken, gone).await
        {
            tracing::warn!(order.id = %leased.order_id, %error, "what push services said of browsers is not kept");
        }
        outcome
    }

    async fn browsers(&self, order: OrderId) -> Result<Vec<Subscription>, StoreError> {
        push::list(&mut *self.shards.here(order.slot())?.read().await?, order).await
    }

    async fn send(&self, browser: &Subscription, leased: &Leased, message: &[u8]) -> Answer {
        let keys = sealed::Browser { public_key: &browser.public_key, auth: &browser.auth };
        let Ok(sealed) = sealed::seal(keys, message) else { return Answer::Refused("it cannot be sealed".to_owned()) };
        // Services may have been struck off since it subscribed.
        let endpoint = match self.services.endpoint(&browser.endpoint) {
            Ok(endpoint) => endpoint,
            Err(bad) => return Answer::Refused(bad.to_string()),
        };
        let Ok(authorization) = self.vapid.authorization(&endpoint, self.clock.unix_seconds()) else {
            return Answer::Refused("it cannot be signed".to_owned());
        };
        let request = Request::post(endpoint.as_str())
            .header(AUTHORIZATION, authorization)
            .header(CONTENT_TYPE, "application/octet-stream")
            .header(CONTENT_ENCODING, "aes128gcm")
            .header(USER_AGENT, "Meridian/1")
            .header(HeaderName::from_static("ttl"), TTL_SECONDS)
            .header(HeaderName::from_static("urgency"), "normal")
            .header(HeaderName::from_static("topic"), leased.event_id.as_uuid().simple().to_string())
            .body(sealed);
        let request = match request {
            Ok(request) => request,
            Err(error) => return Answer::Refused(format!("no request: {error}")),
        };
        match self.outbound.send(request, ANSWERS_WITHIN).await {
            Ok(answer) => answer_of(answer.status(), answer.body()),
            Err(why) => Answer::Later(why.to_string()),
        }
    }
}

impl Way for Push {
    fn channel(&self) -> Channel {
        Channel::Push
    }

    /// What a push service would not keep for longer is not tried for longer.
    fn patience(&self, usual: Patience) -> Patience {
        usual.within(Duration::from_secs(TTL_SECONDS.into()))
    }

    fn tell<'a>(&'a self, told: Told<'a>) -> BoxFuture<'a, Outcome> {
        async move { self.tell_all(told.leased, &told.letter).await }.boxed()
    }
}

/// What the shop's script in the browser shows (`push.js`): well below the 3 KiB that push services take at least.
fn message(leased: &Leased, letter: &Letter) -> Vec<u8> {
    let shown = json!({
        "title": letter.store,
        "body": letter.subject,
        "path": format!("/orders/{}", leased.order_id),
        "tag": leased.event_id,
    });
    shown.to_string().into_bytes()
}

/// What a push service says of one browser.
#[derive(Clone, PartialEq, Eq, Debug)]
enum Answer {
    Taken,
    /// There is no such browser any more, or it has subscribed to another key.
    Gone,
    Later(String),
    Refused(String),
}

/// RFC 8030 sections 5 and 7.3; RFC 8292 section 4.2 for a key that is not the one which the browser has subscribed to.
fn answer_of(status: StatusCode, beginning: &[u8]) -> Answer {
    let said = || format!("{}: {}", status.as_u16(), String::from_utf8_lossy(beginning));
    match status.as_u16() {
        200..=299 => Answer::Taken,
        401 | 403 | 404 | 410 => Answer::Gone,
        400 | 413 => Answer::Refused(said()),
        _ => Answer::Later(said()),
    }
}

/// What the answers about those of an order's browsers come to that were asked in this attempt; `taken` is whether one was told
/// in an earlier one.
fn together(mut taken: bool, answers: Vec<Answer>, attempts: i32) -> Outcome {
    let (mut later, mut refused) = (None, None);
    for answer in answers {
        match answer {
            Answer::Taken => taken = true,
            Answer::Gone => {}
            Answer::Later(why) => later = Some(why),
            Answer::Refused(why) => refused = Some(why),
        }
    }
    match (later, taken, refused) {
        (Some(_), true, _) if attempts >= MOST_FOR_OTHERS => Outcome::Sent,
        (Some(why), ..) => Outcome::Deferred(why),
        (None, true, _) => Outcome::Sent,
        (None, false, Some(why)) => Outcome::Refused(why),
        (None, false, None) => Outcome::Unwanted,
    }
}

/// Keeps what push services said: who has the message, and who is gone.
async fn note(shards: &Shards, leased: &Leased, taken: Vec<String>, gone: Vec<String>) -> Result<(), StoreError> {
    let (order, event) = (leased.order_id, leased.event_id);
    let work = async move |conn: &mut PgConnection| {
        own_slot(conn, order.slot()).await?;
        push::note_told(conn, order, event, &taken).await?;
        push::forget(conn, order, &gone).await
    };
    shards.here(order.slot())?.write("notification.note_browsers", work).await
}

/// Forgets the shard's browsers that are kept for long enough, until `shutdown`.
pub(crate) async fn forget_old(shard: Shard, shutdown: CancellationToken) {
    let mut ticks = ticks(FORGET);
    while !shutdown.is_cancelled() {
        tokio::select! {
            _ = ticks.tick() => {
                if let Err(error) = forget_now(&shard).await {
                    tracing::warn!(shard.id = %shard.id(), %error, "old browsers are not forgotten yet");
                }
            }
            () = shutdown.cancelled() => {}
        }
    }
}

async fn forget_now(shard: &Shard) -> Result<(), StoreError> {
    for _ in 0..MOST_FORGETTING {
        let work = async move |conn: &mut PgConnection| push::forget_old(conn, FORGOTTEN_AT_ONCE).await;
        if shard.write("notification.forget_old", work).await? < FORGOTTEN_AT_ONCE.unsigned_abs() {
            break;
        }
    }
    Ok(())
}

async fn forget(shards: &Shards, order: OrderId, endpoints: Vec<String>) -> Result<(), StoreError> {
    let work = async move |conn: &mut PgConnection| {
        own_slot(conn, order.slot()).await?;
        push::forget(conn, order, &endpoints).await
    };
    shards.here(order.slot())?.write("notification.forget_browsers", work).await
}

impl Notifications {
    /// Has a browser told what becomes of the caller's order. Repeats are harmless.
    ///
    /// # Errors
    /// 404 if the order is not the caller's, or nothing is pushed; 422 names the field that is wrong; 409 if enough browsers are
    /// told.
    pub async fn subscribe(&self, caller: UserId, order: OrderId, sent: &PushSubscription) -> Result<(), Problem> {
        let new = self.pushed(caller, order).await?.checked(sent)?;
        let work = async move |conn: &mut PgConnection| {
            own_slot(conn, order.slot()).await?;
            push::keep(conn, order, &new).await
        };
        if self.shards.here(order.slot())?.write("notification.subscribe", work).await? {
            metrics::counter!("push_subscriptions_kept_total").increment(1);
            Ok(())
        } else {
            let why = format!("{MOST_BROWSERS} browsers are told of this order already");
            Err(Problem::new(ProblemKind::OrderState).detail(why))
        }
    }

    /// Has no browser told any more of the caller's order. Repeats are harmless.
    ///
    /// # Errors
    /// 404 if the order is not the caller's, or nothing is pushed.
    pub async fn unsubscribe(&self, caller: UserId, order: OrderId) -> Result<(), Problem> {
        let browsers = self.pushed(caller, order).await?.browsers(order).await?;
        let endpoints = browsers.into_iter().map(|browser| browser.endpoint).collect();
        Ok(forget(&self.shards, order, endpoints).await?)
    }

    async fn pushed(&self, caller: UserId, order: OrderId) -> Result<&Arc<Push>, Problem> {
        let push = self.push.as_ref().ok_or_else(Problem::not_found)?;
        self.post.book.check_owner(caller, order).await?;
        Ok(push)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn browsers_that_cannot_be_told_now_are_told_later_and_those_that_are_gone_do_not_count() {
        let after = |told, attempts, statuses: &[u16]| {
            let answer = |status: &u16| answer_of(StatusCode::from_u16(*status).unwrap(), b"");
            together(told, statuses.iter().map(answer).collect(), attempts)
        };
        let of = |statuses: &[u16]| after(false, 1, statuses);
        assert_eq!(of(&[201]), Outcome::Sent);
        assert_eq!(of(&[201, 410, 404, 403, 401, 413]), Outcome::Sent);
        assert_eq!(of(&[410, 404, 403, 401]), Outcome::Unwanted);
        assert_eq!(of(&[]), Outcome::Unwanted);
        assert!(matches!(of(&[413, 410]), Outcome::Refused(_)));
        for status in [301, 429, 500, 503] {
            assert!(matches!(of(&[201, status, 410]), Outcome::Deferred(_)), "{status}");
            assert_eq!(after(false, 3, &[201, status]), Outcome::Sent, "one has it");
            assert!(matches!(after(true, 2, &[status]), Outcome::Deferred(_)), "{status}");
            assert_eq!(after(true, 3, &[status]), Outcome::Sent, "one has had it");
            assert!(matches!(after(false, 12, &[status]), Outcome::Deferred(_)), "nobody has it");
        }
        assert_eq!(after(true, 2, &[413]), Outcome::Sent);
    }
}
