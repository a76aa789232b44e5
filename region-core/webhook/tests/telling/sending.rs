//! What is sent, how often, and what strangers can and cannot do.

use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use region_core_events::contract::{OrderConfirmed, OrderShipped, ShipmentSent};
use region_core_outbound::target::Guard;
use region_core_webhook::signature::sign;
use secrecy::SecretSlice;
use shared::ShipmentId;
use shared::api::webhook::{
    ChangeEndpoint, Delivery, DeliveryState, EndpointState, EventType, ReplaySpan, Switch, TEST_EVENT,
};
use shared::id::Slot;
use time::OffsetDateTime;

use crate::receiver::{Receiver, Seen};
use crate::shop::Shop;

async fn opened() -> (Receiver, Shop) {
    (Receiver::start().await, Shop::open().await)
}

/// The key behind a written secret.
fn secret(written: &str) -> SecretSlice<u8> {
    STANDARD.decode(written.strip_prefix("whsec_").unwrap()).unwrap().into()
}

/// Whether one of its signatures is of that secret, as a receiver would check it.
fn is_signed(seen: &Seen, written: &str) -> bool {
    let at = seen.header("webhook-timestamp").parse().unwrap();
    let own = sign(&[secret(written)], seen.header("webhook-id"), at, &seen.body);
    seen.header("webhook-signature").split(' ').any(|one| one == own)
}

fn came_to(log: &[Delivery]) -> Vec<(DeliveryState, u32, Option<u16>)> {
    log.iter().map(|own| (own.state, own.attempts, own.last_status)).collect()
}

#[tokio::test]
async fn a_confirmed_order_is_told_once_signed_and_only_to_who_asked_for_it() {
    let (receiver, shop) = opened().await;
    let made = shop.endpoint(&receiver.url("/well")).await;
    let order_id = shop.order();
    let event = shop.said(&OrderConfirmed { order_id }).await;
    shop.said(&OrderShipped { order_id }).await;
    shop.hear().await;
    shop.hear().await;
    let log = shop.send(made.endpoint.endpoint_id).await;
    assert_eq!(came_to(&log), [(DeliveryState::Delivered, 1, Some(200))]);
    assert_eq!(log[0].last_answer.as_deref(), Some("ok"));
    let seen = receiver.seen("/well");
    assert_eq!(seen.len(), 1);
    assert_eq!(
        (seen[0].header("webhook-id"), seen[0].header("content-type")),
        (&*event.to_string(), "application/json")
    );
    assert_eq!(seen[0].header("webhook-timestamp"), "1800000000");
    assert!(is_signed(&seen[0], &made.secret));
    let body: serde_json::Value = serde_json::from_slice(&seen[0].body).unwrap();
    assert_eq!((&body["type"], &body["id"]), (&"order.confirmed".into(), &event.to_string().into()));
    let total = serde_json::json!({ "minor": 1250, "currency": "GBP" });
    assert_eq!(body["data"], serde_json::json!({ "order_id": order_id, "status": "CONFIRMED", "total": total }));
}

#[tokio::test]
async fn every_kind_of_event_can_be_told() {
    let (receiver, shop) = opened().await;
    let id = shop.endpoint(&receiver.url("/well")).await.endpoint.endpoint_id;
    let all = ChangeEndpoint { event_types: Some(EventType::ALL.to_vec()), ..ChangeEndpoint::default() };
    shop.webhooks.change(id, all).await.unwrap();
    shop.refresh().await;
    let order_id = shop.order();
    let shipment_id = ShipmentId::mint(1, Slot::new(9).unwrap(), [1; 8]);
    let (carrier, tracking_code, tracking_url) = ("Royal Mail".to_owned(), Some("RM1".to_owned()), None);
    shop.said(&ShipmentSent { order_id, shipment_id, carrier, tracking_code, tracking_url, whole: true }).await;
    shop.said(&OrderShipped { order_id }).await;
    shop.hear().await;
    shop.send(id).await;
    let mut types: Vec<_> = shop.log(id).await.into_iter().map(|own| own.event_type).collect();
    types.sort_unstable();
    assert_eq!(types, ["order.shipped", "shipment.sent"]);
    let told = receiver.seen("/well").into_iter().map(|seen| String::from_utf8(seen.body).unwrap());
    assert!(told.into_iter().all(|body| !body.contains("Royal Mail") && !body.contains("RM1")), "what a person typed");
}

#[tokio::test]
async fn a_receiver_that_was_down_gets_it_later_once_with_the_same_id_and_bytes() {
    let (receiver, shop) = opened().await;
    let made = shop.endpoint(&receiver.url("/twice")).await;
    shop.confirmed().await;
    shop.hear().await;
    let log = shop.send(made.endpoint.endpoint_id).await;
    assert_eq!(came_to(&log), [(DeliveryState::Delivered, 3, Some(204))]);
    let seen = receiver.seen("/twice");
    assert_eq!(seen.len(), 3);
    assert!(
        seen.iter().all(|one| one.body == seen[0].body && one.headers["webhook-id"] == seen[0].headers["webhook-id"])
    );
}

