-- How an order is delivered, as its shopper chose it: {"id", "name", "days": {"from", "to"}, "service", "weight_grams"}; its
-- price is `shipping_minor`. Null where there was no choice: delivery is free then.
-- A column of a domain that has a constraint already would have the whole table written anew; new values are checked all the same.
CREATE DOMAIN order_delivery AS jsonb;
ALTER TABLE orders ADD COLUMN delivery order_delivery,
    ADD CONSTRAINT orders_paid_delivery_was_chosen CHECK (shipping_minor = 0 OR delivery IS NOT NULL) NOT VALID;
ALTER DOMAIN order_delivery ADD CONSTRAINT order_delivery_names_its_option CHECK (
    VALUE IS NULL
    OR coalesce(jsonb_typeof(VALUE -> 'id') = 'string' AND jsonb_typeof(VALUE -> 'name') = 'string'
        AND jsonb_typeof(VALUE -> 'weight_grams') = 'number', false)) NOT VALID;
