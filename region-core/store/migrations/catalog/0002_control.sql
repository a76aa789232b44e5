-- The control schema of the catalog server: the slot map and the regions' public keys. Losing it stops moves, never sales.

CREATE SCHEMA control;

CREATE TABLE control.shards (
    shard_id smallint PRIMARY KEY CONSTRAINT shards_shard_id_positive CHECK (shard_id > 0),
    region   text NOT NULL CONSTRAINT shards_region_is_a_label CHECK (region ~ '^[a-z][a-z0-9-]{0,31}$')
);

CREATE TABLE control.slot_owners (
    slot     smallint PRIMARY KEY CONSTRAINT slot_owners_slot_in_range CHECK (slot BETWEEN 0 AND 4095),
    shard_id smallint NOT NULL REFERENCES control.shards
);

CREATE TABLE control.slot_map (
    one_row boolean PRIMARY KEY DEFAULT true CONSTRAINT slot_map_one_row CHECK (one_row),
    -- Rises with every change of slot_owners.
    epoch   bigint NOT NULL
);

-- Public halves of the keys that sign access tokens. Private halves never leave their region.
CREATE TABLE control.signing_keys (
    kid        text PRIMARY KEY,
    region     text NOT NULL,
    public_key bytea NOT NULL CONSTRAINT signing_keys_is_ed25519 CHECK (octet_length(public_key) = 32),
    created_at timestamptz NOT NULL DEFAULT now(),
    -- Tokens signed with it are refused from then on.
    retired_at timestamptz
);