#[tokio::test]
async fn what_misbehaves_is_tried_so_often_and_given_up() {
    let (receiver, shop) = opened().await;
    for (path, status, why) in [
        ("/broken", Some(500), "the receiver answered 500"),
        ("/moved", Some(307), "the receiver answered 307: redirects are not followed"),
        ("/silent", None, "no answer within 0.4 s"),
    ] {
        let id = shop.endpoint(&receiver.url(path)).await.endpoint.endpoint_id;
        shop.confirmed().await;
        shop.hear().await;
        let log = shop.send(id).await;
        assert_eq!(came_to(&log)[..1], [(DeliveryState::Failed, 4, status)], "{path}");
        assert_eq!(log[0].last_error.as_deref(), Some(why));
        shop.webhooks.delete(id).await.unwrap();
        shop.refresh().await;
    }
    assert_eq!(receiver.seen("/well"), [], "a redirect was followed");
}

#[tokio::test]
async fn a_receiver_that_is_not_there_is_said_to_be_so() {
    let (receiver, shop) = opened().await;
    let id = shop.endpoint(&receiver.url("/well")).await.endpoint.endpoint_id;
    drop(receiver);
    shop.confirmed().await;
    shop.hear().await;
    let log = shop.send(id).await;
    assert_eq!(came_to(&log), [(DeliveryState::Failed, 4, None)]);
    assert!(log[0].last_error.as_ref().unwrap().contains("onnect"), "{log:?}");
}

#[tokio::test]
async fn an_endless_answer_is_taken_for_its_status_and_kept_to_its_beginning() {
    let (receiver, shop) = opened().await;
    let id = shop.endpoint(&receiver.url("/endless")).await.endpoint.endpoint_id;
    shop.confirmed().await;
    shop.hear().await;
    let log = shop.send(id).await;
    assert_eq!(came_to(&log), [(DeliveryState::Delivered, 1, Some(200))]);
    assert_eq!(log[0].last_answer.as_ref().unwrap().len(), 1024);
}

#[tokio::test]
async fn who_asks_to_be_left_alone_is_left_alone() {
    let (receiver, shop) = opened().await;
    let id = shop.endpoint(&receiver.url("/busy")).await.endpoint.endpoint_id;
    shop.confirmed().await;
    shop.hear().await;
    let (shutdown, process) = shop.process();
    let log = shop.until(id, |log| log.iter().any(|own| own.last_status.is_some())).await;
    shutdown.cancel();
    process.await.unwrap();
    let next = log[0].next_attempt_at.unwrap();
    assert!(next - log[0].created_at > Duration::from_secs(3590), "{log:?}");
}

#[tokio::test]
async fn who_is_gone_is_disabled_and_what_comes_later_waits_until_an_operator_has_looked() {
    let (receiver, shop) = opened().await;
    let id = shop.endpoint(&receiver.url("/gone")).await.endpoint.endpoint_id;
    shop.confirmed().await;
    shop.hear().await;
    assert_eq!(came_to(&shop.send(id).await), [(DeliveryState::Failed, 1, Some(410))]);
    let shown = shop.webhooks.get(id).await.unwrap();
    assert_eq!(shown.state, EndpointState::Disabled);
    assert_eq!(shown.disabled_reason.as_deref(), Some("the receiver said that it is gone (410)"));
    assert_eq!(*shop.disabled.lock().unwrap(), [id]);
    shop.refresh().await;
    shop.confirmed().await;
    shop.hear().await;
    let other = shop.endpoint(&receiver.url("/well")).await.endpoint.endpoint_id;
    shop.webhooks.test(other).await.unwrap();
    shop.send(other).await;
    assert_eq!(receiver.seen("/gone").len(), 1);
    let back = ChangeEndpoint {
        url: Some(receiver.url("/well?back")),
        state: Some(Switch::Active),
        ..ChangeEndpoint::default()
    };
    shop.webhooks.change(id, back).await.unwrap();
    shop.refresh().await;
    let (shutdown, process) = shop.process();
    receiver.until("/well?back", 1).await;
    shutdown.cancel();
    process.await.unwrap();
}

