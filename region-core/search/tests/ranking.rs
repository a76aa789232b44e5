//! What a person finds first in the demo shop.

#![expect(clippy::unwrap_used, reason = "a test")]

use region_core_catalog::{Catalog, ImportOptions, import};
use region_core_search::Search;
use region_core_store::test_support::catalog_database;
use shared::api::catalog::{SearchOrder, SearchQuery, SearchResults};
use shared_clock::{Clock, Entropy};
use tokio::sync::OnceCell;

const DEMO: &[u8] = include_bytes!("../../../infra/demo/catalog.csv");

/// The demo shop, indexed once for all tests: nothing here changes it.
async fn shop() -> &'static Search {
    static SHOP: OnceCell<Search> = OnceCell::const_new();
    let open = || async {
        let pool = catalog_database().await.pool;
        let (clock, entropy) = (Clock::turned(1_800_000_000_000), Entropy::seeded(1));
        import(&pool, &clock, &entropy, DEMO.to_vec(), ImportOptions::default()).await.unwrap();
        Search::start(Catalog::load(pool).await.unwrap().snapshot()).await.unwrap()
    };
    SHOP.get_or_init(open).await
}

async fn find(query: SearchQuery) -> SearchResults {
    shop().await.search(query).await.unwrap()
}

fn typed(text: &str) -> SearchQuery {
    SearchQuery { q: text.to_owned(), page: 1, limit: 10, ..SearchQuery::default() }
}

async fn titles(text: &str) -> Vec<String> {
    find(typed(text)).await.items.into_iter().map(|item| item.title).collect()
}

async fn first(text: &str) -> String {
    titles(text).await.first().cloned().unwrap_or_default()
}

/// Every one of the first `count` titles holds each of the words.
async fn lead(text: &str, count: usize, words: &[&str]) {
    let titles = titles(text).await;
    assert!(titles.len() >= count, "{text:?} found only {titles:?}");
    for title in &titles[..count] {
        let lower = title.to_lowercase();
        assert!(words.iter().all(|word| lower.contains(word)), "{text:?} found {titles:?}");
    }
}

#[tokio::test]
async fn a_title_typed_whole_comes_first_then_titles_that_hold_the_phrase() {
    let titles = titles("heart t-light holder").await;
    assert_eq!(titles[..2], ["Heart T-light Holder", "Heart T-light Holder"]);
    assert!(titles[2..6].iter().all(|title| title.contains("Heart T-light Holder")), "{titles:?}");
    assert_eq!(first("white metal lantern").await, "White Metal Lantern");
}

#[tokio::test]
async fn words_in_the_title_come_before_words_in_the_category() {
    lead("red mug", 5, &["red", "mug"]).await;
    lead("christmas", 10, &["christmas"]).await;
    lead("birthday card", 10, &["birthday", "card"]).await;
    lead("cake stand", 10, &["cake stand"]).await;
    lead("hot water bottle", 10, &["hot water bottle"]).await;
    lead("union jack bunting", 2, &["union jack bunting"]).await;
}

#[tokio::test]
async fn a_sku_finds_its_product_whatever_its_case_and_its_number_alone_does_too() {
    for sku in ["85123A", "85123a", " 85123a ", "85123"] {
        assert_eq!(first(sku).await, "White Hanging Heart T-light Holder", "{sku:?}");
    }
}

#[tokio::test]
async fn a_slip_of_the_fingers_is_forgiven() {
    lead("lantren", 5, &["lantern"]).await;
    lead("umbrela", 5, &["umbrella"]).await;
    lead("water bottel", 5, &["water bottle"]).await;
    lead("chirstmas", 5, &["christmas"]).await;
    assert!(find(typed("jewelry")).await.total > 50, "the whole category is meant");
}

#[tokio::test]
async fn plurals_compounds_accents_and_unfinished_words_are_understood() {
    lead("umbrellas", 5, &["umbrella"]).await;
    lead("lunchbox", 5, &["lunch box"]).await;
    lead("tlight", 5, &["t-light"]).await;
    lead("chris", 5, &["chris"]).await;
    assert_eq!(find(typed("decor")).await.total, find(typed("décor")).await.total);
}

#[tokio::test]
async fn small_words_do_not_hide_products() {
    lead("a mug with flower", 3, &["mug", "flower"]).await;
    assert!(!titles("the").await.is_empty());
}

#[tokio::test]
async fn when_nothing_holds_every_word_what_holds_some_is_shown_and_nonsense_finds_nothing() {
    lead("purple dinosaur teapot", 1, &[]).await;
    assert_eq!(find(typed("xyzzy")).await.total, 0);
    for odd in ["'", "\"", "(((", "-", "\u{0}", "a:b AND (c", "*", "\u{1f600}"] {
        assert!(find(typed(odd)).await.pages <= 100, "{odd:?}");
    }
}

#[tokio::test]
async fn an_empty_query_shows_everything_by_title() {
    let all = find(typed("")).await;
    assert_eq!((all.total, all.pages), (2_728, 100));
    let mut sorted = all.items.clone();
    sorted.sort_by_key(|item| item.title.to_lowercase());
    assert_eq!(all.items, sorted);
    assert_eq!(all.categories.iter().map(|facet| facet.count).sum::<u64>(), 2_728);
}

#[tokio::test]
async fn filters_narrow_and_their_counts_say_by_how_much() {
    let all = find(typed("heart")).await;
    let candles = all.categories.iter().find(|facet| facet.slug == "candles-lights").unwrap();
    let narrowed = find(SearchQuery { category: Some(candles.slug.clone()), ..typed("heart") }).await;
    assert_eq!(narrowed.total, candles.count);
    assert_eq!(narrowed.categories, all.categories, "the other categories can still be chosen");
    let band = narrowed.prices.iter().find(|band| band.from == 100).unwrap();
    let cheap = SearchQuery { price_min: Some(band.from), price_max: band.to, ..typed("heart") };
    let cheap =
        find(SearchQuery { category: Some(candles.slug.clone()), order: SearchOrder::PriceAscending, ..cheap }).await;
    assert_eq!((cheap.total, &cheap.prices), (band.count, &narrowed.prices));
    assert!(cheap.items.is_sorted_by_key(|item| item.price_from.minor()));
    assert!(cheap.items.iter().all(|item| (100..200).contains(&item.price_from.minor())));
}
