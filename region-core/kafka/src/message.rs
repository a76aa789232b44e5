//! Events as messages: CloudEvents 1.0 in the binary mode of its Kafka binding.
//!
//! The key is the order, so that the events of one order keep their order; the headers carry the context, and the value is
//! the payload as JSON, without what concerns nobody else. `ce_sequence` and `ce_aggregateversion` are extensions, and so is `ce_traceparent` (Distributed
//! Tracing).

use rdkafka::message::{Header, Headers, Message, OwnedHeaders};
use region_core_events::{Event, Outgoing};
use serde_json::Value;
use shared::{EventId, OrderId, RegionName, ShardId};
use time::format_description::well_known::Rfc3339;

/// Members of payloads that only the store's own services need: what an order is paid with, and what it is judged by.
const OURS_ALONE: [&str; 2] = ["payment_token", "facts"];

/// Where the event's number stands, and its kind.
const ID: &str = "ce_id";
const KIND: &str = "ce_type";

/// An event's headers, as said by that shard.
///
/// # Errors
/// If its time cannot be written, which a time of our age can.
pub(crate) fn headers(
    outgoing: &Outgoing,
    region: &RegionName,
    shard: ShardId,
) -> Result<OwnedHeaders, time::error::Format> {
    let Event { event_id, kind, aggregate_id, aggregate_version, traceparent, .. } = &outgoing.event;
    let context = [
        ("ce_specversion", "1.0".to_owned()),
        (ID, event_id.to_string()),
        (KIND, kind.clone()),
        ("ce_source", format!("/regions/{region}/shards/{shard}")),
        ("ce_subject", aggregate_id.to_string()),
        ("ce_time", outgoing.created_at.format(&Rfc3339)?),
        ("ce_sequence", outgoing.event.sequence().to_string()),
        ("ce_aggregateversion", aggregate_version.to_string()),
        ("content-type", "application/json".to_owned()),
    ];
    let trace = traceparent.iter().map(|trace| ("ce_traceparent", trace.clone()));
    let insert =
        |headers: OwnedHeaders, (key, value): (&str, String)| headers.insert(Header { key, value: Some(&value) });
    Ok(context.into_iter().chain(trace).fold(OwnedHeaders::new_with_capacity(10), insert))
}

/// A payload as others may read it. Our own consumers read the event itself, on its shard.
///
/// # Errors
/// If it cannot be written, which JSON can.
pub(crate) fn value(payload: &Value) -> serde_json::Result<Vec<u8>> {
    let mut shown = payload.clone();
    if let Some(members) = shown.as_object_mut() {
        members.retain(|name, _| !OURS_ALONE.contains(&name.as_str()));
    }
    serde_json::to_vec(&shown)
}

/// What a message tells of.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct News<'a> {
    pub(crate) order: OrderId,
    pub(crate) event: EventId,
    pub(crate) kind: &'a str,
}

/// What a message tells of; `None` if it is not one of ours.
pub(crate) fn read<M: Message>(message: &M) -> Option<News<'_>> {
    let order = std::str::from_utf8(message.key()?).ok()?.parse().ok()?;
    let headers = message.headers()?;
    let value = |name| headers.iter().find(|header| header.key == name).and_then(|header| header.value);
    let text = |name| value(name).and_then(|value| std::str::from_utf8(value).ok());
    Some(News { order, event: text(ID)?.parse().ok()?, kind: text(KIND)? })
}

#[cfg(test)]
mod tests {
    use rdkafka::Timestamp;
    use rdkafka::message::OwnedMessage;

    use super::*;

    const ORDER: &str = "01a6d4a7-0000-7001-8000-000000000001";
    const EVENT: &str = "01a6d4a7-0000-7000-8000-000000000002";

    fn message(key: &str, headers: &[(&str, &str)]) -> OwnedMessage {
        let insert = |all: OwnedHeaders, (key, value): &(&str, &str)| all.insert(Header { key, value: Some(*value) });
        let headers = headers.iter().fold(OwnedHeaders::new(), insert);
        let key = Some(key.as_bytes().to_vec());
        OwnedMessage::new(None, key, "order_events".to_owned(), Timestamp::NotAvailable, 0, 0, Some(headers))
    }

    #[test]
    fn a_message_tells_of_an_event_of_an_order() {
        let message = message(ORDER, &[("ce_specversion", "1.0"), (ID, EVENT), (KIND, "OrderClaimed")]);
        let news = read(&message).unwrap();
        assert_eq!((news.order.to_string(), news.event.to_string()), (ORDER.to_owned(), EVENT.to_owned()));
        assert_eq!(news.kind, "OrderClaimed");
    }

    #[test]
    fn what_an_order_is_paid_with_and_judged_by_is_told_to_nobody() {
        let created = serde_json::json!({
            "order_id": ORDER, "user_id": 7, "total": { "minor": 1250, "currency": "GBP" }, "payment_token": "tok_success",
            "expires_at": "2030-01-01T12:15:00Z", "facts": { "user_id": 7, "address": "door", "country": "GB" },
        });
        let told: Value = serde_json::from_slice(&value(&created).unwrap()).unwrap();
        let names: Vec<_> = told.as_object().unwrap().keys().map(String::as_str).collect();
        assert_eq!(names, ["expires_at", "order_id", "total", "user_id"]);
    }

    #[test]
    fn what_is_not_ours_is_passed_over() {
        let strangers = [
            message("no order", &[(ID, EVENT), (KIND, "OrderClaimed")]),
            message(ORDER, &[(ID, "1"), (KIND, "OrderClaimed")]),
            message(ORDER, &[(ID, EVENT)]),
            message(ORDER, &[]),
        ];
        for stranger in strangers {
            assert_eq!(read(&stranger), None, "{stranger:?}");
        }
    }
}
