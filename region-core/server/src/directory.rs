//! `GET /v1/keys` and `GET /v1/slot-map`: what edges need to check a token and to find a user's region.

use axum::extract::State;
use axum::routing::get;
use axum::{Json, Router};
use region_core_store::Shards;
use region_core_web::{IfNoneMatch, Verifier};
use shared::SlotMap;
use shared::region::SlotMapDocument;
use shared::token::KeySet;
use utoipa::OpenApi;

/// What the routes say of themselves.
#[derive(OpenApi)]
#[openapi(paths(keys, slot_map))]
pub(crate) struct Api;

pub(crate) fn router(shards: Shards, verifier: Verifier) -> Router {
    Router::new()
        .route("/v1/keys", get(keys).with_state(verifier))
        .route("/v1/slot-map", get(slot_map).with_state(shards))
}

/// Public keys that access tokens are checked with.
#[utoipa::path(
    get, path = "/v1/keys", operation_id = "list_keys", tag = "directory",
    params(IfNoneMatch),
    responses((status = 200, description = "Keys", body = KeySet)),
)]
async fn keys(State(verifier): State<Verifier>) -> Json<KeySet> {
    Json(KeySet::clone(&verifier.keys()))
}

/// Which shard and region own which slot of users.
#[utoipa::path(
    get, path = "/v1/slot-map", operation_id = "get_slot_map", tag = "directory",
    responses((status = 200, description = "The map", body = SlotMapDocument)),
)]
async fn slot_map(State(shards): State<Shards>) -> Json<SlotMap> {
    Json(SlotMap::clone(&shards.map()))
}
