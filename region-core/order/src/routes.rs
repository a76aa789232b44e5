//! `/v1/quotes` and `/v1/orders`.

use axum::Router;
use axum::extract::State;
use axum::http::{HeaderName, StatusCode};
use axum::response::IntoResponse;
use axum::routing::{get, post};
use region_core_web::{IdempotencyKeyHeader, Json, Path, Query, SignedIn, TraceParent};
use serde::Deserialize;
use shared::api::order::{Order, OrderPage, PlaceOrder, Quote, QuoteRequest};
use shared::idempotency::IDEMPOTENCY_REPLAYED;
use shared::{OrderId, Problem};

use crate::orders::{Caller, Orders};

/// Most orders on one page.
const MAX_PAGE: u32 = 100;

/// The service's routes.
pub fn router(orders: Orders) -> Router {
    Router::new()
        .route("/v1/quotes", post(quote))
        .route("/v1/orders", post(place).get(list))
        .route("/v1/orders/{order_id}", get(find))
        .with_state(orders)
}

async fn quote(State(orders): State<Orders>, Json(body): Json<QuoteRequest>) -> Result<Json<Quote>, Problem> {
    Ok(Json(orders.quote(&body)?.into()))
}

async fn place(
    State(orders): State<Orders>,
    caller: SignedIn,
    IdempotencyKeyHeader(key): IdempotencyKeyHeader,
    trace: TraceParent,
    Json(body): Json<PlaceOrder>,
) -> Result<impl IntoResponse, Problem> {
    let placed = orders.place(Caller::from(&caller.claims), &key, body, Some(trace.to_string())).await?;
    let replayed = placed.replayed.then_some([(HeaderName::from_static(IDEMPOTENCY_REPLAYED), "true")]);
    let location = [(axum::http::header::LOCATION, format!("/v1/orders/{}", placed.order.order_id))];
    Ok((StatusCode::CREATED, location, replayed.map(axum::response::AppendHeaders), Json(placed.order)))
}

async fn find(
    State(orders): State<Orders>,
    caller: SignedIn,
    Path(order_id): Path<OrderId>,
) -> Result<Json<Order>, Problem> {
    Ok(Json(orders.find(caller.user_id(), order_id).await?))
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct ListQuery {
    #[serde(default = "default_limit")]
    limit: u32,
    cursor: Option<OrderId>,
}

const fn default_limit() -> u32 {
    20
}

async fn list(
    State(orders): State<Orders>,
    caller: SignedIn,
    Query(query): Query<ListQuery>,
) -> Result<Json<OrderPage>, Problem> {
    if !(1..=MAX_PAGE).contains(&query.limit) {
        return Err(Problem::invalid("limit", "1 to 100"));
    }
    Ok(Json(orders.list(caller.user_id(), query.cursor, query.limit).await?))
}
