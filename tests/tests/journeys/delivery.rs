//! What delivery costs: chosen at checkout, paid for, shown wherever the order is.

use std::time::Duration;

use serde_json::json;
use shared::api::order::{Order, PlaceOrder, Quote};
use shared::{Problem, ProblemKind, Sku};
use tests::shopper::key;
use tests::visitor::Form;
use tests::{Options, Shopper, Store, Visitor, goods, until};

/// How long a new table may take to be known.
const KNOWN_WITHIN: Duration = Duration::from_secs(30);

/// Puts a table in force: home for £3.95 or by express at that price, to France tracked, nowhere else.
async fn deliver(store: &Store, express_minor: i64) {
    let table = format!(
        r#"
        currency = "GBP"
        [[zones]]
        name = "At home"
        countries = ["GB"]
        [[zones.options]]
        id = "standard"
        name = "Standard delivery"
        days = {{ from = 2, to = 4 }}
        bands = [{{ up_to_grams = 70_000, price_minor = 395 }}]
        [[zones.options]]
        id = "express"
        name = "Express delivery"
        days = {{ from = 1, to = 1 }}
        service = "Express"
        bands = [{{ up_to_grams = 70_000, price_minor = {express_minor} }}]
        [[zones]]
        name = "France"
        countries = ["FR"]
        [[zones.options]]
        id = "tracked"
        name = "Tracked delivery"
        days = {{ from = 4, to = 7 }}
        bands = [{{ up_to_grams = 70_000, price_minor = 995 }}]
        "#
    );
    let file = store.system.layout.path("delivery.toml");
    std::fs::write(&file, table).unwrap();
    store.system.region_core("eu", "delivery", &[file.to_str().unwrap()]).await.unwrap();
    let (shopper, sku) = (Shopper::guest(&store.sites.addresses.shop).await, goods::plenty());
    let known = async || {
        let quote = express(&shopper, &sku).await.ok()?;
        (quote.shipping.minor() == express_minor).then_some(())
    };
    until("the new table is known", KNOWN_WITHIN, known).await;
}

async fn quote(shopper: &Shopper, sku: &Sku, country: &str, option: Option<&str>) -> Result<Quote, Problem> {
    let body = json!({ "items": [{ "sku": sku, "quantity": 1 }], "country": country, "delivery_option": option });
    let answer = shopper.post("/v1/quotes", &body).await;
    if answer.status == 200 { Ok(answer.json()) } else { Err(answer.problem()) }
}

async fn express(shopper: &Shopper, sku: &Sku) -> Result<Quote, Problem> {
    quote(shopper, sku, "GB", Some("express")).await
}

/// The same form with the button that only shows what delivery costs.
fn shown(form: &Form) -> Form {
    let mut form = form.clone();
    form.fields.push(("show".to_owned(), "delivery".to_owned()));
    form
}

/// Who keeps the store, signed in with forms at that door.
async fn keeper(store: &Store, origin: &str) -> Visitor {
    let (visitor, operator) = (Visitor::new(origin), store.sites.operator.as_ref().unwrap());
    let password = std::fs::read_to_string(&operator.password_file).unwrap();
    let form = visitor.open("/sign-in?next=desk").await.expect(200).form("/sign-in");
    visitor.submit(&form.with("email", operator.email).with("password", password.trim())).await.expect(200);
    visitor
}

#[tokio::test]
async fn delivery_is_chosen_paid_for_and_shown_at_both_doors_and_agreed_to_anew_when_its_price_changes() {
    let store = Store::start("delivery", &Options { worker: true, operator: true, ..Options::SMALL }).await;
    deliver(&store, 895).await;
    for origin in [Some(&store.sites.addresses.shop), store.sites.addresses.worker.as_ref()].into_iter().flatten() {
        express_is_bought(&store, origin).await;
        nothing_goes_where_nobody_delivers(origin).await;
    }
    a_new_price_is_agreed_to_anew(&store).await;
    store.system.stop().await.unwrap();
}

