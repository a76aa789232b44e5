//! A card number that somebody types where none belongs reaches no file of the store: it goes into every field of every form
//! and every string of every body, at both doors, and then all that the store keeps is searched.
//!
//! What is said by way of an ordinary order is searched for as well, and must be found: else the search would prove nothing.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::time::Duration;

use http::Method;
use memchr::memmem::Finder;
use serde_json::{Value, json};
use shared::api::order::{Order, PlaceOrder};
use shared::api::webhook::EndpointWithSecret;
use shared::{EndpointId, Sku};
use shared_clock::Entropy;
use sqlx::{Connection as _, Executor as _, PgConnection};
use tests::client::{send, try_send};
use tests::shopper::{PASSWORD, email, key, operation_id};
use tests::visitor::Form;
use tests::{Answer, Bus, Client, Options, Shopper, Store, Visitor, goods, until};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use xtask_system::Layout;

/// One shard, both doors, everything that writes files.
const STORE: Options = Options {
    regions: &[("eu", &[1])],
    cores: 1,
    worker: true,
    mail: true,
    demo_catalog: false,
    operator: true,
    bus: Bus::Postgres,
};
/// Far longer than anything takes; only a failing test meets it.
const SOON: Duration = Duration::from_secs(60);
/// What people put between the groups of digits, and how addresses and forms write a blank.
const SEPARATORS: [&str; 5] = ["", " ", "-", "+", "%20"];

/// A number that a card could have; drawn anew in each run.
struct Card(Vec<String>);

impl Card {
    fn drawn() -> Self {
        let dice = Entropy::system();
        let mut digits: Vec<u32> = std::iter::once(4).chain((0..14).map(|_| dice.below(10))).collect();
        digits.push(check_digit(&digits));
        let groups = digits.chunks(4).map(|group| group.iter().map(u32::to_string).collect());
        Self(groups.collect())
    }

    /// As people type it.
    fn typed(&self) -> impl Iterator<Item = String> {
        SEPARATORS[..3].iter().map(|separator| self.0.join(separator))
    }

    /// As it could be found.
    fn spelled(&self) -> impl Iterator<Item = String> {
        SEPARATORS.iter().map(|separator| self.0.join(separator))
    }
}

/// What makes the sum of the digits right (ISO/IEC 7812-1 annex B).
fn check_digit(digits: &[u32]) -> u32 {
    let doubled = |digit: u32| digit * 2 - if digit > 4 { 9 } else { 0 };
    let each = digits.iter().rev().enumerate();
    let sum: u32 = each.map(|(place, digit)| if place % 2 == 0 { doubled(*digit) } else { *digit }).sum();
    (10 - sum % 10) % 10
}

/// Asks until it is not too often, for then nobody has looked at what was asked; whatever it is, it is no fault of the store's.
async fn looked_at(what: &str, ask: impl AsyncFn() -> Answer) {
    let judged = async || Some(ask().await).filter(|answer| !matches!(answer.status, 429 | 503));
    let answer = until(&format!("{what} is looked at"), SOON, judged).await;
    assert!(answer.status < 500, "{what}: {} {}", answer.status, answer.text());
}

// Forms ------------------------------------------------------------------------------------------------------------

/// Forms that send nothing but where they go: there is no field to type into.
const WITHOUT_FIELDS: [&str; 9] = [
    "/orders/{order_id}/confirm",
    "/orders/{order_id}/cancel",
    "/orders/{order_id}/again",
    "/desk/orders/{order_id}/release",
    "/desk/orders/{order_id}/shipments/{shipment_id}/{what}",
    "/desk/webhooks/{endpoint_id}/test",
    "/desk/webhooks/{endpoint_id}/delete",
    "/desk/webhooks/{endpoint_id}/deliveries/{event_id}/replay",
    "/sign-out",
];
/// Forms that stand on a page only after something went wrong, came back or was mailed, and their fields. They are sent as they
/// would be, about something that is not there: what is typed comes as far.
const BY_HAND: [(&str, &[&str]); 7] = [
    ("/desk/orders/{order_id}/dead-letters/replay", &["consumer"]),
    ("/desk/orders/{order_id}/dead-letters/{event_id}/skip", &["consumer", "reason"]),
    ("/desk/orders/{order_id}/returns/{return_id}/inspection", &["currency", "reason", "amount"]),
    ("/desk/orders/{order_id}/notifications/{notification_id}/resend", &["key"]),
    ("/desk/orders/{order_id}/shipments/{shipment_id}/write-off", &["key", "reason"]),
    ("/orders/{order_id}/push", &["endpoint", "p256dh", "auth", "off"]),
    ("/unsubscribe/{token}", &["parcels"]),
];

