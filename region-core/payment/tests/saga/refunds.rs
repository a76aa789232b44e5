//! Parts of captured payments go back: each once, never more than was captured, whatever fails.

use region_core_payment::{Asked, RefundError};
use shared::api::refund::{NewRefund, Refund, RefundStatus, Refunds};

use super::*;

/// Who keeps the store.
fn keeper() -> UserId {
    UserId::mint(MS, Slot::new(77).unwrap(), 1).unwrap()
}

fn gbp(minor: i64) -> Money {
    Money::new(minor, Currency::GBP).unwrap()
}

impl Shop {
    /// Orders whose money is ours.
    async fn paid(&mut self, count: usize) -> Vec<OrderId> {
        let orders = self.orders("tok_success", count).await;
        self.until(&orders, &["captured"]).await;
        orders
    }

    async fn give_back(&self, order: OrderId, key: &str, minor: i64) -> Result<Asked, RefundError> {
        let body = NewRefund { amount: gbp(minor), reason: "a crack".to_owned() };
        self.payments.give_back(order, key.parse().unwrap(), keeper(), body).await
    }

    /// The order's refunds, once none is under way.
    async fn ended(&self, order: OrderId) -> Refunds {
        let deadline = tokio::time::Instant::now() + Duration::from_secs(60);
        loop {
            let refunds = self.payments.refunds(order).await.unwrap();
            if refunds.items.iter().all(|refund| refund.status != RefundStatus::Pending) {
                return refunds;
            }
            assert!(tokio::time::Instant::now() < deadline, "still waiting: {refunds:?}");
            tokio::task::yield_now().await;
        }
    }

    /// Captured, refunded and set aside, by the payments and by the ledger of money; both must be the same.
    async fn books(&self) -> (i64, i64, i64) {
        let mut conn = self.shard().read().await.unwrap();
        // One statement, so that both are of one moment.
        let books: (i64, i64, i64, i64, i64) = sqlx::query_as(
            "SELECT sum(captured_minor)::bigint, sum(refunded_minor)::bigint, sum(refunding_minor)::bigint,
                    (SELECT coalesce(sum(amount_minor), 0)::bigint FROM money_entries WHERE debit = 'provider'),
                    (SELECT coalesce(sum(amount_minor), 0)::bigint FROM money_entries WHERE credit = 'provider')
             FROM payments",
        )
        .fetch_one(&mut *conn)
        .await
        .unwrap();
        let (captured, refunded, refunding, entered_in, entered_out) = books;
        assert_eq!((captured, refunded), (entered_in, entered_out), "the ledger of money says otherwise");
        (captured, refunded, refunding)
    }

    /// Has the refunds that are open asked about after that long and not before; waits for those that are just being asked about.
    async fn put_off(&self, by: &str) {
        let sql = "UPDATE refunds SET next_attempt_at = shard_now() + $1::text::interval
                   WHERE is_open AND attempts > 0 AND leased_until IS NULL";
        loop {
            let put_off = sqlx::query(sql).bind(by).execute(&mut *self.shard().read().await.unwrap()).await.unwrap();
            if put_off.rows_affected() > 0 {
                return;
            }
            tokio::task::yield_now().await;
        }
    }

    /// Cancels orders that are paid.
    async fn call_off(&self, orders: &[OrderId]) {
        let mut conn = self.shard().read().await.unwrap();
        sqlx::query("UPDATE orders SET status = 'PENDING'").execute(&mut *conn).await.unwrap();
        drop(conn);
        for order in orders {
            self.expire(*order).await;
        }
    }

    /// How often a kind of event was said.
    async fn said(&self, kind: &str) -> i64 {
        let mut conn = self.shard().read().await.unwrap();
        let count = sqlx::query_scalar("SELECT count(*) FROM outbox WHERE kind = $1").bind(kind);
        count.fetch_one(&mut *conn).await.unwrap()
    }
}

promises! {
    a_part_goes_back_once_however_often_it_is_asked_for,
    refunds_asked_for_at_once_never_exceed_what_was_captured,
    only_captured_money_is_given_back,
    what_the_bank_refuses_is_seen_and_can_be_asked_for_again,
    lost_answers_errors_and_two_processes_give_each_part_back_once,
    a_worker_that_dies_after_the_bank_gave_back_leaves_it_to_the_next_one,
    of_a_cancelled_order_the_rest_goes_back_while_a_part_is_under_way,
    of_a_cancelled_order_everything_goes_back_once_whatever_is_lost,
}

