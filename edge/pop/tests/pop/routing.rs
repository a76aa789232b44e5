//! Which core a request reaches.

use std::net::IpAddr;

use shared::id::USER_EPOCH_MS;
use shared::{OrderId, Slot};

use crate::support::{PATIENT, Store, map, seen, token};

#[tokio::test]
async fn a_request_goes_to_its_users_region_and_without_a_user_to_the_nearest() {
    let store = Store::new();
    let pop = store.pop("").await;
    let account = |slot: u16| pop.http.get(pop.public("/v1/account")).bearer_auth(token(slot));
    assert_eq!(seen(account(2047).send().await.unwrap()).await["region"], "eu");
    assert_eq!(seen(account(2048).send().await.unwrap()).await["region"], "us");
    let guest = pop.http.post(pop.public("/v1/guests")).send().await.unwrap();
    assert_eq!(seen(guest).await["region"], "eu");

    // The order's own slot counts, whoever asks: an alias's order may live elsewhere than its user.
    let order = OrderId::mint(USER_EPOCH_MS, Slot::new(4095).unwrap(), [1; 8]);
    let path = pop.public(&format!("/v1/orders/{order}"));
    assert_eq!(seen(pop.http.get(path).bearer_auth(token(0)).send().await.unwrap()).await["region"], "us");
}

#[tokio::test]
async fn who_is_near_another_region_is_met_there_until_he_has_a_slot() {
    let store = Store::new();
    let pop = store.pop("").await;
    let near = reqwest::Client::builder().no_proxy().local_address(IpAddr::from([127, 0, 1, 7])).build().unwrap();
    let guest = near.post(pop.public("/v1/guests")).send().await.unwrap();
    assert_eq!(seen(guest).await["region"], "us");
    let account = near.get(pop.public("/v1/account")).bearer_auth(token(7)).send().await.unwrap();
    assert_eq!(seen(account).await["region"], "eu", "a slot counts for more than an address");
}

#[tokio::test]
async fn who_waits_for_an_answer_leaves_room_for_who_asks() {
    let store = Store::new();
    // Of three that may be under way one may wait.
    let pop = store.pop("link = { max_in_flight = 3 }").await;
    let follow = || pop.http.get(pop.public("/v1/account")).bearer_auth(token(7)).header("prefer", "wait=10").send();
    assert_eq!(seen(follow().await.unwrap()).await["headers"]["prefer"], "wait=10");
    let entered = store.eu.trap();
    let waiting = tokio::spawn(follow());
    tokio::time::timeout(PATIENT, entered).await.unwrap().unwrap();
    let answered = seen(follow().await.unwrap()).await;
    assert_eq!(answered["headers"].get("prefer"), None, "it is answered at once");
    // Who waited has gone: another may wait.
    waiting.abort();
    let again = async {
        while seen(follow().await.unwrap()).await["headers"].get("prefer").is_none() {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(PATIENT, again).await.expect("a place to wait is free again");
}

#[tokio::test]
async fn who_waits_for_many_answers_leaves_room_for_others_who_wait() {
    let store = Store::new();
    // Of sixteen eight may wait, and two from one place.
    let pop = store.pop("link = { max_in_flight = 16 }").await;
    let follow = |client: &reqwest::Client| {
        client.get(pop.public("/v1/account")).bearer_auth(token(7)).header("prefer", "wait=10").send()
    };
    for _ in 0..2 {
        let entered = store.eu.trap();
        tokio::spawn(follow(&pop.http));
        tokio::time::timeout(PATIENT, entered).await.unwrap().unwrap();
    }
    assert_eq!(seen(follow(&pop.http).await.unwrap()).await["headers"].get("prefer"), None);
    let other = reqwest::Client::builder().no_proxy().local_address(IpAddr::from([127, 0, 1, 7])).build().unwrap();
    assert_eq!(seen(follow(&other).await.unwrap()).await["headers"]["prefer"], "wait=10");
}

#[tokio::test]
async fn a_moved_user_is_followed_at_once_and_nothing_is_done_twice() {
    let store = Store::new();
    let pop = store.pop("").await;
    // Slot 7 has moved; the old owner knows, the PoP does not yet.
    *store.eu.state.map.lock().unwrap() = map(2, 0);
    *store.eu.state.disowns.lock().unwrap() = true;
    let order = pop.http.post(pop.public("/v1/orders")).bearer_auth(token(7)).header("idempotency-key", "k");
    let order = order.header("content-type", "application/json").body("{}").send().await.unwrap();
    let order = seen(order).await;
    assert_eq!((&order["region"], &order["body"]), (&"us".into(), &"{}".into()));
    assert_eq!((store.eu.calls(), store.us.calls()), (1, 1));
    let again = pop.http.get(pop.public("/v1/account")).bearer_auth(token(7)).send().await.unwrap();
    assert_eq!(seen(again).await["region"], "us");
    assert_eq!(store.eu.calls(), 1, "the newer map is kept");
}

#[tokio::test]
async fn a_newer_map_is_found_in_another_region_too() {
    let store = Store::new();
    let pop = store.pop("").await;
    *store.us.state.map.lock().unwrap() = map(2, 0);
    *store.eu.state.disowns.lock().unwrap() = true;
    let account = pop.http.get(pop.public("/v1/account")).bearer_auth(token(7)).send().await.unwrap();
    assert_eq!(seen(account).await["region"], "us");
}

#[tokio::test]
async fn a_user_nobody_owns_for_the_moment_is_a_503() {
    let store = Store::new();
    let pop = store.pop("").await;
    *store.eu.state.disowns.lock().unwrap() = true;
    let answer = pop.http.get(pop.public("/v1/account")).bearer_auth(token(7)).send().await.unwrap();
    assert_eq!(answer.status(), 503);
    assert!(answer.headers().contains_key("retry-after"));
    assert_eq!(store.eu.calls(), 2, "one retry and no more");
}

#[tokio::test]
async fn a_lost_region_costs_its_own_users_only() {
    let mut store = Store::new();
    let pop = store.pop("").await;
    store.eu.stop().await;
    let guest = pop.http.post(pop.public("/v1/guests")).send().await.unwrap();
    assert_eq!(seen(guest).await["region"], "us");
    let at_home = pop.http.get(pop.public("/v1/account")).bearer_auth(token(7)).send().await.unwrap();
    assert_eq!(at_home.status(), 503);
    assert_eq!(at_home.headers()["content-type"], "application/problem+json");
    let elsewhere = pop.http.get(pop.public("/v1/account")).bearer_auth(token(4000)).send().await.unwrap();
    assert_eq!(seen(elsewhere).await["region"], "us");
    assert_eq!(pop.ready().await, 503);
}

#[tokio::test]
async fn a_keyed_write_that_was_lost_is_not_done_again_in_another_region() {
    let mut store = Store::new();
    let pop = store.pop("").await;
    let entered = store.eu.trap();
    let guest = pop.http.post(pop.public("/v1/guests")).header("idempotency-key", "k");
    let asking = tokio::spawn(guest.send());
    entered.await.unwrap();
    store.eu.kill();
    // 503 would say that nothing was done; nobody knows.
    assert_eq!(asking.await.unwrap().unwrap().status(), 504);
    assert_eq!((store.eu.calls(), store.us.calls()), (1, 0));
}