/// Where forms may be sent to, as the storefront's own table of routes says.
fn destinations() -> BTreeSet<String> {
    let source = std::fs::read_to_string(tests::place::repository().join("edge/app/src/lib.rs")).unwrap();
    let posts = source.split(".route(\"").skip(1).filter_map(|route| {
        let (path, handlers) = route.split_once('"')?;
        handlers.split(".route(").next()?.contains("post(").then(|| path.to_owned())
    });
    posts.collect()
}

/// The route that a path is of: of those that fit, the one with the fewest parts that may be anything.
fn route_of<'a>(routes: &'a BTreeSet<String>, path: &str) -> Option<&'a String> {
    let open = |part: &str| part.starts_with('{');
    let fits = |route: &&String| {
        let (own, parts): (Vec<_>, Vec<_>) = (route.split('/').collect(), path.split('/').collect());
        own.len() == parts.len() && own.iter().zip(&parts).all(|(own, part)| open(own) || own == part)
    };
    routes.iter().filter(fits).min_by_key(|route| route.split('/').filter(|part| open(part)).count())
}

#[test]
fn every_place_that_a_form_can_be_sent_to_is_known_and_every_known_one_is_there() {
    let routes = destinations();
    assert!(routes.len() > 25 && routes.contains("/checkout"), "{routes:?}");
    for known in WITHOUT_FIELDS.into_iter().chain(BY_HAND.map(|(route, _)| route)) {
        assert!(routes.contains(known), "{known} is no route any more");
    }
    let skip = "/desk/orders/{order_id}/dead-letters/{event_id}/skip";
    assert_eq!(route_of(&routes, "/desk/orders/7/dead-letters/9/skip").map(String::as_str), Some(skip));
    assert_eq!(route_of(&routes, "/cart/add").map(String::as_str), Some("/cart/add"));
    // What a template says without a variable must be a route, or nobody would hear it.
    let templates = tests::place::repository().join("edge/app/templates");
    for template in std::fs::read_dir(templates).unwrap().flatten() {
        let text = std::fs::read_to_string(template.path()).unwrap();
        for form in
            text.split("<form ").skip(1).filter(|form| form.split('>').next().unwrap().contains("method=\"post\""))
        {
            let action = form.split("action=\"").nth(1).unwrap().split('"').next().unwrap();
            if !action.starts_with("{{") {
                let path = action.replace("{{ order.order_id }}", "7");
                assert!(route_of(&routes, &path).is_some(), "{action} of {:?}", template.file_name());
            }
        }
    }
}

/// A form that no page shows now, with these fields, all empty.
fn by_hand(route: &str, fields: &[&str]) -> Form {
    let id = "01900000-0000-7000-8000-000000000001";
    let part = |part: &str| if part.starts_with('{') { id.to_owned() } else { part.to_owned() };
    let mut form = Form::post(&route.split('/').map(part).collect::<Vec<_>>().join("/"));
    form.fields = fields.iter().map(|name| ((*name).to_owned(), String::new())).collect();
    form
}

/// What a person would write into an empty field that has to be filled.
fn filled(mut form: Form) -> Form {
    for (name, value) in form.fields.iter_mut().filter(|(_, value)| value.is_empty()) {
        *value = match name.as_str() {
            "email" => email().as_str().to_owned(),
            "password" => PASSWORD.to_owned(),
            "name" => "Ada Lovelace".to_owned(),
            "line1" => "12 St James's Square".to_owned(),
            "city" => "London".to_owned(),
            "carrier" => "Royal Mail".to_owned(),
            "reason" => "It broke".to_owned(),
            "amount" => "0.01".to_owned(),
            "url" => "https://hooks.example/".to_owned(),
            "consumer" => "payment".to_owned(),
            _ => continue,
        };
    }
    form
}

/// Where the number was typed: what a form is sent to, and the field's name.
type Typed = BTreeSet<(String, String)>;

/// Types the number into each field of each form of these pages, one at a time; into a form that several pages have, once.
async fn type_into_forms(visitor: &Visitor, pages: &[&str], card: &Card) -> Typed {
    let mut known = Typed::new();
    for path in pages {
        for form in visitor.open(path).await.expect(200).forms() {
            type_into(visitor, &form, card, &mut known).await;
        }
    }
    known
}

