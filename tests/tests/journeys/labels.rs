//! Labels: bought, printed, given back, and followed until the carrier says that the parcel has arrived.

use std::time::Duration;

use http::Method;
use reqwest::RequestBuilder;
use serde_json::{Value, json};
use shared::api::desk::{Happening, Timeline};
use shared::api::order::{Label, LabelAsked, LabelState, Labels, OrderStatus};
use shared::{OrderId, ProblemKind, ShipmentId};
use tests::shopper::key;
use tests::{Client, Shopper, client, goods, until};

use crate::store::{books, pop, sites, worker};

const LIMIT: Duration = Duration::from_secs(30);

fn carrier() -> Client {
    Client::new(&sites().addresses.carrier)
}

/// The carrier promises nothing of what every answer of the edge does.
async fn told(request: RequestBuilder) -> Value {
    client::try_send(request).await.unwrap().expect(200).json()
}

async fn carry(parcel: ShipmentId) -> Value {
    told(carrier().request(Method::POST, "/control/go-on").json(&json!({ "parcel": parcel }))).await
}

/// Labels of the parcel that the carrier's own log says were sold: how many are live, and how many were taken back.
async fn sold(parcel: ShipmentId) -> (usize, usize) {
    let log = told(carrier().request(Method::GET, "/log")).await;
    let labels = log["labels"].as_array().unwrap().iter().filter(|label| label["reference"] == parcel.to_string());
    let (refunded, live): (Vec<_>, Vec<_>) = labels.partition(|label| label["refunded"] == true);
    (live.len(), refunded.len())
}

async fn label(operator: &Shopper, order: OrderId, parcel: ShipmentId, state: LabelState) -> Label {
    let ask = async || {
        let labels: Labels = operator.get(&format!("/v1/orders/{order}/labels")).await.expect(200).json();
        labels.items.into_iter().find(|label| label.shipment_id == parcel && label.state == state)
    };
    until(&format!("the label is {state:?}"), LIMIT, ask).await
}

async fn ask(operator: &Shopper, order: OrderId) -> ShipmentId {
    ask_for(operator, order, "Tracked").await
}

async fn ask_for(operator: &Shopper, order: OrderId, service: &str) -> ShipmentId {
    let wanted = json!({ "label": { "service": service, "weight_grams": 450 } });
    let parcels = format!("/v1/orders/{order}/shipments");
    operator.post_once(&parcels, &key(), &wanted).await.expect(202).json::<LabelAsked>().shipment_id
}

#[tokio::test]
async fn a_parcel_leaves_when_the_carrier_scans_its_label_and_arrives_when_the_carrier_says_so() {
    let (shopper, operator, sku) = (Shopper::guest(pop()).await, Shopper::operator(sites()).await, goods::plenty());
    let order = shopper.buys(&[(&sku, 2)], "tok_success").await.order_id;
    let parcel = ask(&operator, order).await;
    let bought = label(&operator, order, parcel, LabelState::Bought).await;
    let code = bought.tracking_code.unwrap();
    for origin in [pop(), worker()] {
        let at = Shopper { client: Client::new(origin), tokens: operator.tokens.clone() };
        let pdf = at.get(&format!("/v1/orders/{order}/shipments/{parcel}/label")).await.expect(200);
        assert_eq!(pdf.header("content-type"), Some("application/pdf"));
        assert!(pdf.text().starts_with("%PDF-") && pdf.text().contains(&code));
    }
    assert_eq!(shopper.order(order).await.status, OrderStatus::Confirmed, "a label is paper");
    let late = shopper.post(&format!("/v1/orders/{order}/cancel"), &json!({})).await.expect(409);
    assert!(late.problem().is(ProblemKind::OrderState), "it is being packed");

    // Nobody polls the carrier for hours: its signed notices come in at the edge.
    assert_eq!(carry(parcel).await["status"], "in_transit");
    let reached = async |status| {
        let ask = async || Some(shopper.order(order).await).filter(|order| order.status == status);
        until(&format!("the order is {status:?}"), LIMIT, ask).await
    };
    let sent = reached(OrderStatus::Shipped).await;
    assert_eq!(sent.shipments[0].tracking_code.as_deref(), Some(code.as_str()));
    carry(parcel).await;
    assert_eq!(carry(parcel).await["status"], "delivered");
    reached(OrderStatus::Delivered).await;
    label(&operator, order, parcel, LabelState::Arrived).await;
    assert_eq!(sold(parcel).await, (1, 0));
    books().money_matches(shopper.tokens.user_id).await;
}

