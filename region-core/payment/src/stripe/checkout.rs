//! Paying on Stripe's own page: a Checkout Session, whose PaymentIntent comes to be when the shopper pays.
//!
//! | here | there |
//! | --- | --- |
//! | create | a Session whose PaymentIntent is captured by hand; its name is the reference |
//! | authorize, confirm, get | the Session is read, with its PaymentIntent |
//! | capture, refund, give back | of the Session's PaymentIntent |
//! | void | an open Session is expired, the PaymentIntent of a complete one is cancelled |
//!
//! A Session stays open for 24 hours, for Stripe takes no end within the next half an hour, which orders do not wait: it ends
//! with its order, for that voids it. Who pays after all has his amount let go.

use http::StatusCode;
use serde::Deserialize;
use shared::{Currency, Money};

use super::amount::to_minor;
use super::answer::{self, Intent, unreadable};
use super::{METADATA, Stripe, units};
use crate::provider::{NewPayment, ProviderError, ProviderPayment, ProviderStatus, Shown};

/// The way to pay that leads to Stripe's page.
pub(super) const TOKEN: &str = "stripe_checkout";
/// Whether the amount is kept ready, or moved back, is in what the Session leads to.
const EXPAND: (&str, &str) = ("expand[0]", "payment_intent.latest_charge");

/// Whether the reference is a Session's.
pub(super) fn is_session(reference: &str) -> bool {
    reference.starts_with("cs_")
}

/// A Session, as far as it concerns us.
#[derive(Deserialize)]
struct Session {
    id: String,
    status: Option<String>,
    url: Option<String>,
    amount_total: Option<i64>,
    currency: Option<String>,
    client_reference_id: Option<String>,
    payment_intent: Option<Box<Intent>>,
}

/// A Session that was read.
pub(super) struct Seen {
    /// The payment that it stands for.
    pub(super) payment: ProviderPayment,
    /// Its PaymentIntent, once there is one.
    pub(super) intent: Option<String>,
    /// Whether the shopper may still pay.
    open: bool,
}

impl Stripe {
    pub(super) async fn open_session(&self, new: NewPayment<'_>, key: &str) -> Shown {
        let NewPayment { payment_id, amount, return_url, .. } = new;
        let nowhere =
            || ProviderError::Refused("the shop has no address that Stripe's page could lead back to".to_owned());
        let back = return_url.ok_or_else(nowhere)?;
        let (payment_id, units) = (payment_id.to_string(), units(amount)?);
        let currency = amount.currency().code().to_ascii_lowercase();
        let metadata = format!("metadata[{METADATA}]");
        let form = [
            ("mode", "payment"),
            ("client_reference_id", payment_id.as_str()),
            (&metadata, &payment_id),
            ("payment_intent_data[capture_method]", "manual"),
            // Of others some are captured by themselves, days later or not by hand.
            ("payment_method_types[0]", "card"),
            ("line_items[0][quantity]", "1"),
            ("line_items[0][price_data][currency]", &currency),
            ("line_items[0][price_data][unit_amount]", &units),
            ("line_items[0][price_data][product_data][name]", "Your order"),
            ("success_url", back),
            ("cancel_url", back),
            EXPAND,
        ];
        let (status, answer) = self.post(&["checkout", "sessions"], key, &form).await?;
        Ok(read(status, &answer)?.payment)
    }

    pub(super) async fn session(&self, reference: &str) -> Result<Seen, ProviderError> {
        let mut url = self.url(&["checkout", "sessions", reference]);
        url.query_pairs_mut().append_pair(EXPAND.0, EXPAND.1);
        let (status, answer) = self.send(http::Request::get(url.as_str()), String::new()).await?;
        read(status, &answer)
    }

    /// The PaymentIntent that a reference leads to.
    pub(super) async fn intent_of(&self, reference: &str) -> Result<String, ProviderError> {
        if !is_session(reference) {
            return Ok(reference.to_owned());
        }
        let unpaid = || ProviderError::Refused("nobody has paid in this Session".to_owned());
        self.session(reference).await?.intent.ok_or_else(unpaid)
    }

    pub(super) async fn capture_session(&self, reference: &str, key: &str) -> Shown {
        let Seen { payment, intent, .. } = self.session(reference).await?;
        match intent {
            Some(intent) => Ok(payment.shown_by(self.act(&intent, "capture", key).await?)),
            None => Ok(payment),
        }
    }

    pub(super) async fn void_session(&self, reference: &str, key: &str) -> Shown {
        let Seen { payment, intent, open } = self.session(reference).await?;
        if open {
            // A shopper who pays just now has it refused; then his PaymentIntent is cancelled, which is another effect.
            let path = ["checkout", "sessions", reference, "expire"];
            let (status, answer) = self.post(&path, &format!("{key}:expire"), &[EXPAND]).await?;
            return Ok(read(status, &answer)?.payment);
        }
        match intent.filter(|_| payment.status != ProviderStatus::Voided) {
            Some(intent) => Ok(payment.shown_by(self.act(&intent, "cancel", key).await?)),
            None => Ok(payment),
        }
    }
}

impl ProviderPayment {
    /// This one as its PaymentIntent shows it, under the names that we know it by.
    fn shown_by(self, intent: Self) -> Self {
        Self { reference: self.reference, merchant_reference: self.merchant_reference, ..intent }
    }
}

