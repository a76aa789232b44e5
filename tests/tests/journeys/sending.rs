//! What becomes of a paid order: its parcels leave and arrive, or who keeps the store calls it off.

use serde_json::json;
use shared::api::desk::{DeskPage, Happening, Timeline, TimelineEntry};
use shared::api::order::{Order, OrderStatus, PaymentStatus, Shipment};
use shared::{OrderId, ProblemKind};
use tests::shopper::key;
use tests::{Client, Shopper, goods, until};

use crate::regions::guest_of_us;
use crate::store::{books, pop, sites, worker};

const CARRIER: &str = "Royal Mail";

#[tokio::test]
async fn parcels_leave_once_and_their_shopper_follows_them_at_both_doors() {
    let (shopper, operator, sku) = (Shopper::guest(pop()).await, Shopper::operator(sites()).await, goods::plenty());
    let order = shopper.buys(&[(&sku, 3)], "tok_success").await.order_id;
    let parcels = format!("/v1/orders/{order}/shipments");
    let part = json!({ "items": [{ "sku": sku, "quantity": 1 }], "carrier": CARRIER, "tracking_code": "RM 1 GB",
        "tracking_url": "https://track.example/RM1GB" });
    let first = key();
    let sent: Shipment = operator.post_once(&parcels, &first, &part).await.expect(201).json();
    let again = operator.post_once(&parcels, &first, &part).await.expect(201);
    assert_eq!(again.header("idempotency-replayed"), Some("true"));
    assert_eq!(again.json::<Shipment>(), sent, "a repeat sends nothing");
    let other = operator.post_once(&parcels, &first, &json!({ "carrier": CARRIER })).await.expect(422);
    assert!(other.problem().is(ProblemKind::IdempotencyKeyReused));
    let too_many = json!({ "items": [{ "sku": sku, "quantity": 3 }], "carrier": CARRIER });
    operator.post_once(&parcels, &key(), &too_many).await.expect(409);

    assert_eq!(shopper.order(order).await.status, OrderStatus::Shipped);
    let late = shopper.post(&format!("/v1/orders/{order}/cancel"), &json!({})).await.expect(409);
    assert!(late.problem().is(ProblemKind::OrderState), "what has left is not called off");

    let rest: Shipment = operator.post_once(&parcels, &key(), &json!({ "carrier": CARRIER })).await.expect(201).json();
    assert_eq!(rest.items.iter().map(|item| item.quantity.units()).sum::<u32>(), 2);
    for (parcel, status) in [(&sent, OrderStatus::Shipped), (&rest, OrderStatus::Delivered)] {
        let path = format!("{parcels}/{}/delivered", parcel.shipment_id);
        for _ in 0..2 {
            let arrived: Order = operator.post(&path, &json!({})).await.expect(200).json();
            assert_eq!(arrived.status, status);
        }
    }
    for origin in [pop(), worker()] {
        let at = Shopper { client: Client::new(origin), tokens: shopper.tokens.clone() };
        let seen = at.order(order).await;
        let codes: Vec<_> = seen.shipments.iter().map(|parcel| parcel.tracking_code.as_deref()).collect();
        assert_eq!((seen.status, codes), (OrderStatus::Delivered, vec![Some("RM 1 GB"), None]));
        assert!(seen.shipments.iter().all(|parcel| parcel.delivered_at.is_some()));
    }
    books().money_matches(shopper.tokens.user_id).await;
}

