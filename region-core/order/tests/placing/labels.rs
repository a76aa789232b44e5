//! Promises about labels: their units are in no other parcel, and their parcel leaves once.

use region_core_order::{Parcel, Sent};
use shared::ShipmentId;
use shared::api::desk::Happening;
use shared::api::order::{LabelState, NewLabel, NewReturn, NewShipment};

use super::parcels::keeper;
use super::*;

fn labelled(units: Option<i64>) -> NewShipment {
    let item = |units| OrderItem { sku: sku("MUG"), quantity: Quantity::new(units).unwrap() };
    NewShipment {
        items: units.map(|units| vec![item(units)]),
        carrier: String::new(),
        tracking_code: None,
        tracking_url: None,
        label: Some(NewLabel { service: "Tracked".into(), weight_grams: 500 }),
        from: None,
    }
}

fn by_hand(units: Option<i64>) -> NewShipment {
    NewShipment { carrier: "Royal Mail".into(), label: None, ..labelled(units) }
}

impl Shop {
    async fn label(&self, order: OrderId, name: &str, units: Option<i64>) -> ShipmentId {
        let asked = self.orders.ship(order, key(name), keeper(), labelled(units)).await.unwrap();
        let Parcel::Labelled(shipment) = asked.parcel else { panic!("it has left") };
        shipment
    }

    /// What a driver would write once it was bought.
    async fn bought(&self, shipment: ShipmentId) {
        let sql = "UPDATE labels SET state = 'bought', reference = shipment_id::text, carrier = 'Royal Mail',
                   tracking_code = 'RM1', pdf = '%PDF-' WHERE shipment_id = $1";
        let mut conn = self.shard.read().await.unwrap();
        sqlx::query(sql).bind(shipment.as_uuid()).execute(&mut *conn).await.unwrap();
    }

    /// What a driver would write once the carrier was asked to take it back.
    async fn kept(&self, shipment: ShipmentId) {
        let sql = "UPDATE labels SET problem = 'Refund not possible' WHERE shipment_id = $1";
        let mut conn = self.shard.read().await.unwrap();
        sqlx::query(sql).bind(shipment.as_uuid()).execute(&mut *conn).await.unwrap();
    }

    async fn status(&self, order: OrderId) -> OrderStatus {
        self.orders.find_any(order).await.unwrap().unwrap().status
    }
}

#[tokio::test]
async fn a_label_s_parcel_leaves_once_when_it_was_scanned_and_not_before() {
    let shop = shop(&[("MUG", 10)]).await;
    let ada = shop.shopper(1).await;
    let order = shop.paid(ada, "k", 2).await;
    let parcel = shop.label(order, "a", None).await;
    assert_eq!(shop.status(order).await, OrderStatus::Confirmed, "a label is paper");
    let early = shop.orders.leave(order, parcel, None).await.unwrap_err();
    assert!(matches!(early, OrderError::Label(LabelState::ToBuy)), "{early}");
    shop.bought(parcel).await;
    for _ in 0..2 {
        let left = shop.orders.leave(order, parcel, None).await.unwrap();
        assert_eq!((left.shipment_id, left.tracking_code.as_deref()), (parcel, Some("RM1")));
    }
    assert_eq!(shop.status(order).await, OrderStatus::Shipped);
    assert_eq!(shop.count("SELECT sum(labelled)::bigint FROM sent_units").await, 0);
    assert_eq!(shop.count("SELECT count(*) FROM outbox WHERE kind = 'ShipmentSent'").await, 1);
    for _ in 0..2 {
        assert_eq!(shop.orders.deliver(order, parcel, None).await.unwrap().status, OrderStatus::Delivered);
    }
    assert_eq!(shop.count("SELECT count(*) FROM labels WHERE state = 'arrived'").await, 1);
    assert_eq!(shop.count("SELECT count(*) FROM desk_actions").await, 1, "nobody but who bought it did anything");
}

