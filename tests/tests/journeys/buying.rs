//! From the shop's front to an order that is decided, through the JSON API.

use futures::future::join_all;
use shared::api::cart::Cart;
use shared::api::catalog::{CategoryList, Product, ProductPage, SearchResults};
use shared::api::order::{Order, OrderPage, OrderStatus, PaymentStatus};
use shared::{ProblemKind, Sku};
use tests::books::Units;
use tests::shopper::{key, operation_id};
use tests::{Shopper, goods, until};

use crate::store::{books, pop};
use crate::through_both;

through_both! {
    a_guest_browses_finds_and_buys
    a_declined_payment_gives_the_units_back
    a_challenge_waits_for_the_shopper
    a_shopper_cancels_what_has_not_left_and_has_his_money_back
}

async fn a_guest_browses_finds_and_buys(origin: &str) {
    let shopper = Shopper::guest(origin).await;
    let sku = browsed(&shopper).await;
    let first = shopper.add(&sku, 2).await;
    let cart = shopper.add(&goods::plenty(), 1).await;
    assert!(cart.version > first.version, "versions rise");
    assert_eq!((cart.units, cart.lines.len()), (3, 2));

    let items: Vec<_> = cart.lines.iter().map(|line| (&line.sku, i64::from(line.quantity.units()))).collect();
    let mut order = shopper.order_of(&items, "tok_success").await;
    assert_eq!(order.expected_total, cart.total, "delivery is free in this shop");
    order.cart_version = Some(cart.version);
    let answer = shopper.place(&key(), &order).await.expect(201);
    let placed: Order = answer.json();
    assert_eq!(answer.header("location"), Some(format!("/v1/orders/{}", placed.order_id).as_str()));
    assert_eq!((placed.user_id, placed.total), (shopper.tokens.user_id, cart.total));

    let decided = shopper.decided(placed.order_id).await;
    assert_eq!((decided.status, decided.payment), (OrderStatus::Confirmed, PaymentStatus::Captured));
    let emptied = shopper.cart(cart.version + 1).await;
    assert!(emptied.lines.is_empty() && emptied.version > cart.version, "the order takes its cart along");
    let listed: OrderPage = shopper.get("/v1/orders").await.expect(200).json();
    assert_eq!(listed.items.iter().map(|item| item.order_id).collect::<Vec<_>>(), [placed.order_id]);
    assert_eq!(books().money_matches(shopper.tokens.user_id).await.len(), 1);
}

/// Home's categories, a category's products, a product, and a search for it that facets narrow.
async fn browsed(shopper: &Shopper) -> Sku {
    let CategoryList { items: categories } = shopper.get("/v1/categories").await.expect(200).json();
    let candles = categories.iter().find(|category| category.slug.contains("candle")).expect("a shop with candles");
    let page: ProductPage =
        shopper.get(&format!("/v1/products?category={}&limit=5", candles.slug)).await.expect(200).json();
    assert_eq!(page.items.len(), 5);
    let product: Product = shopper.get(&format!("/v1/products/{}", page.items[0].slug)).await.expect(200).json();
    assert_eq!((&product.title, &product.category.slug), (&page.items[0].title, &candles.slug));

    let found: SearchResults = shopper.get("/v1/search?q=lantern").await.expect(200).json();
    assert!(found.items[0].title.to_lowercase().contains("lantern"), "found {:?} first", found.items[0].title);
    let facet = found.categories.iter().max_by_key(|facet| facet.count).unwrap();
    let narrow = format!("/v1/search?q=lantern&category={}&order=price-ascending", facet.slug);
    let narrowed: SearchResults = shopper.get(&narrow).await.expect(200).json();
    assert_eq!(narrowed.total, facet.count, "a facet says what choosing it leads to");
    let prices: Vec<_> = narrowed.items.iter().map(|item| item.price_from.minor()).collect();
    assert!(prices.is_sorted(), "cheapest first: {prices:?}");
    product.variants[0].sku.clone()
}

async fn a_declined_payment_gives_the_units_back(origin: &str) {
    let (shopper, sku) = (Shopper::guest(origin).await, goods::plenty());
    let before = books().units(&sku).await;
    let order = shopper.buys(&[(&sku, 5)], "tok_decline").await;
    assert_eq!((order.status, order.payment), (OrderStatus::Cancelled, PaymentStatus::Declined));
    assert!(order.cancel_reason.is_some(), "a cancelled order says why");
    assert_eq!(books().units(&sku).await, before);
    let path = format!("/v1/orders/{}/payment/confirm", order.order_id);
    let refused = shopper.post(&path, &serde_json::json!({})).await.expect(409);
    assert!(refused.problem().is(ProblemKind::OrderState), "there is nothing to confirm");
    books().money_matches(shopper.tokens.user_id).await;
}

