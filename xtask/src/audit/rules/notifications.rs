//! What shoppers are to be told, against what notification has heard. Whether a mail arrived only its reader knows.

use super::{Check, LocalRule, ORDERS_TOLD};

pub(super) const RULES: &[LocalRule] = &[LocalRule {
    rule: ORDERS_TOLD,
    looks_at: &["inbox", "notifications"],
    checks: &[
        Check {
            table: "notifications",
            // What was old when it was heard is no news; the consumer draws that line at two days.
            sql: "SELECT format('event %s', event_id) AS key,
                         format('%s of order %s was heard %s, and nobody is to be told', kind, order_id, handled_at) AS problem
                  FROM inbox JOIN outbox USING (event_id) JOIN orders ON orders.order_id = aggregate_id
                  WHERE consumer = 'notification' AND email IS NOT NULL
                    AND handled_at < outbox.created_at + interval '1 day'
                    AND NOT EXISTS (SELECT FROM notifications AS told WHERE told.event_id = inbox.event_id
                                      AND told.channel = 'mail')
                    -- Somebody decided that nobody is to be told.
                    AND NOT EXISTS (SELECT FROM skipped_events AS skipped
                                    WHERE skipped.consumer = inbox.consumer AND skipped.event_id = inbox.event_id)",
        },
        Check {
            table: "notifications",
            sql: "SELECT format('event %s by %s', event_id, channel) AS key,
                         format('%s, about order %s, which is not there', state, order_id) AS problem
                  FROM notifications AS told
                  WHERE NOT EXISTS (SELECT FROM orders WHERE orders.order_id = told.order_id)",
        },
    ],
}];
