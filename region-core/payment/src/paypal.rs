//! PayPal as a provider: Orders v2 that the shopper approves on PayPal's own pages and that are authorized and captured by
//! hand, and events that say when to look.
//!
//! | here | there |
//! | --- | --- |
//! | create | an order with `intent=AUTHORIZE`, our id as its unit's `custom_id`, and where the shopper comes back to |
//! | confirm | nothing: the shopper answers PayPal itself, so the order is read |
//! | authorize | the approved order's authorization |
//! | capture, void | what that authorization keeps ready, as the order names it |
//! | refund, give back | a refund of the order's capture with a name of ours as its `custom_id`, found again in the order |
//!
//! **The reference is the order's**: reading it shows all that became of it, so a call may be several requests, yet all of
//! them together have one deadline. What was done already is seen there and not asked for again.
//!
//! **A create whose answer was lost** is not looked up, for orders are not listed. It is asked for again under its key, which
//! PayPal remembers for six hours; an order waits minutes. A second order would be harmless: nobody is sent to its page.
//!
//! **An order that was never authorized cannot be cancelled** at PayPal. It moves nothing by itself and lapses: it counts as
//! voided, but as approved once the shopper has agreed, for then an authorization may still be under way.
//!
//! **Who sends events** is asked of PayPal (`verify-webhook-signature`), not proved here by certificates: a notice is no fact
//! about money, so an answer that is missing costs nothing but time. So many are asked about at a time, and none about a payment
//! that this region would know and does not; who floods the door with forgeries delays notices, and payments are read now and then
//! without any.
//!
//! Deliberately absent: buttons and scripts of PayPal's, other ways to pay within an order, another try after a decline,
//! authorizations renewed after their three days of honour.

mod amount;
mod answer;
mod event;
mod token;

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::header::{AUTHORIZATION, CONTENT_TYPE};
use http::{HeaderMap, Method, StatusCode};
use region_core_outbound::http::Http;
use secrecy::{ExposeSecret as _, SecretString};
use serde::Deserialize;
use serde_json::{Value, json};
use shared::api::order::PaymentMethod;
use shared::{Money, PaymentId, RefundId};
use tokio::sync::Semaphore;
use url::Url;

use crate::client::{DEADLINES, Deadlines, client, within};
use crate::notice::{Notice, NoticeError};
use crate::page::is_loopback;
use crate::paypal::amount::Amount;
use crate::paypal::answer::{Order, Refund};
use crate::paypal::token::Tokens;
use crate::provider::{
    NewPayment, NewRefund, Provider, ProviderError, ProviderPayment, ProviderRefund, ProviderStatus, Shown,
};
use crate::stripe::base;

/// Where PayPal is.
pub const PAYPAL_URL: &str = "https://api-m.paypal.com";
/// What makes an effect happen once.
const REQUEST_ID: &str = "paypal-request-id";
/// Events that PayPal is asked about at a time.
const MOST_QUESTIONS: usize = 8;
/// Longest name of a webhook.
const MAX_WEBHOOK_ID_LENGTH: usize = 50;

/// Why PayPal cannot be asked in that way; names the key of the configuration.
#[derive(Debug, thiserror::Error)]
pub enum PayPalError {
    /// Not an origin that a secret may be sent to.
    #[error("payment.paypal.url {0:?} is not an https address; http is taken on loopback only")]
    Url(String),
    /// Empty, or they cannot be sent.
    #[error("payment.paypal.client_id and payment.paypal.secret: the two names of an app at PayPal")]
    Client,
    /// Not a name of a webhook.
    #[error("payment.paypal.webhook_id: letters and digits, as PayPal's list of webhooks shows it")]
    WebhookId,
    /// The HTTP client could not be made.
    #[error("the HTTP client: {0}")]
    Http(#[from] rustls::Error),
}

/// An app of a merchant's at PayPal.
#[derive(Clone, Debug)]
pub struct PayPalApp {
    /// Where the API is, perhaps below a path.
    pub url: String,
    /// The app's public name.
    pub client_id: String,
    /// The app's secret.
    pub secret: SecretString,
    /// The webhook that its events are sent to.
    pub webhook_id: String,
}

/// PayPal, for one app.
#[derive(Clone, Debug)]
pub struct PayPal {
    base: Url,
    webhook_id: String,
    tokens: Arc<Tokens>,
    questions: Arc<Semaphore>,
    http: Http,
    total: Duration,
}

impl PayPal {
    /// The app, within the usual deadlines.
    ///
    /// # Errors
    /// [`PayPalError`].
    pub fn new(app: &PayPalApp) -> Result<Self, PayPalError> {
        Self::within(app, DEADLINES)
    }