async fn type_into(visitor: &Visitor, form: &Form, card: &Card, known: &mut Typed) {
    for (place, (name, _)) in form.fields.iter().enumerate() {
        if !known.insert((form.action().to_owned(), name.clone())) {
            continue;
        }
        for typed in card.typed() {
            let mut form = filled(form.clone());
            form.fields[place].1 = typed;
            let submit = async || visitor.submit(&form).await.answer;
            looked_at(&format!("{name} of {}", form.action()), submit).await;
        }
    }
}

fn names(typed: &Typed) -> BTreeSet<&str> {
    typed.iter().map(|(_, name)| name.as_str()).collect()
}

async fn type_as_a_visitor(origin: &str, sku: &Sku, card: &Card) -> Typed {
    let visitor = Visitor::new(origin);
    visitor.add(sku).await;
    let product = format!("/p/{}", sku.as_str().to_lowercase());
    // Last those after which he may be somebody else, without a basket.
    let pages = ["/", &product, "/c/test-goods", "/cart", "/checkout", "/sign-in", "/sign-up"];
    let mut typed = type_into_forms(&visitor, &pages, card).await;
    for field in ["q", "sku", "quantity", "key", "items", "total", "postal_code", "payment", "password", "next"] {
        assert!(names(&typed).contains(field), "no page has a field {field}: {typed:?}");
    }
    let member = Visitor::new(origin);
    let form = member.open("/sign-up").await.expect(200).form("/sign-up");
    member.submit(&filled(form)).await.expect(200);
    typed.extend(type_into_forms(&member, &["/account"], card).await);
    for (route, fields) in BY_HAND.iter().filter(|(route, _)| !route.starts_with("/desk")) {
        type_into(&member, &by_hand(route, fields), card, &mut typed).await;
    }
    typed
}

/// An order that the desk is shown, of which a parcel has left if `sent`.
async fn order_for_the_desk(store: &Store, origin: &str, sku: &Sku, sent: bool) -> String {
    let (shopper, operator) = (Shopper::guest(origin).await, Shopper::operator(&store.sites).await);
    let order = shopper.buys(&[(sku, 1)], "tok_success").await.order_id;
    if sent {
        let parcel = json!({ "items": [{ "sku": sku, "quantity": 1 }], "carrier": "Royal Mail" });
        let answer = operator.post_once(&format!("/v1/orders/{order}/shipments"), &key(), &parcel).await;
        assert!(matches!(answer.status, 200..=299), "{}", answer.text());
    }
    order.to_string()
}

/// An endpoint for webhooks.
async fn endpoint(operator: &Shopper) -> EndpointId {
    let new = json!({ "url": "https://hooks.example/", "event_types": ["order.delivered"] });
    let made: EndpointWithSecret = operator.post_once("/v1/webhook-endpoints", &key(), &new).await.expect(201).json();
    made.endpoint.endpoint_id
}

async fn type_at_the_desk(store: &Store, origin: &str, sku: &Sku, order: &str, card: &Card) -> Typed {
    let operator = store.sites.operator.as_ref().unwrap();
    let password = std::fs::read_to_string(&operator.password_file).unwrap();
    let visitor = Visitor::new(origin);
    let form = visitor.open("/sign-in").await.expect(200).form("/sign-in");
    visitor.submit(&form.with("email", operator.email).with("password", password.trim())).await.expect(200);
    let desk = |order: &str| format!("/desk/orders/{order}");
    let endpoint = endpoint(&Shopper::operator(&store.sites).await).await;
    let sent = order_for_the_desk(store, origin, sku, true).await;
    let paid = order_for_the_desk(store, origin, sku, false).await;
    let webhook = format!("/desk/webhooks/{endpoint}");
    let pages = ["/desk", &desk(order), &desk(&sent), &desk(&paid), "/desk/dead-letters", "/desk/webhooks", &webhook];
    let mut typed = type_into_forms(&visitor, &pages, card).await;
    let fields = ["find", "status", "carrier", "tracking_code", "tracking_url", "reason", "amount", "service", "url"];
    for field in fields.into_iter().chain(["weight_grams", "description", "state", "currency"]) {
        assert!(names(&typed).contains(field), "the desk has no field {field}: {typed:?}");
    }
    for (route, fields) in BY_HAND.iter().filter(|(route, _)| route.starts_with("/desk")) {
        type_into(&visitor, &by_hand(route, fields), card, &mut typed).await;
    }
    typed
}

