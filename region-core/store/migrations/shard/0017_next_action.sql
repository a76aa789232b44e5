-- Paying on the provider's own page.

CREATE DOMAIN page_url AS text CONSTRAINT page_url_leads_to_a_page
    CHECK (char_length(VALUE) <= 5000 AND (VALUE LIKE 'https://%' OR VALUE LIKE 'http://%'));
-- The provider's page on which the shopper is to answer. Whoever has the address may pay there: only the order's owner is told it.
ALTER TABLE payments ADD COLUMN next_action_url page_url,
    ADD CONSTRAINT payments_next_action_while_asked CHECK (next_action_url IS NULL OR state = 'challenge_required');
