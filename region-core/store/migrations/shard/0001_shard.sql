-- One shard: a Postgres server of its own that owns some slots and everything their users own.
-- Times come from shard_now() alone.

-- The shard's clock. `meridian.clock_offset` is set only in a test server's configuration, where tests turn it.
CREATE FUNCTION shard_now() RETURNS timestamptz
LANGUAGE sql VOLATILE PARALLEL SAFE
RETURN clock_timestamp() + coalesce(nullif(current_setting('meridian.clock_offset', true), ''), '0')::interval;

CREATE TABLE shard_meta (
    one_row  boolean PRIMARY KEY DEFAULT true CONSTRAINT shard_meta_one_row CHECK (one_row),
    shard_id smallint NOT NULL CONSTRAINT shard_meta_shard_id_positive CHECK (shard_id > 0),
    region   text NOT NULL,
    -- Rises at a promotion; checked by the writer and by transfers.
    term     bigint NOT NULL DEFAULT 1
);

-- The truth about slot ownership. Every write locks its slot's row FOR SHARE, so that a move's freeze waits for it.
CREATE TABLE slots (
    slot  smallint PRIMARY KEY CONSTRAINT slots_slot_in_range CHECK (slot BETWEEN 0 AND 4095),
    state text NOT NULL CONSTRAINT slots_state_known CHECK (state IN ('owner', 'frozen', 'importing', 'moved')),
    -- Rises when the slot moves.
    epoch bigint NOT NULL
);

-- Accounts ---------------------------------------------------------------------------------------------------------

CREATE TABLE users (
    user_id          bigint PRIMARY KEY CONSTRAINT users_user_id_positive CHECK (user_id > 0),
    slot             smallint GENERATED ALWAYS AS (((user_id >> 10) & 4095)::smallint) STORED,
    name             text CONSTRAINT users_name_short CHECK (char_length(name) <= 100),
    roles            text[] NOT NULL DEFAULT '{guest}',
    -- Access tokens issued under a lower epoch are refused.
    revocation_epoch integer NOT NULL DEFAULT 0 CONSTRAINT users_revocation_epoch_counts CHECK (revocation_epoch >= 0),
    created_at       timestamptz NOT NULL DEFAULT shard_now()
);

CREATE TABLE credentials (
    user_id       bigint PRIMARY KEY REFERENCES users,
    email         text NOT NULL,
    -- PHC string of Argon2id.
    password_hash text NOT NULL,
    changed_at    timestamptz NOT NULL DEFAULT shard_now(),
    -- When the login directory's row was seen active; until then the sign-up is unfinished and may be replaced.
    activated_at  timestamptz
);
CREATE INDEX credentials_pending ON credentials (changed_at) WHERE activated_at IS NULL;

-- The login directory: lives in the shard that owns the slot of the e-mail's digest. Only an active row signs in.
CREATE TABLE logins (
    email_digest   bytea PRIMARY KEY CONSTRAINT logins_digest_is_sha256 CHECK (octet_length(email_digest) = 32),
    slot           smallint NOT NULL,
    user_id        bigint NOT NULL,
    state          text NOT NULL CONSTRAINT logins_state_known CHECK (state IN ('reserved', 'active')),
    reserved_until timestamptz,
    CONSTRAINT logins_reserved_until_an_instant CHECK ((state = 'reserved') = (reserved_until IS NOT NULL))
);
CREATE INDEX logins_by_slot ON logins (slot);
CREATE INDEX logins_to_forget ON logins (reserved_until) WHERE state = 'reserved';

CREATE TABLE sessions (
    session_id    uuid PRIMARY KEY,
    user_id       bigint NOT NULL REFERENCES users,
    -- SHA-256 of the refresh token that works next, and of the one it replaced: that one may come again until its
    -- successor is used. Any other ends the session.
    refresh_hash  bytea NOT NULL CONSTRAINT sessions_refresh_is_sha256 CHECK (octet_length(refresh_hash) = 32),
    previous_hash bytea CONSTRAINT sessions_previous_is_sha256 CHECK (octet_length(previous_hash) = 32),
    expires_at    timestamptz NOT NULL,
    ended_at      timestamptz
);
CREATE INDEX sessions_by_user ON sessions (user_id);
CREATE INDEX sessions_by_expiry ON sessions (expires_at);

