//! The use cases: quote, place, find, list. Each loads, decides and commits once.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::time::Duration;

use region_core_cart::Carts;
use region_core_events::Wakes;
use region_core_inventory::transfer::desk::ChangedFn;
use region_core_inventory::{Borrowing, Covered, Held, NotCovered, Shortfall, Writer};
use region_core_store::{Shard, Shards, StoreError};
use region_core_web::Peers;
use shared::api::order::{Order, OrderPage, OrderStatus, OrderSummary, PaymentStatus, PlaceOrder, QuoteRequest};
use shared::token::Claims;
use shared::{
    EmailAddress, EventId, IdempotencyKey, Money, OrderId, PhoneNumber, ReturnId, ShardId, ShipmentId, Sku, UserId,
};
use shared_clock::{Clock, Entropy};
use sqlx::PgConnection;
use tokio::sync::Semaphore;
use tokio::time::Instant;

use crate::PriceList;
use crate::admission::{Admission, Admit, AdmitOrder, Refusal, Verdict, Wanted};
use crate::error::OrderError;
use crate::follow::MOST_FOLLOWERS;
use crate::handover::{Handed, Handover, Stands};
use crate::limit::Limit;
use crate::rules::{CheckedOrder, DoorKey, InvalidField, PriceError, PricedOrder, checked_items, checked_wish, facts};
use crate::store::lines::Lines;
use crate::store::place::{self, KnownKey, Times};
use crate::store::read;

/// Longest time between two looks at an order that someone waits for: another process may have moved it.
const LONGEST_LOOK: Duration = Duration::from_millis(250);
/// Shortest time between two such looks.
const SHORTEST_LOOK: Duration = Duration::from_millis(10);
/// Requests that wait for an order's end at once.
const MOST_WAITERS: usize = 256;
/// Longest time that an order waits for units from elsewhere, in all its attempts.
pub(crate) const LONGEST_BORROW: Duration = Duration::from_millis(800);
/// Longest time that a repeat waits for the running first.
const LONGEST_TURN: Duration = Duration::from_secs(5);

/// What the service is made of.
#[derive(Clone)]
pub struct Parts {
    /// The region's shards.
    pub shards: Shards,
    /// The region's carts.
    pub carts: Carts,
    /// The region's prices.
    pub prices: Arc<dyn PriceList>,
    /// Fetches units that a shard lacks.
    pub borrowing: Borrowing,
    /// Leads to the other cores of the region, to which orders are handed over that they write by preference.
    pub peers: Peers,
    /// Hears which counts of stock changed, for whoever shows them.
    pub told: ChangedFn,
    /// Wakes the readers of the outbox.
    pub wakes: Wakes,
    /// Where ids take their time from.
    pub clock: Clock,
    /// Where ids take their random bytes from.
    pub entropy: Entropy,
    /// How long units are held for an unpaid order.
    pub hold: time::Duration,
    /// How orders are judged, where they are.
    pub review: Option<Judging>,
    /// Whether a carrier sells labels.
    pub labels: bool,
}

/// What orders do where they are judged.
#[derive(Clone, Debug)]
pub struct Judging {
    /// How long units are held for an order that waits for a person.
    pub patience: time::Duration,
    /// What the doors that orders go to are told apart by.
    pub doors: DoorKey,
}

impl Parts {
    fn admission(&self, shard: ShardId) -> Admission {
        let (borrowing, told) = (self.borrowing.clone(), Arc::clone(&self.told));
        Admission { shard, borrowing, told, hold: self.hold, wakes: self.wakes.clone() }
    }

    /// Tells everybody concerned that units of these SKUs are free again, once that is committed.
    pub(crate) fn released(&self, shard: ShardId, skus: &[Sku]) {
        self.borrowing.returned(shard, skus);
        (self.told)(shard, skus);
    }
}

/// The orders of this region's users. Cheap to clone.
#[derive(Clone)]
pub struct Orders(Arc<Inner>);

struct Inner {
    parts: Parts,
    /// One for each shard.
    writers: BTreeMap<ShardId, Writer<Admission>>,
    handover: Handover,
    limit: Limit,
    /// Those who wait for the end of an order.
    waiters: Semaphore,
    /// Those who wait for any change of one.
    followers: Semaphore,
    lines: Lines,
}

