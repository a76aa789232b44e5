-- What the desk has sent once more, and what it puts right.

-- A copy that the desk asked for is a notification of its own, with an event id of its own: a mail's reader takes two of one
-- Message-ID for one. It names what it is a copy of, and what its sender called it: a repeat finds it instead of another.
ALTER TABLE notifications
    ADD COLUMN copy_of  uuid,
    ADD COLUMN copy_key idempotency_key,
    ADD CONSTRAINT notifications_copy_has_a_key CHECK ((copy_of IS NULL) = (copy_key IS NULL));
CREATE UNIQUE INDEX notifications_copied_once ON notifications (copy_of, channel, copy_key) WHERE copy_of IS NOT NULL;

ALTER TABLE desk_actions DROP CONSTRAINT desk_actions_action_known,
    ADD CONSTRAINT desk_actions_action_known CHECK (action IN (
        'ship', 'deliver', 'cancel', 'refund', 'return', 'inspect', 'release', 'resend', 'replay', 'skip'));

-- What whoever reads mail at an address wants to be told beyond what his orders require: in the shard that owns the slot of the
-- address's digest, as its login is. Without a row, everything. The address itself is not kept.
CREATE TABLE mail_preferences (
    address_digest sha256_digest PRIMARY KEY,
    slot           smallint NOT NULL,
    parcels        boolean NOT NULL,
    changed_at     timestamptz NOT NULL DEFAULT shard_now()
);
CREATE INDEX mail_preferences_by_slot ON mail_preferences (slot);
ALTER DOMAIN notification_state DROP CONSTRAINT notification_state_known;
ALTER DOMAIN notification_state ADD CONSTRAINT notification_state_known
    CHECK (VALUE IN ('to_send', 'sent', 'failed', 'bounced', 'unwanted'));
