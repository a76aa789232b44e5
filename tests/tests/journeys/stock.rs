//! Counts of stock, from the shards to whoever looks: soon, in sum over all regions, and never in the way of an order.

use std::time::Duration;

use bytes::Bytes;
use http::{Method, Request};
use shared::api::catalog::StockLevels;
use shared::api::order::{Order, OrderStatus, PaymentStatus};
use shared::api::stock::StockChanges;
use shared::{ProblemKind, Sku};
use tests::client::try_send;
use tests::shopper::key;
use tests::{Books, Client, Options, Shopper, Store, goods, until};

use crate::regions::pool;
use crate::store::{books, pop, worker};
use crate::through_both;

through_both! {
    what_is_bought_and_given_back_shows_in_the_counts
    no_page_for_everybody_holds_a_count
}

/// Far longer than counts take on their way; only a failing test meets it.
const SOON: Duration = Duration::from_secs(20);

/// What the shop says that there is.
async fn counted(client: &Client, sku: &Sku) -> u64 {
    let levels: StockLevels = client.get(&format!("/v1/stock?sku={sku}")).await.expect(200).json();
    let level = levels.items.into_iter().next().expect("a level for what was asked");
    assert!(level.sku == *sku && level.approximate, "{level:?}");
    level.units
}

async fn until_counted(client: &Client, sku: &Sku, units: i64) {
    let units = u64::try_from(units).unwrap();
    let right = async || (counted(client, sku).await == units).then_some(());
    until(&format!("the shop counts {units} of {sku}"), SOON, right).await;
}

async fn what_is_bought_and_given_back_shows_in_the_counts(origin: &str) {
    let (shopper, sku) = (Shopper::guest(origin).await, goods::plenty());
    let before = books().units(&sku).await;
    assert_eq!(before.free, 3 * goods::PLENTY_PER_SHARD, "shards of both regions");
    until_counted(&shopper.client, &sku, before.free).await;
    assert_eq!(shopper.buys(&[(&sku, 7)], "tok_success").await.status, OrderStatus::Confirmed);
    until_counted(&shopper.client, &sku, before.free - 7).await;
    assert_eq!(shopper.buys(&[(&sku, 9)], "tok_decline").await.status, OrderStatus::Cancelled);
    until_counted(&shopper.client, &sku, before.free - 7).await;
    // To both doors, whichever the order came through.
    for door in [pop(), worker()] {
        until_counted(&Client::new(door), &sku, before.free - 7).await;
    }
}

async fn no_page_for_everybody_holds_a_count(origin: &str) {
    let client = Client::new(origin);
    for path in ["/p/test-plenty-3", "/c/test-goods", "/search?q=lantern", "/"] {
        let page = client.get(path).await.expect(200);
        assert!(page.text().contains("data-stock="), "{path}: no place for a count");
        for words in ["In stock", "Sold out", " left<"] {
            assert!(!page.text().contains(words), "{path} says {words:?}");
        }
    }
}

#[tokio::test]
async fn lists_of_changes_are_for_machines_and_counts_of_one_region_for_cores() {
    let ask = async |name: &str, path: &str| {
        let request = Request::get(format!("https://core{path}")).body(Bytes::new()).unwrap();
        pool("eu", name).await.send(request, Duration::from_secs(5)).await.unwrap()
    };
    let first = async || {
        let told = ask("pop.pop-1", "/v1/stock/changes?limit=3").await;
        // 503 while a core that has just begun is still reading.
        let told: StockChanges = serde_json::from_slice(told.body()).ok().filter(|_| told.status() == 200)?;
        (told.items.len() == 3 && told.more).then_some(told)
    };
    let first = until("the core has counted the goods", SOON, first).await;
    let rest = ask("pop.pop-1", &format!("/v1/stock/changes?since={}", first.next)).await;
    let rest: StockChanges = serde_json::from_slice(rest.body()).unwrap();
    assert_eq!(rest.next.board, first.next.board);
    assert!(rest.items.len() > 100, "only {} more", rest.items.len());
    assert_eq!(ask("core.us", "/internal/stock/changes").await.status(), 200);
    assert!(matches!(ask("pop.pop-1", "/internal/stock/changes").await.status().as_u16(), 403 | 404));
    for bad in ["since=17", "limit=0", "colour=red"] {
        assert_eq!(ask("pop.pop-1", &format!("/v1/stock/changes?{bad}")).await.status(), 422, "{bad}");
    }
    for door in [pop(), worker()] {
        Client::new(door).get("/v1/stock/changes").await.expect(404);
    }
}

#[tokio::test]
async fn a_hold_that_runs_out_gives_its_units_back_and_takes_no_money() {
    let store = Store::start("hold-runs-out", &Options::SMALL).await;
    let (books, sku) = (Books::of(&store.sites), goods::plenty());
    let (shopper, before) = (Shopper::guest(&store.sites.addresses.shop).await, books.units(&sku).await);
    let order = shopper.order_of(&[(&sku, 3)], "tok_challenge").await;
    let placed: Order = shopper.place(&key(), &order).await.expect(201).json();
    // The bank waits for a shopper who has gone away.
    let asked = async || {
        Some(shopper.order(placed.order_id).await).filter(|order| order.payment == PaymentStatus::ChallengeRequired)
    };
    until("the bank asks the shopper", Duration::from_secs(20), asked).await;
    let held = books.units(&sku).await;
    assert_eq!((held.free, held.reserved), (before.free - 3, 3));
    until_counted(&shopper.client, &sku, before.free - 3).await;

    store.system.shards[&1].reconfigure(&[("meridian.clock_offset", "3 hours")]).unwrap();
    let ended = shopper.decided(placed.order_id).await;
    assert_eq!(ended.status, OrderStatus::Cancelled);
    assert!(ended.cancel_reason.is_some_and(|reason| reason.contains("time")), "the shopper is told why");
    assert_eq!(books.units(&sku).await, before);
    let voided =
        async || Some(shopper.order(placed.order_id).await).filter(|order| order.payment == PaymentStatus::Voided);
    until("the payment is voided", Duration::from_secs(20), voided).await;
    assert_eq!(status_at_the_provider(&store, &books, &shopper).await, "voided");
    assert_eq!(books.movements_of(shopper.tokens.user_id).await, 0);
    until_counted(&shopper.client, &sku, before.free).await;

    let late = shopper.post(&format!("/v1/orders/{}/payment/confirm", placed.order_id), &serde_json::json!({})).await;
    assert!(late.expect(409).problem().is(ProblemKind::OrderState), "who comes back too late is told so");
    books.conserve_units().await;
    store.system.stop().await.unwrap();
}

/// The status of a shopper's only payment in the provider's own books.
async fn status_at_the_provider(store: &Store, books: &Books, shopper: &Shopper) -> String {
    let orders = books.orders_of(shopper.tokens.user_id).await;
    let payment = orders[0].payment_id.as_ref().expect("the order has a payment");
    let sandbox = Client::new(&store.sites.addresses.sandbox);
    let asked = sandbox.request(Method::GET, &format!("/v1/payments?reference={payment}"));
    let told: serde_json::Value = try_send(asked).await.unwrap().expect(200).json();
    told["status"].as_str().unwrap().to_owned()
}
