//! Promises about the public pages: one answer for everybody, from the nearest tier, even when no core answers.

#[path = "support/browser.rs"]
mod browser;
#[path = "support/fake.rs"]
mod fake;

use browser::{Browser, Seen};
use edge_app::{fast, router};
use fake::Fake;
use http::{HeaderName, Request};
use shared::{Problem, ProblemKind};

fn shop() -> (Fake, Browser) {
    let platform = Fake::new(fake::demo_products());
    let browser = Browser::new(&router(platform.clone()));
    (platform, browser)
}

/// A public address of every kind.
const PUBLIC: [&str; 11] = [
    "/",
    "/about",
    "/c/garden",
    "/c/garden?order=price-descending&page=2",
    "/p/hearts-wrapping-tape-10123c",
    "/search?q=red+heart",
    "/p/no-such-thing",
    "/v1/categories",
    "/v1/search?q=red&limit=3",
    "/v1/products/hearts-wrapping-tape-10123c",
    "/v1/stock?sku=10123C",
];

#[tokio::test]
async fn the_fast_path_gives_the_routers_answer_byte_for_byte() {
    for address in PUBLIC {
        let (platform, mut browser) = shop();
        let (path, query) = address.split_once('?').unwrap_or((address, ""));
        assert!(fast(&platform, "GET", path, query, |_| None).is_none(), "{address} was in memory before");
        browser.get(address).await;
        let tag = browser.get(address).await.header("etag").to_owned();
        for if_none_match in [None, Some(tag)] {
            let mut request = Request::get(address);
            if let Some(tag) = &if_none_match {
                request = request.header("if-none-match", tag);
            }
            let mut slow = browser.send(request.body(axum::body::Body::empty()).unwrap()).await;
            let hit = fast(&platform, "GET", path, query, |_: &HeaderName| if_none_match.clone()).unwrap();
            let quick = hit.into_http();
            assert_eq!(quick.status(), slow.status, "{address}");
            // The length is the HTTP library's to add, there as here.
            slow.headers.remove("content-length");
            assert_eq!(quick.headers(), &slow.headers, "{address}");
            assert_eq!(quick.body().as_ref(), slow.body.as_bytes(), "{address}");
        }
        assert!(fast(&platform, "POST", path, query, |_| None).is_none());
        platform.turn_clock(31_000);
        assert!(fast(&platform, "GET", path, query, |_| None).is_none(), "{address} was stale and took the fast path");
    }
}

#[tokio::test]
async fn a_page_comes_from_memory_then_from_the_slower_tier_then_from_a_core() {
    let (platform, mut browser) = shop();
    let path = "/p/hearts-wrapping-tape-10123c";
    assert_eq!(browser.get(path).await.cache_status(), "fake; fwd=miss; fwd-status=200; stored; ttl=30");
    assert!(!platform.take_calls().is_empty());
    assert_eq!(browser.get(path).await.cache_status(), "fake; hit; ttl=30; detail=memory");
    platform.run_deferred().await;
    platform.forget_memory();
    platform.turn_clock(10_000);
    let seen = browser.get(path).await;
    assert_eq!(seen.cache_status(), "fake; hit; ttl=20; detail=kv");
    assert_eq!(
        (seen.header("age"), seen.header("cache-tag")),
        ("10", "product:hearts-wrapping-tape-10123c,category:stationery-cards")
    );
    assert_eq!(platform.take_calls(), Vec::<String>::new());
    assert!(platform.inner().kv.lock().unwrap().values().all(|(_, ttl)| *ttl >= 60), "KV refuses less than 60 s");
}

#[tokio::test]
async fn a_slightly_old_page_is_served_at_once_and_renewed_once_afterwards() {
    let (platform, mut browser) = shop();
    browser.get("/c/garden").await;
    platform.run_deferred().await;
    platform.turn_clock(40_000);
    platform.take_calls();
    for _ in 0..5 {
        assert_eq!(browser.get("/c/garden").await.cache_status(), "fake; hit; ttl=-10; detail=memory");
    }
    assert_eq!(platform.take_calls(), Vec::<String>::new(), "somebody waited for a core");
    platform.run_deferred().await;
    let calls = platform.take_calls();
    assert_eq!(calls.iter().filter(|call| call.contains("/v1/search")).count(), 1, "{calls:?}");
    assert_eq!(browser.get("/c/garden").await.cache_status(), "fake; hit; ttl=30; detail=memory");
}

