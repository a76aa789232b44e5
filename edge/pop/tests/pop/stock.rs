//! Counts of stock: kept at the PoP, for shoppers and Workers alike.

use std::time::Duration;

use serde_json::{Value, json};
use shared::api::stock::StockCount;

use crate::support::{Core, PATIENT, RunningPop, Store};
use crate::uplink::Worker;

fn counts(core: &Core, units: u64) {
    *core.state.stock.lock().unwrap() = vec![StockCount { sku: "MUG".parse().unwrap(), units }];
}

async fn public(pop: &RunningPop) -> Value {
    pop.http.get(pop.public("/v1/stock?sku=MUG")).send().await.unwrap().json().await.unwrap()
}

async fn uplink(pop: &RunningPop) -> Value {
    let asked = Worker::new(pop).request(reqwest::Method::GET, "/v1/stock?sku=MUG", "", "");
    asked.send().await.unwrap().json().await.unwrap()
}

/// Looks until shoppers and Workers are both told that number.
async fn until_told(pop: &RunningPop, units: u64) {
    let expected = json!({ "items": [{ "sku": "MUG", "units": units, "approximate": true }] });
    let told = async {
        let mut looks = tokio::time::interval(Duration::from_millis(20));
        while public(pop).await != expected || uplink(pop).await != expected {
            looks.tick().await;
        }
    };
    tokio::time::timeout(PATIENT, told).await.expect("the PoP hears of the change");
}

#[tokio::test]
async fn counts_are_followed_and_served_without_asking_a_core() {
    let store = Store::new();
    counts(&store.eu, 7);
    let pop = store.pop("").await;
    until_told(&pop, 7).await;
    let asked = store.eu.calls();
    counts(&store.eu, 3);
    until_told(&pop, 3).await;
    assert_eq!((store.eu.calls(), store.us.calls()), (asked, 0), "a core was asked for what the PoP keeps");
}

#[tokio::test]
async fn while_the_nearest_region_is_away_another_tells() {
    let mut store = Store::new();
    counts(&store.eu, 7);
    counts(&store.us, 5);
    let pop = store.pop("").await;
    until_told(&pop, 7).await;
    store.eu.stop().await;
    until_told(&pop, 5).await;
}

#[tokio::test]
async fn a_sku_that_nobody_spoke_of_is_asked_of_a_core_as_it_came() {
    let store = Store::new();
    counts(&store.eu, 7);
    let pop = store.pop("").await;
    until_told(&pop, 7).await;
    let asked = Worker::new(&pop).request(reqwest::Method::GET, "/v1/stock?sku=JAR", "", "");
    let seen = crate::support::seen(asked.send().await.unwrap()).await;
    assert_eq!((&seen["region"], &seen["target"]), (&json!("eu"), &json!("/v1/stock?sku=JAR")));
}
