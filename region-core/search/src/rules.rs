//! What is done with the products that match: filtered, counted, ordered and cut into pages. Plain values throughout.

use std::cmp::Reverse;
use std::collections::BTreeMap;
use std::sync::Arc;

use region_core_catalog::Item;
use shared::Problem;
use shared::api::catalog::{CategoryFacet, PriceFacet, SearchOrder, SearchQuery, SearchResults};

/// Longest text, in characters.
const MAX_TEXT: usize = 200;
/// Furthest page.
const MAX_PAGE: u32 = 100;
/// Most results on a page.
const MAX_LIMIT: u32 = 100;

/// A product that matches the text, and how well.
#[derive(Debug, Clone)]
pub(crate) struct Hit {
    pub(crate) score: f32,
    pub(crate) item: Arc<Item>,
}

/// Refuses what no search can mean, naming the field.
pub(crate) fn checked(query: &SearchQuery) -> Result<(), Problem> {
    let in_range = |number: u32, most: u32| (1..=most).contains(&number);
    let upside_down = matches!((query.price_min, query.price_max), (Some(min), Some(max)) if min > max);
    if query.q.chars().count() > MAX_TEXT {
        Err(Problem::invalid("q", format!("at most {MAX_TEXT} characters")))
    } else if !in_range(query.page, MAX_PAGE) {
        Err(Problem::invalid("page", format!("{} is not 1 to {MAX_PAGE}", query.page)))
    } else if !in_range(query.limit, MAX_LIMIT) {
        Err(Problem::invalid("limit", format!("{} is not 1 to {MAX_LIMIT}", query.limit)))
    } else if upside_down {
        Err(Problem::invalid("price_max", "it is below price_min"))
    } else {
        Ok(())
    }
}

/// The answer to a checked query, from everything that matches its text. A product's price is its lowest variant's.
pub(crate) fn answer(query: &SearchQuery, hits: Vec<Hit>) -> SearchResults {
    let in_category = |hit: &Hit| query.category.as_ref().is_none_or(|slug| *slug == hit.item.category.slug);
    let in_price = |hit: &Hit| {
        let price = minor(hit);
        query.price_min.is_none_or(|min| price >= min) && query.price_max.is_none_or(|max| price <= max)
    };
    let categories = categories(hits.iter().filter(|hit| in_price(hit)));
    let prices = prices(hits.iter().filter(|hit| in_category(hit)));
    let mut found: Vec<Hit> = hits.into_iter().filter(|hit| in_category(hit) && in_price(hit)).collect();
    let (limit, total) = (query.limit.max(1), u64::try_from(found.len()).unwrap_or(u64::MAX));
    sort(&mut found, query.order);
    let skipped = (query.page.saturating_sub(1) as usize).saturating_mul(limit as usize);
    let shown = found.iter().skip(skipped).take(limit as usize);
    SearchResults {
        items: shown.map(|hit| hit.item.summary()).collect(),
        total,
        page: query.page,
        // Pages beyond the furthest one cannot be asked for.
        pages: u32::try_from(total.div_ceil(u64::from(limit))).unwrap_or(MAX_PAGE).min(MAX_PAGE),
        categories,
        prices,
    }
}

fn minor(hit: &Hit) -> u64 {
    u64::try_from(hit.item.price_from().minor()).unwrap_or(0)
}

/// Equals are ordered by title, then slug, so that pages never overlap.
fn sort(hits: &mut [Hit], order: SearchOrder) {
    let name = |hit: &Hit| (hit.item.title.to_lowercase(), hit.item.slug.clone());
    match order {
        SearchOrder::Relevance => {
            hits.sort_by(|a, b| b.score.total_cmp(&a.score).then_with(|| name(a).cmp(&name(b))));
        }
        SearchOrder::PriceAscending => hits.sort_by_cached_key(|hit| (minor(hit), name(hit))),
        SearchOrder::PriceDescending => hits.sort_by_cached_key(|hit| (Reverse(minor(hit)), name(hit))),
    }
}

/// The fullest category first.
fn categories<'a>(hits: impl Iterator<Item = &'a Hit>) -> Vec<CategoryFacet> {
    let mut counts: BTreeMap<&str, (&str, u64)> = BTreeMap::new();
    for hit in hits {
        let category = &hit.item.category;
        counts.entry(&category.slug).or_insert((&category.name, 0)).1 += 1;
    }
    let facet = |(slug, (name, count)): (&str, (&str, u64))| CategoryFacet {
        slug: slug.to_owned(),
        name: name.to_owned(),
        count,
    };
    let mut facets: Vec<_> = counts.into_iter().map(facet).collect();
    facets.sort_by(|a, b| b.count.cmp(&a.count).then_with(|| a.name.cmp(&b.name)));
    facets
}

/// Bands of 1, 2, 5, 10, 20, 50 ... units of the currency, only those that hold something, cheapest first. Their bounds do
/// not depend on the results, so that a chosen band stays the same while other filters change.
fn prices<'a>(hits: impl Iterator<Item = &'a Hit>) -> Vec<PriceFacet> {
    let mut counts: BTreeMap<(u64, Option<u64>), u64> = BTreeMap::new();
    for hit in hits {
        let unit = 10_u64.pow(hit.item.price_from().currency().exponent());
        *counts.entry(band(minor(hit), unit)).or_default() += 1;
    }
    counts.into_iter().map(|((from, to), count)| PriceFacet { from, to, count }).collect()
}

