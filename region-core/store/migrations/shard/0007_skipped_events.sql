-- Events that an operator decided a consumer goes without, after it had given them up.
CREATE TABLE skipped_events (
    consumer     text NOT NULL,
    event_id     uuid NOT NULL,
    aggregate_id uuid NOT NULL,
    -- Why the consumer gave it up, and why the operator let it.
    cause        text NOT NULL,
    reason       text NOT NULL CONSTRAINT skipped_events_reason_short CHECK (char_length(reason) BETWEEN 1 AND 500),
    skipped_at   timestamptz NOT NULL DEFAULT shard_now(),
    PRIMARY KEY (consumer, event_id)
);
