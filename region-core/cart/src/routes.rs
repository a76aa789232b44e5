//! `GET /v1/cart` and `POST /v1/cart/operations`, for the caller's own cart alone.

use axum::Router;
use axum::extract::State;
use axum::routing::{get, post};
use region_core_web::{Json, Query, SignedIn};
use serde::Deserialize;
use shared::Problem;
use shared::api::cart::{Cart, CartOperation};

use crate::Carts;

/// The cart's routes.
pub fn router(carts: Carts) -> Router {
    Router::new().route("/v1/cart", get(view)).route("/v1/cart/operations", post(apply)).with_state(carts)
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct ViewQuery {
    /// The lowest version that the caller may be shown.
    #[serde(default)]
    min_version: u64,
}

async fn view(
    State(carts): State<Carts>,
    user: SignedIn,
    Query(query): Query<ViewQuery>,
) -> Result<Json<Cart>, Problem> {
    Ok(Json(carts.view(user.user_id(), query.min_version).await?))
}

async fn apply(
    State(carts): State<Carts>,
    user: SignedIn,
    Json(operation): Json<CartOperation>,
) -> Result<Json<Cart>, Problem> {
    Ok(Json(carts.apply(user.user_id(), &operation).await?))
}
