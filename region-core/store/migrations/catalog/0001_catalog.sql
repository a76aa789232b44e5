-- The catalog: written in one region, copied to the others by logical replication.
-- Everything replicated lives in the schemas `catalog` and `control`; migrations put no rows there, for a subscriber
-- would then be sent them a second time.

CREATE SCHEMA catalog;

-- Counts the catalog's changes. Writers take an advisory lock, so versions are in commit order.
CREATE TABLE catalog.versions (
    one_row boolean PRIMARY KEY DEFAULT true CONSTRAINT versions_one_row CHECK (one_row),
    version bigint NOT NULL,
    -- Sums of the versions of all products and of all variants, by which a copy tells that it has every row of this
    -- version: the first copying of a subscription brings each table by itself, at its own time.
    product_versions bigint NOT NULL DEFAULT 0,
    variant_versions bigint NOT NULL DEFAULT 0
);

CREATE TABLE catalog.categories (
    slug text PRIMARY KEY CONSTRAINT categories_slug_plain CHECK (slug ~ '^[a-z0-9][a-z0-9-]{0,79}$'),
    name text NOT NULL
);

CREATE TABLE catalog.products (
    product_id  uuid PRIMARY KEY,
    slug        text NOT NULL CONSTRAINT products_slug_once UNIQUE
        CONSTRAINT products_slug_plain CHECK (slug ~ '^[a-z0-9][a-z0-9-]{0,99}$'),
    title       text NOT NULL CONSTRAINT products_title_short CHECK (char_length(title) BETWEEN 1 AND 300),
    description text NOT NULL DEFAULT '',
    category    text NOT NULL REFERENCES catalog.categories,
    vendor      text,
    tags        text[] NOT NULL DEFAULT '{}',
    -- [{"name": "Size", "values": ["S", "M"]}]
    options     jsonb NOT NULL DEFAULT '[]',
    -- [{"url": "https://…", "alt": "…"}]
    images      jsonb NOT NULL DEFAULT '[]',
    -- Withdrawn products keep their rows, so that old orders can name them.
    on_sale     boolean NOT NULL DEFAULT true,
    -- The catalog's version at which this product last changed.
    version     bigint NOT NULL
);
CREATE INDEX products_by_version ON catalog.products (version);
CREATE INDEX products_by_category ON catalog.products (category, title, slug) WHERE on_sale;

CREATE TABLE catalog.variants (
    sku                    text PRIMARY KEY,
    product_id             uuid NOT NULL REFERENCES catalog.products,
    position               integer NOT NULL,
    option_values          text[] NOT NULL DEFAULT '{}',
    currency               text NOT NULL CONSTRAINT variants_currency_is_iso4217 CHECK (currency ~ '^[A-Z]{3}$'),
    -- Price of one in minor units, tax included.
    price_minor            bigint NOT NULL CONSTRAINT variants_price_counts CHECK (price_minor >= 0),
    compare_at_price_minor bigint,
    on_sale                boolean NOT NULL DEFAULT true,
    -- The catalog's version at which this variant was last written.
    version                bigint NOT NULL,
    -- Checked at commit: variants swap places within one import.
    CONSTRAINT variants_place_once UNIQUE (product_id, position) DEFERRABLE INITIALLY DEFERRED
);

-- Every price that was ever in force, so that an audit can recompute orders.
CREATE TABLE catalog.price_history (
    sku         text NOT NULL,
    -- The catalog's version from which it was in force.
    version     bigint NOT NULL,
    currency    text NOT NULL,
    -- Absent from the version at which the SKU was withdrawn.
    price_minor bigint,
    PRIMARY KEY (sku, version)
);
