//! Each call by itself: what it does at Stripe, and what doing it again does.

use std::sync::Arc;

use region_core_payment::provider::{
    NewPayment, NewRefund, Provider, ProviderError, ProviderRefund, ProviderStatus, RefundStanding, Shown,
};
use region_core_payment::{Account, STRIPE_URL, Stripe};
use secrecy::SecretString;
use shared::id::Slot;
use shared::{Money, RefundId};

use crate::fake::{Fake, WEBHOOK_SECRET, authorized, payment_id, pounds};

fn refused(answer: Shown) -> String {
    match answer {
        Err(ProviderError::Refused(cause)) => cause,
        other => panic!("not refused: {other:?}"),
    }
}

pub(crate) async fn the_same_key_twice_is_one_payment(fake: Arc<Fake>) {
    let world = fake.world().await;
    let (stripe, card) = (world.stripe(), world.card("tok_visa").await);
    let (payment_id, amount) = (payment_id(), pounds(1250));
    let new = || NewPayment { payment_id, amount, payment_token: &card, return_url: None };
    let first = stripe.create(new(), "a key").await.unwrap();
    assert_eq!((first.status, first.amount, first.captured_minor), (ProviderStatus::Created, amount, 0));
    assert_eq!(first.merchant_reference, payment_id.to_string());
    // What finding a create whose answer was lost comes to.
    assert_eq!(stripe.find(payment_id).await.unwrap(), None);
    assert_eq!(stripe.create(new(), "a key").await.unwrap(), first);
    let other = NewPayment { amount: pounds(1251), ..new() };
    refused(stripe.create(other, "a key").await);
    let known = world.get("/v1/payment_intents").await;
    assert_eq!(known["data"].as_array().unwrap().len(), 1);
    assert_eq!(world.charged().await, (0, 0), "creating moves nothing");
}

pub(crate) async fn a_refund_asked_for_twice(fake: Arc<Fake>) {
    let world = fake.world().await;
    let (stripe, card) = (world.stripe(), world.card("tok_visa").await);
    let ready = authorized(&stripe, &card).await;
    assert_eq!((ready.status, ready.captured_minor), (ProviderStatus::Authorized, 0));
    for _ in 0..2 {
        let captured = stripe.capture(&ready.reference, "capture").await.unwrap();
        assert_eq!((captured.status, captured.captured_minor), (ProviderStatus::Captured, 1250));
    }
    assert_eq!(world.charged().await, (1, 1250));
    let part = stripe.refund(&ready.reference, pounds(250), "part").await.unwrap();
    assert_eq!((part.status, part.refunded_minor), (ProviderStatus::Captured, 250));
    refused(stripe.refund(&ready.reference, pounds(1250), "too much").await);
    for _ in 0..2 {
        let all = stripe.refund(&ready.reference, pounds(1000), "rest").await.unwrap();
        assert_eq!((all.status, all.refunded_minor), (ProviderStatus::Refunded, 1250));
    }
    refused(stripe.refund(&ready.reference, pounds(1), "more").await);
    assert_eq!(stripe.get(&ready.reference).await.unwrap().refunded_minor, 1250);
}

pub(crate) async fn a_part_given_back(fake: Arc<Fake>) {
    let world = fake.world().await;
    let (stripe, card) = (world.stripe(), world.card("tok_visa").await);
    let reference = authorized(&stripe, &card).await.reference;
    stripe.capture(&reference, "capture").await.unwrap();
    let named = |number: u8| RefundId::mint(1_800_000_000_000, Slot::new(9).unwrap(), [number; 8]);
    let part = |number, minor| NewRefund { refund_id: named(number), amount: pounds(minor) };
    assert_eq!(stripe.find_refund(&reference, named(1)).await, Ok(None));
    let done = |minor| ProviderRefund { amount: pounds(minor), standing: RefundStanding::Done };
    for _ in 0..2 {
        assert_eq!(stripe.give_back(&reference, part(1, 300), "one").await, Ok(done(300)));
    }
    assert_eq!(stripe.give_back(&reference, part(2, 300), "two").await, Ok(done(300)), "another of the same amount");
    for number in [1, 2] {
        assert_eq!(stripe.find_refund(&reference, named(number)).await, Ok(Some(done(300))));
    }
    let too_much = stripe.give_back(&reference, part(3, 651), "three").await;
    assert!(matches!(too_much, Err(ProviderError::Refused(_))), "{too_much:?}");
    assert_eq!(stripe.find_refund(&reference, named(3)).await, Ok(None));
    let seen = stripe.get(&reference).await.unwrap();
    assert_eq!((seen.status, seen.refunded_minor), (ProviderStatus::Captured, 600));
}

