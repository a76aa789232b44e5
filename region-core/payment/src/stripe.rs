//! Stripe as a provider: PaymentIntents that are captured by hand, and signed events that say when to look.
//!
//! | here | there |
//! | --- | --- |
//! | create | a PaymentIntent with `capture_method=manual`, its way to pay and our id in `metadata`; not confirmed |
//! | authorize, capture, void | confirm, capture, cancel |
//! | confirm | nothing: the shopper answers on his bank's page, to which Stripe leads, so the PaymentIntent is read |
//! | refund | a Refund, and the PaymentIntent as it is then |
//! | give back | a Refund with our id in its `metadata`, found again in the list of the PaymentIntent's Refunds |
//!
//! `stripe_checkout` is paid on Stripe's own page (`checkout.rs`), for shops where no card may come near.
//!
//! **A create whose answer was lost** is not looked up: Stripe's search lags behind, and lists know no metadata. It is asked
//! for again under its key instead, which shows the PaymentIntent of the first time for at least 24 hours. An order waits
//! minutes, but even a second PaymentIntent would be harmless: none is confirmed before its own name is committed here, and
//! nobody else is told the client secret, so an orphan stays empty. That is why an unknown create may be abandoned.
//!
//! **A failure that Stripe has kept under a key** (it keeps 500s too) is repeated for as long as the key is. The payment is read
//! before each repeat, so what did happen is found, and a key is never changed to get around what may have.
//!
//! Deliberately absent: card numbers, client secrets, and any belief in what an event says about money.

mod amount;
mod answer;
mod checkout;
mod event;
mod refund;
mod signature;

use std::time::Duration;

use bytes::Bytes;
use http::header::{AUTHORIZATION, CONTENT_TYPE};
use http::{HeaderMap, HeaderValue};
use region_core_outbound::http::Http;
use secrecy::{ExposeSecret as _, SecretString};
use shared::api::order::PaymentMethod;
use shared::idempotency::IDEMPOTENCY_KEY;
use shared::{Money, PaymentId, RefundId};
use url::Url;

use crate::client::{DEADLINES, Deadlines, client, within};
use crate::notice::{Notice, NoticeError};
use crate::page::is_loopback;
use crate::provider::{NewPayment, NewRefund, Provider, ProviderError, ProviderPayment, ProviderRefund, Shown};

/// Where Stripe is.
pub const STRIPE_URL: &str = "https://api.stripe.com";
/// The version of the API that this is written for; the account's own may be another.
const VERSION: HeaderValue = HeaderValue::from_static("2026-08-26.dahlia");
/// The key of our id in the metadata of what we create.
const METADATA: &str = "payment_id";
/// The key of a refund's id in the metadata of what we give back.
const REFUND_METADATA: &str = "refund_id";
/// Refunds on a page, the most that Stripe lists at once: more than an order may have.
const REFUNDS: (&str, &str) = ("limit", "100");
/// Whether money moved back is in the charge.
const EXPAND: (&str, &str) = ("expand[0]", "latest_charge");
/// Secrets of events that are live at a time: two while one is rotated.
const MOST_WEBHOOK_SECRETS: usize = 2;

/// Why Stripe cannot be asked in that way; names the key of the configuration.
#[derive(Debug, thiserror::Error)]
pub enum StripeError {
    /// Not an origin that a secret may be sent to.
    #[error("payment.stripe.url {0:?} is not an https address; http is taken on loopback only")]
    Url(String),
    /// Not a key for servers.
    #[error("payment.stripe.secret_key is not a secret or restricted key (sk_… or rk_…)")]
    SecretKey,
    /// None, too many, or an empty one.
    #[error("payment.stripe.webhook_secrets: one, or two while they are rotated (whsec_…), none of them empty")]
    WebhookSecrets,
    /// The HTTP client could not be made.
    #[error("the HTTP client: {0}")]
    Client(#[from] rustls::Error),
}

/// An account at Stripe.
#[derive(Clone, Debug)]
pub struct Account {
    /// Where the API is, perhaps below a path.
    pub url: String,
    /// The secret key.
    pub secret_key: SecretString,
    /// The live secrets of the webhook endpoint.
    pub webhook_secrets: Vec<SecretString>,
}

/// Stripe, for one account.
#[derive(Clone, Debug)]
pub struct Stripe {
    base: Url,
    /// Marked as sensitive: its `Debug` does not show it.
    authorization: HeaderValue,
    webhook_secrets: Vec<SecretString>,
    http: Http,
    total: Duration,
}

impl Stripe {
    /// The account, within the usual deadlines.
    ///
    /// # Errors
    /// [`StripeError`].
    pub fn new(account: &Account) -> Result<Self, StripeError> {
        Self::within(account, DEADLINES)
    }

