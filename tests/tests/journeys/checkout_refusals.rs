//! What comes between a shopper and his order though nobody made a mistake: another device, a new price, a slot that moves,
//! a region that cannot be reached. He is told what to do, and nothing is ordered that he did not agree to.

use std::fmt::Write as _;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::{Method, Request, Response};
use shared::api::account::Tokens;
use shared::api::order::{Order, OrderStatus, PlaceOrder, Quote};
use shared::{Problem, ProblemKind, RegionName, Sku};
use shared_link::{Pool, PoolOptions, Tls, TlsFiles};
use tests::shopper::{key, operation_id};
use tests::{Answer, Books, Client, Options, Shopper, Sites, Store, Visitor, client, goods, until};
use tokio::time::Instant;

use crate::store::books;
use crate::through_both;

through_both! {
    a_cart_that_another_device_has_ordered_is_not_ordered_again
    a_cart_that_another_device_has_emptied_is_explained_on_the_page
    the_same_key_for_something_else_is_refused_and_leads_to_what_was_ordered
}

/// Two regions with a shard each: shard 1 in `eu`, near the PoP, and shard 2 in `us`.
const TWO_REGIONS: Options = Options { regions: &[("eu", &[1]), ("us", &[2])], ..Options::SMALL };
/// Time for a changed catalog, a newer slot map, or a lost region to become known.
const KNOWN_WITHIN: Duration = Duration::from_secs(30);
/// "At once", on a machine that is busy: half of the time that the PoP would give an answer.
const REFUSED_WITHIN: Duration = Duration::from_secs(5);

async fn a_cart_that_another_device_has_ordered_is_not_ordered_again(origin: &str) {
    let (phone, sku) = (Shopper::guest(origin).await, goods::plenty());
    let desk = Shopper { client: Client::new(origin), ..phone.clone() };
    let cart = phone.add(&sku, 2).await;
    let order = PlaceOrder { cart_version: Some(cart.version), ..phone.order_of(&[(&sku, 2)], "tok_success").await };
    let keys = [key(), key()];
    let (one, other) = tokio::join!(phone.place(&keys[0], &order), desk.place(&keys[1], &order));
    let (won, lost) = if one.status == 201 { (one, other) } else { (other, one) };
    let placed: Order = won.expect(201).json();
    let problem = lost.expect(409).problem();
    assert!(problem.is(ProblemKind::CartChanged), "{problem}");
    assert_eq!(phone.decided(placed.order_id).await.status, OrderStatus::Confirmed);
    assert_eq!(books().money_matches(phone.tokens.user_id).await.len(), 1, "one basket, one order");
    assert!(desk.cart(cart.version + 1).await.lines.is_empty());
}

async fn a_cart_that_another_device_has_emptied_is_explained_on_the_page(origin: &str) {
    let (visitor, sku) = (Visitor::new(origin), goods::plenty());
    visitor.add(&sku).await;
    let checkout = visitor.checkout("tok_success").await;
    let session = visitor.cookie("__Host-session").expect("a guest with a basket has a session");
    let emptied = serde_json::json!({ "operation_id": operation_id(), "change": { "kind": "remove", "sku": sku } });
    let elsewhere = Client::new(origin).request(Method::POST, "/v1/cart/operations").bearer_auth(session);
    client::send(elsewhere.json(&emptied)).await.expect(200);

    let refused = visitor.submit(&checkout).await.expect(422);
    assert_eq!(refused.texts("#problem h2"), ["Your basket has changed"]);
    assert_eq!(refused.attributes("#problem a.button", "href"), ["/cart"], "the way out leads to the basket");
    let units = books().units(&sku).await;
    assert_eq!((units.reserved, units.sold), (0, 0));
}

async fn the_same_key_for_something_else_is_refused_and_leads_to_what_was_ordered(origin: &str) {
    let (visitor, sku) = (Visitor::new(origin), goods::plenty());
    visitor.add(&sku).await;
    let checkout = visitor.checkout("tok_success").await;
    let id = visitor.order(&checkout).await;
    let refused = visitor.submit(&checkout.clone().with("city", "York")).await.expect(422);
    assert_eq!(refused.texts("#problem h2"), ["Your first try may have arrived"]);
    assert_eq!(refused.attributes("#problem a.button", "href"), ["/orders"]);
    assert_eq!(refused.form("/checkout").value("key"), checkout.value("key"), "a new key could order twice");
    assert_eq!(visitor.order(&checkout).await, id, "the first form still leads to its order");
}

