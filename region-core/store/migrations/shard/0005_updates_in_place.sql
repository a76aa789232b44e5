-- Rows that move through their states in place. An update that changes no indexed value writes no index and its old version
-- goes with the page's next visit (Postgres' heap-only tuples), but only if the page has room, and a partial index's condition
-- counts as indexed. So conditions are columns of their own, which change once in a row's life, and pages keep room.

-- A payment takes four steps to its end. By state and due time, all its indexes were written at each of them, and whoever
-- looked for what is due went through what earlier steps had left behind.
DROP INDEX payments_due;
ALTER TABLE payments SET (fillfactor = 50),
    ADD COLUMN is_open boolean NOT NULL GENERATED ALWAYS AS (
        state NOT IN ('captured', 'declined', 'voided', 'refunded', 'abandoned')) STORED;
CREATE INDEX payments_open ON payments (created_at) WHERE is_open;

-- An order is claimed and confirmed; it may expire until the first.
DROP INDEX orders_to_expire;
ALTER TABLE orders SET (fillfactor = 70),
    ADD COLUMN may_expire boolean NOT NULL GENERATED ALWAYS AS (status = 'PENDING' AND claimed_at IS NULL) STORED;
CREATE INDEX orders_to_expire ON orders (expires_at) WHERE may_expire;

ALTER TABLE reservations SET (fillfactor = 70);
