//! `GET /v1/categories`, `/v1/products` and `/v1/products/{slug}`: answered from memory, the same for everyone.

use axum::Router;
use axum::extract::State;
use axum::response::Response;
use axum::routing::get;
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use http::HeaderMap;
use region_core_web::{IfNoneMatch, Path, Query};
use serde::{Deserialize, Serialize};
use shared::Problem;
use shared::api::catalog::{CategoryList, Product, ProductPage};
use utoipa::{IntoParams, OpenApi};

use crate::answer::cacheable;
use crate::live::Catalog;
use crate::snapshot::Snapshot;

const MAX_LIMIT: u32 = 100;

/// What the routes say of themselves.
#[derive(OpenApi)]
#[openapi(paths(list_categories, list_products, get_product))]
pub struct Api;

/// The catalog's routes.
pub fn router(catalog: Catalog) -> Router {
    Router::new()
        .route("/v1/categories", get(list_categories))
        .route("/v1/products", get(list_products))
        .route("/v1/products/{slug}", get(get_product))
        .with_state(catalog)
}

/// All categories that have something on sale.
#[utoipa::path(
    get, path = "/v1/categories", operation_id = "list_categories", tag = "catalog",
    params(IfNoneMatch),
    responses((status = 200, description = "Categories", body = CategoryList)),
)]
async fn list_categories(State(catalog): State<Catalog>, headers: HeaderMap) -> Result<Response, Problem> {
    let snapshot = catalog.snapshot();
    let tag = format!("\"catalog-{}\"", snapshot.version());
    cacheable(&headers, &tag, "catalog", || CategoryList { items: snapshot.categories() })
}

#[derive(Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
#[serde(deny_unknown_fields)]
struct Listing {
    /// Slug of a category.
    category: Option<String>,
    /// Most on a page, 1 to 100.
    #[serde(default = "default_limit")]
    #[param(minimum = 1, maximum = 100, default = 24)]
    limit: u32,
    /// `next_cursor` of the page before.
    cursor: Option<String>,
}

const fn default_limit() -> u32 {
    24
}

/// Products on sale, by title.
#[utoipa::path(
    get, path = "/v1/products", operation_id = "list_products", tag = "catalog",
    params(Listing, IfNoneMatch),
    responses((status = 200, description = "A page of products", body = ProductPage)),
)]
async fn list_products(
    State(catalog): State<Catalog>,
    Query(listing): Query<Listing>,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    if !(1..=MAX_LIMIT).contains(&listing.limit) {
        return Err(Problem::invalid("limit", format!("{} is not 1 to {MAX_LIMIT}", listing.limit)));
    }
    let after = listing.cursor.as_deref().map(Cursor::parse).transpose()?;
    let snapshot = catalog.snapshot();
    let page = page(&snapshot, &listing, after.as_ref())?;
    let tag = format!("\"catalog-{}\"", snapshot.version());
    let tags = listing.category.as_ref().map_or("catalog".to_owned(), |slug| format!("catalog,category:{slug}"));
    cacheable(&headers, &tag, &tags, || page)
}

fn page(snapshot: &Snapshot, listing: &Listing, after: Option<&Cursor>) -> Result<ProductPage, Problem> {
    let items = match &listing.category {
        None => snapshot.items(),
        Some(slug) => snapshot.items_in(slug).ok_or_else(|| {
            Problem::not_found().detail("no such category, or nothing on sale in it").field("category")
        })?,
    };
    let from = after.map_or(0, |after| items.partition_point(|item| item.place() <= (&after.title, &after.slug)));
    let rest = &items[from..];
    let shown = &rest[..rest.len().min(listing.limit as usize)];
    let next = shown.last().filter(|_| shown.len() < rest.len());
    Ok(ProductPage {
        items: shown.iter().map(|item| item.summary()).collect(),
        next_cursor: next.map(|last| Cursor { title: last.sort_key.to_string(), slug: last.slug.to_string() }.text()),
        catalog_version: snapshot.version(),
    })
}

/// A product by its slug.
#[utoipa::path(
    get, path = "/v1/products/{slug}", operation_id = "get_product", tag = "catalog",
    params(("slug" = String, Path, description = "Of the product"), IfNoneMatch),
    responses((status = 200, description = "The product", body = Product)),
)]
async fn get_product(
    State(catalog): State<Catalog>,
    Path(slug): Path<String>,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    let snapshot = catalog.snapshot();
    let item = snapshot.find_by_slug(&slug).ok_or_else(Problem::not_found)?;
    let tag = format!("\"product-{}\"", item.version);
    cacheable(&headers, &tag, &format!("catalog,product:{}", item.slug), || item.product())
}

/// The last product of a page. Opaque to clients.
#[derive(Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Cursor {
    title: String,
    slug: String,
}

impl Cursor {
    fn text(&self) -> String {
        // Two strings: serialising cannot fail.
        URL_SAFE_NO_PAD.encode(serde_json::to_vec(&(&self.title, &self.slug)).unwrap_or_default())
    }

    fn parse(text: &str) -> Result<Self, Problem> {
        let read = || {
            let (title, slug) = serde_json::from_slice(&URL_SAFE_NO_PAD.decode(text).ok()?).ok()?;
            Some(Self { title, slug })
        };
        read().ok_or_else(|| Problem::invalid("cursor", "take the cursor from next_cursor of the page before"))
    }
}
