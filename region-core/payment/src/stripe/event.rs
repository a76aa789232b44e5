//! Stripe's events, as far as they are a reason to look at a payment.
//!
//! An event is never believed about money: it may be old, it comes in any order, and it is only about the moment at which it was
//! made. It says which payment to read.

use std::collections::BTreeMap;

use serde::Deserialize;

use super::METADATA;
use crate::notice::{News, Notice, NoticeError};

#[derive(Deserialize)]
struct Event {
    id: String,
    #[serde(rename = "type")]
    kind: String,
    data: Data,
}

#[derive(Deserialize)]
struct Data {
    object: Object,
}

/// Any of Stripe's objects.
#[derive(Deserialize)]
struct Object {
    #[serde(default)]
    id: String,
    /// Some objects say that they have none by `null`.
    metadata: Option<BTreeMap<String, String>>,
}

/// What a signed event is about: `None` if it is nothing to us. An account may have other users than this store.
pub(super) fn read(body: &[u8]) -> Result<Option<Notice>, NoticeError> {
    let event: Event = serde_json::from_slice(body).map_err(|error| NoticeError::Unreadable(error.to_string()))?;
    let Some(news) = news(&event.kind) else { return Ok(None) };
    let Object { id: reference, metadata } = event.data.object;
    let payment = metadata.unwrap_or_default().get(METADATA).and_then(|id| id.parse().ok());
    Ok(payment.map(|payment_id| Notice { event_id: event.id, payment_id, reference, news }))
}

/// See "Types of events", <https://docs.stripe.com/api/events/types>. A PaymentIntent that was created, asks the shopper or is
/// under way is no news: we had that done, and there is nothing to read yet. The PaymentIntent of a Session does not bear our name,
/// so that its events are nobody's: the Session's tell.
fn news(kind: &str) -> Option<News> {
    match kind {
        "payment_intent.amount_capturable_updated" | "payment_intent.succeeded" | "checkout.session.completed" => {
            Some(News::Money)
        }
        "payment_intent.payment_failed" | "payment_intent.canceled" | "checkout.session.expired" => Some(News::Over),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;
    use shared::PaymentId;
    use shared::id::Slot;

    use super::*;

    fn told(kind: &str, payment: &str) -> Result<Option<Notice>, NoticeError> {
        // As the API's reference shows one.
        let event = json!({
            "id": "evt_1NG8Du2eZvKYlo2CUI79vXWy", "object": "event", "api_version": "2019-02-19", "created": 1_686_089_970,
            "data": { "object": { "id": "pi_1", "object": "payment_intent", "amount": 1250,
                                  "metadata": { "payment_id": payment } } },
            "livemode": false, "pending_webhooks": 0, "request": { "id": null, "idempotency_key": null }, "type": kind,
        });
        read(event.to_string().as_bytes())
    }

    #[test]
    fn an_event_names_the_payment_to_look_at() {
        let payment_id = PaymentId::mint(1_800_000_000_000, Slot::new(7).unwrap(), [1; 8]);
        let notice = told("payment_intent.succeeded", &payment_id.to_string()).unwrap().unwrap();
        let event_id = "evt_1NG8Du2eZvKYlo2CUI79vXWy".to_owned();
        assert_eq!(notice, Notice { event_id, payment_id, reference: "pi_1".to_owned(), news: News::Money });
        let failed = told("payment_intent.payment_failed", &payment_id.to_string()).unwrap().unwrap();
        assert_eq!(failed.news, News::Over);
        let session = |kind: &str| told(kind, &payment_id.to_string()).unwrap().unwrap().news;
        assert_eq!(session("checkout.session.completed"), News::Money);
        assert_eq!(session("checkout.session.expired"), News::Over);
    }

    #[test]
    fn what_is_no_news_or_of_another_shop_is_nothing_to_us() {
        let payment = PaymentId::mint(1, Slot::new(7).unwrap(), [1; 8]).to_string();
        assert_eq!(told("payment_intent.requires_action", &payment).unwrap(), None);
        assert_eq!(told("customer.created", &payment).unwrap(), None);
        assert_eq!(told("payment_intent.succeeded", "order-17").unwrap(), None);
        let bare = br#"{"id":"evt_1","type":"balance.available","data":{"object":{"object":"balance"}}}"#;
        assert_eq!(read(bare).unwrap(), None);
        assert!(matches!(read(b"{}"), Err(NoticeError::Unreadable(_))));
    }
}
