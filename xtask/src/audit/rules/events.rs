//! The outbox against what consumers did with it, and against what it says about orders and payments.
//!
//! Events older than three days may be forgotten, oldest first; what needs an order's whole history asks younger ones
//! only.

use super::{Check, EVENTS_HANDLED, EVENTS_INBOX, EVENTS_STATES, EVENTS_VERSIONS, LocalRule};

pub(super) const RULES: &[LocalRule] = &[
    LocalRule {
        rule: EVENTS_INBOX,
        looks_at: &["inbox"],
        checks: &[Check {
            table: "inbox",
            sql: "SELECT format('consumer %s, event %s', consumer, event_id) AS key,
                         format('handled %s times', count(*)) AS problem
                  FROM inbox GROUP BY consumer, event_id HAVING count(*) > 1",
        }],
    },
    LocalRule {
        rule: EVENTS_HANDLED,
        looks_at: &["outbox", "inbox", "event_retries", "dead_letters"],
        checks: &[Check {
            table: "outbox",
            sql: "SELECT format('event %s', event_id) AS key,
                         format('%s of order %s, written %s: %s has neither handled it nor set it aside',
                                kind, aggregate_id, created_at, consumer) AS problem
                  FROM outbox JOIN (VALUES
                      ('order.payment-news', 'PaymentAuthorized'), ('order.payment-news', 'PaymentChallengeRequired'),
                      ('order.payment-news', 'PaymentFailed'), ('order.payment-news', 'PaymentCaptured'),
                      ('order.payment-news', 'PaymentVoided'), ('order.payment-news', 'PaymentRefunded'),
                      ('payment', 'OrderCreated'), ('payment', 'OrderClaimed'), ('payment', 'OrderCancelled')
                  ) AS hears (consumer, kind) USING (kind)
                  WHERE ($1 = 0 OR created_at < $2 - interval '60 seconds' * $1)
                    AND NOT EXISTS (SELECT FROM inbox AS done
                                    WHERE done.consumer = hears.consumer AND done.event_id = outbox.event_id)
                    AND NOT EXISTS (SELECT FROM event_retries AS retry
                                    WHERE retry.consumer = hears.consumer AND retry.event_id = outbox.event_id)
                    AND NOT EXISTS (SELECT FROM dead_letters AS letter
                                    WHERE letter.consumer = hears.consumer AND letter.event_id = outbox.event_id)",
        }],
    },
    LocalRule {
        rule: EVENTS_VERSIONS,
        looks_at: &["outbox"],
        checks: &[Check {
            table: "outbox",
            sql: "SELECT format('%s of order %s, sequence %s', topic, aggregate_id, sequence) AS key,
                         CASE WHEN before IS NULL THEN format('begins with version %s', said.version)
                              ELSE format('version %s follows version %s', said.version, before) END AS problem
                  FROM (SELECT topic, aggregate_id, sequence, aggregate_version AS version,
                               lag(aggregate_version) OVER (PARTITION BY topic, aggregate_id ORDER BY sequence) AS before
                        FROM outbox WHERE topic IN ('order_events', 'payment_events', 'shipping_events')) AS said
                  LEFT JOIN orders ON orders.order_id = aggregate_id
                  WHERE said.version <> before + 1
                     OR (before IS NULL AND said.version <> 1 AND orders.created_at > $2 - interval '3 days')",
        }],
    },
    LocalRule {
        rule: EVENTS_STATES,
        looks_at: &["orders", "payments", "outbox"],
        checks: &[
            Check {
                table: "orders",
                sql: "SELECT order_id::text AS key,
                             format('%s at version %s; its last event is %s at version %s',
                                    CASE WHEN status = 'PENDING' AND claimed_at IS NOT NULL THEN 'PENDING and claimed'
                                         ELSE status END,
                                    orders.version, coalesce(kind, 'none'), coalesce(last.version, 0)) AS problem
                      FROM orders LEFT JOIN (
                          SELECT DISTINCT ON (aggregate_id) aggregate_id AS order_id, kind, aggregate_version AS version
                          FROM outbox WHERE topic = 'order_events' ORDER BY aggregate_id, aggregate_version DESC
                      ) AS last USING (order_id)
                      WHERE (kind IS NOT NULL OR created_at > $2 - interval '3 days')
                        AND (orders.version IS DISTINCT FROM last.version OR kind IS DISTINCT FROM CASE
                            WHEN status = 'PENDING' AND claimed_at IS NULL THEN 'OrderCreated'
                            WHEN status = 'PENDING' THEN 'OrderClaimed'
                            WHEN status = 'CONFIRMED' THEN 'OrderConfirmed'
                            WHEN status = 'SHIPPED' THEN 'OrderShipped'
                            WHEN status = 'DELIVERED' THEN 'OrderDelivered'
                            WHEN status = 'CANCELLED' THEN 'OrderCancelled' END)",
            },
            Check {
                table: "payments",
                sql: "SELECT format('order %s', order_id) AS key,
                             format('%s at version %s; its last event is %s at version %s',
                                    state, payments.version, coalesce(kind, 'none'), coalesce(last.version, 0)) AS problem
                      FROM payments LEFT JOIN (
                          SELECT DISTINCT ON (aggregate_id) aggregate_id AS order_id, kind, aggregate_version AS version
                          FROM outbox WHERE topic = 'payment_events' ORDER BY aggregate_id, aggregate_version DESC
                      ) AS last USING (order_id)
                      WHERE (kind IS NOT NULL OR created_at > $2 - interval '3 days')
                        AND (payments.version <> coalesce(last.version, 0) OR NOT CASE state
                            WHEN 'to_create' THEN kind IS NULL
                            WHEN 'to_authorize' THEN kind IS NULL OR kind = 'PaymentChallengeRequired'
                            WHEN 'challenge_required' THEN kind = 'PaymentChallengeRequired'
                            WHEN 'authorized' THEN kind = 'PaymentAuthorized'
                            WHEN 'to_capture' THEN kind = 'PaymentAuthorized'
                            WHEN 'captured' THEN kind IN ('PaymentCaptured', 'RefundIssued')
                            WHEN 'declined' THEN kind = 'PaymentFailed'
                            WHEN 'voided' THEN kind = 'PaymentVoided'
                            WHEN 'abandoned' THEN kind = 'PaymentVoided'
                            WHEN 'refunded' THEN kind IN ('PaymentRefunded', 'PaymentFailed')
                            ELSE true END IS TRUE)",
            },
            Check {
                table: "outbox",
                sql: "SELECT format('order %s', aggregate_id) AS key, format('%s was said %s times', kind, count(*)) AS problem
                      FROM outbox WHERE topic IN ('order_events', 'payment_events') AND kind NOT IN ('RefundIssued', 'PaymentChallengeRequired')
                      GROUP BY aggregate_id, kind HAVING count(*) > 1",
            },
        ],
    },
];
