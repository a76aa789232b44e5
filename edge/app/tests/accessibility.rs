//! Promises about every page: what WCAG 2.2 AA asks of markup, checked on the HTML itself.

#![expect(clippy::unwrap_used, reason = "tests")]

#[path = "support/browser.rs"]
mod browser;
#[path = "support/fake.rs"]
mod fake;

use std::collections::HashSet;

use browser::{Browser, with};
use edge_app::router;
use fake::Fake;
use scraper::{ElementRef, Html, Selector};

fn select<'a>(page: &'a Html, selector: &str) -> Vec<ElementRef<'a>> {
    page.select(&Selector::parse(selector).unwrap()).collect()
}

fn name(element: &ElementRef<'_>) -> String {
    let label = element.attr("aria-label").unwrap_or_default();
    let pictures = element
        .select(&Selector::parse("img[alt]").unwrap())
        .map(|img| img.attr("alt").unwrap().to_owned())
        .collect::<String>();
    format!("{label}{}{pictures}", element.text().collect::<String>()).trim().to_owned()
}

/// Every fault of a page.
fn faults(html: &str) -> Vec<String> {
    let page = Html::parse_document(html);
    let mut out = Vec::new();
    let mut must = |good: bool, what: String| {
        if !good {
            out.push(what);
        }
    };
    must(select(&page, "html[lang]").len() == 1, "no language".into());
    must(select(&page, "h1").len() == 1, format!("{} first headings", select(&page, "h1").len()));
    must(!select(&page, "title")[0].text().collect::<String>().is_empty(), "no title".into());
    for landmark in ["header", "main#main", "footer", "a.skip[href='#main']", "form[role=search]"] {
        must(select(&page, landmark).len() == 1, format!("not one {landmark}"));
    }
    for nav in select(&page, "nav") {
        must(nav.attr("aria-label").is_some(), "a nav without a name".into());
    }
    for image in select(&page, "img") {
        must(image.attr("alt").is_some(), format!("no alt: {}", image.html()));
        must(image.attr("width").is_some() && image.attr("height").is_some(), format!("no size: {}", image.html()));
    }
    for control in select(&page, "input:not([type=hidden]), select, textarea") {
        let id = control.attr("id").unwrap_or_default();
        must(
            !id.is_empty() && select(&page, &format!("label[for='{id}']")).len() == 1,
            format!("no label: {}", control.html()),
        );
    }
    for control in select(&page, "a, button, summary") {
        must(!name(&control).is_empty(), format!("no name: {}", control.html()));
    }
    for button in select(&page, "button") {
        must(button.attr("type").is_some(), format!("no type: {}", button.html()));
    }
    let ids: Vec<_> = select(&page, "[id]").iter().map(|one| one.attr("id").unwrap().to_owned()).collect();
    let unique: HashSet<_> = ids.iter().collect();
    must(unique.len() == ids.len(), "an id occurs twice".into());
    for pointer in ["aria-labelledby", "aria-describedby"] {
        for element in select(&page, &format!("[{pointer}]")) {
            must(
                unique.contains(&element.attr(pointer).unwrap().to_owned()),
                format!("{pointer} leads nowhere: {}", element.attr(pointer).unwrap()),
            );
        }
    }
    for link in select(&page, "a[href^='#']") {
        must(unique.contains(&link.attr("href").unwrap()[1..].to_owned()), format!("{} leads nowhere", link.html()));
    }
    let levels: Vec<u8> =
        select(&page, "h1, h2, h3").iter().map(|one| one.value().name().as_bytes()[1] - b'0').collect();
    must(levels.windows(2).all(|two| two[1] <= two[0] + 1), format!("headings skip a level: {levels:?}"));
    must(
        select(&page, "[style], script:not([src]), [onclick], [onload], style").is_empty(),
        "inline code or style".into(),
    );
    out
}

#[test]
fn the_checker_sees_faults() {
    let bad =
        "<html><body><h1>a</h1><h1>b</h1><h3>c</h3><img src=x><input name=q><a href='#x'></a><nav></nav></body></html>";
    let found = faults(&format!("<title>t</title>{bad}")).join("\n");
    for fault in [
        "no language",
        "2 first headings",
        "no alt",
        "no label",
        "no name",
        "leads nowhere",
        "a nav without a name",
        "skip a level",
    ] {
        assert!(found.contains(fault), "{fault} was missed in {found}");
    }
}

