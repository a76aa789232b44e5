//! The use cases: quote, place, find, list. Each loads, decides and commits once.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use region_core_cart::Carts;
use region_core_events::contract::OrderCreated;
use region_core_events::{NewEvent, Wakes};
use region_core_inventory::transfer::desk::ChangedFn;
use region_core_inventory::{Borrowing, Covered, Held, NotCovered, Shortfall, Writer};
use region_core_store::{Shard, Shards, StoreError};
use shared::api::order::{Order, OrderPage, OrderStatus, OrderSummary, PaymentStatus, PlaceOrder, QuoteRequest};
use shared::token::Claims;
use shared::{EventId, IdempotencyKey, OrderId, ShardId, Sku, UserId};
use shared_clock::{Clock, Entropy};
use time::OffsetDateTime;
use tokio::sync::Semaphore;
use tokio::time::Instant;

use crate::PriceList;
use crate::admission::{Admission, Admit, AdmitOrder, Refusal, Verdict};
use crate::error::OrderError;
use crate::limit::Limit;
use crate::rules::{CheckedOrder, PriceError, PricedOrder, checked_items};
use crate::store::place::{self, KnownKey, Times};
use crate::store::read;

/// Longest time between two looks at an order that someone waits for: another process may have moved it.
const LONGEST_LOOK: Duration = Duration::from_millis(250);
/// Shortest time between two such looks.
const SHORTEST_LOOK: Duration = Duration::from_millis(10);
/// Requests that wait for an order's end at once.
const MOST_WAITERS: usize = 256;
/// Longest time that an order waits for units from elsewhere, in all its attempts.
const LONGEST_BORROW: Duration = Duration::from_millis(800);
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
    limit: Limit,
    /// Those who wait for the end of an order.
    waiters: Semaphore,
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
        Self(Arc::new(Inner { parts, writers, limit: Limit::new(), waiters: Semaphore::new(MOST_WAITERS) }))
    }

    pub(crate) fn parts(&self) -> &Parts {
        &self.0.parts
    }

    /// What these items would cost now.
    ///
    /// # Errors
    /// When an item breaks a bound, is not for sale, or the sum does not fit.
    pub fn quote(&self, request: &QuoteRequest) -> Result<PricedOrder, OrderError> {
        Ok(self.0.parts.prices.price(&checked_items(&request.items)?)?)
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
        let admitted = self.0.limit.admit(caller.user_id, key, Instant::now());
        let (entry, fresh) = admitted.ok_or(OrderError::TooFast)?;
        // Repeats take turns here, without a connection; between processes the unique index makes them wait.
        let turn = tokio::time::timeout(LONGEST_TURN, entry.turn.lock()).await;
        let _turn = turn.map_err(|_| OrderError::StillRunning)?;
        let attempt = Attempt { shard, caller, key, hash: checked.request_hash(), traceparent };
        let seen = as_seen(&checked, prices.price(&checked.items));
        // A repeat gets its order whatever has become of the prices since, and without spoiling a batch of new ones.
        if !fresh || seen.is_err() {
            let known = place::find_key(&mut *shard.read().await?, caller.user_id, key).await?;
            if let Some(known) = known {
                return self.replay(&attempt, &known).await;
            }
        }
        self.admit(&attempt, checked, seen?).await
    }

    /// Hands the order to the shard's writer. If units are missing here, it waits for some from elsewhere and comes again, in
    /// its place.
    async fn admit(
        &self,
        attempt: &Attempt<'_>,
        checked: CheckedOrder,
        priced: PricedOrder,
    ) -> Result<Placed, OrderError> {
        let order_id = self.mint(attempt.caller.user_id);
        let order = Arc::new(self.new_order(attempt, order_id, checked, priced));
        let (mut covered, until) = (None, Instant::now() + LONGEST_BORROW);
        loop {
            let verdict = self.submit(attempt.shard, &order, covered.is_some()).await?;
            if order.checked.cart_version.is_some() && !matches!(verdict, Verdict::Refused(_)) {
                self.0.parts.carts.invalidate(attempt.caller.user_id).await;
            }
            match verdict {
                Verdict::Refused(Refusal::Short(short)) => {
                    covered = Some(self.cover(attempt.shard, &order, short, until).await?);
                }
                Verdict::Refused(refusal) => return Err(refusal.into()),
                // The writer's own second attempt, after the first one's answer was lost, finds the first one's order.
                Verdict::Known(known) if known.order_id != order_id => return self.replay(attempt, &known).await,
                Verdict::Known(known) => {
                    return Ok(Placed { replayed: false, ..self.replay(attempt, &known).await? });
                }
                Verdict::Admitted(times) => return Ok(Placed { order: accepted(&order, times), replayed: false }),
            }
        }
    }

    async fn submit(&self, shard: &Shard, order: &Arc<AdmitOrder>, covered: bool) -> Result<Verdict, OrderError> {
        let writer = self.0.writers.get(&shard.id()).ok_or(StoreError::WrongShard(order.user_id.slot()))?;
        Ok(writer.submit(Admit { order: Arc::clone(order), covered }).await?)
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
        let covered = self.0.parts.borrowing.cover(shard.id(), order.order_id, &wanted, &short, until).await;
        covered.map_err(|refusal| match refusal {
            NotCovered::SoldOut => OrderError::SoldOut(short),
            refusal @ (NotCovered::InTransit { .. } | NotCovered::Busy) => OrderError::NotCovered(refusal),
        })
    }

    fn new_order(
        &self,
        attempt: &Attempt<'_>,
        order_id: OrderId,
        checked: CheckedOrder,
        priced: PricedOrder,
    ) -> AdmitOrder {
        let created = OrderCreated {
            order_id,
            user_id: attempt.caller.user_id,
            total: priced.total,
            payment_token: checked.payment_token.clone(),
            // The shard's clock says until when, as the event is written.
            expires_at: OffsetDateTime::UNIX_EPOCH,
        };
        AdmitOrder {
            order_id,
            user_id: attempt.caller.user_id,
            epoch: attempt.caller.epoch,
            key: attempt.key.clone(),
            request_hash: attempt.hash,
            checked,
            priced,
            event: NewEvent::new(self.mint_event(), 1, &created).traced(attempt.traceparent.clone()),
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

    async fn replay(&self, attempt: &Attempt<'_>, known: &KnownKey) -> Result<Placed, OrderError> {
        if known.request_hash != attempt.hash {
            return Err(OrderError::KeyReused);
        }
        let order = read::find(&mut *attempt.shard.read().await?, known.order_id, attempt.caller.user_id).await?;
        metrics::counter!("orders_replayed_total").increment(1);
        Ok(Placed { order: order.ok_or(OrderError::NotFound)?, replayed: true })
    }

    /// The order once it is no longer being decided about (confirmed, cancelled, or the bank asks its shopper), or as it
    /// is when `wait` has passed. At once, when too many wait already.
    pub async fn wait_for_end(&self, order: Order, wait: Duration) -> Order {
        let Ok(_waiter) = self.0.waiters.try_acquire() else { return order };
        let Ok(shard) = self.0.parts.shards.here(order.order_id.slot()) else { return order };
        let mut commits = self.0.parts.wakes.of(shard.id()).waiter();
        let (until, mut pause, mut seen) = (Instant::now() + wait, SHORTEST_LOOK, order);
        while is_open(&seen) && Instant::now() < until {
            // Every commit of the shard wakes; a pause that grows keeps those who wait long from reading all the time.
            tokio::time::sleep(pause.min(until.saturating_duration_since(Instant::now()))).await;
            commits.wait(until.saturating_duration_since(Instant::now()).min(LONGEST_LOOK)).await;
            pause = (pause * 2).min(LONGEST_LOOK);
            match self.find(seen.user_id, seen.order_id).await {
                Ok(order) => seen = order,
                // The order stands; that it could not be looked at again is no reason to say otherwise.
                Err(_) => return seen,
            }
        }
        seen
    }

    /// The order, if it is the caller's.
    ///
    /// # Errors
    /// [`OrderError::NotFound`] for absent orders and for other people's.
    pub async fn find(&self, caller: UserId, order: OrderId) -> Result<Order, OrderError> {
        let shard = self.0.parts.shards.here(order.slot())?;
        read::find(&mut *shard.read().await?, order, caller).await?.ok_or(OrderError::NotFound)
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
fn accepted(new: &AdmitOrder, times: Times) -> Order {
    let AdmitOrder { order_id, user_id, checked, priced, .. } = new;
    Order {
        order_id: *order_id,
        user_id: *user_id,
        status: OrderStatus::Pending,
        cancel_reason: None,
        payment: PaymentStatus::Processing,
        lines: priced.lines.clone(),
        subtotal: priced.subtotal,
        shipping: priced.shipping,
        total: priced.total,
        shipping_address: checked.shipping_address.clone(),
        email: checked.email.clone(),
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
