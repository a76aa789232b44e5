//! What may be under way, but not for ever; if nothing may be, not at all.

use super::{Check, LocalRule, QUIET_EVENTS, QUIET_LABELS, QUIET_ORDERS, QUIET_PAYMENTS};

/// Rules about what is under way; with no patience they find all of it.
pub(super) const RULES: &[LocalRule] = &[
    LocalRule {
        rule: QUIET_ORDERS,
        looks_at: &["orders"],
        checks: &[UNASSIGNED, Check {
            table: "orders",
            sql: "SELECT order_id::text AS key,
                         format('PENDING; it expires %s, its units were claimed %s',
                                expires_at, coalesce(claimed_at::text, 'never')) AS problem
                  FROM orders
                  WHERE status = 'PENDING' AND ($1 = 0
                      OR (claimed_at IS NULL AND expires_at < $2 - interval '60 seconds' * $1)
                      OR claimed_at < $2 - interval '120 seconds' * $1)",
        }],
    },
    LocalRule {
        rule: QUIET_PAYMENTS,
        looks_at: &["payments", "refunds"],
        checks: &[REFUNDS, Check {
            table: "payments",
            // One that waits for its shopper, or whose order waits for a decision, ends with its order.
            sql: "SELECT format('order %s', order_id) AS key,
                         format('%s since %s, %s attempts; last: %s',
                                state, changed_at, attempts, coalesce(last_error, 'no error')) AS problem
                  FROM payments
                  WHERE (state IN ('to_create', 'to_authorize', 'to_confirm', 'authorized', 'to_capture', 'to_void', 'to_refund')
                         AND ($1 = 0 OR (changed_at < $2 - interval '120 seconds' * $1
                              AND NOT (state = 'authorized' AND EXISTS (
                                  SELECT FROM order_reviews JOIN orders USING (order_id)
                                  WHERE order_id = payments.order_id AND decision IS NULL AND status = 'PENDING')))))
                     OR (state = 'challenge_required' AND $1 = 0)",
        }],
    },
    LocalRule {
        rule: QUIET_EVENTS,
        looks_at: &["event_retries"],
        checks: &[Check {
            table: "event_retries",
            sql: "SELECT format('event %s for %s', event_id, consumer) AS key,
                         format('of order %s, %s attempts, due %s; last: %s',
                                aggregate_id, attempts, next_attempt_at, coalesce(cause, 'no cause')) AS problem
                  FROM event_retries WHERE $1 = 0 OR next_attempt_at < $2 - interval '120 seconds' * $1",
        }],
    },
    LocalRule {
        rule: QUIET_LABELS,
        looks_at: &["labels"],
        checks: &[Check {
            table: "labels",
            // A purchase is given up after about a day; what nobody takes back waits for a person, who writes it off.
            sql: "SELECT format('order %s, %s', order_id, shipment_id) AS key,
                         format('%s since %s, %s attempts; last: %s',
                                state, changed_at, attempts, coalesce(problem, 'no problem')) AS problem
                  FROM labels
                  WHERE state IN ('to_buy', 'to_void') AND ($1 = 0 OR changed_at < $2 - interval '36 hours' * $1)",
        }],
    },
];

/// Units of paid orders that lie elsewhere and that no parcel from there is planned with.
const UNASSIGNED: Check = Check {
    table: "origins",
    sql: "SELECT sku AS key,
                 format('%s lie in other regions and are assigned to no order, of %s that are not sold',
                        sum(units - assigned), free + reserved) AS problem
          FROM origins JOIN allotments USING (sku) WHERE sku NOT IN (SELECT sku FROM origins_unknown)
          GROUP BY sku, free, reserved
          HAVING $1 = 0 AND sum(units - assigned) > free + reserved",
};

/// Refunds that the provider has not answered for good.
const REFUNDS: Check = Check {
    table: "refunds",
    sql: "SELECT format('order %s, %s', order_id, refund_id) AS key,
                 format('asked for since %s, %s attempts; last: %s',
                        created_at, attempts, coalesce(last_error, 'no error')) AS problem
          FROM refunds WHERE is_open AND ($1 = 0 OR changed_at < $2 - interval '120 seconds' * $1)",
};
