//! Orders against the payments that the same shard keeps.

use super::{Check, LocalRule, PAYMENTS_ORDERS};

pub(super) const RULES: &[LocalRule] = &[LocalRule {
    rule: PAYMENTS_ORDERS,
    looks_at: &["orders", "payments"],
    checks: &[
        Check {
            table: "payments",
            sql: "SELECT format('order %s', order_id) AS key,
                         CASE WHEN payment_id IS NULL THEN format('none, of an order that is %s', status)
                              ELSE format('%s: %s captured, %s refunded of %s %s, of an order that is %s over %s %s',
                                          state, captured_minor, refunded_minor, amount_minor, payments.currency,
                                          status, total_minor, orders.currency) END AS problem
                  FROM orders LEFT JOIN payments USING (order_id)
                  WHERE CASE
                      WHEN (amount_minor, payments.currency) <> (total_minor, orders.currency) THEN true
                      WHEN status IN ('CONFIRMED', 'SHIPPED', 'DELIVERED')
                          THEN (captured_minor, refunded_minor) IS DISTINCT FROM (total_minor, (
                              SELECT coalesce(sum(refunds.amount_minor), 0)::bigint FROM refunds
                              WHERE refunds.order_id = orders.order_id AND refunds.state = 'refunded'))
                      -- Money of an order that nobody claimed is on its way back.
                      WHEN status = 'PENDING'
                          THEN captured_minor > 0 AND claimed_at IS NULL AND state NOT IN ('to_refund', 'refunded')
                      ELSE false END",
        },
        Check {
            table: "payments",
            // A cancellation takes a moment to be heard; from then on the payment's own state says that money goes
            // back.
            sql: "SELECT format('order %s', order_id) AS key,
                         format('%s: %s captured, %s refunded, of an order that is CANCELLED',
                                state, captured_minor, refunded_minor) AS problem
                  FROM orders JOIN payments USING (order_id)
                  WHERE status = 'CANCELLED' AND captured_minor <> refunded_minor
                    AND (state <> 'to_refund' OR $1 = 0)
                    AND ($1 = 0 OR NOT EXISTS (
                        SELECT FROM outbox
                        WHERE outbox.aggregate_id = orders.order_id AND kind = 'OrderCancelled'
                          AND created_at > $2 - interval '60 seconds' * $1
                          AND NOT EXISTS (SELECT FROM inbox WHERE consumer = 'payment' AND inbox.event_id = outbox.event_id)
                          AND NOT EXISTS (SELECT FROM dead_letters AS letter
                                          WHERE consumer = 'payment' AND letter.event_id = outbox.event_id)))",
        },
    ],
}];