    /// The account, within these deadlines.
    ///
    /// # Errors
    /// [`StripeError`].
    pub fn within(account: &Account, deadlines: Deadlines) -> Result<Self, StripeError> {
        let secrets = &account.webhook_secrets;
        let empty = secrets.iter().any(|secret| secret.expose_secret().is_empty());
        if empty || !(1..=MOST_WEBHOOK_SECRETS).contains(&secrets.len()) {
            return Err(StripeError::WebhookSecrets);
        }
        Ok(Self {
            base: base(&account.url).ok_or_else(|| StripeError::Url(account.url.clone()))?,
            authorization: authorization(&account.secret_key).ok_or(StripeError::SecretKey)?,
            webhook_secrets: secrets.clone(),
            http: client(deadlines)?,
            total: deadlines.total,
        })
    }

    fn url(&self, path: &[&str]) -> Url {
        let mut url = self.base.clone();
        if let Ok(mut segments) = url.path_segments_mut() {
            segments.pop_if_empty().push("v1").extend(path);
        }
        url
    }

    async fn post(&self, path: &[&str], key: &str, form: &[(&str, &str)]) -> Result<Answer, ProviderError> {
        let body = url::form_urlencoded::Serializer::new(String::new()).extend_pairs(form).finish();
        let builder = http::Request::post(self.url(path).as_str())
            .header(CONTENT_TYPE, "application/x-www-form-urlencoded")
            .header(IDEMPOTENCY_KEY, key);
        self.send(builder, body).await
    }

    async fn send(&self, builder: http::request::Builder, body: String) -> Result<Answer, ProviderError> {
        let builder = builder.header(AUTHORIZATION, &self.authorization).header("stripe-version", VERSION);
        Ok(self.http.send(builder, body).await?)
    }

    async fn refund_all(&self, reference: &str, amount: Money, key: &str) -> Shown {
        let (units, intent) = (units(amount)?, self.intent_of(reference).await?);
        let form = [("payment_intent", intent.as_str()), ("amount", &units)];
        let (status, answer) = self.post(&["refunds"], key, &form).await?;
        answer::check(status, &answer)?;
        // From here on it may have moved back, whatever is said about the reading.
        self.get(reference).await.map_err(|error| ProviderError::Unknown(error.to_string()))
    }

    async fn refund_part(&self, reference: &str, new: NewRefund, key: &str) -> Result<ProviderRefund, ProviderError> {
        let (units, refund_id) = (units(new.amount)?, new.refund_id.to_string());
        let (metadata, intent) = (format!("metadata[{REFUND_METADATA}]"), self.intent_of(reference).await?);
        let form = [("payment_intent", intent.as_str()), ("amount", &units), (&metadata, &refund_id)];
        let (status, answer) = self.post(&["refunds"], key, &form).await?;
        refund::read(status, &answer)
    }

    async fn part(&self, reference: &str, refund: RefundId) -> Result<Option<ProviderRefund>, ProviderError> {
        let (mut url, intent) = (self.url(&["refunds"]), self.intent_of(reference).await?);
        url.query_pairs_mut().append_pair("payment_intent", &intent).append_pair(REFUNDS.0, REFUNDS.1);
        let (status, answer) = self.send(http::Request::get(url.as_str()), String::new()).await?;
        refund::find(status, &answer, refund)
    }

    /// Does something to a PaymentIntent.
    async fn act(&self, reference: &str, what: &str, key: &str) -> Shown {
        let (status, answer) = self.post(&["payment_intents", reference, what], key, &[EXPAND]).await?;
        answer::read(status, &answer)
    }
}

type Answer = (http::StatusCode, Bytes);

impl Provider for Stripe {
    fn name(&self) -> &'static str {
        "stripe"
    }

