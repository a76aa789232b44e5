//! An order that something speaks against: it waits with its units and its amount until who keeps the store decides.

use std::time::Duration;

use serde_json::json;
use shared::OrderId;
use shared::ProblemKind;
use shared::api::desk::{DeskPage, Happening, Timeline};
use shared::api::order::{Order, OrderStatus, PaymentStatus};
use tests::shopper::key;
use tests::{Shopper, goods, until};

use crate::store::{books, pop, sites};

/// Time for an amount to be kept ready, or to go back.
const SOON: Duration = Duration::from_secs(20);

/// Places an order with a card of another country and a mailbox to be thrown away, and waits until the desk shows it.
async fn held(shopper: &Shopper, operator: &Shopper, units: i64) -> OrderId {
    let mut order = shopper.order_of(&[(&goods::plenty(), units)], "tok_foreign").await;
    order.email = Some(format!("{}@mailinator.com", key()).parse().unwrap());
    let placed: Order = shopper.place(&key(), &order).await.expect(201).json();
    let waits = async || {
        let page: DeskPage = operator.get("/v1/desk/orders?held=true").await.expect(200).json();
        page.items.into_iter().find(|order| order.order_id == placed.order_id)
    };
    let shown = until("the desk shows the order that waits", SOON, waits).await;
    assert!(shown.held && shown.status == OrderStatus::Pending, "{shown:?}");
    placed.order_id
}

#[tokio::test]
async fn an_order_that_something_speaks_against_goes_on_once_it_is_released() {
    let (shopper, operator) = (Shopper::guest(pop()).await, Shopper::operator(sites()).await);
    let order = held(&shopper, &operator, 1).await;
    let timeline = format!("/v1/orders/{order}/timeline");
    let told: Timeline = operator.get(&timeline).await.expect(200).json();
    let reviewed = told.items.iter().find(|entry| entry.what == Happening::Reviewed).unwrap();
    let detail = reviewed.detail.as_deref().unwrap();
    assert!(told.held && detail.contains("card of another country, disposable mail (70 points)"), "{detail}");
    let shown: Timeline = shopper.get(&timeline).await.expect(200).json();
    assert!(!shown.held && shown.items.iter().all(|entry| entry.what != Happening::Reviewed), "a shopper is not told");

    let release = format!("/v1/orders/{order}/release");
    for _ in 0..2 {
        operator.post(&release, &json!({})).await.expect(200);
    }
    assert_eq!(shopper.decided(order).await.status, OrderStatus::Confirmed);
    let told: Timeline = operator.get(&timeline).await.expect(200).json();
    let by: Vec<_> = told.items.iter().filter(|entry| entry.what == Happening::Desk).map(|entry| entry.actor).collect();
    assert_eq!((told.held, by), (false, vec![Some(operator.tokens.user_id)]), "written down once");
    books().money_matches(shopper.tokens.user_id).await;
}

#[tokio::test]
async fn an_order_that_is_not_let_go_on_gives_back_its_units_and_its_amount() {
    let (shopper, operator) = (Shopper::guest(pop()).await, Shopper::operator(sites()).await);
    let order = held(&shopper, &operator, 2).await;
    let why = json!({ "reason": "We could not reach you about this order" });
    let cancelled: Order = operator.post(&format!("/v1/orders/{order}/cancel"), &why).await.expect(200).json();
    assert_eq!(cancelled.status, OrderStatus::Cancelled);
    let voided = async || Some(shopper.order(order).await).filter(|order| order.payment == PaymentStatus::Voided);
    until("the amount is let go", SOON, voided).await;
    let late = operator.post(&format!("/v1/orders/{order}/release"), &json!({})).await.expect(409);
    assert!(late.problem().is(ProblemKind::OrderState), "{}", late.text());
    books().money_matches(shopper.tokens.user_id).await;
}

#[tokio::test]
async fn an_order_that_nothing_speaks_against_is_not_released() {
    let (shopper, operator) = (Shopper::guest(pop()).await, Shopper::operator(sites()).await);
    let order = shopper.buys(&[(&goods::plenty(), 1)], "tok_success").await;
    let refused = operator.post(&format!("/v1/orders/{}/release", order.order_id), &json!({})).await.expect(409);
    assert!(refused.problem().is(ProblemKind::OrderState), "{}", refused.text());
}
