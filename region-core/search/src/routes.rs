//! `GET /v1/search`: the same answer for everyone.

use axum::Router;
use axum::extract::State;
use axum::response::Response;
use axum::routing::get;
use http::HeaderMap;
use region_core_catalog::cacheable;
use region_core_web::{IfNoneMatch, Query};
use shared::api::catalog::{SearchQuery, SearchResults};
use shared::{Problem, ProblemKind};
use utoipa::OpenApi;

use crate::rules::checked;
use crate::search::{Search, SearchError};

/// What the routes say of themselves.
#[derive(OpenApi)]
#[openapi(paths(find))]
pub struct Api;

/// The search's route.
pub fn router(search: Search) -> Router {
    Router::new().route("/v1/search", get(find)).with_state(search)
}

/// Searches the products on sale.
#[utoipa::path(
    get, path = "/v1/search", operation_id = "search_products", tag = "catalog",
    params(SearchQuery, IfNoneMatch),
    responses((status = 200, description = "What was found", body = SearchResults)),
)]
async fn find(
    State(search): State<Search>,
    Query(query): Query<SearchQuery>,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    checked(&query)?;
    // Read before searching: an answer may be newer than its tag says, never older.
    let tag = format!("\"search-{}\"", search.version());
    let results = search.search(query).await.map_err(problem)?;
    cacheable(&headers, &tag, "catalog,search", || results)
}

fn problem(error: SearchError) -> Problem {
    match error {
        SearchError::Busy => Problem::new(ProblemKind::Unavailable).detail("too many searches at once"),
        SearchError::Interrupted => Problem::new(ProblemKind::Unavailable),
        SearchError::Index(error) => {
            tracing::error!(error = &error as &dyn std::error::Error, "a search failed");
            Problem::new(ProblemKind::Internal)
        }
    }
}
