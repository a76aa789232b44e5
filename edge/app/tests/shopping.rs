//! Promises about shoppers: who they are, what only they see, and an order placed with plain forms.

#![expect(clippy::unwrap_used, reason = "tests")]

#[path = "support/browser.rs"]
mod browser;
#[path = "support/fake.rs"]
mod fake;

use axum::Router;
use axum::body::Body;
use browser::{Browser, HOST, Seen, with};
use edge_app::router;
use fake::{Fake, PUSH_KEY};
use http::Request;
use shared::api::order::OrderItem;
use shared::api::origin::Origin;
use shared::token::{self, KeyId};
use shared::{Problem, ProblemKind, Quantity};

const TAPE: &str = "10123C";
const GLOBE: &str = "10120";

fn shop() -> (Fake, Router) {
    let platform = Fake::new(fake::demo_products());
    for units in platform.inner().core.lock().unwrap().stock.values_mut() {
        *units = 50;
    }
    let router = router(platform.clone());
    (platform, router)
}

async fn add(browser: &mut Browser, sku: &str, quantity: &str) -> Seen {
    browser.post_pairs("/cart/add", &[("sku", sku), ("quantity", quantity)]).await
}

/// Fills the checkout form as it stands and sends it.
async fn check_out(browser: &mut Browser, changes: &[(&str, &str)]) -> (Vec<(String, String)>, Seen) {
    let page = browser.get("/checkout").await;
    assert_eq!(page.status, 200, "{}", page.body);
    let address =
        [("name", "Ada Lovelace"), ("line1", "12 St James's Square"), ("city", "London"), ("postal_code", "SW1Y 4JH")];
    let form = with(with(page.form("/checkout"), &address), changes);
    let seen = browser.post("/checkout", &form).await;
    (form, seen)
}

fn key(form: &[(String, String)]) -> &str {
    &form.iter().find(|(name, _)| name == "key").unwrap().1
}

/// What every order on the list has one of.
fn badge() -> scraper::Selector {
    scraper::Selector::parse(".badge").unwrap()
}

#[tokio::test]
async fn whoever_wants_to_be_texted_names_a_number_and_sees_it_with_the_order() {
    let (_platform, router) = shop();
    let mut browser = Browser::new(&router);
    add(&mut browser, TAPE, "1").await;
    let (_, refused) = check_out(&mut browser, &[("text_me", "yes"), ("phone", "07700 900123")]).await;
    assert_eq!(refused.status, 422);
    assert!(refused.body.contains("Enter a number with its country&#39;s code"), "{}", refused.body);
    let form = with(refused.form("/checkout"), &[("phone", "+44 7700 900123")]);
    assert!(form.contains(&("text_me".to_owned(), "yes".to_owned())), "the box stays ticked");
    let placed = browser.post("/checkout", &form).await;
    assert!(browser.get(placed.location()).await.body.contains("<dt>Texts go to</dt><dd>+447700900123</dd>"));
}