impl std::fmt::Debug for Orders {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Orders").field("region", self.0.parts.shards.region()).finish_non_exhaustive()
    }
}

/// Who orders, as his token says.
#[derive(Clone, Copy, Debug)]
pub struct Caller {
    /// The user.
    pub user_id: UserId,
    /// The revocation epoch his token was issued under.
    pub epoch: u32,
}

impl From<&Claims> for Caller {
    fn from(claims: &Claims) -> Self {
        Self { user_id: claims.sub, epoch: claims.epoch }
    }
}

/// An order that stands in the shard.
#[derive(Clone, Debug)]
pub struct Placed {
    /// As it is now.
    pub order: Order,
    /// Whether an earlier request under the same key placed it.
    pub replayed: bool,
}

impl Orders {
    /// The service over its parts. Starts the shards' writers, which end with it.
    ///
    /// # Panics
    /// Outside of a runtime.
    #[must_use]
    pub fn new(parts: Parts) -> Self {
        let writer = |shard: &Shard| (shard.id(), Writer::start(shard.clone(), Arc::new(parts.admission(shard.id()))));
        let writers = parts.shards.all().map(writer).collect();
        let (waiters, followers) = (Semaphore::new(MOST_WAITERS), Semaphore::new(MOST_FOLLOWERS));
        let (handover, limit, lines) = (Handover::new(parts.peers.clone()), Limit::new(), Lines::new());
        Self(Arc::new(Inner { parts, writers, handover, limit, waiters, followers, lines }))
    }

    pub(crate) fn parts(&self) -> &Parts {
        &self.0.parts
    }

    pub(crate) fn followers(&self) -> &Semaphore {
        &self.0.followers
    }

    /// What these items would cost now, and the ways to have them delivered if it is said where to.
    ///
    /// # Errors
    /// When a field breaks a bound, an item is not for sale, cannot be delivered like that, or the sum does not fit.
    pub fn quote(&self, request: &QuoteRequest) -> Result<PricedOrder, OrderError> {
        let (items, wish) = (checked_items(&request.items)?, checked_wish(request)?);
        self.0.parts.prices.price(&items, wish).map_err(|error| match error {
            PriceError::NotDeliveredTo(_) => InvalidField { field: "country".into(), reason: error.to_string() }.into(),
            error => error.into(),
        })
    }

    /// Places an order once: the idempotency record, the order, its lines, its reservations and its event, in one
    /// transaction, or nothing. A repeat under the same key gets the order as it is now.
    ///
    /// # Errors
    /// [`OrderError`]; nothing was written then, unless the commit's own answer was lost, which a repeat finds out.
    #[tracing::instrument(name = "order.place", skip_all, fields(user.id = %caller.user_id))]
    pub async fn place(
        &self,
        caller: Caller,
        key: &IdempotencyKey,
        body: PlaceOrder,
        traceparent: Option<String>,
    ) -> Result<Placed, OrderError> {
        let Parts { shards, prices, .. } = &self.0.parts;
        let shard = shards.here(caller.user_id.slot())?;
        let checked = CheckedOrder::check(body, caller.user_id)?;
        let entry = self.0.limit.admit(caller.user_id, key, Instant::now()).ok_or(OrderError::TooFast)?;
        // Repeats take turns here, without a connection; between processes the unique index makes them wait.
        let turn = tokio::time::timeout(LONGEST_TURN, entry.may_stand.lock()).await;
        let mut may_stand = turn.map_err(|_| OrderError::StillRunning)?;
        let attempt = Attempt { shard, caller, key, hash: checked.request_hash(), traceparent };
        let seen = as_seen(&checked, prices.price(&checked.items, checked.wish()));
        // A repeat gets its order whatever has become of the prices since, and without spoiling a batch of new ones. One whose
        // first was refused is as good as new: many come again while units are on their way, and need no connection for it.
        if *may_stand || seen.is_err() {
            let known = place::find_key(&mut *shard.read().await?, caller.user_id, key).await?;
            if let Some(known) = known {
                return self.replay(&attempt, &known).await;
            }
        }
        let priced = seen?;
        *may_stand = true; // also for whoever comes after a caller that went away in the middle
        let placed = self.admit(&attempt, checked, priced).await;
        *may_stand = !matches!(&placed, Err(error) if error.is_refusal());
        placed
    }

