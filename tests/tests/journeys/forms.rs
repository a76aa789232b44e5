//! Shopping with forms alone: no JavaScript, only cookies and hidden fields.

use http::Method;
use serde_json::Value;
use shared::OrderId;
use tests::shopper::{PASSWORD, email};
use tests::visitor::Form;
use tests::{Page, Visitor, client, goods, until};

use crate::store::{books, pop};
use crate::through_both;

through_both! {
    a_visitor_buys_with_forms_alone
    pressing_the_button_twice_orders_once
    a_declined_and_a_challenged_payment_are_explained_and_led_on
    a_form_from_another_site_changes_nothing
    a_visitor_signs_up_signs_out_and_signs_in
    what_is_sold_out_is_named_and_nothing_is_ordered
    another_visitors_order_page_is_not_found
}

/// The order's page once its heading says that.
async fn order_page(visitor: &Visitor, id: OrderId, heading: &str) -> Page {
    let says = async || {
        let page = visitor.open(&format!("/orders/{id}")).await.expect(200);
        (page.texts("h1") == [heading]).then_some(page)
    };
    until(&format!("the page of order {id} says {heading:?}"), std::time::Duration::from_secs(30), says).await
}

async fn a_visitor_buys_with_forms_alone(origin: &str) {
    let visitor = Visitor::new(origin);
    let home = visitor.open("/").await.expect(200);
    assert!(visitor.cookie("__Host-session").is_none(), "looking around makes nobody a user");
    let category = home.attributes("nav.cats a", "href").first().cloned().expect("a category");
    let products = visitor.open(&category).await.expect(200).attributes("a.card-link", "href");
    let searched = visitor.submit(&home.form("/search").with("q", "lantern")).await.expect(200);
    assert!(searched.texts(".card-title")[0].to_lowercase().contains("lantern"), "{:?}", searched.texts(".card-title"));
    let product = visitor.open(&products[0]).await.expect(200);
    let cart = visitor.submit(&product.form("/cart/add").with("quantity", "2")).await.expect(200);
    assert_eq!(cart.texts("[data-units]"), ["2"]);
    let sku = product.form("/cart/add").value("sku").to_owned();
    let cart = visitor.submit(&cart.form_holding("/cart/set", "sku", &sku).with("quantity", "3")).await.expect(200);
    assert_eq!(cart.texts("[data-units]"), ["3"]);

    let checkout = visitor.checkout("tok_success").await;
    let id = visitor.order(&checkout).await;
    let page = order_page(&visitor, id, "Thank you, it is yours").await;
    assert!(page.texts("address")[0].starts_with("Ada Lovelace"));
    let orders = visitor.open("/orders").await.expect(200);
    assert_eq!(orders.attributes("ul.orders a", "href"), [format!("/orders/{id}")]);
    let count: Value = visitor.open("/cart/count").await.expect(200).answer.json();
    assert_eq!(count["units"], 0, "the basket went into the order");
}

async fn pressing_the_button_twice_orders_once(origin: &str) {
    let visitor = Visitor::new(origin);
    visitor.add(&goods::plenty()).await;
    let checkout = visitor.checkout("tok_success").await;
    let (first, second) = tokio::join!(visitor.order(&checkout), visitor.order(&checkout));
    assert_eq!(first, second);
    assert_eq!(visitor.order(&checkout).await, first, "reloading does no harm either");
}

async fn a_declined_and_a_challenged_payment_are_explained_and_led_on(origin: &str) {
    let (visitor, sku) = (Visitor::new(origin), goods::plenty());
    visitor.add(&sku).await;
    let id = visitor.order(&visitor.checkout("tok_decline").await).await;
    let page = order_page(&visitor, id, "The payment was declined").await;
    let again = visitor.submit(&page.form(&format!("/orders/{id}/again"))).await.expect(200);
    assert_eq!(again.texts("[data-units]"), ["1"], "the items are in the basket again");

    let id = visitor.order(&visitor.checkout("tok_challenge").await).await;
    let page = order_page(&visitor, id, "One more step").await;
    visitor.submit(&page.form(&format!("/orders/{id}/confirm"))).await.expect(200);
    order_page(&visitor, id, "Thank you, it is yours").await;
    let units = books().units(&sku).await;
    assert_eq!((units.reserved, units.sold), (0, 1));
}

async fn a_form_from_another_site_changes_nothing(origin: &str) {
    let (visitor, sku) = (Visitor::new(origin), goods::plenty());
    visitor.add(&sku).await;
    let page = visitor.open(&format!("/p/{}", sku.as_str().to_lowercase())).await;
    let add = page.form_holding("/cart/add", "sku", sku.as_str());
    let sign_out = Form::post("/sign-out");
    let own = visitor.client.origin.clone();
    let evil = [None, Some("null"), Some("https://evil.example"), Some("http://127.0.0.1:1"), Some("")];
    for origin in evil {
        for form in [&add, &sign_out] {
            let request = visitor.posting(form);
            let request = if let Some(origin) = origin { request.header("origin", origin) } else { request };
            visitor.send(request).await.expect(403);
        }
    }
    for site in ["cross-site", "same-site", "none"] {
        let request = visitor.posting(&add).header("origin", &own).header("sec-fetch-site", site);
        visitor.send(request).await.expect(403);
    }
    let two = visitor.posting(&add).header("origin", &own).header("origin", "https://evil.example");
    visitor.send(two).await.expect(403);
    let text = visitor.client.request(Method::POST, "/v1/guests").header("content-type", "text/plain").body("{}");
    client::send(text).await.expect(415);
    let count: Value = visitor.open("/cart/count").await.expect(200).answer.json();
    assert_eq!(count["units"], 1, "the visitor is signed in as before and his basket is what it was");
}

