//! An order is followed, by the page that shows it and through the API: every state is told once, in order, to its shopper.

use std::time::Duration;

use http::Method;
use serde_json::json;
use shared::api::order::{Order, OrderStatus};
use tests::events::{Event, Events};
use tests::shopper::key;
use tests::visitor::Form;
use tests::{Shopper, Visitor, client, goods};

use crate::store::sites;
use crate::through_both;

through_both! {
    an_open_page_is_told_each_step_of_its_order_and_never_an_older_one
    a_page_that_comes_back_is_told_nothing_twice
    anothers_order_is_followed_by_nobody
    whoever_knows_an_orders_state_gets_the_next_one
}

/// An order that waits for its shopper to confirm its payment, and its stream.
async fn waiting_order(visitor: &Visitor) -> (String, Events) {
    visitor.add(&goods::plenty()).await;
    let page = format!("/orders/{}", visitor.order(&visitor.checkout("tok_challenge").await).await);
    let stream = visitor.listen(&format!("{page}/live"), None).await;
    assert_eq!(stream.status, 200);
    (page, stream)
}

/// The events up to the first that is so.
async fn until(stream: &mut Events, so: impl Fn(&Event) -> bool) -> Vec<Event> {
    let mut told = Vec::new();
    loop {
        let event = stream.next().await.unwrap_or_else(|| panic!("ended after {told:?}"));
        told.push(event);
        if told.last().is_some_and(&so) {
            return told;
        }
    }
}

fn asks_to_confirm(event: &Event) -> bool {
    event.data["act"]["action"].as_str().is_some_and(|action| action.ends_with("/confirm"))
}

fn stands(status: &str) -> impl Fn(&Event) -> bool {
    move |event| event.data["status"] == status
}

/// The order's version, which a state's tag begins with.
fn version(event: &Event) -> u64 {
    event.id.trim_matches('"').split('-').next().unwrap().parse().unwrap()
}

async fn send(operator: &Shopper, page: &str) -> String {
    let parcels = format!("/v1{page}/shipments");
    let sent = operator.post_once(&parcels, &key(), &json!({ "carrier": "Royal Mail" })).await.expect(201);
    format!("{parcels}/{}/delivered", sent.json::<serde_json::Value>()["shipment_id"].as_str().unwrap())
}

async fn an_open_page_is_told_each_step_of_its_order_and_never_an_older_one(origin: &str) {
    let (visitor, operator) = (Visitor::new(origin), Shopper::operator(sites()).await);
    let (page, mut stream) = waiting_order(&visitor).await;
    for (name, value) in [("content-type", "text/event-stream"), ("cache-control", "private, no-store, no-transform")] {
        assert_eq!(stream.headers[name], value);
    }
    let mut told = until(&mut stream, asks_to_confirm).await;
    visitor.submit(&Form::post(&format!("{page}/confirm"))).await.expect(200);
    told.extend(until(&mut stream, stands("CONFIRMED")).await);
    let arrival = send(&operator, &page).await;
    told.extend(until(&mut stream, stands("SHIPPED")).await);
    operator.post(&arrival, &json!({})).await.expect(200);
    told.extend(until(&mut stream, stands("DELIVERED")).await);
    assert_eq!(stream.next().await, None, "nothing follows any more");

    assert!(told.is_sorted_by(|one, next| version(one) <= version(next) && one.id != next.id), "{told:?}");
    let mut statuses: Vec<_> = told.iter().map(|event| event.data["status"].as_str().unwrap()).collect();
    statuses.dedup();
    assert_eq!(statuses, ["PENDING", "CONFIRMED", "SHIPPED", "DELIVERED"]);
    let last = &told[told.len() - 1];
    let shown = visitor.open(&page).await.expect(200);
    assert_eq!(shown.texts("#state"), [last.data["headline"].as_str().unwrap()]);
    let heard = visitor.listen(&format!("{page}/live"), Some(&last.id)).await;
    assert_eq!(heard.status, 204, "the browser is told not to come back");
}

async fn a_page_that_comes_back_is_told_nothing_twice(origin: &str) {
    let visitor = Visitor::new(origin);
    let (page, mut stream) = waiting_order(&visitor).await;
    let told = until(&mut stream, asks_to_confirm).await;
    drop(stream);
    let last = told.last().unwrap();
    let mut again = visitor.listen(&format!("{page}/live"), Some(&last.id)).await;
    visitor.submit(&Form::post(&format!("{page}/confirm"))).await.expect(200);
    let rest = until(&mut again, stands("CONFIRMED")).await;
    assert!(rest.iter().all(|event| told.iter().all(|before| before.id != event.id)), "{told:?} and again {rest:?}");
}

async fn anothers_order_is_followed_by_nobody(origin: &str) {
    let (owner, other) = (Visitor::new(origin), Visitor::new(origin));
    let (page, _stream) = waiting_order(&owner).await;
    other.add(&goods::plenty()).await;
    let live = format!("{page}/live");
    assert_eq!(other.listen(&live, None).await.status, 404);
    assert_eq!(other.listen(&live, Some("\"1-processing-0\"")).await.status, 404);
    assert_eq!(Visitor::new(origin).listen(&live, None).await.status, 401);
}

async fn whoever_knows_an_orders_state_gets_the_next_one(origin: &str) {
    let (shopper, operator) = (Shopper::guest(origin).await, Shopper::operator(sites()).await);
    let order = shopper.buys(&[(&goods::plenty(), 1)], "tok_success").await.order_id;
    let path = format!("/v1/orders/{order}");
    let ask = |tag: &str, wait: Option<u32>| {
        let request = shopper.client.request(Method::GET, &path).bearer_auth(&shopper.tokens.access_token);
        let request = request.header("if-none-match", tag);
        wait.into_iter().fold(request, |request, seconds| request.header("prefer", format!("wait={seconds}")))
    };
    let paid = shopper.get(&path).await.expect(200);
    let tag = paid.header("etag").unwrap().to_owned();
    assert_eq!(tag, paid.json::<Order>().state_tag());
    let same = client::send(ask(&tag, None)).await.expect(304);
    assert_eq!(
        (same.header("etag"), same.header("preference-applied"), same.body.len()),
        (Some(tag.as_str()), None, 0)
    );
    let waited = client::send(ask(&tag, Some(1))).await.expect(304);
    assert_eq!(waited.header("preference-applied"), Some("wait=1"));
    let older = client::send(ask("\"1-processing-0\"", Some(10)).timeout(Duration::from_secs(9))).await.expect(200);
    assert_eq!(older.header("etag"), Some(tag.as_str()), "what is known to be old is not waited for");

    let page = format!("/orders/{order}");
    let (next, _) = tokio::join!(client::send(ask(&tag, Some(10))), send(&operator, &page));
    assert_eq!(next.expect(200).json::<Order>().status, OrderStatus::Shipped);
    let stranger = Shopper::guest(origin).await;
    let asked = stranger.client.request(Method::GET, &path).bearer_auth(&stranger.tokens.access_token);
    client::send(asked.header("if-none-match", &tag)).await.expect(404);
}
