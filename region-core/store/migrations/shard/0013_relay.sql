-- What a bus outside of the shard needs. Nothing is written here while there is none.

-- Who carries this shard's events to it, and until when nobody else does. The relay's cursor is a consumer's, so that
-- events are kept until it has passed them.
CREATE TABLE relay_leases (
    consumer     text PRIMARY KEY REFERENCES consumer_cursors ON DELETE CASCADE,
    -- The process.
    holder       uuid NOT NULL,
    leased_until timestamptz NOT NULL
);

-- What was carried, by order: whoever is told of an event finds by it what the order said before. An index of the outbox
-- would cost every order, also where nothing is carried.
CREATE TABLE relayed_events (
    aggregate_id uuid NOT NULL,
    sequence     bigint NOT NULL,
    PRIMARY KEY (aggregate_id, sequence)
);