async fn a_visitor_signs_up_signs_out_and_signs_in(origin: &str) {
    let (visitor, email) = (Visitor::new(origin), email());
    visitor.add(&goods::plenty()).await;
    let form = visitor.open("/sign-up").await.expect(200).form("/sign-up");
    let refused = visitor.submit(&form.clone().with("email", email.as_str()).with("password", "short")).await;
    assert!((400..500).contains(&refused.answer.status), "a short password is refused");
    let form = form.with("email", email.as_str()).with("password", PASSWORD).with("name", "Ada");
    visitor.submit(&form).await.expect(200);
    let account = visitor.open("/account").await.expect(200);
    assert!(account.answer.text().contains(email.as_str()));

    visitor.submit(&account.form("/sign-out")).await.expect(200);
    assert!(visitor.cookie("__Host-session").is_none() && visitor.cookie("__Host-refresh").is_none());
    let form = visitor.open("/sign-in").await.expect(200).form("/sign-in");
    let form = form.with("email", email.as_str());
    let wrong = visitor.submit(&form.clone().with("password", "not the password")).await;
    assert!((400..500).contains(&wrong.answer.status), "a wrong password is refused");
    visitor.submit(&form.with("password", PASSWORD)).await.expect(200);
    let count: Value = visitor.open("/cart/count").await.expect(200).answer.json();
    assert_eq!(count["units"], 1, "the basket waited");
}

async fn what_is_sold_out_is_named_and_nothing_is_ordered(origin: &str) {
    let (visitor, sku) = (Visitor::new(origin), goods::last());
    let page = visitor.add(&sku).await;
    visitor.submit(&page.form_holding("/cart/set", "sku", sku.as_str()).with("quantity", "9")).await.expect(200);
    let checkout = std::sync::Mutex::new(visitor.checkout("tok_success").await);
    // Until every shard has said what it has, the page asks to try again: with the same form, and so the same key.
    let refused = async || {
        let form = checkout.lock().unwrap().clone();
        let page = visitor.submit(&form).await.expect(422);
        if page.texts("#problem h2") != ["Almost there"] {
            return Some(page);
        }
        assert_eq!(page.texts("#problem button"), ["Try again"]);
        let again = page.form("/checkout");
        assert_eq!(again.value("key"), form.value("key"));
        *checkout.lock().unwrap() = again;
        None
    };
    let refused = until("every shard has said what it has", std::time::Duration::from_secs(20), refused).await;
    let said = refused.texts("#problem").join(" ");
    assert!(said.contains("Only") && said.contains("Last thing") && said.contains("left"), "{said}");
    let given_back = async || {
        let units = books().units(&sku).await;
        ((units.free, units.reserved, units.sold) == (3, 0, 0)).then_some(())
    };
    until("nothing is held and nothing is on its way", std::time::Duration::from_secs(20), given_back).await;
}

async fn another_visitors_order_page_is_not_found(origin: &str) {
    let (owner, other) = (Visitor::new(origin), Visitor::new(origin));
    for visitor in [&owner, &other] {
        visitor.add(&goods::plenty()).await;
    }
    let id = owner.order(&owner.checkout("tok_success").await).await;
    for path in [format!("/orders/{id}"), format!("/orders/{id}/status")] {
        owner.open(&path).await.expect(200);
        other.open(&path).await.expect(404);
    }
    for action in ["confirm", "again"] {
        let form = Form::post(&format!("/orders/{id}/{action}"));
        other.submit(&form).await.expect(404);
    }
    let nobody = Visitor::new(origin).open(&format!("/orders/{id}")).await;
    assert!(!nobody.answer.text().contains("Lovelace"), "somebody without a session sees the address");
}

#[tokio::test]
async fn a_tampered_total_is_shown_as_a_changed_one() {
    let (visitor, sku) = (Visitor::new(pop()), goods::plenty());
    visitor.add(&sku).await;
    let checkout = visitor.checkout("tok_success").await;
    let refused = visitor.submit(&checkout.clone().with("total", "1")).await.expect(422);
    assert!(refused.texts("#problem h2")[0].contains("total has changed"));
    assert_eq!(refused.form("/checkout").value("total"), checkout.value("total"), "the true total is asked for again");
    let units = books().units(&sku).await;
    assert_eq!((units.reserved, units.sold), (0, 0));
}
