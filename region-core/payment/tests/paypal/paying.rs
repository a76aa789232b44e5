//! Orders that are paid at PayPal, beside a main provider: the whole way, and every way that ends elsewhere.

use shared::PaymentId;
use shared::id::Slot;

use crate::shop::Shop;
use crate::simulator::{Click, Fault, Simulator};

#[tokio::test]
async fn the_token_says_who_is_paid_and_each_provider_is_asked_about_its_own() {
    let simulator = Simulator::open().await;
    let mut shop = Shop::open(&simulator).await;
    let tokens: Vec<_> = shop.payments.methods().into_iter().map(|method| method.token).collect();
    assert!(tokens.contains(&"paypal".to_owned()), "{tokens:?}");
    let (order, page) = shop.asked().await;
    let at_the_bank = shop.order("tok_success").await;
    shop.until(at_the_bank, "captured").await;
    let back = simulator.click(&page, Click::Agree).await;
    assert!(back.starts_with(&format!("https://shop.example/orders/{order}?")), "{back}");
    shop.payments.confirm_challenge(order).await.unwrap();
    shop.until(order, "captured").await;
    assert_eq!(shop.row::<(String,)>("provider", order).await.0, "paypal");
    assert_eq!(shop.row::<(String,)>("provider", at_the_bank).await.0, "sandbox");
    assert_eq!((simulator.orders(), simulator.moved()), (1, (1250, 0)));
}

#[tokio::test]
async fn every_answer_lost_once_is_one_charge_and_one_refund_of_each_part() {
    let simulator = Simulator::open().await;
    let mut shop = Shop::open(&simulator).await;
    simulator.lose_answers();
    let (order, page) = shop.asked().await;
    assert_eq!(simulator.orders(), 1);
    simulator.click(&page, Click::Agree).await;
    shop.payments.confirm_challenge(order).await.unwrap();
    shop.until(order, "captured").await;
    shop.give_back(order, 300).await;
    shop.until_refunded(order, 300).await;
    shop.give_back(order, 200).await;
    shop.until_refunded(order, 500).await;
    shop.cancel(order).await;
    shop.until(order, "refunded").await;
    assert_eq!((simulator.moved(), simulator.effects("capture")), ((1250, 1250), 1));
    assert_eq!(simulator.effects("refund"), 3);
}

#[tokio::test]
async fn the_whole_that_fails_to_go_back_goes_back_once_more() {
    let simulator = Simulator::open().await;
    let mut shop = Shop::open(&simulator).await;
    let (order, page) = shop.asked().await;
    simulator.click(&page, Click::Agree).await;
    shop.payments.confirm_challenge(order).await.unwrap();
    shop.until(order, "captured").await;
    simulator.slow_refunds();
    shop.cancel(order).await;
    shop.until_looked_at(order, "not refunded yet").await;
    simulator.fail_refunds();
    shop.until(order, "refunded").await;
    assert_eq!((simulator.moved(), simulator.effects("refund")), ((1250, 1250), 2));
}

#[tokio::test]
async fn a_card_that_is_declined_after_the_shopper_agreed_ends_the_payment() {
    let simulator = Simulator::open().await;
    let mut shop = Shop::open(&simulator).await;
    let (order, page) = shop.asked().await;
    simulator.click(&page, Click::AgreeWithBadCard).await;
    shop.payments.confirm_challenge(order).await.unwrap();
    shop.until(order, "declined").await;
    let (error,) = shop.row::<(Option<String>,)>("last_error", order).await;
    assert_eq!((error.as_deref(), simulator.moved()), (Some("instrument_declined"), (0, 0)));
}

#[tokio::test]
async fn a_claimed_order_whose_capture_is_declined_ends_and_keeps_nothing_ready() {
    for click in [Click::AgreeWithEmptyAccount, Click::AgreeWithStrictBank] {
        let simulator = Simulator::open().await;
        let mut shop = Shop::open(&simulator).await;
        simulator.lose_answers();
        let (order, page) = shop.asked().await;
        simulator.click(&page, click).await;
        shop.payments.confirm_challenge(order).await.unwrap();
        shop.until(order, "declined").await;
        let reference = shop.reference(order).await;
        assert_eq!((simulator.authorization(&reference), simulator.moved()), (Some("VOIDED"), (0, 0)));
    }
}

