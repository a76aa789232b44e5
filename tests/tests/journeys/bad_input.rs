//! Whatever is wrong with a request, the answer names it and nothing is written.

use http::Method;
use reqwest::RequestBuilder;
use serde_json::{Value, json};
use shared::{Money, Sku};
use tests::shopper::{key, operation_id};
use tests::{Shopper, client, goods, until};

use crate::store::{books, pop, worker};

/// A request that must be refused: what is wrong with it, the request, and the answer's status, problem and field.
struct Case {
    what: &'static str,
    request: RequestBuilder,
    status: u16,
    problem: &'static str,
    field: Option<&'static str>,
}

/// Makes requests of one shopper that are wrong in one way each.
struct Mistakes {
    shopper: Shopper,
    /// An order that would be accepted.
    order: Value,
    cases: Vec<Case>,
}

impl Mistakes {
    async fn of(shopper: Shopper, sku: &Sku) -> Self {
        let order = shopper.order_of(&[(sku, 1)], "tok_success").await;
        Self { order: serde_json::to_value(order).unwrap(), shopper, cases: Vec::new() }
    }

    fn post(&self, path: &str) -> RequestBuilder {
        let request = self.shopper.client.request(Method::POST, path);
        request.bearer_auth(&self.shopper.tokens.access_token).header("idempotency-key", key())
    }

