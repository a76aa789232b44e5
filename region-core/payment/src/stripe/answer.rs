//! What Stripe's answers say: how a PaymentIntent stands, or why there is none.

use std::collections::BTreeMap;

use http::StatusCode;
use serde::Deserialize;
use shared::{Currency, Money};

use super::METADATA;
use super::amount::to_minor;
use crate::provider::{Card, ProviderError, ProviderPayment, ProviderStatus, Shown};

/// A PaymentIntent, as far as it concerns us.
#[derive(Debug, Deserialize)]
pub(super) struct Intent {
    pub(super) id: String,
    amount: i64,
    #[serde(default)]
    amount_received: i64,
    currency: String,
    status: String,
    #[serde(default)]
    metadata: BTreeMap<String, String>,
    last_payment_error: Option<Reason>,
    latest_charge: Option<Charge>,
    next_action: Option<NextAction>,
}

/// What the shopper must do. Of other kinds than a redirect, only Stripe's own script could make something.
#[derive(Debug, Deserialize)]
struct NextAction {
    #[serde(default)]
    redirect_to_url: Option<Redirect>,
}

#[derive(Debug, Deserialize)]
struct Redirect {
    url: Option<String>,
}

/// A charge, or only its name where it was not asked to be expanded.
#[derive(Debug, Deserialize)]
#[serde(untagged)]
enum Charge {
    Whole {
        amount_refunded: i64,
        #[serde(default)]
        payment_method_details: Option<Details>,
    },
    Named(#[expect(dead_code, reason = "only that it is not whole counts")] String),
}

/// What the charge was paid with.
#[derive(Debug, Deserialize)]
struct Details {
    #[serde(default)]
    card: Option<CardDetails>,
}

/// A card, as far as Stripe tells of it.
#[derive(Debug, Deserialize)]
struct CardDetails {
    fingerprint: Option<String>,
    country: Option<String>,
}

/// An error of the API or of a payment; `message` is for people and `code` for programs.
#[derive(Debug, Default, Deserialize)]
struct Reason {
    #[serde(rename = "type")]
    kind: Option<String>,
    code: Option<String>,
    decline_code: Option<String>,
    message: Option<String>,
}

#[derive(Deserialize)]
struct Failed {
    error: Reason,
}

impl Reason {
    /// One word where there is one: the bank's, else Stripe's.
    fn word(&self) -> String {
        let words = [&self.decline_code, &self.code, &self.message, &self.kind];
        words.into_iter().flatten().next().map_or_else(|| "no reason".to_owned(), Clone::clone)
    }

