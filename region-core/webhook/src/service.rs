//! What operators do with endpoints and deliveries. Whoever calls has checked that the caller is one.

use std::cmp::Reverse;
use std::collections::BTreeSet;
use std::sync::Arc;

use futures::future::join_all;
use http::Method;
use region_core_control::webhooks::{
    Changed, KeptEndpoint, MOST_ENDPOINTS, Made, NewKept, change_endpoint, delete_endpoint, find_endpoint,
    list_endpoints, make_endpoint, rotate_secret,
};
use region_core_events::Wakes;
use region_core_outbound::target::Guard;
use region_core_store::{Shard, Shards, StoreError};
use region_core_web::Peers;
use secrecy::ExposeSecret as _;
use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};
use shared::api::webhook::{
    ChangeEndpoint, Delivery, DeliveryPage, DeliveryQuery, Endpoint, EndpointPage, EndpointWithSecret, EventType,
    NewEndpoint, ReplaySpan, Replayed,
};
use shared::{EndpointId, EventId, IdempotencyKey, RegionName, UserId};
use shared_clock::{Clock, Entropy};
use time::OffsetDateTime;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use crate::client::Http;
use crate::driver::{Driver, Office};
use crate::store::{self, New, Span};
use crate::{DisabledFn, Endpoints, News, OrderBook, Settings, WebhookError, rules, signature};

/// Where cores of other regions are asked for theirs.
pub(crate) const DELIVERIES: &str = "/internal/webhooks/deliveries";
/// Where they are asked to send theirs once more.
pub(crate) const REPLAY: &str = "/internal/webhooks/replay";
/// Most items on a page.
const MAX_PAGE: u32 = 100;
/// Most characters of a description.
const MOST_DESCRIBED: usize = 200;
/// Most deliveries of a shard that one request has sent once more.
const REPLAYED_AT_ONCE: i64 = 10_000;

/// What webhooks are made of.
pub struct Parts {
    /// This region's shards.
    pub shards: Shards,
    /// The other regions.
    pub peers: Peers,
    /// Who is told.
    pub endpoints: Endpoints,
    /// What is told of.
    pub book: Arc<dyn OrderBook>,
    /// Where may be posted to.
    pub guard: Guard,
    /// Who hears that an endpoint was disabled.
    pub disabled: DisabledFn,
    /// Time.
    pub clock: Clock,
    /// Chance.
    pub entropy: Entropy,
}

/// The webhooks of this region's shards. Cheap to clone.
#[derive(Clone)]
pub struct Webhooks {
    shards: Shards,
    peers: Peers,
    book: Arc<dyn OrderBook>,
    guard: Guard,
    office: Arc<Office>,
    wakes: Wakes,
    settings: Settings,
}

impl std::fmt::Debug for Webhooks {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Webhooks").field("guard", &self.guard).finish_non_exhaustive()
    }
}

/// One endpoint's deliveries, as cores ask each other.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub(crate) struct Asked {
    pub(crate) endpoint_id: EndpointId,
    pub(crate) query: DeliveryQuery,
}

/// What cores have each other send once more.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub(crate) struct Again {
    pub(crate) endpoint_id: EndpointId,
    pub(crate) what: What,
}

/// One event, or a span of time.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum What {
    One(EventId),
    Span(ReplaySpan),
}

impl Webhooks {
    /// Webhooks made of these.
    ///
    /// # Errors
    /// If TLS cannot be set up.
    pub fn new(parts: Parts) -> Result<Self, rustls::Error> {
        let Parts { shards, peers, endpoints, book, guard, disabled, clock, entropy } = parts;
        let (http, wakes) = (Http::new(guard, clock.clone())?, Wakes::new(shards.all().map(Shard::id)));
        let office = Arc::new(Office { endpoints, http, disabled, clock, entropy });
        Ok(Self { shards, peers, book, guard, office, wakes, settings: Settings::default() })
    }

    /// The same under other bounds.
    #[must_use]
    pub fn bounded_by(self, settings: Settings) -> Self {
        Self { settings, ..self }
    }

    /// What hears of orders: for the bus's [`region_core_events::Runner`].
    #[must_use]
    pub fn news(&self) -> News {
        News {
            endpoints: self.office.endpoints.clone(),
            book: Arc::clone(&self.book),
            wakes: self.wakes.clone(),
            rest: self.settings.rest,
        }
    }

