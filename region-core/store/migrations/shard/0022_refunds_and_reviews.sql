-- Reviews of orders that ended while they waited: a shopper withdrew one, or it lapsed before anybody decided.
ALTER TABLE order_reviews DROP CONSTRAINT order_reviews_decision_known,
    ADD CONSTRAINT order_reviews_decision_known CHECK (decision IN ('released', 'refused', 'withdrawn', 'lapsed'));

-- Who ended these was not written down.
UPDATE order_reviews SET decision = 'lapsed', decided_at = coalesce(orders.cancelled_at, shard_now())
FROM orders WHERE orders.order_id = order_reviews.order_id AND decision IS NULL AND status = 'CANCELLED';

-- Enters what a payment's sums moved by and nobody entered. Cores from 0011 on enter it in the statement that moves them, which
-- this finds done; older ones, which run beside them for as long as an upgrade takes, know of no ledger. They give back only
-- what is left of a payment, so what is missing is a capture, or a refund without a part's name.
CREATE FUNCTION enter_moved_money() RETURNS trigger
LANGUAGE plpgsql AS $$
BEGIN
    INSERT INTO money_entries (payment_id, cause, order_id, debit, credit, amount_minor, currency)
    SELECT NEW.payment_id, cause, NEW.order_id, debit, credit, minor, NEW.currency
    FROM (SELECT coalesce(sum(amount_minor) FILTER (WHERE debit = 'provider'), 0) AS captured,
                 coalesce(sum(amount_minor) FILTER (WHERE credit = 'provider'), 0) AS refunded
          FROM money_entries WHERE payment_id = NEW.payment_id) AS entered
    CROSS JOIN LATERAL (VALUES
        ('capture', 'provider', 'order', NEW.captured_minor - captured),
        ('refund', 'order', 'provider', NEW.refunded_minor - refunded)
    ) AS entry (cause, debit, credit, minor)
    WHERE minor > 0;
    RETURN NULL;
END $$;
CREATE TRIGGER payments_moved_money_is_entered AFTER UPDATE ON payments FOR EACH ROW
    WHEN (NEW.captured_minor > OLD.captured_minor OR NEW.refunded_minor > OLD.refunded_minor)
    EXECUTE FUNCTION enter_moved_money();
