//! Giving a part of a payment back, for who keeps the store. Whoever calls has checked that he does.
//!
//! What is asked for is committed with a name of its own and set aside on the payment; the driver asks the provider from
//! there, reads an outcome that nobody knows back by that name, and ends the refund with the provider's definite answer.

mod driver;

use region_core_store::{HasStoreError, Shards, StoreError, own_slot};
use sha2::{Digest as _, Sha256};
use shared::api::refund::{NewRefund, Refund, Refunds};
use shared::{IdempotencyKey, Money, OrderId, Problem, ProblemKind, UserId};
use sqlx::PgConnection;

use crate::events::Mint;
use crate::rules::Payment;
use crate::rules::refund::{self, AskError, MOST_REFUNDS};
use crate::store::refund::New;
use crate::store::{self, Change};

pub(crate) use driver::{Desk, RefundDriver};

/// A refund that stands in the shard.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Asked {
    /// As it is now.
    pub refund: Refund,
    /// Whether an earlier request under the same key asked for it.
    pub replayed: bool,
}

/// Why nothing is given back; nothing is changed then.
#[derive(Debug, thiserror::Error)]
pub enum RefundError {
    /// The order has no payment, or there is no such order.
    #[error("the order has no payment")]
    NoPayment,
    /// The reason says nothing or too much.
    #[error("{0}")]
    Reason(&'static str),
    /// The payment does not allow it.
    #[error(transparent)]
    Ask(#[from] AskError),
    /// The order has as many refunds as it may.
    #[error("an order has at most {MOST_REFUNDS} refunds")]
    TooMany,
    /// The key belongs to another request.
    #[error("this key came with another request before")]
    KeyReused,
    /// The shard failed or is not the right one.
    #[error(transparent)]
    Store(#[from] StoreError),
}

impl HasStoreError for RefundError {
    fn store_error(&self) -> Option<&StoreError> {
        match self {
            Self::Store(error) => Some(error),
            Self::NoPayment | Self::Reason(_) | Self::Ask(_) | Self::TooMany | Self::KeyReused => None,
        }
    }
}

impl From<RefundError> for Problem {
    fn from(error: RefundError) -> Self {
        match error {
            RefundError::NoPayment => Self::not_found(),
            RefundError::Reason(reason) => Self::invalid("reason", reason),
            RefundError::Ask(error @ AskError::Amount(_)) => Self::invalid("amount", error),
            RefundError::Ask(error @ AskError::NotCaptured(state)) => {
                Self::new(ProblemKind::OrderState).detail(error).with("payment", state.name())
            }
            RefundError::Ask(error @ AskError::TooMuch { left }) => {
                let left = serde_json::json!({ "minor": left.minor(), "currency": left.currency().code() });
                Self::new(ProblemKind::OrderState).detail(error).with("left", left)
            }
            RefundError::TooMany => Self::new(ProblemKind::OrderState).detail(error),
            RefundError::KeyReused => Self::new(ProblemKind::IdempotencyKeyReused),
            RefundError::Store(error) => error.into(),
        }
    }
}

/// Sets the amount aside and writes the refund down, once under its key. Tells the order's refunds as they are then.
pub(crate) async fn ask(
    shards: &Shards,
    mint: &Mint,
    order: OrderId,
    key: IdempotencyKey,
    by: UserId,
    body: NewRefund,
) -> Result<Asked, RefundError> {
    let NewRefund { amount, reason } = body;
    let reason = refund::checked_reason(&reason).map_err(RefundError::Reason)?;
    let shard = shards.here(order.slot())?.clone();
    let (refund_id, request_hash) = (mint.refund(order), request_hash(amount, &reason));
    let new = New { refund_id, order_id: order, key, request_hash, amount, reason, by: Some(by) };
    let (refund_id, replayed) = shard.write("payment.refund", async move |conn| transaction(conn, &new).await).await?;
    let refunds = store::refund::list(&mut *shard.read().await?, order).await?;
    let refund = refunds.into_iter().find(|refund| refund.refund_id == refund_id);
    Ok(Asked { refund: refund.ok_or_else(|| StoreError::corrupt("refunds.refund_id", refund_id))?, replayed })
}

/// Has the rest of a cancelled order's payment asked for beside its parts that are under way; whether there was one. Its name is
/// its key, which nobody else uses.
pub(crate) async fn ask_for_rest(
    conn: &mut PgConnection,
    mint: &Mint,
    payment: &mut Payment,
) -> Result<bool, StoreError> {
    let Some((asked, amount)) = refund::rest(payment) else { return Ok(false) };
    let refund_id = mint.refund(payment.order_id);
    let key = refund_id.to_string().parse().map_err(|error| StoreError::corrupt("refunds.key", error))?;
    let (reason, order_id) = (refund::REST.to_owned(), payment.order_id);
    let request_hash = request_hash(amount, &reason);
    let new = New { refund_id, order_id, key, request_hash, amount, reason, by: None };
    store::refund::insert(conn, payment.payment_id, &new).await?;
    *payment = asked;
    Ok(true)
}

/// The refund under the key, and whether it had been asked for before.
async fn transaction(conn: &mut PgConnection, new: &New) -> Result<(shared::RefundId, bool), RefundError> {
    own_slot(conn, new.order_id.slot()).await?;
    // From here on refunds of one order are asked for one after the other.
    let payment = store::lock_of_orders(conn, &[new.order_id]).await?.pop().ok_or(RefundError::NoPayment)?;
    if let Some((known, request_hash)) = store::refund::find_key(conn, new.order_id, &new.key).await? {
        return if request_hash == new.request_hash { Ok((known, true)) } else { Err(RefundError::KeyReused) };
    }
    if store::refund::list(conn, new.order_id).await?.len() >= MOST_REFUNDS {
        return Err(RefundError::TooMany);
    }
    let asked = refund::ask(&payment, new.amount)?;
    store::update(conn, &[Change::now(asked)], std::time::Duration::ZERO).await?;
    store::refund::insert(conn, payment.payment_id, new).await?;
    Ok((new.refund_id, false))
}

/// The order's refunds, and what can still be asked for.
pub(crate) async fn list(shards: &Shards, order: OrderId) -> Result<Refunds, RefundError> {
    let mut conn = shards.here(order.slot())?.read().await?;
    // The refunds first: what has ended by then is no longer set aside on the payment that is read after it.
    let items = store::refund::list(&mut conn, order).await?;
    let payment = store::find_of_order(&mut conn, order).await?.ok_or(RefundError::NoPayment)?;
    let left = Money::new(refund::left_minor(&payment), payment.amount.currency());
    let left = left.map_err(|error| StoreError::corrupt("payments.captured_minor", error))?;
    Ok(Refunds { items, left })
}

/// Equal for requests that mean the same.
fn request_hash(amount: Money, reason: &str) -> [u8; 32] {
    Sha256::digest(format!("{} {} {reason}", amount.minor(), amount.currency())).into()
}
