//! What goes back after a sale: parts of the money, and goods.

use std::time::Duration;

use serde_json::json;
use shared::api::desk::{Happening, Timeline};
use shared::api::refund::{Refund, RefundStatus, Refunds};
use shared::{OrderId, ProblemKind};
use tests::shopper::{email, key};
use tests::{Page, Shopper, Visitor, goods, until};

use crate::mail::arrived;
use crate::store::{books, pop, sites};
use crate::through_both;

through_both! {
    goods_and_parts_of_the_money_go_back_at_the_desk
}

const ENDS_WITHIN: Duration = Duration::from_secs(30);

/// Who keeps the store, signed in with forms at that door.
pub(crate) async fn keeper(origin: &str) -> Visitor {
    let (visitor, operator) = (Visitor::new(origin), sites().operator.as_ref().unwrap());
    let password = std::fs::read_to_string(&operator.password_file).unwrap();
    let form = visitor.open("/sign-in?next=desk").await.expect(200).form("/sign-in");
    let desk = visitor.submit(&form.with("email", operator.email).with("password", password.trim())).await.expect(200);
    assert_eq!(desk.texts("h1"), ["Order desk"]);
    visitor
}

/// The desk's page of the order, once so many refunds are through.
async fn given_back(keeper: &Visitor, order: OrderId, count: usize) -> Page {
    let through = async || {
        let page = keeper.open(&format!("/desk/orders/{order}")).await.expect(200);
        let refunds = page.texts("section[aria-labelledby='given-back'] li");
        (refunds.iter().filter(|refund| refund.contains("Given back")).count() == count).then_some(page)
    };
    until(&format!("{count} refunds of order {order} are through"), ENDS_WITHIN, through).await
}

async fn goods_and_parts_of_the_money_go_back_at_the_desk(origin: &str) {
    let (shopper, keeper, sku, address) = (Shopper::guest(pop()).await, keeper(origin).await, goods::plenty(), email());
    let before = books().units(&sku).await;
    let mut wanted = shopper.order_of(&[(&sku, 3)], "tok_success").await;
    wanted.email = Some(address.clone());
    let placed: shared::api::order::Order = shopper.place(&key(), &wanted).await.expect(201).json();
    let order = shopper.decided(placed.order_id).await.order_id;
    let desk = format!("/desk/orders/{order}");

    let form = keeper.open(&desk).await.expect(200).form(&format!("{desk}/refunds"));
    let form = form.with("amount", "0.30").with("reason", "the box was dented");
    keeper.submit(&form).await.expect(200);
    // The button was pressed twice.
    keeper.submit(&form).await.expect(200);
    let page = given_back(&keeper, order, 1).await;

    keeper.submit(&page.form(&format!("{desk}/shipments")).with("carrier", "Royal Mail")).await.expect(200);
    let units = format!("units:{sku}");
    let form = keeper.open(&desk).await.expect(200).form(&format!("{desk}/returns"));
    let page = keeper.submit(&form.with(&units, "2").with("reason", "too heavy")).await.expect(200);
    let actions = page.attributes("form", "action");
    let inspection = actions.iter().find(|action| action.ends_with("/inspection")).unwrap();
    let form = page.form(inspection).with(&units, "1").with("amount", "0.20");
    keeper.submit(&form).await.expect(200);
    keeper.submit(&form).await.expect(200);
    let page = given_back(&keeper, order, 2).await;
    let back = page.texts("section[aria-labelledby='back']").remove(0);
    assert!(back.contains("1 for sale again, 1 written off"), "{back}");

    let after = books().units(&sku).await;
    assert_eq!((after.supplied, after.free, after.sold), (before.supplied + 1, before.free - 2, before.sold + 3));
    books().money_matches(shopper.tokens.user_id).await;
    let told: Timeline = shopper.get(&format!("/v1/orders/{order}/timeline")).await.expect(200).json();
    let count = |what| told.items.iter().filter(|entry| entry.what == what).count();
    let steps = [Happening::PartRefunded, Happening::Returned, Happening::Inspected, Happening::Desk].map(count);
    assert_eq!(steps, [2, 1, 1, 0], "{told:?}");
    let mails = arrived(&address, 4).await;
    let subject = format!("Some money for order {} is on its way back", order.short());
    let refunds: Vec<_> = mails.iter().filter(|mail| mail.subject == subject).collect();
    assert_eq!((mails.len(), refunds.len()), (4, 2), "{mails:?}");
    let said = |text: &str| refunds.iter().any(|mail| mail.text.contains(text));
    assert!(said("We have given back £0.30") && said("The box was dented.") && said("£0.20") && said("Too heavy."));
}

#[tokio::test]
async fn no_more_goes_back_than_was_paid_and_an_order_called_off_later_gives_back_the_rest() {
    let (shopper, operator, sku) = (Shopper::guest(pop()).await, Shopper::operator(sites()).await, goods::plenty());
    let order = shopper.buys(&[(&sku, 1)], "tok_success").await;
    let (id, total) = (order.order_id, order.total.minor());
    let path = format!("/v1/orders/{id}/refunds");
    let part = |minor: i64| json!({ "amount": { "minor": minor, "currency": "GBP" }, "reason": "a scratch" });
    let first = key();
    let asked: Refund = operator.post_once(&path, &first, &part(40)).await.expect(201).json();
    let again = operator.post_once(&path, &first, &part(40)).await.expect(201);
    assert_eq!(again.header("idempotency-replayed"), Some("true"));
    assert_eq!(again.json::<Refund>().refund_id, asked.refund_id);
    let other = operator.post_once(&path, &first, &part(41)).await.expect(422);
    assert!(other.problem().is(ProblemKind::IdempotencyKeyReused));
    let too_much = operator.post_once(&path, &key(), &part(total - 39)).await.expect(409).problem();
    assert!(too_much.is(ProblemKind::OrderState) && too_much.members["left"]["minor"] == total - 40, "{too_much}");
    let through = async || {
        let refunds: Refunds = operator.get(&path).await.expect(200).json();
        (refunds.items[0].status == RefundStatus::Refunded).then_some(refunds)
    };
    let refunds = until("the part is back", ENDS_WITHIN, through).await;
    assert_eq!((refunds.items.len(), refunds.left.minor()), (1, total - 40));

    shopper.post(&format!("/v1/orders/{id}/cancel"), &json!({})).await.expect(200);
    let over = async || {
        let order = shopper.order(id).await;
        (order.payment == shared::api::order::PaymentStatus::Refunded).then_some(())
    };
    until("the rest is back", ENDS_WITHIN, over).await;
    books().money_matches(shopper.tokens.user_id).await;
    assert_eq!(books().movements_of(shopper.tokens.user_id).await, 3, "one capture, a part, and the rest");
    operator.post_once(&path, &key(), &part(1)).await.expect(409);
}
