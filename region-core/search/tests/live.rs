//! Search that follows a changing catalog, and its route.

#![expect(clippy::unwrap_used, reason = "a test")]

use axum::Router;
use axum::body::Body;
use http::{Request, Response};
use http_body_util::BodyExt;
use region_core_catalog::{Catalog, ImportOptions, import};
use region_core_search::{Search, router};
use region_core_store::test_support::catalog_database;
use shared::Problem;
use shared::api::catalog::{SearchQuery, SearchResults};
use shared_clock::{Clock, Entropy};
use sqlx::PgPool;
use tower::ServiceExt;

async fn take(pool: &PgPool, rows: &str) {
    let file = format!("Handle,Title,Type,Published,Variant SKU,Variant Price\n{rows}").into_bytes();
    import(pool, &Clock::turned(1_800_000_000_000), &Entropy::system(), file, ImportOptions::default()).await.unwrap();
}

async fn slugs(search: &Search, text: &str) -> Vec<String> {
    let query = SearchQuery { q: text.to_owned(), page: 1, limit: 10, ..SearchQuery::default() };
    search.search(query).await.unwrap().items.into_iter().map(|item| item.slug).collect()
}

#[tokio::test]
async fn search_follows_the_catalog() {
    let pool = catalog_database().await.pool;
    take(&pool, "mug,Red Mug,Mugs,true,MUG,2.50\ncup,Red Cup,Cups,true,CUP,1.00\n").await;
    let catalog = Catalog::load(pool.clone()).await.unwrap();
    let search = Search::start(catalog.snapshot()).await.unwrap();
    assert_eq!(slugs(&search, "red").await, ["cup", "mug"]);

    take(&pool, "mug,Blue Mug,Mugs,true,MUG,2.50\ncup,Red Cup,Cups,false,CUP,1.00\npot,Red Pot,Pots,true,POT,9.00\n")
        .await;
    assert!(catalog.refresh().await.unwrap());
    search.update(catalog.snapshot()).await.unwrap();
    assert_eq!(search.version(), 2);
    assert_eq!(slugs(&search, "red").await, ["pot"]);
    assert_eq!(slugs(&search, "blue").await, ["mug"]);
    assert_eq!(slugs(&search, "").await, ["mug", "pot"]);
}

#[tokio::test]
async fn a_running_search_hears_of_each_change() {
    let pool = catalog_database().await.pool;
    let catalog = Catalog::load(pool.clone()).await.unwrap();
    let search = Search::start(catalog.snapshot()).await.unwrap();
    assert_eq!(slugs(&search, "").await, Vec::<String>::new());
    let stop = tokio_util::sync::CancellationToken::new();
    let follower = tokio::spawn({
        let (search, catalog, stop) = (search.clone(), catalog.clone(), stop.clone());
        async move { search.follow(&catalog, stop).await }
    });
    take(&pool, "mug,Red Mug,Mugs,true,MUG,2.50\n").await;
    catalog.refresh().await.unwrap();
    let mut changes = search.changes();
    let seen = changes.wait_for(|version| *version == 1);
    tokio::time::timeout(std::time::Duration::from_secs(20), seen).await.unwrap().unwrap();
    assert_eq!(slugs(&search, "mug").await, ["mug"]);
    stop.cancel();
    follower.await.unwrap();
}

async fn get(shop: &Router, path: &str) -> Response<Body> {
    shop.clone().oneshot(Request::get(path).body(Body::empty()).unwrap()).await.unwrap()
}

#[tokio::test]
async fn the_route_answers_for_everyone_and_names_a_field_it_refuses() {
    let pool = catalog_database().await.pool;
    take(&pool, "mug,Red Mug,Mugs,true,MUG,2.50\n").await;
    let catalog = Catalog::load(pool).await.unwrap();
    let shop = router(Search::start(catalog.snapshot()).await.unwrap());

    let response = get(&shop, "/v1/search?q=m%C3%BCg&order=price-descending").await;
    assert_eq!(response.headers()["cache-tag"], "catalog,search");
    assert!(response.headers()["cache-control"].to_str().unwrap().starts_with("public"));
    let body = response.into_body().collect().await.unwrap().to_bytes();
    let results: SearchResults = serde_json::from_slice(&body).unwrap();
    assert_eq!((results.total, results.items[0].slug.as_str()), (1, "mug"));

    let long = format!("q={}", "x".repeat(201));
    for (query, field) in [
        (long.as_str(), "q"),
        ("page=0", "page"),
        ("limit=1000", "limit"),
        ("price_min=-1", "price_min"),
        ("price_min=5&price_max=4", "price_max"),
        ("order=best", "order"),
    ] {
        let response = get(&shop, &format!("/v1/search?{query}")).await;
        assert_eq!(response.status().as_u16(), 422, "{query}");
        let body = response.into_body().collect().await.unwrap().to_bytes();
        let problem: Problem = serde_json::from_slice(&body).unwrap();
        assert_eq!(problem.members["field"], field, "{query}");
    }
    assert_eq!(get(&shop, "/v1/search?colour=red").await.status().as_u16(), 422);
}
