//! Each call by itself: what it does at PayPal, what doing it again does, and what every kind of failure means.

use std::time::Duration;

use region_core_payment::provider::{
    NewPayment, NewRefund, Provider, ProviderError, ProviderPayment, ProviderRefund, ProviderStatus, RefundStanding,
    Shown,
};
use region_core_payment::{Deadlines, PayPal, PayPalApp};
use secrecy::SecretString;
use serde_json::json;
use shared::id::Slot;
use shared::{Money, PaymentId, RefundId};
use shared_clock::Entropy;

use crate::simulator::{CLIENT, Click, Fault, Simulator, WEBHOOK_ID, pounds};

const BACK: &str = "https://shop.example/orders/1?notice=back";

pub(crate) fn paypal_within(base: &str, secret: &str, total: Duration) -> PayPal {
    let app = PayPalApp {
        url: base.to_owned(),
        client_id: CLIENT.0.to_owned(),
        secret: SecretString::from(secret.to_owned()),
        webhook_id: WEBHOOK_ID.to_owned(),
    };
    PayPal::within(&app, Deadlines { connect: total, total }).unwrap()
}

pub(crate) fn paypal(simulator: &Simulator) -> PayPal {
    paypal_within(&simulator.base, CLIENT.1, Duration::from_secs(30))
}

fn new(amount: Money) -> NewPayment<'static> {
    let payment_id = PaymentId::mint(1_800_000_000_000, Slot::new(9).unwrap(), Entropy::system().bytes());
    NewPayment { payment_id, amount, payment_token: "paypal", return_url: Some(BACK) }
}

fn named(number: u8) -> RefundId {
    RefundId::mint(1_800_000_000_000, Slot::new(9).unwrap(), [number; 8])
}

fn refused(answer: Shown) -> String {
    match answer {
        Err(ProviderError::Refused(cause)) => cause,
        other => panic!("not refused: {other:?}"),
    }
}

fn unknown(answer: &Shown) {
    assert!(matches!(answer, Err(ProviderError::Unknown(_))), "{answer:?}");
}

/// An order of 12.50 that the shopper has answered.
async fn answered(simulator: &Simulator, paypal: &PayPal, click: Click) -> String {
    let created = paypal.create(new(pounds(1250)), "create").await.unwrap();
    simulator.click(created.next_action.as_deref().unwrap(), click).await;
    created.reference
}

/// One whose amount is kept ready.
async fn authorized(simulator: &Simulator, paypal: &PayPal) -> ProviderPayment {
    let reference = answered(simulator, paypal, Click::Agree).await;
    paypal.authorize(&reference, "authorize").await.unwrap()
}

#[tokio::test]
async fn the_same_key_twice_is_one_order_and_creating_moves_nothing() {
    let simulator = Simulator::open().await;
    let paypal = paypal(&simulator);
    let payment = new(pounds(1250));
    let first = paypal.create(payment.clone(), "a key").await.unwrap();
    assert_eq!((first.status, first.amount), (ProviderStatus::ChallengeRequired, pounds(1250)));
    assert_eq!(first.merchant_reference, payment.payment_id.to_string());
    assert_eq!(first.next_action, Some(format!("{}/checkoutnow?token={}", simulator.base, first.reference)));
    assert_eq!(paypal.find(payment.payment_id).await, Ok(None));
    assert_eq!(paypal.create(payment.clone(), "a key").await.unwrap(), first);
    refused(paypal.create(NewPayment { amount: pounds(1251), ..payment.clone() }, "a key").await);
    refused(paypal.create(NewPayment { return_url: None, ..payment }, "another key").await);
    assert_eq!((simulator.orders(), simulator.moved()), (1, (0, 0)));
}

#[tokio::test]
async fn amounts_are_written_with_the_decimals_of_their_currency_or_not_at_all() {
    let simulator = Simulator::open().await;
    let paypal = paypal(&simulator);
    let money = |minor, code: &str| Money::new(minor, code.parse().unwrap()).unwrap();
    for (amount, value) in [(pounds(1205), "12.05"), (money(500, "JPY"), "500"), (money(120_000, "HUF"), "1200")] {
        let created = paypal.create(new(amount), value).await.unwrap();
        assert_eq!(created.amount, amount);
        let there = json!({ "currency_code": amount.currency().code(), "value": value });
        assert_eq!(simulator.amount(&created.reference), there);
    }
    let dinars = refused(paypal.create(new(money(5120, "KWD")), "dinars").await);
    assert!(dinars.contains("CURRENCY_NOT_SUPPORTED"), "{dinars}");
    refused(paypal.create(new(money(120_001, "HUF")), "fractions").await);
    assert_eq!(simulator.orders(), 3);
}