    fn is_local(&self) -> bool {
        self.base.scheme() == "http"
    }

    fn payment_methods(&self, returns: bool) -> Vec<PaymentMethod> {
        let method = PaymentMethod {
            token: checkout::TOKEN.to_owned(),
            name: "Card".to_owned(),
            description: "You pay on the page of Stripe, which leads you back here.".to_owned(),
        };
        if returns { vec![method] } else { Vec::new() }
    }

    async fn create(&self, new: NewPayment<'_>, key: &str) -> Shown {
        if new.payment_token == checkout::TOKEN {
            return self.open_session(new, key).await;
        }
        let NewPayment { payment_id, amount, payment_token, return_url: _ } = new;
        let (payment_id, units) = (payment_id.to_string(), units(amount)?);
        let currency = amount.currency().code().to_ascii_lowercase();
        let metadata = format!("metadata[{METADATA}]");
        let mut form = vec![
            ("amount", units.as_str()),
            ("currency", &currency),
            ("capture_method", "manual"),
            // Those that a merchant turns on at Stripe may capture by themselves or lead to a page of their own.
            ("payment_method_types[0]", "card"),
            (&metadata, &payment_id),
            EXPAND,
        ];
        form.extend(way_to_pay(payment_token));
        let (status, answer) = self.post(&["payment_intents"], key, &form).await?;
        answer::read(status, &answer)
    }

    async fn authorize(&self, reference: &str, key: &str) -> Shown {
        self.authorize_returning(reference, None, key).await
    }

    async fn authorize_returning(&self, reference: &str, return_url: Option<&str>, key: &str) -> Shown {
        if checkout::is_session(reference) {
            return self.get(reference).await;
        }
        // Without an address to come back to, a question could only be answered by Stripe's own script.
        let mut form = vec![EXPAND];
        form.extend(return_url.into_iter().flat_map(|url| [("return_url", url), ("use_stripe_sdk", "false")]));
        let (status, answer) = self.post(&["payment_intents", reference, "confirm"], key, &form).await?;
        answer::read(status, &answer)
    }

    async fn confirm(&self, reference: &str, _challenge_id: &str, _key: &str) -> Shown {
        self.get(reference).await
    }

    async fn capture(&self, reference: &str, key: &str) -> Shown {
        if checkout::is_session(reference) {
            return within(self.total, self.capture_session(reference, key)).await;
        }
        self.act(reference, "capture", key).await
    }

    async fn void(&self, reference: &str, key: &str) -> Shown {
        if checkout::is_session(reference) {
            return within(self.total, self.void_session(reference, key)).await;
        }
        self.act(reference, "cancel", key).await
    }

    async fn refund(&self, reference: &str, amount: Money, key: &str) -> Shown {
        within(self.total, self.refund_all(reference, amount, key)).await
    }

    async fn give_back(&self, reference: &str, new: NewRefund, key: &str) -> Result<ProviderRefund, ProviderError> {
        within(self.total, self.refund_part(reference, new, key)).await
    }

    async fn find_refund(&self, reference: &str, refund: RefundId) -> Result<Option<ProviderRefund>, ProviderError> {
        within(self.total, self.part(reference, refund)).await
    }

    async fn get(&self, reference: &str) -> Shown {
        if checkout::is_session(reference) {
            return Ok(self.session(reference).await?.payment);
        }
        let mut url = self.url(&["payment_intents", reference]);
        url.query_pairs_mut().append_pair(EXPAND.0, EXPAND.1);
        let (status, answer) = self.send(http::Request::get(url.as_str()), String::new()).await?;
        answer::read(status, &answer)
    }

    /// Nothing is looked up: the caller repeats the create under its key, which finds what the first one made.
    async fn find(&self, _payment: PaymentId) -> Result<Option<ProviderPayment>, ProviderError> {
        Ok(None)
    }

    async fn notice(&self, headers: &HeaderMap, body: &[u8], now_seconds: u64) -> Result<Option<Notice>, NoticeError> {
        let header = headers.get(signature::HEADER).and_then(|value| value.to_str().ok()).unwrap_or_default();
        signature::verify(&self.webhook_secrets, header, body, now_seconds)
            .map_err(|forged| NoticeError::Forged(forged.to_string()))?;
        event::read(body)
    }
}

