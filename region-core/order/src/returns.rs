//! Goods that come back, for who keeps the store. Whoever calls has checked that he does.
//!
//! A return is registered first, against what has left and has not come back. Then somebody looks at it: what can be sold again
//! is free in the shard that sold it, the rest is written off, both through the stock's ledger, so that the books stay true.
//! Money is not moved by any of this: payment gives it back when it is asked to.

use std::collections::BTreeMap;

use region_core_events::contract::OrderReturned;
use region_core_events::{NewEvent, append};
use region_core_inventory::ledger::{self, Back, LedgerError};
use region_core_shipping::returns::{self, Looked, ReturnError, look_at, take_back};
use region_core_store::{StoreError, own_slot};
use shared::api::order::{Inspection, NewReturn, Return};
use shared::{IdempotencyKey, OrderId, Quantity, ReturnId, Sku, UserId};
use sqlx::PgConnection;

use crate::error::OrderError;
use crate::orders::Orders;
use crate::rules::{CheckedReturn, checked_restock};
use crate::store::desk::{self, Action};
use crate::store::progress;

/// A return that is registered.
#[derive(Clone, Debug)]
pub struct TakenBack {
    /// As it is now.
    pub taken_back: Return,
    /// Whether an earlier request under the same key registered it.
    pub replayed: bool,
}

/// A return that is asked for.
struct Wanted {
    order: OrderId,
    return_id: ReturnId,
    key: IdempotencyKey,
    by: UserId,
    checked: CheckedReturn,
}

impl Orders {
    /// Registers goods that come back, once under its key.
    ///
    /// # Errors
    /// [`OrderError::Return`] if more would come back than has left, [`OrderError::KeyReused`], [`OrderError::NotFound`];
    /// nothing is changed then.
    #[tracing::instrument(name = "order.take_back", skip_all, fields(order.id = %order))]
    pub async fn take_back(
        &self,
        order: OrderId,
        key: IdempotencyKey,
        by: UserId,
        body: NewReturn,
    ) -> Result<TakenBack, OrderError> {
        let checked = CheckedReturn::check(body)?;
        let shard = self.parts().shards.here(order.slot())?;
        let wanted = Wanted { order, return_id: self.mint_return(order), key, by, checked };
        let work = async move |conn: &mut PgConnection| register_in(conn, &wanted).await;
        let (return_id, replayed) = shard.write("order.take_back", work).await?;
        Ok(TakenBack { taken_back: self.existing_return(order, return_id).await?, replayed })
    }

    /// Notes what somebody found who looked at a return: these units are for sale again, the rest is written off. Repeats are
    /// harmless.
    ///
    /// # Errors
    /// [`OrderError::Return`] if more would be for sale than came back, or it was decided otherwise before;
    /// [`OrderError::NotFound`] if the order has no such return.
    #[tracing::instrument(name = "order.inspect", skip_all, fields(order.id = %order))]
    pub async fn inspect(
        &self,
        order: OrderId,
        return_id: ReturnId,
        by: UserId,
        body: Inspection,
    ) -> Result<Return, OrderError> {
        let restock = checked_restock(&body.restock)?;
        let (parts, speaker) = (self.parts(), self.clone());
        let shard = parts.shards.here(order.slot())?;
        let work =
            async move |conn: &mut PgConnection| inspect_in(conn, &speaker, (order, return_id), by, &restock).await;
        if let Some(looked) = shard.turn().write("order.inspect", work).await? {
            let free: Vec<Sku> =
                looked.iter().filter(|(_, line)| line.restocked > 0).map(|(sku, _)| sku.clone()).collect();
            parts.released(shard.id(), &free);
            parts.wakes.of(shard.id()).notify();
        }
        self.existing_return(order, return_id).await
    }

    async fn existing_return(&self, order: OrderId, return_id: ReturnId) -> Result<Return, OrderError> {
        let shard = self.parts().shards.here(order.slot())?;
        let all = returns::list(&mut *shard.read().await?, order).await?;
        all.into_iter().find(|found| found.return_id == return_id).ok_or(OrderError::NotFound)
    }
}

/// The return under the key, and whether it had been registered before.
async fn register_in(conn: &mut PgConnection, wanted: &Wanted) -> Result<(ReturnId, bool), OrderError> {
    let Wanted { order, return_id, key, by, checked } = wanted;
    own_slot(conn, order.slot()).await?;
    // From here on returns of one order come one after the other.
    progress::lock_one(conn, *order).await?.ok_or(OrderError::NotFound)?;
    let request_hash = checked.request_hash();
    if let Some((known, meant)) = returns::find_key(conn, *order, key).await? {
        return if meant == request_hash { Ok((known, true)) } else { Err(OrderError::KeyReused) };
    }
    let CheckedReturn { items, reason } = checked;
    take_back(&returns::gone(conn, *order).await?, items)?;
    let new = returns::NewReturn { return_id: *return_id, order_id: *order, key, request_hash, reason, units: items };
    returns::register(conn, &new).await?;
    desk::note(conn, *order, *by, Action::Return, reason).await?;
    Ok((*return_id, false))
}

/// What became of the units, if that is news.
async fn inspect_in(
    conn: &mut PgConnection,
    orders: &Orders,
    (order, return_id): (OrderId, ReturnId),
    by: UserId,
    restock: &BTreeMap<Sku, Quantity>,
) -> Result<Option<BTreeMap<Sku, Looked>>, OrderError> {
    own_slot(conn, order.slot()).await?;
    progress::lock_one(conn, order).await?.ok_or(OrderError::NotFound)?;
    let registered = returns::find(conn, order, return_id).await?.ok_or(OrderError::NotFound)?;
    let looked = look_at(&registered.units, restock)?;
    if let Some(before) = registered.looked {
        return if before == looked { Ok(None) } else { Err(ReturnError::Decided.into()) };
    }
    returns::inspect(conn, return_id, &looked).await?;
    let back = |(sku, line): (&Sku, &Looked)| Back { sku: sku.clone(), free: line.restocked, lost: line.written_off };
    let back: Vec<Back> = looked.iter().map(back).collect();
    ledger::take_back(conn, &format!("return {return_id}"), &back).await.map_err(unbooked)?;
    let sum = |units: fn(&Looked) -> u32| looked.values().map(|line| u64::from(units(line))).sum::<u64>();
    let (restocked, written_off) = (sum(|line| line.restocked), sum(|line| line.written_off));
    let found = format!("{restocked} for sale again, {written_off} written off");
    desk::note(conn, order, by, Action::Inspect, &found).await?;
    let version = region_core_shipping::count_events(conn, order).await?;
    let returned = OrderReturned { order_id: order, return_id, restocked, written_off };
    append(conn, &[NewEvent::new(orders.mint_event(), version, &returned)]).await?;
    Ok(Some(looked))
}

/// A return is booked once, with the row that says so: any other refusal than the store's is a fault of ours.
fn unbooked(error: LedgerError) -> OrderError {
    match error {
        LedgerError::Store(error) => error.into(),
        error @ (LedgerError::ReferenceTaken(_)
        | LedgerError::NotFree { .. }
        | LedgerError::NoSuchShard(_)
        | LedgerError::Refused(_)) => StoreError::corrupt("ledger.ref", error).into(),
    }
}
