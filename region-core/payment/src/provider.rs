//! What any payment provider must be able to do for us.

use std::future::Future;

use http::HeaderMap;
use serde::Deserialize;
use shared::api::order::PaymentMethod;
use shared::{Money, PaymentId, RefundId};

use crate::notice::{Notice, NoticeError};

/// Where a payment stands at the provider.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ProviderStatus {
    /// Known; nothing was asked of the bank.
    Created,
    /// The shopper must answer first.
    ChallengeRequired,
    /// The shopper agreed on the provider's own page; nothing is kept ready, and only we can have it kept.
    Approved,
    /// The amount is kept ready.
    Authorized,
    /// The bank said no.
    Declined,
    /// The money moved.
    Captured,
    /// Let go before the money moved.
    Voided,
    /// All of it moved back.
    Refunded,
}

impl ProviderStatus {
    /// Every status.
    pub const ALL: &'static [Self] = &[
        Self::Created,
        Self::ChallengeRequired,
        Self::Approved,
        Self::Authorized,
        Self::Declined,
        Self::Captured,
        Self::Voided,
        Self::Refunded,
    ];
}

/// What a provider tells of the card that pays.
#[derive(Clone, PartialEq, Eq, Debug, Deserialize)]
pub struct Card {
    /// The provider's name for the card's number: the same for one card, whoever pays with it.
    pub fingerprint: String,
    /// Where it was issued, ISO 3166-1 alpha-2.
    pub country: Option<String>,
}

/// A payment as the provider shows it.
#[derive(Clone, PartialEq, Eq, Debug, Deserialize)]
pub struct ProviderPayment {
    /// The provider's name for it.
    pub reference: String,
    /// Our name for it: the payment's id.
    pub merchant_reference: String,
    /// What it is about.
    pub amount: Money,
    /// Where it stands.
    pub status: ProviderStatus,
    /// The question to the shopper, once there was one.
    pub challenge_id: Option<String>,
    /// The provider's page on which the shopper answers, with [`ProviderStatus::ChallengeRequired`]. Without one he answers us.
    #[serde(default)]
    pub next_action: Option<String>,
    /// Why the bank said no.
    pub decline_reason: Option<String>,
    /// Minor units that moved to us.
    pub captured_minor: i64,
    /// Minor units that moved back.
    pub refunded_minor: i64,
    /// The card, where the provider tells of it.
    #[serde(default)]
    pub card: Option<Card>,
}

/// A payment to create.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct NewPayment<'a> {
    /// Our name for it; the provider keeps one payment under it.
    pub payment_id: PaymentId,
    /// What it is about.
    pub amount: Money,
    /// Names a way to pay.
    pub payment_token: &'a str,
    /// Where the provider's own page leads the shopper back to, however it went. Without one he cannot be sent there.
    pub return_url: Option<&'a str>,
}

/// A part of a payment to move back.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct NewRefund {
    /// Our name for it; the provider keeps one refund under it.
    pub refund_id: RefundId,
    /// How much.
    pub amount: Money,
}

/// Where a refund stands at the provider.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum RefundStanding {
    /// Under way.
    Pending,
    /// The money moved back.
    Done,
    /// It did not, and will not; because of this.
    Failed(String),
}

/// A refund as the provider shows it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct ProviderRefund {
    /// How much.
    pub amount: Money,
    /// Where it stands.
    pub standing: RefundStanding,
}

/// Why there is no answer.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum ProviderError {
    /// The provider refused it for good; it had no effect.
    #[error("refused: {0}")]
    Refused(String),
    /// Nobody knows whether it had an effect: no connection, no answer in time, or an error after the fact.
    #[error("unknown: {0}")]
    Unknown(String),
}

/// An answer of the provider.
pub type Shown = Result<ProviderPayment, ProviderError>;