    /// Keeps the copy of the endpoints fresh until `shutdown`.
    pub async fn follow(self, shutdown: CancellationToken) {
        self.office.endpoints.follow(shutdown).await;
    }

    /// Sends what is due on every shard until `shutdown`; attempts under way are finished.
    ///
    /// # Panics
    /// If a driver does.
    pub async fn drive(self, shutdown: CancellationToken) {
        let mut drivers = JoinSet::new();
        for shard in self.shards.all() {
            let (office, settings) = (Arc::clone(&self.office), self.settings.clone());
            let driver = Driver::new(shard.clone(), office, settings, self.wakes.of(shard.id()));
            drivers.spawn(driver.run(shutdown.clone()));
        }
        while let Some(ended) = drivers.join_next().await {
            if let Err(error) = ended {
                std::panic::resume_unwind(error.into_panic());
            }
        }
    }

    /// Makes an endpoint, once under its maker's key; a repeat is shown it again, with its secret.
    ///
    /// # Errors
    /// [`WebhookError`].
    pub async fn make(
        &self,
        actor: UserId,
        key: &IdempotencyKey,
        new: NewEndpoint,
    ) -> Result<EndpointWithSecret, WebhookError> {
        let NewEndpoint { url, event_types, description } = new;
        let url = self.checked_url(&url)?;
        let (event_types, description) = (checked_types(event_types)?, checked_description(description)?);
        let mut hash = Sha256::new();
        for part in [url.as_str(), description.as_str()].into_iter().chain(event_types.iter().map(|kind| kind.name())) {
            hash.update(part);
            hash.update([0]);
        }
        let new = NewKept {
            endpoint_id: EndpointId::mint(self.office.clock.unix_ms(), self.office.entropy.bytes()),
            key: own_key(actor, key),
            request_hash: hash.finalize().into(),
            url,
            description,
            event_types,
            secret: self.office.entropy.bytes(),
        };
        match make_endpoint(self.office.endpoints.primary(), &new).await? {
            Made::Stands(kept) => Ok(with_secret(kept)),
            Made::OtherRequest => Err(WebhookError::KeyReused),
            Made::Full => Err(WebhookError::invalid("url", format!("there are {MOST_ENDPOINTS} endpoints already"))),
        }
    }

    /// A page of endpoints, oldest first.
    ///
    /// # Errors
    /// [`WebhookError`].
    pub async fn list(&self, cursor: Option<EndpointId>, limit: u32) -> Result<EndpointPage, WebhookError> {
        let most = page_size(limit)?;
        let all = list_endpoints(self.office.endpoints.primary()).await?;
        let after = all.into_iter().map(|kept| kept.shown);
        let mut items: Vec<_> = after.filter(|shown| cursor.is_none_or(|cursor| shown.endpoint_id > cursor)).collect();
        let more = items.len() > most;
        items.truncate(most);
        let next_cursor = if more { items.last().map(|shown| shown.endpoint_id) } else { None };
        Ok(EndpointPage { items, next_cursor })
    }

    /// The endpoint.
    ///
    /// # Errors
    /// [`WebhookError`].
    pub async fn get(&self, id: EndpointId) -> Result<Endpoint, WebhookError> {
        let kept = find_endpoint(self.office.endpoints.primary(), id).await?;
        kept.map(|kept| kept.shown).ok_or(WebhookError::NotFound)
    }

    /// Changes an endpoint.
    ///
    /// # Errors
    /// [`WebhookError`].
    pub async fn change(&self, id: EndpointId, change: ChangeEndpoint) -> Result<Endpoint, WebhookError> {
        let ChangeEndpoint { url, event_types, description, state } = change;
        let changed = Changed {
            url: url.map(|url| self.checked_url(&url)).transpose()?,
            event_types: event_types.map(checked_types).transpose()?,
            description: description.map(checked_description).transpose()?,
            state,
        };
        let kept = change_endpoint(self.office.endpoints.primary(), id, &changed).await?;
        kept.map(|kept| kept.shown).ok_or(WebhookError::NotFound)
    }

    /// Forgets an endpoint; what it would have been told is not sent.
    ///
    /// # Errors
    /// [`WebhookError`].
    pub async fn delete(&self, id: EndpointId) -> Result<(), WebhookError> {
        let there = delete_endpoint(self.office.endpoints.primary(), id).await?;
        if there { Ok(()) } else { Err(WebhookError::NotFound) }
    }