-- A guest whose owner signed in to an older account: one account for each guest, for good. Kept in the account's shard
-- and in the guest's, so that either can tell whose order it is; the guest's is written first and decides.
CREATE TABLE user_aliases (
    guest_id   bigint PRIMARY KEY,
    user_id    bigint NOT NULL,
    created_at timestamptz NOT NULL DEFAULT shard_now()
);
CREATE INDEX user_aliases_by_user ON user_aliases (user_id);

-- Carts ------------------------------------------------------------------------------------------------------------

CREATE TABLE carts (
    cart_id    uuid PRIMARY KEY,
    user_id    bigint NOT NULL REFERENCES users CONSTRAINT carts_one_per_user UNIQUE,
    -- Never falls, not by emptying nor by checkout.
    version    bigint NOT NULL DEFAULT 0 CONSTRAINT carts_version_counts CHECK (version >= 0),
    -- Set while a sign-in carries this guest's cart to an account; takes no operation then.
    frozen_at  timestamptz,
    changed_at timestamptz NOT NULL DEFAULT shard_now()
);

CREATE TABLE cart_lines (
    cart_id  uuid NOT NULL REFERENCES carts,
    sku      text NOT NULL,
    quantity integer NOT NULL CONSTRAINT cart_lines_quantity_in_range CHECK (quantity BETWEEN 1 AND 100000),
    -- Order of first adding.
    position bigint NOT NULL,
    PRIMARY KEY (cart_id, sku)
);

CREATE TABLE cart_operations (
    cart_id      uuid NOT NULL REFERENCES carts,
    operation_id uuid NOT NULL,
    -- The cart's version after it.
    version      bigint NOT NULL,
    applied_at   timestamptz NOT NULL DEFAULT shard_now(),
    PRIMARY KEY (cart_id, operation_id)
);
CREATE INDEX cart_operations_by_age ON cart_operations (applied_at);

-- Stock ------------------------------------------------------------------------------------------------------------

-- Units of a SKU that this shard owns. `sold` is gross: a return never lowers it.
CREATE TABLE allotments (
    sku      text PRIMARY KEY,
    free     bigint NOT NULL DEFAULT 0 CONSTRAINT allotments_not_oversold CHECK (free >= 0),
    reserved bigint NOT NULL DEFAULT 0 CONSTRAINT allotments_reserved_counts CHECK (reserved >= 0),
    sold     bigint NOT NULL DEFAULT 0 CONSTRAINT allotments_sold_counts CHECK (sold >= 0)
) WITH (fillfactor = 50);

-- The only place where the total of a SKU changes. `ref` names the cause, so that a repeat adds nothing.
CREATE TABLE ledger (
    ref        text PRIMARY KEY,
    sku        text NOT NULL,
    kind       text NOT NULL CONSTRAINT ledger_kind_known CHECK (kind IN ('supply', 'shrink', 'return')),
    -- Units in; below zero for shrink.
    units      bigint NOT NULL,
    created_at timestamptz NOT NULL DEFAULT shard_now(),
    CONSTRAINT ledger_shrink_takes_away CHECK ((kind = 'shrink') = (units < 0) AND units <> 0)
);
CREATE INDEX ledger_by_sku ON ledger (sku);

-- Orders -----------------------------------------------------------------------------------------------------------

CREATE TABLE orders (
    order_id         uuid PRIMARY KEY,
    user_id          bigint NOT NULL REFERENCES users,
    status           text NOT NULL DEFAULT 'PENDING'
        CONSTRAINT orders_status_known CHECK (status IN ('PENDING', 'CONFIRMED', 'SHIPPED', 'DELIVERED', 'CANCELLED')),
    -- Set when its units were claimed for a payment; from then on it cannot expire.
    claimed_at       timestamptz,
    cancel_reason    text,
    -- Where its payment stands, as last heard.
    payment          text NOT NULL DEFAULT 'processing' CONSTRAINT orders_payment_known
        CHECK (payment IN ('processing', 'challenge_required', 'captured', 'declined', 'voided', 'refunded')),
    payment_token    text NOT NULL,
    currency         text NOT NULL CONSTRAINT orders_currency_is_iso4217 CHECK (currency ~ '^[A-Z]{3}$'),
    subtotal_minor   bigint NOT NULL CONSTRAINT orders_subtotal_counts CHECK (subtotal_minor >= 0),
    shipping_minor   bigint NOT NULL CONSTRAINT orders_shipping_counts CHECK (shipping_minor >= 0),
    total_minor      bigint NOT NULL,
    catalog_version  bigint NOT NULL,
    shipping_address jsonb NOT NULL,
    email            text,
    -- Rises with every change of status or claim; the version of the events it writes.
    version          bigint NOT NULL DEFAULT 1,
    created_at       timestamptz NOT NULL DEFAULT shard_now(),
    expires_at       timestamptz NOT NULL,
    CONSTRAINT orders_total_adds_up CHECK (total_minor = subtotal_minor + shipping_minor),
    CONSTRAINT orders_confirmed_was_claimed CHECK (status NOT IN ('CONFIRMED', 'SHIPPED', 'DELIVERED') OR claimed_at IS NOT NULL),
    CONSTRAINT orders_cancelled_says_why CHECK ((status = 'CANCELLED') = (cancel_reason IS NOT NULL))
);
CREATE INDEX orders_by_user ON orders (user_id, order_id DESC);
CREATE INDEX orders_to_expire ON orders (expires_at) WHERE status = 'PENDING' AND claimed_at IS NULL;