#[tokio::test]
async fn an_order_s_tag_says_nothing_of_its_labels_and_all_of_their_parcels() {
    let shop = shop(&[("MUG", 10)]).await;
    let ada = shop.shopper(1).await;
    let order = shop.paid(ada, "k", 2).await;
    let tag = async || {
        let followed = shop.orders.follow(order, None, Duration::ZERO, |_| false).await.unwrap();
        let shown = shop.orders.find_any(order).await.unwrap().unwrap();
        assert_eq!(shown.state_tag(), followed.state);
        (followed.state, shown)
    };
    let paid = tag().await;
    let (first, second) = (shop.label(order, "a", Some(1)).await, shop.label(order, "b", Some(1)).await);
    for parcel in [first, second] {
        shop.bought(parcel).await;
    }
    assert_eq!(tag().await, paid, "a label is paper");
    let mut tags = vec![paid.0];
    for parcel in [first, second] {
        shop.orders.leave(order, parcel, None).await.unwrap();
        tags.push(tag().await.0);
    }
    for parcel in [first, second] {
        shop.orders.deliver(order, parcel, None).await.unwrap();
        tags.push(tag().await.0);
    }
    let said = ["3-captured-0", "4-captured-1", "4-captured-2", "4-captured-3", "5-captured-4"];
    assert_eq!(tags, said.map(|tag| format!("\"{tag}\"")));
}

#[tokio::test]
async fn only_what_has_left_comes_back_and_what_came_back_is_not_sent_again() {
    let shop = shop(&[("MUG", 10)]).await;
    let ada = shop.shopper(1).await;
    let order = shop.paid(ada, "k", 3).await;
    let first = shop.label(order, "a", Some(1)).await;
    let back = |units| NewReturn {
        items: vec![OrderItem { sku: sku("MUG"), quantity: Quantity::new(units).unwrap() }],
        reason: "too heavy".into(),
    };
    let early = shop.orders.take_back(order, key("r"), keeper(), back(1)).await.unwrap_err();
    assert!(matches!(early, OrderError::Return(_)), "{early}");
    shop.bought(first).await;
    shop.orders.leave(order, first, None).await.unwrap();
    shop.label(order, "b", Some(2)).await;
    let more = shop.orders.take_back(order, key("r"), keeper(), back(2)).await.unwrap_err();
    assert!(matches!(more, OrderError::Return(_)), "{more}");
    shop.orders.take_back(order, key("r"), keeper(), back(1)).await.unwrap();
    let again = shop.orders.ship(order, key("c"), keeper(), labelled(Some(1))).await.unwrap_err();
    assert!(matches!(again, OrderError::Parcel(_)), "{again}");
    // And if the code forgot, the database would not.
    for (sql, constraint) in [
        ("UPDATE sent_units SET returned = returned + 1", "sent_units_returned_at_most_sent"),
        ("UPDATE sent_units SET labelled = labelled + 1", "sent_units_at_most_ordered"),
    ] {
        let refused = sqlx::query(sql).execute(&mut *shop.shard.read().await.unwrap()).await.unwrap_err();
        assert_eq!(refused.as_database_error().unwrap().constraint(), Some(constraint));
    }
}

#[tokio::test]
async fn the_shard_keeps_no_bought_label_without_its_name_and_its_print_and_none_twice() {
    let shop = shop(&[("MUG", 10)]).await;
    let ada = shop.shopper(1).await;
    let order = shop.paid(ada, "k", 2).await;
    let refused = async |sql: &'static str| {
        let done = sqlx::query(sql).execute(&mut *shop.shard.read().await.unwrap()).await;
        done.unwrap_err().as_database_error().unwrap().constraint().map(str::to_owned)
    };
    shop.label(order, "a", Some(1)).await;
    shop.label(order, "b", Some(1)).await;
    let whole = Some("labels_bought_whole".to_owned());
    assert_eq!(refused("UPDATE labels SET state = 'bought'").await, whole);
    let printless =
        "UPDATE labels SET state = 'sent', reference = shipment_id::text, carrier = 'Post', tracking_code = '1'";
    assert_eq!(refused(printless).await, whole);
    let nobody = "UPDATE labels SET state = 'written_off'";
    assert_eq!(refused(nobody).await, Some("labels_written_off_whole".to_owned()));
    let strayed = "UPDATE labels SET strayed_at = shard_now()";
    assert_eq!(refused(strayed).await, Some("labels_strayed_after_its_end".to_owned()));
    assert_eq!(refused("UPDATE labels SET reference = 'shp_1'").await, Some("labels_reference_once".to_owned()));
    assert_eq!(refused("UPDATE labels SET key = 'a'").await, Some("labels_key_once".to_owned()));
}