#[tokio::test]
async fn an_edge_that_is_cut_off_keeps_serving_what_it_has() {
    let (platform, mut browser) = shop();
    let before = browser.get("/p/hearts-wrapping-tape-10123c").await;
    platform.switch_cores(false);
    platform.turn_clock(3_600_000);
    let seen = browser.get("/p/hearts-wrapping-tape-10123c").await;
    assert_eq!((seen.status.as_u16(), seen.cache_status()), (200, "fake; hit; ttl=-3570; detail=stale-if-error"));
    assert_eq!(seen.body, before.body);
    let unknown = browser.get("/p/vanilla-scent-candle-jewelled-box-17164b").await;
    assert_eq!((unknown.status.as_u16(), unknown.header("retry-after")), (503, "1"));
    assert!(unknown.text("h1").contains("books"), "{}", unknown.text("h1"));
    platform.turn_clock(25 * 3_600_000);
    assert_eq!(browser.get("/p/hearts-wrapping-tape-10123c").await.status, 503);
}

#[tokio::test]
async fn public_pages_never_ask_anybody_to_sign_in() {
    let (platform, mut browser) = shop();
    let path = "/p/hearts-wrapping-tape-10123c";
    let before = browser.get(path).await;
    platform.turn_clock(3_600_000);
    for kind in [ProblemKind::UplinkRefused, ProblemKind::NotSignedIn, ProblemKind::Forbidden] {
        platform.answer_instead(Some((kind.status(), Problem::new(kind).to_json())));
        let seen = browser.get(path).await;
        assert_eq!((seen.status.as_u16(), &seen.body), (200, &before.body), "{kind:?}");
        assert!(seen.cache_status().ends_with("detail=stale-if-error"), "{kind:?}: {}", seen.cache_status());
        let unknown = browser.get("/p/vanilla-scent-candle-jewelled-box-17164b").await;
        assert_eq!(unknown.status, 502, "{kind:?}");
        assert!(unknown.text("h1").contains("books"), "{kind:?}: {}", unknown.text("h1"));
        platform.turn_clock(6_000);
    }
}

#[tokio::test]
async fn while_cut_off_the_cores_are_not_asked_for_every_page_view() {
    let (platform, mut browser) = shop();
    browser.get("/v1/categories").await;
    platform.switch_cores(false);
    platform.turn_clock(600_000);
    platform.take_calls();
    for _ in 0..20 {
        assert_eq!(browser.get("/v1/categories").await.status, 200);
    }
    assert_eq!(platform.take_calls().len(), 1);
}

#[tokio::test]
async fn what_is_not_there_is_asked_for_again_soon() {
    let (platform, mut browser) = shop();
    let slug = "/v1/products/not-yet";
    assert_eq!(browser.get(slug).await.status, 404);
    assert_eq!(browser.get(slug).await.status, 404);
    assert_eq!(platform.take_calls().len(), 1);
    platform.turn_clock(5_000);
    browser.get(slug).await;
    assert_eq!(platform.take_calls().len(), 1);
    assert!(platform.inner().kv.lock().unwrap().is_empty(), "an absence was kept for long");
}

#[tokio::test]
async fn many_shoppers_at_once_cost_one_fetch() {
    let (platform, _) = shop();
    let router = router(platform.clone());
    let asks = (0..50).map(|_| {
        let router = router.clone();
        async move { Browser::new(&router).get("/v1/search?q=tin").await.status }
    });
    let all = futures_util::future::join_all(asks).await;
    assert!(all.iter().all(|status| *status == 200));
    assert_eq!(platform.take_calls().len(), 1);
}

#[tokio::test]
async fn idle_parameters_do_not_get_past_the_cache() {
    let (platform, mut browser) = shop();
    browser.get("/search?q=tin").await;
    platform.take_calls();
    for address in ["/search?q=tin&utm_source=x", "/search?page=1&q=%20tin", "/search?fbclid=1&q=tin&order=relevance"] {
        assert!(browser.get(address).await.cache_status().contains("; hit;"), "{address}");
    }
    assert_eq!(platform.take_calls(), Vec::<String>::new());
}

#[tokio::test]
async fn every_answer_says_how_it_was_made_and_is_locked_down() {
    let (platform, mut browser) = shop();
    let personal = ["/cart", "/checkout", "/orders", "/account", "/sign-in", "/sign-up", "/cart/count", "/orders/x"];
    let others = [
        "/nowhere",
        "/static/none.css",
        "/img/x.svg",
        "/img/none",
        "/robots.txt",
        "/favicon.svg",
        "/v1/nothing",
        "/v1/account",
    ];
    for down in [false, true] {
        platform.switch_cores(!down);
        for address in PUBLIC.iter().chain(&personal).chain(&others) {
            let seen = browser.get(address).await;
            assert!(
                seen.cache_status().starts_with("fake; ") || seen.cache_status().starts_with("edge-app; "),
                "{address}"
            );
            let policy = seen.header("content-security-policy");
            assert!(policy.contains("default-src 'none'") && !policy.contains("unsafe"), "{address}");
            assert_eq!(seen.header("x-content-type-options"), "nosniff", "{address}");
            assert_eq!(seen.header("cross-origin-opener-policy"), "same-origin", "{address}");
            assert!(!seen.header("cache-control").is_empty(), "{address}");
        }
        for address in personal {
            assert_eq!(browser.get(address).await.header("cache-control"), "private, no-store", "{address}");
        }
    }
}

