//! What is told, how often, and to whom not.

use std::collections::HashSet;

use region_core_events::Event;

use crate::server::{Secured, Server};
use crate::shop::Shop;

async fn opened() -> (Server, Shop) {
    let server = Server::start(Secured::Never).await;
    let shop = Shop::open(&format!("smtp://{}", server.address), None).await;
    (server, shop)
}

fn state(recipient: &str, state: &str, attempts: i32, error: Option<&str>) -> (String, String, i32, Option<String>) {
    (recipient.to_owned(), state.to_owned(), attempts, error.map(str::to_owned))
}

#[tokio::test]
async fn a_confirmed_order_is_told_once_in_two_forms_and_a_shopper_without_an_address_is_not_told() {
    let (server, shop) = opened().await;
    let order = shop.order(Some("ada@example.org"));
    let event = shop.confirmed(order).await;
    shop.confirmed(shop.order(None)).await;
    shop.hear().await;
    shop.hear().await;
    shop.send().await;
    let taken = server.taken();
    assert_eq!(taken.len(), 1);
    let header = |name: &str| taken[0].header(name).unwrap();
    assert_eq!(header("Message-ID"), format!("<{event}.mail@shop.example>"));
    assert_eq!((taken[0].from.as_str(), taken[0].to.as_str()), ("orders@shop.example", "ada@example.org"));
    assert_eq!(header("To"), "ada@example.org");
    assert_eq!(header("Subject"), format!("Your order {} is confirmed", order.short()));
    assert_eq!(header("Auto-Submitted"), "auto-generated");
    assert!(header("From").ends_with("<orders@shop.example>"), "{}", header("From"));
    assert!(header("Content-Type").starts_with("multipart/alternative"));
    for form in ["text/plain; charset=utf-8", "text/html; charset=utf-8"] {
        assert!(taken[0].text.contains(form), "no {form} in {}", taken[0].text);
    }
    assert_eq!(shop.states().await, [state("ada@example.org", "sent", 1, None)]);
}

#[tokio::test]
async fn events_that_come_three_times_and_shuffled_are_told_once_each_and_each_order_s_as_they_came_first() {
    let (server, shop) = opened().await;
    let mut told = HashSet::new();
    for shopper in 0..4 {
        let order = shop.order(Some(&format!("shopper{shopper}@example.org")));
        told.extend([shop.confirmed(order).await, shop.cancelled(order).await, shop.refunded(order).await]);
    }
    let events = shop.events().await;
    let mut again: Vec<Event> = [&events[..], &events[..], &events[..]].concat();
    again.sort_by_key(|event| event.event_id.as_uuid().as_u128().wrapping_mul(0x9E37_79B9_7F4A_7C15) >> 64);
    shop.give(&events[..5]).await;
    for few in again.chunks(5) {
        shop.give(few).await;
    }
    shop.hear().await;
    let (other_shutdown, other) = shop.process();
    shop.send().await;
    other_shutdown.cancel();
    other.await.unwrap();
    let ids: Vec<_> = server.taken().iter().map(|taken| taken.header("Message-ID").unwrap()).collect();
    assert_eq!(ids.len(), 12, "{ids:?}");
    let wanted: HashSet<_> = told.iter().map(|event| format!("<{event}.mail@shop.example>")).collect();
    assert_eq!(ids.into_iter().collect::<HashSet<_>>(), wanted);
}

#[tokio::test]
async fn the_news_of_an_order_arrives_in_order() {
    let (server, shop) = opened().await;
    let order = shop.order(Some("busy@example.org"));
    let events = [shop.confirmed(order).await, shop.cancelled(order).await, shop.refunded(order).await];
    shop.hear().await;
    shop.send().await;
    let ids: Vec<_> = server.taken().iter().map(|taken| taken.header("Message-ID").unwrap()).collect();
    assert_eq!(ids, events.map(|event| format!("<{event}.mail@shop.example>")));
    let attempts: Vec<_> = shop.states().await.into_iter().map(|(_, state, attempts, _)| (state, attempts)).collect();
    assert_eq!(attempts, [("sent".to_owned(), 3), ("sent".to_owned(), 1), ("sent".to_owned(), 1)]);
}

