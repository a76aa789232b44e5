-- Admission of many orders in one statement. The writer decides from counts that it remembers; this re-checks all that it
-- decided on and writes everything, or raises MD001 and writes nothing: the writer then reads again under locks.

-- An order, its lines, its reservations and its idempotency record are written by one function in one transaction, which
-- checks the user itself, set-wise. A foreign key would look up and lock the other row once more for every row: more than
-- half of what admission costs. The audit looks for rows without their order instead.
ALTER TABLE orders DROP CONSTRAINT orders_user_id_fkey;
ALTER TABLE line_items DROP CONSTRAINT line_items_order_id_fkey;
ALTER TABLE reservations DROP CONSTRAINT reservations_order_id_fkey, DROP CONSTRAINT reservations_sku_fkey;

-- Empties these carts, each user once, and raises their versions. False, with carts changed, if one is frozen, is at
-- another version or does not hold exactly these items: the caller's transaction must not commit then.
CREATE FUNCTION take_carts(
    cart_users bigint[], cart_versions bigint[],
    item_users bigint[], item_skus text[], item_quantities integer[]
) RETURNS boolean
LANGUAGE plpgsql AS $$
DECLARE
    carts_taken bigint;
    lines_gone  bigint;
    lines_asked bigint;
BEGIN
    WITH asked AS (
        SELECT * FROM unnest(cart_users, cart_versions) AS asked (user_id, version) ORDER BY user_id
    ), taken AS (
        UPDATE carts SET version = carts.version + 1, changed_at = shard_now(), frozen_at = NULL FROM asked
        WHERE carts.user_id = asked.user_id AND carts.version = asked.version
            AND (frozen_at IS NULL OR frozen_at <= shard_now() - interval '15 minutes')
        RETURNING carts.cart_id, carts.user_id
    ), gone AS (
        -- At an unchanged version the lines are those that the version was given for.
        DELETE FROM cart_lines USING taken WHERE cart_lines.cart_id = taken.cart_id
        RETURNING taken.user_id, sku, quantity
    )
    SELECT (SELECT count(*) FROM taken), (SELECT count(*) FROM gone),
        (SELECT count(*) FROM gone
         JOIN unnest(item_users, item_skus, item_quantities) AS item (user_id, sku, quantity) USING (user_id, sku, quantity))
    INTO carts_taken, lines_gone, lines_asked;
    RETURN carts_taken = cardinality(cart_users) AND lines_gone = cardinality(item_users) AND lines_asked = lines_gone;
END $$;

-- Admits orders: fences, idempotency records, carts, units, orders, lines, reservations and events.
--
-- Arrays of one group run in parallel: one element an order, a line, a SKU (sorted, each once, with the units that all
-- orders together take of it), a taken cart, an item of a taken cart. Raises MD001 with the check that failed as its detail.
CREATE FUNCTION admit_orders(
    hold_seconds double precision,
    order_ids uuid[], user_ids bigint[], epochs integer[], keys text[], request_hashes bytea[], payment_tokens text[],
    currencies text[], subtotals bigint[], shippings bigint[], totals bigint[], catalog_versions bigint[],
    addresses jsonb[], emails text[],
    event_topic text, event_kind text, event_ids uuid[], event_payloads jsonb[], traceparents text[],
    line_orders uuid[], line_skus text[], line_titles text[], line_quantities integer[], line_prices bigint[],
    take_skus text[], take_units bigint[],
    cart_users bigint[], cart_versions bigint[], item_users bigint[], item_skus text[], item_quantities integer[],
    OUT created_at timestamptz, OUT expires_at timestamptz
)
LANGUAGE plpgsql AS $$
#variable_conflict use_column
DECLARE
    now   timestamptz := shard_now();
    until timestamptz := now + make_interval(secs => hold_seconds);
    found bigint;
BEGIN
    -- The fence: a move's freeze takes these rows FOR UPDATE and so waits for this transaction.
    SELECT count(*) FILTER (WHERE state = 'owner') INTO found FROM (
        SELECT state FROM slots
        WHERE slot IN (SELECT ((user_id >> 10) & 4095)::smallint FROM unnest(user_ids) AS u (user_id))
        FOR SHARE
    ) AS fenced;
    IF found <> (SELECT count(DISTINCT (user_id >> 10) & 4095) FROM unnest(user_ids) AS u (user_id)) THEN
        RAISE EXCEPTION 'stale' USING ERRCODE = 'MD001', DETAIL = 'slots';
    END IF;
    SELECT count(*) INTO found FROM unnest(user_ids, epochs) AS caller (user_id, epoch)
    JOIN users ON users.user_id = caller.user_id AND users.revocation_epoch <= caller.epoch;
    IF found <> cardinality(order_ids) THEN
        RAISE EXCEPTION 'stale' USING ERRCODE = 'MD001', DETAIL = 'users';
    END IF;
    -- The keys come before everything else that is written, so that a repeat after an unknown commit waits for that
    -- commit's end on the unique index.
    INSERT INTO idempotency_records (user_id, key, request_hash, order_id, created_at)
    SELECT user_id, key, request_hash, order_id, now
    FROM unnest(user_ids, keys, request_hashes, order_ids) AS new (user_id, key, request_hash, order_id)
    ON CONFLICT (user_id, key) DO NOTHING;
    GET DIAGNOSTICS found = ROW_COUNT;
    IF found <> cardinality(order_ids) THEN
        RAISE EXCEPTION 'stale' USING ERRCODE = 'MD001', DETAIL = 'keys';
    END IF;
    IF cardinality(cart_users) > 0
        AND NOT take_carts(cart_users, cart_versions, item_users, item_skus, item_quantities) THEN
        RAISE EXCEPTION 'stale' USING ERRCODE = 'MD001', DETAIL = 'carts';
    END IF;
    -- Row by row in the order of the array, which is sorted: the order in which everybody locks allotments.
    UPDATE allotments SET free = free - units, reserved = reserved + units
    FROM unnest(take_skus, take_units) AS taken (sku, units)
    WHERE allotments.sku = taken.sku AND free >= units;
    GET DIAGNOSTICS found = ROW_COUNT;
    IF found <> cardinality(take_skus) THEN
        RAISE EXCEPTION 'stale' USING ERRCODE = 'MD001', DETAIL = 'allotments';
    END IF;
    INSERT INTO orders (order_id, user_id, payment_token, currency, subtotal_minor, shipping_minor, total_minor,
        catalog_version, shipping_address, email, created_at, expires_at)
    SELECT order_id, user_id, payment_token, currency, subtotal, shipping, total, catalog_version, address, email, now, until
    FROM unnest(order_ids, user_ids, payment_tokens, currencies, subtotals, shippings, totals, catalog_versions, addresses, emails)
        AS new (order_id, user_id, payment_token, currency, subtotal, shipping, total, catalog_version, address, email);
    INSERT INTO line_items (order_id, sku, title, quantity, unit_price_minor)
    SELECT * FROM unnest(line_orders, line_skus, line_titles, line_quantities, line_prices);
    INSERT INTO reservations (order_id, sku, units)
    SELECT * FROM unnest(line_orders, line_skus, line_quantities);
    -- The payload is the speaker's own; only the shard's clock knows until when.
    INSERT INTO outbox (event_id, topic, kind, aggregate_id, aggregate_version, payload, traceparent, created_at)
    SELECT event_id, event_topic, event_kind, order_id, 1, payload || jsonb_build_object('expires_at', until), traceparent, now
    FROM unnest(event_ids, order_ids, event_payloads, traceparents) AS new (event_id, order_id, payload, traceparent);
    created_at := now;
    expires_at := until;
END $$;
