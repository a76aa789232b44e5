//! The ledger of money against the payments whose sums it explains, and refunds against both.

use super::{Check, LocalRule, MONEY_BOOKED, MONEY_REFUNDS};

pub(super) const RULES: &[LocalRule] = &[
    LocalRule {
        rule: MONEY_BOOKED,
        looks_at: &["payments", "money_entries"],
        checks: &[Check {
            table: "money_entries",
            sql: "SELECT format('order %s', order_id) AS key,
                         format('%s captured and %s refunded; its entries come to %s and %s (minor units of %s)',
                                coalesce(captured_minor::text, 'no payment: nothing'), coalesce(refunded_minor, 0),
                                coalesce(captured, 0), coalesce(refunded, 0), currency) AS problem
                  FROM payments
                  FULL JOIN (SELECT payment_id, order_id, currency,
                                    coalesce(sum(amount_minor) FILTER (WHERE debit = 'provider'), 0)::bigint AS captured,
                                    coalesce(sum(amount_minor) FILTER (WHERE credit = 'provider'), 0)::bigint AS refunded
                             FROM money_entries GROUP BY payment_id, order_id, currency) AS booked
                      USING (payment_id, order_id, currency)
                  WHERE (coalesce(captured_minor, 0), coalesce(refunded_minor, 0))
                      <> (coalesce(captured, 0), coalesce(refunded, 0))",
        }],
    },
    LocalRule {
        rule: MONEY_REFUNDS,
        looks_at: &["refunds"],
        checks: &[
            Check {
                table: "refunds",
                sql: "SELECT format('order %s, %s', coalesce(refunds.order_id, entry.order_id),
                                    coalesce(refund_id::text, cause)) AS key,
                             format('%s over %s; entered: %s', coalesce(state, 'no refund'),
                                    coalesce(refunds.amount_minor, 0),
                                    coalesce(entry.amount_minor::text, 'nothing')) AS problem
                      FROM refunds
                      FULL JOIN (SELECT * FROM money_entries WHERE cause LIKE 'refund %') AS entry
                          ON entry.payment_id = refunds.payment_id AND cause = 'refund ' || refund_id
                      WHERE (state = 'refunded') IS DISTINCT FROM (cause IS NOT NULL)
                         OR entry.amount_minor <> refunds.amount_minor",
            },
            Check {
                table: "payments",
                sql: "SELECT format('order %s', order_id) AS key,
                             format('%s: %s set aside, %s asked for', state, refunding_minor, coalesce(asked, 0)) AS problem
                      FROM payments
                      LEFT JOIN (SELECT payment_id, sum(amount_minor) AS asked FROM refunds WHERE is_open GROUP BY payment_id)
                          AS open USING (payment_id)
                      WHERE refunding_minor <> coalesce(asked, 0)",
            },
        ],
    },
];
