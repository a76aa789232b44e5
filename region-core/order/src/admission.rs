//! Admission: what `order` brings to the shard's writer. Orders come in priced and checked; they leave written or refused.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use futures::FutureExt;
use futures::future::BoxFuture;
use region_core_cart::{Item, WantedCart};
use region_core_events::contract::{OrderCreated, OrderFacts};
use region_core_events::{NewEvent, Wakes};
use region_core_inventory::transfer::desk::ChangedFn;
use region_core_inventory::{Borrowing, Claimant, Kind, Memory, Shortfall};
use region_core_store::{Shard, StoreError};
use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};
use shared::{EventId, IdempotencyKey, OrderId, Quantity, ShardId, Sku, Slot, UserId};
use sqlx::PgConnection;
use time::{Duration, OffsetDateTime};

use crate::rules::admit::{Free, sums, take};
use crate::rules::{CheckedOrder, PricedOrder};
use crate::store::place::{self, Admitted, KnownKey, Times};

/// An order as it is wanted, checked and priced: all that whoever decides about it has to be told, in this process or in
/// another core of the region.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub(crate) struct Wanted {
    pub(crate) order_id: OrderId,
    pub(crate) user_id: UserId,
    /// The revocation epoch that the caller's token was issued under.
    pub(crate) epoch: u32,
    pub(crate) key: IdempotencyKey,
    pub(crate) request_hash: [u8; 32],
    pub(crate) checked: CheckedOrder,
    pub(crate) priced: PricedOrder,
    /// Names what is said if it is accepted.
    pub(crate) event_id: EventId,
    /// W3C trace context of the shopper's request.
    pub(crate) traceparent: Option<String>,
    /// What it is judged by when its amount is kept ready, where orders are judged.
    #[serde(default)]
    pub(crate) facts: Option<OrderFacts>,
}

/// One order, ready to be decided about.
#[derive(Debug)]
pub(crate) struct AdmitOrder {
    pub(crate) wanted: Wanted,
    /// What is said if it is accepted.
    pub(crate) event: NewEvent,
    /// Under which it waits for units: the same request under its key is the same order, whatever its id.
    pub(crate) claimant: Claimant,
}

impl From<Wanted> for AdmitOrder {
    fn from(wanted: Wanted) -> Self {
        let created = OrderCreated {
            order_id: wanted.order_id,
            user_id: wanted.user_id,
            total: wanted.priced.total,
            payment_token: wanted.checked.payment_token.clone(),
            // The shard's clock says until when, as the event is written.
            expires_at: OffsetDateTime::UNIX_EPOCH,
            facts: wanted.facts.clone(),
        };
        let event = NewEvent::new(wanted.event_id, 1, &created).traced(wanted.traceparent.clone());
        let claimant = claimant(&wanted);
        Self { wanted, event, claimant }
    }
}

impl std::ops::Deref for AdmitOrder {
    type Target = Wanted;

    fn deref(&self) -> &Wanted {
        &self.wanted
    }
}

/// An order on its way to the writer.
#[derive(Clone, Debug)]
pub(crate) struct Admit {
    pub(crate) order: Arc<AdmitOrder>,
    /// Whether it waited until its units were here: then it comes before those who have not.
    pub(crate) covered: bool,
}

impl std::ops::Deref for Admit {
    type Target = AdmitOrder;

    fn deref(&self) -> &AdmitOrder {
        &self.order
    }
}

/// How one order was decided.
#[derive(Debug)]
pub(crate) enum Verdict {
    /// It stands.
    Admitted(Times),
    /// Its key belongs to an order already.
    Known(KnownKey),
    /// Nothing of it was written.
    Refused(Refusal),
}

/// Why an order was refused.
#[derive(Debug)]
pub(crate) enum Refusal {
    WrongShard(Slot),
    Frozen(Slot),
    SessionEnded,
    CartChanged { version: u64 },
    Short(Vec<Shortfall>),
}

/// Admission on one shard.
pub(crate) struct Admission {
    pub(crate) shard: ShardId,
    pub(crate) borrowing: Borrowing,
    /// Hears which counts changed, for whoever shows them.
    pub(crate) told: ChangedFn,
    /// How long units are held for an unpaid order.
    pub(crate) hold: Duration,
    pub(crate) wakes: Wakes,
}

impl Kind for Admission {
    type Command = Admit;
    type Answer = Verdict;

    const NAME: &'static str = "order.admit";

    fn weight(order: &Admit) -> usize {
        order.checked.items.len()
    }

    fn suffices(&self, batch: &[Admit], memory: &Memory) -> bool {
        self.enough(batch, memory) && carts_are_distinct(batch)
    }

