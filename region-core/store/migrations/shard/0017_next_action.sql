-- Paying on the provider's own page.

-- A column of a domain that has a constraint already would have the whole table written anew; new values are checked all the same.
CREATE DOMAIN page_url AS text;
-- The provider's page on which the shopper is to answer. Whoever has the address may pay there: only the order's owner is told it.
ALTER TABLE payments ADD COLUMN next_action_url page_url,
    ADD CONSTRAINT payments_next_action_while_asked CHECK (next_action_url IS NULL OR state = 'challenge_required') NOT VALID;
ALTER DOMAIN page_url ADD CONSTRAINT page_url_leads_to_a_page
    CHECK (char_length(VALUE) <= 5000 AND (VALUE LIKE 'https://%' OR VALUE LIKE 'http://%')) NOT VALID;

-- Cores that run beside newer ones for as long as an upgrade takes know of no page, and move its payment on all the same.
CREATE FUNCTION forget_next_action() RETURNS trigger
LANGUAGE plpgsql AS $$
BEGIN
    NEW.next_action_url := NULL;
    RETURN NEW;
END $$;
CREATE TRIGGER payments_next_action_is_forgotten BEFORE UPDATE OF state ON payments FOR EACH ROW
    WHEN (NEW.next_action_url IS NOT NULL AND NEW.state <> 'challenge_required')
    EXECUTE FUNCTION forget_next_action();
