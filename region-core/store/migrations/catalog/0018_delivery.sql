-- What delivery costs, and what goods weigh.

ALTER TABLE catalog.variants ADD COLUMN weight_grams integer NOT NULL DEFAULT 0
    CONSTRAINT variants_weight_in_range CHECK (weight_grams BETWEEN 0 AND 10000000);

-- The catalog's version of the newest delivery table, by which a copy tells that it has that table; 0 before the first.
ALTER TABLE catalog.versions ADD COLUMN delivery_version bigint NOT NULL DEFAULT 0
    CONSTRAINT versions_delivery_version_counts CHECK (delivery_version BETWEEN 0 AND version);

CREATE FUNCTION catalog.countries_stand_once(zones jsonb) RETURNS boolean LANGUAGE sql IMMUTABLE
RETURN (
    SELECT count(*) = count(DISTINCT country)
    FROM jsonb_array_elements(zones) AS zone, jsonb_array_elements_text(zone -> 'countries') AS country
);

-- Every delivery table that was ever in force, each whole in one row, so that an audit can recompute orders.
CREATE TABLE catalog.delivery_tables (
    -- The catalog's version from which it was in force.
    version  bigint PRIMARY KEY CONSTRAINT delivery_tables_version_counts CHECK (version > 0),
    currency text NOT NULL CONSTRAINT delivery_tables_currency_is_iso4217 CHECK (currency ~ '^[A-Z]{3}$'),
    -- [{"name": "uk", "countries": ["GB"], "options": [{"id": "standard", "name": "Standard", "days": {"from": 2, "to": 4},
    -- "service": "Standard", "free_from_minor": 5000, "bands": [{"up_to_grams": 2000, "price_minor": 395}]}]}]
    zones    jsonb NOT NULL
        CONSTRAINT delivery_tables_zones_are_a_list CHECK (jsonb_typeof(zones) = 'array')
        CONSTRAINT delivery_tables_country_in_one_zone CHECK (catalog.countries_stand_once(zones))
);