#[tokio::test]
async fn every_page_can_be_used_by_everybody() {
    let platform = Fake::new(fake::demo_products());
    let mut browser = Browser::new(&router(platform.clone()));
    let mut pages = vec![];
    for path in [
        "/",
        "/about",
        "/search",
        "/search?q=heart&page=2",
        "/search?q=zzzz",
        "/search?price_max=499&category=garden",
        "/c/garden",
        "/p/hearts-wrapping-tape-10123c",
        "/p/inflatable-political-globe-10002",
        "/p/none",
        "/nowhere",
        "/cart",
        "/checkout",
        "/orders",
        "/sign-in?next=checkout",
        "/sign-up",
    ] {
        pages.push((path.to_owned(), browser.get(path).await));
    }
    platform.inner().core.lock().unwrap().stock.values_mut().for_each(|units| *units = 50);
    for sku in ["10123C", "10120", "10002-L"] {
        browser.post_pairs("/cart/add", &[("sku", sku), ("quantity", "2")]).await;
    }
    pages.push(("/cart with items".to_owned(), browser.get("/cart?notice=added").await));
    let checkout = browser.get("/checkout").await;
    let form = checkout.form("/checkout");
    pages.push(("/checkout with items".to_owned(), checkout));
    pages.push((
        "/checkout with faults".to_owned(),
        browser.post("/checkout", &with(form, &[("city", ""), ("email", "x")])).await,
    ));
    let address = [("name", "Ada"), ("line1", "1 High Street"), ("city", "York")];
    for payment in ["tok_challenge", "tok_decline", "tok_timeout", "tok_success"] {
        browser.post_pairs("/cart/add", &[("sku", "10123C"), ("quantity", "1")]).await;
        let form = with(browser.get("/checkout").await.form("/checkout"), &address);
        let placed = browser.post("/checkout", &with(form, &[("payment", payment)])).await;
        pages.push((format!("order with {payment}"), browser.get(placed.location()).await));
    }
    pages.push(("/orders with some".to_owned(), browser.get("/orders").await));
    pages.push((
        "/sign-up with faults".to_owned(),
        browser.post_pairs("/sign-up", &[("email", "x"), ("password", "1")]).await,
    ));
    browser.post_pairs("/sign-up", &[("email", "ada@example.org"), ("password", "correct horse")]).await;
    pages.push(("/account".to_owned(), browser.get("/account").await));
    browser.post("/sign-out", &[]).await;
    browser.post_pairs("/sign-up", &[("email", "keeper@example.org"), ("password", "correct horse")]).await;
    pages.push(("/account of a keeper".to_owned(), browser.get("/account").await));
    let desk = browser.get("/desk").await;
    let orders: Vec<_> = select(&desk.page(), ".orders a").iter().map(|a| a.attr("href").unwrap().to_owned()).collect();
    pages.push(("/desk".to_owned(), desk));
    pages.push(("/desk without a find".to_owned(), browser.get("/desk?find=nothing").await));
    pages.push(("/desk/webhooks".to_owned(), browser.get("/desk/webhooks").await));
    let new = [("key", "k"), ("url", "https://erp.example/"), ("type", "order.confirmed")];
    pages.push(("a new webhook endpoint".to_owned(), browser.post_pairs("/desk/webhooks", &new).await));
    platform.disable_endpoints();
    pages.push(("/desk/webhooks with a disabled one".to_owned(), browser.get("/desk/webhooks").await));
    for path in orders {
        pages.push((path.clone(), browser.get(&path).await));
    }
    platform.send_parcels(1, false);
    let sent = pages.last().unwrap().0.clone();
    pages.push((format!("{sent} with a parcel"), browser.get(&sent).await));
    let units = pages.last().unwrap().1.form(&format!("{sent}/returns"));
    let one =
        |(name, value): (String, String)| if name.starts_with("units:") { (name, "1".into()) } else { (name, value) };
    let units: Vec<_> = units.into_iter().map(one).collect();
    browser.post(&format!("{sent}/returns"), &with(units, &[("reason", "too small")])).await;
    pages.push((format!("{sent} with a return"), browser.get(&sent).await));
    assert!(pages.len() > 33);
    let all: Vec<_> = pages
        .iter()
        .flat_map(|(path, seen)| faults(&seen.body).into_iter().map(move |fault| format!("{path}: {fault}")))
        .collect();
    assert!(all.is_empty(), "{}", all.join("\n"));
}
