//! What is told, in which words, and what becomes of an attempt to tell it. No I/O.

use std::time::Duration;

use region_core_control::webhooks::KeptEndpoint;
use region_core_events::contract::{
    OrderCancelled, OrderConfirmed, OrderDelivered, OrderReturned, OrderShipped, Payload, PaymentRefunded,
    RefundIssued, ShipmentDelivered, ShipmentSent,
};
use region_core_events::{Event, HandleError};
use serde::Serialize;
use serde_json::{Value, json};
use shared::api::webhook::{DeliveryState, EndpointState, EventType, TEST_EVENT};
use shared::{EndpointId, EventId, Money, OrderId};
use time::OffsetDateTime;
use time::format_description::well_known::{Rfc2822, Rfc3339};

/// The events that are told of, in the order of [`EventType::ALL`].
pub const KINDS: [&str; 9] = [
    OrderConfirmed::KIND,
    OrderCancelled::KIND,
    OrderShipped::KIND,
    OrderDelivered::KIND,
    ShipmentSent::KIND,
    ShipmentDelivered::KIND,
    PaymentRefunded::KIND,
    RefundIssued::KIND,
    OrderReturned::KIND,
];
/// The version of what stands in `data`. It only grows: a new member is no new version.
const DATA_VERSION: u32 = 1;
/// Longest time that a receiver's `Retry-After` is heeded.
const LONGEST_RETRY_AFTER: Duration = Duration::from_secs(24 * 3600);
/// Most characters of an answer that are kept.
const MOST_SAID: usize = 1024;

/// As what `event` is told.
///
/// # Errors
/// [`HandleError::Rejected`] if nobody is told of it.
pub fn event_type(event: &Event) -> Result<EventType, HandleError> {
    let at = KINDS.iter().position(|kind| *kind == event.kind);
    at.map(|at| EventType::ALL[at]).ok_or_else(|| HandleError::Rejected(format!("nobody is told of {}", event.kind)))
}

/// What is told of `event`, of an order of that total: ids, states and amounts, nothing that a person typed.
///
/// # Errors
/// [`HandleError::Rejected`] if the event does not say what its kind promises.
pub fn data(event: &Event, total: Money) -> Result<Value, HandleError> {
    let order_id = event.aggregate_id;
    let order = |status: &str| json!({ "order_id": order_id, "status": status, "total": total });
    let said = |kind: &str| HandleError::Rejected(format!("{kind} of {order_id} says nothing"));
    Ok(match event_type(event)? {
        EventType::OrderConfirmed => order("CONFIRMED"),
        EventType::OrderCancelled => order("CANCELLED"),
        EventType::OrderShipped => order("SHIPPED"),
        EventType::OrderDelivered => order("DELIVERED"),
        EventType::ShipmentSent => {
            let sent = event.read::<ShipmentSent>()?.ok_or_else(|| said(ShipmentSent::KIND))?;
            json!({ "order_id": order_id, "shipment_id": sent.shipment_id, "status": "SENT", "whole": sent.whole })
        }
        EventType::ShipmentDelivered => {
            let arrived = event.read::<ShipmentDelivered>()?.ok_or_else(|| said(ShipmentDelivered::KIND))?;
            json!({ "order_id": order_id, "shipment_id": arrived.shipment_id, "status": "DELIVERED" })
        }
        EventType::PaymentRefunded => {
            let refunded = event.read::<PaymentRefunded>()?.ok_or_else(|| said(PaymentRefunded::KIND))?;
            let (payment_id, amount) = (refunded.payment_id, refunded.amount);
            json!({ "order_id": order_id, "payment_id": payment_id, "status": "REFUNDED", "amount": amount })
        }
        EventType::RefundIssued => {
            let issued = event.read::<RefundIssued>()?.ok_or_else(|| said(RefundIssued::KIND))?;
            let RefundIssued { payment_id, refund_id, amount, .. } = issued;
            json!({ "order_id": order_id, "payment_id": payment_id, "refund_id": refund_id, "amount": amount })
        }
        EventType::OrderReturned => {
            let returned = event.read::<OrderReturned>()?.ok_or_else(|| said(OrderReturned::KIND))?;
            let OrderReturned { return_id, restocked, written_off, .. } = returned;
            json!({ "order_id": order_id, "return_id": return_id, "restocked": restocked, "written_off": written_off })
        }
    })
}

/// By how much clocks of the store may differ.
const SKEW: Duration = Duration::from_secs(60);