async fn a_part_goes_back_once_however_often_it_is_asked_for(home: Home) {
    let mut shop = Shop::open(1, home).await;
    let order = shop.paid(1).await[0];
    let same = (0..20).map(|_| shop.give_back(order, "same", 300));
    let asked: Vec<Asked> = futures::future::join_all(same).await.into_iter().map(Result::unwrap).collect();
    assert!(asked.iter().all(|one| one.refund.refund_id == asked[0].refund.refund_id));
    assert_eq!(asked.iter().filter(|one| !one.replayed).count(), 1);
    let other = shop.give_back(order, "same", 301).await.unwrap_err();
    assert!(matches!(other, RefundError::KeyReused), "{other}");
    let Refunds { items, left } = shop.ended(order).await;
    let [Refund { status: RefundStatus::Refunded, last_error: None, .. }] = items.as_slice() else {
        panic!("{items:?}")
    };
    assert_eq!((left, shop.books().await), (gbp(950), (1250, 300, 0)));
    assert_eq!(shop.bank.moved().await, [(1, 1250), (1, 300)]);
    let mut conn = shop.shard().read().await.unwrap();
    let notes: Vec<(String, String)> =
        sqlx::query_as("SELECT action, detail FROM desk_actions").fetch_all(&mut *conn).await.unwrap();
    assert_eq!(notes, [("refund".to_owned(), "£3.00, a crack".to_owned())]);
    drop(conn);
    shop.close().await;
}

async fn refunds_asked_for_at_once_never_exceed_what_was_captured(home: Home) {
    let mut shop = Shop::open(1, home).await;
    let order = shop.paid(1).await[0];
    let keys: Vec<String> = (0..10).map(|number| format!("k{number}")).collect();
    let asked = futures::future::join_all(keys.iter().map(|key| shop.give_back(order, key, 300))).await;
    assert_eq!(asked.iter().filter(|one| one.is_ok()).count(), 4);
    for refused in asked.into_iter().filter_map(Result::err) {
        assert_eq!(shared::Problem::from(refused).status, 409);
    }
    let refunds = shop.ended(order).await;
    assert_eq!((refunds.items.len(), refunds.left, shop.books().await), (4, gbp(50), (1250, 1200, 0)));
    assert_eq!(shop.bank.moved().await[1], (4, 1200));
    assert_eq!(shop.said("RefundIssued").await, 4);
    // And if the code forgot, the database would not.
    let more = sqlx::query("UPDATE payments SET refunding_minor = 51");
    let refused = more.execute(&mut *shop.shard().read().await.unwrap()).await.unwrap_err();
    assert_eq!(refused.as_database_error().unwrap().constraint(), Some("payments_refunded_at_most_captured"));
    shop.close().await;
}

async fn only_captured_money_is_given_back(home: Home) {
    let mut shop = Shop::open(1, home).await;
    let waiting = shop.order("tok_challenge").await;
    shop.until(&[waiting], &["challenge_required"]).await;
    let refused = shop.give_back(waiting, "k", 1).await.unwrap_err();
    assert!(matches!(refused, RefundError::Ask(_)), "{refused}");
    let nobodys = OrderId::mint(MS, Slot::new(9).unwrap(), [9; 8]);
    assert!(matches!(shop.give_back(nobodys, "k", 1).await, Err(RefundError::NoPayment)));
    let paid = shop.paid(1).await[0];
    for (minor, field) in [(0, "amount"), (-5, "amount")] {
        let problem = shared::Problem::from(shop.give_back(paid, "k", minor).await.unwrap_err());
        assert_eq!((problem.status, &problem.members["field"]), (422, &field.into()));
    }
    assert_eq!(shop.books().await, (1250, 0, 0));
    shop.close().await;
}

async fn what_the_bank_refuses_is_seen_and_can_be_asked_for_again(home: Home) {
    let mut shop = Shop::open(1, home).await;
    let order = shop.paid(1).await[0];
    // Somebody gave money back at the bank itself, without telling us.
    let reference = shop.text("SELECT provider_reference FROM payments WHERE order_id = $1", order).await.unwrap();
    let url = format!("http://{}/v1/payments/{reference}/refund", shop.bank.address);
    let behind = shop.bank.client.post(url).header("idempotency-key", "x").json(&json!({ "amount_minor": 1000 }));
    assert!(behind.send().await.unwrap().status().is_success());
    shop.give_back(order, "k", 300).await.unwrap();
    let Refunds { items, left } = shop.ended(order).await;
    assert_eq!((items[0].status, left), (RefundStatus::Refused, gbp(1250)));
    assert!(items[0].last_error.as_ref().unwrap().contains("250 left"), "{items:?}");
    assert_eq!((shop.books().await, shop.said("RefundIssued").await), ((1250, 0, 0), 0));
    shop.give_back(order, "less", 250).await.unwrap();
    assert_eq!(shop.ended(order).await.items[1].status, RefundStatus::Refunded);
    shop.close().await;
}

