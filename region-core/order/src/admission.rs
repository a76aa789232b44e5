//! Admission: what `order` brings to the shard's writer. Orders come in priced and checked; they leave written or refused.

use std::collections::{HashMap, HashSet};

use futures::FutureExt;
use futures::future::BoxFuture;
use region_core_cart::{Item, TakeError};
use region_core_events::NewEvent;
use region_core_inventory::{Kind, Memory, Shortfall};
use region_core_store::{Shard, StoreError};
use shared::{IdempotencyKey, OrderId, Sku, Slot, UserId};
use sqlx::PgConnection;
use time::Duration;

use region_core_events::Wakes;

use crate::rules::admit::{Free, sums, take};
use crate::rules::{CheckedOrder, PricedOrder};
use crate::store::place::{self, KnownKey, Times};

/// One order, ready to be decided about.
#[derive(Debug)]
pub(crate) struct AdmitOrder {
    pub(crate) order_id: OrderId,
    pub(crate) user_id: UserId,
    /// The revocation epoch that the caller's token was issued under.
    pub(crate) epoch: u32,
    pub(crate) key: IdempotencyKey,
    pub(crate) request_hash: [u8; 32],
    pub(crate) checked: CheckedOrder,
    pub(crate) priced: PricedOrder,
    /// What is said if it is accepted.
    pub(crate) event: NewEvent,
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

/// Admission on every shard of the region.
pub(crate) struct Admission {
    /// How long units are held for an unpaid order.
    pub(crate) hold: Duration,
    pub(crate) wakes: Wakes,
}

impl Kind for Admission {
    type Command = AdmitOrder;
    type Answer = Verdict;

    const NAME: &'static str = "order.admit";

    fn weight(order: &AdmitOrder) -> usize {
        order.checked.items.len()
    }

    fn suffices(&self, batch: &[AdmitOrder], memory: &Memory) -> bool {
        enough(batch, memory) && carts_are_distinct(batch)
    }

    fn quick<'a>(
        &'a self,
        conn: &'a mut PgConnection,
        batch: &'a [AdmitOrder],
        memory: &'a mut Memory,
    ) -> BoxFuture<'a, Result<Option<Vec<Verdict>>, StoreError>> {
        async move {
            let orders: Vec<&AdmitOrder> = batch.iter().collect();
            let Some(times) = place::admit(conn, &orders, self.hold).await? else { return Ok(None) };
            sums(items(batch)).into_iter().for_each(|(sku, units)| memory.took(sku, units));
            Ok(Some(batch.iter().map(|_| Verdict::Admitted(times)).collect()))
        }
        .boxed()
    }

    fn careful<'a>(
        &'a self,
        conn: &'a mut PgConnection,
        batch: &'a [AdmitOrder],
        memory: &'a mut Memory,
    ) -> BoxFuture<'a, Result<Option<Vec<Verdict>>, StoreError>> {
        self.decide(conn, batch, memory).boxed()
    }

    fn committed(&self, shard: &Shard, _batch: &[AdmitOrder], answers: &[Verdict]) {
        let admitted = answers.iter().filter(|answer| matches!(answer, Verdict::Admitted(_))).count();
        if admitted > 0 {
            self.wakes.of(shard.id()).notify();
            metrics::counter!("orders_placed_total").increment(admitted as u64);
        }
    }
}

impl Admission {
    /// Reads everything under locks, in the order in which everybody takes them (slots, carts, allotments), decides in the
    /// order of arrival, and writes those who are accepted.
    async fn decide(
        &self,
        conn: &mut PgConnection,
        batch: &[AdmitOrder],
        memory: &mut Memory,
    ) -> Result<Option<Vec<Verdict>>, StoreError> {
        let mut facts = Facts::read(conn, batch).await?;
        let verdicts: Vec<Option<Verdict>> =
            batch.iter().enumerate().map(|(place, order)| facts.judge(place, order).err()).collect();
        let accepted: Vec<&AdmitOrder> =
            batch.iter().zip(&verdicts).filter(|(_, refused)| refused.is_none()).map(|(order, _)| order).collect();
        let times = if accepted.is_empty() { None } else { place::admit(conn, &accepted, self.hold).await? };
        if times.is_none() && !accepted.is_empty() {
            return Ok(None);
        }
        facts.free.iter().for_each(|(sku, free)| memory.note(sku, *free));
        Ok(verdicts.into_iter().map(|refused| refused.or_else(|| times.map(Verdict::Admitted))).collect())
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
    async fn read(conn: &mut PgConnection, batch: &'a [AdmitOrder]) -> Result<Self, StoreError> {
        let users = || batch.iter().map(|order| order.user_id);
        let slots = place::lock_slots(conn, users().map(UserId::slot)).await?;
        let epochs = place::find_epochs(conn, users()).await?;
        let keys = place::find_keys(conn, batch.iter().map(|order| (order.user_id, &order.key))).await?;
        let carts = changed_carts(conn, batch).await?;
        let skus = place::skus(batch.iter());
        let found = region_core_inventory::lock_free(conn, &skus).await?;
        let free = skus.into_iter().filter_map(|sku| Some((sku, *found.get(sku)?))).collect();
        Ok(Self { slots, epochs, keys, carts, emptied: HashSet::new(), free })
    }

    /// Decides about the next order; whoever is accepted has its units, its cart and its key.
    fn judge(&mut self, place: usize, order: &'a AdmitOrder) -> Result<(), Verdict> {
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
        take(&mut self.free, order.checked.items.iter().map(|(sku, quantity)| (sku, *quantity)))
            .map_err(|short| refused(Refusal::Short(short)))?;
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

/// Locks the carts that a batch wants to take, by user, and tells which are not as their order thinks.
async fn changed_carts(conn: &mut PgConnection, batch: &[AdmitOrder]) -> Result<HashMap<usize, u64>, StoreError> {
    let mut wanted: Vec<(usize, u64, &AdmitOrder)> = batch
        .iter()
        .enumerate()
        .filter_map(|(place, order)| Some((place, order.checked.cart_version?, order)))
        .collect();
    wanted.sort_unstable_by_key(|(_, _, order)| order.user_id.as_i64());
    let mut changed = HashMap::new();
    for (place, version, order) in wanted {
        let items: Vec<Item> =
            order.checked.items.iter().map(|(sku, quantity)| Item { sku: sku.clone(), quantity: *quantity }).collect();
        match region_core_cart::check(conn, order.user_id, version, &items).await {
            Ok(()) => {}
            Err(TakeError::Changed { version }) => {
                changed.insert(place, version);
            }
            Err(TakeError::Store(error)) => return Err(error),
        }
    }
    Ok(changed)
}

fn items(batch: &[AdmitOrder]) -> impl Iterator<Item = (&Sku, shared::Quantity)> {
    batch.iter().flat_map(|order| order.checked.items.iter().map(|(sku, quantity)| (sku, *quantity)))
}

/// Whether all that the batch takes together is remembered as free.
fn enough(batch: &[AdmitOrder], memory: &Memory) -> bool {
    sums(items(batch)).into_iter().all(|(sku, units)| memory.free(sku).is_some_and(|free| free >= units))
}

/// Whether no two orders of the batch take one cart.
fn carts_are_distinct(batch: &[AdmitOrder]) -> bool {
    let mut seen = HashSet::new();
    batch.iter().filter(|order| order.checked.cart_version.is_some()).all(|order| seen.insert(order.user_id.as_i64()))
}
