//! Public pages come from caches, a shopper's own things never do.

use std::time::Duration;

use futures::future::join_all;
use http::Method;
use serde_json::Value;
use tests::{Client, Visitor, client, goods, until};

use crate::store::{pop, worker};
use crate::through_both;

through_both! {
    a_page_that_was_seen_before_comes_from_memory
    whoever_has_a_page_already_gets_304_and_no_bytes
    every_kind_of_answer_says_how_it_was_made
    a_shopper_always_sees_his_own_last_write
    the_api_ignores_cookies
    a_page_has_one_copy_whatever_the_caller_adds
}

/// What a door remembers from before the last import is served this long at most.
const SAME_WITHIN: Duration = Duration::from_secs(90);

/// A page or document of each public kind.
fn public(slug: &str) -> Vec<String> {
    let paths = ["/", "/about", "/search?q=lantern", "/v1/categories", "/v1/products?limit=3", "/v1/search?q=mug"];
    let own = [format!("/p/{slug}"), format!("/v1/products/{slug}"), "/c/test-goods".to_owned()];
    paths.into_iter().map(str::to_owned).chain(own).collect()
}

async fn a_page_that_was_seen_before_comes_from_memory(origin: &str) {
    for path in public("test-plenty-0") {
        Client::new(origin).get(&path).await.expect(200);
        let again = Client::new(origin).get(&path).await.expect(200);
        let said = again.header("cache-status").unwrap_or_default();
        assert!(said.contains("; hit"), "{path}: {said}");
        assert!(again.header("cache-control").unwrap_or_default().contains("public"), "{path}");
        assert!(again.header("age").is_some() && again.header("etag").is_some(), "{path}: {:?}", again.headers);
    }
}

async fn whoever_has_a_page_already_gets_304_and_no_bytes(origin: &str) {
    let client = Client::new(origin);
    for path in public("test-plenty-1") {
        let first = client.get(&path).await.expect(200);
        let tag = first.header("etag").unwrap_or_else(|| panic!("{path} has no ETag"));
        let ask = |tag: &str| client.request(Method::GET, &path).header("if-none-match", tag);
        let same = client::send(ask(tag)).await.expect(304);
        assert!(same.body.is_empty() && same.header("etag") == Some(tag), "{path}");
        let other = client::send(ask("\"other\"")).await.expect(200);
        assert_eq!(other.body, first.body, "{path}");
    }
}

/// The harness checks `Cache-Status` on every answer; here are those that come about in special ways.
async fn every_kind_of_answer_says_how_it_was_made(origin: &str) {
    let client = Client::new(origin);
    for (path, status) in [
        ("/nowhere", 404),
        ("/p/no-such-product", 404),
        ("/v1/nowhere", 404),
        ("/v1/products/no-such-product", 404),
        ("/v1/search?limit=many", 422),
        ("/v1/cart", 401),
        ("/v1/orders/not-an-id", 401),
        ("/cart", 200),
        ("/checkout", 200),
        ("/favicon.svg", 200),
    ] {
        client.get(path).await.expect(status);
    }
    client::send(client.request(Method::DELETE, "/v1/cart")).await.expect(405);
    client::send(client.request(Method::POST, "/v1/guests").body("x")).await.expect(415);
    client::send(client.request(Method::HEAD, "/")).await.expect(200);
}

async fn a_shopper_always_sees_his_own_last_write(origin: &str) {
    let (visitor, sku) = (Visitor::new(origin), goods::plenty());
    for units in 1..=8_u64 {
        let page = visitor.add(&sku).await;
        assert_eq!(page.texts("[data-units]"), [units.to_string()], "after {units} additions");
        let count: Value = visitor.open("/cart/count").await.expect(200).answer.json();
        assert_eq!(count["units"].as_u64(), Some(units));
        let cart = visitor.open("/cart").await.expect(200);
        assert_eq!(cart.texts("[data-units]"), [units.to_string()]);
        assert!(cart.answer.header("cache-control").unwrap_or_default().contains("no-store"));
    }
}

async fn the_api_ignores_cookies(origin: &str) {
    let visitor = Visitor::new(origin);
    visitor.add(&goods::plenty()).await;
    let session = visitor.cookie("__Host-session").expect("the first write makes a guest");
    let by_cookie = visitor.send(visitor.client.request(Method::GET, "/v1/cart")).await;
    by_cookie.expect(401);
    let by_token = visitor.client.request(Method::GET, "/v1/cart").bearer_auth(&session);
    assert_eq!(client::send(by_token).await.expect(200).json::<Value>()["units"], 1);
}

async fn a_page_has_one_copy_whatever_the_caller_adds(origin: &str) {
    let plain = Client::new(origin).get("/p/test-plenty-2").await.expect(200);
    for (name, value) in [
        ("x-forwarded-host", "evil.example"),
        ("x-forwarded-proto", "gopher"),
        ("x-original-url", "/account"),
        ("x-rewrite-url", "/account"),
        ("x-user-id", "1"),
        ("forwarded", "host=evil.example"),
        ("accept-language", "tlh"),
        ("user-agent", "<script>alert(1)</script>"),
        ("cookie", "__Host-session=canary; x=evil.example"),
        ("authorization", "Bearer canary"),
    ] {
        let client = Client::new(origin);
        let answer = client::send(client.request(Method::GET, "/p/test-plenty-2?utm=evil").header(name, value)).await;
        assert_eq!(answer.expect(200).body, plain.body, "{name} changed a public page");
    }
}

#[tokio::test]
async fn a_crowd_that_wants_one_page_gets_one_page() {
    let asked = (0..40).map(async |_| Client::new(pop()).get("/c/test-goods?page=2").await.expect(200).body);
    let bodies = join_all(asked).await;
    assert!(bodies.windows(2).all(|two| two[0] == two[1]));
}

/// The Worker counts in 32 bits and the PoP in 64, and each renders pages and drawings by itself.
#[tokio::test]
async fn both_doors_show_the_same_shop() {
    let (near, far) = (Client::new(pop()), Client::new(worker()));
    let drawings = ["/img/test-plenty-3.svg", "/img/vintage-red-mug-21066.svg"].map(str::to_owned);
    let products = ["vintage-red-mug-21066", "red-retrospot-mug-21844"].map(|slug| format!("/p/{slug}"));
    for path in public("test-plenty-3").into_iter().chain(drawings).chain(products) {
        let same = async || {
            let (one, other) = (near.get(&path).await.expect(200), far.get(&path).await.expect(200));
            (one.body == other.body && one.header("etag") == other.header("etag")).then_some(())
        };
        until(&format!("{path} is the same at both doors"), SAME_WITHIN, same).await;
    }
}