#[tokio::test]
async fn a_browser_that_is_to_tell_of_an_order_is_named_to_the_core_and_forgotten_again() {
    let (platform, router) = shop();
    let mut browser = Browser::new(&router);
    let page = browser.get("/push.js").await;
    assert_eq!((page.status.as_u16(), page.header("cache-control")), (200, "no-cache"));
    assert_eq!(page.header("content-type"), "text/javascript; charset=utf-8");
    assert!(page.header("content-security-policy").contains("worker-src 'self'"));
    add(&mut browser, TAPE, "1").await;
    let order = check_out(&mut browser, &[]).await.1.location().to_owned();
    let page = browser.get(&order).await;
    let form = format!("<form action=\"{order}/push\" method=\"post\" data-push=\"{PUSH_KEY}\" hidden>");
    assert!(page.body.contains(&form), "{}", page.body);
    let path = format!("{order}/push");
    let sent = [("endpoint", "https://push.example/p/1"), ("p256dh", "BCVx"), ("auth", "BTBZ")];
    assert_eq!(browser.post_pairs(&path, &sent).await.body, r#"{"told":true}"#);
    let told = platform.inner().core.lock().unwrap().pushed_to.clone().unwrap();
    assert_eq!((told.endpoint.as_str(), told.keys.auth.as_str()), ("https://push.example/p/1", "BTBZ"));
    assert_eq!(browser.post_pairs(&path, &[("off", "yes")]).await.body, r#"{"told":false}"#);
    assert_eq!(platform.inner().core.lock().unwrap().pushed_to, None);
    let mut stranger = Browser::new(&router);
    add(&mut stranger, TAPE, "1").await;
    assert_eq!(stranger.post_pairs(&path, &sent).await.status, 404);
}

#[tokio::test]
async fn looking_around_makes_nobody_a_guest() {
    let (platform, router) = shop();
    let mut browser = Browser::new(&router);
    for path in ["/", "/c/garden", "/search", "/cart", "/cart/count", "/checkout", "/orders", "/sign-in", "/account"] {
        browser.get(path).await;
    }
    assert!(browser.cookies.is_empty());
    assert!(platform.take_calls().iter().all(|call| call.starts_with("GET ")), "something was written");
}

#[tokio::test]
async fn the_first_item_makes_a_guest_with_locked_cookies() {
    let (platform, router) = shop();
    let mut browser = Browser::new(&router);
    let seen = add(&mut browser, TAPE, "2").await;
    assert_eq!((seen.status.as_u16(), seen.location()), (303, "/cart?notice=added"));
    let cookies: Vec<_> = seen.headers.get_all("set-cookie").iter().map(|cookie| cookie.to_str().unwrap()).collect();
    assert_eq!(cookies.len(), 3);
    for (cookie, name) in cookies.iter().zip(["__Host-session=", "__Host-refresh=", "__Host-cart="]) {
        assert!(cookie.starts_with(name), "{cookie}");
        assert!(cookie.ends_with("; HttpOnly; Secure; SameSite=Lax") && cookie.contains("; Path=/;"), "{cookie}");
    }
    let cart = browser.get("/cart").await;
    assert!(cart.text(".lines .line-title").contains("Hearts Wrapping Tape"));
    assert_eq!(browser.get("/cart/count").await.body, r#"{"units":2}"#);
    assert_eq!(platform.take_calls().iter().filter(|call| *call == "POST /v1/guests").count(), 1);
}

#[tokio::test]
async fn a_shopper_sees_his_own_last_write_and_another_devices_within_five_seconds() {
    let (platform, router) = shop();
    let mut phone = Browser::new(&router);
    add(&mut phone, TAPE, "1").await;
    let mut desk = Browser::new(&router);
    desk.cookies = phone.cookies.clone();
    assert_eq!(desk.get("/cart/count").await.body, r#"{"units":1}"#);
    add(&mut phone, TAPE, "4").await;
    assert_eq!(phone.get("/cart/count").await.body, r#"{"units":5}"#, "own write");
    assert_eq!(desk.get("/cart/count").await.body, r#"{"units":1}"#, "cached");
    platform.turn_clock(5_000);
    assert_eq!(desk.get("/cart/count").await.body, r#"{"units":5}"#);
}

#[tokio::test]
async fn a_basket_is_asked_for_once_in_five_seconds() {
    let (platform, router) = shop();
    let mut browser = Browser::new(&router);
    add(&mut browser, TAPE, "1").await;
    platform.take_calls();
    for _ in 0..10 {
        browser.get("/cart/count").await;
    }
    assert_eq!(platform.take_calls(), Vec::<String>::new());
    platform.turn_clock(5_000);
    browser.get("/cart/count").await;
    assert_eq!(platform.take_calls().len(), 1);
}

#[tokio::test]
async fn the_script_gets_the_basket_as_json() {
    let (_, router) = shop();
    let mut browser = Browser::new(&router);
    let request = |body: &'static str| {
        Request::post("/cart/add")
            .header("host", HOST)
            .header("origin", format!("https://{HOST}"))
            .header("accept", "application/json")
            .header("content-type", "application/x-www-form-urlencoded")
            .body(Body::from(body))
            .unwrap()
    };
    let seen = browser.send(request("sku=10123c&quantity=3")).await;
    let said: serde_json::Value = serde_json::from_str(&seen.body).unwrap();
    assert_eq!((said["units"].as_u64(), said["total"].as_str()), (Some(3), Some("£1.95")));
    let gone = browser.send(request("sku=NEVER&quantity=1")).await;
    assert_eq!((gone.status.as_u16(), gone.header("content-type")), (422, "application/problem+json"));
}

#[tokio::test]
async fn an_add_whose_answer_was_lost_is_one_operation_and_is_looked_up_and_not_repeated() {
    let (platform, router) = shop();
    let mut browser = Browser::new(&router);
    add(&mut browser, GLOBE, "1").await;
    platform.lose_answers(Some("/v1/cart/operations"));
    platform.inner().calls.lock().unwrap().clear();
    assert_eq!(add(&mut browser, TAPE, "2").await.location(), "/cart?notice=unsure");
    let sent = platform.inner().calls.lock().unwrap().clone();
    assert_eq!(sent.len(), 2, "one repetition");
    assert_eq!(sent[0].body(), sent[1].body(), "the repetition is another operation");
    platform.lose_answers(None);
    platform.turn_clock(5_000);
    let basket = browser.get("/cart?notice=unsure").await;
    assert!(basket.text(".notice").contains("whether it arrived"), "{}", basket.text(".notice"));
    assert!(basket.body.contains("Hearts Wrapping Tape"));
    platform.switch_cores(false);
    assert_eq!(add(&mut browser, TAPE, "1").await.location(), "/cart?notice=busy", "nothing was done, and it says so");
}

#[tokio::test]
async fn quantities_change_and_lines_go_with_plain_forms() {
    let (_, router) = shop();
    let mut browser = Browser::new(&router);
    add(&mut browser, TAPE, "1").await;
    browser.post_pairs("/cart/set", &[("sku", TAPE), ("quantity", "7")]).await;
    assert_eq!(browser.get("/cart/count").await.body, r#"{"units":7}"#);
    browser.post_pairs("/cart/set", &[("sku", TAPE), ("quantity", "0")]).await;
    assert_eq!(browser.get("/cart").await.text(".empty h2"), "It is empty");
    add(&mut browser, TAPE, "1").await;
    browser.post_pairs("/cart/remove", &[("sku", TAPE)]).await;
    assert_eq!(browser.get("/cart/count").await.body, r#"{"units":0}"#);
    for quantity in ["-1", "x", "100001", "1.5", ""] {
        assert_eq!(add(&mut browser, TAPE, quantity).await.status, 422, "{quantity:?}");
    }
    assert_eq!(add(&mut browser, "GONE", "1").await.location(), "/cart?notice=gone");
}

#[tokio::test]
async fn an_order_is_placed_with_a_plain_form_and_only_once() {
    let (platform, router) = shop();
    let mut browser = Browser::new(&router);
    add(&mut browser, TAPE, "2").await;
    add(&mut browser, GLOBE, "1").await;
    let (form, seen) = check_out(&mut browser, &[]).await;
    assert_eq!(seen.status, 303, "{}", seen.body);
    let order = seen.location().to_owned();
    let again = browser.post("/checkout", &form).await;
    assert_eq!(again.location(), order, "the same form made another order");
    let page = browser.get(&order).await;
    assert_eq!(page.text("h1"), "Thank you, it is yours");
    assert_eq!(browser.get("/cart/count").await.body, r#"{"units":0}"#);
    assert_eq!(browser.get("/orders").await.text(".badge"), "Paid");
    let sent = platform.inner().calls.lock().unwrap();
    let orders: Vec<_> =
        sent.iter().filter(|call| call.uri().path() == "/v1/orders" && call.method() == "POST").collect();
    assert_eq!(orders.len(), 2);
    assert_eq!((orders[0].body(), orders[0].headers()), (orders[1].body(), orders[1].headers()));
}

#[tokio::test]
async fn an_unknown_outcome_keeps_the_key_and_a_refusal_changes_it() {
    let (platform, router) = shop();
    let mut browser = Browser::new(&router);
    add(&mut browser, TAPE, "2").await;
    let page = browser.get("/checkout").await;
    let address = [("name", "Ada"), ("line1", "1 High Street"), ("city", "York")];
    let form = with(page.form("/checkout"), &address);
    platform.switch_cores(false);
    let lost = browser.post("/checkout", &form).await;
    assert_eq!(lost.text("#problem h2"), "We did not hear back");
    let mut kept = with(lost.form("/checkout"), &[]);
    let mut sent = form.clone();
    sent.sort();
    kept.sort();
    assert_eq!(kept, sent, "the repeat would be another order");
    platform.switch_cores(true);
    platform.inner().core.lock().unwrap().stock.insert(TAPE.parse().unwrap(), 1);
    let refused = browser.post("/checkout", &form).await;
    assert!(
        refused.text("#problem").contains("Only one of “Hearts Wrapping Tape” is left."),
        "{}",
        refused.text("#problem")
    );
    assert_ne!(key(&refused.form("/checkout")), key(&form));
}

/// A shop in which delivery costs something.
fn delivering(express_minor: i64) -> (Fake, Router) {
    let (platform, router) = shop();
    platform.inner().core.lock().unwrap().express_minor = Some(express_minor);
    (platform, router)
}

fn field<'a>(form: &'a [(String, String)], name: &str) -> &'a str {
    form.iter().find(|(own, _)| own == name).map_or("", |(_, value)| value)
}

#[tokio::test]
async fn the_cheapest_way_of_delivery_stands_first_and_another_is_paid_for_without_a_script() {
    let (_platform, router) = delivering(895);
    let mut browser = Browser::new(&router);
    add(&mut browser, TAPE, "2").await;
    let form = browser.get("/checkout").await.form("/checkout");
    assert_eq!(field(&form, "delivery_option"), "standard");
    let goods = field(&form, "total").parse::<i64>().unwrap() - 395;
    let address = [("name", "Ada"), ("line1", "1 High Street"), ("city", "York")];
    let form = with(form, &address);

    let shown =
        browser.post("/checkout", &with(form.clone(), &[("delivery_option", "express"), ("show", "delivery")])).await;
    assert_eq!((shown.status, shown.text("[data-delivery]").as_str()), (http::StatusCode::OK, "£8.95"));
    let express = shown.form("/checkout");
    assert_eq!(field(&express, "total"), (goods + 895).to_string());
    assert_eq!(
        (field(&express, "name"), key(&express)),
        ("Ada", key(&form)),
        "what was typed stays, and so does the key"
    );

    // Whoever only presses the other button is asked once more, for the new total.
    let refused = browser.post("/checkout", &with(form, &[("delivery_option", "express")])).await;
    assert_eq!(refused.text("#problem h2"), "The total has changed");
    assert_eq!(field(&refused.form("/checkout"), "total"), (goods + 895).to_string());
    let placed = browser.post("/checkout", &refused.form("/checkout")).await;
    let order = browser.get(placed.location()).await;
    assert!(order.text(".sums").contains("By express van, 1 day"), "{}", order.text(".sums"));
    assert!(order.text(".sums").contains("£8.95"));
}

#[tokio::test]
async fn another_country_has_other_ways_of_delivery_or_none() {
    let (_platform, router) = delivering(895);
    let mut browser = Browser::new(&router);
    add(&mut browser, TAPE, "2").await;
    let address = [("name", "Ada"), ("line1", "1 High Street"), ("city", "York"), ("delivery_option", "express")];
    let form = with(browser.get("/checkout").await.form("/checkout"), &address);
    let france = with(form.clone(), &[("country", "FR"), ("show", "delivery")]);
    let shown = browser.post("/checkout", &france).await;
    assert_eq!(field(&shown.form("/checkout"), "delivery_option"), "standard", "express is not offered there");
    let refused = browser.post("/checkout", &with(form.clone(), &[("country", "FR")])).await;
    assert_eq!(refused.status, 422);
    assert_eq!(field(&refused.form("/checkout"), "delivery_option"), "standard");

    for sent in [&[("country", "JP"), ("show", "delivery")][..], &[("country", "JP"), ("delivery_option", "standard")]]
    {
        let told = browser.post("/checkout", &with(form.clone(), sent)).await;
        assert!(told.text("#country-error").contains("We do not deliver to this country"), "{}", told.body);
        assert!(told.text("#delivery").contains("Please choose another one"), "{}", told.text("#delivery"));
    }
    let request = Request::post("/checkout").header("host", HOST).header("accept", "application/json");
    let request = request.header("origin", format!("https://{HOST}")).header("sec-fetch-site", "same-origin");
    let request = request.header("content-type", "application/x-www-form-urlencoded");
    let asked = browser.send(request.body(Body::from(serde_urlencoded::to_string(&france).unwrap())).unwrap()).await;
    let said: serde_json::Value = serde_json::from_str(&asked.body).unwrap();
    assert_eq!((&said["chosen"], &said["choices"][0]["text"]), (&"standard".into(), &"2 to 4 days · £3.95".into()));
}

#[tokio::test]
async fn units_on_their_way_are_explained_and_the_same_form_is_sent_again() {
    let (platform, router) = shop();
    let mut browser = Browser::new(&router);
    add(&mut browser, TAPE, "2").await;
    let page = browser.get("/checkout").await;
    let form = with(page.form("/checkout"), &[("name", "Ada"), ("line1", "1 High Street"), ("city", "York")]);
    platform.answer_instead(Some((409, Problem::new(ProblemKind::StockInTransit).to_json())));
    let refused = browser.post("/checkout", &form).await;
    assert_eq!(refused.text("#problem h2"), "Almost there");
    assert!(refused.text("#problem").contains("Nothing has been ordered yet"), "{}", refused.text("#problem"));
    assert_eq!(refused.text("#problem button[type=submit][form=checkout]"), "Try again");
    assert_eq!(refused.page().select(&scraper::Selector::parse("form#checkout").unwrap()).count(), 1);
    let (mut kept, mut sent) = (refused.form("/checkout"), form);
    kept.sort();
    sent.sort();
    assert_eq!(kept, sent, "the repeat would be another request");
    platform.answer_instead(None);
    assert!(browser.post("/checkout", &kept).await.location().starts_with("/orders/"));
}

#[tokio::test]
async fn an_order_whose_answer_was_lost_is_found_by_pressing_again() {
    let (platform, router) = shop();
    let mut browser = Browser::new(&router);
    add(&mut browser, TAPE, "2").await;
    platform.lose_answers(Some("/v1/orders"));
    let (form, lost) = check_out(&mut browser, &[]).await;
    assert_eq!(lost.text("#problem h2"), "We did not hear back");
    assert!(!lost.body.contains("Nothing has been ordered"), "{}", lost.text("#problem"));
    let mut sent = form.clone();
    let mut kept = lost.form("/checkout");
    sent.sort();
    kept.sort();
    assert_eq!(kept, sent, "pressing again would be another order");
    platform.lose_answers(None);
    let found = browser.post("/checkout", &kept).await;
    assert!(found.location().starts_with("/orders/"), "{}", found.body);
    assert_eq!(browser.get("/orders").await.page().select(&badge()).count(), 1);
}

#[tokio::test]
async fn whoever_changes_a_form_that_has_ordered_hears_of_the_order_and_gets_no_new_key() {
    let (platform, router) = shop();
    let mut browser = Browser::new(&router);
    add(&mut browser, TAPE, "2").await;
    platform.lose_answers(Some("/v1/orders"));
    let (_, lost) = check_out(&mut browser, &[]).await;
    platform.lose_answers(None);
    let mut form = with(lost.form("/checkout"), &[("line1", "1 High Street")]);
    for _ in 0..2 {
        let told = browser.post("/checkout", &form).await;
        assert_eq!(told.text("#problem h2"), "Your first try may have arrived");
        assert!(!told.body.contains("Nothing has been ordered"), "{}", told.text("#problem"));
        assert_eq!(told.text("#problem a[href='/orders']"), "Look at your orders");
        assert_eq!(key(&told.form("/checkout")), key(&form));
        form = told.form("/checkout");
    }
    assert_eq!(browser.get("/orders").await.page().select(&badge()).count(), 1);
}

#[tokio::test]
async fn a_changed_price_is_shown_and_asked_about() {
    let (platform, router) = shop();
    let mut browser = Browser::new(&router);
    add(&mut browser, TAPE, "2").await;
    let page = browser.get("/checkout").await;
    let form = with(page.form("/checkout"), &[("name", "Ada"), ("line1", "1 High Street"), ("city", "York")]);
    for product in &mut platform.inner().core.lock().unwrap().products {
        for variant in &mut product.variants {
            variant.price = variant.price.checked_mul(3).unwrap();
        }
    }
    let asked = browser.post("/checkout", &form).await;
    assert!(asked.text("#problem").contains("the total is now £3.90"), "{}", asked.text("#problem"));
    assert_eq!(asked.text("button.wide"), "Place order · £3.90");
    let agreed = browser.post("/checkout", &asked.form("/checkout")).await;
    assert!(agreed.location().starts_with("/orders/"), "{}", agreed.body);
}

#[tokio::test]
async fn a_basket_that_changed_elsewhere_is_not_ordered() {
    let (_, router) = shop();
    let mut browser = Browser::new(&router);
    add(&mut browser, TAPE, "2").await;
    let page = browser.get("/checkout").await;
    add(&mut browser, GLOBE, "1").await;
    let form = with(page.form("/checkout"), &[("name", "Ada"), ("line1", "1 High Street"), ("city", "York")]);
    let seen = browser.post("/checkout", &form).await;
    assert_eq!(seen.text("#problem h2"), "Your basket has changed");
}

#[tokio::test]
async fn a_form_with_gaps_comes_back_as_it_was_filled() {
    let (platform, router) = shop();
    let mut browser = Browser::new(&router);
    add(&mut browser, TAPE, "2").await;
    platform.take_calls();
    let (_, seen) = check_out(&mut browser, &[("city", ""), ("email", "not an address"), ("line2", "<b>&\"'")]).await;
    assert_eq!(seen.status, 422);
    let page = seen.page();
    let links = scraper::Selector::parse("#problem a").unwrap();
    let named: Vec<_> = page.select(&links).map(|link| link.attr("href").unwrap().to_owned()).collect();
    assert_eq!(named, ["#city", "#email"]);
    let form = seen.form("/checkout");
    assert!(
        form.contains(&("name".to_owned(), "Ada Lovelace".to_owned()))
            && form.contains(&("line2".to_owned(), "<b>&\"'".to_owned()))
    );
    assert!(!seen.body.contains("<b>&"), "what was typed became markup");
    assert!(!platform.take_calls().contains(&"POST /v1/orders".to_owned()));
}

#[tokio::test]
async fn each_way_to_pay_ends_where_it_should() {
    let (platform, router) = shop();
    let mut browser = Browser::new(&router);
    for (payment, headline) in [
        ("tok_decline", "The payment was declined"),
        ("tok_challenge", "One more step"),
        ("tok_timeout", "We are taking the payment"),
    ] {
        add(&mut browser, TAPE, "1").await;
        let order = check_out(&mut browser, &[("payment", payment)]).await.1.location().to_owned();
        assert_eq!(browser.get(&order).await.text("h1"), headline);
        match payment {
            "tok_decline" => {
                assert_eq!(browser.post(&format!("{order}/again"), &[]).await.location(), "/cart?notice=again");
                assert_eq!(browser.get("/cart/count").await.body, r#"{"units":1}"#);
                browser.post_pairs("/cart/remove", &[("sku", TAPE)]).await;
            }
            "tok_challenge" => {
                let waiting = browser.get(&format!("{order}?notice=confirmed")).await;
                assert_eq!(waiting.text("h1"), "We are taking the payment", "asked again while the bank thinks");
                let confirmed = browser.post(&format!("{order}/confirm"), &[]).await;
                assert_eq!(confirmed.location(), format!("{order}?notice=confirmed"));
                assert_eq!(browser.get(&order).await.text("h1"), "Thank you, it is yours");
                let late = browser.post(&format!("{order}/confirm"), &[]).await;
                assert!(late.location().ends_with("?notice=state"));
            }
            _ => {
                assert!(browser.get(&order).await.body.contains("<noscript><meta http-equiv=\"refresh\""));
                let before = browser.get(&format!("{order}/status")).await.body;
                platform.turn_clock(11_000);
                assert_ne!(browser.get(&format!("{order}/status")).await.body, before);
                assert!(!browser.get(&order).await.body.contains("http-equiv"));
            }
        }
    }
}

#[tokio::test]
async fn who_pays_on_the_providers_page_is_led_there_and_looked_after_when_he_comes_back() {
    let (platform, router) = shop();
    let mut browser = Browser::new(&router);
    add(&mut browser, TAPE, "1").await;
    let placed = check_out(&mut browser, &[("payment", "tok_hosted")]).await.1;
    let led = placed.location().to_owned();
    let order = led.strip_suffix("?notice=pay").expect("a page of ours, from which the browser goes on").to_owned();
    let page = browser.get(&led).await;
    let goes_on = r#"<meta http-equiv="refresh" content="0;url=https://bank.example/pay/1?a=1&#38;b=2">"#;
    assert!(page.body.contains(goes_on), "{}", page.body);
    let open = browser.get(&order).await;
    assert_eq!(open.text("h1"), "One more step");
    assert!(!open.body.contains("http-equiv"), "nobody is sent away twice");
    let link = scraper::Selector::parse("p[data-act] a[rel=noreferrer]").unwrap();
    let page = open.page();
    let link = page.select(&link).next().unwrap();
    assert_eq!(link.text().collect::<String>(), "Continue to payment");
    assert_eq!(link.attr("href"), Some("https://bank.example/pay/1?a=1&b=2"));

    platform.take_calls();
    let back = browser.get(&format!("{order}?notice=back&payment_intent=pi_1")).await;
    assert_eq!(back.text("h1"), "Looking at the payment", "that he came back proves nothing");
    let asked = |call: &String| call.starts_with("POST") && call.ends_with("/payment/confirm");
    assert_eq!(platform.take_calls().iter().filter(|call| asked(call)).count(), 1);
    assert_eq!(browser.get(&order).await.text("h1"), "Thank you, it is yours");
    browser.get(&format!("{order}?notice=back")).await;
    assert!(!platform.take_calls().iter().any(asked), "a payment that asks nothing is not looked at again");
    add(&mut browser, TAPE, "1").await;
    let order = check_out(&mut browser, &[("payment", "tok_challenge")]).await.1.location().to_owned();
    browser.get(&format!("{order}?notice=back")).await;
    assert!(!platform.take_calls().iter().any(asked), "a link confirmed a payment");
}

#[tokio::test]
async fn the_ways_to_pay_are_the_cores_and_one_must_be_chosen() {
    let (platform, router) = shop();
    let mut browser = Browser::new(&router);
    add(&mut browser, TAPE, "1").await;
    let ways = scraper::Selector::parse("input[name=payment]").unwrap();
    let offered = |page: scraper::Html| -> Vec<(String, bool)> {
        let way = |way: scraper::ElementRef<'_>| (way.attr("value").unwrap().to_owned(), way.attr("checked").is_some());
        page.select(&ways).map(way).collect()
    };
    let page = browser.get("/checkout").await.page();
    let first = offered(page);
    assert_eq!((first.len(), &first[0]), (5, &("tok_success".to_owned(), true)));
    let seen = check_out(&mut browser, &[("payment", "")]).await.1;
    assert_eq!(seen.status, 422);
    assert!(seen.body.contains("href=\"#payment\"") && seen.body.contains("id=\"payment\""), "{}", seen.body);
    let form = with(seen.form("/checkout"), &[("payment", "tok_decline")]);
    platform.switch_cores(false);
    let seen = browser.post("/checkout", &form).await;
    assert_eq!(offered(seen.page()), [("tok_decline".to_owned(), true)], "what was chosen is kept");
}

#[tokio::test]
async fn a_shopper_cancels_an_order_and_reads_what_becomes_of_his_money() {
    let (platform, router) = shop();
    let mut browser = Browser::new(&router);
    add(&mut browser, TAPE, "1").await;
    let order = check_out(&mut browser, &[("payment", "tok_success")]).await.1.location().to_owned();
    let cancel = format!("{order}/cancel");
    assert!(browser.get(&order).await.body.contains(&cancel), "the page offers it");
    platform.switch_cores(false);
    assert_eq!(browser.post(&cancel, &[]).await.location(), format!("{order}?notice=later"));
    platform.switch_cores(true);
    assert!(browser.get(&format!("{order}?notice=later")).await.body.contains("We could not cancel it just now."));
    assert_eq!(browser.post(&cancel, &[]).await.location(), order);
    let page = browser.get(&format!("{order}?notice=later")).await;
    assert_eq!(page.text("h1"), "This order was cancelled");
    assert!(page.body.contains("You cancelled this order. Your money is being given back."), "{}", page.body);
    assert!(!page.body.contains(&cancel) && !page.body.contains("We could not cancel it"));
}

#[tokio::test]
async fn a_shopper_reads_which_parcel_holds_what_and_follows_it() {
    let (platform, router) = shop();
    let mut browser = Browser::new(&router);
    add(&mut browser, TAPE, "3").await;
    let order = check_out(&mut browser, &[("payment", "tok_success")]).await.1.location().to_owned();
    platform.send_parcels(1, true);
    let part = browser.get(&order).await;
    assert_eq!(part.text("h1"), "Part of it is on its way");
    assert!(!part.body.contains(&format!("{order}/cancel")), "what has left is not offered to be cancelled");
    platform.send_parcels(2, false);
    let whole = browser.get(&order).await;
    assert_eq!(whole.text("h1"), "On its way");
    let parcels = whole.text("ul[aria-labelledby=parcels]");
    for said in ["Royal <Mail>, RM1", "1 × ", "2 × ", "Arrived on", "Sent on", "Follow this parcel"] {
        assert!(parcels.contains(said), "{said:?} is missing in {parcels:?}");
    }
    assert!(
        !whole.body.contains("<Mail>") && !whole.body.contains("RM1&a=\""),
        "what a carrier is called became markup"
    );
}

#[tokio::test]
async fn who_keeps_the_store_sends_an_order_from_the_desk_and_nobody_else_sees_one() {
    let (_, router) = shop();
    let mut ada = Browser::new(&router);
    add(&mut ada, TAPE, "2").await;
    let order = check_out(&mut ada, &[("payment", "tok_success")]).await.1.location().to_owned();
    let desk = format!("/desk{order}");
    assert_eq!(ada.get("/desk").await.location(), "/sign-in?next=desk");
    let up = [("email", "ada@example.org"), ("password", "correct horse"), ("name", "Ada"), ("next", "")];
    ada.post_pairs("/sign-up", &up).await;
    for path in ["/desk", &desk] {
        assert_eq!(ada.get(path).await.status, 404, "{path} is no shopper's");
    }
    assert_eq!(ada.post_pairs(&format!("{desk}/cancel"), &[("reason", "mine")]).await.status, 404);

    let mut keeper = Browser::new(&router);
    let up = [("email", "keeper@example.org"), ("password", "correct horse"), ("name", "Bo"), ("next", "desk")];
    assert_eq!(keeper.post_pairs("/sign-up", &up).await.location(), "/desk");
    assert_eq!(keeper.get("/account").await.text("a[href='/desk']"), "Order desk");
    let list = keeper.get("/desk?status=CONFIRMED").await;
    assert!(list.body.contains(&format!("href=\"{desk}\"")), "{}", list.body);
    assert_eq!(list.text("[role=alert]"), "Orders of us are missing here: it does not answer.");
    let nothing = keeper.get("/desk?find=%3Cb%3E").await;
    assert!(nothing.text("[role=alert]").starts_with("find: ") && !nothing.body.contains("<b>"));

    let send = format!("{desk}/shipments");
    let form = keeper.get(&desk).await.form(&send);
    let unsaid = keeper.post(&send, &form).await;
    assert_eq!((unsaid.status.as_u16(), unsaid.text("[role=alert]").as_str()), (422, "carrier: 1 to 60 characters."));
    let label = [("by", "label"), ("weight_grams", "450")];
    assert_eq!(keeper.post(&send, &with(form.clone(), &label)).await.location(), desk);
    let page = keeper.get(&desk).await;
    assert!(page.text("section[aria-labelledby=labels]").contains("bought, has not left · SB1GB"), "{}", page.body);
    assert!(!page.body.contains(&format!("action=\"{send}\"")), "all of it is under the label");
    assert!(!page.body.contains(&format!("action=\"{desk}/cancel\"")), "it is being packed");
    let mut links = page.body.split("href=\"").map(|rest| rest.split('"').next().unwrap());
    let print = links.find(|path| path.ends_with("/label")).unwrap();
    assert!(keeper.get(print).await.body.contains("%PDF-1.4 of a label"));
    assert_eq!(ada.get(print).await.status, 404);
    let mut actions = page.body.split("action=\"").map(|rest| rest.split('"').next().unwrap());
    let void = actions.find(|path| path.ends_with("/void")).unwrap();
    assert_eq!(keeper.post(void, &[]).await.location(), desk);
    let sent = keeper.post(&send, &with(form, &[("carrier", "Royal Mail")])).await;
    assert_eq!(sent.location(), desk);
    assert_eq!(ada.get(&order).await.text("h1"), "On its way");
    let page = keeper.get(&desk).await;
    let offered = |path: &str| page.body.contains(&format!("action=\"{path}\""));
    assert!(!offered(&send) && !offered(&format!("{desk}/cancel")), "nothing is left to send, or to cancel");
    let mut actions = page.body.split("action=\"").map(|rest| rest.split('"').next().unwrap());
    keeper.post(actions.find(|path| path.ends_with("/delivered")).unwrap(), &[]).await;
    assert_eq!(ada.get(&order).await.text("h1"), "Delivered");
}

#[tokio::test]
async fn the_desk_proposes_a_parcel_from_each_region_and_its_shopper_sees_where_it_came_from() {
    let (platform, router) = shop();
    let mut ada = Browser::new(&router);
    add(&mut ada, TAPE, "3").await;
    let order = check_out(&mut ada, &[("payment", "tok_success")]).await.1.location().to_owned();
    let desk = format!("/desk{order}");
    let item = |units| OrderItem { sku: TAPE.parse().unwrap(), quantity: Quantity::new(units).unwrap() };
    let lies = |name: &str, units, left: &[i64]| Origin {
        region: name.parse().unwrap(),
        items: vec![item(units)],
        left: left.iter().map(|units| item(*units)).collect(),
    };
    platform.lay(vec![lies("ap", 1, &[]), lies("us", 2, &[2])]);
    let mut keeper = Browser::new(&router);
    let up = [("email", "keeper@example.org"), ("password", "correct horse"), ("name", "Bo"), ("next", "desk")];
    keeper.post_pairs("/sign-up", &up).await;

    let page = keeper.get(&desk).await;
    let told = page.text("section[aria-labelledby=origins]");
    assert!(told.contains("From us") && told.contains("2 × ") && told.contains("all sent"), "{told}");
    let path = format!("{desk}?from=us#send");
    assert!(page.body.contains(&format!("href=\"{path}\"")) && !page.body.contains("from=ap"), "{}", page.body);
    let send = format!("{desk}/shipments");
    let units = format!("units:{TAPE}");
    let all = page.form(&send);
    assert!(all.contains(&(units.clone(), "3".to_owned())) && !all.iter().any(|(name, _)| name == "from"), "{all:?}");

    let form = keeper.get(&format!("{desk}?from=us")).await.form(&send);
    for (name, value) in [(units.as_str(), "2"), ("from", "us")] {
        assert!(form.contains(&(name.to_owned(), value.to_owned())), "{form:?}");
    }
    let wrong = keeper.post(&send, &with(form.clone(), &[("carrier", "Royal Mail"), ("from", "the moon")])).await;
    assert!(wrong.text("[role=alert]").starts_with("From where?"), "{}", wrong.body);
    assert_eq!(keeper.post(&send, &with(form, &[("carrier", "Royal Mail")])).await.location(), desk);
    assert!(ada.get(&order).await.text("[data-parcels]").contains(", from us"), "the shopper sees it, too");
    assert!(keeper.get("/desk?from=us").await.body.contains("value=\"us\""));
}

#[tokio::test]
async fn a_label_that_nobody_takes_back_is_written_off_at_the_desk_with_a_reason() {
    let (_platform, router) = shop();
    let mut ada = Browser::new(&router);
    add(&mut ada, TAPE, "1").await;
    let order = check_out(&mut ada, &[("payment", "tok_success")]).await.1.location().to_owned();
    let desk = format!("/desk{order}");
    let mut keeper = Browser::new(&router);
    let up = [("email", "keeper@example.org"), ("password", "correct horse"), ("name", "Bo"), ("next", "desk")];
    keeper.post_pairs("/sign-up", &up).await;
    let form = keeper.get(&desk).await.form(&format!("{desk}/shipments"));
    let label = [("by", "label"), ("weight_grams", "450"), ("service", "Letter")];
    keeper.post(&format!("{desk}/shipments"), &with(form, &label)).await;
    let action = async |keeper: &mut Browser, end: &str| {
        let page = keeper.get(&desk).await;
        let mut actions = page.body.split("action=\"").map(|rest| rest.split('"').next().unwrap());
        actions.find(|path| path.ends_with(end)).map(str::to_owned)
    };
    assert_eq!(action(&mut keeper, "/write-off").await, None, "the carrier is asked first");
    let void = action(&mut keeper, "/void").await.unwrap();
    keeper.post(&void, &[]).await;
    assert_eq!(action(&mut keeper, "/write-off").await, None, "it has not answered yet");
    keeper.post(&void, &[]).await;
    let write_off = action(&mut keeper, "/write-off").await.unwrap();
    let form = keeper.get(&desk).await.form(&write_off);
    let unsaid = keeper.post(&write_off, &form).await;
    assert_eq!((unsaid.status.as_u16(), unsaid.text("[role=alert]").as_str()), (422, "reason: 1 to 200 characters."));
    assert_eq!(keeper.post(&write_off, &with(form, &[("reason", "lost")])).await.location(), desk);
    let page = keeper.get(&desk).await;
    let told = page.text("section[aria-labelledby=labels]");
    assert!(told.contains("written off · its parcel left all the same"), "{told}");
    assert!(
        page.body.contains(&format!("action=\"{desk}/cancel\"")) && action(&mut keeper, "/write-off").await.is_none()
    );
}

#[tokio::test]
async fn who_keeps_the_store_sees_what_a_shopper_was_told_and_has_it_sent_again() {
    let (platform, router) = shop();
    let mut ada = Browser::new(&router);
    add(&mut ada, TAPE, "1").await;
    let order = check_out(&mut ada, &[("payment", "tok_success")]).await.1.location().to_owned();
    let desk = format!("/desk{order}");
    let mut keeper = Browser::new(&router);
    let up = [("email", "keeper@example.org"), ("password", "correct horse"), ("name", "Bo"), ("next", "desk")];
    keeper.post_pairs("/sign-up", &up).await;
    assert_eq!(keeper.get(&desk).await.text("#told"), "", "nothing was told yet");
    platform.tell();
    let page = keeper.get(&desk).await;
    let told = page.text("section[aria-labelledby=told] li");
    for said in ["Order confirmed", "Came back", "ada@example.org", "no <such> user"] {
        assert!(told.contains(said), "{said:?} is missing in {told:?}");
    }
    assert!(!page.body.contains("<such>"), "a mail server's words became markup");
    let again = page.body.split("action=\"").map(|rest| rest.split('"').next().unwrap());
    let again = again.into_iter().find(|path| path.ends_with("/resend")).unwrap().to_owned();
    let form = page.form(&again);
    assert_eq!(ada.post(&again, &form).await.status, 404, "not a shopper's");
    assert_eq!(keeper.post(&again, &form).await.location(), desk);
    let page = keeper.get(&desk).await;
    assert!(page.text("section[aria-labelledby=told]").contains("sent once more"), "{}", page.body);
    let twice = keeper.post(&again, &page.form(&again)).await;
    assert_eq!((twice.status.as_u16(), twice.text("[role=alert]").as_str()), (409, "it is still to be sent."));
}

#[tokio::test]
async fn who_keeps_the_store_puts_right_what_was_given_up_and_nobody_else_sees_it() {
    let (platform, router) = shop();
    let mut ada = Browser::new(&router);
    for _ in 0..2 {
        add(&mut ada, TAPE, "1").await;
        check_out(&mut ada, &[("payment", "tok_success")]).await;
    }
    let mut keeper = Browser::new(&router);
    let up = [("email", "keeper@example.org"), ("password", "correct horse"), ("name", "Bo"), ("next", "desk")];
    keeper.post_pairs("/sign-up", &up).await;
    assert_eq!(keeper.get("/desk").await.text("a[href='/desk/dead-letters']"), "What was given up");
    assert!(keeper.get("/desk/dead-letters").await.body.contains("Nothing is given up"));
    platform.give_up();
    assert_eq!(ada.get("/desk/dead-letters").await.status, 404);
    let list = keeper.get("/desk/dead-letters").await;
    assert_eq!(list.text("[role=alert]"), "Events of us and jp are missing here: it does not answer.");
    assert!(list.body.contains("There are more than are shown here") && !list.body.contains("<such>"));
    let actions = |body: &str, end: &str| -> Vec<String> {
        let all = body.split("action=\"").skip(1).map(|rest| rest.split('"').next().unwrap().to_owned());
        all.filter(|path| path.ends_with(end)).collect()
    };
    let (replays, skips) = (actions(&list.body, "/replay"), actions(&list.body, "/skip"));
    assert_eq!((replays.len(), skips.len()), (2, 2), "what is parked is not put right by itself");
    assert_eq!(ada.post(&replays[0], &list.form(&replays[0])).await.status, 404);
    assert_eq!(keeper.post(&replays[0], &list.form(&replays[0])).await.location(), "/desk/dead-letters");
    let silent = keeper.post(&skips[1], &list.form(&skips[1])).await;
    assert_eq!((silent.status.as_u16(), silent.text("[role=alert]").as_str()), (422, "reason: 1 to 200 characters."));
    let why = with(list.form(&skips[1]), &[("reason", "told by hand")]);
    assert_eq!(keeper.post(&skips[1], &why).await.location(), "/desk/dead-letters");
    assert!(keeper.get("/desk/dead-letters").await.body.contains("Nothing is given up"));
    assert_eq!(keeper.post(&skips[1], &why).await.status, 409);
}

#[tokio::test]
async fn a_mail_s_link_stops_such_mails_with_one_click_from_nowhere_and_looking_changes_nothing() {
    let (platform, router) = shop();
    let parcels = || platform.inner().core.lock().unwrap().parcels;
    let mut reader = Browser::new(&router);
    let link = "/unsubscribe/good-token";
    for _ in 0..2 {
        let page = reader.get(link).await;
        assert_eq!((page.status.as_u16(), page.text("main form button").as_str()), (200, "Stop these mails"));
    }
    assert!(parcels());
    // As a mail program does: neither cookies nor an origin.
    let click = |path: &str| {
        let request =
            Request::post(path).header("host", HOST).header("content-type", "application/x-www-form-urlencoded");
        request.body(Body::from("List-Unsubscribe=One-Click")).unwrap()
    };
    assert_eq!(Browser::new(&router).send(click(link)).await.status, 200, "no redirect");
    assert!(!parcels());
    let page = reader.get(link).await;
    assert_eq!(page.text("h1"), "No more mails about parcels");
    let again = reader.post(link, &page.form(link)).await;
    assert_eq!((again.status.as_u16(), parcels()), (200, true));
    for nowhere in ["/unsubscribe/bad-token", "/unsubscribe/..%2Fcart", "/unsubscribe/good-token%3Fx"] {
        assert_eq!(Browser::new(&router).send(click(nowhere)).await.status, 404, "{nowhere}");
    }
    let long = Request::post(link).header("host", HOST).body(Body::from("x".repeat(5000))).unwrap();
    assert_eq!(Browser::new(&router).send(long).await.status, 413);
    assert!(parcels());
}

#[tokio::test]
async fn a_member_chooses_his_mails_on_his_account() {
    let (platform, router) = shop();
    let mut ada = Browser::new(&router);
    let up = [("email", "ada@example.org"), ("password", "correct horse"), ("name", "Ada"), ("next", "")];
    ada.post_pairs("/sign-up", &up).await;
    for wanted in [false, true] {
        let form = ada.get("/account").await.form("/account/mails");
        assert_eq!(ada.post("/account/mails", &form).await.location(), "/account");
        assert_eq!(platform.inner().core.lock().unwrap().parcels, wanted);
    }
    let guest = Browser::new(&router).post_pairs("/account/mails", &[("parcels", "no")]).await;
    assert_eq!(guest.location(), "/sign-in");
}

#[tokio::test]
async fn who_keeps_the_store_takes_goods_back_and_gives_parts_of_the_money_back() {
    let (platform, router) = shop();
    let mut ada = Browser::new(&router);
    add(&mut ada, TAPE, "2").await;
    let order = check_out(&mut ada, &[("payment", "tok_success")]).await.1.location().to_owned();
    let desk = format!("/desk{order}");
    let mut keeper = Browser::new(&router);
    let up = [("email", "keeper@example.org"), ("password", "correct horse"), ("name", "Bo"), ("next", "desk")];
    keeper.post_pairs("/sign-up", &up).await;

    let (refunds, returns) = (format!("{desk}/refunds"), format!("{desk}/returns"));
    let page = keeper.get(&desk).await;
    let offered = |page: &Seen, path: &str| page.body.contains(&format!("action=\"{path}\""));
    assert!(offered(&page, &refunds) && !offered(&page, &returns), "nothing has left, so nothing comes back");
    let form = with(page.form(&refunds), &[("reason", "a scratch")]);
    for (amount, status, told) in [("much", 422, "How much goes back?"), ("5000", 409, "can still be given back")] {
        let refused = keeper.post(&refunds, &with(form.clone(), &[("amount", amount)])).await;
        assert_eq!(refused.status.as_u16(), status);
        assert!(refused.text("[role=alert]").contains(told), "{}", refused.text("[role=alert]"));
    }
    // The answer is lost: the form that comes back asks for the same refund, not for another.
    platform.lose_answers(Some("/refunds"));
    let unknown = keeper.post(&refunds, &with(form, &[("amount", "0.50")])).await;
    assert!(unknown.status.is_server_error());
    platform.lose_answers(None);
    let again = with(unknown.form(&refunds), &[("amount", "0.50"), ("reason", "a scratch")]);
    assert_eq!(keeper.post(&refunds, &again).await.location(), desk);
    let given = keeper.get(&desk).await.text("section[aria-labelledby='given-back']");
    assert_eq!(given.matches("£0.50").count(), 1, "{given}");

    platform.send_parcels(2, true);
    let form = keeper.get(&desk).await.form(&returns);
    let empty = keeper.post(&returns, &with(form.clone(), &[("reason", "too long")])).await;
    assert!(empty.text("[role=alert]").starts_with("Something comes back"), "{}", empty.text("[role=alert]"));
    let units = form.iter().find(|(name, _)| name.starts_with("units:")).unwrap().0.clone();
    let back = with(form, &[("reason", "<b>too</b> long"), (&units, "2")]);
    assert_eq!(keeper.post(&returns, &back).await.location(), desk);
    let page = keeper.get(&desk).await;
    assert!(!offered(&page, &returns) && !page.body.contains("<b>too</b>"), "all of it came back");
    let mut actions = page.body.split("action=\"").map(|rest| rest.split('"').next().unwrap());
    let inspection = actions.find(|path| path.ends_with("/inspection")).unwrap();
    let looked = with(page.form(inspection), &[(&units, "1"), ("amount", "0.25")]);
    assert_eq!(keeper.post(inspection, &looked).await.location(), desk);
    let page = keeper.get(&desk).await;
    assert!(page.text("section[aria-labelledby='back']").contains("1 for sale again, 1 written off"));
    assert!(page.text("section[aria-labelledby='given-back']").contains("£0.25"));
    assert!(!offered(&page, inspection), "it was looked at");
}

#[tokio::test]
async fn an_expired_token_is_traded_without_the_shopper_noticing() {
    let (platform, router) = shop();
    let mut browser = Browser::new(&router);
    add(&mut browser, TAPE, "1").await;
    let old = browser.cookies["__Host-session"].clone();
    platform.turn_clock(3_600_000);
    assert_eq!(browser.get("/cart/count").await.body, r#"{"units":1}"#);
    assert_ne!(browser.cookies["__Host-session"], old);
    browser.cookies.remove("__Host-session");
    assert_eq!(browser.get("/cart/count").await.body, r#"{"units":1}"#);
}

#[tokio::test]
async fn a_refused_refresh_token_ends_the_session_but_a_lost_core_does_not() {
    let (platform, router) = shop();
    let mut browser = Browser::new(&router);
    add(&mut browser, TAPE, "1").await;
    platform.turn_clock(3_600_000);
    platform.switch_cores(false);
    let lost = browser.get("/cart").await;
    assert_eq!((lost.status.as_u16(), browser.cookies.len()), (503, 3));
    platform.switch_cores(true);
    browser.cookies.insert("__Host-refresh".to_owned(), "0195b1c4-0000-7abc-8def-000000000001.stolen".to_owned());
    assert_eq!(browser.get("/cart").await.text(".empty h2"), "It is empty");
    assert!(browser.cookies.is_empty());
}

#[tokio::test]
async fn nothing_but_a_cores_own_word_ends_a_session() {
    let (platform, router) = shop();
    let mut browser = Browser::new(&router);
    add(&mut browser, TAPE, "1").await;
    let before = browser.cookies.clone();
    platform.turn_clock(3_600_000);
    let typed = |kind: ProblemKind| (kind.status(), Problem::new(kind).to_json());
    let answers = [
        typed(ProblemKind::UplinkRefused),
        typed(ProblemKind::NotFound),
        typed(ProblemKind::Malformed),
        typed(ProblemKind::Invalid),
        typed(ProblemKind::WrongCredentials),
        typed(ProblemKind::SlowDown),
        (401, b"<h1>401 Unauthorized</h1>".to_vec()),
        (401, Vec::new()),
    ];
    for answer in answers {
        let what = format!("{} {}", answer.0, String::from_utf8_lossy(&answer.1));
        platform.answer_instead(Some(answer));
        let seen = browser.get("/cart").await;
        assert!(matches!(seen.status.as_u16(), 429 | 502), "{what}: {}", seen.status);
        assert_ne!(seen.text("h1"), "Please sign in", "{what}");
        assert_eq!(browser.cookies, before, "{what} changed the cookies");
    }
    platform.answer_instead(None);
    assert_eq!(browser.get("/cart/count").await.body, r#"{"units":1}"#);
}

#[tokio::test]
async fn a_refused_access_token_is_traded_before_anybody_is_signed_out() {
    let (platform, router) = shop();
    let mut browser = Browser::new(&router);
    add(&mut browser, TAPE, "1").await;
    platform.turn_clock(5_000);
    let refusal = Problem::new(ProblemKind::NotSignedIn);
    platform.answer_instead(Some((401, refusal.to_json())));
    assert_eq!(browser.get("/cart").await.status, 401);
    let left: Vec<_> = browser.cookies.keys().map(String::as_str).collect();
    assert_eq!(left, ["__Host-cart", "__Host-refresh"]);
    platform.answer_instead(None);
    assert_eq!(browser.get("/cart/count").await.body, r#"{"units":1}"#);
}

#[tokio::test]
async fn a_token_of_others_is_worth_nothing() {
    let (_, router) = shop();
    let mut browser = Browser::new(&router);
    add(&mut browser, TAPE, "1").await;
    let token = browser.cookies["__Host-session"].clone();
    let (signed, _) = token.rsplit_once('.').unwrap();
    let forged =
        [format!("{signed}.{}", "A".repeat(86)), "a.b.c".to_owned(), token.replace('.', ".x"), "x".repeat(4000)];
    for bad in forged {
        browser.cookies = [("__Host-session".to_owned(), bad)].into();
        assert_eq!(browser.get("/cart/count").await.body, r#"{"units":0}"#);
    }
}

#[tokio::test]
async fn tokens_of_unknown_keys_make_the_edge_ask_for_keys_once_in_five_seconds() {
    let (platform, router) = shop();
    let mut browser = Browser::new(&router);
    add(&mut browser, TAPE, "1").await;
    let token = browser.cookies["__Host-session"].clone();
    let claims = token::parse(&token).unwrap().accept(true, fake::START_MS / 1000).unwrap();
    platform.take_calls();
    for number in 0..20 {
        if number == 10 {
            platform.turn_clock(5_000);
        }
        let input = token::signing_input(&KeyId(format!("made-up-{number}")), &claims);
        browser.cookies = [("__Host-session".to_owned(), token::finish(&input, &[7; 64]))].into();
        assert_eq!(browser.get("/cart/count").await.body, r#"{"units":0}"#);
    }
    assert_eq!(platform.take_calls(), ["GET /v1/keys", "GET /v1/keys"]);
}

#[tokio::test]
async fn signing_up_keeps_the_basket_and_signing_in_brings_it_along() {
    let (_, router) = shop();
    let mut browser = Browser::new(&router);
    add(&mut browser, TAPE, "1").await;
    let up = [("email", "ada@example.org"), ("password", "correct horse"), ("name", "Ada"), ("next", "")];
    assert_eq!(browser.post_pairs("/sign-up", &up).await.location(), "/account");
    assert_eq!(browser.get("/cart/count").await.body, r#"{"units":1}"#);
    assert_eq!(browser.get("/account").await.text("h1"), "Hello, Ada");
    assert_eq!(browser.post("/sign-out", &[]).await.location(), "/");
    assert!(browser.cookies.is_empty());
    assert_eq!(browser.get("/account").await.location(), "/sign-in");
    add(&mut browser, GLOBE, "2").await;
    let wrong = browser.post_pairs("/sign-in", &[("email", "ada@example.org"), ("password", "wrong")]).await;
    assert_eq!((wrong.status.as_u16(), wrong.text("#problem h2").as_str()), (422, "That did not match"));
    assert!(!wrong.body.contains("value=\"wrong\""), "the password came back in the page");
    let right = [("email", "ADA@example.org"), ("password", "correct horse"), ("next", "checkout")];
    assert_eq!(browser.post_pairs("/sign-in", &right).await.location(), "/checkout");
    assert_eq!(browser.get("/cart/count").await.body, r#"{"units":3}"#);
    let taken = Browser::new(&router).post_pairs("/sign-up", &up).await;
    assert_eq!(taken.text("#problem h2"), "You have an account already");
}

#[tokio::test]
async fn an_operator_looks_after_webhooks_at_the_desk_and_nobody_else_sees_any() {
    let (platform, router) = shop();
    let mut ada = Browser::new(&router);
    assert_eq!(ada.get("/desk/webhooks").await.location(), "/sign-in?next=desk");
    let up = [("email", "ada@example.org"), ("password", "correct horse"), ("name", "Ada"), ("next", "")];
    ada.post_pairs("/sign-up", &up).await;
    assert_eq!(ada.get("/desk/webhooks").await.status, 404);
    assert_eq!(ada.post_pairs("/desk/webhooks", &[("url", "https://erp.example/")]).await.status, 404);

    let mut keeper = Browser::new(&router);
    let up = [("email", "keeper@example.org"), ("password", "correct horse"), ("name", "Bo"), ("next", "desk")];
    keeper.post_pairs("/sign-up", &up).await;
    assert!(keeper.get("/desk").await.body.contains("href=\"/desk/webhooks\""));
    let form = keeper.get("/desk/webhooks").await.form("/desk/webhooks");
    let ticked = [("url", "http://erp.example/<b>"), ("type", "payment.refunded")];
    let refused = keeper.post("/desk/webhooks", &with(form.clone(), &ticked)).await;
    assert_eq!((refused.status.as_u16(), refused.text("[role=alert]").as_str()), (422, "url: https alone."));
    assert!(refused.body.contains("value=\"payment.refunded\" checked") && !refused.body.contains("<b>"));
    let made = keeper.post("/desk/webhooks", &with(form, &[("url", "https://erp.example/"), ticked[1]])).await;
    assert_eq!(made.status, 200);
    assert!(made.text(".notice.good .mono").starts_with("whsec_"), "{}", made.body);
    let pause =
        made.body.split("action=\"").find_map(|rest| rest.split('"').next().filter(|path| path.ends_with("/state")));
    let (pause, path) = (pause.unwrap().to_owned(), pause.unwrap().strip_suffix("/state").unwrap().to_owned());
    let page = keeper.get(&path).await;
    assert!(!page.body.contains("whsec_"), "a secret is shown once");
    assert!(page.body.contains("&lt;500&gt;") || page.body.contains("&#60;500&#62;"), "{}", page.body);
    let form = page.form(&pause);
    assert_eq!(keeper.post(&pause, &form).await.location(), path);
    assert_eq!(keeper.get(&path).await.text("h1 .badge"), "Paused");
    for act in ["/test", "/deliveries/01890a5d-ac96-774b-bcce-b302099a8057/replay"] {
        assert_eq!(keeper.post(&format!("{path}{act}"), &[]).await.location(), path);
    }
    let rotated = keeper.post(&format!("{path}/rotate"), &page.form(&format!("{path}/rotate"))).await;
    assert!(rotated.text(".notice.good .mono").starts_with("whsec_"));
    platform.disable_endpoints();
    assert!(keeper.get("/desk").await.body.contains("A webhook endpoint was disabled"));
    assert_eq!(keeper.get(&path).await.text("h1 .badge"), "Disabled");
    assert_eq!(keeper.post(&format!("{path}/delete"), &[]).await.location(), "/desk/webhooks");
    assert_eq!(keeper.get(&path).await.status, 404);
}

#[tokio::test]
async fn only_our_own_pages_may_post() {
    let (platform, router) = shop();
    let posts = [
        "/cart/add",
        "/cart/set",
        "/cart/remove",
        "/checkout",
        "/sign-in",
        "/sign-up",
        "/sign-out",
        "/account/mails",
        "/orders/x/confirm",
        "/orders/x/cancel",
        "/orders/x/again",
        "/desk/orders/x/shipments",
        "/desk/orders/x/shipments/y/delivered",
        "/desk/orders/x/shipments/y/void",
        "/desk/orders/x/shipments/y/write-off",
        "/desk/orders/x/release",
        "/desk/orders/x/cancel",
        "/desk/orders/x/notifications/y/resend",
        "/desk/orders/x/dead-letters/replay",
        "/desk/orders/x/dead-letters/y/skip",
        "/desk/orders/x/refunds",
        "/desk/orders/x/returns",
        "/desk/orders/x/returns/y/inspection",
        "/desk/webhooks",
        "/desk/webhooks/x/state",
        "/desk/webhooks/x/test",
        "/desk/webhooks/x/rotate",
        "/desk/webhooks/x/delete",
        "/desk/webhooks/x/deliveries/y/replay",
    ];
    let origins = [
        None,
        Some("null"),
        Some("https://evil.example"),
        Some("http://shop.example"),
        Some("https://shop.example.evil.example"),
    ];
    platform.take_calls();
    for path in posts {
        for origin in origins {
            let mut request =
                Request::post(path).header("host", HOST).header("content-type", "application/x-www-form-urlencoded");
            if let Some(origin) = origin {
                request = request.header("origin", origin);
            }
            let body = "sku=10123C&quantity=1&email=a@example.org&password=12345678";
            let seen = Browser::new(&router).send(request.body(Body::from(body)).unwrap()).await;
            assert_eq!(seen.status, 403, "{path} from {origin:?}");
        }
        let crossed = Request::post(path).header("host", HOST).header("origin", format!("https://{HOST}"));
        let crossed = crossed.header("sec-fetch-site", "cross-site").body(Body::empty()).unwrap();
        assert_eq!(Browser::new(&router).send(crossed).await.status, 403, "{path}");
    }
    assert!(platform.take_calls().iter().all(|call| call.starts_with("GET ")));
}

#[tokio::test]
async fn the_api_takes_tokens_and_json_but_never_cookies_or_forms() {
    let (platform, router) = shop();
    let mut browser = Browser::new(&router);
    add(&mut browser, TAPE, "1").await;
    assert_eq!(browser.get("/v1/cart").await.status, 401, "a cookie opened the API");
    let token = browser.cookies["__Host-session"].clone();
    let with_token =
        |path: &str| Request::get(path).header("authorization", format!("Bearer {token}")).body(Body::empty()).unwrap();
    platform.take_calls();
    let seen = browser.send(with_token("/v1/cart")).await;
    assert_eq!((seen.status.as_u16(), seen.header("cache-control")), (200, "no-store"));
    browser.send(with_token("/v1/search?q=cached")).await;
    for call in platform.inner().calls.lock().unwrap().iter() {
        assert!(!call.headers().contains_key("cookie"), "{}", call.uri());
        let public = call.uri().path() != "/v1/cart";
        assert!(!(public && call.headers().contains_key("authorization")), "{}", call.uri());
    }
    for kind in ["text/plain", "application/x-www-form-urlencoded", "multipart/form-data", ""] {
        let request = Request::post("/v1/cart/operations").header("content-type", kind).body(Body::from("{}")).unwrap();
        assert_eq!(browser.send(request).await.status, 415, "{kind:?}");
    }
    let long = Request::post("/v1/orders")
        .header("content-type", "application/json")
        .body(Body::from(vec![b' '; 262_145]))
        .unwrap();
    assert_eq!(browser.send(long).await.status, 413);
}

#[tokio::test]
async fn a_payment_providers_signed_event_reaches_a_core_byte_for_byte() {
    let (platform, router) = shop();
    // As it was signed: neither the order of the fields nor a space may change.
    let body = "{ \"type\":\"payment_intent.succeeded\",\n  \"id\": \"evt_1\" }\n";
    let request = Request::post("/v1/webhooks/stripe")
        .header("content-type", "application/json; charset=utf-8")
        .header("stripe-signature", "t=1,v1=ab")
        .header("x-hmac-signature", "hmac-sha256-hex=ab")
        .header("paypal-transmission-sig", "ab")
        .header("cookie", "__Host-session=x");
    platform.take_calls();
    Browser::new(&router).send(request.body(Body::from(body)).unwrap()).await;
    let calls = platform.inner().calls.lock().unwrap();
    assert_eq!(calls.len(), 1);
    assert_eq!((calls[0].uri().path(), calls[0].body().as_ref()), ("/v1/webhooks/stripe", body.as_bytes()));
    assert_eq!(calls[0].headers()["stripe-signature"], "t=1,v1=ab");
    assert_eq!(calls[0].headers()["x-hmac-signature"], "hmac-sha256-hex=ab");
    assert_eq!(calls[0].headers()["paypal-transmission-sig"], "ab");
    assert!(!calls[0].headers().contains_key("cookie"));
}

#[tokio::test]
async fn nobody_ever_sees_anothers_name_basket_or_orders() {
    let (_, router) = shop();
    let mut ada = Browser::new(&router);
    add(&mut ada, TAPE, "3").await;
    let up = [("email", "canary-ada@example.org"), ("password", "correct horse"), ("name", "Canary Ada")];
    ada.post_pairs("/sign-up", &up).await;
    let order = check_out(&mut ada, &[("name", "Canary Ada"), ("email", "canary-ada@example.org")])
        .await
        .1
        .location()
        .to_owned();
    add(&mut ada, GLOBE, "9").await;
    let paths = [
        "/",
        "/cart",
        "/cart/count",
        "/checkout",
        "/orders",
        "/account",
        "/p/hearts-wrapping-tape-10123c",
        "/c/garden",
        "/search?q=heart",
        "/v1/cart",
        "/v1/account",
        "/v1/orders",
        "/v1/categories",
        &order,
        &format!("{order}/status"),
        &format!("{order}/live"),
    ];
    let endings = ["", "/x.css", ";a", "%2e", "//", "%0a", ".css", "?x=.css", "/..;/"];
    let mut bob = Browser::new(&router);
    add(&mut bob, TAPE, "1").await;
    let mutations = [
        "x-forwarded-host",
        "x-forwarded-for",
        "x-host",
        "x-original-url",
        "x-rewrite-url",
        "forwarded",
        "x-user-id",
        "x-http-method-override",
        "accept-language",
        "range",
        "authorization",
        "cookie2",
        "x-forwarded-scheme",
        "via",
    ];
    for path in paths {
        for ending in endings {
            ada.get(&format!("{path}{ending}")).await;
            clean(&bob.get(&format!("{path}{ending}")).await, path, ending);
            clean(&Browser::new(&router).get(&format!("{path}{ending}")).await, path, ending);
        }
        for header in mutations {
            let request = |value: &str| {
                Request::get(path).header("host", HOST).header(header, value).body(Body::empty()).unwrap()
            };
            ada.send(request("canary-ada@example.org")).await;
            clean(&bob.send(request("bob")).await, path, header);
            clean(&Browser::new(&router).get(path).await, path, header);
        }
    }
}

fn clean(seen: &Seen, path: &str, how: &str) {
    let all = format!("{:?}{}", seen.headers, seen.body).to_lowercase();
    assert!(!all.contains("canary"), "{path} with {how} shows another's data");
    assert!(!seen.body.contains(r#""units":9"#), "{path} with {how} shows another's basket");
}
