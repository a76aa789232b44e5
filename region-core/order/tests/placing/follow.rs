//! Promises about following an order: told of each change, of nothing twice, and nobody waits who cannot be served.

use region_core_events::contract::PaymentChallengeRequired;
use region_core_order::Followed;
use shared::api::order::NextAction;

use super::parcels::{keeper, parcel};
use super::*;

/// Longer than anything here takes; only a failing test meets it.
const PATIENT: Duration = Duration::from_secs(30);

impl Shop {
    /// The order's state once it is another one than `known`, and whether that is what the order itself says.
    async fn next(&self, caller: Caller, order: OrderId, known: &str) -> String {
        let owner = Some(caller.user_id);
        let Followed { state, held } = self.orders.follow(order, owner, PATIENT, |state| state == known).await.unwrap();
        assert!(held && state != known);
        assert_eq!(self.orders.find(caller.user_id, order).await.unwrap().state_tag(), state);
        state
    }
}

#[tokio::test]
async fn whoever_follows_an_order_is_told_of_each_step_of_its_payment_and_of_its_parcels() {
    let shop = shop(&[("MUG", 10)]).await;
    let ada = shop.shopper(1).await;
    let order = shop.place(ada, "k", wanting(&[("MUG", 2)], 500)).await.unwrap().order;
    let (order_id, payment_id) = (order.order_id, payment(order.order_id));
    let (pending, amount) = (order.state_tag(), order.total);
    assert_eq!(pending, "\"1-processing-0\"");
    shop.hear(PaymentChallengeRequired { order_id, payment_id, challenge_id: "c".into() }).await;
    let asked = shop.next(ada, order_id, &pending).await;
    assert_eq!(asked, "\"1-challenge_required-0\"", "its version says nothing of this");
    shop.hear(PaymentAuthorized { order_id, payment_id, assessment: None }).await;
    let claimed = shop.next(ada, order_id, &asked).await;
    shop.hear(PaymentCaptured { order_id, payment_id, amount }).await;
    let paid = shop.next(ada, order_id, &claimed).await;
    let mut seen = vec![paid];
    for units in [Some(1), None] {
        shop.orders.ship(order_id, key(&format!("{units:?}")), keeper(), parcel(units)).await.unwrap();
        seen.push(shop.next(ada, order_id, seen.last().unwrap()).await);
    }
    for parcel in [0, 1] {
        shop.deliver(order_id, parcel).await;
        seen.push(shop.next(ada, order_id, seen.last().unwrap()).await);
    }
    assert_eq!(
        seen,
        ["\"3-captured-0\"", "\"4-captured-1\"", "\"4-captured-2\"", "\"4-captured-3\"", "\"5-captured-4\""]
    );
}

#[tokio::test]
async fn an_orders_owner_alone_is_told_where_to_pay_and_each_page_is_another_state() {
    let shop = shop(&[("MUG", 10)]).await;
    let ada = shop.shopper(1).await;
    let order = shop.place(ada, "k", wanting(&[("MUG", 2)], 500)).await.unwrap().order;
    let (order_id, payment_id) = (order.order_id, payment(order.order_id));
    let asks = "INSERT INTO payments (payment_id, order_id, provider, provider_reference, payment_token, currency, amount_minor,
                                      state, next_action_url)
                VALUES ($1, $2, 'bank', 'pay_1', 'tok', 'GBP', 500, 'challenge_required', 'https://bank.example/1')";
    let asks = sqlx::query(asks).bind(payment_id.as_uuid()).bind(order_id.as_uuid());
    asks.execute(&mut *shop.shard.read().await.unwrap()).await.unwrap();
    assert_eq!(
        shop.orders.find(ada.user_id, order_id).await.unwrap().next_action,
        None,
        "the order has not heard of it"
    );
    shop.hear(PaymentChallengeRequired { order_id, payment_id, challenge_id: "c".into() }).await;

    let page = |url: &str| Some(NextAction::RedirectToUrl { url: url.to_owned() });
    let mut seen = vec![shop.next(ada, order_id, &order.state_tag()).await];
    for (now, action) in [
        ("next_action_url = 'https://bank.example/2'", page("https://bank.example/2")),
        ("next_action_url = NULL", Some(NextAction::Confirm)),
        ("state = 'to_authorize'", None),
    ] {
        let moved = sqlx::AssertSqlSafe(format!("UPDATE payments SET {now}"));
        sqlx::query(moved).execute(&mut *shop.shard.read().await.unwrap()).await.unwrap();
        seen.push(shop.next(ada, order_id, seen.last().unwrap()).await);
        assert_eq!(shop.orders.find(ada.user_id, order_id).await.unwrap().next_action, action);
        let anybody = shop.orders.find_any(order_id).await.unwrap().unwrap();
        let follow = shop.orders.follow(order_id, None, Duration::ZERO, |_| true).await.unwrap();
        assert_eq!((anybody.next_action.as_ref(), anybody.state_tag()), (None, follow.state));
    }
    let every: std::collections::BTreeSet<_> = seen.iter().collect();
    assert_eq!(every.len(), seen.len(), "{seen:?}");
}