const BOUNDS: [u64; 10] = [1, 2, 5, 10, 20, 50, 100, 200, 500, 1_000];

/// First and last price of the band that `price` falls in.
fn band(price: u64, unit: u64) -> (u64, Option<u64>) {
    let from = BOUNDS.iter().rev().map(|bound| bound * unit).find(|from| *from <= price).unwrap_or(0);
    let to = BOUNDS.iter().map(|bound| bound * unit).find(|bound| *bound > price).map(|bound| bound - 1);
    (from, to)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use shared::api::catalog::{CategoryRef, Variant};
    use shared::{Currency, Money, ProductId};

    use super::*;

    fn hit(number: u8, category: u8, minor: i64, score: f32) -> Hit {
        let slug = format!("c{category}");
        let variant = Variant {
            sku: format!("S{number}").parse().unwrap(),
            option_values: Vec::new(),
            price: Money::new(minor, Currency::GBP).unwrap(),
            compare_at_price: None,
            weight_grams: 0,
        };
        let category = CategoryRef { name: slug.to_uppercase(), slug };
        let title = format!("Thing {number:03}");
        let id = ProductId::mint(1_800_000_000_000, [number; 10]);
        Hit { score, item: Arc::new(Item::simple(id, &title, category, vec![variant])) }
    }

    fn query() -> SearchQuery {
        SearchQuery { page: 1, limit: 2, ..SearchQuery::default() }
    }

    fn titles(results: &SearchResults) -> Vec<&str> {
        results.items.iter().map(|item| item.title.as_str()).collect()
    }

    #[test]
    fn results_are_ordered_as_asked() {
        let hits = vec![hit(1, 1, 300, 1.0), hit(2, 1, 100, 2.0), hit(3, 1, 200, 2.0)];
        let ordered = |order| answer(&SearchQuery { order, limit: 9, ..query() }, hits.clone());
        assert_eq!(titles(&ordered(SearchOrder::Relevance)), ["Thing 002", "Thing 003", "Thing 001"]);
        assert_eq!(titles(&ordered(SearchOrder::PriceAscending)), ["Thing 002", "Thing 003", "Thing 001"]);
        assert_eq!(titles(&ordered(SearchOrder::PriceDescending)), ["Thing 001", "Thing 003", "Thing 002"]);
    }

    #[test]
    fn each_facet_ignores_its_own_filter_and_obeys_the_other() {
        let hits = vec![hit(1, 1, 150, 1.0), hit(2, 1, 350, 1.0), hit(3, 2, 350, 1.0)];
        let results = answer(&SearchQuery { category: Some("c1".into()), price_min: Some(200), ..query() }, hits);
        assert_eq!((titles(&results), results.total), (vec!["Thing 002"], 1));
        let counts: Vec<_> = results.categories.iter().map(|it| (it.slug.as_str(), it.count)).collect();
        assert_eq!(counts, [("c1", 1), ("c2", 1)]);
        let bands: Vec<_> = results.prices.iter().map(|it| (it.from, it.to, it.count)).collect();
        assert_eq!(bands, [(100, Some(199), 1), (200, Some(499), 1)]);
    }

    #[test]
    fn a_query_that_means_nothing_is_refused_by_field() {
        for (query, field) in [
            (SearchQuery { q: "x".repeat(201), ..query() }, "q"),
            (SearchQuery { page: 0, ..query() }, "page"),
            (SearchQuery { page: 101, ..query() }, "page"),
            (SearchQuery { limit: 0, ..query() }, "limit"),
            (SearchQuery { limit: 101, ..query() }, "limit"),
            (SearchQuery { price_min: Some(2), price_max: Some(1), ..query() }, "price_max"),
        ] {
            assert_eq!(checked(&query).unwrap_err().members["field"], field);
        }
        assert_eq!(checked(&query()), Ok(()));
    }

    proptest! {
        #[test]
        fn pages_show_each_result_once_and_facets_add_up(
            hits in prop::collection::vec((0..3_u8, 0..300_000_i64, 0..3_u8), 0..40), limit in 1..10_u32, order in 0..3_u8,
        ) {
            let order = [SearchOrder::Relevance, SearchOrder::PriceAscending, SearchOrder::PriceDescending][usize::from(order)];
            let hits: Vec<_> = (0..).zip(&hits).map(|(number, (category, minor, score))| hit(number, *category, *minor, f32::from(*score))).collect();
            let page = |page| answer(&SearchQuery { page, limit, order, ..query() }, hits.clone());
            let first = page(1);
            let mut seen = std::collections::BTreeSet::new();
            for number in 1..=first.pages {
                prop_assert!(page(number).items.into_iter().all(|item| seen.insert(item.slug)));
            }
            prop_assert_eq!((seen.len(), first.total), (hits.len(), hits.len() as u64));
            prop_assert_eq!(first.categories.iter().map(|facet| facet.count).sum::<u64>(), first.total);
            prop_assert_eq!(first.prices.iter().map(|facet| facet.count).sum::<u64>(), first.total);
        }

        #[test]
        fn a_price_lies_in_its_band(price in 0..500_000_u64) {
            let (from, to) = band(price, 100);
            prop_assert!(from <= price && to.is_none_or(|to| price <= to));
        }
    }
}
