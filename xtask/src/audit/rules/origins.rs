//! Where units lie, and what orders are assigned of them.

use super::{Check, LocalRule, STOCK_ORIGINS};

pub(super) const RULES: &[LocalRule] = &[LocalRule {
    rule: STOCK_ORIGINS,
    looks_at: &["origins", "order_origins", "parcel_origins"],
    checks: &[
        Check {
            table: "origins",
            sql: "SELECT format('%s of %s', sku, region) AS key,
                         format('%s units lie there, %s are assigned, orders have %s of them', coalesce(units::text, 'no'),
                                coalesce(assigned, 0), coalesce(planned, 0)) AS problem
                  FROM origins
                  FULL JOIN (SELECT sku, region, sum(quantity) AS planned FROM order_origins GROUP BY sku, region) AS orders
                      USING (sku, region)
                  WHERE coalesce(assigned, 0) <> coalesce(planned, 0) OR coalesce(planned, 0) > coalesce(units, 0)",
        },
        Check {
            table: "origins",
            sql: "SELECT sku AS key,
                         format('%s lie in other regions, of %s in all', sum(units), coalesce(free + reserved + sold, 0)) AS problem
                  FROM origins LEFT JOIN allotments USING (sku) WHERE sku NOT IN (SELECT sku FROM origins_unknown)
                  GROUP BY sku, free, reserved, sold
                  HAVING sum(units) > coalesce(free + reserved + sold, 0)",
        },
        Check {
            table: "order_origins",
            sql: "SELECT format('order %s, %s', order_id, sku) AS key,
                         format('%s are assigned to other regions; %s were ordered, and it is %s', planned,
                                coalesce(line_items.quantity::text, 'none'), coalesce(status, 'not there')) AS problem
                  FROM (SELECT order_id, sku, sum(quantity) AS planned FROM order_origins GROUP BY order_id, sku) AS lies
                  LEFT JOIN line_items USING (order_id, sku) LEFT JOIN orders USING (order_id)
                  WHERE planned > coalesce(line_items.quantity, 0)
                     OR status IS NULL OR status NOT IN ('CONFIRMED', 'SHIPPED', 'DELIVERED')",
        },
        Check {
            table: "parcel_origins",
            sql: "SELECT shipment_id::text AS key,
                         format('said to leave from %s, but it is no parcel of order %s', region, order_id) AS problem
                  FROM parcel_origins AS said
                  WHERE NOT EXISTS (SELECT FROM shipments
                                    WHERE shipments.shipment_id = said.shipment_id AND shipments.order_id = said.order_id)
                    AND NOT EXISTS (SELECT FROM labels
                                    WHERE labels.shipment_id = said.shipment_id AND labels.order_id = said.order_id)",
        },
    ],
}];