async fn a_challenge_waits_for_the_shopper(origin: &str) {
    let (shopper, sku) = (Shopper::guest(origin).await, goods::plenty());
    let order = shopper.order_of(&[(&sku, 1)], "tok_challenge").await;
    let placed: Order = shopper.place(&key(), &order).await.expect(201).json();
    let challenged = async || {
        Some(shopper.order(placed.order_id).await).filter(|order| order.payment == PaymentStatus::ChallengeRequired)
    };
    let asked = until("the bank asks the shopper", std::time::Duration::from_secs(20), challenged).await;
    assert_eq!(asked.status, OrderStatus::Pending);
    assert_eq!(books().movements_of(shopper.tokens.user_id).await, 0, "money moved before the shopper agreed");

    let path = format!("/v1/orders/{}/payment/confirm", placed.order_id);
    let stranger = Shopper::guest(origin).await;
    assert!(stranger.post(&path, &serde_json::json!({})).await.expect(404).problem().is(ProblemKind::NotFound));
    shopper.post(&path, &serde_json::json!({})).await.expect(200);
    assert_eq!(shopper.decided(placed.order_id).await.status, OrderStatus::Confirmed);
    let again: Order = shopper.post(&path, &serde_json::json!({})).await.expect(200).json();
    assert_eq!(again.status, OrderStatus::Confirmed, "who confirms twice, for want of an answer, does no harm");
    books().money_matches(shopper.tokens.user_id).await;
}

async fn a_shopper_cancels_what_has_not_left_and_has_his_money_back(origin: &str) {
    let (shopper, sku) = (Shopper::guest(origin).await, goods::plenty());
    let before = books().units(&sku).await;
    let paid = shopper.buys(&[(&sku, 2)], "tok_success").await.order_id;
    let order = shopper.order_of(&[(&sku, 1)], "tok_challenge").await;
    let asked: Order = shopper.place(&key(), &order).await.expect(201).json();
    let stranger = Shopper::guest(origin).await;
    for (id, comes_to) in [(paid, PaymentStatus::Refunded), (asked.order_id, PaymentStatus::Voided)] {
        let path = format!("/v1/orders/{id}/cancel");
        assert!(stranger.post(&path, &serde_json::json!({})).await.expect(404).problem().is(ProblemKind::NotFound));
        let cancelled: Order = shopper.post(&path, &serde_json::json!({})).await.expect(200).json();
        assert_eq!(cancelled.status, OrderStatus::Cancelled);
        let again: Order = shopper.post(&path, &serde_json::json!({})).await.expect(200).json();
        assert_eq!((again.version, again.status), (cancelled.version, OrderStatus::Cancelled));
        let given_back = async || Some(shopper.order(id).await).filter(|order| order.payment == comes_to);
        until("the money is where it was", std::time::Duration::from_secs(20), given_back).await;
    }
    assert_eq!(books().units(&sku).await, before);
    books().money_matches(shopper.tokens.user_id).await;
    let confirm = format!("/v1/orders/{}/payment/confirm", asked.order_id);
    shopper.post(&confirm, &serde_json::json!({})).await.expect(409);
}

#[tokio::test]
async fn slow_and_silent_banks_lead_to_a_paid_or_a_cancelled_order_never_to_half_of_one() {
    let sku = goods::plenty();
    let before = books().units(&sku).await;
    let buying = ["tok_timeout", "tok_late"].map(|token| {
        let sku = sku.clone();
        async move {
            let shopper = Shopper::guest(pop()).await;
            let order = shopper.buys(&[(&sku, 1)], token).await;
            books().money_matches(shopper.tokens.user_id).await;
            order.status
        }
    });
    let ends = join_all(buying).await;
    let confirmed: i64 = ends.into_iter().map(|status| i64::from(status == OrderStatus::Confirmed)).sum();
    let expected = Units { free: before.free - confirmed, sold: before.sold + confirmed, ..before };
    assert_eq!(books().units(&sku).await, expected);
}

#[tokio::test]
async fn the_last_units_of_all_shards_are_sold_and_not_one_more() {
    for _ in 0..2 {
        let sku = goods::last();
        // One unit in each of three shards, and five who want one, all of the same shard.
        let shoppers = join_all((0..5).map(|_| Shopper::guest_in(pop(), 1))).await;
        let ends = join_all(shoppers.iter().map(|shopper| buy_the_last(shopper, &sku))).await;
        let sold: Vec<_> = ends.into_iter().flatten().collect();
        assert_eq!(sold.len(), 3, "{sold:?}");
        assert!(sold.iter().all(|status| *status == OrderStatus::Confirmed), "{sold:?}");
        let units = books().units(&sku).await;
        assert_eq!((units.free, units.reserved, units.sold), (0, 0, 3));
    }
}