    /// Has the order decided about: by the core of the region that writes the shard by preference, or here.
    async fn admit(
        &self,
        attempt: &Attempt<'_>,
        checked: CheckedOrder,
        priced: PricedOrder,
    ) -> Result<Placed, OrderError> {
        let order = Arc::new(AdmitOrder::from(self.wanted(attempt, checked, priced)));
        let until = Instant::now() + LONGEST_BORROW;
        let stands = match self.0.handover.decide(attempt.shard, &order, &self.0.parts.clock).await {
            Handed::Decided(decided) => decided?,
            Handed::Nothing => self.decide(attempt.shard, &order, until, None).await?,
            Handed::Unknown => self.decide_again(attempt, &order, until).await?,
        };
        if order.checked.cart_version.is_some() {
            self.0.parts.carts.invalidate(attempt.caller.user_id).await;
        }
        match stands {
            Stands::Admitted(times) => Ok(Placed { order: accepted(&order, times), replayed: false }),
            Stands::Known(known) => {
                let placed = self.replay(attempt, &known).await?;
                // A second attempt of ours, after the first one's answer was lost, finds the first one's order.
                Ok(Placed { replayed: known.order_id != order.order_id, ..placed })
            }
        }
    }

    /// Decides about an order that another core may have written, or may be writing just now.
    async fn decide_again(
        &self,
        attempt: &Attempt<'_>,
        order: &Arc<AdmitOrder>,
        until: Instant,
    ) -> Result<Stands, OrderError> {
        let refused = match self.decide(attempt.shard, order, until, None).await {
            Ok(stands) => return Ok(stands),
            Err(refused) => refused,
        };
        // What it was refused for may be what it has: the last units, or the cart. The writer looks once more, for many at once
        // and under locks; a rush whose preferred core hangs would wear out the pool if each looked by itself.
        match self.submit(attempt.shard, order, false, None).await? {
            Verdict::Known(known) => Ok(Stands::Known(known)),
            Verdict::Admitted(times) => Ok(Stands::Admitted(times)),
            Verdict::Refused(_) => Err(refused),
        }
    }

    /// Hands the order to the shard's writer in this process. If units are missing here, it waits for some from elsewhere, not
    /// beyond `until`, and comes again, in its place. It is written by that time, if one is given, or not at all.
    pub(crate) async fn decide(
        &self,
        shard: &Shard,
        order: &Arc<AdmitOrder>,
        until: Instant,
        by: Option<Instant>,
    ) -> Result<Stands, OrderError> {
        let mut covered = None;
        loop {
            let verdict = self.submit(shard, order, covered.is_some(), by).await?;
            if let Verdict::Refused(Refusal::Short(short)) = verdict {
                covered = Some(self.cover(shard, order, short, until).await?);
                continue;
            }
            self.0.parts.borrowing.decided(shard.id(), order.claimant);
            return match verdict {
                Verdict::Refused(refusal) => Err(refusal.into()),
                Verdict::Known(known) => Ok(Stands::Known(known)),
                Verdict::Admitted(times) => Ok(Stands::Admitted(times)),
            };
        }
    }

    async fn submit(
        &self,
        shard: &Shard,
        order: &Arc<AdmitOrder>,
        covered: bool,
        by: Option<Instant>,
    ) -> Result<Verdict, OrderError> {
        let writer = self.0.writers.get(&shard.id()).ok_or(StoreError::WrongShard(order.user_id.slot()))?;
        let command = Admit { order: Arc::clone(order), covered };
        Ok(match by {
            Some(by) => writer.submit_by(command, by).await?,
            None => writer.submit(command).await?,
        })
    }

