//! Orders: placed, claimed, confirmed, cancelled and expired, against the real SQL.

mod reference;
mod shop;

use proptest_state_machine::{StateMachineTest, prop_state_machine};
use region_core_order::{OrderError, Placed};
use tokio::runtime::Runtime;

use crate::histories;
use reference::{Answer, GOODS, Model, Status, Transition};
use shop::Shop;

/// The system under test.
struct Machine {
    runtime: Runtime,
    shop: Shop,
}

impl StateMachineTest for Machine {
    type SystemUnderTest = Self;
    type Reference = Model;

    fn init_test(first: &Model) -> Self {
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
        let shop = runtime.block_on(async {
            let shop = Shop::open().await;
            for sku in 0..GOODS.len() {
                shop.receive(&format!("first-{sku}"), sku, first.stock[sku].free).await;
            }
            shop
        });
        Self { runtime, shop }
    }

    fn apply(mut machine: Self, after: &Model, transition: Transition) -> Self {
        let Self { runtime, shop } = &mut machine;
        runtime.block_on(async {
            match transition {
                Transition::Place(place, copies) => {
                    let answers = shop.place(place, copies).await;
                    check_answers(shop, after.answer.unwrap(), answers);
                }
                Transition::Hear(news) => shop.hear(&news).await,
                Transition::Sweep => shop.sweep().await,
                Transition::PassTime => shop.turn_clock(after.now).await,
                Transition::Receive(receipt, sku) => shop.receive_again(receipt, sku).await,
            }
        });
        machine
    }

    fn check_invariants(machine: &Self, reference: &Model) {
        machine.runtime.block_on(async {
            check_stock(&machine.shop, reference).await;
            check_orders(&machine.shop, reference).await;
        });
    }
}

/// Of requests under one key, sent at once, one places the order and all others are told of it.
fn check_answers(shop: &mut Shop, expected: Answer, answers: Vec<Result<Placed, OrderError>>) {
    let fresh = answers.iter().flatten().filter(|placed| !placed.replayed).count();
    match expected {
        Answer::Placed(_) => {
            assert_eq!(fresh, 1, "{answers:?}");
            shop.accepted.push(answers.iter().flatten().next().unwrap().order.order_id);
        }
        Answer::Replayed(_) | Answer::KeyReused | Answer::SoldOut => assert_eq!(fresh, 0, "{answers:?}"),
    }
    for answer in &answers {
        match (expected, answer) {
            (Answer::Placed(number) | Answer::Replayed(number), Ok(placed)) => {
                assert_eq!(placed.order.order_id, shop.accepted[number]);
            }
            (Answer::KeyReused, Err(OrderError::KeyReused)) | (Answer::SoldOut, Err(OrderError::SoldOut(_))) => {}
            (expected, answer) => panic!("{expected:?} was expected, {answer:?} came"),
        }
    }
}

/// The counts are the reference's; they add up to what came in, and to the reservations behind them.
async fn check_stock(shop: &Shop, reference: &Model) {
    for (sku, (name, _)) in GOODS.iter().enumerate() {
        let stock = shop.stock(sku).await;
        assert_eq!(stock, reference.stock[sku], "{name}");
        assert_eq!(stock.free + stock.reserved + stock.sold, reference.supplied(sku), "{name}");
    }
    let unbacked = "
        SELECT count(*) FROM allotments LEFT JOIN (
            SELECT sku, coalesce(sum(units) FILTER (WHERE state = 'held'), 0) AS held,
                coalesce(sum(units) FILTER (WHERE state = 'claimed'), 0) AS claimed
            FROM reservations GROUP BY sku
        ) AS kept USING (sku)
        WHERE reserved <> coalesce(held, 0) OR sold <> coalesce(claimed, 0)";
    assert_eq!(shop.count(unbacked).await, 0, "counts without their reservations");
}

/// Each order stands where the reference has it, with one key, its lines, its units and every event it ever said.
async fn check_orders(shop: &Shop, reference: &Model) {
    let orders = shop.orders().await;
    assert_eq!(orders.len(), reference.orders.len());
    for (id, expected) in shop.accepted.iter().zip(&reference.orders) {
        let (status, claimed) = match expected.status {
            Status::Pending => ("PENDING", false),
            Status::Claimed => ("PENDING", true),
            Status::Confirmed => ("CONFIRMED", true),
            Status::Cancelled => ("CANCELLED", orders[id].1),
        };
        assert_eq!(orders[id], (status.to_owned(), claimed, expected.version), "{id}");
    }
    let amiss = "
        SELECT count(*) FROM orders WHERE
            (SELECT count(*) FROM idempotency_records WHERE idempotency_records.order_id = orders.order_id) <> 1
            OR (SELECT array_agg(aggregate_version ORDER BY sequence) FROM outbox
                WHERE aggregate_id = orders.order_id AND topic = 'order_events')
                <> (SELECT array_agg(version) FROM generate_series(1, orders.version) AS version)
            OR EXISTS (
                SELECT FROM line_items FULL JOIN reservations USING (order_id, sku)
                WHERE order_id = orders.order_id AND (quantity IS DISTINCT FROM units
                    OR (state = 'held') <> (status = 'PENDING' AND claimed_at IS NULL)
                    OR (state = 'released') <> (status = 'CANCELLED')))";
    assert_eq!(shop.count(amiss).await, 0, "orders without their key, their events or their units");
    let keys = shop.count("SELECT count(*) FROM idempotency_records").await;
    assert_eq!(keys, i64::try_from(reference.orders.len()).unwrap(), "a refusal left a trace");
}

prop_state_machine! {
    #![proptest_config(histories(12))]

    #[test]
    fn whatever_happens_orders_units_and_keys_are_what_the_reference_says(sequential 1..30 => Machine);
}
