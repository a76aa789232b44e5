//! Datagrams.

use std::time::Duration;

use xtask_proxy::{Conditions, Kind, Weather};

use crate::support::{client, hear, link, socket, soon, until};

#[tokio::test]
async fn answers_find_their_way_to_each_of_several_senders() {
    let target = socket().await;
    let link = link(Kind::Udp, target.local_addr().unwrap(), 1).await;
    let senders = [client(&link).await, client(&link).await];
    for (name, sender) in ["a", "b"].iter().zip(&senders) {
        sender.send(name.as_bytes()).await.unwrap();
        let mut buffer = [0; 8];
        let (length, from) = soon(target.recv_from(&mut buffer)).await.unwrap();
        target.send_to(&[b"to ", &buffer[..length]].concat(), from).await.unwrap();
    }
    assert_eq!((hear(&senders[0]).await, hear(&senders[1]).await), ("to a".to_owned(), "to b".to_owned()));
}

/// Which of so many datagrams arrive.
async fn arrivals(weather: Conditions, seed: u64, count: u64) -> Vec<String> {
    let target = socket().await;
    let link = link(Kind::Udp, target.local_addr().unwrap(), seed).await;
    link.set(Weather::both(weather));
    let sender = client(&link).await;
    for number in 0..count {
        sender.send(number.to_string().as_bytes()).await.unwrap();
        // One at a time: a socket's buffer that overflows would lose some too.
        until(|| link.counts().0.taken == number + 1).await;
    }
    let lost = link.counts().0.lost;
    until(|| link.counts().0.delivered >= count - lost).await;
    let mut heard = Vec::new();
    for _ in 0..link.counts().0.delivered {
        heard.push(hear(&target).await);
    }
    heard
}

#[tokio::test]
async fn a_seed_loses_the_same_datagrams_again() {
    let weather = Conditions { loss: 0.3, ..Conditions::default() };
    let first = arrivals(weather, 7, 200).await;
    assert!((100..180).contains(&first.len()), "{} of 200 arrived", first.len());
    assert_eq!(arrivals(weather, 7, 200).await, first);
    assert_ne!(arrivals(weather, 8, 200).await, first);
}

#[tokio::test]
async fn what_is_repeated_arrives_twice() {
    let target = socket().await;
    let link = link(Kind::Udp, target.local_addr().unwrap(), 1).await;
    link.set(Weather::both(Conditions { duplicate: 1.0, ..Conditions::default() }));
    client(&link).await.send(b"once").await.unwrap();
    assert_eq!((hear(&target).await, hear(&target).await), ("once".to_owned(), "once".to_owned()));
}

#[tokio::test]
async fn a_late_datagram_is_overtaken_by_those_after_it() {
    let target = socket().await;
    let link = link(Kind::Udp, target.local_addr().unwrap(), 1).await;
    let sender = client(&link).await;
    link.set(Weather::both(Conditions { delay: Duration::from_secs(3_600), ..Conditions::default() }));
    sender.send(b"late").await.unwrap();
    until(|| link.counts().0.taken == 1).await;
    link.calm();
    sender.send(b"prompt").await.unwrap();
    assert_eq!(hear(&target).await, "prompt");
    assert_eq!(link.counts().0.delivered, 1);
}

#[tokio::test]
async fn a_link_cut_one_way_carries_questions_and_no_answers_until_it_is_mended() {
    let target = socket().await;
    let link = link(Kind::Udp, target.local_addr().unwrap(), 1).await;
    let sender = client(&link).await;
    link.set(Weather { backward: Conditions::CUT, ..Weather::default() });
    sender.send(b"question").await.unwrap();
    let mut buffer = [0; 16];
    let (_, from) = soon(target.recv_from(&mut buffer)).await.unwrap();
    target.send_to(b"lost", from).await.unwrap();
    until(|| link.counts().1.lost == 1).await;
    link.calm();
    target.send_to(b"answer", from).await.unwrap();
    assert_eq!(hear(&sender).await, "answer");
}

#[tokio::test]
async fn a_target_that_was_away_is_reached_when_it_is_back() {
    let first = socket().await;
    let address = first.local_addr().unwrap();
    let link = link(Kind::Udp, address, 1).await;
    let sender = client(&link).await;
    sender.send(b"to the first").await.unwrap();
    assert_eq!(hear(&first).await, "to the first");
    drop(first);
    sender.send(b"to nobody").await.unwrap();
    until(|| link.counts().0.delivered == 2).await;
    let second = tokio::net::UdpSocket::bind(address).await.unwrap();
    // The first of these may only bring back that nobody heard the one before.
    sender.send(b"to the second").await.unwrap();
    sender.send(b"to the second").await.unwrap();
    assert_eq!(hear(&second).await, "to the second");
}