    /// Waits until the units that are missing are here.
    async fn cover(
        &self,
        shard: &Shard,
        order: &AdmitOrder,
        short: Vec<Shortfall>,
        until: Instant,
    ) -> Result<Covered, OrderError> {
        let wanted: Vec<Held> =
            order.checked.items.iter().map(|(sku, quantity)| Held { sku: sku.clone(), quantity: *quantity }).collect();
        let covered = self.0.parts.borrowing.cover(shard.id(), order.claimant, &wanted, &short, until).await;
        covered.map_err(|refusal| match refusal {
            NotCovered::SoldOut => OrderError::SoldOut(short),
            refusal @ (NotCovered::InTransit { .. } | NotCovered::Busy) => OrderError::NotCovered(refusal),
        })
    }

    fn wanted(&self, attempt: &Attempt<'_>, checked: CheckedOrder, priced: PricedOrder) -> Wanted {
        let judging = self.parts().review.as_ref();
        let facts = judging.map(|judging| facts(attempt.caller.user_id, &checked, &judging.doors));
        Wanted {
            order_id: self.mint(attempt.caller.user_id),
            user_id: attempt.caller.user_id,
            epoch: attempt.caller.epoch,
            key: attempt.key.clone(),
            request_hash: attempt.hash,
            checked,
            priced,
            event_id: self.mint_event(),
            traceparent: attempt.traceparent.clone(),
            facts,
        }
    }

    fn mint(&self, user: UserId) -> OrderId {
        let Parts { clock, entropy, .. } = &self.0.parts;
        OrderId::mint(clock.unix_ms(), user.slot(), entropy.bytes())
    }

    pub(crate) fn mint_event(&self) -> EventId {
        let Parts { clock, entropy, .. } = &self.0.parts;
        EventId::mint(clock.unix_ms(), entropy.bytes())
    }

    pub(crate) fn mint_shipment(&self, order: OrderId) -> ShipmentId {
        let Parts { clock, entropy, .. } = &self.0.parts;
        ShipmentId::mint(clock.unix_ms(), order.slot(), entropy.bytes())
    }

    pub(crate) fn mint_return(&self, order: OrderId) -> ReturnId {
        let Parts { clock, entropy, .. } = &self.0.parts;
        ReturnId::mint(clock.unix_ms(), order.slot(), entropy.bytes())
    }

    async fn replay(&self, attempt: &Attempt<'_>, known: &KnownKey) -> Result<Placed, OrderError> {
        if known.request_hash != attempt.hash {
            return Err(OrderError::KeyReused);
        }
        let order =
            read::find(&mut *attempt.shard.read().await?, &self.0.lines, known.order_id, attempt.caller.user_id)
                .await?;
        metrics::counter!("orders_replayed_total").increment(1);
        Ok(Placed { order: order.ok_or(OrderError::NotFound)?, replayed: true })
    }

    /// The order once it is no longer being decided about (confirmed, cancelled, or the bank asks its shopper), or as it
    /// is when `wait` has passed. `None`, at once, when too many wait already or its slot has left.
    pub async fn wait_for_end(&self, order: &Order, wait: Duration) -> Option<Order> {
        let _waiter = self.0.waiters.try_acquire().ok()?;
        let shard = self.0.parts.shards.here(order.order_id.slot()).ok()?;
        let mut commits = self.0.parts.wakes.of(shard.id()).waiter();
        let (until, mut pause, mut seen) = (Instant::now() + wait, SHORTEST_LOOK, order.clone());
        while is_open(&seen) && Instant::now() < until {
            // Every commit of the shard wakes; a pause that grows keeps those who wait long from reading all the time.
            tokio::time::sleep(pause.min(until.saturating_duration_since(Instant::now()))).await;
            commits.wait(until.saturating_duration_since(Instant::now()).min(LONGEST_LOOK)).await;
            pause = (pause * 2).min(LONGEST_LOOK);
            match self.find(seen.user_id, seen.order_id).await {
                Ok(order) => seen = order,
                // The order stands; that it could not be looked at again is no reason to say otherwise.
                Err(_) => break,
            }
        }
        Some(seen)
    }

    /// The order, if it is the caller's.
    ///
    /// # Errors
    /// [`OrderError::NotFound`] for absent orders and for other people's.
    pub async fn find(&self, caller: UserId, order: OrderId) -> Result<Order, OrderError> {
        let shard = self.0.parts.shards.here(order.slot())?;
        read::find(&mut *shard.read().await?, &self.0.lines, order, caller).await?.ok_or(OrderError::NotFound)
    }