/// Stripe's own tokens are of cards; all else names a PaymentMethod, as Stripe may say that it does not.
fn way_to_pay(token: &str) -> Vec<(&'static str, &str)> {
    if token.starts_with("tok_") {
        vec![("payment_method_data[type]", "card"), ("payment_method_data[card][token]", token)]
    } else {
        vec![("payment_method", token)]
    }
}

fn units(amount: Money) -> Result<String, ProviderError> {
    let units = amount::to_stripe(amount).ok_or_else(|| {
        let (minor, code) = (amount.minor(), amount.currency());
        ProviderError::Refused(format!("Stripe takes no fractions as in {minor} minor units of {code}"))
    })?;
    Ok(units.to_string())
}

/// A secret goes over TLS, or stays on this machine.
pub(crate) fn base(text: &str) -> Option<Url> {
    let url = Url::parse(text).ok()?;
    let safe = url.scheme() == "https" || (url.scheme() == "http" && is_loopback(&url));
    let plain =
        url.username().is_empty() && url.password().is_none() && url.query().is_none() && url.fragment().is_none();
    (safe && plain).then_some(url)
}

fn authorization(key: &SecretString) -> Option<HeaderValue> {
    let key = key.expose_secret();
    let secret = ["sk_", "rk_"].iter().any(|prefix| key.len() > prefix.len() && key.starts_with(prefix));
    let mut value = HeaderValue::from_str(&format!("Bearer {key}")).ok().filter(|_| secret)?;
    value.set_sensitive(true);
    Some(value)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn account(url: &str, key: &str, secrets: &[&str]) -> Account {
        let secret = |text: &str| SecretString::from(text.to_owned());
        let webhook_secrets = secrets.iter().copied().map(secret).collect();
        Account { url: url.to_owned(), secret_key: secret(key), webhook_secrets }
    }

    #[test]
    fn what_is_wrong_with_an_account_is_named() {
        let (url, key, secrets) = (STRIPE_URL, "sk_test_1", ["whsec_1"]);
        let cases = [
            (account("http://api.stripe.com", key, &secrets), "payment.stripe.url"),
            (account("api.stripe.com", key, &secrets), "payment.stripe.url"),
            (account("https://me:secret@api.stripe.com", key, &secrets), "payment.stripe.url"),
            (account(url, "pk_test_1", &secrets), "payment.stripe.secret_key"),
            (account(url, "sk_", &secrets), "payment.stripe.secret_key"),
            (account(url, "sk_test_1\n", &secrets), "payment.stripe.secret_key"),
            (account(url, key, &[]), "payment.stripe.webhook_secrets"),
            (account(url, key, &[""]), "payment.stripe.webhook_secrets"),
            (account(url, key, &["a", "b", "c"]), "payment.stripe.webhook_secrets"),
        ];
        for (account, named) in cases {
            let error = Stripe::new(&account).unwrap_err().to_string();
            assert!(error.contains(named), "{named}: {error}");
            assert!(!error.contains("sk_test_1") && !error.contains("pk_test_1"), "{error}");
        }
        assert!(Stripe::new(&account("http://127.0.0.1:7401/below", key, &["old", "new"])).is_ok());
    }

    #[test]
    fn no_secret_shows_in_debug() {
        let account = account(STRIPE_URL, "sk_test_4eC39HqLyjWD", &["whsec_wRNftLajMZNe"]);
        let shown = format!("{account:?} {:?}", Stripe::new(&account).unwrap());
        assert!(!shown.contains("4eC39HqLyjWD") && !shown.contains("wRNftLajMZNe"), "{shown}");
    }

    #[test]
    fn a_base_below_a_path_keeps_it() {
        let account = account("http://127.0.0.1:7401/worlds/a/", "sk_test_1", &["whsec_1"]);
        let url = Stripe::new(&account).unwrap().url(&["payment_intents", "pi_1/../x"]);
        assert_eq!(url.as_str(), "http://127.0.0.1:7401/worlds/a/v1/payment_intents/pi_1%2F..%2Fx");
    }
}
