//! What the bus gave up, and how who keeps the store puts it right from the desk, whichever region it lies in.

use std::time::Duration;

use serde_json::json;
use shared::api::desk::{DeadLetter, DeadLetterPage, GivenAgain, Happening, Timeline};
use shared::{EventId, OrderId};
use tests::{Shopper, goods, until};

use crate::regions::guest_of_us;
use crate::store::{books, pop, sites};

/// Who is made to give up.
const CONSUMER: &str = "order.payment-news";

/// The dead letters of these orders, of all regions.
async fn letters(operator: &Shopper, orders: &[OrderId]) -> Vec<DeadLetter> {
    let page: DeadLetterPage = operator.get("/v1/desk/dead-letters").await.expect(200).json();
    assert!(page.missing.is_empty(), "{:?} did not answer", page.missing);
    page.items.into_iter().filter(|letter| orders.contains(&letter.order_id)).collect()
}

/// A paid order, the last of whose payment's events was given up.
async fn given_up(shopper: &Shopper) -> (OrderId, EventId) {
    let order = shopper.buys(&[(&goods::plenty(), 1)], "tok_success").await.order_id;
    (order, books().give_up(order, CONSUMER, "PaymentCaptured").await)
}

#[tokio::test]
async fn what_was_given_up_in_any_region_is_given_again_or_skipped_from_the_desk() {
    let operator = Shopper::operator(sites()).await;
    let mut orders = Vec::new();
    for shopper in [Shopper::guest(pop()).await, guest_of_us(pop()).await] {
        orders.push(given_up(&shopper).await);
    }
    let ids: Vec<_> = orders.iter().map(|(order, _)| *order).collect();
    let mut seen: Vec<_> =
        letters(&operator, &ids).await.into_iter().map(|letter| (letter.order_id, letter.event_id)).collect();
    seen.sort_unstable();
    let mut expected = orders.clone();
    expected.sort_unstable();
    assert_eq!(seen, expected);

    let (order, event) = orders[0];
    let path = format!("/v1/orders/{order}/dead-letters/{event}/skip");
    let silent = operator.post(&path, &json!({ "consumer": CONSUMER, "reason": "" })).await.expect(422);
    assert_eq!(silent.problem().members["field"], "reason");
    for _ in 0..2 {
        let body = json!({ "consumer": CONSUMER, "reason": "settled by hand" });
        let skipped: GivenAgain = operator.post(&path, &body).await.expect(200).json();
        assert_eq!(skipped.events, 0, "nothing lay behind it");
    }
    let other = operator.post(&path, &json!({ "consumer": "payment", "reason": "settled by hand" })).await;
    other.expect(409);

    let (order, _) = orders[1];
    let path = format!("/v1/orders/{order}/dead-letters/replay");
    for events in [1, 0] {
        let again: GivenAgain = operator.post(&path, &json!({ "consumer": CONSUMER })).await.expect(200).json();
        assert_eq!(again.events, events);
    }
    assert_eq!(letters(&operator, &ids).await, []);
    let handled = async || (books().retries_of(order).await == 0).then_some(());
    until("what was given again is handled", Duration::from_secs(30), handled).await;

    for ((order, _), what) in orders.iter().zip(["skip: ", "replay: "]) {
        let told: Timeline = operator.get(&format!("/v1/orders/{order}/timeline")).await.expect(200).json();
        let desk: Vec<_> = told.items.iter().filter(|entry| entry.what == Happening::Desk).collect();
        assert_eq!((desk.len(), desk[0].actor), (1, Some(operator.tokens.user_id)));
        assert!(desk[0].detail.as_ref().unwrap().starts_with(what), "{desk:?}");
    }
}
