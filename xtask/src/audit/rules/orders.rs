//! An order, its key, its lines and its reservations: the hot tables have no foreign keys, so this is where they are
//! checked.

use super::{Check, LocalRule, ORDERS_KEYS, ORDERS_LINES, ORDERS_ORPHANS, ORDERS_REVIEWS, ORDERS_STATES, ORDERS_UNITS};

pub(super) const RULES: &[LocalRule] = &[
    LocalRule {
        rule: ORDERS_KEYS,
        looks_at: &["idempotency_records", "orders"],
        checks: &[
            Check {
                table: "idempotency_records",
                sql: "SELECT format('user %s, key %s', record.user_id, record.key) AS key,
                             CASE WHEN orders.order_id IS NULL
                                  THEN format('names order %s, which is not there', record.order_id)
                                  ELSE format('names order %s of user %s', record.order_id, orders.user_id) END AS problem
                      FROM idempotency_records AS record LEFT JOIN orders USING (order_id)
                      WHERE orders.user_id IS DISTINCT FROM record.user_id",
            },
            Check {
                table: "orders",
                sql: "SELECT orders.order_id::text AS key, format('%s idempotency records name it', coalesce(records, 0)) AS problem
                      FROM orders
                      LEFT JOIN (SELECT order_id, count(*) AS records FROM idempotency_records GROUP BY order_id) AS named
                          USING (order_id)
                      WHERE coalesce(records, 0) <> 1",
            },
        ],
    },
    LocalRule {
        rule: ORDERS_LINES,
        looks_at: &["orders", "line_items"],
        checks: &[Check {
            table: "orders",
            sql: "SELECT order_id::text AS key,
                         CASE WHEN minor IS NULL THEN 'has no line'
                              ELSE format('its lines come to %s; subtotal %s, shipping %s, total %s (minor units)',
                                          minor, subtotal_minor, shipping_minor, total_minor) END AS problem
                  FROM orders
                  LEFT JOIN (SELECT order_id, sum(quantity * unit_price_minor) AS minor FROM line_items GROUP BY order_id)
                      AS lines USING (order_id)
                  WHERE minor IS NULL OR minor <> subtotal_minor OR minor + shipping_minor <> total_minor",
        }],
    },
    LocalRule {
        rule: ORDERS_UNITS,
        looks_at: &["line_items", "reservations"],
        checks: &[Check {
            table: "reservations",
            sql: "SELECT format('order %s, %s', order_id, sku) AS key,
                         format('%s units on the line, %s reserved',
                                coalesce(quantity::text, 'no'), coalesce(units::text, 'none')) AS problem
                  FROM line_items FULL JOIN reservations USING (order_id, sku)
                  WHERE quantity IS DISTINCT FROM units",
        }],
    },
    LocalRule {
        rule: ORDERS_STATES,
        looks_at: &["reservations"],
        checks: &[Check {
            table: "reservations",
            sql: "SELECT format('order %s, %s', order_id, sku) AS key,
                         format('%s, of an order that is %s%s', state, status,
                                CASE WHEN status <> 'PENDING' THEN '' WHEN claimed THEN ' and claimed'
                                     ELSE ' and not claimed' END) AS problem
                  FROM (SELECT order_id, sku, state, status, claimed_at IS NOT NULL AS claimed,
                               CASE WHEN status = 'CANCELLED' THEN 'released'
                                    WHEN status = 'PENDING' AND claimed_at IS NULL THEN 'held'
                                    ELSE 'claimed' END AS fits
                        FROM reservations JOIN orders USING (order_id)) AS reserved
                  WHERE state <> fits",
        }],
    },
    LocalRule {
        rule: ORDERS_REVIEWS,
        looks_at: &["order_reviews"],
        checks: &[Check {
            table: "order_reviews",
            sql: "SELECT format('order %s', order_id) AS key,
                         CASE WHEN orders.order_id IS NULL THEN 'an order that is not there'
                              ELSE format('%s since %s, yet %s%s', coalesce(decision, 'waits'), asked_at, status,
                                          CASE WHEN claimed_at IS NULL THEN '' ELSE ' and claimed' END) END AS problem
                  FROM order_reviews LEFT JOIN orders USING (order_id)
                  WHERE orders.order_id IS NULL OR (decision IS NULL AND (claimed_at IS NOT NULL OR status <> 'PENDING'))
                     OR (decision IN ('refused', 'withdrawn', 'lapsed') AND status <> 'CANCELLED')
                     OR (decision = 'released' AND claimed_at IS NULL)",
        }],
    },
    LocalRule {
        rule: ORDERS_ORPHANS,
        looks_at: &["line_items", "reservations", "payments", "orders"],
        checks: &[
            Check {
                table: "line_items",
                sql: "SELECT format('order %s, %s', order_id, sku) AS key,
                             format('%s units of an order that is not there', quantity) AS problem
                      FROM line_items AS child
                      WHERE NOT EXISTS (SELECT FROM orders WHERE orders.order_id = child.order_id)",
            },
            Check {
                table: "reservations",
                sql: "SELECT format('order %s, %s', order_id, sku) AS key,
                             format('%s units %s for an order that is not there', units, state) AS problem
                      FROM reservations AS child
                      WHERE NOT EXISTS (SELECT FROM orders WHERE orders.order_id = child.order_id)",
            },
            Check {
                table: "payments",
                sql: "SELECT payment_id::text AS key,
                             format('%s, for order %s, which is not there', state, order_id) AS problem
                      FROM payments AS child
                      WHERE NOT EXISTS (SELECT FROM orders WHERE orders.order_id = child.order_id)",
            },
            Check {
                table: "orders",
                sql: "SELECT order_id::text AS key, format('of user %s, who is not there', user_id) AS problem
                      FROM orders AS child
                      WHERE NOT EXISTS (SELECT FROM users WHERE users.user_id = child.user_id)",
            },
        ],
    },
];
