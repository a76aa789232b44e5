-- What an order is judged by is needed until it is.
UPDATE payments SET facts = NULL
WHERE facts IS NOT NULL AND state NOT IN ('to_create', 'to_authorize', 'challenge_required', 'to_confirm');
