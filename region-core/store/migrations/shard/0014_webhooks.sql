-- What merchants' systems are to be told: one row for each event and endpoint. Endpoints stand in the control schema.

CREATE DOMAIN webhook_state AS text
    CONSTRAINT webhook_state_known CHECK (VALUE IN ('to_send', 'delivered', 'failed'));

-- Written in the transaction that enters the event into the inbox, and forgotten after a month.
CREATE TABLE webhook_deliveries (
    endpoint_id     uuid NOT NULL,
    event_id        uuid NOT NULL,
    -- Absent in tests of an endpoint.
    order_id        uuid,
    event_type      text NOT NULL,
    data            jsonb NOT NULL,
    state           webhook_state NOT NULL DEFAULT 'to_send',
    -- Leases taken, ever; counted before the attempt, so that a crash in it counts.
    attempts        attempt_count NOT NULL DEFAULT 0,
    -- How many of them no longer count, since it is to be sent once more.
    forgiven        attempt_count NOT NULL DEFAULT 0,
    next_attempt_at timestamptz NOT NULL DEFAULT shard_now(),
    -- One worker at a time; a crashed worker's lease runs out.
    leased_until    timestamptz,
    -- What the last attempt came to: the HTTP status, what went wrong, and how the answer began.
    last_status     integer,
    last_error      text,
    last_answer     text CONSTRAINT webhook_deliveries_last_answer_short CHECK (char_length(last_answer) <= 1024),
    created_at      timestamptz NOT NULL DEFAULT shard_now(),
    delivered_at    timestamptz,
    -- See 0005 for why conditions of indexes are columns.
    is_open         boolean NOT NULL GENERATED ALWAYS AS (state = 'to_send') STORED,
    PRIMARY KEY (endpoint_id, event_id),
    CONSTRAINT webhook_deliveries_delivered_at_an_instant CHECK ((state = 'delivered') = (delivered_at IS NOT NULL)),
    CONSTRAINT webhook_deliveries_forgiven_at_most_all CHECK (forgiven <= attempts)
) WITH (fillfactor = 70);
-- By endpoint, so that what waits for one is not on the way to what is due for another.
CREATE INDEX webhook_deliveries_due ON webhook_deliveries (endpoint_id, next_attempt_at) WHERE is_open;
CREATE INDEX webhook_deliveries_by_age ON webhook_deliveries (created_at);