// Bodies -----------------------------------------------------------------------------------------------------------

/// Where strings stand in a body, as JSON pointers.
fn strings(value: &Value, at: &str) -> Vec<String> {
    match value {
        Value::String(_) => vec![at.to_owned()],
        Value::Array(items) => {
            items.iter().enumerate().flat_map(|(place, item)| strings(item, &format!("{at}/{place}"))).collect()
        }
        Value::Object(members) => {
            members.iter().flat_map(|(name, member)| strings(member, &format!("{at}/{name}"))).collect()
        }
        Value::Null | Value::Bool(_) | Value::Number(_) => Vec::new(),
    }
}

/// Names that must be new in each request that is to be looked at as a whole.
fn renewed(mut body: Value) -> Value {
    for (name, fresh) in [("email", json!(email())), ("operation_id", json!(operation_id()))] {
        if let Some(member) = body.get_mut(name) {
            *member = fresh;
        }
    }
    body
}

async fn send_in_body(who: &Shopper, method: &Method, path: &str, body: &Value, card: &Card) {
    let post = |key: String, body: Value| async move {
        let request = who.client.request(method.clone(), path).bearer_auth(&who.tokens.access_token);
        send(request.header("idempotency-key", key).json(&body)).await
    };
    for typed in card.typed() {
        for pointer in strings(body, "") {
            let sent = async || {
                let mut body = renewed(body.clone());
                *body.pointer_mut(&pointer).unwrap() = json!(typed);
                post(key(), body).await
            };
            looked_at(&format!("{pointer} of {path}"), sent).await;
        }
        // Where no key is expected, none is read.
        looked_at(&format!("the key of {path}"), async || post(typed.clone(), renewed(body.clone())).await).await;
    }
}

/// A body for each route that reads one, by who may send it.
async fn bodies(shopper: &Shopper, sku: &Sku, order: &str) -> (Vec<(String, Value)>, Vec<(String, Value)>) {
    let items = json!([{ "sku": sku, "quantity": 1 }]);
    let mut wanted = shopper.order_of(&[(sku, 1)], "tok_success").await;
    wanted.email = Some(email());
    wanted.user_id = Some(shopper.tokens.user_id);
    let delivered = PlaceOrder {
        delivery_option: Some("standard".to_owned()),
        phone: Some("+447700900123".parse().unwrap()),
        ..wanted.clone()
    };
    wanted.shipping_address.line2 = Some("Second floor".to_owned());
    wanted.shipping_address.region = Some("Greater London".to_owned());
    let change =
        |kind: &str| json!({ "operation_id": operation_id(), "change": { "kind": kind, "sku": sku, "quantity": 1 } });
    let of_shoppers = [
        ("/v1/sessions", json!({ "email": email(), "password": PASSWORD })),
        ("/v1/sessions/refresh", json!({ "refresh_token": "none" })),
        ("/v1/sessions/end", json!({ "refresh_token": "none" })),
        ("/v1/quotes", json!({ "items": items, "country": "GB", "delivery_option": "standard" })),
        ("/v1/cart/operations", change("add")),
        ("/v1/cart/operations", change("set")),
        ("/v1/cart/operations", json!({ "operation_id": operation_id(), "change": { "kind": "remove", "sku": sku } })),
        ("/v1/orders", serde_json::to_value(wanted).unwrap()),
        ("/v1/orders", serde_json::to_value(delivered).unwrap()),
        ("/v1/webhooks/stripe", json!({ "id": "evt_1", "type": "payment_intent.succeeded" })),
        ("/v1/account/mail-preferences", json!({ "parcels": "yes" })),
        ("/v1/mail-preferences/nonsense", json!({ "parcels": "yes" })),
        ("/v1/webhooks/carrier", json!({ "id": "evt_1", "description": "tracker.updated" })),
        (
            &format!("/v1/orders/{order}/push-subscriptions"),
            json!({ "endpoint": "http://127.0.0.1:9/p", "keys": { "p256dh": "AAAA", "auth": "AAAA" } }),
        ),
        // Last: it makes another user of him.
        ("/v1/accounts", json!({ "email": email(), "password": PASSWORD, "name": "Ada" })),
    ];
    let parcel = json!({
        "items": items, "carrier": "Royal Mail", "tracking_code": "RM1", "tracking_url": "https://track.example/RM1",
    });
    let of_keepers = [
        (format!("/v1/orders/{order}/shipments"), parcel),
        ("/v1/stock/entries".to_owned(), json!({ "ref": key(), "sku": sku, "kind": "supply", "units": 1 })),
        (
            format!("/v1/orders/{order}/refunds"),
            json!({ "amount": { "minor": 1, "currency": "GBP" }, "reason": "It broke" }),
        ),
        (format!("/v1/orders/{order}/returns"), json!({ "items": items, "reason": "It broke" })),
        (format!("/v1/orders/{order}/returns/{order}/inspection"), json!({ "restock": items })),
        (format!("/v1/orders/{order}/shipments"), json!({ "label": { "service": "Tracked", "weight_grams": 450 } })),
        (format!("/v1/orders/{order}/shipments/{order}/left"), json!({ "said": "It left" })),
        (format!("/v1/orders/{order}/notifications/{order}/resend"), json!({ "said": "Again" })),
        (format!("/v1/orders/{order}/release"), json!({ "said": "Go on" })),
        (format!("/v1/orders/{order}/dead-letters/replay"), json!({ "consumer": "payment" })),
        (
            format!("/v1/orders/{order}/dead-letters/{order}/skip"),
            json!({ "consumer": "payment", "reason": "It broke" }),
        ),
        (
            "/v1/webhook-endpoints".to_owned(),
            json!({ "url": "https://hooks.example/", "event_types": ["order.delivered"], "description": "Ours" }),
        ),
        (format!("/v1/orders/{order}/cancel"), json!({ "reason": "It broke" })),
    ];
    (of_shoppers.map(|(path, body)| (path.to_owned(), body)).into(), of_keepers.into())
}

