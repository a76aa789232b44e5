//! PayPal's events: which of them are a reason to look at a payment, and what is sent back to PayPal to ask whether it sent
//! one.
//!
//! An event is never believed about money: it may be old, it comes in any order, and it is only about the moment at which it was
//! made. It says which payment to read.

use http::HeaderMap;
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use url::Url;

use crate::notice::{News, Notice, NoticeError};

#[derive(Deserialize)]
struct Event {
    id: String,
    event_type: String,
    #[serde(default)]
    resource: Resource,
}

/// An order, or something that became of one.
#[derive(Default, Deserialize)]
#[serde(default)]
struct Resource {
    id: String,
    order_id: Option<String>,
    custom_id: Option<String>,
    purchase_units: Vec<Unit>,
    supplementary_data: Supplementary,
}

#[derive(Deserialize)]
struct Unit {
    custom_id: Option<String>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Supplementary {
    related_ids: Related,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Related {
    order_id: Option<String>,
}

/// What an event is about: `None` if it is nothing to us. An account may have other users than this store.
pub(super) fn read(body: &[u8]) -> Result<Option<Notice>, NoticeError> {
    let event: Event = serde_json::from_slice(body).map_err(|error| NoticeError::Unreadable(error.to_string()))?;
    let Event { id: event_id, event_type, resource } = event;
    let Some((news, of)) = news(&event_type) else { return Ok(None) };
    let unit = resource.purchase_units.into_iter().next().and_then(|unit| unit.custom_id);
    let payment = resource.custom_id.or(unit).and_then(|id| id.parse().ok());
    let reference = match of {
        Of::Order => Some(resource.id),
        Of::Approval => resource.order_id,
        Of::Payment => resource.supplementary_data.related_ids.order_id,
    };
    Ok(payment.zip(reference).map(|(payment_id, reference)| Notice { event_id, payment_id, reference, news }))
}

/// What an event's resource is, which says where its order is named.
enum Of {
    Order,
    Approval,
    Payment,
}

/// See "Webhook event names", <https://developer.paypal.com/api/rest/webhooks/event-names/>. An approval moves nothing: it is
/// a reason to look at a payment that waits for one, and none to look at a payment that is over. Refunds are read until they
/// are through.
fn news(event_type: &str) -> Option<(News, Of)> {
    match event_type {
        "CHECKOUT.ORDER.APPROVED" => Some((News::Over, Of::Order)),
        "CHECKOUT.PAYMENT-APPROVAL.REVERSED" => Some((News::Over, Of::Approval)),
        "PAYMENT.AUTHORIZATION.CREATED" | "PAYMENT.CAPTURE.COMPLETED" => Some((News::Money, Of::Payment)),
        "PAYMENT.AUTHORIZATION.VOIDED" | "PAYMENT.CAPTURE.DENIED" | "PAYMENT.CAPTURE.DECLINED" => {
            Some((News::Over, Of::Payment))
        }
        _ => None,
    }
}

/// The question to PayPal whether it sent an event. The event goes back byte for byte, as its bytes are what was signed. See
/// "Verify webhook signature", <https://developer.paypal.com/docs/api/webhooks/v1/#verify-webhook-signature_post>.
#[derive(Serialize)]
struct Question<'a> {
    auth_algo: &'a str,
    cert_url: &'a str,
    transmission_id: &'a str,
    transmission_sig: &'a str,
    transmission_time: &'a str,
    webhook_id: &'a str,
    webhook_event: &'a RawValue,
}

/// The question about an event, where what came with it can be PayPal's at all.
pub(super) fn question(headers: &HeaderMap, body: &[u8], webhook_id: &str) -> Result<String, NoticeError> {
    let header = |name: &str, longest: usize| {
        let value = headers.get(name).and_then(|value| value.to_str().ok());
        let value = value.filter(|value| (1..=longest).contains(&value.len()));
        value.ok_or_else(|| NoticeError::Forged(format!("the header {name} is missing or malformed")))
    };
    let question = Question {
        auth_algo: header("paypal-auth-algo", 100)?,
        cert_url: header("paypal-cert-url", 500)?,
        transmission_id: header("paypal-transmission-id", 50)?,
        transmission_sig: header("paypal-transmission-sig", 500)?,
        transmission_time: header("paypal-transmission-time", 100)?,
        webhook_id,
        webhook_event: serde_json::from_slice(body).map_err(|error| NoticeError::Unreadable(error.to_string()))?,
    };
    if !is_paypals(question.cert_url) {
        return Err(NoticeError::Forged("the certificate is not of PayPal's".to_owned()));
    }
    serde_json::to_string(&question).map_err(|error| NoticeError::Unreadable(error.to_string()))
}

/// Nobody here fetches it; a question that names another host is not worth asking.
fn is_paypals(cert_url: &str) -> bool {
    let Ok(url) = Url::parse(cert_url) else { return false };
    url.scheme() == "https" && url.host_str().is_some_and(|host| host.ends_with(".paypal.com"))
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};
    use shared::PaymentId;
    use shared::id::Slot;