#[tokio::test]
async fn money_is_kept_ready_once_the_shopper_agreed_and_moves_once() {
    let simulator = Simulator::open().await;
    let paypal = paypal(&simulator);
    let created = paypal.create(new(pounds(1250)), "create").await.unwrap();
    let reference = created.reference.as_str();
    let cause = refused(paypal.authorize(reference, "too soon").await);
    assert!(cause.contains("ORDER_NOT_APPROVED"), "{cause}");
    refused(paypal.capture(reference, "too soon, too").await);
    let back = simulator.click(created.next_action.as_deref().unwrap(), Click::Agree).await;
    assert!(back.starts_with(BACK), "{back}");
    assert_eq!(paypal.confirm(reference, reference, "confirm").await.unwrap().status, ProviderStatus::Approved);
    for _ in 0..2 {
        assert_eq!(paypal.authorize(reference, "authorize").await.unwrap().status, ProviderStatus::Authorized);
    }
    for _ in 0..2 {
        let captured = paypal.capture(reference, "capture").await.unwrap();
        assert_eq!((captured.status, captured.captured_minor), (ProviderStatus::Captured, 1250));
    }
    assert_eq!(paypal.void(reference, "void").await.unwrap().status, ProviderStatus::Captured, "it is not hidden");
    assert_eq!((simulator.moved(), simulator.effects("capture")), ((1250, 0), 1));
}

#[tokio::test]
async fn parts_go_back_once_under_our_name_and_never_more_than_was_captured() {
    let simulator = Simulator::open().await;
    let paypal = paypal(&simulator);
    let reference = authorized(&simulator, &paypal).await.reference;
    paypal.capture(&reference, "capture").await.unwrap();
    let part = |number, minor| NewRefund { refund_id: named(number), amount: pounds(minor) };
    let done = |minor| ProviderRefund { amount: pounds(minor), standing: RefundStanding::Done };
    assert_eq!(paypal.find_refund(&reference, named(1)).await, Ok(None));
    for _ in 0..2 {
        assert_eq!(paypal.give_back(&reference, part(1, 300), "one").await, Ok(done(300)));
    }
    // PayPal has forgotten the key; the name is found in the order.
    assert_eq!(paypal.give_back(&reference, part(1, 300), "forgotten").await, Ok(done(300)));
    assert_eq!(paypal.give_back(&reference, part(2, 300), "two").await, Ok(done(300)), "another of the same amount");
    let too_much = paypal.give_back(&reference, part(3, 651), "three").await;
    assert!(matches!(too_much, Err(ProviderError::Refused(_))), "{too_much:?}");
    assert_eq!(paypal.find_refund(&reference, named(3)).await, Ok(None));
    for _ in 0..2 {
        let rest = paypal.refund(&reference, pounds(650), "rest").await.unwrap();
        assert_eq!((rest.status, rest.refunded_minor), (ProviderStatus::Refunded, 1250));
    }
    assert_eq!((simulator.moved(), simulator.effects("refund")), ((1250, 1250), 3));
}

#[tokio::test]
async fn a_whole_refund_that_fails_later_is_made_again() {
    let simulator = Simulator::open().await;
    let paypal = paypal(&simulator);
    let reference = authorized(&simulator, &paypal).await.reference;
    paypal.capture(&reference, "capture").await.unwrap();
    for _ in 0..2 {
        simulator.slow_refunds();
        for _ in 0..2 {
            let pending = paypal.refund(&reference, pounds(1250), "ours:refund").await.unwrap();
            assert_eq!((pending.status, pending.refunded_minor), (ProviderStatus::Captured, 0));
        }
        simulator.fail_refunds();
    }
    for _ in 0..2 {
        let refunded = paypal.refund(&reference, pounds(1250), "ours:refund").await.unwrap();
        assert_eq!((refunded.status, refunded.refunded_minor), (ProviderStatus::Refunded, 1250));
    }
    assert_eq!((simulator.moved(), simulator.effects("refund")), ((1250, 1250), 3));
}

#[tokio::test]
async fn a_part_that_fails_later_has_failed_and_is_not_made_again() {
    let simulator = Simulator::open().await;
    let paypal = paypal(&simulator);
    let reference = authorized(&simulator, &paypal).await.reference;
    paypal.capture(&reference, "capture").await.unwrap();
    simulator.slow_refunds();
    let part = || NewRefund { refund_id: named(1), amount: pounds(300) };
    paypal.give_back(&reference, part(), "part").await.unwrap();
    simulator.fail_refunds();
    let failed = ProviderRefund { amount: pounds(300), standing: RefundStanding::Failed("failed".to_owned()) };
    assert_eq!(paypal.give_back(&reference, part(), "part").await, Ok(failed));
}

#[tokio::test]
async fn a_declined_card_moves_nothing_and_says_why() {
    let simulator = Simulator::open().await;
    let paypal = paypal(&simulator);
    let reference = answered(&simulator, &paypal, Click::AgreeWithBadCard).await;
    for _ in 0..2 {
        let declined = paypal.authorize(&reference, "authorize").await.unwrap();
        let reason = declined.decline_reason.as_deref();
        assert_eq!((declined.status, reason), (ProviderStatus::Declined, Some("instrument_declined")));
    }
    assert_eq!(simulator.moved(), (0, 0));
}