#[tokio::test]
async fn an_address_that_nobody_reads_is_written_to_once() {
    let (server, shop) = opened().await;
    let order = shop.order(Some("gone@example.org"));
    shop.confirmed(order).await;
    shop.cancelled(order).await;
    shop.refunded(order).await;
    shop.hear().await;
    shop.send().await;
    assert_eq!(server.asked(), ["gone@example.org"]);
    let states = shop.states().await;
    assert_eq!(states[0], state("gone@example.org", "bounced", 1, Some("5.1.1 no such user")));
    let earlier = Some("earlier news of this order came back from there");
    assert_eq!(
        states[1..],
        [state("gone@example.org", "bounced", 1, earlier), state("gone@example.org", "bounced", 1, earlier)]
    );
    assert_eq!(server.taken(), []);
}

#[tokio::test]
async fn a_mail_that_is_refused_is_given_up_and_one_that_is_put_off_is_tried_so_often() {
    let (server, shop) = opened().await;
    for recipient in ["spam@example.org", "relay@example.org"] {
        shop.confirmed(shop.order(Some(recipient))).await;
    }
    shop.hear().await;
    shop.send().await;
    let states = shop.states().await;
    assert_eq!(
        states,
        [
            state("spam@example.org", "failed", 1, Some("5.7.1 not this")),
            state("relay@example.org", "failed", 4, Some("5.7.1 not for you")),
        ]
    );
    assert_eq!(server.taken(), []);
}

#[tokio::test]
async fn a_mail_whose_fate_nobody_knows_is_sent_again_as_it_was() {
    let (server, shop) = opened().await;
    shop.confirmed(shop.order(Some("cut@example.org"))).await;
    shop.hear().await;
    shop.send().await;
    let taken = server.taken();
    assert_eq!((taken.len(), &taken[0]), (2, &taken[1]), "the same bytes under the same Message-ID");
    assert_eq!(shop.states().await, [state("cut@example.org", "sent", 2, None)]);
}

#[tokio::test]
async fn a_mail_server_that_is_away_is_waited_for_and_then_given_up() {
    let shop = Shop::open("smtp://127.0.0.1:9", None).await;
    shop.confirmed(shop.order(Some("ada@example.org"))).await;
    shop.hear().await;
    shop.send().await;
    let states = shop.states().await;
    assert_eq!((states[0].1.as_str(), states[0].2), ("failed", 4));
    assert!(states[0].3.as_ref().unwrap().contains("onnection"), "{states:?}");
}

#[tokio::test]
async fn no_connection_to_the_database_is_held_while_the_mail_server_thinks() {
    let (server, shop) = opened().await;
    for _ in 0..4 {
        shop.confirmed(shop.order(Some("slow@example.org"))).await;
    }
    shop.hear().await;
    let (shutdown, process) = shop.process();
    server.until_asked(4).await;
    // Both were counted while the driver waited for four mails, and had looked once more for others.
    let quiet = async {
        while shop.shard().connections() as usize != shop.shard().idle_connections() {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(std::time::Duration::from_secs(60), quiet).await.unwrap();
    assert!(shop.states().await.iter().all(|(_, state, attempts, _)| state == "to_send" && *attempts == 1));
    shutdown.cancel();
    server.release();
    process.await.unwrap();
    assert!(shop.states().await.iter().all(|(_, state, ..)| state == "sent"), "what was under way is kept at the end");
    assert_eq!((server.taken().len(), server.connections()), (4, 4));
}

#[tokio::test]
async fn connections_are_used_again() {
    let (server, shop) = opened().await;
    let (shutdown, process) = shop.process();
    for _ in 0..3 {
        shop.confirmed(shop.order(Some("ada@example.org"))).await;
        shop.hear().await;
        shop.until_settled().await;
    }
    shutdown.cancel();
    process.await.unwrap();
    assert_eq!((server.taken().len(), server.connections()), (3, 1));
}
