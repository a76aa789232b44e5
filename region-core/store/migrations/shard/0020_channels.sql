-- What members want to be told, and the ways beside mail by which shoppers are told.

-- What a user wants to be told about his own orders beyond what they require; without a row, everything. Apart from
-- mail_preferences, which whoever reads at an address decides: a user's address need not be his, it was never proven.
CREATE TABLE user_preferences (
    user_id    bigint PRIMARY KEY,
    parcels    boolean NOT NULL,
    changed_at timestamptz NOT NULL DEFAULT shard_now()
);