#[tokio::test]
async fn what_was_kept_ready_is_let_go_and_what_never_was_says_whether_it_still_may_be() {
    let simulator = Simulator::open().await;
    let paypal = paypal(&simulator);
    let unanswered = paypal.create(new(pounds(1250)), "unanswered").await.unwrap().reference;
    assert_eq!(paypal.void(&unanswered, "void 1").await.unwrap().status, ProviderStatus::Voided);
    let agreed = answered(&simulator, &paypal, Click::Agree).await;
    assert_eq!(paypal.void(&agreed, "void 2").await.unwrap().status, ProviderStatus::Approved);
    paypal.authorize(&agreed, "authorize").await.unwrap();
    for _ in 0..2 {
        assert_eq!(paypal.void(&agreed, "void 2").await.unwrap().status, ProviderStatus::Voided);
    }
    refused(paypal.capture(&agreed, "capture").await);
    assert_eq!((simulator.moved(), simulator.effects("void")), ((0, 0), 1));
}

#[tokio::test]
async fn a_capture_that_is_declined_for_good_lets_go_what_was_kept_ready() {
    let cases = [(Click::AgreeWithEmptyAccount, "payer_cannot_pay"), (Click::AgreeWithStrictBank, "capture_declined")];
    for (click, reason) in cases {
        let simulator = Simulator::open().await;
        let paypal = paypal(&simulator);
        let reference = answered(&simulator, &paypal, click).await;
        paypal.authorize(&reference, "authorize").await.unwrap();
        // What is still kept ready is not over, whatever became of the capture.
        simulator.fail("/void", Fault::Before(503));
        unknown(&paypal.capture(&reference, "capture").await);
        assert_eq!(paypal.get(&reference).await.unwrap().status, ProviderStatus::Authorized);
        let declined = paypal.capture(&reference, "capture").await.unwrap();
        assert_eq!((declined.status, declined.decline_reason.as_deref()), (ProviderStatus::Declined, Some(reason)));
        assert_eq!((simulator.authorization(&reference), simulator.moved()), (Some("VOIDED"), (0, 0)));
        assert_eq!(simulator.effects("void"), 1);
    }
}

#[tokio::test]
async fn a_capture_that_the_bank_has_under_way_is_not_known_until_it_is_through() {
    let simulator = Simulator::open().await;
    let paypal = paypal(&simulator);
    let reference = answered(&simulator, &paypal, Click::AgreeWithSlowBank).await;
    paypal.authorize(&reference, "authorize").await.unwrap();
    for _ in 0..2 {
        unknown(&paypal.capture(&reference, "capture").await);
    }
    unknown(&paypal.void(&reference, "void").await);
    simulator.clear(&reference);
    assert_eq!(paypal.get(&reference).await.unwrap().status, ProviderStatus::Captured);
    assert_eq!(simulator.effects("capture"), 1);
}

#[tokio::test]
async fn whatever_says_nothing_about_the_payment_is_unknown_and_found_by_reading() {
    let simulator = Simulator::open().await;
    let paypal = paypal_within(&simulator.base, CLIENT.1, Duration::from_millis(500));
    let reference = authorized(&simulator, &paypal).await.reference;
    for status in [429, 500, 503, 403, 409] {
        simulator.fail("/capture", Fault::Before(status));
        unknown(&paypal.capture(&reference, "capture").await);
        assert_eq!(paypal.get(&reference).await.unwrap().status, ProviderStatus::Authorized, "{status}");
    }
    simulator.fail("/capture", Fault::Lost);
    unknown(&paypal.capture(&reference, "capture").await);
    assert_eq!(paypal.get(&reference).await.unwrap().status, ProviderStatus::Captured);
    let part = || NewRefund { refund_id: named(1), amount: pounds(300) };
    simulator.fail("/refund", Fault::Silent);
    let late = paypal.give_back(&reference, part(), "part").await;
    assert!(matches!(&late, Err(ProviderError::Unknown(cause)) if cause.contains("500 ms")), "{late:?}");
    assert!(paypal.find_refund(&reference, named(1)).await.unwrap().is_some());
    paypal.give_back(&reference, part(), "part").await.unwrap();
    assert_eq!((simulator.moved(), simulator.effects("refund")), ((1250, 300), 1));
}

#[tokio::test]
async fn one_token_serves_all_calls_and_another_is_fetched_once_when_it_is_refused() {
    let simulator = Simulator::open().await;
    let paypal = paypal(&simulator);
    let all = || {
        let read = |number: u64| {
            let paypal = paypal.clone();
            async move { paypal.get(&format!("nobody{number}")).await }
        };
        futures::future::join_all((0..20).map(read))
    };
    all().await.into_iter().for_each(|answer| drop(refused(answer)));
    assert_eq!(simulator.tokens_issued(), 1);
    simulator.end_token();
    all().await.into_iter().for_each(|answer| drop(refused(answer)));
    assert_eq!(simulator.tokens_issued(), 2, "whoever comes late with the old one does not end the new one");
}

#[tokio::test]
async fn a_secret_that_paypal_does_not_take_declines_nothing() {
    let simulator = Simulator::open().await;
    let rotated = paypal_within(&simulator.base, "of last year", Duration::from_secs(30));
    let answer = rotated.create(new(pounds(1250)), "create").await;
    unknown(&answer);
    assert!(!format!("{answer:?}").contains("of last year"));
    assert_eq!(simulator.orders(), 0);
}
