//! Every rule against real databases: a store of two shards in which all is well, and one row at a time that is not.

mod world;

use super::*;
use world::World;

/// The rules that a world breaks.
async fn broken(world: &World, demand: Demand) -> Vec<&'static str> {
    let report = run(&world.layout, demand).await.unwrap_or_else(|error| panic!("{error:#}"));
    report.broken().map(|rule| rule.rule).collect()
}

/// Each test breaks a running store by hand, on one shard, and sees exactly these rules broken.
macro_rules! each_is_found {
    ($($name:ident: $rules:expr, on $shard:literal, $sql:expr;)*) => {
        $(#[tokio::test]
        async fn $name() {
            let world = World::running().await;
            world.shard($shard, $sql).await;
            let found = broken(&world, Demand::Running).await;
            assert_eq!(found, $rules.map(|rule| rule.name));
        })*
    };
}

use super::rules::*;

each_is_found! {
    a_unit_from_nowhere: [STOCK_CONSERVED], on 1, "UPDATE allotments SET free = free + 1 WHERE sku = 'MUG'";
    a_unit_that_vanished: [STOCK_CONSERVED], on 2, "UPDATE allotments SET free = free - 1 WHERE sku = 'CUP'";
    a_receipt_that_was_never_put_on_the_shelf: [STOCK_CONSERVED], on 1,
        "INSERT INTO ledger (ref, sku, kind, units) VALUES ('late', 'MUG', 'supply', 5)";
    an_allotment_below_zero: [STOCK_ABOVE_ZERO, STOCK_OVERSOLD], on 1,
        "ALTER DOMAIN free_units DROP CONSTRAINT allotments_not_oversold;
         UPDATE allotments SET free = free - 1000 WHERE sku = 'MUG';
         INSERT INTO ledger (ref, sku, kind, units) VALUES ('gone', 'MUG', 'shrink', -1000)";
    more_sold_than_there_ever_was: [STOCK_CONSERVED, STOCK_OVERSOLD], on 1,
        "INSERT INTO ledger (ref, sku, kind, units) VALUES ('gone', 'MUG', 'shrink', -198)";
    units_reserved_for_nobody: [STOCK_RESERVED], on 1,
        "UPDATE allotments SET free = free - 1, reserved = reserved + 1 WHERE sku = 'MUG'";
    units_sold_to_nobody: [STOCK_SOLD], on 2,
        "UPDATE allotments SET free = free - 1, sold = sold + 1 WHERE sku = 'MUG'";
    held_units_of_what_the_shard_has_no_allotment_of: [STOCK_RESERVED], on 1,
        "UPDATE reservations SET sku = 'CAP' WHERE state = 'held' AND sku = 'CUP';
         UPDATE line_items SET sku = 'CAP'
         WHERE sku = 'CUP' AND order_id IN (SELECT order_id FROM reservations WHERE sku = 'CAP');
         UPDATE allotments SET free = free + reserved, reserved = 0 WHERE sku = 'CUP'";
    units_in_flight_that_their_borrower_has_credited: [STOCK_CONSERVED, STOCK_TRANSFERS], on 2,
        "UPDATE transfers_in SET state = 'done', units = 2 WHERE seq = 2;
         UPDATE allotments SET free = free + 2 WHERE sku = 'MUG'";
    units_credited_twice: [STOCK_CONSERVED], on 2,
        "UPDATE transfers_in SET state = 'done', units = 1 WHERE seq = 2;
         UPDATE allotments SET free = free + 2 WHERE sku = 'MUG'";
    units_that_their_donor_took_back_too_early: [STOCK_CONSERVED, STOCK_TRANSFERS], on 1,
        "UPDATE transfers_out SET state = 'cancelled' WHERE seq = 1;
         UPDATE allotments SET free = free + 10 WHERE sku = 'MUG'";
    a_debit_that_its_donor_forgot: [STOCK_CONSERVED], on 1, "DELETE FROM transfers_out WHERE state = 'sent'";
    a_transfer_with_a_number_that_was_never_drawn: [STOCK_TRANSFERS], on 1,
        "INSERT INTO transfers_out VALUES (2, 77, 'MUG', 0, 'acked')";
    a_transfer_with_a_shard_that_does_not_exist: [STOCK_TRANSFERS], on 1,
        "INSERT INTO transfers_out VALUES (9, 1, 'MUG', 0, 'acked')";
    a_donor_that_forgets_what_is_not_settled: [STOCK_TRANSFERS], on 1, "UPDATE transfer_lows SET low = 4";

    units_that_are_said_to_lie_where_they_never_came: [STOCK_REGIONS], on 2, "UPDATE origins SET units = 9";
    units_that_are_said_to_lie_nowhere_else: [STOCK_REGIONS], on 2, "DELETE FROM origins";
    a_loss_that_was_another_region_s: [STOCK_REGIONS], on 1,
        "UPDATE ledger SET elsewhere = '{\"us\": 1}' WHERE ref = 'broken'";
    units_assigned_to_nobody: [STOCK_ORIGINS], on 2, "UPDATE origins SET assigned = 1";
    more_assigned_than_was_ordered: [STOCK_ORIGINS], on 2,
        "UPDATE origins SET assigned = 9;
         INSERT INTO order_origins SELECT order_id, 'MUG', 'eu', 9 FROM orders";
    units_assigned_to_an_order_that_was_called_off: [STOCK_ORIGINS], on 1,
        "INSERT INTO origins VALUES ('MUG', 'us', 0);
         ALTER TABLE origins DROP CONSTRAINT origins_assigned_at_most_lying; UPDATE origins SET assigned = 1;
         INSERT INTO order_origins SELECT order_id, 'MUG', 'us', 1 FROM orders WHERE status = 'CANCELLED' LIMIT 1";
    a_parcel_that_left_from_somewhere_and_is_not_there: [STOCK_ORIGINS], on 2,
        "INSERT INTO parcel_origins SELECT gen_random_uuid(), order_id, 'us' FROM orders";

    a_key_of_an_order_that_is_not_there: [ORDERS_KEYS], on 1,
        "INSERT INTO idempotency_records
         SELECT user_id, 'lost', request_hash, gen_random_uuid() FROM idempotency_records LIMIT 1";
    a_key_of_another_user_s_order: [ORDERS_KEYS, ORDERS_ACKNOWLEDGED], on 1,
        "UPDATE idempotency_records SET user_id = (SELECT min(user_id) FROM users)
         WHERE user_id = (SELECT max(user_id) FROM users)";
    an_order_under_two_keys: [ORDERS_KEYS], on 2,
        "INSERT INTO idempotency_records
         SELECT user_id, 'twice', request_hash, order_id FROM idempotency_records LIMIT 1";
    an_order_under_no_key: [ORDERS_KEYS, ORDERS_ACKNOWLEDGED], on 1, "DELETE FROM idempotency_records WHERE key = 'key-1'";
    an_order_whose_lines_come_to_something_else: [ORDERS_LINES, ORDERS_ACKNOWLEDGED, PAYMENTS_ORDERS], on 1,
        "UPDATE orders SET subtotal_minor = 5, total_minor = 5
         WHERE order_id IN (SELECT order_id FROM payments WHERE state = 'voided')";
    an_order_without_lines: [ORDERS_LINES, ORDERS_UNITS], on 1,
        "DELETE FROM line_items WHERE order_id IN (SELECT order_id FROM payments WHERE state = 'voided')";
    a_reservation_of_other_units_than_the_line: [ORDERS_UNITS], on 1,
        "UPDATE reservations SET units = units + 1 WHERE state = 'released'";
    a_line_without_its_reservation: [ORDERS_UNITS], on 1, "DELETE FROM reservations WHERE state = 'released' AND sku = 'CUP'";
    units_held_for_a_cancelled_order: [ORDERS_STATES], on 1,
        "UPDATE reservations SET state = 'held' WHERE state = 'released' AND sku = 'MUG';
         UPDATE allotments SET (free, reserved) = (
             SELECT free + reserved - sum(units), sum(units) FROM reservations
             WHERE reservations.sku = allotments.sku AND state = 'held') WHERE sku = 'MUG'";
    units_claimed_before_their_order_was: [ORDERS_STATES], on 1,
        "UPDATE reservations SET state = 'claimed' WHERE state = 'held' AND sku = 'MUG';
         UPDATE allotments SET sold = sold + reserved, reserved = 0 WHERE sku = 'MUG'";
    a_reservation_that_outlived_its_order: [ORDERS_ORPHANS], on 1,
        "INSERT INTO line_items VALUES ('01900000-0000-7001-8000-00000000dead', 'MUG', 'a mug', 1, 295);
         INSERT INTO reservations VALUES ('01900000-0000-7001-8000-00000000dead', 'MUG', 1, 'released')";
    an_order_of_nobody: [ORDERS_ORPHANS], on 2,
        "DELETE FROM users WHERE user_id = (SELECT max(user_id) FROM orders)";

    a_price_that_was_never_in_force: [PRICES_HISTORY], on 1,
        "UPDATE line_items SET unit_price_minor = CASE sku WHEN 'MUG' THEN 294 ELSE 102 END";
    a_price_that_had_been_replaced: [PRICES_HISTORY], on 2, "UPDATE orders SET catalog_version = 1";
    a_way_of_delivery_that_nobody_offered: [PRICES_DELIVERY], on 2,
        "UPDATE orders SET delivery = '{\"id\": \"owl\", \"name\": \"By owl\", \"weight_grams\": 1}'";
    a_price_of_a_catalog_to_come: [PRICES_HISTORY], on 2, "UPDATE orders SET catalog_version = 3";

    a_confirmed_order_without_its_money: [PAYMENTS_ORDERS, PAYMENTS_PROVIDER, MONEY_BOOKED, EVENTS_STATES], on 1,
        "UPDATE payments SET captured_minor = 0, state = 'authorized' WHERE state = 'captured' AND refunded_minor = 0";
    money_kept_for_a_cancelled_order: [PAYMENTS_ORDERS, PAYMENTS_PROVIDER, MONEY_BOOKED, EVENTS_STATES], on 1,
        "UPDATE payments SET refunded_minor = 0, state = 'captured' WHERE state = 'refunded'";
    a_payment_of_another_amount: [PAYMENTS_ORDERS, PAYMENTS_PROVIDER, MONEY_BOOKED], on 2,
        "UPDATE payments SET amount_minor = 1, captured_minor = 1 WHERE state = 'captured'";
    a_confirmed_order_that_nobody_was_to_pay: [PAYMENTS_ORDERS, PAYMENTS_PROVIDER, MONEY_BOOKED], on 2,
        "DELETE FROM payments WHERE state = 'captured'";
    a_reference_that_the_provider_does_not_know: [PAYMENTS_PROVIDER], on 1,
        "UPDATE payments SET provider_reference = 'pay_other' WHERE state = 'voided'";

    money_that_moved_and_was_not_entered: [MONEY_BOOKED, MONEY_PROVIDER], on 2,
        "ALTER TABLE money_entries DISABLE TRIGGER ALL; DELETE FROM money_entries";
    money_that_was_entered_and_never_moved: [MONEY_BOOKED, MONEY_PROVIDER], on 2,
        "INSERT INTO money_entries (payment_id, cause, order_id, debit, credit, amount_minor, currency)
         SELECT payment_id, 'capture again', order_id, debit, credit, 1, currency FROM money_entries";
    an_entry_of_another_order: [MONEY_BOOKED], on 2,
        "ALTER TABLE money_entries DISABLE TRIGGER ALL;
         UPDATE money_entries SET order_id = '01900000-0000-7001-8000-00000000dead'";
    a_refund_that_was_entered_before_it_was_through: [PAYMENTS_ORDERS, MONEY_REFUNDS], on 1,
        "UPDATE refunds SET state = 'to_refund'";
    money_set_aside_for_nobody: [MONEY_REFUNDS], on 1,
        "UPDATE payments SET refunding_minor = 5 WHERE state = 'captured' AND refunded_minor = 0";
    a_refund_that_is_stuck: [QUIET_PAYMENTS], on 1,
        "ALTER TABLE money_entries DISABLE TRIGGER ALL; DELETE FROM money_entries WHERE cause LIKE 'refund %';
         UPDATE payments SET refunded_minor = 0, refunding_minor = 100 WHERE refunded_minor = 100;
         UPDATE refunds SET state = 'to_refund', changed_at = shard_now() - interval '3 minutes'";
    a_unit_that_came_back_without_a_return: [RETURNS_UNITS], on 1,
        "UPDATE sent_units SET returned = returned + 1 WHERE sku = 'CUP' AND sent = 1";
    a_return_that_the_stock_s_ledger_does_not_know: [RETURNS_UNITS], on 1, "DELETE FROM ledger WHERE ref LIKE 'return %'";

    a_unit_that_left_without_a_parcel: [SHIPMENTS_UNITS], on 1, "UPDATE sent_units SET sent = 2 WHERE sku = 'MUG' AND sent = 1";
    a_unit_that_left_twice: [SHIPMENTS_UNITS, SHIPMENTS_STATES], on 1,
        "ALTER TABLE sent_units DROP CONSTRAINT sent_units_at_most_ordered;
         UPDATE sent_units SET sent = 3 WHERE sku = 'MUG' AND sent = 2";
    a_parcel_that_holds_nothing: [SHIPMENTS_UNITS], on 1,
        "DELETE FROM shipment_lines WHERE shipment_id IN (SELECT shipment_id FROM shipments WHERE delivered_at IS NULL);
         UPDATE sent_units SET sent = 0 WHERE sent < ordered";
    an_order_that_is_said_to_have_left: [SHIPMENTS_STATES, EVENTS_STATES], on 2,
        "UPDATE orders SET status = 'SHIPPED' WHERE status = 'CONFIRMED'";
    an_order_that_arrived_without_its_parcel: [SHIPMENTS_STATES], on 1,
        "UPDATE shipments SET delivered_at = NULL WHERE delivered_at IS NOT NULL";
    units_kept_for_no_label: [SHIPMENTS_LABELS], on 1, "UPDATE sent_units SET labelled = labelled + 1 WHERE sent < ordered";
    a_label_that_was_used_and_is_on_no_parcel: [SHIPMENTS_LABELS, SHIPMENTS_CARRIER], on 1,
        "UPDATE labels SET tracking_code = 'T0' WHERE state = 'sent'";
    a_label_under_a_name_that_the_carrier_does_not_know: [SHIPMENTS_CARRIER], on 1,
        "UPDATE labels SET reference = 'shp_0' WHERE state = 'arrived'";
    a_label_that_nobody_takes_back_and_nobody_writes_off: [QUIET_LABELS], on 1,
        "INSERT INTO labels (shipment_id, order_id, key, request_hash, service, weight_grams, destination, state, changed_at)
         SELECT overlay(order_id::text placing '5' from 23)::uuid, order_id, 'stuck', request_hash, service, weight_grams, destination, 'to_void',
             shard_now() - interval '2 days' FROM labels WHERE state = 'sent';
         INSERT INTO label_lines SELECT shipment_id, 'MUG', 1 FROM labels WHERE state = 'to_void';
         UPDATE sent_units SET labelled = 1 WHERE sku = 'MUG' AND sent = 1";
    an_order_that_went_on_while_it_waited: [ORDERS_REVIEWS], on 1,
        "INSERT INTO order_reviews (order_id, score, reasons)
         SELECT order_id, 60, '{many_orders_on_card}' FROM orders WHERE status = 'CONFIRMED' LIMIT 1";
    an_order_that_ended_while_it_waited: [ORDERS_REVIEWS], on 1,
        "INSERT INTO order_reviews (order_id, score, reasons)
         SELECT order_id, 60, '{many_orders_on_card}' FROM orders WHERE status = 'CANCELLED'
         AND order_id NOT IN (SELECT order_id FROM order_reviews) LIMIT 1";
    a_refused_order_that_was_sold: [ORDERS_REVIEWS], on 2,
        "INSERT INTO order_reviews (order_id, score, reasons, decision, decided_at)
         SELECT order_id, 160, '{large_total}', 'refused', shard_now() FROM orders WHERE status = 'CONFIRMED' LIMIT 1";
    news_that_was_heard_and_not_written_down: [ORDERS_TOLD], on 1,
        "UPDATE orders SET email = 'ada@example.org';
         INSERT INTO inbox (consumer, event_id)
         SELECT 'notification', event_id FROM outbox WHERE kind = 'OrderConfirmed' LIMIT 1";
    news_about_no_order: [ORDERS_TOLD], on 2,
        "INSERT INTO notifications (event_id, channel, order_id, template, payload, recipient, message_id)
         SELECT event_id, 'mail', event_id, 'order_confirmed', '{}', 'ada@example.org', 'x@y' FROM outbox LIMIT 1";

    an_event_handled_twice: [EVENTS_INBOX], on 1,
        "ALTER TABLE inbox DROP CONSTRAINT inbox_pkey; INSERT INTO inbox SELECT * FROM inbox LIMIT 1";
    an_event_that_nobody_handled: [EVENTS_HANDLED], on 1,
        "DELETE FROM inbox WHERE (consumer, event_id) IN (SELECT consumer, event_id FROM inbox LIMIT 1);
         UPDATE outbox SET created_at = shard_now() - interval '2 minutes'";
    an_event_that_was_never_said: [EVENTS_VERSIONS], on 1,
        "DELETE FROM outbox WHERE kind = 'OrderClaimed'
         AND aggregate_id IN (SELECT order_id FROM orders WHERE status = 'CONFIRMED')";
    a_history_without_its_beginning: [EVENTS_VERSIONS], on 2, "DELETE FROM outbox WHERE kind = 'OrderCreated'";
    events_in_the_wrong_order: [EVENTS_VERSIONS], on 2,
        "ALTER TABLE outbox ALTER COLUMN sequence DROP IDENTITY;
         UPDATE outbox SET sequence = -sequence WHERE kind = 'OrderConfirmed'";
    an_order_that_no_event_explains: [EVENTS_STATES], on 2,
        "UPDATE orders SET version = version + 1 WHERE status = 'CONFIRMED'";
    a_payment_that_no_event_explains: [EVENTS_STATES], on 1, "UPDATE payments SET state = 'declined' WHERE state = 'voided'";
    an_effect_that_came_twice: [EVENTS_STATES], on 2,
        "UPDATE orders SET version = version + 1 WHERE status = 'CONFIRMED';
         INSERT INTO outbox (event_id, topic, kind, aggregate_id, aggregate_version, payload)
         SELECT gen_random_uuid(), topic, kind, aggregate_id, aggregate_version + 1, payload
         FROM outbox WHERE kind = 'OrderConfirmed'";

    a_slot_with_two_owners: [SLOTS_OWNERS], on 1, "INSERT INTO slots VALUES (4000, 'owner', 1)";
    a_slot_that_nobody_owns: [SLOTS_OWNERS], on 1, "UPDATE slots SET state = 'moved' WHERE slot = 2000";
    a_slot_that_fell_back_to_an_older_epoch: [SLOTS_OWNERS], on 2, "INSERT INTO slots VALUES (7, 'moved', 2)";
    rows_of_a_slot_that_the_shard_never_had: [SLOTS_ROWS], on 1, "INSERT INTO users (user_id) VALUES ((4000 << 10) + 1)";
    an_order_in_another_slot_than_its_user_s: [ORDERS_ACKNOWLEDGED, SLOTS_ROWS], on 1,
        "INSERT INTO users (user_id) VALUES ((9 << 10) + 1);
         UPDATE idempotency_records SET user_id = (9 << 10) + 1 WHERE key = 'key-4';
         UPDATE orders SET user_id = (9 << 10) + 1
         WHERE order_id = (SELECT order_id FROM idempotency_records WHERE key = 'key-4')";

    an_order_that_never_expired: [QUIET_ORDERS], on 1,
        "UPDATE orders SET expires_at = shard_now() - interval '2 minutes' WHERE status = 'PENDING' AND claimed_at IS NULL";
    a_claim_that_nobody_follows_up: [QUIET_ORDERS], on 1,
        "UPDATE orders SET claimed_at = shard_now() - interval '3 minutes' WHERE status = 'PENDING' AND claimed_at IS NOT NULL";
    a_payment_that_is_stuck: [QUIET_PAYMENTS], on 1,
        "UPDATE payments SET changed_at = shard_now() - interval '3 minutes' WHERE state = 'to_capture'";
    a_retry_that_nobody_makes: [QUIET_EVENTS], on 1,
        "INSERT INTO event_retries
         SELECT 'payment', event_id, aggregate_id, sequence, 1, 'test', shard_now() - interval '3 minutes' FROM outbox LIMIT 1";
    units_in_flight_for_too_long: [QUIET_TRANSFERS], on 1,
        "UPDATE transfers_out SET created_at = shard_now() - interval '2 minutes' WHERE state = 'sent'";
    a_grant_that_nobody_answers: [QUIET_TRANSFERS], on 2,
        "UPDATE transfers_in SET created_at = shard_now() - interval '2 minutes' WHERE state = 'pending'";
}