    /// The app, within these deadlines.
    ///
    /// # Errors
    /// [`PayPalError`].
    pub fn within(app: &PayPalApp, deadlines: Deadlines) -> Result<Self, PayPalError> {
        let PayPalApp { url, client_id, secret, webhook_id } = app;
        let base = base(url).ok_or_else(|| PayPalError::Url(url.clone()))?;
        let named = !client_id.is_empty() && !client_id.contains(':') && !secret.expose_secret().is_empty();
        let plain = webhook_id.bytes().all(|byte| byte.is_ascii_alphanumeric());
        if !plain || !(1..=MAX_WEBHOOK_ID_LENGTH).contains(&webhook_id.len()) {
            return Err(PayPalError::WebhookId);
        }
        let tokens = Tokens::new(below(&base, &["v1", "oauth2", "token"]).into(), client_id, secret);
        Ok(Self {
            base,
            webhook_id: webhook_id.clone(),
            tokens: Arc::new(tokens.filter(|_| named).ok_or(PayPalError::Client)?),
            questions: Arc::new(Semaphore::new(MOST_QUESTIONS)),
            http: client(deadlines)?,
            total: deadlines.total,
        })
    }

    /// Has something done, once under its key.
    async fn post(&self, path: &[&str], key: &str, body: &Value) -> Result<Answer, ProviderError> {
        self.send(&Method::POST, path, Some(key), body.to_string()).await
    }

    /// A token that is refused is fetched anew, once.
    async fn send(
        &self,
        method: &Method,
        path: &[&str],
        key: Option<&str>,
        body: String,
    ) -> Result<Answer, ProviderError> {
        let (url, body) = (below(&self.base, path), Bytes::from(body));
        let ask = async || {
            let token = self.tokens.get(&self.http).await?;
            let builder = http::Request::builder().method(method).uri(url.as_str());
            let builder = builder.header(AUTHORIZATION, &token).header(CONTENT_TYPE, "application/json");
            let builder = match key {
                Some(key) => builder.header(REQUEST_ID, key).header("prefer", "return=representation"),
                None => builder,
            };
            Ok((self.http.send(builder, body.clone()).await?, token))
        };
        let (answer, token) = ask().await?;
        if answer.0 != StatusCode::UNAUTHORIZED {
            return Ok(answer);
        }
        self.tokens.forget(&token).await;
        ask().await.map(|(answer, _)| answer)
    }

    /// The order, with all that became of it.
    async fn order(&self, reference: &str) -> Result<Order, ProviderError> {
        let (status, answer) =
            self.send(&Method::GET, &["v2", "checkout", "orders", reference], None, String::new()).await?;
        answer::read(status, &answer)
    }

    async fn create_order(&self, new: NewPayment<'_>, key: &str) -> Shown {
        let (id, amount) = (new.payment_id.to_string(), amount(new.amount)?);
        let back = new.return_url.ok_or_else(|| refused("nobody said where the shopper comes back to"))?;
        let body = json!({
            "intent": "AUTHORIZE",
            "purchase_units": [{ "reference_id": id, "custom_id": id, "invoice_id": id, "amount": amount }],
            "payment_source": { "paypal": { "experience_context": {
                "return_url": back, "cancel_url": back, "user_action": "PAY_NOW", "shipping_preference": "NO_SHIPPING",
            } } },
        });
        let (status, answer) = self.post(&["v2", "checkout", "orders"], key, &body).await?;
        answer::read::<Order>(status, &answer)?.shown()
    }

    async fn authorize_order(&self, reference: &str, key: &str) -> Shown {
        let path = ["v2", "checkout", "orders", reference, "authorize"];
        let (status, answer) = self.post(&path, key, &json!({})).await?;
        let Some(reason) = answer::declined(status, &answer) else {
            return answer::read::<Order>(status, &answer)?.shown();
        };
        let order = self.order(reference).await.map_err(unknown)?;
        // An earlier attempt may have come through after all.
        match order.kept_ready() {
            Some(_) => order.shown(),
            None => order.shown_as(ProviderStatus::Declined, Some(reason)),
        }
    }

    async fn capture_order(&self, reference: &str, key: &str) -> Shown {
        let order = self.order(reference).await?;
        if order.capture().is_some() {
            return order.shown();
        }
        if let Some(reason) = order.declined_capture() {
            return self.let_go_declined(order, reason, key).await;
        }
        let kept_ready = order.kept_ready().ok_or_else(|| refused("nothing is kept ready"))?;
        let body = json!({ "amount": order.amount(), "final_capture": true });
        let path = ["v2", "payments", "authorizations", kept_ready, "capture"];
        let (status, answer) = self.post(&path, key, &body).await?;
        if let Some(reason) = answer::declined(status, &answer) {
            return self.let_go_declined(order, reason, key).await;
        }
        let order = order.with_capture(answer::read(status, &answer)?);
        match order.declined_capture() {
            Some(reason) => self.let_go_declined(order, reason, key).await,
            None => order.shown(),
        }
    }