async fn send_to_the_api(store: &Store, origin: &str, sku: &Sku, card: &Card) {
    let (shopper, operator) = (Shopper::guest(origin).await, Shopper::operator(&store.sites).await);
    let operator = Shopper { client: Client::new(origin), ..operator };
    // An order that may be sent or called off as a whole, where what is typed is no reason against it.
    let order: Order = shopper.buys(&[(sku, 1)], "tok_success").await;
    let webhook = format!("/v1/webhook-endpoints/{}", endpoint(&operator).await);
    let change = json!({ "url": "https://hooks.example/", "description": "Ours", "state": "paused" });
    send_in_body(&operator, &Method::PATCH, &webhook, &change, card).await;
    let span = json!({ "from": "2030-01-01T00:00:00Z", "to": "2030-01-02T00:00:00Z" });
    send_in_body(&operator, &Method::POST, &format!("{webhook}/replay"), &span, card).await;
    let (of_shoppers, of_keepers) = bodies(&shopper, sku, &order.order_id.to_string()).await;
    for (who, bodies) in [(&shopper, of_shoppers), (&operator, of_keepers)] {
        for (path, body) in bodies {
            send_in_body(who, &Method::POST, &path, &body, card).await;
        }
        for asked in ["/v1/search?q=", "/v1/stock?sku=", "/v1/orders?cursor=", "/v1/desk/orders?find="] {
            for typed in card.typed() {
                let path = format!("{asked}{}", typed.replace(' ', "%20"));
                looked_at(&path, async || who.get(&path).await).await;
            }
        }
    }
}

// Files ------------------------------------------------------------------------------------------------------------

/// Says commands to Redis and has each of them answered with OK.
async fn tell_redis(store: &Store, commands: &[&str]) {
    let (password, address) =
        store.sites.addresses.redis.strip_prefix("redis://:").and_then(|rest| rest.split_once('@')).unwrap();
    let mut stream = TcpStream::connect(address).await.unwrap();
    let said: String = commands.iter().map(|command| format!("{command}\r\n")).collect();
    stream.write_all(format!("AUTH {password}\r\n{said}QUIT\r\n").as_bytes()).await.unwrap();
    let mut told = String::new();
    tokio::time::timeout(SOON, stream.read_to_string(&mut told)).await.unwrap().unwrap();
    assert_eq!(told, "+OK\r\n".repeat(commands.len() + 2), "{commands:?}");
}

/// Has the databases write down what they have in memory.
async fn checkpoint(store: &Store) {
    for server in store.system.shards.values().chain(store.system.catalogs.values()) {
        let mut conn = PgConnection::connect(&server.url("postgres")).await.unwrap();
        conn.execute("CHECKPOINT").await.unwrap();
        conn.close().await.unwrap();
    }
}