pub(crate) async fn a_declined_card(fake: Arc<Fake>) {
    let world = fake.world().await;
    let (stripe, card) = (world.stripe(), world.card("tok_visa_chargeDeclinedInsufficientFunds").await);
    let new = NewPayment { payment_id: payment_id(), amount: pounds(1250), payment_token: &card, return_url: None };
    let created = stripe.create(new, "create").await.unwrap();
    let cause = refused(stripe.authorize(&created.reference, "authorize").await);
    assert!(cause.contains("insufficient_funds"), "{cause}");
    let declined = stripe.get(&created.reference).await.unwrap();
    assert_eq!(declined.status, ProviderStatus::Declined);
    assert_eq!(declined.decline_reason.as_deref(), Some("insufficient_funds"));
    assert_eq!(world.charged().await, (0, 0));
}

pub(crate) async fn an_unknown_way_to_pay(fake: Arc<Fake>) {
    let stripe = fake.world().await.stripe();
    let new =
        NewPayment { payment_id: payment_id(), amount: pounds(1250), payment_token: "pm_of_nobody", return_url: None };
    let cause = refused(stripe.create(new, "create").await);
    assert!(cause.contains("resource_missing"), "{cause}");
    refused(stripe.get("pi_of_nobody").await);
}

pub(crate) async fn a_voided_payment(fake: Arc<Fake>) {
    let world = fake.world().await;
    let (stripe, card) = (world.stripe(), world.card("tok_visa").await);
    let ready = authorized(&stripe, &card).await;
    for _ in 0..2 {
        assert_eq!(stripe.void(&ready.reference, "void").await.unwrap().status, ProviderStatus::Voided);
    }
    refused(stripe.capture(&ready.reference, "capture").await);
    assert_eq!(stripe.get(&ready.reference).await.unwrap().status, ProviderStatus::Voided);
    assert_eq!(world.charged().await, (0, 0));
}

pub(crate) async fn yen(fake: Arc<Fake>) {
    let world = fake.world().await;
    let (stripe, card) = (world.stripe(), world.card("tok_visa").await);
    let amount = Money::new(500, "JPY".parse().unwrap()).unwrap();
    let new = NewPayment { payment_id: payment_id(), amount, payment_token: &card, return_url: None };
    let created = stripe.create(new, "create").await.unwrap();
    assert_eq!(created.amount, amount);
    let there = world.get(&format!("/v1/payment_intents/{}", created.reference)).await;
    assert_eq!((there["amount"].as_i64(), there["currency"].as_str()), (Some(500), Some("jpy")));
}

/// A key that was rotated away is no order's fault: the payment waits for a better one.
pub(crate) async fn a_key_that_is_not_taken(_: Arc<Fake>) {
    let secret = |text: &str| SecretString::from(text.to_owned());
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let said = r#"{"error":{"type":"invalid_request_error","code":"api_key_expired","message":"Expired API key."}}"#;
    let answer = axum::Router::new().fallback(async move || (axum::http::StatusCode::UNAUTHORIZED, said));
    let server = tokio::spawn(async move { axum::serve(listener, answer).await });
    assert_ne!(url, STRIPE_URL);
    let account = Account { url, secret_key: secret("sk_test_old"), webhook_secrets: vec![secret(WEBHOOK_SECRET)] };
    let new = NewPayment { payment_id: payment_id(), amount: pounds(1250), payment_token: "pm_1", return_url: None };
    let answer = Stripe::new(&account).unwrap().create(new, "create").await;
    assert!(matches!(answer, Err(ProviderError::Unknown(_))), "{answer:?}");
    server.abort();
}
