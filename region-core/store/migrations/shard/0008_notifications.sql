-- What shoppers are to be told: one row for each event and channel. Rules about a single value are domains, as everywhere.

CREATE DOMAIN notification_channel AS text CONSTRAINT notification_channel_known CHECK (VALUE IN ('mail'));
CREATE DOMAIN notification_state AS text
    CONSTRAINT notification_state_known CHECK (VALUE IN ('to_send', 'sent', 'failed', 'bounced'));
CREATE DOMAIN attempt_count AS integer CONSTRAINT attempt_count_not_negative CHECK (VALUE >= 0);

-- Written in the transaction that enters the event into the inbox. An order without an address to write to has no rows.
CREATE TABLE notifications (
    event_id        uuid NOT NULL,
    channel         notification_channel NOT NULL,
    -- Rises as events were heard: an order's news is told in this order.
    sequence        bigint GENERATED ALWAYS AS IDENTITY,
    order_id        uuid NOT NULL,
    -- What is told. Without a list of them here: a process leaves alone what it cannot write.
    template        text NOT NULL,
    -- What the event says beyond the order.
    payload         jsonb NOT NULL,
    -- The order's address when the event was heard.
    recipient       text NOT NULL,
    -- As repeats of it can be recognised.
    message_id      text NOT NULL,
    state           notification_state NOT NULL DEFAULT 'to_send',
    -- Leases taken; counted before the attempt, so that a crash in it counts.
    attempts        attempt_count NOT NULL DEFAULT 0,
    next_attempt_at timestamptz NOT NULL DEFAULT shard_now(),
    -- One worker at a time; a crashed worker's lease runs out.
    leased_until    timestamptz,
    last_error      text,
    created_at      timestamptz NOT NULL DEFAULT shard_now(),
    sent_at         timestamptz,
    -- Changes once in a row's life; see 0005 for why conditions of indexes are columns.
    is_open         boolean NOT NULL GENERATED ALWAYS AS (state = 'to_send') STORED,
    PRIMARY KEY (event_id, channel),
    CONSTRAINT notifications_sent_at_an_instant CHECK ((state = 'sent') = (sent_at IS NOT NULL))
) WITH (fillfactor = 70);
-- By due time: while a mail server is away, thousands wait for an attempt hours ahead, and nobody is to walk past them. A
-- lease changes none of these; only an attempt that failed does.
CREATE INDEX notifications_due ON notifications (next_attempt_at) WHERE is_open;
-- An order's news, in order.
CREATE INDEX notifications_by_order ON notifications (order_id, sequence);
-- How often one address was told of a cancellation lately.
CREATE INDEX notifications_of_cancellations ON notifications (recipient, created_at) WHERE template = 'order_cancelled';
