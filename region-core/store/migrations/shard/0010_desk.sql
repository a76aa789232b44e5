-- What the order desk looks for and writes down.

-- When an order was paid, ended, and when its payment last moved: columns of updates that happen anyway.
ALTER TABLE orders
    ADD COLUMN confirmed_at timestamptz,
    ADD COLUMN cancelled_at timestamptz,
    ADD COLUMN payment_at   timestamptz;

-- The desk looks for a shopper by his address. It never changes, so updates in place stay so.
CREATE INDEX orders_by_email ON orders (email, order_id DESC) WHERE email IS NOT NULL;

-- Who of the store did what to an order; only ever added to.
CREATE TABLE desk_actions (
    action_id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    order_id  uuid NOT NULL REFERENCES orders,
    actor     bigint NOT NULL CONSTRAINT desk_actions_actor_positive CHECK (actor > 0),
    action    text NOT NULL CONSTRAINT desk_actions_action_known CHECK (action IN ('ship', 'deliver', 'cancel')),
    detail    text NOT NULL CONSTRAINT desk_actions_detail_short CHECK (char_length(detail) <= 500),
    at        timestamptz NOT NULL DEFAULT shard_now()
);
CREATE INDEX desk_actions_by_order ON desk_actions (order_id, action_id);