    /// A payment that is over keeps nothing ready, or a later capture of it could still move money.
    async fn let_go_declined(&self, order: Order, reason: String, key: &str) -> Shown {
        let order = self.let_go(order, &format!("{key}:void")).await?;
        order.shown_as(ProviderStatus::Declined, Some(reason))
    }

    /// The order once nothing is kept ready for it.
    async fn let_go(&self, order: Order, key: &str) -> Result<Order, ProviderError> {
        if let Some(kept_ready) = order.kept_ready() {
            let path = ["v2", "payments", "authorizations", kept_ready, "void"];
            let (status, answer) = self.post(&path, key, &json!({})).await?;
            answer::check(status, &answer)?;
        }
        Ok(order.with_void())
    }

    async fn void_order(&self, reference: &str, key: &str) -> Shown {
        let order = self.order(reference).await?;
        if order.capture().is_some() {
            return order.shown();
        }
        if order.kept_ready().is_none() {
            return order.never_kept_ready();
        }
        self.let_go(order, key).await?.shown()
    }

    /// All that is left goes back. A refund that ended without moving anything is made again, under the next name: the failed
    /// ones are in the order, so whoever reads it comes to the same one.
    async fn refund_order(&self, reference: &str, money: Money, key: &str) -> Shown {
        let (amount, order) = (amount(money)?, self.order(reference).await?);
        // Names have no colons. There is one of the kind.
        let name = key.replace(':', "-");
        let order = match order.failed_refunds(&name) {
            0 => self.refund_in(order, &name, amount, key).await?,
            over => self.refund_in(order, &format!("{name}-{over}"), amount, &format!("{key}:{over}")).await?,
        };
        order.shown()
    }

    /// The order with that refund of it, which has this name of ours: a part has one, that fails or does not.
    async fn refund_of(&self, reference: &str, name: &str, money: Money, key: &str) -> Result<Order, ProviderError> {
        let (amount, order) = (amount(money)?, self.order(reference).await?);
        self.refund_in(order, name, amount, key).await
    }

    async fn refund_in(&self, order: Order, name: &str, amount: Amount, key: &str) -> Result<Order, ProviderError> {
        if order.refund(name).is_some() {
            return Ok(order);
        }
        let capture = order.capture().ok_or_else(|| refused("nothing was captured"))?;
        let body = json!({ "amount": amount, "custom_id": name, "invoice_id": name });
        let (status, answer) = self.post(&["v2", "payments", "captures", capture, "refund"], key, &body).await?;
        let refund: Refund = answer::read(status, &answer)?;
        Ok(order.with_refund(refund))
    }

    /// Whether PayPal says that it sent an event.
    async fn sent(&self, question: String) -> Result<bool, ProviderError> {
        #[derive(Deserialize)]
        struct Verdict {
            verification_status: String,
        }
        let path = ["v1", "notifications", "verify-webhook-signature"];
        let (status, answer) = self.send(&Method::POST, &path, None, question).await?;
        let verdict: Verdict = answer::read(status, &answer)?;
        Ok(verdict.verification_status == "SUCCESS")
    }
}

type Answer = (StatusCode, Bytes);

impl Provider for PayPal {
    fn name(&self) -> &'static str {
        "paypal"
    }

    fn is_local(&self) -> bool {
        is_loopback(&self.base)
    }

    fn payment_methods(&self, returns: bool) -> Vec<PaymentMethod> {
        let method = || PaymentMethod {
            token: self.name().to_owned(),
            name: "PayPal".to_owned(),
            description: "You agree on PayPal's own page.".to_owned(),
        };
        returns.then(method).into_iter().collect()
    }

    async fn create(&self, new: NewPayment<'_>, key: &str) -> Shown {
        within(self.total, self.create_order(new, key)).await
    }

    async fn authorize(&self, reference: &str, key: &str) -> Shown {
        within(self.total, self.authorize_order(reference, key)).await
    }

    async fn confirm(&self, reference: &str, _challenge_id: &str, _key: &str) -> Shown {
        self.get(reference).await
    }

    async fn capture(&self, reference: &str, key: &str) -> Shown {
        within(self.total, self.capture_order(reference, key)).await
    }

    async fn void(&self, reference: &str, key: &str) -> Shown {
        within(self.total, self.void_order(reference, key)).await
    }

    async fn refund(&self, reference: &str, amount: Money, key: &str) -> Shown {
        within(self.total, self.refund_order(reference, amount, key)).await
    }

    async fn give_back(&self, reference: &str, new: NewRefund, key: &str) -> Result<ProviderRefund, ProviderError> {
        let name = new.refund_id.to_string();
        let order = within(self.total, self.refund_of(reference, &name, new.amount, key)).await?;
        let shown = answer::find_refund(&order, new.refund_id)?;
        shown.ok_or_else(|| ProviderError::Unknown("PayPal shows the refund under another name".to_owned()))
    }

