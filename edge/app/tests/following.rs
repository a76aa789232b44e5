//! Promises about following an order: told of each state once and in order, to its shopper alone, and not for ever.

#![expect(clippy::unwrap_used, reason = "tests")]

#[path = "support/browser.rs"]
mod browser;
#[path = "support/fake.rs"]
mod fake;

use std::sync::atomic::Ordering;

use axum::Router;
use axum::body::Body;
use browser::{Browser, HOST, Seen, with};
use edge_app::{LONGEST_STREAM, NoPlace, router};
use fake::Fake;
use http::Request;
use serde_json::Value;

fn shop() -> (Fake, Router) {
    let platform = Fake::new(fake::demo_products());
    platform.inner().holds.store(true, Ordering::SeqCst);
    let router = router(platform.clone());
    (platform, router)
}

/// The path of an order that is paid so.
async fn order(browser: &mut Browser, payment: &str) -> String {
    browser.post_pairs("/cart/add", &[("sku", "10123C"), ("quantity", "1")]).await;
    let address = [("name", "Ada"), ("line1", "1 High Street"), ("city", "York"), ("postal_code", "YO1 7HH")];
    let form = browser.get("/checkout").await.form("/checkout");
    let seen = browser.post("/checkout", &with(with(form, &address), &[("payment", payment)])).await;
    seen.location().to_owned()
}

async fn listen(browser: &mut Browser, order: &str, heard: Option<&str>) -> Seen {
    let request = Request::get(format!("{order}/live")).header("host", HOST).header("accept", "text/event-stream");
    let request = heard.into_iter().fold(request, |request, tag| request.header("last-event-id", tag));
    browser.send(request.body(Body::empty()).unwrap()).await
}

/// The events' ids and data.
fn events(stream: &Seen) -> Vec<(String, Value)> {
    let field = |event: &str, name: &str| event.lines().find_map(|line| line.strip_prefix(name).map(str::to_owned));
    let read = |event: &str| Some((field(event, "id: ")?, serde_json::from_str(&field(event, "data: ")?).unwrap()));
    stream.body.split("\n\n").filter_map(read).collect()
}

fn headlines(events: &[(String, Value)]) -> Vec<&str> {
    events.iter().map(|(_, said)| said["headline"].as_str().unwrap()).collect()
}

#[tokio::test]
async fn each_state_is_told_once_until_the_streams_time_is_over() {
    let (platform, router) = shop();
    let mut browser = Browser::new(&router);
    let order = order(&mut browser, "tok_timeout").await;
    let began = platform.inner().now_ms.load(Ordering::SeqCst);
    let stream = listen(&mut browser, &order, None).await;
    let told = events(&stream);
    assert_eq!(headlines(&told), ["We are taking the payment", "Thank you, it is yours"]);
    assert!(told.iter().all(|(id, said)| said["tag"] == id.as_str() && said["follow"] == true));
    assert!(stream.body.starts_with("retry: 2000\n\nid: ") && stream.body.ends_with(":\n\n"), "{}", stream.body);
    let took = u128::from(platform.inner().now_ms.load(Ordering::SeqCst) - began);
    assert!((LONGEST_STREAM.as_millis()..LONGEST_STREAM.as_millis() + 10_000).contains(&took), "{took} ms");

    let again = listen(&mut browser, &order, Some(&told[1].0)).await;
    assert!(events(&again).is_empty(), "told twice: {}", again.body);
    let older = listen(&mut browser, &order, Some(&told[0].0)).await;
    assert_eq!(headlines(&events(&older)), ["Thank you, it is yours"]);
}

#[tokio::test]
async fn a_stream_is_kept_by_nobody_and_packed_by_nobody() {
    let (_, router) = shop();
    let mut browser = Browser::new(&router);
    let order = order(&mut browser, "tok_decline").await;
    let stream = listen(&mut browser, &order, None).await;
    assert_eq!(stream.status, 200);
    for (name, value) in [
        ("content-type", "text/event-stream"),
        ("cache-control", "private, no-store, no-transform"),
        ("x-accel-buffering", "no"),
        ("content-length", ""),
        ("content-encoding", ""),
    ] {
        assert_eq!(stream.header(name), value, "{name}");
    }
}

#[tokio::test]
async fn with_an_orders_last_state_the_stream_ends_and_nobody_comes_back_for_more() {
    let (platform, router) = shop();
    let mut browser = Browser::new(&router);
    let order = order(&mut browser, "tok_decline").await;
    let told = events(&listen(&mut browser, &order, None).await);
    assert_eq!((headlines(&told), &told[0].1["follow"]), (vec!["The payment was declined"], &Value::Bool(false)));
    assert_eq!(told[0].1["act"]["action"], format!("{order}/again"));
    platform.take_calls();
    assert_eq!(listen(&mut browser, &order, Some(&told[0].0)).await.status, 204);
    assert_eq!(platform.take_calls().len(), 1, "asked for more");
    assert!(!browser.get(&order).await.body.contains("data-follow"));
}

#[tokio::test]
async fn a_parcel_is_told_as_the_page_shows_it() {
    let (platform, router) = shop();
    let mut browser = Browser::new(&router);
    let order = order(&mut browser, "tok_success").await;
    platform.send_parcels(1, true);
    let told = events(&listen(&mut browser, &order, None).await);
    let parcel = &told[0].1["parcels"][0];
    let page = browser.get(&order).await;
    assert!(page.body.contains("data-follow"));
    for word in ["carrier", "code", "holds", "said"] {
        assert!(page.text("[data-parcels]").contains(parcel[word].as_str().unwrap()), "{word}: {parcel}");
    }
    assert_eq!(page.text("h1"), told[0].1["headline"]);
    assert_eq!(page.text("[data-payment]"), told[0].1["payment"]);
}

#[tokio::test]
async fn nobody_follows_anothers_order() {
    let (_, router) = shop();
    let (mut ada, mut bob) = (Browser::new(&router), Browser::new(&router));
    let (adas, _) = (order(&mut ada, "tok_success").await, order(&mut bob, "tok_success").await);
    assert_eq!(listen(&mut bob, &adas, None).await.status, 404);
    assert_eq!(listen(&mut Browser::new(&router), &adas, None).await.status, 401);
    assert_eq!(listen(&mut ada, "/orders/x", None).await.status, 404);
}

#[tokio::test]
async fn where_nobody_waits_for_a_change_the_reader_is_asked_to_come_back_later() {
    let (platform, router) = shop();
    let mut browser = Browser::new(&router);
    let order = order(&mut browser, "tok_success").await;
    platform.inner().holds.store(false, Ordering::SeqCst);
    platform.take_calls();
    let stream = listen(&mut browser, &order, None).await;
    assert_eq!(events(&stream).len(), 1);
    assert!(stream.body.ends_with("\n\nretry: 10000\n\n"), "{}", stream.body);
    assert_eq!(platform.take_calls().len(), 2, "asked without a pause");
    for (why, status) in [(NoPlace::Full, 503), (NoPlace::ReaderHasMost, 429)] {
        *platform.inner().no_place.lock().unwrap() = Some(why);
        let refused = listen(&mut browser, &order, None).await;
        assert_eq!((refused.status.as_u16(), refused.header("retry-after")), (status, "10"));
    }
    assert_eq!(browser.get(&format!("{order}/status")).await.status, 200, "the page looks by itself");
}
