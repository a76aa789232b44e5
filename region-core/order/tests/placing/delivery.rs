//! Promises about how an order is delivered, and what that costs.

use shared::api::order::{DeliveryDays, DeliveryOption, QuoteRequest};

use super::*;

/// To France by van at £3.00 or by air at £9.00, to Japan not at all, elsewhere for nothing.
pub(super) fn deliver(order: PricedOrder, wish: DeliveryWish<'_>) -> Result<PricedOrder, PriceError> {
    let option = |id: &str, minor| DeliveryOption {
        id: id.into(),
        name: format!("By {id}"),
        price: Money::new(minor, Currency::GBP).unwrap(),
        days: DeliveryDays { from: 1, to: 3 },
        service: Some(id.to_uppercase()),
    };
    match wish.country {
        Some("FR") => order.delivered(vec![option("air", 900), option("van", 300)], wish.option, 700),
        Some("JP") => Err(PriceError::NotDeliveredTo("Japan".into())),
        _ => Ok(order),
    }
}

fn to(country: &str, option: Option<&str>, total: i64) -> PlaceOrder {
    let mut body = wanting(&[("MUG", 2)], total);
    country.clone_into(&mut body.shipping_address.country);
    body.delivery_option = option.map(str::to_owned);
    body
}

#[tokio::test]
async fn the_way_that_was_chosen_is_paid_for_and_stays_with_the_order() {
    let shop = shop(&[("MUG", 10)]).await;
    let ada = shop.shopper(1).await;
    let placed = shop.place(ada, "air", to("FR", Some("air"), 1_400)).await.unwrap().order;
    assert_eq!((placed.subtotal.minor(), placed.shipping.minor(), placed.total.minor()), (500, 900, 1_400));
    let delivery = placed.delivery.as_ref().unwrap();
    assert_eq!((delivery.id.as_str(), delivery.name.as_str(), delivery.weight_grams), ("air", "By air", 700));
    assert_eq!(delivery.service.as_deref(), Some("AIR"));
    assert_eq!(shop.orders.find(ada.user_id, placed.order_id).await.unwrap(), placed);

    let again = shop.place(ada, "air", to("FR", Some("air"), 1_400)).await.unwrap();
    assert!(again.replayed && again.order == placed);
    let other = shop.place(ada, "air", to("FR", Some("van"), 1_400)).await.unwrap_err();
    assert!(matches!(other, OrderError::KeyReused | OrderError::QuoteChanged(_)), "{other}");
    let other = shop.place(ada, "air", to("FR", None, 800)).await.unwrap_err();
    assert!(matches!(other, OrderError::KeyReused), "{other}");

    // Whoever does not choose gets the cheapest, at the total that he saw, or nothing.
    let cheapest = shop.place(ada, "any", to("FR", None, 800)).await.unwrap().order;
    assert_eq!((cheapest.delivery.unwrap().id.as_str(), cheapest.shipping.minor()), ("van", 300));
    let free = shop.place(ada, "free", to("GB", None, 500)).await.unwrap().order;
    assert_eq!((free.delivery, free.shipping.minor()), (None, 0));
}

#[tokio::test]
async fn no_order_goes_another_way_than_was_agreed_or_where_nothing_goes() {
    let shop = shop(&[("MUG", 10)]).await;
    let ada = shop.shopper(1).await;
    let unpaid = shop.place(ada, "k", to("FR", Some("air"), 500)).await.unwrap_err();
    let OrderError::QuoteChanged(quote) = unpaid else { panic!("{unpaid}") };
    assert_eq!((quote.total.minor(), quote.delivery_options.len()), (1_400, 2), "the new quote says what there is");
    for (country, option, field) in [
        ("FR", Some("owl"), "delivery_option"),
        ("FR", Some("By air"), "delivery_option"),
        ("JP", None, "shipping_address.country"),
    ] {
        let refused: shared::Problem = shop.place(ada, "k", to(country, option, 500)).await.unwrap_err().into();
        assert_eq!((refused.status, &refused.members["field"]), (422, &field.into()));
    }
    assert_eq!(shop.count("SELECT count(*) FROM orders").await, 0);

    let ask = |country: Option<&str>, option: Option<&str>| {
        let PlaceOrder { items, .. } = to("GB", None, 0);
        let (country, delivery_option) = (country.map(str::to_owned), option.map(str::to_owned));
        shop.orders.quote(&QuoteRequest { items, country, delivery_option })
    };
    assert_eq!(ask(Some("FR"), Some("air")).unwrap().total.minor(), 1_400);
    assert_eq!(ask(Some("FR"), None).unwrap().total.minor(), 800);
    assert_eq!(ask(None, None).unwrap().total.minor(), 500);
    for (country, option, field) in [
        (Some("JP"), None, "country"),
        (Some("UK"), None, "country"),
        (None, Some("air"), "country"),
        (Some("FR"), Some("owl"), "delivery_option"),
    ] {
        let refused: shared::Problem = ask(country, option).unwrap_err().into();
        assert_eq!((refused.status, &refused.members["field"]), (422, &field.into()), "{country:?} {option:?}");
    }
}

#[tokio::test]
async fn the_books_take_no_paid_delivery_that_nobody_chose() {
    let shop = shop(&[("MUG", 10)]).await;
    let ada = shop.shopper(1).await;
    shop.place(ada, "k", to("FR", Some("van"), 800)).await.unwrap();
    let mut conn = shop.shard.read().await.unwrap();
    for (sql, rule) in [
        ("UPDATE orders SET delivery = NULL", "orders_paid_delivery_was_chosen"),
        ("UPDATE orders SET delivery = '{}'", "order_delivery_names_its_option"),
        (
            "UPDATE orders SET delivery = '{\"id\": \"van\", \"name\": 1, \"weight_grams\": 1}'",
            "order_delivery_names_its_option",
        ),
    ] {
        let error = sqlx::raw_sql(sql).execute(&mut *conn).await.unwrap_err();
        assert_eq!(error.as_database_error().unwrap().constraint(), Some(rule));
    }
}