#[tokio::test]
async fn a_label_asked_for_again_under_its_key_is_the_same_label_also_after_its_parcel_has_left() {
    let shop = shop(&[("MUG", 10)]).await;
    let ada = shop.shopper(1).await;
    let order = shop.paid(ada, "k", 2).await;
    let parcel = shop.label(order, "a", Some(1)).await;
    assert_eq!(shop.label(order, "a", Some(1)).await, parcel);
    let other = shop.orders.ship(order, key("a"), keeper(), by_hand(Some(1))).await.unwrap_err();
    assert!(matches!(other, OrderError::KeyReused), "{other}");
    shop.bought(parcel).await;
    shop.orders.leave(order, parcel, Some(keeper())).await.unwrap();
    let again: Sent = shop.orders.ship(order, key("a"), keeper(), labelled(Some(1))).await.unwrap();
    assert!(again.replayed && matches!(again.parcel, Parcel::Left(left) if left.shipment_id == parcel));
    assert_eq!(shop.count("SELECT count(*) FROM labels").await, 1);
}

#[tokio::test]
async fn a_unit_is_in_one_parcel_or_under_one_label() {
    let shop = Arc::new(shop(&[("MUG", 10)]).await);
    let ada = shop.shopper(1).await;
    let order = shop.paid(ada, "k", 3).await;
    let mut tasks = JoinSet::new();
    for number in 0..12 {
        let shop = Arc::clone(&shop);
        tasks.spawn(async move {
            let body = if number % 2 == 0 { labelled(Some(1)) } else { by_hand(Some(1)) };
            shop.orders.ship(order, key(&format!("p{number}")), keeper(), body).await
        });
    }
    let answers = tasks.join_all().await;
    assert_eq!(answers.iter().filter(|answer| answer.is_ok()).count(), 3);
    assert_eq!(shop.count("SELECT sum(sent + labelled)::bigint FROM sent_units").await, 3);
    // And if the code forgot, the database would not.
    let more = sqlx::query("UPDATE sent_units SET labelled = labelled + 1");
    let refused = more.execute(&mut *shop.shard.read().await.unwrap()).await.unwrap_err();
    assert_eq!(refused.as_database_error().unwrap().constraint(), Some("sent_units_at_most_ordered"));
}

#[tokio::test]
async fn the_last_parcel_of_an_order_is_the_last_to_leave_and_not_the_last_label() {
    let shop = shop(&[("MUG", 10)]).await;
    let ada = shop.shopper(1).await;
    let order = shop.paid(ada, "k", 2).await;
    let waiting = shop.label(order, "a", Some(1)).await;
    shop.orders.ship(order, key("b"), keeper(), by_hand(None)).await.unwrap();
    let whole = "SELECT count(*) FROM outbox WHERE kind = 'ShipmentSent' AND payload ->> 'whole' = 'true'";
    assert_eq!(shop.count(whole).await, 0, "one is on the packing table");
    shop.bought(waiting).await;
    shop.orders.leave(order, waiting, None).await.unwrap();
    assert_eq!(shop.count(whole).await, 1);
}

#[tokio::test]
async fn an_order_is_labelled_or_called_off_and_never_both() {
    let shop = Arc::new(shop(&[("MUG", 50)]).await);
    let (mut labels, mut called_off) = (0, 0);
    for number in 1..=10 {
        let shopper = shop.shopper(number).await;
        let order = shop.paid(shopper, "k", 1).await;
        let cancelling = shop.orders.cancel(shopper.user_id, order);
        let (asked, cancelled) = tokio::join!(shop.orders.ship(order, key("l"), keeper(), labelled(None)), cancelling);
        match (asked, cancelled) {
            (Ok(_), Err(OrderError::Labelled)) => labels += 1,
            (Err(OrderError::NotPaid(OrderStatus::Cancelled)), Ok(_)) => called_off += 1,
            both => panic!("{both:?}"),
        }
    }
    assert_eq!((labels + called_off, shop.count("SELECT count(*) FROM labels").await), (10, labels));
}

#[tokio::test]
async fn a_label_is_given_back_while_its_parcel_has_not_left() {
    let shop = shop(&[("MUG", 10)]).await;
    let ada = shop.shopper(1).await;
    let order = shop.paid(ada, "k", 1).await;
    let parcel = shop.label(order, "a", None).await;
    shop.bought(parcel).await;
    for _ in 0..2 {
        shop.orders.void_label(order, parcel, keeper()).await.unwrap();
    }
    let said = shop.orders.leave(order, parcel, Some(keeper())).await.unwrap_err();
    assert!(matches!(said, OrderError::Label(LabelState::ToVoid)), "{said}");
    // A scan says more than a wish.
    shop.orders.leave(order, parcel, None).await.unwrap();
    let late = shop.orders.void_label(order, parcel, keeper()).await.unwrap_err();
    assert!(matches!(late, OrderError::Label(LabelState::Sent)), "{late}");
    assert_eq!(shop.status(order).await, OrderStatus::Shipped);
}

