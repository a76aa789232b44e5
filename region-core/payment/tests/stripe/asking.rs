//! Payments about which the bank asks the shopper, and the events that localstripe signs and sends by itself.

use std::sync::Arc;

use crate::fake::{Fake, WEBHOOK_SECRET, World};
use crate::shop::Shop;

/// Asks the shopper, and pays. See Stripe's list of test cards.
const ASKS: &str = "4000002500003155";
/// Asks the shopper, and then has insufficient funds.
const ASKS_AND_DECLINES: &str = "4000008260003178";

async fn card(world: &World, number: &str) -> String {
    let form = [("type", "card"), ("card[number]", number), ("card[exp_month]", "12"), ("card[exp_year]", "2099")];
    let made = world.post("/v1/payment_methods", &[&form[..], &[("card[cvc]", "123")]].concat()).await;
    made["id"].as_str().unwrap_or_else(|| panic!("{made}")).to_owned()
}

/// The shopper passes the bank's question on Stripe's own page.
async fn answer(world: &World, reference: &str) {
    let intent = world.get(&format!("/v1/payment_intents/{reference}")).await;
    let secret = intent["client_secret"].as_str().unwrap();
    let form = [("client_secret", secret), ("success", "true"), ("key", "pk_test_meridian")];
    world.post(&format!("/v1/payment_intents/{reference}/_authenticate"), &form).await;
}

pub(crate) async fn a_shopper_who_answers(fake: Arc<Fake>) {
    let world = fake.whole();
    let mut shop = Shop::open(world.stripe(), false).await;
    let order = shop.order(&card(&world, ASKS).await).await;
    shop.until(order, "challenge_required").await;
    let reference = shop.reference(order).await;
    assert_eq!(shop.row("challenge_id", order).await, Some((reference.clone(),)));
    answer(&world, &reference).await;
    shop.payments.confirm_challenge(order).await.unwrap();
    shop.until(order, "authorized").await;
    shop.cancel(order).await;
    shop.until(order, "voided").await;
    let intent = world.get(&format!("/v1/payment_intents/{reference}")).await;
    assert_eq!(intent["status"], "canceled");
}

pub(crate) async fn a_signed_event(fake: Arc<Fake>) {
    let world = fake.whole();
    let mut shop = Shop::open(world.stripe(), false).await;
    let endpoint = [("url", shop.webhook.as_str()), ("secret", WEBHOOK_SECRET)];
    world.post("/_config/webhooks/meridian", &endpoint).await;
    let order = shop.order(&card(&world, ASKS_AND_DECLINES).await).await;
    shop.until(order, "challenge_required").await;
    // The shopper never comes back to us: only the event says that there is something to read.
    answer(&world, &shop.reference(order).await).await;
    shop.until(order, "declined").await;
    assert_eq!(shop.row("captured_minor, last_error", order).await, Some((0_i64, Some("card_declined".to_owned()))));
}