#[tokio::test]
async fn a_store_in_which_all_is_well_breaks_no_rule_while_it_sells() {
    let world = World::running().await;
    let report = run(&world.layout, Demand::Running).await.unwrap();
    assert!(report.is_clean(), "{report}");
    assert!(
        report.rules.iter().all(|rule| rule.rows > 0 || rule.rule == QUIET_EVENTS.name),
        "looked at nothing: {report}"
    );
    let figures = report.figures;
    assert_eq!((figures.orders, figures.pending, figures.confirmed, figures.cancelled), (8, 2, 4, 2));
    assert_eq!((figures.units.received, figures.units.in_flight), (400, 1));
}

#[tokio::test]
async fn a_breach_says_which_sku_and_what_each_shard_has() {
    let world = World::running().await;
    world.shard(2, "UPDATE allotments SET free = free + 1 WHERE sku = 'CUP'").await;
    let report = run(&world.layout, Demand::Running).await.unwrap();
    let breach = &report.broken().next().unwrap().first[0];
    assert_eq!((breach.table.as_str(), breach.key.as_str()), ("allotments", "CUP"));
    let shards = "; shard 1: 100 received, 95 + 1 + 4; shard 2: 100 received, 100 + 0 + 1";
    assert!(
        breach.problem.starts_with("200 received, but 201 there: ") && breach.problem.ends_with(shards),
        "{breach}"
    );
}

