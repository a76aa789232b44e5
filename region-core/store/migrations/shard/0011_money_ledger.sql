-- Money and goods that go back: what moved is written down twice over, and what is asked for is set aside before it moves.

CREATE DOMAIN money_account AS text CONSTRAINT money_account_known CHECK (VALUE IN ('provider', 'order'));
CREATE DOMAIN some_minor_units AS bigint CONSTRAINT some_minor_units_positive CHECK (VALUE > 0);
CREATE DOMAIN refund_state AS text
    CONSTRAINT refund_state_known CHECK (VALUE IN ('to_refund', 'refunded', 'refused'));

-- Money, entry by entry: written by the statement that moves the payment's sums, and only ever added to. Captures debit
-- `provider` (who owes it to us) and credit `order`; what goes back does the reverse. No foreign keys: captures are many, and
-- the audit looks for entries without their payment.
CREATE TABLE money_entries (
    payment_id   uuid NOT NULL,
    -- The effect at the provider: `capture`, `refund` (whatever is left, of a cancelled order), or `refund ` and a refund's id.
    cause        text NOT NULL,
    order_id     uuid NOT NULL,
    debit        money_account NOT NULL,
    credit       money_account NOT NULL,
    amount_minor some_minor_units NOT NULL,
    currency     currency_code NOT NULL,
    created_at   timestamptz NOT NULL DEFAULT shard_now(),
    CONSTRAINT money_entries_once_a_cause PRIMARY KEY (payment_id, cause),
    CONSTRAINT money_entries_from_one_to_another CHECK (debit <> credit)
);

CREATE FUNCTION only_added_to() RETURNS trigger
LANGUAGE plpgsql AS $$
BEGIN
    RAISE EXCEPTION '% is only ever added to', TG_TABLE_NAME USING ERRCODE = 'integrity_constraint_violation';
END $$;
CREATE TRIGGER money_entries_only_added_to BEFORE UPDATE OR DELETE OR TRUNCATE ON money_entries
    FOR EACH STATEMENT EXECUTE FUNCTION only_added_to();

-- What moved before there was a ledger.
INSERT INTO money_entries (payment_id, cause, order_id, debit, credit, amount_minor, currency)
SELECT payment_id, 'capture', order_id, 'provider', 'order', captured_minor, currency FROM payments WHERE captured_minor > 0
UNION ALL
SELECT payment_id, 'refund', order_id, 'order', 'provider', refunded_minor, currency FROM payments WHERE refunded_minor > 0;

-- Set aside for refunds that are asked for: never more than was captured goes back, however many are asked for at once.
ALTER TABLE payments
    ADD COLUMN refunding_minor minor_units NOT NULL DEFAULT 0,
    DROP CONSTRAINT payments_refunded_at_most_captured,
    ADD CONSTRAINT payments_refunded_at_most_captured
        CHECK (refunded_minor >= 0 AND refunded_minor + refunding_minor <= captured_minor);

-- Parts of a payment that who keeps the store gives back. The provider knows each by `refund_id`, which is committed before it
-- is asked; a repeat of what was asked here finds the same row.
CREATE TABLE refunds (
    refund_id       uuid PRIMARY KEY,
    order_id        uuid NOT NULL REFERENCES orders,
    payment_id      uuid NOT NULL REFERENCES payments,
    provider        text NOT NULL,
    key             idempotency_key NOT NULL,
    request_hash    sha256_digest NOT NULL,
    currency        currency_code NOT NULL,
    amount_minor    some_minor_units NOT NULL,
    -- The shopper reads it.
    reason          text NOT NULL CONSTRAINT refunds_reason_short CHECK (char_length(reason) BETWEEN 1 AND 200),
    state           refund_state NOT NULL DEFAULT 'to_refund',
    -- Leases taken; counted before the call, so that a crash after it counts, and each result names its own.
    attempts        attempt_count NOT NULL DEFAULT 0,
    next_attempt_at timestamptz NOT NULL DEFAULT shard_now(),
    leased_until    timestamptz,
    last_error      text,
    created_at      timestamptz NOT NULL DEFAULT shard_now(),
    -- When it came into its state.
    changed_at      timestamptz NOT NULL DEFAULT shard_now(),
    -- Changes once in a row's life; see 0005 for why conditions of indexes are columns.
    is_open         boolean NOT NULL GENERATED ALWAYS AS (state = 'to_refund') STORED,
    CONSTRAINT refunds_key_once UNIQUE (order_id, key),
    CONSTRAINT refunds_refused_says_why CHECK (state <> 'refused' OR last_error IS NOT NULL)
);
CREATE INDEX refunds_open ON refunds (created_at) WHERE is_open;

-- Goods that come back. Units are counted against what had left when their return is registered, and go into the stock's
-- ledger when somebody has looked at them.
ALTER TABLE sent_units
    ADD COLUMN returned unit_count NOT NULL DEFAULT 0,
    ADD CONSTRAINT sent_units_returned_at_most_sent CHECK (returned <= sent);

CREATE TABLE returns (
    return_id     uuid PRIMARY KEY,
    order_id      uuid NOT NULL REFERENCES orders,
    -- What the sender called this return: a repeat finds it instead of registering another.
    key           idempotency_key NOT NULL,
    request_hash  sha256_digest NOT NULL,
    reason        text NOT NULL CONSTRAINT returns_reason_short CHECK (char_length(reason) BETWEEN 1 AND 200),
    registered_at timestamptz NOT NULL DEFAULT shard_now(),
    inspected_at  timestamptz,
    CONSTRAINT returns_key_once UNIQUE (order_id, key),
    CONSTRAINT returns_inspected_after_registered CHECK (inspected_at >= registered_at)
);

CREATE TABLE return_lines (
    return_id   uuid NOT NULL REFERENCES returns,
    sku         text NOT NULL,
    units       some_units NOT NULL,
    -- Units for sale again, and units that are not; unknown until somebody has looked at them.
    restocked   unit_count,
    written_off unit_count,
    PRIMARY KEY (return_id, sku),
    CONSTRAINT return_lines_every_unit_decided CHECK (
        (restocked IS NULL) = (written_off IS NULL) AND coalesce(restocked + written_off, units) = units)
);

ALTER TABLE desk_actions
    DROP CONSTRAINT desk_actions_action_known,
    ADD CONSTRAINT desk_actions_action_known
        CHECK (action IN ('ship', 'deliver', 'cancel', 'refund', 'return', 'inspect'));
