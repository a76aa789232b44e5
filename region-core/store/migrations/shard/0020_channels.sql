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
CREATE DOMAIN phone_number AS text CONSTRAINT phone_number_is_e164 CHECK (VALUE ~ '^\+[1-9][0-9]{6,14}$');
ALTER TABLE orders ADD COLUMN phone phone_number;