    /// Gives an endpoint another secret, once under its key; the one before signs as well for [`Settings::overlap`].
    ///
    /// # Errors
    /// [`WebhookError`].
    pub async fn rotate(
        &self,
        actor: UserId,
        key: &IdempotencyKey,
        id: EndpointId,
    ) -> Result<EndpointWithSecret, WebhookError> {
        let (key, secret) = (own_key(actor, key), self.office.entropy.bytes());
        let kept = rotate_secret(self.office.endpoints.primary(), id, &key, &secret, self.settings.overlap).await?;
        kept.map(with_secret).ok_or(WebhookError::NotFound)
    }

    /// Has an event sent that is none, to try the endpoint.
    ///
    /// # Errors
    /// [`WebhookError`].
    pub async fn test(&self, id: EndpointId) -> Result<EventId, WebhookError> {
        self.get(id).await?;
        let shard = self.shards.all().next().ok_or(WebhookError::NotFound)?;
        let event_id = EventId::mint(self.office.clock.unix_ms(), self.office.entropy.bytes());
        let (event_type, data) = rules::test(id);
        let new = New { endpoint_id: id, event_id, order_id: None, event_type, data };
        write_test(shard.clone(), new).await?;
        self.wakes.of(shard.id()).notify();
        Ok(event_id)
    }

    /// A page of an endpoint's deliveries of all regions. A region that does not answer is named, and the others' are shown.
    ///
    /// # Errors
    /// [`WebhookError`].
    pub async fn deliveries(&self, id: EndpointId, query: DeliveryQuery) -> Result<DeliveryPage, WebhookError> {
        let most = page_size(query.limit)?;
        self.get(id).await?;
        let asked = Asked { endpoint_id: id, query };
        let mut items = self.deliveries_here(&asked).await?;
        let (theirs, missing) = self.elsewhere::<_, Vec<Delivery>>(DELIVERIES, &asked).await;
        items.extend(theirs.into_iter().flatten());
        items.sort_unstable_by_key(|delivery| Reverse(delivery.event_id));
        let more = items.len() > most;
        items.truncate(most);
        let next_cursor = if more { items.last().map(|delivery| delivery.event_id) } else { None };
        Ok(DeliveryPage { items, next_cursor, missing })
    }

    /// This region's part of it, and one more than the page holds if there are more.
    pub(crate) async fn deliveries_here(&self, asked: &Asked) -> Result<Vec<Delivery>, WebhookError> {
        let Asked { endpoint_id, query } = asked;
        let limit = i64::from(query.limit.min(MAX_PAGE)) + 1;
        let mut found = Vec::new();
        for shard in self.shards.all() {
            let mut conn = shard.read().await?;
            found.extend(store::list(&mut conn, *endpoint_id, query.state, query.cursor, limit).await?);
        }
        Ok(found)
    }

    /// Has one delivery made once more, wherever it stands.
    ///
    /// # Errors
    /// [`WebhookError::Silent`] if nobody who answered has it, and somebody did not.
    pub async fn replay_one(&self, id: EndpointId, event: EventId) -> Result<Replayed, WebhookError> {
        let mut replayed = self.replay(id, What::One(event)).await?;
        match replayed.missing.pop() {
            _ if replayed.replayed > 0 => Ok(Replayed { missing: Vec::new(), ..replayed }),
            Some(region) => Err(WebhookError::Silent(region)),
            None => Err(WebhookError::NotFound),
        }
    }

    /// Has made once more what was written down in a span of time.
    ///
    /// # Errors
    /// [`WebhookError`].
    pub async fn replay_span(&self, id: EndpointId, span: ReplaySpan) -> Result<Replayed, WebhookError> {
        if span.from >= span.to {
            return Err(WebhookError::invalid("to", "later than `from`"));
        }
        self.replay(id, What::Span(span)).await
    }

    async fn replay(&self, endpoint_id: EndpointId, what: What) -> Result<Replayed, WebhookError> {
        self.get(endpoint_id).await?;
        let again = Again { endpoint_id, what };
        let here = self.replay_here(&again).await?;
        let (theirs, missing) = self.elsewhere::<_, Replayed>(REPLAY, &again).await;
        Ok(theirs.into_iter().fold(Replayed { missing, ..here }, |all, more| Replayed {
            replayed: all.replayed + more.replayed,
            next: earlier(all.next, more.next),
            missing: all.missing,
        }))
    }