    fn recall<'a>(
        &'a self,
        conn: &'a mut PgConnection,
        batch: &'a [Admit],
        memory: &'a mut Memory,
    ) -> BoxFuture<'a, Result<bool, StoreError>> {
        async move {
            let skus = place::skus(batch.iter().map(|order| &*order.order));
            let unknown: Vec<&Sku> = skus.into_iter().filter(|sku| memory.free(sku).is_none()).collect();
            if unknown.is_empty() {
                return Ok(false);
            }
            let found = region_core_inventory::find_free(conn, &unknown).await?;
            unknown.into_iter().for_each(|sku| memory.note(sku, found.get(sku).copied().unwrap_or(0)));
            Ok(true)
        }
        .boxed()
    }

    fn quick<'a>(
        &'a self,
        conn: &'a mut PgConnection,
        batch: &'a [Admit],
        memory: &'a mut Memory,
    ) -> BoxFuture<'a, Result<Option<Vec<Verdict>>, StoreError>> {
        async move {
            let orders: Vec<&AdmitOrder> = batch.iter().map(|order| &*order.order).collect();
            let times = match place::admit(conn, &orders, self.hold).await? {
                Admitted::Whole(times) => times,
                Admitted::Stale { units } => {
                    if units {
                        memory.forget();
                    }
                    return Ok(None);
                }
            };
            sums(batch.iter().flat_map(|order| items(order)))
                .into_iter()
                .for_each(|(sku, units)| memory.took(sku, units));
            Ok(Some(batch.iter().map(|_| Verdict::Admitted(times)).collect()))
        }
        .boxed()
    }

    fn careful<'a>(
        &'a self,
        conn: &'a mut PgConnection,
        batch: &'a [Admit],
        memory: &'a mut Memory,
    ) -> BoxFuture<'a, Result<Option<Vec<Verdict>>, StoreError>> {
        self.decide(conn, batch, memory).boxed()
    }

    fn committed(&self, shard: &Shard, batch: &[Admit], answers: &[Verdict]) {
        let admitted = || batch.iter().zip(answers).filter(|(_, answer)| matches!(answer, Verdict::Admitted(_)));
        let sold = sums(admitted().flat_map(|(order, _)| items(order)));
        if sold.is_empty() {
            return;
        }
        self.wakes.of(shard.id()).notify();
        self.borrowing.sold_all(shard.id(), sold.iter().copied());
        let skus: Vec<Sku> = sold.into_iter().map(|(sku, _)| sku.clone()).collect();
        (self.told)(shard.id(), &skus);
        metrics::counter!("orders_placed_total").increment(admitted().count() as u64);
    }
}

impl Admission {
    /// Reads everything under locks, in the order in which everybody takes them (slots, carts, allotments), decides in the
    /// order of arrival, and writes those who are accepted.
    async fn decide(
        &self,
        conn: &mut PgConnection,
        batch: &[Admit],
        memory: &mut Memory,
    ) -> Result<Option<Vec<Verdict>>, StoreError> {
        let mut facts = Facts::read(conn, batch).await?;
        let mut verdicts = Vec::with_capacity(batch.len());
        for (place, order) in batch.iter().enumerate() {
            verdicts.push(facts.judge(place, order, |sku| self.held_back(order, sku)).err());
        }
        let accepted: Vec<&AdmitOrder> = batch
            .iter()
            .zip(&verdicts)
            .filter(|(_, refused)| refused.is_none())
            .map(|(order, _)| &*order.order)
            .collect();
        let times = match accepted.is_empty() {
            true => None,
            false => match place::admit(conn, &accepted, self.hold).await? {
                Admitted::Whole(times) => Some(times),
                Admitted::Stale { .. } => return Ok(None),
            },
        };
        facts.free.iter().for_each(|(sku, free)| memory.note(sku, *free));
        Ok(verdicts.into_iter().map(|refused| refused.or_else(|| times.map(Verdict::Admitted))).collect())
    }

    /// Units that are not for this order: those that orders wait for which came before it.
    fn held_back(&self, order: &Admit, sku: &Sku) -> u64 {
        if order.covered { 0 } else { self.borrowing.parked(self.shard, sku) }
    }

    /// Whether all that the batch takes together is remembered as free, beside what others wait for.
    fn enough(&self, batch: &[Admit], memory: &Memory) -> bool {
        let sums = sums(batch.iter().flat_map(|order| items(order)));
        let left = |sku: &Sku| memory.free(sku).map(|free| free.saturating_sub(self.borrowing.parked(self.shard, sku)));
        sums.into_iter().all(|(sku, units)| left(sku).is_some_and(|free| free >= units))
    }
}

/// What is known about a batch, read under locks.
struct Facts<'a> {
    slots: HashMap<Slot, String>,
    epochs: HashMap<i64, i64>,
    keys: HashMap<(i64, String), KnownKey>,
    /// By place in the batch: why its cart cannot be taken.
    carts: HashMap<usize, u64>,
    /// Users whose cart an order of this batch takes.
    emptied: HashSet<i64>,
    free: Free<'a>,
}

