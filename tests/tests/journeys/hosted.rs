//! Paying on the provider's own page, at both doors: there, and back.

use std::time::Duration;

use serde_json::json;
use shared::OrderId;
use shared::api::order::{NextAction, Order, OrderStatus, PaymentStatus};
use tests::client::try_send;
use tests::shopper::key;
use tests::{Books, Client, Options, Shopper, Store, Visitor, goods, until};

use crate::store::{books, pop};
use crate::through_both;

through_both! {
    whoever_pays_on_the_providers_page_has_bought
    whoever_declines_on_the_providers_page_has_not
}

/// Longest wait for what takes a moment.
const PATIENT: Duration = Duration::from_secs(30);

/// The order's page as its shopper follows the link to the payment, and where that leads.
async fn led_to(visitor: &Visitor, id: OrderId) -> String {
    let link = async || {
        let page = visitor.open(&format!("/orders/{id}")).await.expect(200);
        page.attributes("[data-act] a", "href").pop().filter(|_| page.texts("h1") == ["One more step"])
    };
    until("the page leads to the payment", PATIENT, link).await
}

/// The shopper reads the provider's page and presses one of its buttons. Where he is led then.
async fn answers(page: &str, choice: &str) -> Option<String> {
    let (origin, path) = page.split_at(page.find("/hosted/").unwrap());
    let there = Visitor::new(origin);
    let open = try_send(there.client.request(http::Method::GET, path)).await.unwrap().expect(200);
    assert!(open.text().contains(&format!("value=\"{choice}\"")), "{}", open.text());
    let form = there.client.request(http::Method::POST, path).body(format!("choice={choice}"));
    let form = form.header("content-type", "application/x-www-form-urlencoded");
    let answer = try_send(form).await.unwrap();
    answer.header("location").map(str::to_owned)
}

/// The order's page once it says that.
async fn says(visitor: &Visitor, path: &str, heading: &str) {
    let says = async || (visitor.open(path).await.expect(200).texts("h1") == [heading]).then_some(());
    until(&format!("{path} says {heading:?}"), PATIENT, says).await;
}

async fn whoever_pays_on_the_providers_page_has_bought(origin: &str) {
    let (visitor, sku) = (Visitor::new(origin), goods::plenty());
    visitor.add(&sku).await;
    let id = visitor.order(&visitor.checkout("tok_hosted").await).await;
    let page = led_to(&visitor, id).await;
    let back = answers(&page, "pay").await.expect("he is led back");
    let path = back.split_at(back.find("/orders/").unwrap()).1;
    assert_eq!(path, format!("/orders/{id}?notice=back"));
    says(&visitor, path, "Thank you, it is yours").await;
    let units = books().units(&sku).await;
    assert_eq!((units.reserved, units.sold), (0, 1));

    // Through the API, and never coming back: the core finds out by itself.
    let shopper = Shopper::guest(origin).await;
    let order = shopper.order_of(&[(&sku, 1)], "tok_hosted").await;
    let placed: Order = shopper.place(&key(), &order).await.expect(201).json();
    let asked = async || shopper.order(placed.order_id).await.next_action;
    let NextAction::RedirectToUrl { url } = until("the shopper is to go there", PATIENT, asked).await else {
        panic!("not to the provider's page");
    };
    let confirm = format!("/v1/orders/{}/payment/confirm", placed.order_id);
    let lied: Order = shopper.post(&confirm, &json!({})).await.expect(200).json();
    assert_eq!((lied.status, lied.payment), (OrderStatus::Pending, PaymentStatus::ChallengeRequired));
    assert_eq!(answers(&url, "pay_and_stay").await, None);
    assert_eq!(shopper.decided(placed.order_id).await.status, OrderStatus::Confirmed);
    assert_eq!(shopper.order(placed.order_id).await.next_action, None);
    books().money_matches(shopper.tokens.user_id).await;
}

async fn whoever_declines_on_the_providers_page_has_not(origin: &str) {
    let (visitor, sku) = (Visitor::new(origin), goods::plenty());
    let before = books().units(&sku).await;
    visitor.add(&sku).await;
    let id = visitor.order(&visitor.checkout("tok_hosted").await).await;
    let page = led_to(&visitor, id).await;
    let back = answers(&page, "decline").await.expect("he is led back");
    says(&visitor, back.split_at(back.find("/orders/").unwrap()).1, "The payment was declined").await;
    assert_eq!(books().units(&sku).await, before);
}

#[tokio::test]
async fn a_strangers_and_an_operators_look_at_an_order_do_not_tell_where_to_pay() {
    let shopper = Shopper::guest(pop()).await;
    let order = shopper.order_of(&[(&goods::plenty(), 1)], "tok_hosted").await;
    let placed: Order = shopper.place(&key(), &order).await.expect(201).json();
    let asked = async || shopper.order(placed.order_id).await.next_action;
    until("the shopper is to go there", PATIENT, asked).await;
    let path = format!("/v1/orders/{}", placed.order_id);
    Shopper::guest(pop()).await.get(&path).await.expect(404);
    let operator = Shopper::operator(crate::store::sites()).await;
    let seen: Order = operator.get(&path).await.expect(200).json();
    assert_eq!((seen.payment, seen.next_action), (PaymentStatus::ChallengeRequired, None));
    shopper.post(&format!("{path}/cancel"), &json!({})).await.expect(200);

    let own = operator.order_of(&[(&goods::plenty(), 1)], "tok_hosted").await;
    let own: Order = operator.place(&key(), &own).await.expect(201).json();
    let asked = async || operator.order(own.order_id).await.next_action;
    until("an operator is told where to pay for an order of his own", PATIENT, asked).await;
    operator.post(&format!("/v1/orders/{}/cancel", own.order_id), &json!({})).await.expect(200);
}

#[tokio::test]
async fn whoever_leaves_the_providers_page_for_good_has_his_order_end_and_pays_nothing() {
    let store = Store::start("hosted-runs-out", &Options::SMALL).await;
    let (books, sku) = (Books::of(&store.sites), goods::plenty());
    let (shopper, before) = (Shopper::guest(&store.sites.addresses.shop).await, books.units(&sku).await);
    let order = shopper.order_of(&[(&sku, 3)], "tok_hosted").await;
    let placed: Order = shopper.place(&key(), &order).await.expect(201).json();
    let asked = async || shopper.order(placed.order_id).await.next_action;
    let action = until("the shopper is to go there", PATIENT, asked).await;
    store.system.shards[&1].reconfigure(&[("meridian.clock_offset", "3 hours")]).unwrap();
    let ended = shopper.decided(placed.order_id).await;
    assert_eq!((ended.status, ended.next_action), (OrderStatus::Cancelled, None));
    let voided =
        async || Some(shopper.order(placed.order_id).await).filter(|order| order.payment == PaymentStatus::Voided);
    until("the payment is voided", PATIENT, voided).await;
    let NextAction::RedirectToUrl { url } = action else { panic!("not to the provider's page") };
    let (origin, path) = url.split_at(url.find("/hosted/").unwrap());
    let late = Client::new(origin).request(http::Method::POST, path).body("choice=pay");
    let late = try_send(late.header("content-type", "application/x-www-form-urlencoded")).await.unwrap();
    assert_eq!(late.status, 409, "who pays too late is told so");
    assert_eq!(books.movements_of(shopper.tokens.user_id).await, 0);
    assert_eq!(books.units(&sku).await, before);
    store.system.stop().await.unwrap();
}