#[tokio::test]
async fn one_that_hangs_keeps_to_its_places_and_holds_up_nobody_and_no_connection() {
    let receiver = Receiver::start().await;
    let shop = Shop::open().await.with_exchange(Duration::from_secs(60));
    let silent = shop.endpoint(&receiver.url("/silent")).await.endpoint.endpoint_id;
    let well = shop.endpoint(&receiver.url("/well")).await.endpoint.endpoint_id;
    for _ in 0..12 {
        shop.confirmed().await;
    }
    shop.hear().await;
    let (shutdown, process) = shop.process();
    shop.until(well, |log| log.iter().all(|own| own.state == DeliveryState::Delivered)).await;
    receiver.until("/silent", 4).await;
    assert_eq!((receiver.seen("/silent").len(), receiver.seen("/well").len()), (4, 12));
    let quiet = async {
        while shop.shard().connections() as usize != shop.shard().idle_connections() {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(Duration::from_secs(60), quiet).await.unwrap();
    receiver.release();
    shop.until(silent, |log| log.iter().all(|own| own.state == DeliveryState::Delivered)).await;
    shutdown.cancel();
    process.await.unwrap();
}

#[tokio::test]
async fn two_processes_tell_each_event_once() {
    let (receiver, shop) = opened().await;
    let id = shop.endpoint(&receiver.url("/well")).await.endpoint.endpoint_id;
    for _ in 0..20 {
        shop.confirmed().await;
    }
    shop.hear().await;
    let (shutdown, other) = shop.process();
    shop.send(id).await;
    shutdown.cancel();
    other.await.unwrap();
    assert_eq!(receiver.seen("/well").len(), 20);
}

#[tokio::test]
async fn a_replay_says_the_same_again() {
    let (receiver, shop) = opened().await;
    let id = shop.endpoint(&receiver.url("/well")).await.endpoint.endpoint_id;
    let event = shop.confirmed().await;
    shop.hear().await;
    shop.send(id).await;
    assert_eq!(shop.webhooks.replay_one(id, event).await.unwrap().replayed, 1);
    shop.send(id).await;
    let span = ReplaySpan { from: OffsetDateTime::UNIX_EPOCH, to: shop.log(id).await[0].created_at, state: None };
    assert_eq!(shop.webhooks.replay_span(id, span.clone()).await.unwrap().replayed, 0, "up to it, and not with it");
    let all = ReplaySpan { to: span.to + Duration::from_secs(1), ..span };
    assert_eq!(shop.webhooks.replay_span(id, all).await.unwrap().replayed, 1);
    shop.send(id).await;
    let seen = receiver.seen("/well");
    assert_eq!(seen.len(), 3);
    assert!(seen.iter().all(|one| one.body == seen[0].body && one.header("webhook-id") == event.to_string()));
}

#[tokio::test]
async fn a_test_is_sent_and_both_secrets_sign_while_one_is_rotated() {
    let (receiver, shop) = opened().await;
    let made = shop.endpoint(&receiver.url("/well")).await;
    let id = made.endpoint.endpoint_id;
    let operator = shared::UserId::mint(1_800_000_000_000, Slot::new(9).unwrap(), 1).unwrap();
    let rotated = shop.webhooks.rotate(operator, &"r1".parse().unwrap(), id).await.unwrap();
    let again = shop.webhooks.rotate(operator, &"r1".parse().unwrap(), id).await.unwrap();
    assert_eq!(rotated.secret, again.secret, "a repeat rotates nothing");
    shop.refresh().await;
    let event = shop.webhooks.test(id).await.unwrap();
    let log = shop.send(id).await;
    assert_eq!((log[0].event_id, log[0].event_type.as_str(), log[0].order_id), (event, TEST_EVENT, None));
    let seen = receiver.seen("/well").remove(0);
    assert!(is_signed(&seen, &made.secret) && is_signed(&seen, &rotated.secret) && made.secret != rotated.secret);
}

#[tokio::test]
async fn what_waits_while_an_endpoint_is_paused_is_told_afterwards() {
    let (receiver, shop) = opened().await;
    let id = shop.endpoint(&receiver.url("/well")).await.endpoint.endpoint_id;
    let switch = |state| ChangeEndpoint { state: Some(state), ..ChangeEndpoint::default() };
    shop.webhooks.change(id, switch(Switch::Paused)).await.unwrap();
    shop.refresh().await;
    shop.confirmed().await;
    shop.hear().await;
    let other = shop.endpoint(&receiver.url("/twice")).await.endpoint.endpoint_id;
    shop.webhooks.test(other).await.unwrap();
    shop.send(other).await;
    assert_eq!(came_to(&shop.log(id).await), [(DeliveryState::ToSend, 0, None)]);
    shop.webhooks.change(id, switch(Switch::Active)).await.unwrap();
    shop.refresh().await;
    assert_eq!(came_to(&shop.send(id).await), [(DeliveryState::Delivered, 1, Some(200))]);
}

#[tokio::test]
async fn nobody_has_the_store_post_to_its_own_machine() {
    let receiver = Receiver::start().await;
    let shop = Shop::guarded(Guard { loopback: false }).await;
    // As if a name led here, or the endpoint were from a time at which more was allowed.
    let id = shop.endpoint("https://erp.example/").await.endpoint.endpoint_id;
    for (url, why) in [
        (receiver.url("/well"), "the URL is not posted to: https alone"),
        (
            format!("https://127.0.0.1:{}/well", receiver.port),
            "the URL is not posted to: its host is not on the public Internet",
        ),
    ] {
        let sql = "UPDATE control.webhook_endpoints SET url = $1";
        sqlx::query(sql).bind(&url).execute(&shop.catalog).await.unwrap();
        shop.refresh().await;
        let event = shop.webhooks.test(id).await.unwrap();
        let log = shop.send(id).await;
        let own = log.iter().find(|own| own.event_id == event).unwrap();
        assert_eq!((own.state, own.last_error.as_deref()), (DeliveryState::Failed, Some(why)));
    }
    assert_eq!(receiver.seen("/well"), []);
}
