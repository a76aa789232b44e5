use serde_json::json;
use shared::api::order::{LineItem, OrderStatus, Shipment};
use shared::id::Slot;
use shared::{Currency, Money, PaymentId, RefundId, ShipmentId, UserId};
use time::macros::datetime;

use super::*;

const MS: u64 = 1_800_000_000_000;

fn shop() -> Shop {
    Shop::new("Meridian", "https://shop.example/", "Meridian <orders@shop.example>").unwrap()
}

fn gbp(minor: i64) -> Money {
    Money::new(minor, Currency::GBP).unwrap()
}

fn order(status: OrderStatus, payment: PaymentStatus) -> Order {
    let slot = Slot::new(7).unwrap();
    let line = |sku: &str, title: &str, units: i64, price: i64| LineItem {
        sku: sku.parse().unwrap(),
        title: title.to_owned(),
        quantity: shared::Quantity::new(units).unwrap(),
        unit_price: gbp(price),
        line_total: gbp(price * units),
    };
    Order {
        order_id: OrderId::mint(MS, slot, [0xAB; 8]),
        user_id: UserId::mint(MS, slot, 3).unwrap(),
        status,
        cancel_reason: None,
        payment,
        next_action: None,
        lines: vec![line("MUG", "Red mug", 2, 250), line("LAMP", "A lamp, <b>bold</b> & bright", 1, 123_400)],
        subtotal: gbp(123_900),
        shipping: gbp(0),
        total: gbp(123_900),
        shipping_address: Address {
            name: "Ada <script>alert(1)</script>".to_owned(),
            line1: "12 St James\r\nBcc: all@shop.example".to_owned(),
            line2: None,
            city: "London".to_owned(),
            region: None,
            postal_code: Some("SW1Y 4JH".to_owned()),
            country: "GB".to_owned(),
        },
        email: Some("ada@example.org".parse().unwrap()),
        delivery: None,
        phone: None,
        shipments: Vec::new(),
        returns: Vec::new(),
        version: 3,
        created_at: datetime!(2026-11-21 18:05 UTC),
        expires_at: datetime!(2026-11-21 18:20 UTC),
    }
}

#[test]
fn a_receipt_names_the_way_of_delivery_that_was_paid_for() {
    let mut order = order(OrderStatus::Confirmed, PaymentStatus::Captured);
    assert_eq!(super::delivery(&order), "Free");
    let days = shared::api::order::DeliveryDays { from: 1, to: 2 };
    let (id, name) = ("express".to_owned(), "Express\r\ndelivery".to_owned());
    order.shipping = gbp(895);
    order.delivery = Some(shared::api::order::ChosenDelivery { id, name, days, service: None, weight_grams: 0 });
    assert_eq!(super::delivery(&order), "£8.95 (Express delivery, 1 to 2 days)");
}

fn told(template: Template, payload: &Value, order: &Order) -> Letter {
    letter(&shop(), template, payload, order).unwrap()
}

#[test]
fn a_confirmation_tells_what_was_bought_for_how_much_and_where_it_goes() {
    let order = order(OrderStatus::Confirmed, PaymentStatus::Captured);
    let letter = told(Template::OrderConfirmed, &json!({ "order_id": order.order_id }), &order);
    assert_eq!(letter.subject, "Your order ABABABAB is confirmed");
    let text = letter.text().unwrap();
    assert_eq!(
        text,
        format!(
            "Thank you, it is yours\n\n\
             The payment went through, and we are packing.\n\n  \
             2 × Red mug: £5.00\n  \
             1 × A lamp, <b>bold</b> & bright: £1,234.00\n\n  \
             Items: £1,239.00\n  \
             Delivery: Free\n  \
             Total incl. VAT: £1,239.00\n\n\
             It goes to\n\n  \
             Ada <script>alert(1)</script>\n  \
             12 St James Bcc: all@shop.example\n  \
             London\n  \
             SW1Y 4JH\n  \
             United Kingdom\n\n\
             Order ABABABAB, placed 21 November 2026:\n\
             https://shop.example/orders/{}\n\n\
             -- \n\
             Meridian. This mail was sent because of your order; it cannot be answered.",
            order.order_id
        )
    );
}

#[test]
fn html_shows_what_was_typed_and_does_not_obey_it() {
    let order = order(OrderStatus::Confirmed, PaymentStatus::Captured);
    let html = told(Template::OrderConfirmed, &json!({ "order_id": order.order_id }), &order).html().unwrap();
    assert!(!html.contains("<script") && !html.contains("<b>"), "{html}");
    for shown in ["&#60;script&#62;alert(1)", "&#60;b&#62;bold", "£1,239.00", "United Kingdom", "2 × Red mug"] {
        assert!(html.contains(shown), "{shown} is not in {html}");
    }
    assert!(html.contains(&format!("href=\"https://shop.example/orders/{}\"", order.order_id)));
    assert!(!html.contains("src=") && !html.contains("http://"), "a mail that fetches something tells who reads it");
}

