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
