//! The providers that the configuration names.

use http::HeaderMap;
use shared::api::order::PaymentMethod;
use shared::{Money, PaymentId, RefundId};

use crate::notice::{Notice, NoticeError};
use crate::paypal::PayPal;
use crate::provider::{NewPayment, NewRefund, Provider, ProviderError, ProviderPayment, ProviderRefund, Shown};
use crate::sandbox::Sandbox;
use crate::stripe::Stripe;

/// One of the providers that there are.
#[derive(Clone, Debug)]
pub enum AnyProvider {
    /// To practise on.
    Sandbox(Sandbox),
    /// Stripe.
    Stripe(Stripe),
    /// PayPal.
    PayPal(PayPal),
}

macro_rules! ask {
    ($provider:expr, $call:ident($($argument:expr),*)) => {
        match $provider {
            AnyProvider::Sandbox(sandbox) => sandbox.$call($($argument),*).await,
            AnyProvider::Stripe(stripe) => stripe.$call($($argument),*).await,
            AnyProvider::PayPal(paypal) => paypal.$call($($argument),*).await,
        }
    };
}

impl Provider for AnyProvider {
    fn name(&self) -> &'static str {
        match self {
            Self::Sandbox(sandbox) => sandbox.name(),
            Self::Stripe(stripe) => stripe.name(),
            Self::PayPal(paypal) => paypal.name(),
        }
    }

    fn is_local(&self) -> bool {
        match self {
            Self::Sandbox(sandbox) => sandbox.is_local(),
            Self::Stripe(stripe) => stripe.is_local(),
            Self::PayPal(paypal) => paypal.is_local(),
        }
    }

    fn payment_methods(&self, returns: bool) -> Vec<PaymentMethod> {
        match self {
            Self::Sandbox(sandbox) => sandbox.payment_methods(returns),
            Self::Stripe(stripe) => stripe.payment_methods(returns),
            Self::PayPal(paypal) => paypal.payment_methods(returns),
        }
    }

    async fn create(&self, new: NewPayment<'_>, key: &str) -> Shown {
        ask!(self, create(new, key))
    }

    async fn authorize(&self, reference: &str, key: &str) -> Shown {
        ask!(self, authorize(reference, key))
    }

    async fn authorize_returning(&self, reference: &str, return_url: Option<&str>, key: &str) -> Shown {
        ask!(self, authorize_returning(reference, return_url, key))
    }

    async fn confirm(&self, reference: &str, challenge_id: &str, key: &str) -> Shown {
        ask!(self, confirm(reference, challenge_id, key))
    }

    async fn capture(&self, reference: &str, key: &str) -> Shown {
        ask!(self, capture(reference, key))
    }

    async fn void(&self, reference: &str, key: &str) -> Shown {
        ask!(self, void(reference, key))
    }

    async fn refund(&self, reference: &str, amount: Money, key: &str) -> Shown {
        ask!(self, refund(reference, amount, key))
    }

    async fn give_back(&self, reference: &str, new: NewRefund, key: &str) -> Result<ProviderRefund, ProviderError> {
        ask!(self, give_back(reference, new, key))
    }

    async fn find_refund(&self, reference: &str, refund: RefundId) -> Result<Option<ProviderRefund>, ProviderError> {
        ask!(self, find_refund(reference, refund))
    }

    async fn get(&self, reference: &str) -> Shown {
        ask!(self, get(reference))
    }

    async fn find(&self, payment: PaymentId) -> Result<Option<ProviderPayment>, ProviderError> {
        ask!(self, find(payment))
    }

    async fn notice(&self, headers: &HeaderMap, body: &[u8], now_seconds: u64) -> Result<Option<Notice>, NoticeError> {
        ask!(self, notice(headers, body, now_seconds))
    }

    async fn prove(&self, headers: &HeaderMap, body: &[u8]) -> Result<(), NoticeError> {
        ask!(self, prove(headers, body))
    }
}
