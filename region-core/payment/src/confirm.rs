//! The shopper came back from the provider's question.

use region_core_store::{HasStoreError, Shards, StoreError, own_slot};
use shared::{OrderId, Problem, ProblemKind};
use sqlx::PgConnection;

use crate::rules::{self, State};
use crate::store::{self, Change};

/// Why there is nothing to confirm.
#[derive(Debug, thiserror::Error)]
pub enum ConfirmError {
    /// The order has no payment yet, or there is no such order.
    #[error("the order has no payment")]
    NoPayment,
    /// The provider asked nothing, or the payment has ended.
    #[error("the payment is {}", .0.name())]
    NotAsked(State),
    /// The shard failed or is not the right one.
    #[error(transparent)]
    Store(#[from] StoreError),
}

impl HasStoreError for ConfirmError {
    fn store_error(&self) -> Option<&StoreError> {
        match self {
            Self::NoPayment | Self::NotAsked(_) => None,
            Self::Store(error) => Some(error),
        }
    }
}

impl From<ConfirmError> for Problem {
    fn from(error: ConfirmError) -> Self {
        match error {
            ConfirmError::NoPayment => Self::not_found(),
            ConfirmError::NotAsked(state) => Self::new(ProblemKind::OrderState)
                .detail("the payment waits for no confirmation")
                .with("payment", state.name()),
            ConfirmError::Store(error) => error.into(),
        }
    }
}

/// Has the provider asked whether the challenge was passed. Repeats are harmless.
pub(crate) async fn confirm(shards: &Shards, order: OrderId) -> Result<(), ConfirmError> {
    let shard = shards.here(order.slot())?.clone();
    shard.write("payment.confirm", async move |conn| transaction(conn, order).await).await
}

async fn transaction(conn: &mut PgConnection, order: OrderId) -> Result<(), ConfirmError> {
    own_slot(conn, order.slot()).await?;
    let payment = store::lock_of_orders(conn, &[order]).await?.pop().ok_or(ConfirmError::NoPayment)?;
    if let Some(payment) = rules::confirmed(&payment) {
        return Ok(store::update(conn, &[Change::now(payment)], std::time::Duration::ZERO).await?);
    }
    match payment.state {
        State::ToConfirm | State::Authorized | State::ToCapture | State::Captured => Ok(()),
        State::ToCreate
        | State::ToAuthorize
        | State::ChallengeRequired
        | State::Declined
        | State::ToVoid
        | State::Voided
        | State::ToRefund
        | State::Refunded
        | State::Abandoned => Err(ConfirmError::NotAsked(payment.state)),
    }
}