/// Every file below a folder.
fn files(folder: &Path, found: &mut BTreeSet<PathBuf>) {
    for entry in std::fs::read_dir(folder).unwrap().flatten() {
        let kind = entry.file_type().unwrap();
        if kind.is_dir() {
            files(&entry.path(), found);
        } else if kind.is_file() {
            found.insert(entry.path());
        }
    }
}

/// The files of a stopped store in which each of these texts stands.
fn holding(layout: &Layout, texts: &BTreeSet<String>) -> BTreeMap<String, Vec<PathBuf>> {
    let mut all = BTreeSet::new();
    for folder in [layout.root(), layout.databases()] {
        files(folder, &mut all);
    }
    let mut found = BTreeMap::<String, Vec<PathBuf>>::new();
    let finders: Vec<_> = texts.iter().map(|text| (text, Finder::new(text))).collect();
    for path in all {
        let bytes = std::fs::read(&path).unwrap();
        for (text, _) in finders.iter().filter(|(_, finder)| finder.find(&bytes).is_some()) {
            found.entry((*text).clone()).or_default().push(path.clone());
        }
    }
    found
}

/// An order in somebody's name that was told about by mail, and a basket that he came back to.
async fn buy_as(store: &Store, origin: &str, sku: &Sku, name: &str) -> String {
    let (visitor, address) = (Visitor::new(origin), email());
    visitor.add(sku).await;
    let form = visitor.checkout("tok_success").await.with("name", name).with("email", address.as_str());
    let order = visitor.order(&form).await;
    let catcher = Client::new(store.sites.addresses.mail.as_deref().unwrap());
    let told = async || {
        let mails = try_send(catcher.request(Method::GET, "/email")).await.ok()?;
        mails.text().contains(address.as_str()).then_some(())
    };
    until("the shopper is told", SOON, told).await;
    order.to_string()
}

#[tokio::test]
async fn a_card_number_in_any_field_of_any_form_or_body_is_in_no_file_of_the_store() {
    let store = Store::start("cards", &STORE).await;
    // Every command that writes is kept from now on, and not only what lives for longer than a few seconds.
    tell_redis(&store, &["CONFIG SET rdbcompression no", "CONFIG SET appendonly yes"]).await;
    let letters = Entropy::system().bytes::<16>().map(|byte| char::from(b'a' + byte % 26));
    let (card, sku, name) = (Card::drawn(), goods::plenty(), format!("Ada {}", String::from_iter(letters)));
    let doors = [store.sites.addresses.shop.clone(), store.sites.addresses.worker.clone().unwrap()];
    let mut typed = Typed::new();
    for door in &doors {
        let order = buy_as(&store, door, &sku, &name).await;
        typed.extend(type_as_a_visitor(door, &sku, &card).await);
        typed.extend(type_at_the_desk(&store, door, &sku, &order, &card).await);
        send_to_the_api(&store, door, &sku, &card).await;
    }
    let mut untried = destinations();
    let routes = untried.clone();
    for route in typed.iter().filter_map(|(action, _)| route_of(&routes, action)) {
        untried.remove(route);
    }
    untried.retain(|route| !WITHOUT_FIELDS.contains(&route.as_str()));
    assert_eq!(untried, BTreeSet::new(), "forms into which nobody typed");
    Shopper::guest(&doors[0]).await.add(&sku, 1).await;
    checkpoint(&store).await;
    tell_redis(&store, &["SAVE"]).await;
    let layout = store.system.layout.clone();
    store.system.stop().await.unwrap();

    let ordinary = [
        (name.as_str(), layout.database("shard-1")),
        (name.as_str(), layout.path("mail")),
        (sku.as_str(), layout.path("redis")),
        ("tok_success", layout.path("payment-sandbox")),
    ];
    let texts = ordinary.iter().map(|(text, _)| (*text).to_owned()).chain(card.spelled()).collect();
    let found = holding(&layout, &texts);
    for (text, folder) in ordinary {
        let there = found.get(text).is_some_and(|paths| paths.iter().any(|path| path.starts_with(&folder)));
        assert!(there, "{text} is not found in {}: the search finds nothing", folder.display());
    }
    for spelled in card.spelled() {
        assert_eq!(found.get(&spelled), None, "a card number was kept as {spelled}");
    }
    layout.remove().unwrap();
}