/// Whether the endpoint is told of that: of its kinds, and of nothing that was said before it was there. A bus that is read from its
/// beginning, as after a change of bus, would have its owner hear of orders that he knows from elsewhere.
#[must_use]
pub fn is_told(endpoint: &KeptEndpoint, event: EventId, kind: EventType) -> bool {
    endpoint.shown.event_types.contains(&kind) && happened_at(event) + SKEW >= endpoint.shown.created_at
}

/// Whether anything is sent to the endpoint now.
#[must_use]
pub fn is_open(endpoint: &KeptEndpoint) -> bool {
    match endpoint.shown.state {
        EndpointState::Active => true,
        EndpointState::Paused | EndpointState::Disabled => false,
    }
}

/// An event in the envelope of CloudEvents 1.0 (section 3.1), with a version for its `data`.
#[derive(Serialize)]
struct Envelope<'a> {
    specversion: &'static str,
    id: EventId,
    source: String,
    #[serde(rename = "type")]
    kind: &'a str,
    time: String,
    datacontenttype: &'static str,
    dataversion: u32,
    data: &'a Value,
}

/// The bytes that are posted: the same in every attempt at every endpoint, for all of it was decided when the event happened.
#[must_use]
pub fn body(endpoint: EndpointId, event: EventId, order: Option<OrderId>, kind: &str, data: &Value) -> Vec<u8> {
    let envelope = Envelope {
        specversion: "1.0",
        id: event,
        source: match order {
            Some(order) => format!("/v1/orders/{order}"),
            None => format!("/v1/webhook-endpoints/{endpoint}"),
        },
        kind,
        time: happened_at(event).format(&Rfc3339).unwrap_or_default(),
        datacontenttype: "application/json",
        dataversion: DATA_VERSION,
        data,
    };
    // Text, numbers and a value that came from JSON: writing them cannot fail.
    serde_json::to_vec(&envelope).unwrap_or_default()
}

/// When the event was said: its id begins with that.
fn happened_at(event: EventId) -> OffsetDateTime {
    let (seconds, nanoseconds) = event.as_uuid().get_timestamp().map_or((0, 0), |instant| instant.to_unix());
    let seconds = i64::try_from(seconds).unwrap_or_default();
    let at = OffsetDateTime::from_unix_timestamp(seconds).unwrap_or(OffsetDateTime::UNIX_EPOCH);
    at + Duration::from_nanos(nanoseconds.into())
}

/// What an operator has sent to try an endpoint.
#[must_use]
pub fn test(endpoint: EndpointId) -> (&'static str, Value) {
    (TEST_EVENT, json!({ "endpoint_id": endpoint }))
}

/// An answer, as far as it is of interest.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Answer {
    /// Its status.
    pub status: u16,
    /// How long the receiver wants to be left alone.
    pub retry_after: Option<Duration>,
    /// How it begins.
    pub beginning: String,
}

/// What became of an attempt. Texts are for the operator who reads the row.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Outcome {
    /// There was an answer.
    Answered(Answer),
    /// There was none.
    Lost(String),
}

/// How often and how patiently an attempt is repeated.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Patience {
    /// Pauses after the first, the second and so on; after as many attempts and one more it is given up.
    pub pauses: Vec<Duration>,
}

impl Default for Patience {
    /// Three days and some hours in all, as Standard Webhooks proposes.
    fn default() -> Self {
        const HOUR: u64 = 3600;
        let seconds = [5, 300, 1800, 2 * HOUR, 5 * HOUR, 10 * HOUR, 14 * HOUR, 20 * HOUR, 24 * HOUR];
        Self { pauses: seconds.map(Duration::from_secs).to_vec() }
    }
}

impl Patience {
    /// Pause after that many attempts, if there is to be another: up to a fifth longer by `permille` of chance, so that what
    /// failed at once does not come back at once.
    #[must_use]
    pub fn pause(&self, attempts: i32, permille: u32) -> Option<Duration> {
        let at = usize::try_from(attempts).ok()?.checked_sub(1)?;
        let pause = *self.pauses.get(at)?;
        Some(pause + pause.mul_f64(f64::from(permille.min(1000)) / 5000.0))
    }

    /// Attempts before it is given up.
    #[must_use]
    pub fn most_attempts(&self) -> i32 {
        i32::try_from(self.pauses.len()).unwrap_or(i32::MAX).saturating_add(1)
    }
}

/// What an attempt says about its endpoint.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Health {
    /// It takes what it is sent.
    Well,
    /// It does not.
    Failing,
    /// It wants to be sent nothing any more.
    Gone,
}

