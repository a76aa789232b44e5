//! Cores that are killed.

use std::time::Duration;

use futures::future::join_all;
use shared::api::order::OrderStatus;
use shared::{ProblemKind, Sku};
use tests::shopper::key;
use tests::{Books, Client, Options, Shopper, Sites, Store, goods, until};
use tokio::sync::mpsc;
use tokio::time::Instant;

use crate::support::{Buyer, place_until_known};

/// Buyers at once, and what each buys: together they keep the killed core busy at any moment.
const BUYERS: usize = 6;
const ORDERS: usize = 8;
/// "At once", on a machine that is busy: half of the time that the PoP would give an answer.
const REFUSED_WITHIN: Duration = Duration::from_secs(5);

/// Places orders until the cores know which of them is preferred, and one has handed an order to the other; says how many.
async fn orders_until_one_is_handed_over(sites: &Sites, sku: &Sku) -> usize {
    let shopper = Shopper::guest(&sites.addresses.shop).await;
    let (order, mut placed) = (shopper.order_of(&[(sku, 1)], "tok_success").await, 0);
    let handed_over = async || {
        place_until_known(&shopper, &key(), &order).await;
        placed += 1;
        (sites.counted("orders_handed_over_total").await > 0.0).then_some(())
    };
    until("an order is handed over", Duration::from_secs(30), handed_over).await;
    placed
}

#[tokio::test]
async fn the_preferred_core_killed_among_orders_loses_none_and_doubles_none() {
    let mut store = Store::start("core-killed", &Options { cores: 2, ..Options::SMALL }).await;
    let (sites, books, sku) = (store.sites.clone(), Books::of(&store.sites), goods::plenty());
    let (tell, mut told) = mpsc::unbounded_channel();
    let preferred = books.preferred_core(1).await;
    let before = orders_until_one_is_handed_over(&sites, &sku).await;
    let buying = join_all((0..BUYERS).map(async |_| {
        let shopper = Shopper::guest(&sites.addresses.shop).await;
        let order = shopper.order_of(&[(&sku, 1)], "tok_success").await;
        let mut acknowledged = Vec::new();
        for _ in 0..ORDERS {
            let key = key();
            acknowledged.push((key.clone(), place_until_known(&shopper, &key, &order).await));
            tell.send(()).unwrap();
        }
        Buyer { shopper, acknowledged }
    }));
    let killing = async {
        // Amid the orders: some are answered, some under way, some still to come.
        for _ in 0..BUYERS * 2 {
            told.recv().await.unwrap();
        }
        store.system.part_mut(&preferred).unwrap().kill().await.unwrap();
        books.prefers_another(1, &preferred).await;
    };
    let (buyers, ()) = tokio::join!(buying, killing);

    for buyer in &buyers {
        buyer.got_what_was_acknowledged(&books).await;
    }
    // Those who bought before were not waited for, and the dead core may have had their payments in hand.
    let settled = async || Some(books.units(&sku).await).filter(|units| units.reserved == 0);
    let units = until("no unit is held any more", Duration::from_secs(90), settled).await;
    let placed = i64::try_from(before + BUYERS * ORDERS).unwrap();
    assert_eq!(units.free + units.sold, units.supplied);
    assert!(units.sold <= placed, "{units:?}");
    books.conserve_units().await;
    store.system.part_mut(&preferred).unwrap().restart().await.unwrap();
    store.system.stop().await.unwrap();
}

#[tokio::test]
async fn without_any_core_pages_are_served_and_orders_are_refused_at_once_until_one_returns() {
    let mut store = Store::start("cores-gone", &Options::SMALL).await;
    let (origin, sku) = (store.sites.addresses.shop.clone(), goods::plenty());
    let (client, shopper) = (Client::new(&origin), Shopper::guest(&origin).await);
    let slug = sku.as_str().to_lowercase();
    let seen = client.get(&format!("/p/{slug}")).await.expect(200);
    let order = shopper.order_of(&[(&sku, 1)], "tok_success").await;
    store.system.part_mut("core.eu-1").unwrap().kill().await.unwrap();

    let asked = Instant::now();
    // What is under way when the core dies may only be known to be unknown; from then on it is refused at once.
    let refused = async || Some(shopper.place("later", &order).await).filter(|answer| answer.status == 503);
    let refused = until("orders are refused for want of a core", Duration::from_secs(8), refused).await;
    assert!(refused.problem().is(ProblemKind::Unavailable), "{}", refused.text());
    let again = Instant::now();
    shopper.place("later", &order).await.expect(503);
    assert!(again.elapsed() < REFUSED_WITHIN, "a refusal took {:?}", again.elapsed());
    assert_eq!(client.get(&format!("/p/{slug}")).await.expect(200).body, seen.body, "the page is still there");
    for path in ["/cart", "/checkout"] {
        client.get(path).await.expect(200);
    }
    assert!(asked.elapsed() < Duration::from_secs(25), "all that took {:?}", asked.elapsed());

    store.system.part_mut("core.eu-1").unwrap().restart().await.unwrap();
    let id = place_until_known(&shopper, "later", &order).await;
    assert_eq!(shopper.decided(id).await.status, OrderStatus::Confirmed);
    assert_eq!(Books::of(&store.sites).money_matches(shopper.tokens.user_id).await.len(), 1);
    store.system.stop().await.unwrap();
}

#[tokio::test]
async fn a_core_with_a_foreign_certificate_serves_nobody() {
    let mut store = Store::start("core-foreign", &Options::SMALL).await;
    let (origin, sku) = (store.sites.addresses.shop.clone(), goods::plenty());
    let shopper = Shopper::guest(&origin).await;
    let order = shopper.order_of(&[(&sku, 1)], "tok_success").await;
    store.system.part_mut("core.eu-1").unwrap().stop().await.unwrap();
    let kept = store.replace_certificate("core.eu");
    store.system.part_mut("core.eu-1").unwrap().restart().await.unwrap();

    let refused = async || Some(shopper.place("foreign", &order).await).filter(|answer| answer.status == 503);
    until("the PoP refuses the core's certificate", Duration::from_secs(10), refused).await;
    let ops = Client::new(&store.sites.addresses.pop_ops);
    let ready = tests::client::try_send(ops.request(http::Method::GET, "/ops/ready")).await.unwrap();
    assert_eq!(ready.status, 503, "a PoP without any core it can trust is not ready: {}", ready.text());
    assert_eq!(Books::of(&store.sites).orders_of(shopper.tokens.user_id).await, []);

    store.system.part_mut("core.eu-1").unwrap().stop().await.unwrap();
    kept.restore();
    store.system.part_mut("core.eu-1").unwrap().restart().await.unwrap();
    place_until_known(&shopper, "foreign", &order).await;
    store.system.stop().await.unwrap();
}