#[tokio::test]
async fn a_price_that_changed_since_it_was_shown_is_agreed_to_anew_or_not_paid() {
    let store = Store::start("price-changes", &Options::SMALL).await;
    let (origin, books, sku) = (store.sites.addresses.shop.clone(), Books::of(&store.sites), goods::plenty());
    let (visitor, shopper) = (Visitor::new(&origin), Shopper::guest(&origin).await);
    visitor.add(&sku).await;
    let shown = visitor.checkout("tok_success").await;
    let old = shopper.order_of(&[(&sku, 2)], "tok_success").await;
    reprice(&store, &sku, "199.99").await;
    let new = async || {
        let order = shopper.order_of(&[(&sku, 2)], "tok_success").await;
        (order.expected_total != old.expected_total).then_some(order)
    };
    let new = until("the new price is quoted", KNOWN_WITHIN, new).await;

    let key = key();
    let problem = shopper.place(&key, &old).await.expect(409).problem();
    assert!(problem.is(ProblemKind::QuoteChanged), "{problem}");
    let quote: Quote = serde_json::from_value(problem.members["quote"].clone()).unwrap();
    assert_eq!((quote.total, quote.total.minor()), (new.expected_total, 39_998));
    let refused = visitor.submit(&shown).await.expect(422);
    assert_eq!(refused.texts("#problem h2"), ["The total has changed"]);
    assert_eq!(refused.form("/checkout").value("total"), "19999", "the page asks for the new total");
    let units = books.units(&sku).await;
    assert_eq!((units.reserved, units.sold), (0, 0), "nothing is held for a price that nobody agreed to");

    // A refusal leaves no trace: the same key may carry the order at the new price.
    let placed: Order = shopper.place(&key, &new).await.expect(201).json();
    assert_eq!(shopper.decided(placed.order_id).await.total, new.expected_total);
    visitor.order(&refused.form("/checkout")).await;
    store.system.stop().await.unwrap();
}

/// Imports the goods' own line with another price.
async fn reprice(store: &Store, sku: &Sku, price: &str) {
    let file = store.system.layout.path("new-price.csv");
    let goods = std::fs::read_to_string(store.system.layout.path("goods.csv")).unwrap();
    let mut lines = goods.lines();
    let mut text = format!("{}\n", lines.next().unwrap());
    let handle = format!("{},", sku.as_str().to_lowercase());
    let own: Vec<&str> = lines.find(|line| line.starts_with(&handle)).unwrap().split(',').collect();
    let [rest @ .., _, status] = own.as_slice() else { panic!("{own:?}") };
    writeln!(text, "{},{price},{status}", rest.join(",")).unwrap();
    std::fs::write(&file, text).unwrap();
    store.system.region_core("eu", "import", &[file.to_str().unwrap()]).await.unwrap();
}

/// A connection to a region's cores, as the PoP has it.
async fn link(sites: &Sites, region: &str) -> Pool {
    let file = |kind: &str| sites.tls.join(format!("pop.pop-1.{kind}"));
    let files = TlsFiles { ca: sites.tls.join("ca.pem"), certificate: file("pem"), key: file("key") };
    let name: RegionName = region.parse().unwrap();
    let tls: Arc<Tls> = Tls::load(files).unwrap();
    let pool = Pool::new(name, &sites.quic(region), tls, PoolOptions::default()).unwrap();
    tokio::time::timeout(Duration::from_secs(10), pool.connected()).await.expect("the region can be reached");
    pool
}

async fn post(pool: &Pool, path: &str, token: Option<&str>, body: Vec<u8>) -> Response<Bytes> {
    let request = Request::post(format!("https://core{path}")).header("content-type", "application/json");
    let request = request.header("idempotency-key", key());
    let request = match token {
        Some(token) => request.header("authorization", format!("Bearer {token}")),
        None => request,
    };
    pool.send(request.body(Bytes::from(body)).unwrap(), Duration::from_secs(5)).await.unwrap()
}