    fn case(
        &mut self,
        what: &'static str,
        request: RequestBuilder,
        answer: (u16, &'static str),
        field: impl Into<Option<&'static str>>,
    ) {
        let (status, problem) = answer;
        self.cases.push(Case { what, request, status, problem, field: field.into() });
    }

    /// An order that is wrong in one place, at `/v1/orders`.
    fn order(
        &mut self,
        what: &'static str,
        pointer: &str,
        value: Value,
        answer: (u16, &'static str),
        field: impl Into<Option<&'static str>>,
    ) {
        let mut order = self.order.clone();
        set(&mut order, pointer, value);
        let request = self.post("/v1/orders").json(&order);
        self.case(what, request, answer, field);
    }

    /// A body that is wrong as a whole, at `/v1/orders`.
    fn body(&mut self, what: &'static str, body: Vec<u8>, answer: (u16, &'static str)) {
        let request = self.post("/v1/orders").header("content-type", "application/json").body(body);
        self.case(what, request, answer, None);
    }

    fn cart(
        &mut self,
        what: &'static str,
        operation: &Value,
        answer: (u16, &'static str),
        field: impl Into<Option<&'static str>>,
    ) {
        let request = self.post("/v1/cart/operations").json(operation);
        self.case(what, request, answer, field);
    }
}

/// Sets what a JSON pointer names; the last step may be a new member.
fn set(target: &mut Value, pointer: &str, value: Value) {
    let (parent, member) = pointer.rsplit_once('/').unwrap();
    let parent = target.pointer_mut(parent).unwrap();
    match parent {
        Value::Array(items) => items[member.parse::<usize>().unwrap()] = value,
        Value::Object(members) => drop(members.insert(member.to_owned(), value)),
        other => panic!("{other} has no members"),
    }
}

const MALFORMED: (u16, &str) = (400, "/problems/malformed");
const INVALID: (u16, &str) = (422, "/problems/invalid");
const UNKNOWN_SKU: (u16, &str) = (422, "/problems/unknown-sku");
const KEY_REQUIRED: (u16, &str) = (400, "/problems/idempotency-key-required");
const QUOTE_CHANGED: (u16, &str) = (409, "/problems/quote-changed");
const CART_CHANGED: (u16, &str) = (409, "/problems/cart-changed");
const SOLD_OUT: (u16, &str) = (409, "/problems/sold-out");
const TOO_LARGE: (u16, &str) = (413, "/problems/body-too-large");
const NOT_JSON: (u16, &str) = (415, "/problems/unsupported-media-type");

/// What can be wrong with an order's items and prices.
fn wrong_items(mistakes: &mut Mistakes) {
    let quantity = "/items/0/quantity";
    mistakes.order("an unknown SKU", "/items/0/sku", json!("NO-SUCH-THING"), UNKNOWN_SKU, "items");
    mistakes.order("no SKU at all", "/items/0/sku", json!("a b;drop"), INVALID, "items[0].sku");
    mistakes.order("no units", quantity, json!(0), INVALID, "items[0].quantity");
    mistakes.order("less than none", quantity, json!(-1), INVALID, "items[0].quantity");
    mistakes.order("more than a line holds", quantity, json!(100_001), INVALID, "items[0].quantity");
    mistakes.order("more than a number holds", quantity, json!(1e30), INVALID, "items[0].quantity");
    mistakes.order("half a unit", quantity, json!(0.5), INVALID, "items[0].quantity");
    mistakes.order("units as a string", quantity, json!("1"), INVALID, "items[0].quantity");
    mistakes.order("nothing ordered", "/items", json!([]), INVALID, "items");
    let item = mistakes.order["items"][0].clone();
    mistakes.order("too many lines", "/items", json!(vec![item.clone(); 1_001]), INVALID, "items");
    let mut most = item;
    most["quantity"] = json!(100_000);
    mistakes.order("a sum beyond a line", "/items", json!([most, most]), INVALID, "items[1].quantity");
    let dear = json!([{ "sku": goods::DEAR, "quantity": 2 }]);
    mistakes.order("a total beyond all money", "/items", dear, INVALID, "items");
    mistakes.order("a lower total", "/expected_total/minor", json!(1), QUOTE_CHANGED, None);
    mistakes.order("another currency", "/expected_total/currency", json!("EUR"), QUOTE_CHANGED, None);
    mistakes.order("no currency", "/expected_total/currency", json!("XXZ"), INVALID, "expected_total.currency");
    let beyond = json!(9_007_199_254_740_993_i64);
    mistakes.order("an amount beyond JSON's integers", "/expected_total/minor", beyond, INVALID, "expected_total");
    mistakes.order("a total below zero", "/expected_total/minor", json!(-5), INVALID, "expected_total.minor");
    for (what, option) in [("a way that nobody delivers", "by-owl"), ("a way that is no id", "By owl")] {
        mistakes.order(what, "/delivery_option", json!(option), INVALID, "delivery_option");
    }
    mistakes.order("a cart that was never so", "/cart_version", json!(77), CART_CHANGED, None);
}

/// What can be wrong with the rest of an order.
fn wrong_details(mistakes: &mut Mistakes) {
    let address = |member: &str| format!("/shipping_address/{member}");
    mistakes.order("no name", &address("name"), json!(" "), INVALID, "shipping_address.name");
    mistakes.order("a long city", &address("city"), json!("x".repeat(101)), INVALID, "shipping_address.city");
    mistakes.order("no country", &address("country"), json!("gb"), INVALID, "shipping_address.country");
    mistakes.order("a line break", &address("line1"), json!("1\n2"), INVALID, "shipping_address.line1");
    let card = json!("4111 1111 1111 1111");
    mistakes.order("a card number", &address("line1"), card, INVALID, "shipping_address.line1");
    mistakes.order("an unknown member", "/colour", json!("red"), INVALID, "colour");
    mistakes.order("an unknown member inside", &address("planet"), json!("Mars"), INVALID, "shipping_address.planet");
    mistakes.order("no payment token", "/payment_token", json!(""), INVALID, "payment_token");
    mistakes.order("no e-mail address", "/email", json!("ada"), INVALID, "email");
    mistakes.order("another user", "/user_id", json!("123456789"), INVALID, "user_id");
    let mut without = mistakes.order.clone();
    without.as_object_mut().unwrap().remove("shipping_address");
    let request = mistakes.post("/v1/orders").json(&without);
    mistakes.case("no address", request, INVALID, "shipping_address");
}

/// What can be wrong with the request itself.
fn wrong_requests(mistakes: &mut Mistakes) {
    mistakes.body("no JSON", b"{\"items\": [".to_vec(), MALFORMED);
    mistakes.body("more after the JSON", [mistakes.order.to_string().as_bytes(), b"x"].concat(), MALFORMED);
    mistakes.body("no UTF-8", b"{\"payment_token\": \"\xff\xfe\"}".to_vec(), MALFORMED);
    mistakes.body("nothing", Vec::new(), MALFORMED);
    mistakes.body("nesting without end", "[".repeat(20_000).into_bytes(), INVALID);
    mistakes.body("more than is read", vec![b' '; 300 * 1024], TOO_LARGE);
    let shopper = mistakes.shopper.clone();
    let bare = || shopper.client.request(Method::POST, "/v1/orders").bearer_auth(&shopper.tokens.access_token);
    let order = mistakes.order.clone();
    mistakes.case("no key", bare().json(&order), KEY_REQUIRED, "idempotency-key");
    let long = bare().header("idempotency-key", "k".repeat(256)).json(&order);
    mistakes.case("a long key", long, KEY_REQUIRED, "idempotency-key");
    let blank = bare().header("idempotency-key", "two words").json(&order);
    mistakes.case("a key with a blank", blank, KEY_REQUIRED, "idempotency-key");
    let form = bare().header("idempotency-key", key()).header("content-type", "text/plain").body(order.to_string());
    mistakes.case("JSON that says it is text", form, NOT_JSON, None);
}

/// What can be wrong with an operation on the cart, a sign-up, or a question.
fn wrong_elsewhere(mistakes: &mut Mistakes, sku: &Sku) {
    let change = |change: Value| json!({ "operation_id": operation_id(), "change": change });
    let add = |quantity: Value| change(json!({ "kind": "add", "sku": sku, "quantity": quantity }));
    mistakes.cart("no units", &add(json!(0)), INVALID, None);
    mistakes.cart("less than none", &add(json!(-3)), INVALID, None);
    mistakes.cart("too many units", &add(json!(100_001)), INVALID, None);
    let unknown = change(json!({ "kind": "add", "sku": "NO-SUCH-THING", "quantity": 1 }));
    mistakes.cart("an unknown SKU", &unknown, UNKNOWN_SKU, None);
    mistakes.cart("an unknown change", &change(json!({ "kind": "steal", "sku": sku })), INVALID, None);
    let mut stale = add(json!(1));
    stale["expected_version"] = json!(41);
    mistakes.cart("a stale version", &stale, CART_CHANGED, None);
    let mut nameless = add(json!(1));
    nameless["operation_id"] = json!("f47ac10b-58cc-4372-a567-0e02b2c3d479");
    mistakes.cart("an id of another kind", &nameless, INVALID, "operation_id");
    let short = mistakes.post("/v1/accounts").json(&json!({ "email": "a@example.org", "password": "short" }));
    mistakes.case("a short password", short, INVALID, "password");
    let address = mistakes.post("/v1/accounts").json(&json!({ "email": "nobody", "password": "long enough" }));
    mistakes.case("no e-mail address", address, INVALID, "email");
    let quote = mistakes.post("/v1/quotes").json(&json!({ "items": [{ "sku": goods::DEAR, "quantity": 100_000 }] }));
    mistakes.case("a quote beyond all money", quote, INVALID, "items");
    let items = json!([{ "sku": goods::DEAR, "quantity": 1 }]);
    let quote = mistakes.post("/v1/quotes").json(&json!({ "items": items, "country": "UK" }));
    mistakes.case("a country that is none", quote, INVALID, "country");
    let quote = mistakes.post("/v1/quotes").json(&json!({ "items": items, "delivery_option": "express" }));
    mistakes.case("a way of delivery to nowhere", quote, INVALID, "country");
    let get = |path: &str| {
        mistakes.shopper.client.request(Method::GET, path).bearer_auth(&mistakes.shopper.tokens.access_token)
    };
    let questions = [
        ("a page beyond the last", get("/v1/search?page=101"), "page"),
        ("a limit that is no number", get("/v1/products?limit=many"), "limit"),
        ("a limit beyond the most", get("/v1/orders?limit=101"), "limit"),
        ("a cursor that is none", get("/v1/orders?cursor=here"), "cursor"),
        ("an unknown order of results", get("/v1/search?order=random"), "order"),
        ("an unknown parameter", get("/v1/orders?colour=red"), "colour"),
        ("a version that is no number", get("/v1/cart?min_version=-1"), "min_version"),
    ];
    for (what, request, field) in questions {
        mistakes.case(what, request, INVALID, field);
    }
}

async fn refused(case: Case) {
    let Case { what, request, status, problem, field } = case;
    // Some of these count as new orders, of which a user has five a second; and units may be on their way for a moment.
    let unhurried = async || {
        let answer = client::send(request.try_clone()?).await;
        let passing = answer.status == 429 || answer.text().contains("/problems/stock-in-transit");
        (!passing).then_some(answer)
    };
    let answer = until("a request is not too many", std::time::Duration::from_secs(20), unhurried).await;
    assert_eq!(answer.status, status, "{what}: {}", answer.text());
    let said = answer.problem();
    assert_eq!(said.kind, problem, "{what}: {}", answer.text());
    if let Some(field) = field {
        assert_eq!(said.members.get("field").and_then(Value::as_str), Some(field), "{what}: {}", answer.text());
    }
    assert!(said.kind == "/problems/malformed" || !answer.text().contains("panicked"), "{what}");
}

async fn everything_wrong_is_refused_at(origin: &str) {
    let sku = goods::plenty();
    let before = books().units(&sku).await;
    let mut mistakes = Mistakes::of(Shopper::guest(origin).await, &sku).await;
    let user = mistakes.shopper.tokens.user_id;
    wrong_items(&mut mistakes);
    wrong_details(&mut mistakes);
    wrong_requests(&mut mistakes);
    wrong_elsewhere(&mut mistakes, &sku);
    let mut more = mistakes.order.clone();
    let everything = 3 * goods::PLENTY_PER_SHARD;
    set(&mut more, "/items/0/quantity", json!(everything + 1));
    let total: Money = serde_json::from_value(more["expected_total"].clone()).unwrap();
    let wanted = u32::try_from(everything + 1).unwrap();
    set(&mut more, "/expected_total", serde_json::to_value(total.checked_mul(wanted).unwrap()).unwrap());
    let request = mistakes.post("/v1/orders").json(&more);
    mistakes.case("more than all shards have", request, SOLD_OUT, None);
    for case in mistakes.cases {
        refused(case).await;
    }
    assert_eq!(books().rows_of(user).await, [0; 6], "something was written");
    let untouched = async || (books().units(&sku).await == before).then_some(());
    until("what was on its way has arrived", std::time::Duration::from_secs(20), untouched).await;
    assert_eq!(books().movements_of(user).await, 0);
}

#[tokio::test]
async fn everything_wrong_is_named_and_nothing_is_written() {
    everything_wrong_is_refused_at(pop()).await;
}

#[tokio::test]
async fn everything_wrong_is_named_through_the_worker_too() {
    everything_wrong_is_refused_at(worker()).await;
}

#[tokio::test]
async fn a_quote_that_changed_carries_the_new_one() {
    let (shopper, sku) = (Shopper::guest(pop()).await, goods::plenty());
    let mut order = shopper.order_of(&[(&sku, 2)], "tok_success").await;
    let true_total = order.expected_total;
    order.expected_total = Money::new(true_total.minor() - 1, true_total.currency()).unwrap();
    let problem = shopper.place(&key(), &order).await.expect(409).problem();
    let total: Money = serde_json::from_value(problem.members["quote"]["total"].clone()).unwrap();
    assert_eq!(total, true_total);
    order.expected_total = total;
    shopper.place(&key(), &order).await.expect(201);
}

#[tokio::test]
async fn a_stale_cart_is_not_ordered_and_says_which_version_it_has() {
    let (shopper, sku) = (Shopper::guest(pop()).await, goods::plenty());
    let cart = shopper.add(&sku, 1).await;
    let mut order = shopper.order_of(&[(&sku, 1)], "tok_success").await;
    order.cart_version = Some(cart.version);
    let changed = shopper.add(&goods::plenty(), 1).await;
    let problem = shopper.place(&key(), &order).await.expect(409).problem();
    assert_eq!(problem.kind, "/problems/cart-changed");
    assert_eq!(shopper.cart(0).await, changed, "the cart is as it was");
}
