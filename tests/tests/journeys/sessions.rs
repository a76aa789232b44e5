//! Guests, accounts and devices.

use shared::ProblemKind;
use shared::api::account::{Account, Tokens};
use shared::api::order::{OrderPage, OrderStatus};
use tests::shopper::{PASSWORD, email, post};
use tests::{Client, Shopper, goods};

use crate::store::pop;
use crate::through_both;

through_both! {
    a_guest_signs_up_and_stays_who_he_is
    signing_in_on_another_device_brings_cart_and_orders_along
}

async fn a_guest_signs_up_and_stays_who_he_is(origin: &str) {
    let (mut shopper, sku) = (Shopper::guest(origin).await, goods::plenty());
    let (guest, cart) = (shopper.tokens.user_id, shopper.add(&sku, 2).await);
    let email = email();
    shopper.sign_up(&email).await;
    assert_eq!(shopper.tokens.user_id, guest, "credentials are put on the guest's own id");
    assert_eq!(shopper.cart(cart.version).await.lines, cart.lines);
    let account: Account = shopper.get("/v1/account").await.expect(200).json();
    assert_eq!((account.email.as_ref(), account.name.as_deref()), (Some(&email), Some("Ada")));

    let taken = serde_json::json!({ "email": email.as_str().to_uppercase(), "password": PASSWORD });
    let answer = post(&Client::new(origin), "/v1/accounts", None, &taken).await.expect(409);
    assert!(answer.problem().is(ProblemKind::EmailTaken), "an address in other letters is the same address");
}

async fn signing_in_on_another_device_brings_cart_and_orders_along(origin: &str) {
    let (first_thing, second_thing, email) = (goods::plenty(), goods::plenty(), email());
    let mut laptop = Shopper::guest(origin).await;
    laptop.sign_up(&email).await;
    let before = laptop.add(&first_thing, 1).await;

    let mut phone = Shopper::guest(origin).await;
    let guest = phone.tokens.user_id;
    let order = phone.buys(&[(&second_thing, 1)], "tok_success").await;
    assert_eq!(order.status, OrderStatus::Confirmed);
    phone.add(&first_thing, 2).await;
    phone.add(&second_thing, 1).await;
    phone.sign_in(&email).await;
    assert_eq!(phone.tokens.user_id, laptop.tokens.user_id);
    assert_ne!(phone.tokens.user_id, guest);

    let merged = phone.cart(before.version + 1).await;
    let units: Vec<_> = merged.lines.iter().map(|line| (&line.sku, line.quantity.units())).collect();
    assert_eq!(units, [(&first_thing, 3), (&second_thing, 1)]);
    assert_eq!(laptop.cart(merged.version).await, merged, "both devices see one cart");
    phone.sign_in(&email).await;
    assert_eq!(phone.cart(merged.version).await, merged, "signing in again merges nothing twice");

    assert_eq!(laptop.order(order.order_id).await.order_id, order.order_id, "the guest's orders stay reachable");
    let list: OrderPage = laptop.get("/v1/orders").await.expect(200).json();
    assert!(list.items.iter().any(|item| item.order_id == order.order_id), "{list:?}");
}

#[tokio::test]
async fn a_wrong_password_and_an_unknown_address_are_answered_alike() {
    let (mut shopper, known, nobody) = (Shopper::guest(pop()).await, email(), email());
    shopper.sign_up(&known).await;
    let client = Client::new(pop());
    let sign_in = async |email: &str, password: &str| {
        let body = serde_json::json!({ "email": email, "password": password });
        post(&client, "/v1/sessions", None, &body).await.expect(401).problem()
    };
    let wrong = sign_in(known.as_str(), "wrong password").await;
    assert!(wrong.is(ProblemKind::WrongCredentials));
    assert_eq!(wrong, sign_in(nobody.as_str(), PASSWORD).await);
}

#[tokio::test]
async fn a_refresh_token_works_once_and_its_theft_ends_the_session() {
    let shopper = Shopper::guest(pop()).await;
    let first = shopper.tokens.refresh_token.clone();
    let second: Tokens = shopper.refresh(&first).await.expect(200).json();
    let third: Tokens = shopper.refresh(&second.refresh_token).await.expect(200).json();
    assert_eq!(third.user_id, shopper.tokens.user_id);
    // Two uses ago: nobody who lost an answer would still have it, so it was stolen, by him or from him.
    assert!(shopper.refresh(&first).await.expect(401).problem().is(ProblemKind::NotSignedIn));
    let ended = shopper.refresh(&third.refresh_token).await;
    assert!(ended.expect(401).problem().is(ProblemKind::NotSignedIn), "the whole session has ended");
}

#[tokio::test]
async fn a_session_that_was_ended_cannot_be_refreshed() {
    let shopper = Shopper::guest(pop()).await;
    let token = serde_json::json!({ "refresh_token": shopper.tokens.refresh_token });
    post(&shopper.client, "/v1/sessions/end", None, &token).await.expect(204);
    shopper.refresh(&shopper.tokens.refresh_token).await.expect(401);
}

#[tokio::test]
async fn two_sign_ups_of_one_address_at_once_make_one_account() {
    let email = email();
    let body = serde_json::json!({ "email": email, "password": PASSWORD });
    let (one, other) = (Shopper::guest(pop()).await, Shopper::guest(pop()).await);
    let (a, b) = tokio::join!(one.post("/v1/accounts", &body), other.post("/v1/accounts", &body));
    let mut statuses = [a.status, b.status];
    statuses.sort_unstable();
    assert_eq!(statuses, [201, 409]);
    let won = if a.status == 201 { &one } else { &other };
    let mut device = Shopper::guest(pop()).await;
    device.sign_in(&email).await;
    assert_eq!(device.tokens.user_id, won.tokens.user_id);
}