/// A guest of that region's who shops at this PoP.
async fn guest_of(store: &Store, region: &str) -> Shopper {
    let answer = post(&link(&store.sites, region).await, "/v1/guests", None, b"{}".to_vec()).await;
    assert_eq!(answer.status(), 201);
    let tokens: Tokens = serde_json::from_slice(answer.body()).unwrap();
    Shopper { client: Client::new(&store.sites.addresses.shop), tokens }
}

/// Says in plain words to come back, and when.
fn says_come_back(answer: &Answer) {
    assert_eq!(answer.status, 503, "{}", answer.text());
    assert!(answer.problem().is(ProblemKind::Unavailable), "{}", answer.text());
    assert!(answer.header("retry-after").is_some(), "{:?}", answer.headers);
}

#[tokio::test]
async fn a_slot_that_its_shard_gave_away_is_not_written_there_and_is_followed_to_its_new_shard() {
    let store = Store::start("slot-given-away", &TWO_REGIONS).await;
    let (books, sku) = (Books::of(&store.sites), goods::plenty());
    let shopper = guest_of(&store, "eu").await;
    let (user, before) = (shopper.tokens.user_id, books.units(&sku).await);
    let order = shopper.order_of(&[(&sku, 1)], "tok_success").await;
    books.set_slot(1, user.slot(), "moved").await;

    // The core says so to the PoP, which looks for a newer map, tries once more and then asks the shopper for patience.
    let (eu, body) = (link(&store.sites, "eu").await, serde_json::to_vec(&order).unwrap());
    let refused = post(&eu, "/v1/orders", Some(&shopper.tokens.access_token), body).await;
    assert_eq!(refused.status(), 421);
    let problem: Problem = serde_json::from_slice(refused.body()).unwrap();
    assert!(problem.is(ProblemKind::WrongShard), "{problem}");
    let key = key();
    says_come_back(&shopper.place(&key, &order).await);
    assert_eq!(books.rows_of(user).await, [0; 6], "something was written where the slot no longer is");
    assert_eq!(books.units(&sku).await, before);

    // The new shard has it, and a newer map says so.
    books.introduce(user, 2).await;
    books.set_slot(2, user.slot(), "owner").await;
    Books::publish_owner(&store.system.catalogs["eu"].url("catalog"), user.slot(), 2).await;
    let arrived = async || {
        let answer = shopper.place(&key, &order).await;
        if answer.status == 201 {
            return Some(answer.json::<Order>());
        }
        says_come_back(&answer);
        None
    };
    let placed = until("the order arrives at the new shard", KNOWN_WITHIN, arrived).await;
    assert_eq!(shopper.decided(placed.order_id).await.status, OrderStatus::Confirmed);
    assert_eq!(books.money_matches(user).await.len(), 1);
    store.system.stop().await.unwrap();
}

#[tokio::test]
async fn a_region_that_is_cut_off_refuses_its_own_shoppers_at_once_and_no_others() {
    let mut store = Store::start("region-cut-off", &TWO_REGIONS).await;
    let (books, sku) = (Books::of(&store.sites), goods::plenty());
    let (here, there) = (guest_of(&store, "eu").await, guest_of(&store, "us").await);
    let order = there.order_of(&[(&sku, 1)], "tok_success").await;
    // It neither answers nor says that it will not.
    store.system.part_mut("core.us-1").unwrap().process().pause();

    let key = key();
    let refused = async || Some(there.place(&key, &order).await).filter(|answer| answer.status == 503);
    says_come_back(&until("the region is known to be lost", KNOWN_WITHIN, refused).await);
    let asked = Instant::now();
    says_come_back(&there.place(&key, &order).await);
    assert!(asked.elapsed() < REFUSED_WITHIN, "a refusal took {:?}", asked.elapsed());
    assert_eq!(here.buys(&[(&sku, 1)], "tok_success").await.status, OrderStatus::Confirmed, "others buy as ever");
    here.add(&sku, 1).await;

    store.system.part_mut("core.us-1").unwrap().process().resume();
    let placed = async || Some(there.place(&key, &order).await).filter(|answer| answer.status == 201);
    let placed: Order = until("the region is back", KNOWN_WITHIN, placed).await.json();
    assert_eq!(there.decided(placed.order_id).await.status, OrderStatus::Confirmed);
    assert_eq!(books.money_matches(there.tokens.user_id).await.len(), 1, "however often it was asked for");
    store.system.stop().await.unwrap();
}