CREATE TABLE line_items (
    order_id         uuid NOT NULL REFERENCES orders,
    sku              text NOT NULL,
    title            text NOT NULL,
    quantity         integer NOT NULL CONSTRAINT line_items_quantity_in_range CHECK (quantity BETWEEN 1 AND 100000),
    unit_price_minor bigint NOT NULL CONSTRAINT line_items_unit_price_counts CHECK (unit_price_minor >= 0),
    PRIMARY KEY (order_id, sku)
);

-- Units held for an order. Decided by one compare-and-set on the order's row, never by themselves.
CREATE TABLE reservations (
    order_id uuid NOT NULL REFERENCES orders,
    sku      text NOT NULL REFERENCES allotments,
    units    bigint NOT NULL CONSTRAINT reservations_units_count CHECK (units > 0),
    state    text NOT NULL DEFAULT 'held' CONSTRAINT reservations_state_known CHECK (state IN ('held', 'claimed', 'released')),
    PRIMARY KEY (order_id, sku)
);

-- Accepted orders by the client's key. Refusals leave no trace and are decided anew.
CREATE TABLE idempotency_records (
    user_id      bigint NOT NULL,
    key          text NOT NULL CONSTRAINT idempotency_records_key_short CHECK (char_length(key) BETWEEN 1 AND 255),
    request_hash bytea NOT NULL CONSTRAINT idempotency_records_hash_is_sha256 CHECK (octet_length(request_hash) = 32),
    order_id     uuid NOT NULL,
    created_at   timestamptz NOT NULL DEFAULT shard_now(),
    PRIMARY KEY (user_id, key)
);

-- Events -----------------------------------------------------------------------------------------------------------

-- Written in the transaction that makes the event true. Sequence numbers become visible out of order, so readers go by
-- transaction: everything below pg_snapshot_xmin is complete, and what became so since the last look is one window. Within
-- a window they go by sequence, drawn under the lock of the order's row. From window to window transaction ids decide, so
-- this is required of writers: the transaction that says an event locks the order's row first, with SELECT FOR UPDATE and
-- before it has an id (an UPDATE takes its id before it waits), or says only what was decided on a state that was
-- committed before it took its id. One that took its id, waited for the row and then spoke regardless could be read first.
CREATE TABLE outbox (
    sequence          bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    transaction_id    bigint NOT NULL DEFAULT (pg_current_xact_id()::text::bigint),
    event_id          uuid NOT NULL CONSTRAINT outbox_event_id_once UNIQUE,
    topic             text NOT NULL CONSTRAINT outbox_topic_known
        CHECK (topic IN ('order_events', 'inventory_events', 'payment_events', 'shipping_events')),
    kind              text NOT NULL,
    -- The order it is about, and the version of what it tells (of the order or of its payment).
    aggregate_id      uuid NOT NULL,
    aggregate_version bigint NOT NULL,
    payload           jsonb NOT NULL,
    traceparent       text,
    created_at        timestamptz NOT NULL DEFAULT shard_now()
);
CREATE INDEX outbox_by_transaction ON outbox (transaction_id, sequence);

-- How far each consumer has read; its row lock is the lease that lets one process read at a time. The window is what
-- was complete when it was opened: transactions from settled_before up to (not with) window_before.
CREATE TABLE consumer_cursors (
    consumer       text PRIMARY KEY,
    settled_before bigint NOT NULL DEFAULT 0,
    window_before  bigint NOT NULL DEFAULT 0,
    -- Last sequence handled in the window, and the window's last: equal when it is done.
    sequence       bigint NOT NULL DEFAULT 0,
    window_last    bigint NOT NULL DEFAULT 0,
    CONSTRAINT consumer_cursors_window_forward CHECK (settled_before <= window_before AND sequence <= window_last)
);