#[tokio::test]
async fn the_desk_finds_orders_of_every_region_and_tells_what_happened_and_who_did_it() {
    let (operator, sku) = (Shopper::operator(sites()).await, goods::plenty());
    let email = format!("desk-{}@example.org", key());
    let mut orders = Vec::new();
    for shopper in [Shopper::guest(pop()).await, guest_of_us(pop()).await] {
        let mut order = shopper.order_of(&[(&sku, 1)], "tok_success").await;
        order.email = Some(email.parse().unwrap());
        let placed: Order = shopper.place(&key(), &order).await.expect(201).json();
        orders.push((shopper.decided(placed.order_id).await, shopper));
    }
    let desk = async |query: &str| -> Vec<OrderId> {
        let page: DeskPage = operator.get(&format!("/v1/desk/orders?{query}")).await.expect(200).json();
        assert!(page.missing.is_empty(), "{:?} did not answer", page.missing);
        page.items.iter().map(|order| order.order_id).collect()
    };
    let newest_first: Vec<_> = orders.iter().rev().map(|(order, _)| order.order_id).collect();
    assert_eq!(desk(&format!("find={email}")).await, newest_first);
    assert_eq!(desk(&format!("find={email}&limit=1")).await, newest_first[..1]);
    assert_eq!(desk(&format!("find={email}&limit=1&cursor={}", newest_first[0])).await, newest_first[1..]);
    assert!(desk(&format!("find={email}&status=SHIPPED")).await.is_empty());
    let (order, shopper) = &orders[1];
    let id = order.order_id.to_string();
    assert_eq!(desk(&format!("find={}", &id[id.len() - 8..])).await, [order.order_id]);
    assert_eq!(desk(&format!("find={id}")).await, [order.order_id]);
    let field = operator.get("/v1/desk/orders?find=somebody").await.expect(422).problem();
    assert_eq!(field.members["field"], "find");

    let parcels = format!("/v1/orders/{id}/shipments");
    operator.post_once(&parcels, &key(), &json!({ "carrier": CARRIER })).await.expect(201);
    let timeline = format!("/v1/orders/{id}/timeline");
    let told =
        async |who: &Shopper| -> Vec<TimelineEntry> { who.get(&timeline).await.expect(200).json::<Timeline>().items };
    let steps = [Happening::Placed, Happening::Authorized, Happening::Paid, Happening::Sent];
    assert_eq!(told(shopper).await.iter().map(|entry| entry.what).collect::<Vec<_>>(), steps);
    let all = told(&operator).await;
    let desk: Vec<_> = all.iter().filter(|entry| entry.what == Happening::Desk).collect();
    assert_eq!((all.len(), desk.len(), desk[0].actor), (5, 1, Some(operator.tokens.user_id)));
}

#[tokio::test]
async fn who_keeps_the_store_calls_an_order_off_and_says_why() {
    let (shopper, operator, sku) = (Shopper::guest(pop()).await, Shopper::operator(sites()).await, goods::plenty());
    let before = books().units(&sku).await;
    let order = shopper.buys(&[(&sku, 2)], "tok_success").await.order_id;
    let cancel = format!("/v1/orders/{order}/cancel");
    let seen: Order = operator.get(&format!("/v1/orders/{order}")).await.expect(200).json();
    assert_eq!(seen.user_id, shopper.tokens.user_id);
    let silent = operator.post(&cancel, &json!({})).await.expect(422);
    assert_eq!(silent.problem().members["field"], "reason");
    let own_reason = shopper.post(&cancel, &json!({ "reason": "too dear" })).await.expect(422);
    assert_eq!(own_reason.problem().members["field"], "reason");

    let why = json!({ "reason": "We found a crack in the last of them" });
    for _ in 0..2 {
        let cancelled: Order = operator.post(&cancel, &why).await.expect(200).json();
        assert_eq!(cancelled.status, OrderStatus::Cancelled);
    }
    let refunded = async || Some(shopper.order(order).await).filter(|order| order.payment == PaymentStatus::Refunded);
    let ended = until("the money is back", std::time::Duration::from_secs(20), refunded).await;
    assert_eq!(ended.cancel_reason.as_deref(), Some("We found a crack in the last of them"));
    assert_eq!(books().units(&sku).await, before);
    let parcel =
        operator.post_once(&format!("/v1/orders/{order}/shipments"), &key(), &json!({ "carrier": CARRIER })).await;
    assert!(parcel.expect(409).problem().is(ProblemKind::OrderState), "nothing is sent of a cancelled order");
    books().money_matches(shopper.tokens.user_id).await;
}
