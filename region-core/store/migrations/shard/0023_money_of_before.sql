-- What cores of before 0011 moved until money_entries was complete by itself (0022). Apart from there: nobody writes payments while
-- a trigger is made, and this takes as long as there are payments.
INSERT INTO money_entries (payment_id, cause, order_id, debit, credit, amount_minor, currency)
SELECT payment_id, cause, order_id, debit, credit, minor, currency
FROM payments CROSS JOIN LATERAL (
    SELECT coalesce(sum(amount_minor) FILTER (WHERE debit = 'provider'), 0) AS captured,
           coalesce(sum(amount_minor) FILTER (WHERE credit = 'provider'), 0) AS refunded
    FROM money_entries WHERE payment_id = payments.payment_id) AS entered
CROSS JOIN LATERAL (VALUES
    ('capture', 'provider', 'order', captured_minor - captured),
    ('refund', 'order', 'provider', refunded_minor - refunded)
) AS entry (cause, debit, credit, minor)
WHERE captured_minor > 0 AND minor > 0
ON CONFLICT DO NOTHING;