#[tokio::test]
async fn who_goes_back_and_never_agrees_has_paid_nothing_when_the_order_ends_and_cannot_afterwards() {
    let simulator = Simulator::open().await;
    let mut shop = Shop::open(&simulator).await;
    let (order, page) = shop.asked().await;
    simulator.click(&page, Click::Cancel).await;
    shop.payments.confirm_challenge(order).await.unwrap();
    shop.until_looked_at(order, "not answered yet").await;
    shop.cancel(order).await;
    shop.until(order, "voided").await;
    simulator.click(&page, Click::Agree).await;
    let reference = shop.reference(order).await;
    assert_eq!(shop.post(simulator.event("CHECKOUT.ORDER.APPROVED", &reference)).await, 200);
    let (state,) = shop.row::<(String,)>("state", order).await;
    assert_eq!((state.as_str(), simulator.authorization(&reference)), ("voided", None));
}

#[tokio::test]
async fn what_is_kept_ready_for_an_order_that_ends_is_let_go() {
    let simulator = Simulator::open().await;
    let mut shop = Shop::open(&simulator).await;
    let (order, page) = shop.asked().await;
    simulator.click(&page, Click::Agree).await;
    // It is authorized, and nobody hears so; then the order ends.
    simulator.fail("/authorize", Fault::LostAndAway);
    shop.payments.confirm_challenge(order).await.unwrap();
    shop.until_looked_at(order, "status 503").await;
    shop.cancel(order).await;
    shop.until(order, "to_void").await;
    simulator.come_back();
    shop.until(order, "voided").await;
    let reference = shop.reference(order).await;
    assert_eq!((simulator.authorization(&reference), simulator.moved()), (Some("VOIDED"), (0, 0)));
}

#[tokio::test]
async fn an_event_has_a_payment_read_and_a_forgery_or_a_repeat_does_nothing() {
    let simulator = Simulator::open().await;
    let mut shop = Shop::open(&simulator).await;
    let (order, page) = shop.asked().await;
    let reference = shop.reference(order).await;
    simulator.click(&page, Click::Agree).await;
    let (headers, body) = simulator.event("CHECKOUT.ORDER.APPROVED", &reference);
    assert_eq!(shop.post((headers.clone(), body.replace("1.0", "1.1"))).await, 400, "forged");
    assert_eq!(shop.post((http::HeaderMap::new(), body.clone())).await, 400, "bare");
    assert_eq!(simulator.verdicts(), 1, "what cannot be PayPal's is not asked about");
    let payment_id = shop.row::<(uuid::Uuid,)>("payment_id", order).await.0.to_string();
    let nobodys = PaymentId::mint(1_800_000_000_000, Slot::new(9).unwrap(), [7; 8]).to_string();
    assert_eq!(shop.post((headers.clone(), body.replace(&payment_id, &nobodys))).await, 404, "of nobody's payment");
    let at_the_bank = shop.order("tok_success").await;
    shop.until(at_the_bank, "captured").await;
    let other = shop.row::<(uuid::Uuid,)>("payment_id", at_the_bank).await.0.to_string();
    assert_eq!(shop.post((headers.clone(), body.replace(&payment_id, &other))).await, 404, "of another provider's");
    assert_eq!(simulator.verdicts(), 1, "nor is what nobody here knows");
    simulator.fail("/verify-webhook-signature", Fault::Before(500));
    assert_eq!(shop.post((headers.clone(), body.clone())).await, 503, "nobody knows: it is to be sent again");
    assert_eq!(shop.row::<(String,)>("state", order).await.0, "challenge_required");
    // The shopper never comes back to us: only the event says that there is something to read.
    for _ in 0..2 {
        assert_eq!(shop.post((headers.clone(), body.clone())).await, 200);
    }
    shop.until(order, "captured").await;
    assert_eq!(shop.post(simulator.event("PAYMENT.CAPTURE.REFUNDED", &reference)).await, 200, "no news");
    assert_eq!(simulator.moved(), (1250, 0));
}

#[tokio::test]
async fn a_payment_of_a_provider_that_is_no_longer_configured_is_left_alone() {
    let simulator = Simulator::open().await;
    let mut shop = Shop::open(&simulator).await;
    let (order, page) = shop.asked().await;
    simulator.click(&page, Click::Agree).await;
    let mut shop = shop.without_paypal().await;
    shop.cancel(order).await;
    shop.until(order, "to_void").await;
    // Whoever is configured goes on.
    let at_the_bank = shop.order("tok_success").await;
    shop.until(at_the_bank, "captured").await;
    let unknown = shop.order("paypal").await;
    shop.until(unknown, "declined").await;
    assert_eq!(shop.row::<(String,)>("provider", unknown).await.0, "sandbox");
    assert_eq!(shop.row::<(String, i32)>("state, attempts", order).await, ("to_void".to_owned(), 0));
    let event = simulator.event("CHECKOUT.ORDER.APPROVED", &shop.reference(order).await);
    assert_eq!(shop.post(event).await, 404);
}
