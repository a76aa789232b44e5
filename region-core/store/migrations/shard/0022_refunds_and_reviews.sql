-- Reviews of orders that ended while they waited: a shopper withdrew one, or it lapsed before anybody decided.
ALTER TABLE order_reviews DROP CONSTRAINT order_reviews_decision_known,
    ADD CONSTRAINT order_reviews_decision_known CHECK (decision IN ('released', 'refused', 'withdrawn', 'lapsed'));

-- Who ended these was not written down.
UPDATE order_reviews SET decision = 'lapsed', decided_at = coalesce(orders.cancelled_at, shard_now())
FROM orders WHERE orders.order_id = order_reviews.order_id AND decision IS NULL AND status = 'CANCELLED';