#[tokio::test]
async fn one_who_follows_is_answered_when_the_order_moves_and_not_later() {
    let shop = Arc::new(shop(&[("MUG", 10)]).await);
    let ada = shop.shopper(1).await;
    let order = shop.place(ada, "k", wanting(&[("MUG", 1)], 250)).await.unwrap().order;
    let (order_id, known) = (order.order_id, order.state_tag());
    let following = tokio::spawn({
        let (shop, known) = (Arc::clone(&shop), known.clone());
        async move { shop.next(ada, order_id, &known).await }
    });
    shop.hear(PaymentFailed { order_id, payment_id: payment(order_id), reason: "no".into() }).await;
    assert_eq!(following.await.unwrap(), "\"2-declined-0\"");
    let short = Duration::from_millis(20);
    let same = shop.orders.follow(order_id, Some(ada.user_id), short, |_| true).await.unwrap();
    assert_eq!(same, Followed { state: "\"2-declined-0\"".to_owned(), held: true });
}

#[tokio::test]
async fn an_order_is_followed_by_its_shopper_and_by_who_keeps_the_store_alone() {
    let shop = shop(&[("MUG", 10)]).await;
    let (ada, bob) = (shop.shopper(1).await, shop.shopper(2).await);
    let order = shop.place(ada, "k", wanting(&[("MUG", 1)], 250)).await.unwrap().order.order_id;
    let follow = async |owner| shop.orders.follow(order, owner, PATIENT, |_| false).await;
    assert!(follow(Some(ada.user_id)).await.is_ok() && follow(None).await.is_ok());
    assert!(matches!(follow(Some(bob.user_id)).await, Err(OrderError::NotFound)));
}

#[tokio::test]
async fn of_too_many_followers_some_are_answered_at_once_and_told_so() {
    let shop = Arc::new(shop(&[("MUG", 10)]).await);
    let ada = shop.shopper(1).await;
    let order = shop.place(ada, "k", wanting(&[("MUG", 1)], 250)).await.unwrap().order;
    let (order_id, payment_id) = (order.order_id, payment(order.order_id));
    let mut followers = JoinSet::new();
    let (turned_away, mut told) = tokio::sync::mpsc::unbounded_channel();
    for _ in 0..140 {
        let (shop, known, turned_away) = (Arc::clone(&shop), order.state_tag(), turned_away.clone());
        followers.spawn(async move {
            let Followed { state, held } =
                shop.orders.follow(order_id, Some(ada.user_id), PATIENT, |state| state == known).await.unwrap();
            if !held {
                assert_eq!(state, known);
                turned_away.send(()).unwrap();
            }
            held
        });
    }
    // The others hold their places until the order moves.
    for _ in 0..12 {
        tokio::time::timeout(PATIENT, told.recv()).await.unwrap().unwrap();
    }
    shop.hear(PaymentFailed { order_id, payment_id, reason: "no".into() }).await;
    assert_eq!(followers.join_all().await.into_iter().filter(|held| *held).count(), 128);
}
