//! What delivery costs, computed anew from the tables that the catalog has kept, from what an order says it weighs.

use std::collections::BTreeMap;

use anyhow::Context as _;
use futures::TryStreamExt as _;
use serde::Deserialize;
use sqlx::PgConnection;
use sqlx::types::Json;

use super::cut::{Cut, Shard};
use super::report::{Breach, Findings, Found};
use super::rules::PRICES_DELIVERY;

/// Every table that was ever in force, by the version from which on.
#[derive(Debug, Default)]
struct Tables(BTreeMap<i64, Table>);

#[derive(Debug)]
struct Table {
    currency: String,
    zones: Vec<Zone>,
}

#[derive(Debug, Deserialize)]
struct Zone {
    countries: Vec<String>,
    options: Vec<Rate>,
}

#[derive(Debug, Deserialize)]
struct Rate {
    id: String,
    free_from_minor: Option<i64>,
    bands: Vec<Band>,
}

#[derive(Debug, Deserialize)]
struct Band {
    up_to_grams: i64,
    price_minor: i64,
}

/// An order that had, or should have had, a choice.
#[derive(Debug, sqlx::FromRow)]
struct Sold {
    order_id: String,
    catalog_version: i64,
    currency: String,
    subtotal_minor: i64,
    shipping_minor: i64,
    country: Option<String>,
    option: Option<String>,
    grams: Option<i64>,
}

const SOLD: &str = "
    SELECT order_id::text, catalog_version, currency, subtotal_minor, shipping_minor,
        shipping_address ->> 'country' AS country, delivery ->> 'id' AS option,
        (delivery ->> 'weight_grams')::bigint AS grams
    FROM orders WHERE catalog_version >= $1 OR delivery IS NOT NULL OR shipping_minor <> 0";

pub(super) async fn check(cut: &mut Cut, findings: &mut Findings) -> anyhow::Result<()> {
    let tables = Tables::read(&mut cut.catalog).await.context("the catalog's delivery tables")?;
    for shard in &mut cut.shards {
        let found = compare(shard, &tables).await.with_context(|| format!("shard {}, orders", shard.id))?;
        findings.add(PRICES_DELIVERY, found);
    }
    Ok(())
}

async fn compare(shard: &mut Shard, tables: &Tables) -> anyhow::Result<Found> {
    // Whoever had no choice is looked at, too: to be so, he must have had none.
    let mut found = Found::rows(shard.rows("orders"));
    let first = tables.0.first_key_value().map_or(i64::MAX, |(version, _)| *version);
    let mut sold = sqlx::query_as::<_, Sold>(SOLD).bind(first).fetch(&mut shard.conn);
    while let Some(sold) = sold.try_next().await? {
        if let Some(problem) = tables.contradict(&sold) {
            let key = format!("order {}", sold.order_id);
            found.breaches(1, Breach { shard: Some(shard.id), table: "orders".to_owned(), key, problem });
        }
    }
    Ok(found)
}

impl Tables {
    async fn read(catalog: &mut PgConnection) -> Result<Self, sqlx::Error> {
        let rows = sqlx::query_as::<_, (i64, String, Json<Vec<Zone>>)>(
            "SELECT version, currency, zones FROM catalog.delivery_tables",
        );
        let tables = rows.fetch_all(catalog).await?.into_iter();
        Ok(Self(tables.map(|(version, currency, Json(zones))| (version, Table { currency, zones })).collect()))
    }

    fn contradict(&self, sold: &Sold) -> Option<String> {
        let Sold { catalog_version, currency, subtotal_minor, shipping_minor, country, option, grams, .. } = sold;
        let table = self.0.range(..=*catalog_version).next_back();
        let (Some((since, table)), Some(option), Some(grams)) = (table, option, grams) else {
            return match (table, option) {
                (Some((since, _)), None) => {
                    Some(format!("it chose no way of delivery, but had to since version {since}"))
                }
                (_, Some(option)) => {
                    Some(format!("it chose {option} at version {catalog_version}, when there was no choice"))
                }
                (None, None) => Some(format!("{shipping_minor} {currency} for delivery, when it was free")),
            };
        };
        let to = country.as_deref().unwrap_or_default();
        let price = table.price(to, option, *grams, *subtotal_minor);
        let at = format!("{shipping_minor} {currency} (minor units) for {option} to {to}, {grams} g");
        match price {
            Some(price) if price == *shipping_minor && table.currency == *currency => None,
            Some(price) => Some(format!("{at}, but it cost {price} {} since version {since}", table.currency)),
            None => Some(format!("{at}, but that was not offered since version {since}")),
        }
    }
}

impl Table {
    fn price(&self, country: &str, option: &str, grams: i64, goods_minor: i64) -> Option<i64> {
        let of = |name: &str| self.zones.iter().find(|zone| zone.countries.iter().any(|own| own == name));
        let rate = of(country).or_else(|| of("*"))?.options.iter().find(|rate| rate.id == option)?;
        let band = rate.bands.iter().find(|band| grams <= band.up_to_grams)?;
        let free = rate.free_from_minor.is_some_and(|from| goods_minor >= from);
        Some(if free { 0 } else { band.price_minor })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn problem(version: i64, option: Option<&str>, goods: i64, paid: i64, grams: i64) -> Option<String> {
        let zones = |price: i64| {
            serde_json::from_value(serde_json::json!([
                {"countries": ["GB"], "options": [{"id": "van", "free_from_minor": 5000,
                    "bands": [{"up_to_grams": 2000, "price_minor": price}, {"up_to_grams": 9000, "price_minor": 900}]}]},
            ]))
            .unwrap()
        };
        let table = |price| Table { currency: "GBP".to_owned(), zones: zones(price) };
        let tables = Tables([(3, table(395)), (7, table(495))].into());
        tables.contradict(&Sold {
            order_id: String::new(),
            catalog_version: version,
            currency: "GBP".to_owned(),
            subtotal_minor: goods,
            shipping_minor: paid,
            country: Some("GB".to_owned()),
            option: option.map(str::to_owned),
            grams: option.map(|_| grams),
        })
    }

    #[test]
    fn delivery_costs_what_its_table_says_by_weight_and_value() {
        let van = Some("van");
        for (version, goods, paid, grams) in
            [(3, 100, 395, 0), (6, 100, 395, 2_000), (7, 100, 495, 0), (7, 100, 900, 2_001), (7, 5_000, 0, 9_000)]
        {
            assert_eq!(problem(version, van, goods, paid, grams), None);
        }
        assert!(problem(7, van, 100, 395, 0).unwrap().ends_with("it cost 495 GBP since version 7"));
        assert!(problem(7, van, 5_000, 495, 0).unwrap().ends_with("it cost 0 GBP since version 7"));
        assert!(problem(7, van, 100, 900, 9_001).unwrap().ends_with("that was not offered since version 7"));
        assert!(problem(7, Some("owl"), 100, 495, 0).unwrap().ends_with("that was not offered since version 7"));
    }

    #[test]
    fn nobody_chooses_before_there_is_a_choice_or_has_none_after() {
        assert_eq!(problem(7, None, 100, 0, 0).unwrap(), "it chose no way of delivery, but had to since version 7");
        assert_eq!(
            problem(2, Some("van"), 100, 395, 0).unwrap(),
            "it chose van at version 2, when there was no choice"
        );
        assert_eq!(problem(2, None, 100, 395, 0).unwrap(), "395 GBP for delivery, when it was free");
    }
}