async fn lost_answers_errors_and_two_processes_give_each_part_back_once(home: Home) {
    let mut shop = Shop::open(2, home).await;
    let orders = shop.paid(10).await;
    shop.bank.faults(json!({ "seed": 12, "drop_answer": 0.2, "fail_before": 0.1, "fail_after": 0.2 })).await;
    for order in &orders {
        for key in ["a", "b"] {
            shop.give_back(*order, key, 50).await.unwrap();
        }
    }
    for order in &orders {
        let refunds = shop.ended(*order).await;
        assert!(refunds.items.iter().all(|refund| refund.status == RefundStatus::Refunded), "{refunds:?}");
    }
    shop.bank.faults(json!({})).await;
    assert_eq!(shop.bank.moved().await[1], (20, 1000));
    assert_eq!((shop.books().await, shop.said("RefundIssued").await), ((12500, 1000, 0), 20));
    shop.close().await;
}

async fn a_worker_that_dies_after_the_bank_gave_back_leaves_it_to_the_next_one(home: Home) {
    let mut shop = Shop::open(1, home).await;
    let order = shop.paid(1).await[0];
    shop.shutdown.cancel();
    for task in shop.tasks.drain(..) {
        task.await.unwrap();
    }
    // Asked for, set aside and committed; then the bank does it and the answer is lost, and the process with it.
    shop.give_back(order, "k", 300).await.unwrap();
    assert_eq!(shop.books().await, (1250, 0, 300));
    shop.bank.faults(json!({ "drop_answer": 1.0 })).await;
    let doomed = tokio::spawn(shop.payments.clone().drive(CancellationToken::new()));
    let mut moved = 0;
    while moved == 0 {
        let metrics = format!("http://{}/metrics", shop.bank.address);
        let metrics = shop.bank.client.get(metrics).send().await.unwrap().text().await.unwrap();
        moved = usize::from(metrics.contains("sandbox_movements_total 2"));
    }
    doomed.abort();
    assert!(doomed.await.unwrap_err().is_cancelled());
    assert_eq!(shop.books().await, (1250, 0, 300), "nobody here has heard of it");
    shop.bank.faults(json!({})).await;
    let (changed, changes) = watch::channel(());
    (shop.changes, shop.shutdown) = (changes, CancellationToken::new());
    shop.start_process(changed);
    assert_eq!(shop.ended(order).await.items[0].status, RefundStatus::Refunded);
    assert_eq!((shop.bank.moved().await[1], shop.books().await), ((1, 300), (1250, 300, 0)));
    shop.close().await;
}

async fn of_a_cancelled_order_the_rest_goes_back_while_a_part_is_under_way(home: Home) {
    let mut shop = Shop::open(1, home).await;
    let orders = shop.paid(2).await;
    // One part is under way while its order is cancelled, the other order has nothing left to give back.
    shop.give_back(orders[1], "all", 1250).await.unwrap();
    shop.ended(orders[1]).await;
    shop.bank.faults(json!({ "fail_before": 1.0 })).await;
    shop.give_back(orders[0], "part", 300).await.unwrap();
    shop.put_off("1 hour").await;
    shop.bank.faults(json!({})).await;
    shop.call_off(&orders).await;
    shop.until(&orders[1..], &["refunded"]).await;
    while shop.books().await != (2500, 2200, 300) {
        tokio::task::yield_now().await;
    }
    shop.until(&orders[..1], &["to_refund"]).await;
    let late = shop.give_back(orders[0], "late", 1).await.unwrap_err();
    assert!(matches!(late, RefundError::Ask(_)), "{late}");
    shop.put_off("0").await;
    shop.until(&orders, &["refunded"]).await;
    assert_eq!((shop.bank.moved().await[1], shop.books().await), ((3, 2500), (2500, 2500, 0)));
    assert_eq!((shop.said("RefundIssued").await, shop.said("PaymentRefunded").await), (3, 2));
    shop.close().await;
}

async fn of_a_cancelled_order_everything_goes_back_once_whatever_is_lost(home: Home) {
    let mut shop = Shop::open(2, home).await;
    let orders = shop.paid(10).await;
    shop.bank.faults(json!({ "seed": 21, "drop_answer": 0.2, "fail_before": 0.1, "fail_after": 0.2 })).await;
    for (number, order) in orders.iter().enumerate() {
        shop.give_back(*order, "a", 50 + i64::try_from(number).unwrap()).await.unwrap();
        shop.give_back(*order, "b", 700).await.unwrap();
    }
    shop.call_off(&orders).await;
    shop.until(&orders, &["refunded"]).await;
    shop.bank.faults(json!({})).await;
    assert_eq!((shop.bank.moved().await[1].1, shop.books().await), (12500, (12500, 12500, 0)));
    assert_eq!(shop.said("PaymentRefunded").await, 10);
    shop.close().await;
}