async fn express_is_bought(store: &Store, origin: &str) {
    let (visitor, sku) = (Visitor::new(origin), goods::plenty());
    visitor.add(&sku).await;
    let form = visitor.checkout("tok_success").await;
    let total = |form: &Form| form.value("total").parse::<i64>().unwrap();
    assert_eq!(form.value("delivery_option"), "standard", "the cheapest stands first");
    let dearer = visitor.submit(&shown(&form.clone().with("delivery_option", "express"))).await.expect(200);
    assert_eq!(dearer.texts("[data-delivery]"), ["£8.95"]);
    let dearer = dearer.form("/checkout");
    assert_eq!((total(&dearer), dearer.value("key")), (total(&form) + 500, form.value("key")));
    let id = visitor.order(&dearer).await;
    let sums = visitor.open(&format!("/orders/{id}")).await.expect(200).texts(".sums").join(" ");
    assert!(sums.contains("Express delivery, 1 day") && sums.contains("£8.95"), "{sums}");

    let order = Shopper::operator(&store.sites).await.decided(id).await;
    assert_eq!((order.shipping.minor(), order.total.minor()), (895, total(&dearer)));
    assert_eq!(order.delivery.map(|delivery| delivery.id).as_deref(), Some("express"));
    let desk = keeper(store, origin).await.open(&format!("/desk/orders/{id}")).await.expect(200);
    assert!(desk.texts(".sums").join(" ").contains("Express delivery"), "{:?}", desk.texts(".sums"));
    assert_eq!(desk.form(&format!("/desk/orders/{id}/shipments")).value("service"), "Express");
}

async fn nothing_goes_where_nobody_delivers(origin: &str) {
    let (visitor, shopper, sku) = (Visitor::new(origin), Shopper::guest(origin).await, goods::plenty());
    visitor.add(&sku).await;
    let form = visitor.checkout("tok_success").await;
    let france = visitor.submit(&shown(&form.clone().with("country", "FR"))).await.expect(200);
    assert_eq!(france.form("/checkout").value("delivery_option"), "tracked");
    let japan = visitor.submit(&form.with("country", "JP")).await.expect(422);
    assert_eq!(japan.texts("#country-error"), ["We do not deliver to this country"]);
    let refused = quote(&shopper, &sku, "JP", None).await.unwrap_err();
    assert_eq!((refused.status, &refused.members["field"]), (422, &json!("country")));
    let mut order = shopper.order_of(&[(&sku, 1)], "tok_success").await;
    "JP".clone_into(&mut order.shipping_address.country);
    let refused = shopper.place(&key(), &order).await.expect(422).problem();
    assert_eq!(refused.members["field"], "shipping_address.country");
}

async fn a_new_price_is_agreed_to_anew(store: &Store) {
    let (origin, sku) = (&store.sites.addresses.shop, goods::plenty());
    let (visitor, shopper) = (Visitor::new(origin), Shopper::guest(origin).await);
    visitor.add(&sku).await;
    let form = visitor.checkout("tok_success").await.with("delivery_option", "express");
    let form = visitor.submit(&shown(&form)).await.expect(200).form("/checkout");
    let old = PlaceOrder {
        delivery_option: Some("express".to_owned()),
        expected_total: express(&shopper, &sku).await.unwrap().total,
        ..shopper.order_of(&[(&sku, 1)], "tok_success").await
    };
    deliver(store, 1_095).await;

    let key = key();
    let problem = shopper.place(&key, &old).await.expect(409).problem();
    assert!(problem.is(ProblemKind::QuoteChanged), "{problem}");
    let new: Quote = serde_json::from_value(problem.members["quote"].clone()).unwrap();
    assert_eq!((new.shipping.minor(), new.delivery_option.as_deref()), (1_095, Some("express")));
    let placed: Order =
        shopper.place(&key, &PlaceOrder { expected_total: new.total, ..old.clone() }).await.expect(201).json();
    assert_eq!(shopper.decided(placed.order_id).await.shipping.minor(), 1_095);
    let owl = PlaceOrder { delivery_option: Some("owl".to_owned()), ..old };
    let refused = shopper.place(&tests::shopper::key(), &owl).await.expect(422).problem();
    assert_eq!(refused.members["field"], "delivery_option");

    let refused = visitor.submit(&form).await.expect(422);
    assert_eq!(refused.texts("#problem h2"), ["The total has changed"]);
    visitor.order(&refused.form("/checkout")).await;
}
