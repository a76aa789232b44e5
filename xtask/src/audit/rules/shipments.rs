//! Parcels and returns against the orders whose units they hold.

use super::{Check, LocalRule, RETURNS_UNITS, SHIPMENTS_LABELS, SHIPMENTS_STATES, SHIPMENTS_UNITS};

pub(super) const RULES: &[LocalRule] = &[
    LocalRule {
        rule: SHIPMENTS_UNITS,
        looks_at: &["sent_units", "shipment_lines"],
        checks: &[
            Check {
                table: "sent_units",
                sql: "SELECT format('order %s, %s', order_id, sku) AS key,
                             format('%s of %s are said to have left; its parcels hold %s, and %s were ordered',
                                    coalesce(sent::text, 'none'), coalesce(ordered::text, 'none'),
                                    coalesce(packed::text, 'none'), coalesce(quantity::text, 'none')) AS problem
                      FROM sent_units
                      FULL JOIN (SELECT order_id, sku, sum(units) AS packed
                                 FROM shipment_lines JOIN shipments USING (shipment_id) GROUP BY order_id, sku) AS parcels
                          USING (order_id, sku)
                      LEFT JOIN line_items USING (order_id, sku)
                      WHERE coalesce(sent, 0) <> coalesce(packed, 0) OR ordered IS DISTINCT FROM quantity",
            },
            Check {
                table: "shipments",
                sql: "SELECT shipment_id::text AS key, format('a parcel of order %s that holds nothing', order_id) AS problem
                      FROM shipments
                      WHERE NOT EXISTS (SELECT FROM shipment_lines WHERE shipment_lines.shipment_id = shipments.shipment_id)",
            },
        ],
    },
    LocalRule {
        rule: RETURNS_UNITS,
        looks_at: &["sent_units", "returns", "return_lines"],
        checks: &[
            Check {
                table: "sent_units",
                sql: "SELECT format('order %s, %s', order_id, sku) AS key,
                             format('%s of %s that left are said to have come back; its returns hold %s',
                                    coalesce(returned::text, 'none'), coalesce(sent::text, 'none'),
                                    coalesce(came::text, 'none')) AS problem
                      FROM sent_units
                      FULL JOIN (SELECT order_id, sku, sum(units) AS came
                                 FROM return_lines JOIN returns USING (return_id) GROUP BY order_id, sku) AS back
                          USING (order_id, sku)
                      WHERE coalesce(returned, 0) <> coalesce(came, 0) OR returned > sent",
            },
            Check {
                table: "return_lines",
                sql: "SELECT format('return %s, %s', return_id, line.sku) AS key,
                             format('%s came back, %s lost, inspected %s; in the ledger %s and %s', line.units,
                                    coalesce(written_off, 0), coalesce(inspected_at::text, 'never'),
                                    coalesce(came.units, 0), coalesce(lost.units, 0)) AS problem
                      FROM return_lines AS line JOIN returns USING (return_id)
                      LEFT JOIN ledger AS came ON came.ref = format('return %s, %s', return_id, line.sku)
                      LEFT JOIN ledger AS lost ON lost.ref = format('return %s, %s, lost', return_id, line.sku)
                      WHERE (inspected_at IS NULL) <> (restocked IS NULL)
                         OR coalesce(came.units, 0) <> CASE WHEN inspected_at IS NULL THEN 0 ELSE line.units END
                         OR coalesce(lost.units, 0) <> -coalesce(written_off, 0)",
            },
        ],
    },
    LocalRule {
        rule: SHIPMENTS_STATES,
        looks_at: &["orders", "shipments"],
        checks: &[Check {
            table: "orders",
            sql: "SELECT order_id::text AS key,
                         format('%s, with %s parcels, %s of them arrived, and %s units that have not left',
                                status, coalesce(parcels, 0), coalesce(arrived, 0), coalesce(units_left, 0)) AS problem
                  FROM orders
                  LEFT JOIN (SELECT order_id, count(*) AS parcels, count(delivered_at) AS arrived
                             FROM shipments GROUP BY order_id) AS sent USING (order_id)
                  LEFT JOIN (SELECT order_id, sum(ordered - sent) AS units_left FROM sent_units GROUP BY order_id)
                      AS rest USING (order_id)
                  WHERE CASE WHEN parcels IS NULL THEN status IN ('SHIPPED', 'DELIVERED')
                             WHEN parcels = arrived AND units_left = 0 THEN status <> 'DELIVERED'
                             ELSE status <> 'SHIPPED' END",
        }],
    },
    LocalRule {
        rule: SHIPMENTS_LABELS,
        looks_at: &["labels", "label_lines"],
        checks: &[
            Check {
                table: "sent_units",
                sql: "SELECT format('order %s, %s', order_id, sku) AS key,
                             format('%s are kept for labels; those that are live hold %s',
                                    coalesce(labelled::text, 'none'), coalesce(under::text, 'none')) AS problem
                      FROM sent_units
                      FULL JOIN (SELECT order_id, sku, sum(units) AS under
                                 FROM label_lines JOIN labels USING (shipment_id) WHERE is_live GROUP BY order_id, sku) AS live
                          USING (order_id, sku)
                      WHERE coalesce(labelled, 0) <> coalesce(under, 0)",
            },
            Check {
                table: "labels",
                sql: "SELECT labels.shipment_id::text AS key,
                             format('a label that is %s, of an order that is %s; its parcel is %s', state, status,
                                    CASE WHEN sent_at IS NULL THEN 'not there' ELSE 'there' END) AS problem
                      FROM labels JOIN orders USING (order_id)
                      LEFT JOIN shipments ON shipments.shipment_id = labels.shipment_id
                          AND shipments.order_id = labels.order_id AND shipments.tracking_code = labels.tracking_code
                      WHERE (state IN ('sent', 'arrived')) <> (sent_at IS NOT NULL)
                         OR is_live AND status NOT IN ('CONFIRMED', 'SHIPPED')
                         OR NOT EXISTS (SELECT FROM label_lines WHERE label_lines.shipment_id = labels.shipment_id)",
            },
        ],
    },
];