    /// The order, whosever it is: for what the shop does by itself, and for who keeps the store, which the caller has checked.
    ///
    /// # Errors
    /// Those of the store.
    pub async fn find_any(&self, order: OrderId) -> Result<Option<Order>, StoreError> {
        let shard = self.0.parts.shards.here(order.slot())?;
        read::find_any(&mut *shard.read().await?, &self.0.lines, order).await
    }

    /// The same, of one that must be there.
    pub(crate) async fn existing(&self, order: OrderId) -> Result<Order, OrderError> {
        self.find_any(order).await?.ok_or(OrderError::NotFound)
    }

    /// Where to write to about these orders of the shard that `conn` leads to; those that named no address are left out.
    ///
    /// # Errors
    /// Those of the store.
    pub async fn addresses(
        conn: &mut PgConnection,
        orders: &[OrderId],
    ) -> Result<HashMap<OrderId, EmailAddress>, StoreError> {
        read::addresses(conn, orders).await
    }

    /// Where to text about these orders of the shard that `conn` leads to; those that named no number are left out.
    ///
    /// # Errors
    /// Those of the store.
    pub async fn phones(
        conn: &mut PgConnection,
        orders: &[OrderId],
    ) -> Result<HashMap<OrderId, PhoneNumber>, StoreError> {
        read::phones(conn, orders).await
    }

    /// What these orders of the shard that `conn` leads to came to.
    ///
    /// # Errors
    /// Those of the store.
    pub async fn totals(conn: &mut PgConnection, orders: &[OrderId]) -> Result<HashMap<OrderId, Money>, StoreError> {
        read::totals(conn, orders).await
    }

    /// A page of the caller's orders in this region, newest first: his own and those of guests that he was.
    ///
    /// # Errors
    /// Those of the store.
    pub async fn list(&self, caller: UserId, before: Option<OrderId>, limit: u32) -> Result<OrderPage, OrderError> {
        self.0.parts.shards.here(caller.slot())?;
        let most = usize::try_from(limit).unwrap_or(usize::MAX);
        let mut found: Vec<OrderSummary> = Vec::new();
        for shard in self.0.parts.shards.all() {
            // One more than a page holds tells whether there is another page.
            found.extend(read::list(&mut *shard.read().await?, caller, before, i64::from(limit) + 1).await?);
        }
        found.sort_unstable_by_key(|order| std::cmp::Reverse(order.order_id));
        let more = found.len() > most;
        found.truncate(most);
        let next_cursor = if more { found.last().map(|order| order.order_id) } else { None };
        Ok(OrderPage { items: found, next_cursor })
    }
}

/// Who wants to place an order, and where.
struct Attempt<'a> {
    shard: &'a Shard,
    caller: Caller,
    key: &'a IdempotencyKey,
    hash: [u8; 32],
    traceparent: Option<String>,
}

/// The order as its shopper sees it, without reading it back.
fn accepted(new: &Wanted, times: Times) -> Order {
    let Wanted { order_id, user_id, checked, priced, .. } = new;
    Order {
        order_id: *order_id,
        user_id: *user_id,
        status: OrderStatus::Pending,
        cancel_reason: None,
        payment: PaymentStatus::Processing,
        next_action: None,
        lines: priced.lines.clone(),
        subtotal: priced.subtotal,
        shipping: priced.shipping,
        total: priced.total,
        shipping_address: checked.shipping_address.clone(),
        email: checked.email.clone(),
        delivery: priced.delivery.clone(),
        phone: checked.phone.clone(),
        shipments: Vec::new(),
        returns: Vec::new(),
        version: 1,
        created_at: times.created_at,
        expires_at: times.expires_at,
    }
}

/// Whether the order's end needs nobody but the bank and us.
fn is_open(order: &Order) -> bool {
    order.status == OrderStatus::Pending && order.payment == PaymentStatus::Processing
}

/// What the items cost, if that is what the shopper saw.
fn as_seen(checked: &CheckedOrder, priced: Result<PricedOrder, PriceError>) -> Result<PricedOrder, OrderError> {
    let priced = priced?;
    if priced.total == checked.expected_total { Ok(priced) } else { Err(OrderError::QuoteChanged(Box::new(priced))) }
}
