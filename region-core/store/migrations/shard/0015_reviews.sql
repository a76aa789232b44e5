-- Orders that are judged before their money moves.

-- What an order is judged by. Written once, with the payment; null where orders are not judged.
ALTER TABLE payments ADD COLUMN facts jsonb;

-- Orders against which something spoke. One that waits for a person has no decision; its units stay held, and its amount is
-- kept ready, until `orders.expires_at`.
CREATE TABLE order_reviews (
    order_id   uuid PRIMARY KEY REFERENCES orders,
    score      integer NOT NULL CONSTRAINT order_reviews_score_counts CHECK (score > 0),
    reasons    text[] NOT NULL CONSTRAINT order_reviews_say_why CHECK (cardinality(reasons) BETWEEN 1 AND 20),
    asked_at   timestamptz NOT NULL DEFAULT shard_now(),
    decision   text CONSTRAINT order_reviews_decision_known CHECK (decision IN ('released', 'refused')),
    -- Absent where the rules alone refused.
    decided_by bigint CONSTRAINT order_reviews_decided_by_positive CHECK (decided_by > 0),
    decided_at timestamptz,
    CONSTRAINT order_reviews_decided_at_a_time CHECK ((decision IS NULL) = (decided_at IS NULL)),
    CONSTRAINT order_reviews_released_by_somebody CHECK (decision IS DISTINCT FROM 'released' OR decided_by IS NOT NULL)
);
ALTER TABLE desk_actions DROP CONSTRAINT desk_actions_action_known,
    ADD CONSTRAINT desk_actions_action_known CHECK (action IN ('ship', 'deliver', 'cancel', 'refund', 'return', 'inspect', 'release'));
CREATE INDEX order_reviews_open ON order_reviews (order_id DESC) WHERE decision IS NULL;
