-- What members want to be told, and the ways beside mail by which shoppers are told.

-- What a user wants to be told about his own orders beyond what they require; without a row, everything. Apart from
-- mail_preferences, which whoever reads at an address decides: a user's address need not be his, it was never proven.
CREATE TABLE user_preferences (
    user_id    bigint PRIMARY KEY,
    parcels    boolean NOT NULL,
    changed_at timestamptz NOT NULL DEFAULT shard_now()
);

ALTER DOMAIN notification_channel DROP CONSTRAINT notification_channel_known;
ALTER DOMAIN notification_channel ADD CONSTRAINT notification_channel_known CHECK (VALUE IN ('mail', 'sms', 'push'));

-- Where the shopper is texted when a parcel of the order leaves and arrives: giving it asked for that.
-- A column of a domain that has a constraint already would have the whole table written anew; new values are checked all the same.
CREATE DOMAIN phone_number AS text;
ALTER TABLE orders ADD COLUMN phone phone_number;
ALTER DOMAIN phone_number ADD CONSTRAINT phone_number_is_e164 CHECK (VALUE ~ '^\+[1-9][0-9]{6,14}$') NOT VALID;

-- Browsers that their shopper has asked to tell him of an order, by what their push service and they have said (RFC 8291).
CREATE TABLE push_subscriptions (
    order_id        uuid NOT NULL,
    -- Of the endpoint: whoever knows that may push, and it is long.
    endpoint_digest sha256_digest NOT NULL,
    -- So many browsers at most are told of one order.
    place           smallint NOT NULL CONSTRAINT push_subscriptions_few CHECK (place BETWEEN 1 AND 5),
    endpoint        text NOT NULL CONSTRAINT push_subscriptions_endpoint_fits CHECK (octet_length(endpoint) <= 2000),
    public_key      bytea NOT NULL CONSTRAINT push_subscriptions_public_key_length CHECK (octet_length(public_key) = 65),
    auth            bytea NOT NULL CONSTRAINT push_subscriptions_auth_length CHECK (octet_length(auth) = 16),
    -- The events that it was told of lately while other browsers were still to be.
    told            uuid[] NOT NULL DEFAULT '{}' CONSTRAINT push_subscriptions_told_few CHECK (cardinality(told) <= 16),
    created_at      timestamptz NOT NULL DEFAULT shard_now(),
    PRIMARY KEY (order_id, endpoint_digest),
    CONSTRAINT push_subscriptions_one_in_a_place UNIQUE (order_id, place)
);
-- They are not kept for ever.
CREATE INDEX push_subscriptions_by_age ON push_subscriptions (created_at);
