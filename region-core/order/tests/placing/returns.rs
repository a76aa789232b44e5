//! Promises about goods that come back: each unit once, none lost from the books, whatever is asked at once.

use shared::api::desk::Happening;
use shared::api::order::{Inspection, NewReturn, NewShipment, Return};
use shared::{ReturnId, Sku};

use super::*;

/// Who keeps the store.
fn keeper() -> UserId {
    UserId::mint(USER_EPOCH_MS + 1, Slot::new(77).unwrap(), 1).unwrap()
}

fn item(name: &str, units: i64) -> OrderItem {
    OrderItem { sku: sku(name), quantity: Quantity::new(units).unwrap() }
}

fn back(units: i64) -> NewReturn {
    NewReturn { items: vec![item("MUG", units)], reason: "too heavy".to_owned() }
}

fn again(units: i64) -> Inspection {
    Inspection { restock: if units == 0 { Vec::new() } else { vec![item("MUG", units)] } }
}

impl Shop {
    /// A paid order of that many mugs, of which so many have left.
    async fn sent(&self, caller: Caller, key_text: &str, units: i64, sent: i64) -> OrderId {
        let order = self.place(caller, key_text, wanting(&[("MUG", units)], units * 250)).await.unwrap().order.order_id;
        self.hear(PaymentAuthorized { order_id: order, payment_id: payment(order), assessment: None }).await;
        let amount = Money::new(units * 250, Currency::GBP).unwrap();
        self.hear(PaymentCaptured { order_id: order, payment_id: payment(order), amount }).await;
        let (items, carrier) = (Some(vec![item("MUG", sent)]), "Royal Mail".to_owned());
        let parcel = NewShipment { items, carrier, tracking_code: None, tracking_url: None, label: None, from: None };
        self.orders.ship(order, key("parcel"), keeper(), parcel).await.unwrap();
        order
    }

    async fn take_back(&self, order: OrderId, key_text: &str, units: i64) -> Result<Return, OrderError> {
        Ok(self.orders.take_back(order, key(key_text), keeper(), back(units)).await?.taken_back)
    }

    /// Supplied, by the ledger, and what there is.
    async fn supplied(&self, name: &str) -> (i64, i64) {
        let (free, reserved, sold) = self.stock(name).await;
        let mut conn = self.shard.read().await.unwrap();
        let row = sqlx::query("SELECT sum(units)::bigint FROM ledger WHERE sku = $1").bind(name);
        (row.fetch_one(&mut *conn).await.unwrap().get(0), free + reserved + sold)
    }
}

#[tokio::test]
async fn what_comes_back_is_for_sale_again_or_written_off_and_the_books_stay_true() {
    let shop = shop(&[("MUG", 10)]).await;
    let order = shop.sent(shop.shopper(1).await, "k", 4, 3).await;
    let taken = shop.take_back(order, "r", 3).await.unwrap();
    assert_eq!(shop.stock("MUG").await, (6, 0, 4), "nobody has looked at it yet");
    let looked = shop.orders.inspect(order, taken.return_id, keeper(), again(2)).await.unwrap();
    assert_eq!((looked.items[0].restocked, looked.inspected_at.is_some()), (Some(2), true));
    assert_eq!((shop.stock("MUG").await, shop.supplied("MUG").await), ((8, 0, 4), (12, 12)));
    // Once more changes nothing, and something else is refused.
    let same = shop.orders.inspect(order, taken.return_id, keeper(), again(2)).await.unwrap();
    assert_eq!(same, looked);
    let other = shop.orders.inspect(order, taken.return_id, keeper(), again(3)).await.unwrap_err();
    assert_eq!(shared::Problem::from(other).status, 409);
    assert_eq!(shop.supplied("MUG").await, (12, 12));
    let written_off = shop.count("SELECT sum(units)::bigint FROM ledger WHERE kind = 'shrink'").await;
    assert_eq!(written_off, -1);

    let seen = shop.orders.find_any(order).await.unwrap().unwrap();
    assert_eq!((seen.status, seen.returns.as_slice()), (OrderStatus::Shipped, [looked].as_slice()));
    let told = shop.orders.timeline(keeper(), true, order).await.unwrap().items;
    let of = |what| told.iter().find(|entry| entry.what == what).unwrap().detail.clone().unwrap();
    assert_eq!(of(Happening::Returned), "3 × MUG: too heavy");
    assert_eq!(of(Happening::Inspected), "2 for sale again, 1 written off");
    let by_desk: Vec<_> = told.iter().filter(|entry| entry.what == Happening::Desk).collect();
    assert!(by_desk.len() == 3 && by_desk.iter().all(|entry| entry.actor == Some(keeper())), "{by_desk:?}");
    let said = "SELECT aggregate_version FROM outbox WHERE kind = 'OrderReturned'";
    assert_eq!(shop.count(said).await, 2, "after the parcel that was sent");
}

