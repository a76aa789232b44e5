//! `GET /v1/stock`.

use axum::extract::{RawQuery, State};
use axum::http::header::CACHE_CONTROL;
use axum::response::IntoResponse;
use axum::routing::get;
use axum::{Json, Router};
use shared::api::catalog::StockLevels as Answer;
use shared::{Problem, Sku};

use crate::levels::StockLevels;

/// Most SKUs that one request may ask about.
const MAX_SKUS: usize = 100;

/// The service's routes.
pub fn router(levels: StockLevels) -> Router {
    Router::new().route("/v1/stock", get(stock)).with_state(levels)
}

async fn stock(State(levels): State<StockLevels>, RawQuery(query): RawQuery) -> Result<impl IntoResponse, Problem> {
    let skus = wanted(query.as_deref().unwrap_or_default())?;
    let items = levels.of(&skus).await?;
    Ok(([(CACHE_CONTROL, "no-store")], Json(Answer { items })))
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
}
