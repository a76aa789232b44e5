//! `/v1/stock/entries` for merchants and operators; `/internal` for the cores of other regions.

use axum::Router;
use axum::extract::State;
use axum::routing::post;
use http::StatusCode;
use region_core_web::{Json, Query, StoreKeeper};
use serde::{Deserialize, Serialize};
use shared::text::is_card_number;
use shared::{Problem, Sku};
use utoipa::{IntoParams, OpenApi, ToSchema};

use super::{Booked, Ledger, LedgerLine, StockEntry};

pub(super) const INTERNAL: &str = "/internal/stock/entries";
pub(super) const INTERNAL_LIST: &str = "/internal/stock/entries/list";

/// What the routes say of themselves.
#[derive(OpenApi)]
#[openapi(paths(enter, list))]
pub struct Api;

pub(super) fn router(ledger: Ledger) -> Router {
    Router::new().route("/v1/stock/entries", post(enter).get(list)).with_state(ledger)
}

pub(super) fn internal_router(ledger: Ledger) -> Router {
    Router::new().route(INTERNAL, post(enter_here)).route(INTERNAL_LIST, post(list_here)).with_state(ledger)
}

/// Books units that come into the store, or leave it otherwise than by an order.
///
/// 201 for a new entry, 200 for one that was booked before: its `ref` names it.
#[utoipa::path(
    post, path = "/v1/stock/entries", operation_id = "enter_stock", tag = "stock",
    responses(
        (status = 201, description = "Booked", body = Booked),
        (status = 200, description = "Booked by an earlier request", body = Booked),
    ),
    security(("bearer" = ["merchant"]), ("bearer" = ["operator"])),
)]
async fn enter(
    State(ledger): State<Ledger>,
    _: StoreKeeper,
    Json(entry): Json<StockEntry>,
) -> Result<(StatusCode, Json<Booked>), Problem> {
    for (field, name) in [("ref", entry.reference.0.as_str()), ("sku", entry.sku.as_str())] {
        if is_card_number(name) {
            return Err(Problem::invalid(field, "this looks like a card number; never send one"));
        }
    }
    let booked = ledger.enter(entry).await?;
    Ok((if booked.new { StatusCode::CREATED } else { StatusCode::OK }, Json(booked)))
}

#[derive(Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
#[serde(deny_unknown_fields)]
struct Asked {
    /// Of which SKU.
    sku: Sku,
}

/// A SKU's entries, newest first.
#[derive(Serialize, ToSchema)]
struct Lines {
    /// Newest first.
    items: Vec<LedgerLine>,
}

/// A SKU's entries in all regions, newest first: of each shard the last 1,000.
#[utoipa::path(
    get, path = "/v1/stock/entries", operation_id = "list_stock_entries", tag = "stock",
    params(Asked),
    responses((status = 200, description = "Entries", body = Lines)),
    security(("bearer" = ["merchant"]), ("bearer" = ["operator"])),
)]
async fn list(
    State(ledger): State<Ledger>,
    _: StoreKeeper,
    Query(asked): Query<Asked>,
) -> Result<Json<Lines>, Problem> {
    Ok(Json(Lines { items: ledger.list(&asked.sku).await? }))
}

async fn enter_here(State(ledger): State<Ledger>, Json(entry): Json<StockEntry>) -> Result<Json<Booked>, Problem> {
    let shard = entry.shard.ok_or_else(|| Problem::invalid("shard", "name the shard"))?;
    Ok(Json(ledger.enter_here(shard, entry).await?))
}

async fn list_here(State(ledger): State<Ledger>, Json(sku): Json<Sku>) -> Result<Json<Vec<LedgerLine>>, Problem> {
    Ok(Json(ledger.list_here(&sku).await?))
}