/// What the outcome says about the endpoint (RFC 9110 section 15.5.11 for what is gone).
#[must_use]
pub fn health(outcome: &Outcome) -> Health {
    match outcome {
        Outcome::Answered(Answer { status: 200..=299, .. }) => Health::Well,
        Outcome::Answered(Answer { status: 410, .. }) => Health::Gone,
        Outcome::Answered(_) | Outcome::Lost(_) => Health::Failing,
    }
}

/// Where a delivery stands after an attempt.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Settled {
    /// Its state.
    pub state: DeliveryState,
    /// When it is tried again, if it is.
    pub pause: Duration,
    /// The answer's status.
    pub status: Option<u16>,
    /// What went wrong.
    pub error: Option<String>,
    /// How the answer began.
    pub said: Option<String>,
}

/// What the outcome of attempt number `attempts` comes to. Only a 2xx takes it: a redirect is not followed, for its target is
/// nobody's choice but the receiver's, and the body would go there unasked.
#[must_use]
pub fn settle(attempts: i32, outcome: &Outcome, patience: &Patience, permille: u32) -> Settled {
    let (status, said, error) = match outcome {
        Outcome::Answered(answer) => {
            let said = Some(legible(&answer.beginning, MOST_SAID)).filter(|said| !said.is_empty());
            (Some(answer.status), said, why(answer.status))
        }
        Outcome::Lost(why) => (None, None, Some(legible(why, 500))),
    };
    let done = |state, error| Settled { state, pause: Duration::ZERO, status, error, said: said.clone() };
    match (health(outcome), patience.pause(attempts, permille)) {
        (Health::Well, _) => done(DeliveryState::Delivered, None),
        (Health::Gone, _) | (Health::Failing, None) => done(DeliveryState::Failed, error),
        (Health::Failing, Some(pause)) => {
            let wished = match outcome {
                Outcome::Answered(answer) => answer.retry_after.unwrap_or_default().min(LONGEST_RETRY_AFTER),
                Outcome::Lost(_) => Duration::ZERO,
            };
            Settled { pause: pause.max(wished), ..done(DeliveryState::ToSend, error) }
        }
    }
}

fn why(status: u16) -> Option<String> {
    match status {
        200..=299 => None,
        300..=399 => Some(format!("the receiver answered {status}: redirects are not followed")),
        410 => Some("the receiver answered 410: it is gone".to_owned()),
        _ => Some(format!("the receiver answered {status}")),
    }
}

/// How long a `Retry-After` (RFC 9110 section 10.2.3) asks to wait: seconds, or an instant seen from `now`.
#[must_use]
pub fn retry_after(value: &str, now: OffsetDateTime) -> Option<Duration> {
    let value = value.trim();
    if let Ok(seconds) = value.parse() {
        return Some(Duration::from_secs(seconds));
    }
    let at = OffsetDateTime::parse(value, &Rfc2822).ok()?;
    Some(Duration::try_from(at - now).unwrap_or_default())
}

/// A stranger's words as a database takes them and a person reads them: no control characters, so many of the others.
fn legible(text: &str, most: usize) -> String {
    text.chars().map(|c| if c.is_control() { ' ' } else { c }).take(most).collect()
}

#[cfg(test)]
mod tests {
    use shared::Currency;
    use shared::api::webhook::Endpoint;
    use shared::id::Slot;
    use time::macros::datetime;

    use super::*;

    const MS: u64 = 1_800_000_000_000;

    fn answered(status: u16) -> Outcome {
        Outcome::Answered(Answer { status, retry_after: None, beginning: String::new() })
    }

    fn state(attempts: i32, outcome: &Outcome) -> DeliveryState {
        settle(attempts, outcome, &Patience::default(), 0).state
    }

    #[test]
    fn nothing_is_told_that_was_said_before_somebody_listened() {
        let endpoint = |created_at| KeptEndpoint {
            shown: Endpoint {
                endpoint_id: EndpointId::mint(MS, [3; 10]),
                url: "https://erp.example/".to_owned(),
                description: String::new(),
                event_types: vec![EventType::OrderConfirmed],
                state: EndpointState::Active,
                disabled_reason: None,
                failing_since: None,
                previous_secret_until: None,
                created_at,
            },
            secrets: Vec::new(),
        };
        let event = EventId::mint(MS, [2; 10]);
        let (said, kind) = (happened_at(event), EventType::OrderConfirmed);
        assert!(is_told(&endpoint(said - Duration::from_secs(3600)), event, kind));
        assert!(is_told(&endpoint(said + Duration::from_secs(30)), event, kind), "clocks differ");
        assert!(!is_told(&endpoint(said + Duration::from_secs(3600)), event, kind));
        assert!(!is_told(&endpoint(said), event, EventType::OrderCancelled));
    }

