-- Labels end: what the carrier does not take back, a person writes off; and a label that came to nothing is looked at for a while,
-- for its parcel may have left all the same.

ALTER DOMAIN label_state DROP CONSTRAINT label_state_known;
ALTER DOMAIN label_state ADD CONSTRAINT label_state_known
    CHECK (VALUE IN ('to_buy', 'bought', 'refused', 'to_void', 'voided', 'written_off', 'sent', 'arrived'));

ALTER TABLE labels
    -- What whoever wrote it off called that, and why he did.
    ADD COLUMN write_off_key    idempotency_key,
    ADD COLUMN write_off_reason text
        CONSTRAINT labels_write_off_reason_short CHECK (char_length(write_off_reason) BETWEEN 1 AND 200),
    -- When it was seen that its parcel had left, although the label had come to nothing here.
    ADD COLUMN strayed_at       timestamptz,
    ADD CONSTRAINT labels_written_off_whole CHECK ((state = 'written_off') = (write_off_key IS NOT NULL)
        AND (write_off_key IS NULL) = (write_off_reason IS NULL)),
    ADD CONSTRAINT labels_strayed_after_its_end CHECK (strayed_at IS NULL OR state IN ('refused', 'voided', 'written_off')),
    -- While it is, the carrier is asked about it although it came to nothing. Apart from is_open: what a core of before leases is
    -- what it knows.
    ADD COLUMN is_watched boolean NOT NULL GENERATED ALWAYS AS
        (state IN ('refused', 'voided', 'written_off') AND reference IS NOT NULL AND strayed_at IS NULL) STORED;
CREATE INDEX labels_watched ON labels (next_attempt_at) WHERE is_watched;
-- Of the past only what is not past watching.
UPDATE labels SET next_attempt_at = shard_now() + interval '100 years'
WHERE state IN ('refused', 'voided') AND changed_at < shard_now() - interval '30 days';

ALTER TABLE desk_actions DROP CONSTRAINT desk_actions_action_known,
    ADD CONSTRAINT desk_actions_action_known CHECK (action IN (
        'ship', 'deliver', 'cancel', 'refund', 'return', 'inspect', 'release', 'resend', 'replay', 'skip', 'write_off'));