-- What a consumer has already done: a repeat has no effect.
CREATE TABLE inbox (
    consumer   text NOT NULL,
    event_id   uuid NOT NULL,
    handled_at timestamptz NOT NULL DEFAULT shard_now(),
    PRIMARY KEY (consumer, event_id)
);
CREATE INDEX inbox_by_age ON inbox (handled_at);

-- Events that failed and wait for another attempt, and those of the same order that wait behind them (attempts = 0).
CREATE TABLE event_retries (
    consumer        text NOT NULL,
    event_id        uuid NOT NULL,
    aggregate_id    uuid NOT NULL,
    sequence        bigint NOT NULL,
    attempts        integer NOT NULL CONSTRAINT event_retries_attempts_count CHECK (attempts >= 0),
    cause           text,
    next_attempt_at timestamptz NOT NULL,
    PRIMARY KEY (consumer, event_id)
);
CREATE INDEX event_retries_by_aggregate ON event_retries (consumer, aggregate_id, sequence);

-- Given up: what failed too often, and later events of the same order, parked behind it.
CREATE TABLE dead_letters (
    consumer     text NOT NULL,
    event_id     uuid NOT NULL,
    aggregate_id uuid NOT NULL,
    sequence     bigint NOT NULL,
    attempts     integer NOT NULL,
    -- True if it was never tried because an earlier event of its order lies here.
    parked       boolean NOT NULL DEFAULT false,
    cause        text NOT NULL,
    died_at      timestamptz NOT NULL DEFAULT shard_now(),
    PRIMARY KEY (consumer, event_id)
);
CREATE INDEX dead_letters_by_aggregate ON dead_letters (consumer, aggregate_id, sequence);

-- Payments ---------------------------------------------------------------------------------------------------------

-- One payment an order. The provider knows it by `payment_id`; money moves only once `provider_reference` is committed.
CREATE TABLE payments (
    payment_id         uuid PRIMARY KEY,
    order_id           uuid NOT NULL REFERENCES orders CONSTRAINT payments_one_per_order UNIQUE,
    provider           text NOT NULL,
    provider_reference text CONSTRAINT payments_reference_once UNIQUE,
    -- The provider's question to the shopper, while or after it was asked.
    challenge_id       text,
    payment_token      text NOT NULL,
    currency           text NOT NULL,
    amount_minor       bigint NOT NULL CONSTRAINT payments_amount_counts CHECK (amount_minor >= 0),
    captured_minor     bigint NOT NULL DEFAULT 0,
    refunded_minor     bigint NOT NULL DEFAULT 0,
    -- What is to be done next, or that nothing is.
    state              text NOT NULL CONSTRAINT payments_state_known CHECK (state IN (
        'to_create', 'to_authorize', 'challenge_required', 'to_confirm', 'authorized', 'to_capture', 'captured',
        'declined', 'to_void', 'voided', 'to_refund', 'refunded', 'abandoned')),
    -- Leases taken for this state; counted before the call, so that a crash after it counts, and each result names its own.
    attempts           integer NOT NULL DEFAULT 0,
    next_attempt_at    timestamptz NOT NULL DEFAULT shard_now(),
    -- One worker at a time; a crashed worker's lease runs out.
    leased_until       timestamptz,
    last_error         text,
    -- Counts the events it writes, from 1 without gaps.
    version            bigint NOT NULL DEFAULT 0,
    created_at         timestamptz NOT NULL DEFAULT shard_now(),
    -- When it came into its state.
    changed_at         timestamptz NOT NULL DEFAULT shard_now(),
    CONSTRAINT payments_reference_before_money CHECK (
        provider_reference IS NOT NULL OR state IN ('to_create', 'declined', 'abandoned')),
    CONSTRAINT payments_captured_at_most_the_amount CHECK (captured_minor IN (0, amount_minor)),
    CONSTRAINT payments_refunded_at_most_captured CHECK (refunded_minor BETWEEN 0 AND captured_minor)
);
CREATE INDEX payments_due ON payments (next_attempt_at)
    WHERE state IN ('to_create', 'to_authorize', 'to_confirm', 'to_capture', 'to_void', 'to_refund');
