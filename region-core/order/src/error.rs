//! Why an order was not accepted or not found, and how that is answered.

use region_core_cart::TakeError;
use region_core_inventory::{ReserveError, Shortfall};
use region_core_store::{HasStoreError, StoreError};
use shared::api::order::Quote;
use shared::{Problem, ProblemKind};

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
    /// Fewer units are free than the order asks for.
    #[error("not enough stock")]
    SoldOut(Vec<Shortfall>),
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
    /// The shard failed.
    #[error(transparent)]
    Store(#[from] StoreError),
}

impl HasStoreError for OrderError {
    fn store_error(&self) -> Option<&StoreError> {
        match self {
            Self::Store(error) | Self::CartChanged(TakeError::Store(error)) => Some(error),
            _ => None,
        }
    }
}

impl From<ReserveError> for OrderError {
    fn from(error: ReserveError) -> Self {
        match error {
            ReserveError::Short(short) => Self::SoldOut(short),
            ReserveError::Store(error) => Self::Store(error),
        }
    }
}

impl From<TakeError> for OrderError {
    fn from(error: TakeError) -> Self {
        match error {
            TakeError::Store(error) => Self::Store(error),
            changed @ TakeError::Changed { .. } => Self::CartChanged(changed),
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
            OrderError::Price(error @ (PriceError::Free | PriceError::Money { .. })) => Self::invalid("items", error),
            OrderError::QuoteChanged(priced) => quote_changed(*priced),
            OrderError::CartChanged(error) => error.into(),
            OrderError::SoldOut(short) => sold_out(&short),
            OrderError::KeyReused => Self::new(ProblemKind::IdempotencyKeyReused),
            OrderError::SessionEnded => Self::new(ProblemKind::NotSignedIn).detail(error),
            OrderError::TooFast => Self::new(ProblemKind::SlowDown).detail(error).retry_after(1),
            OrderError::StillRunning => Self::new(ProblemKind::Unavailable).detail(error).retry_after(1),
            OrderError::NotFound => Self::not_found(),
            OrderError::Store(error) => error.into(),
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