/// Orders one unit, again while units are on their way; nothing if it is sold out.
async fn buy_the_last(shopper: &Shopper, sku: &Sku) -> Option<OrderStatus> {
    let (order, key) = (shopper.order_of(&[(sku, 1)], "tok_success").await, key());
    let settled = async || {
        let answer = shopper.place(&key, &order).await;
        match answer.status {
            201 => Some(Some(answer.json::<Order>().order_id)),
            409 if answer.problem().is(ProblemKind::StockInTransit) => {
                assert!(answer.header("retry-after").is_some(), "{:?}", answer.headers);
                None
            }
            409 => {
                let problem = answer.problem();
                assert!(problem.is(ProblemKind::SoldOut), "{problem:?}");
                let short = &problem.members["items"][0];
                let told = (short["sku"].as_str(), short["wanted"].as_u64(), short["available"].as_u64());
                assert_eq!(told, (Some(sku.as_str()), Some(1), Some(0)));
                Some(None)
            }
            // Nothing was done, or it is not known what was: the key tells, next time.
            429 | 503 | 504 => None,
            other => panic!("{other}: {}", answer.text()),
        }
    };
    let order = until("the order is taken or refused for good", std::time::Duration::from_secs(60), settled).await?;
    Some(shopper.decided(order).await.status)
}

#[tokio::test]
async fn one_key_fifty_times_at_once_is_one_order_and_one_charge() {
    let (shopper, sku) = (Shopper::guest(pop()).await, goods::plenty());
    let before = books().units(&sku).await;
    let (order, key) = (shopper.order_of(&[(&sku, 3)], "tok_success").await, key());
    let answers = join_all((0..50).map(|_| shopper.place(&key, &order))).await;
    let orders: Vec<Order> = answers.iter().map(|answer| answer.clone().expect(201).json()).collect();
    let first = &orders[0];
    for order in &orders {
        assert_eq!((order.order_id, &order.lines, order.total), (first.order_id, &first.lines, first.total));
    }
    let replayed = answers.iter().filter(|answer| answer.header("idempotency-replayed") == Some("true")).count();
    assert_eq!(replayed, 49, "all but the first say that they repeat it");

    assert_eq!(shopper.decided(first.order_id).await.status, OrderStatus::Confirmed);
    let late = shopper.place(&key, &order).await.expect(201);
    assert_eq!(late.header("idempotency-replayed"), Some("true"));
    assert_eq!(late.json::<Order>().status, OrderStatus::Confirmed, "a repeat tells of the order as it is now");
    let mut other = order.clone();
    other.shipping_address.city = "York".to_owned();
    assert!(shopper.place(&key, &other).await.expect(422).problem().is(ProblemKind::IdempotencyKeyReused));

    assert_eq!(books().money_matches(shopper.tokens.user_id).await.len(), 1);
    let units = books().units(&sku).await;
    assert_eq!((units.free, units.sold), (before.free - 3, before.sold + 3));
}

#[tokio::test]
async fn one_cart_operation_many_times_at_once_is_done_once() {
    let (shopper, sku) = (Shopper::guest(pop()).await, goods::plenty());
    let operation = serde_json::json!({
        "operation_id": operation_id(), "change": { "kind": "add", "sku": sku, "quantity": 2 }
    });
    let answers = join_all((0..20).map(|_| shopper.post("/v1/cart/operations", &operation))).await;
    for answer in answers {
        let cart: Cart = answer.expect(200).json();
        assert_eq!((cart.units, cart.version), (2, 1));
    }
}

#[tokio::test]
async fn another_users_order_is_not_found() {
    let (owner, other) = (Shopper::guest(pop()).await, Shopper::guest(pop()).await);
    let order = owner.buys(&[(&goods::plenty(), 1)], "tok_success").await;
    let path = format!("/v1/orders/{}", order.order_id);
    owner.get(&path).await.expect(200);
    let theirs = other.get(&path).await.expect(404);
    let absent = other.get("/v1/orders/01890000-0000-7000-8000-000000000000").await.expect(404);
    assert_eq!(theirs.problem(), absent.problem(), "an order of somebody else looks like none at all");
    let list: OrderPage = other.get("/v1/orders").await.expect(200).json();
    assert!(list.items.is_empty());
}

#[tokio::test]
async fn more_than_five_new_orders_a_second_are_slowed_down_and_none_is_lost() {
    let (shopper, sku) = (Shopper::guest(pop()).await, goods::plenty());
    let order = shopper.order_of(&[(&sku, 1)], "tok_success").await;
    let keys: Vec<_> = (0..12).map(|_| key()).collect();
    let answers = join_all(keys.iter().map(|key| shopper.place(key, &order))).await;
    let accepted = answers.iter().filter(|answer| answer.status == 201).count();
    assert!(answers.iter().all(|answer| matches!(answer.status, 201 | 429)), "{:?}", answers);
    assert!(accepted < 12, "nobody was slowed down");
    assert_eq!(books().orders_of(shopper.tokens.user_id).await.len(), accepted);
}