#[tokio::test]
async fn a_label_that_is_given_back_lets_its_order_go_by_hand_or_be_called_off() {
    let (shopper, operator, sku) = (Shopper::guest(pop()).await, Shopper::operator(sites()).await, goods::plenty());
    let order = shopper.buys(&[(&sku, 1)], "tok_success").await.order_id;
    let parcels = format!("/v1/orders/{order}/shipments");
    let parcel = ask(&operator, order).await;
    operator.post_once(&parcels, &key(), &json!({ "carrier": "Royal Mail" })).await.expect(409);
    label(&operator, order, parcel, LabelState::Bought).await;
    for _ in 0..2 {
        operator.post(&format!("{parcels}/{parcel}/void"), &json!({})).await.expect(202);
    }
    label(&operator, order, parcel, LabelState::Voided).await;
    assert_eq!(sold(parcel).await, (0, 1));
    operator.get(&format!("{parcels}/{parcel}/label")).await.expect(404);
    operator.post_once(&parcels, &key(), &json!({ "carrier": "Royal Mail" })).await.expect(201);
    let both = json!({ "carrier": "Royal Mail", "label": { "service": "Tracked", "weight_grams": 450 } });
    let field = operator.post_once(&parcels, &key(), &both).await.expect(422).problem();
    assert_eq!(field.members["field"], "label");
}

#[tokio::test]
async fn a_label_that_the_carrier_keeps_is_written_off_and_its_order_called_off() {
    let (shopper, operator, sku) = (Shopper::guest(pop()).await, Shopper::operator(sites()).await, goods::plenty());
    let order = shopper.buys(&[(&sku, 1)], "tok_success").await.order_id;
    // The sandbox sells stamps, and takes none back.
    let parcel = ask_for(&operator, order, "Letter").await;
    label(&operator, order, parcel, LabelState::Bought).await;
    let at = format!("/v1/orders/{order}/shipments/{parcel}");
    operator.post(&format!("{at}/void"), &json!({})).await.expect(202);
    let kept = async || {
        let label = label(&operator, order, parcel, LabelState::Bought).await;
        label.problem.filter(|problem| problem.contains("Refund not possible"))
    };
    until("the carrier has refused", LIMIT, kept).await;
    shopper.post(&format!("/v1/orders/{order}/cancel"), &json!({})).await.expect(409);

    let (write_off, key) = (format!("{at}/write-off"), key());
    let why = json!({ "reason": "the carrier keeps it" });
    shopper.post_once(&write_off, &key, &why).await.expect(403);
    for _ in 0..2 {
        operator.post_once(&write_off, &key, &why).await.expect(200);
    }
    operator.post_once(&write_off, &key, &json!({ "reason": "another" })).await.expect(422);
    operator.post(&format!("{at}/void"), &json!({})).await.expect(409);
    assert_eq!(label(&operator, order, parcel, LabelState::WrittenOff).await.strayed_at, None);
    operator.get(&format!("{at}/label")).await.expect(404);
    shopper.post(&format!("/v1/orders/{order}/cancel"), &json!({})).await.expect(200);

    // Somebody hands it in all the same: the carrier's notice comes in at the edge, and the desk shows it.
    assert_eq!(carry(parcel).await["status"], "in_transit");
    let strayed = async || label(&operator, order, parcel, LabelState::WrittenOff).await.strayed_at;
    until("it is seen that its parcel has left", LIMIT, strayed).await;
    let told: Timeline = operator.get(&format!("/v1/orders/{order}/timeline")).await.expect(200).json();
    let desk: Vec<_> = told.items.iter().filter(|entry| entry.what == Happening::Desk).collect();
    assert!(desk.iter().any(|entry| entry.detail.as_deref() == Some("write_off: the carrier keeps it")), "{desk:?}");
    assert!(told.items.iter().any(|entry| entry.what == Happening::Strayed));
    assert_eq!(shopper.order(order).await.status, OrderStatus::Cancelled);
    books().money_matches(shopper.tokens.user_id).await;
}