    /// This region's part of it.
    pub(crate) async fn replay_here(&self, again: &Again) -> Result<Replayed, WebhookError> {
        let (mut replayed, mut next) = (0, None);
        for shard in self.shards.all() {
            let (count, last) = replay(shard.clone(), again.clone()).await?;
            replayed += count.unsigned_abs();
            if count >= REPLAYED_AT_ONCE {
                next = earlier(next, last);
            }
            if count > 0 {
                self.wakes.of(shard.id()).notify();
            }
        }
        Ok(Replayed { replayed, next, missing: Vec::new() })
    }

    /// What the other regions answer, and who does not.
    async fn elsewhere<Req, Res>(&self, path: &str, asked: &Req) -> (Vec<Res>, Vec<RegionName>)
    where
        Req: Serialize,
        Res: for<'a> Deserialize<'a>,
    {
        let map = self.shards.map();
        let all: BTreeSet<&RegionName> = map.shards().map(|(_, region)| region).collect();
        let others: Vec<&RegionName> = all.into_iter().filter(|region| *region != self.shards.region()).collect();
        let calls = others.iter().map(|region| self.peers.call::<_, Res>(region, Method::POST, path, asked));
        let (mut answers, mut missing) = (Vec::new(), Vec::new());
        for (region, answer) in others.iter().zip(join_all(calls).await) {
            match answer {
                Ok(answer) => answers.push(answer),
                Err(problem) => {
                    tracing::warn!(region = %region, %problem, "a region's webhooks are missing");
                    missing.push((*region).clone());
                }
            }
        }
        (answers, missing)
    }

    fn checked_url(&self, text: &str) -> Result<String, WebhookError> {
        self.guard.target(text).map(String::from).map_err(|bad| WebhookError::invalid("url", bad))
    }
}

/// Two operators may call their requests the same.
fn own_key(actor: UserId, key: &IdempotencyKey) -> String {
    format!("{actor}:{}", key.as_str())
}

fn with_secret(kept: KeptEndpoint) -> EndpointWithSecret {
    let secret = kept.secrets.first().map(|secret| signature::written(secret.expose_secret())).unwrap_or_default();
    EndpointWithSecret { endpoint: kept.shown, secret }
}

fn checked_types(mut types: Vec<EventType>) -> Result<Vec<EventType>, WebhookError> {
    types.sort_unstable_by_key(|kind| kind.name());
    types.dedup();
    if types.is_empty() { Err(WebhookError::invalid("event_types", "at least one")) } else { Ok(types) }
}

fn checked_description(text: String) -> Result<String, WebhookError> {
    let fits = text.chars().count() <= MOST_DESCRIBED && !text.contains(char::is_control);
    if fits { Ok(text) } else { Err(WebhookError::invalid("description", "at most 200 characters on one line")) }
}

fn page_size(limit: u32) -> Result<usize, WebhookError> {
    let fits = (1..=MAX_PAGE).contains(&limit);
    if fits {
        Ok(usize::try_from(limit).unwrap_or(usize::MAX))
    } else {
        Err(WebhookError::invalid("limit", "1 to 100"))
    }
}

fn earlier(a: Option<OffsetDateTime>, b: Option<OffsetDateTime>) -> Option<OffsetDateTime> {
    a.into_iter().chain(b).min()
}

// Owned values all the way, as the driver's.

async fn write_test(shard: Shard, new: New) -> Result<(), WebhookError> {
    Ok(shard.write("webhook.test", async move |conn| store::insert(conn, std::slice::from_ref(&new)).await).await?)
}

async fn replay(shard: Shard, again: Again) -> Result<(i64, Option<OffsetDateTime>), WebhookError> {
    let Again { endpoint_id, what } = again;
    let done: Result<_, StoreError> = shard
        .write("webhook.replay", async move |conn| match &what {
            What::One(event) => {
                let there = store::replay_one(conn, endpoint_id, *event).await;
                there.map(|there| (i64::from(there), None))
            }
            What::Span(ReplaySpan { from, to, state }) => {
                let span = Span { from: *from, to: *to, state: *state, limit: REPLAYED_AT_ONCE };
                store::replay_span(conn, endpoint_id, &span).await
            }
        })
        .await;
    Ok(done?)
}