    use super::*;

    fn payment_id() -> PaymentId {
        PaymentId::mint(1_800_000_000_000, Slot::new(7).unwrap(), [1; 8])
    }

    fn told(kind: &str, resource: &Value) -> Result<Option<Notice>, NoticeError> {
        // As the documentation shows one.
        let event = json!({
            "id": "WH-1NG8Du2eZvKYlo2CUI79vXWy", "event_version": "1.0", "create_time": "2030-01-01T12:00:00.000Z",
            "resource_type": "checkout-order", "event_type": kind, "summary": "In words.", "resource": resource,
            "links": [],
        });
        read(event.to_string().as_bytes())
    }

    #[test]
    fn an_event_names_the_payment_to_look_at_wherever_its_order_stands() {
        let payment_id = payment_id();
        let units = json!([{ "reference_id": payment_id, "custom_id": payment_id }]);
        let of_payment = json!({ "id": "2GG279541U471931P", "custom_id": payment_id,
                                 "supplementary_data": { "related_ids": { "order_id": "5O19" } } });
        let cases = [
            ("CHECKOUT.ORDER.APPROVED", json!({ "id": "5O19", "purchase_units": units }), News::Over),
            ("CHECKOUT.PAYMENT-APPROVAL.REVERSED", json!({ "order_id": "5O19", "purchase_units": units }), News::Over),
            ("PAYMENT.AUTHORIZATION.CREATED", of_payment.clone(), News::Money),
            ("PAYMENT.CAPTURE.COMPLETED", of_payment.clone(), News::Money),
            ("PAYMENT.CAPTURE.DENIED", of_payment, News::Over),
        ];
        for (kind, resource, news) in cases {
            let (event_id, reference) = ("WH-1NG8Du2eZvKYlo2CUI79vXWy".to_owned(), "5O19".to_owned());
            let notice = Notice { event_id, payment_id, reference, news };
            assert_eq!(told(kind, &resource).unwrap(), Some(notice), "{kind}");
        }
    }

    #[test]
    fn what_is_no_news_or_of_another_shop_is_nothing_to_us() {
        let resource = json!({ "id": "5O19", "custom_id": payment_id() });
        assert_eq!(told("PAYMENT.CAPTURE.REFUNDED", &resource).unwrap(), None);
        assert_eq!(told("PAYMENT.CAPTURE.COMPLETED", &resource).unwrap(), None, "it does not say of which order");
        let of_another = json!({ "id": "5O19", "custom_id": "order-17" });
        assert_eq!(told("CHECKOUT.ORDER.APPROVED", &of_another).unwrap(), None);
        assert!(matches!(read(b"{}"), Err(NoticeError::Unreadable(_))));
    }

    fn headers(change: (&'static str, &str)) -> HeaderMap {
        let all = [
            ("paypal-auth-algo", "SHA256withRSA"),
            ("paypal-cert-url", "https://api.paypal.com/v1/notifications/certs/CERT-360caa42"),
            ("paypal-transmission-id", "69cd13f0-d67a-11e5-baa3-778b53f4ae55"),
            ("paypal-transmission-sig", "lmI95Jx3Y9nhR5SJWlHVIWpg4AgFk7n9bCHSRxbrd8A9zrhdu2rMyFrmz"),
            ("paypal-transmission-time", "2030-01-01T12:00:00Z"),
        ];
        let mut headers = HeaderMap::new();
        for (name, value) in all.into_iter().chain([change]) {
            headers.insert(name, value.parse().unwrap());
        }
        headers
    }

    #[test]
    fn an_event_goes_back_as_it_came_and_only_if_it_can_be_paypals() {
        let (good, body) = (("paypal-auth-algo", "SHA256withRSA"), br#"{"b": 1.0,  "a":"\u00e9"}"#);
        let question = super::question(&headers(good), body, "8PT597110X687430LKGECATA").unwrap();
        assert!(question.contains(r#""webhook_event":{"b": 1.0,  "a":"\u00e9"}"#), "{question}");
        let long = "x".repeat(501);
        let forged = [
            ("paypal-cert-url", "http://api.paypal.com/cert"),
            ("paypal-cert-url", "https://paypal.com.example/cert"),
            ("paypal-cert-url", "https://evilpaypal.com/cert"),
            ("paypal-cert-url", "https://api.paypal.com@evil.example/cert"),
            ("paypal-cert-url", "nowhere"),
            ("paypal-transmission-sig", &long),
            ("paypal-transmission-id", ""),
        ];
        for change in forged {
            let refused = super::question(&headers(change), body, "8PT5");
            assert!(matches!(refused, Err(NoticeError::Forged(_))), "{change:?}");
        }
        let unreadable = super::question(&headers(good), b"{} {}", "8PT5");
        assert!(matches!(unreadable, Err(NoticeError::Unreadable(_))));
    }
}