/// A payment provider. `key` makes an effect happen at most once however often it is asked for. Every call has a deadline.
pub trait Provider: Send + Sync + 'static {
    /// Kept with each payment.
    fn name(&self) -> &'static str;

    /// Makes a payment known; nothing moves.
    fn create(&self, new: NewPayment<'_>, key: &str) -> impl Future<Output = Shown> + Send;

    /// Whether it stands on this machine, to practise: then its pages may be plain HTTP on loopback.
    fn is_local(&self) -> bool {
        false
    }

    /// The ways to pay that shoppers choose from; with `returns`, those on its own page too, for the shop has an address to come
    /// back to.
    fn payment_methods(&self, returns: bool) -> Vec<PaymentMethod> {
        let _ = returns;
        Vec::new()
    }

    /// Has the amount kept ready. Asked again under another key after the shopper has [agreed](ProviderStatus::Approved).
    fn authorize(&self, reference: &str, key: &str) -> impl Future<Output = Shown> + Send;

    /// The same, of a shopper whom his bank may ask on a page that leads back to `return_url`: for providers that take the address
    /// only now.
    fn authorize_returning(
        &self,
        reference: &str,
        return_url: Option<&str>,
        key: &str,
    ) -> impl Future<Output = Shown> + Send {
        let _ = return_url;
        self.authorize(reference, key)
    }

    /// Passes on that the shopper answered the question.
    fn confirm(&self, reference: &str, challenge_id: &str, key: &str) -> impl Future<Output = Shown> + Send;

    /// Moves the money.
    fn capture(&self, reference: &str, key: &str) -> impl Future<Output = Shown> + Send;

    /// Lets the amount go. What cannot be ended at the provider is shown as [`ProviderStatus::Voided`] while the shopper has not
    /// agreed, and as [`ProviderStatus::Approved`] once he has.
    fn void(&self, reference: &str, key: &str) -> impl Future<Output = Shown> + Send;

    /// Moves money back.
    fn refund(&self, reference: &str, amount: Money, key: &str) -> impl Future<Output = Shown> + Send;

    /// Moves a part of a captured payment back, under a name of ours.
    fn give_back(
        &self,
        reference: &str,
        new: NewRefund,
        key: &str,
    ) -> impl Future<Output = Result<ProviderRefund, ProviderError>> + Send;

    /// How the refund of that name of ours stands, if the payment has one.
    fn find_refund(
        &self,
        reference: &str,
        refund: RefundId,
    ) -> impl Future<Output = Result<Option<ProviderRefund>, ProviderError>> + Send;

    /// How the payment of that name of the provider's stands.
    fn get(&self, reference: &str) -> impl Future<Output = Shown> + Send;

    /// How the payment of that name of ours stands, if the provider knows it and can say so. `None` has the create repeated
    /// under its key.
    fn find(&self, payment: PaymentId) -> impl Future<Output = Result<Option<ProviderPayment>, ProviderError>> + Send;

    /// What the provider has told us by itself; `None` if it is nothing to us. That the sender is the provider is proved here, or
    /// left to [`Provider::prove`].
    ///
    /// # Errors
    /// [`NoticeError::Forged`], [`NoticeError::Unproven`], [`NoticeError::Unreadable`], [`NoticeError::NotSent`].
    fn notice(
        &self,
        headers: &HeaderMap,
        body: &[u8],
        now_seconds: u64,
    ) -> impl Future<Output = Result<Option<Notice>, NoticeError>> + Send {
        let _ = (headers, body, now_seconds);
        std::future::ready(Err(NoticeError::NotSent))
    }

    /// Has the provider say whether it sent what [`Provider::notice`] has read, if nothing else proves that. No notice is heeded
    /// before. It may cost a call, so it is asked about payments that there are, and with no connection held.
    ///
    /// # Errors
    /// [`NoticeError::Forged`], [`NoticeError::Unproven`], [`NoticeError::Unreadable`].
    fn prove(&self, headers: &HeaderMap, body: &[u8]) -> impl Future<Output = Result<(), NoticeError>> + Send {
        let _ = (headers, body);
        std::future::ready(Ok(()))
    }
}
