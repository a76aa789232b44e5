//! Promises about what the bus gave up: it is seen, and whoever puts it right is written down.

use region_core_order::OrderError;
use region_core_store::test_support;
use shared::api::desk::{DeadLetter, Happening, ReplayLetters, SkipLetter};
use shared::{RegionName, ShardId, SlotMap};

use super::*;

/// Who keeps the store.
fn keeper() -> UserId {
    UserId::mint(USER_EPOCH_MS + 1, Slot::new(77).unwrap(), 1).unwrap()
}

fn again() -> ReplayLetters {
    ReplayLetters { consumer: "sick".to_owned() }
}

fn without(reason: &str) -> SkipLetter {
    SkipLetter { consumer: "sick".to_owned(), reason: reason.to_owned() }
}

impl Shop {
    /// An order whose one event a consumer gave up, with another parked behind it.
    async fn given_up(&self, caller: Caller) -> OrderId {
        let order = self.place(caller, "k", wanting(&[("MUG", 1)], 250)).await.unwrap().order.order_id;
        let sql = "INSERT INTO dead_letters (consumer, event_id, aggregate_id, sequence, attempts, parked, cause)
                   SELECT 'sick', event_id, aggregate_id, sequence, 5, false, repeat('x', 600) FROM outbox
                   UNION ALL SELECT 'sick', gen_random_uuid(), aggregate_id, sequence + 1000, 0, true, 'parked' FROM outbox";
        sqlx::query(sql).execute(&mut *self.shard.read().await.unwrap()).await.unwrap();
        order
    }

    async fn letters(&self) -> Vec<DeadLetter> {
        self.orders.dead_letters().await.unwrap().items
    }

    /// What the store's people did to the order.
    async fn done(&self, order: OrderId) -> Vec<String> {
        let items = self.orders.timeline(keeper(), true, order).await.unwrap().items;
        let by_desk = items.into_iter().filter(|entry| entry.what == Happening::Desk);
        by_desk.inspect(|entry| assert_eq!(entry.actor, Some(keeper()))).filter_map(|entry| entry.detail).collect()
    }
}

#[tokio::test]
async fn what_was_given_up_is_shown_and_given_again_once_however_often_it_is_asked_for() {
    let shop = shop(&[("MUG", 10)]).await;
    let order = shop.given_up(shop.shopper(1).await).await;
    let letters = shop.letters().await;
    let shown: Vec<_> = letters.iter().map(|letter| (letter.order_id, letter.attempts, letter.parked)).collect();
    assert_eq!(shown, [(order, 5, false), (order, 0, true)]);
    assert_eq!((letters[0].kind.as_deref(), letters[0].cause.len()), (Some(OrderCreated::KIND), 500));
    let (first, second) = tokio::join!(
        shop.orders.replay_letters(order, again(), keeper()),
        shop.orders.replay_letters(order, again(), keeper()),
    );
    assert_eq!(first.unwrap() + second.unwrap(), 2);
    assert_eq!(shop.orders.replay_letters(order, again(), keeper()).await.unwrap(), 0);
    assert_eq!((shop.letters().await, shop.count("SELECT count(*) FROM event_retries").await), (vec![], 2));
    assert_eq!(shop.done(order).await, ["replay: sick, 2 events"]);
}

#[tokio::test]
async fn an_event_is_skipped_once_for_a_reason_and_what_is_parked_behind_it_is_not() {
    let shop = shop(&[("MUG", 10)]).await;
    let order = shop.given_up(shop.shopper(1).await).await;
    let letters = shop.letters().await;
    let (first, parked) = (letters[0].event_id, letters[1].event_id);
    let silent = shop.orders.skip_letter(order, first, without(" "), keeper()).await.unwrap_err();
    assert!(matches!(silent, OrderError::Invalid(_)), "{silent}");
    let behind = shop.orders.skip_letter(order, parked, without("why not"), keeper()).await.unwrap_err();
    assert!(matches!(behind, OrderError::NotGivenUp), "{behind}");
    for events in [1, 0] {
        assert_eq!(shop.orders.skip_letter(order, first, without("told by hand"), keeper()).await.unwrap(), events);
    }
    assert_eq!(shop.done(order).await, [format!("skip: sick, event {first}: told by hand")]);
    assert_eq!(shop.count("SELECT count(*) FROM skipped_events WHERE reason = 'told by hand'").await, 1);
    assert_eq!((shop.letters().await, shop.count("SELECT count(*) FROM event_retries").await), (vec![], 1));
}

#[tokio::test]
async fn a_region_that_does_not_answer_is_named_beside_what_the_others_gave_up() {
    let database = test_support::shard_database().await;
    let (eu, us): (RegionName, RegionName) = ("eu".parse().unwrap(), "us".parse().unwrap());
    let number = |number| ShardId::try_from(number).unwrap();
    let map = SlotMap::even(1, [(number(1), eu.clone()), (number(2), us.clone())].into()).unwrap();
    let shop = shop_over(Shards::new(eu, [Shard::from_pool(number(1), database.pool)], map), Peers::none());
    let many = "INSERT INTO dead_letters (consumer, event_id, aggregate_id, sequence, attempts, cause)
                SELECT 'sick', gen_random_uuid(), gen_random_uuid(), number, 5, 'test' FROM generate_series(1, 101) AS number";
    sqlx::query(many).execute(&mut *shop.shard.read().await.unwrap()).await.unwrap();
    let page = shop.orders.dead_letters().await.unwrap();
    assert_eq!((page.items.len(), page.more, page.missing), (100, true, vec![us]));
}