#[tokio::test]
async fn an_answer_that_is_not_for_everybody_is_never_kept() {
    let (platform, mut browser) = shop();
    browser.get("/v1/cart").await;
    browser.get("/v1/orders").await;
    browser.get("/v1/search?limit=0").await;
    browser.get("/cart").await;
    let kept: Vec<String> = platform.inner().mem.lock().unwrap().keys().cloned().collect();
    assert_eq!(kept, ["/v1/categories"], "something personal was kept");
}

#[tokio::test]
async fn files_of_an_older_release_are_answered_with_the_newer_ones_and_not_kept() {
    let (_, mut browser) = shop();
    let page = browser.get("/").await;
    let style = page.page();
    let link = scraper::Selector::parse("link[rel=stylesheet]").unwrap();
    let href = style.select(&link).next().unwrap().attr("href").unwrap().to_owned();
    let seen = browser.get(&href).await;
    assert_eq!(seen.header("cache-control"), "public, max-age=31536000, immutable");
    let old = browser.get("/static/shop-000000000000000000000000.css").await;
    assert_eq!((old.header("cache-control"), old.body == seen.body), ("no-cache", true));
}

#[tokio::test]
async fn head_has_the_headers_of_get_and_no_body() {
    let (_, mut browser) = shop();
    let get: Seen = browser.get("/about").await;
    let head = browser.send(Request::head("/about").body(axum::body::Body::empty()).unwrap()).await;
    assert_eq!((head.status, head.header("etag"), head.body.as_str()), (get.status, get.header("etag"), ""));
}

#[tokio::test]
async fn stock_is_never_older_than_half_a_second_while_a_core_answers() {
    let (platform, mut browser) = shop();
    let address = "/v1/stock?sku=10123C";
    let before = browser.get(address).await.body;
    platform.inner().core.lock().unwrap().stock.insert("10123C".parse().unwrap(), 9_999);
    platform.turn_clock(400);
    assert_eq!(browser.get(address).await.body, before);
    platform.turn_clock(200);
    assert!(browser.get(address).await.body.contains("9999"));
    platform.switch_cores(false);
    platform.turn_clock(5_000);
    assert!(browser.get(address).await.body.contains("9999"), "for some seconds an old count is better than none");
    platform.turn_clock(10_000);
    assert_eq!(browser.get(address).await.status, 503);
    platform.run_deferred().await;
    let kept = platform.inner().kv.lock().unwrap();
    let holds = |value: &[u8]| String::from_utf8_lossy(value).contains("/v1/stock");
    assert!(!kept.values().any(|(value, _)| holds(value)), "a count outlives the process");
}

#[tokio::test]
async fn a_host_that_keeps_counts_asks_no_core_for_them() {
    let (platform, mut browser) = shop();
    *platform.inner().counts.lock().unwrap() = Some([("10123C".parse().unwrap(), 4)].into());
    for units in [4, 3] {
        platform.inner().counts.lock().unwrap().as_mut().unwrap().insert("10123C".parse().unwrap(), units);
        let told = browser.get("/v1/stock?sku=10123c").await;
        let expected = format!(r#"{{"items":[{{"sku":"10123C","units":{units},"approximate":true}}]}}"#);
        assert_eq!((told.body.as_str(), told.header("cache-control")), (expected.as_str(), "no-store"));
    }
    assert!(platform.take_calls().is_empty());
    browser.get("/v1/stock?sku=10123C&sku=10120").await;
    assert_eq!(platform.take_calls(), ["GET /v1/stock?sku=10123C&sku=10120"], "it does not know one of them");
}

#[tokio::test]
async fn no_count_stands_in_a_page_that_is_kept_for_everybody() {
    let (platform, mut browser) = shop();
    for units in [0, 3, 50] {
        platform.inner().core.lock().unwrap().stock.values_mut().for_each(|stock| *stock = units);
        platform.forget_memory();
        platform.inner().kv.lock().unwrap().clear();
        for address in ["/", "/c/garden", "/search?q=red+heart", "/p/hearts-wrapping-tape-10123c"] {
            let page = browser.get(address).await;
            assert!(page.body.contains("data-stock="), "{address}: its script has no place for a count");
            for words in ["In stock", "Sold out", " left<"] {
                assert!(!page.body.contains(words), "{address} says {words:?}");
            }
        }
    }
    assert!(!platform.take_calls().iter().any(|call| call.contains("/v1/stock")));
}

#[tokio::test]
async fn lists_of_changed_counts_are_for_hosts_alone() {
    let (platform, mut browser) = shop();
    assert_eq!(browser.get("/v1/stock/changes?since=00c0ffee00c0ffee.1").await.status, 404);
    assert!(platform.take_calls().is_empty());
}