#[tokio::test]
async fn a_store_at_rest_is_held_to_rest() {
    let at_rest = World::at_rest().await;
    assert_eq!(broken(&at_rest, Demand::Settled).await, [""; 0]);
    assert!(settle(&at_rest.layout, std::time::Duration::ZERO).await.unwrap().is_some());
    let selling = World::running().await;
    let under_way = [QUIET_ORDERS, QUIET_PAYMENTS, QUIET_TRANSFERS].map(|rule| rule.name);
    assert_eq!(broken(&selling, Demand::Settled).await, under_way);
    assert!(settle(&selling.layout, std::time::Duration::ZERO).await.unwrap().is_none());
}

#[tokio::test]
async fn an_event_or_a_retry_that_is_under_way_is_no_rest() {
    let world = World::at_rest().await;
    world.shard(1, "DELETE FROM inbox; UPDATE outbox SET created_at = shard_now() - interval '1 second'").await;
    let retry = "INSERT INTO event_retries
                 SELECT 'payment', event_id, aggregate_id, sequence, 1, 'test', shard_now() FROM outbox LIMIT 1";
    world.shard(2, retry).await;
    assert_eq!(broken(&world, Demand::Running).await, [""; 0]);
    assert_eq!(broken(&world, Demand::Settled).await, [EVENTS_HANDLED, QUIET_EVENTS].map(|rule| rule.name));
    assert!(settle(&world.layout, std::time::Duration::ZERO).await.unwrap().is_none());
}

