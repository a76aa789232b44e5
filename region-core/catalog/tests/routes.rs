//! The catalog's routes over a real catalog database.

#![expect(clippy::unwrap_used, reason = "a test")]

use axum::Router;
use axum::body::Body;
use http::{Request, Response, StatusCode};
use http_body_util::BodyExt;
use region_core_catalog::{Catalog, ImportOptions, import, router};
use region_core_store::test_support::catalog_database;
use shared::Problem;
use shared::api::catalog::{CategoryList, Product, ProductPage};
use shared_clock::{Clock, Entropy};
use tower::ServiceExt;

const FILE: &str = "Handle,Title,Body (HTML),Type,Option1 Name,Option1 Value,Variant SKU,Variant Price,Image Src\n\
    mug,Mug,<p>Holds tea</p>,Mugs,Size,S,MUG-S,2.50,https://x.test/mug.jpg\n\
    mug,,,,,L,MUG-L,3.50,\n\
    azure-mug,azure mug,,Mugs,,,AZURE,2.00,\n\
    cup,Cup,,Cups,,,CUP,1.00,\n\
    Twin,cup,,Cups,,,TWIN,1.00,\n";

async fn shop() -> Router {
    let pool = catalog_database().await.pool;
    let clock = Clock::turned(1_800_000_000_000);
    import(&pool, &clock, &Entropy::system(), FILE.into(), ImportOptions::default()).await.unwrap();
    router(Catalog::load(pool).await.unwrap())
}

async fn get(shop: &Router, path: &str, etag: Option<&str>) -> Response<Body> {
    let request = Request::get(path).header("if-none-match", etag.unwrap_or("\"other\""));
    shop.clone().oneshot(request.body(Body::empty()).unwrap()).await.unwrap()
}

async fn read<T: serde::de::DeserializeOwned>(response: Response<Body>) -> T {
    serde_json::from_slice(&response.into_body().collect().await.unwrap().to_bytes()).unwrap()
}

#[tokio::test]
async fn a_product_is_shown_whole_and_may_be_cached_by_everyone() {
    let shop = shop().await;
    let response = get(&shop, "/v1/products/mug", None).await;
    let header = |name: &str| response.headers()[name].to_str().unwrap().to_owned();
    assert!(header("cache-control").starts_with("public, max-age="));
    assert_eq!((header("cache-tag"), header("etag")), ("catalog,product:mug".into(), "\"product-1\"".into()));
    let mug: Product = read(response).await;
    assert_eq!((mug.description.as_str(), mug.category.slug.as_str(), mug.version), ("Holds tea", "mugs", 1));
    assert_eq!(mug.variants.iter().map(|variant| variant.price.minor()).collect::<Vec<_>>(), [250, 350]);
    assert_eq!((mug.options[0].values.len(), mug.images.len()), (2, 1));
}

#[tokio::test]
async fn what_the_client_already_has_is_not_sent_again() {
    let shop = shop().await;
    for path in ["/v1/products/mug", "/v1/products", "/v1/categories"] {
        let etag = get(&shop, path, None).await.headers()["etag"].to_str().unwrap().to_owned();
        let again = get(&shop, path, Some(&format!("W/{etag}, \"x\""))).await;
        assert_eq!(again.status(), StatusCode::NOT_MODIFIED, "{path}");
        assert_eq!(again.headers()["etag"], etag.as_str());
        assert!(again.into_body().collect().await.unwrap().to_bytes().is_empty());
    }
}

#[tokio::test]
async fn pages_follow_one_another_without_gap_or_repeat() {
    let shop = shop().await;
    let (mut seen, mut path) = (Vec::new(), "/v1/products?limit=1".to_owned());
    loop {
        let page: ProductPage = read(get(&shop, &path, None).await).await;
        seen.extend(page.items.into_iter().map(|item| item.slug));
        let Some(cursor) = page.next_cursor else { break };
        path = format!("/v1/products?limit=1&cursor={cursor}");
    }
    assert_eq!(seen, ["azure-mug", "cup", "twin", "mug"], "by title without regard to case, then slug");
    let mugs: ProductPage = read(get(&shop, "/v1/products?category=mugs", None).await).await;
    assert_eq!(
        mugs.items
            .iter()
            .map(|item| (item.slug.as_str(), item.price_varies, item.only_sku.is_some()))
            .collect::<Vec<_>>(),
        [("azure-mug", false, true), ("mug", true, false)]
    );
}

#[tokio::test]
async fn categories_are_counted() {
    let list: CategoryList = read(get(&shop().await, "/v1/categories", None).await).await;
    let counts: Vec<_> = list.items.iter().map(|it| (it.slug.as_str(), it.product_count)).collect();
    assert_eq!(counts, [("cups", 2), ("mugs", 2)]);
}

#[tokio::test]
async fn what_cannot_be_answered_is_a_problem_that_names_the_field() {
    let shop = shop().await;
    for (path, status, field) in [
        ("/v1/products?limit=0", 422, "limit"),
        ("/v1/products?limit=101", 422, "limit"),
        ("/v1/products?limit=x", 422, "limit"),
        ("/v1/products?cursor=zzz", 422, "cursor"),
        ("/v1/products?category=nope", 404, "category"),
    ] {
        let response = get(&shop, path, None).await;
        assert_eq!(response.status().as_u16(), status, "{path}");
        assert_eq!(response.headers()["cache-control"], "no-store", "{path}");
        let problem: Problem = read(response).await;
        assert_eq!(problem.members["field"], field, "{path}");
    }
    assert_eq!(get(&shop, "/v1/products/nope", None).await.status(), StatusCode::NOT_FOUND);
    assert_eq!(get(&shop, "/v1/products?colour=red", None).await.status().as_u16(), 422);
}
