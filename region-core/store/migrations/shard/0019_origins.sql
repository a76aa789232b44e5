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

-- Of these units, those that lie in other regions than the donor's or the ledger's, by region.
ALTER TABLE transfers_out ADD COLUMN elsewhere jsonb;
ALTER TABLE ledger ADD COLUMN elsewhere jsonb;

-- SKUs whose units had moved between shards before it was written down where they lie. They count as lying where they are now, and
-- the audit does not hold that against what was delivered.
CREATE TABLE origins_unknown (sku text PRIMARY KEY);
INSERT INTO origins_unknown
SELECT sku FROM allotments FULL JOIN (SELECT sku, sum(units) AS units FROM ledger GROUP BY sku) AS booked USING (sku)
WHERE coalesce(free + reserved + sold, 0) <> coalesce(booked.units, 0)
UNION SELECT sku FROM transfers_in WHERE settled_at IS NULL
UNION SELECT sku FROM transfers_out WHERE state = 'sent';
