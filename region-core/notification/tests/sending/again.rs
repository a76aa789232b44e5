//! What who keeps the store has sent once more.

use std::collections::HashSet;
use std::sync::Arc;

use region_core_notification::CopyError;
use region_core_notification::rules::{MOST_COPIES, NoCopy};
use shared::api::desk::NotificationState;
use tokio::task::JoinSet;

use crate::server::{Secured, Server};
use crate::shop::Shop;

async fn opened() -> (Server, Shop) {
    let server = Server::start(Secured::Never).await;
    let shop = Shop::open(&format!("smtp://{}", server.address), None).await;
    (server, shop)
}

#[tokio::test]
async fn a_mail_is_sent_again_once_under_a_key_and_its_reader_can_tell_it_from_the_first() {
    let (server, shop) = opened().await;
    let order = shop.order(Some("ada@example.org"));
    let event = shop.confirmed(order).await;
    shop.hear().await;
    shop.send().await;
    let shop = Arc::new(shop);
    let mut asked = JoinSet::new();
    for _ in 0..20 {
        let shop = Arc::clone(&shop);
        asked.spawn(async move { shop.again(order, event, "once").await.unwrap() });
    }
    let answers = asked.join_all().await;
    assert_eq!(answers.iter().filter(|answer| !answer.replayed).count(), 1);
    let names: HashSet<_> = answers.iter().map(|answer| answer.notification.notification_id).collect();
    assert_eq!(names.len(), 1);
    shop.send().await;
    let copy = shop.again(order, event, "once").await.unwrap();
    assert!(copy.replayed && copy.notification.state == NotificationState::Sent);
    let taken = server.taken();
    assert_eq!((taken.len(), &taken[0].to), (2, &taken[1].to));
    assert_eq!(taken[0].header("Subject"), taken[1].header("Subject"));
    assert_ne!(taken[0].header("Message-ID"), taken[1].header("Message-ID"));
    assert_eq!(shop.notes().await, [(order, Shop::keeper(), "order_confirmed".to_owned())]);
}

#[tokio::test]
async fn a_mail_that_came_back_is_tried_again_where_it_came_back_from() {
    let (server, shop) = opened().await;
    let order = shop.order(Some("gone@example.org"));
    let event = shop.confirmed(order).await;
    shop.hear().await;
    shop.send().await;
    shop.again(order, event, "once-more").await.unwrap();
    shop.send().await;
    assert_eq!(server.asked(), ["gone@example.org", "gone@example.org"]);
    let list = shop.notifications().list(order).await.unwrap();
    let seen: Vec<_> = list.iter().map(|told| (told.copy_of, told.state, told.error.as_deref())).collect();
    let bounced = (NotificationState::Bounced, Some("5.1.1 no such user"));
    assert_eq!(seen, [(Some(event), bounced.0, bounced.1), (None, bounced.0, bounced.1)]);
}

#[tokio::test]
async fn what_is_still_to_be_sent_is_not_copied_and_nothing_for_ever() {
    let (server, shop) = opened().await;
    let order = shop.order(Some("ada@example.org"));
    let event = shop.confirmed(order).await;
    shop.hear().await;
    let early = shop.again(order, event, "early").await.unwrap_err();
    assert!(matches!(early, CopyError::No(NoCopy::StillToSend)), "{early}");
    shop.send().await;
    for number in 0..MOST_COPIES {
        shop.again(order, event, &number.to_string()).await.unwrap();
        let late = shop.again(order, event, "another").await.unwrap_err();
        assert!(matches!(late, CopyError::No(NoCopy::StillToSend)), "{late}");
        shop.send().await;
    }
    let more = shop.again(order, event, "another").await.unwrap_err();
    assert!(matches!(more, CopyError::No(NoCopy::Enough)), "{more}");
    assert_eq!((server.taken().len(), shop.notes().await.len()), (1 + MOST_COPIES, MOST_COPIES));
    let other = shop.again(shop.order(None), event, "k").await.unwrap_err();
    assert!(matches!(other, CopyError::NotFound), "another order's: {other}");
}
