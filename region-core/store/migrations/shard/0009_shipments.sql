-- Parcels. Units of an order leave once: however often and at once parcels are asked for, a line never sends more than was
-- ordered. None of this is on the way of a checkout, so these tables may have foreign keys.

CREATE TABLE shipments (
    shipment_id   uuid PRIMARY KEY,
    order_id      uuid NOT NULL REFERENCES orders,
    -- What the sender called this parcel: a repeat finds it instead of sending another.
    key           idempotency_key NOT NULL,
    request_hash  sha256_digest NOT NULL,
    carrier       text NOT NULL CONSTRAINT shipments_carrier_short CHECK (char_length(carrier) BETWEEN 1 AND 60),
    tracking_code text CONSTRAINT shipments_tracking_code_short CHECK (char_length(tracking_code) BETWEEN 1 AND 60),
    tracking_url  text CONSTRAINT shipments_tracking_url_is_https CHECK (tracking_url LIKE 'https://%'),
    sent_at       timestamptz NOT NULL DEFAULT shard_now(),
    delivered_at  timestamptz,
    CONSTRAINT shipments_key_once UNIQUE (order_id, key),
    CONSTRAINT shipments_delivered_after_sent CHECK (delivered_at >= sent_at)
);

CREATE TABLE shipment_lines (
    shipment_id uuid NOT NULL REFERENCES shipments,
    sku         text NOT NULL,
    units       some_units NOT NULL,
    PRIMARY KEY (shipment_id, sku)
);

-- What has left of each line of an order, from its first parcel on.
CREATE TABLE sent_units (
    order_id uuid NOT NULL REFERENCES orders,
    sku      text NOT NULL,
    ordered  some_units NOT NULL,
    sent     unit_count NOT NULL,
    PRIMARY KEY (order_id, sku),
    CONSTRAINT sent_units_at_most_ordered CHECK (sent <= ordered)
);