#[tokio::test]
async fn returns_asked_for_at_once_never_hold_more_than_has_left() {
    let shop = Arc::new(shop(&[("MUG", 10)]).await);
    let order = shop.sent(shop.shopper(1).await, "k", 5, 3).await;
    let mut tasks = JoinSet::new();
    for number in 0..12 {
        let shop = Arc::clone(&shop);
        tasks.spawn(async move { shop.take_back(order, &format!("r{number}"), 1).await });
    }
    let answers = tasks.join_all().await;
    assert_eq!(answers.iter().filter(|answer| answer.is_ok()).count(), 3);
    assert!(
        answers.iter().filter_map(|answer| answer.as_ref().err()).all(|error| matches!(error, OrderError::Return(_)))
    );
    assert_eq!(shop.count("SELECT sum(units)::bigint FROM return_lines").await, 3);
    // And if the code forgot, the database would not.
    let more = sqlx::query("UPDATE sent_units SET returned = returned + 1");
    let refused = more.execute(&mut *shop.shard.read().await.unwrap()).await.unwrap_err();
    assert_eq!(refused.as_database_error().unwrap().constraint(), Some("sent_units_returned_at_most_sent"));
}

#[tokio::test]
async fn a_return_asked_for_again_under_its_key_is_the_same_return() {
    let shop = Arc::new(shop(&[("MUG", 10)]).await);
    let order = shop.sent(shop.shopper(1).await, "k", 5, 5).await;
    let mut tasks = JoinSet::new();
    for _ in 0..20 {
        let shop = Arc::clone(&shop);
        tasks.spawn(async move { shop.orders.take_back(order, key("same"), keeper(), back(1)).await.unwrap() });
    }
    let answers = tasks.join_all().await;
    assert!(answers.iter().all(|answer| answer.taken_back == answers[0].taken_back));
    assert_eq!(answers.iter().filter(|answer| !answer.replayed).count(), 1);
    let other = shop.take_back(order, "same", 2).await.unwrap_err();
    assert!(matches!(other, OrderError::KeyReused), "{other}");
    assert_eq!(shop.count("SELECT sum(returned)::bigint FROM sent_units").await, 1);
}

#[tokio::test]
async fn a_return_looked_at_many_times_at_once_is_booked_once() {
    let shop = Arc::new(shop(&[("MUG", 10)]).await);
    let order = shop.sent(shop.shopper(1).await, "k", 4, 4).await;
    let taken = shop.take_back(order, "r", 4).await.unwrap().return_id;
    let mut tasks = JoinSet::new();
    for number in 0..8 {
        let shop = Arc::clone(&shop);
        tasks.spawn(async move { shop.orders.inspect(order, taken, keeper(), again(number % 2)).await });
    }
    let answers = tasks.join_all().await;
    let kept = answers.iter().filter_map(|answer| answer.as_ref().ok()).collect::<Vec<_>>();
    assert!(kept.len() == 4 && kept.iter().all(|one| *one == kept[0]), "half of them decided otherwise");
    let restocked = i64::from(kept[0].items[0].restocked.unwrap());
    assert_eq!(shop.stock("MUG").await, (6 + restocked, 0, 4));
    assert_eq!(shop.supplied("MUG").await, (10 + restocked, 10 + restocked));
    assert_eq!(shop.count("SELECT count(*) FROM outbox WHERE kind = 'OrderReturned'").await, 1);
}

#[tokio::test]
async fn only_what_has_left_comes_back() {
    let shop = shop(&[("MUG", 10), ("HEART", 5)]).await;
    let order = shop.sent(shop.shopper(1).await, "k", 3, 1).await;
    let too_many = shop.take_back(order, "a", 2).await.unwrap_err();
    assert_eq!(too_many.to_string(), "1 of MUG can come back, not 2");
    let heart = NewReturn { items: vec![item("HEART", 1)], ..back(1) };
    let never = shop.orders.take_back(order, key("a"), keeper(), heart).await.unwrap_err();
    assert!(matches!(never, OrderError::Return(_)), "{never}");
    let silent = NewReturn { reason: " ".to_owned(), ..back(1) };
    let silent = shop.orders.take_back(order, key("a"), keeper(), silent).await.unwrap_err();
    assert!(matches!(silent, OrderError::Invalid(_)), "{silent}");
    let taken = shop.take_back(order, "a", 1).await.unwrap().return_id;
    let more = shop.orders.inspect(order, taken, keeper(), again(2)).await.unwrap_err();
    assert_eq!(more.to_string(), "1 of MUG came back, not 2");
    let nobodys = OrderId::mint(1_800_000_000_000, order.slot(), [9; 8]);
    let unknown = ReturnId::mint(1, order.slot(), [9; 8]);
    for absent in [
        shop.take_back(nobodys, "a", 1).await,
        shop.orders.inspect(order, unknown, keeper(), again(1)).await,
        shop.orders.inspect(nobodys, taken, keeper(), again(1)).await,
    ] {
        assert!(matches!(absent, Err(OrderError::NotFound)), "{absent:?}");
    }
    let sku: Sku = sku("MUG");
    assert_eq!(shop.supplied(sku.as_str()).await, (10, 10));
}
