//! Allotments against the reservations that they are made of.

use super::{Check, LocalRule, STOCK_ABOVE_ZERO, STOCK_RESERVED, STOCK_SOLD};

pub(super) const RULES: &[LocalRule] = &[
    LocalRule {
        rule: STOCK_ABOVE_ZERO,
        looks_at: &["allotments"],
        checks: &[Check {
            table: "allotments",
            sql: "SELECT sku AS key, format('%s free, %s reserved, %s sold', free, reserved, sold) AS problem
                  FROM allotments WHERE least(free, reserved, sold) < 0",
        }],
    },
    LocalRule {
        rule: STOCK_RESERVED,
        looks_at: &["allotments", "reservations"],
        checks: &[Check {
            table: "allotments",
            sql: "SELECT sku AS key,
                         format('%s reserved, %s held for orders', coalesce(reserved, 0), coalesce(held, 0)) AS problem
                  FROM allotments
                  FULL JOIN (SELECT sku, sum(units) AS held FROM reservations WHERE state = 'held' GROUP BY sku) AS orders
                      USING (sku)
                  WHERE coalesce(reserved, 0) <> coalesce(held, 0)",
        }],
    },
    LocalRule {
        rule: STOCK_SOLD,
        looks_at: &["allotments", "reservations"],
        checks: &[Check {
            table: "allotments",
            sql: "SELECT sku AS key,
                         format('%s sold, %s claimed by orders', coalesce(sold, 0), coalesce(claimed, 0)) AS problem
                  FROM allotments
                  FULL JOIN (SELECT sku, sum(units) AS claimed FROM reservations WHERE state = 'claimed' GROUP BY sku) AS orders
                      USING (sku)
                  WHERE coalesce(sold, 0) <> coalesce(claimed, 0)",
        }],
    },
];