#[tokio::test]
async fn many_units_of_a_sku_may_be_on_their_way_but_not_linger() {
    let world = World::running().await;
    let more = "UPDATE transfers_out SET units = units + 4 WHERE state = 'sent';
                UPDATE allotments SET free = free - 4 WHERE sku = 'MUG'";
    world.shard(1, more).await;
    assert_eq!(broken(&world, Demand::Running).await, [""; 0]);
    world
        .shard(1, "UPDATE transfers_out SET created_at = shard_now() - interval '10 seconds' WHERE state = 'sent'")
        .await;
    assert_eq!(broken(&world, Demand::Running).await, [QUIET_TRANSFERS.name]);
}

#[tokio::test]
async fn an_order_or_a_key_on_two_shards_is_found() {
    let world = World::running().await;
    // Shard 2 has taken the slot over, and shard 1 does not know.
    world.shard(2, "INSERT INTO slots VALUES (1, 'owner', 1)").await;
    let user = "INSERT INTO users (user_id) VALUES ((1 << 10) + 1)";
    world.shard(2, user).await;
    world.copy_order("key-1", 1, 2).await;
    let found = broken(&world, Demand::Running).await;
    for rule in [ORDERS_ONCE, ORDERS_ACKNOWLEDGED, SLOTS_OWNERS] {
        assert!(found.contains(&rule.name), "{found:?}");
    }
    let report = run(&world.layout, Demand::Running).await.unwrap();
    let once = report.broken().find(|rule| rule.rule == ORDERS_ONCE.name).unwrap();
    assert_eq!(once.breaches, 2, "the order and its key: {once:?}");
    assert!(once.first.iter().all(|breach| breach.problem == "lives on shards 1 and 2"), "{once:?}");
}