/// The payment that an answer shows.
fn read(status: StatusCode, answer: &[u8]) -> Result<Seen, ProviderError> {
    answer::check(status, answer)?;
    let session: Session = serde_json::from_slice(answer).map_err(|error| unreadable(&error.to_string()))?;
    let intent = session.payment_intent.as_ref().map(|intent| intent.id.clone());
    let open = session.status.as_deref() == Some("open");
    Ok(Seen { payment: shown(session)?, intent, open })
}

/// Money counts, whatever the Session is called; without any, the shopper may pay while it is open. A card that was declined is
/// not the end before: he is asked for another.
fn shown(session: Session) -> Shown {
    let Session { id, status, url, amount_total, currency, client_reference_id, payment_intent } = session;
    let unpaid = unpaid(amount_total, currency)?;
    let paid = payment_intent.map(|intent| answer::shown(*intent)).transpose()?;
    let payment = paid.unwrap_or(unpaid);
    let moved = matches!(
        payment.status,
        ProviderStatus::Authorized | ProviderStatus::Captured | ProviderStatus::Refunded | ProviderStatus::Voided
    );
    let (status, next_action) = match status.as_deref() {
        _ if moved => (payment.status, None),
        Some("open") => {
            (ProviderStatus::ChallengeRequired, Some(url.ok_or_else(|| unreadable("an open Session's page"))?))
        }
        Some("expired") => (ProviderStatus::Voided, None),
        other => {
            return Err(ProviderError::Unknown(format!("the Session is {other:?}, its payment {:?}", payment.status)));
        }
    };
    Ok(ProviderPayment {
        merchant_reference: client_reference_id.unwrap_or_default(),
        status,
        challenge_id: next_action.as_ref().map(|_| id.clone()),
        next_action,
        reference: id,
        ..payment
    })
}

/// What a Session is about before anybody pays.
fn unpaid(amount_total: Option<i64>, currency: Option<String>) -> Shown {
    let code = currency.unwrap_or_default().to_ascii_uppercase();
    let currency: Currency = code.parse().map_err(|_| unreadable("an unknown currency"))?;
    let minor = amount_total.and_then(|units| to_minor(units, currency));
    let minor = minor.ok_or_else(|| unreadable("no amount, or one between two minor units"))?;
    Ok(ProviderPayment {
        reference: String::new(),
        merchant_reference: String::new(),
        amount: Money::new(minor, currency).map_err(|error| unreadable(&error.to_string()))?,
        status: ProviderStatus::Created,
        challenge_id: None,
        next_action: None,
        decline_reason: None,
        captured_minor: 0,
        refunded_minor: 0,
        card: None,
    })
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn session(status: &str, intent: &Value) -> Shown {
        let url = (status == "open").then_some("https://checkout.stripe.com/c/pay/cs_test_1");
        let session = json!({
            "id": "cs_test_1", "object": "checkout.session", "status": status, "payment_status": "unpaid", "url": url,
            "amount_total": 2000, "currency": "gbp", "client_reference_id": "ours", "payment_intent": intent,
        });
        read(StatusCode::OK, session.to_string().as_bytes()).map(|seen| seen.payment)
    }

    fn intent(status: &str, received: i64, refunded: i64) -> Value {
        json!({
            "id": "pi_1", "amount": 2000, "amount_received": received, "currency": "gbp", "status": status, "metadata": {},
            "last_payment_error": { "code": "card_declined" }, "latest_charge": { "amount_refunded": refunded },
        })
    }

    #[test]
    fn a_session_stands_as_its_money_does_and_waits_for_the_shopper_without() {
        let cases = [
            ("open", json!(null), ProviderStatus::ChallengeRequired),
            // A declined card: he is asked for another.
            ("open", intent("requires_payment_method", 0, 0), ProviderStatus::ChallengeRequired),
            ("open", intent("requires_action", 0, 0), ProviderStatus::ChallengeRequired),
            ("complete", intent("requires_capture", 0, 0), ProviderStatus::Authorized),
            ("complete", intent("succeeded", 2000, 0), ProviderStatus::Captured),
            ("complete", intent("succeeded", 2000, 2000), ProviderStatus::Refunded),
            ("complete", intent("canceled", 0, 0), ProviderStatus::Voided),
            ("expired", json!(null), ProviderStatus::Voided),
            ("expired", intent("requires_capture", 0, 0), ProviderStatus::Authorized),
        ];
        for (status, intent, expected) in cases {
            let shown = session(status, &intent).unwrap();
            let names = (shown.reference.as_str(), shown.merchant_reference.as_str());
            assert_eq!((shown.status, names), (expected, ("cs_test_1", "ours")), "{status} {intent}");
            let page = (expected == ProviderStatus::ChallengeRequired)
                .then_some("https://checkout.stripe.com/c/pay/cs_test_1");
            assert_eq!(shown.next_action.as_deref(), page);
        }
    }

    #[test]
    fn a_session_that_nobody_understands_says_nothing_about_the_payment() {
        let unknown = [
            session("complete", &json!(null)),
            session("complete", &intent("processing", 0, 0)),
            session("a_word_of_tomorrow", &json!(null)),
            // Not expanded: whether money moved back is not in it.
            session("complete", &json!("pi_1")),
        ];
        for shown in unknown {
            assert!(matches!(shown, Err(ProviderError::Unknown(_))), "{shown:?}");
        }
    }
}