impl<'a> Facts<'a> {
    async fn read(conn: &mut PgConnection, batch: &'a [Admit]) -> Result<Self, StoreError> {
        let users = || batch.iter().map(|order| order.user_id);
        let slots = place::lock_slots(conn, users().map(UserId::slot)).await?;
        let epochs = place::find_epochs(conn, users()).await?;
        let carts = changed_carts(conn, batch).await?;
        let skus = place::skus(batch.iter().map(|order| &*order.order));
        let found = region_core_inventory::lock_free(conn, &skus).await?;
        // After the locks: what another process was writing has been waited for, and its keys are seen.
        let keys = place::find_keys(conn, batch.iter().map(|order| (order.user_id, &order.key))).await?;
        let free = skus.into_iter().filter_map(|sku| Some((sku, *found.get(sku)?))).collect();
        Ok(Self { slots, epochs, keys, carts, emptied: HashSet::new(), free })
    }

    /// Decides about the next order; whoever is accepted has its units, its cart and its key.
    fn judge(&mut self, place: usize, order: &'a AdmitOrder, held_back: impl Fn(&Sku) -> u64) -> Result<(), Verdict> {
        let refused = Verdict::Refused;
        let (user, slot) = (order.user_id.as_i64(), order.user_id.slot());
        match self.slots.get(&slot).map(String::as_str) {
            Some("owner") => {}
            Some("frozen") => return Err(refused(Refusal::Frozen(slot))),
            _ => return Err(refused(Refusal::WrongShard(slot))),
        }
        if self.epochs.get(&user).is_none_or(|epoch| i64::from(order.epoch) < *epoch) {
            return Err(refused(Refusal::SessionEnded));
        }
        let key = (user, order.key.as_str().to_owned());
        if let Some(known) = self.keys.get(&key) {
            return Err(Verdict::Known(known.clone()));
        }
        if let Some(version) = self.changed_cart(place, order) {
            return Err(refused(Refusal::CartChanged { version }));
        }
        take(&mut self.free, held_back, items(order)).map_err(|short| refused(Refusal::Short(short)))?;
        if order.checked.cart_version.is_some() {
            self.emptied.insert(user);
        }
        self.keys.insert(key, KnownKey { order_id: order.order_id, request_hash: order.request_hash.to_vec() });
        Ok(())
    }

    /// The version that the order's cart is at, if that is not the one it wants to take.
    fn changed_cart(&self, place: usize, order: &AdmitOrder) -> Option<u64> {
        let version = order.checked.cart_version?;
        if self.emptied.contains(&order.user_id.as_i64()) {
            return Some(version + 1); // an order before it in this batch takes the cart
        }
        self.carts.get(&place).copied()
    }
}

/// Locks the carts that a batch wants to take and tells, by place in the batch, which are not as their order thinks.
async fn changed_carts(conn: &mut PgConnection, batch: &[Admit]) -> Result<HashMap<usize, u64>, StoreError> {
    let item = |(sku, quantity): (&Sku, Quantity)| Item { sku: sku.clone(), quantity };
    let wanted: Vec<(usize, WantedCart)> = batch
        .iter()
        .enumerate()
        .filter_map(|(place, order)| {
            let version = order.checked.cart_version?;
            Some((place, WantedCart { user_id: order.user_id, version, items: items(order).map(item).collect() }))
        })
        .collect();
    if wanted.is_empty() {
        return Ok(HashMap::new());
    }
    let (places, wanted): (Vec<usize>, Vec<WantedCart>) = wanted.into_iter().unzip();
    let changed = region_core_cart::check(conn, &wanted).await?;
    Ok(places.into_iter().zip(changed).filter_map(|(place, changed)| Some((place, changed?))).collect())
}

/// Another request under the same key wants other units, and is another claimant.
fn claimant(wanted: &Wanted) -> Claimant {
    let Wanted { user_id, key, request_hash, .. } = wanted;
    let digest = Sha256::new()
        .chain_update(request_hash)
        .chain_update(user_id.as_i64().to_be_bytes())
        .chain_update(key.as_str())
        .finalize();
    let mut claimant = [0; 16];
    claimant.iter_mut().zip(digest).for_each(|(byte, from)| *byte = from);
    Claimant(claimant)
}

fn items(order: &AdmitOrder) -> impl Iterator<Item = (&Sku, Quantity)> + Clone {
    order.checked.items.iter().map(|(sku, quantity)| (sku, *quantity))
}

/// Whether no two orders of the batch take one cart.
fn carts_are_distinct(batch: &[Admit]) -> bool {
    let mut seen = HashSet::new();
    batch.iter().filter(|order| order.checked.cart_version.is_some()).all(|order| seen.insert(order.user_id.as_i64()))
}