#[tokio::test]
async fn an_acknowledged_order_that_is_gone_or_another_is_found() {
    for list in [
        r#"{"order_id":"01900000-0000-7001-8000-00000000beef","user_id":"1025","key":"key-1","total_minor":690,"currency":"GBP"}"#,
        r#"{"order_id":"ORDER","user_id":"1025","key":"key-1","total_minor":691,"currency":"GBP"}"#,
        r#"{"order_id":"ORDER","user_id":"1025","key":"key-1","total_minor":690,"currency":"EUR"}"#,
        r#"{"order_id":"ORDER","user_id":1026,"key":"key-1","total_minor":690,"currency":"GBP"}"#,
        r#"{"order_id":"ORDER","user_id":"1025","key":"key-2","total_minor":690,"currency":"GBP"}"#,
    ] {
        let world = World::running().await;
        world.acknowledge(&list.replace("ORDER", &world.order("key-1").await));
        assert_eq!(broken(&world, Demand::Running).await, [ORDERS_ACKNOWLEDGED.name], "{list}");
    }
}

#[tokio::test]
async fn writes_past_the_fence_of_a_slot_that_moved_are_found() {
    let world = World::running().await;
    // The slot moves as it should: what it leaves behind is older than its leaving.
    world.move_slot(1, 1, 2).await;
    assert_eq!(broken(&world, Demand::Running).await, [""; 0]);
    world.shard(1, "UPDATE idempotency_records SET created_at = created_at WHERE key = 'key-1'").await;
    assert_eq!(broken(&world, Demand::Running).await, [SLOTS_ROWS.name]);
}

