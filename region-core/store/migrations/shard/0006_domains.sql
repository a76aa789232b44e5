-- Rules about a single value, as domains. A table's CHECKs are read and planned anew by every statement that writes to it; a
-- domain's are prepared once for each session. Tables keep the rules that compare columns.

CREATE DOMAIN free_units AS bigint CONSTRAINT allotments_not_oversold CHECK (VALUE >= 0);
CREATE DOMAIN unit_count AS bigint CONSTRAINT unit_count_not_negative CHECK (VALUE >= 0);
CREATE DOMAIN some_units AS bigint CONSTRAINT some_units_positive CHECK (VALUE > 0);
CREATE DOMAIN line_quantity AS integer CONSTRAINT line_quantity_in_range CHECK (VALUE BETWEEN 1 AND 100000);
CREATE DOMAIN minor_units AS bigint CONSTRAINT minor_units_not_negative CHECK (VALUE >= 0);
CREATE DOMAIN currency_code AS text
    CONSTRAINT currency_code_is_iso4217 CHECK (length(VALUE) = 3 AND VALUE COLLATE "C" BETWEEN 'AAA' AND 'ZZZ');
CREATE DOMAIN counted_version AS bigint CONSTRAINT counted_version_not_negative CHECK (VALUE >= 0);
CREATE DOMAIN idempotency_key AS text CONSTRAINT idempotency_key_short CHECK (char_length(VALUE) BETWEEN 1 AND 255);
CREATE DOMAIN sha256_digest AS bytea CONSTRAINT sha256_digest_length CHECK (octet_length(VALUE) = 32);
CREATE DOMAIN event_topic AS text CONSTRAINT event_topic_known
    CHECK (VALUE IN ('order_events', 'inventory_events', 'payment_events', 'shipping_events'));
CREATE DOMAIN order_status AS text CONSTRAINT order_status_known
    CHECK (VALUE IN ('PENDING', 'CONFIRMED', 'SHIPPED', 'DELIVERED', 'CANCELLED'));
CREATE DOMAIN order_payment AS text CONSTRAINT order_payment_known
    CHECK (VALUE IN ('processing', 'challenge_required', 'captured', 'declined', 'voided', 'refunded'));
CREATE DOMAIN reservation_state AS text CONSTRAINT reservation_state_known
    CHECK (VALUE IN ('held', 'claimed', 'released'));
CREATE DOMAIN payment_state AS text CONSTRAINT payment_state_known CHECK (VALUE IN (
    'to_create', 'to_authorize', 'challenge_required', 'to_confirm', 'authorized', 'to_capture', 'captured',
    'declined', 'to_void', 'voided', 'to_refund', 'refunded', 'abandoned'));
CREATE DOMAIN transfer_seq AS bigint CONSTRAINT transfer_seq_positive CHECK (VALUE > 0);
CREATE DOMAIN incoming_state AS text CONSTRAINT incoming_state_known CHECK (VALUE IN ('pending', 'done', 'cancelled'));
CREATE DOMAIN outgoing_state AS text CONSTRAINT outgoing_state_known CHECK (VALUE IN ('sent', 'acked', 'cancelled'));

ALTER TABLE carts
    DROP CONSTRAINT carts_version_counts,
    ALTER COLUMN version TYPE counted_version;
ALTER TABLE cart_lines
    DROP CONSTRAINT cart_lines_quantity_in_range,
    ALTER COLUMN quantity TYPE line_quantity;

ALTER TABLE allotments
    DROP CONSTRAINT allotments_not_oversold, DROP CONSTRAINT allotments_reserved_counts, DROP CONSTRAINT allotments_sold_counts,
    ALTER COLUMN free TYPE free_units, ALTER COLUMN reserved TYPE unit_count, ALTER COLUMN sold TYPE unit_count;
ALTER TABLE reservations
    DROP CONSTRAINT reservations_units_count, DROP CONSTRAINT reservations_state_known,
    ALTER COLUMN units TYPE some_units, ALTER COLUMN state TYPE reservation_state;

-- A column that another is generated from keeps its type, so the generated one is made anew.
ALTER TABLE orders DROP COLUMN may_expire;
ALTER TABLE orders
    DROP CONSTRAINT orders_status_known, DROP CONSTRAINT orders_payment_known, DROP CONSTRAINT orders_currency_is_iso4217,
    DROP CONSTRAINT orders_subtotal_counts, DROP CONSTRAINT orders_shipping_counts,
    ALTER COLUMN status TYPE order_status, ALTER COLUMN payment TYPE order_payment,
    ALTER COLUMN currency TYPE currency_code,
    ALTER COLUMN subtotal_minor TYPE minor_units, ALTER COLUMN shipping_minor TYPE minor_units,
    ADD COLUMN may_expire boolean NOT NULL GENERATED ALWAYS AS (status = 'PENDING' AND claimed_at IS NULL) STORED;
CREATE INDEX orders_to_expire ON orders (expires_at) WHERE may_expire;
ALTER TABLE line_items
    DROP CONSTRAINT line_items_quantity_in_range, DROP CONSTRAINT line_items_unit_price_counts,
    ALTER COLUMN quantity TYPE line_quantity, ALTER COLUMN unit_price_minor TYPE minor_units;
ALTER TABLE idempotency_records
    DROP CONSTRAINT idempotency_records_key_short, DROP CONSTRAINT idempotency_records_hash_is_sha256,
    ALTER COLUMN key TYPE idempotency_key, ALTER COLUMN request_hash TYPE sha256_digest;
ALTER TABLE outbox
    DROP CONSTRAINT outbox_topic_known,
    ALTER COLUMN topic TYPE event_topic;

ALTER TABLE payments DROP COLUMN is_open;
ALTER TABLE payments
    DROP CONSTRAINT payments_amount_counts, DROP CONSTRAINT payments_state_known,
    ALTER COLUMN amount_minor TYPE minor_units, ALTER COLUMN state TYPE payment_state,
    ADD COLUMN is_open boolean NOT NULL GENERATED ALWAYS AS (
        state NOT IN ('captured', 'declined', 'voided', 'refunded', 'abandoned')) STORED;
CREATE INDEX payments_open ON payments (created_at) WHERE is_open;

ALTER TABLE transfers_in
    DROP CONSTRAINT transfers_in_seq_positive, DROP CONSTRAINT transfers_in_want_counts, DROP CONSTRAINT transfers_in_units_count,
    DROP CONSTRAINT transfers_in_state_known,
    ALTER COLUMN seq TYPE transfer_seq, ALTER COLUMN want TYPE some_units, ALTER COLUMN units TYPE unit_count,
    ALTER COLUMN state TYPE incoming_state;
ALTER TABLE transfers_out
    DROP CONSTRAINT transfers_out_seq_positive, DROP CONSTRAINT transfers_out_units_count, DROP CONSTRAINT transfers_out_state_known,
    ALTER COLUMN seq TYPE transfer_seq, ALTER COLUMN units TYPE unit_count, ALTER COLUMN state TYPE outgoing_state;
