//! Why an order was not accepted or not found, and how that is answered.

use region_core_cart::TakeError;
use region_core_inventory::{NotCovered, Shortfall, WriterError};
use region_core_shipping::ParcelError;
use region_core_shipping::returns::ReturnError;
use region_core_store::{HasStoreError, StoreError};
use shared::api::order::{LabelState, OrderStatus, Quote};
use shared::{Problem, ProblemKind};

use crate::admission::Refusal;
use crate::rules::{InvalidField, PriceError, PricedOrder};

/// A refusal; nothing was written then.
#[derive(Debug, thiserror::Error)]
pub enum OrderError {
    /// A field breaks a rule.
    #[error(transparent)]
    Invalid(#[from] InvalidField),
    /// An item has no price, or the sum does not fit.
    #[error(transparent)]
    Price(#[from] PriceError),
    /// The total is not the one the shopper saw.
    #[error("the total is {}, not the expected one", .0.total)]
    QuoteChanged(Box<PricedOrder>),
    /// The cart is not at the version the request named, or does not hold what it orders.
    #[error("the cart changed")]
    CartChanged(TakeError),
    /// Fewer units are free than the order asks for, on all shards together.
    #[error("not enough stock")]
    SoldOut(Vec<Shortfall>),
    /// Units that are missing here may be had, but not yet.
    #[error(transparent)]
    NotCovered(NotCovered),
    /// The key belongs to another request.
    #[error("this key came with another request before")]
    KeyReused,
    /// The token was revoked, or names a user that this shard does not have.
    #[error("the session has ended")]
    SessionEnded,
    /// More than five new orders a second.
    #[error("at most 5 orders a second")]
    TooFast,
    /// The first request under this key is still being decided.
    #[error("an earlier request under this key is still running")]
    StillRunning,
    /// Absent, or not the caller's.
    #[error("no such order")]
    NotFound,
    /// It has gone to the carrier, and is not cancelled any more.
    #[error("the order has left and can no longer be cancelled")]
    Left(OrderStatus),
    /// It does not wait for anybody.
    #[error("the order does not wait for a decision")]
    NotHeld(OrderStatus),
    /// Only a paid order is sent.
    #[error("only a paid order can be sent")]
    NotPaid(OrderStatus),
    /// The consumer has not given that event up, or it is parked behind another.
    #[error("that event was not given up, or it is parked behind another")]
    NotGivenUp,
    /// A label was bought for it: it is being packed, or will be.
    #[error("a parcel of it is being made ready: its label must be given back first")]
    Labelled,
    /// Labels are not sold here.
    #[error("no carrier is configured: send it by hand")]
    NoCarrier,
    /// The label is not there to be used or given back.
    #[error("the label is {}", label_word(*.0))]
    Label(LabelState),
    /// The parcel would hold what was not ordered, or what has left.
    #[error(transparent)]
    Parcel(#[from] ParcelError),
    /// More would come back than has left, or be sold again than came back.
    #[error(transparent)]
    Return(#[from] ReturnError),
    /// The core of this region that writes the shard by preference has decided so.
    #[error("{0}")]
    DecidedElsewhere(Problem),
    /// The shard's writer has no answer.
    #[error(transparent)]
    Writer(#[from] WriterError),
    /// The shard failed.
    #[error(transparent)]
    Store(#[from] StoreError),
}

impl OrderError {
    /// Whether somebody decided against the order, so that none stands under its key; otherwise nobody knows.
    pub(crate) fn is_refusal(&self) -> bool {
        matches!(
            self,
            Self::CartChanged(TakeError::Changed { .. })
                | Self::SoldOut(_)
                | Self::NotCovered(_)
                | Self::SessionEnded
                | Self::DecidedElsewhere(_)
        )
    }
}

impl HasStoreError for OrderError {
    fn store_error(&self) -> Option<&StoreError> {
        match self {
            Self::Store(error) | Self::CartChanged(TakeError::Store(error)) => Some(error),
            Self::Writer(WriterError::Failed(error)) => Some(error),
            _ => None,
        }
    }
}

impl From<Refusal> for OrderError {
    fn from(refusal: Refusal) -> Self {
        match refusal {
            Refusal::WrongShard(slot) => Self::Store(StoreError::WrongShard(slot)),
            Refusal::Frozen(slot) => Self::Store(StoreError::Frozen(slot)),
            Refusal::SessionEnded => Self::SessionEnded,
            Refusal::CartChanged { version } => Self::CartChanged(TakeError::Changed { version }),
            Refusal::Short(short) => Self::SoldOut(short),
        }
    }
}

impl From<OrderError> for Problem {
    fn from(error: OrderError) -> Self {
        match error {
            OrderError::Invalid(InvalidField { field, reason }) => Self::invalid(&field, reason),
            OrderError::Price(PriceError::UnknownSku(sku)) => Self::new(ProblemKind::UnknownSku)
                .detail(PriceError::UnknownSku(sku.clone()))
                .field("items")
                .with("sku", sku.as_str()),
            OrderError::Price(error @ PriceError::NotDeliveredTo(_)) => {
                Self::invalid("shipping_address.country", error)
            }
            OrderError::Price(error @ PriceError::NotOffered) => Self::invalid("delivery_option", error),
            OrderError::Price(
                error @ (PriceError::Free
                | PriceError::Money { .. }
                | PriceError::TooHeavy
                | PriceError::DeliveryMoney(_)),
            ) => Self::invalid("items", error),
            OrderError::QuoteChanged(priced) => quote_changed(*priced),
            OrderError::CartChanged(error) => error.into(),
            OrderError::SoldOut(short) => sold_out(&short),
            OrderError::NotCovered(error) => error.into(),
            OrderError::KeyReused => Self::new(ProblemKind::IdempotencyKeyReused),
            OrderError::SessionEnded => Self::new(ProblemKind::NotSignedIn).detail(error),
            OrderError::TooFast => Self::new(ProblemKind::SlowDown).detail(error).retry_after(1),
            OrderError::StillRunning => Self::new(ProblemKind::Unavailable).detail(error).retry_after(1),
            OrderError::NotFound => Self::not_found(),
            // A plain word: serialising cannot fail.
            OrderError::Left(status) | OrderError::NotPaid(status) | OrderError::NotHeld(status) => {
                Self::new(ProblemKind::OrderState)
                    .detail(error)
                    .with("order_status", serde_json::to_value(status).unwrap_or_default())
            }
            OrderError::NotGivenUp => Self::new(ProblemKind::OrderState).detail(error),
            error @ (OrderError::Labelled | OrderError::Label(_)) => Self::new(ProblemKind::OrderState).detail(error),
            error @ OrderError::NoCarrier => Self::invalid("label", error),
            OrderError::Parcel(error @ ParcelError::NotOrdered(_)) => Self::invalid("items", error),
            OrderError::Parcel(error) => Self::new(ProblemKind::OrderState).detail(error),
            OrderError::Return(error @ ReturnError::MoreThanCame { .. }) => Self::invalid("restock", error),
            OrderError::Return(error @ (ReturnError::TooMany { .. } | ReturnError::Decided)) => {
                Self::new(ProblemKind::OrderState).detail(error)
            }
            OrderError::DecidedElsewhere(problem) => problem,
            OrderError::Writer(error) => no_answer(&error),
            OrderError::Store(error) => error.into(),
        }
    }
}

const fn label_word(state: LabelState) -> &'static str {
    match state {
        LabelState::ToBuy => "not bought yet",
        LabelState::Bought => "bought, and its parcel has not left",
        LabelState::Refused => "one that the carrier refused",
        LabelState::ToVoid => "being given back",
        LabelState::Voided => "given back",
        LabelState::WrittenOff => "written off",
        LabelState::Sent => "on a parcel that has left",
        LabelState::Arrived => "on a parcel that has arrived",
    }
}

/// The client may repeat: its key finds what was written.
fn no_answer(error: &WriterError) -> Problem {
    match error {
        WriterError::Failed(source) if source.blames_the_statement() => {
            tracing::error!(error = %source, "a rule of the store was broken");
            Problem::new(ProblemKind::Internal)
        }
        WriterError::Failed(source) => {
            tracing::error!(error = %source, "a shard did not answer as it should");
            Problem::new(ProblemKind::Unavailable).retry_after(1)
        }
        WriterError::Full | WriterError::Late | WriterError::Stopped => {
            Problem::new(ProblemKind::Unavailable).detail(error).retry_after(1)
        }
    }
}

fn quote_changed(priced: PricedOrder) -> Problem {
    let quote = Quote::from(priced);
    let problem = Problem::new(ProblemKind::QuoteChanged).detail(format!("the total is now {}", quote.total));
    // Plain strings and numbers: serialising cannot fail.
    problem.with("quote", serde_json::to_value(quote).unwrap_or_default())
}

fn sold_out(short: &[Shortfall]) -> Problem {
    let detail = short.iter().map(ToString::to_string).collect::<Vec<_>>().join("; ");
    let items: Vec<_> = short
        .iter()
        .map(|short| serde_json::json!({"sku": short.sku, "wanted": short.wanted, "available": short.free}))
        .collect();
    Problem::new(ProblemKind::SoldOut).detail(detail).with("items", items)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_refusal_for_the_order_s_state_says_it_beside_its_own_status() {
        let errors: [fn(OrderStatus) -> OrderError; 3] = [OrderError::Left, OrderError::NotPaid, OrderError::NotHeld];
        for error in errors.map(|error| error(OrderStatus::Shipped)) {
            let sent = serde_json::to_vec(&Problem::from(error)).unwrap();
            let read: Problem = serde_json::from_slice(&sent).unwrap();
            assert_eq!((read.status, &read.members["order_status"]), (409, &"SHIPPED".into()));
        }
    }
}