    /// For a log and a person. Stripe's messages quote ids and fields, never card numbers.
    fn sentence(&self) -> String {
        self.message.as_ref().map_or_else(|| self.word(), |message| format!("{}: {message}", self.word()))
    }
}

/// The payment that an answer shows.
pub(super) fn read(status: StatusCode, answer: &[u8]) -> Shown {
    check(status, answer)?;
    let intent: Intent = serde_json::from_slice(answer).map_err(|error| unreadable(&error.to_string()))?;
    shown(intent)
}

/// Nothing, if the answer is a success.
pub(super) fn check(status: StatusCode, answer: &[u8]) -> Result<(), ProviderError> {
    if status.is_success() { Ok(()) } else { Err(failure(status, answer)) }
}

pub(super) fn shown(intent: Intent) -> Shown {
    let currency: Currency =
        intent.currency.to_ascii_uppercase().parse().map_err(|_| unreadable("an unknown currency"))?;
    let minor = |units| to_minor(units, currency).ok_or_else(|| unreadable("an amount between two minor units"));
    let amount = Money::new(minor(intent.amount)?, currency).map_err(|error| unreadable(&error.to_string()))?;
    let captured_minor = minor(intent.amount_received)?;
    let refunded_minor = minor(refunded(&intent)?)?;
    let status = status(&intent, captured_minor, refunded_minor)?;
    let card = card(&intent);
    let page = intent.next_action.and_then(|action| action.redirect_to_url?.url);
    Ok(ProviderPayment {
        merchant_reference: intent.metadata.get(METADATA).cloned().unwrap_or_default(),
        amount,
        status,
        // Whoever asks Stripe about the question names the payment itself.
        challenge_id: (status == ProviderStatus::ChallengeRequired).then(|| intent.id.clone()),
        reference: intent.id,
        next_action: page.filter(|_| status == ProviderStatus::ChallengeRequired),
        decline_reason: intent.last_payment_error.map(|reason| reason.word()),
        captured_minor,
        refunded_minor,
        card,
    })
}

/// The card of the charge, where the whole charge is shown.
fn card(intent: &Intent) -> Option<Card> {
    let Some(Charge::Whole { payment_method_details: Some(Details { card: Some(card) }), .. }) = &intent.latest_charge
    else {
        return None;
    };
    Some(Card { fingerprint: card.fingerprint.clone()?, country: card.country.clone() })
}

/// In Stripe's units. Money that moved may have moved back: without the charge nobody knows.
fn refunded(intent: &Intent) -> Result<i64, ProviderError> {
    match &intent.latest_charge {
        Some(Charge::Whole { amount_refunded, .. }) => Ok(*amount_refunded),
        None | Some(Charge::Named(_)) if intent.amount_received == 0 => Ok(0),
        None | Some(Charge::Named(_)) => Err(unreadable("a capture without its charge")),
    }
}

/// See <https://docs.stripe.com/payments/paymentintents/lifecycle>.
fn status(intent: &Intent, captured: i64, refunded: i64) -> Result<ProviderStatus, ProviderError> {
    match intent.status.as_str() {
        // Waits for another way to pay. That comes from nobody here, so a decline is the end.
        "requires_payment_method" if intent.last_payment_error.is_some() => Ok(ProviderStatus::Declined),
        "requires_payment_method" | "requires_confirmation" => Ok(ProviderStatus::Created),
        "requires_action" => Ok(ProviderStatus::ChallengeRequired),
        "requires_capture" => Ok(ProviderStatus::Authorized),
        "succeeded" if captured > 0 && refunded >= captured => Ok(ProviderStatus::Refunded),
        "succeeded" => Ok(ProviderStatus::Captured),
        "canceled" => Ok(ProviderStatus::Voided),
        // Under way, or a word of a later version: it is asked again until it is known.
        other => Err(ProviderError::Unknown(format!("the payment is {other}"))),
    }
}

/// What an answer that is no success means. A refusal is Stripe's own word that nothing happened; whatever stands in
/// between, and everything that passes, says nothing.
fn failure(status: StatusCode, answer: &[u8]) -> ProviderError {
    let Ok(Failed { error }) = serde_json::from_slice(answer) else {
        return ProviderError::Unknown(format!("status {}", status.as_u16()));
    };
    let said = format!("{} ({})", error.sentence(), status.as_u16());
    let refuses = matches!(error.kind.as_deref(), Some("card_error" | "invalid_request_error" | "idempotency_error"));
    // 409 and 429 are about other requests at the same time; 401 and 403 are about our key, and no order's fault.
    let about_this = matches!(status.as_u16(), 400 | 402 | 404 | 422);
    if refuses && about_this { ProviderError::Refused(said) } else { ProviderError::Unknown(said) }
}

pub(super) fn unreadable(what: &str) -> ProviderError {
    ProviderError::Unknown(format!("unreadable: {what}"))
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    /// As the API's reference shows one, without what nobody reads here.
    fn intent(status: &str, more: &Value) -> Value {
        let mut intent = json!({
            "id": "pi_3MtwBwLkdIwHu7ix28a3tqPa", "object": "payment_intent", "amount": 2000, "amount_capturable": 0,
            "amount_received": 0, "capture_method": "manual", "confirmation_method": "automatic", "currency": "gbp",
            "last_payment_error": null, "latest_charge": null, "livemode": false, "next_action": null,
            "metadata": { "payment_id": "0190b5a0-0000-7007-8000-000000000001" }, "status": status,
        });
        intent.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        intent
    }

    fn shown(status: &str, more: &Value) -> Shown {
        read(StatusCode::OK, intent(status, more).to_string().as_bytes())
    }

    fn charge(refunded: i64) -> Value {
        json!({ "amount_received": 2000, "latest_charge": { "id": "ch_1", "amount_refunded": refunded } })
    }

    #[test]
    fn every_documented_status_has_its_meaning() {
        let error = json!({ "last_payment_error": { "code": "card_declined", "decline_code": "insufficient_funds" } });
        let cases = [
            ("requires_payment_method", json!({}), ProviderStatus::Created),
            ("requires_payment_method", error, ProviderStatus::Declined),
            ("requires_confirmation", json!({}), ProviderStatus::Created),
            ("requires_action", json!({}), ProviderStatus::ChallengeRequired),
            ("requires_capture", json!({ "latest_charge": "ch_1" }), ProviderStatus::Authorized),
            ("succeeded", charge(0), ProviderStatus::Captured),
            ("succeeded", charge(1999), ProviderStatus::Captured),
            ("succeeded", charge(2000), ProviderStatus::Refunded),
            ("canceled", json!({ "cancellation_reason": "automatic" }), ProviderStatus::Voided),
        ];
        for (status, more, expected) in cases {
            assert_eq!(shown(status, &more).unwrap().status, expected, "{status} {more}");
        }
    }

    #[test]
    fn a_payment_is_shown_with_our_name_its_money_and_why_it_was_declined() {
        let part = shown("succeeded", &charge(300)).unwrap();
        assert_eq!(part.merchant_reference, "0190b5a0-0000-7007-8000-000000000001");
        assert_eq!(
            (part.amount, part.captured_minor, part.refunded_minor),
            (Money::new(2000, Currency::GBP).unwrap(), 2000, 300)
        );
        let error = json!({ "last_payment_error": { "code": "card_declined", "decline_code": "insufficient_funds" } });
        let declined = shown("requires_payment_method", &error).unwrap();
        assert_eq!(declined.decline_reason.as_deref(), Some("insufficient_funds"));
        let asked = shown("requires_action", &json!({})).unwrap();
        assert_eq!(asked.challenge_id.as_deref(), Some("pi_3MtwBwLkdIwHu7ix28a3tqPa"));
        assert_eq!(asked.next_action, None);
        let page = "https://hooks.stripe.com/3d_secure_2/hosted?merchant=acct_1";
        let redirect = json!({ "url": page, "return_url": "https://shop.example/orders/1" });
        let action = json!({ "next_action": { "type": "redirect_to_url", "redirect_to_url": redirect } });
        assert_eq!(shown("requires_action", &action).unwrap().next_action.as_deref(), Some(page));
        let script = json!({ "next_action": { "type": "use_stripe_sdk", "use_stripe_sdk": { "type": "x" } } });
        assert_eq!(shown("requires_action", &script).unwrap().next_action, None);
    }

    #[test]
    fn the_card_is_told_where_the_charge_tells_of_it() {
        let paid_with = |details: Value| {
            let charge = json!({ "id": "ch_1", "amount_refunded": 0, "payment_method_details": details });
            shown("requires_capture", &json!({ "latest_charge": charge })).unwrap().card
        };
        let whole =
            json!({ "type": "card", "card": { "fingerprint": "Xt5EWLLDS7FJjR1c", "country": "US", "last4": "4242" } });
        let card = Card { fingerprint: "Xt5EWLLDS7FJjR1c".to_owned(), country: Some("US".to_owned()) };
        assert_eq!(paid_with(whole), Some(card));
        for nothing in
            [json!(null), json!({ "type": "paypal" }), json!({ "card": { "fingerprint": null, "country": "US" } })]
        {
            assert_eq!(paid_with(nothing), None);
        }
    }

    #[test]
    fn what_is_under_way_or_cannot_be_read_is_unknown() {
        let unknown = [
            shown("processing", &json!({})),
            shown("a_word_of_tomorrow", &json!({})),
            // Whether it moved back is in the charge, which was not sent along.
            shown("succeeded", &json!({ "amount_received": 2000, "latest_charge": "ch_1" })),
            shown("succeeded", &json!({ "amount_received": 2000, "latest_charge": null })),
            shown("requires_capture", &json!({ "currency": "zzz" })),
            read(StatusCode::OK, b"<html>"),
        ];
        for answer in unknown {
            assert!(matches!(answer, Err(ProviderError::Unknown(_))), "{answer:?}");
        }
    }

    fn failed(status: u16, kind: &str, code: &str) -> ProviderError {
        let answer = json!({ "error": { "type": kind, "code": code, "message": "In words." } });
        read(StatusCode::from_u16(status).unwrap(), answer.to_string().as_bytes()).unwrap_err()
    }

    #[test]
    fn only_stripes_own_no_is_a_refusal() {
        let refused = [
            failed(402, "card_error", "card_declined"),
            failed(400, "invalid_request_error", "payment_intent_unexpected_state"),
            failed(404, "invalid_request_error", "resource_missing"),
            failed(400, "idempotency_error", "idempotency_error"),
        ];
        for error in refused {
            assert!(matches!(error, ProviderError::Refused(_)), "{error}");
        }
        let unknown = [
            failed(409, "idempotency_error", "idempotency_key_in_use"),
            failed(429, "invalid_request_error", "lock_timeout"),
            failed(429, "invalid_request_error", "rate_limit"),
            failed(401, "invalid_request_error", "api_key_expired"),
            failed(403, "invalid_request_error", "more_permissions_required"),
            failed(400, "api_error", "odd"),
            failed(500, "api_error", "odd"),
            // A machine in between that knows no such page.
            read(StatusCode::NOT_FOUND, b"<html>404</html>").unwrap_err(),
            read(StatusCode::FOUND, b"").unwrap_err(),
        ];
        for error in unknown {
            assert!(matches!(error, ProviderError::Unknown(_)), "{error}");
        }
    }
}
