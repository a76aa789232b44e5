//! `GET /v1/stock` for shoppers, and what changed in the counts: of the store for points of presence, of this region for
//! cores of others.

use axum::extract::{RawQuery, State};
use axum::http::header::CACHE_CONTROL;
use axum::response::IntoResponse;
use axum::routing::get;
use axum::{Json, Router};
use region_core_web::{IfNoneMatch, Query};
use shared::api::catalog::StockLevels as Answer;
use shared::api::stock::{MAX_COUNTS, MAX_CURSORS, StockCursor};
use shared::{Problem, ProblemKind, Sku};
use utoipa::OpenApi;

use crate::levels::{INTERNAL, StockLevels};

/// Most SKUs that one request may ask about.
const MAX_SKUS: usize = 100;

/// What the routes say of themselves.
#[derive(OpenApi)]
#[openapi(paths(stock))]
pub struct Api;

/// The service's routes.
pub fn router(levels: StockLevels) -> Router {
    Router::new().route("/v1/stock", get(stock)).route("/v1/stock/changes", get(changes)).with_state(levels)
}

/// What cores of other regions ask.
pub(crate) fn internal(levels: StockLevels) -> Router {
    Router::new().route(INTERNAL, get(changes_here)).with_state(levels)
}

/// Units that are left of some SKUs, in the whole store.
#[utoipa::path(
    get, path = "/v1/stock", operation_id = "get_stock", tag = "catalog",
    params(("sku" = Vec<Sku>, Query, description = "1 to 100 SKUs: `sku=A&sku=B`"), IfNoneMatch),
    responses((status = 200, description = "Units of each SKU that is asked about", body = Answer)),
)]
async fn stock(State(levels): State<StockLevels>, RawQuery(query): RawQuery) -> Result<impl IntoResponse, Problem> {
    let skus = wanted(query.as_deref().unwrap_or_default())?;
    let items = levels.of(&skus).await?;
    Ok(([(CACHE_CONTROL, "no-store")], Json(Answer { items })))
}

async fn changes(State(levels): State<StockLevels>, Query(asked): Query<Asked>) -> Result<impl IntoResponse, Problem> {
    let (since, limit) = read(&asked)?;
    let changes = levels.changes(&since, limit).ok_or_else(not_yet)?;
    Ok(([(CACHE_CONTROL, "no-store")], Json(changes)))
}

async fn changes_here(
    State(levels): State<StockLevels>,
    Query(asked): Query<Asked>,
) -> Result<impl IntoResponse, Problem> {
    let (since, limit) = read(&asked)?;
    let changes = levels.changes_here(&since, limit).ok_or_else(not_yet)?;
    Ok(([(CACHE_CONTROL, "no-store")], Json(changes)))
}

/// The core has just begun.
fn not_yet() -> Problem {
    Problem::new(ProblemKind::Unavailable).detail("the counts are still being read")
}

type Asked = Vec<(String, String)>;

/// The cursors, and how many counts are wanted at most.
fn read(asked: &[(String, String)]) -> Result<(Vec<StockCursor>, usize), Problem> {
    let (mut since, mut limit) = (Vec::new(), MAX_COUNTS);
    for (name, value) in asked {
        match name.as_str() {
            "since" => since.push(value.parse().map_err(|error| Problem::invalid("since", error))?),
            "limit" => limit = value.parse().ok().filter(|n| (1..=MAX_COUNTS).contains(n)).ok_or_else(bad_limit)?,
            other => return Err(Problem::invalid(other, "the parameters are since and limit")),
        }
    }
    if since.len() > MAX_CURSORS {
        return Err(Problem::invalid("since", format!("at most {MAX_CURSORS} cursors")));
    }
    Ok((since, usize::try_from(limit).unwrap_or(usize::MAX)))
}

fn bad_limit() -> Problem {
    Problem::invalid("limit", format!("1 to {MAX_COUNTS}"))
}

/// The `sku` parameters, each once. A SKU needs no escaping, so a query that holds any is refused with the value.
fn wanted(query: &str) -> Result<Vec<Sku>, Problem> {
    let mut skus = Vec::new();
    for pair in query.split('&').filter(|pair| !pair.is_empty()) {
        let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
        if name != "sku" {
            return Err(Problem::invalid(name, "the only parameter is sku"));
        }
        let sku: Sku =
            value.replace("%2F", "/").replace("%2f", "/").parse().map_err(|error| Problem::invalid("sku", error))?;
        if !skus.contains(&sku) {
            skus.push(sku);
        }
    }
    if (1..=MAX_SKUS).contains(&skus.len()) { Ok(skus) } else { Err(Problem::invalid("sku", "1 to 100 SKUs")) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn skus_are_named_once_each_or_refused() {
        let found = wanted("sku=85123a&sku=MUG&sku=85123A&sku=A%2FB").unwrap();
        assert_eq!(found.iter().map(Sku::as_str).collect::<Vec<_>>(), ["85123A", "MUG", "A/B"]);
        let many = |count: usize| (0..count).map(|number| format!("sku=S{number}")).collect::<Vec<_>>().join("&");
        assert_eq!(wanted(&many(100)).unwrap().len(), 100);
        for bad in ["", "sku=", "sku=a%20b", "colour=red", &many(101)] {
            assert!(wanted(bad).is_err(), "{bad:?} was taken");
        }
    }

    #[test]
    fn cursors_are_read_or_refused_by_name() {
        let asked = |pairs: &[(&str, &str)]| -> Asked {
            pairs.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect()
        };
        let one = ("since", "00c0ffee00c0ffee.17");
        assert_eq!(read(&asked(&[])).unwrap(), (Vec::new(), 5_000));
        assert_eq!(read(&asked(&[one, one, ("limit", "7")])).unwrap().0.len(), 2);
        for bad in
            [vec![("since", "17")], vec![("limit", "0")], vec![("limit", "5001")], vec![("x", "1")], vec![one; 9]]
        {
            let field = read(&asked(&bad)).unwrap_err().members["field"].clone();
            assert_eq!(field, bad[0].0, "{bad:?}");
        }
    }
}