    #[test]
    fn the_form_of_what_is_told_does_not_change() {
        let slot = Slot::new(5).unwrap();
        let (order, event) = (OrderId::mint(MS, slot, [1; 8]), EventId::mint(MS + 1, [2; 10]));
        let total = Money::new(1250, Currency::GBP).unwrap();
        let data = json!({ "order_id": order, "status": "CONFIRMED", "total": total });
        let endpoint = EndpointId::mint(MS, [3; 10]);
        let body = body(endpoint, event, Some(order), EventType::OrderConfirmed.name(), &data);
        assert_eq!(
            String::from_utf8(body).unwrap(),
            format!(
                concat!(
                    r#"{{"specversion":"1.0","id":"{event}","source":"/v1/orders/{order}","type":"order.confirmed","#,
                    r#""time":"2027-01-15T08:00:00.001Z","datacontenttype":"application/json","dataversion":1,"#,
                    r#""data":{{"order_id":"{order}","status":"CONFIRMED","total":{{"currency":"GBP","minor":1250}}}}}}"#
                ),
                event = event,
                order = order
            )
        );
    }

    #[test]
    fn attempts_go_on_for_three_days_with_some_chance_and_end() {
        let patience = Patience::default();
        let seconds = |attempts, permille| patience.pause(attempts, permille).map(|pause| pause.as_secs());
        assert_eq!([1, 2, 9].map(|attempts| seconds(attempts, 0)), [Some(5), Some(300), Some(86_400)]);
        assert_eq!((seconds(1, 1000), seconds(2, 500)), (Some(6), Some(330)));
        assert_eq!([0, -1, 10, i32::MAX].map(|attempts| seconds(attempts, 0)), [None; 4]);
        let hours = patience.pauses.iter().sum::<Duration>().as_secs() / 3600;
        assert_eq!((hours, patience.most_attempts()), (75, 10));
        assert_eq!(state(9, &answered(500)), DeliveryState::ToSend);
        assert_eq!(state(10, &answered(500)), DeliveryState::Failed);
    }

    #[test]
    fn only_two_hundreds_take_it_and_only_gone_is_gone() {
        for (status, comes_to, health_is) in [
            (200, DeliveryState::Delivered, Health::Well),
            (204, DeliveryState::Delivered, Health::Well),
            (301, DeliveryState::ToSend, Health::Failing),
            (307, DeliveryState::ToSend, Health::Failing),
            (400, DeliveryState::ToSend, Health::Failing),
            (404, DeliveryState::ToSend, Health::Failing),
            (410, DeliveryState::Failed, Health::Gone),
            (429, DeliveryState::ToSend, Health::Failing),
            (503, DeliveryState::ToSend, Health::Failing),
        ] {
            let outcome = answered(status);
            assert_eq!((state(1, &outcome), health(&outcome)), (comes_to, health_is), "{status}");
        }
        assert_eq!(state(1, &Outcome::Lost("no way there".to_owned())), DeliveryState::ToSend);
    }

    #[test]
    fn a_receiver_that_names_a_time_is_left_alone_until_then_for_a_day_at_most() {
        let now = datetime!(1994-11-06 08:49:00 UTC);
        let seconds = |value: &str| retry_after(value, now).map(|pause| pause.as_secs());
        assert_eq!(seconds(" 120 "), Some(120));
        assert_eq!(seconds("Sun, 06 Nov 1994 08:49:37 GMT"), Some(37));
        assert_eq!(seconds("Sun, 06 Nov 1994 08:40:00 GMT"), Some(0));
        assert_eq!([seconds("soon"), seconds("-5"), seconds("")], [None; 3]);
        let pause = |after: u64| {
            let retry_after = Some(Duration::from_secs(after));
            let outcome = Outcome::Answered(Answer { status: 429, retry_after, beginning: String::new() });
            settle(1, &outcome, &Patience::default(), 0).pause.as_secs()
        };
        assert_eq!([pause(1), pause(60), pause(u64::MAX)], [5, 60, 86_400]);
    }

    #[test]
    fn whatever_a_receiver_says_can_be_kept() {
        let beginning = format!("no\0such\r\nthing {}", "é".repeat(2000));
        let outcome = Outcome::Answered(Answer { status: 500, retry_after: None, beginning });
        let said = settle(1, &outcome, &Patience::default(), 0).said.unwrap();
        assert!(said.starts_with("no such  thing é") && said.chars().count() == MOST_SAID, "{said}");
        assert_eq!(settle(1, &answered(200), &Patience::default(), 0).said, None);
    }
}
