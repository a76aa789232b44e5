-- Where units lie. What a shard has are rights to sell; the goods stay where they were delivered until a parcel leaves. Rows stand
-- only for units that lie in another region than the shard's: whatever has no row lies here.

-- Units of this shard that lie elsewhere. Gross, as `allotments.sold` is: what has left is still counted, as assigned.
CREATE TABLE origins (
    sku      text NOT NULL,
    region   text NOT NULL CONSTRAINT origins_region_named CHECK (char_length(region) BETWEEN 1 AND 32),
    units    unit_count NOT NULL,
    -- Of them, those that an order's parcel is planned with.
    assigned unit_count NOT NULL DEFAULT 0,
    PRIMARY KEY (sku, region),
    CONSTRAINT origins_assigned_at_most_lying CHECK (assigned <= units)
);

-- Units of a paid order that lie elsewhere. Written once its payment is through, gone if it is called off.
CREATE TABLE order_origins (
    order_id uuid NOT NULL REFERENCES orders,
    sku      text NOT NULL,
    region   text NOT NULL,
    quantity some_units NOT NULL,
    PRIMARY KEY (order_id, sku, region),
    FOREIGN KEY (sku, region) REFERENCES origins
);
-- What the warehouse of a region is to send.
CREATE INDEX order_origins_by_region ON order_origins (region, order_id DESC);

-- Where a parcel leaves from, or will under its label, if who sends it said so; of the same id as those.
CREATE TABLE parcel_origins (
    shipment_id uuid PRIMARY KEY,
    order_id    uuid NOT NULL REFERENCES orders,
    region      text NOT NULL CONSTRAINT parcel_origins_region_named CHECK (char_length(region) BETWEEN 1 AND 32)
);
CREATE INDEX parcel_origins_by_order ON parcel_origins (order_id);

-- Of these units, those that lie in other regions than the donor's or the ledger's, by region. Cores of before this say nothing, and
-- whoever does says so even where there are none.
ALTER TABLE transfers_out ADD COLUMN elsewhere jsonb;
ALTER TABLE ledger ADD COLUMN elsewhere jsonb;
-- Whether it was written down where the credited units lie. Cores of before this do not say.
ALTER TABLE transfers_in ADD COLUMN placed boolean;

-- SKUs of which units moved, and it was not written down where they lie. They count as lying where the counts say, no order is
-- assigned any, and the audit does not hold them against what was delivered.
CREATE TABLE origins_unknown (sku text PRIMARY KEY);

-- For as long as an upgrade takes, cores of before this write beside those that know of it. What those leave out is made up for
-- here, or at least marked. All of it at the commit, when whoever wrote holds the locks of the allotments.

-- Whose units all lie here lends and loses those; which they were is in doubt only if others lie elsewhere.
CREATE FUNCTION note_unsaid_origins() RETURNS trigger
LANGUAGE plpgsql AS $$
BEGIN
    INSERT INTO origins_unknown
    SELECT NEW.sku WHERE EXISTS (SELECT FROM origins WHERE origins.sku = NEW.sku AND origins.units > origins.assigned)
    ON CONFLICT DO NOTHING;
    RETURN NULL;
END $$;
CREATE CONSTRAINT TRIGGER transfers_out_say_origins AFTER INSERT ON transfers_out DEFERRABLE INITIALLY DEFERRED FOR EACH ROW
    WHEN (NEW.units > 0 AND NEW.elsewhere IS NULL) EXECUTE FUNCTION note_unsaid_origins();
CREATE CONSTRAINT TRIGGER ledger_says_origins AFTER INSERT ON ledger DEFERRABLE INITIALLY DEFERRED FOR EACH ROW
    WHEN (NEW.units < 0 AND NEW.elsewhere IS NULL) EXECUTE FUNCTION note_unsaid_origins();

-- A database does not know where its peers stand: in a store of one region this marks what never matters.
CREATE FUNCTION note_unplaced_units() RETURNS trigger
LANGUAGE plpgsql AS $$
BEGIN
    INSERT INTO origins_unknown VALUES (NEW.sku) ON CONFLICT DO NOTHING;
    RETURN NULL;
END $$;
CREATE CONSTRAINT TRIGGER transfers_in_are_placed AFTER UPDATE OF state ON transfers_in DEFERRABLE INITIALLY DEFERRED FOR EACH ROW
    WHEN (OLD.state <> 'done' AND NEW.state = 'done' AND NEW.units > 0 AND NEW.placed IS NULL)
    EXECUTE FUNCTION note_unplaced_units();

-- What a donor takes back lies where it lay, whoever writes that.
CREATE FUNCTION take_back_origins() RETURNS trigger
LANGUAGE plpgsql AS $$
BEGIN
    INSERT INTO origins (sku, region, units)
    SELECT NEW.sku, lies.key, lies.value::bigint FROM jsonb_each_text(NEW.elsewhere) AS lies
    ON CONFLICT (sku, region) DO UPDATE SET units = origins.units + excluded.units;
    RETURN NULL;
END $$;
CREATE CONSTRAINT TRIGGER transfers_out_come_back AFTER UPDATE OF state ON transfers_out DEFERRABLE INITIALLY DEFERRED FOR EACH ROW
    WHEN (OLD.state = 'sent' AND NEW.state = 'cancelled' AND NEW.elsewhere <> '{}') EXECUTE FUNCTION take_back_origins();

-- An order that is called off gives back what it was assigned, whoever calls it off.
CREATE FUNCTION give_back_origins() RETURNS trigger
LANGUAGE plpgsql AS $$
BEGIN
    WITH gone AS (DELETE FROM order_origins WHERE order_id = NEW.order_id RETURNING sku, region, quantity)
    UPDATE origins SET assigned = origins.assigned - gone.quantity
    FROM gone WHERE origins.sku = gone.sku AND origins.region = gone.region;
    RETURN NULL;
END $$;
CREATE CONSTRAINT TRIGGER orders_give_back_origins AFTER UPDATE OF status ON orders DEFERRABLE INITIALLY DEFERRED FOR EACH ROW
    WHEN (OLD.status = 'CONFIRMED' AND NEW.status = 'CANCELLED') EXECUTE FUNCTION give_back_origins();

-- What had moved before. The tables are locked by now: what is not seen here, the triggers see.
INSERT INTO origins_unknown
SELECT sku FROM allotments FULL JOIN (SELECT sku, sum(units) AS units FROM ledger GROUP BY sku) AS booked USING (sku)
WHERE coalesce(free + reserved + sold, 0) <> coalesce(booked.units, 0)
UNION SELECT sku FROM transfers_in WHERE settled_at IS NULL
UNION SELECT sku FROM transfers_out WHERE state = 'sent';
