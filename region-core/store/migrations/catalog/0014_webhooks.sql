-- Where merchants' systems are told of events: written in one region, copied to the others. Whoever reads this table can
-- sign as the store, as whoever reads the shards can read its orders.
CREATE TABLE control.webhook_endpoints (
    endpoint_id     uuid PRIMARY KEY,
    -- What its maker called the request: a repeat finds it instead of making another.
    created_under   text NOT NULL CONSTRAINT webhook_endpoints_key_once UNIQUE,
    request_hash    bytea NOT NULL CONSTRAINT webhook_endpoints_request_hash_is_sha256 CHECK (octet_length(request_hash) = 32),
    -- Each takes one of so many places: every event may be told to each of them, and each has attempts under way.
    place           smallint NOT NULL CONSTRAINT webhook_endpoints_place_once UNIQUE
        CONSTRAINT webhook_endpoints_at_most_32 CHECK (place BETWEEN 1 AND 32),
    url             text NOT NULL CONSTRAINT webhook_endpoints_url_is_http CHECK (url ~ '^https?://' AND char_length(url) <= 500),
    description     text NOT NULL CONSTRAINT webhook_endpoints_description_short CHECK (char_length(description) <= 200),
    -- Without a list of them here: a process leaves alone what it does not know.
    event_types     text[] NOT NULL CONSTRAINT webhook_endpoints_some_types CHECK (cardinality(event_types) BETWEEN 1 AND 32),
    state           text NOT NULL DEFAULT 'active'
        CONSTRAINT webhook_endpoints_state_known CHECK (state IN ('active', 'paused', 'disabled')),
    disabled_reason text,
    secret          bytea NOT NULL CONSTRAINT webhook_endpoints_secret_long CHECK (octet_length(secret) = 32),
    -- What the request was called that made this secret, if it is not the first.
    rotated_under   text,
    -- Signs beside the other until then.
    previous_secret bytea,
    previous_until  timestamptz,
    -- Since when every attempt anywhere has failed.
    failing_since   timestamptz,
    created_at      timestamptz NOT NULL DEFAULT now(),
    CONSTRAINT webhook_endpoints_disabled_for_a_reason CHECK ((state = 'disabled') = (disabled_reason IS NOT NULL)),
    CONSTRAINT webhook_endpoints_previous_secret_ends CHECK ((previous_secret IS NULL) = (previous_until IS NULL))
);