    async fn find_refund(&self, reference: &str, refund: RefundId) -> Result<Option<ProviderRefund>, ProviderError> {
        answer::find_refund(&within(self.total, self.order(reference)).await?, refund)
    }

    async fn get(&self, reference: &str) -> Shown {
        within(self.total, self.order(reference)).await?.shown()
    }

    /// Nothing is looked up: the caller repeats the create under its key, which finds what the first one made.
    async fn find(&self, _payment: PaymentId) -> Result<Option<ProviderPayment>, ProviderError> {
        Ok(None)
    }

    async fn notice(&self, _headers: &HeaderMap, body: &[u8], _now: u64) -> Result<Option<Notice>, NoticeError> {
        event::read(body)
    }

    async fn prove(&self, headers: &HeaderMap, body: &[u8]) -> Result<(), NoticeError> {
        let question = event::question(headers, body, &self.webhook_id)?;
        let busy = |_| NoticeError::Unproven("too many events are being proved".to_owned());
        let _asking = self.questions.try_acquire().map_err(busy)?;
        match within(self.total, self.sent(question)).await {
            Ok(true) => Ok(()),
            Ok(false) => Err(NoticeError::Forged("PayPal did not send the event".to_owned())),
            Err(ProviderError::Refused(said)) => Err(NoticeError::Forged(said)),
            Err(ProviderError::Unknown(said)) => Err(NoticeError::Unproven(said)),
        }
    }
}

fn amount(money: Money) -> Result<Amount, ProviderError> {
    Amount::of(money).ok_or_else(|| refused(&format!("PayPal takes no amount such as {money}")))
}

fn refused(cause: &str) -> ProviderError {
    ProviderError::Refused(cause.to_owned())
}

/// It may have happened, whatever is said about the reading.
fn unknown(error: ProviderError) -> ProviderError {
    ProviderError::Unknown(error.to_string())
}

fn below(base: &Url, path: &[&str]) -> Url {
    let mut url = base.clone();
    if let Ok(mut segments) = url.path_segments_mut() {
        segments.pop_if_empty().extend(path);
    }
    url
}

#[cfg(test)]
mod tests {
    use super::*;

    fn app(url: &str, client_id: &str, secret: &str, webhook_id: &str) -> PayPalApp {
        let [url, client_id, webhook_id] = [url, client_id, webhook_id].map(str::to_owned);
        PayPalApp { url, client_id, secret: SecretString::from(secret.to_owned()), webhook_id }
    }

    #[test]
    fn what_is_wrong_with_an_app_is_named() {
        let cases = [
            (app("http://api-m.paypal.com", "id", "hush", "8PT5"), "payment.paypal.url"),
            (app("https://me:hush@api-m.paypal.com", "id", "hush", "8PT5"), "payment.paypal.url"),
            (app(PAYPAL_URL, "", "hush", "8PT5"), "payment.paypal.client_id"),
            (app(PAYPAL_URL, "i:d", "hush", "8PT5"), "payment.paypal.client_id"),
            (app(PAYPAL_URL, "id", "", "8PT5"), "payment.paypal.secret"),
            (app(PAYPAL_URL, "id", "hush", ""), "payment.paypal.webhook_id"),
            (app(PAYPAL_URL, "id", "hush", "8PT5/.."), "payment.paypal.webhook_id"),
        ];
        for (app, named) in cases {
            let error = PayPal::new(&app).unwrap_err().to_string();
            assert!(error.contains(named), "{named}: {error}");
        }
        assert!(PayPal::new(&app("http://127.0.0.1:7402/below", "id", "hush", "8PT597110X687430LKGECATA")).is_ok());
    }

    #[test]
    fn no_secret_shows_in_debug() {
        let app = app(
            PAYPAL_URL,
            "AZDxjDScFpQtjWTOUtWKbyN_bDt4OgqaF4eYXlewfBP4",
            "EOjEJigcsRhdOgD7_76lPfrr45UfuI5zzzz",
            "8PT5",
        );
        let shown = format!("{app:?} {:?}", PayPal::new(&app).unwrap());
        assert!(!shown.contains("EOjEJigcsRhd") && !shown.contains("Basic"), "{shown}");
    }

    #[test]
    fn a_name_of_paypals_stays_within_its_path() {
        let base = Url::parse("http://127.0.0.1:7402/below/").unwrap();
        let url = below(&base, &["v2", "checkout", "orders", "5O1/../x?y"]);
        assert_eq!(url.as_str(), "http://127.0.0.1:7402/below/v2/checkout/orders/5O1%2F..%2Fx%3Fy");
    }
}