#[tokio::test]
async fn a_map_that_names_another_owner_is_found() {
    let world = World::running().await;
    world.catalog("UPDATE control.slot_owners SET shard_id = 2 WHERE slot = 3").await;
    assert_eq!(broken(&world, Demand::Running).await, [SLOTS_OWNERS.name]);
}

#[tokio::test]
async fn money_that_moved_without_an_order_or_twice_is_found() {
    let world = World::running().await;
    world.provider(
        "pay_x",
        r#""fact":"created","merchant_reference":"nobody's","amount_minor":5,"currency":"GBP","token":"tok_success""#,
    );
    assert_eq!(broken(&world, Demand::Running).await, [""; 0], "made and never heard of: nothing moved");
    world.provider("pay_x", r#""fact":"authorized""#);
    assert_eq!(broken(&world, Demand::Running).await, [PAYMENTS_PROVIDER.name]);
    let world = World::running().await;
    world.provider("pay_3", r#""fact":"captured""#);
    assert_eq!(broken(&world, Demand::Running).await, [PAYMENTS_PROVIDER.name]);
}

#[tokio::test]
async fn a_label_that_was_paid_for_and_is_not_ours_or_ours_twice_is_found() {
    let world = World::running().await;
    let created = r#""fact":"created","reference":"a stranger's""#;
    world.carrier("shp_x", created);
    assert_eq!(broken(&world, Demand::Running).await, [""; 0], "known and never bought: nothing was paid");
    world.carrier("shp_x", r#""fact":"bought","service":1,"tracking_code":"X""#);
    assert_eq!(broken(&world, Demand::Running).await, [SHIPMENTS_CARRIER.name]);
}

#[tokio::test]
async fn a_label_that_is_being_given_back_is_no_rest() {
    let world = World::at_rest().await;
    world
        .shard(
            2,
            "INSERT INTO labels (shipment_id, order_id, key, request_hash, service, weight_grams, destination, state)
             SELECT overlay(order_id::text placing '5' from 23)::uuid, order_id, 'l', sha256('l'), 'Tracked', 450, '{}', 'to_void' FROM orders;
             INSERT INTO label_lines SELECT shipment_id, 'MUG', 1 FROM labels;
             INSERT INTO sent_units (order_id, sku, ordered, sent, labelled)
             SELECT order_id, sku, quantity, 0, CASE sku WHEN 'MUG' THEN 1 ELSE 0 END FROM line_items",
        )
        .await;
    assert_eq!(broken(&world, Demand::Running).await, [""; 0]);
    assert_eq!(broken(&world, Demand::Settled).await, [QUIET_LABELS.name]);
    assert!(settle(&world.layout, std::time::Duration::ZERO).await.unwrap().is_none());
}

#[tokio::test]
async fn what_is_not_the_store_that_was_named_is_not_looked_at() {
    let mut world = World::running().await;
    world.layout.shards.swap(0, 1);
    let (one, other) = world.layout.shards.split_at_mut(1);
    std::mem::swap(&mut one[0].url, &mut other[0].url);
    let error = run(&world.layout, Demand::Running).await.unwrap_err();
    assert!(format!("{error:#}").contains("says that it is shard"), "{error:#}");
    let mut world = World::running().await;
    world.layout.shards.pop();
    let error = run(&world.layout, Demand::Running).await.unwrap_err();
    assert!(format!("{error:#}").contains("the slot map knows shards"), "{error:#}");
}

#[tokio::test]
async fn what_lies_nobody_knows_where_is_held_against_nobody() {
    let world = World::at_rest().await;
    world.shard(2, "UPDATE origins SET units = 500").await;
    let wrong = [STOCK_REGIONS, STOCK_ORIGINS, QUIET_ORDERS].map(|rule| rule.name);
    assert_eq!(broken(&world, Demand::Settled).await, wrong);
    world.shard(2, "INSERT INTO origins_unknown VALUES ('MUG')").await;
    assert_eq!(broken(&world, Demand::Settled).await, [""; 0]);
}
