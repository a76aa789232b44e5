-- Labels that are bought from a carrier. A label is paper: its units have not left before the carrier scans it, or who keeps the
-- store says so. From then on there is a parcel of the same id in `shipments`.

CREATE DOMAIN label_state AS text CONSTRAINT label_state_known
    CHECK (VALUE IN ('to_buy', 'bought', 'refused', 'to_void', 'voided', 'sent', 'arrived'));

CREATE TABLE labels (
    -- Of the parcel that it is for, and our name for it at the carrier.
    shipment_id     uuid PRIMARY KEY,
    order_id        uuid NOT NULL REFERENCES orders,
    -- What the sender called this parcel: a repeat finds it instead of buying another.
    key             idempotency_key NOT NULL,
    request_hash    sha256_digest NOT NULL,
    -- What is bought, and for where: as the order said when it was asked for.
    service         text NOT NULL CONSTRAINT labels_service_short CHECK (char_length(service) BETWEEN 1 AND 60),
    weight_grams    integer NOT NULL CONSTRAINT labels_weight_in_range CHECK (weight_grams BETWEEN 1 AND 70000),
    destination     jsonb NOT NULL,
    state           label_state NOT NULL DEFAULT 'to_buy',
    -- The carrier's name for it. It is committed here before anything is paid under it, so that nothing is paid twice.
    reference       text,
    carrier         text CONSTRAINT labels_carrier_short CHECK (char_length(carrier) BETWEEN 1 AND 60),
    tracking_code   text CONSTRAINT labels_tracking_code_short CHECK (char_length(tracking_code) BETWEEN 1 AND 60),
    tracking_url    text CONSTRAINT labels_tracking_url_is_https CHECK (tracking_url LIKE 'https://%'),
    cost_minor      minor_units,
    cost_currency   currency_code,
    pdf             bytea CONSTRAINT labels_pdf_bounded CHECK (octet_length(pdf) <= 1048576),
    -- Where the carrier says that it is.
    way             text,
    -- Why it was refused, or could not be voided, for who keeps the store.
    problem         text,
    -- Exchanges begun; counted before, so that a crash in one counts.
    attempts        attempt_count NOT NULL DEFAULT 0,
    -- Of them, those in a row that had no result.
    failures        attempt_count NOT NULL DEFAULT 0,
    -- How often the carrier told of it: what is told during an exchange has it asked about once more.
    told            attempt_count NOT NULL DEFAULT 0,
    next_attempt_at timestamptz NOT NULL DEFAULT shard_now(),
    -- One worker at a time; a crashed worker's lease runs out.
    leased_until    timestamptz,
    created_at      timestamptz NOT NULL DEFAULT shard_now(),
    -- When it came to its state.
    changed_at      timestamptz NOT NULL DEFAULT shard_now(),
    -- While it is, its units are in no other parcel and its order is not cancelled.
    is_live         boolean NOT NULL GENERATED ALWAYS AS (state IN ('to_buy', 'bought', 'to_void')) STORED,
    -- While it is, the carrier is asked about it.
    is_open         boolean NOT NULL GENERATED ALWAYS AS (state IN ('to_buy', 'bought', 'to_void', 'sent')) STORED,
    CONSTRAINT labels_key_once UNIQUE (order_id, key),
    CONSTRAINT labels_reference_once UNIQUE (reference),
    CONSTRAINT labels_bought_whole CHECK (state NOT IN ('bought', 'sent', 'arrived')
        OR (reference IS NOT NULL AND carrier IS NOT NULL AND tracking_code IS NOT NULL AND pdf IS NOT NULL)),
    CONSTRAINT labels_cost_whole CHECK ((cost_minor IS NULL) = (cost_currency IS NULL))
);
CREATE INDEX labels_due ON labels (next_attempt_at) WHERE is_open;

CREATE TABLE label_lines (
    shipment_id uuid NOT NULL REFERENCES labels,
    sku         text NOT NULL,
    units       some_units NOT NULL,
    PRIMARY KEY (shipment_id, sku)
);

-- Units under live labels are kept for their parcels as those that have left are: a unit is in one parcel or under one label.
ALTER TABLE sent_units
    ADD COLUMN labelled unit_count NOT NULL DEFAULT 0,
    DROP CONSTRAINT sent_units_at_most_ordered,
    ADD CONSTRAINT sent_units_at_most_ordered CHECK (sent + labelled <= ordered);