#[tokio::test]
async fn a_label_that_nobody_takes_back_is_written_off_once_and_holds_its_order_no_longer() {
    let shop = shop(&[("MUG", 10)]).await;
    let ada = shop.shopper(1).await;
    let order = shop.paid(ada, "k", 2).await;
    let parcel = shop.label(order, "a", None).await;
    let write_off =
        async |name: &str, reason: &str| shop.orders.write_off_label(order, parcel, key(name), keeper(), reason).await;
    let early = write_off("w", "no carrier").await.unwrap_err();
    assert!(matches!(early, OrderError::Label(LabelState::ToBuy)), "it may still be bought: {early}");
    shop.bought(parcel).await;
    shop.orders.void_label(order, parcel, keeper()).await.unwrap();
    let held = shop.orders.cancel_any(order, keeper(), "sold out").await.unwrap_err();
    assert!(matches!(held, OrderError::Labelled), "{held}");
    let untried = write_off("w", "no carrier").await.unwrap_err();
    assert!(matches!(untried, OrderError::Label(LabelState::ToVoid)), "the carrier may take it back: {untried}");
    shop.kept(parcel).await;
    assert!(matches!(write_off("w", " ").await.unwrap_err(), OrderError::Invalid(_)));
    assert!(!write_off("w", "no carrier").await.unwrap());
    assert!(write_off("w", "no carrier").await.unwrap(), "a repeat");
    assert!(matches!(write_off("w", "lost").await.unwrap_err(), OrderError::KeyReused));
    assert!(matches!(write_off("x", "lost").await.unwrap_err(), OrderError::Label(LabelState::WrittenOff)));
    for said in [
        shop.orders.leave(order, parcel, None).await.map(drop),
        shop.orders.leave(order, parcel, Some(keeper())).await.map(drop),
        shop.orders.void_label(order, parcel, keeper()).await,
    ] {
        let said = said.unwrap_err();
        assert!(matches!(said, OrderError::Label(LabelState::WrittenOff)), "{said}");
    }
    assert_eq!(shop.count("SELECT sum(labelled)::bigint FROM sent_units").await, 0);
    assert_eq!(shop.orders.cancel_any(order, keeper(), "sold out").await.unwrap().status, OrderStatus::Cancelled);

    sqlx::query("UPDATE labels SET strayed_at = shard_now()")
        .execute(&mut *shop.shard.read().await.unwrap())
        .await
        .unwrap();
    let told = async |keeps| shop.orders.timeline(ada.user_id, keeps, order).await.unwrap().items;
    let strayed: Vec<_> = told(true).await.into_iter().filter(|entry| entry.what == Happening::Strayed).collect();
    assert_eq!(strayed.iter().map(|entry| entry.detail.as_deref()).collect::<Vec<_>>(), [Some("Royal Mail, RM1")]);
    let by_desk = told(true).await.into_iter().filter_map(|entry| entry.actor.and(entry.detail)).collect::<Vec<_>>();
    let written_off = by_desk.iter().filter(|detail| *detail == "write_off: no carrier").count();
    assert_eq!(written_off, 1, "{by_desk:?}");
    let shopper_sees = told(false).await;
    assert!(shopper_sees.iter().all(|entry| entry.what != Happening::Strayed && entry.actor.is_none()));
}

#[tokio::test]
async fn a_label_is_written_off_or_its_parcel_leaves_and_never_both() {
    let shop = shop(&[("MUG", 20)]).await;
    for number in 1..=10 {
        let shopper = shop.shopper(number).await;
        let order = shop.paid(shopper, "k", 1).await;
        let parcel = shop.label(order, "a", None).await;
        shop.bought(parcel).await;
        let untried = shop.orders.write_off_label(order, parcel, key("w"), keeper(), "lost").await.unwrap_err();
        assert!(matches!(untried, OrderError::Label(LabelState::Bought)), "{untried}");
        shop.kept(parcel).await;
        let (left, written_off) = tokio::join!(
            shop.orders.leave(order, parcel, None),
            shop.orders.write_off_label(order, parcel, key("w"), keeper(), "lost"),
        );
        assert_ne!(left.is_ok(), written_off.is_ok(), "{left:?}, {written_off:?}");
    }
    let both = "SELECT count(*) FROM labels JOIN shipments USING (shipment_id) WHERE state = 'written_off'";
    assert_eq!(shop.count(both).await, 0);
}