#[test]
fn a_cancellation_says_why_and_what_happens_to_the_money() {
    let payload = |order: &Order| json!({ "order_id": order.order_id, "reason": "you cancelled this order" });
    for (payment, money) in [
        (PaymentStatus::Refunded, "The money is on its way back to you."),
        (PaymentStatus::Captured, "Your money is being given back; we write again when it is on its way."),
        (PaymentStatus::Processing, "Should anything have been charged, you get it back."),
        (PaymentStatus::Voided, "Nothing was charged."),
    ] {
        let order = order(OrderStatus::Cancelled, payment);
        let letter = told(Template::OrderCancelled, &payload(&order), &order);
        assert_eq!(letter.paragraphs, ["You cancelled this order.", money]);
    }
    let declined = order(OrderStatus::Cancelled, PaymentStatus::Declined);
    let letter = told(Template::OrderCancelled, &payload(&declined), &declined);
    assert_eq!(letter.paragraphs, ["Your bank said no, so nothing was charged and the order is cancelled."]);
}

#[test]
fn an_order_that_was_not_paid_sends_nobody_what_its_shopper_typed() {
    let order = order(OrderStatus::Cancelled, PaymentStatus::Declined);
    let letter = told(Template::OrderCancelled, &json!({ "order_id": order.order_id, "reason": "no" }), &order);
    let both = letter.text().unwrap() + &letter.html().unwrap();
    assert!(!both.contains("Ada") && !both.contains("James"), "{both}");
}

#[test]
fn a_refund_names_its_amount() {
    let order = order(OrderStatus::Cancelled, PaymentStatus::Refunded);
    let payment_id = PaymentId::mint(MS, Slot::new(7).unwrap(), [1; 8]);
    let payload = json!({ "order_id": order.order_id, "payment_id": payment_id, "amount": gbp(123_900) });
    let text = told(Template::PaymentRefunded, &payload, &order).text().unwrap();
    assert!(text.contains("We have given back £1,239.00."), "{text}");
    assert!(letter(&shop(), Template::PaymentRefunded, &json!({}), &order).is_err());
}

#[test]
fn a_part_that_went_back_names_its_amount_and_says_why() {
    let order = order(OrderStatus::Delivered, PaymentStatus::Captured);
    let payment_id = PaymentId::mint(MS, Slot::new(7).unwrap(), [1; 8]);
    let refund_id = RefundId::mint(MS, Slot::new(7).unwrap(), [1; 8]);
    let payload = json!({ "order_id": order.order_id, "payment_id": payment_id, "refund_id": refund_id,
        "amount": gbp(250), "reason": "one mug was\r\ncracked" });
    let text = told(Template::RefundIssued, &payload, &order).text().unwrap();
    for said in ["£2.50 is on its way back", "We have given back £2.50 of what you paid.", "One mug was cracked."] {
        assert!(text.contains(said), "{said} is not in {text}");
    }
    let rest = json!({ "order_id": order.order_id, "payment_id": payment_id, "amount": gbp(0) });
    let text = told(Template::PaymentRefunded, &rest, &order).text().unwrap();
    assert!(text.contains("We had given all of it back before") && !text.contains("£0"), "{text}");
}

#[test]
fn a_parcel_is_told_of_when_it_leaves_and_when_it_arrives() {
    let mut order = order(OrderStatus::Shipped, PaymentStatus::Captured);
    let shipment_id = ShipmentId::mint(MS, Slot::new(7).unwrap(), [1; 8]);
    let mut parcel = json!({ "order_id": order.order_id, "shipment_id": shipment_id, "carrier": "Royal Mail",
        "tracking_code": null, "tracking_url": null, "whole": true });
    let letter = told(Template::ShipmentSent, &parcel, &order);
    assert_eq!((letter.headline.as_str(), letter.paragraphs.len()), ("It is on its way", 1));
    parcel["whole"] = false.into();
    parcel["tracking_code"] = "RM1\r\nBcc: x".into();
    parcel["tracking_url"] = "https://track.example/?a=1&b=2".into();
    let letter = told(Template::ShipmentSent, &parcel, &order);
    assert_eq!(letter.headline, "Part of it is on its way");
    let text = letter.text().unwrap();
    for said in ["with Royal Mail, who know it as RM1 Bcc: x.", "https://track.example/?a=1&b=2", "The rest follows"] {
        assert!(text.contains(said), "{said} is not in {text}");
    }
    order.shipments.push(Shipment {
        shipment_id,
        carrier: "Royal Mail".to_owned(),
        tracking_code: None,
        tracking_url: None,
        items: Vec::new(),
        from: None,
        sent_at: order.created_at,
        delivered_at: Some(order.created_at),
    });
    let arrived = json!({ "order_id": order.order_id, "shipment_id": shipment_id });
    let text = told(Template::ShipmentDelivered, &arrived, &order).text().unwrap();
    assert!(text.contains("It has arrived, says Royal Mail."), "{text}");
}
