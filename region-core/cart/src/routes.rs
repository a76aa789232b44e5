//! `GET /v1/cart` and `POST /v1/cart/operations`, for the caller's own cart alone.

use axum::Router;
use axum::extract::State;
use axum::routing::{get, post};
use region_core_web::{Json, Query, SignedIn};
use serde::Deserialize;
use shared::Problem;
use shared::api::cart::{Cart, CartOperation};
use utoipa::{IntoParams, OpenApi};

use crate::Carts;

/// What the routes say of themselves.
#[derive(OpenApi)]
#[openapi(paths(view, apply))]
pub struct Api;

/// The cart's routes.
pub fn router(carts: Carts) -> Router {
    Router::new().route("/v1/cart", get(view)).route("/v1/cart/operations", post(apply)).with_state(carts)
}

#[derive(Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
#[serde(deny_unknown_fields)]
struct ViewQuery {
    /// The lowest version that the caller may be shown.
    #[serde(default)]
    min_version: u64,
}

/// The caller's cart.
#[utoipa::path(
    get, path = "/v1/cart", operation_id = "get_cart", tag = "cart",
    params(ViewQuery),
    responses((status = 200, description = "The cart", body = Cart)),
    security(("bearer" = [])),
)]
async fn view(
    State(carts): State<Carts>,
    user: SignedIn,
    Query(query): Query<ViewQuery>,
) -> Result<Json<Cart>, Problem> {
    Ok(Json(carts.view(user.user_id(), query.min_version).await?))
}

/// Changes the caller's cart.
///
/// A repeat of the same operation id changes nothing more.
#[utoipa::path(
    post, path = "/v1/cart/operations", operation_id = "change_cart", tag = "cart",
    responses((status = 200, description = "The cart as it is then", body = Cart)),
    security(("bearer" = [])),
)]
async fn apply(
    State(carts): State<Carts>,
    user: SignedIn,
    Json(operation): Json<CartOperation>,
) -> Result<Json<Cart>, Problem> {
    Ok(Json(carts.apply(user.user_id(), &operation).await?))
}
